//! Where `image scp` takes an image from and to: `[[user@]host[:port]::][IMAGE]`.

use super::{Error, Result};

/// One end of a copy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ImagePlace {
    pub host: Host,
    /// A name or an ID; empty if it is the one that the image has anyway.
    pub image: String,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Host {
    /// This store.
    Here,
    /// `user@localhost`: another user of this machine, as Podman has it.
    User(String),
    Ssh(SshHost),
}

/// Whom ssh(1) is to reach.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SshHost {
    /// `[user@]host`, which ssh's configuration may know by that name.
    pub destination: String,
    pub port: Option<u16>,
}

impl ImagePlace {
    /// # Errors
    /// [`super::ErrorKind::InvalidArgument`] for a host that ssh could take for one of its options,
    /// or that is no host at all.
    pub fn parse(text: &str) -> Result<ImagePlace> {
        let refuse = |why: &str| Error::invalid(format!("invalid place {text:?}: {why}"));
        // An IPv6 address has colons of its own.
        let from = text.rfind(']').map_or(0, |at| at + 1);
        let Some(at) = text[from..].find("::") else {
            return Ok(ImagePlace {
                host: Host::Here,
                image: text.to_owned(),
            });
        };
        let (host, image) = (&text[..from + at], &text[from + at + 2..]);
        if image.contains("::") {
            return Err(refuse("an image's name has no \"::\""));
        }
        let (user, host) = match host.rsplit_once('@') {
            Some((user, host)) => (Some(user), host),
            None => (None, host),
        };
        let (host, port) = split_port(host).map_err(&refuse)?;
        let word = |text: &str, more: &[char]| {
            let plain = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
            !text.is_empty()
                && !text.starts_with('-')
                && text.chars().all(|c| plain(c) || more.contains(&c))
        };
        if !word(host, &[':', '%']) {
            return Err(refuse("the host is not a host name or address"));
        }
        if user.is_some_and(|user| !word(user, &['$', '\\', '+'])) {
            return Err(refuse("the user is not a user name"));
        }
        let host = match (user, host, port) {
            (Some(user), "localhost", None) => Host::User(user.to_owned()),
            _ => Host::Ssh(SshHost {
                destination: match user {
                    Some(user) => format!("{user}@{host}"),
                    None => host.to_owned(),
                },
                port,
            }),
        };
        Ok(ImagePlace {
            host,
            image: image.to_owned(),
        })
    }
}

/// `host`, `host:port`, `[IPv6]`, `[IPv6]:port`
fn split_port(text: &str) -> std::result::Result<(&str, Option<u16>), &'static str> {
    let number = |port: &str| match port.parse::<u16>() {
        Ok(port) if port > 0 => Ok(Some(port)),
        _ => Err("the port is not a number up to 65535"),
    };
    if let Some(address) = text.strip_prefix('[') {
        let (address, rest) = address.split_once(']').ok_or("a ']' is missing")?;
        return match rest.strip_prefix(':') {
            Some(port) => Ok((address, number(port)?)),
            None if rest.is_empty() => Ok((address, None)),
            None => Err("only a port may stand behind the address"),
        };
    }
    match text.split_once(':') {
        Some((host, port)) => Ok((host, number(port)?)),
        None => Ok((text, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ssh(text: &str) -> (String, Option<u16>, String) {
        let place = ImagePlace::parse(text).unwrap();
        match place.host {
            Host::Ssh(host) => (host.destination, host.port, place.image),
            other => panic!("{text}: {other:?}"),
        }
    }

    #[test]
    fn places_have_a_host_or_not() {
        let here = ImagePlace::parse("h.example:5000/a/b:c").unwrap();
        assert_eq!(
            (here.host, &here.image[..]),
            (Host::Here, "h.example:5000/a/b:c")
        );
        let plain = |text: &str| text.to_owned();
        assert_eq!(ssh("host::"), (plain("host"), None, plain("")));
        assert_eq!(
            ssh("u@host::img:1"),
            (plain("u@host"), None, plain("img:1"))
        );
        assert_eq!(
            ssh("u@host:22::img"),
            (plain("u@host"), Some(22), plain("img"))
        );
        assert_eq!(ssh("[::1]:22::img"), (plain("::1"), Some(22), plain("img")));
        assert_eq!(
            ssh("u@[fe80::1%eth0]::"),
            (plain("u@fe80::1%eth0"), None, plain(""))
        );
        let user = ImagePlace::parse("alice@localhost::img").unwrap();
        assert_eq!(user.host, Host::User(plain("alice")));
    }

    #[test]
    fn nothing_becomes_an_option_of_ssh() {
        for text in [
            "-oProxyCommand=x::img",
            "::img",
            "@h::",
            "u@::",
            "-l@h::i",
            "h:0::i",
            "h:x::i",
            "a b::i",
            "h::a::b",
            "[::1::i",
            "[::1]x::i",
            "h;x::i",
            "$(x)::i",
        ] {
            assert!(ImagePlace::parse(text).is_err(), "{text}");
        }
    }
}

//! A network that one container is in alone: `--network private`, and podman's `pasta` and
//! `slirp4netns` with options of those programs (pasta(1), slirp4netns(1), podman-run(1)). What we
//! do as they do is taken, what is so anyway is accepted, and all else is an error: an option that
//! does nothing is worse than none.

use std::net::Ipv4Addr;

use ipnet::Ipv4Net;
use serde::{Deserialize, Serialize};

use super::{
    Error, ErrorKind, Result,
    network::{Mac, check_interface_name},
};

/// What is asked of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct PrivateNetwork {
    /// Of the container's interface, in bytes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mtu: Option<u32>,
    /// The container's, with the length of its network.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub address: Option<Ipv4Net>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<Ipv4Addr>,
    /// Inside; else `eth0`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interface: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mac: Option<Mac>,
    /// The host's 127.0.0.1 is reached, at the address that stands for the host.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub host_loopback: bool,
}

/// Of IPv4 over Ethernet, RFC 791 and `ETH_MAX_MTU`.
const MTUS: std::ops::RangeInclusive<u32> = 68..=65535;

impl PrivateNetwork {
    /// `private`, `pasta` or `slirp4netns`, each with `:OPTIONS` or without; `None` for other words.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        let (program, options) = text.split_once(':').unwrap_or((text, ""));
        let mut network = PrivateNetwork::default();
        let words = options.split(',').filter(|word| !word.is_empty());
        match program {
            "private" => words
                .map(|word| pair(program, word))
                .try_for_each(|pair| network.set(program, pair?))?,
            "slirp4netns" => words
                .map(|word| pair(program, word))
                .try_for_each(|pair| network.set_slirp(pair?))?,
            "pasta" => network.set_pasta(words)?,
            _ => return Ok(None),
        }
        network.check()?;
        Ok(Some(network))
    }

    /// The container's address.
    pub fn own(&self) -> Ipv4Net {
        // That of slirp4netns, libslirp's default.
        let usual = || Ipv4Net::new_assert([10, 0, 2, 100].into(), 24);
        self.address.unwrap_or_else(usual)
    }

    /// The address at the other end of the link: the second of the network, or the first if the
    /// second is the container's.
    pub fn router(&self) -> Ipv4Addr {
        let own = self.own();
        let nth = |number: u32| Ipv4Addr::from(u32::from(own.network()) + number);
        let free = || if nth(2) == own.addr() { nth(1) } else { nth(2) };
        self.gateway.unwrap_or_else(free)
    }

    fn check(&self) -> Result<()> {
        let own = self.own();
        let ends = [own.network(), own.broadcast()];
        if own.prefix_len() > 30 || ends.contains(&own.addr()) {
            return Err(Error::invalid(format!(
                "invalid network of a container's own: {own} is no address of a host in a network of four or more"
            )));
        }
        let router = self.router();
        if !own.contains(&router) || router == own.addr() || ends.contains(&router) {
            return Err(Error::invalid(format!(
                "invalid gateway {router}: it is no other host of {}",
                own.trunc()
            )));
        }
        Ok(())
    }

    fn set(&mut self, program: &str, (key, value): (&str, &str)) -> Result<()> {
        match key {
            "mtu" => self.mtu = Some(mtu(value)?),
            "ip" => self.address = Some(address(value, None)?),
            "gateway" => self.gateway = Some(host(value)?),
            "mac" | "mac-address" => self.mac = Some(value.parse()?),
            "interface_name" | "interface-name" => self.interface = Some(interface(value)?),
            "host_loopback" => self.host_loopback = flag(key, value)?,
            _ => return Err(unknown(program, key)),
        }
        Ok(())
    }

    fn set_slirp(&mut self, (key, value): (&str, &str)) -> Result<()> {
        match (key, value) {
            ("mtu", _) => self.mtu = Some(mtu(value)?),
            ("cidr", _) => {
                let net: Ipv4Net = value.parse().map_err(|_| invalid(key, value))?;
                // slirp4netns(1): 100 behind the network's own address, which needs that many.
                if net.prefix_len() > 25 {
                    return Err(invalid(key, value));
                }
                let own = Ipv4Addr::from(u32::from(net.network()) + 100);
                self.address = Some(Ipv4Net::new(own, net.prefix_len()).unwrap_or(net));
            }
            ("allow_host_loopback", _) => self.host_loopback = flag(key, value)?,
            ("enable_ipv6", _) if flag(key, value)? => return Err(no_ipv6(key)),
            // As it is anyway; the port handlers differ in who the client seems to be.
            ("enable_ipv6", _) | ("port_handler", "rootlesskit" | "slirp4netns") => {}
            ("port_handler", _) => return Err(invalid(key, value)),
            ("outbound_addr" | "outbound_addr6", _) => return Err(unsupported("slirp4netns", key)),
            _ => return Err(unknown("slirp4netns", key)),
        }
        Ok(())
    }

    /// Options as on that program's command line, with commas for spaces.
    fn set_pasta<'a>(&mut self, mut words: impl Iterator<Item = &'a str>) -> Result<()> {
        let (mut own, mut length) = (None, None);
        while let Some(word) = words.next() {
            let (key, attached) = split(word);
            let mut value = || {
                attached.or_else(|| words.next()).ok_or_else(|| {
                    Error::invalid(format!("pasta's option {key} is without a value"))
                })
            };
            match key {
                "-m" | "--mtu" => self.mtu = Some(mtu(value()?)?),
                "-a" | "--address" => own = Some(value()?),
                "-n" | "--netmask" => length = Some(prefix(value()?)?),
                "-g" | "--gateway" => self.gateway = Some(host(value()?)?),
                "-I" | "--ns-ifname" => self.interface = Some(interface(value()?)?),
                "--ns-mac-addr" => self.mac = Some(value()?.parse()?),
                // As it is anyway.
                "-4" | "--ipv4-only" | "-q" | "--quiet" | "--config-net" | "--no-map-gw"
                | "--no-dhcp" | "--no-dhcpv6" | "--no-ndp" | "--no-ra" => {}
                "-t" | "--tcp-ports" | "-u" | "--udp-ports" => match value()? {
                    "none" => {}
                    _ => {
                        return Err(unsupported("pasta", key).with_hint(
                            "-p HOST:CONTAINER publishes a port, for this network too",
                        ));
                    }
                },
                "-T" | "--tcp-ns" | "-U" | "--udp-ns" => match value()? {
                    "none" => {}
                    _ => return Err(no_loopback(key)),
                },
                "--map-gw" | "--map-host-loopback" => return Err(no_loopback(key)),
                "-6" | "--ipv6-only" => return Err(no_ipv6(key)),
                _ => return Err(unsupported("pasta", key)),
            }
        }
        match (own, length) {
            (Some(own), length) => self.address = Some(address(own, length)?),
            (None, Some(length)) => {
                let usual = PrivateNetwork::default().own().addr();
                self.address = Some(Ipv4Net::new(usual, length).map_err(|_| bad_length(length))?);
            }
            (None, None) => {}
        }
        Ok(())
    }
}

/// The option, and the value that stands in the same word: `--long=value`, `-xvalue`.
fn split(word: &str) -> (&str, Option<&str>) {
    let letter = !word.starts_with("--") && word.starts_with('-');
    match word.split_once('=') {
        Some((key, value)) if !letter => (key, Some(value)),
        _ if letter && word.len() > 2 && word.is_char_boundary(2) => (&word[..2], Some(&word[2..])),
        _ => (word, None),
    }
}

fn pair<'a>(program: &str, word: &'a str) -> Result<(&'a str, &'a str)> {
    word.split_once('=').ok_or_else(|| {
        Error::invalid(format!(
            "invalid option {word:?} of {program}: expected KEY=VALUE"
        ))
    })
}

fn mtu(text: &str) -> Result<u32> {
    let number = text.parse().ok().filter(|number| MTUS.contains(number));
    number.ok_or_else(|| invalid("mtu", text))
}

/// With the length behind it, or else this one, or else 24.
fn address(text: &str, length: Option<u8>) -> Result<Ipv4Net> {
    if let Ok(net) = text.parse() {
        return Ok(net);
    }
    let length = length.unwrap_or(24);
    Ipv4Net::new(host(text)?, length).map_err(|_| bad_length(length))
}

fn flag(key: &str, text: &str) -> Result<bool> {
    text.parse().map_err(|_| invalid(key, text))
}

fn host(text: &str) -> Result<Ipv4Addr> {
    text.parse().map_err(|_| {
        invalid("address", text).with_hint("a private network has addresses of IPv4 alone")
    })
}

/// A length, or a mask.
fn prefix(text: &str) -> Result<u8> {
    let mask = |mask: Ipv4Addr| ipnet::ipv4_mask_to_prefix(mask).ok();
    let length = text.parse().ok();
    length
        .or_else(|| text.parse().ok().and_then(mask))
        .ok_or_else(|| invalid("netmask", text))
}

fn bad_length(length: u8) -> Error {
    invalid("netmask", &length.to_string())
}

fn interface(name: &str) -> Result<String> {
    check_interface_name(name)?;
    Ok(name.to_owned())
}

fn invalid(key: &str, value: &str) -> Error {
    Error::invalid(format!("invalid {key} of a private network: {value:?}"))
}

fn unknown(program: &str, key: &str) -> Error {
    Error::invalid(format!("invalid option {key:?} of network {program}"))
}

fn unsupported(program: &str, key: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("option {key} of network {program} is not supported"),
    )
}

fn no_loopback(key: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("option {key} is not supported: the host's loopback is out of reach"),
    )
    .with_hint("with private:host_loopback=true host.containers.internal is the host's 127.0.0.1")
}

fn no_ipv6(key: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!("option {key} is not supported: a private network has IPv4 alone"),
    )
    .with_hint("`network create --ipv6` makes one that has both")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn parse(text: &str) -> PrivateNetwork {
        PrivateNetwork::parse(text).unwrap().unwrap()
    }

    #[test]
    fn options_are_honoured() {
        let plain = PrivateNetwork::default();
        for same in [
            "private",
            "private:",
            "pasta",
            "slirp4netns:allow_host_loopback=false,port_handler=slirp4netns",
            "pasta:-4,-t,none,-T,none,--no-map-gw",
        ] {
            assert_eq!(parse(same), plain, "{same}");
        }
        assert_eq!(plain.own().to_string(), "10.0.2.100/24");
        assert_eq!(plain.router().to_string(), "10.0.2.2");
        for mtu in [
            "private:mtu=1400",
            "slirp4netns:mtu=1400",
            "pasta:-m,1400",
            "pasta:--mtu=1400",
        ] {
            assert_eq!(parse(mtu).mtu, Some(1400), "{mtu}");
        }
        let slirp = parse("slirp4netns:cidr=10.41.0.0/16");
        assert_eq!(slirp.own().to_string(), "10.41.0.100/16");
        assert_eq!(slirp.router().to_string(), "10.41.0.2");
        let pasta =
            parse("pasta:-a,192.0.2.2,-n,255.255.255.240,-I,net0,--ns-mac-addr,02:00:00:00:00:01");
        assert_eq!(pasta.own().to_string(), "192.0.2.2/28");
        assert_eq!(pasta.router().to_string(), "192.0.2.1");
        assert_eq!(pasta.interface.as_deref(), Some("net0"));
        assert_eq!(pasta.mac.unwrap().to_string(), "02:00:00:00:00:01");
        let own = parse("private:ip=192.0.2.9/29,gateway=192.0.2.14,interface_name=x0");
        assert_eq!(own.router().to_string(), "192.0.2.14");
        for asked in [
            "private:host_loopback=true",
            "slirp4netns:allow_host_loopback=true",
        ] {
            assert!(parse(asked).host_loopback, "{asked}");
        }
        assert_eq!(PrivateNetwork::parse("web:mtu=1").unwrap(), None);
    }

    #[test]
    fn what_is_not_done_is_said() {
        for (text, word) in [
            ("slirp4netns:allow_host_loopback=maybe", "loopback"),
            ("slirp4netns:enable_ipv6=true", "IPv4 alone"),
            ("slirp4netns:outbound_addr=eth0", "outbound_addr"),
            ("slirp4netns:colour=red", "colour"),
            ("slirp4netns:cidr=10.0.0.0/26", "cidr"),
            ("slirp4netns:mtu", "KEY=VALUE"),
            ("pasta:-T,80", "loopback"),
            ("pasta:-t,8080:80", "-t"),
            ("pasta:--pcap,file", "--pcap"),
            ("pasta:-m", "without a value"),
            ("pasta:-m,12", "mtu"),
            ("private:ip=10.0.0.0/24", "no address of a host"),
            ("private:gateway=10.0.9.1", "gateway"),
            ("private:alias=a", "alias"),
        ] {
            let error = PrivateNetwork::parse(text).unwrap_err();
            assert!(error.one_line().contains(word), "{text}: {error:?}");
        }
    }

    proptest! {
        #[test]
        fn whatever_is_typed_has_two_ends(
            text in "(private|pasta|slirp4netns):((--?)?[a-z-]{1,12}[=,]?[0-9./]{0,14},?){0,4}"
        ) {
            if let Ok(Some(network)) = PrivateNetwork::parse(&text) {
                prop_assert!(network.own().contains(&network.router()));
                prop_assert_ne!(network.own().addr(), network.router());
            }
        }
    }
}

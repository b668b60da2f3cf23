//! Where a registry is: scheme, host and port, and which schemes may be tried.
//!
//! Docker's rule: a registry is spoken to over TLS, except that loopback addresses may be plain
//! http, and so may any host with `--tls-verify=false`. TLS is tried first in each case; what
//! worked is remembered for the rest of the command.

use std::{fmt, net::IpAddr};

use reqwest::Url;

use crate::model::{Reference, reference::DOCKER_HUB};

/// The host that serves what is called `docker.io`.
const DOCKER_HUB_HOST: &str = "registry-1.docker.io";

/// What a credential or client certificate belongs to (RFC 6454): never sent to another one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct Origin {
    pub scheme: Scheme,
    /// Lower case; IPv6 addresses in brackets.
    pub host: String,
    pub port: u16,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Scheme {
    Https,
    Http,
}

impl Scheme {
    pub fn as_str(self) -> &'static str {
        match self {
            Scheme::Https => "https",
            Scheme::Http => "http",
        }
    }
}

impl Origin {
    /// Absent for anything but http and https.
    pub fn of(url: &Url) -> Option<Origin> {
        let scheme = match url.scheme() {
            "https" => Scheme::Https,
            "http" => Scheme::Http,
            _ => return None,
        };
        Some(Origin {
            scheme,
            host: url.host_str()?.to_ascii_lowercase(),
            port: url.port_or_known_default()?,
        })
    }

    pub fn is_loopback(&self) -> bool {
        is_loopback(&self.host)
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.scheme, self.port) {
            (Scheme::Https, 443) | (Scheme::Http, 80) => f.write_str(&self.host),
            (_, port) => write!(f, "{}:{port}", self.host),
        }
    }
}

pub(super) fn is_docker_hub(origin: &Origin) -> bool {
    origin.host == DOCKER_HUB_HOST
}

/// `host[:port]` to connect to for the registry of a reference.
pub(super) fn authority(reference: &Reference) -> &str {
    authority_of(reference.registry())
}

pub(super) fn authority_of(registry: &str) -> &str {
    match registry {
        DOCKER_HUB => DOCKER_HUB_HOST,
        registry => registry,
    }
}

/// The schemes to try for `host[:port]`, in this order.
pub(super) fn schemes(authority: &str, tls_verify: Option<bool>) -> &'static [Scheme] {
    match tls_verify {
        Some(true) => &[Scheme::Https],
        Some(false) => &[Scheme::Https, Scheme::Http],
        None if is_loopback(host_of(authority)) => &[Scheme::Https, Scheme::Http],
        None => &[Scheme::Https],
    }
}

/// `host[:port]` without the port; brackets of IPv6 stay.
fn host_of(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// `localhost` (RFC 6761 lets nobody else have it) or an address of 127.0.0.0/8 or ::1.
pub(super) fn is_loopback(host: &str) -> bool {
    let bare = host.trim_start_matches('[').trim_end_matches(']');
    bare.eq_ignore_ascii_case("localhost")
        || bare
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_http_is_for_loopback_and_for_those_who_ask() {
        use Scheme::{Http, Https};
        assert_eq!(schemes("localhost:5000", None), [Https, Http]);
        assert_eq!(schemes("127.1.2.3", None), [Https, Http]);
        assert_eq!(schemes("[::1]:5000", None), [Https, Http]);
        assert_eq!(schemes("[::1]", None), [Https, Http]);
        assert_eq!(schemes("localhost:5000", Some(true)), [Https]);
        assert_eq!(schemes("localhost.example.org", None), [Https]);
        assert_eq!(schemes("127.0.0.1.example.org:80", None), [Https]);
        assert_eq!(schemes("example.org", Some(false)), [Https, Http]);
    }

    #[test]
    fn docker_io_lives_elsewhere() {
        let hub: Reference = "alpine".parse().unwrap();
        let own: Reference = "localhost:5000/alpine".parse().unwrap();
        assert_eq!(authority(&hub), "registry-1.docker.io");
        assert_eq!(authority(&own), "localhost:5000");
    }

    #[test]
    fn an_origin_knows_its_default_port_and_only_the_web_schemes() {
        let origin = |text: &str| Origin::of(&Url::parse(text).unwrap());
        assert_eq!(
            origin("https://Example.org/x"),
            origin("https://example.org:443/y")
        );
        assert_ne!(
            origin("https://example.org/"),
            origin("http://example.org/")
        );
        assert_ne!(
            origin("https://example.org/"),
            origin("https://example.org:444/")
        );
        assert_eq!(origin("ftp://example.org/"), None);
        assert_eq!(origin("file:///etc/passwd"), None);
    }
}

//! Which proxy a registry is reached through: `http_proxy`, `https_proxy` and the exceptions of
//! `no_proxy`, by the rules of Go's programs, which users of docker know.
//!
//! ```text
//! no_proxy=*                     nothing goes through a proxy
//!          example.org           the host and everything below it
//!          .example.org, *.example.org   what is below it alone
//!          10.0.0.1, 10.0.0.0/8, fd00::/8   addresses, when the registry is named by one
//!          …:5000                any of these, for one port
//! ```
//!
//! What is on this machine is never asked through a proxy.

use std::net::IpAddr;

use reqwest::Proxy;

use super::endpoint::{Origin, Scheme};
use crate::model::{Error, RegistryOptions, Result};

/// The proxy for `origin`, if there is one.
///
/// # Errors
/// A proxy's URL that cannot be understood. It may hold a password, so it is not repeated.
pub(super) fn for_origin(origin: &Origin, options: &RegistryOptions) -> Result<Option<Proxy>> {
    let exceptions = options.no_proxy.as_deref().unwrap_or_default();
    if origin.is_loopback() || is_excepted(&origin.host, origin.port, exceptions) {
        return Ok(None);
    }
    let (name, url) = match origin.scheme {
        Scheme::Https => ("https_proxy", &options.https_proxy),
        Scheme::Http => ("http_proxy", &options.http_proxy),
    };
    let Some(url) = url.as_deref().map(str::trim).filter(|url| !url.is_empty()) else {
        return Ok(None);
    };
    let spoken = ["http://", "https://"]
        .iter()
        .any(|scheme| url.starts_with(scheme));
    if url.contains("://") && !spoken {
        return Err(Error::invalid(format!(
            "{name} names a proxy that is neither http nor https"
        )));
    }
    let proxy = match origin.scheme {
        Scheme::Https => Proxy::https(url),
        Scheme::Http => Proxy::http(url),
    };
    proxy
        .map(Some)
        .map_err(|_| Error::invalid(format!("{name} is not the URL of a proxy")))
}

/// Whether `no_proxy` has `host` (IPv6 in brackets).
fn is_excepted(host: &str, port: u16, exceptions: &str) -> bool {
    let host = host.trim_start_matches('[').trim_end_matches(']');
    exceptions
        .split(',')
        .map(str::trim)
        .filter(|entry| !entry.is_empty())
        .any(|entry| fits(entry, host, port))
}

fn fits(entry: &str, host: &str, port: u16) -> bool {
    if entry == "*" {
        return true;
    }
    let address = host.parse::<IpAddr>().ok();
    if let Some((network, bits)) = entry.split_once('/') {
        return match (network.parse(), bits.parse(), address) {
            (Ok(network), Ok(bits), Some(address)) => is_within(address, network, bits),
            _ => false,
        };
    }
    let (name, wanted_port) = split_port(entry);
    if wanted_port.is_some_and(|wanted| wanted != port) {
        return false;
    }
    if let Ok(wanted) = name.parse::<IpAddr>() {
        return address == Some(wanted);
    }
    let name = name.to_ascii_lowercase();
    let name = name.strip_prefix('*').unwrap_or(&name);
    match name.strip_prefix('.') {
        Some(_) => host.ends_with(name),
        None => {
            host == name
                || host
                    .strip_suffix(name)
                    .is_some_and(|before| before.ends_with('.'))
        }
    }
}

/// `name:port`, `[address]:port`, or either alone.
fn split_port(entry: &str) -> (&str, Option<u16>) {
    if entry.parse::<IpAddr>().is_ok() {
        return (entry, None);
    }
    let (name, port) = match entry.rsplit_once(':') {
        Some((name, port)) => (name, port.parse().ok()),
        None => (entry, None),
    };
    let name = if port.is_some() { name } else { entry };
    (name.trim_start_matches('[').trim_end_matches(']'), port)
}

fn is_within(address: IpAddr, network: IpAddr, bits: u32) -> bool {
    let same = |a: u128, b: u128, width: u32| {
        bits <= width && (bits == 0 || a >> (width - bits) == b >> (width - bits))
    };
    match (address, network) {
        (IpAddr::V4(a), IpAddr::V4(b)) => same(a.to_bits().into(), b.to_bits().into(), 32),
        (IpAddr::V6(a), IpAddr::V6(b)) => same(a.to_bits(), b.to_bits(), 128),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions() {
        for (host, port, list, expected) in [
            ("example.org", 443, "*", true),
            ("example.org", 443, "other, example.org", true),
            ("r.example.org", 443, "Example.org", true),
            ("notexample.org", 443, "example.org", false),
            ("example.org", 443, ".example.org", false),
            ("r.example.org", 443, ".example.org", true),
            ("r.example.org", 443, "*.example.org", true),
            ("example.org", 443, "*.example.org", false),
            ("example.org", 5000, "example.org:5000", true),
            ("example.org", 443, "example.org:5000", false),
            ("10.1.2.3", 443, "10.0.0.0/8", true),
            ("11.1.2.3", 443, "10.0.0.0/8", false),
            ("10.1.2.3", 443, "0.0.0.0/0", true),
            ("10.1.2.3", 443, "10.0.0.0/33", false),
            ("10.1.2.3", 443, "10.1.2.3", true),
            ("10.1.2.3", 5000, "10.1.2.3:443", false),
            ("[fd00::1]", 443, "fd00::/8", true),
            ("[fd00::1]", 443, "fd00::1", true),
            ("[fd00::1]", 443, "[fd00::1]:443", true),
            ("[fe80::1]", 443, "fd00::/8", false),
            ("ten.example", 443, "10.0.0.0/8", false),
            ("example.org", 443, "", false),
            ("example.org", 443, " , ,", false),
        ] {
            assert_eq!(
                is_excepted(host, port, list),
                expected,
                "{host}:{port} in {list:?}"
            );
        }
    }

    #[test]
    fn a_proxy_that_is_not_understood_is_not_quoted() {
        let origin = Origin {
            scheme: Scheme::Https,
            host: "example.org".to_owned(),
            port: 443,
        };
        for url in ["socks5://u:SECRET@proxy", "http://u:SECRET@pro xy:x"] {
            let options = RegistryOptions {
                https_proxy: Some(url.to_owned()),
                ..RegistryOptions::default()
            };
            let error = for_origin(&origin, &options).unwrap_err();
            assert!(!format!("{error:?}").contains("SECRET"), "{error:?}");
        }
    }
}

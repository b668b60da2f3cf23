//! `port`: where the published ports of a container can be reached.

use std::net::SocketAddr;

use clap::Args;

use super::{
    Session,
    failure::Failure,
    parse, ui,
    verb::{Arity, Outcome, Verb, wrong_count},
};
use crate::engine::PublishedPort;

#[derive(Args)]
struct Flags {
    /// Show the ports of all running containers
    #[arg(long, short = 'a')]
    all: bool,
    /// Act on the container that was made last
    #[arg(long, short = 'l')]
    latest: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container port", "port"],
    about: "Show the published ports of a container",
    usage: "CONTAINER [PRIVATE_PORT[/PROTO]]",
    arity: Arity::AtLeast(0),
    flags: Flags::augment_args,
    run: |session, matches, words| run(session, &parse::flags(matches)?, words),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, mut words: Vec<String>) -> Outcome {
    if flags.all {
        if flags.latest || !words.is_empty() {
            let text = "conflicting options: --all takes neither a container nor --latest";
            return Err(Failure::Plain(text.to_owned(), 125));
        }
        for container in session.engine()?.containers(false, false)? {
            for line in mappings(&container.ports) {
                ui::line(&format!("{}\t{line}", container.id.short()))?;
            }
        }
        return Ok(0);
    }
    let engine = session.engine()?;
    if flags.latest {
        let newest = engine.containers(true, false)?.into_iter().next();
        let newest = newest.ok_or_else(|| Failure::Plain("there is no container".to_owned(), 1))?;
        words.insert(0, newest.id.to_string());
    }
    let (name, port) = match words.as_slice() {
        [name] => (name, None),
        [name, port] => (name, Some(port)),
        _ => {
            return Err(wrong_count(
                "port",
                "requires at least 1 and at most 2 arguments",
            ));
        }
    };
    let wanted = port.map(|port| parse_port(port)).transpose()?;
    let ports = engine.published_ports(name)?;
    let lines = match wanted {
        None => mappings(&ports),
        Some((number, protocol)) => {
            let mut fitting = ports;
            fitting.retain(|port| port.port == number && port.protocol == protocol);
            if fitting.is_empty() {
                let text = format!(
                    "no public port '{}' published for {name}",
                    port.map_or("", String::as_str)
                );
                return Err(Failure::Plain(text, 1));
            }
            naturally_sorted(fitting.iter().map(host).collect())
        }
    };
    lines.iter().try_for_each(|line| ui::line(line))?;
    Ok(0)
}

/// `80` or `80/udp`
fn parse_port(text: &str) -> Result<(u16, &str), Failure> {
    let (number, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
    match (number.parse(), protocol) {
        (Ok(number), "tcp" | "udp" | "sctp") => Ok((number, protocol)),
        _ => Err(Failure::Plain(
            format!(
                "invalid port ({text}): use a number up to 65535, with or without /tcp, /udp or /sctp"
            ),
            1,
        )),
    }
}

fn host(port: &PublishedPort) -> String {
    SocketAddr::new(port.host_ip, port.host_port).to_string()
}

fn mappings(ports: &[PublishedPort]) -> Vec<String> {
    let line = |port: &PublishedPort| format!("{}/{} -> {}", port.port, port.protocol, host(port));
    naturally_sorted(ports.iter().map(line).collect())
}

/// Docker's order: numbers in texts by their size.
fn naturally_sorted(mut lines: Vec<String>) -> Vec<String> {
    lines.sort_by_cached_key(|line| {
        let parts = line.split_inclusive(|letter: char| !letter.is_ascii_digit());
        let part = |part: &str| {
            let digits = part.trim_end_matches(|letter: char| !letter.is_ascii_digit());
            // What begins with a number comes before what does not, as digits do before letters.
            let number = digits.parse().unwrap_or(u64::MAX);
            (number, part[digits.len()..].to_owned())
        };
        parts.map(part).collect::<Vec<_>>()
    });
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mappings_are_dockers_lines() {
        let port = |port: u16, ip: &str| PublishedPort {
            port,
            protocol: "tcp".to_owned(),
            host_ip: ip.parse().expect("an address"),
            host_port: 8080,
        };
        assert_eq!(
            mappings(&[port(80, "::"), port(80, "0.0.0.0")]),
            ["80/tcp -> 0.0.0.0:8080", "80/tcp -> [::]:8080"]
        );
        assert_eq!(
            mappings(&[port(443, "0.0.0.0"), port(8080, "::"), port(80, "0.0.0.0")]),
            [
                "80/tcp -> 0.0.0.0:8080",
                "443/tcp -> 0.0.0.0:8080",
                "8080/tcp -> [::]:8080"
            ]
        );
    }

    #[test]
    fn a_port_is_a_number_and_a_protocol() {
        assert_eq!(parse_port("80").ok(), Some((80, "tcp")));
        assert_eq!(parse_port("53/udp").ok(), Some((53, "udp")));
        for bad in ["", "x", "70000", "80/icmp", "-1"] {
            assert!(parse_port(bad).is_err(), "{bad}");
        }
    }
}

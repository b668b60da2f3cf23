//! What there is on this machine, for this user, of what a router and its relays need.

use std::io;

use super::furnish;
use crate::{
    model::{Context, Error, ErrorKind, Result, backend::Backend},
    net::netlink::Socket,
    sys::{
        fork::{self, Namespaces},
        process, tun,
    },
};

/// Each is there, or the error says what is missing and what to do.
#[derive(Debug)]
pub struct Means {
    pub tproxy: Result<()>,
    pub tun: Result<()>,
}

impl Means {
    /// The backend that a network of an ordinary user gets; without one there are only networks that
    /// are internal.
    pub fn backend(&self) -> Option<Backend> {
        match (&self.tun, &self.tproxy) {
            (Err(_), _) => None,
            (Ok(()), Ok(())) => Some(Backend::Tproxy),
            (Ok(()), Err(_)) => Some(Backend::Tun),
        }
    }

    /// What it would be good to have.
    pub fn missing(&self) -> impl Iterator<Item = &Error> {
        let both = [&self.tun, &self.tproxy];
        both.into_iter().filter_map(|means| means.as_ref().err())
    }
}

/// Tries, in namespaces that are gone afterwards: a millisecond. Nothing that lasts is changed, but
/// the kernel may load modules for it, as it would for a network.
///
/// # Panics
/// If this process has more than one thread (see [`fork::fork`]).
pub fn find() -> Means {
    Means {
        tproxy: firewall_in_a_child(),
        tun: tun::available().map_err(no_tun),
    }
}

fn firewall_in_a_child() -> Result<()> {
    let what = || "cannot try nf_tables in a network namespace".to_owned();
    let namespaces = Namespaces::USER.with(Namespaces::NET);
    let child = fork::fork(namespaces, || {
        let sent = Socket::netfilter().and_then(|mut socket| socket.send(furnish::firewall()));
        i32::from(sent.is_err())
    })
    .system(what)?;
    match process::reap(&child.pidfd).system(what)? {
        0 => Ok(()),
        _ => Err(furnish::no_tproxy()),
    }
}

/// Why there is no TUN device.
pub fn no_tun(cause: io::Error) -> Error {
    Error::new(ErrorKind::Unsupported, "cannot open /dev/net/tun")
        .with_hint("a rootless network needs it: `modprobe tun`, and mode 0666 as is usual")
        .with_source(cause)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_of_what_is_there_is_taken() {
        let there = |tun: bool, tproxy: bool| Means {
            tproxy: if tproxy {
                Ok(())
            } else {
                Err(furnish::no_tproxy())
            },
            tun: match tun {
                true => Ok(()),
                false => Err(no_tun(io::ErrorKind::NotFound.into())),
            },
        };
        let of = |means: Means| {
            let missing = means.missing().map(|error| error.message().to_owned());
            (means.backend(), missing.collect::<Vec<_>>())
        };
        let tun = "cannot open /dev/net/tun".to_owned();
        let tproxy = "the kernel has no nf_tables with tproxy".to_owned();
        assert_eq!(of(there(true, true)), (Some(Backend::Tproxy), vec![]));
        let slower = (Some(Backend::Tun), vec![tproxy.clone()]);
        assert_eq!(of(there(true, false)), slower);
        assert_eq!(of(there(false, true)), (None, vec![tun.clone()]));
        assert_eq!(of(there(false, false)), (None, vec![tun, tproxy]));
    }
}

//! How containers reach the world: tried out as the rest of `doctor` is, in namespaces that go away
//! again with all that was made in them. Besides, as root: whose rules of the host's firewall are in
//! the way.

use std::io;

use super::{Check, Engine, NOT_TRIED, attempt, fine, limited, unknown};
use crate::{
    model::{
        Error, Result,
        backend::Backend,
        network::{DEFAULT_NETWORK, Network},
    },
    net::{bridge, firewall, netlink::Socket, router::means},
    sys::{fork, netns},
};

/// What carries containers' packets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct NetworkBackend {
    /// `nftables`: the kernel forwards. `tproxy` and `tun`: a process of ours relays ([`Backend`]).
    /// Without one there are only the modes that need none, host and none, and internal networks.
    pub name: Option<&'static str>,
    /// For it, or for a better one.
    pub missing: Vec<Missing>,
}

/// What is not there, and what helps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::engine) struct Missing {
    pub why: String,
    pub hint: Option<String>,
}

impl From<&Error> for Missing {
    fn from(error: &Error) -> Self {
        Missing {
            why: error.one_line(),
            hint: error.hint().map(str::to_owned),
        }
    }
}

impl Engine {
    /// What this machine has for networks of this user's containers; `None` if it cannot be tried.
    /// Nothing is left of the try.
    pub(in crate::engine) fn network_backend(&self) -> Option<NetworkBackend> {
        match self.user.has_namespace() {
            true => relayed(self.network_backend),
            false => {
                let network = self.store.resolve_network(DEFAULT_NETWORK);
                network.map_or_else(|error| Some(without(&error)), |network| forwarded(&network))
            }
        }
    }

    pub(super) fn network_checks(&self) -> Vec<Check> {
        const NAME: &str = "networks";
        let mut checks = match self.network_backend() {
            None => vec![unknown(NAME, NOT_TRIED)],
            Some(NetworkBackend { name, missing }) if missing.is_empty() => {
                let name = name.unwrap_or("none");
                vec![fine(NAME, format!("containers reach the world by {name}"))]
            }
            Some(NetworkBackend { name, missing }) => {
                let but = match name {
                    None => "only the modes host and none, and internal networks".to_owned(),
                    Some(name) => format!("by {name}, which is slower"),
                };
                let check = |missing: Missing| Check {
                    fix: missing.hint,
                    ..limited(NAME, format!("{but}: {}", missing.why))
                };
                missing.into_iter().map(check).collect()
            }
        };
        if !self.user.has_namespace() {
            checks.extend(self.foreign_firewall());
        }
        checks
    }

    /// Rules of others that what is forwarded for containers has to pass.
    fn foreign_firewall(&self) -> Vec<Check> {
        const NAME: &str = "firewall";
        let looked = Socket::netfilter().and_then(|mut socket| {
            let bridge = self.store.resolve_network(DEFAULT_NETWORK)?.interface;
            Ok((firewall::obstacles(&mut socket)?, bridge))
        });
        match looked {
            Err(error) => vec![unknown(NAME, error.one_line())],
            Ok((obstacles, _)) if obstacles.is_empty() => {
                vec![fine(NAME, "no rules of others drop what is forwarded")]
            }
            Ok((obstacles, bridge)) => obstacles
                .iter()
                .map(|one| limited(NAME, one.message()).fix(one.hint(&bridge)))
                .collect(),
        }
    }
}

fn without(error: &Error) -> NetworkBackend {
    NetworkBackend {
        name: None,
        missing: vec![Missing::from(error)],
    }
}

/// As root's networks are.
fn forwarded(network: &Network) -> Option<NetworkBackend> {
    let make = || -> Result<()> {
        bridge::ensure(&mut Socket::route()?, network)?;
        firewall::ensure(&mut Socket::netfilter()?, network)
    };
    let tried = attempt(|| {
        netns::unshare()?;
        make().map_err(|error| io::Error::other(error.one_line()))
    })?;
    let why = tried.err();
    Some(NetworkBackend {
        name: why.is_none().then_some("nftables"),
        missing: Vec::from_iter(why.map(|why| Missing {
            why,
            hint: Some("modprobe -a bridge veth nf_tables nft_chain_nat nft_masq".to_owned()),
        })),
    })
}

/// As an ordinary user's are; `wanted`: what the settings say.
fn relayed(wanted: Option<Backend>) -> Option<NetworkBackend> {
    if !fork::is_single_threaded() {
        return None;
    }
    let means = means::find();
    let found = match wanted {
        Some(Backend::Tun) => means.tun.is_ok().then_some(Backend::Tun),
        Some(Backend::Tproxy) => means.backend().filter(|best| *best == Backend::Tproxy),
        None => means.backend(),
    };
    // Who has chosen the lesser one misses nothing.
    let chosen = wanted.is_some() && found == wanted;
    Some(NetworkBackend {
        name: found.map(Backend::as_str),
        missing: means
            .missing()
            .filter(|_| !chosen)
            .map(Missing::from)
            .collect(),
    })
}

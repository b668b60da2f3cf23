//! How an ordinary user's containers reach the world.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// How packets of a container get to the sockets of its relay.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// The kernel's firewall gives them (nf_tables, TPROXY).
    Tproxy,
    /// Through a TUN device, each of them: for kernels that have nothing better.
    Tun,
}

impl Backend {
    pub const ALL: [Backend; 2] = [Backend::Tproxy, Backend::Tun];

    pub fn as_str(self) -> &'static str {
        match self {
            Backend::Tproxy => "tproxy",
            Backend::Tun => "tun",
        }
    }
}

impl fmt::Display for Backend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for Backend {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = |backend: &Backend| backend.as_str() == text;
        Backend::ALL.into_iter().find(named).ok_or_else(|| {
            Error::invalid(format!("{text:?} is no network backend")).with_hint(
                "there are tproxy and tun; usually the better one that is there is taken",
            )
        })
    }
}

//! Platforms (`linux/arm64/v8`) and the choice of one from an image index.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// An operating system, architecture and variant in Go's names (`GOOS`, `GOARCH`), as the OCI
/// image index uses them.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Platform {
    pub os: String,
    pub architecture: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// The platform this program was compiled for.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "x86_64" => "amd64",
            "aarch64" => "arm64",
            "x86" => "386",
            "powerpc64" => "ppc64le",
            "loongarch64" => "loong64",
            other => other,
        };
        let variant = (architecture == "arm64").then(|| "v8".to_owned());
        Platform {
            os: "linux".to_owned(),
            architecture: architecture.to_owned(),
            variant,
        }
    }

    /// Whether an image for `offered` can be run where `self` is wanted. An absent variant on
    /// either side fits any (arm64 without a variant means v8).
    pub fn accepts(&self, offered: &Platform) -> bool {
        self.os == offered.os
            && self.architecture == offered.architecture
            && match (&self.variant, &offered.variant) {
                (Some(wanted), Some(offered)) => wanted == offered,
                _ => true,
            }
    }
}

/// What may stand alone, as GOOS has it.
const SYSTEMS: &[&str] = &[
    "aix",
    "android",
    "darwin",
    "dragonfly",
    "freebsd",
    "illumos",
    "ios",
    "js",
    "linux",
    "netbsd",
    "openbsd",
    "plan9",
    "solaris",
    "windows",
    "zos",
];
/// The same of GOARCH, and the names of `uname -m`.
const ARCHITECTURES: &[&str] = &[
    "386", "aarch64", "amd64", "arm", "arm64", "armel", "armhf", "i386", "loong64", "mips",
    "mips64", "mips64le", "mipsle", "ppc64", "ppc64le", "riscv", "riscv64", "s390", "s390x",
    "sparc", "sparc64", "wasm", "x86-64", "x86_64",
];

impl FromStr for Platform {
    type Err = Error;

    /// `os/arch[/variant]`, or an architecture alone. The names of `uname -m` are understood.
    fn from_str(text: &str) -> Result<Self> {
        let parts: Vec<&str> = text.split('/').collect();
        let plain = |part: &&str| {
            !part.is_empty()
                && part
                    .bytes()
                    .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-' || b == b'.')
        };
        if parts.len() > 3 || !parts.iter().all(plain) {
            return Err(Error::invalid(format!(
                "invalid platform {text:?}: expected os/arch[/variant], for example linux/arm64"
            )));
        }
        let (os, architecture, variant) = match parts[..] {
            [system] if SYSTEMS.contains(&system) => {
                (system.to_owned(), Platform::host().architecture, None)
            }
            [architecture] if ARCHITECTURES.contains(&architecture) => {
                ("linux".to_owned(), architecture.to_owned(), None)
            }
            [other] => {
                return Err(Error::invalid(format!(
                    "{other:?}: unknown operating system or architecture: invalid argument"
                )));
            }
            [os, architecture] => (os.to_owned(), architecture.to_owned(), None),
            [os, architecture, variant, ..] => (
                os.to_owned(),
                architecture.to_owned(),
                Some(variant.to_owned()),
            ),
            [] => unreachable!("split yields at least one part"),
        };
        let (architecture, variant) = match (architecture.as_str(), variant) {
            ("x86_64" | "x86-64", variant) => ("amd64".to_owned(), variant),
            ("aarch64", variant) => ("arm64".to_owned(), variant),
            ("armhf", None) => ("arm".to_owned(), Some("v7".to_owned())),
            ("i386", variant) => ("386".to_owned(), variant),
            (_, variant) => (architecture, variant),
        };
        Ok(Platform {
            os,
            architecture,
            variant,
        })
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(f, "/{variant}"),
            None => Ok(()),
        }
    }
}

//! Which namespaces of the container are its own, and with whom it shares the others,
//! namespaces(7).
//!
//! Parsed from Docker's and Podman's words (`--pid`, `--ipc`, `--uts`, `--cgroupns`), printed as
//! Docker's `inspect` has them (`HostConfig.PidMode` and its siblings).

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Error, Result, container::NetworkMode};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Namespaces {
    pub pid: NamespaceMode,
    pub ipc: IpcMode,
    pub uts: NamespaceMode,
    pub cgroup: NamespaceMode,
    /// NIS domain name of the container's own UTS namespace, setdomainname(2).
    pub domainname: Option<String>,
    pub systemd: SystemdMode,
    /// Leave the image's /etc/hostname and /etc/hosts as they are.
    pub no_hostname: bool,
    pub no_hosts: bool,
    /// Seconds after which the container is killed.
    pub timeout: Option<u32>,
    pub personality: Option<Personality>,
    /// Where the number of the first process is written at every start: an absolute path.
    pub pidfile: Option<String>,
}

/// A namespace of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceMode {
    /// The container's own.
    #[default]
    Private,
    Host,
    /// That of a container: a name or an id, after `create` its whole id.
    Container(String),
    /// That which a file stands for, like `/run/netns/NAME`.
    Path(String),
}

/// The IPC namespace, and with it /dev/shm.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum IpcMode {
    /// The container's own, without /dev/shm.
    None,
    /// The container's own, which no other container may join.
    Private,
    /// The container's own. The default, as Podman's: who may join it may act on the container
    /// anyway, there is no daemon in between that would keep users apart.
    #[default]
    Shareable,
    Host,
    Container(String),
    Path(String),
}

/// Whether the container is prepared for systemd as its first process.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum SystemdMode {
    /// If the program is systemd or an init.
    #[default]
    Detect,
    Never,
    Always,
}

/// An execution domain, personality(2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Personality {
    /// `PER_LINUX`: what there is anyway.
    Linux,
    /// `PER_LINUX32`: uname(2) tells of the 32-bit machine.
    Linux32,
}

/// The kinds of namespaces that can be shared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum NamespaceKind {
    Pid,
    Ipc,
    Uts,
    Cgroup,
    Network,
}

/// In which namespace a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Place {
    #[default]
    Own,
    Host,
    /// Somebody else's.
    Joined,
}

/// In which namespaces a container is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Placement {
    pub pid: Place,
    pub ipc: Place,
    pub uts: Place,
    pub cgroup: Place,
    pub network: Place,
}

impl NamespaceKind {
    pub const ALL: [NamespaceKind; 5] = [
        NamespaceKind::Pid,
        NamespaceKind::Ipc,
        NamespaceKind::Uts,
        NamespaceKind::Cgroup,
        NamespaceKind::Network,
    ];
}

impl fmt::Display for NamespaceKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            NamespaceKind::Pid => "PID",
            NamespaceKind::Ipc => "IPC",
            NamespaceKind::Uts => "UTS",
            NamespaceKind::Cgroup => "cgroup",
            NamespaceKind::Network => "network",
        })
    }
}

impl Placement {
    pub fn of(&self, kind: NamespaceKind) -> Place {
        match kind {
            NamespaceKind::Pid => self.pid,
            NamespaceKind::Ipc => self.ipc,
            NamespaceKind::Uts => self.uts,
            NamespaceKind::Cgroup => self.cgroup,
            NamespaceKind::Network => self.network,
        }
    }

    pub fn set(&mut self, kind: NamespaceKind, place: Place) {
        let field = match kind {
            NamespaceKind::Pid => &mut self.pid,
            NamespaceKind::Ipc => &mut self.ipc,
            NamespaceKind::Uts => &mut self.uts,
            NamespaceKind::Cgroup => &mut self.cgroup,
            NamespaceKind::Network => &mut self.network,
        };
        *field = place;
    }
}

impl Namespaces {
    /// The mode of one kind; the network's is kept elsewhere in the spec.
    pub fn mode(&self, kind: NamespaceKind, network: &NetworkMode) -> NamespaceMode {
        match kind {
            NamespaceKind::Pid => self.pid.clone(),
            NamespaceKind::Uts => self.uts.clone(),
            NamespaceKind::Cgroup => self.cgroup.clone(),
            NamespaceKind::Ipc => match &self.ipc {
                IpcMode::None | IpcMode::Private | IpcMode::Shareable => NamespaceMode::Private,
                IpcMode::Host => NamespaceMode::Host,
                IpcMode::Container(whose) => NamespaceMode::Container(whose.clone()),
                IpcMode::Path(path) => NamespaceMode::Path(path.clone()),
            },
            NamespaceKind::Network => match network {
                NetworkMode::None
                | NetworkMode::Bridge
                | NetworkMode::Networks(_)
                | NetworkMode::Private(_) => NamespaceMode::Private,
                NetworkMode::Host => NamespaceMode::Host,
                NetworkMode::Container(whose) => NamespaceMode::Container(whose.clone()),
                NetworkMode::Path(path) => NamespaceMode::Path(path.clone()),
            },
        }
    }
}

impl NamespaceMode {
    /// `host`, `private`, `container:NAME` or `ns:PATH`; `what` is the flag with Docker's word
    /// for the kind, for the message.
    pub fn parse(text: &str, what: &str) -> Result<Self> {
        let refuse = || Error::invalid(format!("{what}: {text:?}"));
        match text {
            "" | "private" => Ok(NamespaceMode::Private),
            "host" => Ok(NamespaceMode::Host),
            _ => match shared(text) {
                Some(Shared::Container(whose)) => Ok(NamespaceMode::Container(whose)),
                Some(Shared::Path(path)) => Ok(NamespaceMode::Path(path)),
                None => Err(refuse().with_hint("host, private, container:NAME or ns:PATH")),
            },
        }
    }

    /// The name or id of the container that is joined.
    pub fn container_mut(&mut self) -> Option<&mut String> {
        match self {
            NamespaceMode::Container(whose) => Some(whose),
            _ => None,
        }
    }
}

/// Docker prints nothing for a namespace of the container's own.
impl fmt::Display for NamespaceMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            NamespaceMode::Private => Ok(()),
            NamespaceMode::Host => f.write_str("host"),
            NamespaceMode::Container(whose) => write!(f, "container:{whose}"),
            NamespaceMode::Path(path) => write!(f, "ns:{path}"),
        }
    }
}

impl IpcMode {
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "" | "shareable" => Ok(IpcMode::Shareable),
            "none" => Ok(IpcMode::None),
            "private" => Ok(IpcMode::Private),
            "host" => Ok(IpcMode::Host),
            _ => match shared(text) {
                Some(Shared::Container(whose)) => Ok(IpcMode::Container(whose)),
                Some(Shared::Path(path)) => Ok(IpcMode::Path(path)),
                None => Err(Error::invalid(format!("invalid IPC mode: {text}"))
                    .with_hint("none, private, shareable, host, container:NAME or ns:PATH")),
            },
        }
    }

    pub fn container_mut(&mut self) -> Option<&mut String> {
        match self {
            IpcMode::Container(whose) => Some(whose),
            _ => None,
        }
    }
}

impl fmt::Display for IpcMode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            IpcMode::None => f.write_str("none"),
            IpcMode::Private => f.write_str("private"),
            IpcMode::Shareable => f.write_str("shareable"),
            IpcMode::Host => f.write_str("host"),
            IpcMode::Container(whose) => write!(f, "container:{whose}"),
            IpcMode::Path(path) => write!(f, "ns:{path}"),
        }
    }
}

impl SystemdMode {
    /// Podman's words.
    pub fn parse(text: &str) -> Result<Self> {
        match text {
            "true" => Ok(SystemdMode::Detect),
            "false" => Ok(SystemdMode::Never),
            "always" => Ok(SystemdMode::Always),
            _ => Err(Error::invalid(format!("invalid systemd mode {text:?}"))
                .with_hint("true, false or always")),
        }
    }
}

impl Personality {
    /// Podman's words, those of the runtime specification.
    pub fn parse(text: &str) -> Result<Self> {
        match text.to_ascii_uppercase().as_str() {
            "LINUX" => Ok(Personality::Linux),
            "LINUX32" => Ok(Personality::Linux32),
            _ => Err(Error::invalid(format!("invalid personality {text:?}"))
                .with_hint("LINUX or LINUX32")),
        }
    }
}

/// What stands behind `container:` or `ns:`.
pub(super) enum Shared {
    Container(String),
    Path(String),
}

/// `None` if it is neither, or says no name.
pub(super) fn shared(text: &str) -> Option<Shared> {
    if let Some(whose) = text.strip_prefix("container:") {
        return (!whose.is_empty()).then(|| Shared::Container(whose.to_owned()));
    }
    let path = text.strip_prefix("ns:")?;
    path.starts_with('/').then(|| Shared::Path(path.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_come_back_as_they_were_said() {
        for text in ["host", "container:web", "ns:/run/netns/a"] {
            assert_eq!(NamespaceMode::parse(text, "").unwrap().to_string(), text);
            assert_eq!(IpcMode::parse(text).unwrap().to_string(), text);
            let network = NetworkMode::parse(text).unwrap().unwrap();
            assert_eq!(network.to_string(), text);
        }
        for text in ["none", "private", "shareable"] {
            assert_eq!(IpcMode::parse(text).unwrap().to_string(), text);
        }
        assert_eq!(NamespaceMode::parse("private", "").unwrap().to_string(), "");
    }

    #[test]
    fn what_names_nobody_is_refused() {
        for text in [
            "container:",
            "ns:",
            "ns:relative",
            "shareable",
            "none",
            "Host",
        ] {
            assert!(NamespaceMode::parse(text, "").is_err(), "{text}");
        }
        for text in ["container:", "ns:", "ns:relative", "nobody"] {
            assert!(IpcMode::parse(text).is_err(), "{text}");
        }
        for text in ["container:", "ns:", "ns:relative", ""] {
            assert!(NetworkMode::parse(text).is_err(), "{text}");
        }
    }
}

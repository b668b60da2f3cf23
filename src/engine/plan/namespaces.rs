//! Which namespaces are made, which are joined, and what follows from that for the names and
//! files that belong to them.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    container::{ContainerRecord, NetworkMode},
    host::HostFacts,
    namespace::{IpcMode, NamespaceKind, NamespaceMode, Place, Placement},
};

/// Where the container is, and what it joins.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NamespacePlan {
    pub placement: Placement,
    /// One for each of the [`Neighbour`]s, in their order: whoever carries the plan out is handed
    /// as many descriptors.
    pub joins: Vec<Join>,
    /// Set in the container's own UTS namespace, and only there.
    pub hostname: Option<String>,
    pub domainname: Option<String>,
}

/// Namespaces that are entered through one held descriptor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Join {
    /// For messages.
    pub whose: String,
    /// A pidfd; otherwise an open namespace, of the one kind that there is.
    pub is_process: bool,
    pub kinds: Vec<NamespaceKind>,
    /// Its /dev/shm is the container's too.
    pub shares_memory: bool,
}

/// What the engine has found out about somebody whose namespaces are joined, and holds open.
#[derive(Clone, Debug, PartialEq)]
pub struct Neighbour {
    pub target: Target,
    /// Where that container is itself: what it shares with the host is not joined but shared.
    pub placement: Placement,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
    /// Its whole id.
    Container(String),
    Path(NamespaceKind, String),
}

/// What a container has of others, as the engine found it at the start.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Surroundings {
    pub neighbours: Vec<Neighbour>,
    /// The name of the UTS or network namespace that is shared.
    pub hostname: Option<String>,
    /// The folder of the container whose network is shared: its hosts, hostname and resolv.conf.
    pub network_files: Option<PathBuf>,
}

/// Whom a container joins, each once, in the order of the kinds.
pub fn targets(spec: &ContainerSpec) -> Vec<Target> {
    let mut found: Vec<Target> = Vec::new();
    for kind in NamespaceKind::ALL {
        if let Some(target) = target(spec, kind)
            && !found.contains(&target)
        {
            found.push(target);
        }
    }
    found
}

fn target(spec: &ContainerSpec, kind: NamespaceKind) -> Option<Target> {
    match spec.namespaces.mode(kind, &spec.network) {
        NamespaceMode::Private | NamespaceMode::Host => None,
        NamespaceMode::Container(whose) => Some(Target::Container(whose)),
        NamespaceMode::Path(path) => Some(Target::Path(kind, path)),
    }
}

/// Refuses what contradicts itself, in Docker's words.
pub fn check(spec: &ContainerSpec) -> Result<()> {
    let conflict = |what: &str| Err(Error::invalid(format!("conflicting options: {what}")));
    let names = spec.hostname.is_some();
    if names && spec.namespaces.uts != NamespaceMode::Private {
        return conflict("hostname and the UTS mode");
    }
    if spec.namespaces.domainname.is_some() && spec.namespaces.uts != NamespaceMode::Private {
        return conflict("domainname and the UTS mode");
    }
    let dns = &spec.dns;
    match spec.network {
        NetworkMode::Container(_) if names => conflict("hostname and the network mode"),
        NetworkMode::Container(_) if !dns.links.is_empty() => {
            conflict("container type network can't be used with links")
        }
        NetworkMode::Container(_) if !dns.servers.is_empty() || dns.unmanaged => {
            conflict("dns and the network mode")
        }
        NetworkMode::Container(_) if !dns.hosts.is_empty() => {
            conflict("custom host-to-IP mapping and the network mode")
        }
        NetworkMode::Container(_) if spec.publish_all || !spec.published.is_empty() => {
            conflict("port publishing and the container type network mode")
        }
        NetworkMode::Container(_) if !spec.exposed.is_empty() => {
            conflict("port exposing and the container type network mode")
        }
        NetworkMode::Host if !dns.links.is_empty() => {
            conflict("host type networking can't be used with links")
        }
        _ => Ok(()),
    }
}

pub(super) fn plan(
    record: &ContainerRecord,
    surroundings: &Surroundings,
    hostname: &str,
) -> NamespacePlan {
    let spec = &record.spec;
    let mut joins: Vec<Join> = surroundings.neighbours.iter().map(empty_join).collect();
    let mut placement = Placement::default();
    for kind in NamespaceKind::ALL {
        let place = match target(spec, kind) {
            None => match spec.namespaces.mode(kind, &spec.network) {
                NamespaceMode::Host => Place::Host,
                _ => Place::Own,
            },
            Some(target) => {
                let same = |neighbour: &Neighbour| neighbour.target == target;
                match surroundings.neighbours.iter().position(same) {
                    Some(index)
                        if surroundings.neighbours[index].placement.of(kind) == Place::Host =>
                    {
                        Place::Host
                    }
                    Some(index) => {
                        joins[index].kinds.push(kind);
                        Place::Joined
                    }
                    None => Place::Own,
                }
            }
        };
        placement.set(kind, place);
    }
    if let IpcMode::Container(whose) = &spec.namespaces.ipc {
        for (join, neighbour) in joins.iter_mut().zip(&surroundings.neighbours) {
            join.shares_memory = neighbour.target == Target::Container(whose.clone());
        }
    }
    let own_names = placement.uts == Place::Own;
    NamespacePlan {
        placement,
        joins,
        hostname: own_names.then(|| hostname.to_owned()),
        domainname: spec.namespaces.domainname.clone().filter(|_| own_names),
    }
}

fn empty_join(neighbour: &Neighbour) -> Join {
    let (whose, is_process) = match &neighbour.target {
        Target::Container(id) => (format!("container {id}"), true),
        Target::Path(_, path) => (path.clone(), false),
    };
    Join {
        whose,
        is_process,
        kinds: Vec::new(),
        shares_memory: false,
    }
}

/// The host lets an ordinary user have a new procfs only for a pid namespace of hers.
pub(super) fn fresh_proc(placement: &Placement, host: &HostFacts) -> bool {
    placement.pid != Place::Host || host.initial_user_namespace
}

/// A container may join the IPC namespace of another unless that one keeps it to itself.
pub fn check_shareable(whose: &ContainerRecord) -> Result<()> {
    let why = match whose.spec.namespaces.ipc {
        IpcMode::Private => "non-shareable IPC",
        IpcMode::None => "it has no /dev/shm",
        _ => return Ok(()),
    };
    Err(Error::new(
        ErrorKind::Conflict,
        format!("can't join IPC of container {}: {why}", whose.id),
    )
    .with_hint("start that one with --ipc shareable"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::namespace::Namespaces;

    const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";

    fn record(namespaces: Namespaces, network: NetworkMode) -> ContainerRecord {
        let digest = format!("\"sha256:{ID}\"");
        ContainerRecord {
            id: ID.parse().unwrap(),
            name: "me".into(),
            created: String::new(),
            spec: ContainerSpec {
                namespaces,
                network,
                ..ContainerSpec::default()
            },
            image_id: serde_json::from_str(&digest).unwrap(),
            layers: Vec::new(),
            ids: None,
            path: String::new(),
            args: Vec::new(),
        }
    }

    fn neighbour(target: Target, placement: Placement) -> Surroundings {
        Surroundings {
            neighbours: vec![Neighbour { target, placement }],
            ..Surroundings::default()
        }
    }

    #[test]
    fn everything_is_the_containers_own_by_default() {
        let record = record(Namespaces::default(), NetworkMode::None);
        assert_eq!(targets(&record.spec), []);
        let plan = plan(&record, &Surroundings::default(), "me");
        assert_eq!(plan.placement, Placement::default());
        assert_eq!(plan.hostname.as_deref(), Some("me"));
        assert_eq!(plan.joins, []);
    }

    #[test]
    fn one_neighbour_is_joined_at_once() {
        let web = || NamespaceMode::Container("web".into());
        let namespaces = Namespaces {
            pid: web(),
            uts: web(),
            ipc: IpcMode::Container("web".into()),
            ..Namespaces::default()
        };
        let record = record(namespaces, NetworkMode::Container("web".into()));
        let target = Target::Container("web".into());
        assert_eq!(targets(&record.spec), std::slice::from_ref(&target));
        let plan = plan(&record, &neighbour(target, Placement::default()), "web");
        use NamespaceKind::{Ipc, Network, Pid, Uts};
        assert_eq!(plan.joins[0].kinds, [Pid, Ipc, Uts, Network]);
        assert!(plan.joins[0].shares_memory && plan.joins[0].is_process);
        assert_eq!(plan.hostname, None);
        assert_eq!(plan.placement.cgroup, Place::Own);
        assert_eq!(plan.placement.pid, Place::Joined);
    }

    #[test]
    fn what_the_neighbour_shares_with_the_host_is_shared_with_the_host() {
        let namespaces = Namespaces {
            pid: NamespaceMode::Container("web".into()),
            ..Namespaces::default()
        };
        let record = record(namespaces, NetworkMode::None);
        let there = Placement {
            pid: Place::Host,
            ..Placement::default()
        };
        let plan = plan(
            &record,
            &neighbour(Target::Container("web".into()), there),
            "me",
        );
        assert_eq!(plan.placement.pid, Place::Host);
        assert_eq!(plan.joins[0].kinds, []);
    }

    #[test]
    fn a_path_is_joined_as_its_kind() {
        let namespaces = Namespaces {
            ipc: IpcMode::Path("/x".into()),
            ..Namespaces::default()
        };
        let record = record(namespaces, NetworkMode::None);
        let target = Target::Path(NamespaceKind::Ipc, "/x".into());
        let plan = plan(&record, &neighbour(target, Placement::default()), "me");
        assert_eq!(plan.joins[0].kinds, [NamespaceKind::Ipc]);
        assert!(!plan.joins[0].is_process && !plan.joins[0].shares_memory);
    }

    #[test]
    fn contradictions_are_refused_in_dockers_words() {
        let refused = |spec: ContainerSpec| check(&spec).unwrap_err().one_line();
        let named = ContainerSpec {
            hostname: Some("h".into()),
            ..ContainerSpec::default()
        };
        let mut spec = named.clone();
        spec.namespaces.uts = NamespaceMode::Host;
        assert_eq!(
            refused(spec),
            "conflicting options: hostname and the UTS mode"
        );
        let mut spec = named.clone();
        spec.network = NetworkMode::Container("web".into());
        assert_eq!(
            refused(spec),
            "conflicting options: hostname and the network mode"
        );
        assert!(check(&named).is_ok());
    }
}

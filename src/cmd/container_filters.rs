//! `--filter` of `ps`, and of every command that chooses containers by one: Docker's keys and Podman's.

use super::{
    container_rows::{health_word, networks},
    failure::Failure,
    filter::{Filters, Patterns},
    times,
};
use crate::{
    engine::{ContainerSummary, Engine},
    model::{container::ContainerState, mount::MountSource, restart::RestartPolicy},
};

pub const KEYS: &[&str] = &[
    "ancestor",
    "before",
    "command",
    "exited",
    "expose",
    "health",
    "id",
    "is-task",
    "isolation",
    "label",
    "label!",
    "name",
    "network",
    "pod",
    "publish",
    "restart-policy",
    "since",
    "status",
    "until",
    "volume",
];

/// The filters of one command, ready to be compared with containers.
pub struct ContainerFilters {
    filters: Filters,
    ids: Patterns,
    names: Patterns,
    commands: Patterns,
    /// RFC 3339: when the containers that are named were created.
    before: Option<String>,
    since: Option<String>,
    /// Nanoseconds after the Unix epoch.
    until: Option<i128>,
    ancestors: Option<Vec<Ancestor>>,
    is_task: Option<bool>,
    /// Names of networks, also of those that were named by an ID.
    networks: Option<Vec<String>>,
    exposed: Vec<PortRange>,
    published: Vec<PortRange>,
}

impl ContainerFilters {
    /// What can be wrong with the texts alone is told before the store is opened.
    pub fn parse(texts: &[String]) -> Result<Filters, Failure> {
        let filters = Filters::parse(texts, KEYS)?;
        check_values(&filters)?;
        Ok(filters)
    }

    /// Looks up what the filters name.
    pub fn resolve(filters: Filters, engine: &Engine) -> Result<Self, Failure> {
        let ports = |key: &str| filters.values(key).filter_map(PortRange::parse).collect();
        let until = filters.values("until").last().map(times::parse_moment);
        Ok(ContainerFilters {
            ids: filters.patterns("id"),
            names: filters.patterns("name"),
            commands: filters.patterns("command"),
            before: created(&filters, "before", engine)?,
            since: created(&filters, "since", engine)?,
            until: until.transpose()?,
            ancestors: ancestors(&filters, engine),
            is_task: filters.boolean("is-task")?,
            networks: wanted_networks(&filters, engine),
            exposed: ports("expose"),
            published: ports("publish"),
            filters,
        })
    }

    /// Whether containers that do not run may be wanted, although that was not said.
    pub fn wants_all(filters: &Filters) -> bool {
        filters.has("status") || filters.has("exited")
    }

    pub fn accepts(&self, container: &ContainerSummary) -> bool {
        let filters = &self.filters;
        let created = || times::nanoseconds(&container.created);
        self.ids.accept(container.id.as_str())
            && self.names.accept_name(&container.name)
            && self.commands.accept(&container.command[0])
            && filters.accepts_labels(&container.labels)
            && filters.refuses_no_label(&container.labels)
            && filters.accepts("status", |status| state(status) == Some(container.state))
            && filters.accepts("exited", |code| {
                container.state == ContainerState::Exited
                    && container.exit_code.map(|code| code.to_string()).as_deref() == Some(code)
            })
            && filters.accepts("health", |health| health == health_word(container))
            && self.accepts_network(container)
            && filters.accepts("volume", |volume| has_mount(container, volume))
            && filters.accepts("restart-policy", |policy| is_policy(container.restart, policy))
            && filters.accepts("isolation", |kind| matches!(kind, "" | "default"))
            // There are neither pods nor a swarm.
            && filters.accepts("pod", |_| false)
            && self.is_task != Some(true)
            && self.accepts_ports(container)
            && self.until.is_none_or(|moment| created() < moment)
            && self
                .ancestors
                .as_ref()
                .is_none_or(|wanted| is_descendant(container, wanted))
            && self
                .before
                .as_ref()
                .is_none_or(|moment| container.created < *moment)
            && self
                .since
                .as_ref()
                .is_none_or(|moment| container.created > *moment)
    }

    fn accepts_network(&self, container: &ContainerSummary) -> bool {
        let is_wanted = |wanted: &Vec<String>| {
            let mut have = networks(container).into_iter();
            have.any(|name| wanted.contains(&name))
        };
        self.networks.as_ref().is_none_or(is_wanted)
    }

    fn accepts_ports(&self, container: &ContainerSummary) -> bool {
        let is_exposed = |range: &PortRange| {
            let mut ports = container.exposed.iter();
            ports.any(|port| PortRange::parse(port).is_some_and(|port| range.contains(&port)))
        };
        let is_published = |range: &PortRange| {
            let mut ports = container.ports.iter();
            ports.any(|port| range.has(port.port, &port.protocol))
        };
        (self.exposed.is_empty() || self.exposed.iter().any(is_exposed))
            && (self.published.is_empty() || self.published.iter().any(is_published))
    }
}

/// `80`, `80/udp`, `80-90/tcp`
#[derive(Debug, PartialEq, Eq)]
struct PortRange {
    first: u16,
    last: u16,
    protocol: String,
}

impl PortRange {
    fn parse(text: &str) -> Option<PortRange> {
        let (ports, protocol) = text.split_once('/').unwrap_or((text, "tcp"));
        let (first, last) = ports.split_once('-').unwrap_or((ports, ports));
        let (first, last) = (first.parse().ok()?, last.parse().ok()?);
        let known = matches!(protocol, "tcp" | "udp" | "sctp");
        (known && first <= last).then(|| PortRange {
            first,
            last,
            protocol: protocol.to_owned(),
        })
    }

    fn has(&self, port: u16, protocol: &str) -> bool {
        (self.first..=self.last).contains(&port) && self.protocol == protocol
    }

    /// One of the other's ports is among these.
    fn contains(&self, other: &PortRange) -> bool {
        self.protocol == other.protocol && self.first <= other.last && other.first <= self.last
    }
}

/// Docker's states, and Podman's words for two of them.
fn state(word: &str) -> Option<ContainerState> {
    Some(match word {
        "created" | "configured" => ContainerState::Created,
        "running" => ContainerState::Running,
        "paused" => ContainerState::Paused,
        "restarting" => ContainerState::Restarting,
        "removing" => ContainerState::Removing,
        "exited" | "stopped" => ContainerState::Exited,
        "dead" => ContainerState::Dead,
        _ => return None,
    })
}

fn check_values(filters: &Filters) -> Result<(), Failure> {
    type Check = fn(&str) -> bool;
    let checks: [(&str, Check); 6] = [
        ("status", |word| state(word).is_some()),
        ("health", |word| {
            matches!(word, "none" | "starting" | "healthy" | "unhealthy")
        }),
        ("exited", |code| code.parse::<i32>().is_ok()),
        ("expose", |port| PortRange::parse(port).is_some()),
        ("publish", |port| PortRange::parse(port).is_some()),
        ("restart-policy", |policy| {
            policy.parse::<RestartPolicy>().is_ok()
        }),
    ];
    for (key, is_fine) in checks {
        if let Some(value) = filters.values(key).find(|value| !is_fine(value)) {
            return Err(Failure::Plain(format!("invalid filter '{key}={value}'"), 1));
        }
    }
    Ok(())
}

/// `on-failure` stands for any count.
fn is_policy(policy: RestartPolicy, wanted: &str) -> bool {
    match (policy, wanted) {
        (RestartPolicy::OnFailure { .. }, "on-failure") => true,
        _ => wanted
            .parse()
            .is_ok_and(|wanted: RestartPolicy| wanted == policy),
    }
}

/// What is no network is compared as it stands.
fn wanted_networks(filters: &Filters, engine: &Engine) -> Option<Vec<String>> {
    let name = |typed: &str| {
        engine
            .network_name(typed)
            .unwrap_or_else(|_| typed.to_owned())
    };
    filters
        .has("network")
        .then(|| filters.values("network").map(name).collect())
}

/// When the container that a filter names was created.
fn created(filters: &Filters, key: &str, engine: &Engine) -> Result<Option<String>, Failure> {
    let Some(name) = filters.values(key).last() else {
        return Ok(None);
    };
    let object = engine.inspect_container(name, false)?;
    Ok(object["Created"].as_str().map(str::to_owned))
}

/// What an `ancestor` filter names, once as typed and once as the store knows it.
struct Ancestor {
    name: String,
    id: Option<String>,
    layers: usize,
    top: Option<String>,
}

fn ancestors(filters: &Filters, engine: &Engine) -> Option<Vec<Ancestor>> {
    if !filters.has("ancestor") {
        return None;
    }
    let known = engine.images().unwrap_or_default();
    let describe = |name: &str| {
        let object = engine.inspect_image(name).ok();
        let id = object.and_then(|object| object["Id"].as_str().map(str::to_owned));
        let record = known
            .iter()
            .find(|record| Some(record.config.as_str()) == id.as_deref());
        Ancestor {
            name: name.to_owned(),
            layers: record.map_or(0, |record| record.layers.len()),
            top: record
                .and_then(|record| record.layers.last())
                .map(ToString::to_string),
            id,
        }
    };
    Some(filters.values("ancestor").map(describe).collect())
}

/// The same image, or one whose lower layers are that image's: a chain id names everything
/// below it.
fn is_descendant(container: &ContainerSummary, wanted: &[Ancestor]) -> bool {
    wanted.iter().any(|ancestor| {
        ancestor.id.is_some()
            && ancestor.id.as_deref()
                == container
                    .image_id
                    .as_ref()
                    .map(crate::model::Digest::as_str)
            || ancestor.name == container.image
            || ancestor.top.as_deref().is_some_and(|top| {
                container
                    .layers
                    .get(ancestor.layers - 1)
                    .map(crate::model::Digest::as_str)
                    == Some(top)
            })
    })
}

fn has_mount(container: &ContainerSummary, wanted: &str) -> bool {
    container.mounts.iter().any(|mount| {
        mount.target == wanted
            || matches!(&mount.source, MountSource::Bind { source, .. } if source == wanted)
            || mount.volume().is_some_and(|volume| volume.name == wanted)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_numbers_ranges_and_protocols() {
        let range = |text: &str| PortRange::parse(text);
        assert!(range("80").is_some_and(|range| range.has(80, "tcp") && !range.has(80, "udp")));
        assert!(range("8000-8010/udp").is_some_and(|range| range.has(8010, "udp")));
        for bad in ["", "x", "90-80", "80/x", "70000", "80-"] {
            assert_eq!(range(bad), None, "{bad}");
        }
        let (wide, one) = (range("80-90"), range("85/tcp"));
        assert!(wide.zip(one).is_some_and(|(wide, one)| wide.contains(&one)));
    }

    #[test]
    fn values_that_make_no_sense_are_refused() {
        for bad in [
            "status=asleep",
            "health=fine",
            "exited=x",
            "expose=x",
            "publish=1-",
            "restart-policy=sometimes",
            "colour=red",
        ] {
            let parsed = ContainerFilters::parse(&[bad.to_owned()]);
            assert!(parsed.is_err(), "{bad}");
        }
        let fine = [
            "status=stopped",
            "restart-policy=on-failure",
            "expose=80/udp",
        ];
        let fine = fine.map(str::to_owned);
        assert!(ContainerFilters::parse(&fine).is_ok());
    }

    #[test]
    fn a_policy_fits_with_and_without_its_count() {
        let three = RestartPolicy::OnFailure { most: 3 };
        assert!(is_policy(three, "on-failure"));
        assert!(is_policy(three, "on-failure:3"));
        assert!(!is_policy(three, "always"));
        assert!(is_policy(RestartPolicy::No, "no"));
    }
}

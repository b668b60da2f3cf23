//! A container as one line of a list: Docker's fields, as texts.

use std::{
    collections::BTreeMap,
    fmt,
    net::{IpAddr, SocketAddr},
};

use super::{listing::label_text, template::Row, times};
use crate::{
    engine::{ContainerSummary, PublishedPort},
    model::{
        container::{ContainerState, NetworkMode},
        health::HealthStatus,
        human,
        mount::{Mount, MountSource},
        publish::{Port, Protocol},
    },
};

pub const HEADINGS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Image", "IMAGE"),
    ("Command", "COMMAND"),
    ("CreatedAt", "CREATED AT"),
    ("RunningFor", "CREATED"),
    ("Status", "STATUS"),
    ("State", "STATE"),
    ("Ports", "PORTS"),
    ("Names", "NAMES"),
    ("Size", "SIZE"),
    ("Labels", "LABELS"),
    ("Mounts", "MOUNTS"),
    ("LocalVolumes", "LOCAL VOLUMES"),
    ("Networks", "NETWORKS"),
    ("Platform", "PLATFORM"),
];

pub const TABLE: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
pub const TABLE_WITH_SIZE: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";

fn local_volumes(container: &ContainerSummary) -> usize {
    let volumes = container.mounts.iter().filter_map(Mount::volume);
    volumes.count()
}

/// By name; who shares another's network is in none of her own.
pub fn networks(container: &ContainerSummary) -> Vec<String> {
    match &container.network {
        NetworkMode::Container(_) | NetworkMode::Path(_) => Vec::new(),
        NetworkMode::Networks(attachments) => attachments
            .iter()
            .map(|attachment| attachment.network.clone())
            .collect(),
        mode => vec![mode.to_string()],
    }
}

pub fn id(container: &ContainerSummary, whole: bool) -> &str {
    if whole {
        container.id.as_str()
    } else {
        container.id.short()
    }
}

/// The fields that a format shows. One that nobody sees is not worked out: with a thousand containers
/// that is most of the time.
pub struct Wanted<'a>(Option<&'a str>);

impl<'a> Wanted<'a> {
    pub fn of(format: &'a str) -> Self {
        let whole = ["json", "{{.}}", "{{ . }}", "$", "range", "with"];
        let all = whole.iter().any(|word| format.contains(word));
        Wanted((!all).then_some(format))
    }

    fn has(&self, field: &str) -> bool {
        self.0.is_none_or(|format| format.contains(field))
    }
}

pub fn row(container: &ContainerSummary, whole: bool, wanted: &Wanted<'_>) -> Row {
    let field = |name: &'static str, value: &dyn Fn() -> String| match wanted.has(name) {
        true => (name, value()),
        false => (name, String::new()),
    };
    Row {
        fields: vec![
            field("ID", &|| id(container, whole).to_owned()),
            field("Names", &|| container.name.clone()),
            field("Image", &|| container.image.clone()),
            field("Command", &|| command(&container.command, whole)),
            field("CreatedAt", &|| times::go_text(&container.created)),
            field("RunningFor", &|| times::ago(&container.created)),
            field("Ports", &|| ports(container)),
            field("State", &|| container.state.to_string()),
            field("Status", &|| status(container)),
            field("Size", &|| size(container)),
            field("Labels", &|| label_text(&container.labels)),
            field("Mounts", &|| mounts(container, whole)),
            field("LocalVolumes", &|| local_volumes(container).to_string()),
            field("Networks", &|| networks(container).join(",")),
            field("Platform", &|| container.platform.to_string()),
        ],
        labels: match wanted.has("Label") {
            true => container.labels.clone(),
            false => BTreeMap::new(),
        },
    }
}

/// Docker's: `0.0.0.0:90-91->90-91/tcp, 53/udp, 0.0.0.0:8080->80/tcp`. First runs of neighbours that
/// are called the same outside, or nothing: those that another run of their kind follows, then the last
/// of every kind; then the others, one by one. All of them by number, address, number outside, protocol.
pub fn ports(container: &ContainerSummary) -> String {
    let exposed = container
        .exposed
        .iter()
        .filter_map(|text| text.parse().ok());
    let exposed = exposed
        .filter(|port| exposes(container, *port))
        .map(|port| (port, None));
    let published = container.ports.iter().filter_map(|published| {
        let port = format!("{}/{}", published.port, published.protocol);
        let outside = SocketAddr::new(published.host_ip, published.host_port);
        Some((port.parse().ok()?, Some(outside)))
    });
    let mut all: Vec<(Port, Option<SocketAddr>)> = exposed.chain(published).collect();
    all.sort_by_cached_key(|(port, outside)| {
        let address = outside.map_or_else(String::new, |outside| outside.ip().to_string());
        let number = outside.map_or(0, |outside| outside.port());
        (port.number, address, number, port.protocol.as_str())
    });
    let (mut over, mut open, mut others) = (Vec::new(), Vec::<Run>::new(), Vec::new());
    for (port, outside) in all {
        if let Some(outside) = outside.filter(|outside| outside.port() != port.number) {
            others.push(format!("{outside}->{}/{}", port.number, port.protocol));
            continue;
        }
        let run = Run::of(outside.map(|outside| outside.ip()), port);
        match open.iter_mut().find(|other| other.is_of_kind(&run)) {
            None => open.push(run),
            Some(other) if other.last.checked_add(1) == Some(port.number) => {
                other.last = port.number;
            }
            Some(other) => over.push(std::mem::replace(other, run).to_string()),
        }
    }
    over.extend(open.iter().map(ToString::to_string));
    over.extend(others);
    over.join(", ")
}

/// Of a container that runs in a network, what nothing outside stands for.
fn exposes(container: &ContainerSummary, port: Port) -> bool {
    let is_up = !matches!(
        container.state,
        ContainerState::Created | ContainerState::Exited | ContainerState::Dead
    );
    let same = |published: &PublishedPort| {
        published.port == port.number && published.protocol == port.protocol.as_str()
    };
    is_up && container.network.is_connected() && !container.ports.iter().any(same)
}

/// Ports that follow one another.
struct Run {
    host: Option<IpAddr>,
    protocol: Protocol,
    first: u16,
    last: u16,
}

impl Run {
    fn of(host: Option<IpAddr>, port: Port) -> Run {
        Run {
            host,
            protocol: port.protocol,
            first: port.number,
            last: port.number,
        }
    }

    fn is_of_kind(&self, other: &Run) -> bool {
        self.host == other.host && self.protocol == other.protocol
    }
}

impl fmt::Display for Run {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let numbers = match self.first == self.last {
            true => self.first.to_string(),
            false => format!("{}-{}", self.first, self.last),
        };
        match self.host {
            Some(IpAddr::V6(host)) => write!(f, "[{host}]:{numbers}->")?,
            Some(IpAddr::V4(host)) => write!(f, "{host}:{numbers}->")?,
            None => {}
        }
        write!(f, "{numbers}/{}", self.protocol)
    }
}

/// Quoted, and cut to 20 columns unless the whole is wanted.
fn command(words: &[String], whole: bool) -> String {
    let joined: Vec<String> = words
        .iter()
        .enumerate()
        .map(|(place, word)| {
            if place > 0 && word.contains(' ') {
                format!("'{word}'")
            } else {
                word.clone()
            }
        })
        .collect();
    let text = joined.join(" ");
    quote(&if whole { text } else { ellipsis(&text, 20) })
}

fn ellipsis(text: &str, columns: usize) -> String {
    if text.chars().count() <= columns {
        return text.to_owned();
    }
    let kept: String = text.chars().take(columns - 1).collect();
    format!("{kept}…")
}

/// Go's `strconv.Quote`: what a container's author wrote must not move the reader's cursor.
fn quote(text: &str) -> String {
    let mut quoted = String::from("\"");
    for letter in text.chars() {
        match letter {
            '"' => quoted.push_str("\\\""),
            '\\' => quoted.push_str("\\\\"),
            '\n' => quoted.push_str("\\n"),
            '\r' => quoted.push_str("\\r"),
            '\t' => quoted.push_str("\\t"),
            control if control.is_ascii_control() => {
                quoted.push_str(&format!("\\x{:02x}", control as u32));
            }
            control if control.is_control() => {
                quoted.push_str(&format!("\\u{:04x}", control as u32));
            }
            plain => quoted.push(plain),
        }
    }
    quoted.push('"');
    quoted
}

/// How the container's health check finds it.
pub fn health_word(container: &ContainerSummary) -> String {
    match container.health {
        Some(status) => status.to_string(),
        None => "none".to_owned(),
    }
}

pub fn status(container: &ContainerSummary) -> String {
    let ago = |moment: &Option<String>| moment.as_deref().map_or_else(String::new, times::ago);
    match container.state {
        ContainerState::Created => "Created".to_owned(),
        ContainerState::Running | ContainerState::Paused => {
            let length = container.started.as_deref().and_then(times::since);
            let remark = match (container.state, container.health) {
                (ContainerState::Paused, _) => " (Paused)",
                (_, Some(HealthStatus::Starting)) => " (health: starting)",
                (_, Some(HealthStatus::Healthy)) => " (healthy)",
                (_, Some(HealthStatus::Unhealthy)) => " (unhealthy)",
                (_, None) => "",
            };
            let length = human::duration(length.unwrap_or_default());
            format!("Up {length}{remark}")
        }
        ContainerState::Exited => format!(
            "Exited ({}) {}",
            container.exit_code.unwrap_or_default(),
            ago(&container.finished)
        )
        .trim_end()
        .to_owned(),
        ContainerState::Restarting => format!(
            "Restarting ({}) {}",
            container.exit_code.unwrap_or_default(),
            ago(&container.finished)
        ),
        ContainerState::Removing => "Removal In Progress".to_owned(),
        ContainerState::Dead => "Dead".to_owned(),
    }
}

fn size(container: &ContainerSummary) -> String {
    match container.size {
        Some(size) => format!(
            "{} (virtual {})",
            human::short_size(size.writable),
            human::short_size(size.writable + size.image)
        ),
        None => "0B".to_owned(),
    }
}

fn mounts(container: &ContainerSummary, whole: bool) -> String {
    let names: Vec<String> = container
        .mounts
        .iter()
        .filter_map(|mount| match &mount.source {
            MountSource::Bind { source, .. } => Some(source),
            MountSource::Volume(volume) => Some(&volume.name),
            _ => None,
        })
        .map(|name| {
            if whole {
                name.clone()
            } else {
                ellipsis(name, 15)
            }
        })
        .collect();
    names.join(",")
}

#[cfg(test)]
mod tests {
    use super::{super::template::List, *};

    fn words(text: &[&str]) -> Vec<String> {
        text.iter().map(|word| (*word).to_owned()).collect()
    }

    fn list() -> Vec<ContainerSummary> {
        let moment = |seconds: i64| {
            (jiff::Timestamp::now() - jiff::SignedDuration::from_secs(seconds)).to_string()
        };
        let container = |fill: u8, name: &str| ContainerSummary {
            id: crate::model::ContainerId::from_random([fill; 32]),
            name: name.to_owned(),
            image: "alpine".to_owned(),
            image_id: Some(crate::model::Digest::sha256([7; 32])),
            layers: Vec::new(),
            command: words(&["sleep", "1000"]),
            created: moment(7205),
            state: ContainerState::Created,
            health: None,
            exit_code: None,
            started: None,
            finished: None,
            labels: std::collections::BTreeMap::from([("a".to_owned(), "b".to_owned())]),
            mounts: Vec::new(),
            network: NetworkMode::None,
            platform: crate::model::Platform {
                os: "linux".to_owned(),
                architecture: "amd64".to_owned(),
                variant: None,
            },
            size: None,
            exposed: Vec::new(),
            ports: Vec::new(),
            restart: Default::default(),
            pid: 0,
        };
        vec![
            ContainerSummary {
                state: ContainerState::Running,
                started: Some(moment(65)),
                ..container(0xab, "web")
            },
            ContainerSummary {
                state: ContainerState::Exited,
                exit_code: Some(137),
                finished: Some(moment(200)),
                ..container(0xcd, "relaxed_hopper")
            },
            container(0xef, "new"),
        ]
    }

    fn show(format: Option<&str>) -> String {
        let wanted = Wanted::of(format.unwrap_or(TABLE));
        let rows: Vec<Row> = list()
            .iter()
            .map(|container| row(container, false, &wanted))
            .collect();
        let list = List {
            headings: HEADINGS,
            default: TABLE,
        };
        match list.show(format, &rows) {
            Ok(text) => text,
            Err(_) => panic!("{format:?} failed"),
        }
    }

    #[test]
    fn the_table_has_dockers_columns() {
        insta::assert_snapshot!(show(None), @r#"
        CONTAINER ID   IMAGE     COMMAND        CREATED       STATUS                       PORTS     NAMES
        abababababab   alpine    "sleep 1000"   2 hours ago   Up About a minute                      web
        cdcdcdcdcdcd   alpine    "sleep 1000"   2 hours ago   Exited (137) 3 minutes ago             relaxed_hopper
        efefefefefef   alpine    "sleep 1000"   2 hours ago   Created                                new
        "#);
    }

    #[test]
    fn templates_choose_fields() {
        insta::assert_snapshot!(
            show(Some(r#"table {{.Names}}\t{{.State}}\t{{.Label "a"}}"#)), @"
            NAMES            STATE     a
            web              running   b
            relaxed_hopper   exited    b
            new              created   b
            ");
        insta::assert_snapshot!(
            show(Some(r"{{.Image}} {{.Size}} {{.Platform}} {{.Networks}} {{.Ports}}|")), @"
            alpine 0B linux/amd64 none |
            alpine 0B linux/amd64 none |
            alpine 0B linux/amd64 none |
            ");
        let json = show(Some("json"));
        let first: serde_json::Value =
            serde_json::from_str(json.lines().next().unwrap_or_default()).expect("JSON");
        let keys: Vec<&String> = first.as_object().expect("an object").keys().collect();
        insta::assert_snapshot!(format!("{keys:?}"), @r#"["Command", "CreatedAt", "ID", "Image", "Labels", "LocalVolumes", "Mounts", "Names", "Networks", "Platform", "Ports", "RunningFor", "Size", "State", "Status"]"#);
    }

    #[test]
    fn commands_are_quoted_and_cut() {
        assert_eq!(command(&words(&["sh"]), false), "\"sh\"");
        assert_eq!(
            command(&words(&["/docker-entrypoint.sh", "nginx"]), false),
            "\"/docker-entrypoint.…\""
        );
        assert_eq!(
            command(&words(&["sh", "-c", "echo \"a b\"\x1b[2J\n"]), true),
            r#""sh -c 'echo \"a b\"\x1b[2J\n'""#
        );
    }

    #[test]
    fn health_and_ports_are_shown_as_docker_does() {
        let healthy = ContainerSummary {
            health: Some(HealthStatus::Healthy),
            ..list().remove(0)
        };
        assert_eq!(status(&healthy), "Up About a minute (healthy)");
        let published = |host_ip: &str| PublishedPort {
            port: 80,
            protocol: "tcp".to_owned(),
            host_ip: host_ip.parse().expect("an address"),
            host_port: 8080,
        };
        let same = |port: u16| PublishedPort {
            port,
            host_port: port,
            ..published("127.0.0.1")
        };
        let container = ContainerSummary {
            ports: vec![
                published("0.0.0.0"),
                published("::"),
                same(90),
                same(91),
                same(93),
            ],
            exposed: ["80/tcp", "53/udp", "54/udp", "91/tcp"]
                .map(str::to_owned)
                .into(),
            network: NetworkMode::Bridge,
            ..list().remove(0)
        };
        assert_eq!(
            ports(&container),
            "127.0.0.1:90-91->90-91/tcp, 53-54/udp, 127.0.0.1:93->93/tcp, 0.0.0.0:8080->80/tcp, [::]:8080->80/tcp"
        );
    }
}

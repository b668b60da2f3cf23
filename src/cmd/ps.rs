//! `ps`: the containers.

use clap::Args;

use super::{
    Session,
    failure::Failure,
    filter::{self, Filters},
    parse,
    template::{List, Row},
    times, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{ContainerSummary, Engine},
    model::{
        container::{ContainerState, NetworkMode},
        health::HealthStatus,
        human,
        mount::{Mount, MountSource},
    },
};

#[derive(Args)]
struct Flags {
    /// Show containers that do not run, too
    #[arg(long, short = 'a')]
    all: bool,
    /// Show those that fit: id, name, label, status, ancestor, before, since, exited, health, volume,
    /// network
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Show so many of the newest, running or not
    #[arg(long, short = 'n', value_name = "int", default_value_t = -1)]
    last: i64,
    /// Show the newest, running or not
    #[arg(long, short = 'l')]
    latest: bool,
    /// Do not shorten values
    #[arg(long)]
    no_trunc: bool,
    /// Print IDs alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Show how much the containers have written
    #[arg(long, short = 's')]
    size: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["container ls", "container list", "container ps", "ps"],
    about: "List containers",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const FILTERS: &[&str] = &[
    "ancestor", "before", "exited", "health", "id", "label", "name", "network", "since", "status",
    "volume",
];

const HEADINGS: &[(&str, &str)] = &[
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

const TABLE: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}";
const TABLE_WITH_SIZE: &str = r"table {{.ID}}\t{{.Image}}\t{{.Command}}\t{{.RunningFor}}\t{{.Status}}\t{{.Ports}}\t{{.Names}}\t{{.Size}}";

fn run(session: &Session, flags: &Flags) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    check_values(&filters)?;
    let format = flags
        .format
        .as_deref()
        .filter(|format| !format.is_empty())
        .or(session.settings.ps_format.as_deref());
    let size = flags.size || format.is_some_and(|format| format.contains(".Size"));
    let last = if flags.latest { 1 } else { flags.last };
    let engine = session.engine()?;
    let all = flags.all || last > 0 || filters.has("status");
    let mut containers = engine.containers(all, size)?;
    select(&mut containers, &filters, engine)?;
    if let Ok(last) = usize::try_from(last)
        && last > 0
    {
        containers.truncate(last);
    }
    if flags.quiet && format.is_none_or(|format| format == "table") {
        for container in &containers {
            ui::line(id(container, flags.no_trunc))?;
        }
        return Ok(0);
    }
    let rows: Vec<Row> = containers
        .iter()
        .map(|container| row(container, flags.no_trunc))
        .collect();
    let list = List {
        headings: HEADINGS,
        default: if flags.size { TABLE_WITH_SIZE } else { TABLE },
    };
    ui::raw(list.show(format, &rows)?.as_bytes())?;
    Ok(0)
}

/// All containers that fit the filters, which are `ps`'s.
pub(super) fn fitting(
    engine: &Engine,
    filters: &[String],
) -> Result<Vec<ContainerSummary>, Failure> {
    let filters = Filters::parse(filters, FILTERS)?;
    check_values(&filters)?;
    let mut containers = engine.containers(true, false)?;
    select(&mut containers, &filters, engine)?;
    Ok(containers)
}

fn select(
    containers: &mut Vec<ContainerSummary>,
    filters: &Filters,
    engine: &Engine,
) -> Result<(), Failure> {
    let (before, since) = (
        created(filters, "before", engine)?,
        created(filters, "since", engine)?,
    );
    let ancestors = ancestors(filters, engine);
    containers.retain(|container| {
        filters.accepts("id", |id| container.id.as_str().starts_with(id))
            && filters.accepts("name", |name| filter::name_matches(name, &container.name))
            && filters.accepts_labels(&container.labels)
            && filters.accepts("status", |status| status == container.state.to_string())
            && filters.accepts("exited", |code| {
                container.state == ContainerState::Exited
                    && container.exit_code.map(|code| code.to_string()).as_deref() == Some(code)
            })
            && filters.accepts("health", |health| health == health_word(container))
            && filters.accepts("network", |name| name == network(container))
            && filters.accepts("volume", |volume| has_mount(container, volume))
            && ancestors
                .as_ref()
                .is_none_or(|wanted| is_descendant(container, wanted))
            && before
                .as_ref()
                .is_none_or(|moment| container.created < *moment)
            && since
                .as_ref()
                .is_none_or(|moment| container.created > *moment)
    });
    Ok(())
}

fn check_values(filters: &Filters) -> Result<(), Failure> {
    const STATES: &[&str] = &[
        "created",
        "running",
        "paused",
        "restarting",
        "removing",
        "exited",
        "dead",
    ];
    let invalid = |key, value| Failure::Plain(format!("invalid filter '{key}={value}'"), 1);
    for status in filters.values("status") {
        if !STATES.contains(&status) {
            return Err(invalid("status", status));
        }
    }
    for health in filters.values("health") {
        if !["none", "starting", "healthy", "unhealthy"].contains(&health) {
            return Err(invalid("health", health));
        }
    }
    for code in filters.values("exited") {
        code.parse::<i32>().map_err(|_| invalid("exited", code))?;
    }
    Ok(())
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

fn local_volumes(container: &ContainerSummary) -> usize {
    let volumes = container.mounts.iter().filter_map(Mount::volume);
    volumes.count()
}

/// Who shares another's network is in none of her own.
fn network(container: &ContainerSummary) -> &'static str {
    match container.network {
        NetworkMode::None => "none",
        NetworkMode::Host => "host",
        NetworkMode::Container(_) | NetworkMode::Path(_) => "",
    }
}

fn id(container: &ContainerSummary, whole: bool) -> &str {
    if whole {
        container.id.as_str()
    } else {
        container.id.short()
    }
}

fn row(container: &ContainerSummary, whole: bool) -> Row {
    let labels: Vec<String> = container
        .labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    Row {
        fields: vec![
            ("ID", id(container, whole).to_owned()),
            ("Names", container.name.clone()),
            ("Image", container.image.clone()),
            ("Command", command(&container.command, whole)),
            ("CreatedAt", times::go_text(&container.created)),
            ("RunningFor", times::ago(&container.created)),
            ("Ports", String::new()),
            ("State", container.state.to_string()),
            ("Status", status(container)),
            ("Size", size(container)),
            ("Labels", labels.join(",")),
            ("Mounts", mounts(container, whole)),
            ("LocalVolumes", local_volumes(container).to_string()),
            ("Networks", network(container).to_owned()),
            ("Platform", container.platform.to_string()),
        ],
        labels: container.labels.clone(),
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

fn health_word(container: &ContainerSummary) -> String {
    match container.health {
        Some(status) => status.to_string(),
        None => "none".to_owned(),
    }
}

fn status(container: &ContainerSummary) -> String {
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
    use super::*;

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
        let rows: Vec<Row> = list()
            .iter()
            .map(|container| row(container, false))
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
}

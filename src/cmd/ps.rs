//! `ps`: the containers.

use std::{thread, time::Duration};

use clap::Args;

use super::{
    Session,
    container_filters::ContainerFilters,
    container_rows::{HEADINGS, TABLE, TABLE_WITH_SIZE, Wanted, id, row, status},
    failure::Failure,
    parse,
    template::{List, Row},
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::{ContainerSummary, Engine};

#[derive(Args)]
struct Flags {
    /// Show containers that do not run, too
    #[arg(long, short = 'a')]
    all: bool,
    /// For Podman's sake: there are no containers but ours
    #[arg(long, hide = true, alias = "storage")]
    external: bool,
    /// Show those that fit: ancestor, before, command, exited, expose, health, id, label, label!, name,
    /// network, publish, restart-policy, since, status, until, volume
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
    /// Show the namespaces' numbers
    #[arg(long, alias = "namespace")]
    ns: bool,
    /// Do not shorten values
    #[arg(long)]
    no_trunc: bool,
    /// Do not print the table's headings
    #[arg(long)]
    noheading: bool,
    /// For Podman's sake: columns of pods, of which there are none
    #[arg(long, short = 'p', hide = true)]
    pod: bool,
    /// Print IDs alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// Show how much the containers have written
    #[arg(long, short = 's')]
    size: bool,
    /// Sort by command, created, id, image, names, runningfor, size or status
    #[arg(long, value_name = "choice")]
    sort: Option<String>,
    /// For Podman's sake: what is shown is always asked of the kernel
    #[arg(long, hide = true)]
    sync: bool,
    /// Show the list anew every so many seconds
    #[arg(long, short = 'w', value_name = "uint")]
    watch: Option<u64>,
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

const NAMESPACES: &str = r"table {{.ID}}\t{{.Names}}\t{{.Pid}}\t{{.Cgroup}}\t{{.IPC}}\t{{.MNT}}\t{{.NET}}\t{{.PIDNS}}\t{{.USERNS}}\t{{.UTS}}";
const NAMESPACE_HEADINGS: &[(&str, &str)] = &[
    ("ID", "CONTAINER ID"),
    ("Names", "NAMES"),
    ("Pid", "PID"),
    ("Cgroup", "CGROUPNS"),
    ("IPC", "IPC"),
    ("MNT", "MNT"),
    ("NET", "NET"),
    ("PIDNS", "PIDNS"),
    ("USERNS", "USERNS"),
    ("UTS", "UTS"),
];
/// `--format raw`
const RAW: &str = r"container_id: {{.ID}}
image: {{.Image}}
command: {{.Command}}
created_at: {{.CreatedAt}}
state: {{- pad .State 1 0}}
status: {{- pad .Status 1 0}}
names: {{.Names}}
labels: {{- pad .Labels 1 0}}
ports: {{- pad .Ports 1 0}}
";
const POD_COLUMNS: &str = r"\t{{.Pod}}\t{{.PodName}}";

/// Home, the rest of a line, and of the screen: a picture is replaced in place.
const HOME: &str = "\x1b[H";
const CLEAR: &str = "\x1b[2J";
const CLEAR_LINE: &str = "\x1b[K\n";
const CLEAR_BELOW: &str = "\x1b[J";

fn run(session: &Session, flags: &Flags) -> Outcome {
    check(flags)?;
    let view = View::new(session, flags)?;
    let Some(seconds) = flags.watch else {
        ui::raw(view.show()?.as_bytes())?;
        return Ok(0);
    };
    let live = ui::stdout_is_terminal();
    if live {
        ui::raw(CLEAR.as_bytes())?;
    }
    loop {
        let text = view.show()?;
        if live {
            let lines = text.replace('\n', CLEAR_LINE);
            ui::raw(format!("{HOME}{lines}{CLEAR_BELOW}").as_bytes())?;
        } else {
            ui::raw(text.as_bytes())?;
        }
        thread::sleep(Duration::from_secs(seconds));
    }
}

fn check(flags: &Flags) -> Result<(), Failure> {
    let refusal = if flags.watch == Some(0) {
        "invalid interval 0: it must be at least a second"
    } else if flags.ns && (flags.size || flags.quiet || flags.format.is_some()) {
        "conflicting options: --ns does not go with --size, --quiet and --format"
    } else if flags.latest && flags.last > 0 {
        "conflicting options: --latest and --last"
    } else {
        return Ok(());
    };
    Err(Failure::Plain(refusal.to_owned(), 125))
}

/// What is shown, once or again and again.
struct View<'a> {
    flags: &'a Flags,
    engine: &'a Engine,
    filters: ContainerFilters,
    all: bool,
    order: Option<Order>,
    format: Option<&'a str>,
    size: bool,
}

impl<'a> View<'a> {
    fn new(session: &'a Session, flags: &'a Flags) -> Result<Self, Failure> {
        let filters = ContainerFilters::parse(&flags.filter)?;
        let order = flags.sort.as_deref().map(Order::parse).transpose()?;
        let format = flags
            .format
            .as_deref()
            .filter(|format| !format.is_empty())
            .or(session.settings.ps_format.as_deref());
        if flags.quiet
            && flags
                .format
                .as_deref()
                .is_some_and(|format| !format.is_empty())
        {
            ui::aside(
                "WARNING: Ignoring custom format, because both --format and --quiet are set.",
            );
        }
        let engine = session.engine()?;
        Ok(View {
            flags,
            all: flags.all
                || flags.latest
                || flags.last > 0
                || ContainerFilters::wants_all(&filters),
            filters: ContainerFilters::resolve(filters, engine)?,
            size: flags.size
                || order == Some(Order::Size)
                || format.is_some_and(|format| format.contains(".Size")),
            engine,
            order,
            format,
        })
    }

    fn containers(&self) -> Result<Vec<ContainerSummary>, Failure> {
        let mut containers = self.engine.containers(self.all, self.size)?;
        containers.retain(|container| self.filters.accepts(container));
        let last = if self.flags.latest {
            1
        } else {
            self.flags.last
        };
        if let Ok(last) = usize::try_from(last)
            && last > 0
        {
            containers.truncate(last);
        }
        if let Some(order) = self.order {
            order.sort(&mut containers);
        }
        Ok(containers)
    }

    fn show(&self) -> Result<String, Failure> {
        let containers = self.containers()?;
        let whole = self.flags.no_trunc;
        if self.flags.quiet {
            let label = match self.format {
                Some("raw") => "container_id: ",
                _ => "",
            };
            let ids = containers.iter();
            return Ok(ids
                .map(|one| format!("{label}{}\n", id(one, whole)))
                .collect());
        }
        if self.flags.ns {
            let rows = containers.iter().map(|one| self.namespaces(one));
            let list = List {
                headings: NAMESPACE_HEADINGS,
                default: NAMESPACES,
            };
            return self.without_headings(list.show(None, &rows.collect::<Vec<Row>>())?, true);
        }
        let table = if self.flags.size {
            TABLE_WITH_SIZE
        } else {
            TABLE
        };
        let pods = if self.flags.pod { POD_COLUMNS } else { "" };
        let list = List {
            headings: &[HEADINGS, &[("Pod", "POD ID"), ("PodName", "PODNAME")]].concat(),
            default: &format!("{table}{pods}"),
        };
        let raw = match self.flags.size {
            true => format!("{RAW}size: {{{{.Size}}}}\n"),
            false => RAW.to_owned(),
        };
        let format = match self.format {
            Some("raw") => Some(raw.as_str()),
            other => other,
        };
        let shown = format.filter(|format| *format != "table");
        let wanted = Wanted::of(shown.unwrap_or(list.default));
        let rows = containers.iter().map(|one| {
            let mut row = row(one, whole, &wanted);
            if self.flags.pod {
                let none = ["Pod", "PodName"].map(|field| (field, String::new()));
                row.fields.extend(none);
            }
            row
        });
        let text = list.show(format, &rows.collect::<Vec<Row>>())?;
        let is_table = shown.is_none_or(|format| format.starts_with("table"));
        self.without_headings(text, is_table)
    }

    fn without_headings(&self, text: String, is_table: bool) -> Result<String, Failure> {
        match text.split_once('\n') {
            Some((_, rows)) if self.flags.noheading && is_table => Ok(rows.to_owned()),
            _ => Ok(text),
        }
    }

    fn namespaces(&self, container: &ContainerSummary) -> Row {
        let numbers = self.engine.namespace_numbers(container.pid);
        let number = |kind: &str| numbers.get(kind).map_or_else(String::new, u64::to_string);
        let pid = match container.pid {
            0 => String::new(),
            pid => pid.to_string(),
        };
        Row {
            fields: vec![
                ("ID", id(container, self.flags.no_trunc).to_owned()),
                ("Names", container.name.clone()),
                ("Pid", pid),
                ("Cgroup", number("cgroup")),
                ("IPC", number("ipc")),
                ("MNT", number("mnt")),
                ("NET", number("net")),
                ("PIDNS", number("pid")),
                ("USERNS", number("user")),
                ("UTS", number("uts")),
            ],
            labels: Default::default(),
        }
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Order {
    Command,
    Created,
    Id,
    Image,
    Names,
    RunningFor,
    Size,
    Status,
}

impl Order {
    fn parse(text: &str) -> Result<Order, Failure> {
        Ok(match text {
            "command" => Order::Command,
            "created" => Order::Created,
            "id" => Order::Id,
            "image" => Order::Image,
            "names" => Order::Names,
            "runningfor" => Order::RunningFor,
            "size" => Order::Size,
            "status" => Order::Status,
            _ => {
                return Err(Failure::Flag(format!(
                    "invalid argument {text:?} for \"--sort\" flag: use command, created, id, image, names, runningfor, size or status"
                )));
            }
        })
    }

    /// Least first, oldest first; what is equal stays in the order of the list.
    fn sort(self, containers: &mut [ContainerSummary]) {
        match self {
            Order::Command => containers.sort_by(|a, b| a.command.cmp(&b.command)),
            Order::Created => containers.sort_by(|a, b| a.created.cmp(&b.created)),
            Order::Id => containers.sort_by(|a, b| a.id.cmp(&b.id)),
            Order::Image => containers.sort_by(|a, b| a.image.cmp(&b.image)),
            Order::Names => containers.sort_by(|a, b| a.name.cmp(&b.name)),
            Order::RunningFor => containers.sort_by(|a, b| a.started.cmp(&b.started)),
            Order::Size => {
                containers.sort_by_key(|one| one.size.map_or(0, |size| size.writable));
            }
            Order::Status => containers.sort_by_cached_key(status),
        }
    }
}

/// All containers that fit the filters, which are `ps`'s.
pub(super) fn fitting(
    engine: &Engine,
    filters: &[String],
) -> Result<Vec<ContainerSummary>, Failure> {
    let filters = ContainerFilters::parse(filters)?;
    let filters = ContainerFilters::resolve(filters, engine)?;
    let mut containers = engine.containers(true, false)?;
    containers.retain(|container| filters.accepts(container));
    Ok(containers)
}

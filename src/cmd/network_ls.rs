//! `network ls` and `network prune`.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    Session,
    failure::Failure,
    filter::Filters,
    listing::{Look, Marks, label_text},
    parse,
    prune::{self, Choice},
    template::{List, Row},
    times,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::networks::NetworkSummary;

#[derive(Args)]
struct Flags {
    /// Show those that fit: dangling, driver, id, label, label!, name, scope, type, since, until
    #[arg(long, short = 'f', value_name = "filter")]
    filter: Vec<String>,
    #[command(flatten)]
    look: Look,
    /// Show whole IDs
    #[arg(long)]
    no_trunc: bool,
    /// Print IDs alone
    #[arg(long, short = 'q')]
    quiet: bool,
}

pub const VERB: Verb = Verb {
    spellings: &["network ls", "network list"],
    about: "List networks",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

const FILTERS: &[&str] = &[
    "dangling", "driver", "id", "label", "label!", "name", "scope", "since", "type", "until",
];

const HEADINGS: &[(&str, &str)] = &[
    ("ID", "NETWORK ID"),
    ("Name", "NAME"),
    ("Driver", "DRIVER"),
    ("Scope", "SCOPE"),
    ("IPv4", "IPV4"),
    ("IPv6", "IPV6"),
    ("Internal", "INTERNAL"),
    ("Labels", "LABELS"),
    ("CreatedAt", "CREATED AT"),
];

const LIST: List<'_> = List {
    headings: HEADINGS,
    default: r"table {{.ID}}\t{{.Name}}\t{{.Driver}}\t{{.Scope}}",
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    let filters = Filters::parse(&flags.filter, FILTERS)?;
    check(&filters)?;
    let mut networks = session.engine()?.networks()?;
    select(&mut networks, &filters)?;
    let rows: Vec<Row> = networks
        .iter()
        .map(|network| row(network, flags.no_trunc))
        .collect();
    let configured = session.settings.networks_format.as_deref();
    let quiet = flags.quiet.then_some("ID");
    flags.look.print(&LIST, &rows, configured, quiet)
}

fn check(filters: &Filters) -> Result<(), Failure> {
    let is_type = |value: &str| matches!(value, "custom" | "builtin");
    match filters.values("type").find(|value| !is_type(value)) {
        Some(other) => Err(Failure::Plain(
            format!("invalid filter 'type={other}': expected custom or builtin"),
            1,
        )),
        None => Ok(()),
    }
}

fn select(networks: &mut Vec<NetworkSummary>, filters: &Filters) -> Result<(), Failure> {
    let marks = Marks::new(filters)?;
    let (ids, names) = (filters.patterns("id"), filters.patterns("name"));
    networks.retain(|network| {
        // What is always there is never dangling.
        let dangling = network.custom && network.used_by.is_empty();
        marks.accept(dangling, &network.created, &network.labels)
            && filters.accepts("driver", |driver| driver == network.driver)
            && filters.accepts("scope", |scope| scope == "local")
            && filters.accepts("type", |kind| (kind == "custom") == network.custom)
            && ids.accept(&network.id)
            && names.accept(&network.name)
    });
    Ok(())
}

fn row(network: &NetworkSummary, whole: bool) -> Row {
    let id = if whole {
        &network.id
    } else {
        &network.id[..12]
    };
    let created = match network.created.as_str() {
        "" => "0001-01-01T00:00:00Z",
        created => created,
    };
    Row {
        fields: vec![
            ("CreatedAt", times::go_text(created)),
            ("Driver", network.driver.clone()),
            ("ID", id.to_owned()),
            ("IPv4", network.ipv4.to_string()),
            ("IPv6", network.ipv6.to_string()),
            ("Internal", network.internal.to_string()),
            ("Labels", label_text(&network.labels)),
            ("Name", network.name.clone()),
            ("Scope", "local".to_owned()),
        ],
        labels: BTreeMap::clone(&network.labels),
    }
}

#[derive(Args)]
struct PruneFlags {
    /// Remove only those that fit: label, label!, until
    #[arg(long, value_name = "filter")]
    filter: Vec<String>,
    /// Do not ask
    #[arg(long, short = 'f')]
    force: bool,
}

pub const PRUNE: Verb = Verb {
    spellings: &["network prune"],
    about: "Remove networks that no container uses",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: PruneFlags::augment_args,
    run: |session, matches, _| {
        let flags: PruneFlags = parse::flags(matches)?;
        let choice = Choice::new(prune::filters(session, &flags.filter, &Choice::FILTERS)?)?;
        if !flags.force {
            let warning =
                "WARNING! This will remove all custom networks not used by at least one container.";
            prune::confirm("network prune", warning)?;
        }
        prune::networks(session.engine()?, &choice)?;
        Ok(0)
    },
    ..Verb::PLAIN
};

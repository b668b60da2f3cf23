//! `network rm`, `network exists`, `network update`, `network reload`.

use std::net::IpAddr;

use clap::Args;

use super::{
    Session, each,
    failure::Failure,
    parse, ui,
    verb::{Arity, Class, Outcome, Verb},
};
use crate::model::{Error, ErrorKind, Result};

#[derive(Args)]
struct RemoveFlags {
    /// A network that is not there is no failure
    #[arg(long, short = 'f')]
    force: bool,
    /// For Podman's sake: no container is stopped
    #[arg(long, short = 't', value_name = "int", hide = true)]
    time: Option<i64>,
}

pub const REMOVE: Verb = Verb {
    spellings: &["network rm", "network remove"],
    about: "Remove networks",
    usage: "[OPTIONS] NETWORK [NETWORK...]",
    arity: Arity::AtLeast(1),
    flags: RemoveFlags::augment_args,
    run: |session, matches, names| remove(session, &parse::flags(matches)?, &names),
    ..Verb::PLAIN
};

fn remove(session: &Session, flags: &RemoveFlags, names: &[String]) -> Outcome {
    if flags.time.is_some() {
        ui::notice("--time has no effect: a network that containers are in is not removed");
    }
    let engine = session.engine()?;
    each::each(Class::Remove, names, |name| {
        match engine.remove_network(name) {
            Err(error) if flags.force && error.kind() == ErrorKind::NoSuchNetwork => {
                each::tell(&error);
                return Ok(());
            }
            removed => removed?,
        }
        ui::line(name)
    })
}

pub const EXISTS: Verb = Verb {
    spellings: &["network exists"],
    about: "Tell by the exit code whether a network is there",
    usage: "NETWORK",
    arity: Arity::Exactly(1),
    run: |session, _, names| match session.engine()?.network_exists(&names[0]) {
        Ok(there) => Ok(u8::from(!there)),
        // Not "no": it cannot be told.
        Err(error) => Err(Failure::Plain(error.one_line(), 125)),
    },
    ..Verb::PLAIN
};

#[derive(Args)]
struct UpdateFlags {
    /// Ask this server, too, for names that the network does not know
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    dns_add: Vec<String>,
    /// Ask that server no more
    #[arg(long, value_name = "strings", value_delimiter = ',')]
    dns_drop: Vec<String>,
}

pub const UPDATE: Verb = Verb {
    spellings: &["network update"],
    about: "Change which servers a network's containers ask for names",
    usage: "[OPTIONS] NETWORK",
    arity: Arity::Exactly(1),
    flags: UpdateFlags::augment_args,
    run: |session, matches, names| {
        let flags: UpdateFlags = parse::flags(matches)?;
        let (add, drop_servers) = (addresses(&flags.dns_add)?, addresses(&flags.dns_drop)?);
        if add.is_empty() && drop_servers.is_empty() {
            let text = "nothing to update: give --dns-add or --dns-drop";
            return Err(Failure::Plain(text.to_owned(), 125));
        }
        session
            .engine()?
            .update_network(&names[0], &add, &drop_servers)?;
        ui::line(&names[0])?;
        Ok(0)
    },
    ..Verb::PLAIN
};

/// Addresses of DNS servers.
pub(super) fn addresses(texts: &[String]) -> Result<Vec<IpAddr>> {
    let parse = |text: &String| {
        text.parse().map_err(|_| {
            Error::invalid(format!(
                "invalid DNS server {text:?}: expected an IP address"
            ))
        })
    };
    texts.iter().map(parse).collect()
}

#[derive(Args)]
struct ReloadFlags {
    /// All running containers
    #[arg(long, short = 'a')]
    all: bool,
    /// The container that was made last
    #[arg(long, short = 'l')]
    latest: bool,
}

pub const RELOAD: Verb = Verb {
    spellings: &["network reload"],
    about: "Make firewall rules and links of running containers again",
    usage: "[OPTIONS] [CONTAINER...]",
    arity: Arity::AtLeast(0),
    flags: ReloadFlags::augment_args,
    run: |session, matches, names| {
        let flags: ReloadFlags = parse::flags(matches)?;
        if !flags.all && !flags.latest {
            Arity::AtLeast(1).check("network reload", names.len(), matches)?;
        }
        reload(session, &flags, names)
    },
    ..Verb::PLAIN
};

fn reload(session: &Session, flags: &ReloadFlags, mut names: Vec<String>) -> Outcome {
    let engine = session.engine()?;
    if flags.all || flags.latest {
        if (flags.all && flags.latest) || !names.is_empty() {
            let text = "conflicting options: --all, --latest and names of containers";
            return Err(Failure::Plain(text.to_owned(), 125));
        }
        let mut containers = engine.containers(flags.latest, false)?;
        if flags.latest {
            containers.truncate(1);
        }
        names = containers.iter().map(|one| one.id.to_string()).collect();
    }
    each::each(Class::Other, &names, |name| {
        for id in engine.reload_networks(&[name.to_owned()])? {
            ui::line(&id)?;
        }
        Ok(())
    })
}

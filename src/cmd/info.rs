//! `info`: the engine, its store and its host.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Session, parse,
    settings::registries_files,
    template, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::logins,
    model::{
        auth_file::DOCKER_HUB_KEY,
        reference::DOCKER_HUB,
        registries::{Mirror, Registries, RegistryEntry},
    },
};

#[derive(Args)]
struct Flags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["system info", "info"],
    about: "Show the engine, its store and its host",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, matches, _| run(session, &parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags) -> Outcome {
    let mut info = session.engine()?.info()?;
    let registries = logins::registries(&registries_files())?;
    if let Some(object) = info.as_object_mut() {
        object
            .entry("ServerVersion")
            .or_insert_with(|| env!("CARGO_PKG_VERSION").into());
        object
            .entry("IndexServerAddress")
            .or_insert_with(|| DOCKER_HUB_KEY.into());
        object
            .entry("RegistryConfig")
            .or_insert_with(|| registry_config(&registries));
        object.entry("ClientInfo").or_insert_with(|| {
            json!({
                "Debug": log::max_level() >= log::LevelFilter::Debug,
                "Version": env!("CARGO_PKG_VERSION"),
                "Os": "linux",
                "Arch": crate::model::Platform::host().architecture,
                "Context": "default",
                "Plugins": [],
                "Warnings": null,
            })
        });
    }
    match flags.format.as_deref() {
        None | Some("") => {
            ui::raw(layout(&info).as_bytes())?;
            ui::raw(registry_lines(&registries).as_bytes())?;
            for warning in info["Warnings"].as_array().into_iter().flatten() {
                ui::aside(&plain(warning));
            }
        }
        Some(format) => ui::line(&template::object(format, &info)?)?,
    }
    Ok(0)
}

/// What is never asked for a certificate, as Docker has it.
const LOOPBACK: [&str; 2] = ["::1/128", "127.0.0.0/8"];

fn insecure(registries: &Registries) -> impl Iterator<Item = &str> {
    let named = registries.entries.iter().filter(|entry| entry.insecure);
    named.map(|entry| entry.location.as_deref().unwrap_or(&entry.prefix))
}

/// Docker's keys, filled from registries.conf.
fn registry_config(registries: &Registries) -> Value {
    let mirrors = |entry: &RegistryEntry| -> Vec<String> {
        entry
            .mirrors
            .iter()
            .map(|mirror| mirror.location.clone())
            .collect()
    };
    let mut configs = Map::new();
    let hub = json!({"Name": DOCKER_HUB, "Mirrors": [], "Secure": true, "Official": true});
    configs.insert(DOCKER_HUB.to_owned(), hub);
    for entry in &registries.entries {
        let config = json!({
            "Name": entry.prefix,
            "Location": entry.location,
            "Mirrors": mirrors(entry),
            "Secure": !entry.insecure,
            "Blocked": entry.blocked,
            "Official": entry.prefix == DOCKER_HUB,
        });
        configs.insert(entry.prefix.clone(), config);
    }
    let hub = registries
        .entries
        .iter()
        .find(|entry| entry.prefix == DOCKER_HUB);
    json!({
        "InsecureRegistryCIDRs": LOOPBACK,
        "IndexConfigs": configs,
        "Mirrors": hub.map(mirrors).unwrap_or_default(),
        "Search": registries.searched(),
    })
}

fn registry_lines(registries: &Registries) -> String {
    let mut text = String::new();
    let mut list = |label: &str, items: Vec<String>| {
        if !items.is_empty() {
            text.push_str(&format!(" {label}:\n"));
            text.extend(items.iter().map(|item| format!("  {item}\n")));
        }
    };
    let entries = &registries.entries;
    list(
        "Search Registries",
        registries.search.clone().unwrap_or_default(),
    );
    let unsafe_ones = insecure(registries).chain(LOOPBACK);
    list(
        "Insecure Registries",
        unsafe_ones.map(str::to_owned).collect(),
    );
    let mirrors = entries.iter().flat_map(|entry| {
        let shown = |mirror: &Mirror| format!("{} for {}", mirror.location, entry.prefix);
        entry.mirrors.iter().map(shown)
    });
    list("Registry Mirrors", mirrors.collect());
    let blocked = entries.iter().filter(|entry| entry.blocked);
    list(
        "Blocked Registries",
        blocked.map(|entry| entry.prefix.clone()).collect(),
    );
    text
}

/// Docker's lines in Docker's order: label, key, depth.
const LINES: &[(&str, &str, usize)] = &[
    ("Containers", "Containers", 1),
    ("Running", "ContainersRunning", 2),
    ("Paused", "ContainersPaused", 2),
    ("Stopped", "ContainersStopped", 2),
    ("Images", "Images", 1),
    ("Server Version", "ServerVersion", 1),
    ("Storage Driver", "Driver", 1),
    ("", "DriverStatus", 2),
    ("Logging Driver", "LoggingDriver", 1),
    ("Cgroup Driver", "CgroupDriver", 1),
    ("Cgroup Version", "CgroupVersion", 1),
    ("Security Options", "SecurityOptions", 1),
    ("Kernel Version", "KernelVersion", 1),
    ("Operating System", "OperatingSystem", 1),
    ("OSType", "OSType", 1),
    ("Architecture", "Architecture", 1),
    ("CPUs", "NCPU", 1),
    ("Total Memory", "MemTotal", 1),
    ("Name", "Name", 1),
    ("ID", "ID", 1),
    ("Docker Root Dir", "DockerRootDir", 1),
    ("Debug Mode", "Debug", 1),
];

fn layout(info: &Value) -> String {
    let mut text = format!(
        "Client: Coracle\n Version:    {}\n Context:    default\n Debug Mode: {}\n\nServer:\n",
        env!("CARGO_PKG_VERSION"),
        log::max_level() >= log::LevelFilter::Debug,
    );
    for (label, key, depth) in LINES {
        let indent = " ".repeat(*depth);
        match (&info[*key], *key) {
            (Value::Null, _) => {}
            (Value::Array(pairs), "DriverStatus") => {
                for pair in pairs {
                    text.push_str(&format!(
                        "{indent}{}: {}\n",
                        plain(&pair[0]),
                        plain(&pair[1])
                    ));
                }
            }
            (Value::Array(items), _) => {
                text.push_str(&format!("{indent}{label}:\n"));
                for item in items {
                    let item = plain(item);
                    let item = item.strip_prefix("name=").unwrap_or(&item);
                    text.push_str(&format!("{indent} {item}\n"));
                }
            }
            (bytes, "MemTotal") => {
                let size = crate::model::human::binary_size(bytes.as_u64().unwrap_or(0));
                text.push_str(&format!("{indent}{label}: {size}\n"));
            }
            (value, _) => text.push_str(&format!("{indent}{label}: {}\n", plain(value))),
        }
    }
    text
}

fn plain(value: &Value) -> String {
    value
        .as_str()
        .map_or_else(|| value.to_string(), str::to_owned)
}

//! `info`: the engine, its store and its host.

use clap::Args;
use serde_json::{Value, json};

use super::{
    Session, parse, template, ui,
    verb::{Arity, Outcome, Verb},
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
    if let Some(object) = info.as_object_mut() {
        object
            .entry("ServerVersion")
            .or_insert_with(|| env!("CARGO_PKG_VERSION").into());
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
            for warning in info["Warnings"].as_array().into_iter().flatten() {
                ui::aside(&plain(warning));
            }
        }
        Some(format) => ui::line(&template::object(format, &info)?)?,
    }
    Ok(0)
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

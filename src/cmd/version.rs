//! `version`: the program's own, in the shape that scripts read from Docker's.

use clap::Args;
use serde_json::{Value, json};

use crate::model::DOCKER_VERSION;

use super::{
    called,
    failure::Failure,
    go_types, parse, template, ui,
    verb::{Arity, Outcome, Verb},
};

/// This program; `Version` is the release of Docker that it stands in for, which scripts compare.
const PLATFORM: &str = concat!("Coracle ", env!("CARGO_PKG_VERSION"));

/// What `podman --version` says: whose commands are there beside Docker's.
const PODMAN_VERSION: &str = "5.4.2";

/// The Docker API whose objects `inspect` and templates show.
const API_VERSION: &str = "1.50";

#[derive(Args)]
struct Flags {
    /// "json", or a template in Go's language
    #[arg(long, short = 'f', value_name = "string")]
    format: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["version"],
    about: "Show the version",
    usage: "[OPTIONS]",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |_, matches, _| run(&parse::flags(matches)?),
    ..Verb::PLAIN
};

fn run(flags: &Flags) -> Outcome {
    let version = describe();
    match flags.format.as_deref() {
        None | Some("") => ui::raw(layout(&version).as_bytes())?,
        Some(format) => ui::line(&template::object(
            format,
            Some(go_types::VERSION),
            &version,
        )?)?,
    }
    Ok(0)
}

/// `coracle -v`. Called as docker or podman, the line that scripts take a number from.
pub fn short() -> Result<(), Failure> {
    let own = env!("CARGO_PKG_VERSION");
    let build = build();
    ui::line(&match called::name() {
        "docker" => format!("Docker version {DOCKER_VERSION}, build {build} (coracle {own})"),
        "podman" => format!("podman version {PODMAN_VERSION} (coracle {own})"),
        name => format!("{name} version {own}, build {build} (docker {DOCKER_VERSION})"),
    })
}

fn build() -> &'static str {
    option_env!("CORACLE_BUILD").unwrap_or("unknown")
}

/// Docker's `version --format json`. Client and server are the same program here.
pub(super) fn describe() -> Value {
    let platform = crate::model::Platform::host();
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    json!({
        "Client": {
            "Platform": {"Name": PLATFORM},
            "Version": DOCKER_VERSION,
            "ApiVersion": API_VERSION,
            "DefaultAPIVersion": API_VERSION,
            "GitCommit": build(),
            "GoVersion": "",
            "Os": platform.os,
            "Arch": platform.architecture,
            "BuildTime": "",
            "Context": "default",
        },
        "Server": {
            "Platform": {"Name": "Coracle (no daemon)"},
            "Components": [{
                "Name": "Engine",
                "Version": DOCKER_VERSION,
                "Details": {
                    "ApiVersion": API_VERSION,
                    "Arch": platform.architecture,
                    "GitCommit": build(),
                    "KernelVersion": kernel,
                    "MinAPIVersion": API_VERSION,
                    "Os": platform.os,
                },
            }, {
                "Name": "coracle",
                "Version": env!("CARGO_PKG_VERSION"),
                "Details": {"GitCommit": build()},
            }],
            "Version": DOCKER_VERSION,
            "ApiVersion": API_VERSION,
            "MinAPIVersion": API_VERSION,
            "GitCommit": build(),
            "GoVersion": "",
            "Os": platform.os,
            "Arch": platform.architecture,
            "KernelVersion": kernel,
            "BuildTime": "",
        },
    })
}

fn layout(version: &Value) -> String {
    let text = |side: &str, key: &str| version[side][key].as_str().unwrap_or_default().to_owned();
    let os_arch = format!("{}/{}", text("Client", "Os"), text("Client", "Arch"));
    format!(
        "Client: {PLATFORM}\n Version:           {0}\n API version:       {1}\n Git commit:        {2}\n OS/Arch:           {3}\n Context:           default\n\n\
         Server: {PLATFORM} (no daemon)\n Engine:\n  Version:          {0}\n  API version:      {1} (minimum version {1})\n  Git commit:       {2}\n  OS/Arch:          {3}\n  Kernel:           {4}\n",
        text("Client", "Version"),
        API_VERSION,
        build(),
        os_arch,
        text("Server", "KernelVersion"),
    )
}

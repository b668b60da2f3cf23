//! `version`: the program's own, in the shape that scripts read from Docker's.

use clap::Args;
use serde_json::{Value, json};

use super::{
    failure::Failure,
    parse, template, ui,
    verb::{Arity, Outcome, Verb},
};

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
        Some(format) => ui::line(&template::object(format, &version)?)?,
    }
    Ok(0)
}

/// `coracle -v`
pub fn short() -> Result<(), Failure> {
    ui::line(&format!(
        "coracle version {}, build {}",
        env!("CARGO_PKG_VERSION"),
        build()
    ))
}

fn build() -> &'static str {
    option_env!("CORACLE_BUILD").unwrap_or("unknown")
}

/// Docker's `version --format json`. Client and server are the same program here.
fn describe() -> Value {
    let platform = crate::model::Platform::host();
    let version = env!("CARGO_PKG_VERSION");
    let kernel = rustix::system::uname()
        .release()
        .to_string_lossy()
        .into_owned();
    json!({
        "Client": {
            "Platform": {"Name": "Coracle"},
            "Version": version,
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
                "Version": version,
                "Details": {
                    "ApiVersion": API_VERSION,
                    "Arch": platform.architecture,
                    "GitCommit": build(),
                    "KernelVersion": kernel,
                    "MinAPIVersion": API_VERSION,
                    "Os": platform.os,
                },
            }],
            "Version": version,
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
        "Client: Coracle\n Version:           {0}\n API version:       {1}\n Git commit:        {2}\n OS/Arch:           {3}\n Context:           default\n\n\
         Server: Coracle (no daemon)\n Engine:\n  Version:          {0}\n  API version:      {1} (minimum version {1})\n  Git commit:       {2}\n  OS/Arch:          {3}\n  Kernel:           {4}\n",
        text("Client", "Version"),
        API_VERSION,
        build(),
        os_arch,
        text("Server", "KernelVersion"),
    )
}

//! `info`: the engine, its store and its host.

use clap::Args;
use serde_json::{Map, Value, json};

use super::{
    Session, go_types, parse,
    settings::registries_files,
    template, ui,
    verb::{Arity, Outcome, Verb},
    version,
};
use crate::{
    engine::logins,
    model::{
        auth_file::DOCKER_HUB_KEY,
        human,
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
    info["RegistryConfig"] = registry_config(&registries);
    info["ClientInfo"] = client_info();
    match flags.format.as_deref() {
        None | Some("") => {
            let options = session.settings.registry_options();
            let user = logins::user_in_files(&options, DOCKER_HUB_KEY);
            ui::raw(client_lines(&info).as_bytes())?;
            ui::raw(server_lines(&info, user.as_deref(), &registries).as_bytes())?;
            for warning in strings(&info["Warnings"]) {
                ui::aside(warning);
            }
        }
        Some(format) => ui::line(&template::object(format, Some(go_types::INFO), &info)?)?,
    }
    Ok(0)
}

/// Docker's keys in Docker's order. What its plugin `buildx` does is there.
fn client_info() -> Value {
    let version = version::describe();
    let own = |key: &str| version["Client"][key].clone();
    json!({
        "Debug": log::max_level() >= log::LevelFilter::Debug,
        "Platform": own("Platform"),
        "Version": own("Version"),
        "ApiVersion": own("ApiVersion"),
        "DefaultAPIVersion": own("DefaultAPIVersion"),
        "GitCommit": own("GitCommit"),
        "GoVersion": own("GoVersion"),
        "Os": own("Os"),
        "Arch": own("Arch"),
        "BuildTime": own("BuildTime"),
        "Context": own("Context"),
        "Plugins": [{
            "SchemaVersion": "0.1.0",
            "Vendor": "Coracle",
            "Version": concat!("v", env!("CARGO_PKG_VERSION")),
            "ShortDescription": "Docker Buildx",
            "Name": "buildx",
        }],
        "Warnings": null,
    })
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

/// `info` as text.
struct Lines<'a> {
    info: &'a Value,
    text: String,
}

impl Lines<'_> {
    fn add(&mut self, line: &str) {
        self.text.push_str(line);
        self.text.push('\n');
    }

    /// `LABEL: VALUE`; the depth is in the label.
    fn say(&mut self, label: &str, pointer: &str) {
        let value = self.info.pointer(pointer).map(plain).unwrap_or_default();
        self.add(&format!("{label}: {value}"));
    }

    /// The same, if there is a value.
    fn say_if(&mut self, label: &str, pointer: &str) {
        let value = self.info.pointer(pointer).map(plain).unwrap_or_default();
        if !value.is_empty() {
            self.add(&format!("{label}: {value}"));
        }
    }

    /// A heading and a line for each, if there is one.
    fn list(&mut self, label: &str, items: &[String]) {
        if !items.is_empty() {
            self.add(&format!(" {label}:"));
            items.iter().for_each(|item| self.add(&format!("  {item}")));
        }
    }
}

fn client_lines(info: &Value) -> String {
    let mut lines = Lines {
        info,
        text: String::new(),
    };
    let client = |key: &str| plain(&info["ClientInfo"][key]);
    lines.add(&format!(
        "Client: {}",
        plain(&info["ClientInfo"]["Platform"]["Name"])
    ));
    lines.add(&format!(" Version:    {}", client("Version")));
    lines.add(&format!(" Context:    {}", client("Context")));
    lines.add(&format!(" Debug Mode: {}", client("Debug")));
    lines.add(" Plugins:");
    for plugin in info["ClientInfo"]["Plugins"]
        .as_array()
        .into_iter()
        .flatten()
    {
        let own = |key: &str| plain(&plugin[key]);
        let (name, about, vendor) = (own("Name"), own("ShortDescription"), own("Vendor"));
        lines.add(&format!(
            "  {name}: {about} ({vendor})\n    Version:  {}",
            own("Version")
        ));
    }
    lines.text.push('\n');
    lines.text
}

/// Docker's lines in Docker's order, and a few of ours.
fn server_lines(info: &Value, user: Option<&str>, registries: &Registries) -> String {
    let text = "Server:\n".to_owned();
    let mut lines = Lines { info, text };
    lines.say(" Containers", "/Containers");
    lines.say("  Running", "/ContainersRunning");
    lines.say("  Paused", "/ContainersPaused");
    lines.say("  Stopped", "/ContainersStopped");
    lines.say(" Images", "/Images");
    lines.say_if(" Server Version", "/ServerVersion");
    lines.say_if(" Storage Driver", "/Driver");
    for pair in info["DriverStatus"].as_array().into_iter().flatten() {
        lines.add(&format!("  {}: {}", plain(&pair[0]), plain(&pair[1])));
    }
    lines.say_if(" Logging Driver", "/LoggingDriver");
    lines.say_if(" Cgroup Driver", "/CgroupDriver");
    lines.say_if(" Cgroup Version", "/CgroupVersion");
    lines.add(" Plugins:");
    for kind in ["Volume", "Network", "Log"] {
        let plugins: Vec<&str> = strings(&info["Plugins"][kind]).collect();
        lines.add(&format!("  {kind}: {}", plugins.join(" ")));
    }
    let folders: Vec<String> = strings(&info["CDISpecDirs"]).map(str::to_owned).collect();
    lines.list("CDI spec directories", &folders);
    lines.say(" Swarm", "/Swarm/LocalNodeState");
    runtime_lines(&mut lines);
    machine_lines(&mut lines);
    lines.say_if(" HTTP Proxy", "/HttpProxy");
    lines.say_if(" HTTPS Proxy", "/HttpsProxy");
    lines.say_if(" No Proxy", "/NoProxy");
    if let Some(user) = user {
        lines.add(&format!(" Username: {user}"));
    }
    lines.list(
        "Labels",
        &strings(&info["Labels"])
            .map(str::to_owned)
            .collect::<Vec<_>>(),
    );
    lines.say(" Experimental", "/ExperimentalBuild");
    registry_lines(&mut lines, registries);
    lines.say(" Live Restore Enabled", "/LiveRestoreEnabled");
    lines.text.push('\n');
    lines.text
}

/// There is no containerd, no runc and no docker-init: all of them are this program.
fn runtime_lines(lines: &mut Lines<'_>) {
    let info = lines.info;
    let runtimes: Vec<&str> = info["Runtimes"]
        .as_object()
        .map(|runtimes| runtimes.keys().map(String::as_str).collect())
        .unwrap_or_default();
    lines.add(&format!(" Runtimes: {}", runtimes.join(" ")));
    lines.say(" Default Runtime", "/DefaultRuntime");
    lines.say(" Init Binary", "/InitBinary");
    for (label, key) in [
        (" containerd version", "ContainerdCommit"),
        (" runc version", "RuncCommit"),
        (" init version", "InitCommit"),
    ] {
        match plain(&info[key]["ID"]).as_str() {
            "" => lines.add(&format!("{label}: N/A")),
            commit => lines.add(&format!("{label}: {commit}")),
        }
    }
    lines.say_if(" Network Backend", "/Coracle/NetworkBackend");
    let missing: Vec<String> = strings(&info["Coracle"]["NetworkMissing"])
        .map(str::to_owned)
        .collect();
    lines.list("Missing for Networks", &missing);
    lines.add(" Security Options:");
    for option in strings(&info["SecurityOptions"]) {
        for part in option.split(',') {
            match part.split_once('=') {
                Some(("name", name)) => lines.add(&format!("  {name}")),
                Some(("profile", profile)) => lines.add(&format!("   Profile: {profile}")),
                _ => {}
            }
        }
    }
}

fn machine_lines(lines: &mut Lines<'_>) {
    let info = lines.info;
    lines.say_if(" Kernel Version", "/KernelVersion");
    lines.say_if(" Operating System", "/OperatingSystem");
    lines.say_if(" OSType", "/OSType");
    lines.say_if(" Architecture", "/Architecture");
    lines.say(" CPUs", "/NCPU");
    let memory = human::binary_size(info["MemTotal"].as_u64().unwrap_or(0));
    lines.add(&format!(" Total Memory: {memory}"));
    lines.say_if(" Name", "/Name");
    lines.say_if(" ID", "/ID");
    lines.say(" Docker Root Dir", "/DockerRootDir");
    lines.say(" Debug Mode", "/Debug");
    if info["Debug"] == true {
        lines.say("  File Descriptors", "/NFd");
        lines.say("  Goroutines", "/NGoroutines");
        lines.say("  System Time", "/SystemTime");
        lines.say("  EventsListeners", "/NEventsListener");
    }
}

fn registry_lines(lines: &mut Lines<'_>, registries: &Registries) {
    let entries = &registries.entries;
    let searched = registries.search.clone().unwrap_or_default();
    lines.list("Search Registries", &searched);
    let unsafe_ones = insecure(registries).chain(LOOPBACK).map(str::to_owned);
    lines.list("Insecure Registries", &unsafe_ones.collect::<Vec<_>>());
    let mirrors = entries.iter().flat_map(|entry| {
        let shown = |mirror: &Mirror| format!("{} for {}", mirror.location, entry.prefix);
        entry.mirrors.iter().map(shown)
    });
    lines.list("Registry Mirrors", &mirrors.collect::<Vec<_>>());
    let blocked = entries.iter().filter(|entry| entry.blocked);
    let blocked = blocked.map(|entry| entry.prefix.clone());
    lines.list("Blocked Registries", &blocked.collect::<Vec<_>>());
}

fn strings(value: &Value) -> impl Iterator<Item = &str> {
    value
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
}

fn plain(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_text_has_dockers_lines_in_dockers_order() {
        let info = json!({
            "Containers": 1, "ContainersRunning": 1, "ContainersPaused": 0, "ContainersStopped": 0,
            "Images": 2, "ServerVersion": "28.2.2", "Driver": "overlay",
            "DriverStatus": [["Backing Filesystem", "ext4"]],
            "Plugins": {"Volume": ["local"], "Network": ["bridge", "host"], "Log": ["json-file"]},
            "CDISpecDirs": ["/etc/cdi"], "Swarm": {"LocalNodeState": "inactive"},
            "Runtimes": {"coracle": {"path": "coracle"}}, "DefaultRuntime": "coracle",
            "InitBinary": "coracle", "ContainerdCommit": {"ID": ""},
            "SecurityOptions": ["name=seccomp,profile=builtin", "name=cgroupns"],
            "OSType": "linux", "NCPU": 2, "MemTotal": 1_073_741_824, "DockerRootDir": "/var/lib/coracle",
            "Debug": false, "HttpProxy": "http://proxy:3128", "HttpsProxy": "", "ExperimentalBuild": false,
            "Labels": [], "LiveRestoreEnabled": true,
        });
        let registries = Registries::default();
        let text = server_lines(&info, Some("me"), &registries);
        assert_eq!(
            text,
            "Server:
 Containers: 1
  Running: 1
  Paused: 0
  Stopped: 0
 Images: 2
 Server Version: 28.2.2
 Storage Driver: overlay
  Backing Filesystem: ext4
 Plugins:
  Volume: local
  Network: bridge host
  Log: json-file
 CDI spec directories:
  /etc/cdi
 Swarm: inactive
 Runtimes: coracle
 Default Runtime: coracle
 Init Binary: coracle
 containerd version: N/A
 runc version: N/A
 init version: N/A
 Security Options:
  seccomp
   Profile: builtin
  cgroupns
 OSType: linux
 CPUs: 2
 Total Memory: 1GiB
 Docker Root Dir: /var/lib/coracle
 Debug Mode: false
 HTTP Proxy: http://proxy:3128
 Username: me
 Experimental: false
 Insecure Registries:
  ::1/128
  127.0.0.0/8
 Live Restore Enabled: true

"
        );
    }
}

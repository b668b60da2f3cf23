//! `container inspect`: Docker's keys in Docker's order and types. What is not there yet has the
//! value that Docker shows for a container that does not use it.

mod host_config;
mod mounts;
mod network;

use serde_json::{Map, Value, json};

use self::{
    host_config::host_config,
    mounts::{mount_point, volume_point, volumes},
};
use super::{
    ending::{exit_code, exit_reason},
    health, pause, update,
};
use crate::{
    engine::{Engine, networks, plan},
    model::{
        Result,
        container::{ContainerRecord, ContainerState},
        health::HealthRecord,
        image::ProcessDefaults,
        mount::{Mount, Origin},
        signal::signal_name,
    },
    storage::{ContainerDir, containers::Status},
};

/// Go's zero time: what has not happened.
const NEVER: &str = "0001-01-01T00:00:00Z";

impl Engine {
    /// One object as Docker's `container inspect` shows it; `size` walks the writable layer.
    pub fn inspect_container(&self, container: &str, size: bool) -> Result<Value> {
        let (directory, mut record) = self.store.find_container(container)?;
        let status = directory.state()?;
        record.spec.resources = update::effective(&directory, &record)?;
        // An image that is damaged must not hide its container.
        let image = record
            .image_id
            .as_ref()
            .and_then(|id| self.image_config(id).ok());
        let image = image.and_then(|image| image.config).unwrap_or_default();
        let file = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let logging = &record.spec.logging;
        let log = match logging.options.get("path") {
            Some(path) => path.clone(),
            None if logging.driver.has_files() => file("log"),
            None => String::new(),
        };
        let (driver, graph_driver) = self.graph_driver_of(&directory, &record)?;
        let mut object = Object::default();
        object.put("Id", json!(record.id));
        object.put("Created", json!(record.created));
        object.put("Path", json!(record.path));
        object.put("Args", json!(record.args));
        let mut state = state(&status);
        if let Some(health) = health::found(&directory, &record.spec.health, Some(&image), &status)?
        {
            state["Health"] = shown_health(&health);
        }
        object.put("State", state);
        let image_id = record.image_id.as_ref().map_or("", |id| id.as_str());
        object.put("Image", json!(image_id));
        object.put("ResolvConfPath", json!(file("resolv.conf")));
        object.put("HostnamePath", json!(file("hostname")));
        object.put("HostsPath", json!(file("hosts")));
        object.put("LogPath", json!(log));
        object.put("Name", json!(format!("/{}", record.name)));
        object.put("RestartCount", json!(status.restarts()));
        object.put("Driver", json!(driver));
        object.put("Platform", json!("linux"));
        object.put_all(&["MountLabel", "ProcessLabel"], &json!(""));
        let apparmor = record.spec.security.apparmor.clone();
        object.put("AppArmorProfile", json!(apparmor.unwrap_or_default()));
        object.put("ExecIDs", Value::Null);
        object.put("HostConfig", host_config(&record));
        object.put("GraphDriver", graph_driver);
        if size {
            let size = self.container_size(&directory, &record)?;
            object.put("SizeRw", json!(size.writable));
            object.put("SizeRootFs", json!(size.image + size.writable));
        }
        let mounts = self.mount_points(&record.spec.mounts);
        object.put("Mounts", json!(mounts));
        object.put("Config", self.config(&record, &image));
        object.put("NetworkSettings", self.network_settings(&record, &status)?);
        Ok(object.done())
    }

    /// What is mounted, but for the tmpfs that Docker lists elsewhere.
    fn mount_points(&self, mounts: &[Mount]) -> Vec<Value> {
        mounts
            .iter()
            .filter(|mount| !matches!(mount.options.origin, Origin::Tmpfs | Origin::Default))
            .map(|mount| match mount.volume() {
                Some(volume) => volume_point(mount, volume, &self.mountpoint(&volume.name)),
                None => mount_point(mount),
            })
            .collect()
    }

    /// The driver's name, and where its parts are. They are mounted in the container's own mount
    /// namespace only.
    fn graph_driver_of(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
    ) -> Result<(&'static str, Value)> {
        let path = |name: &str| directory.path().join(name).to_string_lossy().into_owned();
        let copied = super::size::is_copy(directory)?;
        let mut data = Object::default();
        let name = if copied {
            data.put("RootDir", json!(path("rootfs")));
            "copy"
        } else {
            let lower: Vec<String> = self
                .store
                .overlay_lowers(&record.layers)
                .iter()
                .map(|layer| layer.to_string_lossy().into_owned())
                .collect();
            data.put("ID", json!(record.id));
            data.put("LowerDir", json!(lower.join(":")));
            data.put("MergedDir", json!(directory.path().to_string_lossy()));
            data.put("UpperDir", json!(path("upper")));
            data.put("WorkDir", json!(path("work")));
            "overlay"
        };
        Ok((name, json!({"Data": data.done(), "Name": name})))
    }

    fn config(&self, record: &ContainerRecord, image: &ProcessDefaults) -> Value {
        let spec = &record.spec;
        let mut labels = image.labels.clone().unwrap_or_default();
        labels.extend(spec.labels.clone());
        let working_dir = spec.workdir.as_ref().or(image.working_dir.as_ref());
        let hostname = self
            .hostname_of(record)
            .unwrap_or_else(|_| record.id.short().to_owned());
        let user = spec.user.as_ref().or(image.user.as_ref());
        let (entrypoint, command) = entrypoint_and_command(record, image);
        let mut object = Object::default();
        object.put("Hostname", json!(hostname));
        object.put(
            "Domainname",
            json!(spec.namespaces.domainname.clone().unwrap_or_default()),
        );
        object.put("User", json!(user.cloned().unwrap_or_default()));
        object.put("AttachStdin", json!(spec.attach.stdin));
        object.put("AttachStdout", json!(spec.attach.stdout));
        object.put("AttachStderr", json!(spec.attach.stderr));
        object.put_some("ExposedPorts", networks::exposed_map(spec, image));
        object.put("Tty", json!(spec.tty));
        object.put("OpenStdin", json!(spec.interactive));
        object.put("StdinOnce", json!(spec.input_once()));
        object.put("Env", json!(environment(&spec.env, image)));
        object.put("Cmd", json!(command));
        object.put_some("Healthcheck", spec.health.shown(image));
        object.put("Image", json!(spec.image));
        object.put("Volumes", volumes(&spec.mounts));
        object.put(
            "WorkingDir",
            json!(working_dir.cloned().unwrap_or_default()),
        );
        object.put("Entrypoint", json!(entrypoint));
        object.put("OnBuild", Value::Null);
        object.put("Labels", json!(labels));
        let stop_signal = spec.stop_signal.map(signal_name);
        let systemd =
            plan::wants_systemd(spec, &record.path).then(|| signal_name(plan::SYSTEMD_STOP_SIGNAL));
        object.put_some(
            "StopSignal",
            stop_signal.or(systemd).or(image.stop_signal.clone()),
        );
        object.put_some("StopTimeout", spec.stop_timeout);
        object.put_some("Shell", image.extra.get("Shell"));
        object.done()
    }
}

/// An object whose keys stay in the order in which they were put.
#[derive(Default)]
struct Object(Map<String, Value>);

impl Object {
    fn put(&mut self, key: &str, value: Value) {
        self.0.insert(key.to_owned(), value);
    }

    /// Leaves the key out if there is nothing.
    fn put_some(&mut self, key: &str, value: Option<impl serde::Serialize>) {
        if let Some(value) = value {
            self.put(key, json!(value));
        }
    }

    fn put_all(&mut self, keys: &[&str], value: &Value) {
        for key in keys {
            self.put(key, value.clone());
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn state(status: &Status) -> Value {
    let now = pause::state(status);
    let running = status.state == ContainerState::Running;
    let pid = match &status.start {
        Some(start) if running => start.init.pid,
        _ => 0,
    };
    let restarting = status.state == ContainerState::Restarting;
    let started = status.started();
    let exit = status.exit.as_ref();
    let finished = exit.map(|exit| exit.finished.as_str());
    json!({
        "Status": now.to_string(),
        // Docker's: a container that is restarted counts as running between its runs too.
        "Running": running || restarting,
        "Paused": now == ContainerState::Paused,
        "Restarting": now == ContainerState::Restarting,
        "OOMKilled": exit.is_some_and(|exit| exit.oom_killed),
        "Dead": now == ContainerState::Dead,
        "Pid": pid,
        "ExitCode": exit_code(status).unwrap_or(0),
        "Error": exit_reason(status).unwrap_or_default(),
        "StartedAt": started.unwrap_or(NEVER),
        "FinishedAt": finished.unwrap_or(NEVER),
    })
}

fn shown_health(health: &HealthRecord) -> Value {
    json!({
        "Status": health.status.to_string(),
        "FailingStreak": health.failing_streak,
        "Log": health.log,
    })
}

/// Docker's order: what the user gave, then those of the image's variables that she did not.
pub(super) fn environment(given: &[String], image: &ProcessDefaults) -> Vec<String> {
    let mut variables: Vec<String> = Vec::new();
    for variable in given {
        plan::set_variable(&mut variables, variable);
    }
    let name = |variable: &str| variable.split('=').next().unwrap_or_default().to_owned();
    for variable in image.env.iter().flatten() {
        if !variables.iter().any(|other| name(other) == name(variable)) {
            variables.push(variable.clone());
        }
    }
    variables
}

/// The two lists that the command line was made of. A given entrypoint drops the image's command.
pub(super) fn entrypoint_and_command(
    record: &ContainerRecord,
    image: &ProcessDefaults,
) -> (Option<Vec<String>>, Option<Vec<String>>) {
    let spec = &record.spec;
    let filled = |list: Option<Vec<String>>| list.filter(|list| !list.is_empty());
    let (entrypoint, image_command) = match &spec.entrypoint {
        Some(entrypoint) => (Some(entrypoint.clone()), None),
        None => (image.entrypoint.clone(), image.cmd.clone()),
    };
    let command = filled(Some(spec.command.clone())).or(image_command);
    (filled(entrypoint), filled(command))
}

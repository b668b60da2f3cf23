//! Another engine, in a case's own world.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::case::Case;

/// The other engine that is asked for.
pub fn name() -> Option<String> {
    let engine = std::env::var("ENGINE").unwrap_or_default();
    let name = engine.rsplit('/').next().unwrap_or_default();
    (!name.is_empty() && name != "coracle").then(|| name.to_owned())
}

/// Makes `docker` the engine.
pub fn install(case: &Case, docker: &Path, in_a_world: bool) {
    match name().as_deref() {
        Some("podman") => podman(case, docker, in_a_world),
        Some("docker") => link("/usr/bin/docker", docker),
        Some(other) => panic!("{other}: only podman and docker are known"),
        None => link(&case.engine_words()[0], docker),
    }
}

fn link(engine: &str, docker: &Path) {
    std::os::unix::fs::symlink(engine, docker).unwrap();
}

/// Podman with a store of its own, and settings with which it works on every kind of machine: there
/// may be no systemd, and crun refuses control groups of versions 1 and 2 beside each other.
fn podman(case: &Case, docker: &Path, in_a_world: bool) {
    let dir = case.dir.display();
    let network = if in_a_world { "bridge" } else { "none" };
    let config = format!(
        "[containers]\nstop_timeout = 1\nnetns = \"{network}\"\nlog_driver = \"k8s-file\"\n\
         default_ulimits = [\"nofile=1024:1024\", \"nproc=4096:4096\"]\n\
         [engine]\nruntime = \"runc\"\nlock_type = \"file\"\ncgroup_manager = \"cgroupfs\"\nevents_logger = \"file\"\nhelper_binaries_dir = [\"/usr/lib/podman\"]\n\
         tmp_dir = \"{dir}/tmp\"\nevents_logfile_path = \"{dir}/events.log\"\n\
         [network]\nnetwork_backend = \"netavark\"\nnetwork_config_dir = \"{dir}/networks\"\n"
    );
    let config = case.make_file("containers.conf", config);
    case.set("CONTAINERS_CONF", &config.display().to_string());
    let script = format!("#!/bin/sh\nexec podman --root={dir}/root --runroot={dir}/run \"$@\"\n");
    fs::write(docker, script).unwrap();
    fs::set_permissions(docker, PermissionsExt::from_mode(0o755)).unwrap();
}

/// Podman leaves its store mounted.
pub fn unmount(case: &Case) {
    if name().is_some() {
        for mount in case.mounts().iter().rev() {
            let place = mount.split(' ').nth(4).unwrap_or_default();
            let _ = Command::new("umount").args(["-l", place]).status();
        }
    }
}

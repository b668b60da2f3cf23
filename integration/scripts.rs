//! Scripts that call `docker`, as build systems and their users have them: `integration/scripts`.
//!
//! They run unchanged, with a link `docker` to this program before everything else in PATH, in a
//! world of their own with a registry on loopback. What images they get is named by variables, as in a
//! pipeline; where those of the real world would be needed (a database), `scripts/images` has ones
//! that stand in. Each script checks its results and ends with 0; that nothing of it is left is
//! checked here.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    case::{Case, Outcome, finish},
    networking::{self, load_debian},
    registry::Registry,
};

/// One case a script, and the list of all.
macro_rules! scripts {
    ($($name:ident $file:literal: $($image:ident)+;)+) => {
        cases! { $($name: root ordinary;)+ }

        $(fn $name(case: &Case) {
            passes(case, $file, &[$(Image::$image),+]);
        })+

        const ALL: &[&str] = &[$($file),+];
    };
}

scripts! {
    build_test_push "01-build-test-push": Alpine;
    database_fixture "02-database-fixture": Alpine Debian Postgres;
    nightly_cleanup "03-nightly-cleanup": Alpine;
    release_files "04-release-files": Alpine;
    deploy_over_ssh "05-deploy-over-ssh": Alpine;
    wait_for_health "06-wait-for-health": Alpine;
    integration_network "07-integration-network": Alpine Debian;
    gitlab_runner "08-gitlab-runner": Alpine;
    jenkins_inside "09-jenkins-inside": Alpine;
    github_service_containers "10-github-service-containers": Alpine Debian Redis;
    test_stage_matrix "11-test-stage-matrix": Alpine;
    toolchain "12-toolchain": Alpine Debian;
    secrets "13-secrets": Alpine;
    volume_backup "14-volume-backup": Alpine;
    blue_green "15-blue-green": Alpine;
    logs_and_events "16-logs-and-events": Alpine;
    fan_out "17-fan-out": Alpine;
    flatten_image "18-flatten-image": Alpine;
    publish_manifest "19-publish-manifest": Alpine;
    cibuildwheel "20-cibuildwheel": Alpine Debian;
    testcontainers "21-testcontainers": Alpine Redis;
}

/// What a script finds in the store.
#[derive(Clone, Copy, PartialEq)]
pub enum Image {
    /// `alpine:3.20`, which is busybox.
    Alpine,
    /// `debian:12`, with bash, perl and Python.
    Debian,
    Postgres,
    Redis,
}

#[test]
fn every_script_has_a_case() {
    let files: BTreeSet<String> = fs::read_dir(folder())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter_map(|path| Some(path.file_name()?.to_str()?.strip_suffix(".sh")?.to_owned()))
        .collect();
    assert_eq!(files, ALL.iter().map(|&name| name.to_owned()).collect());
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/scripts")
}

fn passes(case: &Case, script: &str, images: &[Image]) {
    let Some(world) = networking::begin(case) else {
        return;
    };
    have(case, images);
    let registry = Registry::guarded(case, "registry-data");
    call_docker(case);
    pipeline(case, &registry);
    let outcome = bash(case, &folder().join(format!("{script}.sh")));
    assert_eq!(outcome.code, 0, "{outcome}");
    holds_nothing(case);
    world.is_empty(case);
}

/// The images under the names that they have in the world; `networking::begin` has loaded busybox.
pub fn have(case: &Case, images: &[Image]) {
    for image in images {
        match image {
            Image::Alpine => renamed(case, "localhost/busybox", "alpine:3.20"),
            Image::Debian => {
                load_debian(case);
                renamed(case, "localhost/debian", "debian:12");
            }
            Image::Postgres => stand_in(case, "postgres", "postgres:16"),
            Image::Redis => stand_in(case, "redis", "redis:7"),
        }
    }
}

fn renamed(case: &Case, from: &str, to: &str) {
    case.words(&["tag", from, to]).ok();
    case.words(&["rmi", from]).ok();
}

fn stand_in(case: &Case, name: &str, image: &str) {
    let context = case.make_dir(name);
    for entry in fs::read_dir(folder().join("images").join(name)).unwrap() {
        let entry = entry.unwrap();
        let content = fs::read(entry.path()).unwrap();
        case.make_file(&format!("{name}/{}", entry.file_name().display()), content);
    }
    let words = ["build", "-q", "-t", image, context.to_str().unwrap()];
    case.words(&words).ok();
    case.engine("builder prune -af").ok();
}

/// Makes `docker` this program, with the case's store, and `ssh` a way to another store.
pub fn call_docker(case: &Case) {
    let bin = case.make_dir("bin");
    let engine = case.engine_words().swap_remove(0);
    for name in ["docker", "coracle"] {
        symlink(&engine, bin.join(name)).unwrap();
    }
    let far = case.make_dir("far");
    let ssh = format!(
        "#!/bin/sh\n\
         # ssh - the far machine is another store: [-o OPTION]… HOST COMMAND…\n\
         while [ \"$1\" = -o ]; do shift 2; done\n\
         shift\n\
         export CORACLE_ROOT={0}/root CORACLE_RUNROOT={0}/run\n\
         exec sh -c \"$*\"\n",
        far.display()
    );
    let ssh = case.make_file("bin/ssh", ssh);
    fs::set_permissions(ssh, PermissionsExt::from_mode(0o755)).unwrap();
    let path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
    case.set("PATH", &format!("{}:{path}", bin.display()));
    case.set("CORACLE_ROOT", case.root().to_str().unwrap());
    case.set("CORACLE_RUNROOT", case.dir_path("run").to_str().unwrap());
    case.set("TMPDIR", case.make_dir("tmp").to_str().unwrap());
}

/// The variables that a pipeline has.
fn pipeline(case: &Case, registry: &Registry) {
    for (name, value) in [
        ("REGISTRY", registry.address.as_str()),
        ("REGISTRY_USER", "user"),
        ("REGISTRY_PASSWORD", "geheim"),
        // An agent's own number is one of the container's then.
        (
            "INSIDE_ARGS",
            ["--userns=keep-id", ""][usize::from(case.is_root())],
        ),
        ("DEPLOY_HOST", "production.example"),
        ("BASE_IMAGE", "alpine:3.20"),
        ("HELPER_IMAGE", "alpine:3.20"),
        ("BUILD_IMAGE", "alpine:3.20"),
        ("APP_IMAGE", "debian:12"),
        ("TOOL_IMAGE", "debian:12"),
        ("JOB_IMAGE", "debian:12"),
        ("POSTGRES_IMAGE", "postgres:16"),
        ("REDIS_IMAGE", "redis:7"),
    ] {
        case.set(name, value);
    }
}

/// Runs a script where an ordinary user can read it.
fn bash(case: &Case, script: &Path) -> Outcome {
    let work = case.make_dir("work");
    let copy = case.make_file("script.sh", fs::read(script).unwrap());
    let mut command: Command = case.program("bash");
    let traced = "exec 9>../trace; BASH_XTRACEFD=9 exec bash -x \"$0\"";
    command.args(["-c", traced]).arg(copy).current_dir(work);
    let mut outcome = finish(command);
    // Which command it was that failed.
    let trace = fs::read(case.dir_path("trace")).unwrap();
    let trace = String::from_utf8_lossy(&trace);
    let last: Vec<&str> = trace.lines().rev().take(8).collect();
    for line in last.iter().rev() {
        writeln!(outcome.stderr, "trace: {line}").unwrap();
    }
    outcome
}

/// No container, volume, network or file is left, here or on the far machine.
fn holds_nothing(case: &Case) {
    for line in ["ps -aq", "volume ls -q", "network ls -qf type=custom"] {
        case.engine(line).ok().prints("");
    }
    for dir in ["work", "tmp"] {
        let left: Vec<_> = fs::read_dir(case.dir_path(dir)).unwrap().collect();
        assert!(left.is_empty(), "{dir}: {left:?}");
    }
    case.engine("system check --quick").ok();
}

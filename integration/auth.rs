//! Who we are at a registry, for real: Debian's docker-registry with a password, and the auth files
//! of podman, skopeo and docker.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{
    case::{Case, finish},
    registry::Registry,
    terminal::Terminal,
};

cases! {
    login_pull_logout: root ordinary single;
    a_wrong_password_changes_nothing: root ordinary;
    a_helper_keeps_the_password: root ordinary;
    a_store_keeps_the_password: root ordinary;
    files_of_others_are_read: root ordinary;
    others_read_our_file: root ordinary;
    asked_at_a_terminal: root ordinary;
    a_home_of_somebody_else: root ordinary;
    a_mirror_and_a_short_name: root ordinary;
    logins_at_once: root ordinary;
}

/// podman's place for this case's user.
fn auth_file(case: &Case) -> std::path::PathBuf {
    case.dir_path("runtime/containers/auth.json")
}

fn log_in(case: &Case, registry: &Registry) {
    let words = ["login", "-u", "me", "--password-stdin", &registry.address];
    case.with_input(&words, "s3cret\n")
        .ok()
        .prints("Login Succeeded!");
}

fn login_pull_logout(case: &Case) {
    let registry = Registry::with_password(case);
    let image = registry.image("busybox");
    case.words(&["pull", &image]).fails(1, "coracle login");
    log_in(case, &registry);
    let mode = fs::metadata(auth_file(case)).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    case.words(&["login", "--get-login", &registry.address])
        .ok()
        .prints("me");
    case.words(&["run", "--rm", "--network", "none", &image, "true"])
        .ok();
    case.words(&["login", &registry.address])
        .ok()
        .contains("Authenticating with existing credentials");
    case.words(&["search", &format!("{}/busy", registry.address)])
        .ok()
        .contains("test/busybox");
    case.words(&["search", "--list-tags", &image])
        .ok()
        .contains("latest");
    case.words(&["logout", &registry.address])
        .ok()
        .prints(&format!(
            "Removing login credentials for {}",
            registry.address
        ));
    case.words(&["login", "--get-login", &registry.address])
        .fails(125, "not logged into");
    case.words(&["rmi", &image]).ok();
    case.words(&["pull", &image]).fails(1, "coracle login");
    case.words(&["pull", "--creds", "me:s3cret", &image]).ok();
}

fn a_wrong_password_changes_nothing(case: &Case) {
    let registry = Registry::with_password(case);
    let words = ["login", "-u", "me", "--password-stdin", &registry.address];
    case.with_input(&words, "wrong")
        .fails(1, "does not accept this user name and password");
    assert!(!auth_file(case).exists());
    case.words(&["login", &registry.address]).fails(
        1,
        "Cannot perform an interactive login from a non TTY device",
    );
    case.words(&["login", "--password-stdin", &registry.address])
        .fails(1, "requires --username to be set");
}

/// A helper that keeps one secret in a file, and notes what it was asked.
const HELPER: &str = r#"#!/bin/sh
cd "$HOME" || exit 1
echo "$1" >>asked
case $1 in
store) cat >kept ;;
get) cat kept 2>/dev/null || { echo "credentials not found in native keychain"; exit 1; } ;;
erase) [ -e kept ] && rm kept || { echo "credentials not found in native keychain"; exit 1; } ;;
list) echo "{}" ;;
esac
"#;

fn install_helper(case: &Case) {
    let file = case.make_dir("bin").join("docker-credential-filed");
    fs::write(&file, HELPER).unwrap();
    fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    let own = case.dir_path("bin").display().to_string();
    case.set("PATH", &format!("{own}:/usr/sbin:/usr/bin:/sbin:/bin"));
}

fn with_helper(case: &Case, registry: &Registry, config: &str) {
    install_helper(case);
    case.make_dir("home/.docker");
    let file = case.make_file("home/.docker/config.json", config);
    log_in(case, registry);
    let kept = case.dir_path("home/kept");
    assert!(fs::read_to_string(&kept).unwrap().contains("s3cret"));
    let text = fs::read_to_string(&file).unwrap();
    let noted = format!("\"{}\": {{}}", registry.address);
    assert!(
        text.contains(&noted) && !text.contains("czNjcmV0"),
        "{text}"
    );
    assert!(!auth_file(case).exists());
    case.words(&["pull", &registry.image("busybox")]).ok();
    case.words(&["logout", &registry.address]).ok();
    assert!(!kept.exists());
    assert!(!fs::read_to_string(&file).unwrap().contains(&noted));
}

fn a_helper_keeps_the_password(case: &Case) {
    let registry = Registry::with_password(case);
    let config = format!(r#"{{"credHelpers": {{"{}": "filed"}}}}"#, registry.address);
    with_helper(case, &registry, &config);
}

fn a_store_keeps_the_password(case: &Case) {
    let registry = Registry::with_password(case);
    with_helper(case, &registry, r#"{"auths": {}, "credsStore": "filed"}"#);
}

fn files_of_others_are_read(case: &Case) {
    let registry = Registry::with_password(case);
    let image = registry.image("busybox");
    for (program, verb) in [("skopeo", "login"), ("podman", "login")] {
        let Some(mut command) = case.installed(program) else {
            continue;
        };
        command.args([verb, "--tls-verify=false", "-u", "me", "-p", "s3cret"]);
        finish_login(command.arg(&registry.address));
        end_podman(case);
        assert!(auth_file(case).exists(), "{program}");
        case.words(&["pull", &image]).ok();
        case.words(&["rmi", &image]).ok();
        case.words(&["logout", &registry.address]).ok();
        case.words(&["pull", &image]).fails(1, "coracle login");
    }
    // Docker's client logs in through its daemon; this is what it writes (me:s3cret).
    case.make_dir("home/.docker");
    let config = format!(
        r#"{{"auths": {{"http://{}/v1/": {{"auth": "bWU6czNjcmV0"}}}}, "psFormat": "x"}}"#,
        registry.address
    );
    case.make_file("home/.docker/config.json", config);
    case.words(&["pull", &image]).ok();
    case.words(&["logout", &registry.address]).ok();
    let left = fs::read_to_string(case.dir_path("home/.docker/config.json")).unwrap();
    assert!(
        left.contains("psFormat") && !left.contains("czNjcmV0"),
        "{left}"
    );
}

fn finish_login(command: &mut std::process::Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

fn others_read_our_file(case: &Case) {
    let registry = Registry::with_password(case);
    log_in(case, &registry);
    let name = format!("docker://{}", registry.image("busybox"));
    let mut skopeo = case.program("skopeo");
    skopeo.args(["inspect", "--raw", "--tls-verify=false", &name]);
    finish(skopeo).ok();
    let Some(mut podman) = case.installed("podman") else {
        return;
    };
    podman.args(["login", "--get-login", &registry.address]);
    finish(podman).ok().prints("me");
    end_podman(case);
}

/// podman leaves a process that holds an ordinary user's namespace.
fn end_podman(case: &Case) {
    let file = case.dir_path("runtime/libpod/tmp/pause.pid");
    let Ok(pid) = fs::read_to_string(file) else {
        return;
    };
    let pid = pid
        .trim()
        .parse()
        .ok()
        .and_then(rustix::process::Pid::from_raw);
    if let Some(pid) = pid {
        let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
    }
}

/// Only what was named must be readable.
fn a_home_of_somebody_else(case: &Case) {
    let registry = Registry::http(case);
    let closed = case.make_dir("closed");
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o0)).unwrap();
    case.set("HOME", closed.to_str().unwrap());
    case.words(&["pull", &registry.image("busybox")]).ok();
    if !case.is_root() {
        let named = closed.join("auth.json");
        let flag = format!("--authfile={}", named.display());
        case.words(&["pull", &flag, &registry.image("busybox")])
            .fails(1, "cannot read auth file");
    }
    fs::set_permissions(&closed, PermissionsExt::from_mode(0o700)).unwrap();
}

fn asked_at_a_terminal(case: &Case) {
    let registry = Registry::with_password(case);
    let mut terminal = Terminal::start(case, &["login", &registry.address]);
    terminal.expect("Username: ");
    terminal.send("me\n");
    terminal.expect("Password: ");
    terminal.send("s3crex\x7ft\n");
    terminal.expect("Login Succeeded!");
    assert_eq!(terminal.exit_code(), 0);
    let shown = terminal.seen();
    assert!(!shown.contains("s3cre"), "{shown}");
}

/// The name stays what was asked for, wherever the bytes came from.
fn a_mirror_and_a_short_name(case: &Case) {
    let registry = Registry::http(case);
    let config = case.make_file(
        "registries.conf",
        format!(
            "unqualified-search-registries = [\"short.invalid/test\"]\n\
             [[registry]]\nprefix = \"short.invalid\"\nlocation = \"{0}\"\n\
             [[registry]]\nprefix = \"full.invalid\"\nlocation = \"127.0.0.1:1\"\n\
             [[registry.mirror]]\nlocation = \"{0}\"\n\
             [[registry]]\nlocation = \"bad.invalid\"\nblocked = true\n",
            registry.address
        ),
    );
    case.set("CONTAINERS_REGISTRIES_CONF", config.to_str().unwrap());
    // The machine's own additions may have an alias for the name.
    let none = case.make_dir("no-additions");
    case.set("CONTAINERS_REGISTRIES_CONF_DIR", none.to_str().unwrap());
    case.words(&["pull", "-q", "full.invalid/test/busybox"])
        .ok();
    case.words(&[
        "run",
        "--rm",
        "--network",
        "none",
        "busybox",
        "echo",
        "fine",
    ])
    .ok()
    .contains("fine");
    // Found in the store the second time: no pull is begun.
    case.words(&[
        "run",
        "--rm",
        "--pull=never",
        "--network",
        "none",
        "busybox",
        "echo",
        "again",
    ])
    .ok()
    .prints("again");
    let listed = case.words(&["images", "--format", "{{.Repository}}"]).ok();
    listed
        .contains("full.invalid/test/busybox")
        .contains("short.invalid/test/busybox");
    case.words(&["pull", "bad.invalid/x"])
        .fails(1, "is blocked");
    case.words(&["info"]).ok().contains("bad.invalid");
    case.make_file("registries.conf", "[[registry]]\nlocatoin = \"x\"\n");
    case.words(&["pull", "full.invalid/test/busybox"])
        .fails(1, "registries.conf:2: unknown field `locatoin`");
}

fn logins_at_once(case: &Case) {
    let registry = Registry::with_password(case);
    let keys: Vec<String> = (0..8)
        .map(|number| format!("{}/team{number}", registry.address))
        .collect();
    let children: Vec<_> = keys
        .iter()
        .map(|key| case.start(&["login", "-u", "me", "-p", "s3cret", key]))
        .collect();
    for child in children {
        assert!(child.wait_with_output().unwrap().status.success());
    }
    let text = fs::read_to_string(auth_file(case)).unwrap();
    assert!(keys.iter().all(|key| text.contains(key)), "{text}");
}

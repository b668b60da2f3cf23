//! The program under other names, and its answers about what an engine without a daemon has not.

use std::{
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output},
};

fn call(program: &Path, home: &Path, words: &[&str], env: &[(&str, &str)]) -> Output {
    let mut command = Command::new(program);
    command.args(words).env_clear().env("HOME", home);
    command.env("XDG_RUNTIME_DIR", home).env("PATH", home);
    // Root's own store is the machine's.
    command.env("CORACLE_ROOT", home.join("root"));
    command.env("CORACLE_RUNROOT", home.join("runroot"));
    command.envs(env.iter().copied());
    command.output().expect("it runs")
}

struct Caller {
    home: tempfile::TempDir,
}

impl Caller {
    fn new() -> Self {
        let home = tempfile::tempdir().expect("a folder");
        for name in ["docker", "podman"] {
            symlink(env!("CARGO_BIN_EXE_coracle"), home.path().join(name)).expect("a link");
        }
        Caller { home }
    }

    fn by(&self, name: &str, words: &[&str], env: &[(&str, &str)]) -> (i32, String, String) {
        let program = match name {
            "coracle" => Path::new(env!("CARGO_BIN_EXE_coracle")).to_owned(),
            link => self.home.path().join(link),
        };
        let output = call(&program, self.home.path(), words, env);
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (
            output.status.code().unwrap_or(-1),
            text(&output.stdout),
            text(&output.stderr),
        )
    }
}

#[test]
fn a_link_is_called_by_its_name() {
    let caller = Caller::new();
    let docker = coracle::model::DOCKER_VERSION;
    let (_, out, _) = caller.by("docker", &["-v"], &[]);
    assert!(
        out.starts_with(&format!("Docker version {docker}, build ")),
        "{out}"
    );
    let (_, out, _) = caller.by("podman", &["--version"], &[]);
    assert!(out.starts_with("podman version 5."), "{out}");
    let (_, out, _) = caller.by("docker", &["rm", "--help"], &[]);
    assert!(
        out.starts_with("Usage:  docker rm [OPTIONS] CONTAINER"),
        "{out}"
    );
    assert!(
        out.contains("docker container rm, docker container remove, docker rm"),
        "{out}"
    );
    let (code, _, err) = caller.by("docker", &["rm"], &[]);
    assert_eq!(code, 1);
    assert!(
        err.starts_with("docker: 'docker rm' requires at least 1 argument"),
        "{err}"
    );
}

#[test]
fn exit_codes_follow_whoever_is_asked_for() {
    let caller = Caller::new();
    let podman = [("CORACLE_COMPAT", "podman")];
    // What is called, with which variables, and the code of `rm nosuch`, `stop nosuch`, `rm`, `nosuch`;
    // that of `inspect nosuch` is as of `stop nosuch`.
    for (name, flags, env, codes) in [
        ("coracle", &[] as &[&str], &[] as &[_], [1, 1, 1, 1]),
        ("docker", &[], &[], [1, 1, 1, 1]),
        ("podman", &[], &[], [1, 125, 125, 125]),
        ("docker", &[], &podman, [1, 125, 125, 125]),
        ("podman", &["--compat=docker"], &podman, [1, 1, 1, 1]),
        ("coracle", &["--compat", "podman"], &[], [1, 125, 125, 125]),
    ] {
        let calls: [&[&str]; 4] = [&["rm", "nosuch"], &["stop", "nosuch"], &["rm"], &["nosuch"]];
        let (code, out, _) = caller.by(name, &[flags, &["inspect", "nosuch"]].concat(), env);
        assert_eq!((code, out.trim()), (codes[1], "[]"));
        for (words, expected) in calls.into_iter().zip(codes) {
            let (code, _, err) = caller.by(name, &[flags, words].concat(), env);
            assert_eq!(code, expected, "{name} {flags:?} {words:?} {env:?}: {err}");
        }
    }
    let (code, _, err) = caller.by("coracle", &["--compat=nerdctl", "ps"], &[]);
    assert_eq!(code, 125);
    assert!(err.contains("it is docker or podman"), "{err}");
}

#[test]
fn what_is_mistyped_is_guessed() {
    let caller = Caller::new();
    for (words, hint) in [
        (
            &["imgaes"] as &[&str],
            "hint: did you mean `docker images`?",
        ),
        (
            &["container", "lst"],
            "hint: did you mean `docker container ls`?",
        ),
        (&["ps", "--fliter", "x"], "hint: did you mean --filter?"),
    ] {
        let (_, _, err) = caller.by("docker", words, &[]);
        assert!(err.contains(hint), "{words:?}: {err}");
    }
    let (_, _, err) = caller.by("docker", &["frobnicate"], &[]);
    assert!(!err.contains("hint"), "{err}");
}

#[test]
fn other_daemons_are_not_acted_for() {
    let caller = Caller::new();
    for env in [
        ("DOCKER_HOST", "ssh://production"),
        ("DOCKER_CONTEXT", "production"),
    ] {
        let (code, _, err) = caller.by("docker", &["rm", "-f", "db"], &[env]);
        assert_eq!(code, 125, "{err}");
        assert!(err.contains("production"), "{err}");
    }
    for env in [
        ("DOCKER_HOST", "unix:///run/user/1000/docker.sock"),
        ("DOCKER_CONTEXT", "default"),
    ] {
        let (code, _, err) = caller.by("docker", &["ps"], &[env]);
        assert_eq!(code, 0, "{err}");
    }
}

#[test]
fn content_trust_is_not_dropped_in_silence() {
    let caller = Caller::new();
    let on = [("DOCKER_CONTENT_TRUST", "1")];
    for (words, env) in [
        (
            &["run", "--disable-content-trust=false", "x"] as &[&str],
            &[] as &[_],
        ),
        (
            &["run", "--name", "x", "--disable-content-trust=false", "x"],
            &[],
        ),
        (&["pull", "x", "--disable-content-trust=false"], &[]),
        (&["run", "x"], &on),
        (&["pull", "x"], &on),
        (&["push", "x"], &on),
        (&["build", "."], &on),
    ] {
        let (code, _, err) = caller.by("docker", words, env);
        assert_eq!(code, 125, "{words:?}: {err}");
        assert!(err.contains("content trust"), "{words:?}: {err}");
    }
    // The flag is the program's own behind the image, and says more than the variable.
    let (_, _, err) = caller.by("docker", &["push", "--disable-content-trust", "x"], &on);
    assert!(!err.contains("content trust"), "{err}");
    let words = ["run", "--pull=never", "x", "--disable-content-trust=false"];
    let (_, _, err) = caller.by("docker", &words, &[]);
    assert!(!err.contains("content trust"), "{err}");
}

#[test]
fn there_is_one_context() {
    let caller = Caller::new();
    for (words, expected) in [
        (&["context", "show"] as &[&str], "default\n"),
        (&["context", "ls", "-q"], "default\n"),
        (&["context", "use", "default"], "default\n"),
        (
            &["context", "inspect", "-f", "{{.Endpoints.docker.Host}}"],
            "unix:///var/run/docker.sock\n",
        ),
        (
            &["context", "ls", "--format", "{{.Name}} {{.Current}}"],
            "default true\n",
        ),
    ] {
        assert_eq!(caller.by("docker", words, &[]).1, expected, "{words:?}");
    }
    let (_, table, _) = caller.by("docker", &["context", "ls"], &[]);
    assert!(table.starts_with("NAME        DESCRIPTION"), "{table}");
    for words in [
        &["context", "use", "far"] as &[&str],
        &["context", "rm", "far"],
        &["context", "inspect", "far"],
        &["context", "create", "far", "--docker", "host=ssh://far"],
    ] {
        assert_eq!(caller.by("docker", words, &[]).0, 1, "{words:?}");
    }
}

#[test]
fn there_is_no_swarm() {
    let caller = Caller::new();
    for (words, expected) in [
        (
            &["service", "ls"] as &[&str],
            "This node is not a swarm manager",
        ),
        (
            &["service", "create", "--name", "x", "nginx"],
            "This node is not a swarm manager",
        ),
        (&["node", "ls"], "This node is not a swarm manager"),
        (
            &["stack", "deploy", "-c", "x.yml", "x"],
            "This node is not a swarm manager",
        ),
        (&["config", "ls"], "This node is not a swarm manager"),
        (
            &["volume", "update", "x"],
            "This node is not a swarm manager",
        ),
        (
            &["swarm", "leave", "--force"],
            "This node is not part of a swarm",
        ),
        (
            &["swarm", "init", "--advertise-addr", "192.0.2.1"],
            "swarm mode is not supported",
        ),
        (&["plugin", "install", "x"], "plugins are not supported"),
        (&["trust", "sign", "x"], "content trust"),
        (
            &["checkpoint", "create", "a", "b"],
            "checkpoints are not supported",
        ),
    ] {
        let (code, out, err) = caller.by("docker", words, &[]);
        assert_eq!((code, out.as_str()), (1, ""), "{words:?}");
        assert!(err.contains(expected), "{words:?}: {err}");
    }
    let (code, out, _) = caller.by("docker", &["plugin", "ls"], &[]);
    assert_eq!((code, out.split_whitespace().count()), (0, 4), "{out}");
    assert_eq!(caller.by("docker", &["plugin", "ls", "-q"], &[]).1, "");
    assert_eq!(caller.by("docker", &["swarm", "init", "--help"], &[]).0, 0);
    assert_eq!(caller.by("docker", &["swarm", "frob"], &[]).0, 1);
    for words in [
        &["pod", "ps"] as &[&str],
        &["machine", "start"],
        &["system", "connection", "ls"],
    ] {
        let (code, _, err) = caller.by("podman", words, &[]);
        assert_eq!(code, 125, "{words:?}: {err}");
        assert!(err.contains("is not supported\nhint: "), "{words:?}: {err}");
    }
}

#[test]
fn links_are_made_and_removed() {
    let caller = Caller::new();
    let folder = caller.home.path().join("bin");
    let dir = folder.to_str().expect("UTF-8");
    let alias = |words: &[&str]| {
        let all = [&["system", "alias"], words, &["--dir", dir]].concat();
        caller.by("coracle", &all, &[])
    };
    let (code, out, err) = alias(&["install", "docker", "podman"]);
    assert_eq!(code, 0, "{err}");
    assert_eq!(out.lines().count(), 2, "{out}");
    assert!(
        err.contains(&format!("PATH does not have {dir}")) || err.contains("comes first"),
        "{err}"
    );
    let linked = std::fs::read_link(folder.join("docker")).expect("a link");
    assert_eq!(linked, Path::new(env!("CARGO_BIN_EXE_coracle")));
    // Again, and with another program in the way of one of them: nothing is changed then.
    assert_eq!(alias(&["install"]).0, 0);
    std::fs::remove_file(folder.join("podman")).expect("removed");
    std::fs::write(folder.join("podman"), "#!/bin/sh\n").expect("written");
    std::fs::remove_file(folder.join("docker")).expect("removed");
    let (code, _, err) = alias(&["install", "docker", "podman"]);
    assert_eq!(code, 1);
    assert!(
        err.contains("podman is there and is another program"),
        "{err}"
    );
    assert!(!folder.join("docker").exists());
    assert_eq!(alias(&["install"]).0, 0);
    let (code, out, _) = alias(&["remove"]);
    assert_eq!(code, 0);
    assert_eq!(out, format!("{dir}/docker\n"));
    assert!(folder.join("podman").exists());
    assert_eq!(alias(&["install", "nerdctl"]).0, 125);
    assert_eq!(alias(&["frob"]).0, 125);
}

#[test]
fn dockers_configuration_counts() {
    let caller = Caller::new();
    let folder = caller.home.path().join(".docker");
    std::fs::create_dir(&folder).expect("a folder");
    let write = |text: &str| std::fs::write(folder.join("config.json"), text).expect("written");
    write(
        r#"{"psFormat": "own {{.ID}}", "volumesFormat": "vol {{.Name}}", "detachKeys": "ctrl-x",
            "pruneFilters": ["label!=keep"], "proxies": {"default": {"httpProxy": "http://proxy:1"}}}"#,
    );
    let (code, _, err) = caller.by(
        "docker",
        &["volume", "create", "--label", "keep", "one"],
        &[],
    );
    assert_eq!(code, 0, "{err}");
    caller.by("docker", &["volume", "create", "two"], &[]);
    assert_eq!(
        caller.by("docker", &["volume", "ls"], &[]).1,
        "vol one\nvol two\n"
    );
    let (_, out, _) = caller.by("docker", &["volume", "prune", "-af"], &[]);
    assert!(out.contains("two") && !out.contains("one"), "{out}");
    // What is asked for outweighs the file.
    let words = ["volume", "prune", "-af", "--filter", "label=keep"];
    let (_, out, err) = caller.by("docker", &words, &[]);
    assert!(out.contains("one"), "{out}{err}");

    let env = [("CORACLE_DETACH_KEYS", "ctrl-y")];
    let words = [
        "--log-level=error",
        "config",
        "show",
        "--format",
        "{{.Name}}={{.Value}} {{.Origin}}",
    ];
    let (_, out, _) = caller.by("docker", &words, &env);
    let file = folder.join("config.json").display().to_string();
    for line in [
        "detach-keys=ctrl-y CORACLE_DETACH_KEYS".to_owned(),
        "log-level=error --log-level".to_owned(),
        format!("ps-format=own {{{{.ID}}}} {file}"),
        format!("proxies=HTTP_PROXY=http://proxy:1,http_proxy=http://proxy:1 {file}"),
    ] {
        assert!(out.lines().any(|one| one == line), "{line}\n{out}");
    }

    write(r#"{"currentContext": "far"}"#);
    let (code, _, err) = caller.by("docker", &["rm", "-f", "db"], &[]);
    assert_eq!(code, 125, "{err}");
    assert_eq!(caller.by("docker", &["-c", "default", "ps"], &[]).0, 0);
    write("{");
    let (code, _, err) = caller.by("docker", &["ps"], &[]);
    assert_eq!(code, 0);
    assert!(
        err.starts_with("note: ") && err.contains("config.json"),
        "{err}"
    );
}

//! OCI runtime bundles, root folders and hooks: what a `config.json` says is seen from inside of
//! the container it describes, as the specification's own validation does.

use std::{fs, path::PathBuf};

use serde_json::{Value, json};

use crate::case::{Case, Outcome};

cases! {
    what_is_written_runs: root ordinary single;
    file_systems_and_devices: root ordinary single;
    rights_of_the_process: root ordinary;
    mounts_with_options: root ordinary single;
    hooks_in_their_order: root ordinary single;
    a_hook_that_fails: root ordinary single;
    what_cannot_be_honoured: root ordinary;
    a_bundle_is_a_container: root ordinary single;
    a_root_folder: root ordinary single;
    annotations: root ordinary single;
}

/// A folder with busybox in it, which belongs to the user of the case.
fn root_folder(case: &Case, name: &str) -> PathBuf {
    case.load_busybox();
    let root = case.make_dir(name);
    let volume = format!("{}:/out", root.display());
    let copy =
        "cp -a /bin /out/ && mkdir -p /out/etc && echo root:x:0:0::/root:/bin/sh > /out/etc/passwd";
    let words = [
        "run",
        "--rm",
        "--network",
        "none",
        "-v",
        &volume,
        "localhost/busybox",
        "sh",
        "-c",
        copy,
    ];
    case.words(&words).ok();
    root
}

/// A bundle with that folder and the configuration that `spec` writes, changed.
fn bundle(case: &Case, change: impl FnOnce(&mut Value)) -> String {
    if !case.root().join("bundle/rootfs").exists() {
        case.make_dir("bundle");
        root_folder(case, "bundle/rootfs");
    }
    let folder = case.root().join("bundle");
    let path = folder.join("config.json");
    let _ = fs::remove_file(&path);
    case.words(&["spec", "--bundle", folder.to_str().unwrap()])
        .ok();
    let mut config: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    config["process"]["terminal"] = json!(false);
    config["root"]["readonly"] = json!(false);
    change(&mut config);
    fs::remove_file(&path).unwrap();
    case.make_file("bundle/config.json", config.to_string());
    folder.to_str().unwrap().to_owned()
}

fn run(case: &Case, script: &str, change: impl FnOnce(&mut Value)) -> Outcome {
    let bundle = bundle(case, |config| {
        config["process"]["args"] = json!(["sh", "-c", script]);
        change(config);
    });
    case.words(&["run", "--rm", "--bundle", &bundle])
}

fn what_is_written_runs(case: &Case) {
    let script = "grep -E '^(Cap|Seccomp:|NoNewPrivs)' /proc/self/status; cut -d' ' -f2-4 /proc/mounts | grep -v '^/etc\\|^/ ' | sort; cat /proc/self/uid_map; id -u; hostname";
    let of_bundle = run(case, script, |_| {}).ok();
    let of_image = case
        .words(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-h",
            "coracle",
            "localhost/busybox",
            "sh",
            "-c",
            script,
        ])
        .ok();
    assert_eq!(of_bundle.stdout, of_image.stdout);
    // It is not written over.
    let folder = case.root().join("bundle");
    case.words(&["spec", "-b", folder.to_str().unwrap()])
        .fails(125, "config.json exists");
}

fn file_systems_and_devices(case: &Case) {
    let script = "for d in null zero full random urandom tty; do [ -c /dev/$d ] || echo no $d; done; \
        for l in fd stdin stdout stderr ptmx; do [ -L /dev/$l ] || echo no $l; done; \
        [ -z \"$(head -c1 /proc/kcore 2>/dev/null)\" ] || echo kcore; \
        (echo 1 > /proc/sys/kernel/core_pattern) 2>/dev/null && echo core_pattern; \
        for m in /proc /sys /dev /dev/pts /dev/shm /dev/mqueue; do grep -q \" $m \" /proc/mounts || echo no $m; done; \
        cat /proc/sys/net/ipv4/ip_unprivileged_port_start; echo $A; pwd; hostname";
    let change = |config: &mut Value| {
        config["process"]["env"] = json!(["PATH=/bin", "A=b c"]);
        config["process"]["cwd"] = json!("/made/here");
        config["hostname"] = json!("inside");
        config["linux"]["sysctl"] = json!({"net.ipv4.ip_unprivileged_port_start": "77"});
    };
    run(case, script, change)
        .ok()
        .prints("77\nb c\n/made/here\ninside");
}

fn rights_of_the_process(case: &Case) {
    let script = "id -u; id -g; id -G; umask; ulimit -n; ulimit -Hn; grep -E '^(CapBnd|CapAmb|CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr '\\t' ' '; cat /proc/self/oom_score_adj";
    let change = |config: &mut Value| {
        let process = &mut config["process"];
        process["user"] = json!({"uid": 5, "gid": 6, "umask": 0o27, "additionalGids": [7]});
        process["rlimits"] = json!([{"type": "RLIMIT_NOFILE", "soft": 64, "hard": 128}]);
        process["noNewPrivileges"] = json!(true);
        process["oomScoreAdj"] = json!(500);
        process["capabilities"] = json!({
            "bounding": ["CAP_CHOWN", "CAP_KILL"],
            "effective": ["CAP_KILL"],
            "permitted": ["CAP_KILL"],
            "inheritable": ["CAP_KILL"],
            "ambient": ["CAP_KILL"],
        });
        config["linux"]["seccomp"] = Value::Null;
    };
    run(case, script, change).ok().prints(
        "5\n6\n6 7\n0027\n64\n128\nCapEff: 0000000000000020\nCapBnd: 0000000000000021\nCapAmb: 0000000000000020\nNoNewPrivs: 1\nSeccomp: 0\n500",
    );
}

fn mounts_with_options(case: &Case) {
    case.make_dir("bundle");
    root_folder(case, "bundle/rootfs");
    case.make_dir("bundle/data");
    case.make_file("bundle/data/file", "content");
    let change = |config: &mut Value| {
        let mounts = config["mounts"].as_array_mut().unwrap();
        mounts.push(json!({
            "destination": "/data",
            "type": "bind",
            "source": "data",
            "options": ["rbind", "rro", "nosuid", "noexec", "nodev"],
        }));
        mounts.push(json!({
            "destination": "/small",
            "type": "tmpfs",
            "source": "small",
            "options": ["size=64k", "mode=700", "nosuid", "noatime"],
        }));
    };
    let script = "cat /data/file; echo; touch /data/x 2>/dev/null && echo written; \
        grep -E ' /(data|small) ' /proc/mounts | cut -d' ' -f2,4 | sed 's/relatime.*//; s/,size.*//'; stat -c %a /small";
    run(case, script, change)
        .ok()
        .prints("content\n/data ro,nosuid,nodev,noexec,\n/small rw,nosuid,noatime\n700");
}

/// Each writes a line: its name, its state's status, and whether it sees the host's tree.
fn with_hooks(case: &Case, config: &mut Value) {
    let log = case.root().join("bundle/log");
    let hook = |moment: &str| {
        let text = format!(
            "echo {moment} $(grep -o '\"status\":\"[a-z]*\"' | cut -d'\"' -f4) $(env | grep -c SECRET) >> {}",
            log.display()
        );
        json!([{"path": "/bin/sh", "args": ["sh", "-c", text], "env": ["PATH=/bin:/usr/bin"], "timeout": 10}])
    };
    config["hooks"] = json!({
        "prestart": hook("prestart"),
        "createRuntime": hook("createRuntime"),
        "createContainer": hook("createContainer"),
        "poststart": hook("poststart"),
        "poststop": hook("poststop"),
        "startContainer": [{
            "path": "/bin/sh",
            "args": ["sh", "-c", "cat > /state; id -u >> /state"],
            "env": ["PATH=/bin"],
        }],
    });
}

fn hooks_in_their_order(case: &Case) {
    case.set("SECRET", "1");
    run(case, "cut -d, -f3,4 /state", |config| {
        with_hooks(case, config);
    })
    .ok()
    .contains("\"status\":\"created\",\"pid\":1");
    let log = fs::read_to_string(case.root().join("bundle/log")).unwrap();
    assert_eq!(
        log,
        "prestart creating 0\ncreateRuntime creating 0\ncreateContainer creating 0\npoststart running 0\npoststop stopped 0\n"
    );
}

fn a_hook_that_fails(case: &Case) {
    for moment in [
        "prestart",
        "createRuntime",
        "createContainer",
        "startContainer",
    ] {
        let change = |config: &mut Value| {
            with_hooks(case, config);
            config["hooks"][moment] = json!([{
                "path": "/bin/sh",
                "args": ["sh", "-c", "echo what went wrong >&2; exit 3"],
            }]);
        };
        run(case, "echo ran", change).fails(
            125,
            &format!("{moment} hook /bin/sh failed: exit code 3: what went wrong"),
        );
        let log = fs::read_to_string(case.root().join("bundle/log")).unwrap();
        assert!(
            log.ends_with("poststop stopped 0\n") && !log.contains("poststart"),
            "{log}"
        );
    }
    let slow = |config: &mut Value| {
        config["hooks"] = json!({"createRuntime": [
            {"path": "/bin/sleep", "args": ["sleep", "60"], "timeout": 1},
        ]});
    };
    run(case, "echo ran", slow).fails(125, "it took longer than 1 s");
    // Too late to prevent anything: told in the record.
    let bundle = bundle(case, |config| {
        config["process"]["args"] = json!(["true"]);
        config["hooks"] = json!({"poststop": [{"path": "/bin/false"}]});
    });
    case.words(&["run", "--name", "late", "--bundle", &bundle])
        .ok();
    case.engine("inspect late --format {{.State.ExitCode}}:{{.State.Error}}")
        .ok()
        .contains("0:poststop hook /bin/false failed");
    case.engine("rm late").ok();
}

fn what_cannot_be_honoured(case: &Case) {
    for (pointer, value, says) in [
        ("/process/selinuxLabel", json!("a"), "process.selinuxLabel"),
        ("/linux/intelRdt", json!({"closID": "a"}), "linux.intelRdt"),
        ("/process/cwd", json!("relative"), "process.cwd"),
        (
            "/linux/maskedPaths",
            json!(["relative"]),
            "linux.maskedPaths[0]",
        ),
    ] {
        let change = |config: &mut Value| {
            let (parent, key) = pointer.rsplit_once('/').unwrap();
            config.pointer_mut(parent).unwrap()[key] = value.clone();
        };
        run(case, "true", change).fails(125, says);
    }
    let over_proc = |config: &mut Value| {
        let mount = json!({"destination": "/proc/self", "type": "tmpfs", "source": "x"});
        config["mounts"].as_array_mut().unwrap().push(mount);
    };
    run(case, "true", over_proc).fails(125, "below /proc and /sys");
    let folder = case.root().join("bundle");
    case.make_file("bundle/config.json", "{");
    case.words(&["run", "--bundle", folder.to_str().unwrap()])
        .fails(125, "invalid config.json");
    case.words(&["run", "--read-only", "--bundle", folder.to_str().unwrap()])
        .fails(125, "conflicting options");
    case.engine("ps -aq").ok().prints("");
}

fn a_bundle_is_a_container(case: &Case) {
    let bundle = bundle(case, |config| {
        config["process"]["args"] = json!(["sleep", "60"]);
    });
    case.words(&["run", "-d", "--name", "b", "--bundle", &bundle])
        .ok();
    // What was made stays as it was.
    case.make_file("bundle/config.json", "changed");
    case.engine("exec b echo in").ok().prints("in");
    case.engine("ps --format {{.Names}}:{{.Command}}")
        .ok()
        .contains("sleep 60");
    case.engine("stop -t 0 b").ok();
    case.engine("start b").ok();
    case.engine("top b -o args").ok().contains("sleep 60");
    case.engine("rm -f b").ok();
    assert!(case.root().join("bundle/rootfs/bin").exists());
    case.words(&["run", "--rm", "--bundle", &bundle, "echo"])
        .fails(125, "invalid config.json");
}

fn a_root_folder(case: &Case) {
    let root = root_folder(case, "folder");
    let path = root.to_str().unwrap();
    let flags = ["run", "--rm", "--network", "none", "--rootfs"];
    case.words(&[&flags[..], &[path, "sh", "-c", "echo x > /written; id -u"]].concat())
        .ok()
        .prints("0");
    assert!(root.join("written").exists());
    let over = format!("{path}:O");
    case.words(
        &[
            &flags[..],
            &[over.as_str(), "sh", "-c", "cat /written; echo y > /over"],
        ]
        .concat(),
    )
    .ok()
    .prints("x");
    assert!(!root.join("over").exists());
    case.words(&[&flags[..], &["/nowhere", "true"]].concat())
        .fails(125, "/nowhere");
    if !case.is_root() {
        case.words(&[&flags[..], &["/usr", "true"]].concat())
            .fails(125, "not mapped into the container");
    }
}

fn annotations(case: &Case) {
    case.load_busybox();
    case.engine("create --name a --annotation org.x=y --annotation z= localhost/busybox true")
        .ok();
    let object = case.engine("inspect a").ok().json();
    assert_eq!(
        object[0]["HostConfig"]["Annotations"],
        json!({"org.x": "y", "z": ""})
    );
    case.engine("rm a").ok();
}

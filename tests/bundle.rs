//! The plan's public form: what `spec` writes is what `run --bundle` plans, and a configuration
//! that cannot be honoured is refused by the name of its field.

use std::path::Path;

use coracle::{
    engine::{
        bundle::{self, Refinement},
        plan::{
            self, ContainerFiles, FileSystem, FilterPlan, Found, MountStep, RootSource,
            SandboxPlan, Surroundings,
        },
    },
    model::{
        ContainerSpec, ErrorKind, Result,
        container::{ContainerRecord, NetworkMode},
        host::{HostFacts, IdRange, UserMode},
        image::ImageConfig,
        mount::{Attribute, Propagation},
    },
};
use serde_json::{Value, json};

fn root() -> HostFacts {
    HostFacts {
        user: UserMode::Root,
        initial_user_namespace: true,
        capabilities: u64::MAX,
        kernel: None,
        thermal_folders: Vec::new(),
    }
}

fn alice() -> HostFacts {
    let range = |inside, outside, count| IdRange {
        inside,
        outside,
        count,
    };
    let map = vec![range(0, 1000, 1), range(1, 100_000, 65_536)];
    HostFacts {
        user: UserMode::Rootless {
            uids: map.clone(),
            gids: map,
        },
        initial_user_namespace: false,
        ..root()
    }
}

fn record(spec: ContainerSpec) -> ContainerRecord {
    let (path, args) = plan::command_line(&spec, &ImageConfig::default()).unwrap();
    ContainerRecord {
        id: "ab".repeat(32).parse().unwrap(),
        name: "c".to_owned(),
        created: String::new(),
        spec,
        image_id: None,
        layers: Vec::new(),
        ids: None,
        path,
        args,
    }
}

fn planned(spec: ContainerSpec, host: &HostFacts) -> SandboxPlan {
    let files = ContainerFiles {
        user_namespace: None,
        directory: "/c".into(),
        root: RootSource::Directory("rootfs".into()),
        found: Found::default(),
        volumes: std::collections::BTreeMap::new(),
        first_start: true,
        image_mounts: Vec::new(),
    };
    let nobody = Surroundings::default();
    plan::container(
        &record(spec),
        &ImageConfig::default(),
        host,
        &files,
        &nobody,
    )
    .unwrap()
}

fn shell() -> ContainerSpec {
    ContainerSpec {
        command: vec!["sh".to_owned()],
        hostname: Some("h".to_owned()),
        user: Some("0:0".to_owned()),
        ..ContainerSpec::default()
    }
}

/// What `spec` writes.
fn written(host: &HostFacts) -> Value {
    let mut plan = planned(shell(), host);
    plan.mounts
        .retain(|step| !matches!(step, MountStep::OwnFile { .. }));
    let text = bundle::to_json(&bundle::export(&plan, &shell(), host).unwrap()).unwrap();
    serde_json::from_str(&text).unwrap()
}

/// What `run --bundle` makes of a configuration, with its notices.
fn read(config: &Value, host: &HostFacts) -> Result<(SandboxPlan, Vec<String>)> {
    let config = bundle::parse(config.to_string().as_bytes())?;
    let request = bundle::request(&config, ContainerSpec::default(), host)?;
    let refinement = Refinement::of(&config, Path::new("/b"), host)?;
    let notices = [request.notices, refinement.notices.clone()].concat();
    let mut plan = planned(request.spec.clone(), host);
    refinement.apply(&mut plan, &record(request.spec), Path::new("/b"));
    Ok((plan, notices))
}

/// The configuration that `spec` writes with one place changed.
fn with(pointer: &str, value: Value) -> Value {
    let mut config = written(&root());
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    let parent = config.pointer_mut(parent).unwrap();
    match parent {
        Value::Array(list) => list.push(value),
        other => other[key] = value,
    }
    config
}

#[test]
fn what_is_written_is_planned_alike() {
    for host in [root(), alice()] {
        let mut wanted = planned(shell(), &host);
        wanted
            .mounts
            .retain(|step| !matches!(step, MountStep::OwnFile { .. }));
        let (mut plan, notices) = read(&written(&host), &host).unwrap();
        assert_eq!(notices, Vec::<String>::new());
        // Listed one by one instead of by our own names.
        for steps in [&mut plan.mounts, &mut wanted.mounts] {
            steps.retain(|step| {
                !matches!(
                    step,
                    MountStep::Shm { .. } | MountStep::MessageQueue | MountStep::Attached { .. }
                )
            });
        }
        wanted.process.environment = plan.process.environment.clone();
        // Compiled anew; it refuses the same calls.
        assert!(matches!(plan.process.filter, FilterPlan::Program { .. }));
        plan.process.filter = FilterPlan::Default;
        for sysctl in &mut wanted.sysctls {
            sysctl.optional = false;
        }
        for sysctls in [&mut plan.sysctls, &mut wanted.sysctls] {
            sysctls.sort_by(|left, right| left.path.cmp(&right.path));
        }
        assert_eq!(plan, wanted);
    }
}

#[test]
fn the_text_is_always_the_same() {
    let texts: Vec<String> = (0..4).map(|_| written(&root()).to_string()).collect();
    assert!(texts.windows(2).all(|pair| pair[0] == pair[1]));
}

#[test]
fn an_ordinary_users_ids_are_mapped() {
    let config = written(&alice());
    assert_eq!(
        config["linux"]["uidMappings"][1],
        json!({"containerID": 1, "hostID": 100_000, "size": 65_536})
    );
    assert!(read(&config, &alice()).is_ok());
    let mut foreign = config;
    foreign["linux"]["uidMappings"][1]["hostID"] = json!(100_001);
    let error = read(&foreign, &alice()).unwrap_err();
    assert!(error.message().contains("linux.uidMappings"), "{error:?}");
}

#[test]
fn mounts_keep_their_options() {
    let mount = json!({
        "destination": "/a/../data/",
        "type": "bind",
        "source": "data",
        "options": ["rbind", "rro", "nosuid", "rslave", "noatime"],
    });
    let (plan, _) = read(&with("/mounts/-", mount), &root()).unwrap();
    let Some(MountStep::Attached {
        file_system,
        target,
        change,
        propagation,
    }) = plan.mounts.last()
    else {
        panic!("{:?}", plan.mounts.last());
    };
    assert_eq!(target, "/data");
    assert_eq!(
        *file_system,
        FileSystem::Bind {
            source: "/b/data".into(),
            recursive: true,
        }
    );
    assert_eq!(
        change.changes,
        [
            (Attribute::ReadOnly, true, true),
            (Attribute::NoSuid, true, false),
            (Attribute::NoAccessTime, true, false),
        ]
    );
    assert_eq!(*propagation, Propagation::RSlave);
}

#[test]
fn without_a_network_namespace_the_hosts_is_used() {
    let mut config = written(&root());
    let namespaces = config["linux"]["namespaces"].as_array_mut().unwrap();
    namespaces.retain(|namespace| namespace["type"] != "network");
    let bundle = bundle::parse(config.to_string().as_bytes()).unwrap();
    let request = bundle::request(&bundle, ContainerSpec::default(), &root()).unwrap();
    assert_eq!(request.spec.network, NetworkMode::Host);
}

#[test]
fn a_command_takes_the_place_of_the_bundles() {
    let config = bundle::parse(written(&root()).to_string().as_bytes()).unwrap();
    let asked = ContainerSpec {
        command: vec!["ls".to_owned(), "-l".to_owned()],
        name: Some("n".to_owned()),
        ..ContainerSpec::default()
    };
    let request = bundle::request(&config, asked, &root()).unwrap();
    assert_eq!(request.spec.command, ["ls", "-l"]);
    assert_eq!(request.spec.name.as_deref(), Some("n"));
    assert_eq!(request.spec.workdir.as_deref(), Some("/"));
}

#[test]
fn rights_are_those_of_the_configuration() {
    let mut config = with(
        "/process/rlimits",
        json!([{"type": "RLIMIT_NOFILE", "soft": 1, "hard": u64::MAX}]),
    );
    config["process"]["user"] = json!({"uid": 5, "gid": 6, "umask": 63, "additionalGids": [7]});
    config["process"]["noNewPrivileges"] = json!(true);
    config["process"]["oomScoreAdj"] = json!(100);
    config["process"]["capabilities"] = json!({
        "bounding": ["CAP_CHOWN", "CAP_KILL"],
        "permitted": ["CAP_KILL"],
        "effective": ["CAP_KILL"],
        "inheritable": ["CAP_KILL"],
        "ambient": ["CAP_KILL"],
    });
    config["linux"]["seccomp"] = Value::Null;
    let (plan, notices) = read(&config, &root()).unwrap();
    assert_eq!(notices, Vec::<String>::new());
    let process = plan.process;
    assert_eq!(process.user, "5:6");
    assert_eq!(process.filter, FilterPlan::None);
    assert_eq!(process.capabilities, 1 | 1 << 5);
    let rights = process.rights;
    assert_eq!(rights.ambient, 1 << 5);
    assert_eq!(rights.additional_groups, ["7"]);
    assert_eq!(rights.umask, Some(0o77));
    assert_eq!(rights.oom_score_adj, Some(100));
    assert!(rights.no_new_privileges);
    assert_eq!(
        (rights.limits[0].soft, rights.limits[0].hard),
        (Some(1), None)
    );
}

#[test]
fn devices_come_with_their_rules() {
    let mut config = with(
        "/linux/devices",
        json!([{"path": "/dev/fuse", "type": "c", "major": 10, "minor": 229, "fileMode": 438}]),
    );
    config["linux"]["resources"]["devices"] = json!([
        {"allow": false, "access": "rwm"},
        {"allow": true, "type": "c", "major": 10, "minor": 229, "access": "rw"},
    ]);
    let (plan, _) = read(&config, &root()).unwrap();
    assert_eq!(plan.devices.nodes[0].container, "/dev/fuse");
    let rule = plan.devices.rules.unwrap().pop().unwrap();
    assert_eq!(
        (rule.allow, rule.major, rule.minor),
        (true, Some(10), Some(229))
    );
    assert!(plan.mounts.contains(&MountStep::DeviceNodes));
}

#[test]
fn hooks_are_kept_by_moment() {
    let hook = json!([{"path": "/h", "args": ["h", "x"], "env": ["A=b"], "timeout": 3}]);
    let config = with("/hooks", json!({"createRuntime": hook, "poststop": hook}));
    let (plan, _) = read(&config, &root()).unwrap();
    let plan = plan.hooks.unwrap();
    assert_eq!(plan.bundle, Path::new("/b"));
    assert_eq!(plan.hooks.create_runtime, plan.hooks.poststop);
    assert_eq!(plan.hooks.poststop[0].timeout, Some(3));
    assert!(plan.hooks.prestart.is_empty());
}

/// The place, what is put there, what the message names, and the kind of failure.
#[test]
fn nonsense_is_refused_by_the_name_of_its_field() {
    let invalid = ErrorKind::InvalidContent;
    let unsupported = ErrorKind::Unsupported;
    let cases = [
        ("/ociVersion", json!("2.0.0"), "ociVersion", invalid),
        ("/ociVersion", json!(7), "ociVersion", invalid),
        ("/root", Value::Null, "root", invalid),
        ("/process", Value::Null, "process", invalid),
        ("/linux", Value::Null, "linux", invalid),
        ("/process/args", json!([]), "process.args", invalid),
        ("/process/cwd", json!("tmp"), "process.cwd", invalid),
        (
            "/process/user",
            json!({"uid": -1}),
            "process.user.uid",
            invalid,
        ),
        ("/process/env", json!(["A"]), "process.env[0]", invalid),
        ("/process/env", json!(["=a"]), "process.env[0]", invalid),
        (
            "/process/rlimits",
            json!([{"type": "RLIMIT_NOFILE", "soft": 2, "hard": 1}]),
            "process.rlimits[0]",
            invalid,
        ),
        (
            "/process/selinuxLabel",
            json!("a:b"),
            "process.selinuxLabel",
            unsupported,
        ),
        (
            "/linux/devices",
            json!([{"path": "x", "type": "c", "major": 1, "minor": 3}]),
            "linux.devices[0].path",
            invalid,
        ),
        (
            "/linux/devices",
            json!([{"path": "/x", "type": "c", "major": -1, "minor": 3}]),
            "linux.devices[0].major",
            invalid,
        ),
        (
            "/linux/resources/devices",
            json!([{"allow": true, "type": "c", "major": 1, "access": "q"}]),
            "linux.resources.devices[0].access",
            invalid,
        ),
        (
            "/linux/readonlyPaths",
            json!(["/etc"]),
            "linux.readonlyPaths[0]",
            unsupported,
        ),
        (
            "/mounts/-",
            json!({"destination": "/proc/self", "type": "tmpfs", "source": "x"}),
            "mounts[7]",
            unsupported,
        ),
        (
            "/mounts/-",
            json!({"destination": "/x/../sys/fs/a", "type": "bind", "source": "/"}),
            "mounts[7]",
            unsupported,
        ),
        (
            "/mounts/-",
            json!({"destination": "/", "type": "bind", "source": "/"}),
            "mounts[7]",
            invalid,
        ),
        (
            "/mounts/-",
            json!({"destination": "/x"}),
            "mounts[7]",
            invalid,
        ),
        (
            "/mounts/-",
            json!({"destination": "/x", "type": "bind"}),
            "mounts[7]",
            invalid,
        ),
        (
            "/linux/maskedPaths",
            json!(["proc/x"]),
            "linux.maskedPaths[0]",
            invalid,
        ),
        (
            "/linux/maskedPaths",
            json!(["/proc/../x"]),
            "linux.maskedPaths[0]",
            invalid,
        ),
        (
            "/linux/namespaces",
            json!([{"type": "pid"}, {"type": "pid"}]),
            "linux.namespaces[1]",
            invalid,
        ),
        (
            "/linux/namespaces",
            json!([{"type": "pid"}]),
            "linux.namespaces",
            unsupported,
        ),
        (
            "/linux/rootfsPropagation",
            json!("x"),
            "linux.rootfsPropagation",
            invalid,
        ),
        (
            "/hooks",
            json!({"poststop": [{"path": "relative"}]}),
            "hooks.poststop[0].path",
            invalid,
        ),
        (
            "/hooks",
            json!({"prestart": [{"path": "/a", "timeout": 0}]}),
            "hooks.prestart[0].timeout",
            invalid,
        ),
    ];
    for (pointer, value, named, kind) in cases {
        let config = with(pointer, value);
        let error = read(&config, &root()).map(drop).unwrap_err();
        assert_eq!(error.kind(), kind, "{pointer}: {error:?}");
        assert!(error.message().contains(named), "{pointer}: {error:?}");
    }
}

#[test]
fn text_that_is_no_configuration_is_refused() {
    for text in ["", "{", "[]", "{}{}", "{\"ociVersion\":\"1.0.0\"}", "\u{0}"] {
        let error = bundle::parse(text.as_bytes()).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidContent, "{text:?}");
    }
}

#[test]
fn what_neither_protects_nor_limits_is_a_notice() {
    for (pointer, value) in [
        ("/linux/rootfsPropagation", json!("slave")),
        ("/linux/cgroupsPath", json!("/a")),
    ] {
        let (_, notices) = read(&with(pointer, value), &root()).unwrap();
        assert_eq!(notices.len(), 1, "{pointer}");
    }
}

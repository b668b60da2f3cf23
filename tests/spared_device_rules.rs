//! Which containers need no rules for devices: those in which nothing can make or meet a node that
//! the rules would have to decide about.

use std::path::PathBuf;

use coracle::{
    engine::plan::{
        self, BindOptions, ContainerFiles, Found, MountStep, RootSource, SandboxPlan, Surroundings,
        TmpfsAttributes,
    },
    model::{
        ContainerSpec,
        capability::DEFAULT,
        container::ContainerRecord,
        device::{DeviceNode, NodeKind, default_rules},
        host::{HostFacts, UserMode},
        image::ImageConfig,
        namespace::Place,
        user_namespace::IdMaps,
    },
};

fn overlay() -> RootSource {
    RootSource::Overlay {
        lower: vec!["layer".into()],
        data: Vec::new(),
        upper: "upper".into(),
        work: "work".into(),
        volatile: true,
        user_xattr: false,
    }
}

/// As root of the machine, from a request and the container's ids.
fn planned(spec: ContainerSpec, ids: Option<IdMaps>) -> SandboxPlan {
    let host = HostFacts {
        user: UserMode::Root,
        initial_user_namespace: true,
        capabilities: u64::MAX,
        kernel: None,
        thermal_folders: Vec::new(),
    };
    let record = ContainerRecord {
        id: "ab".repeat(32).parse().unwrap(),
        name: "c".to_owned(),
        created: String::new(),
        spec,
        image_id: None,
        layers: Vec::new(),
        ids,
        path: "sh".to_owned(),
        args: Vec::new(),
    };
    let files = ContainerFiles {
        user_namespace: None,
        directory: "/c".into(),
        root: overlay(),
        found: Found::default(),
        volumes: std::collections::BTreeMap::new(),
        first_start: true,
        image_mounts: Vec::new(),
    };
    let nobody = Surroundings::default();
    plan::container(&record, &ImageConfig::default(), &host, &files, &nobody).unwrap()
}

fn privileged() -> ContainerSpec {
    let mut spec = ContainerSpec::default();
    spec.security.privileged = true;
    spec
}

/// What came of the plan: whether rules are put into force, and whether the root's nodes are closed.
fn closed(mut plan: SandboxPlan) -> (bool, bool) {
    plan::close_devices(&mut plan);
    let devices = &plan.devices;
    let in_force = devices.rules.is_some() && !devices.spares_rules;
    (in_force, plan.root.no_dev)
}

#[test]
fn a_plain_container_needs_none() {
    let plain = || planned(ContainerSpec::default(), None);
    assert_eq!(plain().devices.rules, Some(default_rules()));
    assert_eq!(closed(plain()), (false, true));
    let ids = || Some(IdMaps::default());
    assert_eq!(
        closed(planned(ContainerSpec::default(), ids())),
        (false, true)
    );
    assert_eq!(closed(planned(privileged(), None)), (false, false));
    assert_eq!(closed(planned(privileged(), ids())), (false, true));
}

type Change<'a> = &'a dyn Fn(&mut SandboxPlan);

#[test]
fn whatever_can_bring_a_device_needs_them() {
    let tmpfs = |no_dev| MountStep::Tmpfs {
        target: "/t".to_owned(),
        options: Vec::new(),
        attributes: TmpfsAttributes {
            read_only: false,
            no_exec: false,
            no_suid: false,
            no_dev,
        },
        copy_up: true,
    };
    let node = DeviceNode {
        host: "/dev/null".to_owned(),
        container: "/dev/x".to_owned(),
        kind: NodeKind::Character,
        major: 1,
        minor: 3,
        mode: 0o666,
        uid: 0,
        gid: 0,
        access: coracle::model::device::Access::ALL,
    };
    let changes: [(&str, Change<'_>, bool); 10] = [
        ("nothing", &|_| {}, false),
        (
            "a tmpfs without nodes",
            &|plan| plan.mounts.push(tmpfs(true)),
            false,
        ),
        (
            "a tmpfs with nodes",
            &|plan| plan.mounts.push(tmpfs(false)),
            true,
        ),
        (
            "a bind",
            &|plan| {
                plan.mounts.push(MountStep::Bind {
                    source: PathBuf::from("/s"),
                    target: "/t".to_owned(),
                    options: BindOptions::default(),
                });
            },
            true,
        ),
        (
            "a device",
            &|plan| plan.devices.nodes.push(node.clone()),
            true,
        ),
        (
            "a rule",
            &|plan| plan.devices.rules.as_mut().unwrap().truncate(1),
            true,
        ),
        (
            "a capability",
            &|plan| plan.process.capabilities = DEFAULT | 1 << 27,
            true,
        ),
        (
            "the host's processes",
            &|plan| plan.namespaces.placement.pid = Place::Host,
            true,
        ),
        (
            "another's processes",
            &|plan| plan.namespaces.placement.pid = Place::Joined,
            true,
        ),
        (
            "a folder of the host's",
            &|plan| plan.root.source = RootSource::Directory("/r".into()),
            true,
        ),
    ];
    for (what, change, needed) in changes {
        let mut plan = planned(ContainerSpec::default(), None);
        change(&mut plan);
        assert_eq!(closed(plan), (needed, !needed), "{what}");
    }
}

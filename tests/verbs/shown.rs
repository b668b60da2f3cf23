//! `ps`, `inspect`, `info`.

use coracle::{
    engine::ContainerSize,
    model::{
        ContainerSpec,
        container::{ContainerState, ExitRecord},
        mount::{parse_mount, parse_tmpfs, parse_volume},
    },
    storage::Durability,
};
use serde_json::{Value, json};

use super::world::World;

#[test]
fn the_newest_comes_first_and_the_kernel_says_who_runs() {
    let world = World::new();
    let (created, lock, _) = world.add("created");
    drop(lock);
    let supervised = world.run("running", ContainerSpec::default(), "echo; exec sleep 1000");
    let (failed, lock, _) = world.add("failed");
    let exit = ExitRecord {
        code: 127,
        oom_killed: false,
        by_hand: false,
        restarting: false,
        restarts: 0,
        error: Some("no such command".to_owned()),
        started: None,
        finished: "2026-01-01T00:00:02Z".to_owned(),
    };
    failed.put_exit_record(&exit, Durability::Volatile).unwrap();
    drop(lock);

    let all = world.engine.containers(true, false).unwrap();
    let shown: Vec<_> = all
        .iter()
        .map(|one| (one.name.as_str(), one.state, one.exit_code))
        .collect();
    assert_eq!(
        shown,
        [
            ("failed", ContainerState::Exited, Some(127)),
            ("running", ContainerState::Running, None),
            ("created", ContainerState::Created, None),
        ]
    );
    assert_eq!(all[0].finished.as_deref(), Some("2026-01-01T00:00:02Z"));
    assert_eq!(all[2].id, *created.id());
    assert_eq!(all[2].command, ["sleep", "1"]);
    let running = world.engine.containers(false, false).unwrap();
    assert_eq!(running.len(), 1);
    assert_eq!(running[0].name, "running");

    supervised.be_killed();
    assert!(world.engine.containers(false, false).unwrap().is_empty());
    let all = world.engine.containers(true, false).unwrap();
    assert_eq!(all[1].state, ContainerState::Exited);
    assert_eq!(all[1].exit_code, Some(137));
    assert_eq!(all[1].size, None);
}

#[test]
fn labels_of_the_image_are_the_containers_too() {
    let world = World::new();
    let spec = ContainerSpec {
        labels: [("both".to_owned(), "own".to_owned())].into(),
        ..ContainerSpec::default()
    };
    world.add_with("boat", spec);
    let labels = &world.engine.containers(true, false).unwrap()[0].labels;
    let labels: Vec<_> = labels
        .iter()
        .map(|(k, v)| (k.as_str(), v.as_str()))
        .collect();
    assert_eq!(labels, [("both", "own"), ("of", "image")]);
}

#[test]
fn what_was_written_is_measured() {
    if !rustix::process::geteuid().is_root() {
        // Measuring enters a user namespace, which a test with threads cannot.
        return;
    }
    let world = World::new();
    let (directory, _lock, _) = world.add("boat");
    let upper = directory.path().join("upper");
    std::fs::create_dir_all(upper.join("a/b")).unwrap();
    std::fs::write(upper.join("a/b/file"), [0; 100]).unwrap();
    std::fs::hard_link(upper.join("a/b/file"), upper.join("again")).unwrap();
    std::fs::write(upper.join("other"), [0; 11]).unwrap();
    // Neither followed nor walked through.
    std::os::unix::fs::symlink("/", upper.join("rt")).unwrap();
    let size = world.engine.containers(true, true).unwrap()[0].size;
    let expected = ContainerSize {
        writable: 112,
        image: 1000,
    };
    assert_eq!(size, Some(expected));
    let shown = world.engine.inspect_container("boat", true).unwrap();
    assert_eq!(shown["SizeRw"], 112);
    assert_eq!(shown["SizeRootFs"], 1112);
}

fn keys(object: &Value) -> Vec<&str> {
    object
        .as_object()
        .unwrap()
        .keys()
        .map(String::as_str)
        .collect()
}

#[test]
fn the_keys_are_dockers_in_dockers_order() {
    let world = World::new();
    let (_, lock, _) = world.add("boat");
    drop(lock);
    let shown = world.engine.inspect_container("boat", false).unwrap();
    assert_eq!(
        keys(&shown).join(" "),
        "Id Created Path Args State Image ResolvConfPath HostnamePath HostsPath LogPath Name \
         RestartCount Driver Platform MountLabel ProcessLabel AppArmorProfile ExecIDs HostConfig \
         GraphDriver Mounts Config NetworkSettings"
    );
    assert_eq!(
        shown["State"],
        json!({"Status": "created", "Running": false, "Paused": false, "Restarting": false,
            "OOMKilled": false, "Dead": false, "Pid": 0, "ExitCode": 0, "Error": "",
            "StartedAt": "0001-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z"})
    );
    assert_eq!(
        keys(&shown["HostConfig"]).join(" "),
        "Binds ContainerIDFile LogConfig NetworkMode PortBindings RestartPolicy AutoRemove \
         VolumeDriver VolumesFrom ConsoleSize CapAdd CapDrop CgroupnsMode Dns DnsOptions DnsSearch \
         ExtraHosts GroupAdd IpcMode Cgroup Links OomScoreAdj PidMode Privileged PublishAllPorts \
         ReadonlyRootfs SecurityOpt UTSMode UsernsMode ShmSize Runtime Isolation CpuShares Memory \
         NanoCpus CgroupParent BlkioWeight BlkioWeightDevice BlkioDeviceReadBps \
         BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuPeriod CpuQuota \
         CpuRealtimePeriod CpuRealtimeRuntime CpusetCpus CpusetMems Devices DeviceCgroupRules \
         DeviceRequests MemoryReservation MemorySwap MemorySwappiness OomKillDisable PidsLimit \
         Ulimits CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth MaskedPaths ReadonlyPaths"
    );
    assert_eq!(
        keys(&shown["Config"]).join(" "),
        "Hostname Domainname User AttachStdin AttachStdout AttachStderr Tty OpenStdin StdinOnce \
         Env Cmd Image Volumes WorkingDir Entrypoint OnBuild Labels StopSignal"
    );
    assert_eq!(
        keys(&shown["NetworkSettings"]).join(" "),
        "Bridge SandboxID SandboxKey Ports HairpinMode LinkLocalIPv6Address \
         LinkLocalIPv6PrefixLen SecondaryIPAddresses SecondaryIPv6Addresses EndpointID Gateway \
         GlobalIPv6Address GlobalIPv6PrefixLen IPAddress IPPrefixLen IPv6Gateway MacAddress \
         Networks"
    );
    assert_eq!(
        keys(&shown["NetworkSettings"]["Networks"]["none"]).join(" "),
        "IPAMConfig Links Aliases MacAddress DriverOpts GwPriority NetworkID EndpointID Gateway \
         IPAddress IPPrefixLen IPv6Gateway GlobalIPv6Address GlobalIPv6PrefixLen DNSNames"
    );
}

#[test]
fn the_values_are_what_was_asked_for_and_what_the_image_says() {
    let world = World::new();
    let spec = ContainerSpec {
        env: vec!["A=1".to_owned(), "LANG=de".to_owned()],
        command: vec!["sleep".to_owned(), "1".to_owned()],
        mounts: vec![
            parse_volume("/src:/bound:ro").unwrap(),
            parse_mount("type=bind,source=/other,target=/mounted").unwrap(),
            parse_tmpfs("/tmp:size=1m,exec").unwrap(),
        ],
        stop_timeout: Some(3),
        init: true,
        ..ContainerSpec::default()
    };
    let (directory, _lock, record) = world.add_with("boat", spec);
    let shown = world.engine.inspect_container("boat", false).unwrap();
    assert_eq!(shown["Id"], record.id.as_str());
    assert_eq!(shown["Name"], "/boat");
    assert_eq!(shown["Image"], world.image.config.to_string());
    assert_eq!(
        shown["LogPath"],
        directory.log_path().to_string_lossy().as_ref()
    );
    let config = &shown["Config"];
    assert_eq!(config["Hostname"], record.id.short());
    assert_eq!(config["Env"], json!(["A=1", "LANG=de", "PATH=/bin"]));
    assert_eq!(config["Cmd"], json!(["sleep", "1"]));
    assert_eq!(config["Entrypoint"], Value::Null);
    assert_eq!(config["WorkingDir"], "/srv");
    assert_eq!(config["StopSignal"], "SIGUSR1");
    assert_eq!(config["StopTimeout"], 3);
    let host = &shown["HostConfig"];
    assert_eq!(host["Binds"], json!(["/src:/bound:ro"]));
    assert_eq!(host["Tmpfs"], json!({"/tmp": "size=1m,exec"}));
    assert_eq!(host["Mounts"][0]["Target"], "/mounted");
    assert_eq!(host["Init"], true);
    assert_eq!(
        shown["Mounts"][0],
        json!({"Type": "bind", "Source": "/src", "Destination": "/bound", "Mode": "ro",
            "RW": false, "Propagation": "rprivate"})
    );
    // Docker lists what --tmpfs asked for elsewhere.
    assert_eq!(shown["Mounts"].as_array().unwrap().len(), 2);
    assert!(
        host["MaskedPaths"]
            .as_array()
            .unwrap()
            .contains(&json!("/proc/kcore"))
    );
}

#[test]
fn the_engine_tells_of_itself() {
    let world = World::new();
    world.add("boat");
    let supervised = world.run("ship", ContainerSpec::default(), "echo; exec sleep 1000");
    let info = world.engine.info().unwrap();
    assert_eq!(info["Containers"], 2);
    assert_eq!(info["ContainersRunning"], 1);
    assert_eq!(info["ContainersStopped"], 1);
    assert_eq!(info["Images"], 1);
    assert_eq!(info["OSType"], "linux");
    assert_eq!(info["Swarm"]["LocalNodeState"], "inactive");
    assert_eq!(info["ServerVersion"], coracle::model::DOCKER_VERSION);
    assert!(info["MemTotal"].as_u64().unwrap() > 0);
    let root = world.folder.path().join("root");
    assert_eq!(info["DockerRootDir"], root.to_string_lossy().as_ref());
    assert_eq!(info["ID"], world.engine.info().unwrap()["ID"]);
    assert_eq!(
        keys(&info).join(" "),
        "ID Containers ContainersRunning ContainersPaused ContainersStopped Images Driver \
         DriverStatus Plugins MemoryLimit SwapLimit CpuCfsPeriod CpuCfsQuota CPUShares CPUSet \
         PidsLimit IPv4Forwarding Debug NFd OomKillDisable NGoroutines SystemTime LoggingDriver \
         CgroupDriver CgroupVersion NEventsListener KernelVersion OperatingSystem OSVersion OSType \
         Architecture IndexServerAddress RegistryConfig NCPU MemTotal GenericResources \
         DockerRootDir HttpProxy HttpsProxy NoProxy Name Labels ExperimentalBuild ServerVersion \
         Runtimes DefaultRuntime Swarm LiveRestoreEnabled Isolation InitBinary ContainerdCommit \
         RuncCommit InitCommit SecurityOptions CDISpecDirs Warnings Coracle"
    );
    supervised.be_killed();
}

#[test]
fn the_doctor_looks_at_everything_even_if_it_cannot_try_it() {
    let world = World::new();
    let checks = world.engine.doctor();
    let find = |name: &str| checks.iter().find(|check| check.name == name).unwrap();
    for name in ["mode", "kernel", "control groups", "seccomp", "run root"] {
        assert!(!find(name).detail.is_empty(), "{name}");
    }
    let store = &find("store").detail;
    assert!(store.ends_with("1 images, 0 containers"), "{store}");
    // What it tried with is gone.
    let left = std::fs::read_dir(world.folder.path().join("root/tmp")).unwrap();
    assert_eq!(left.count(), 0);
}

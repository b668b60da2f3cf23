//! Flags of docker's that no other area tries: each with what it does, read where it acts.

use std::io::Write;

use serde_json::Value;

use crate::{case::Case, image::busybox_layer, registry::Registry, terminal::Terminal};

cases! {
    global_flags: root ordinary;
    limits_changed_by_update: root ordinary;
    build_steps_within_limits: root ordinary;
    networks_connected_with_addresses: root ordinary;
    network_options: root ordinary;
    lists_of_manifests: root ordinary;
    search_in_a_registry: root ordinary;
    whole_values: root ordinary;
    detaching_keys: root ordinary;
    variables_of_exec: root ordinary;
    inspect_and_logs: root ordinary;
    images_as_a_tree: root ordinary;
    imports: root ordinary;
    import_from_a_server: root ordinary;
    cluster_volumes: root ordinary;
    names_of_the_builder: root ordinary;
    indexes_in_a_registry: root ordinary;
    values_that_cannot_be_read: root ordinary;
    platforms_that_do_not_exist: root ordinary;
}

fn json(case: &Case, line: &str) -> Value {
    case.engine(line).ok().json()[0].take()
}

fn global_flags(case: &Case) {
    let show = |flags: &str| case.engine(&format!("{flags} config show")).ok().stdout;
    let level = |text: &str| {
        let line = text.lines().find(|line| line.starts_with("log-level"));
        line.unwrap_or_default().to_owned()
    };
    assert!(level(&show("--debug")).contains("debug"));
    assert!(level(&show("--debug=false --log-level error")).contains("error"));
    assert_eq!(level(&show("--debug=false")), "");
    let file = case.make_file("own.toml", "volumes-format = \"<{{.Name}}>\"\n");
    case.engine("volume create v1").ok();
    case.engine("volume ls -q").ok().prints("v1");
    case.words(&["--config", file.to_str().unwrap(), "volume", "ls"])
        .ok()
        .prints("<v1>");
    case.engine("volume rm v1").ok();
    case.engine("--version").ok().contains("version");
    for far in [
        "--host=tcp://192.0.2.1:2375",
        "--context=far",
        "--tlsverify",
    ] {
        case.words(&[far, "ps"]).exits(125);
    }
}

/// What is kept of a stopped container is what the next run is limited to.
fn limits_changed_by_update(case: &Case) {
    case.load_busybox();
    case.engine("create --name c1 -m 64m localhost/busybox true")
        .ok();
    for (flags, key, value) in [
        ("--blkio-weight 300", "BlkioWeight", 300),
        ("--cpu-period 50000", "CpuPeriod", 50_000),
        ("--cpu-quota 25000", "CpuQuota", 25_000),
        ("--cpu-shares 0x200", "CpuShares", 512),
        ("--cpu-rt-period 1000000", "CpuRealtimePeriod", 1_000_000),
        ("--cpu-rt-runtime 900000", "CpuRealtimeRuntime", 900_000),
        ("--memory-reservation 32m", "MemoryReservation", 32 << 20),
        ("--memory-swap 96m", "MemorySwap", 96 << 20),
        ("--memory-swap -1", "MemorySwap", -1),
    ] {
        case.engine(&format!("update {flags} c1")).ok().prints("c1");
        let now = json(case, "inspect c1");
        assert_eq!(now["HostConfig"][key], value, "{flags}");
    }
    for (flags, key, value) in [
        ("--cpuset-cpus 0", "CpusetCpus", "0"),
        ("--cpuset-mems 0", "CpusetMems", "0"),
    ] {
        case.engine(&format!("update {flags} c1")).ok();
        assert_eq!(json(case, "inspect c1")["HostConfig"][key], value);
    }
    case.engine("create --name d1 localhost/busybox true").ok();
    case.engine("update --cpus 1.5 d1").ok();
    assert_eq!(
        json(case, "inspect d1")["HostConfig"]["NanoCpus"],
        1_500_000_000
    );
    case.engine("rm c1 d1").ok();
}

/// A step sees what limits it, or the build says that it cannot.
fn build_steps_within_limits(case: &Case) {
    case.load_busybox();
    let context = case.make_dir("context");
    std::fs::write(
        context.join("Dockerfile"),
        "FROM localhost/busybox\nRUN ulimit -n; df -k /dev/shm; cat /proc/self/attr/current 2>/dev/null; \
         grep Seccomp: /proc/self/status\n",
    )
    .unwrap();
    let context = context.display().to_string();
    let build = |flags: &str| {
        let mut words = vec!["build", "--no-cache", "--progress=plain", "--network=none"];
        words.extend(flags.split_whitespace());
        words.push(&context);
        case.words(&words)
    };
    let said = build("--ulimit nofile=99:99 --shm-size 3m --security-opt seccomp=unconfined")
        .ok()
        .stderr;
    assert!(said.contains("99\n"), "{said}");
    assert!(said.contains("3072"), "{said}");
    assert!(said.contains("Seccomp: 0"), "{said}");
    for flags in [
        "--memory-swap 64m --memory 32m",
        "--cpu-period 50000 --cpu-quota 25000",
        "--cpuset-cpus 0 --cpuset-mems 0",
        "--cgroup-parent contract",
    ] {
        let built = build(flags);
        let refused = built.code != 0 && built.stderr.contains("cgroup");
        assert!(built.code == 0 || refused, "{flags}: {built}");
    }
    for (flags, said) in [
        ("--memory-swap=abc", "invalid size: 'abc'"),
        ("--cpu-quota=abc", "invalid syntax"),
        ("--shm-size=abc", "invalid size: 'abc'"),
        ("--ulimit=abc", "invalid ulimit argument: abc"),
    ] {
        build(flags).fails(125, said);
    }
}

fn networks_connected_with_addresses(case: &Case) {
    case.load_busybox();
    case.engine("network create --subnet 10.213.0.0/24 --subnet fd00:213::/64 --ipv6 one")
        .ok();
    case.engine("network create --subnet 10.214.0.0/24 two")
        .ok();
    case.engine("create --name c1 --network none localhost/busybox true")
        .ok();
    case.engine("network disconnect none c1");
    case.engine("create --name d1 --network two localhost/busybox true")
        .ok();
    case.words(&[
        "network",
        "connect",
        "--ip=10.213.0.77",
        "--ip6=fd00:213::77",
        "--link-local-ip=169.254.9.9",
        "--gw-priority=7",
        "--driver-opt=com.docker.network.endpoint.ifname=web0",
        "one",
        "d1",
    ])
    .ok();
    let one = &json(case, "inspect d1")["NetworkSettings"]["Networks"]["one"];
    assert_eq!(one["IPAMConfig"]["IPv4Address"], "10.213.0.77", "{one}");
    assert_eq!(one["IPAMConfig"]["IPv6Address"], "fd00:213::77", "{one}");
    assert_eq!(one["IPAMConfig"]["LinkLocalIPs"][0], "169.254.9.9", "{one}");
    assert_eq!(one["GwPriority"], 7, "{one}");
    assert_eq!(
        one["DriverOpts"]["com.docker.network.endpoint.ifname"], "web0",
        "{one}"
    );
    case.words(&["network", "connect", "--gw-priority=abc", "one", "d1"])
        .fails(125, "invalid argument \"abc\" for \"--gw-priority\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax");
    // The same, asked for when the container is made.
    case.words(&[
        "create",
        "--name=e1",
        "--network=one",
        "--ip6=fd00:213::78",
        "--link-local-ip=169.254.9.10",
        "--network-alias=first",
        "--net-alias=second",
        "--dns-option=ndots:3",
        "localhost/busybox",
        "cat",
        "/etc/resolv.conf",
    ])
    .ok();
    let e = json(case, "inspect e1");
    let one = &e["NetworkSettings"]["Networks"]["one"];
    assert_eq!(one["IPAMConfig"]["IPv6Address"], "fd00:213::78", "{one}");
    assert_eq!(
        one["IPAMConfig"]["LinkLocalIPs"][0], "169.254.9.10",
        "{one}"
    );
    let aliases = one["Aliases"].to_string();
    assert!(
        aliases.contains("first") && aliases.contains("second"),
        "{aliases}"
    );
    assert_eq!(e["HostConfig"]["DnsOptions"][0], "ndots:3");
    case.engine("rm c1 d1 e1").ok();
    case.engine("network rm one two").ok();
}

fn network_options(case: &Case) {
    case.engine("network create --scope local here").ok();
    assert_eq!(json(case, "network inspect here")["Scope"], "local");
    case.engine("network create --scope swarm there")
        .fails(1, "scope");
    let made = case.engine("network create --ipam-opt a=b with").ok();
    assert!(made.stderr.contains("--ipam-opt has no effect"), "{made}");
    case.engine("network create --config-only x").exits(1);
    case.engine("network create --attachable open").ok();
    case.engine("network rm here open with").ok();
}

fn lists_of_manifests(case: &Case) {
    case.load_busybox();
    let registry = Registry::http(case);
    let far = registry.image("busybox");
    let list = format!("{}/list:1", registry.address);
    case.words(&[
        "manifest",
        "create",
        "--insecure",
        &list,
        &format!("docker://{far}"),
    ])
    .ok();
    for (flag, value, key) in [
        ("--arch", "arm", "architecture"),
        ("--variant", "v6", "variant"),
        ("--os", "freebsd", "os"),
    ] {
        case.words(&["manifest", "annotate", flag, value, &list, &far])
            .ok();
        let shown = case.words(&["manifest", "inspect", &list]).ok().json();
        assert_eq!(shown["manifests"][0]["platform"][key], value);
    }
    case.words(&["manifest", "annotate", "--os-features=a,b", &list, &far])
        .ok();
    let shown = case.words(&["manifest", "inspect", &list]).ok().json();
    assert_eq!(
        shown["manifests"][0]["platform"]["os.features"],
        serde_json::json!(["a", "b"])
    );
    let verbose = case
        .words(&["manifest", "inspect", "--insecure", "--verbose", &far])
        .ok();
    assert!(verbose.stdout.contains("\"Descriptor\""), "{verbose}");
    case.words(&["manifest", "rm", &list]).ok();
    // A registry with a certificate that nobody knows.
    let registry = Registry::https(case);
    let far = registry.image("busybox");
    case.words(&["manifest", "inspect", &far]).exits(1);
    case.words(&["manifest", "inspect", "--insecure", &far])
        .ok();
    let (one, two) = (
        "localhost/insecure:1",
        format!("{}/insecure:1", registry.address),
    );
    case.words(&["manifest", "create", one, &far]).exits(1);
    case.words(&["manifest", "create", "--insecure", one, &far])
        .ok();
    case.words(&["manifest", "push", one, &two]).exits(1);
    case.words(&["manifest", "rm", one]).ok();
}

/// Docker Hub answers searches in a way of its own; others list all that they have.
fn search_in_a_registry(case: &Case) {
    let registry = Registry::http(case);
    let term = format!("{}/busy", registry.address);
    let names = |flags: &[&str]| -> Vec<String> {
        let words = [&["search", "--format={{.Name}}", &term][..], flags].concat();
        case.words(&words)
            .ok()
            .stdout
            .lines()
            .map(str::to_owned)
            .collect()
    };
    let all = names(&[]);
    assert!(all.iter().any(|name| name.ends_with("/busybox")), "{all:?}");
    assert_eq!(names(&["--limit=1"]).len(), 1);
    assert_eq!(names(&["--no-trunc"]), all);
    // Nobody has given them stars.
    assert!(names(&["--filter=stars=3"]).is_empty());
    assert!(names(&["-f", "is-official=true"]).is_empty());
    case.words(&["search", "--filter=size=3", &term]).exits(1);
    case.words(&["search", "--limit=abc", &term])
        .fails(125, "strconv.ParseInt");
}

fn whole_values(case: &Case) {
    case.load_busybox();
    let id = case
        .engine("run -d --network none --name c1 localhost/busybox sleep 100")
        .ok();
    let id = id.first().to_owned();
    let shown = case
        .words(&["stats", "--no-stream", "--no-trunc", "--format={{.ID}}"])
        .ok();
    shown.prints(&id);
    case.words(&["stats", "--no-stream", "--format={{.ID}}"])
        .ok()
        .prints(&id[..12]);
    case.engine("rm -f c1").ok();
    let id = case.engine("network create web").ok().first().to_owned();
    let listed = case
        .words(&["network", "ls", "--no-trunc", "-qf", "name=web"])
        .ok();
    listed.prints(&id);
    case.engine("network rm web").ok();
}

fn detaching_keys(case: &Case) {
    case.load_busybox();
    case.engine("create -it --network none --name c1 localhost/busybox sh")
        .ok();
    let start = ["start", "-ai", "--detach-keys=ctrl-x,x", "c1"];
    let mut terminal = Terminal::start(case, &start);
    terminal.expect("# ");
    terminal.send("\x18x");
    assert_eq!(terminal.exit_code(), 0, "{}", terminal.seen());
    let exec = ["exec", "-it", "--detach-keys=a,b", "c1", "cat"];
    let mut terminal = Terminal::start(case, &exec);
    terminal.send("ab");
    assert_eq!(terminal.exit_code(), 0, "{}", terminal.seen());
    assert_eq!(
        case.engine("inspect -f {{.State.Status}} c1").ok().first(),
        "running"
    );
    case.engine("rm -f c1").ok();
}

fn variables_of_exec(case: &Case) {
    case.load_busybox();
    let file = case.make_file("variables", "# none\nA=from a file\nB=\n");
    case.engine("run -d --network none --name c1 localhost/busybox sleep 100")
        .ok();
    let words = [
        "exec",
        "--env-file",
        file.to_str().unwrap(),
        "c1",
        "sh",
        "-c",
        "echo $A,${B-unset},",
    ];
    case.words(&words).ok().prints("from a file,,");
    case.engine("rm -f c1").ok();
}

fn inspect_and_logs(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "--network=none",
        "--name=c1",
        "localhost/busybox",
        "sh",
        "-c",
        "echo one > /file; echo early; sleep 2; echo late",
    ])
    .ok();
    let container = json(case, "container inspect --size c1");
    assert!(
        container["SizeRw"].as_u64().is_some_and(|bytes| bytes > 0),
        "{container}"
    );
    assert!(container["SizeRootFs"].as_u64() > container["SizeRw"].as_u64());
    assert!(json(case, "container inspect c1")["SizeRw"].is_null());
    case.words(&["container", "inspect", "--format={{.Name}}", "c1"])
        .ok()
        .prints("/c1");
    let times = case.engine("logs -t c1").ok();
    let late = times
        .stdout
        .lines()
        .last()
        .unwrap()
        .split(' ')
        .next()
        .unwrap()
        .to_owned();
    case.words(&["logs", "--until", &late, "c1"]).ok();
    let early: Vec<String> = case
        .words(&["logs", "--until", "1s", "c1"])
        .ok()
        .stdout
        .lines()
        .map(str::to_owned)
        .collect();
    assert!(early.contains(&"early".to_owned()), "{early:?}");
    let first = times
        .stdout
        .lines()
        .next()
        .unwrap()
        .split(' ')
        .next()
        .unwrap();
    let until = case.words(&["logs", "--until", first, "c1"]).ok();
    assert!(!until.stdout.contains("late"), "{until}");
    case.engine("rm c1").ok();
}

fn images_as_a_tree(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox localhost/other:1").ok();
    case.engine("create --name c1 localhost/busybox true").ok();
    let tree = case.engine("images --tree").ok();
    let lines: Vec<&str> = tree.stdout.lines().collect();
    assert_eq!(
        lines[0].split_whitespace().collect::<Vec<_>>(),
        ["IMAGE", "ID", "DISK", "USAGE", "EXTRA"]
    );
    assert!(
        lines[1].starts_with("localhost/busybox:latest, localhost/other:1"),
        "{tree}"
    );
    assert!(
        lines[2].starts_with("└─ linux/") && lines[2].trim_end().ends_with('U'),
        "{tree}"
    );
    assert_eq!(lines.len(), 3, "{tree}");
    case.engine("images --tree -q")
        .fails(1, "--quiet is not yet supported with --tree");
    case.engine("rm c1").ok();
}

fn imports(case: &Case) {
    let file = case.make_file("tree.tar", busybox_layer().bytes());
    let file = file.to_str().unwrap();
    case.words(&[
        "import",
        "--message",
        "from elsewhere",
        "--platform",
        "linux/arm64/v8",
        file,
        "localhost/imported",
    ])
    .ok();
    let image = json(case, "image inspect localhost/imported");
    assert_eq!(
        (&image["Architecture"], &image["Variant"]),
        (&Value::from("arm64"), &Value::from("v8"))
    );
    let history = case
        .words(&["history", "--format={{.Comment}}", "localhost/imported"])
        .ok();
    history.contains("from elsewhere");
}

/// A server of one archive; one that breaks off leaves no image.
fn import_from_a_server(case: &Case) {
    let tree = busybox_layer().dir("etc/").file("etc/far", "yes\n").bytes();
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let length = tree.len();
    let server = std::thread::spawn(move || {
        for (place, stream) in listener.incoming().take(2).enumerate() {
            let mut stream = stream.unwrap();
            let _ = std::io::Read::read(&mut stream, &mut [0; 4096]);
            let head =
                format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n");
            stream.write_all(head.as_bytes()).unwrap();
            let sent = if place == 0 { length } else { length / 2 };
            let _ = stream.write_all(&tree[..sent]);
        }
    });
    let url = format!("http://{address}/tree.tar");
    case.words(&["import", &url, "localhost/far"]).ok();
    case.engine("run --rm --network none localhost/far cat /etc/far")
        .ok()
        .prints("yes");
    let before = case.engine("images -q").ok().stdout;
    case.words(&["import", &url, "localhost/half"])
        .fails(1, "cannot download");
    assert_eq!(case.engine("images -q").ok().stdout, before);
    server.join().unwrap();
}

fn cluster_volumes(case: &Case) {
    case.engine("volume create --name a1").ok().prints("a1");
    case.engine("volume create --name a1 b1")
        .fails(1, "conflicting options");
    case.engine("volume ls --cluster -q").ok().prints("");
    assert_eq!(
        case.engine("volume ls --cluster")
            .ok()
            .stdout
            .lines()
            .count(),
        1
    );
    case.engine("volume ls -q").ok().prints("a1");
    for flag in [
        "--availability=active",
        "--scope=single",
        "--type=block",
        "--limit-bytes=1g",
    ] {
        case.words(&["volume", "create", flag, "x"])
            .fails(125, "is not supported");
    }
    case.words(&["secret", "create", "--template-driver=golang", "s", "-"])
        .fails(125, "is not supported");
    case.engine("volume rm a1").ok();
}

/// What CI does before and after a build.
fn names_of_the_builder(case: &Case) {
    case.load_busybox();
    case.engine("buildx version")
        .ok()
        .contains("github.com/docker/buildx v");
    case.engine("buildx create --name ci --driver docker-container --use --bootstrap")
        .ok()
        .prints("ci");
    case.engine("buildx create --name ci")
        .fails(1, "existing instance for \"ci\"");
    case.engine("buildx create --name ci --append").ok();
    case.engine("buildx ls").ok().contains("ci*");
    case.engine("buildx inspect").ok().contains("Name:   ci");
    case.engine("buildx inspect --bootstrap default")
        .ok()
        .contains("Name:   default");
    let context = case.make_dir("context");
    std::fs::write(context.join("Dockerfile"), "FROM localhost/busybox\n").unwrap();
    let context = context.display().to_string();
    for words in [
        &["buildx", "build", "--builder", "ci", &context][..],
        &["buildx", "--builder", "ci", "build", &context],
        &["buildx", "--builder=default", "-D", "build", &context],
        &["build", &context],
    ] {
        case.words(words).ok();
    }
    case.words(&["buildx", "--builder", "other", "build", &context])
        .fails(1, "no builder \"other\" found");
    case.engine("buildx use default").ok();
    case.engine("buildx inspect")
        .ok()
        .contains("Name:   default");
    let made = case.engine("buildx create").ok().first().to_owned();
    case.words(&["buildx", "use", &made]).ok();
    case.words(&["buildx", "rm", "ci", &made])
        .ok()
        .contains("ci removed");
    case.engine("buildx use ci")
        .fails(1, "no builder \"ci\" found");
    case.engine("buildx rm default")
        .fails(1, "cannot be removed");
    case.engine("buildx create --driver kubernetes")
        .fails(125, "is not supported");
    case.engine("buildx du --builder default")
        .ok()
        .contains("Total:");
    // Whatever is free is enough, or nothing is.
    case.engine("builder prune -af --min-free-space 1")
        .ok()
        .prints("Total:\t0B");
    case.engine("builder prune -af --keep-storage 1t")
        .ok()
        .prints("Total:\t0B");
}

fn indexes_in_a_registry(case: &Case) {
    let source = Registry::http(case);
    let target = Registry::writable(case, "target");
    let far = source.image("busybox");
    let near = format!("{}/copy:1", target.address);
    let shown = case.words(&["buildx", "imagetools", "inspect", &far]).ok();
    shown.contains("Digest:    sha256:");
    let raw = case
        .words(&["buildx", "imagetools", "inspect", "--raw", &far])
        .ok()
        .json();
    assert_eq!(raw["schemaVersion"], 2);
    let format = [
        "buildx",
        "imagetools",
        "inspect",
        "--format={{.Manifest.digest}}",
        &far,
    ];
    assert!(case.words(&format).ok().first().starts_with("sha256:"));
    let dry = case
        .words(&[
            "buildx",
            "imagetools",
            "create",
            "--dry-run",
            "--tag",
            &near,
            &far,
        ])
        .ok()
        .json();
    assert!(
        dry["manifests"]
            .as_array()
            .is_some_and(|members| !members.is_empty()),
        "{dry}"
    );
    case.words(&["buildx", "imagetools", "inspect", &near])
        .exits(1);
    let note = case.dir_path("metadata.json");
    let note = note.to_str().unwrap();
    case.words(&[
        "buildx",
        "imagetools",
        "create",
        "--metadata-file",
        note,
        "--annotation=a=b",
        "-t",
        &near,
        &far,
    ])
    .ok();
    let made = case
        .words(&["buildx", "imagetools", "inspect", "--raw", &near])
        .ok()
        .json();
    assert_eq!(made["annotations"]["a"], "b");
    assert_eq!(made["manifests"], dry["manifests"]);
    assert!(std::fs::read_to_string(note).unwrap().contains(&near));
    case.words(&["pull", &near]).ok();
    case.words(&[
        "buildx",
        "imagetools",
        "create",
        "--append",
        "-t",
        &near,
        &far,
    ])
    .ok();
    case.words(&["buildx", "imagetools", "create", &far])
        .fails(1, "no repositories specified");
    // Nothing of it is left among our own.
    case.words(&["images", "--format={{.Repository}}"])
        .ok()
        .prints(&near[..near.len() - 2]);
}

/// As docker's client says it, whatever else the words ask for.
fn values_that_cannot_be_read(case: &Case) {
    for (words, said) in [
        (
            "run --memory abc --help",
            "invalid argument \"abc\" for \"-m, --memory\" flag: invalid size: 'abc'",
        ),
        (
            "run --cpus abc x",
            "invalid argument \"abc\" for \"--cpus\" flag: failed to parse abc as a rational number",
        ),
        (
            "run --health-interval abc x",
            "invalid argument \"abc\" for \"--health-interval\" flag: time: invalid duration \"abc\"",
        ),
        (
            "stop --time abc x",
            "invalid argument \"abc\" for \"--time\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        (
            "run --blkio-weight 70000 x",
            "invalid argument \"70000\" for \"--blkio-weight\" flag: strconv.ParseUint: parsing \"70000\": value out of range",
        ),
        (
            "run --pids-limit 99999999999999999999 x",
            "value out of range",
        ),
        ("--log-level abc ps", "Unable to parse logging level: abc"),
    ] {
        let wrong = case.engine(words);
        let code = if words.starts_with("--") { 1 } else { 125 };
        wrong.fails(code, said);
    }
}

fn platforms_that_do_not_exist(case: &Case) {
    case.load_busybox();
    let context = case.make_dir("context");
    std::fs::write(context.join("Dockerfile"), "FROM localhost/busybox\n").unwrap();
    case.words(&["build", "--platform", "zzz", context.to_str().unwrap()])
        .fails(125, "\"zzz\": unknown operating system or architecture");
    case.engine("run --platform zzz localhost/busybox true")
        .fails(125, "\"zzz\": unknown operating system or architecture");
    case.engine("run --rm --platform linux --runtime runc --network none localhost/busybox true")
        .ok();
}

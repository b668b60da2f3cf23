//! `run` in the foreground: exit codes, what the process is given, mounts, names, pull policies.

use crate::case::Case;

cases! {
    exit_codes: root ordinary single;
    output_and_input: root ordinary single;
    environment: root ordinary;
    env_file: root ordinary;
    proxies_of_dockers_configuration: root ordinary;
    working_directory: root ordinary;
    user: root ordinary;
    user_out_of_range: root ordinary;
    groups_are_the_images: root ordinary;
    entrypoint: root ordinary;
    hostname_and_hosts: root ordinary;
    bind_mounts: root ordinary single;
    read_only_binds_are_recursive: root;
    missing_bind_source: root ordinary;
    tmpfs: root ordinary;
    read_only_root: root ordinary;
    init_reaps_and_forwards: root ordinary;
    container_id_file: root ordinary;
    names_are_unique: root ordinary;
    pull_policies: root ordinary;
    removed_when_asked: root ordinary;
    signals_are_passed_on: root ordinary;
    host_network: root ordinary;
    embedded_image: root ordinary single;
}

fn exit_codes(case: &Case) {
    case.load_busybox();
    case.shell("", "exit 0").exits(0);
    case.shell("", "exit 42").exits(42);
    case.shell("", "exit 255").exits(255);
    // A shell that is process 1 cannot be killed by its own signal; its child can.
    case.shell("", "sh -c 'kill -TERM $$'; exit $?").exits(143);
    case.engine("run --rm --network none localhost/busybox /no/such/program")
        .fails(127, "/no/such/program");
    case.engine("run --rm --network none localhost/busybox no-such-program")
        .fails(127, "no-such-program");
    case.engine("run --rm --network none localhost/busybox /etc/not-executable")
        .fails(126, "/etc/not-executable");
    case.engine("run --rm --network none localhost/busybox /etc")
        .fails(126, "/etc");
    case.engine("run --rm --no-such-flag localhost/busybox true")
        .fails(125, "--no-such-flag");
    case.engine("run --rm --pull never localhost/no-such-image true")
        .fails(125, "no-such-image");
    case.engine("run --rm --network none localhost/busybox false")
        .exits(1);
    case.engine("ps -aq").ok().prints("");
}

fn output_and_input(case: &Case) {
    case.load_busybox();
    // The first run may have something to say about the mode.
    case.shell("", "true").ok();
    let outcome = case.shell("", "echo out; echo err >&2").ok();
    assert_eq!(
        (outcome.stdout.as_str(), outcome.stderr.as_str()),
        ("out\n", "err\n"),
        "{outcome}"
    );
    // Without -i there is no input, with it there is all of it.
    let command = [
        "run",
        "--rm",
        "--network=none",
        "localhost/busybox",
        "wc",
        "-c",
    ];
    case.with_input(&command, "not read").ok().prints("0");
    let command = [
        "run",
        "--rm",
        "-i",
        "--network=none",
        "localhost/busybox",
        "wc",
        "-c",
    ];
    case.with_input(&command, "x".repeat(300_000))
        .ok()
        .prints("300000");
    // Much output is whole.
    let outcome = case.shell("", "i=0; while [ $i -lt 2000 ]; do echo \"line $i of a container that prints much\"; i=$((i+1)); done");
    assert_eq!(outcome.ok().stdout.lines().count(), 2000);
}

fn environment(case: &Case) {
    case.load_busybox();
    case.set("FORWARDED", "from the caller");
    case.set("HIDDEN", "never");
    let outcome = case
        .shell(
            "-e ONE=1 -e FROM_IMAGE=changed -e FORWARDED -e UNSET_NAME -h box",
            "env | sort",
        )
        .ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    for expected in [
        "ONE=1",
        "FROM_IMAGE=changed",
        "FORWARDED=from the caller",
        "HOSTNAME=box",
        "HOME=/root",
        "PATH=/usr/local/bin:/usr/bin:/bin",
    ] {
        assert!(
            lines.contains(&expected),
            "{expected} is missing:\n{outcome}"
        );
    }
    for absent in [
        "HIDDEN",
        "UNSET_NAME",
        "CORACLE",
        "XDG_RUNTIME_DIR",
        "TERM=",
    ] {
        assert!(
            !outcome.stdout.contains(absent),
            "{absent} leaked:\n{outcome}"
        );
    }
}

fn env_file(case: &Case) {
    case.load_busybox();
    case.make_file("env", "# comment\nA=1\nB=two words\n\nC=#not a comment\n");
    let file = case.dir.join("env").display().to_string();
    case.shell(&format!("--env-file {file} -e A=flag"), "echo \"$A|$B|$C\"")
        .ok()
        .prints("flag|two words|#not a comment");
    case.shell("--env-file /no/such/file", "true")
        .fails(125, "/no/such/file");
}

fn working_directory(case: &Case) {
    case.load_busybox();
    case.shell("", "pwd").ok().prints("/");
    case.shell("-w /var/www", "pwd; cat index.html")
        .ok()
        .prints("/var/www\nhello");
    // One that is not there is made.
    case.shell("-w /made/for/this", "pwd")
        .ok()
        .prints("/made/for/this");
    case.shell("-w relative", "true").fails(125, "relative");
}

fn user(case: &Case) {
    case.load_busybox();
    case.shell("", "id -u; id -g").ok().prints("0\n0");
    case.shell("-u alice", "id -u; id -g; echo $HOME")
        .ok()
        .prints("1000\n1000\n/home/alice");
    case.shell("-u 1000:10", "id -u; id -g")
        .ok()
        .prints("1000\n10");
    case.shell("-u 4242", "id -u; id -g; echo $HOME")
        .ok()
        .prints("4242\n0\n/");
    case.shell("-u nobody-here", "true")
        .fails(125, "nobody-here");
    case.shell("-u alice:no-such-group", "true")
        .fails(125, "no-such-group");
    // Who is not root has no capabilities, whatever the bounding set is.
    case.shell("-u alice", "grep CapEff /proc/self/status | cut -f2")
        .ok()
        .prints("0000000000000000");
}

/// A number that does not fit must not become a name or another number (CVE-2026-46680).
fn user_out_of_range(case: &Case) {
    case.load_busybox();
    for user in [
        "4294967296",
        "4294967295",
        "-1",
        "99999999999999999999",
        "0x0",
        "1a",
    ] {
        case.words(&[
            "run",
            "--rm",
            "--network=none",
            &format!("--user={user}"),
            "localhost/busybox",
            "id",
        ])
        .fails(125, user);
    }
}

/// Not the caller's (CVE-2022-36109): those of the image's /etc/group and the primary one.
fn groups_are_the_images(case: &Case) {
    case.load_busybox();
    let groups = "grep ^Groups: /proc/self/status | tr -s '\\t ' ' '";
    let sorted = |text: String| {
        let mut groups: Vec<u32> = text
            .split_whitespace()
            .skip(1)
            .map(|id| id.parse().unwrap())
            .collect();
        groups.sort_unstable();
        groups
    };
    assert_eq!(
        sorted(case.shell("-u alice", groups).ok().stdout),
        [10, 29, 1000]
    );
    assert_eq!(sorted(case.shell("", groups).ok().stdout), [0, 10]);
    assert_eq!(
        sorted(case.shell("-u 5000:5001", groups).ok().stdout),
        [5001]
    );
}

fn entrypoint(case: &Case) {
    case.load_busybox();
    case.engine("run --rm --network none --entrypoint echo localhost/busybox one two")
        .ok()
        .prints("one two");
    // An entrypoint of its own forgets the image's command.
    case.engine("run --rm --network none --entrypoint /bin/echo localhost/busybox")
        .ok()
        .prints("");
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        "--entrypoint",
        "",
        "localhost/busybox",
        "echo",
        "x",
    ])
    .ok()
    .prints("x");
}

fn hostname_and_hosts(case: &Case) {
    case.load_busybox();
    case.shell("-h ferry", "hostname; cat /etc/hostname")
        .ok()
        .prints("ferry\nferry");
    case.shell("-h ferry", "cat /etc/hosts")
        .ok()
        .contains("localhost");
    let outcome = case.shell("", "hostname").ok();
    assert_eq!(
        outcome.first().len(),
        12,
        "the short ID is the default: {outcome}"
    );
}

fn bind_mounts(case: &Case) {
    case.load_busybox();
    let dir = case.make_dir("shared");
    case.make_file("shared/in", "from outside\n");
    let dir = dir.display();
    case.shell(
        &format!("-v {dir}:/mnt"),
        "cat /mnt/in; echo back > /mnt/out",
    )
    .ok()
    .prints("from outside");
    let back = case.dir.join("shared/out");
    assert_eq!(std::fs::read_to_string(&back).unwrap(), "back\n");
    let owner = std::os::unix::fs::MetadataExt::uid(&std::fs::metadata(&back).unwrap());
    assert_eq!(owner, case.user.uid, "root inside is the user outside");
    case.shell(
        &format!("-v {dir}:/mnt:ro"),
        "echo x > /mnt/out2 || echo refused",
    )
    .ok()
    .prints("refused");
    case.shell(
        &format!("--mount type=bind,src={dir},dst=/a/b,ro"),
        "ls /a/b | sort",
    )
    .ok()
    .prints("in\nout");
    case.shell(&format!("-v {dir}/in:/etc/issue"), "cat /etc/issue")
        .ok()
        .prints("from outside");
    case.shell(&format!("-v {dir}:relative"), "true")
        .fails(125, "relative");
}

/// Docker's rule (since 25): a mount below a read-only bind is read-only too.
fn read_only_binds_are_recursive(case: &Case) {
    case.load_busybox();
    let outer = case.make_dir("outer");
    let inner = case.make_dir("outer/inner");
    let script = format!(
        "mount -t tmpfs none {inner} && {engine} run --rm --network none -v {outer}:/v:ro localhost/busybox \
         sh -c 'touch /v/inner/x 2>/dev/null && echo writable || echo refused'",
        inner = inner.display(),
        outer = outer.display(),
        engine = case.engine_words().join(" "),
    );
    let mut command = case.program("unshare");
    command.args(["-m", "--propagation", "private", "sh", "-c", &script]);
    crate::case::finish(command).ok().prints("refused");
}

fn missing_bind_source(case: &Case) {
    case.load_busybox();
    let missing = case.dir.join("home/missing");
    case.shell(
        &format!("--mount type=bind,src={},dst=/mnt", missing.display()),
        "true",
    )
    .fails(125, "missing");
    assert!(!missing.exists());
    // -v makes it, as Docker does.
    case.shell(&format!("-v {}:/mnt", missing.display()), "ls -A /mnt")
        .ok()
        .prints("");
    assert!(missing.is_dir());
}

fn tmpfs(case: &Case) {
    case.load_busybox();
    case.shell("--tmpfs /scratch:size=1m,mode=1770", "grep ' /scratch ' /proc/mounts | cut -d' ' -f3; stat -c %a /scratch; dd if=/dev/zero of=/scratch/big bs=1k count=2000 2>/dev/null || echo full")
        .ok()
        .prints("tmpfs\n1770\nfull");
    let outcome = case
        .shell("--tmpfs /scratch", "grep ' /scratch ' /proc/mounts")
        .ok();
    for option in ["nosuid", "nodev", "noexec"] {
        assert!(outcome.stdout.contains(option), "{option}: {outcome}");
    }
    case.shell(
        "--mount type=tmpfs,dst=/m,tmpfs-size=64k,tmpfs-mode=700",
        "stat -c %a /m",
    )
    .ok()
    .prints("700");
}

fn read_only_root(case: &Case) {
    case.load_busybox();
    case.shell("--read-only", "touch /x 2>/dev/null && echo writable; touch /dev/shm/x && echo shm; echo > /dev/null && echo null")
        .ok()
        .prints("shm\nnull");
    case.shell("--read-only --tmpfs /tmp", "touch /tmp/x && echo fine")
        .ok()
        .prints("fine");
}

fn init_reaps_and_forwards(case: &Case) {
    case.load_busybox();
    // The orphan is process 1's to reap: no zombie is left.
    let outcome = case
        .shell("--init", "(sleep 0.05 &) ; sleep 0.3; ps -o pid,stat,comm")
        .ok();
    assert!(!outcome.stdout.contains(" Z"), "a zombie: {outcome}");
    let pid = case.shell("--init", "echo $$").ok();
    assert_ne!(pid.first(), "1", "init is process 1");
    case.shell("--init", "exit 7").exits(7);
    case.shell("--init", "kill -9 $$").exits(137);
}

fn container_id_file(case: &Case) {
    case.load_busybox();
    let file = case.dir.join("home/cid");
    case.shell(&format!("--cidfile {}", file.display()), "true")
        .ok();
    let id = std::fs::read_to_string(&file).unwrap();
    assert!(
        id.len() == 64 && id.bytes().all(|b| b.is_ascii_hexdigit()),
        "{id:?}"
    );
    case.shell(&format!("--cidfile {}", file.display()), "true")
        .fails(125, "cid");
}

fn names_are_unique(case: &Case) {
    case.load_busybox();
    case.engine("create --name twice --network none localhost/busybox true")
        .ok();
    let outcome = case.engine("create --name twice --network none localhost/busybox true");
    // Docker's 1, podman's 125.
    assert!([1, 125].contains(&outcome.code), "{outcome}");
    case.engine("run --name twice --network none localhost/busybox true")
        .fails(125, "twice");
    case.engine("create --name bad/name --network none localhost/busybox true")
        .fails(125, "name");
    case.engine("rm twice").ok().prints("twice");
    case.engine("run --name twice --network none localhost/busybox true")
        .ok();
    case.engine("rm twice").ok();
    // A made-up name has two words.
    let id = case
        .engine("create --network none localhost/busybox true")
        .ok()
        .first()
        .to_owned();
    let name = case
        .words(&["inspect", "--format", "{{.Name}}", &id])
        .ok()
        .stdout;
    assert!(name.trim().trim_start_matches('/').contains('_'), "{name}");
    case.words(&["rm", &id]).ok();
}

fn pull_policies(case: &Case) {
    let registry = crate::registry::Registry::http(case);
    let image = registry.image("busybox");
    case.engine(&format!(
        "run --rm --network none --pull never {image} true"
    ))
    .fails(125, "busybox");
    case.engine(&format!("run --rm --network none {image} echo pulled"))
        .ok()
        .prints("pulled");
    case.engine(&format!(
        "run --rm --network none --pull never {image} echo kept"
    ))
    .ok()
    .prints("kept");
    drop(registry);
    case.engine(&format!(
        "run --rm --network none --pull missing {image} echo kept"
    ))
    .ok()
    .prints("kept");
    case.engine(&format!(
        "run --rm --network none --pull always {image} true"
    ))
    .exits(125);
}

fn removed_when_asked(case: &Case) {
    case.load_busybox();
    case.shell("", "echo x > /written").ok();
    case.engine("ps -aq").ok().prints("");
    case.engine("run --network none --name stays localhost/busybox true")
        .ok();
    case.words(&["ps", "-a", "--format", "{{.Names}}"])
        .ok()
        .prints("stays");
    case.engine("rm stays").ok();
    case.engine("ps -aq").ok().prints("");
}

fn signals_are_passed_on(case: &Case) {
    case.load_busybox();
    let child = case.start(&[
        "run",
        "--rm",
        "--network=none",
        "--name=catcher",
        "localhost/busybox",
        "sh",
        "-c",
        "trap 'echo caught; exit 9' TERM; echo ready; while :; do sleep 0.05; done",
    ]);
    let pid = rustix::process::Pid::from_child(&child);
    case.eventually("it runs", || {
        case.engine("logs catcher").stdout.contains("ready")
    });
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
    crate::case::collect("run of catcher".into(), child)
        .exits(9)
        .contains("caught");
}

fn host_network(case: &Case) {
    case.load_busybox();
    let inside = case
        .engine("run --rm --network host localhost/busybox readlink /proc/self/ns/net")
        .ok()
        .stdout;
    let outside = std::fs::read_link("/proc/self/ns/net").unwrap();
    assert_eq!(inside.trim(), outside.to_str().unwrap());
}

fn embedded_image(case: &Case) {
    let outcome = case.engine("run --rm coracle-hello").ok();
    assert!(
        outcome.stdout.starts_with("Hello from a container!"),
        "{outcome}"
    );
    for line in [
        "my process id       1\n",
        "processes I see     1\n",
        "network             lo\n",
        "filter  on\n",
    ] {
        assert!(
            outcome.stdout.contains(line),
            "{line:?} is missing:\n{outcome}"
        );
    }
    case.engine("run --rm --pull never localhost/coracle-hello")
        .ok();
    case.words(&["images", "--format", "{{.Repository}}:{{.Tag}}"])
        .ok()
        .prints("localhost/coracle-hello:latest");
    case.engine("rmi localhost/coracle-hello").ok();
    case.engine("run --rm coracle-hello").ok();
}

/// For containers and steps of builds; what a command says of them weighs more.
fn proxies_of_dockers_configuration(case: &Case) {
    case.load_busybox();
    let text = r#"{"proxies": {"default": {"httpProxy": "http://proxy:1", "noProxy": "near"}}}"#;
    case.make_dir("home/.docker");
    case.make_file("home/.docker/config.json", text);
    let show = "echo $HTTP_PROXY $http_proxy $NO_PROXY $https_proxy";
    case.shell("", show)
        .ok()
        .prints("http://proxy:1 http://proxy:1 near");
    case.shell("-e http_proxy=own", show)
        .ok()
        .prints("http://proxy:1 own near");
    case.make_dir("context");
    let dockerfile = format!("FROM localhost/busybox\nRUN {show} > /proxies\n");
    case.make_file("context/Dockerfile", dockerfile);
    case.engine("build -q --network none -t app context").ok();
    case.engine("run --rm --network none app cat /proxies")
        .ok()
        .prints("http://proxy:1 http://proxy:1 near");
    // The image keeps nothing of them.
    let kept = "inspect --type image -f {{.Config.Env}} app";
    assert!(!case.engine(kept).ok().stdout.contains("proxy"));
}

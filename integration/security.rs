//! Flags that change what a container may do: seen from inside, and by `exec`.

use std::{
    io::IoSliceMut,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, AsRawFd},
        unix::{fs::PermissionsExt, net::UnixListener},
    },
};

use crate::case::Case;

cases! {
    capabilities_added_and_dropped: root ordinary;
    capabilities_that_cannot_be: root ordinary;
    ambient_for_other_users: root ordinary;
    default_filter_follows_capabilities: root ordinary;
    privileged: root ordinary;
    no_new_privileges: root ordinary single;
    seccomp_unconfined: root ordinary single;
    seccomp_of_the_users: root ordinary single;
    seccomp_with_arguments: root ordinary single;
    seccomp_nesting: root ordinary;
    seccomp_listener: root ordinary single;
    bad_profiles: ordinary;
    masks: root ordinary single;
    proc_options: root ordinary;
    ulimits: root ordinary single;
    ulimit_too_high: ordinary single;
    sysctls: root ordinary single;
    sysctls_of_the_machine: root ordinary;
    groups: root ordinary;
    keep_groups: root ordinary single;
    umask_and_oom_score: root ordinary single;
    labels_that_cannot_be_set: root ordinary;
    exec_gets_all_of_it: root ordinary;
    exec_privileged: root ordinary;
    inspect_shows_it: root ordinary;
}

const CAPABILITIES: &str = "grep -E '^Cap(Inh|Eff|Bnd|Amb)' /proc/self/status | cut -f2";

/// Inheritable, effective, bounding, ambient.
fn capability_sets(case: &Case, flags: &str) -> [u64; 4] {
    let outcome = case.shell(flags, CAPABILITIES).ok();
    let sets: Vec<u64> = outcome
        .stdout
        .lines()
        .map(|line| u64::from_str_radix(line, 16).unwrap())
        .collect();
    sets.try_into().unwrap_or_else(|_| panic!("{outcome}"))
}

fn capabilities_added_and_dropped(case: &Case) {
    case.load_busybox();
    for (flags, expected) in [
        ("--cap-add net_admin", 0x8004_15fb),
        ("--cap-add CAP_NET_ADMIN,SYS_PTRACE", 0x800c_15fb),
        ("--cap-drop chown --cap-drop Cap_Kill", 0x8004_05da),
        ("--cap-drop all", 0),
        ("--cap-drop ALL --cap-add CHOWN", 1),
        ("--cap-drop CHOWN --cap-add CHOWN", 0x8004_05fb),
    ] {
        assert_eq!(
            capability_sets(case, flags),
            [0, expected, expected, 0],
            "{flags}"
        );
    }
    let [_, effective, bounding, _] = capability_sets(case, "--cap-add ALL --cap-drop SYS_ADMIN");
    assert_eq!(effective, bounding);
    assert_eq!(effective & 1 << 21, 0);
    assert!(effective.count_ones() > 30, "{effective:x}");
    // They are good for something.
    case.shell("--cap-drop chown", "chown 1 /etc 2>/dev/null || echo no")
        .ok()
        .prints("no");
    case.shell("--cap-add sys_admin", "mount -t tmpfs x /tmp && echo yes")
        .ok()
        .prints("yes");
}

fn capabilities_that_cannot_be(case: &Case) {
    case.load_busybox();
    case.shell("--cap-add FLY", "true")
        .fails(125, "unknown capability");
    case.shell("--cap-add ALL --cap-drop ALL", "true")
        .fails(125, "added and dropped");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let effective = status.lines().find_map(|line| line.strip_prefix("CapEff:"));
    let effective = u64::from_str_radix(effective.unwrap().trim(), 16).unwrap();
    let lacking = (0..41_u8).find(|number| effective & 1 << number == 0);
    if let (true, Some(lacking)) = (case.is_root(), lacking) {
        let name = coracle::model::capability::name(lacking).unwrap();
        case.shell(&format!("--cap-add {name}"), "true")
            .fails(125, "does not have it");
    }
    // Nothing is left of what was refused.
    case.engine("ps -aq").ok().prints("");
}

/// Without this `--user 1000 --cap-add X` would do nothing; what was not named stays out
/// (CVE-2022-24769).
fn ambient_for_other_users(case: &Case) {
    case.load_busybox();
    let default = 0x8004_05fb;
    assert_eq!(capability_sets(case, "-u 1000"), [0, 0, default, 0]);
    let added = 1 << 12;
    assert_eq!(
        capability_sets(case, "-u 1000 --cap-add NET_ADMIN"),
        [added, added, default | added, added]
    );
    assert_eq!(
        capability_sets(case, "-u 1000 --cap-drop ALL --cap-add CHOWN"),
        [1, 1, 1, 1]
    );
    let [inheritable, effective, _, ambient] = capability_sets(case, "-u 1000 --privileged");
    assert_eq!([inheritable, effective, ambient], [0; 3]);
    case.shell(
        "-u 1000 --cap-add CHOWN",
        "touch /tmp/x 2>/dev/null; chown 5 /etc && stat -c %u /etc",
    )
    .ok()
    .prints("5");
}

/// The filter knows which capabilities the container has.
fn default_filter_follows_capabilities(case: &Case) {
    case.load_busybox();
    let script = "unshare -u true && echo namespaces; mount -t tmpfs x /tmp && echo mounts";
    let script = format!("({script}) 2>/dev/null; grep -E '^Seccomp:' /proc/self/status | cut -f2");
    case.shell("", &script).ok().prints("2");
    case.shell("--cap-add SYS_ADMIN", &script)
        .ok()
        .prints("namespaces\nmounts\n2");
    // The capability alone does not open a filter of the user's own.
    let profile = case.make_file(
        "no-mounts.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mount"],"action":"SCMP_ACT_ERRNO","excludes":{"caps":["CAP_SYS_TIME"]}},
            {"names":["unshare"],"action":"SCMP_ACT_ERRNO","includes":{"caps":["CAP_SYS_TIME"]}}]}"#,
    );
    let flags = format!(
        "--cap-add SYS_ADMIN --security-opt seccomp={}",
        profile.display()
    );
    case.shell(&flags, &script).ok().prints("namespaces\n2");
}

fn privileged(case: &Case) {
    case.load_busybox();
    let [inheritable, effective, bounding, ambient] = capability_sets(case, "--privileged");
    assert_eq!([inheritable, ambient], [0, 0]);
    assert_eq!(effective, bounding);
    if !case.is_root() {
        assert_eq!(
            effective & coracle::model::capability::ALL,
            coracle::model::capability::ALL
        );
    }
    case.shell(
        "--privileged",
        "grep -E '^Seccomp:' /proc/self/status | cut -f2; grep -c ' /proc/' /proc/mounts; \
         grep ' /sys ' /proc/mounts | cut -d' ' -f4 | cut -d, -f1; \
         mount -t tmpfs x /mnt 2>/dev/null || mkdir -p /mnt && mount -t tmpfs x /mnt && echo mounted",
    )
    .ok()
    .prints("0\n0\nrw\nmounted");
}

fn no_new_privileges(case: &Case) {
    case.load_busybox();
    let script = "grep -E '^NoNewPrivs' /proc/self/status | cut -f2";
    for (flags, expected) in [
        ("--security-opt no-new-privileges", "1"),
        ("--security-opt=no-new-privileges:true", "1"),
        ("--security-opt=no-new-privileges=false", "0"),
        ("--privileged --security-opt no-new-privileges", "1"),
    ] {
        case.shell(flags, script).ok().prints(expected);
    }
}

fn seccomp_unconfined(case: &Case) {
    case.load_busybox();
    for option in ["seccomp=unconfined", "seccomp:unconfined"] {
        case.shell(
            &format!("--security-opt {option}"),
            "grep -E '^Seccomp:' /proc/self/status | cut -f2",
        )
        .ok()
        .prints("0");
    }
}

fn seccomp_of_the_users(case: &Case) {
    case.load_busybox();
    let profile = case.make_file(
        "mkdir.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["mkdir","mkdirat"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
    );
    let flags = format!("--security-opt seccomp={}", profile.display());
    case.shell(
        &flags,
        "mkdir /x 2>&1; grep -E '^Seccomp:' /proc/self/status | cut -f2",
    )
    .ok()
    .prints("mkdir: can't create directory '/x': No space left on device\n2");
    // With the filter last, it may refuse what the start itself needs.
    let profile = case.make_file(
        "ids.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["setgroups","setresuid","setresgid","capset"],"action":"SCMP_ACT_KILL_PROCESS"}]}"#,
    );
    let flags = format!(
        "--security-opt no-new-privileges --security-opt seccomp={}",
        profile.display()
    );
    case.shell(&flags, "echo started").ok().prints("started");
}

fn seccomp_with_arguments(case: &Case) {
    case.load_busybox();
    let profile = case.make_file(
        "kill.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[
            {"names":["kill"],"action":"SCMP_ACT_ERRNO","args":[{"index":1,"value":10,"op":"SCMP_CMP_EQ"}]}]}"#,
    );
    let flags = format!("--security-opt seccomp={}", profile.display());
    case.shell(
        &flags,
        "kill -0 $$ && echo zero; kill -10 $$ 2>/dev/null || echo ten is refused",
    )
    .ok()
    .prints("zero\nten is refused");
}

fn seccomp_nesting(case: &Case) {
    case.load_busybox();
    let script = "unshare -Urm sh -c 'mount -t tmpfs x /tmp && echo mounted' 2>/dev/null; true";
    case.shell("", script).ok().prints("");
    case.shell("--security-opt seccomp=nesting", script)
        .ok()
        .prints("mounted");
}

/// Calls that somebody outside decides about, seccomp_unotify(2): once nobody does any more, they are
/// absent.
fn seccomp_listener(case: &Case) {
    case.load_busybox();
    let path = case.dir.join("agent");
    let listener = UnixListener::bind(&path).unwrap();
    std::fs::set_permissions(&path, PermissionsExt::from_mode(0o777)).unwrap();
    let text = format!(
        r#"{{"defaultAction":"SCMP_ACT_ALLOW","listenerPath":"{}","listenerMetadata":"hello",
            "syscalls":[{{"names":["mkdir","mkdirat"],"action":"SCMP_ACT_NOTIFY"}}]}}"#,
        path.display()
    );
    let profile = case.make_file("notify.json", text);
    let agent = std::thread::spawn(move || take_listener(&listener));
    let flags = format!("--security-opt seccomp={}", profile.display());
    case.shell(&flags, "mkdir /new 2>&1")
        .exits(1)
        .prints("mkdir: can't create directory '/new': Function not implemented");
    let (state, kind) = agent.join().unwrap();
    assert_eq!(kind, "anon_inode:seccomp notify");
    let state: serde_json::Value = serde_json::from_slice(&state).unwrap();
    assert_eq!(state["metadata"], "hello", "{state}");
    assert_eq!(state["fds"][0], "seccompFd", "{state}");
    assert_eq!(state["state"]["id"].as_str().unwrap().len(), 64, "{state}");
    // The socket is gone: no container.
    std::fs::remove_file(&path).unwrap();
    case.shell(&flags, "true")
        .fails(125, "cannot reach the listener");
}

/// The state of one container, and what its descriptor is, which is closed at once.
fn take_listener(listener: &UnixListener) -> (Vec<u8>, String) {
    use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags};
    let (socket, _) = listener.accept().unwrap();
    let mut state = vec![0; 4096];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut ancillary = RecvAncillaryBuffer::new(&mut space);
    let received = rustix::net::recvmsg(
        socket.as_fd(),
        &mut [IoSliceMut::new(&mut state)],
        &mut ancillary,
        RecvFlags::CMSG_CLOEXEC,
    );
    state.truncate(received.unwrap().bytes);
    let calls = ancillary
        .drain()
        .find_map(|message| match message {
            RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
            _ => None,
        })
        .unwrap();
    let link = format!("/proc/self/fd/{}", calls.as_raw_fd());
    let kind = std::fs::read_link(link).unwrap();
    (state, kind.to_str().unwrap().to_owned())
}

fn bad_profiles(case: &Case) {
    case.load_busybox();
    let before = case.store_listing();
    for (text, says) in [
        ("", "invalid seccomp profile"),
        ("{}", "defaultAction"),
        (r#"{"defaultAction":"SCMP_ACT_DANCE"}"#, "SCMP_ACT_DANCE"),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","listener":"x"}"#,
            "unknown field",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_NOTIFY"}]}"#,
            "listenerPath",
        ),
        (
            r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["read"],"action":"SCMP_ACT_ERRNO","args":[{"index":9,"value":0,"op":"SCMP_CMP_EQ"}]}]}"#,
            "argument 9",
        ),
    ] {
        let profile = case.make_file("bad.json", text);
        let flags = format!("--security-opt seccomp={}", profile.display());
        case.shell(&flags, "true").fails(125, says);
    }
    case.shell("--security-opt seccomp=/nosuch.json", "true")
        .fails(125, "cannot read the seccomp profile");
    case.shell("--security-opt seccomp=/dev/zero", "true")
        .fails(125, "longer than");
    case.shell("--security-opt dance", "true")
        .fails(125, "no such option");
    assert_eq!(case.store_listing(), before);
}

fn masks(case: &Case) {
    case.load_busybox();
    case.shell(
        "--security-opt mask=/etc/passwd:/usr --security-opt mask=/proc/version:/nosuch",
        "wc -c < /etc/passwd; ls -A /usr | wc -l; wc -c < /proc/version; \
         (echo x > /usr/y) 2>/dev/null || echo sealed",
    )
    .ok()
    .prints("0\n0\n0\nsealed");
    case.shell("--security-opt mask=/proc", "true")
        .fails(125, "cannot mask /proc");
    let mounted = "cut -d' ' -f2 /proc/mounts | grep -E '^/(proc|sys)/.' | grep -v cgroup | sort";
    let all = case.shell("", mounted).ok().stdout;
    assert!(all.lines().any(|path| path == "/proc/sys"), "{all}");
    case.shell("--security-opt unmask=/proc/sys", mounted)
        .ok()
        .prints(all.replace("/proc/sys\n", "").trim_end());
    for option in ["unmask=ALL", "systempaths=unconfined"] {
        case.shell(&format!("--security-opt {option}"), mounted)
            .ok()
            .prints("");
    }
    let outcome = case.shell("--security-opt unmask=/proc/*", mounted).ok();
    assert!(!outcome.stdout.contains("/proc/"), "{outcome}");
    assert!(outcome.stderr.contains("opens /proc/acpi, "), "{outcome}");
    // A link of the image must not lead a mask into our /proc.
    case.shell("--read-only --security-opt mask=/etc", "ls -A /etc | wc -l")
        .ok()
        .prints("0");
}

fn proc_options(case: &Case) {
    case.load_busybox();
    case.shell(
        "--security-opt proc-opts=hidepid=2,gid=0",
        "grep ' /proc ' /proc/mounts | grep -c 'hidepid=\\(2\\|invisible\\)'",
    )
    .ok()
    .prints("1");
    case.shell("--security-opt proc-opts=rw", "true")
        .fails(125, "proc-opts");
}

fn limit_of(name: &str) -> String {
    format!("grep '^Max {name}' /proc/self/limits | sed 's/  */ /g' | cut -d' ' -f4-5")
}

fn ulimits(case: &Case) {
    case.load_busybox();
    let files = limit_of("open files");
    case.shell("--ulimit nofile=100:200", &files)
        .ok()
        .prints("100 200");
    case.shell("--ulimit nofile=100 --ulimit nofile=50", &files)
        .ok()
        .prints("50 50");
    case.shell(
        "--ulimit core=0 --ulimit stack=1048576:2097152",
        "ulimit -c; ulimit -s; ulimit -Hs",
    )
    .ok()
    .prints("0\n1024\n2048");
    // Without a flag, and with podman's word for it, the caller's own.
    let own = std::fs::read_to_string("/proc/self/limits").unwrap();
    let own: Vec<&str> = own
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"))
        .unwrap()
        .split_whitespace()
        .take(2)
        .collect();
    for flags in ["", "--ulimit host"] {
        case.shell(flags, &files).ok().prints(&own.join(" "));
    }
    for (value, says) in [
        ("files=5", "the resources are"),
        ("nofile=5:4", "above the hard limit"),
        ("nofile", "invalid ulimit argument"),
    ] {
        case.shell(&format!("--ulimit {value}"), "true")
            .fails(125, says);
    }
}

/// Only root of the machine raises hard limits; both numbers are named.
fn ulimit_too_high(case: &Case) {
    case.load_busybox();
    case.shell("--ulimit nofile=1073741816", "true").fails(
        125,
        "cannot limit nofile to 1073741816: the caller's own hard limit is ",
    );
}

fn sysctls(case: &Case) {
    case.load_busybox();
    case.shell(
        "--sysctl net.ipv4.ip_forward=1 --sysctl net/ipv4/conf/lo/forwarding=1 --sysctl kernel.domainname=example",
        "cd /proc/sys; cat net/ipv4/ip_forward net/ipv4/conf/lo/forwarding kernel/domainname; \
         (echo 0 > net/ipv4/ip_forward) 2>/dev/null || echo read-only",
    )
    .ok()
    .prints("1\n1\nexample\nread-only");
    case.shell(
        "--sysctl net.ipv4.ip_unprivileged_port_start=77",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
    )
    .ok()
    .prints("77");
    if case.is_root() {
        case.shell(
            "--sysctl kernel.msgmax=4242 --sysctl fs.mqueue.msg_max=20",
            "cat /proc/sys/kernel/msgmax /proc/sys/fs/mqueue/msg_max",
        )
        .ok()
        .prints("4242\n20");
    }
}

fn sysctls_of_the_machine(case: &Case) {
    case.load_busybox();
    let before = case.store_listing();
    for name in [
        "kernel.panic",
        "kernel.core_pattern",
        "vm.swappiness",
        "kernel.hostname",
        "user.max_user_namespaces",
    ] {
        case.shell(&format!("--sysctl {name}=1"), "true")
            .fails(125, &format!("sysctl '{name}' is not allowed"));
    }
    case.shell("--sysctl net/../kernel/panic=1", "true")
        .fails(125, "invalid sysctl");
    case.engine("run --rm --network host --sysctl net.ipv4.ip_forward=1 localhost/busybox true")
        .fails(125, "the network namespace is not the container's own");
    assert_eq!(case.store_listing(), before);
    case.shell("--sysctl net.ipv4.nosuch=1", "true")
        .fails(125, "this kernel has no such parameter");
}

fn groups(case: &Case) {
    case.load_busybox();
    let script = "grep ^Groups /proc/self/status | cut -f2 | xargs";
    for (flags, expected) in [
        ("--group-add 7777 -u 0:0", "0 7777"),
        ("--group-add 7,8 --group-add 9 -u 5:6", "6 7 8 9"),
        ("-u :6", "6"),
        ("-u 5", "0"),
    ] {
        case.shell(flags, script).ok().prints(expected);
    }
    case.shell("--group-add nosuch", "true")
        .fails(125, "unable to find group nosuch");
    case.shell("--group-add 5 --group-add keep-groups", "true")
        .fails(125, "keep-groups");
}

/// The caller's groups stay: as themselves for root, as the overflow id where they are not mapped.
fn keep_groups(case: &Case) {
    case.load_busybox();
    let script = "grep ^Groups /proc/self/status | cut -f2 | xargs";
    let outcome = case.shell("--group-add keep-groups", script).ok();
    let own = case
        .program("grep")
        .args(["^Groups", "/proc/self/status"])
        .output()
        .unwrap();
    let own = String::from_utf8(own.stdout).unwrap();
    assert_eq!(
        outcome.stdout.split_whitespace().count(),
        own.split_whitespace().count() - 1,
        "{outcome}"
    );
}

fn umask_and_oom_score(case: &Case) {
    case.load_busybox();
    case.shell(
        "--umask 077 --oom-score-adj 321",
        "umask; touch /tmp/x || touch /x; stat -c %a /tmp/x /x 2>/dev/null; cat /proc/self/oom_score_adj",
    )
    .ok()
    .prints("0077\n600\n321");
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap();
    case.shell("", "umask; cat /proc/self/oom_score_adj")
        .ok()
        .prints(&format!("0022\n{}", own.trim()));
    for (flags, says) in [
        ("--umask 888", "invalid umask"),
        ("--oom-score-adj 1001", "range for oom score adj"),
    ] {
        case.shell(flags, "true").fails(125, says);
    }
    if !case.is_root() {
        case.shell("--oom-score-adj -999", "true")
            .fails(125, "below the caller's own");
    }
}

/// What cannot be honoured is an error; what asks for nothing is not.
fn labels_that_cannot_be_set(case: &Case) {
    case.load_busybox();
    case.shell(
        "--security-opt label=disable --security-opt apparmor=unconfined",
        "echo fine",
    )
    .ok()
    .prints("fine");
    case.shell("--security-opt label=type:container_t", "true")
        .fails(125, "cannot honour");
    case.shell("--security-opt apparmor=no-such-profile", "true")
        .fails(125, "cannot use AppArmor profile");
}

const ALL_OF_IT: &str = "--cap-add NET_ADMIN --cap-drop CHOWN --ulimit nofile=50:60 --umask 027 --group-add 55 \
    --oom-score-adj 200 --security-opt no-new-privileges";
const SHOW_ALL: &str = "grep -E '^(Cap|NoNew|Seccomp|Groups)' /proc/self/status; grep 'open files' /proc/self/limits; \
    umask; cat /proc/self/oom_score_adj; mkdir /new 2>&1";

fn exec_gets_all_of_it(case: &Case) {
    case.load_busybox();
    let profile = case.make_file(
        "mkdir.json",
        r#"{"defaultAction":"SCMP_ACT_ALLOW","syscalls":[{"names":["mkdir"],"action":"SCMP_ACT_ERRNO","errnoRet":28}]}"#,
    );
    for user in ["", "-u 1000"] {
        let flags = format!(
            "{ALL_OF_IT} {user} --security-opt seccomp={}",
            profile.display()
        );
        let run = case.shell(&flags, SHOW_ALL).exits(1).stdout;
        assert!(run.contains("No space left"), "{run}");
        case.engine(&format!(
            "run -d --name target --network none {flags} localhost/busybox sleep 100"
        ))
        .ok();
        let exec = case
            .words(&["exec", "target", "sh", "-c", SHOW_ALL])
            .exits(1)
            .stdout;
        assert_eq!(exec, run, "{user}");
        case.engine("rm -f target").ok();
    }
}

fn exec_privileged(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name target --network none localhost/busybox sleep 100")
        .ok();
    let script = "grep -E '^(CapEff|CapBnd|Seccomp:)' /proc/self/status | cut -f2";
    let plain = case.words(&["exec", "target", "sh", "-c", script]).ok();
    assert!(plain.stdout.ends_with("\n2\n"), "{plain}");
    let outcome = case
        .words(&["exec", "--privileged", "target", "sh", "-c", script])
        .ok();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert_eq!((lines[0], lines[2]), (lines[1], "0"), "{outcome}");
    let effective = u64::from_str_radix(lines[0], 16).unwrap();
    assert!(effective.count_ones() > 30, "{outcome}");
    case.engine("rm -f target").ok();
}

fn inspect_shows_it(case: &Case) {
    case.load_busybox();
    case.engine(&format!(
        "create --name shown --network none {ALL_OF_IT} --sysctl net.ipv4.ip_forward=1 \
         --security-opt unmask=/proc/sys localhost/busybox"
    ))
    .ok();
    let shown = case.engine("inspect shown").ok().json();
    let config = &shown[0]["HostConfig"];
    for (key, expected) in [
        ("CapAdd", serde_json::json!(["CAP_NET_ADMIN"])),
        ("CapDrop", serde_json::json!(["CAP_CHOWN"])),
        ("Privileged", serde_json::json!(false)),
        ("GroupAdd", serde_json::json!(["55"])),
        ("OomScoreAdj", serde_json::json!(200)),
        ("Sysctls", serde_json::json!({"net.ipv4.ip_forward": "1"})),
        (
            "SecurityOpt",
            serde_json::json!(["no-new-privileges", "unmask=/proc/sys"]),
        ),
        (
            "Ulimits",
            serde_json::json!([{"Name": "nofile", "Hard": 60, "Soft": 50}]),
        ),
    ] {
        assert_eq!(config[key], expected, "{key}");
    }
    let read_only = config["ReadonlyPaths"].as_array().unwrap();
    assert!(!read_only.iter().any(|path| path == "/proc/sys"));
    assert!(read_only.iter().any(|path| path == "/proc/bus"));
}

//! What an ordinary user's networks do where the kernel lacks something: without a firewall they work
//! all the same, without TUN devices they say so.

use rustix::mount::{MountFlags, MountPropagationFlags, mount, mount_change};

use coracle::sys::seccomp;

use crate::{
    case::Case,
    networking::{
        address_of, begin, inside, killed_processes_of_ours, names_of_others, out_to_the_world,
        page, published, published_datagrams, run, start, start_web,
        the_hosts_loopback_is_out_of_reach, version_6, what_is_not_there,
    },
    world::HOST,
};

cases! {
    without_a_firewall: ordinary;
    without_nf_tables: ordinary;
    alone_without_a_firewall: root ordinary single;
    much_without_a_firewall: ordinary;
    an_unknown_backend: root ordinary;
    without_tun_devices: root ordinary;
}

fn without_a_firewall(case: &Case) {
    case.set("CORACLE_NETWORK_BACKEND", "tun");
    for works in [
        out_to_the_world,
        what_is_not_there,
        names_of_others,
        published,
        published_datagrams,
        version_6,
        the_hosts_loopback_is_out_of_reach,
        killed_processes_of_ours,
    ] {
        works(case);
    }
}

/// Nobody has to ask for the other way.
fn without_nf_tables(case: &Case) {
    hide_nf_tables();
    for works in [out_to_the_world, names_of_others, published] {
        works(case);
    }
    let backend = case.words(&["info", "--format", "{{.Coracle.NetworkBackend}}"]);
    assert_eq!(backend.ok().first(), "tun");
    case.set("CORACLE_NETWORK_BACKEND", "tproxy");
    run(case, "", "true").fails(125, "nf_tables");
}

/// For this thread, and the commands that it starts: there are no sockets of NETLINK_NETFILTER.
fn hide_nf_tables() {
    use seccompiler::{
        SeccompAction, SeccompCmpArgLen::Dword, SeccompCmpOp::Eq, SeccompCondition, SeccompFilter,
        SeccompRule,
    };
    let is = |argument, value| SeccompCondition::new(argument, Dword, Eq, value).unwrap();
    let rule = SeccompRule::new(vec![is(0, 16), is(2, 12)]).unwrap();
    let filter = SeccompFilter::new(
        [(libc::SYS_socket, vec![rule])].into(),
        SeccompAction::Allow,
        SeccompAction::Errno(libc::EPROTONOSUPPORT as u32),
        std::env::consts::ARCH.try_into().unwrap(),
    );
    let program: seccompiler::BpfProgram = filter.unwrap().try_into().unwrap();
    let instructions = program.into_iter().map(|one| seccomp::Instruction {
        code: one.code,
        jump_true: one.jt,
        jump_false: one.jf,
        operand: one.k,
    });
    // By the right of root: no_new_privs would keep newuidmap from its own.
    seccomp::load(&instructions.collect::<Vec<_>>(), 0).unwrap();
}

fn alone_without_a_firewall(case: &Case) {
    let Some(world) = begin(case) else { return };
    case.set("CORACLE_NETWORK_BACKEND", "tun");
    world.serve_tcp("192.0.2.1:7000");
    let seen = run(
        case,
        "--network private",
        "echo hello | nc -w 5 192.0.2.1 7000",
    );
    assert_eq!(seen.ok().stdout, format!("{HOST}\nhello\n"));
}

/// 50 MB come back as they were sent, while another connection to the same port, of another
/// container in the same network, does the same.
fn much_without_a_firewall(case: &Case) {
    let Some(world) = begin(case) else { return };
    case.set("CORACLE_NETWORK_BACKEND", "tun");
    world.serve_tcp("192.0.2.1:7000");
    let script = "dd if=/dev/urandom of=/tmp/sent bs=1M count=50 2>/dev/null; \
                  nc -w 60 192.0.2.1 7000 </tmp/sent | tail -n +2 >/tmp/back; \
                  cmp /tmp/sent /tmp/back && echo same";
    for name in ["one", "two"] {
        start(case, name, "");
    }
    std::thread::scope(|scope| {
        // A thread in the same namespaces as this one.
        let other = scope.spawn(|| inside(case, "two", script));
        assert_eq!(inside(case, "one", script).ok().stdout, "same\n");
        assert_eq!(other.join().unwrap().ok().stdout, "same\n");
    });
    case.engine("rm -f -t 0 one two").ok();
}

fn an_unknown_backend(case: &Case) {
    case.set("CORACLE_NETWORK_BACKEND", "slirp");
    case.engine("ps").fails(1, "network backend");
}

fn without_tun_devices(case: &Case) {
    let Some(_world) = begin(case) else { return };
    hide_tun_devices();
    let outcome = run(case, "", "true");
    if case.is_root() {
        // The kernel forwards.
        outcome.ok();
        run(case, "--network private", "true").fails(125, "/dev/net/tun");
        return;
    }
    let outcome = outcome.fails(125, "/dev/net/tun");
    assert!(outcome.stderr.contains("modprobe tun"), "{outcome:?}");
    let format = "{{.Coracle.NetworkBackend}} {{json .Coracle.NetworkMissing}}";
    let shown = case.words(&["info", "--format", format]).ok().stdout;
    assert!(shown.contains("/dev/net/tun"), "{shown}");
    let checks = case.engine("doctor").stdout;
    assert!(
        checks.contains("try: a rootless network needs it: `modprobe tun`"),
        "{checks}"
    );
    for network in ["none", "host"] {
        run(case, &format!("--network {network}"), "true").ok();
    }
    // What leads nowhere needs no relay.
    case.engine("network create --internal inner").ok();
    start_web(case, "web", "--network inner");
    let address = address_of(case, "web");
    for host in [&address, "web"] {
        let seen = run(case, "--network inner", &page(host, "/"));
        assert_eq!(seen.stdout, "hello\n", "{seen:?}");
    }
    case.engine("rm -f -t 0 web").ok();
    case.engine("network rm inner").ok();
}

/// From this thread, and the commands that it starts.
fn hide_tun_devices() {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
    let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
    mount_change("/", private).unwrap();
    mount("none", "/dev/net", "tmpfs", MountFlags::empty(), None).unwrap();
}

//! Killed while networks change or containers join and leave them: the next command works, ports and
//! addresses are free again, and nothing that nobody uses is left in the kernel.
//!
//! `run` is traced with its supervisor and its network process, until the container has ended. Other
//! commands act on containers of processes that nobody kills.

use super::stepper::{everywhere, everywhere_until};
use crate::{
    case::Case,
    networking::{address_of, begin, get, inside, page, start, start_web},
    world::World,
};

cases! {
    run: root ordinary;
    create: root ordinary;
    remove: root ordinary;
    connect: root ordinary;
    disconnect: root ordinary;
    remove_connected: root ordinary;
    prune: root ordinary;
}

/// Nothing of the command itself is left; supervisors may be.
fn command_ended(case: &Case) -> bool {
    let own = case.root().display().to_string();
    let mut processes = case.processes().into_iter();
    !processes.any(|(_, arguments)| arguments.contains(&format!("--root={own}")))
}

/// What follows works as if there had not been anything: the same address, the same port.
fn begins_anew(case: &Case, world: &World) {
    start_web(case, "web", "--network bridge:ip=10.88.0.50 -p 8080:80");
    assert_eq!(get("127.0.0.1:8080", "/").unwrap(), "hello");
    case.engine("rm -f -t 0 web").ok();
    world.is_empty(case);
}

fn run(case: &Case) {
    let Some(world) = begin(case) else { return };
    let args = [
        "run",
        "-d",
        "--name=web",
        "--network=bridge:ip=10.88.0.50",
        "-p=8080:80",
        "localhost/busybox",
        "true",
    ];
    everywhere(
        case,
        &args,
        |case| {
            case.engine("rm -f web");
        },
        |case| {
            case.engine("rm -f web");
            begins_anew(case, &world);
        },
    );
}

fn create(case: &Case) {
    let Some(world) = begin(case) else { return };
    let args = ["network", "create", "--subnet=10.201.0.0/24", "made"];
    everywhere(
        case,
        &args,
        |case| {
            case.engine("network rm -f made").ok();
        },
        |case| {
            let exists = case.engine("network exists made").code == 0;
            let listed = case.engine("network ls -q -f name=made").ok().stdout;
            assert_eq!(listed.lines().count(), usize::from(exists));
            if exists {
                case.engine("network rm made").ok();
            }
            case.words(&args).ok();
            start_web(case, "web", "--network made -p 8080:80");
            assert_eq!(get("127.0.0.1:8080", "/").unwrap(), "hello");
            case.engine("rm -f -t 0 web").ok();
            case.engine("network rm made").ok();
            world.is_empty(case);
        },
    );
}

/// A network whose bridge has been made.
fn used_network(case: &Case, name: &str) {
    case.engine(&format!(
        "network create --ignore --subnet=10.201.0.0/24 {name}"
    ))
    .ok();
    case.engine(&format!("run --rm --network {name} localhost/busybox true"))
        .ok();
}

/// However far its removal came.
fn removed(case: &Case, world: &World) {
    let exists = case.engine("network exists gone").code == 0;
    if exists {
        // It is as good as it was.
        case.engine("run --rm --network gone localhost/busybox true")
            .ok();
        case.engine("network rm gone").ok();
    }
    world.is_empty(case);
    // Nobody has its subnet.
    used_network(case, "gone");
    case.engine("network rm gone").ok();
    world.is_empty(case);
}

fn remove(case: &Case) {
    let Some(world) = begin(case) else { return };
    everywhere(
        case,
        &["network", "rm", "gone"],
        |case| used_network(case, "gone"),
        |case| removed(case, &world),
    );
}

fn prune(case: &Case) {
    let Some(world) = begin(case) else { return };
    everywhere(
        case,
        &["network", "prune", "-f"],
        |case| used_network(case, "gone"),
        |case| removed(case, &world),
    );
}

/// `other` is in the default network, `web` in the network `late`.
fn two(case: &Case) {
    case.engine("rm -f -t 0 web other");
    case.engine("network create --ignore --subnet=10.201.0.0/24 late")
        .ok();
    start_web(case, "web", "--network late");
    start(case, "other", "");
}

/// As `inspect` says.
fn is_connected(case: &Case) -> bool {
    let format = "{{json .NetworkSettings.Networks}}";
    let shown = case.words(&["inspect", "-f", format, "other"]).ok();
    shown.stdout.contains("\"late\"")
}

fn connect_and_disconnect(case: &Case) {
    if !is_connected(case) {
        case.engine("network connect late other").ok();
    }
    let seen = inside(case, "other", &page("web", "/"));
    assert_eq!(seen.stdout, "hello\n", "connected, but not there");
    let address = address_of(case, "web");
    case.engine("network disconnect late other").ok();
    assert!(!is_connected(case));
    let seen = inside(case, "other", &format!("wget -T 1 -qO - http://{address}/"));
    assert_ne!(seen.code, 0, "disconnected, but there");
    let interfaces = inside(case, "other", "ls /sys/class/net").ok().stdout;
    assert!(!interfaces.contains("eth1"), "{interfaces}");
}

fn end(case: &Case, world: &World) {
    case.engine("rm -f -t 0 web other").ok();
    case.engine("network rm late").ok();
    world.is_empty(case);
}

fn connect(case: &Case) {
    let Some(world) = begin(case) else { return };
    everywhere_until(
        case,
        &["network", "connect", "late", "other"],
        two,
        command_ended,
        |case| {
            connect_and_disconnect(case);
            end(case, &world);
        },
    );
}

fn disconnect(case: &Case) {
    let Some(world) = begin(case) else { return };
    everywhere_until(
        case,
        &["network", "disconnect", "late", "other"],
        |case| {
            two(case);
            case.engine("network connect late other").ok();
        },
        command_ended,
        |case| {
            if is_connected(case) {
                case.engine("network disconnect late other").ok();
            }
            connect_and_disconnect(case);
            end(case, &world);
        },
    );
}

fn remove_connected(case: &Case) {
    let Some(world) = begin(case) else { return };
    everywhere_until(
        case,
        &["rm", "-f", "-t", "0", "web"],
        |case| {
            case.engine("rm -f -t 0 web").ok();
            start_web(case, "web", "--network bridge:ip=10.88.0.50 -p 8080:80");
        },
        command_ended,
        |case| {
            case.engine("rm -f -t 0 web").ok();
            world.is_empty(case);
            begins_anew(case, &world);
        },
    );
}

//! A small world for cases about networks: a "host" of the case's own and what lies outside of it.
//!
//! ```text
//!   host: the case's commands run here      outside: servers and clients of the case
//!     lo, out0 192.0.2.2/24, 2001:db8::2 ── veth ── in0 192.0.2.1/24, 2001:db8::1, lo
//! ```
//!
//! Both are network namespaces of the case's thread alone (addresses of RFC 5737 and RFC 3849), so
//! that neither the machine's links nor its firewall are touched. They go with the thread and with
//! the processes it has started.

use std::{
    fs::File,
    io::{Read, Write},
    net::{TcpListener, TcpStream, UdpSocket},
    os::fd::{AsFd, AsRawFd, OwnedFd},
    process::Command,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

use crate::case::Case;

pub const OUTSIDE: &str = "192.0.2.1";
pub const HOST: &str = "192.0.2.2";
pub const HOST_6: &str = "2001:db8::2";

pub struct World {
    outside: OwnedFd,
}

impl World {
    /// Moves this thread, and with it the commands of the case, into a new world. `None`, and a line
    /// in the list of skipped cases, if this is not root's machine to do that on.
    pub fn enter(case: &Case) -> Option<World> {
        if !rustix::process::geteuid().is_root() {
            case.skip("needs root, to make network namespaces");
            return None;
        }
        // As on users' machines: everybody may make TUN devices in namespaces of their own.
        let _ = Command::new("chmod").args(["666", "/dev/net/tun"]).status();
        let outside = fresh_namespace();
        fresh_namespace();
        let peer = format!("/proc/{}/fd/{}", std::process::id(), outside.as_raw_fd());
        ip("link set lo up");
        // As systemd sets it: everybody may ping.
        std::fs::write("/proc/sys/net/ipv4/ping_group_range", "0 2147483647").unwrap();
        ip(&format!(
            "link add out0 type veth peer name in0 netns {peer}"
        ));
        for line in [
            "addr add 192.0.2.2/24 dev out0",
            "addr add 2001:db8::2/64 dev out0 nodad",
            "link set out0 up",
            "route add default via 192.0.2.1",
        ] {
            ip(line);
        }
        let world = World { outside };
        world.outside(|| {
            for line in [
                "link set lo up",
                "addr add 192.0.2.1/24 dev in0",
                "addr add 2001:db8::1/64 dev in0 nodad",
                "link set in0 up",
            ] {
                ip(line);
            }
        });
        // The other end was not up yet.
        ip("-6 route add default via 2001:db8::1");
        Some(world)
    }

    /// Runs this on a thread that is outside.
    pub fn outside<T: Send>(&self, work: impl FnOnce() -> T + Send) -> T {
        let namespace = self.outside.as_fd();
        thread::scope(|scope| {
            let outside = scope.spawn(move || {
                move_into_link_name_space(namespace, Some(LinkNameSpaceType::Network)).unwrap();
                work()
            });
            outside.join().unwrap()
        })
    }

    /// A server outside that says whom it sees, one line `ADDRESS` a connection, and then returns
    /// what it is sent.
    pub fn serve_tcp(&self, address: &str) {
        let listener = self.outside(|| TcpListener::bind(address).unwrap());
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                thread::spawn(move || answer(stream));
            }
        });
    }

    /// The same with datagrams: each is returned behind its sender's address.
    pub fn serve_udp(&self, address: &str) {
        let socket = self.outside(|| UdpSocket::bind(address).unwrap());
        thread::spawn(move || {
            let mut buffer = [0; 2048];
            while let Ok((length, sender)) = socket.recv_from(&mut buffer) {
                let mut reply = format!("{} ", sender.ip()).into_bytes();
                reply.extend_from_slice(&buffer[..length]);
                let _ = socket.send_to(&reply, sender);
            }
        });
    }

    /// Nothing is left of the case's networks and containers, which have all been removed; only the
    /// bridge of the default network stays.
    pub fn is_empty(&self, case: &Case) {
        case.eventually("all processes have ended", || case.processes().is_empty());
        case.eventually("the kernel has removed the links", || {
            let links = self.on_host("ip -o link");
            !links.contains("veth") && !links.contains(" co-")
        });
        if case.is_root() {
            let rules = self.on_host("nft list ruleset");
            let mut ports = rules.split("map ports").skip(1);
            let first = |map: &str| map.split('}').next().unwrap_or_default().to_owned();
            let left = ports.any(|map| first(map).contains("elements"));
            assert!(!left && !rules.contains("\"co-"), "{rules}");
        }
        case.engine("network prune -f").ok();
        let run = case.dir_path("run").display().to_string();
        let left = self.on_host(&format!(
            "find {run} -path *members/* -o -path *ports/* -o -name *.net -o -name *.sock"
        ));
        assert_eq!(left, "");
    }

    /// A command of the machine's on the host of this world, which must succeed; what it prints.
    pub fn on_host(&self, line: &str) -> String {
        let mut words = line.split_whitespace();
        let output = Command::new(words.next().unwrap())
            .args(words)
            .output()
            .unwrap();
        assert!(output.status.success(), "{line}: {output:?}");
        String::from_utf8(output.stdout).unwrap()
    }
}

fn answer(mut stream: TcpStream) {
    let Ok(peer) = stream.peer_addr() else { return };
    if writeln!(stream, "{}", peer.ip()).is_err() {
        return;
    }
    let mut buffer = [0; 64 << 10];
    while let Ok(length) = stream.read(&mut buffer) {
        if length == 0 || stream.write_all(&buffer[..length]).is_err() {
            return;
        }
    }
}

fn own_namespace() -> OwnedFd {
    File::open("/proc/thread-self/ns/net").unwrap().into()
}

fn fresh_namespace() -> OwnedFd {
    nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
    own_namespace()
}

fn ip(line: &str) {
    let status = Command::new("ip").args(line.split_whitespace()).status();
    assert!(status.unwrap().success(), "ip {line}");
}

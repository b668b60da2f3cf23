//! Many containers on one network at once, the sudden death of the processes that look after them, and
//! many connections.
//!
//! `CORACLE_CROWD=200` says how many containers and rounds of deaths (40 and 10), and
//! `CORACLE_CONNECTIONS=9900` how many connections (1000), as far as descriptors go: the relay needs
//! two for each.

use std::{
    collections::BTreeSet,
    io::{Read, Write},
    net::TcpStream,
    thread,
    time::{Duration, Instant},
};

use rustix::process::{Pid, Signal, kill_process};

use crate::{
    case::{Case, Outcome},
    crash::stepper::lot,
    networking::{begin, get, inside, load_debian, page, parent_of, processes_called, start_web},
};

cases! {
    on_one_network: root ordinary single;
    deaths_during_start: root ordinary;
    connections_at_once: root ordinary;
}

/// What this variable says.
fn asked(variable: &str, usually: usize) -> usize {
    let asked = std::env::var(variable).ok();
    asked.and_then(|text| text.parse().ok()).unwrap_or(usually)
}

/// Does it for each container in its own thread; a few dozen at once, as the machine of a test has no
/// memory for more clients.
fn for_each(containers: &[usize], act: impl Fn(usize) + Sync) -> Duration {
    let begun = Instant::now();
    thread::scope(|scope| {
        for share in containers.chunks(containers.len().div_ceil(40).max(1)) {
            let act = &act;
            scope.spawn(move || share.iter().for_each(|container| act(*container)));
        }
    });
    begun.elapsed()
}

const WEB_SERVER: [&str; 7] = [
    "localhost/busybox",
    "httpd",
    "-f",
    "-p",
    "80",
    "-h",
    "/var/www",
];

fn start(case: &Case, number: usize) -> Outcome {
    let (name, port) = (format!("c{number}"), format!("{}:80", 20_000 + number));
    let begin = [
        "run",
        "-d",
        "--name",
        &name,
        "--network",
        "crowd",
        "-p",
        &port,
    ];
    case.words(&[&begin[..], &WEB_SERVER[..]].concat())
}

/// Each by its name, from the one before it; and by its port of the host.
fn is_reached(case: &Case, from: usize, to: usize) -> bool {
    let seen = inside(case, &format!("c{from}"), &page(&format!("c{to}"), "/"));
    let published = get(&format!("127.0.0.1:{}", 20_000 + to), "/");
    seen.stdout == "hello\n" && published.is_ok_and(|page| page == "hello")
}

fn on_one_network(case: &Case) {
    let Some(world) = begin(case) else { return };
    case.engine("network create --subnet 10.201.0.0/16 crowd")
        .ok();
    let all: Vec<usize> = (0..asked("CORACLE_CROWD", 40)).collect();
    let took = for_each(&all, |number| drop(start(case, number).ok()));
    println!("{} started in {took:.1?}", all.len());

    let format = "{{.NetworkSettings.Networks.crowd.IPAddress}}";
    let names: Vec<String> = all.iter().map(|number| format!("c{number}")).collect();
    let inspect = [
        vec!["inspect", "-f", format],
        names.iter().map(String::as_str).collect(),
    ];
    let shown = case.words(&inspect.concat()).ok().stdout;
    let addresses: BTreeSet<&str> = shown.lines().collect();
    assert_eq!(addresses.len(), all.len());

    let next = |number: usize| (number + 1) % all.len();
    let took = for_each(&all, |number| {
        case.eventually("the neighbour is reached", || {
            is_reached(case, number, next(number))
        });
    });
    println!("each reached in {took:.1?}");
    weigh(case);

    // Some lose their network process, some their supervisor and all that belongs to it.
    let mut processes = processes_called(case, "coracle-net");
    assert_eq!(processes.len(), all.len());
    processes.sort_by_key(|pid| lot(&pid.to_string()));
    let (relieved, orphaned) = processes[..all.len() / 2].split_at(all.len() / 4);
    for pid in relieved {
        kill(*pid);
    }
    for pid in orphaned {
        kill(parent_of(*pid));
    }
    case.eventually("those without a supervisor have ended", || {
        let running = case.engine("ps -q").ok().stdout.lines().count();
        running == all.len() - orphaned.len()
    });
    let running = case.words(&["ps", "--format", "{{.Names}}"]).ok().stdout;
    let living: Vec<usize> = running
        .lines()
        .map(|name| name[1..].parse().unwrap())
        .collect();
    let took = for_each(&living, |number| {
        case.eventually("who has lost nothing but a process is reached", || {
            is_reached(case, living[0], number)
        });
    });
    println!("{} left, each reached in {took:.1?}", living.len());

    let took = for_each(&all, |number| {
        case.engine(&format!("rm -f -t 0 c{number}")).ok();
    });
    println!("removed in {took:.1?}");
    case.engine("network rm crowd").ok();
    world.is_empty(case);
}

/// What the processes of ours weigh, proportionally to those who share a page.
fn weigh(case: &Case) {
    let all = processes_called(case, "coracle-net");
    let weight = |pid: i32| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
        let line = text.lines().find(|line| line.starts_with("Pss:"));
        let number = line.and_then(|line| line.split_whitespace().nth(1)?.parse().ok());
        number.unwrap_or(0_usize)
    };
    let network: usize = all.iter().map(|pid| weight(*pid)).sum();
    let supervisors: usize = all.iter().map(|pid| weight(parent_of(*pid))).sum();
    let each = |sum: usize| sum / all.len().max(1);
    println!(
        "{} KiB a network process, {} KiB a supervisor",
        each(network),
        each(supervisors)
    );
}

fn kill(pid: i32) {
    let pid = Pid::from_raw(pid).unwrap();
    // It may have ended.
    let _ = kill_process(pid, Signal::KILL);
}

/// The command, the supervisor, the network process or the first process, at any moment of the start.
fn deaths_during_start(case: &Case) {
    let Some(world) = begin(case) else { return };
    let network = "bridge:ip=10.88.0.50";
    let run = [
        "run",
        "-d",
        "--name=web",
        "--network",
        network,
        "-p=8080:80",
    ];
    let mut deaths = 0;
    for round in 0..asked("CORACLE_CROWD", 10) {
        let lot = lot(&round.to_string());
        let started = case.start(&[&run[..], &WEB_SERVER[..]].concat());
        thread::sleep(Duration::from_micros(lot % 60_000));
        let ours: Vec<i32> = case.processes().into_iter().map(|(pid, _)| pid).collect();
        if !ours.is_empty() {
            kill(ours[(lot >> 32) as usize % ours.len()]);
            deaths += 1;
        }
        crate::case::collect("run".to_owned(), started);
        // Without its command a container may be started all the same: "try again in a moment".
        case.eventually("all processes have ended", || {
            case.engine("rm -f -t 0 web");
            case.processes().is_empty()
        });
        start_web(case, "web", &format!("--network {network} -p 8080:80"));
        assert_eq!(
            get("127.0.0.1:8080", "/").unwrap(),
            "hello",
            "round {round}"
        );
        case.engine("rm -f -t 0 web").ok();
    }
    println!("{deaths} deaths");
    world.is_empty(case);
}

/// Opens all, then writes to all, then reads from all, three times.
const CLIENT: &str = r#"
use Socket; my $n = shift; my @s;
for my $i (1..$n) {
    socket($s[$i], PF_INET, SOCK_STREAM, 0) or die "socket $i: $!";
    connect($s[$i], pack_sockaddr_in(7000, inet_aton("192.0.2.1"))) or die "connection $i: $!";
    $s[$i]->autoflush(1); readline $s[$i];
}
for my $round (1..3) {
    for my $i (1..$n) { print {$s[$i]} "$round $i " x 300, "\n" or die "$i: $!" }
    for my $i (1..$n) { (readline $s[$i]) eq "$round $i " x 300 . "\n" or die "answer to $i: $!" }
}
print "$n\n""#;

/// Takes all, and answers each line with itself.
const SERVER: &str = r#"
use Socket; my $n = shift; my @s;
socket(L, PF_INET, SOCK_STREAM, 0); bind(L, pack_sockaddr_in(80, INADDR_ANY)); listen(L, 4096);
for my $i (1..$n) { accept($s[$i], L) or die "$i: $!"; $s[$i]->autoflush(1) }
for my $round (1..3) { for my $i (1..$n) { my $line = readline $s[$i]; print {$s[$i]} $line } }
sleep 1000"#;

fn connections_at_once(case: &Case) {
    let Some(world) = begin(case) else { return };
    load_debian(case);
    world.serve_tcp("192.0.2.1:7000");
    let count = asked("CORACLE_CONNECTIONS", 1000);
    let (number, limit) = (count.to_string(), format!("--ulimit=nofile={}", count + 50));
    let perl = ["localhost/debian", "perl", "-MIO::Handle", "-e"];

    let begun = Instant::now();
    let run = ["run", "--rm", &limit];
    let client = case.words(&[&run[..], &perl, &[CLIENT, &number]].concat());
    client.ok().prints(&number);
    println!("{count} to the world in {:.1?}", begun.elapsed());

    let run = ["run", "-d", "--name=server", &limit, "-p=8080:80"];
    case.words(&[&run[..], &perl, &[SERVER, &number]].concat())
        .ok();
    let begun = Instant::now();
    // The first one may come before the server listens.
    case.eventually("the server listens", || {
        inside(case, "server", "grep -q ':0050 ' /proc/net/tcp").code == 0
    });
    let mut open: Vec<TcpStream> = (0..count)
        .map(|_| TcpStream::connect("127.0.0.1:8080").unwrap())
        .collect();
    for round in 0..3 {
        let line = |number: usize| format!("{}\n", format!("{round} {number} ").repeat(300));
        for (number, stream) in open.iter_mut().enumerate() {
            stream.write_all(line(number).as_bytes()).unwrap();
        }
        for (number, stream) in open.iter_mut().enumerate() {
            stream
                .set_read_timeout(Some(Duration::from_secs(60)))
                .unwrap();
            let mut seen = line(number).into_bytes();
            seen.fill(0);
            stream.read_exact(&mut seen).unwrap();
            assert!(seen == line(number).as_bytes(), "answer to {number}");
        }
    }
    println!("{count} from the host in {:.1?}", begun.elapsed());
    drop(open);
    case.engine("rm -f -t 0 server").ok();
    world.is_empty(case);
}

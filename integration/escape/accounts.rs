//! passwd(5) and group(5) of an image, or of a container that has been running, and user
//! specifications that look like something else.

use std::time::{Duration, Instant};

use super::{detached, load, remove};
use crate::{
    case::Case,
    image::{Image, busybox_layer},
};

cases! {
    passwd_is_a_fifo: root ordinary;
    passwd_is_endless: root ordinary;
    passwd_leads_outside: root ordinary;
    passwd_turns_into_a_trap: root ordinary;
    user_names_that_look_like_numbers: root ordinary;
    groups_that_deny: root ordinary;
}

/// CVE-2024-9676: the user is looked up in a file that never ends.
fn passwd_is_a_fifo(case: &Case) {
    load(
        case,
        &Image::new(
            "localhost/fifo",
            vec![
                busybox_layer()
                    .dir("etc/")
                    .fifo("etc/passwd")
                    .fifo("etc/group")
                    .bytes(),
            ],
        ),
    );
    let begin = Instant::now();
    case.engine("run --rm --network none -u alice localhost/fifo true")
        .exits(125);
    case.engine("run --rm --network none localhost/fifo true");
    assert!(begin.elapsed().as_secs() < 10);
}

fn passwd_is_endless(case: &Case) {
    let long = "x:x:1:1::/:/bin/sh\n".repeat(400_000);
    let layer = busybox_layer()
        .dir("etc/")
        .member(
            "etc/passwd",
            tar::EntryType::Regular,
            "",
            0o644,
            long.as_bytes(),
        )
        .member(
            "etc/group",
            tar::EntryType::Regular,
            "",
            0o644,
            "g:x:7:x\n".repeat(400_000).as_bytes(),
        )
        .bytes();
    load(case, &Image::new("localhost/long", vec![layer]));
    let begin = Instant::now();
    case.engine("run --rm --network none -u nobody localhost/long true")
        .exits(125);
    assert!(begin.elapsed().as_secs() < 10);
}

fn passwd_leads_outside(case: &Case) {
    let secret = case.make_file("secret", "eve:x:4321:4321::/:/bin/sh\n");
    let layer = busybox_layer()
        .dir("etc/")
        .symlink("etc/passwd", secret.to_str().unwrap())
        .bytes();
    load(case, &Image::new("localhost/outside", vec![layer]));
    case.engine("run --rm --network none -u eve localhost/outside id")
        .exits(125);
}

/// The container itself sets the trap, and `exec` looks a name up: a FIFO, an endless device, its
/// own memory, a file that grows.
fn passwd_turns_into_a_trap(case: &Case) {
    case.load_busybox();
    detached(case, "trap", "localhost/busybox");
    let traps = [
        "mkfifo",
        "ln -s /dev/zero",
        "ln -s /dev/tty",
        "ln -s /proc/1/mem",
        "ln -s /proc/1/fd/0",
        "ln -s /proc/self/exe",
        "ln -s /proc/kmsg",
        "mkdir",
        "yes x:x:1:1::/:/bin/sh | head -n 2000000 >",
        "head -c 3000000 /dev/zero >",
    ];
    for trap in traps {
        let script = format!("for f in passwd group; do rm -rf /etc/$f; {trap} /etc/$f; done");
        case.words(&["exec", "trap", "sh", "-c", &script]);
        let begun = Instant::now();
        case.words(&["exec", "-u", "alice", "trap", "true"])
            .exits(1);
        // A number needs no name. Which files are there is not its business.
        case.words(&["exec", "-u", "0", "trap", "true"]);
        assert!(begun.elapsed() < Duration::from_secs(10), "{trap}");
    }
    remove(case, "trap");
}

/// CVE-2026-46680, CVE-2026-30892: a number out of range, which the image has as a name; a number
/// with something behind it; less than nothing.
fn user_names_that_look_like_numbers(case: &Case) {
    let names = [
        "4294967296",
        "4294967295",
        "99999999999999999999",
        "1x",
        "-1",
        "+1",
        "0x0",
        "1e0",
    ];
    let lines = names
        .map(|name| format!("{name}:x:0:0::/:/bin/sh\n"))
        .concat();
    let groups = names.map(|name| format!("{name}:x:0:\n")).concat();
    let layer = busybox_layer()
        .dir("etc/")
        .file("etc/passwd", &lines)
        .file("etc/group", &groups)
        .bytes();
    load(case, &Image::new("localhost/numbers", vec![layer]));
    detached(case, "numbers", "localhost/numbers");
    for name in names {
        for user in [name.to_owned(), format!("1:{name}")] {
            let flag = format!("--user={user}");
            let run = [
                "run",
                "--rm",
                &flag,
                "--network=none",
                "localhost/numbers",
                "id",
            ];
            case.words(&run).exits(125);
            case.words(&["exec", &flag, "numbers", "id"]).exits(1);
        }
    }
    remove(case, "numbers");
}

/// CVE-2022-2989, CVE-2022-36109 and others: a group that is denied what everybody may. Its members
/// must be in it.
fn groups_that_deny(case: &Case) {
    let layer = busybox_layer()
        .dir("etc/")
        .file("etc/passwd", "eve:x:1000:1000::/:/bin/sh\n")
        .file("etc/group", "denied:x:1500:eve\nusers:x:1000:\n")
        .member("secret", tar::EntryType::Regular, "", 0o604, b"secret\n");
    let mut bytes = layer.bytes();
    give_to_group(&mut bytes, "secret", 1500);
    load(case, &Image::new("localhost/deny", vec![bytes]));
    detached(case, "deny", "localhost/deny");
    let script = "cat /secret 2>/dev/null; id -G";
    let run = ["run", "--rm", "--network=none"];
    for user in ["eve", "1000"] {
        let run = [
            &run[..],
            &["-u", user, "localhost/deny", "sh", "-c", script],
        ]
        .concat();
        case.words(&run).ok().prints("1000 1500");
        case.words(&["exec", "-u", user, "deny", "sh", "-c", script])
            .ok()
            .prints("1000 1500");
    }
    remove(case, "deny");
}

/// Changes the group of a member of a tar.
fn give_to_group(tar: &mut [u8], name: &str, group: u32) {
    let at = tar
        .chunks(512)
        .position(|block| block.starts_with(name.as_bytes()) && block[name.len()] == 0)
        .unwrap()
        * 512;
    let header = &mut tar[at..at + 512];
    header[116..124].copy_from_slice(format!("{group:07o}\0").as_bytes());
    header[148..156].fill(b' ');
    let sum: u32 = header.iter().map(|&byte| u32::from(byte)).sum();
    header[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
}

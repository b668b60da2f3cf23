//! Cleaning up: `container prune`, `image prune`, `system prune`, `volume prune`.

use crate::case::{Case, Outcome, usage};

cases! {
    containers: root ordinary single;
    containers_in_use_stay: root ordinary;
    images: root ordinary;
    images_in_use_stay: root ordinary;
    everything: root ordinary;
    the_question: root ordinary;
    filters: root ordinary;
    sizes_are_those_of_the_disk: root ordinary;
}

/// The command with this on its standard input.
fn answered(case: &Case, line: &str, answer: &str) -> Outcome {
    let words: Vec<&str> = line.split_whitespace().collect();
    case.with_input(&words, answer)
}

fn names(case: &Case) -> Vec<String> {
    let listed = case.words(&["ps", "-a", "--format", "{{.Names}}"]).ok();
    let mut names: Vec<String> = listed.stdout.lines().map(str::to_owned).collect();
    names.sort();
    names
}

fn make(case: &Case, name: &str, flags: &str) -> String {
    let line = format!("create --network none --name {name} {flags} localhost/busybox sleep 100");
    case.engine(&line).ok().first().to_owned()
}

/// One more image, which shares its lowest layer with busybox's; its ID.
fn image(case: &Case, name: &str, bytes: usize) -> String {
    let script = format!("head -c {bytes} /dev/urandom > /{name}");
    let words = ["run", "--name=making", "--network=none"];
    let program = ["localhost/busybox", "sh", "-c", &script];
    case.words(&[&words[..], &program[..]].concat()).ok();
    let id = case.words(&["commit", "making", &format!("localhost/{name}")]);
    let id = id.ok().first().to_owned();
    case.engine("rm making").ok();
    id
}

fn containers(case: &Case) {
    case.load_busybox();
    case.engine("container prune -f")
        .ok()
        .prints("Total reclaimed space: 0B");
    let one = make(case, "one", "");
    case.engine("run --network none --name two localhost/busybox true")
        .ok();
    let two = case.words(&["inspect", "--format", "{{.Id}}", "two"]).ok();
    let pruned = case.engine("container prune --force").ok();
    let lines: Vec<&str> = pruned.stdout.lines().collect();
    assert_eq!(lines[..4], ["Deleted Containers:", &one, two.first(), ""]);
    assert!(lines[4].starts_with("Total reclaimed space: "), "{pruned}");
    assert_eq!(names(case), [""; 0]);
}

fn containers_in_use_stay(case: &Case) {
    case.load_busybox();
    make(case, "idle", "");
    make(case, "running", "-v kept:/d -v /nameless");
    case.engine("start running").ok();
    case.engine("container prune -f").ok();
    assert_eq!(names(case), ["running"]);
    case.engine("kill running").ok();
    case.engine("wait running").ok();
    case.engine("container prune -f").ok();
    // Their volumes stay.
    let volumes = case.engine("volume ls -q").ok().stdout;
    assert_eq!(volumes.lines().count(), 2, "{volumes}");
}

fn images(case: &Case) {
    case.load_busybox();
    let first = image(case, "made", 1000);
    let second = image(case, "made", 1000);
    let pruned = case.engine("image prune -f").ok();
    assert_eq!(pruned.stdout.lines().next(), Some("Deleted Images:"));
    assert!(
        pruned.stdout.contains(&format!("deleted: {first}\n")),
        "{pruned}"
    );
    assert!(!pruned.stdout.contains("untagged"), "{pruned}");
    case.engine("image prune -f")
        .ok()
        .prints("Total reclaimed space: 0B");
    let pruned = case.engine("image prune -a -f").ok();
    for line in [
        "untagged: localhost/made:latest".to_owned(),
        format!("deleted: {second}"),
        "untagged: localhost/busybox:latest".to_owned(),
    ] {
        assert!(
            pruned.stdout.lines().any(|other| other == line),
            "{line} in {pruned}"
        );
    }
    case.engine("images -q").ok().prints("");
    let left = std::fs::read_dir(case.root().join("layers"))
        .unwrap()
        .count();
    assert_eq!(left, 0);
}

fn images_in_use_stay(case: &Case) {
    case.load_busybox();
    image(case, "mounted", 10);
    image(case, "unused", 10);
    make(
        case,
        "user",
        "--mount type=image,source=localhost/mounted,target=/i",
    );
    case.engine("image prune -a -f").ok();
    let left = case.words(&["images", "--format", "{{.Repository}}"]).ok();
    let mut left: Vec<&str> = left.stdout.lines().collect();
    left.sort_unstable();
    assert_eq!(left, ["localhost/busybox", "localhost/mounted"]);
    case.engine("start user").ok();
    case.engine("rm -f user").ok();
}

fn everything(case: &Case) {
    case.load_busybox();
    image(case, "made", 10);
    image(case, "made", 10);
    make(case, "idle", "-v named:/n -v /nameless");
    let pruned = case.engine("system prune -f").ok();
    assert!(pruned.stdout.contains("Deleted Containers:\n"), "{pruned}");
    assert!(pruned.stdout.contains("Deleted Images:\n"), "{pruned}");
    assert!(!pruned.stdout.contains("Deleted Volumes:"), "{pruned}");
    assert_eq!(case.engine("volume ls -q").ok().stdout.lines().count(), 2);
    let pruned = case.engine("system prune -a -f --volumes").ok();
    assert!(pruned.stdout.contains("Deleted Volumes:\n"), "{pruned}");
    case.engine("volume ls -q").ok().prints("named");
    case.engine("images -q").ok().prints("");
    case.engine("system prune -a -f --volumes")
        .ok()
        .prints("Total reclaimed space: 0B");
}

fn the_question(case: &Case) {
    case.load_busybox();
    make(case, "idle", "");
    let question = "Are you sure you want to continue? [y/N] ";
    for (command, warning) in [
        (
            "container prune",
            "WARNING! This will remove all stopped containers.\n",
        ),
        (
            "image prune",
            "WARNING! This will remove all dangling images.\n",
        ),
        (
            "image prune -a",
            "WARNING! This will remove all images without at least one container associated to them.\n",
        ),
        (
            "volume prune",
            "WARNING! This will remove anonymous local volumes not used by at least one container.\n",
        ),
        (
            "system prune",
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all dangling images\n  - unused build cache\n\n",
        ),
        (
            "system prune -a --volumes",
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all anonymous volumes not used by at least one container\n  \
             - all images without at least one container associated to them\n  - all build cache\n\n",
        ),
        (
            "system prune --filter label=x",
            "WARNING! This will remove:\n  - all stopped containers\n  - all networks not used by at least one container\n  \
             - all dangling images\n  - unused build cache\n\n  Items to be pruned will be filtered with:\n  - label=x\n\n",
        ),
    ] {
        for answer in ["", "n\n", "maybe\n"] {
            let refused = answered(case, command, answer);
            assert_eq!(refused.stdout, format!("{warning}{question}"), "{command}");
            let verb: Vec<&str> = command.split(' ').take(2).collect();
            refused.fails(1, &format!("{} has been cancelled", verb.join(" ")));
        }
    }
    assert_eq!(names(case), ["idle"]);
    answered(case, "container prune", "Y\n")
        .ok()
        .contains("Deleted Containers:");
    assert_eq!(names(case), [""; 0]);
}

fn filters(case: &Case) {
    case.load_busybox();
    make(case, "plain", "");
    make(case, "kept", "-l keep=yes");
    make(case, "other", "-l keep=no");
    case.engine("container prune -f --filter until=1h")
        .ok()
        .prints("Total reclaimed space: 0B");
    case.engine("container prune -f --filter label!=keep").ok();
    assert_eq!(names(case), ["kept", "other"]);
    case.engine("container prune -f --filter label=keep=no")
        .ok();
    assert_eq!(names(case), ["kept"]);
    case.engine("image prune -a -f --filter label=none")
        .ok()
        .prints("Total reclaimed space: 0B");
    case.engine("container prune -f --filter name=kept")
        .fails(1, "invalid filter");
    case.engine("container prune -f --filter until=tomorrow")
        .fails(1, "invalid time");
    case.engine("system prune -f --volumes --filter until=1h")
        .fails(1, "not supported with \"--volumes\"");
    case.engine("container prune -f x")
        .fails(1, "accepts no arguments");
    assert_eq!(names(case), ["kept"]);
}

/// Two images of 3 MB that share the rest, a container that has written 2 MB.
fn sizes_are_those_of_the_disk(case: &Case) {
    case.load_busybox();
    image(case, "one", 3_000_000);
    image(case, "two", 3_000_000);
    let script = "run --name written --network none localhost/one sh -c";
    let mut words: Vec<&str> = script.split_whitespace().collect();
    words.push("head -c 2000000 /dev/urandom > /file");
    case.words(&words).ok();
    for (command, least) in [
        ("container prune -f", 2_000_000),
        ("image prune -a -f", 12_000_000),
    ] {
        let (before, _) = usage(&case.root());
        let pruned = case.engine(command).ok();
        let (after, _) = usage(&case.root());
        let freed = before.saturating_sub(after);
        let said = megabytes(pruned.stdout.lines().last().unwrap());
        assert!(freed >= least, "{command} freed {freed}");
        let off = (said - freed as f64 / 1e6).abs();
        assert!(
            off < 0.2,
            "{command} said {said} MB and freed {freed} bytes"
        );
    }
}

fn megabytes(line: &str) -> f64 {
    let text = line.strip_prefix("Total reclaimed space: ").unwrap();
    let number = text.strip_suffix("MB").unwrap_or_else(|| panic!("{line}"));
    number.parse().unwrap()
}

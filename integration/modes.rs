//! The three modes: the machine's root, a user with subordinate ids, a user without.

use crate::case::Case;

cases! {
    hint_is_printed_once: single;
    no_hint_with_ids: root ordinary;
    info_says_the_mode: root ordinary single;
    doctor_says_what_would_help: root ordinary single;
    single_id_keeps_owners_in_mind: single;
    overlay_driver: root ordinary;
    copy_driver: root ordinary;
    global_options: root ordinary;
    newer_store_is_refused: root ordinary;
    nothing_is_written_elsewhere: root ordinary;
}

fn hint_is_printed_once(case: &Case) {
    let first = case.engine("run --rm coracle-hello").ok();
    assert_eq!(first.stderr.lines().count(), 1, "{first}");
    assert!(
        first.stderr.contains("usermod") || first.stderr.contains("subuid"),
        "{first}"
    );
    let second = case.engine("run --rm coracle-hello").ok();
    assert_eq!(second.stderr, "", "{second}");
}

fn no_hint_with_ids(case: &Case) {
    let outcome = case.engine("run --rm coracle-hello").ok();
    assert_eq!(outcome.stderr, "", "{outcome}");
}

fn info_says_the_mode(case: &Case) {
    let info = case.engine("info").ok();
    let said = format!("{}{}", info.stdout, info.stderr);
    assert_eq!(said.contains("rootless"), !case.is_root(), "{info}");
    assert_eq!(
        said.contains("/etc/subuid"),
        case.user.kind == "single",
        "{info}"
    );
    assert!(
        info.stdout.contains(&case.root().display().to_string()),
        "{info}"
    );
    case.words(&["info", "--format", "{{json .}}"]).ok().json();
}

fn doctor_says_what_would_help(case: &Case) {
    let doctor = case.engine("doctor");
    assert!(!doctor.stdout.is_empty(), "{doctor}");
    if case.user.kind == "single" {
        // The exact command, with this user's name.
        assert!(doctor.stdout.contains("usermod --add-subuids"), "{doctor}");
        assert!(doctor.stdout.contains("coracle-single"), "{doctor}");
    } else {
        assert!(!doctor.stdout.contains("usermod"), "{doctor}");
    }
}

/// Owners that one id cannot express are recorded, not fatal.
fn single_id_keeps_owners_in_mind(case: &Case) {
    case.load_busybox();
    case.shell("", "stat -c %u /home/alice; cat /etc/passwd | wc -l")
        .ok()
        .prints("0\n2");
    case.shell("-u alice", "true").exits(125);
}

fn overlay_driver(case: &Case) {
    driver(case, "overlay");
}

fn copy_driver(case: &Case) {
    driver(case, "copy");
}

fn driver(case: &Case, driver: &str) {
    let flag = format!("--storage-driver={driver}");
    let run = |script: &str| {
        let image = "localhost/busybox";
        case.words(&[
            &flag,
            "run",
            "--rm",
            "--network=none",
            image,
            "sh",
            "-c",
            script,
        ])
        .ok()
    };
    let archive = crate::case::shared().join("images/busybox.tar");
    case.words(&[&flag, "load", "-q", "-i", archive.to_str().unwrap()])
        .ok();
    let root = run("echo x > /new; rm -r /var/www; grep ' / ' /proc/mounts | cut -d' ' -f3");
    assert_eq!(root.first() == "overlay", driver == "overlay", "{root}");
    run("cat /var/www/index.html").prints("hello");
    let info = case.words(&[&flag, "info", "--format", "{{.Driver}}"]).ok();
    assert!(info.first().contains(driver), "{info}");
}

fn global_options(case: &Case) {
    assert!(
        case.engine("-v")
            .ok()
            .first()
            .to_lowercase()
            .contains("coracle")
    );
    case.engine("version --format {{.Client.Version}}").ok();
    case.engine("-D ps").ok();
    case.engine("--log-level nonsense ps").exits(1);
    let elsewhere = case.make_dir("elsewhere").display().to_string();
    let words = case.engine_words();
    let mut command = case.program(&words[0]);
    command.args(["--root", &elsewhere, &words[2], "images", "-q"]);
    crate::case::finish(command).ok().prints("");
    let outcome = case.engine("-H tcp://127.0.0.1:1 ps");
    assert!(
        outcome.code != 0 && outcome.stderr.lines().count() <= 2,
        "{outcome}"
    );
}

/// A store of a later version is refused, never damaged.
fn newer_store_is_refused(case: &Case) {
    case.load_busybox();
    let format = case.root().join("format");
    let before = std::fs::read(&format).unwrap();
    let text = String::from_utf8(before.clone()).unwrap();
    let newer = text.replace(|c: char| c.is_ascii_digit(), "9");
    assert_ne!(text, newer, "{text:?} has a version");
    std::fs::write(&format, newer).unwrap();
    case.engine("images").fails(1, "newer");
    std::fs::write(&format, before).unwrap();
    case.engine("images -q").ok();
}

/// With --root and --runroot given, home and the runtime directory stay empty.
fn nothing_is_written_elsewhere(case: &Case) {
    case.load_busybox();
    case.shell("", "true").ok();
    for name in ["home", "runtime"] {
        let files: Vec<_> = walkdir::WalkDir::new(case.dir.join(name))
            .min_depth(1)
            .into_iter()
            .flatten()
            .map(|entry| entry.path().to_owned())
            .collect();
        assert!(files.is_empty(), "{files:?}");
    }
}

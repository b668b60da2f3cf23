//! `system df`: its rows add up to what du says of the store, and what they call reclaimable is freed.

use std::fs;

use crate::case::{Case, shared};

cases! {
    rows_add_up_to_du: root ordinary single;
    what_is_reclaimable_is_freed: root ordinary;
    each_thing_has_a_row: root ordinary;
    formats: root ordinary;
    remembered_layers_are_not_believed_blindly: root ordinary;
}

/// Bytes of the four rows: size, reclaimable.
fn rows(case: &Case) -> Vec<(u64, u64)> {
    let format = "{{.RawSize}} {{.RawReclaimable}}";
    let shown = case.words(&["system", "df", "--format", format]).ok();
    let number = |text: &str| text.parse::<u64>().unwrap();
    let row = |line: &str| {
        let (size, free) = line.split_once(' ').unwrap();
        (number(size), number(free))
    };
    shown.stdout.lines().map(row).collect()
}

/// Root looks: files of other ids lie in the store.
fn du(case: &Case) -> u64 {
    let output = std::process::Command::new("du")
        .args(["-s", "--block-size=1"])
        .arg(case.root())
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    text.split_whitespace().next().unwrap().parse().unwrap()
}

fn load(case: &Case, name: &str) {
    let archive = shared().join("images").join(name);
    case.words(&["load", "-i", archive.to_str().unwrap()]).ok();
}

fn fill(case: &Case) {
    case.load_busybox();
    load(case, "debian.tar");
    case.engine("volume create some").ok();
    case.engine("run --name one --network none -v some:/v localhost/busybox dd if=/dev/zero of=/v/file bs=1k count=300")
        .ok();
    case.engine("run --name two --network none localhost/busybox sh -c :")
        .ok();
    case.engine("run --name three --network none localhost/busybox dd if=/dev/zero of=/file bs=1k count=500")
        .ok();
}

fn rows_add_up_to_du(case: &Case) {
    let agree = |when: &str| {
        let sum: u64 = rows(case).iter().map(|(size, _)| size).sum();
        let whole = du(case);
        assert!(
            sum.abs_diff(whole) * 100 <= whole,
            "{when}: df says {sum}, du {whole}"
        );
    };
    agree("empty");
    fill(case);
    agree("full");
    case.engine("rm two").ok();
    case.engine("rmi -f localhost/busybox").ok();
    agree("less");
}

fn what_is_reclaimable_is_freed(case: &Case) {
    fill(case);
    let before = rows(case);
    assert!(before[0].1 > 1_000_000, "{before:?}");
    // A block of a folder may go or come.
    let freed = |before: u64, after: u64, promised: u64| {
        let freed = before - after;
        assert!(
            freed.abs_diff(promised) <= promised / 100 + 16_384,
            "{freed} freed, {promised} promised"
        );
    };
    case.engine("image prune -a -f").ok();
    let after = rows(case);
    freed(before[0].0, after[0].0, before[0].1);
    case.engine("container prune -f").ok();
    let last = rows(case);
    freed(after[1].0, last[1].0, after[1].1);
    assert!(last[2].1 >= 300 * 1024, "{last:?}");
    case.engine("volume prune -a -f").ok();
    assert_eq!(rows(case)[2].0, 0);
}

fn each_thing_has_a_row(case: &Case) {
    fill(case);
    let shown = case.engine("system df -v").ok();
    for part in [
        "Images space usage:\n\nREPOSITORY",
        "\nlocalhost/busybox ",
        "Containers space usage:\n\nCONTAINER ID",
        "Exited (0)",
        "Local Volumes space usage:\n\nVOLUME NAME",
        "\nsome  ",
        "Build cache usage: 0B\n",
    ] {
        assert!(shown.stdout.contains(part), "{part:?}\n{}", shown.stdout);
    }
    let format = "{{range .Volumes}}{{.Name}} {{.Links}}{{end}}";
    case.words(&["system", "df", "-v", "--format", format])
        .ok()
        .prints("some 1");
    let format = "{{range .Images}}{{.Containers}} {{end}}";
    case.words(&["system", "df", "-v", "--format", format])
        .ok()
        .contains("3 ");
}

fn formats(case: &Case) {
    case.load_busybox();
    let words = |format: &str| case.words(&["system", "df", "--format", format]).ok();
    words("{{.Type}}: {{.TotalCount}} {{.Active}}")
        .prints("Images: 1 0\nContainers: 0 0\nLocal Volumes: 0 0\nBuild Cache: 0 0");
    words("json").contains(r#""Type":"Local Volumes""#);
    words("table {{.Type}}\\t{{.Reclaimable}}").contains("Build Cache     0B");
    case.engine("system df surplus").exits(1);
}

/// The numbers of layers are kept in the run root: torn, they are measured again.
fn remembered_layers_are_not_believed_blindly(case: &Case) {
    case.load_busybox();
    let first = rows(case);
    let cache = case.dir_path("run").join("layer-sizes");
    assert!(cache.exists());
    for text in ["", "{", "[]", r#"{"00": [1, 2]}"#] {
        fs::write(&cache, text).unwrap();
        assert_eq!(rows(case), first, "{text}");
    }
    fs::remove_file(&cache).unwrap();
    assert_eq!(rows(case), first);
}

//! Containers with ids of their own (`--userns`, `--uidmap`): the kernel's maps, the owners of
//! files on both sides, and what it costs the store.

use std::os::unix::fs::MetadataExt;

use crate::case::Case;

cases! {
    maps: ordinary;
    keeping_the_id: ordinary;
    only_for_ordinary_users: root;
    automatic_ranges_are_disjoint: root ordinary;
    files_of_the_image_keep_their_owners: root ordinary;
    files_in_a_bound_folder: ordinary;
    files_in_a_bound_folder_of_root: root;
    files_seen_through_the_map: root ordinary;
    exec_has_the_same_ids: root ordinary;
    a_container_starts_again: root ordinary;
    another_containers_namespace: root ordinary;
    all_flags_of_a_private_map: root ordinary;
    unmapped_users: root ordinary;
    wrong_maps: root ordinary;
    no_ids_to_give: single;
    nothing_is_copied: ordinary;
    the_tree_goes_with_the_image: ordinary;
    copied_roots: root ordinary;
    inspect_says_the_maps: root ordinary;
}

const ID_MAPS: &str = "tr -s ' ' < /proc/self/uid_map; tr -s ' ' < /proc/self/gid_map";

fn maps(case: &Case) {
    case.load_busybox();
    case.shell("--userns nomap", ID_MAPS)
        .ok()
        .prints(" 0 1 65536\n 0 1 65536");
    case.shell("--userns auto:size=2000", ID_MAPS)
        .ok()
        .prints(" 0 1 2000\n 0 1 2000");
    case.shell("--userns keep-id:uid=5,gid=6", ID_MAPS)
        .ok()
        .prints(" 0 1 5\n 5 0 1\n 6 6 65531\n 0 1 6\n 6 0 1\n 7 7 65530");
    // The engine's own map: nothing is nested.
    let plain = case.shell("--userns host", "cat /proc/self/uid_map").ok();
    case.shell("--userns keep-id:uid=0,gid=0", "cat /proc/self/uid_map")
        .ok()
        .prints(plain.stdout.trim_end());
}

fn keeping_the_id(case: &Case) {
    case.load_busybox();
    let own = format!("{}:{}", case.user.uid, case.user.gid);
    case.shell("--userns keep-id", "echo $(id -u):$(id -g)")
        .ok()
        .prints(&own);
    // Whoever is asked for comes first, and root is still there.
    case.shell("--userns keep-id -u 0", "id -u; stat -c %u /bin/busybox /")
        .ok()
        .prints("0\n0\n0");
}

fn only_for_ordinary_users(case: &Case) {
    case.load_busybox();
    for mode in ["keep-id", "nomap"] {
        let refused = case.shell(&format!("--userns {mode}"), "true");
        assert_eq!(refused.code, 125, "{refused}");
        assert!(refused.stderr.contains("ordinary users"), "{refused}");
    }
}

fn automatic_ranges_are_disjoint(case: &Case) {
    case.load_busybox();
    let start = |name: &str| {
        case.engine(&format!(
            "run -d --name {name} --network none --userns auto localhost/busybox sleep 100"
        ))
        .ok();
        let map = case
            .engine(&format!("exec {name} cat /proc/self/uid_map"))
            .ok();
        let numbers: Vec<u64> = map
            .stdout
            .split_ascii_whitespace()
            .map(|number| number.parse().unwrap())
            .collect();
        assert_eq!(numbers.len(), 3, "{map}");
        numbers[1]..numbers[1] + numbers[2]
    };
    let (one, two) = (start("one"), start("two"));
    assert!(one.end <= two.start || two.end <= one.start);
    // A stopped container keeps its ids, a removed one does not.
    case.engine("stop -t 0 one").ok();
    let three = start("three");
    assert!(three.start >= two.end.min(one.end) && three.start != one.start);
    case.engine("rm one").ok();
    assert_eq!(start("four").start, one.start);
    case.engine("rm -f two three four").ok();
}

fn files_of_the_image_keep_their_owners(case: &Case) {
    case.load_busybox();
    let script = "stat -c '%u:%g %a' / /bin /tmp /bin/busybox /etc/passwd /etc/hosts /proc/1 /dev";
    let plain = case.shell("", script).ok();
    case.shell("--userns auto", script)
        .ok()
        .prints(plain.stdout.trim_end());
    case.shell(
        "--userns auto",
        "touch /made && chown 3:4 /made && chmod 4755 /made && stat -c '%u:%g %a' /made",
    )
    .ok()
    .prints("3:4 4755");
}

fn files_in_a_bound_folder(case: &Case) {
    case.load_busybox();
    let folder = case.make_dir("bound");
    let mount = format!("--userns keep-id -v {}:/bound", folder.display());
    case.shell(&mount, "echo kept > /bound/file").ok();
    let file = std::fs::metadata(folder.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (case.user.uid, case.user.gid));
    // Without the user's id, her folder is closed.
    let mount = format!("--userns nomap -v {}:/bound", folder.display());
    let refused = case.shell(&mount, "cat /bound/file");
    assert_ne!(refused.code, 0, "{refused}");
}

fn files_in_a_bound_folder_of_root(case: &Case) {
    case.load_busybox();
    let folder = case.make_dir("bound");
    std::os::unix::fs::chown(&folder, Some(100_005), Some(100_005)).unwrap();
    let mount = format!(
        "--uidmap 0:100000:100 -u 5:5 -v {}:/bound",
        folder.display()
    );
    case.shell(&mount, "echo kept > /bound/file").ok();
    let file = std::fs::metadata(folder.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (100_005, 100_005));
}

fn files_seen_through_the_map(case: &Case) {
    case.load_busybox();
    let folder = case.make_dir("bound");
    let mount = format!("--userns auto -u 5:5 -v {}:/bound:idmap", folder.display());
    if !case.is_root() {
        case.shell(&mount, "true").fails(125, "idmap is for root");
        return;
    }
    std::os::unix::fs::chown(&folder, Some(5), Some(5)).unwrap();
    case.shell(
        &mount,
        "echo kept > /bound/file; stat -c %u:%g /bound /bound/file",
    )
    .ok()
    .prints("5:5\n5:5");
    let file = std::fs::metadata(folder.join("file")).unwrap();
    assert_eq!((file.uid(), file.gid()), (5, 5));
    case.shell("--userns auto -v new:/x:idmap", "true")
        .fails(125, "nocopy");
    // A volume's files are root's on disk, and the container's root's inside.
    case.shell(
        "--userns auto -v new:/x:idmap,nocopy",
        "touch /x/y; stat -c %u /x/y",
    )
    .ok()
    .prints("0");
}

fn exec_has_the_same_ids(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name one --network none --userns auto localhost/busybox sleep 100")
        .ok();
    let of = |words: &str| case.engine(&format!("exec {words}")).ok().stdout;
    assert_eq!(
        of("one readlink /proc/self/ns/user"),
        of("one readlink /proc/1/ns/user")
    );
    assert_eq!(of("one id -u"), "0\n");
    assert_eq!(of("-u 7:8 one id -g"), "8\n");
    let refused = case.engine("exec -u 70000 one true");
    assert!(refused.stderr.contains("is not mapped"), "{refused}");
    case.engine("rm -f one").ok();
}

fn a_container_starts_again(case: &Case) {
    case.load_busybox();
    case.words(&[
        "run",
        "--name",
        "one",
        "--network",
        "none",
        "--userns",
        "auto",
        "localhost/busybox",
        "sh",
        "-c",
        "echo x >> /log; stat -c %u /log; wc -l < /log",
    ])
    .ok()
    .prints("0\n1");
    case.engine("start -a one").ok().prints("0\n2");
    case.engine("rm one").ok();
}

fn another_containers_namespace(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name one --network none --userns auto localhost/busybox sleep 100")
        .ok();
    let there = case.engine("exec one readlink /proc/self/ns/user").ok();
    case.shell(
        "--userns container:one",
        "readlink /proc/self/ns/user; stat -c %u /; id -u",
    )
    .ok()
    .prints(&format!("{}\n0\n0", there.stdout.trim()));
    let pid = case.engine("inspect -f {{.State.Pid}} one").ok();
    let path = format!("--userns ns:/proc/{}/ns/user", pid.stdout.trim());
    case.shell(&path, "readlink /proc/self/ns/user; stat -c %u /")
        .ok()
        .prints(&format!("{}\n0", there.stdout.trim()));
    case.engine("rm -f one").ok();
    let gone = case.shell("--userns container:one", "true");
    assert_eq!(gone.code, 125, "{gone}");
}

fn all_flags_of_a_private_map(case: &Case) {
    case.load_busybox();
    case.shell("--uidmap 0:1:20", ID_MAPS)
        .ok()
        .prints(" 0 1 20\n 0 1 20");
    case.shell("--uidmap 0:1:10 --uidmap 10:20:5 --gidmap 0:3:20", ID_MAPS)
        .ok()
        .prints(" 0 1 10\n 10 20 5\n 0 3 20");
}

fn unmapped_users(case: &Case) {
    case.load_busybox();
    let refused = case.shell("--uidmap 0:1:10 -u 10", "true");
    assert_eq!(refused.code, 125, "{refused}");
    assert!(
        refused.stderr.contains("user id 10 is not mapped"),
        "{refused}"
    );
}

fn wrong_maps(case: &Case) {
    case.load_busybox();
    for flags in [
        "--userns nonsense",
        "--userns auto:size=0",
        "--userns keep-id:uid=x",
        "--userns private",
        "--uidmap 1:1:10",
        "--uidmap 0:1:10 --uidmap 5:20:10",
        "--uidmap 0:4294967295:10",
        "--userns auto --uidmap 0:1:10",
        "--userns container:nobody",
        "--userns ns:/proc/self/ns/user",
    ] {
        let refused = case.shell(flags, "true");
        assert_eq!(refused.code, 125, "{flags}: {refused}");
        assert!(
            refused.stderr.starts_with("coracle: "),
            "{flags}: {refused}"
        );
    }
}

fn no_ids_to_give(case: &Case) {
    case.load_busybox();
    for mode in ["keep-id", "auto", "nomap"] {
        let refused = case.shell(&format!("--userns {mode}"), "true");
        assert_eq!(refused.code, 125, "{refused}");
        assert!(refused.stderr.contains("subordinate ids"), "{refused}");
    }
}

/// Where the kernel can, a file of the image is taken from its layer whatever its owner.
fn nothing_is_copied(case: &Case) {
    case.load_busybox();
    let run = case.shell("--userns auto", "true").ok();
    if run.stderr.contains("copying image") {
        return case.skip("this kernel needs a copy");
    }
    let blocks = |folder: &str| -> u64 {
        walk(&case.root().join(folder))
            .iter()
            .map(|path| path.symlink_metadata().unwrap().blocks())
            .sum()
    };
    let (layers, shifted) = (blocks("layers"), blocks("shifted"));
    assert!(shifted * 4 < layers, "{shifted} blocks of {layers}");
    // The same ids again: the same tree.
    case.shell("--userns auto", "true").ok();
    let trees = std::fs::read_dir(case.root().join("shifted")).unwrap();
    assert_eq!(trees.count(), 1);
}

fn walk(folder: &std::path::Path) -> Vec<std::path::PathBuf> {
    let mut found = Vec::new();
    let Ok(entries) = std::fs::read_dir(folder) else {
        return found;
    };
    for entry in entries.flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(walk(&entry.path()));
        }
        found.push(entry.path());
    }
    found
}

fn the_tree_goes_with_the_image(case: &Case) {
    case.load_busybox();
    case.shell("--userns auto", "true").ok();
    case.engine("rmi localhost/busybox").ok();
    let trees = std::fs::read_dir(case.root().join("shifted")).unwrap();
    assert_eq!(trees.count(), 0);
}

fn copied_roots(case: &Case) {
    case.load_busybox();
    case.words(&[
        "--storage-driver",
        "copy",
        "run",
        "--rm",
        "--network",
        "none",
        "--userns",
        "auto",
        "localhost/busybox",
        "sh",
        "-c",
        "touch /made; stat -c %u / /bin/busybox /made",
    ])
    .ok()
    .prints("0\n0\n0");
}

fn inspect_says_the_maps(case: &Case) {
    case.load_busybox();
    case.engine("create --name one --uidmap 0:1:10 localhost/busybox")
        .ok();
    case.words(&["inspect", "-f", "{{json .HostConfig.IDMappings}}", "one"])
        .ok()
        .prints(r#"{"GidMap":["0:1:10"],"UidMap":["0:1:10"]}"#);
    case.engine("rm one").ok();
}

//! `cp` asked for by somebody outside, with a hostile container or a hostile archive on the other end.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{detached, load, load_python, python_words, remove};
use crate::{
    case::Case,
    image::{Image, busybox_layer},
};

cases! {
    copied_folder_is_swapped: root ordinary;
    links_lead_outside: root ordinary;
    links_lead_into_proc: root ordinary;
    archive_climbs: root ordinary;
    links_that_were_copied_before: root ordinary;
    programs_of_the_container_are_not_run: root ordinary;
}

/// A folder of the host with a file, as it was made.
fn outside(case: &Case) -> PathBuf {
    let outside = case.make_dir("outside");
    case.make_file("outside/secret", "hunter2");
    fs::set_permissions(&outside, fs::Permissions::from_mode(0o751)).unwrap();
    outside
}

fn is_untouched(outside: &Path, what: &str) {
    let names = fs::read_dir(outside).unwrap().count();
    assert_eq!(names, 1, "{what}: something was put outside");
    let secret = fs::read_to_string(outside.join("secret")).unwrap();
    assert_eq!(secret, "hunter2", "{what}");
    let mode = outside.metadata().unwrap().permissions().mode();
    assert_eq!(
        mode & 0o7777,
        0o751,
        "{what}: the mode of the host's folder"
    );
}

/// CVE-2018-15664, CVE-2019-10152, CVE-2019-18466: a folder on the way is exchanged with links out of
/// the container while files are copied.
fn copied_folder_is_swapped(case: &Case) {
    load_python(case);
    let outside = outside(case);
    let target = format!("TARGET={}", outside.display());
    let flags = ["-d", "--name=swap", "-e", &target, "--tmpfs=/shared:exec"];
    let words = python_words(case, &flags, include_str!("swap.py"));
    case.words(&words).ok();
    case.eventually("it is at work", || {
        case.engine("logs swap").stdout.contains("ready")
    });
    let file = case.make_file("file", "mine");
    let file = file.to_str().unwrap();
    let out = case.make_dir("out");
    let out = out.to_str().unwrap();
    for round in 0..40 {
        let inside = [
            "/shared/door/secret",
            "/shared/door",
            "/shared/door/sub",
            "/shared/door/sub/../secret",
        ][round % 4];
        let inside = format!("swap:{inside}");
        case.words(&["cp", file, &inside]);
        is_untouched(&outside, &inside);
        let outcome = case.words(&["cp", &inside, "-"]);
        assert!(!outcome.stdout.contains("hunter2"), "{inside}");
        case.words(&["cp", "-L", &inside, out]);
        let found = fs::read_to_string(format!("{out}/secret")).unwrap_or_default();
        assert!(!found.contains("hunter2"), "{inside}");
    }
    remove(case, "swap");
}

/// The same standing still: absolute links and links upwards, in the middle of a path, at its end and
/// where something new is to be made. CVE-2021-41089: the mode of what they lead to is changed.
fn links_lead_outside(case: &Case) {
    let outside = outside(case);
    let target = outside.to_str().unwrap();
    let up = format!("../../../../../../../../..{target}");
    let layer = busybox_layer()
        .symlink("absolute", target)
        .symlink("upwards", &up)
        .symlink("hop", "absolute")
        .symlink("dangling", &format!("{target}/new"))
        .dir("tree/")
        .symlink("tree/absolute", target)
        .bytes();
    load(case, &Image::new("localhost/links", vec![layer]));
    let folder = case.make_dir("folder");
    case.make_file("folder/secret", "mine");
    let file = folder.join("secret");
    let (folder, file) = (folder.to_str().unwrap(), file.to_str().unwrap());
    for running in [true, false] {
        match running {
            true => detached(case, "links", "localhost/links"),
            false => {
                let words = "create --name links --network none localhost/links sh";
                case.engine(words).ok();
            }
        }
        for name in ["absolute", "upwards", "hop", "dangling", "tree/absolute"] {
            for end in ["", "/", "/.", "/secret", "/../secret"] {
                let inside = format!("links:/{name}{end}");
                for (flag, from) in [("-L", file), ("-a", folder), ("--overwrite", file)] {
                    case.words(&["cp", flag, from, &inside]);
                    is_untouched(&outside, &inside);
                }
                let outcome = case.words(&["cp", "-L", &inside, "-"]);
                assert!(!outcome.stdout.contains("hunter2"), "{inside}");
            }
        }
        remove(case, "links");
    }
}

/// Links of procfs lead anywhere, and files there do things when they are written.
fn links_lead_into_proc(case: &Case) {
    let outside = outside(case);
    let root = format!("/proc/1/root{}", outside.display());
    let layer = busybox_layer()
        .symlink("root", &root)
        .symlink("cwd", "/proc/self/cwd")
        .symlink("descriptor", "/proc/self/fd/3")
        .symlink("kernel", "/proc/sys/kernel")
        .symlink("own", "/proc/1")
        .bytes();
    load(case, &Image::new("localhost/proc-links", vec![layer]));
    detached(case, "links", "localhost/proc-links");
    let file = case.make_file("hostname", "mine");
    let file = file.to_str().unwrap();
    for name in ["root", "cwd", "descriptor", "kernel", "own"] {
        for end in ["", "/", "/secret", "/hostname"] {
            let inside = format!("links:/{name}{end}");
            case.words(&["cp", file, &inside]);
            is_untouched(&outside, &inside);
            let outcome = case.words(&["cp", "-L", &inside, "-"]);
            assert!(!outcome.stdout.contains("hunter2"), "{inside}");
        }
    }
    case.words(&["cp", file, "links:/proc/sys/kernel/hostname"])
        .fails(1, "leads into /proc or /sys");
    let name = case.words(&["exec", "links", "cat", "/proc/sys/kernel/hostname"]);
    assert!(!name.ok().stdout.contains("mine"));
    remove(case, "links");
}

/// CVE-2026-17106 and its kin: an archive whose members lead out of where it is unpacked.
fn archive_climbs(case: &Case) {
    let outside = outside(case);
    let target = outside.to_str().unwrap();
    load(
        case,
        &Image::new("localhost/plain", vec![busybox_layer().dir("tmp/").bytes()]),
    );
    detached(case, "plain", "localhost/plain");
    let add = |archive: &mut tar::Builder<Vec<u8>>, path: &str, link: Option<(bool, &str)>| {
        let mut header = tar::Header::new_gnu();
        header.as_gnu_mut().unwrap().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_uid(0);
        header.set_gid(0);
        header.set_mode(0o777);
        header.set_mtime(0);
        header.set_size(if link.is_some() { 0 } else { 4 });
        if let Some((hard, to)) = link {
            let kind = if hard {
                tar::EntryType::Link
            } else {
                tar::EntryType::Symlink
            };
            header.set_entry_type(kind);
            header.set_link_name_literal(to).unwrap();
        }
        header.set_cksum();
        let text: &[u8] = if link.is_some() { b"" } else { b"mine" };
        archive.append(&header, text).unwrap();
    };
    let up = format!("../../../../../../../../..{target}");
    /// A path, and whether it is a hard link and where to, if it is a link.
    type Member<'a> = (&'a str, Option<(bool, &'a str)>);
    let shapes: [&[Member<'_>]; 5] = [
        &[(&format!("{up}/new"), None)],
        &[("l", Some((false, target))), ("l/new", None)],
        &[("l", Some((false, &up))), ("l/new", None)],
        &[
            ("l", Some((true, &format!("{target}/secret")))),
            ("l", None),
        ],
        &[
            ("l", Some((false, target))),
            ("l/", None),
            ("l/secret", None),
        ],
    ];
    for members in shapes {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, link) in members {
            add(&mut archive, path, *link);
        }
        let archive = archive.into_inner().unwrap();
        for to in ["plain:/", "plain:/tmp"] {
            case.with_input(&["cp", "-", to], &archive);
            is_untouched(&outside, &format!("{members:?}"));
        }
    }
    remove(case, "plain");
}

/// What was copied out once is a link of the container's making; the next copy must not write
/// through it.
fn links_that_were_copied_before(case: &Case) {
    let outside = outside(case);
    load(
        case,
        &Image::new("localhost/plain", vec![busybox_layer().bytes()]),
    );
    detached(case, "plain", "localhost/plain");
    let out = case.make_dir("out");
    let out = out.to_str().unwrap();
    let change = |script: &str| {
        case.words(&["exec", "plain", "sh", "-c", script]).ok();
    };
    change(&format!("mkdir /d; ln -s {} /d/door", outside.display()));
    change(&format!("ln -s {}/secret /d/file", outside.display()));
    case.words(&["cp", "plain:/d", out]).ok();
    change("rm /d/door /d/file; mkdir /d/door; echo new > /d/door/secret; echo new > /d/door/new");
    for flag in ["-q", "-a", "--overwrite"] {
        case.words(&["cp", flag, "plain:/d", out]);
        is_untouched(&outside, flag);
    }
    change("rm -r /d/door; echo new > /d/file");
    case.words(&["cp", "plain:/d", out]);
    is_untouched(&outside, "a file in the place of a link");
    remove(case, "plain");
}

/// CVE-2019-14271, GHSA-x86f-5xw2-fm2r, GHSA-vp62-88p7-qqf5: the engine runs tar or a decompressor of
/// the container, or loads its libraries.
fn programs_of_the_container_are_not_run(case: &Case) {
    let trap = "#!/bin/busybox sh\necho run >> /trapped\n";
    let mut layer = busybox_layer()
        .dir("tmp/")
        .dir("lib/")
        .dir("usr/")
        .dir("usr/bin/");
    for name in [
        "tar", "gzip", "gunzip", "unpigz", "xz", "unxz", "zstd", "chown",
    ] {
        layer = layer.member(
            &format!("usr/bin/{name}"),
            tar::EntryType::Regular,
            "",
            0o755,
            trap.as_bytes(),
        );
    }
    for name in ["libnss_files.so.2", "libnss_dns.so.2", "libc.so.6"] {
        layer = layer.file(&format!("lib/{name}"), trap);
    }
    load(case, &Image::new("localhost/trap", vec![layer.bytes()]));
    detached(case, "trap", "localhost/trap");
    let folder = case.make_dir("folder");
    case.make_file("folder/f", "text");
    let packed = case
        .program("tar")
        .args(["-C", folder.to_str().unwrap(), "-cz", "."])
        .output()
        .unwrap();
    case.with_input(&["cp", "-", "trap:/tmp"], &packed.stdout)
        .ok();
    let out = case.make_dir("out");
    case.words(&["cp", "-a", "trap:/usr", out.to_str().unwrap()])
        .ok();
    case.words(&["cp", "-a", folder.to_str().unwrap(), "trap:/"])
        .ok();
    case.words(&["export", "-o", "/dev/null", "trap"]).ok();
    case.engine("diff trap").ok();
    let script = "cat /tmp/f; ls /trapped 2>/dev/null; true";
    case.words(&["exec", "trap", "sh", "-c", script])
        .ok()
        .prints("text");
    remove(case, "trap");
}

//! Unpacking compared with GNU tar: a tree that GNU tar packed comes out as it went in.

mod trees;

use std::{
    fs,
    io::{self, Read},
    os::unix::fs::{PermissionsExt, symlink as make_symlink},
    path::Path,
    process::Command,
    time::Instant,
};

use coracle::{
    model::{ErrorKind, manifest::Compression},
    storage::unpack::{
        Decompressor, Note, Privilege, STAT_XATTR, UnpackOptions, hash_while, inherit_parents,
    },
};
use rustix::fs::{AtFlags, CWD, FileType, Mode, Timespec, Timestamps, XattrFlags};
use sha2::{Digest as _, Sha256};
use trees::*;

/// DAC_OVERRIDE and FOWNER: its first mask byte is a newline, which ends a PAX record for parsers
/// that split at newlines.
const CAPABILITY: [u8; 20] = [
    1, 0, 0, 2, 0x0a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
];

fn set_time(path: &Path, seconds: i64, nanoseconds: i64) {
    let time = Timespec {
        tv_sec: seconds,
        tv_nsec: nanoseconds as _,
    };
    let times = Timestamps {
        last_access: time,
        last_modification: time,
    };
    rustix::fs::utimensat(CWD, path, &times, AtFlags::SYMLINK_NOFOLLOW).unwrap();
}

/// A tree with one of everything that this user can make.
fn sample(root: &Path) {
    let mode = |path: &str, mode: u32| {
        fs::set_permissions(root.join(path), fs::Permissions::from_mode(mode)).unwrap();
    };
    fs::create_dir_all(root.join("a/b/c")).unwrap();
    fs::write(root.join("a/empty"), "").unwrap();
    fs::write(root.join("a/small"), "small\n").unwrap();
    let big: Vec<u8> = (0..1_000_003_u32).map(|n| (n * 7 % 251) as u8).collect();
    fs::write(root.join("a/b/big"), &big).unwrap();
    fs::hard_link(root.join("a/b/big"), root.join("a/b/c/other name")).unwrap();
    make_symlink("/etc/passwd", root.join("absolute")).unwrap();
    make_symlink("../../..", root.join("a/up")).unwrap();
    make_symlink("nothing".repeat(30), root.join("a/long target")).unwrap();
    let long = "long/".repeat(60);
    fs::create_dir_all(root.join(&long)).unwrap();
    fs::write(root.join(&long).join("n".repeat(255)), "deep").unwrap();
    fs::write(root.join("ünïcode \u{1F6F6}"), "x").unwrap();
    rustix::fs::mknodat(CWD, root.join("fifo"), FileType::Fifo, Mode::RUSR, 0).unwrap();

    let sparse = fs::File::create(root.join("sparse")).unwrap();
    for place in 0..30_u64 {
        io::Seek::seek(&mut &sparse, io::SeekFrom::Start(place * 1_000_000)).unwrap();
        io::Write::write_all(&mut &sparse, b"island").unwrap();
    }
    sparse.set_len(40_000_000).unwrap();
    fs::File::create(root.join("all hole"))
        .unwrap()
        .set_len(10_000_000)
        .unwrap();

    for name in ["user.plain", "user.binary"] {
        let value: &[u8] = if name == "user.plain" {
            b"v"
        } else {
            b"\n=\0\n9 x=1\n"
        };
        for path in ["a/small", "a/b"] {
            rustix::fs::setxattr(root.join(path), name, value, XattrFlags::empty()).unwrap();
        }
    }
    if is_root() {
        root_only(root);
    }
    mode("a/small", 0o4755);
    // tar must be able to read it.
    mode("a/empty", if is_root() { 0o0000 } else { 0o0400 });
    mode("a/b/c", 0o2777);
    mode("a/b", 0o1755);
    mode("fifo", 0o622);
    mode("a/b/big", 0o444);
    for (index, path) in [
        "absolute", "a/small", "a/empty", "sparse", "fifo", "a/b/c", "a/b", "a",
    ]
    .iter()
    .enumerate()
    {
        set_time(&root.join(path), 1_234_567_890 + index as i64, 987_654_321);
    }
}

fn root_only(root: &Path) {
    use std::os::unix::fs::{chown, lchown};
    let node = |name: &str, kind, major, minor| {
        let device = rustix::fs::makedev(major, minor);
        rustix::fs::mknodat(CWD, root.join(name), kind, Mode::RUSR, device).unwrap();
    };
    node("char", FileType::CharacterDevice, 1, 3);
    node("block", FileType::BlockDevice, 259, 70_000);
    chown(root.join("a/small"), Some(1000), Some(50)).unwrap();
    chown(root.join("a/b/c"), Some(3_000_000), Some(3_000_001)).unwrap();
    chown(root.join("block"), Some(0), Some(6)).unwrap();
    lchown(root.join("absolute"), Some(33), Some(34)).unwrap();
    let capability = "security.capability";
    rustix::fs::setxattr(
        root.join("a/b/big"),
        capability,
        &CAPABILITY,
        XattrFlags::empty(),
    )
    .unwrap();
}

fn gnu_tar(root: &Path, flags: &[&str]) -> Vec<u8> {
    let output = Command::new("tar")
        .args(["--numeric-owner", "-C"])
        .arg(root)
        .args(flags)
        .args(["-cf", "-", "."])
        .output()
        .expect("GNU tar");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    output.stdout
}

/// What the archive format can say about the tree.
fn expected(tree: &Tree, exact_times: bool, xattrs: bool) -> Tree {
    let mut tree = tree.clone();
    for node in tree.values_mut() {
        if !exact_times {
            node.mtime.1 = 0;
        }
        if !xattrs {
            node.xattrs.clear();
        }
    }
    tree
}

fn without_records(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        node.xattrs.remove(STAT_XATTR);
    }
    tree
}

#[test]
fn trees_packed_by_gnu_tar_come_out_the_same() {
    let source = tempfile::tempdir().unwrap();
    sample(source.path());
    let before = snapshot(source.path());
    for (flags, exact, xattrs) in [
        (&["--format=gnu"][..], false, false),
        (&["--format=gnu", "-S"], false, false),
        (
            &["--format=posix", "--xattrs", "--xattrs-include=*"],
            true,
            true,
        ),
        (
            &[
                "--format=posix",
                "--xattrs",
                "--xattrs-include=*",
                "-S",
                "--sparse-version=0.0",
            ],
            true,
            true,
        ),
        (
            &[
                "--format=posix",
                "--xattrs",
                "--xattrs-include=*",
                "-S",
                "--sparse-version=0.1",
            ],
            true,
            true,
        ),
        (
            &[
                "--format=posix",
                "--xattrs",
                "--xattrs-include=*",
                "-S",
                "--sparse-version=1.0",
            ],
            true,
            true,
        ),
    ] {
        let tar = gnu_tar(source.path(), flags);
        let target = tempfile::tempdir().unwrap();
        let summary = unpack_into(target.path(), &tar[..], &options()).unwrap();
        let after = without_records(snapshot(target.path()));
        let mut expected = expected(&before, exact, xattrs);
        if !flags.contains(&"-S") {
            for node in expected.values_mut() {
                node.sparse = false;
            }
        }
        for (path, node) in &expected {
            assert_eq!(Some(node), after.get(path), "{flags:?} {path}");
        }
        assert_eq!(after.len(), expected.len(), "{flags:?}");
        assert_eq!(summary.implied_parents, Vec::<std::path::PathBuf>::new());
        let sizes: u64 = [0, 6, 1_000_003, 4, 1, 40_000_000, 10_000_000].iter().sum();
        assert_eq!(summary.bytes, sizes, "{flags:?}");
        assert_eq!(summary.entries, before.len() as u64);
    }
}

#[test]
fn an_ordinary_user_gets_stand_ins_and_records() {
    let tar = archive(&[
        Member {
            device: (1, 3),
            uid: 7,
            gid: 8,
            mode: 0o666,
            ..member(b'3', "dev/null")
        },
        Member {
            device: (8, 1),
            ..member(b'4', "dev/sda1")
        },
    ]);
    let target = tempfile::tempdir().unwrap();
    let options = UnpackOptions::new(Privilege::Rootless, 1 << 20);
    let summary = unpack_into(target.path(), &tar[..], &options).unwrap();
    assert_eq!(summary.notes[&Note::DeviceStandIn], 2);
    let tree = snapshot(target.path());
    assert_eq!(tree["dev/null"].kind, '-');
    assert_eq!(tree["dev/null"].mode, 0o666);
    assert_eq!(tree["dev/null"].xattrs[STAT_XATTR], b"7 8 c 1 3");
    let me = rustix::process::geteuid().as_raw();
    let group = rustix::process::getegid().as_raw();
    assert_eq!(
        String::from_utf8_lossy(&tree["dev/sda1"].xattrs[STAT_XATTR]),
        format!("{me} {group} b 8 1")
    );
    if !is_root() {
        // The first device; outside of a user namespace also two implied directories of root's.
        assert!([1, 3].contains(&summary.notes[&Note::OwnerRecorded]));
    }
}

#[test]
fn later_entries_replace_earlier_ones() {
    let tar = archive(&[
        file("x", "file"),
        dir("x"),
        file("x/inside", "1"),
        dir("y/sub/sub"),
        file("y/sub/sub/f", "1"),
        symlink("y", "x"),
        file("y/through", "2"),
        symlink("z", "x"),
        dir("z"),
        file("z/own", "3"),
        file("twice", "first"),
        file("twice", "second"),
        file("h1", "h"),
        hard_link("h2", "h1"),
        hard_link("h2", "h1"),
        file("h1", "new"),
        Member {
            mode: 0o700,
            ..dir("x")
        },
    ]);
    let target = tempfile::tempdir().unwrap();
    let summary = unpack_into(target.path(), &tar[..], &options()).unwrap();
    let tree = snapshot(target.path());
    let shape: Vec<(&str, char, &[u8])> = tree
        .iter()
        .map(|(path, node)| (path.as_str(), node.kind, &node.content[..]))
        .collect();
    assert_eq!(
        shape,
        [
            ("", 'd', &b""[..]),
            ("h1", '-', b"new"),
            ("h2", '-', b"h"),
            ("twice", '-', b"second"),
            ("x", 'd', b""),
            ("x/inside", '-', b"1"),
            ("x/through", '-', b"2"),
            ("y", 'l', b"x"),
            ("z", 'd', b""),
            ("z/own", '-', b"3"),
        ]
    );
    assert_eq!(tree["x"].mode, 0o700);
    assert_eq!(summary.implied_parents, [Path::new("")]);
}

#[test]
fn merged_usr_is_followed_inside_the_tree() {
    let tar = archive(&[
        dir("usr/lib"),
        symlink("lib", "usr/lib"),
        symlink("lib64", "/usr/lib"),
        symlink("out", "../../../../usr"),
        file("lib/a", "a"),
        file("lib64/b", "b"),
        file("out/lib/c", "c"),
        hard_link("lib/d", "lib64/a"),
    ]);
    let target = tempfile::tempdir().unwrap();
    unpack_into(target.path(), &tar[..], &options()).unwrap();
    let tree = snapshot(target.path());
    for name in ["a", "b", "c", "d"] {
        assert_eq!(tree[&format!("usr/lib/{name}")].kind, '-');
    }
    assert_eq!(tree["lib"].kind, 'l');
    assert_eq!(tree["usr/lib/a"].links, 2);
}

#[test]
fn whiteouts_become_those_of_overlayfs() {
    let tar = archive(&[
        file("d/.wh.gone", ""),
        file("o/.wh..wh..opq", ""),
        file("o/kept", "k"),
        file(".wh..wh.plnk/1.2", ""),
        file("d/.wh..wh.aufs", ""),
        // Hides what is below, then has a directory of its own there, and the other way round.
        file(".wh.first", ""),
        dir("first"),
        dir("second"),
        file("second/f", "f"),
        file(".wh.second", ""),
        file(".wh.third", ""),
        file("third/f", "f"),
        file("mine", "m"),
        file(".wh.mine", ""),
        member(b'3', "null-device"),
    ]);
    let target = tempfile::tempdir().unwrap();
    let summary = unpack_into(target.path(), &tar[..], &options()).unwrap();
    let tree = snapshot(target.path());
    let opaque = if is_root() {
        "trusted.overlay.opaque"
    } else {
        "user.overlay.opaque"
    };
    for whiteout in ["d/gone", "null-device"] {
        let node = &tree[whiteout];
        assert_eq!((node.kind, node.device), ('c', 0), "{whiteout}");
    }
    for directory in ["o", "first", "second", "third"] {
        assert_eq!(tree[directory].xattrs[opaque], b"y", "{directory}");
    }
    assert!(!tree["d"].xattrs.contains_key(opaque));
    assert_eq!(tree["mine"].content, b"m");
    assert_eq!(summary.notes[&Note::AufsEntry], 2);
    assert!(!tree.keys().any(|path| path.contains(".wh.")));
    // What hides the layers below takes nothing from them.
    assert_eq!(summary.implied_parents, [Path::new(""), Path::new("d")]);
}

#[test]
fn xattrs_outside_of_the_list_are_left_out() {
    let names = [
        "user.good",
        "user.overlay.redirect",
        "user.overlay.opaque",
        "user.coracle.stat",
        "trusted.overlay.redirect",
        "security.selinux",
        "system.posix_acl_access",
    ];
    let pax: Vec<(String, Vec<u8>)> = names
        .iter()
        .map(|name| (format!("SCHILY.xattr.{name}"), b"y".to_vec()))
        .collect();
    let tar = archive(&[
        Member {
            pax: pax.clone(),
            ..file("f", "")
        },
        Member { pax, ..dir("d") },
    ]);
    let target = tempfile::tempdir().unwrap();
    let summary = unpack_into(target.path(), &tar[..], &options()).unwrap();
    for path in ["f", "d"] {
        let found = xattrs(&target.path().join(path));
        let names: Vec<&String> = found
            .keys()
            .filter(|name| *name != "security.selinux")
            .collect();
        assert_eq!(names, ["user.good"], "{path}");
    }
    assert_eq!(summary.notes[&Note::XattrSkipped], 12);
}

#[test]
fn implied_parents_look_like_the_topmost_visible_directory_below() {
    let layer = |members: &[Member]| {
        let target = tempfile::tempdir().unwrap();
        let summary = unpack_into(target.path(), &archive(members)[..], &options()).unwrap();
        (target, summary)
    };
    let mode = |mode: u32, path: &str| Member { mode, ..dir(path) };
    let (bottom, _) = layer(&[
        mode(0o711, "./"),
        mode(0o1777, "tmp"),
        mode(0o750, "tmp/deep"),
        mode(0o770, "cut"),
        mode(0o770, "cut/inner"),
        mode(0o700, "both"),
    ]);
    let (middle, _) = layer(&[
        mode(0o711, "."),
        mode(0o705, "both"),
        mode(0o701, "cut"),
        file("cut/.wh..wh..opq", ""),
    ]);
    let (top, summary) = layer(&[
        file("tmp/deep/f", ""),
        file("cut/inner/f", ""),
        file("both/f", ""),
        file("new/f", ""),
    ]);
    let open = |dir: &tempfile::TempDir| fs::File::open(dir.path()).unwrap();
    let (bottom, middle, tree) = (open(&bottom), open(&middle), open(&top));
    use std::os::fd::AsFd;
    inherit_parents(
        tree.as_fd(),
        &summary.implied_parents,
        &[bottom.as_fd(), middle.as_fd()],
    )
    .unwrap();
    let tree = snapshot(top.path());
    let modes: Vec<(&str, u32)> = tree
        .iter()
        .filter(|(_, node)| node.kind == 'd')
        .map(|(path, node)| (path.as_str(), node.mode))
        .collect();
    assert_eq!(
        modes,
        [
            ("", 0o711),
            ("both", 0o705),
            ("cut", 0o701),
            ("cut/inner", 0o755),
            ("new", 0o755),
            ("tmp", 0o1777),
            ("tmp/deep", 0o750),
        ]
    );
    assert_eq!(tree["tmp"].mtime.0, 1_600_000_000);
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::new(1));
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

#[test]
fn every_compression_gives_the_same_diff_id() {
    let tar = archive(&[file("f", "content"), dir("d")]);
    let digest = coracle::model::Digest::sha256(Sha256::digest(&tar));
    let (front, back) = tar.split_at(700);
    let several = [gzip(front), gzip(back)].concat();
    let frames = [
        zstd::encode_all(front, 1).unwrap(),
        zstd::encode_all(back, 1).unwrap(),
    ]
    .concat();
    for (compression, blob) in [
        (Compression::None, tar.clone()),
        (Compression::Gzip, gzip(&tar)),
        (Compression::Gzip, several),
        (Compression::Zstd, zstd::encode_all(&tar[..], 3).unwrap()),
        (Compression::Zstd, frames),
    ] {
        let target = tempfile::tempdir().unwrap();
        let plain = Decompressor::new(compression, &blob[..]).unwrap();
        let (summary, diff_id) =
            hash_while(plain, |tar| unpack_into(target.path(), tar, &options())).unwrap();
        assert_eq!(diff_id.digest, digest, "{compression:?}");
        assert_eq!(diff_id.bytes, tar.len() as u64);
        assert_eq!(summary.entries, 2);
    }
}

#[test]
fn broken_and_exploding_streams_are_invalid_content() {
    let tar = archive(&[file("f", &"content".repeat(1000))]);
    let cut = |mut blob: Vec<u8>| {
        blob.truncate(blob.len() / 2);
        blob
    };
    let zeros = vec![0_u8; 1 << 20];
    let mut encoder = zstd::Encoder::new(Vec::new(), 1).unwrap();
    for _ in 0..80 {
        io::Write::write_all(&mut encoder, &zeros).unwrap();
    }
    let bomb = encoder.finish().unwrap();
    for (what, compression, blob) in [
        ("cut gzip", Compression::Gzip, cut(gzip(&tar))),
        ("no gzip", Compression::Gzip, tar.clone()),
        (
            "cut zstd",
            Compression::Zstd,
            cut(zstd::encode_all(&tar[..], 1).unwrap()),
        ),
        ("no zstd", Compression::Zstd, tar.clone()),
        ("no tar", Compression::None, b"<html>".repeat(200)),
        ("bomb", Compression::Zstd, bomb),
    ] {
        let target = tempfile::tempdir().unwrap();
        let plain = Decompressor::new(compression, &blob[..]).unwrap();
        let result = hash_while(plain, |tar| unpack_into(target.path(), tar, &options()));
        assert_eq!(
            result.unwrap_err().kind(),
            ErrorKind::InvalidContent,
            "{what}"
        );
    }
}

#[test]
fn a_failing_consumer_stops_the_reader() {
    let endless = io::repeat(1);
    let result = hash_while(endless, |tar| {
        let mut first = [0; 10];
        tar.read_exact(&mut first).unwrap();
        Err::<(), _>(coracle::model::Error::invalid("enough"))
    });
    assert_eq!(result.unwrap_err().message(), "enough");
}

/// The bar is 0.4 s for an optimised build on a tmpfs; this keeps a mistake of a whole order
/// (a path looked up from the root for each file, a missing cache) out of any build.
#[test]
fn many_small_files_are_fast() {
    let members: Vec<Member> = (0..24_000)
        .map(|n| {
            file(
                &format!("usr/share/doc/{}/{n}", n / 20),
                "a few bytes of text",
            )
        })
        .collect();
    let tar = archive(&members);
    let target = tempfile::tempdir_in(if Path::new("/dev/shm").is_dir() {
        "/dev/shm"
    } else {
        "/tmp"
    })
    .unwrap();
    let start = Instant::now();
    unpack_into(target.path(), &tar[..], &options()).unwrap();
    let seconds = start.elapsed().as_secs_f64();
    eprintln!("24000 files in {seconds:.3} s");
    assert!(seconds < 20.0, "24000 files took {seconds} s");
}

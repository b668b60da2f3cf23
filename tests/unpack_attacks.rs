//! Hostile layers by kind of attack: each ends in a clear error or in the right tree, with nothing
//! changed outside of it, in bounded time and memory.
//!
//! `unpack_hostile.rs` has single bad entries, random ones and random damage; this has what needs
//! several entries, size, or a name of its own.

mod trees;

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io::Write,
    os::{
        fd::AsFd,
        unix::{ffi::OsStrExt, fs::MetadataExt},
    },
    path::Path,
    time::{Duration, Instant},
};

use coracle::{
    model::{Error, ErrorKind},
    storage::unpack::{
        Decompressor, Note, Privilege, UnpackOptions, UnpackSummary, hash_while, unpack,
    },
};
use proptest::prelude::*;
use trees::{canary::Canary, *};

/// What no attack of this file may take, in a debug build on a busy machine.
const LONG: Duration = Duration::from_secs(120);

fn raw(kind: u8, path: impl AsRef<[u8]>, link: impl AsRef<[u8]>) -> Member {
    Member {
        link: link.as_ref().to_vec(),
        ..member(kind, path)
    }
}

fn with_pax(records: &[(&str, &[u8])], member: Member) -> Member {
    let records = records.iter();
    Member {
        pax: records
            .map(|(key, value)| ((*key).to_owned(), value.to_vec()))
            .collect(),
        ..member
    }
}

/// A clear error: of the right kind, one line, and nothing in it that a terminal would obey.
fn is_clear(error: &Error) {
    assert_eq!(error.kind(), ErrorKind::InvalidContent, "{error:?}");
    let text = error.to_string();
    assert!(text.len() < 2000, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

fn unpacked(members: &[Member]) -> Tree {
    let canary = Canary::new();
    canary.unpack(&archive(members), &options()).unwrap();
    snapshot(&canary.tree())
}

fn refused(members: &[Member]) -> Error {
    let canary = Canary::new();
    let error = canary.unpack(&archive(members), &options()).unwrap_err();
    is_clear(&error);
    error
}

// ---- ways out ----------------------------------------------------------------------------------

/// In the header, in a GNU long name, in a PAX record, as a link's target, for every kind.
#[test]
fn parents_in_every_position() {
    let long = "long/".repeat(30);
    let names = [
        "..",
        "../",
        "../x",
        "/..",
        "/../x",
        "a/..",
        "a/../x",
        "a/../../x",
        "./../x",
        "a//../x",
        "a/./../x",
        "a/b/../../../x",
        "..//x",
        "../../../../../../../../x",
        "a/../",
        "../.wh.x",
        "../.wh..wh..opq",
        "..\0/x",
    ];
    for name in names {
        for kind in *b"01234567" {
            for name in [name.to_owned(), format!("{long}{name}")] {
                let plain = name.split('\0').next().unwrap();
                refused(&[file("t", ""), raw(kind, plain, "t")]);
                refused(&[
                    file("t", ""),
                    with_pax(&[("path", name.as_bytes())], raw(kind, "ok", "t")),
                ]);
            }
        }
        refused(&[
            file("t", ""),
            raw(b'1', "h", name.split('\0').next().unwrap()),
        ]);
        refused(&[
            file("t", ""),
            with_pax(&[("linkpath", name.as_bytes())], raw(b'1', "h", "t")),
        ]);
        let sparse: [(&str, &[u8]); 3] = [
            ("GNU.sparse.name", name.as_bytes()),
            ("GNU.sparse.size", b"4"),
            ("GNU.sparse.map", b"0,4"),
        ];
        refused(&[with_pax(&sparse, file("s", "data"))]);
    }
}

/// Three dots and names that only look like parents are names.
#[test]
fn names_that_are_no_parents() {
    let tree = unpacked(&[
        file("...", "1"),
        file("..a/b", "2"),
        file("a../..b..", "3"),
        dir("\\..\\x"),
    ]);
    let names: Vec<&str> = tree.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        ["", "...", "..a", "..a/b", "\\..\\x", "a..", "a../..b.."]
    );
}

/// Links of every sort as parents, and links through links: what is below them lands in the tree.
#[test]
fn links_through_links_stay_inside() {
    let canary = Canary::new();
    let up = "../".repeat(60);
    let outside = canary.root.path().join("outside");
    let tar = archive(&[
        symlink("one", &format!("{up}outside")),
        symlink("two", "one/dir"),
        symlink("three", &format!("/{up}two")),
        symlink("self", "."),
        symlink("root", "/"),
        symlink("proc", "/proc/self/root"),
        dir("outside/dir"),
        file("one/secret", "own"),
        file("three/file", "own"),
        file("self/self/self/one/dir/more", "own"),
        file("root/x", "own"),
        symlink("one/dir/abs", outside.to_str().unwrap()),
        raw(b'0', "one/.wh.gone", ""),
        raw(b'0', "two/.wh..wh..opq", ""),
        hard_link("hard", "three/file"),
    ]);
    canary.unpack(&tar, &options()).unwrap();
    let tree = snapshot(&canary.tree());
    for name in [
        "outside/secret",
        "outside/dir/file",
        "outside/dir/more",
        "x",
        "hard",
    ] {
        assert_eq!(tree[name].content, b"own", "{name}");
    }
    assert_eq!(tree["outside/gone"].kind, 'c');
    for (link, below) in [("abs", "outside/dir/abs/secret"), ("proc", "proc/x")] {
        let target = canary.root.path().join("outside");
        let link = symlink(
            if link == "abs" {
                "outside/dir/abs"
            } else {
                "proc"
            },
            target.to_str().unwrap(),
        );
        refused(&[link, file(below, "evil")]);
    }
}

#[test]
fn circles_and_long_chains_of_links() {
    for links in [
        vec![symlink("a", "a")],
        vec![symlink("a", "b"), symlink("b", "a")],
        vec![symlink("a", "b/x"), symlink("b", "a/x")],
        vec![symlink("a", "a/a")],
    ] {
        for last in [
            file("a/f", ""),
            dir("a/d/e"),
            raw(b'0', "a/.wh.x", ""),
            hard_link("h", "a/f"),
        ] {
            refused(&[links.clone(), vec![last]].concat());
        }
    }
    // The kernel follows forty.
    let mut chain = vec![dir("end")];
    for n in 0..100 {
        let target = if n == 0 {
            "end".to_owned()
        } else {
            format!("l{}", n - 1)
        };
        chain.push(symlink(&format!("l{n}"), &target));
    }
    unpacked(&[chain.clone(), vec![file("l30/f", "")]].concat());
    refused(&[chain, vec![file("l99/f", "")]].concat());
}

// ---- hard links --------------------------------------------------------------------------------

#[test]
fn hard_links_to_what_is_not_there() {
    let outside = tempfile::NamedTempFile::new().unwrap();
    let absolute = outside.path().to_str().unwrap();
    for (what, members) in [
        ("absolute", vec![hard_link("h", absolute)]),
        ("passwd", vec![hard_link("h", "/etc/passwd")]),
        (
            "through a link",
            vec![symlink("l", "/etc"), hard_link("h", "l/passwd")],
        ),
        (
            "through proc",
            vec![symlink("l", "/proc/self/fd"), hard_link("h", "l/0")],
        ),
        ("later", vec![hard_link("h", "f"), file("f", "")]),
        ("itself", vec![hard_link("h", "h")]),
        (
            "whiteout",
            vec![raw(b'0', ".wh.w", ""), hard_link("h", "w")],
        ),
        (
            "whiteout's name",
            vec![raw(b'0', ".wh.w", ""), hard_link("h", ".wh.w")],
        ),
        ("null device", vec![member(b'3', "w"), hard_link("h", "w")]),
        ("directory", vec![dir("d"), hard_link("h", "d")]),
        (
            "directory by a link",
            vec![dir("d"), symlink("l", "."), hard_link("h", "l/d")],
        ),
        ("root", vec![hard_link("h", ".")]),
        ("below a file", vec![file("f", ""), hard_link("h", "f/x")]),
        (
            "replaced",
            vec![file("f", ""), dir("f"), hard_link("h", "f")],
        ),
        (
            "aufs",
            vec![file(".wh..wh.plnk/1", ""), hard_link("h", ".wh..wh.plnk/1")],
        ),
    ] {
        let canary = Canary::new();
        let error = canary.unpack(&archive(&members), &options()).unwrap_err();
        is_clear(&error);
        assert!(error.message().contains("\"h\""), "{what}: {error}");
        assert!(!canary.tree().join("h").exists(), "{what}");
    }
    assert_eq!(outside.as_file().metadata().unwrap().nlink(), 1);
}

/// A hard link to a symbolic link is one more name of the link, never of what it leads to; one to a
/// set-id file does not change what that is.
#[test]
fn hard_links_to_links_and_to_set_id_files() {
    let tree = unpacked(&[
        symlink("l", "/etc/passwd"),
        hard_link("h", "l"),
        Member {
            mode: 0o4755,
            ..file("su", "program")
        },
        Member {
            mode: 0o777,
            uid: 12345,
            ..hard_link("su2", "su")
        },
    ]);
    assert_eq!((tree["h"].kind, tree["h"].links), ('l', 2));
    let me = rustix::process::geteuid().as_raw();
    for name in ["su", "su2"] {
        assert_eq!(
            (tree[name].mode, tree[name].owner.0),
            (0o4755, me),
            "{name}"
        );
        assert_eq!(tree[name].content, b"program");
    }
}

// ---- devices and modes -------------------------------------------------------------------------

#[test]
fn devices_are_recorded_for_an_ordinary_user() {
    let device = |kind, device, path| Member {
        device,
        mode: 0o6777,
        ..member(kind, path)
    };
    let members = [
        device(b'4', (8, 0), "sda"),
        device(b'3', (1, 1), "mem"),
        device(b'3', (10, 200), "dev/net/tun"),
        device(b'6', (0, 0), "fifo"),
    ];
    let canary = Canary::new();
    let options = UnpackOptions::new(Privilege::Rootless, 1 << 20);
    let summary = canary.unpack(&archive(&members), &options).unwrap();
    assert_eq!(summary.notes[&Note::DeviceStandIn], 3);
    let tree = snapshot(&canary.tree());
    for name in ["sda", "mem", "dev/net/tun"] {
        assert_eq!((tree[name].kind, tree[name].device), ('-', 0), "{name}");
    }
    assert_eq!(tree["fifo"].kind, 'p');
}

// ---- names -------------------------------------------------------------------------------------

/// Any bytes but `/` and NUL are a name, and come out as they went in.
#[test]
fn names_of_any_bytes() {
    let names: Vec<Vec<u8>> = vec![
        b"\xff\xfe".to_vec(),
        b"new\nline".to_vec(),
        b"\x1b[2J\x1b]0;title\x07".to_vec(),
        b"caf\xe9".to_vec(),
        b"\r".to_vec(),
        b" ".to_vec(),
        b"-rf".to_vec(),
        "\u{202e}txt.exe".as_bytes().to_vec(),
        (1..=255_u8)
            .filter(|&byte| byte != b'/')
            .take(200)
            .collect(),
    ];
    let mut members: Vec<Member> = names.iter().map(|name| member(b'0', name)).collect();
    members.extend(
        names
            .iter()
            .map(|name| raw(b'2', [b"l", &name[..]].concat(), name)),
    );
    let canary = Canary::new();
    canary.unpack(&archive(&members), &options()).unwrap();
    for name in &names {
        let path = canary.tree().join(std::ffi::OsStr::from_bytes(name));
        assert!(path.symlink_metadata().unwrap().is_file(), "{name:?}");
        let link = canary
            .tree()
            .join(std::ffi::OsStr::from_bytes(&[b"l", &name[..]].concat()));
        assert_eq!(fs::read_link(link).unwrap().as_os_str().as_bytes(), name);
        // In a message they are quoted.
        refused(&[raw(b'1', name, "nothing")]);
        refused(&[raw(b's', name, "")]);
        refused(&[raw(b'1', "h", name)]);
    }
}

// ---- whiteouts ---------------------------------------------------------------------------------

#[test]
fn whiteouts_of_what_has_no_name() {
    for name in [
        ".wh.",
        ".wh..",
        ".wh...",
        "a/.wh.",
        "a/.wh..",
        "a/.wh...",
        "a/.wh.../b",
        ".wh.a/b",
        ".wh./b",
    ] {
        for kind in *b"01256" {
            refused(&[file("t", ""), raw(kind, name, "t")]);
        }
    }
    // Four dots are a name.
    assert_eq!(unpacked(&[raw(b'0', ".wh.....", "")])["...."].kind, 'c');
    // A name that fits with the mark, and one that fits without it alone.
    assert_eq!(
        unpacked(&[raw(b'0', format!(".wh.{}", "n".repeat(251)), "")]).len(),
        2
    );
    refused(&[raw(b'0', format!(".wh.{}", "n".repeat(252)), "")]);
}

#[test]
fn opaque_marks_in_odd_places() {
    let opaque = if is_root() {
        "trusted.overlay.opaque"
    } else {
        "user.overlay.opaque"
    };
    let mark = |path: &str| member(b'0', path);
    let tree = unpacked(&[
        mark("never/made/.wh..wh..opq"),
        mark("twice/.wh..wh..opq"),
        mark("twice/.wh..wh..opq"),
        raw(b'5', "folder/.wh..wh..opq/", ""),
        raw(b'2', "link/.wh..wh..opq", "/etc"),
        raw(b'3', "node/.wh..wh..opq", ""),
        mark(".wh..wh..opq/inside"),
        mark(".wh.hidden"),
        mark("hidden/.wh..wh..opq"),
        dir("d"),
        symlink("to", "d"),
        mark("to/.wh..wh..opq"),
    ]);
    for name in [
        "never/made",
        "twice",
        "folder",
        "link",
        "node",
        "hidden",
        "d",
    ] {
        assert_eq!(tree[name].xattrs[opaque], b"y", "{name}");
    }
    assert!(!tree.keys().any(|name| name.contains(".wh.")));
    // The data of a mark is nobody's.
    assert_eq!(
        unpacked(&[file(".wh.w", &"evil".repeat(500)), file("after", "1")])["after"].content,
        b"1"
    );
    refused(&[file("f", ""), mark("f/.wh..wh..opq")]);
    refused(&[symlink("l", "nowhere"), mark("l/.wh..wh..opq")]);
    let canary = Canary::new();
    let summary = canary
        .unpack(&archive(&[mark(".wh..wh..opq")]), &options())
        .unwrap();
    assert_eq!(summary.notes[&Note::OpaqueRoot], 1);
}

// ---- the same name several times ---------------------------------------------------------------

/// What an archive may make of one name, in the model: the last entry wins, but a directory on a
/// directory keeps what is in it, and a whiteout hides only what lies in the layers below.
#[derive(Clone, Debug, PartialEq)]
enum Place {
    File(Vec<u8>),
    Link(Vec<u8>),
    Fifo,
    Whiteout,
    Folder(BTreeMap<String, Place>),
}

#[derive(Clone, Copy, Debug)]
enum What {
    File(u8),
    Link,
    Fifo,
    Folder,
    Whiteout,
}

const NAMES: [&str; 3] = ["a", "b", "c"];

/// `None`: the archive must be refused.
fn apply(folder: &mut BTreeMap<String, Place>, path: &[&str], what: What) -> Option<()> {
    let (first, rest) = path.split_first()?;
    if !rest.is_empty() {
        let place = folder.entry((*first).to_owned()).or_insert(Place::Whiteout);
        if *place == Place::Whiteout {
            *place = Place::Folder(BTreeMap::new());
        }
        let Place::Folder(inner) = place else {
            return None;
        };
        return apply(inner, rest, what);
    }
    let there = folder.remove(*first);
    let new = match (what, there) {
        (What::Whiteout, Some(there)) => there,
        (What::Whiteout, None) => Place::Whiteout,
        (What::Folder, Some(folder @ Place::Folder(_))) => folder,
        (What::Folder, _) => Place::Folder(BTreeMap::new()),
        (What::File(byte), _) => Place::File(vec![byte; 3]),
        (What::Link, _) => Place::Link(b"nowhere".to_vec()),
        (What::Fifo, _) => Place::Fifo,
    };
    folder.insert((*first).to_owned(), new);
    Some(())
}

fn flat(
    folder: &BTreeMap<String, Place>,
    below: &str,
    out: &mut BTreeMap<String, (char, Vec<u8>)>,
) {
    for (name, place) in folder {
        let path = format!("{below}{name}");
        let node = match place {
            Place::File(data) => ('-', data.clone()),
            Place::Link(target) => ('l', target.clone()),
            Place::Fifo => ('p', Vec::new()),
            Place::Whiteout => ('c', Vec::new()),
            Place::Folder(inner) => {
                flat(inner, &format!("{path}/"), out);
                ('d', Vec::new())
            }
        };
        out.insert(path, node);
    }
}

fn member_of(path: &[&str], what: What) -> Member {
    let joined = path.join("/");
    match what {
        What::File(byte) => Member {
            data: vec![byte; 3],
            ..member(b'0', joined)
        },
        What::Link => symlink(&joined, "nowhere"),
        What::Fifo => member(b'6', joined),
        What::Folder => dir(&joined),
        What::Whiteout => {
            let (name, above) = path.split_last().unwrap();
            let name = format!(".wh.{name}");
            member(b'0', [above, &[name.as_str()]].concat().join("/"))
        }
    }
}

fn check_against_model(entries: &[(Vec<&str>, What)]) {
    let mut model = BTreeMap::new();
    let members: Vec<Member> = entries
        .iter()
        .map(|(path, what)| member_of(path, *what))
        .collect();
    let fits = entries
        .iter()
        .all(|(path, what)| apply(&mut model, path, *what).is_some());
    let canary = Canary::new();
    let result = canary.unpack(&archive(&members), &options());
    if !fits {
        is_clear(&result.expect_err("the model refuses it"));
        return;
    }
    result.unwrap();
    let mut expected = BTreeMap::new();
    flat(&model, "", &mut expected);
    let mut found: BTreeMap<String, (char, Vec<u8>)> = snapshot(&canary.tree())
        .into_iter()
        .map(|(path, node)| (path, (node.kind, node.content)))
        .collect();
    found.remove("");
    assert_eq!(found, expected, "{entries:?}");
}

/// Every order of three entries of one name, with something below the directories.
#[test]
fn duplicates_in_all_orders() {
    let kinds = [
        What::File(1),
        What::File(2),
        What::Link,
        What::Fifo,
        What::Folder,
        What::Whiteout,
    ];
    for first in kinds {
        for second in kinds {
            for third in kinds {
                for inside in [None, Some(0), Some(1), Some(2)] {
                    let mut entries = Vec::new();
                    for (n, what) in [first, second, third].into_iter().enumerate() {
                        entries.push((vec!["a"], what));
                        if inside == Some(n) {
                            entries.push((vec!["a", "b"], What::File(7)));
                        }
                    }
                    check_against_model(&entries);
                }
            }
        }
    }
}

// ---- numbers -----------------------------------------------------------------------------------

/// One member whose header's field holds exactly these bytes.
fn with_field(range: std::ops::Range<usize>, bytes: &[u8], data: &[u8]) -> Vec<u8> {
    let mut tar = archive(&[Member {
        data: data.to_vec(),
        ..member(b'0', "f")
    }]);
    tar[range].copy_from_slice(bytes);
    tar[148..156].fill(b' ');
    let sum: u32 = tar[..512].iter().map(|&byte| u32::from(byte)).sum();
    tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    tar
}

/// A number in base 256, as many bytes as the field has.
fn base_256<const N: usize>(number: i128) -> [u8; N] {
    let mut bytes = [if number < 0 { 0xff } else { 0 }; N];
    let raw = number.to_be_bytes();
    for (to, from) in bytes.iter_mut().rev().zip(raw.iter().rev()) {
        *to = *from;
    }
    bytes[0] |= 0x80;
    bytes
}

const MODE: std::ops::Range<usize> = 100..108;
const UID: std::ops::Range<usize> = 108..116;
const SIZE: std::ops::Range<usize> = 124..136;
const MTIME: std::ops::Range<usize> = 136..148;

#[test]
fn numbers_in_base_256() {
    let unpack = |tar: &[u8]| {
        let canary = Canary::new();
        let result = canary.unpack(tar, &options());
        result.map(|_| snapshot(&canary.tree()))
    };
    let tree = unpack(&with_field(SIZE, &base_256::<12>(4), b"data")).unwrap();
    assert_eq!(tree["f"].content, b"data");
    for seconds in [-1, -86400 * 365, 1 << 33] {
        let tree = unpack(&with_field(MTIME, &base_256::<12>(seconds), b"")).unwrap();
        assert_eq!(i128::from(tree["f"].mtime.0), seconds);
    }
    let me = i128::from(rustix::process::geteuid().as_raw());
    assert!(unpack(&with_field(UID, &base_256::<8>(me), b"")).is_ok());
    for (what, tar) in [
        ("size -1", with_field(SIZE, &base_256::<12>(-1), b"data")),
        (
            "size 2^63",
            with_field(SIZE, &base_256::<12>(1 << 63), b"data"),
        ),
        (
            "size 2^80",
            with_field(SIZE, &base_256::<12>(1 << 80), b"data"),
        ),
        (
            "size 2^62",
            with_field(SIZE, &base_256::<12>(1 << 62), b"data"),
        ),
        ("uid -1", with_field(UID, &base_256::<8>(-1), b"")),
        ("uid 2^40", with_field(UID, &base_256::<8>(1 << 40), b"")),
        ("no octal size", with_field(SIZE, b"00000000009\0", b"data")),
        ("no number", with_field(SIZE, b"0x100      \0", b"data")),
        ("no mode", with_field(MODE, b"rwxr-xr\0", b"data")),
        ("a sign", with_field(SIZE, b"-0000000004\0", b"data")),
    ] {
        is_clear(&unpack(&tar).expect_err(what));
    }
    // Times that no file system knows are as near as it can: no error, and no panic.
    for tar in [
        with_field(MTIME, &base_256::<12>(i64::MAX.into()), b""),
        with_field(MTIME, &base_256::<12>(i64::MIN.into()), b""),
        with_field(MTIME, &base_256::<12>(1 << 90), b""),
    ] {
        if let Err(error) = unpack(&tar) {
            is_clear(&error);
        }
    }
}

#[test]
fn pax_values_that_are_no_numbers() {
    let nonsense: [&[u8]; 16] = [
        b"nan",
        b"NaN",
        b"inf",
        b"-inf",
        b"1e9",
        b"0x10",
        b"1_000",
        b" 1",
        b"1 ",
        b"+1",
        b"--1",
        b"1.2.3",
        b".",
        b"\xd9\xa1",
        b"1\n2",
        b"18446744073709551616",
    ];
    for key in ["size", "uid", "gid", "mtime"] {
        for value in nonsense {
            refused(&[with_pax(&[(key, value)], file("f", "data"))]);
        }
    }
    for value in [&b"-1.5"[..], b"-0", b"0.0000000001", b"1.", b"-62135596800"] {
        unpacked(&[with_pax(&[("mtime", value)], file("f", ""))]);
    }
    // Nobody reads these.
    unpacked(&[with_pax(
        &[("atime", b"nan"), ("ctime", b"\0"), ("comment", b"\xff")],
        file("f", ""),
    )]);
}

/// The size in the extension is not that of the header, so the next header is looked for elsewhere.
#[test]
fn sizes_that_lie() {
    for size in ["0", "1", "511", "512", "513", "1536", "100000"] {
        let members = [
            with_pax(&[("size", size.as_bytes())], file("f", &"d".repeat(600))),
            file("g", "g"),
        ];
        let canary = Canary::new();
        if let Err(error) = canary.unpack(&archive(&members), &options()) {
            is_clear(&error);
        }
    }
}

// ---- sparse files ------------------------------------------------------------------------------

fn sparse(version: &str, size: &str, segments: &[(&str, &str)], data: &str) -> Member {
    let list = |separator: &str| {
        let pairs = segments
            .iter()
            .map(|(offset, length)| format!("{offset}{separator}{length}"));
        pairs.collect::<Vec<_>>().join(separator)
    };
    let mut pax: Vec<(String, Vec<u8>)> = Vec::new();
    let mut add =
        |key: &str, value: &str| pax.push((format!("GNU.sparse.{key}"), value.as_bytes().to_vec()));
    let mut data = data.as_bytes().to_vec();
    match version {
        "0.0" => {
            add("size", size);
            for (offset, length) in segments {
                add("offset", offset);
                add("numbytes", length);
            }
        }
        "0.1" => {
            add("size", size);
            add("map", &list(","));
        }
        _ => {
            add("major", "1");
            add("minor", "0");
            add("realsize", size);
            let mut map = format!("{}\n{}\n", segments.len(), list("\n")).into_bytes();
            map.resize(map.len().next_multiple_of(512), 0);
            map.append(&mut data);
            data = map;
        }
    }
    Member {
        pax,
        data,
        ..member(b'0', "f")
    }
}

#[test]
fn giant_and_lying_sparse_files() {
    for version in ["0.0", "0.1", "1.0"] {
        // All holes but the ends: nothing on the disk.
        let far = ((1_u64 << 29) - 2).to_string();
        let giant = sparse(
            version,
            &(1_u64 << 29).to_string(),
            &[("0", "2"), (&far, "2")],
            "abcd",
        );
        let canary = Canary::new();
        let summary = canary.unpack(&archive(&[giant]), &options()).unwrap();
        assert_eq!(summary.bytes, 1 << 29);
        let found = canary.tree().join("f").metadata().unwrap();
        assert!(found.size() == 1 << 29 && found.blocks() < 100, "{version}");
        for (size, segments) in [
            ("2147483648", &[("0", "4")][..]),
            ("9223372036854775807", &[("0", "4")]),
            ("18446744073709551615", &[("0", "4")]),
            ("99999999999999999999", &[("0", "4")]),
            ("-1", &[("0", "4")]),
            ("nan", &[("0", "4")]),
            ("3", &[("0", "4")]),
            ("100", &[("98", "4")]),
            ("100", &[("0", "3")]),
            ("100", &[("0", "5")]),
            ("100", &[("8", "2"), ("0", "2")]),
            ("100", &[("0", "3"), ("2", "1")]),
            ("100", &[("-1", "4")]),
            ("100", &[("0", "x")]),
            ("100", &[("18446744073709551615", "4")]),
            ("100", &[("18446744073709551614", "18446744073709551614")]),
            ("9223372036854775807", &[("9223372036854775803", "4")]),
        ] {
            refused(&[sparse(version, size, segments, "abcd")]);
        }
    }
    // A list that promises a million lines, and has none of them.
    for count in ["1048576", "1048577", "18446744073709551615", "x", ""] {
        let mut lying = sparse("1.0", "100", &[], "");
        lying.data = format!("{count}\n").into_bytes();
        lying.data.resize(512, 0);
        refused(&[lying]);
    }
}

// ---- bombs -------------------------------------------------------------------------------------

fn through(blob: &[u8], options: &UnpackOptions) -> Result<UnpackSummary, Error> {
    let canary = Canary::new();
    let root = File::open(canary.tree()).unwrap();
    let plain = Decompressor::detect(blob).unwrap();
    let result = hash_while(plain, |tar| unpack(tar, root.as_fd(), options));
    assert_eq!(canary.surroundings(), canary.before);
    result.map(|(summary, _)| summary)
}

/// Extension entries without a member, a megabyte each: read one at a time.
#[test]
fn extension_headers_without_end() {
    let record = |kind: u8| {
        let mut tar = archive(&[raw(b'0', vec![b'n'; 1 << 20], "")]);
        tar.truncate(512 + (1 << 20));
        tar[156] = kind;
        if kind == b'x' {
            // One record of the right length.
            let text = format!("{} comment=", 1 << 20);
            tar[512..512 + text.len()].copy_from_slice(text.as_bytes());
            tar[512 + (1 << 20) - 1] = b'\n';
        }
        tar[148..156].fill(b' ');
        let sum: u32 = tar[..512].iter().map(|&byte| u32::from(byte)).sum();
        tar[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
        tar
    };
    for kind in *b"LKxg" {
        let one = record(kind);
        let mut packed = zstd::Encoder::new(Vec::new(), 1).unwrap();
        for _ in 0..100 {
            packed.write_all(&one).unwrap();
        }
        let packed = packed.finish().unwrap();
        match through(&packed, &options()) {
            Err(error) => is_clear(&error),
            // Nothing but global comments is an archive without members.
            Ok(summary) => assert_eq!((kind, summary.entries), (b'g', 0)),
        }
    }
}

/// More xattrs, and larger ones, than any file system takes.
#[test]
fn xattrs_without_measure() {
    for (count, length) in [
        (1, 70_000),
        (1, 65_536),
        (1, 5_000),
        (12, 65_000),
        (5_000, 10),
    ] {
        let pax = (0..count).map(|n| (format!("SCHILY.xattr.user.{n}"), vec![b'v'; length]));
        let member = Member {
            pax: pax.collect(),
            ..file("f", "data")
        };
        let canary = Canary::new();
        match canary.unpack(&archive(&[member]), &options()) {
            Ok(_) => assert_eq!(fs::read(canary.tree().join("f")).unwrap(), b"data"),
            Err(error) => {
                assert!(
                    error.message().contains("\"f\""),
                    "{count} of {length}: {error}"
                );
            }
        }
    }
    let odd: [(&str, &[u8]); 4] = [
        ("SCHILY.xattr.", b"v"),
        ("SCHILY.xattr.user.", b"v"),
        ("SCHILY.xattr.nonsense", b"v"),
        ("SCHILY.xattr.security.capability", b"nonsense"),
    ];
    unpacked(&[with_pax(&odd, file("f", "")), with_pax(&odd, dir("d"))]);
    let long = format!("SCHILY.xattr.user.{}", "n".repeat(300));
    unpacked(&[with_pax(&[(&long, b"v")], file("f", ""))]);
}

/// A path of 4095 bytes is the longest; links make deeper trees of shorter paths.
#[test]
fn deep_trees() {
    for depth in [2049, 2100, 100_000] {
        refused(&[raw(b'5', "d/".repeat(depth), "")]);
        refused(&[raw(b'0', format!("{}f", "d/".repeat(depth)), "")]);
        refused(&[
            file("t", ""),
            raw(b'1', format!("{}h", "d/".repeat(depth)), "t"),
        ]);
    }
    refused(&[raw(b'2', "l", "d/".repeat(100_000))]);
    let deep = "d/".repeat(1500);
    let mut members = vec![dir(&deep)];
    let mut above = deep;
    // Each link leads 1500 deeper.
    for n in 0..20 {
        members.push(symlink(&format!("l{n}"), &above));
        members.push(dir(&format!("l{n}/{}", "d/".repeat(1500))));
        above = format!("l{n}/{}", "d/".repeat(1500));
    }
    let canary = Canary::new();
    let start = Instant::now();
    let root = File::open(canary.tree()).unwrap();
    let result = unpack(&archive(&members)[..], root.as_fd(), &options());
    if let Err(error) = result {
        is_clear(&error);
    }
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
    // And it can be had away with.
    let end = archive(&[file("d", "")]);
    unpack(&end[..], root.as_fd(), &options()).unwrap();
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

#[test]
fn a_hundred_thousand_entries_in_one_directory() {
    let start = Instant::now();
    let count = 100_000;
    let mut members: Vec<Member> = (0..count).map(|n| file(&format!("d/{n}"), "")).collect();
    members.push(dir("d"));
    let memory = Path::new("/dev/shm");
    let folder = if memory.is_dir() {
        tempfile::tempdir_in(memory)
    } else {
        tempfile::tempdir()
    }
    .unwrap();
    let root = File::open(folder.path()).unwrap();
    let summary = unpack(&archive(&members)[..], root.as_fd(), &options()).unwrap();
    assert_eq!(summary.entries, count + 1);
    assert_eq!(
        fs::read_dir(folder.path().join("d")).unwrap().count(),
        count as usize
    );
    // A file in its place takes them all away.
    unpack(&archive(&[file("d", "")])[..], root.as_fd(), &options()).unwrap();
    assert!(folder.path().join("d").is_file());
    assert!(start.elapsed() < LONG, "{:?}", start.elapsed());
}

// ---- around the archive ------------------------------------------------------------------------

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).unwrap();
    encoder.finish().unwrap()
}

/// Behind the end marker nothing counts, and a single block of zeros is no end.
#[test]
fn entries_after_the_end() {
    let first = archive(&[file("f", "first")]);
    let second = archive(&[file("f", "second"), file("../x", "evil")]);
    let canary = Canary::new();
    canary
        .unpack(&[&first[..], &second].concat(), &options())
        .unwrap();
    let tree = snapshot(&canary.tree());
    assert_eq!(tree.len(), 2);
    assert_eq!(tree["f"].content, b"first");
    let one_block = [&first[..first.len() - 512], &second[..]].concat();
    is_clear(&Canary::new().unpack(&one_block, &options()).unwrap_err());
}

#[test]
fn several_members_and_skippable_frames() {
    let tar = archive(&[file("f", &"content".repeat(500))]);
    let (front, back) = tar.split_at(900);
    let zstd = |bytes: &[u8]| zstd::encode_all(bytes, 1).unwrap();
    let skippable = |magic: u8, content: &[u8]| {
        let length = u32::try_from(content.len()).unwrap().to_le_bytes();
        [&[magic, 0x2a, 0x4d, 0x18][..], &length, content].concat()
    };
    for good in [
        [gzip(front), gzip(b""), gzip(back)].concat(),
        [gzip(b""), gzip(&tar)].concat(),
        [zstd(front), zstd(b""), zstd(back)].concat(),
        [
            skippable(0x50, b"x"),
            zstd(front),
            skippable(0x5f, &[7; 3000]),
            zstd(back),
            skippable(0x55, b""),
        ]
        .concat(),
    ] {
        assert_eq!(through(&good, &options()).unwrap().entries, 1);
    }
    let mut lying = skippable(0x50, b"");
    lying[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    for bad in [
        [gzip(front), zstd(back)].concat(),
        [zstd(front), gzip(back)].concat(),
        [gzip(&tar), b"rubbish".to_vec()].concat(),
        [zstd(&tar), b"rubbish".to_vec()].concat(),
        [lying, zstd(&tar)].concat(),
        [skippable(0x50, b"x"), tar.clone()].concat(),
    ] {
        is_clear(&through(&bad, &options()).unwrap_err());
    }
}

/// A window of the largest size that the format knows would be memory for the asking.
#[test]
fn zstd_windows_are_bounded() {
    for descriptor in [0xff_u8, 0xf8, 0xa8] {
        // Magic, a frame header with a window descriptor alone, an empty last block.
        let frame = [0x28, 0xb5, 0x2f, 0xfd, 0x00, descriptor, 0x01, 0x00, 0x00];
        is_clear(&through(&frame, &options()).unwrap_err());
    }
}

/// Cut anywhere, also inside of the packing: refused, or the archive up to the border of an entry.
#[test]
fn truncated_anywhere() {
    let tar = archive(&[
        dir("d"),
        file("d/f", &"content ".repeat(200)),
        symlink("l", &"t".repeat(300)),
    ]);
    for blob in [gzip(&tar), zstd::encode_all(&tar[..], 1).unwrap(), tar] {
        let step = (blob.len() / 150).max(1);
        for length in (1..blob.len()).step_by(step) {
            if let Err(error) = through(&blob[..length], &options()) {
                is_clear(&error);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(300) })]

    #[test]
    fn random_layers_equal_the_model(
        entries in prop::collection::vec(
            (
                prop::collection::vec(prop::sample::select(NAMES.to_vec()), 1..4),
                prop_oneof![
                    (0..9_u8).prop_map(What::File),
                    Just(What::Link),
                    Just(What::Fifo),
                    Just(What::Folder),
                    Just(What::Folder),
                    Just(What::Whiteout),
                ],
            ),
            1..14,
        ),
    ) {
        check_against_model(&entries);
    }
}

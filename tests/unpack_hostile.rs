//! Hostile archives: whatever they say, nothing outside of the tree changes, nothing panics, and
//! what is refused is refused as invalid content that names the entry.

mod trees;

use std::{fs, os::fd::AsFd};

use coracle::{
    model::ErrorKind,
    storage::unpack::{Decompressor, Privilege, TarStream, UnpackOptions, hash_while, unpack},
};
use proptest::prelude::*;
use trees::{canary::Canary, *};

fn refused(what: &str, members: &[Member], names: &str) {
    let canary = Canary::new();
    let error = canary.unpack(&archive(members), &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent, "{what}: {error:?}");
    assert!(error.message().contains(names), "{what}: {error:?}");
}

fn raw(path: impl AsRef<[u8]>) -> Member {
    member(b'0', path)
}

#[test]
fn hostile_entries_are_refused() {
    refused("parent", &[file("../x", "evil")], "../x");
    refused("parent inside", &[file("a/../../x", "evil")], "a/../../x");
    refused("only parent", &[dir("..")], "..");
    refused(
        "parent of a link",
        &[file("f", ""), hard_link("h", "../x")],
        "../x",
    );
    refused("absolute parent", &[file("/../x", "evil")], "/../x");
    refused("long name", &[raw("n".repeat(256))], "nnn");
    refused("long path", &[raw("d/".repeat(2100))], "d/d/");
    refused("root as a file", &[raw("/.")], "/.");
    refused("root as a link", &[symlink("./", "/etc")], "./");
    refused("root as a hard link", &[hard_link(".", "x")], ".");
    refused("link to nothing", &[hard_link("h", "x")], "\"h\"");
    refused(
        "link to a directory",
        &[dir("d"), hard_link("h", "d")],
        "\"h\"",
    );
    refused("link to the root", &[hard_link("h", "/")], "\"h\"");
    refused(
        "link to a whiteout",
        &[raw(".wh.w"), hard_link("h", "w")],
        "\"h\"",
    );
    refused("whiteout of parent", &[raw("a/.wh...")], ".wh...");
    refused("whiteout of self", &[raw("a/.wh..")], ".wh..");
    refused("whiteout of nothing", &[raw("a/.wh.")], ".wh.");
    refused("below a whiteout", &[raw(".wh.a/b")], ".wh.a/b");
    refused("below a file", &[file("f", ""), file("f/x", "")], "\"f\"");
    refused(
        "below a dangling link",
        &[symlink("l", "no"), file("l/x", "")],
        "\"l\"",
    );
    refused(
        "circle",
        &[symlink("a", "b"), symlink("b", "a"), file("a/x", "")],
        "\"a",
    );
    refused("empty target", &[symlink("l", "")], "\"l\"");
    refused("unknown type", &[member(b'V', "label")], "label");
    refused("socket", &[member(b's', "socket")], "socket");
    refused(
        "device number",
        &[Member {
            device: (5000, 0),
            ..member(b'3', "d")
        }],
        "\"d\"",
    );
    refused(
        "owner -1",
        &[Member {
            uid: u64::from(u32::MAX),
            ..raw("f")
        }],
        "\"f\"",
    );
    refused(
        "large owner",
        &[Member {
            gid: 1 << 40,
            ..raw("f")
        }],
        "\"f\"",
    );
    let pax = |records: &[(&str, &str)]| Member {
        pax: records
            .iter()
            .map(|(key, value)| ((*key).to_owned(), value.as_bytes().to_vec()))
            .collect(),
        ..file("f", "data")
    };
    refused("NUL in a path", &[pax(&[("path", "a\0b")])], "a\\0b");
    refused("PAX parent", &[pax(&[("path", "../x")])], "../x");
    refused(
        "PAX size",
        &[pax(&[("size", "9999999999999999999")])],
        "\"f\"",
    );
    refused("PAX negative size", &[pax(&[("size", "-1")])], "\"f\"");
    refused("PAX time", &[pax(&[("mtime", "soon")])], "\"f\"");
    refused("PAX owner", &[pax(&[("uid", "root")])], "\"f\"");
    refused(
        "sparse overlap",
        &[pax(&[
            ("GNU.sparse.size", "100"),
            ("GNU.sparse.map", "0,2,1,2"),
        ])],
        "\"f\"",
    );
    refused(
        "sparse behind the end",
        &[pax(&[("GNU.sparse.size", "3"), ("GNU.sparse.map", "0,4")])],
        "\"f\"",
    );
    refused(
        "sparse overflow",
        &[pax(&[
            ("GNU.sparse.size", "100"),
            ("GNU.sparse.map", "18446744073709551615,4"),
        ])],
        "\"f\"",
    );
    refused(
        "sparse bomb",
        &[pax(&[
            ("GNU.sparse.size", "9000000000000000000"),
            ("GNU.sparse.map", "0,4"),
        ])],
        "larger than allowed",
    );
    refused(
        "sparse list without end",
        &[pax(&[
            ("GNU.sparse.major", "1"),
            ("GNU.sparse.realsize", "9"),
        ])],
        "\"f\"",
    );
}

#[test]
fn links_planted_earlier_lead_nowhere_outside() {
    let canary = Canary::new();
    let outside = canary.root.path().join("outside");
    let outside = outside.to_str().unwrap();
    let tar = archive(&[
        symlink("abs", outside),
        symlink("up", "../outside"),
        symlink("file", "../x"),
        dir("outside"),
        // Through the link, in the tree: this makes tree/outside/new.
        file("up/new", "inside"),
        // The link itself is replaced, not its target.
        file("file", "own"),
        hard_link("h", "abs"),
    ]);
    canary.unpack(&tar, &options()).unwrap();
    let tree = snapshot(&canary.tree());
    assert_eq!(tree["outside/new"].content, b"inside");
    assert_eq!(
        (tree["file"].kind, &tree["file"].content[..]),
        ('-', &b"own"[..])
    );
    assert_eq!((tree["h"].kind, tree["h"].links), ('l', 2));

    // Absolute targets are taken inside of the tree, where there is nothing.
    let canary = Canary::new();
    let tar = archive(&[symlink("abs", outside), file("abs/evil", "evil")]);
    let error = canary.unpack(&tar, &options()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
    // A whiteout or opaque mark through such a link stays inside, too.
    for name in ["abs/.wh.secret", "abs/.wh..wh..opq"] {
        let canary = Canary::new();
        let tar = archive(&[symlink("abs", outside), raw(name)]);
        assert!(canary.unpack(&tar, &options()).is_err(), "{name}");
    }
}

#[test]
fn limits_hold() {
    let many = archive(
        &(0..50)
            .map(|n| file(&format!("{n}"), "1234"))
            .collect::<Vec<_>>(),
    );
    for (options, fits) in [
        (
            UnpackOptions {
                max_entries: 49,
                ..options()
            },
            false,
        ),
        (
            UnpackOptions {
                max_entries: 50,
                ..options()
            },
            true,
        ),
        (
            UnpackOptions {
                max_bytes: 199,
                ..options()
            },
            false,
        ),
        (
            UnpackOptions {
                max_bytes: 1 << 20,
                ..options()
            },
            true,
        ),
    ] {
        let result = Canary::new().unpack(&many, &options);
        match result {
            Ok(summary) => {
                assert!(fits);
                assert_eq!((summary.entries, summary.bytes), (50, 200));
            }
            Err(error) => {
                assert!(!fits, "{error:?}");
                assert_eq!(error.kind(), ErrorKind::InvalidContent);
            }
        }
    }
    // What follows the end is bounded as well.
    let mut padded = archive(&[file("f", "")]);
    padded.resize(5 << 20, 0);
    let options = UnpackOptions {
        max_bytes: 1 << 20,
        ..options()
    };
    assert!(Canary::new().unpack(&padded, &options).is_err());
}

/// What a program leaves out of a header is 0, as in Go.
#[test]
fn blank_numbers_are_zero() {
    for blank in [b' ', 0] {
        let mut tar = archive(&[file("f", "")]);
        // All but the mode: owner, group, size, time.
        tar[108..148].fill(blank);
        let mut header = tar::Header::new_old();
        header.as_mut_bytes().copy_from_slice(&tar[..512]);
        header.set_cksum();
        tar[..512].copy_from_slice(header.as_bytes());
        let mut stream = TarStream::new(&tar[..]);
        let entry = stream.next_entry().unwrap().unwrap();
        assert_eq!((entry.metadata.uid, entry.metadata.gid), (0, 0));
        assert_eq!((entry.stored, entry.metadata.mtime.tv_sec), (0, 0));
        assert!(stream.next_entry().unwrap().is_none());
    }
}

/// An extension header that claims to be huge must not be read into memory.
#[test]
fn huge_extension_headers_are_refused() {
    for kind in [b'x', b'g', b'L', b'K'] {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(tar::EntryType::new(kind));
        header.set_size(1 << 40);
        header.set_mode(0);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        let error = Canary::new()
            .unpack(header.as_bytes(), &options())
            .unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidContent);
        assert!(error.message().contains("1 MiB"), "{error:?}");
    }
}

#[test]
fn a_deep_tree_can_be_replaced() {
    let deep = "d/".repeat(1500);
    let tar = archive(&[
        file(&format!("{deep}f"), ""),
        file(&format!("{}side/f", "d/".repeat(700)), ""),
        file("d", "flat"),
    ]);
    let canary = Canary::new();
    canary.unpack(&tar, &options()).unwrap();
    let tree = snapshot(&canary.tree());
    assert_eq!(tree.keys().collect::<Vec<_>>(), ["", "d"]);
    assert_eq!(tree["d"].content, b"flat");
}

/// Cut anywhere, an archive is refused, or is a shorter archive: at the border of an entry no
/// reader can tell (the diff id does).
#[test]
fn truncation_at_every_block() {
    let members = [
        dir("d"),
        file("d/f", &"content".repeat(300)),
        symlink("l", &"t".repeat(300)),
        Member {
            pax: vec![("SCHILY.xattr.user.x".to_owned(), vec![7; 600])],
            ..file("p", "1")
        },
        hard_link("h", "p"),
    ];
    let whole = archive(&members);
    let borders: Vec<usize> = (0..=members.len())
        .map(|n| archive(&members[..n]).len() - 1024)
        .collect();
    for length in (0..whole.len())
        .step_by(512)
        .chain([1, 700, whole.len() - 1])
    {
        let result = Canary::new().unpack(&whole[..length], &options());
        let complete = borders.contains(&length) || length >= *borders.last().unwrap();
        match result {
            Ok(_) => assert!(complete, "{length}"),
            Err(error) => {
                // Half of an end marker is not one.
                let in_marker = length % 512 != 0 && length > *borders.last().unwrap();
                assert!(!complete || in_marker, "{length}: {error:?}");
                assert_eq!(error.kind(), ErrorKind::InvalidContent, "{length}");
            }
        }
    }
}

fn hostile_name() -> impl Strategy<Value = Vec<u8>> {
    let component = prop_oneof![
        6 => prop::sample::select(vec!["a", "b", "c", "lib", "x", "outside"]).prop_map(String::from),
        1 => prop::sample::select(vec!["..", ".", "", "secret", "tree"]).prop_map(String::from),
        1 => prop::sample::select(vec![".wh.a", ".wh.b", ".wh..wh..opq", ".wh..", ".wh.", ".wh..wh.x"])
            .prop_map(String::from),
        1 => Just("n".repeat(256)),
        1 => "\\PC{0,4}",
    ];
    let path = prop::collection::vec(component, 1..5);
    (path, prop::bool::weighted(0.1)).prop_map(|(path, absolute)| {
        let path = path.join("/");
        if absolute {
            format!("/{path}").into_bytes()
        } else {
            path.into_bytes()
        }
    })
}

fn hostile_member() -> impl Strategy<Value = Member> {
    let kind = prop_oneof![
        20 => prop::sample::select(b"0125".to_vec()),
        3 => prop::sample::select(b"346".to_vec()),
        1 => any::<u8>(),
    ];
    let pax = prop::collection::vec(
        (
            prop::sample::select(vec![
                "path",
                "linkpath",
                "size",
                "uid",
                "mtime",
                "GNU.sparse.map",
                "GNU.sparse.size",
                "GNU.sparse.major",
                "GNU.sparse.realsize",
                "GNU.sparse.name",
                "SCHILY.xattr.user.a",
                "SCHILY.xattr.trusted.overlay.redirect",
                "SCHILY.xattr.user.overlay.opaque",
                "SCHILY.xattr.security.capability",
            ])
            .prop_map(String::from),
            prop_oneof![
                hostile_name(),
                prop::sample::select(vec!["0", "1", "3", "0,1", "-1", "99999999999"])
                    .prop_map(|text| text.as_bytes().to_vec()),
                prop::collection::vec(any::<u8>(), 0..24),
            ],
        ),
        0..3,
    );
    let targets = prop_oneof![
        hostile_name(),
        prop::sample::select(vec!["../outside", "../../x", "/", "..", "/etc", "a"])
            .prop_map(|text| text.as_bytes().to_vec()),
    ];
    (
        kind,
        hostile_name(),
        targets,
        any::<u32>(),
        prop::collection::vec(any::<u8>(), 0..600),
        prop_oneof![4 => Just(Vec::new()), 1 => pax],
    )
        .prop_map(|(kind, path, link, mode, data, pax)| Member {
            link,
            mode: mode & 0o7777,
            data,
            pax,
            ..member(kind, path)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn random_archives_stay_inside(members in prop::collection::vec(hostile_member(), 1..12)) {
        let canary = Canary::new();
        if let Err(error) = canary.unpack(&archive(&members), &options()) {
            prop_assert_eq!(error.kind(), ErrorKind::InvalidContent, "{:?}", error);
        }
    }

    #[test]
    fn random_damage_is_no_panic(
        members in prop::collection::vec(hostile_member(), 1..6),
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
    ) {
        let mut tar = archive(&members);
        for (place, value) in damage {
            let place = place.index(tar.len());
            tar[place] = value;
        }
        let canary = Canary::new();
        let options = UnpackOptions::new(Privilege::Rootless, 1 << 20);
        if let Err(error) = canary.unpack(&tar, &options) {
            prop_assert_eq!(error.kind(), ErrorKind::InvalidContent, "{:?}", error);
        }
    }

    /// The body of fuzz/fuzz_targets/unpack.rs: any bytes as a layer, or a packed one, damaged.
    #[test]
    fn damaged_compression_is_no_panic(
        members in prop::collection::vec(hostile_member(), 1..6),
        packing in 0..3_u8,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..8),
        rest in any::<prop::sample::Index>(),
    ) {
        let tar = archive(&members);
        let mut layer = match packing {
            0 => zstd::encode_all(&tar[..], 1).unwrap(),
            1 => {
                let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
                std::io::Write::write_all(&mut gzip, &tar).unwrap();
                gzip.finish().unwrap()
            }
            _ => tar,
        };
        for (place, value) in damage {
            let place = place.index(layer.len());
            layer[place] = value;
        }
        layer.truncate(layer.len() - rest.index(layer.len() / 4 + 1));
        let canary = Canary::new();
        let root = fs::File::open(canary.tree()).unwrap();
        let options = UnpackOptions {
            max_entries: 1000,
            ..UnpackOptions::new(Privilege::Rootless, 16 << 20)
        };
        if let Ok(plain) = Decompressor::detect(&layer[..]) {
            let _ = hash_while(plain, |tar| unpack(tar, root.as_fd(), &options));
        }
        prop_assert_eq!(canary.surroundings(), canary.before.clone());
    }
}

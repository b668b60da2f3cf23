//! ADD of archives.

use std::{fs, io::Write};

use super::*;
use crate::storage::unpack::Privilege;

/// `a/` directories, `a -> b` links, files otherwise; mode 0750 and 0640, owner 5:6.
fn tar(members: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(1000);
        header.set_mode(0o640);
        if let Some((path, target)) = path.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            header.set_size(0);
            archive.append_link(&mut header, path, target).unwrap();
            continue;
        }
        if path.ends_with('/') {
            header.set_entry_type(tar::EntryType::Directory);
            header.set_mode(0o750);
        }
        header.set_size(content.len() as u64);
        archive
            .append_data(&mut header, path, content.as_bytes())
            .unwrap();
    }
    archive.into_inner().unwrap()
}

fn add(words: &str) -> CopyRequest {
    CopyRequest {
        unpack: true,
        ..request(words)
    }
}

fn with_file(name: &str, bytes: &[u8]) -> Place {
    let place = Place::new(&[]);
    fs::write(place.path("context").join(name), bytes).unwrap();
    place
}

#[test]
fn archives_are_told_by_their_content() {
    let plain = tar(&[("d/", ""), ("d/x", "1")]);
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&plain).unwrap();
    let gzip = gzip.finish().unwrap();
    let zstd = zstd::encode_all(&plain[..], 0).unwrap();
    for bytes in [&plain, &gzip, &zstd] {
        let place = with_file("no-tar-in-its-name", bytes);
        assert_eq!(
            place.copy(&add("no-tar-in-its-name /o")),
            ["o/ 755", "o/d/ 750", "o/d/x 640 1"]
        );
        let place = with_file("a", bytes);
        place.try_copy(&request("a /o/")).unwrap();
        assert!(place.path("layer/o/a").exists());
    }
}

#[test]
fn what_is_no_archive_is_copied() {
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(b"no archive").unwrap();
    for bytes in [&b""[..], b"x", &[0; 10240], &gzip.finish().unwrap()] {
        let place = with_file("x.tar", bytes);
        place.try_copy(&add("x.tar /o/")).unwrap();
        assert_eq!(fs::read(place.path("layer/o/x.tar")).unwrap(), bytes);
    }
}

#[test]
fn an_archive_cut_short_is_an_error_that_names_it() {
    let bytes = tar(&[("a", "1"), ("b", &"x".repeat(5000))]);
    let place = with_file("x.tar", &bytes[..3000]);
    let found = place.refused(&add("x.tar /"));
    assert!(found.contains("cannot unpack \"/x.tar\""), "{found}");
}

#[test]
fn archives_merge_with_what_is_below_and_follow_its_links() {
    let bytes = tar(&[
        ("bin/tool", "1"),
        ("etc/conf", "2"),
        ("new/x", "3"),
        ("lib -> gone", ""),
        ("bin/sub/y", "4"),
    ]);
    let place = with_file("root.tar", &bytes).layer(&[
        ("usr/bin/sh", ""),
        ("bin -> usr/bin", ""),
        ("etc/", ""),
        ("lib/", ""),
    ]);
    fs::set_permissions(place.path("0/etc"), PermissionsExt::from_mode(0o711)).unwrap();
    assert_eq!(
        place.copy(&add("root.tar /")),
        [
            "etc/ 711",
            "etc/conf 640 2",
            "lib -> gone",
            "new/ 755",
            "new/x 640 3",
            "usr/ 755",
            "usr/bin/ 755",
            "usr/bin/sub/ 755",
            "usr/bin/sub/y 640 4",
            "usr/bin/tool 640 1"
        ]
    );
}

#[test]
fn archives_stay_below_their_destination() {
    for members in [
        &[("../out", "1")][..],
        &[("l -> /", ""), ("l/../../out", "1")],
    ] {
        let place = with_file("x.tar", &raw_names(members));
        let found = place.refused(&add("x.tar /o/p/"));
        assert!(found.contains(".."), "{found}");
    }
    // A link to the root is one to the destination's.
    let place = with_file("x.tar", &raw_names(&[("l -> /", ""), ("l/in", "1")]));
    assert_eq!(
        place.copy(&add("x.tar /o/")),
        ["o/ 755", "o/in 644 1", "o/l -> /"]
    );
}

/// The builder refuses such names.
fn raw_names(members: &[(&str, &str)]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for (path, content) in members {
        let mut header = tar::Header::new_gnu();
        let (path, target) = path.split_once(" -> ").unwrap_or((path, ""));
        header.as_mut_bytes()[..path.len()].copy_from_slice(path.as_bytes());
        if !target.is_empty() {
            header.set_entry_type(tar::EntryType::Symlink);
            header.as_old_mut().linkname[..target.len()].copy_from_slice(target.as_bytes());
        }
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_uid(0);
        header.set_gid(0);
        header.set_mtime(0);
        header.set_cksum();
        archive.append(&header, content.as_bytes()).unwrap();
    }
    archive.into_inner().unwrap()
}

#[test]
fn chown_is_for_everything_in_an_archive() {
    if Privilege::of_this_process() != Privilege::Root {
        return;
    }
    let place = with_file("x.tar", &tar(&[("d/", ""), ("d/x", "1"), ("e/y", "2")]));
    let request = CopyRequest {
        chown: Some("5:6".to_owned()),
        ..add("x.tar /o/")
    };
    place.try_copy(&request).unwrap();
    for path in ["o", "o/d", "o/d/x", "o/e", "o/e/y"] {
        let stat = place.path("layer").join(path).metadata().unwrap();
        assert_eq!((stat.uid(), stat.gid()), (5, 6), "{path}");
    }
}

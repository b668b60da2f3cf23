//! COPY --from: what layers show together; and owners, of which only root can give any.

use std::{fs, os::unix::fs::chown};

use rustix::fs::{CWD, FileType, Mode, XattrFlags};

use super::*;
use crate::storage::unpack::{Privilege, STAT_XATTR};

fn whiteout(path: &Path) {
    let kind = FileType::CharacterDevice;
    rustix::fs::mknodat(CWD, path, kind, Mode::empty(), 0).unwrap();
}

/// From the place's own layers, onto nothing.
fn copy_from_layers(place: &Place, request: &CopyRequest) -> Vec<String> {
    let below = place.below();
    let link = CopyRequest {
        link: true,
        ..request.clone()
    };
    place.try_copy_from(&Tree::Layers(&below), &link).unwrap();
    shown(&place.path("layer"))
}

#[test]
fn layers_are_seen_as_one_tree() {
    let place = Place::new(&[])
        .layer(&[
            ("d/gone", "1"),
            ("d/below", "1"),
            ("d/both", "1"),
            ("o/hidden", "1"),
            ("l -> d", ""),
        ])
        .layer(&[
            ("d/both", "2"),
            ("d/n/new", "2"),
            ("o/seen", "2"),
            ("m -> /l/n", ""),
        ]);
    whiteout(&place.path("1/d/gone"));
    let opaque = "user.overlay.opaque";
    rustix::fs::setxattr(place.path("1/o"), opaque, b"y", XattrFlags::empty()).unwrap();
    let found = copy_from_layers(&place, &request("/l /o /m/* /out/"));
    assert_eq!(
        found,
        [
            "out/ 755",
            "out/below 644 1",
            "out/both 644 2",
            "out/n/ 755",
            "out/n/new 644 2",
            "out/new 644 2",
            "out/seen 644 2"
        ]
    );
}

#[test]
fn what_a_whiteout_hides_is_no_obstacle() {
    let place = Place::new(&[("tree/n/x", "1")])
        .layer(&[("p/n", "a file"), ("l -> p", "")])
        .layer(&[("p/", "")]);
    whiteout(&place.path("1/p/n"));
    whiteout(&place.path("1/l"));
    assert_eq!(
        place.copy(&request("tree /p")),
        ["p/ 755", "p/n/ 755", "p/n/x 644 1"]
    );
    assert!(
        place
            .copy(&request("tree /l/"))
            .contains(&"l/n/x 644 1".to_owned())
    );
}

#[test]
fn only_owners_of_layers_are_kept() {
    if Privilege::of_this_process() != Privilege::Root {
        return;
    }
    let place = Place::new(&[("d/a", "")]).layer(&[("d/a", ""), ("d/e/b", "")]);
    chown(place.path("context/d/a"), Some(7), Some(8)).unwrap();
    chown(place.path("0/d/a"), Some(7), Some(8)).unwrap();
    chown(place.path("0/d/e"), Some(9), Some(9)).unwrap();
    place.copy(&request("d /from-context/"));
    copy_from_layers(&place, &request("d /from-layers/"));
    let owner = |path: &str| {
        let stat = place.path("layer").join(path).metadata().unwrap();
        (stat.uid(), stat.gid())
    };
    assert_eq!(owner("from-context/a"), (0, 0));
    assert_eq!(owner("from-layers/a"), (7, 8));
    assert_eq!(owner("from-layers/e"), (9, 9));
    assert_eq!(owner("from-layers"), (0, 0));
}

#[test]
fn chown_knows_the_names_of_the_layers_below() {
    if Privilege::of_this_process() != Privilege::Root {
        return;
    }
    let layer = [
        ("real/passwd", "root:x:0:0::/:\nweb:x:33:34::/:\n"),
        ("etc/passwd -> ../real/passwd", ""),
        ("etc/group", "staff:x:50:\n"),
        ("home/web/", ""),
    ];
    for (chown, expected) in [
        ("web", (33, 34)),
        ("web:staff", (33, 50)),
        ("12", (12, 12)),
        ("12:13", (12, 13)),
        ("33", (33, 33)),
        ("33:staff", (33, 50)),
        ("web:7", (33, 7)),
    ] {
        let place = Place::new(&[("a", ""), ("b/c", "")]).layer(&layer);
        let request = CopyRequest {
            chown: Some(chown.to_owned()),
            ..request("a b /home/web/new/")
        };
        place.copy(&request);
        for (path, expected) in [
            ("home/web", (0, 0)),
            ("home/web/new", expected),
            ("home/web/new/a", expected),
            ("home/web/new/c", expected),
        ] {
            let stat = place.path("layer").join(path).metadata().unwrap();
            assert_eq!((stat.uid(), stat.gid()), expected, "{chown} {path}");
        }
    }
    for wrong in ["nobody", "web:nobody", "-1", "4294967295"] {
        let place = Place::new(&[("a", "")]).layer(&layer);
        let request = CopyRequest {
            chown: Some(wrong.to_owned()),
            ..request("a /")
        };
        assert!(place.try_copy(&request).is_err(), "{wrong}");
    }
}

#[test]
fn what_stands_for_an_owner_or_a_device_goes_on_standing_for_it() {
    let place = Place::new(&[("forged", "")]).layer(&[("dev/null", ""), ("theirs", "x")]);
    let note = |path: &str, text: &str| {
        rustix::fs::setxattr(
            place.path(path),
            STAT_XATTR,
            text.as_bytes(),
            XattrFlags::empty(),
        )
        .unwrap();
    };
    note("0/dev/null", "0 0 c 1 3");
    note("context/forged", "0 0 c 1 3");
    copy_from_layers(&place, &request("dev /dev/"));
    place.copy(&request("forged /"));
    let noted = |path: &str| {
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(place.path(path), STAT_XATTR, &mut value[..]).ok()?;
        Some(String::from_utf8(value[..length].to_vec()).unwrap())
    };
    // For an ordinary user the layer is all hers.
    assert!(noted("layer/dev/null").is_some_and(|note| note.ends_with(" c 1 3")));
    assert!(noted("layer/forged").is_none_or(|note| !note.contains('c')));
    assert_eq!(fs::read(place.path("layer/forged")).unwrap(), b"");
}

#[test]
fn owners_that_cannot_be_given_are_noted() {
    let place = Place::new(&[("d/a", ""), ("l -> d", "")]);
    let request = CopyRequest {
        chown: Some("70000:70001".to_owned()),
        ..request("d /o/")
    };
    place.copy(&request);
    for (path, sort) in [("layer/o", 'd'), ("layer/o/a", '-')] {
        let path = place.path(path);
        let stat = path.metadata().unwrap();
        if (stat.uid(), stat.gid()) == (70000, 70001) {
            continue;
        }
        let mut value = [0; 64];
        let length = rustix::fs::getxattr(&path, STAT_XATTR, &mut value[..]).unwrap();
        assert_eq!(
            value[..length],
            *format!("70000 70001 {sort} 0 0").as_bytes()
        );
    }
}

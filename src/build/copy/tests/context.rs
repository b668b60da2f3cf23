//! What is taken from a folder, and where it goes.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
};

use super::*;

#[test]
fn files_and_the_contents_of_folders_are_copied() {
    let place = Place::new(&[
        ("a", "1"),
        ("d/b", "2"),
        ("d/e/c", "3"),
        ("d/l -> ../a", ""),
    ]);
    assert_eq!(
        place.copy(&request("a d /app/")),
        [
            "app/ 755",
            "app/a 644 1",
            "app/b 644 2",
            "app/e/ 755",
            "app/e/c 644 3",
            "app/l -> ../a"
        ]
    );
}

#[test]
fn a_single_file_takes_the_destinations_name_or_goes_into_it() {
    for (words, layer, expected) in [
        ("a /b", "x/", "b 644 1"),
        ("a /x", "x/", "x/a 644 1"),
        ("a /y/", "x/", "y/a 644 1"),
        ("a /", "x/", "a 644 1"),
        ("/a /x/../z", "x/", "z 644 1"),
        ("../../a /b", "x/", "b 644 1"),
    ] {
        let place = Place::new(&[("a", "1")]).layer(&[(layer, "")]);
        let found = place.copy(&request(words));
        assert!(found.contains(&expected.to_owned()), "{words}: {found:?}");
    }
}

#[test]
fn globs_are_gos() {
    let context = [
        ("a.txt", ""),
        ("b.txt", ""),
        ("d/c.txt", ""),
        ("d/e/f.txt", ""),
        ("[x]", ""),
    ];
    for (words, expected) in [
        ("*.txt /o/", vec!["a.txt", "b.txt"]),
        ("[ab].txt /o/", vec!["a.txt", "b.txt"]),
        ("?.txt /o/", vec!["a.txt", "b.txt"]),
        ("*/*.txt /o/", vec!["c.txt"]),
        // A directory that matches gives its contents, as one that is named.
        ("d* /o/", vec!["c.txt", "e", "e/f.txt"]),
        (r"\[x] /o/", vec!["[x]"]),
        ("**/c.txt /o/", vec!["c.txt"]),
        // Nothing matches: nothing is copied.
        ("*.none /o/", vec![]),
    ] {
        let place = Place::new(&context);
        let found = place.copy(&request(words));
        let names: Vec<&str> = found
            .iter()
            .filter_map(|line| line.strip_prefix("o/"))
            .map(|line| line.split([' ']).next().unwrap().trim_end_matches('/'))
            .filter(|name| !name.is_empty())
            .collect();
        assert_eq!(names, expected, "{words}");
    }
}

#[test]
fn what_is_not_there_or_ignored_is_an_error_that_names_it() {
    let place = Place::new(&[("a", ""), ("secret", ""), ("d/x", "")]).ignoring("secret\nd");
    for (words, path) in [
        ("b /", "/b"),
        ("secret /", "/secret"),
        ("d/x /", "/d/x"),
        ("a/b /", "/a/b"),
        ("d /", "/d"),
    ] {
        let found = place.refused(&request(words));
        assert!(
            found.contains(&format!("{path:?}: not found")),
            "{words}: {found}"
        );
    }
}

#[test]
fn ignored_files_are_left_out_and_exceptions_come_back() {
    let context = [
        ("a", ""),
        ("d/keep", ""),
        ("d/drop", ""),
        ("e/f/g", ""),
        ("n/x", ""),
    ];
    let place = Place::new(&context).ignoring("d\n!d/keep\nn\n**/g\nm\n!m/none\n");
    assert_eq!(
        place.copy(&request(". /")),
        ["a 644 ", "d/ 755", "d/keep 644 ", "e/ 755", "e/f/ 755"]
    );
}

#[test]
fn ignored_directories_are_not_read() {
    let place = Place::new(&[("a", ""), ("closed/x", "")]).ignoring("closed");
    // Root reads everything; a path that is too deep for the walk nobody does.
    let mut deep = place.context().join("closed");
    for _ in 0..20 {
        deep = deep.join("d".repeat(250));
        if fs::create_dir(&deep).is_err() {
            break;
        }
    }
    assert_eq!(place.copy(&request(". /")), ["a 644 "]);
}

#[test]
fn links_of_the_source_are_kept_and_named_ones_followed_inside() {
    let outside = Place::new(&[("secret", "no")]);
    let place = Place::new(&[
        ("real/x", "1"),
        ("real/up -> ../../../secret", ""),
        ("l -> real", ""),
        ("f -> /real/x", ""),
    ]);
    symlink(
        outside.context().join("secret"),
        place.context().join("out"),
    )
    .unwrap();
    assert_eq!(
        place.copy(&request("l /o/")),
        ["o/ 755", "o/up -> ../../../secret", "o/x 644 1"]
    );
    let place = Place { layers: 0, ..place };
    assert!(place.copy(&request("f /p")).contains(&"p 644 1".to_owned()));
    assert!(
        place
            .copy(&request("l/x /q"))
            .contains(&"q 644 1".to_owned())
    );
    assert!(place.refused(&request("out /r")).contains("not found"));
    assert!(place.refused(&request("real/up /r")).contains("not found"));
    assert!(
        place
            .refused(&request("real/u* /r"))
            .contains("\"/real/up\": not found")
    );
}

#[test]
fn links_in_a_circle_are_an_error() {
    let place = Place::new(&[("a -> b", ""), ("b -> a", "")]);
    assert!(
        place.refused(&request("a /")).contains("cannot find"),
        "{}",
        place.refused(&request("a /"))
    );
}

#[test]
fn the_destinations_links_are_followed_inside_the_root() {
    let layer = [
        ("usr/bin/sh", ""),
        ("bin -> usr/bin", ""),
        ("abs -> /usr", ""),
        ("up -> ../../../usr", ""),
    ];
    for (dest, expected) in [
        ("/bin/", "usr/bin/a 644 1"),
        ("/abs/bin/x", "usr/bin/x 644 1"),
        ("/up/y", "usr/y 644 1"),
    ] {
        let place = Place::new(&[("a", "1")]).layer(&layer);
        let found = place.copy(&request(&format!("a {dest}")));
        assert!(found.contains(&expected.to_owned()), "{dest}: {found:?}");
    }
    let place = Place::new(&[("a", "1")]).layer(&layer);
    let link = CopyRequest {
        link: true,
        ..request("a /bin/")
    };
    assert_eq!(place.copy(&link), ["bin/ 755", "bin/a 644 1"]);
}

#[test]
fn parents_look_as_they_do_below_and_new_ones_are_roots() {
    let place = Place::new(&[("a", "1")]).layer(&[("tmp/x/", "")]);
    let tmp = place.path("0/tmp");
    fs::set_permissions(&tmp, PermissionsExt::from_mode(0o1777)).unwrap();
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000);
    fs::File::open(&tmp).unwrap().set_modified(time).unwrap();
    assert_eq!(
        place.copy(&request("a /tmp/x/y/z")),
        ["tmp/ 1777", "tmp/x/ 755", "tmp/x/y/ 755", "tmp/x/y/z 644 1"]
    );
    assert_eq!(
        place.path("layer/tmp").metadata().unwrap().mtime(),
        1_000_000
    );
}

#[test]
fn neither_a_directory_takes_a_files_place_nor_the_other_way_round() {
    let context = [("file", ""), ("tree/n/x", ""), ("flat/n", "")];
    let layers: [&[(&str, &str)]; 2] = [
        &[("f", ""), ("o/n/y", ""), ("p/n", ""), ("q/link -> n", "")],
        &[],
    ];
    let place = Place::new(&context).layer(layers[0]);
    for (words, expected) in [
        ("tree /f", "cannot copy to non-directory: \"/f\""),
        ("file /f/x", "cannot copy to non-directory: \"/f/x\""),
        ("tree /p", "cannot copy to non-directory: \"/p/n\""),
        ("flat /o", "cannot replace to directory \"/o/n\" with file"),
        (
            "flat tree /new/",
            "cannot copy to non-directory: \"/new/n\"",
        ),
        (
            "tree flat /neu/",
            "cannot replace to directory \"/neu/n\" with file",
        ),
    ] {
        let found = place.refused(&request(words));
        assert!(found.contains(expected), "{words}: {found}");
        fs::remove_dir_all(place.path("layer")).unwrap();
        fs::create_dir(place.path("layer")).unwrap();
    }
}

#[test]
fn later_sources_win_and_directories_merge() {
    let place = Place::new(&[("a/x", "1"), ("a/y/p", "1"), ("b/x", "2"), ("b/y/q", "2")]);
    assert_eq!(
        place.copy(&request("a b /")),
        ["x 644 2", "y/ 755", "y/p 644 1", "y/q 644 2"]
    );
}

#[test]
fn modes_of_files_and_folders_change_with_chmod() {
    let place = Place::new(&[("d/run", ""), ("d/e/x", "")]);
    fs::set_permissions(
        place.path("context/d/run"),
        PermissionsExt::from_mode(0o700),
    )
    .unwrap();
    let symbolic = CopyRequest {
        chmod: Some("u=rwX,go=rX".to_owned()),
        ..request("d /s/")
    };
    assert_eq!(
        place.copy(&symbolic),
        ["s/ 755", "s/e/ 755", "s/e/x 644 ", "s/run 755 "]
    );
    let octal = CopyRequest {
        chmod: Some("4711".to_owned()),
        ..request("d /s/")
    };
    assert_eq!(
        place.copy(&octal),
        ["s/ 755", "s/e/ 4711", "s/e/x 4711 ", "s/run 4711 "]
    );
}

#[test]
fn times_are_the_sources_and_of_what_is_made_as_asked() {
    let place = Place::new(&[("d/x", "")]);
    let time = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_millis(5_500);
    fs::File::open(place.path("context/d/x"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    let request = CopyRequest {
        made_at: Some(77),
        ..request("d /n/")
    };
    place.copy(&request);
    assert_eq!(place.path("layer/n").metadata().unwrap().mtime(), 77);
    let file = place.path("layer/n/x").metadata().unwrap();
    assert_eq!((file.mtime(), file.mtime_nsec()), (5, 0));
}

#[test]
fn names_of_one_file_stay_names_of_one_file() {
    let place = Place::new(&[("d/a", "1"), ("d/e/c", "2")]);
    fs::hard_link(place.path("context/d/a"), place.path("context/d/e/b")).unwrap();
    place.copy(&request("d /o/"));
    let inode = |name: &str| place.path(name).metadata().unwrap().ino();
    assert_eq!(inode("layer/o/a"), inode("layer/o/e/b"));
    assert_ne!(inode("layer/o/a"), inode("layer/o/e/c"));
}

#[test]
fn a_name_that_was_replaced_is_no_other_files_name() {
    let place = Place::new(&[("a/x", "1"), ("b/x", "2")]);
    fs::hard_link(place.path("context/a/x"), place.path("context/b/y")).unwrap();
    assert_eq!(place.copy(&request("a b /")), ["x 644 2", "y 644 1"]);
}

#[test]
fn parents_are_kept_from_the_pivot_on() {
    let context = [
        ("x/a/b.txt", ""),
        ("x/a/c/d.txt", ""),
        ("x/n.md", ""),
        ("y/e.txt", ""),
    ];
    for (words, expected) in [
        (
            "x/a/b.txt /o/",
            vec!["o/ 755", "o/x/ 755", "o/x/a/ 755", "o/x/a/b.txt 644 "],
        ),
        (
            "x/./a/b.txt /o/",
            vec!["o/ 755", "o/a/ 755", "o/a/b.txt 644 "],
        ),
        (
            "x/./**/*.txt /o/",
            vec![
                "o/ 755",
                "o/a/ 755",
                "o/a/b.txt 644 ",
                "o/a/c/ 755",
                "o/a/c/d.txt 644 ",
            ],
        ),
        (
            "*/./a/c /o/",
            vec!["o/ 755", "o/a/ 755", "o/a/c/ 755", "o/a/c/d.txt 644 "],
        ),
        (
            "y x/n.md /o/",
            vec![
                "o/ 755",
                "o/x/ 755",
                "o/x/n.md 644 ",
                "o/y/ 755",
                "o/y/e.txt 644 ",
            ],
        ),
    ] {
        let place = Place::new(&context);
        let request = CopyRequest {
            parents: true,
            ..request(words)
        };
        assert_eq!(place.copy(&request), expected, "{words}");
    }
    let place = Place::new(&context);
    let missing = CopyRequest {
        parents: true,
        ..request("x/none.txt /o/")
    };
    assert!(
        place
            .refused(&missing)
            .contains("\"/x/none.txt\": not found")
    );
}

#[test]
fn excluded_files_are_left_out() {
    let context = [
        ("d/a.txt", ""),
        ("d/b.md", ""),
        ("d/e/c.txt", ""),
        ("d/e/keep.txt", ""),
        ("r.txt", ""),
    ];
    for (excludes, words, expected) in [
        (
            vec!["*.txt"],
            "d r.txt /o/",
            vec![
                "o/ 755",
                "o/b.md 644 ",
                "o/e/ 755",
                "o/e/c.txt 644 ",
                "o/e/keep.txt 644 ",
            ],
        ),
        (
            vec!["**/*.txt", "!e/keep.txt"],
            "d /o/",
            vec!["o/ 755", "o/b.md 644 ", "o/e/ 755", "o/e/keep.txt 644 "],
        ),
        (
            vec!["e"],
            "d /o/",
            vec!["o/ 755", "o/a.txt 644 ", "o/b.md 644 "],
        ),
    ] {
        let place = Place::new(&context);
        let excludes = excludes.into_iter().map(str::to_owned).collect();
        let request = CopyRequest {
            excludes,
            ..request(words)
        };
        assert_eq!(place.copy(&request), expected, "{words}");
    }
}

#[test]
fn here_documents_become_files() {
    let place = Place::new(&[]).layer(&[("etc/", "")]);
    let inline = vec![InlineFile {
        name: "conf".to_owned(),
        content: "a=1\n".to_owned(),
        mode: 0o644,
    }];
    let one = CopyRequest {
        inline: inline.clone(),
        dest: "/etc".to_owned(),
        ..CopyRequest::default()
    };
    assert_eq!(place.copy(&one), ["etc/ 755", "etc/conf 644 a=1\n"]);
    let named = CopyRequest {
        dest: "/etc/x".to_owned(),
        chmod: Some("600".to_owned()),
        ..one
    };
    assert_eq!(
        place.copy(&named),
        ["etc/ 755", "etc/conf 644 a=1\n", "etc/x 600 a=1\n"]
    );
}

#[test]
fn the_digest_knows_contents_and_modes_but_no_times() {
    let files = [("d/a", "1"), ("d/b", "2")];
    let place = Place::new(&files);
    let words = request("d /o/");
    let before = place.digest(&words);
    assert_eq!(before, Place::new(&files).digest(&words));
    let time = std::time::SystemTime::UNIX_EPOCH;
    fs::File::open(place.path("context/d/a"))
        .unwrap()
        .set_modified(time)
        .unwrap();
    assert_eq!(before, place.digest(&words));
    fs::set_permissions(place.path("context/d/a"), PermissionsExt::from_mode(0o600)).unwrap();
    assert_ne!(before, place.digest(&words));
    fs::set_permissions(place.path("context/d/a"), PermissionsExt::from_mode(0o644)).unwrap();
    assert_eq!(before, place.digest(&words));
    fs::write(place.path("context/d/b"), "3").unwrap();
    assert_ne!(before, place.digest(&words));
    assert_ne!(
        before,
        Place::new(&[("d/a", "1"), ("d/c", "2")]).digest(&words)
    );
    assert_ne!(
        before,
        Place::new(&[("d/a", "12"), ("d/b", "")]).digest(&words)
    );
}

#[test]
fn a_second_request_in_the_same_layer_leaves_the_times_of_the_first() {
    let place = Place::new(&[("a", "1"), ("d/b", "2")]);
    let first = CopyRequest {
        made_at: Some(77),
        ..request("a /n/m/")
    };
    place.copy(&first);
    fs::set_permissions(place.path("layer/n/m"), PermissionsExt::from_mode(0o2755)).unwrap();
    place.copy(&request("d /n/m/"));
    let mode = place.path("layer/n/m").metadata().unwrap().mode();
    assert_eq!(mode & 0o7777, 0o2755);
    for path in ["layer/n", "layer/n/m"] {
        assert_eq!(place.path(path).metadata().unwrap().mtime(), 77, "{path}");
    }
    assert_eq!(place.path("layer").metadata().unwrap().mtime(), 0);
    assert!(place.path("layer/n/m/b").exists());
}

#[test]
fn without_sources_the_destination_is_made_if_it_is_not_there() {
    let place = Place::new(&[]).layer(&[("a/b/", ""), ("l -> a", "")]);
    let made = |dest: &str| {
        let request = CopyRequest {
            dest: dest.to_owned(),
            dest_is_folder: true,
            ..CopyRequest::default()
        };
        place.try_copy(&request).unwrap().changes.entries
    };
    assert_eq!(made("/a/b"), 0);
    assert_eq!(made("/l"), 0);
    assert_eq!(made("/l/b/c/d"), 4);
    assert!(place.path("layer/a/b/c/d").is_dir());
}

//! Trees that somebody has prepared, and that somebody changes meanwhile.

use std::{fs, os::unix::net::UnixListener, thread, time::Duration};

use proptest::prelude::*;
use rustix::fs::{CWD, FileType, Mode};

use super::*;
use crate::model::ErrorKind;

fn selected<'a>(tree: &'a Tree<'a>, request: &CopyRequest) -> Selection<'a> {
    select(tree, request, &mut HashCache::default()).unwrap()
}

#[test]
fn what_a_layer_cannot_have_is_left_out_and_counted() {
    let place = Place::new(&[
        ("a", ""),
        (".wh.b", ""),
        (".wh..wh..opq", ""),
        ("d/.wh.c", ""),
    ]);
    let _socket = UnixListener::bind(place.path("context/socket")).unwrap();
    let device = |name: &str, kind| rustix::fs::mknodat(CWD, place.path(name), kind, Mode::RUSR, 0);
    device("context/whiteout", FileType::CharacterDevice).unwrap();
    device("context/fifo", FileType::Fifo).unwrap();
    let copying = request(". /");
    let root = open(&place.context());
    let tree = Tree::Folder {
        root: root.as_fd(),
        ignore: None,
    };
    let selection = select(&tree, &copying, &mut HashCache::default()).unwrap();
    let warnings: Vec<String> = selection.warnings().collect();
    let [sockets, names] = &warnings[..] else {
        panic!("{warnings:?}");
    };
    assert_eq!(
        sockets,
        "warning: socket is left out: a layer has no sockets"
    );
    assert!(names.contains(" and 3 more are left out"), "{names}");
    let written = place.try_copy(&copying).unwrap();
    assert_eq!(
        (written.changes.sockets, written.changes.reserved_names),
        (1, 4)
    );
    assert_eq!(written.changes.entries, 3);
    let fifo = place.path("layer/fifo").symlink_metadata().unwrap();
    assert_eq!(FileType::from_raw_mode(fifo.mode()), FileType::Fifo);
    fs::remove_file(place.path("layer/fifo")).unwrap();
    assert_eq!(shown(&place.path("layer")), ["a 644 ", "d/ 755"]);
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    if rustix::process::geteuid().is_root() {
        // Root reads everything.
        return;
    }
    let place = Place::new(&[("d/secret", "")]);
    fs::set_permissions(
        place.path("context/d/secret"),
        PermissionsExt::from_mode(0o000),
    )
    .unwrap();
    let error = place.try_copy(&request("d /")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
    assert!(error.one_line().contains("/d/secret"));
    assert!(
        error
            .hint()
            .is_some_and(|hint| hint.contains(".dockerignore"))
    );
}

#[test]
fn the_digest_is_that_of_what_was_written() {
    let place = Place::new(&[
        ("d/changed", "1"),
        ("d/gone", "1"),
        ("d/swapped", "1"),
        ("d/e/x", "1"),
    ]);
    let root = open(&place.context());
    let tree = Tree::Folder {
        root: root.as_fd(),
        ignore: None,
    };
    let request = request("d /");
    let selection = selected(&tree, &request);
    let before = selection.digest(&request).unwrap();
    let context = place.path("context/d");
    fs::write(context.join("changed"), "2").unwrap();
    fs::remove_file(context.join("gone")).unwrap();
    fs::remove_file(context.join("swapped")).unwrap();
    symlink("/etc/passwd", context.join("swapped")).unwrap();
    fs::rename(context.join("e"), context.join("f")).unwrap();
    symlink("/etc", context.join("e")).unwrap();
    let layer = open(&place.path("layer"));
    let written = write(selection, &request, &place.below(), layer.as_fd()).unwrap();
    assert_eq!(shown(&place.path("layer")), ["changed 644 2", "e/ 755"]);
    assert_ne!(written.digest, before);
    // As if the context had been so from the beginning.
    let same = Place::new(&[("d/changed", "2"), ("d/e/", "")]);
    assert_eq!(written.digest, same.digest(&request));
}

#[test]
fn a_tree_that_never_stands_still_is_copied_in_some_state() {
    let place = Place::new(&[("d/0/x", "1"), ("d/1/x", "2")]);
    let root = open(&place.context());
    let tree = Tree::Folder {
        root: root.as_fd(),
        ignore: None,
    };
    let context = place.path("context/d");
    let done = std::sync::atomic::AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let _ = fs::rename(context.join("0"), context.join("2"));
                let _ = symlink("/etc", context.join("0"));
                let _ = fs::remove_file(context.join("0"));
                let _ = fs::rename(context.join("2"), context.join("0"));
                let _ = fs::write(context.join("1/x"), "22");
            }
        });
        for _ in 0..100 {
            let layer = tempfile::tempdir().unwrap();
            let request = request("d /");
            let selection = selected(&tree, &request);
            let target = open(layer.path());
            write(selection, &request, &place.below(), target.as_fd()).unwrap();
            for line in shown(layer.path()) {
                let known = [
                    "0/ 755",
                    "0/x 644 1",
                    "1/ 755",
                    "2/ 755",
                    "2/x 644 1",
                    "0 -> /etc",
                ];
                assert!(
                    known.contains(&&line[..]) || line.starts_with("1/x 644 "),
                    "{line}"
                );
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
    });
}

#[test]
fn hashes_are_remembered_until_a_file_changes() {
    let place = Place::new(&[("a", "1"), ("b", "2")]);
    let root = open(&place.context());
    let tree = Tree::Folder {
        root: root.as_fd(),
        ignore: None,
    };
    let request = request(". /");
    let folder = tempfile::tempdir().unwrap();
    let digest = |cache: &mut HashCache| {
        select(&tree, &request, cache)
            .unwrap()
            .digest(&request)
            .unwrap()
    };
    thread::sleep(Duration::from_millis(60));
    let mut cache = HashCache::load(open(folder.path()), "hashes");
    let first = digest(&mut cache);
    cache.save(open(folder.path()), "hashes").unwrap();
    // The content cannot be read any more, and need not be.
    let mut known = HashCache::load(open(folder.path()), "hashes");
    assert_eq!(known.len(), 2);
    assert_eq!(digest(&mut known), first);
    fs::write(place.path("context/a"), "3").unwrap();
    assert_ne!(digest(&mut known), first);
    // Written just now: it may be written again in the same tick, so it is not remembered.
    assert_eq!(known.len(), 2);
    // Two builds at once: neither forgets what the other has found.
    let other = Place::new(&[("c", "4")]);
    thread::sleep(Duration::from_millis(60));
    let other_root = open(&other.context());
    let tree = Tree::Folder {
        root: other_root.as_fd(),
        ignore: None,
    };
    let mut theirs = HashCache::default();
    select(&tree, &request, &mut theirs).unwrap();
    theirs.save(open(folder.path()), "hashes").unwrap();
    assert_eq!(HashCache::load(open(folder.path()), "hashes").len(), 3);
    for damage in [0, 20, 130, 300] {
        let mut bytes = fs::read(folder.path().join("hashes")).unwrap();
        if let Some(byte) = bytes.get_mut(damage) {
            *byte ^= 1;
            fs::write(folder.path().join("damaged"), bytes).unwrap();
            assert_eq!(HashCache::load(open(folder.path()), "damaged").len(), 0);
        }
    }
}

#[test]
fn many_links_and_deep_folders_end() {
    let place = Place::new(&[("x", "1")]);
    for step in 0..60 {
        let target = if step == 0 {
            "x".to_owned()
        } else {
            format!("l{}", step - 1)
        };
        symlink(target, place.path("context").join(format!("l{step}"))).unwrap();
    }
    assert!(
        place
            .copy(&request("l30 /y"))
            .contains(&"y 644 1".to_owned())
    );
    assert!(place.refused(&request("l59 /z")).contains("cannot find"));
    let mut deep = place.path("context/deep");
    fs::create_dir(&deep).unwrap();
    for _ in 0..300 {
        deep = deep.join("d");
        fs::create_dir(&deep).unwrap();
    }
    assert_eq!(
        place.try_copy(&request("deep /o")).unwrap().changes.entries,
        301
    );
}

/// Go's filepath.Match by the book: every way is tried.
fn matches(pattern: &[char], name: &[char]) -> bool {
    match (pattern, name) {
        ([], []) => true,
        (['*', rest @ ..], name) => (0..=name.len()).any(|taken| matches(rest, &name[taken..])),
        (['?', rest @ ..], [_, name @ ..]) => matches(rest, name),
        (['\\', letter, rest @ ..], [first, name @ ..]) => letter == first && matches(rest, name),
        ([letter, rest @ ..], [first, name @ ..]) => letter == first && matches(rest, name),
        _ => false,
    }
}

proptest! {
    #[test]
    fn names_match_as_the_book_says(pattern in r"([ab*?]|\\[ab*]){0,8}", name in "[ab*]{0,8}") {
        prop_assume!(!pattern.is_empty() && !name.is_empty());
        let parsed = glob::parse(&pattern).unwrap();
        let letters = |text: &str| text.chars().collect::<Vec<char>>();
        prop_assert_eq!(parsed.len(), 1);
        prop_assert_eq!(parsed[0].matches(&name), matches(&letters(&pattern), &letters(&name)));
    }

    #[test]
    fn no_pattern_makes_a_panic(pattern in ".{0,20}", name in "[a-c.]{0,12}") {
        for part in glob::parse(&pattern).unwrap_or_default() {
            let _ = (part.matches(&name), part.only());
        }
        let mut ignore = Ignore::default();
        let _ = ignore.add(&pattern);
        let _ = (ignore.excludes(&name), ignore.excludes_all_below(&name));
    }

    #[test]
    fn no_source_leaves_the_tree(source in "[a.*/]{1,12}", target in "[a./]{1,8}") {
        let place = Place::new(&[("a/a", "inside"), ("aa", "inside")]);
        fs::write(place.dir.path().join("a"), "outside").unwrap();
        symlink(&target, place.path("context/a/l")).unwrap();
        symlink(&target, place.path("context/aaa")).unwrap();
        let request = CopyRequest { sources: vec![source], dest: "/".to_owned(), dest_is_folder: true, ..CopyRequest::default() };
        if place.try_copy(&request).is_ok() {
            for line in shown(&place.path("layer")) {
                prop_assert!(!line.contains("outside"), "{}", line);
            }
        }
    }
}

//! What a container has written → a layer in the store → its archive → the same layer again.

mod trees;

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, OwnedFd},
        unix::{
            fs::{PermissionsExt, symlink},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
    sync::atomic::{AtomicBool, Ordering},
};

use coracle::storage::{
    Store,
    changes::{self, Changes, Source},
    pack::pack_layer,
    unpack::{Decompressor, Privilege, UnpackOptions, hash_while, unpack},
};
use proptest::{collection::vec, prelude::*};
use rustix::fs::{CWD, FileType, Mode, XattrFlags};
use trees::{Tree, snapshot};

struct World {
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        for name in ["upper", "taken", "unpacked", "below", "lower"] {
            let path = folder.path().join(name);
            fs::create_dir(&path).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        World { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn open(&self, name: &str) -> OwnedFd {
        File::open(self.path(name)).unwrap().into()
    }

    /// Takes `upper` over, on top of `below` and that on top of `lower`.
    fn take(&self, is_whole: bool) -> rustix::io::Result<Changes> {
        let tree = self.open("upper");
        let source = Source {
            tree: tree.as_fd(),
            is_whole,
            layers: vec![self.open("lower"), self.open("below")],
            privilege: Privilege::of_this_process(),
            owners: None,
            own_places: &["etc/hosts", "proc"],
            is_over: false,
        };
        changes::take(source, self.open("taken").as_fd())
    }

    fn names(&self, tree: &str) -> Vec<String> {
        let names = snapshot(&self.path(tree)).into_keys();
        names.filter(|name| !name.is_empty()).collect()
    }
}

fn opaque_name() -> &'static str {
    match Privilege::of_this_process() {
        Privilege::Root => "trusted.overlay.opaque",
        Privilege::Rootless => "user.overlay.opaque",
    }
}

fn whiteout(path: &Path) -> bool {
    rustix::fs::mknodat(CWD, path, FileType::CharacterDevice, Mode::empty(), 0).is_ok()
}

/// One more thing in the tree; what cannot be made (the name is taken) is left out.
#[derive(Clone, Debug)]
enum Made {
    File {
        content: Vec<u8>,
        mode: u32,
        attribute: bool,
    },
    Folder {
        mode: u32,
        opaque: bool,
    },
    Symlink(String),
    /// To the file that was made before it by so many.
    Link(usize),
    Whiteout,
    Pipe,
}

fn make(path: &Path, made: &Made, files: &[PathBuf]) {
    match made {
        Made::File {
            content,
            mode,
            attribute,
        } => {
            if path.symlink_metadata().is_ok() || fs::write(path, content).is_err() {
                return;
            }
            if *attribute {
                rustix::fs::setxattr(path, "user.note", b"a\nb=c", XattrFlags::empty()).unwrap();
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Made::Folder { mode, opaque } => {
            if fs::create_dir(path).is_err() {
                return;
            }
            if *opaque {
                rustix::fs::setxattr(path, opaque_name(), b"y", XattrFlags::empty()).unwrap();
            }
            fs::set_permissions(path, fs::Permissions::from_mode(*mode)).unwrap();
        }
        Made::Symlink(target) => drop(symlink(target, path)),
        Made::Link(back) => {
            let first = files.len().checked_sub(1 + back).map(|index| &files[index]);
            if let Some(first) = first.filter(|first| first.is_file() && !first.is_symlink()) {
                let _ = fs::hard_link(first, path);
            }
        }
        Made::Whiteout => drop(whiteout(path)),
        Made::Pipe => {
            let _ = rustix::fs::mknodat(CWD, path, FileType::Fifo, Mode::RUSR, 0);
        }
    }
}

fn things() -> impl Strategy<Value = Vec<(Vec<String>, Made)>> {
    let long = "n".repeat(120);
    let name = prop_oneof![
        Just("a".to_owned()),
        Just("b b".to_owned()),
        Just("é\u{1F6F6}".to_owned()),
        Just(long),
        "[a-z]{1,3}",
    ];
    let made = prop_oneof![
        4 => (vec(any::<u8>(), 0..2000), 0o600..0o7777_u32, any::<bool>()).prop_map(
            |(content, mode, attribute)| Made::File { content, mode: mode | 0o600, attribute }
        ),
        4 => (0..0o7777_u32, any::<bool>())
            .prop_map(|(mode, opaque)| Made::Folder { mode: mode | 0o700, opaque }),
        1 => "[a-z./]{1,130}".prop_map(Made::Symlink),
        1 => (0..8_usize).prop_map(Made::Link),
        1 => Just(Made::Whiteout),
        1 => Just(Made::Pipe),
    ];
    vec((vec(name, 1..5), made), 0..40)
}

/// What the archive can carry, and all that matters.
fn comparable(mut tree: Tree) -> Tree {
    for node in tree.values_mut() {
        node.mtime.1 = 0;
        node.sparse = false;
        if node.kind == 'c' {
            // Times of whiteouts mean nothing.
            node.mtime.0 = 0;
        }
    }
    tree
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn a_tree_its_layer_and_its_archive_are_the_same(things in things()) {
        let world = World::new();
        let upper = world.path("upper");
        let mut files = Vec::new();
        for (names, made) in &things {
            let path = names.iter().fold(upper.clone(), |path, name| path.join(name));
            // Through no link that was made before.
            let inside = path.parent().and_then(|parent| parent.canonicalize().ok());
            if !inside.is_some_and(|parent| parent.starts_with(upper.canonicalize().unwrap())) {
                continue;
            }
            make(&path, made, &files);
            files.push(path);
        }
        // The root of a layer that does not change it has the time of the one below.
        let below = fs::metadata(world.path("below")).unwrap().modified().unwrap();
        File::open(&upper).unwrap().set_modified(below).unwrap();
        let taken = world.take(false).unwrap();
        let original = comparable(snapshot(&upper));
        let copy = comparable(snapshot(&world.path("taken")));
        prop_assert_eq!(&copy, &original);
        prop_assert_eq!(taken.entries as usize, original.len() - 1);

        let mut archive = Vec::new();
        pack_layer(world.open("taken").as_fd(), true, &mut archive).unwrap();
        let options = UnpackOptions::new(Privilege::of_this_process(), 1 << 30);
        let summary = unpack(archive.as_slice(), world.open("unpacked").as_fd(), &options).unwrap();
        prop_assert_eq!(summary.bytes, taken.bytes);
        let again = comparable(snapshot(&world.path("unpacked")));
        let bare = |mut tree: Tree| {
            tree.values_mut().filter(|node| node.kind == 'c').for_each(|node| {
                node.mode = 0;
                node.owner = (0, 0);
            });
            tree
        };
        prop_assert_eq!(bare(again), bare(copy));
        let mut second = Vec::new();
        pack_layer(world.open("taken").as_fd(), true, &mut second).unwrap();
        prop_assert!(archive == second, "the same tree makes the same archive");
    }
}

/// Nothing shrinks so well as a file of holes; what unpacks layers refuses bombs.
#[test]
fn an_archive_of_holes_is_no_bomb() {
    let world = World::new();
    let file = File::create(world.path("upper").join("holes")).unwrap();
    file.set_len(200 << 20).unwrap();
    let store = Store::open(&world.path("root"), &world.path("run")).unwrap();
    let lease = store.lease().unwrap();
    let archive = lease
        .archive_layer(world.open("upper").as_fd(), false)
        .unwrap();
    assert!(archive.blob.size() < 1 << 20);
    let plain = Decompressor::detect(archive.blob.reader()).unwrap();
    let options = UnpackOptions::new(Privilege::of_this_process(), 1 << 30);
    let tree = world.open("unpacked");
    let (summary, found) = hash_while(plain, |tar| unpack(tar, tree.as_fd(), &options)).unwrap();
    assert_eq!(summary.bytes, 200 << 20);
    assert_eq!(found.digest, archive.diff_id);
}

#[test]
fn what_is_not_new_is_left_out() {
    let world = World::new();
    for tree in ["lower", "upper"] {
        fs::create_dir(world.path(tree).join("same")).unwrap();
        fs::create_dir(world.path(tree).join("chmod")).unwrap();
    }
    fs::create_dir(world.path("below").join("etc")).unwrap();
    let upper = world.path("upper");
    fs::set_permissions(upper.join("chmod"), fs::Permissions::from_mode(0o700)).unwrap();
    // Places that the engine makes for its mounts; one is the container's own.
    fs::create_dir_all(upper.join("etc")).unwrap();
    fs::write(upper.join("etc/hosts"), "").unwrap();
    fs::create_dir(upper.join("proc")).unwrap();
    let _socket = UnixListener::bind(upper.join("socket")).unwrap();
    fs::write(upper.join(".wh.x"), "").unwrap();
    let changes = world.take(false).unwrap();
    assert_eq!(world.names("taken"), ["chmod"]);
    assert_eq!((changes.sockets, changes.reserved_names), (1, 1));
    assert!(!changes.root_changed);

    fs::write(upper.join("etc/hosts"), "mine").unwrap();
    fs::remove_dir_all(world.path("taken")).unwrap();
    fs::create_dir(world.path("taken")).unwrap();
    world.take(false).unwrap();
    assert_eq!(world.names("taken"), ["chmod", "etc", "etc/hosts"]);
}

#[test]
fn an_untouched_container_has_no_changes() {
    let world = World::new();
    fs::create_dir(world.path("below").join("etc")).unwrap();
    fs::create_dir(world.path("upper").join("etc")).unwrap();
    assert!(world.take(false).unwrap().is_empty());
    let root = fs::Permissions::from_mode(0o711);
    fs::set_permissions(world.path("upper"), root).unwrap();
    let changes = world.take(false).unwrap();
    assert!(changes.root_changed && changes.entries == 0);
}

#[test]
fn a_root_that_is_a_copy_is_compared() {
    let world = World::new();
    let time = rustix::fs::Timespec {
        tv_sec: 1_000_000_000,
        tv_nsec: 5,
    };
    let stamp = |path: &Path| {
        let times = rustix::fs::Timestamps {
            last_access: time,
            last_modification: time,
        };
        rustix::fs::utimensat(CWD, path, &times, rustix::fs::AtFlags::empty()).unwrap();
    };
    let put = |tree: &str, name: &str, text: &str| {
        let path = world.path(tree).join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        stamp(&path);
    };
    put("lower", "d/kept", "1");
    put("lower", "d/edited", "1");
    put("lower", "d/removed", "1");
    put("lower", "hidden/x", "1");
    put("lower", "gone/x", "1");
    put("lower", "turned/x", "1");
    put("lower", "etc/hosts", "");
    assert!(whiteout(&world.path("below").join("hidden")));
    put("upper", "d/kept", "1");
    put("upper", "d/edited", "22");
    put("upper", "turned", "now a file");
    put("upper", "new/x", "1");
    fs::create_dir(world.path("upper").join("etc")).unwrap();
    world.take(true).unwrap();
    let taken = snapshot(&world.path("taken"));
    let shown: Vec<(&str, char)> = taken
        .iter()
        .filter(|(name, _)| !name.is_empty())
        .map(|(name, node)| (name.as_str(), node.kind))
        .collect();
    assert_eq!(
        shown,
        [
            ("d", 'd'),
            ("d/edited", '-'),
            ("d/removed", 'c'),
            ("gone", 'c'),
            ("new", 'd'),
            ("new/x", '-'),
            ("turned", '-'),
        ]
    );
}

/// A container that changes everything while it is read gets at most a torn copy of its own files.
#[test]
fn a_tree_that_changes_meanwhile_leads_nowhere() {
    let world = World::new();
    let secret = world.path("secret");
    fs::create_dir(&secret).unwrap();
    fs::write(secret.join("x"), "SECRET").unwrap();
    let upper = world.path("upper");
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (one, two) = (upper.join("swap"), upper.join("swap2"));
            while !done.load(Ordering::Relaxed) {
                let _ = fs::create_dir(&one);
                let _ = fs::write(one.join("x"), "own");
                let _ = fs::remove_dir_all(&one);
                let _ = symlink(&secret, &one);
                let _ = fs::remove_file(&one);
                let _ = fs::write(&two, "own");
                let _ = fs::remove_file(&two);
                let _ = symlink(secret.join("x"), &two);
                let _ = fs::remove_file(&two);
                let _ = rustix::fs::mknodat(CWD, &two, FileType::Fifo, Mode::RUSR, 0);
                let _ = fs::remove_file(&two);
            }
        });
        for _ in 0..300 {
            fs::remove_dir_all(world.path("taken")).unwrap();
            fs::create_dir(world.path("taken")).unwrap();
            world.take(false).unwrap();
            for (name, node) in snapshot(&world.path("taken")) {
                assert!(node.content != b"SECRET", "{name}");
            }
        }
        done.store(true, Ordering::Relaxed);
    });
}

//! The copy driver: what it makes of layers is what overlayfs would show.

mod storage;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
};

use coracle::{
    model::{Digest, host::IdRange, user_namespace::IdMaps},
    storage::{
        Driver, LayerFacts,
        copy::{Content, Owners, apply_layers},
    },
};
use rustix::fs::{FileType, Mode, XattrFlags};
use storage::{World, digest};

/// Puts a layer made by `fill` into the store.
fn add_layer(world: &World, name: &str, fill: impl FnOnce(&Path)) -> Digest {
    let chain_id = digest(name);
    let lease = world.store.lease().unwrap();
    let mut layer = lease.stage_layer(&chain_id).unwrap();
    let tree = PathBuf::from(format!(
        "/proc/self/fd/{}",
        std::os::fd::AsRawFd::as_raw_fd(&layer.tree())
    ));
    fill(&fs::read_link(tree).unwrap());
    let facts = LayerFacts {
        diff_id: chain_id.clone(),
        size: 0,
        entries: 0,
        opaque_root: false,
        unflushed: None,
    };
    layer.seal(&facts).unwrap();
    lease.commit(vec![], vec![layer], &[]).unwrap();
    chain_id
}

fn rootfs(world: &World, layers: &[Digest]) -> PathBuf {
    let image = world.add_image("alpine", "one");
    let (dir, _lock, _) = world.add_container("boat", &image);
    let lease = world.store.lease().unwrap();
    lease.copy_rootfs(dir.fd(), layers, None).unwrap();
    // A second time there is nothing to do.
    lease.copy_rootfs(dir.fd(), layers, None).unwrap();
    dir.path().join("rootfs")
}

fn whiteout(path: &Path) {
    let kind = FileType::CharacterDevice;
    rustix::fs::mknodat(rustix::fs::CWD, path, kind, Mode::from(0o600), 0).unwrap();
}

fn set_xattr(path: &Path, name: &str, value: &[u8]) -> bool {
    rustix::fs::setxattr(path, name, value, XattrFlags::empty()).is_ok()
}

fn text(path: PathBuf) -> String {
    fs::read_to_string(path).unwrap()
}

#[test]
fn upper_layers_win_and_hide() {
    let world = World::new();
    let low = add_layer(&world, "low", |tree| {
        for folder in ["etc", "opt/a", "var", "gone/deep", "swap"] {
            fs::create_dir_all(tree.join(folder)).unwrap();
        }
        for file in [
            "etc/passwd",
            "etc/group",
            "opt/a/old",
            "gone/deep/x",
            "file",
        ] {
            fs::write(tree.join(file), "low").unwrap();
        }
        set_xattr(&tree.join("etc"), "user.low", b"1");
    });
    let mut opaque_is_possible = false;
    let high = add_layer(&world, "high", |tree| {
        fs::create_dir_all(tree.join("etc")).unwrap();
        fs::write(tree.join("etc/passwd"), "high").unwrap();
        whiteout(&tree.join("gone"));
        whiteout(&tree.join("never-there"));
        fs::create_dir_all(tree.join("opt")).unwrap();
        opaque_is_possible = set_xattr(&tree.join("opt"), "user.overlay.opaque", b"y");
        fs::write(tree.join("opt/new"), "high").unwrap();
        set_xattr(&tree.join("etc"), "user.high", b"1");
        symlink("/nowhere", tree.join("swap")).unwrap();
        fs::create_dir(tree.join("file")).unwrap();
    });
    let rootfs = rootfs(&world, &[low, high]);
    assert_eq!(text(rootfs.join("etc/passwd")), "high");
    assert_eq!(text(rootfs.join("etc/group")), "low");
    assert!(!rootfs.join("gone").exists());
    assert!(!rootfs.join("never-there").exists());
    assert_eq!(text(rootfs.join("opt/new")), "high");
    assert_eq!(rootfs.join("opt/a").exists(), !opaque_is_possible);
    assert!(rootfs.join("swap").is_symlink());
    assert!(rootfs.join("file").is_dir());
    let mode = fs::metadata(&rootfs).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o755);
    let mut value = [0; 1];
    let attribute = |name| rustix::fs::getxattr(rootfs.join("etc"), name, &mut [0; 1][..]).is_ok();
    assert!(!attribute("user.low"));
    assert_eq!(attribute("user.high"), opaque_is_possible);
    let marks = rustix::fs::getxattr(rootfs.join("opt"), "user.overlay.opaque", &mut value);
    assert!(marks.is_err());
}

#[test]
fn metadata_links_and_holes_come_along() {
    let world = World::new();
    let long_ago = std::time::UNIX_EPOCH + std::time::Duration::new(1_000_000_000, 123_456_789);
    let mut attribute_is_possible = false;
    let layer = add_layer(&world, "layer", |tree| {
        fs::create_dir_all(tree.join("bin/deep")).unwrap();
        let tool = tree.join("bin/tool");
        fs::write(&tool, "tool").unwrap();
        fs::set_permissions(&tool, fs::Permissions::from_mode(0o4755)).unwrap();
        attribute_is_possible = set_xattr(&tool, "user.note", b"kept");
        fs::hard_link(&tool, tree.join("bin/deep/same")).unwrap();
        fs::hard_link(&tool, tree.join("top")).unwrap();
        symlink("../tool", tree.join("bin/deep/link")).unwrap();
        let sparse = fs::File::create(tree.join("sparse")).unwrap();
        std::os::unix::fs::FileExt::write_at(&sparse, b"end", 8 << 20).unwrap();
        sparse.set_len(16 << 20).unwrap();
        let times = fs::FileTimes::new().set_modified(long_ago);
        for path in ["bin/tool", "sparse", "bin"] {
            let file = fs::File::open(tree.join(path)).unwrap();
            file.set_times(times).unwrap();
        }
        fs::set_permissions(tree.join("bin"), fs::Permissions::from_mode(0o551)).unwrap();
    });
    let rootfs = rootfs(&world, &[layer]);
    let of = |path: &str| fs::symlink_metadata(rootfs.join(path)).unwrap();
    assert_eq!(of("bin/tool").mode() & 0o7777, 0o4755);
    assert_eq!(of("bin").mode() & 0o7777, 0o551);
    for path in ["bin/tool", "sparse", "bin"] {
        assert_eq!(of(path).modified().unwrap(), long_ago, "{path}");
    }
    assert_eq!(of("bin/tool").nlink(), 3);
    assert_eq!(of("bin/tool").ino(), of("top").ino());
    assert_eq!(of("bin/tool").ino(), of("bin/deep/same").ino());
    let link = fs::read_link(rootfs.join("bin/deep/link")).unwrap();
    assert_eq!(link, Path::new("../tool"));
    assert_eq!(of("sparse").len(), 16 << 20);
    assert!(of("sparse").blocks() * 512 < 1 << 20);
    let content = fs::read(rootfs.join("sparse")).unwrap();
    assert_eq!(&content[8 << 20..(8 << 20) + 3], b"end");
    if attribute_is_possible {
        let mut value = [0; 16];
        let length =
            rustix::fs::getxattr(rootfs.join("bin/tool"), "user.note", &mut value[..]).unwrap();
        assert_eq!(&value[..length], b"kept");
    }
    // Not shared with the layer: the container may write.
    fs::write(rootfs.join("top"), "changed").unwrap();
    let tree = world.store.layer_tree(&digest("layer"));
    assert_eq!(text(tree.join("top")), "tool");
}

#[test]
fn lowers_are_given_topmost_first() {
    let world = World::new();
    let lowers = world.store.overlay_lowers(&[digest("low"), digest("high")]);
    assert!(lowers[0].ends_with(format!("layers/{}/tree", digest("high").hex())));
    assert_eq!(lowers.len(), 2);
}

#[test]
fn drivers_are_known_by_dockers_names_too() {
    assert_eq!(Driver::parse("overlay2").unwrap(), Driver::Overlay);
    assert_eq!(Driver::parse("vfs").unwrap(), Driver::Copy);
    assert!(Driver::parse("zfs").is_err());
}

fn range(inside: u32, outside: u32, count: u32) -> IdRange {
    IdRange {
        inside,
        outside,
        count,
    }
}

fn xattr(path: &Path, name: &str) -> Option<Vec<u8>> {
    let mut value = [0; 256];
    let length = rustix::fs::getxattr(path, name, &mut value[..]).ok()?;
    Some(value[..length].to_vec())
}

/// A file with two names of which a higher layer has replaced the first: the other one must not
/// lead to what is there now.
#[test]
fn references_name_a_path_that_is_still_the_files_own() {
    let dir = tempfile::tempdir().unwrap();
    let folder = |name: &str| {
        let path = dir.path().join(name);
        fs::create_dir(&path).unwrap();
        path
    };
    let (low, high, to) = (folder("low"), folder("high"), folder("to"));
    fs::write(low.join("a"), "old").unwrap();
    fs::hard_link(low.join("a"), low.join("b")).unwrap();
    fs::write(low.join("empty"), "").unwrap();
    fs::write(high.join("a"), "newer").unwrap();
    let open = |path: &Path| std::os::fd::OwnedFd::from(fs::File::open(path).unwrap());
    let content = Content::Referred { user_xattr: true };
    let trees = [open(&low), open(&high)];
    if !set_xattr(&low.join("a"), "user.try", b"1") {
        return;
    }
    apply_layers(&trees, &open(&to), None, content).unwrap();
    let reference = |name: &str| xattr(&to.join(name), "user.overlay.redirect");
    assert_eq!(reference("a").unwrap(), b"/a");
    assert_eq!(reference("b").unwrap(), b"/b");
    assert_eq!(reference("empty"), None);
    assert_eq!(fs::metadata(to.join("a")).unwrap().len(), 5);
    assert_eq!(fs::metadata(to.join("b")).unwrap().len(), 3);
    assert_eq!(fs::read(to.join("b")).unwrap(), [0; 3]);
    assert_eq!(xattr(&to.join("b"), "user.try").unwrap(), b"1");
}

#[test]
fn ids_that_a_container_lacks_become_nobodys() {
    let ids = IdMaps {
        uids: vec![range(0, 1, 10), range(10, 0, 1)],
        gids: vec![range(0, 5, 10)],
        ..IdMaps::default()
    };
    let owners = Owners::new(&ids);
    assert_eq!(owners.of(0, 0), (1, 5));
    assert_eq!(owners.of(10, 9), (0, 14));
    // Every outside user id up to the highest is somebody's: root has it then.
    assert_eq!(owners.of(11, 10), (1, 0));
}

//! Any bytes as an image archive (docker-archive, OCI archive, compressed or not) that is loaded.
//! Oracle: no panic, and a store that lists as it did before if the archive was refused.

#![no_main]

use std::io::Cursor;

use coracle::{
    engine::{
        Silent,
        images::{archive::LoadSource, load::load},
    },
    storage::{Store, unpack::Privilege},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|archive: &[u8]| {
    let folder = tempfile::tempdir().expect("a directory");
    let (root, run) = (folder.path().join("root"), folder.path().join("run"));
    let store = Store::open(&root, &run).expect("a store");
    let source = LoadSource::Stream(Box::new(Cursor::new(archive.to_vec())));
    let loaded = load(&store, Privilege::Rootless, source, None, &Silent);
    let images = std::fs::read_dir(root.join("images")).expect("a folder");
    assert_eq!(loaded.is_ok(), images.count() > 0);
    let beside = std::fs::read_dir(folder.path()).expect("the directory");
    assert_eq!(beside.count(), 2);
});

//! Any bytes as a layer, compressed or not. Oracle: no panic, no hang, bounded memory, and the
//! canary beside the tree unchanged.

#![no_main]

use std::{fs, os::fd::AsFd};

use coracle::storage::unpack::{Decompressor, Privilege, UnpackOptions, hash_while, unpack};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|layer: &[u8]| {
    let folder = tempfile::tempdir().expect("a directory");
    let (tree, canary) = (folder.path().join("tree"), folder.path().join("canary"));
    fs::create_dir(&tree).expect("a tree");
    fs::write(&canary, "canary").expect("a canary");
    let options = UnpackOptions {
        max_entries: 1000,
        ..UnpackOptions::new(Privilege::Rootless, 16 << 20)
    };
    let root = fs::File::open(&tree).expect("the tree");
    if let Ok(plain) = Decompressor::detect(layer) {
        let _ = hash_while(plain, |tar| unpack(tar, root.as_fd(), &options));
    }
    assert_eq!(fs::read(&canary).expect("the canary"), b"canary");
    let beside = fs::read_dir(folder.path()).expect("the directory").count();
    assert_eq!(beside, 2);
});

//! A tree to unpack into, beside things that must not change.

use std::{fs, path::PathBuf};

use coracle::{
    model::Error,
    storage::unpack::{UnpackOptions, UnpackSummary},
};

use super::{Tree, snapshot_but_for, unpack_into};

/// A tree to unpack into, between things that must not change.
pub struct Canary {
    pub root: tempfile::TempDir,
    pub before: Tree,
}

impl Canary {
    pub fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let outside = root.path().join("outside");
        fs::create_dir_all(outside.join("dir")).unwrap();
        fs::write(outside.join("secret"), "canary").unwrap();
        fs::write(outside.join("dir/file"), "canary").unwrap();
        fs::write(root.path().join("x"), "canary").unwrap();
        fs::create_dir(root.path().join("tree")).unwrap();
        let mut canary = Canary {
            root,
            before: Tree::new(),
        };
        canary.before = canary.surroundings();
        canary
    }

    pub fn tree(&self) -> PathBuf {
        self.root.path().join("tree")
    }

    pub fn surroundings(&self) -> Tree {
        snapshot_but_for(self.root.path(), Some(&self.tree()))
    }

    pub fn unpack(&self, tar: &[u8], options: &UnpackOptions) -> Result<UnpackSummary, Error> {
        let result = unpack_into(&self.tree(), tar, options);
        assert_eq!(
            self.surroundings(),
            self.before,
            "something outside changed"
        );
        result
    }
}

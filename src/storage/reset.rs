//! Removing everything of a store: `system reset`.
//!
//! `format` goes first: whatever is left when this is killed is a folder in which the next command
//! makes a store anew, and finds what was not deleted yet. The root itself stays (it may be where
//! something is mounted), and so does everything in it that is not ours.

use std::path::Path;

use rustix::{
    fs::{AtFlags, CWD, Mode},
    io::Errno,
};

use super::{FOLDERS, Store, delete, files, format::Format};
use crate::model::{Context, Error, ErrorKind, Result};

/// In this order: what refers before what is referred to.
const CONTENT: [&str; 17] = [
    "names",
    "builds",
    "containers",
    "images",
    "manifests",
    "secrets",
    "networks",
    "events",
    "shifted",
    "volumes",
    "layers",
    "blobs",
    "partial",
    "tmp",
    "orphans",
    ".format.new",
    "lock",
];

/// What is ours in a run root.
const OF_RUN: [&str; 5] = ["containers", "networks", "ports", "userns", "hinted"];

fn is_ours(name: &str) -> bool {
    CONTENT.contains(&name) || matches!(name, "format" | "lost+found")
}

impl Store {
    /// Whether a store lies there. Nothing is made.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if something lies there that is no store.
    pub fn is_store(root: &Path) -> Result<bool> {
        let shown = root.display();
        let flags = super::FOLDER.difference(rustix::fs::OFlags::NOFOLLOW);
        let dir = match rustix::fs::openat(CWD, root, flags, Mode::empty()) {
            Ok(dir) => dir,
            Err(Errno::NOENT) => return Ok(false),
            Err(errno) => return Err(errno).system(|| format!("cannot open {shown}")),
        };
        let format = files::read(&dir, "format", 64 << 10)
            .system(|| format!("cannot read {}", root.join("format").display()))?;
        let names = files::all_names(&dir).system(|| format!("cannot list {shown}"))?;
        let not_ours = |why: &str| {
            Error::new(
                ErrorKind::Conflict,
                format!("{shown} is not a store: {why}"),
            )
            .with_hint("name the store with --root")
        };
        match format {
            Some(bytes) if Format::parse(&bytes, root).is_ok() => {}
            Some(bytes) if !bytes.is_empty() => {
                return Err(not_ours("its file `format` says something else"));
            }
            None if names.is_empty() => return Ok(false),
            // A removal that was interrupted, or a beginning. Others call folders `images` and `tmp`,
            // too: only if nothing else is there are they ours.
            _ if names.iter().all(|name| is_ours(name)) => {}
            _ => return Err(not_ours("it has no file `format`, and other things")),
        }
        let place = |stat: rustix::fs::Stat| (stat.st_dev, stat.st_ino);
        let there = rustix::fs::fstat(&dir).system(|| format!("cannot examine {shown}"))?;
        let top = rustix::fs::stat("/");
        if top.is_ok_and(|top| place(top) == place(there)) {
            return Err(not_ours("it is the root of everything"));
        }
        let ours = FOLDERS
            .iter()
            .filter(|name| !name.contains('/'))
            .filter(|name| names.iter().any(|found| found == *name))
            .count();
        if ours == 0 && !names.iter().any(|name| name == "lock") {
            return Err(not_ours("it has none of a store's folders"));
        }
        Ok(true)
    }

    /// Removes everything that is the store's; what else lies in the root is returned, by name. The
    /// caller has removed the containers and is in the user namespace, where files of other ids can be
    /// deleted.
    pub fn remove_all(&self) -> Result<Vec<String>> {
        let _alone = self.lock_exclusive()?;
        self.remove_format()?;
        for name in CONTENT {
            delete::remove_tree(&self.root, name)?;
        }
        for name in OF_RUN {
            delete::remove_tree(&self.runroot, name)?;
        }
        // Both stay if somebody else's files are in them, or they are mount points.
        let _ = rustix::fs::unlinkat(CWD, &self.runroot_path, AtFlags::REMOVEDIR);
        files::all_names(&self.root).system(|| "cannot list the root".to_owned())
    }
}

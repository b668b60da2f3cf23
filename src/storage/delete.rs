//! Deleting what is in the store, without needing a byte of disk space.
//!
//! Files of other ids of a user namespace can be deleted only from inside of it: the caller has
//! entered it.

use std::{ffi::CString, os::fd::AsFd};

use rustix::io::Errno;

use super::{Store, containers, files::Stored};
pub use crate::sys::tree_removal::empty;
use crate::{
    model::{Context, Result, mount::anonymous_volumes},
    sys::tree_removal,
};

/// Deletes `name` in `dir`, whatever it is. Nothing there is success: somebody else deleted it.
pub fn remove_tree(dir: impl AsFd, name: &str) -> Result<()> {
    let what = || format!("cannot delete {name}");
    let text = CString::new(name).unwrap_or_default();
    match tree_removal::remove(dir.as_fd(), &text) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).system(what),
    }
}

/// How the names of graves begin whose nameless volumes go with them. No name of a container or
/// volume can begin with `+`.
const WITH_VOLUMES: &str = "dead-+volumes-";

impl Store {
    /// As [`Self::bury`] for a container whose nameless volumes go too: killed in between, the next
    /// sweep reads in the grave which those are.
    pub(super) fn bury_with_volumes(&self, id: &str) -> rustix::io::Result<Option<String>> {
        self.bury_as(WITH_VOLUMES, "containers", id)
    }

    /// Takes `folder/name` (below the root) out of sight by one rename into `tmp/`; gives its name
    /// there. `None` if it was not there.
    pub(super) fn bury(&self, folder: &str, name: &str) -> rustix::io::Result<Option<String>> {
        self.bury_as("dead-", folder, name)
    }

    fn bury_as(
        &self,
        prefix: &str,
        folder: &str,
        name: &str,
    ) -> rustix::io::Result<Option<String>> {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let pid = rustix::process::getpid().as_raw_nonzero();
        let grave = format!(
            "{prefix}{:.64}-{pid}-{count}",
            name.trim_start_matches("dead-")
        );
        let (from, to) = (format!("{folder}/{name}"), format!("tmp/{grave}"));
        match rustix::fs::renameat(&self.root, from, &self.root, to) {
            Ok(()) => Ok(Some(grave)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno),
        }
    }

    /// Deletes what a process that died had buried. Nameless volumes first: their names are in the
    /// grave.
    pub(super) fn decompose_left(&self, grave: &str) -> Result<()> {
        // Gone meanwhile: another sweep has it.
        if grave.starts_with(WITH_VOLUMES)
            && let Ok(dir) = self.folder(&format!("tmp/{grave}"))
            && let Stored::Good(record) = containers::read_record(&dir)?
        {
            self.remove_unused_volumes(&anonymous_volumes(&record.spec.mounts))?;
        }
        self.decompose(grave)
    }

    /// Deletes what was [buried](Self::bury). Killed in between, the next sweep goes on.
    pub(super) fn decompose(&self, grave: &str) -> Result<()> {
        remove_tree(&self.root, &format!("tmp/{grave}"))
    }
}

//! What a killed supervisor leaves in the kernel: control groups.

use std::{os::fd::OwnedFd, path::PathBuf};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    io::Errno,
};

use super::super::FOLDER;
use crate::{model::container::StartRecord, sys::tree_removal};

/// Waits until the last process of a version 2 cgroup is gone, which cgroup.events tells by
/// `POLLPRI`. Not for long: it may hang in the kernel.
fn await_empty(group: &OwnedFd) -> rustix::io::Result<()> {
    const LIMIT: Timespec = Timespec {
        tv_sec: 2,
        tv_nsec: 0,
    };
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let events = rustix::fs::openat(group, c"cgroup.events", flags, Mode::empty())?;
    let mut text = [0; 128];
    loop {
        let count = rustix::io::pread(&events, &mut text, 0)?;
        let populated = String::from_utf8_lossy(&text[..count]).contains("populated 1");
        let mut polled = [PollFd::new(&events, PollFlags::PRI)];
        if !populated || rustix::io::retry_on_intr(|| poll(&mut polled, Some(&LIMIT)))? == 0 {
            return Ok(());
        }
    }
}

/// Ends and removes the cgroups of a run whose supervisor was killed; whether nothing of it lives.
/// What cannot be removed for another reason (they are another boot's, say) holds nobody up.
pub(super) fn groups_are_gone(start: &StartRecord) -> bool {
    let remove = |path: &PathBuf| {
        let group = rustix::fs::open(path, FOLDER, Mode::empty())?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        // In version 2 only.
        if let Ok(kill) = rustix::fs::openat(&group, c"cgroup.kill", flags, Mode::empty()) {
            let _ = rustix::io::write(kill, b"1");
            await_empty(&group)?;
        }
        tree_removal::remove_folders(&group)?;
        rustix::fs::rmdir(path)
    };
    let mut groups = start.cgroup.iter().chain(&start.legacy_cgroups);
    groups.all(|path| !path.is_absolute() || remove(path) != Err(Errno::BUSY))
}

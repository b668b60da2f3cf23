//! Owner, mode, times and attributes of what a layer gets.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::SystemTime,
};

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, OFlags, Timespec, Timestamps, Uid, XattrFlags},
    io::Errno,
};

use super::{
    file::Slot,
    select::{Item, cannot},
    tree::{FOLDER, open},
    write::Writing,
};
use crate::{
    model::{Context, Result},
    storage::{changes::Changes, pack::StandIn, unpack::STAT_XATTR},
    sys::file_copy,
};

/// Owner, mode, times and attributes.
#[derive(Clone)]
pub(super) struct Dress {
    pub owner: (u32, u32),
    pub mode: u32,
    pub times: Timestamps,
    pub attributes: Vec<(Vec<u8>, Vec<u8>)>,
}

/// Owner and bits of a mode that a file has here when it was just made.
#[derive(Clone, Copy)]
pub(super) struct Born {
    owner: (u32, u32),
    bits: u32,
}

impl Born {
    /// Makes a file without a name and looks at it; `None` where that cannot be done.
    pub fn ask(folder: BorrowedFd<'_>) -> Option<Born> {
        let flags = OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(folder, c".", flags, Mode::from_raw_mode(0o777)).ok()?;
        let stat = rustix::fs::fstat(file).ok()?;
        Some(Born {
            owner: (stat.st_uid, stat.st_gid),
            bits: stat.st_mode & 0o777,
        })
    }
}

impl Writing<'_> {
    /// The layer's root looks as it did: it is shown instead of the ones below.
    pub(super) fn dress_root(&mut self) -> Result<()> {
        let what = || "cannot look at the root directory".to_owned();
        // Without any, as whoever unpacks the layer's archive makes it.
        let dress = self.dress_below(b"").system(what)?.unwrap_or(Dress {
            owner: (0, 0),
            mode: 0o755,
            times: modified(0),
            attributes: Vec::new(),
        });
        self.folders.insert(Vec::new(), dress);
        Ok(())
    }

    /// Owner, mode, times and attributes that a directory of the layers below shows.
    pub(super) fn dress_below(&self, path: &[u8]) -> rustix::io::Result<Option<Dress>> {
        let Some(found) = self.below.find(path)? else {
            return Ok(None);
        };
        if FileType::from_raw_mode(found.stat.st_mode) != FileType::Directory {
            return Ok(None);
        }
        let mut owner = (found.stat.st_uid, found.stat.st_gid);
        let mut attributes = file_copy::attributes((found.folder.as_fd(), &found.name))?;
        attributes.retain(|(name, value)| {
            if name != STAT_XATTR.as_bytes() {
                return name.starts_with(b"user.");
            }
            if let Some(noted) = StandIn::parse(value).filter(|_| owner == (0, 0)) {
                owner = (noted.uid, noted.gid);
            }
            false
        });
        Ok(Some(Dress {
            owner,
            mode: found.stat.st_mode & 0o7777,
            times: modified(found.stat.st_mtime),
            attributes,
        }))
    }

    /// What an earlier request has made in this layer looks as it does now, when something new is in
    /// it.
    pub(super) fn keep_dress(&mut self, path: &[u8], folder: &OwnedFd) -> Result<()> {
        if self.folders.contains_key(path) {
            return Ok(());
        }
        let stat = rustix::fs::fstat(folder).system(|| cannot("open", path))?;
        let dress = Dress {
            owner: (stat.st_uid, stat.st_gid),
            mode: stat.st_mode & 0o7777,
            times: modified(stat.st_mtime),
            // It has them already.
            attributes: Vec::new(),
        };
        self.folders.insert(path.to_vec(), dress);
        if stat.st_mode & 0o2000 != 0 {
            // What is made in it now would have its group; the mode comes back at the end.
            let mode = Mode::from_raw_mode(stat.st_mode & 0o777);
            rustix::fs::fchmod(folder, mode).system(|| cannot("open", path))?;
        }
        Ok(())
    }

    /// Of a directory that is made for the destination.
    pub(super) fn dress_of_made(&self) -> Dress {
        Dress {
            owner: self.owner.unwrap_or((0, 0)),
            mode: 0o755,
            times: self.made_at.clone(),
            attributes: Vec::new(),
        }
    }

    pub(super) fn dress_of(&self, item: &Item) -> Dress {
        let is_folder = item.kind() == FileType::Directory;
        Dress {
            owner: self.owner.unwrap_or(item.owner),
            mode: match &self.mode {
                Some(change) => change.apply(item.stat.st_mode, is_folder),
                None => item.stat.st_mode & 0o7777,
            },
            times: modified(item.stat.st_mtime),
            attributes: item.attributes.clone(),
        }
    }

    /// The mode to make a file with, if then only its time is missing.
    pub(super) fn mode_when_made(&self, dress: &Dress) -> Option<u32> {
        let born = self.born?;
        let plain = born.owner == dress.owner
            && dress.attributes.is_empty()
            && dress.mode & !born.bits == 0;
        plain.then_some(dress.mode)
    }

    /// Dresses the directories, deepest first.
    pub(super) fn finish(self) -> Result<Changes> {
        for (path, dress) in self.folders.iter().rev() {
            let folder = open(self.top, path, FOLDER).system(|| cannot("open", path))?;
            self.dress_file(&folder, path, dress, 'd')?;
        }
        Ok(self.changes)
    }

    /// The owner first: changing it drops file capabilities and set-id bits. The times last.
    pub(super) fn dress_file(
        &self,
        file: &OwnedFd,
        path: &[u8],
        dress: &Dress,
        sort: char,
    ) -> Result<()> {
        let what = || cannot("make", path);
        let (uid, gid) = dress.owner;
        if self.born.is_none_or(|born| born.owner != dress.owner) {
            let given =
                rustix::fs::fchown(file, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)));
            match given {
                // No such id here: it is written down, as for a layer that is unpacked.
                Err(Errno::INVAL | Errno::PERM) if sort == '-' || sort == 'd' => {
                    let note = format!("{uid} {gid} {sort} 0 0");
                    let flags = XattrFlags::empty();
                    rustix::fs::fsetxattr(file, STAT_XATTR, note.as_bytes(), flags).system(what)?;
                }
                Err(Errno::INVAL | Errno::PERM) => {}
                other => other.system(what)?,
            }
        }
        for (name, value) in &dress.attributes {
            match rustix::fs::fsetxattr(file, &name[..], value, XattrFlags::empty()) {
                // The file system or the kernel does not want it; BuildKit leaves it out, too.
                Err(Errno::OPNOTSUPP | Errno::PERM | Errno::INVAL) => {}
                other => other.system(what)?,
            }
        }
        rustix::fs::fchmod(file, Mode::from_raw_mode(dress.mode)).system(what)?;
        rustix::fs::futimens(file, &dress.times).system(what)
    }

    /// The same for what cannot be opened. A link has no mode.
    pub(super) fn dress_by_name(
        &self,
        slot: &Slot<'_>,
        dress: &Dress,
        kind: FileType,
    ) -> Result<()> {
        let what = || cannot("make", slot.path);
        let flags = AtFlags::SYMLINK_NOFOLLOW;
        let (uid, gid) = dress.owner;
        if self.born.is_none_or(|born| born.owner != dress.owner) {
            let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
            match rustix::fs::chownat(slot.folder, slot.name, Some(uid), Some(gid), flags) {
                Err(Errno::INVAL | Errno::PERM) => {}
                other => other.system(what)?,
            }
        }
        if kind != FileType::Symlink {
            let mode = Mode::from_raw_mode(dress.mode);
            let set = rustix::fs::chmodat(slot.folder, slot.name, mode, AtFlags::empty());
            set.system(what)?;
        }
        rustix::fs::utimensat(slot.folder, slot.name, &dress.times, flags).system(what)
    }
}

/// An archive's times have no fractions, and a tree should be as its archive unpacks.
pub(super) fn modified(seconds: i64) -> Timestamps {
    let time = Timespec {
        tv_sec: seconds.max(0),
        tv_nsec: 0,
    };
    Timestamps {
        last_access: time,
        last_modification: time,
    }
}

pub(super) fn times(wanted: Option<i64>, now: SystemTime) -> Timestamps {
    let now = now.duration_since(SystemTime::UNIX_EPOCH);
    let now = now.map_or(0, |since| since.as_secs().cast_signed());
    modified(wanted.unwrap_or(now))
}

//! A new volume gets what the image has at the place where it is mounted: files, owners, modes,
//! times, hard links, extended attributes, and those of the directory itself.
//!
//! It happens here, between mounting the root and mounting anything else, since this is where the
//! layers are one tree, with the owners that the container's user namespace shows; and nothing of
//! the container runs yet. The image's paths are resolved below its root, no link of it is followed
//! while copying, and the copy is staged as the head of `storage::volumes` says, so that being killed
//! leaves nothing half-done; nor does a power cut, of a volume that outlives its container. A volume
//! that has files costs six system calls.

use std::{
    collections::HashMap,
    ffi::{CStr, CString},
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{
        Access, AtFlags, FileType, FlockOperation, Mode, OFlags, RawDir, RenameFlags, Stat, flock,
    },
    io::Errno,
};

use super::mounts;
use crate::{
    engine::plan::{FillPlan, MountStep},
    model::{Context, Result},
    sys::{
        file_copy::{
            self, Refused, copy_attributes, copy_content, set_owner, set_owner_mode_times,
        },
        in_root, mount, tree_removal,
    },
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);
/// Deeper than PATH_MAX allows to address, and more descriptors than a process may have.
const DEEPEST: usize = 500;
const FILLING: &CStr = c"filling";
const READY: &CStr = c"ready";
const DATA: &CStr = c"data";

/// Fills the volumes that are empty.
pub(super) fn fill_volumes(steps: &[MountStep], root: BorrowedFd<'_>) -> Result<()> {
    for step in steps {
        if let MountStep::Bind {
            target, options, ..
        } = step
            && let Some(fill) = &options.fill
        {
            fill_volume(fill, root, target)?;
        }
    }
    Ok(())
}

fn fill_volume(plan: &FillPlan, root: BorrowedFd<'_>, target: &str) -> Result<()> {
    let folder = &plan.folder;
    let what = || {
        format!(
            "cannot copy the image's {target} into the volume {}",
            folder.display()
        )
    };
    let volume = rustix::fs::open(&mounts::path(folder)?, FOLDER, Mode::empty()).system(what)?;
    // A program may have emptied its volume: only a container's first start fills it again. A new
    // one, or one whose copy was interrupted, is filled by any.
    let wanted = plan.first_start && is_empty(&volume, DATA).system(what)?;
    if !wanted && !exists(&volume, READY) && !exists(&volume, FILLING) {
        return Ok(());
    }
    let source = open_source(root, target).system(what)?;
    if source.is_none() && !exists(&volume, READY) {
        return Ok(());
    }
    let lock = lock(&volume).system(what)?;
    fill(&volume, source.as_ref(), plan.durable).system(what)?;
    drop(lock);
    mount::leave_open(volume);
    Ok(())
}

/// The image's directory at `target`; `None` if there is none.
fn open_source(root: BorrowedFd<'_>, target: &str) -> std::io::Result<Option<OwnedFd>> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY;
    match in_root::open(root, &in_root::c_string(target)?, flags) {
        Ok(source) => Ok(Some(source)),
        Err(error) if is_no_directory(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_no_directory(error: &std::io::Error) -> bool {
    matches!(
        error.raw_os_error(),
        Some(libc::ENOENT | libc::ENOTDIR | libc::ELOOP)
    )
}

/// Waits for whoever fills the volume; free as soon as that process is gone.
fn lock(volume: &OwnedFd) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
    let lock = rustix::fs::openat(volume, c"lock", flags, Mode::from(0o600))?;
    rustix::io::retry_on_intr(|| flock(&lock, FlockOperation::LockExclusive))?;
    Ok(lock)
}

/// With the lock held. Without a source, what another container has begun to move is moved all the
/// same.
fn fill(volume: &OwnedFd, source: Option<&OwnedFd>, durable: bool) -> rustix::io::Result<()> {
    if !exists(volume, READY) {
        let Some(source) = source else {
            return Ok(());
        };
        if !is_empty(volume, DATA)? {
            // Somebody else has just filled it, or written into it without wanting a copy.
            return match tree_removal::remove(volume.as_fd(), FILLING) {
                Err(Errno::NOENT) => Ok(()),
                outcome => outcome,
            };
        }
        match rustix::fs::mkdirat(volume, FILLING, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
        let open = || rustix::fs::openat(volume, FILLING, FOLDER, Mode::empty());
        // It stays while it is emptied: it is the sign that the volume is not filled.
        tree_removal::empty(open()?)?;
        let filling = open()?;
        copy_folder(source.as_fd(), filling.as_fd(), true)?;
        if durable && !is_empty(volume, FILLING)? {
            // Before it may be taken for whole: its files would be empty after a power cut.
            rustix::fs::syncfs(&filling)?;
        }
        rustix::fs::renameat(volume, FILLING, volume, READY)?;
    }
    let ready = rustix::fs::openat(volume, READY, FOLDER, Mode::empty())?;
    let data = rustix::fs::openat(volume, DATA, FOLDER, Mode::empty())?;
    let stat = rustix::fs::fstat(&ready)?;
    for name in file_copy::entries(ready.as_fd())? {
        match rustix::fs::renameat_with(&ready, &name, &data, &name, RenameFlags::NOREPLACE) {
            // A container that wanted no copy has made one meanwhile: that one stays.
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(errno),
        }
    }
    let whole = (data.as_fd(), c".");
    set_owner(data.as_fd(), c".", &stat)?;
    copy_attributes((ready.as_fd(), c"."), whole, Refused::IsLeftOut)?;
    set_owner_mode_times(data.as_fd(), c".", &stat)?;
    tree_removal::remove(volume.as_fd(), READY)
}

fn exists(volume: &OwnedFd, name: &CStr) -> bool {
    rustix::fs::accessat(volume, name, Access::EXISTS, AtFlags::empty()).is_ok()
}

fn is_empty(volume: &OwnedFd, name: &CStr) -> rustix::io::Result<bool> {
    let data = rustix::fs::openat(volume, name, FOLDER, Mode::empty())?;
    let mut space = Vec::with_capacity(1 << 10);
    let mut reader = RawDir::new(&data, space.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        let entry = entry?;
        // A file system of its own has this in its top directory.
        if ![c".", c"..", c"lost+found"].contains(&entry.file_name()) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Copies what the image has at `target` into a file system that was made for it, and if asked the
/// directory's own owner and mode.
pub(super) fn copy_into_mount(
    root: BorrowedFd<'_>,
    target: &str,
    mounted: &OwnedFd,
    itself: bool,
) -> std::io::Result<()> {
    let Some(source) = open_source(root, target)? else {
        return Ok(());
    };
    let top = rustix::fs::openat(mounted, c".", FOLDER, Mode::empty())?;
    Ok(copy_folder(source.as_fd(), top.as_fd(), itself)?)
}

/// One copy of a directory with all that is in it.
struct Copy<'a> {
    top: BorrowedFd<'a>,
    /// Names from the top to the current directory, each with a slash behind it.
    way: Vec<u8>,
    /// The first copy of every file with several names, by the original's device and inode.
    links: HashMap<(u64, u64), CString>,
}

fn copy_folder(from: BorrowedFd<'_>, to: BorrowedFd<'_>, itself: bool) -> rustix::io::Result<()> {
    let mut copy = Copy {
        top: to,
        way: Vec::new(),
        links: HashMap::new(),
    };
    copy.folder(from, to, itself, 0)
}

impl Copy<'_> {
    fn folder(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        itself: bool,
        depth: usize,
    ) -> rustix::io::Result<()> {
        if depth > DEEPEST {
            return Err(Errno::NAMETOOLONG);
        }
        for name in file_copy::entries(from)? {
            let stat = rustix::fs::statat(from, &name, AtFlags::SYMLINK_NOFOLLOW)?;
            if FileType::from_raw_mode(stat.st_mode) == FileType::Directory {
                let source = rustix::fs::openat(from, &name, FOLDER, Mode::empty())?;
                rustix::fs::mkdirat(to, &name, Mode::RWXU)?;
                let target = rustix::fs::openat(to, &name, FOLDER, Mode::empty())?;
                let before = self.way.len();
                self.way.extend_from_slice(name.to_bytes());
                self.way.push(b'/');
                self.folder(source.as_fd(), target.as_fd(), true, depth + 1)?;
                self.way.truncate(before);
            } else if !self.link(to, &name, &stat)? {
                copy_file(from, to, &name, &stat)?;
            }
        }
        if itself {
            let stat = rustix::fs::fstat(from)?;
            set_owner(to, c".", &stat)?;
            copy_attributes((from, c"."), (to, c"."), Refused::IsLeftOut)?;
            set_owner_mode_times(to, c".", &stat)?;
        }
        Ok(())
    }

    /// Whether the file is there already under another name, which it gets too. Nobody else sees the
    /// copy, so the way to that one leads through directories alone.
    fn link(&mut self, to: BorrowedFd<'_>, name: &CStr, stat: &Stat) -> rustix::io::Result<bool> {
        if stat.st_nlink < 2 {
            return Ok(false);
        }
        let inode = (stat.st_dev, stat.st_ino);
        if let Some(first) = self.links.get(&inode) {
            match rustix::fs::linkat(self.top, first, to, name, AtFlags::empty()) {
                Ok(()) => return Ok(true),
                // The first was left out, or the path is too long: another file, then.
                Err(Errno::NOENT | Errno::NAMETOOLONG | Errno::MLINK) => return Ok(false),
                Err(errno) => return Err(errno),
            }
        }
        let path = [&self.way[..], name.to_bytes()].concat();
        if let Ok(path) = CString::new(path) {
            self.links.insert(inode, path);
        }
        Ok(false)
    }
}

fn copy_file(
    from: BorrowedFd<'_>,
    to: BorrowedFd<'_>,
    name: &CStr,
    stat: &Stat,
) -> rustix::io::Result<()> {
    match FileType::from_raw_mode(stat.st_mode) {
        FileType::RegularFile => copy_content(from, to, name, stat)?,
        FileType::Symlink => {
            let target = rustix::fs::readlinkat(from, name, Vec::new())?;
            rustix::fs::symlinkat(target, to, name)?;
        }
        kind => {
            let mode = Mode::from_raw_mode(stat.st_mode & 0o7777);
            match rustix::fs::mknodat(to, name, kind, mode, stat.st_rdev) {
                // Device nodes are only root's to make.
                Err(Errno::PERM) => return Ok(()),
                outcome => outcome?,
            }
        }
    }
    // The owner first: changing it drops file capabilities and set-id bits.
    set_owner(to, name, stat)?;
    copy_attributes((from, name), (to, name), Refused::IsLeftOut)?;
    set_owner_mode_times(to, name, stat)
}

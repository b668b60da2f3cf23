//! Deleting trees: by descriptors, without following a symlink, in constant memory for
//! descriptors, and without needing a byte of disk space.

use std::{
    ffi::{CStr, CString},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, RawDir},
    io::Errno,
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Deletes `name` in `dir`, whatever it is. ENOENT if there is nothing.
pub fn remove(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    match rustix::fs::unlinkat(dir, name, AtFlags::empty()) {
        // EPERM is POSIX's word for "it is a directory".
        Err(Errno::ISDIR | Errno::PERM) => {}
        outcome => return outcome,
    }
    let mut attempt = 0;
    loop {
        match remove_folder(dir, name) {
            // Another sweep deletes the same tree, and a listing may miss what moves meanwhile.
            Err(Errno::NOTEMPTY) if attempt < 10 => attempt += 1,
            outcome => return outcome,
        }
    }
}

fn remove_folder(dir: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<()> {
    empty(open_folder(dir, name)?)?;
    rustix::fs::unlinkat(dir, name, AtFlags::REMOVEDIR)
}

/// Deletes everything in a directory. Only the current directory is open (a hostile image may be
/// thousands of levels deep): the way back up is `..`. A container that has the tree before it, or
/// still holds a directory of it open, could move the current one elsewhere meanwhile, and `..` would
/// lead out of the tree: so it must be the very directory that this came from.
///
/// EBUSY if it is another.
pub fn empty(folder: OwnedFd) -> rustix::io::Result<()> {
    struct Level {
        name: CString,
        /// Device and inode of this one's parent.
        parent: (u64, u64),
        /// Subdirectories of this one's parent that are still to be deleted.
        siblings: Vec<CString>,
    }
    let identity = |folder: &OwnedFd| {
        let stat = rustix::fs::fstat(folder)?;
        Ok::<_, Errno>((stat.st_dev, stat.st_ino))
    };
    let mut current = folder;
    let mut subfolders = remove_files(&current)?;
    let mut way: Vec<Level> = Vec::new();
    loop {
        if let Some(name) = subfolders.pop() {
            match open_folder(&current, &name) {
                Ok(child) => {
                    way.push(Level {
                        name,
                        parent: identity(&current)?,
                        siblings: std::mem::take(&mut subfolders),
                    });
                    current = child;
                    subfolders = remove_files(&current)?;
                }
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno),
            }
            continue;
        }
        let Some(level) = way.pop() else {
            return Ok(());
        };
        current = rustix::fs::openat(&current, c"..", FOLDER, Mode::empty())?;
        if identity(&current)? != level.parent {
            return Err(Errno::BUSY);
        }
        match rustix::fs::unlinkat(&current, &level.name, AtFlags::REMOVEDIR) {
            Ok(()) | Err(Errno::NOENT) => {}
            Err(errno) => return Err(errno),
        }
        subfolders = level.siblings;
    }
}

/// Opens a subdirectory for deletion. Overlayfs leaves `work/work` with mode 0, and images may
/// hold directories that their owner cannot read.
fn open_folder(dir: impl AsFd, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let open = || rustix::fs::openat(&dir, name, FOLDER, Mode::empty());
    match open() {
        Err(Errno::ACCESS) => {
            // By the link in /proc that stands for it: chmod(2) itself would follow a symlink that
            // has just taken its place.
            let held = rustix::fs::openat(&dir, name, FOLDER | OFlags::PATH, Mode::empty())?;
            let place = format!("/proc/self/fd/{}", held.as_raw_fd());
            rustix::fs::chmod(place, Mode::RWXU)?;
            open()
        }
        Ok(folder) => Ok(folder),
        Err(errno) => Err(errno),
    }
}

/// Unlinks everything that is not a directory and names the directories.
fn remove_files(folder: &OwnedFd) -> rustix::io::Result<Vec<CString>> {
    let mut folders = Vec::new();
    let mut others = Vec::new();
    let mut space = Vec::with_capacity(32 << 10);
    let mut reader = RawDir::new(folder, space.spare_capacity_mut());
    while let Some(entry) = reader.next() {
        let entry = match entry {
            // The directory was deleted by somebody else after it was opened.
            Err(Errno::NOENT) => break,
            entry => entry?,
        };
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        match entry.file_type() {
            FileType::Directory => folders.push(name.to_owned()),
            _ => others.push(name.to_owned()),
        }
    }
    let mut writable = false;
    for name in others {
        loop {
            match rustix::fs::unlinkat(folder, &name, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                // Some file systems do not tell the type when listing.
                Err(Errno::ISDIR) => folders.push(name.clone()),
                Err(Errno::ACCESS) if !writable => {
                    rustix::fs::fchmod(folder, Mode::RWXU)?;
                    writable = true;
                    continue;
                }
                Err(errno) => return Err(errno),
            }
            break;
        }
    }
    if !writable && !folders.is_empty() {
        // A directory without write permission would keep its subdirectories.
        let stat = rustix::fs::fstat(folder)?;
        if stat.st_mode & 0o700 != 0o700 {
            rustix::fs::fchmod(folder, Mode::RWXU)?;
        }
    }
    Ok(folders)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Somebody goes on moving the directory that is being deleted up to the top of its tree, as a
    /// container can with a volume that it has mounted; beside the tree lie things of the same names.
    #[test]
    fn nothing_outside_is_deleted_when_directories_are_moved_meanwhile() {
        use std::{
            fs,
            sync::atomic::{AtomicBool, Ordering},
        };
        let base = std::env::temp_dir().join(format!("removal-{}", std::process::id()));
        let top = base.join("outer/top");
        let _ = fs::remove_dir_all(&base);
        for outside in [&base, &base.join("outer")] {
            fs::create_dir_all(outside.join("victim/kept")).unwrap();
        }
        let over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                while !over.load(Ordering::Relaxed) {
                    let _ = fs::rename(top.join("a/b/c"), top.join("c"));
                    let _ = fs::rename(top.join("c"), top.join("a/b/c"));
                }
            });
            for _ in 0..300 {
                for folder in ["a/b/c/d", "a/b/victim", "a/victim", "victim"] {
                    let _ = fs::create_dir_all(top.join(folder));
                }
                let folder = rustix::fs::open(&top, FOLDER, Mode::empty()).unwrap();
                let _ = empty(folder);
            }
            over.store(true, Ordering::Relaxed);
        });
        for outside in [&base, &base.join("outer")] {
            assert!(outside.join("victim/kept").exists(), "{outside:?}");
        }
        fs::remove_dir_all(&base).unwrap();
    }
}

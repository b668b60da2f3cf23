//! Metadata for directories that a layer uses but does not describe.
//!
//! A layer may hold `a/b/file` without entries for `a` and `a/b`. Its tree needs those
//! directories, and overlayfs shows the metadata of the topmost one, so they must look like the
//! directories of the layers below; made with defaults they would, for example, turn a `/tmp` of
//! mode 1777 into 0755.

use std::{
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::ffi::OsStrExt,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::{self, Gid, Mode, OFlags, ResolveFlags, Timespec, Uid, XattrFlags},
    io::Errno,
};

use super::{
    STAT_XATTR, shown,
    tree::{is_user_xattr, times},
};
use crate::model::{Context, Result};

const DIRECTORY: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC);
const MAX_XATTRS: usize = 64 << 10;

/// Copies owner, mode, time and `user.*` xattrs of each of the `implied` directories
/// ([`super::UnpackSummary::implied_parents`]) from the topmost of `lower` that has it, and that
/// is still visible through the layers above it. `lower` is ordered lowest first. Directories
/// that no layer has keep their defaults.
pub fn inherit_parents(
    tree: BorrowedFd<'_>,
    implied: &[PathBuf],
    lower: &[BorrowedFd<'_>],
) -> Result<()> {
    // Children first: an ordinary user may close a directory to itself.
    for path in implied.iter().rev() {
        if let Some(source) = visible_below(path, lower)? {
            let target = open_in_tree(tree, path)
                .system(|| format!("cannot open directory {} of a layer", path.display()))?;
            copy_metadata(&source, &target).system(|| {
                format!(
                    "cannot copy the metadata of {}",
                    shown(path.as_os_str().as_bytes())
                )
            })?;
        }
    }
    Ok(())
}

/// Within the layer itself the path may lead through its links, see [`super::unpack`].
fn open_in_tree(tree: BorrowedFd<'_>, path: &Path) -> Result<OwnedFd, Errno> {
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    fs::openat2(
        tree,
        Path::new(".").join(path),
        DIRECTORY,
        Mode::empty(),
        resolve,
    )
}

fn visible_below(path: &Path, lower: &[BorrowedFd<'_>]) -> Result<Option<OwnedFd>> {
    for layer in lower.iter().rev() {
        match look(*layer, path)
            .system(|| format!("cannot look for {} in a layer", path.display()))?
        {
            Look::Found(directory) => return Ok(Some(directory)),
            Look::Hidden => return Ok(None),
            Look::Deeper => {}
        }
    }
    Ok(None)
}

enum Look {
    Found(OwnedFd),
    /// A file, link, whiteout or opaque directory ends the search.
    Hidden,
    /// This layer says nothing about it.
    Deeper,
}

fn look(layer: BorrowedFd<'_>, path: &Path) -> Result<Look, Errno> {
    let mut directory = layer.try_clone_to_owned().map_err(|_| Errno::MFILE)?;
    let mut opaque = false;
    for component in path {
        opaque |= is_opaque(&directory);
        let flags = DIRECTORY | OFlags::NOFOLLOW;
        directory = match fs::openat(&directory, component, flags, Mode::empty()) {
            Ok(child) => child,
            Err(Errno::NOENT) if !opaque => return Ok(Look::Deeper),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(Look::Hidden),
            Err(errno) => return Err(errno),
        };
    }
    Ok(Look::Found(directory))
}

fn is_opaque(directory: &OwnedFd) -> bool {
    ["user.overlay.opaque", "trusted.overlay.opaque"]
        .iter()
        .any(|name| {
            let mut value = [0_u8; 4];
            matches!(fs::fgetxattr(directory, *name, &mut value[..]), Ok(1) if value[0] == b'y')
        })
}

fn copy_metadata(source: &OwnedFd, target: &OwnedFd) -> Result<(), Errno> {
    let stat = fs::fstat(source)?;
    let owner = Uid::from_raw(stat.st_uid);
    match fs::fchown(target, Some(owner), Some(Gid::from_raw(stat.st_gid))) {
        // Without a mapping the source's owner is recorded in its xattr, copied below.
        Ok(()) | Err(Errno::INVAL | Errno::PERM) => {}
        Err(errno) => return Err(errno),
    }
    copy_xattrs(source, target)?;
    fs::fchmod(target, Mode::from_raw_mode(stat.st_mode & 0o7777))?;
    fs::futimens(
        target,
        &times(Timespec {
            tv_sec: stat.st_mtime,
            tv_nsec: stat.st_mtime_nsec as _,
        }),
    )
}

fn copy_xattrs(source: impl AsFd, target: impl AsFd) -> Result<(), Errno> {
    let mut names = vec![0_u8; MAX_XATTRS];
    let length = match fs::flistxattr(&source, &mut names[..]) {
        Ok(length) => length,
        Err(Errno::OPNOTSUPP) => return Ok(()),
        Err(errno) => return Err(errno),
    };
    let mut value = vec![0_u8; MAX_XATTRS];
    for name in names[..length].split(|&byte| byte == 0) {
        if is_user_xattr(name) || name == STAT_XATTR.as_bytes() {
            let length = fs::fgetxattr(&source, name, &mut value[..])?;
            fs::fsetxattr(&target, name, &value[..length], XattrFlags::empty())?;
        }
    }
    Ok(())
}

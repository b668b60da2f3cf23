//! How many bytes a container has written, as Docker counts them: the sum of its files' lengths
//! ([`tree_size`]).

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use crate::{
    model::{Context, Result},
    storage::ContainerDir,
    sys::tree_size,
};

const FOLDER: OFlags = OFlags::RDONLY
    .union(OFlags::DIRECTORY)
    .union(OFlags::CLOEXEC)
    .union(OFlags::NOFOLLOW);

/// Whether the container's root file system is a copy of its layers, in `rootfs/`. It is made
/// before the first start.
pub(super) fn is_copy(directory: &ContainerDir) -> Result<bool> {
    match rustix::fs::statat(directory.fd(), "rootfs", AtFlags::SYMLINK_NOFOLLOW) {
        Ok(_) => Ok(true),
        Err(Errno::NOENT) => Ok(false),
        Err(errno) => {
            Err(errno).system(|| format!("cannot examine container {:?}", directory.id()))
        }
    }
}

/// Bytes below the container's folder `name`; none if it has no such folder.
pub(super) fn of_tree(directory: &ContainerDir, name: &str) -> Result<u64> {
    let what = || format!("cannot measure container {:?}", directory.id());
    match rustix::fs::openat(directory.fd(), name, FOLDER, Mode::empty()) {
        Ok(top) => tree_size::lengths(&top).system(what),
        Err(Errno::NOENT) => Ok(0),
        Err(errno) => Err(errno).system(what),
    }
}

//! How a container's root file system is put together: overlay or copy.
//!
//! Overlay is tried unless the user says otherwise. If the kernel refuses it for a container that
//! has written nothing yet (nested in another container, an old kernel, a file system that cannot be
//! below), its layers are copied. A container whose root is a copy stays one; nothing is remembered
//! for others, since a refusal may be one container's own matter.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::PathBuf,
};

use rustix::fs::Mode;

use super::{
    Lease, Store,
    containers::make_overlay_folders,
    copy::{self, Content, Owners},
    lease::exists,
};
use crate::model::{Context, Digest, Error, Result, user_namespace::IdMaps};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Driver {
    /// Layers below, `upper/` and `work/` of the container above.
    Overlay,
    /// All layers copied into the container's `rootfs/`.
    Copy,
}

impl Driver {
    /// `--storage-driver`; `vfs` is podman's and Docker's word for copies.
    pub fn parse(text: &str) -> Result<Driver> {
        match text {
            "overlay" | "overlay2" => Ok(Driver::Overlay),
            "copy" | "vfs" => Ok(Driver::Copy),
            _ => Err(Error::invalid(format!(
                "unknown storage driver {text:?}: there are overlay and copy"
            ))),
        }
    }

    pub fn name(self) -> &'static str {
        match self {
            Driver::Overlay => "overlay",
            Driver::Copy => "copy",
        }
    }
}

impl Store {
    /// The trees of layers given lowest first, topmost first as overlayfs wants its `lowerdir`.
    pub fn overlay_lowers(&self, chain_ids: &[Digest]) -> Vec<PathBuf> {
        chain_ids
            .iter()
            .rev()
            .map(|chain_id| self.layer_tree(chain_id))
            .collect()
    }
}

impl Lease<'_> {
    /// A new folder of the lease with `upper/` and `work/` for an overlay on a layer, and where it is.
    pub fn make_overlay(&self, top_layer: Option<&Digest>) -> Result<(PathBuf, OwnedFd)> {
        let what = || "cannot make a staging directory".to_owned();
        let name = self.fresh_name("overlay");
        let before = rustix::process::umask(Mode::empty());
        let made = rustix::fs::mkdirat(self.dir(), &name, Mode::RWXU)
            .and_then(|()| rustix::fs::openat(self.dir(), &name, super::FOLDER, Mode::empty()))
            .system(what)
            .and_then(|folder| {
                make_overlay_folders(self.store(), folder.as_fd(), top_layer)?;
                Ok((self.path().join(&name), folder))
            });
        rustix::process::umask(before);
        made
    }

    /// Makes `rootfs/` in the container's folder from its layers (lowest first) if it is not there. It is
    /// staged in the lease and appears by one rename, so an interrupted copy is begun anew. The
    /// caller holds the container's lock, and is in the user namespace that can give files away.
    ///
    /// With `ids` its files are owned by those of the container instead of the engine's.
    pub fn copy_rootfs(
        &self,
        container: BorrowedFd<'_>,
        chain_ids: &[Digest],
        ids: Option<&IdMaps>,
    ) -> Result<()> {
        if exists(container, "rootfs")? {
            return Ok(());
        }
        let what = || "cannot make the root of the container".to_owned();
        let name = self.fresh_name("rootfs");
        rustix::fs::mkdirat(self.dir(), &name, Mode::RWXU).system(what)?;
        let open = |path: &str, dir| rustix::fs::openat(dir, path, super::FOLDER, Mode::empty());
        let rootfs = open(&name, self.dir()).system(what)?;
        rustix::fs::fchmod(&rootfs, Mode::from(0o755)).system(what)?;
        let owners = ids.map(Owners::new);
        let trees = self.store().layer_folders(chain_ids)?;
        copy::apply_layers(&trees, &rootfs, owners.as_ref(), Content::Copied)
            .system(|| "cannot copy the image's layers".to_owned())?;
        rustix::fs::renameat(self.dir(), &name, container, "rootfs").system(what)
    }
}

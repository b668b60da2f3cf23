//! Images as a container with ids of its own sees them: `shifted/TOP-MAPS/`, one tree for each
//! image (by the chain id of its topmost layer) and each map of ids.
//!
//! An ordinary user's overlay shows the owners that files have on the disk: the kernel maps mounts
//! (mount_setattr(2)) for real root only. So that the container's root owns the image's files, a
//! tree with other owners is made, once:
//!
//! * [`Kind::Metadata`]: all directories, links and attributes, and files that are as long as the
//!   image's without a byte of them. Overlayfs takes the content from the layers, which become
//!   data-only ones. Since Linux 6.16 it does so for ordinary users.
//! * [`Kind::Whole`]: a copy, with the content shared where the file system can (reflinks).
//!
//! `shifted.json` says which, and that the tree is complete. It is staged in a lease, flushed as a
//! layer is, and appears by one rename. While one process makes any, others wait (`flock` on
//! `shifted/`, taken before every other lock). Garbage collection takes the tree when its topmost
//! layer goes, so an image's stay for the next container.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, OFlags, Uid, XattrFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use super::{
    ContainerDir, Durability, FOLDER, Lease, Store,
    copy::{self, Content, Owners},
    files,
    lease::exists,
    locks::FolderLock,
    make_folder,
};
use crate::{
    model::{
        Context, Digest, ErrorKind, Result,
        user_namespace::{IdMaps, lines},
    },
    sys::{
        fork::{self, Namespaces},
        mount::{self, Attributes, Parameter},
        process,
    },
};

pub(super) const SHIFTED: &str = "shifted";
/// In a container's folder: its files are owned by its own ids although real root runs it.
const MARK: &str = "shifted";

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Kind {
    Metadata,
    Whole,
}

/// `shifted.json`
#[derive(Serialize, Deserialize)]
struct Facts {
    kind: Kind,
    ids: IdMaps,
}

/// Where a tree with these owners lies below the root. Garbage collection reads the first part.
fn place(layers: &[Digest], ids: &IdMaps) -> String {
    let maps = format!(
        "{} {}",
        lines(&ids.uids, ':').join(" "),
        lines(&ids.gids, ':').join(" ")
    );
    let maps = Digest::sha256(Sha256::digest(maps));
    let top = layers.last().map_or("none", |layer| layer.hex());
    format!("{SHIFTED}/{top}-{:.16}", maps.hex())
}

impl Store {
    /// The tree of an image with these owners, for a mount, and what it is; `None` if it was not
    /// made yet.
    pub fn shifted_tree(&self, layers: &[Digest], ids: &IdMaps) -> Result<Option<(PathBuf, Kind)>> {
        let place = place(layers, ids);
        let facts = files::read_json::<Facts>(&self.root, &format!("{place}/shifted.json"))?;
        Ok(facts
            .good()
            .map(|facts| (self.root_path.join(place).join("tree"), facts.kind)))
    }

    /// Makes it. The caller's container keeps the layers; `before` is told what will be made, which
    /// may take long. Only in the namespace whose ids the maps name.
    pub fn make_shifted_tree(
        &self,
        layers: &[Digest],
        ids: &IdMaps,
        user_xattr: bool,
        before: impl FnOnce(Kind),
    ) -> Result<(PathBuf, Kind)> {
        make_folder(&self.root, SHIFTED).system(|| format!("cannot make {SHIFTED}/"))?;
        let _one = FolderLock::hold(self, SHIFTED)?;
        if let Some(made) = self.shifted_tree(layers, ids)? {
            return Ok(made);
        }
        let lease = self.lease()?;
        let kind = match lease.takes_references(user_xattr)? {
            true => Kind::Metadata,
            false => Kind::Whole,
        };
        before(kind);
        lease.shift(layers, ids, kind, user_xattr)?;
        Ok((self.root_path.join(place(layers, ids)).join("tree"), kind))
    }
}

impl Lease<'_> {
    fn shift(&self, layers: &[Digest], ids: &IdMaps, kind: Kind, user_xattr: bool) -> Result<()> {
        let what = || "cannot change the owners of the image's files".to_owned();
        let (staged, tree) = self.stage_tree("shifted")?;
        let trees = self.store().layer_folders(layers)?;
        let content = match kind {
            Kind::Metadata => Content::Referred { user_xattr },
            Kind::Whole => Content::Copied,
        };
        let owners = Owners::new(ids);
        copy::apply_layers(&trees, &tree, Some(&owners), content).system(what)?;
        let facts = Facts {
            kind,
            ids: ids.clone(),
        };
        let text = serde_json::to_vec(&facts).context(ErrorKind::System, what)?;
        let facts = format!("{staged}/shifted.json");
        files::write_new(self.dir(), &facts, &text, Durability::Volatile)?;
        let root = &self.store().root;
        rustix::fs::syncfs(root).system(|| "cannot flush the store".to_owned())?;
        let to = place(layers, ids);
        match rustix::fs::renameat(self.dir(), &staged, root, &to) {
            Ok(()) => Ok(()),
            // The remains of an interrupted deletion, without their record.
            Err(Errno::EXIST | Errno::NOTEMPTY) => rustix::fs::renameat_with(
                self.dir(),
                &staged,
                root,
                &to,
                rustix::fs::RenameFlags::EXCHANGE,
            )
            .system(what),
            Err(errno) => Err(errno).system(what),
        }
    }

    /// A new directory with an empty `tree/` in it: its name, and the tree.
    fn stage_tree(&self, kind: &str) -> Result<(String, OwnedFd)> {
        let what = || "cannot make a staging directory".to_owned();
        let name = self.fresh_name(kind);
        let tree = format!("{name}/tree");
        rustix::fs::mkdirat(self.dir(), &name, Mode::RWXU).system(what)?;
        rustix::fs::mkdirat(self.dir(), &tree, Mode::RWXU).system(what)?;
        let tree = rustix::fs::openat(self.dir(), &tree, FOLDER, Mode::empty()).system(what)?;
        rustix::fs::fchmod(&tree, Mode::from(0o755)).system(what)?;
        Ok((name, tree))
    }

    /// Whether overlayfs finds content in data-only layers here: tried on one file.
    fn takes_references(&self, user_xattr: bool) -> Result<bool> {
        let what = || "cannot try out overlayfs".to_owned();
        let (lower, tree) = self.stage_tree("probe")?;
        let (data, data_tree) = self.stage_tree("probe")?;
        let write = OFlags::WRONLY | OFlags::CREATE | OFlags::CLOEXEC;
        let make = |folder: &OwnedFd| {
            rustix::fs::openat(folder, c"file", write, Mode::from(0o600)).system(what)
        };
        rustix::io::write(make(&data_tree)?, b"x").system(what)?;
        let file = make(&tree)?;
        rustix::fs::ftruncate(&file, 1).system(what)?;
        let names = match user_xattr {
            true => [c"user.overlay.metacopy", c"user.overlay.redirect"],
            false => [c"trusted.overlay.metacopy", c"trusted.overlay.redirect"],
        };
        for (name, value) in names.into_iter().zip([&b""[..], b"/file"]) {
            if rustix::fs::fsetxattr(&file, name, value, XattrFlags::empty()).is_err() {
                return Ok(false);
            }
        }
        // A mount namespace that the user namespace owns, and nobody's current directory changed.
        let child = fork::fork(Namespaces::MOUNT, || {
            i32::from(self.probe(&lower, &data, user_xattr).is_err())
        })
        .system(what)?;
        Ok(process::reap(&child.pidfd).system(what)? == 0)
    }

    fn probe(&self, lower: &str, data: &str, user_xattr: bool) -> std::io::Result<()> {
        // The kernel takes no more than 255 bytes of each path.
        // By its path: the open directory is of the mount namespace that was left.
        rustix::process::chdir(self.path())?;
        let path = |name: &str| std::ffi::CString::new(format!("{name}/tree"));
        let (lower, data) = (path(lower)?, path(data)?);
        let mut parameters = vec![
            Parameter::String(c"lowerdir+", &lower),
            Parameter::String(c"datadir+", &data),
        ];
        if user_xattr {
            parameters.push(Parameter::Flag(c"userxattr"));
        }
        let mounted = mount::new_mount(c"overlay", &parameters, Attributes::READ_ONLY)?;
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        let file = rustix::fs::openat(&mounted, c"file", flags, Mode::empty())?;
        let mut byte = [0];
        match rustix::io::read(&file, &mut byte)? {
            1 if byte == *b"x" => Ok(()),
            _ => Err(std::io::ErrorKind::Unsupported.into()),
        }
    }
}

impl Store {
    /// Gives a container's new writable layer the owner that its ids make of the topmost layer's.
    pub fn shift_upper(&self, container: impl AsFd, layers: &[Digest], ids: &IdMaps) -> Result<()> {
        let what = || "cannot change the owner of upper".to_owned();
        let (uid, gid, mode) = match layers.last() {
            Some(top) => {
                let stat = rustix::fs::fstat(self.layer_folder(top)?).system(what)?;
                (stat.st_uid, stat.st_gid, stat.st_mode & 0o7777)
            }
            None => (0, 0, 0o755),
        };
        let (uid, gid) = Owners::new(ids).of(uid, gid);
        give(container.as_fd(), "upper", uid, gid).system(what)?;
        // Changing the owner drops set-id bits.
        let mode = Mode::from_raw_mode(mode);
        rustix::fs::chmodat(&container, c"upper", mode, AtFlags::empty()).system(what)
    }
}

/// Gives files of ours in a container's folder to the container's root.
pub fn give_to_root(container: impl AsFd, names: &[&str], ids: &IdMaps) -> Result<()> {
    let (uid, gid) = ids.root();
    for name in names {
        give(container.as_fd(), *name, uid, gid)
            .system(|| format!("cannot change the owner of {name}"))?;
    }
    Ok(())
}

fn give(
    folder: std::os::fd::BorrowedFd<'_>,
    name: impl rustix::path::Arg,
    uid: u32,
    gid: u32,
) -> rustix::io::Result<()> {
    let (uid, gid) = (Uid::from_raw(uid), Gid::from_raw(gid));
    rustix::fs::chownat(
        folder,
        name,
        Some(uid),
        Some(gid),
        AtFlags::SYMLINK_NOFOLLOW,
    )
}

impl ContainerDir {
    /// Whether files of a container that real root runs are owned by the container's ids on the
    /// disk, because the file system's mounts cannot be mapped. (An ordinary user's always are.)
    pub fn has_shifted_owners(&self) -> Result<bool> {
        exists(self.fd(), MARK)
    }

    /// Says so from now on. The container must have written nothing yet.
    pub fn note_shifted_owners(&self) -> Result<()> {
        files::put(self.fd(), MARK, b"", Durability::Durable)
    }
}

//! A container's root directory for a process of the engine that stays outside: of a running
//! container by its mount namespace, of a stopped one by mounting its files anew, where nobody else
//! sees them.
//!
//! Whoever calls this goes on with a descriptor of that directory and `sys::in_root`, in its own pid
//! namespace and on the host's tree: nothing of the container is executed, loaded or read as
//! configuration (CVE-2019-14271), and there is no chroot that a link could be raced against
//! (CVE-2018-15664).

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{CWD, Mode, OFlags},
    thread::LinkNameSpaceType,
};

use super::{mounts, namespaces, nested, user_mounts};
use crate::{
    engine::plan::{MountStep, RootPlan, RootSource},
    model::{
        Context, Error, ErrorKind, Result, container::ProcessIdentity, user_namespace::IdMaps,
    },
    sys::{
        exec,
        fork::{self, Namespaces},
        mount::{self, Attributes},
        packet, process, user_namespace,
    },
};

/// Devices of a container open nothing here, whatever rules it has itself.
const ATTRIBUTES: Attributes = Attributes::NO_DEV.with(Attributes::NO_SUID);

/// The root of a running container.
pub struct RunningRoot {
    pub root: OwnedFd,
    /// To be held as long as the root is looked at: when nobody has the namespace any more the kernel
    /// takes all mounts apart, and where one was its empty mount point is seen.
    pub mounts: OwnedFd,
}

/// The root of a running container: with its mounts, or a copy of the root's mount without them.
/// Not by /proc/PID/root, which a process of the container can change.
///
/// # Errors
/// [`ErrorKind::Conflict`] if that process is gone.
pub fn of_running(init: &ProcessIdentity, with_mounts: bool) -> Result<RunningRoot> {
    let what = || "cannot open the container's root".to_owned();
    let gone = || Error::new(ErrorKind::Conflict, "the container is not running");
    if process::boot_id().system(what)? != init.boot_id {
        return Err(gone());
    }
    let pidfd = process::open(init.pid, init.start_time)
        .system(what)?
        .ok_or_else(gone)?;
    let mounts = namespaces::mounts_of_other(&pidfd)?.ok_or_else(gone)?;
    let (ours, theirs) = packet::pair().system(what)?;
    let child = fork::fork(Namespaces::NONE, || {
        let sent = process::hide()
            .system(what)
            .and_then(|()| root_of_namespace(&mounts, with_mounts))
            .and_then(|root| {
                packet::send(theirs.as_fd(), super::TERMINAL, &[], Some(&root), true).system(what)
            });
        match sent {
            Ok(()) => 0,
            Err(error) => super::report(theirs.as_fd(), &error),
        }
    })
    .system(what)?;
    drop(theirs);
    let received = super::await_program(ours.as_fd(), &|| Ok(()));
    process::reap(&child.pidfd).system(what)?;
    let root = received?.ok_or_else(|| Error::new(ErrorKind::System, what()))?;
    Ok(RunningRoot { root, mounts })
}

fn root_of_namespace(mounts: &OwnedFd, with_mounts: bool) -> Result<OwnedFd> {
    let what = || "cannot enter the container's mount namespace".to_owned();
    let kind = Some(LinkNameSpaceType::Mount);
    rustix::thread::move_into_link_name_space(mounts.as_fd(), kind).system(what)?;
    if !with_mounts {
        return mount::clone_mount(CWD, c"/", false).system(what);
    }
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open("/", flags, Mode::empty()).system(what)
}

/// How a stopped container's files are put together.
pub struct Stopped<'a> {
    pub root: &'a RootPlan,
    /// Mounted in the root, in this order.
    pub steps: &'a [MountStep],
    /// The maps of the container, if its files are shown through them.
    pub mapped: Option<&'a IdMaps>,
}

impl Stopped<'_> {
    /// Mounts them in this process's own mount namespace (made here), whose relative paths are those
    /// of its current directory. Changes go where the container's own would: the caller holds the
    /// container's lock.
    pub fn mount(&self) -> Result<OwnedFd> {
        let what = || "cannot mount the container's root".to_owned();
        let root = match self.mapped {
            Some(ids) => {
                let namespace = namespace_with(ids)?;
                nested::mapped_root(self.root, ATTRIBUTES, ids, namespace.as_fd())?
            }
            None => mounts::mount_root(self.root, ATTRIBUTES)?,
        };
        // Overlayfs is mounted; only from here on may the files of volumes be looked at.
        super::copy_up::fill_volumes(self.steps, root.as_fd())?;
        let place = mounts::path(&self.root.mount_point)?;
        mount::attach_at(&root, CWD, &place).system(what)?;
        for step in self.steps {
            match step {
                MountStep::OwnFile { source, target } => {
                    mounts::own_file(root.as_fd(), None, source, target, self.root.read_only)?;
                }
                _ => {
                    user_mounts::carry_out(step, None, root.as_fd(), (None, None))?;
                }
            }
        }
        if self.root.read_only {
            mount::set_attributes(&root, Attributes::READ_ONLY, None, false).system(what)?;
        }
        Ok(root)
    }

    /// The root alone, as it is on the disk, and never to be changed by this: needs no lock, and no
    /// map (owners are those of the disk).
    pub fn mount_read_only(&self) -> Result<OwnedFd> {
        let what = || "cannot mount the container's root".to_owned();
        let attributes = ATTRIBUTES.with(Attributes::READ_ONLY);
        let RootSource::Overlay {
            lower,
            data,
            upper,
            user_xattr,
            ..
        } = &self.root.source
        else {
            let RootSource::Directory(tree) = &self.root.source else {
                return Err(Error::new(ErrorKind::System, what()));
            };
            let copy = mount::clone_mount(CWD, &mounts::path(tree)?, false).system(what)?;
            mount::set_attributes(&copy, attributes, None, false).system(what)?;
            return Ok(copy);
        };
        let paths = |layers: &mut dyn Iterator<Item = &std::path::PathBuf>| {
            layers
                .map(|layer| mounts::path(layer))
                .collect::<Result<Vec<_>>>()
        };
        let layers = paths(&mut std::iter::once(upper).chain(lower))?;
        if layers.len() < 2 {
            let copy = mount::clone_mount(CWD, &layers[0], false).system(what)?;
            mount::set_attributes(&copy, attributes, None, false).system(what)?;
            return Ok(copy);
        }
        let data = paths(&mut data.iter())?;
        mounts::overlay((&layers, &data), None, (false, *user_xattr), attributes)
    }
}

/// Folders (two at least, topmost first) as one tree, only to be read. In this process's own mount
/// namespace.
pub fn stack(folders: &[PathBuf], user_xattr: bool) -> Result<OwnedFd> {
    let layers: Vec<_> = folders
        .iter()
        .map(|folder| mounts::path(folder))
        .collect::<Result<_>>()?;
    let attributes = ATTRIBUTES.with(Attributes::READ_ONLY);
    mounts::overlay((&layers, &[]), None, (false, user_xattr), attributes)
}

/// A mount namespace of this process's own, from which nothing reaches the host's.
pub fn leave_host_mounts() -> Result<()> {
    user_namespace::unshare_mounts()
        .and_then(|()| mount::make_all_private())
        .system(|| "cannot make a mount namespace".to_owned())
}

/// Becomes the container's root, with all rights of this process: through a mapped mount nobody else
/// can make files.
pub fn become_root_of(ids: &IdMaps) -> Result<()> {
    nested::act_as(ids.root())?;
    // Changing ids may have made this process visible again.
    process::hide().system(|| "cannot hide this process".to_owned())
}

/// A user namespace with these maps, by a process that lives no longer than this takes.
fn namespace_with(ids: &IdMaps) -> Result<OwnedFd> {
    let what = || "cannot map the container's ids".to_owned();
    let (ours, theirs) = packet::pair().system(what)?;
    let child = fork::fork(Namespaces::USER, || {
        exec::close_all_but(&[theirs.as_fd()]);
        let _ = packet::receive(&theirs, &mut [0], true);
        0
    })
    .system(what)?;
    drop(theirs);
    let pid = process::host_pid(&child.pidfd).system(what)?;
    let (uids, gids) = (
        nested::kernel_ranges(&ids.uids),
        nested::kernel_ranges(&ids.gids),
    );
    let namespace = user_namespace::map_child(pid, &uids, &gids)
        .and_then(|()| user_namespace::of_process(pid))
        .system(what);
    drop(ours);
    process::reap(&child.pidfd).system(what)?;
    namespace
}

//! A container whose user namespace is nested in the engine's: the supervisor, which has every
//! right in its own, writes the maps and opens what the container's root may not (the user's home
//! is hers alone); the container's first process waits for it.
//!
//! ```text
//! supervisor                                first process
//!   clone3, all namespaces at once    ──▶     waits: no id of its own yet
//!   uid_map, gid_map
//!   root file system, bind sources    ──▶     R, M: one descriptor a packet
//!   go                                ──▶     becomes root of its namespace, goes on as usual
//! ```
//!
//! Where real root works, the layers keep their owners and are mounted through an id map: every
//! folder is covered by a mapped copy of itself, in the mount namespace of a short-lived process
//! (overlayfs refuses detached layers before Linux 6.15), and the finished mount is sent back.
//!
//! A namespace that is there already is joined by a process in between: it enters, then makes the
//! first process as its sibling (`CLONE_PARENT`), so that the other namespaces belong to it.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::fs::{Gid, Uid};

use super::{
    Cgroups, Stream, Streams, copy_up,
    mounts::{self, Sources},
};
use crate::{
    engine::plan::{
        MountStep, RootPlan, RootSource, SandboxPlan, UserNamespaceOrigin, UserNamespacePlan,
    },
    model::{Context, Error, ErrorKind, Result, user_namespace::IdMaps},
    sys::{
        fork::{self, Child, Namespaces},
        mount::{self, Attributes},
        packet,
        process::{self, Credentials},
        user_namespace,
    },
};

/// The first byte of what the supervisor sends.
const ROOT: u8 = b'R';
const SOURCE: u8 = b'M';
const GO: u8 = b'G';

/// The container's maps, which every plan with a user namespace has.
pub(super) fn ids(plan: &SandboxPlan) -> Result<&IdMaps> {
    plan.process
        .ids
        .as_ref()
        .ok_or_else(|| Error::new(ErrorKind::System, "the plan has no id maps"))
}

/// The supervisor's part. On failure the child is still waiting: the caller ends it.
pub(super) fn prepare(
    plan: &SandboxPlan,
    nested: &UserNamespacePlan,
    child: &Child,
    cgroups: Cgroups<'_>,
    socket: BorrowedFd<'_>,
) -> Result<()> {
    refuse_unreachable(&plan.mounts)?;
    let what = || "cannot map the container's ids".to_owned();
    let pid = process::host_pid(&child.pidfd).system(what)?;
    if nested.origin == UserNamespaceOrigin::New {
        let ids = ids(plan)?;
        let (uids, gids) = (kernel_ranges(&ids.uids), kernel_ranges(&ids.gids));
        user_namespace::map_child(pid, &uids, &gids).map_err(|cause| {
            Error::new(ErrorKind::Unsupported, what())
                .with_source(cause)
                .with_hint(
                    "were the ranges of /etc/subuid or /etc/subgid changed since it was made?",
                )
        })?;
    }
    let attributes = mounts::root_attributes(plan, cgroups);
    let root = if nested.maps_mounts {
        let namespace = user_namespace::of_process(pid).system(what)?;
        mapped_root(&plan.root, attributes, ids(plan)?, namespace.as_fd())?
    } else {
        mounts::mount_root(&plan.root, attributes)?
    };
    let send = |kind: u8, descriptor: Option<&OwnedFd>| {
        packet::send(socket, &[kind], &[], descriptor, true)
            .system(|| "cannot hand over the container's files".to_owned())
    };
    // From here the files of volumes can be reached, and their owners are the container's.
    copy_up::fill_volumes(&plan.mounts, root.as_fd())?;
    send(ROOT, Some(&root))?;
    let steps = plan.mounts.iter().filter(|step| mounts::has_source(step));
    for (step, source) in steps.zip(mounts::clone_all(&plan.mounts)?) {
        if let MountStep::Bind {
            options, target, ..
        } = step
            && options.id_map
        {
            let what = || format!("cannot map the owners of what is mounted on {target}");
            let namespace = user_namespace::of_process(pid).system(what)?;
            mount::id_map(&source, namespace).system(what)?;
        }
        send(SOURCE, Some(&source))?;
    }
    send(GO, None)
}

/// What the container's root would have to open, or give away, where it has no rights.
fn refuse_unreachable(steps: &[MountStep]) -> Result<()> {
    let what = steps.iter().find_map(|step| match step {
        MountStep::Bind { options, .. } if options.chown => Some("the mount option U"),
        MountStep::Overlay { .. } => Some("a mount of an image or with the option O"),
        _ => None,
    });
    match what {
        None => Ok(()),
        Some(what) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("{what} is not supported in a container with ids of its own (--userns)"),
        )),
    }
}

/// The first process's part: waits, and becomes root of its namespace. Nothing without one.
pub(super) fn await_supervisor(
    plan: &SandboxPlan,
    socket: BorrowedFd<'_>,
) -> Result<Option<Sources>> {
    if plan.user_namespace.is_none() {
        return Ok(None);
    }
    let what = || "cannot take over the container's files".to_owned();
    let mut sources = Sources {
        root: None,
        steps: Vec::with_capacity(plan.mounts.len()),
    };
    let mut steps = plan.mounts.iter();
    loop {
        let mut kind = [0];
        let (_, descriptor) = packet::receive(socket, &mut kind, true).system(what)?;
        match (kind[0], descriptor) {
            (ROOT, Some(root)) => sources.root = Some(root),
            (SOURCE, Some(source)) => {
                // Sent for these steps only, in their order.
                for step in steps.by_ref() {
                    if mounts::has_source(step) {
                        break;
                    }
                    sources.steps.push(None);
                }
                sources.steps.push(Some(source));
            }
            (GO, None) => break,
            _ => return Err(Error::new(ErrorKind::System, what())),
        }
    }
    sources.steps.resize_with(plan.mounts.len(), || None);
    become_root().system(|| "cannot become root of the container's ids".to_owned())?;
    Ok(Some(sources))
}

/// User and group 0 of the namespace that this process is in, and nothing of the caller's groups.
pub(super) fn become_root() -> std::io::Result<()> {
    process::set_credentials(&Credentials {
        uid: 0,
        gid: 0,
        groups: Some(Vec::new()),
    })?;
    // Changing ids may have made it visible again.
    process::hide()
}

/// Pipes that were made for the program: from inside they could not be given to anybody, since
/// their owner does not exist there.
pub(super) fn give_streams(streams: &Streams, ids: &IdMaps) -> Result<()> {
    let (uid, gid) = ids.root();
    for stream in [&streams.stdin, &streams.stdout, &streams.stderr] {
        if let Some(Stream::Made(pipe)) = stream {
            rustix::fs::fchown(pipe, Some(Uid::from_raw(uid)), Some(Gid::from_raw(gid)))
                .system(|| "cannot hand over a stream".to_owned())?;
        }
    }
    Ok(())
}

pub(super) fn kernel_ranges(
    ranges: &[crate::model::host::IdRange],
) -> Vec<user_namespace::IdRange> {
    let convert = |range: &crate::model::host::IdRange| user_namespace::IdRange {
        inside: range.inside,
        outside: range.outside,
        count: range.count,
    };
    ranges.iter().map(convert).collect()
}

/// The root file system with its owners mapped.
pub(super) fn mapped_root(
    plan: &RootPlan,
    attributes: Attributes,
    ids: &IdMaps,
    namespace: BorrowedFd<'_>,
) -> Result<OwnedFd> {
    let what = || "cannot map the owners of the image's files".to_owned();
    if let RootSource::Directory(tree) = &plan.source {
        let root = mounts::mount_root(plan, attributes)?;
        mount::id_map(&root, namespace)
            .map_err(|cause| refused(cause, &tree.display().to_string()))?;
        return Ok(root);
    }
    let (ours, theirs) = packet::pair().system(what)?;
    let child = fork::fork(Namespaces::MOUNT, || {
        let sent = cover_layers(&plan.source, namespace)
            .and_then(|()| act_as(ids.root()))
            .and_then(|()| mounts::mount_root(plan, attributes))
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
    received?.ok_or_else(|| Error::new(ErrorKind::System, what()))
}

/// Puts a mapped copy of every layer's folder on itself, in this process's own mount namespace.
fn cover_layers(source: &RootSource, namespace: BorrowedFd<'_>) -> Result<()> {
    let what = || "cannot map the owners of the image's files".to_owned();
    let RootSource::Overlay {
        lower, data, upper, ..
    } = source
    else {
        return Ok(());
    };
    mount::make_all_private().system(what)?;
    // `upper` and `work` must be of one mount.
    let folders = lower.iter().chain(data).map(std::path::PathBuf::as_path);
    for folder in folders.chain(upper.parent()) {
        let place = mounts::path(folder)?;
        let copy = mount::clone_mount(rustix::fs::CWD, &place, false).system(what)?;
        mount::id_map(&copy, namespace)
            .map_err(|cause| refused(cause, &folder.display().to_string()))?;
        mount::attach_at(&copy, rustix::fs::CWD, &place).system(what)?;
    }
    Ok(())
}

/// Overlayfs makes its own files with the ids of whoever mounts it, and the engine's root is nobody
/// that the mapped folders know: this process becomes the container's, with all its rights.
pub(super) fn act_as((uid, gid): (u32, u32)) -> Result<()> {
    let what = || "cannot act as the container's root".to_owned();
    let all = process::effective_capabilities().system(what)?;
    process::set_credentials(&Credentials {
        uid,
        gid,
        groups: Some(Vec::new()),
    })
    .system(what)?;
    process::set_capabilities(all, 0).system(what)
}

fn refused(cause: std::io::Error, place: &str) -> Error {
    Error::new(
        ErrorKind::OverlayRefused,
        format!("cannot map the owners of files in {place}"),
    )
    .with_source(cause)
}

/// Makes the first process in a user namespace that is there already.
pub(super) fn fork_into(
    origin: &UserNamespaceOrigin,
    namespaces: Namespaces,
    cgroup: Option<BorrowedFd<'_>>,
    child: impl FnOnce() -> i32,
) -> Result<Child> {
    let what = || "cannot enter the user namespace".to_owned();
    let namespace = match origin {
        UserNamespaceOrigin::New => {
            return fork::fork_into(namespaces.with(Namespaces::USER), cgroup, child)
                .map_err(super::namespaces_refused);
        }
        UserNamespaceOrigin::Process(identity) => {
            let gone = || {
                Error::new(
                    ErrorKind::Conflict,
                    "the container whose user namespace is to be shared is not running",
                )
            };
            if process::boot_id().system(what)? != identity.boot_id {
                return Err(gone());
            }
            // By its number in the mounted /proc: this process's own pid namespace is another.
            let namespace = user_namespace::of_process(identity.pid).map_err(|_| gone())?;
            // Looked at after opening: if it is the right process now, it was then.
            if process::start_time(identity.pid).ok() != Some(identity.start_time) {
                return Err(gone());
            }
            namespace
        }
        UserNamespaceOrigin::File(file) => {
            let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
            rustix::fs::open(file, flags, rustix::fs::Mode::empty())
                .system(|| format!("cannot open user namespace {}", file.display()))?
        }
    };
    fork::fork_through(
        || user_namespace::enter(&namespace).is_ok(),
        namespaces,
        cgroup,
        child,
    )
    .map_err(super::namespaces_refused)
}

//! A container's file system for commands (`cp`, `export`, `commit`), running or not.
//!
//! ```text
//! let (directory, record) = store.find_container(name)?;
//! let view = engine.root_view(&directory, &record, Scope::RootAlone)?;
//! sys::in_root::open(view.root(), path, …)      every path, from this one descriptor
//! inside(view.owners(), &stat)                  what the container calls a file's owner
//! ```
//!
//! | scope | running | stopped |
//! |---|---|---|
//! | [`Scope::WithMounts`] | what its processes see | root, volumes, binds and our files in /etc, in a mount namespace of this process |
//! | [`Scope::RootAlone`] | a copy of the root's mount | the layers and the changes, read-only |
//!
//! A view changes the process that asks for it: an ordinary user's enters her user namespace, and one
//! of a stopped container gets mounts of its own. So it is asked for last (what of the caller's own is
//! needed is open by then), or in a forked child, as `cp` does. Nothing has to be undone.
//!
//! With its mounts a stopped container is changed through the same directories as a start would use.
//! The view therefore holds the container's lock, for files (`storage::containers`): the container
//! counts as stopped all the while, and another copy, a start or a removal waits. Whoever only reads
//! goes without the lock if the container restarts (or does not get on with a start or removal), and
//! then sees the root alone (`RootView::without_mounts`).

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::{Duration, Instant},
};

use rustix::fs::{Mode, OFlags, Stat};

use super::own_ids::Ownership;
use crate::{
    engine::{
        Engine,
        plan::{self, ContainerFiles, Found, MountStep},
        sandbox::view::{self, Stopped},
    },
    model::{
        Context, Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState, StartRecord},
        user_namespace::IdMaps,
    },
    storage::{ContainerDir, ContainerLock, Driver, containers::Status},
    sys::user_namespace,
};

/// What belongs to the view.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Scope {
    /// With volumes, binds and (of a running container) everything else that is mounted.
    WithMounts { to_change: bool },
    /// As the other end of a copy within the container, which is the one that has its lock: of a
    /// stopped one the root alone.
    BesideCopy,
    /// The image's files and what the container has changed; folders are empty where something is
    /// mounted. Only to be read.
    RootAlone,
}

/// How long a container may be found neither running nor stopped.
const START_LIMIT: Duration = Duration::from_secs(3);
const PAUSE: Duration = Duration::from_millis(5);

/// An id that no map of the container knows: what the kernel shows for one.
const NOBODY: u32 = 65534;

pub(in crate::engine) struct RootView {
    root: OwnedFd,
    /// Owners in the view are those outside of these maps.
    owners: Option<IdMaps>,
    without_mounts: bool,
    /// The namespace of a running container's mounts.
    _mounts: Option<OwnedFd>,
    _lock: Option<ContainerLock>,
}

impl RootView {
    /// The directory that is the container's `/`; only for paths (`O_PATH`).
    pub(in crate::engine) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// The maps by which owners in the view differ from those in the container.
    pub(in crate::engine) fn owners(&self) -> Option<&IdMaps> {
        self.owners.as_ref()
    }

    /// Whether this is the root alone.
    pub(in crate::engine) fn without_mounts(&self) -> bool {
        self.without_mounts
    }
}

/// What the container calls the owner of a file.
pub(in crate::engine) fn inside(owners: Option<&IdMaps>, stat: &Stat) -> (u32, u32) {
    match owners {
        None => (stat.st_uid, stat.st_gid),
        Some(ids) => (
            ids.inside_uid(stat.st_uid).unwrap_or(NOBODY),
            ids.inside_gid(stat.st_gid).unwrap_or(NOBODY),
        ),
    }
}

impl Engine {
    /// Opens a container's file system; see the head of this room for what that does to this process.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if a stopped one is to be changed while it is being started, removed
    /// or changed by somebody else; what forbids to mount it.
    pub(in crate::engine) fn root_view(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        scope: Scope,
    ) -> Result<RootView> {
        let begun = Instant::now();
        let lock = loop {
            let start = match self.lock_or_running(directory, record, scope)? {
                Ok(lock) => break lock,
                Err(start) => start,
            };
            match self.view_of_running(record, &start, scope) {
                // Over just now: its supervisor is about to say so.
                Err(error)
                    if error.kind() == ErrorKind::Conflict && begun.elapsed() < START_LIMIT =>
                {
                    std::thread::sleep(PAUSE);
                }
                other => return other,
            }
        };
        self.enter_user_namespace()?;
        view::leave_host_mounts()?;
        let ownership = self.ownership(record, directory)?;
        let driver = match directory.has_copied_root()? {
            true => Driver::Copy,
            false => self.driver(),
        };
        let view = self.view_of_stopped((driver, ownership), directory, record, lock);
        match view {
            // As a start does.
            Err((error, lock))
                if error.kind() == ErrorKind::OverlayRefused
                    && record.image_id.is_some()
                    && driver == Driver::Overlay
                    && self.forced_driver.is_none()
                    && directory.has_written_nothing()? =>
            {
                let how = (Driver::Copy, ownership);
                self.view_of_stopped(how, directory, record, lock)
            }
            other => other,
        }
        .map_err(|(error, _)| error)
    }

    /// What a view of a stopped container needs, or how the container runs.
    fn lock_or_running(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        scope: Scope,
    ) -> Result<std::result::Result<Option<ContainerLock>, Box<StartRecord>>> {
        let Scope::WithMounts { to_change } = scope else {
            return Ok(match directory.state()? {
                Status {
                    state: ContainerState::Running,
                    start: Some(start),
                    ..
                } => Err(Box::new(start)),
                _ => Ok(None),
            });
        };
        let begun = Instant::now();
        loop {
            let status = directory.state()?;
            if status.state == ContainerState::Running
                && let Some(start) = status.start
            {
                return Ok(Err(Box::new(start)));
            }
            if let Some(lock) = directory.hold_for_files()? {
                return Ok(Ok(Some(lock)));
            }
            // It is being started: soon it runs, or has ended.
            let restarts = status.state == ContainerState::Restarting;
            if restarts || begun.elapsed() > START_LIMIT {
                return match to_change {
                    true => Err(busy(record)),
                    false => Ok(Ok(None)),
                };
            }
            std::thread::sleep(PAUSE);
        }
    }

    fn view_of_running(
        &self,
        record: &ContainerRecord,
        start: &StartRecord,
        scope: Scope,
    ) -> Result<RootView> {
        let not_running = || {
            Error::new(
                ErrorKind::Conflict,
                format!("container {} is not running any more", record.name),
            )
        };
        // From the supervisor's namespace, in which the container's own is nested.
        let holder = match record.ids {
            Some(_) => start.supervisor.pid,
            None => start.init.pid,
        };
        // Its own already if this is asked again.
        if !user_namespace::is_own(holder) && !self.user.join_namespace_of(holder)? {
            return Err(not_running());
        }
        let with_mounts = scope != Scope::RootAlone;
        let running = view::of_running(&start.init, with_mounts)?;
        let to_change = scope == Scope::WithMounts { to_change: true };
        let view = self.view((running.root, record.ids.clone()), None, to_change)?;
        Ok(RootView {
            without_mounts: !with_mounts,
            _mounts: Some(running.mounts).filter(|_| with_mounts),
            ..view
        })
    }

    /// Without the lock nothing is changed: there is only the root, to be read.
    fn view_of_stopped(
        &self,
        how: (Driver, Ownership),
        directory: &ContainerDir,
        record: &ContainerRecord,
        lock: Option<ContainerLock>,
    ) -> std::result::Result<RootView, (Error, Option<ContainerLock>)> {
        let files = match self.stopped_files(how, directory, record, lock.is_some()) {
            Ok(files) => files,
            Err(error) => return Err((error, lock)),
        };
        match self.mount_files(&files, record, how.1, lock.is_some()) {
            Ok(mounted) => {
                let to_change = lock.is_some();
                let view = self.view(mounted, lock, to_change);
                view.map_err(|error| (error, None))
            }
            Err(error) => Err((error, lock)),
        }
    }

    fn stopped_files(
        &self,
        how: (Driver, Ownership),
        directory: &ContainerDir,
        record: &ContainerRecord,
        with_mounts: bool,
    ) -> Result<ContainerFiles> {
        let host = self.user.host_facts()?;
        let root = self.root_source(how, directory, record, &host)?;
        let mut files = ContainerFiles {
            directory: super::absolute(directory.path())?,
            root,
            user_namespace: None,
            found: Found::default(),
            volumes: Default::default(),
            first_start: false,
            image_mounts: Vec::new(),
        };
        if with_mounts {
            files.volumes = self.volume_files(&record.spec)?;
            files.image_mounts = self.image_mounts(directory, &record.spec, &host)?;
            files.first_start = directory.start_record()?.is_none()
                && directory
                    .exit_record()?
                    .is_none_or(|exit| exit.started.is_none());
        }
        Ok(files)
    }

    fn mount_files(
        &self,
        files: &ContainerFiles,
        record: &ContainerRecord,
        ownership: Ownership,
        with_mounts: bool,
    ) -> Result<(OwnedFd, Option<IdMaps>)> {
        let (root, mut steps) = match with_mounts {
            true => plan::files(&record.spec, files)?,
            false => plan::files(&Default::default(), files)?,
        };
        // The first start writes what is to stand in /etc once it knows the addresses; until then
        // the image's files are there.
        steps.retain(|step| !matches!(step, MountStep::OwnFile { source, .. } if !source.exists()));
        let mapped = record
            .ids
            .as_ref()
            .filter(|_| ownership == Ownership::Mapped);
        let stopped = Stopped {
            root: &root,
            steps: &steps,
            mapped,
        };
        // Layers are named from the store's root: see `RootSource`.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let what = || "cannot work in the store".to_owned();
        let here = rustix::fs::open(".", flags, Mode::empty());
        rustix::process::chdir(self.store.root_path()).system(what)?;
        let mounted = if with_mounts {
            stopped.mount().map(|root| (root, record.ids.clone()))
        } else {
            let on_disk = record.ids.clone().filter(|_| mapped.is_none());
            stopped.mount_read_only().map(|root| (root, on_disk))
        };
        if let Ok(here) = here {
            rustix::process::fchdir(here).system(what)?;
        }
        mounted
    }

    fn view(
        &self,
        (root, owners): (OwnedFd, Option<IdMaps>),
        lock: Option<ContainerLock>,
        to_change: bool,
    ) -> Result<RootView> {
        if let Some(ids) = owners.as_ref().filter(|_| to_change) {
            view::become_root_of(ids)?;
        }
        Ok(RootView {
            root,
            owners,
            without_mounts: lock.is_none(),
            _mounts: None,
            _lock: lock,
        })
    }
}

fn busy(record: &ContainerRecord) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "container {} is being started, restarted or removed",
            record.name
        ),
    )
    .with_hint("try again when that is done")
}

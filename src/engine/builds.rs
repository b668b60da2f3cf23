//! What builds need of the engine: the store, and programs run on layers that no image names yet.
//!
//! A step's program is a container like any other: the same planner, sandbox, supervisor and network.
//! Only its root differs ([`RootRequest::Layers`]), no list shows it, and it does not outlive the process
//! that asks for it. What it has written is left in a folder of that process's lease: killed anywhere,
//! the container goes with the sweep of ended ones and the folder with that of dead leases.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::fs::{Mode, OFlags};

use super::{AttachOptions, Engine, PullSettings, RunOptions, RunOutcome, Silent};
use crate::{
    model::{
        ContainerSpec, Context, Digest, Error, ErrorKind, Result,
        builder::Builders,
        container::{AttachedStreams, ContainerRecord, RootRequest},
        names,
    },
    storage::{Lease, StagedLayer, Store, changes::Changes, containers::forgive_volatile},
};

/// What a program has written, in a lease.
pub struct Written {
    folder: OwnedFd,
    path: PathBuf,
    layers: Vec<Digest>,
}

impl Engine {
    /// Where builds keep what they make.
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// The names of the builder.
    pub fn builders(&self) -> Result<Builders> {
        self.store.builders()
    }

    pub fn change_builders<T>(&self, change: impl FnOnce(&mut Builders) -> Result<T>) -> Result<T> {
        self.store.change_builders(change)
    }

    /// A name for a builder that was given none.
    pub fn made_up_name(&self) -> Result<String> {
        let mut bits = [0; 8];
        rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty())
            .system(|| "cannot get random bytes".to_owned())?;
        Ok(names::from_random(u64::from_ne_bytes(bits)))
    }

    /// Bytes that are free where the store is, to users other than root.
    pub fn free_bytes(&self) -> Result<u64> {
        let disk = rustix::fs::fstatvfs(self.store.build_folder()?)
            .system(|| "cannot ask for the free space of the store".to_owned())?;
        Ok(disk.f_bavail * disk.f_frsize)
    }

    /// Runs the spec's program on these layers, lowest first, with this process's standard output
    /// and error; its exit code, and what it has written. This process must have one thread, and
    /// should end soon: it may enter the user's namespace.
    pub fn run_on_layers(
        &self,
        lease: &Lease<'_>,
        layers: &[Digest],
        spec: ContainerSpec,
    ) -> Result<(i32, Written)> {
        self.enter_user_namespace()?;
        self.store.mute_events();
        let (path, folder) = lease.make_overlay(layers.last())?;
        let written = Written {
            folder,
            path: std::path::absolute(&path)
                .system(|| format!("cannot make {} absolute", path.display()))?,
            layers: layers.to_vec(),
        };
        Ok((self.run_step(&written, spec)?, written))
    }

    /// The same, on what that one has written.
    pub fn run_on_written(&self, written: &Written, spec: ContainerSpec) -> Result<i32> {
        forgive_volatile(&written.folder)?;
        self.run_step(written, spec)
    }

    fn run_step(&self, written: &Written, mut spec: ContainerSpec) -> Result<i32> {
        spec.root = RootRequest::Layers {
            layers: written.layers.clone(),
            changes: written.path.clone(),
        };
        spec.auto_remove = true;
        let options = RunOptions {
            detach: false,
            attach: AttachOptions {
                detach_keys: Vec::new(),
                sig_proxy: false,
                streams: AttachedStreams::all(spec.interactive),
            },
            pull: PullSettings {
                registry: Default::default(),
                progress: &Silent,
            },
            created: &|_| Ok(()),
        };
        match self.run(spec, options)? {
            RunOutcome::Exited(code) => Ok(code),
            RunOutcome::Detached(_) | RunOutcome::Left(_) => Err(Error::new(
                ErrorKind::System,
                "lost sight of the program of a build step",
            )),
        }
    }

    /// Makes a layer of what a program has written. `mounted` are the places where something was
    /// mounted, without a leading slash: they are no part of it.
    pub fn take_written(
        &self,
        lease: &Lease<'_>,
        written: &Written,
        mounted: &[String],
    ) -> Result<(StagedLayer, Changes)> {
        let layer = lease.stage_new_layer()?;
        let folder = written.folder.as_fd();
        let changes =
            lease.take_step(folder, &written.layers, self.privilege(), mounted, &layer)?;
        Ok((layer, changes))
    }
}

/// Where a step's changes go, if it is one.
pub(super) fn folder_of_changes(record: &ContainerRecord) -> Result<Option<OwnedFd>> {
    let RootRequest::Layers { changes, .. } = &record.spec.root else {
        return Ok(None);
    };
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let folder = rustix::fs::open(changes, flags, Mode::empty());
    folder
        .map(Some)
        .system(|| format!("cannot open {}", changes.display()))
}

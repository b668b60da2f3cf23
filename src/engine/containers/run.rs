//! `run`, `start` and `attach`: a supervisor is started, and watched if somebody wants to.
//!
//! Running in the foreground is starting and attaching: one path. What a user namespace needs (two
//! set-user-ID programs) goes on while the image is looked up and the container's folder is made.

use std::{
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
};

use super::{
    create::{Created, with_exact_modes},
    ending::Watch,
    hook_folders,
    log_plan::log_plan,
    moves::{self, Legal, Move},
    neighbours::Neighbours,
    own_ids::Ownership,
    own_root,
    session::{self, CaughtSignals, Ended, Session},
    stop, streams,
};
use crate::{
    engine::{
        AttachOptions, Engine, RunOptions, RunOutcome, StartOptions, builds, cgroup,
        events::container_event,
        plan::{self, ContainerFiles, RootSource, SandboxPlan},
        supervisor::{
            self, About, LaunchPlan, StopPlan, network_files,
            protocol::{self, Attachment, Request},
            socket_name,
        },
    },
    model::{
        ContainerId, ContainerSpec, Context, Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState, RootRequest},
        host::HostFacts,
        image::ImageConfig,
        mount::anonymous_volumes,
        restart::RestartPolicy,
        user_namespace::IdMaps,
    },
    storage::{ContainerDir, ContainerLock, Driver, shifted},
    sys::packet,
};

impl Engine {
    /// Makes a container and starts it; in the foreground, until it ends or is detached from.
    pub fn run(&self, spec: ContainerSpec, options: RunOptions<'_>) -> Result<RunOutcome> {
        let (spec, source) = self.source_of(spec, &options.pull)?;
        let neighbours = self.open_neighbours(&spec)?;
        self.begin_namespace_for(&spec, &neighbours)?;
        let created = self.make_container(spec, &source)?;
        if let Err(error) = (options.created)(&created.record.id) {
            self.user.finish_namespace()?;
            let _ = self
                .store
                .remove_container_and_volumes(&created.directory, created.lock);
            return Err(error);
        }
        let attach = (!options.detach).then_some(&options.attach);
        let actions = ["create", "attach"].into_iter();
        self.store.note_events(
            actions
                .take(1 + usize::from(attach.is_some()))
                .map(|action| container_event(&created.record, &created.image, action)),
        );
        let (id, auto_remove) = (created.record.id.clone(), created.record.spec.auto_remove);
        let outcome = self.launch(created, &neighbours, true, attach);
        if outcome.is_err() && auto_remove {
            self.remove_unstarted(&id)?;
        }
        outcome
    }

    /// Removes a `--rm` container that did not get as far as a supervisor that would.
    fn remove_unstarted(&self, id: &ContainerId) -> Result<()> {
        let Ok(directory) = self.store.container(id) else {
            return Ok(());
        };
        let Some(lock) = directory.try_hold()? else {
            return Ok(());
        };
        // Its supervisor may have been killed while the program ran.
        super::pause::remove_left_groups(&directory.state()?);
        self.user.finish_namespace()?;
        self.store.remove_container_and_volumes(&directory, lock)
    }

    /// Starts a container that does not run. One that does is left alone, as Docker does.
    pub fn start(&self, container: &str, options: StartOptions) -> Result<RunOutcome> {
        let (directory, record) = self.store.find_container(container)?;
        if self.store.remove_if_over(&record.id)? {
            // Its supervisor was killed before it could remove it.
            return Err(Error::new(
                ErrorKind::NoSuchContainer,
                format!("No such container: {container}"),
            ));
        }
        let state = super::state_of(&directory)?;
        let legal = moves::check(Move::Start, state, &record, container)?;
        let lock = match legal {
            Legal::Go => directory.hold_after_copies()?,
            Legal::Done => None,
        };
        let Some(lock) = lock else {
            return match &options.attach {
                Some(attach) => self.attach_to(&directory, &record, attach),
                None => {
                    self.hasten_restart(&directory)?;
                    Ok(RunOutcome::Detached(record.id))
                }
            };
        };
        self.start_held(directory, record, lock, options.attach.as_ref())
    }

    /// Starts a container whose lock is held.
    pub(super) fn start_held(
        &self,
        directory: ContainerDir,
        mut record: ContainerRecord,
        lock: ContainerLock,
        attach: Option<&AttachOptions>,
    ) -> Result<RunOutcome> {
        let neighbours = self.open_neighbours(&record.spec)?;
        self.begin_namespace_for(&record.spec, &neighbours)?;
        let has_volumes = record
            .spec
            .mounts
            .iter()
            .any(|mount| mount.volume().is_some());
        let first_start = has_volumes
            && directory.start_record()?.is_none()
            && directory
                .exit_record()?
                .is_none_or(|exit| exit.started.is_none());
        directory.forget_start()?;
        record.spec.resources = super::update::effective(&directory, &record)?;
        if !record.spec.network.is_connected() {
            // They are never flushed: a power cut may have left them empty.
            let hostname = neighbours.surroundings.hostname.as_deref();
            let nowhere = network_files::Connections::default();
            with_exact_modes(|| network_files::write(directory.fd(), &record, hostname, nowhere))?;
        }
        let image = match &record.image_id {
            Some(id) => self.image_config(id)?,
            None => ImageConfig::default(),
        };
        let created = Created {
            directory,
            lock,
            record,
            image,
            first_start,
        };
        if attach.is_some() {
            self.store
                .note_event(container_event(&created.record, &created.image, "attach"));
        }
        self.launch(created, &neighbours, false, attach)
    }

    /// A restart that is being waited for begins at once.
    fn hasten_restart(&self, directory: &ContainerDir) -> Result<()> {
        if directory.state()?.state == ContainerState::Restarting
            && let Some(watch) = Watch::begin(&self.store, directory)?
        {
            watch.tell(&Request::StartNow);
        }
        Ok(())
    }

    /// Connects this terminal to a running container until it ends or is detached from.
    pub fn attach(&self, container: &str, options: AttachOptions) -> Result<RunOutcome> {
        let (directory, record) = self.store.find_container(container)?;
        moves::check(
            Move::Attach,
            super::state_of(&directory)?,
            &record,
            container,
        )?;
        if options.streams.stdin && record.spec.tty && !streams::input_is_terminal() {
            return Err(
                Error::invalid("the input device is not a TTY".to_owned()).with_hint(format!(
                    "{} has a terminal: --no-stdin shows what it prints",
                    record.name
                )),
            );
        }
        self.attach_to(&directory, &record, &options)
    }

    fn attach_to(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        options: &AttachOptions,
    ) -> Result<RunOutcome> {
        let stopped = || {
            Error::new(
                ErrorKind::Conflict,
                format!("container {} is not running", record.name),
            )
            .with_hint(format!("start it first: coracle start -a {}", record.name))
        };
        moves::check(
            Move::Attach,
            super::state_of(directory)?,
            record,
            &record.name,
        )?;
        let socket = packet::connect(self.store.socket_folder()?, &socket_name(&record.id))
            .map_err(|_| stopped())?;
        let attachment = attachment(record, options);
        if !record.spec.tty && options.streams.has_both_outputs() {
            protocol::hand_over_outputs(&socket).map_err(|_| stopped())?;
        }
        Request::Attach(attachment)
            .send(&socket)
            .map_err(|_| stopped())?;
        self.note_container(record, "attach", &[]);
        let raw = record.spec.tty && attachment.stdin;
        let signals = CaughtSignals::begin(options, raw)?;
        let ways = (socket, signals);
        self.watch(ways, directory, record, options, (attachment, true))
    }

    /// Starts the container. Where the kernel refuses to stack its layers, and it has written nothing
    /// yet, once more with copies of them.
    fn launch(
        &self,
        created: Created,
        neighbours: &Neighbours,
        is_new: bool,
        attach: Option<&AttachOptions>,
    ) -> Result<RunOutcome> {
        let copied = !is_new && created.directory.has_copied_root()?;
        let mut driver = if copied { Driver::Copy } else { self.driver() };
        let Created {
            directory,
            lock,
            record,
            image,
            first_start,
        } = created;
        let mut ownership = self.ownership(&record, &directory)?;
        let mut lock = lock;
        loop {
            let outcome = self.launch_with(
                (driver, ownership, first_start),
                &directory,
                lock,
                (&record, &image),
                neighbours,
                attach,
            );
            let error = match outcome {
                Err(error) if error.kind() == ErrorKind::OverlayRefused => error,
                other => return other,
            };
            self.store.require_layers(&record.layers)?;
            // Not for a folder of the user's, which is used as it is.
            let of_image = record.image_id.is_some() || !record.layers.is_empty();
            if of_image
                && ownership == Ownership::Mapped
                && (copied || directory.has_written_nothing()?)
            {
                directory.note_shifted_owners()?;
                ownership = Ownership::Shifted;
            } else if of_image
                && driver == Driver::Overlay
                && self.forced_driver.is_none()
                && directory.has_written_nothing()?
            {
                driver = Driver::Copy;
            } else {
                return Err(error);
            }
            lock = directory.hold_after_copies()?.ok_or(error)?;
        }
    }

    fn launch_with(
        &self,
        (driver, ownership, first_start): (Driver, Ownership, bool),
        directory: &ContainerDir,
        lock: ContainerLock,
        (record, image): (&ContainerRecord, &ImageConfig),
        neighbours: &Neighbours,
        attach: Option<&AttachOptions>,
    ) -> Result<RunOutcome> {
        let how = (driver, ownership, first_start);
        let mut sandbox = self.sandbox_plan(how, directory, (record, image), neighbours)?;
        let network = self.network_plan(record, image, &lock)?;
        let hostname = neighbours.surroundings.hostname.clone();
        if let Some(plan) = &network {
            self.write_network_files(directory, record, hostname.as_deref(), plan)?;
        }
        let client = attach
            .map(|options| attachment(record, options))
            .unwrap_or_default();
        if attach.is_some() && record.spec.tty {
            let size = session::terminal_size();
            sandbox.process.terminal_size = size.or(sandbox.process.terminal_size);
        }
        let launch = LaunchPlan {
            root: absolute(self.store.root_path())?,
            runroot: absolute(self.store.runroot_path())?,
            id: record.id.clone(),
            name: record.name.clone(),
            sandbox,
            interactive: record.spec.interactive,
            input_once: record.spec.input_once(),
            hostname,
            client,
            hands_over_outputs: attach.is_some_and(|options| options.streams.has_both_outputs()),
            logging: log_plan(record, image)?,
            auto_remove: record.spec.auto_remove,
            dies_with_command: record.spec.root.is_step(),
            starts_after_boot: record.spec.restart != RestartPolicy::No,
            nameless_volumes: anonymous_volumes(&record.spec.mounts),
            health: self.health_plan(record, image.config.as_ref()),
            timeout: record.spec.namespaces.timeout,
            stop: StopPlan {
                signal: stop::stop_signal(record, || image.config.clone()),
                timeout: u64::try_from(self.stop_timeout(record, None)).ok(),
            },
            about: About::new(record, image),
            shares_user_namespace: self.user.has_namespace(),
            user_bus: self.user_bus.clone(),
            network,
        };
        self.note_mounts(record);
        self.user.finish_namespace()?;
        let raw = record.spec.tty && client.stdin;
        let signals = attach
            .map(|options| CaughtSignals::begin(options, raw))
            .transpose()?;
        cgroup::prepare(&launch.sandbox.cgroup, &self.cgroup_caller());
        let socket = supervisor::launch(&launch, lock, &neighbours.held)?;
        let pid = session::await_start(&socket)?;
        if let Some(path) = &record.spec.namespaces.pidfile {
            std::fs::write(path, pid.to_string()).system(|| format!("cannot write {path}"))?;
        }
        match attach.zip(signals) {
            Some((options, signals)) => {
                let ways = (socket, signals);
                self.watch(ways, directory, record, options, (client, false))
            }
            None => Ok(RunOutcome::Detached(record.id.clone())),
        }
    }

    fn sandbox_plan(
        &self,
        (driver, ownership, first_start): (Driver, Ownership, bool),
        directory: &ContainerDir,
        (record, image): (&ContainerRecord, &ImageConfig),
        neighbours: &Neighbours,
    ) -> Result<SandboxPlan> {
        let mut host = self.user.host_facts()?;
        if plan::asks_for_kernel(&record.spec.security) {
            host.kernel = crate::engine::machine::kernel_version();
        }
        let root = self.root_source((driver, ownership), directory, record, &host)?;
        let files = ContainerFiles {
            directory: absolute(directory.path())?,
            root,
            user_namespace: self.user_namespace_plan(record, ownership)?,
            volumes: self.volume_files(&record.spec)?,
            first_start,
            image_mounts: self.image_mounts(directory, &record.spec, &host)?,
            found: self.find(&record.spec)?,
        };
        let mut sandbox = plan::container(record, image, &host, &files, &neighbours.surroundings)?;
        own_root::refine(&mut sandbox, record, directory, &host)?;
        hook_folders::add(&mut sandbox, record, directory)?;
        plan::close_devices(&mut sandbox);
        Ok(sandbox)
    }

    fn watch(
        &self,
        (socket, signals): (OwnedFd, CaughtSignals),
        directory: &ContainerDir,
        record: &ContainerRecord,
        options: &AttachOptions,
        (attachment, redraw): (Attachment, bool),
    ) -> Result<RunOutcome> {
        let resized = |rows: u16, columns: u16| {
            let size = [rows, columns].map(|count| count.to_string());
            let more = [("height", size[0].as_str()), ("width", size[1].as_str())];
            self.note_container(record, "resize", &more);
        };
        let session = Session {
            socket,
            signals,
            directory,
            terminal: record.spec.tty,
            attachment,
            options,
            redraw,
            resized: &resized,
        };
        Ok(match session.run()? {
            Ended::Exited(code) => RunOutcome::Exited(code),
            Ended::Left(code) => RunOutcome::Left(code),
            Ended::Detached => {
                self.note_container(record, "detach", &[]);
                RunOutcome::Detached(record.id.clone())
            }
        })
    }

    /// The root file system as `driver` puts it together. Copies are made here, once.
    pub(super) fn root_source(
        &self,
        (driver, ownership): (Driver, Ownership),
        directory: &ContainerDir,
        record: &ContainerRecord,
        host: &HostFacts,
    ) -> Result<RootSource> {
        let folder = absolute(directory.path())?;
        if let Some(root) = self.own_root(record, directory, &folder, host)? {
            return Ok(root);
        }
        let changes = match &record.spec.root {
            RootRequest::Layers { changes, .. } => changes.clone(),
            _ => folder.clone(),
        };
        let shifted = record
            .ids
            .as_ref()
            .filter(|_| ownership == Ownership::Shifted);
        Ok(match driver {
            Driver::Overlay => {
                let base = absolute(self.store.root_path())?;
                let relative = |path: &Path| path.strip_prefix(&base).unwrap_or(path).to_owned();
                let relative_all = |paths: Vec<PathBuf>| -> Result<Vec<PathBuf>> {
                    let paths = paths.iter();
                    paths.map(|path| Ok(relative(&absolute(path)?))).collect()
                };
                let layers = self.store.overlay_lowers(&record.layers);
                let (lower, data) = match shifted {
                    None => (layers, Vec::new()),
                    Some(ids) => match self.shifted_layers(directory, record, ids)? {
                        (tree, shifted::Kind::Metadata) => (vec![tree], layers),
                        (tree, shifted::Kind::Whole) => (vec![tree], Vec::new()),
                    },
                };
                RootSource::Overlay {
                    lower: relative_all(lower)?,
                    data: relative_all(data)?,
                    upper: relative(&changes.join("upper")),
                    work: relative(&changes.join("work")),
                    volatile: record.spec.auto_remove,
                    user_xattr: !host.initial_user_namespace,
                }
            }
            Driver::Copy => {
                self.user.finish_namespace()?;
                let place = builds::folder_of_changes(record)?;
                let place = place.as_ref().map_or(directory.fd(), AsFd::as_fd);
                self.store
                    .lease()?
                    .copy_rootfs(place, &record.layers, shifted)?;
                RootSource::Directory(changes.join("rootfs"))
            }
        })
    }

    /// The image's tree with the container's owners, made if it is not there yet.
    fn shifted_layers(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
        ids: &IdMaps,
    ) -> Result<(PathBuf, shifted::Kind)> {
        self.user.finish_namespace()?;
        if self.user.is_real_root() && directory.has_written_nothing()? {
            // Perhaps killed after it was noted that they are.
            self.store
                .shift_upper(directory.fd(), &record.layers, ids)?;
        }
        if let Some(made) = self.store.shifted_tree(&record.layers, ids)? {
            return Ok(made);
        }
        let user_xattr = !self.user.is_real_root();
        self.store
            .make_shifted_tree(&record.layers, ids, user_xattr, |kind| {
                self.announce_shift(record, kind);
            })
    }

    /// Says beforehand what may take seconds, and happens once for an image and its ids.
    fn announce_shift(&self, record: &ContainerRecord, kind: shifted::Kind) {
        /// About a third of a second.
        const MANY: u64 = 5000;
        let image = &record.spec.image;
        let entries = |layer| {
            self.store
                .layer_facts(layer)
                .map_or(0, |facts| facts.entries)
        };
        let count: u64 = record.layers.iter().map(entries).sum();
        match kind {
            shifted::Kind::Whole => log::warn!(
                "copying image {image} once for these ids: this kernel cannot change owners in place (Linux 6.16 can)"
            ),
            shifted::Kind::Metadata if count > MANY => {
                log::warn!(
                    "noting other owners for {count} files of image {image}, once for these ids"
                );
            }
            shifted::Kind::Metadata => {}
        }
    }
}

fn attachment(record: &ContainerRecord, options: &AttachOptions) -> Attachment {
    Attachment {
        stdin: options.streams.stdin && takes_input(record),
        output: true,
    }
}

/// Whether the supervisor has the other end of the container's standard input.
fn takes_input(record: &ContainerRecord) -> bool {
    record.spec.interactive && !record.spec.logging.driver.passes_through()
}

/// The supervisor works from `/`: a store given by a relative path must stay found.
pub(in crate::engine) fn absolute(path: &std::path::Path) -> Result<std::path::PathBuf> {
    std::path::absolute(path).system(|| format!("cannot make {} absolute", path.display()))
}

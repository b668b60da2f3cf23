//! `create`: from a request and an image to a container that can be started.

use super::own_root::Source;
use crate::{
    engine::{
        Engine, PullRequest, PullSettings, Silent, devices,
        events::container_event,
        machine, plan,
        supervisor::{self, network_files},
    },
    model::{
        ContainerId, ContainerSpec, Context, Error, ErrorKind, Platform, Reference, Result,
        container::{ContainerRecord, PullPolicy, RootRequest, check_name},
        dns::HostsBase,
        image::{ImageConfig, ImageRecord},
        mount::MountSource,
        names,
        resources::Resources,
        security::SecuritySpec,
    },
    storage::{ContainerDir, ContainerLock, Durability},
};

/// A container that exists and whose lock this process holds.
pub(super) struct Created {
    pub directory: ContainerDir,
    pub lock: ContainerLock,
    pub record: ContainerRecord,
    pub image: ImageConfig,
    /// It was never started before, as far as its volumes are concerned.
    pub first_start: bool,
}

impl Engine {
    /// Makes a container, pulling its image if the spec's policy says so.
    pub fn create(&self, spec: ContainerSpec, pull: &PullSettings<'_>) -> Result<ContainerId> {
        let (spec, source) = self.source_of(spec, pull)?;
        let created = self.make_container(spec, &source)?;
        self.store
            .note_event(container_event(&created.record, &created.image, "create"));
        Ok(created.record.id)
    }

    /// `--replace`: as late as can be, so that a request that is refused costs no container.
    fn replace_container(&self, spec: &mut ContainerSpec) -> Result<()> {
        if !std::mem::take(&mut spec.replace) {
            return Ok(());
        }
        let Some(name) = &spec.name else {
            return Err(Error::invalid("cannot replace a container without --name")
                .with_hint("--replace --name NAME"));
        };
        self.user.finish_namespace()?;
        match self.remove_container(name, true, false) {
            Err(error) if error.kind() != ErrorKind::NoSuchContainer => Err(error),
            _ => Ok(()),
        }
    }

    /// The image that a spec names, fetched if it has to be.
    pub(in crate::engine) fn image_of(
        &self,
        spec: &ContainerSpec,
        pull: &PullSettings<'_>,
    ) -> Result<ImageRecord> {
        let found = match spec.pull {
            PullPolicy::Always => None,
            PullPolicy::Missing | PullPolicy::Never => {
                match self.image_or_member(&spec.image, spec.platform.as_ref()) {
                    Ok(image) => Some(image),
                    Err(error) if error.kind() == ErrorKind::NoSuchImage => {
                        match self.embedded_image(&spec.image)? {
                            Some(image) => Some(image),
                            None if spec.pull == PullPolicy::Never => return Err(error),
                            None => None,
                        }
                    }
                    Err(error) => return Err(error),
                }
            }
        };
        match found {
            Some(image) => {
                let image = self.for_platform(image, spec.platform.as_ref())?;
                self.adopt(image, &Silent)
            }
            None => {
                let pulled = self.pull_for(spec, pull)?;
                self.adopt(pulled, &Silent)
            }
        }
    }

    fn pull_for(&self, spec: &ContainerSpec, pull: &PullSettings<'_>) -> Result<ImageRecord> {
        let member = match spec.pull {
            PullPolicy::Always => None,
            _ => self.member_source(&spec.image, spec.platform.as_ref())?,
        };
        let reference: Reference = match member {
            Some(member) => member,
            None => spec.image.parse()?,
        };
        pull.progress.image_missing(&reference);
        let request = PullRequest {
            reference,
            platform: spec.platform.clone(),
            registry: pull.registry.clone(),
        };
        let pulled = self.pull(&request, pull.progress)?;
        pull.progress.image_pulled(&pulled);
        Ok(pulled.record)
    }

    /// Makes the container's folder appear; the caller notes the event. Nothing is flushed for containers that are removed
    /// when they end; others survive a power cut from here on.
    pub(super) fn make_container(
        &self,
        mut spec: ContainerSpec,
        source: &Source,
    ) -> Result<Created> {
        let config = match source.image() {
            Some(image) => {
                let config = self.image_config(&image.config)?;
                check_platform(&spec, &config)?;
                config
            }
            None => ImageConfig::default(),
        };
        if spec.resources != Resources::default() {
            plan::cgroup::cgroup(&spec.resources, false)?;
        }
        if spec.security != SecuritySpec::default() {
            plan::check(&spec, &self.user.host_facts()?)?;
            check_apparmor(&spec)?;
        }
        devices::refuse_unenforceable(&spec.devices, self.user.is_real_root())?;
        self.find(&spec)?;
        self.complete_mounts(&mut spec, &config)?;
        for mount in &spec.mounts {
            prepare_source(&mount.source)?;
        }
        self.replace_container(&mut spec)?;
        let chosen = self.choose_ids(&spec, source.image(), &config)?;
        self.check_id_maps(&spec, chosen.ids.is_some())?;
        let created = self.make_named(spec, source, &config, &chosen)?;
        // Others may choose now: it can be seen.
        drop(chosen);
        // Not before: a volume that no record names could be pruned at once, and one without a name
        // would stay for ever if this process were killed in between.
        if let Err(error) = self.make_volumes(&created.record.spec) {
            self.user.finish_namespace()?;
            let Created {
                directory, lock, ..
            } = created;
            let _ = self.store.remove_container_and_volumes(&directory, lock);
            return Err(error);
        }
        Ok(created)
    }

    /// The kernel maps mounts for real root alone, and by a map that is not everybody's.
    fn check_id_maps(&self, spec: &ContainerSpec, own_ids: bool) -> Result<()> {
        let Some(mount) = spec
            .mounts
            .iter()
            .find(|mount| mount.options.id_map.is_some())
        else {
            return Ok(());
        };
        let (why, hint) = match (own_ids, self.user.is_real_root()) {
            (true, true) => return Ok(()),
            (false, _) => (
                "idmap needs a user namespace of the container's own",
                "without one, owners are the same inside and outside: leave idmap out",
            ),
            (true, false) => (
                "idmap is for root: the kernel maps nobody else's mounts",
                "give the files away with the option U, or use --userns keep-id",
            ),
        };
        Err(Error::new(
            ErrorKind::Unsupported,
            format!("cannot mount {}: {why}", mount.target),
        )
        .with_hint(hint))
    }

    fn make_named(
        &self,
        spec: ContainerSpec,
        source: &Source,
        config: &ImageConfig,
        chosen: &super::own_ids::ChosenIds,
    ) -> Result<Created> {
        let record = |spec| {
            let record = new_record(spec, source.image(), config)?;
            let ids = chosen.ids.clone();
            Ok::<_, Error>(ContainerRecord { ids, ..record })
        };
        // Random names repeat now and then; nobody asked for this one.
        for _ in 0..20 {
            match self.stage(record(spec.clone())?, source, config) {
                Err(error) if error.kind() == ErrorKind::NameInUse && spec.name.is_none() => {}
                other => return other,
            }
        }
        self.stage(record(spec)?, source, config)
    }

    fn stage(
        &self,
        record: ContainerRecord,
        source: &Source,
        config: &ImageConfig,
    ) -> Result<Created> {
        let hostname = self.shared_hostname(&record.spec)?;
        let durability = if record.spec.auto_remove {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        let staged = self.store.stage_container(&record.id)?;
        with_exact_modes(|| {
            staged.make_overlay_folders(source.image().and_then(|image| image.layers.last()))?;
            if record.spec.dns.hosts_base == HostsBase::Image {
                let layers = source.image().map_or(&[][..], |image| &image.layers);
                let text = self.file_of_image(layers, c"etc/hosts");
                network_files::keep_base(staged.fd(), &text, durability)?;
            }
            if record.spec.network.is_connected() {
                // The start writes them, when it knows the addresses.
                return Ok(());
            }
            let nowhere = network_files::Connections::default();
            network_files::write(staged.fd(), &record, hostname.as_deref(), nowhere)
        })?;
        if let Some(ids) = &record.ids {
            // As root the mounts are mapped instead, if they can be.
            if !self.user.is_real_root() {
                self.store.shift_upper(staged.fd(), &record.layers, ids)?;
            }
        }
        if let Source::Bundle(config) = source {
            staged.put_bundle_config(config, durability)?;
        }
        let (directory, lock) = staged.commit(&record, durability)?;
        Ok(Created {
            directory,
            lock,
            record,
            image: config.clone(),
            first_start: true,
        })
    }
}

/// What a container's programs see has exactly the mode it is made with, whatever our umask is.
pub(super) fn with_exact_modes<T>(make: impl FnOnce() -> T) -> T {
    let before = rustix::process::umask(rustix::fs::Mode::empty());
    let made = make();
    rustix::process::umask(before);
    made
}

/// Whether the profile is loaded only the kernel knows, at the start.
fn check_apparmor(spec: &ContainerSpec) -> Result<()> {
    let Some(profile) = &spec.security.apparmor else {
        return Ok(());
    };
    if machine::has_apparmor() {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("cannot use AppArmor profile {profile:?}: this machine has no AppArmor"),
    )
    .with_hint("apparmor=unconfined asks for none"))
}

/// Running another architecture's programs fails in ways that are hard to read.
fn check_platform(spec: &ContainerSpec, config: &ImageConfig) -> Result<()> {
    let wanted = spec.platform.clone().unwrap_or_else(Platform::host);
    let offered = config.platform();
    if wanted.accepts(&offered) || (spec.platform.is_none() && offered.architecture.is_empty()) {
        return Ok(());
    }
    Err(Error::new(
        ErrorKind::NoMatchingPlatform,
        format!(
            "image {} is for platform {offered}, not {wanted}",
            spec.image
        ),
    )
    .with_hint(format!(
        "--platform {offered} runs it all the same, if this machine can"
    )))
}

/// Docker makes a missing source of `-v`; that of `--mount` must be there.
fn prepare_source(source: &MountSource) -> Result<()> {
    let MountSource::Bind {
        source,
        create_source,
        ..
    } = source
    else {
        return Ok(());
    };
    match rustix::fs::access(source, rustix::fs::Access::EXISTS) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::NOENT) if *create_source => {
            use std::os::unix::fs::DirBuilderExt;
            std::fs::DirBuilder::new()
                .recursive(true)
                .mode(0o755)
                .create(source)
                .system(|| format!("cannot make bind source {source}"))
        }
        Err(rustix::io::Errno::NOENT) => Err(Error::invalid(format!(
            "bind source path does not exist: {source}"
        ))
        .with_hint("make it first, or use -v, which makes it")),
        Err(errno) => Err(errno).system(|| format!("cannot use bind source {source}")),
    }
}

pub(super) fn new_record(
    spec: ContainerSpec,
    image: Option<&ImageRecord>,
    config: &ImageConfig,
) -> Result<ContainerRecord> {
    let (path, args) = plan::command_line(&spec, config)?;
    let mut random = [0_u8; 40];
    fill_random(&mut random)?;
    let (id, name_bits) = random.split_at(32);
    let name = match &spec.name {
        Some(name) => {
            check_name(name)?;
            name.clone()
        }
        None => names::from_random(
            name_bits
                .iter()
                .fold(0, |bits, &byte| bits << 8 | u64::from(byte)),
        ),
    };
    let mut id_bytes = [0; 32];
    id_bytes.copy_from_slice(id);
    let layers = match (&spec.root, image) {
        (RootRequest::Layers { layers, .. }, _) => layers.clone(),
        (_, Some(image)) => image.layers.clone(),
        (_, None) => Vec::new(),
    };
    Ok(ContainerRecord {
        id: ContainerId::from_random(id_bytes),
        name,
        created: supervisor::now(),
        spec,
        image_id: image.map(|image| image.config.clone()),
        layers,
        ids: None,
        path,
        args,
    })
}

pub(super) fn fill_random(bytes: &mut [u8]) -> Result<()> {
    let what = || "cannot get random bytes".to_owned();
    let count =
        rustix::rand::getrandom(&mut *bytes, rustix::rand::GetRandomFlags::empty()).system(what)?;
    // Up to 256 bytes come whole (random(4)).
    if count == bytes.len() {
        Ok(())
    } else {
        Err(Error::new(ErrorKind::System, what()))
    }
}

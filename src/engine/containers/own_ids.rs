//! Containers with ids of their own: which ids (decided when the container is made, since its files
//! are owned by them), and which user namespace when it starts.

use std::{ffi::CStr, os::fd::AsFd};

use super::neighbours::Neighbours;

use crate::{
    engine::{
        Engine,
        plan::{
            UserNamespaceOrigin, UserNamespacePlan,
            user_namespace::{DEFAULT_POOL, IdFacts, id_maps},
        },
    },
    model::{
        ContainerSpec, Context, Digest, Error, ErrorKind, Result,
        container::{ContainerRecord, StartRecord},
        host::{IdRange, UserMode, subordinate_ranges},
        image::{ImageConfig, ImageRecord},
        user::{MAX_FILE, highest_id},
        user_namespace::{IdMaps, UserNamespaceMode},
    },
    storage::locks::ChoosingIds,
    sys::{in_root, process, user_namespace},
};

/// The user in /etc/subuid whose ranges root's automatic maps are cut from, Podman's.
const POOL_NAME: &str = "containers";

/// Ids for a container that is being made. Nobody else chooses any while it lives.
#[derive(Default)]
pub(super) struct ChosenIds {
    pub ids: Option<IdMaps>,
    _alone: Option<ChoosingIds>,
}

/// How the ids of a container with a map of its own get onto its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ownership {
    /// The engine's ids: nothing to do.
    Engine,
    /// Files keep their owners, mounts are mapped.
    Mapped,
    /// Files have other owners than in the image.
    Shifted,
}

impl Engine {
    /// Enters the user namespace in which a container of this kind can be started. The one of
    /// another container can be joined only from that of its own supervisor.
    pub(super) fn begin_namespace_for(
        &self,
        spec: &ContainerSpec,
        neighbours: &Neighbours,
    ) -> Result<()> {
        self.enter_namespace_of_other(spec)?;
        self.begin_namespace_among(neighbours, &spec.network)?;
        if spec.user_namespace.is_own() {
            self.user.finish_namespace()?;
        }
        Ok(())
    }

    fn enter_namespace_of_other(&self, spec: &ContainerSpec) -> Result<()> {
        match &spec.user_namespace.mode {
            UserNamespaceMode::Container(other) => {
                let holder = self.running(other)?.supervisor.pid;
                // Also asked when it was entered before.
                if user_namespace::is_own(holder) || self.user.join_namespace_of(holder)? {
                    Ok(())
                } else {
                    Err(not_running(other))
                }
            }
            _ => Ok(()),
        }
    }

    fn running(&self, name: &str) -> Result<StartRecord> {
        let (directory, _) = self.store.find_container(name)?;
        let start = directory.start_record()?;
        match start {
            Some(start) if directory.is_held()? => Ok(start),
            _ => Err(not_running(name)),
        }
    }

    /// The ids of a container that is being made: no call at all for one that has the engine's.
    pub(super) fn choose_ids(
        &self,
        spec: &ContainerSpec,
        image: Option<&ImageRecord>,
        config: &ImageConfig,
    ) -> Result<ChosenIds> {
        let request = &spec.user_namespace;
        let mut chosen = ChosenIds::default();
        if !request.is_own() {
            return Ok(chosen);
        }
        // Files are given to ids that exist only inside.
        self.enter_namespace_of_other(spec)?;
        self.enter_user_namespace()?;
        let mut facts = IdFacts::default();
        match &request.mode {
            UserNamespaceMode::Container(other) => {
                let (_, record) = self.store.find_container(other)?;
                // It may have the engine's ids: then both have.
                chosen.ids = record.ids.map(|ids| IdMaps {
                    reserved: false,
                    kept: None,
                    ..ids
                });
                return Ok(chosen);
            }
            UserNamespaceMode::Path(path) => {
                let (uids, gids) = maps_of_file(path)?;
                chosen.ids = Some(IdMaps {
                    uids,
                    gids,
                    ..IdMaps::default()
                });
                return Ok(chosen);
            }
            UserNamespaceMode::Auto { size, .. } => {
                chosen._alone = Some(self.store.choose_ids_alone()?);
                [facts.uid_pool, facts.gid_pool] = self.pools();
                facts.taken = self.taken_ids()?;
                if size.is_none() {
                    facts.needed = self.needed_ids(spec, image, config);
                }
            }
            UserNamespaceMode::Private => {
                let user = request
                    .subuid_name
                    .as_ref()
                    .or(request.subgid_name.as_ref());
                let group = request
                    .subgid_name
                    .as_ref()
                    .or(request.subuid_name.as_ref());
                facts.named_uids = self.named_ranges("/etc/subuid", user)?;
                facts.named_gids = self.named_ranges("/etc/subgid", group)?;
            }
            _ => {}
        }
        chosen.ids = id_maps(request, self.user.mode(), &facts)?;
        Ok(chosen)
    }

    /// What automatic maps are cut from: users, then groups.
    fn pools(&self) -> [Vec<(u32, u32)>; 2] {
        let subordinate = |map: &[IdRange]| {
            let ranges = map.iter().filter(|range| range.inside > 0);
            ranges.map(|range| (range.inside, range.count)).collect()
        };
        if let UserMode::Rootless { uids, gids } = self.user.mode() {
            return [subordinate(uids), subordinate(gids)];
        }
        let of_root = |file: &str| {
            let text = process::read_small(file).unwrap_or_default();
            let ranges = subordinate_ranges(&text, Some(POOL_NAME), u32::MAX);
            if ranges.is_empty() {
                vec![DEFAULT_POOL]
            } else {
                ranges
            }
        };
        ["/etc/subuid", "/etc/subgid"].map(of_root)
    }

    /// Of all containers, running or not: their files are owned by these.
    fn taken_ids(&self) -> Result<Vec<IdMaps>> {
        let records = self.store.containers()?.into_iter();
        Ok(records
            .filter_map(|(_, record)| record.ids)
            .filter(|ids| ids.reserved)
            .collect())
    }

    /// Podman's rule: what the image's files of users and groups name, nobody (65534) apart.
    fn needed_ids(
        &self,
        spec: &ContainerSpec,
        image: Option<&ImageRecord>,
        config: &ImageConfig,
    ) -> u32 {
        let mut highest = 0;
        for file in [c"etc/passwd", c"etc/group"] {
            let layers = image.map_or(&[][..], |image| &image.layers);
            highest = highest.max(highest_id(&self.file_of_image(layers, file)));
        }
        let of_image = config
            .config
            .as_ref()
            .and_then(|config| config.user.clone());
        let user = spec.user.clone().or(of_image).unwrap_or_default();
        let named = user.split(':').filter_map(|part| part.parse::<u32>().ok());
        highest.max(named.max().unwrap_or(0)).saturating_add(1)
    }

    /// A small file of an image, without mounting it: that of the topmost layer that has one.
    pub(super) fn file_of_image(&self, layers: &[Digest], path: &CStr) -> Vec<u8> {
        let text = layers.iter().rev().find_map(|layer| {
            let flags = rustix::fs::OFlags::PATH | rustix::fs::OFlags::CLOEXEC;
            let tree = self.store.layer_tree(layer);
            let tree = rustix::fs::open(tree, flags, rustix::fs::Mode::empty()).ok()?;
            in_root::read_regular(&tree, path, MAX_FILE)
                .ok()
                .filter(|text| !text.is_empty())
        });
        text.unwrap_or_default()
    }

    fn named_ranges(&self, file: &str, name: Option<&String>) -> Result<Vec<(u32, u32)>> {
        let Some(name) = name else {
            return Ok(Vec::new());
        };
        if *self.user.mode() != UserMode::Root {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "--subuidname and --subgidname are for root",
            )
            .with_hint(
                "an ordinary user's own ranges are used anyway: --userns keep-id, nomap or auto",
            ));
        }
        let text = process::read_small(file).unwrap_or_default();
        let ranges = subordinate_ranges(&text, Some(name), u32::MAX);
        if ranges.is_empty() {
            return Err(Error::invalid(format!("{name} has no range in {file}")));
        }
        Ok(ranges)
    }

    /// How a container's files are to be owned; asked once a start.
    pub(super) fn ownership(
        &self,
        record: &ContainerRecord,
        directory: &crate::storage::ContainerDir,
    ) -> Result<Ownership> {
        if record.ids.is_none() {
            return Ok(Ownership::Engine);
        }
        // The kernel maps mounts for real root only.
        if !self.user.is_real_root() || directory.has_shifted_owners()? {
            return Ok(Ownership::Shifted);
        }
        Ok(Ownership::Mapped)
    }

    pub(super) fn user_namespace_plan(
        &self,
        record: &ContainerRecord,
        ownership: Ownership,
    ) -> Result<Option<UserNamespacePlan>> {
        let Some(ids) = &record.ids else {
            return Ok(None);
        };
        // The ranges in /etc/subuid may have changed since.
        let origin = match &record.spec.user_namespace.mode {
            UserNamespaceMode::Container(other) => {
                let start = self.running(other)?;
                if self
                    .store
                    .find_container(other)?
                    .1
                    .ids
                    .as_ref()
                    .map(|ids| (&ids.uids, &ids.gids))
                    != Some((&ids.uids, &ids.gids))
                {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("container {other} has other ids now"),
                    )
                    .with_hint(
                        "make this container anew: its files are owned by the ids it was made with",
                    ));
                }
                UserNamespaceOrigin::Process(start.init)
            }
            UserNamespaceMode::Path(path) => {
                if maps_of_file(path)? != (ids.uids.clone(), ids.gids.clone()) {
                    return Err(Error::new(
                        ErrorKind::Conflict,
                        format!("user namespace {path} has other ids now"),
                    ));
                }
                UserNamespaceOrigin::File(path.into())
            }
            _ => UserNamespaceOrigin::New,
        };
        Ok(Some(UserNamespacePlan {
            origin,
            maps_mounts: ownership == Ownership::Mapped,
        }))
    }
}

fn not_running(name: &str) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!("cannot share the user namespace of container {name}: it is not running"),
    )
    .with_hint(format!("coracle start {name}"))
}

/// The maps of a namespace that a file stands for. It must be nested in this process's own.
fn maps_of_file(path: &str) -> Result<(Vec<IdRange>, Vec<IdRange>)> {
    let what = || format!("cannot use user namespace {path}");
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::CLOEXEC;
    let file = rustix::fs::open(path, flags, rustix::fs::Mode::empty()).system(what)?;
    let (uids, gids) = user_namespace::maps_of(file.as_fd()).system(what)?;
    let convert = |ranges: Vec<user_namespace::IdRange>| -> Vec<IdRange> {
        let convert = |range: user_namespace::IdRange| IdRange {
            inside: range.inside,
            outside: range.outside,
            count: range.count,
        };
        ranges.into_iter().map(convert).collect()
    };
    Ok((convert(uids), convert(gids)))
}

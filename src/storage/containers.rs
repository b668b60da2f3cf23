//! Containers: `containers/ID/`, and their names.
//!
//! A container is made in `tmp/` and renamed into place: that is its commit point. Whether it
//! runs is never written anywhere: it does if somebody holds its `lock`.
//!
//! Names are symlinks `names/NAME -> ID`, made before the container appears and removed after it
//! is gone, so two containers can never have one name, and a name whose container is not there
//! (or calls itself otherwise) is a leftover that whoever wants the name takes.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, Mode},
    io::Errno,
};

use super::{
    Durability, FOLDER, Store, blobs,
    files::{self, Stored},
    lease::exists,
    locks::{ObjectLock, SharedLock},
    make_folder,
};
use crate::model::{
    ContainerId, Context, Error, ErrorKind, Result,
    container::{ContainerRecord, ContainerState, ExitRecord, StartRecord},
    mount::{MountSource, anonymous_volumes},
    resources::Resources,
};

const BUNDLE_CONFIG: &str = "config.json";

/// The right to start a container, and then the sign that it runs. Inherited by `fork`; free as
/// soon as the last process that has it is gone. Dropping it only closes this process's copy.
pub type ContainerLock = ObjectLock;

/// A container's directory, open.
#[derive(Debug)]
pub struct ContainerDir {
    id: ContainerId,
    dir: OwnedFd,
    path: PathBuf,
}

impl ContainerDir {
    pub fn id(&self) -> &ContainerId {
        &self.id
    }

    pub fn fd(&self) -> BorrowedFd<'_> {
        self.dir.as_fd()
    }

    /// `ROOT/containers/ID`; files in it have the names that the room's head lists.
    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn log_path(&self) -> PathBuf {
        self.path.join("log")
    }

    /// # Errors
    /// [`ErrorKind::NoSuchContainer`] if it was removed meanwhile or never completely written;
    /// [`ErrorKind::Store`] if a newer program wrote it.
    pub fn record(&self) -> Result<ContainerRecord> {
        match read_record(&self.dir)? {
            Stored::Good(record) if record.id == self.id => Ok(record),
            Stored::Foreign(error) => Err(Error::new(
                ErrorKind::Store,
                format!("cannot understand the record of container {:?}", self.id),
            )
            .with_source(error)),
            _ => Err(no_such_container(self.id.as_str())),
        }
    }

    /// The last start, if there was one.
    pub fn start_record(&self) -> Result<Option<StartRecord>> {
        Ok(files::read_json(&self.dir, "state.json")?.good())
    }

    /// The end of the last run that ended with somebody watching. It belongs to
    /// [`Self::start_record`] only if both name the same start: see [`Self::state`].
    pub fn exit_record(&self) -> Result<Option<ExitRecord>> {
        Ok(files::read_json(&self.dir, "exit.json")?.good())
    }

    /// Written by the supervisor, which holds the lock. Never flushed: it means nothing after a
    /// reboot.
    pub fn put_start_record(&self, record: &StartRecord) -> Result<()> {
        self.put("state.json", record, Durability::Volatile)
    }

    /// Written by whoever holds the lock.
    pub fn put_exit_record(&self, record: &ExitRecord, durability: Durability) -> Result<()> {
        self.put("exit.json", record, durability)
    }

    /// The limits that an update has left; `None` if there was none: those of the record.
    pub fn resources(&self) -> Result<Option<Resources>> {
        match files::read_json(&self.dir, "resources.json")? {
            Stored::Good(resources) => Ok(Some(resources)),
            Stored::Foreign(error) => Err(Error::new(
                ErrorKind::Store,
                format!("cannot understand the limits of container {:?}", self.id),
            )
            .with_source(error)),
            _ => Ok(None),
        }
    }

    /// Replaced as a whole, by whoever holds [`Store::change_limits_alone`].
    pub fn put_resources(&self, resources: &Resources, durability: Durability) -> Result<()> {
        self.put("resources.json", resources, durability)
    }

    fn put(
        &self,
        name: &str,
        record: &impl serde::Serialize,
        durability: Durability,
    ) -> Result<()> {
        let text = serde_json::to_vec(record)
            .context(ErrorKind::System, || format!("cannot describe {name}"))?;
        files::put(&self.dir, name, &text, durability)
    }

    /// The configuration of the bundle that it was made from.
    pub fn bundle_config(&self) -> Result<Vec<u8>> {
        let what = || format!("cannot read the configuration of container {:?}", self.id);
        let text = files::read(&self.dir, BUNDLE_CONFIG, files::MAX_RECORD_BYTES).system(what)?;
        text.ok_or_else(|| Error::new(ErrorKind::Store, what()))
    }

    /// Whether its root is a copy of its layers, and stays one.
    pub fn has_copied_root(&self) -> Result<bool> {
        exists(&self.dir, "rootfs")
    }

    /// Whether its overlay has no file of its own yet, so that its layers may as well be copied.
    pub fn has_written_nothing(&self) -> Result<bool> {
        let what = || "cannot list upper".to_owned();
        let upper = rustix::fs::openat(&self.dir, "upper", FOLDER, Mode::empty()).system(what)?;
        let mut space = Vec::with_capacity(1 << 10);
        let mut reader = rustix::fs::RawDir::new(&upper, space.spare_capacity_mut());
        while let Some(entry) = reader.next() {
            let entry = entry.system(what)?;
            if entry.file_name() != c"." && entry.file_name() != c".." {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Folders for what is changed in one of its mounts, made if they are not there: `upper/`,
    /// `work/` and one that stays empty, below `mounts/INDEX`. The caller holds the lock.
    pub fn make_mount_folders(&self, index: usize) -> Result<PathBuf> {
        let place = format!("mounts/{index}");
        let made = make_folder(&self.dir, "mounts").and_then(|()| make_folder(&self.dir, &place));
        made.system(|| format!("cannot make {place}"))?;
        for name in ["upper", "work", "empty"] {
            let folder = format!("{place}/{name}");
            make_folder(&self.dir, &folder).system(|| format!("cannot make {folder}"))?;
        }
        Ok(self.path.join(place))
    }

    /// Takes the container's lock; `None` if it runs (or is being started or removed).
    pub fn try_hold(&self) -> Result<Option<ContainerLock>> {
        ObjectLock::try_hold(&self.dir, "lock")
    }

    /// Whether a supervisor lives, asked of the kernel.
    pub fn is_held(&self) -> Result<bool> {
        ObjectLock::is_held(&self.dir, "lock")
    }

    /// The state and the records it follows from. A supervisor that holds the lock has written
    /// its start record when the program runs; an earlier one is removed by
    /// [`Self::forget_start`] before.
    pub fn state(&self) -> Result<Status> {
        // The lock first: a supervisor writes the exit record before it lets go.
        let held = self.is_held()?;
        let start = self.start_record()?;
        let exit = self.exit_record()?;
        Ok(Status::from(held, start, exit))
    }

    /// Called with the lock held before a new start, so that the last start's record is not
    /// taken for this one's.
    pub fn forget_start(&self) -> Result<()> {
        match rustix::fs::unlinkat(&self.dir, "state.json", AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).system(|| "cannot remove state.json".to_owned()),
        }
    }
}

/// What is known about a container's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: ContainerState,
    pub start: Option<StartRecord>,
    /// Only the end of the run that `start` began. Absent for one that ended unseen: its
    /// supervisor was killed, or the machine stopped.
    pub exit: Option<ExitRecord>,
}

impl Status {
    fn from(held: bool, start: Option<StartRecord>, exit: Option<ExitRecord>) -> Status {
        let exit = exit.filter(|exit| match (&start, &exit.started) {
            (Some(start), Some(started)) => start.started == *started,
            (Some(_), None) => false,
            (None, _) => true,
        });
        let state = match (&start, &exit) {
            (Some(_), _) if held && exit.is_none() => ContainerState::Running,
            (Some(_), _) | (None, Some(_)) => ContainerState::Exited,
            (None, None) => ContainerState::Created,
        };
        Status { state, start, exit }
    }
}

pub(super) fn read_record(dir: impl AsFd) -> Result<Stored<ContainerRecord>> {
    files::read_json(dir, "record.json")
}

fn no_such_container(typed: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchContainer,
        format!("No such container: {typed}"),
    )
    .with_hint("`coracle ps -a` lists those that are here")
}

/// A container on its way: visible to nobody, deleted if dropped.
///
/// It holds the shared store lock until it is committed, so that its image stays: do nothing slow
/// in between.
#[derive(Debug)]
pub struct StagedContainer<'store> {
    store: &'store Store,
    shared: Option<SharedLock>,
    dir: Option<ContainerDir>,
    lock: Option<ContainerLock>,
}

impl Store {
    /// Begins a container: an empty directory whose lock is held.
    pub fn stage_container(&self, id: &ContainerId) -> Result<StagedContainer<'_>> {
        let what = || format!("cannot make container {id:?}");
        let shared = self.lock_shared()?;
        let staged = format!("tmp/{id}");
        rustix::fs::mkdirat(&self.root, &staged, Mode::RWXU).system(what)?;
        let dir = rustix::fs::openat(&self.root, &staged, FOLDER, Mode::empty()).system(what)?;
        let lock = ObjectLock::try_hold(&dir, "lock")?
            .ok_or(Errno::BUSY)
            .system(what)?;
        Ok(StagedContainer {
            store: self,
            shared: Some(shared),
            dir: Some(ContainerDir {
                id: id.clone(),
                dir,
                path: self.root_path.join("containers").join(id.as_str()),
            }),
            lock: Some(lock),
        })
    }
}

impl StagedContainer<'_> {
    /// Where files that belong to the container from its birth go.
    pub fn fd(&self) -> BorrowedFd<'_> {
        // Emptied by `commit` alone, which takes `self`.
        self.dir
            .as_ref()
            .map_or(self.store.root.as_fd(), |dir| dir.fd())
    }

    /// Keeps the configuration of the bundle that the container is made from.
    pub fn put_bundle_config(&self, text: &[u8], durability: Durability) -> Result<()> {
        files::write_new(self.fd(), BUNDLE_CONFIG, text, durability)
    }

    /// Makes a directory in it.
    pub fn make_folder(&self, name: &str) -> Result<()> {
        make_folder(self.fd(), name).system(|| format!("cannot make {name}"))
    }

    /// Makes `upper/` and `work/` for an overlay. The root directory that a container sees is
    /// `upper/` itself, so it gets the mode and owner that the topmost layer has there. The owner
    /// can only be given by who may give files away. The umask must be 0.
    pub fn make_overlay_folders(&self, top_layer: Option<&crate::model::Digest>) -> Result<()> {
        self.make_folder("work")?;
        let what = || "cannot make upper".to_owned();
        let of_layer =
            top_layer.and_then(|layer| rustix::fs::stat(self.store.layer_tree(layer)).ok());
        let mode = of_layer.map_or(0o755, |stat| stat.st_mode & 0o7777);
        rustix::fs::mkdirat(self.fd(), "upper", Mode::from_raw_mode(mode)).system(what)?;
        if mode & 0o6000 != 0 {
            // mkdir(2) leaves these out.
            rustix::fs::chmodat(
                self.fd(),
                "upper",
                Mode::from_raw_mode(mode),
                AtFlags::empty(),
            )
            .system(what)?;
        }
        if let Some(stat) = of_layer
            && (stat.st_uid, stat.st_gid) != (0, 0)
        {
            let (owner, group) = (
                rustix::fs::Uid::from_raw(stat.st_uid),
                rustix::fs::Gid::from_raw(stat.st_gid),
            );
            let _ = rustix::fs::chownat(
                self.fd(),
                "upper",
                Some(owner),
                Some(group),
                AtFlags::empty(),
            );
        }
        Ok(())
    }

    /// Makes the container appear, under its name.
    ///
    /// `durable` is for those that must outlive a power cut; `--rm` runs flush nothing.
    ///
    /// # Errors
    /// [`ErrorKind::NameInUse`]; [`ErrorKind::NoSuchImage`] if the image was removed meanwhile.
    pub fn commit(
        mut self,
        record: &ContainerRecord,
        durability: Durability,
    ) -> Result<(ContainerDir, ContainerLock)> {
        let what = || format!("cannot make container {:?}", record.id);
        let durable = durability == Durability::Durable;
        let root = &self.store.root;
        let text = serde_json::to_vec(record).context(ErrorKind::System, what)?;
        files::write_new(self.fd(), "record.json", &text, durability)?;
        if durable {
            rustix::fs::fsync(self.fd()).system(what)?;
        }
        self.claim_name(record)?;
        if durable {
            // Before the container: a record must not outlive its claim on the name.
            rustix::fs::fsync(self.store.folder("names")?).system(what)?;
        }
        let (from, to) = (
            format!("tmp/{}", record.id),
            format!("containers/{}", record.id),
        );
        rustix::fs::renameat(root, from, root, to).system(what)?;
        if durable {
            rustix::fs::fsync(self.store.folder("containers")?).system(what)?;
        }
        self.dir
            .take()
            .zip(self.lock.take())
            .ok_or_else(|| Error::new(ErrorKind::System, what()))
    }

    fn claim_name(&mut self, record: &ContainerRecord) -> Result<()> {
        let what = || format!("cannot take the name {}", record.name);
        let link = format!("names/{}", record.name);
        // Taking over a dead name needs the exclusive lock; the image may go while this process
        // changes from one lock to the other, so all is looked at again. Twice is only needed if
        // another process dies in between.
        for _ in 0..8 {
            if let Some(image) = &record.image_id
                && !exists(&self.store.root, &blobs::place(image))?
            {
                return Err(Error::new(
                    ErrorKind::NoSuchImage,
                    format!("image {} was removed meanwhile", record.spec.image),
                ));
            }
            self.check_mounted_images(record)?;
            match rustix::fs::symlinkat(record.id.as_str(), &self.store.root, &link) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => {}
                Err(errno) => return Err(errno).system(what),
            }
            // Taken again before this returns: the image must stay.
            self.shared = None;
            let outcome = match self.store.owner_of_name(&record.name)? {
                Some(owner) if self.store.remove_if_over(&owner)? => Ok(()),
                Some(owner) => Err(name_in_use(&record.name, &owner)),
                None => self.store.free_dead_name(&record.name),
            };
            self.shared = Some(self.store.lock_shared()?);
            outcome?;
        }
        Err(Errno::EXIST).system(what)
    }
}

impl StagedContainer<'_> {
    /// They were looked for before the lock was taken.
    fn check_mounted_images(&self, record: &ContainerRecord) -> Result<()> {
        for mount in &record.spec.mounts {
            if let MountSource::Image { image, layers, .. } = &mount.source {
                for layer in layers {
                    if !self.store.has_layer(layer)? {
                        return Err(Error::new(
                            ErrorKind::NoSuchImage,
                            format!("image {image} was removed meanwhile"),
                        ));
                    }
                }
            }
        }
        Ok(())
    }
}

fn name_in_use(name: &str, owner: &ContainerId) -> Error {
    Error::new(
        ErrorKind::NameInUse,
        format!(
            "the container name {name:?} is already in use by container {}",
            owner.short()
        ),
    )
    .with_hint(format!(
        "remove it with `coracle rm {name}`, or choose another name"
    ))
}

impl Drop for StagedContainer<'_> {
    fn drop(&mut self) {
        if let Some(dir) = self.dir.take() {
            // What cannot be deleted now is swept later; the name, if it was claimed, is dead.
            let _ = super::delete::remove_tree(&self.store.root, &format!("tmp/{}", dir.id));
        }
    }
}

impl Store {
    pub(super) fn open_container(&self, id: &ContainerId) -> Result<Option<ContainerDir>> {
        let place = format!("containers/{id}");
        match rustix::fs::openat(&self.root, &place, FOLDER, Mode::empty()) {
            Ok(dir) => Ok(Some(ContainerDir {
                id: id.clone(),
                dir,
                path: self.root_path.join(place),
            })),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno).system(|| format!("cannot open container {id:?}")),
        }
    }

    /// The directory of a container that is known to be there.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`]
    pub fn container(&self, id: &ContainerId) -> Result<ContainerDir> {
        self.open_container(id)?
            .ok_or_else(|| no_such_container(id.as_str()))
    }

    /// The container and its record, if it is there and whole.
    fn load_container(&self, id: &ContainerId) -> Result<Option<(ContainerDir, ContainerRecord)>> {
        let Some(dir) = self.open_container(id)? else {
            return Ok(None);
        };
        match read_record(&dir.dir)? {
            Stored::Good(record) if record.id == *id => Ok(Some((dir, record))),
            _ => Ok(None),
        }
    }

    pub(super) fn target_of_name(&self, name: &str) -> Result<Option<ContainerId>> {
        match rustix::fs::readlinkat(&self.root, format!("names/{name}"), Vec::new()) {
            Ok(target) => Ok(target.to_str().ok().and_then(|text| text.parse().ok())),
            Err(Errno::NOENT | Errno::INVAL | Errno::NAMETOOLONG) => Ok(None),
            Err(errno) => Err(errno).system(|| format!("cannot read the name {name}")),
        }
    }

    /// Who rightly has the name.
    fn owner_of_name(&self, name: &str) -> Result<Option<ContainerId>> {
        let Some(id) = self.target_of_name(name)? else {
            return Ok(None);
        };
        let loaded = self.load_container(&id)?;
        Ok(loaded.filter(|(_, record)| record.name == name).map(|_| id))
    }

    /// Removes a name that stands for nothing. With the exclusive lock nobody is between claiming
    /// a name and making the container appear.
    fn free_dead_name(&self, name: &str) -> Result<()> {
        let _alone = self.lock_exclusive()?;
        if self.owner_of_name(name)?.is_none() {
            self.unlink_name(name)?;
        }
        Ok(())
    }

    pub(super) fn unlink_name(&self, name: &str) -> Result<()> {
        match rustix::fs::unlinkat(&self.root, format!("names/{name}"), AtFlags::empty()) {
            Ok(()) | Err(Errno::NOENT) => Ok(()),
            Err(errno) => Err(errno).system(|| format!("cannot free the name {name}")),
        }
    }

    /// All containers that are whole, oldest first.
    pub fn containers(&self) -> Result<Vec<(ContainerDir, ContainerRecord)>> {
        let mut found = Vec::new();
        for id in self.container_ids()? {
            found.extend(self.load_container(&id)?);
        }
        found.sort_by(|(_, a), (_, b)| (&a.created, &a.id).cmp(&(&b.created, &b.id)));
        Ok(found)
    }

    pub(super) fn container_ids(&self) -> Result<Vec<ContainerId>> {
        let folder = self.folder("containers")?;
        let names = files::names(&folder).system(|| "cannot list containers/".to_owned())?;
        Ok(names.iter().filter_map(|name| name.parse().ok()).collect())
    }

    /// What the user means: a whole ID, a name, or an unambiguous beginning of an ID, in this
    /// order.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchContainer`]; [`ErrorKind::InvalidArgument`] if several IDs fit.
    pub fn find_container(&self, typed: &str) -> Result<(ContainerDir, ContainerRecord)> {
        // `/name` is how the API and old scripts write it.
        let wanted = typed.strip_prefix('/').unwrap_or(typed);
        if let Ok(id) = wanted.parse::<ContainerId>()
            && let Some(found) = self.load_container(&id)?
        {
            return Ok(found);
        }
        if crate::model::container::check_name(wanted).is_ok()
            && let Some(id) = self.target_of_name(wanted)?
            && let Some(found) = self.load_container(&id)?
            && found.1.name == wanted
        {
            return Ok(found);
        }
        if let Some(found) = self.container_by_prefix(wanted)? {
            return Ok(found);
        }
        // A power cut may have taken the name of a container that was never flushed.
        let unnamed = self.containers()?;
        let found = unnamed
            .into_iter()
            .find(|(_, record)| record.name == wanted);
        found.ok_or_else(|| no_such_container(typed))
    }

    fn container_by_prefix(&self, prefix: &str) -> Result<Option<(ContainerDir, ContainerRecord)>> {
        let digit = |digit: u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(&digit);
        if prefix.is_empty() || prefix.len() >= 64 || !prefix.bytes().all(digit) {
            return Ok(None);
        }
        let mut fitting = Vec::new();
        for id in self.container_ids()? {
            if id.as_str().starts_with(prefix) {
                fitting.extend(self.load_container(&id)?);
            }
        }
        if fitting.len() > 1 {
            return Err(Error::invalid(format!(
                "{prefix} is the beginning of several container IDs"
            )));
        }
        Ok(fitting.pop())
    }

    /// Removes the containers whose supervisors should have removed them at their end (`--rm`) but
    /// were killed, or lost power. They could not be started again: their files were never flushed.
    ///
    /// One that was made and never started is left alone: `create --rm` makes such. Everything else
    /// holds its lock from before it can be seen until it is gone.
    pub(super) fn remove_ended(&self) -> Result<()> {
        for id in self.container_ids()? {
            self.remove_if_over(&id)?;
        }
        Ok(())
    }

    /// Whether it was such a one, and is gone: see [`Store::sweep`].
    pub fn remove_if_over(&self, id: &ContainerId) -> Result<bool> {
        let Some((dir, record)) = self.load_container(id)? else {
            return Ok(false);
        };
        if !record.spec.auto_remove || dir.is_held()? {
            return Ok(false);
        }
        // Whoever holds the lock looks at what it keeps from changing.
        let Some(lock) = dir.try_hold()? else {
            return Ok(false);
        };
        let ended = exists(&dir.dir, "state.json")? || exists(&dir.dir, "exit.json")?;
        if ended {
            self.take_away(&dir, lock, true)?;
        }
        Ok(ended)
    }

    /// Removes a container that does not run, as its lock proves. Works on a full disk; files of
    /// other ids need the user namespace. If the deletion is interrupted, the container is gone
    /// nevertheless, and the next sweep goes on. An image that only this container kept goes too.
    ///
    /// The removal of one that was made durably is durable. Its volumes stay, but for the nameless
    /// ones of a container that is removed when it ends.
    pub fn remove_container(&self, dir: &ContainerDir, lock: ContainerLock) -> Result<()> {
        self.take_away(dir, lock, false)?;
        self.collect_orphans()
    }

    /// As [`Self::remove_container`]; its nameless volumes go too, if no other container uses them.
    pub fn remove_container_and_volumes(
        &self,
        dir: &ContainerDir,
        lock: ContainerLock,
    ) -> Result<()> {
        self.take_away(dir, lock, true)?;
        self.collect_orphans()
    }

    /// As [`Self::remove_container`], by the supervisor of a `--rm` container, which knows its name
    /// and nameless volumes: nothing is flushed.
    pub fn remove_ended_container(
        &self,
        dir: &ContainerDir,
        name: &str,
        nameless: &[String],
        lock: ContainerLock,
    ) -> Result<()> {
        self.bury_container(dir, name, nameless, Durability::Volatile, lock)?;
        self.collect_orphans()
    }

    fn take_away(&self, dir: &ContainerDir, lock: ContainerLock, volumes: bool) -> Result<()> {
        let record = read_record(&dir.dir)?.good();
        let volatile = record
            .as_ref()
            .is_some_and(|record| record.spec.auto_remove);
        let durability = if volatile {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        let nameless = match &record {
            Some(record) if volumes || volatile => anonymous_volumes(&record.spec.mounts),
            _ => Vec::new(),
        };
        let name = record.map(|record| record.name).unwrap_or_default();
        self.bury_container(dir, &name, &nameless, durability, lock)
    }

    fn bury_container(
        &self,
        dir: &ContainerDir,
        name: &str,
        nameless: &[String],
        durability: Durability,
        lock: ContainerLock,
    ) -> Result<()> {
        let what = || format!("cannot remove container {:?}", dir.id);
        let shared = self.lock_shared()?;
        let buried = match nameless {
            [] => self.bury("containers", dir.id.as_str()),
            _ => self.bury_with_volumes(dir.id.as_str()),
        };
        let remains = match buried {
            Ok(grave) => grave.map(|grave| format!("tmp/{grave}")),
            // `tmp/` may have to grow for one more entry. Without its record the container is
            // gone too.
            Err(_) => {
                match rustix::fs::unlinkat(&dir.dir, "record.json", AtFlags::empty()) {
                    Ok(()) | Err(Errno::NOENT) => {}
                    Err(errno) => return Err(errno).system(what),
                }
                Some(format!("containers/{}", dir.id))
            }
        };
        if !name.is_empty() && self.target_of_name(name)?.as_ref() == Some(&dir.id) {
            self.unlink_name(name)?;
        }
        if durability == Durability::Durable {
            // Before its files go. What cannot be flushed (full, or failing) is gone all the same.
            let _ = self.folder("containers").map(rustix::fs::fsync);
        }
        drop(shared);
        drop(lock);
        // Before the record that names them.
        let volumes = self.remove_unused_volumes(nameless).map(drop);
        let Some(place) = remains else { return volumes };
        if remove_known(&self.root, &dir.dir, &place) {
            return volumes;
        }
        super::delete::remove_tree(&self.root, &place).and(volumes)
    }
}

/// Deletes the folder of a container that has written nothing, by the names of what is in it: a
/// third of the calls that listing every directory takes. Whether that was all; if not, what is
/// left is deleted the long way.
fn remove_known(root: &OwnedFd, dir: &OwnedFd, place: &str) -> bool {
    use rustix::fs::unlinkat;
    /// What overlayfs makes in its work directory for a volatile mount, with a file in the last.
    const NESTED: [&str; 4] = ["work", "work", "incompat", "volatile"];
    let _ = unlinkat(dir, format!("{}/dirty", NESTED.join("/")), AtFlags::empty());
    for depth in (1..=NESTED.len()).rev() {
        let _ = unlinkat(dir, NESTED[..depth].join("/"), AtFlags::REMOVEDIR);
    }
    let _ = unlinkat(dir, "upper", AtFlags::REMOVEDIR);
    for file in [
        "record.json",
        "lock",
        "state.json",
        "log",
        "hosts",
        "hostname",
        "resolv.conf",
    ] {
        let _ = unlinkat(dir, file, AtFlags::empty());
    }
    unlinkat(root, place, AtFlags::REMOVEDIR).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::container::ProcessIdentity;

    fn start(at: &str) -> Option<StartRecord> {
        let process = ProcessIdentity {
            pid: 1,
            start_time: 2,
            boot_id: "b".into(),
        };
        Some(StartRecord {
            supervisor: process.clone(),
            init: process,
            started: at.into(),
            namespaces: Default::default(),
            process: String::new(),
            cgroup: None,
            legacy_cgroups: Vec::new(),
            spares_device_rules: false,
        })
    }

    fn exit(of: Option<&str>) -> Option<ExitRecord> {
        Some(ExitRecord {
            code: 0,
            oom_killed: false,
            error: None,
            started: of.map(String::from),
            finished: "later".into(),
        })
    }

    #[test]
    fn the_lock_and_matching_records_make_the_state() {
        use ContainerState::*;
        let state = |held, start, exit| Status::from(held, start, exit).state;
        assert_eq!(state(false, None, None), Created);
        assert_eq!(state(true, None, None), Created);
        assert_eq!(state(true, start("1"), None), Running);
        assert_eq!(state(true, start("2"), exit(Some("1"))), Running);
        assert_eq!(state(true, start("1"), exit(Some("1"))), Exited);
        assert_eq!(state(false, start("1"), exit(Some("1"))), Exited);
        assert_eq!(state(false, None, exit(None)), Exited);
    }

    #[test]
    fn a_run_whose_supervisor_was_killed_has_no_exit_record() {
        let status = Status::from(false, start("2"), exit(Some("1")));
        assert_eq!(status.state, ContainerState::Exited);
        assert_eq!(status.exit, None);
    }
}

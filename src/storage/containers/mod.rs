//! Containers: `containers/ID/`, and their names.
//!
//! A container is made in `tmp/` and renamed into place: that is its commit point. Whether it
//! runs is never written anywhere: it does if somebody holds its `lock`.
//!
//! Names are symlinks `names/NAME -> ID`, made before the container appears and removed after it
//! is gone, so two containers can never have one name, and a name whose container is not there
//! (or calls itself otherwise) is a leftover that whoever wants the name takes: see [`names`].

mod leftovers;
mod listing;
pub mod log_files;
mod names;
mod removal;
mod staging;
mod status;

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

pub use self::{
    listing::{Listed, ListedRecord},
    staging::StagedContainer,
    status::Status,
};

pub(super) use staging::make_overlay_folders;

use super::{
    Durability, FOLDER, Store,
    files::{self, Stored},
    lease::exists,
    locks::{self, ObjectLock, Purpose},
    make_folder,
};
use crate::model::{
    ContainerId, Context, Error, ErrorKind, Result,
    container::{ContainerRecord, ExitRecord, StartRecord},
    health::HealthRecord,
    resources::Resources,
};

pub(in crate::storage) const RECORD: &str = "record.json";
const BUNDLE_CONFIG: &str = "config.json";
/// What overlayfs makes in its work directory for a volatile mount, with the file `dirty` in the last.
const VOLATILE: [&str; 4] = ["work", "work", "incompat", "volatile"];

/// The right to start a container, and then the sign that it runs. Inherited by `fork`; free as
/// soon as the last process that has it is gone. Dropping it only closes this process's copy.
pub type ContainerLock = ObjectLock;

/// A container's directory, open.
#[derive(Debug)]
pub struct ContainerDir {
    id: ContainerId,
    dir: Arc<OwnedFd>,
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

    /// Replaces the record, by whoever holds [`Store::change_container_alone`] and read it since.
    pub fn put_record(&self, record: &ContainerRecord) -> Result<()> {
        let durability = if record.spec.auto_remove {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        self.put(RECORD, record, durability)
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

    /// Written by the supervisor, which holds the lock. After a reboot it only tells that the
    /// container ran, so that it is flushed for those that are then to run again.
    pub fn put_start_record(&self, record: &StartRecord, durability: Durability) -> Result<()> {
        self.put("state.json", record, durability)
    }

    /// Written by whoever holds the lock. Where there is no room for it (a full disk), it takes that of
    /// the start record.
    pub fn put_exit_record(&self, record: &ExitRecord, durability: Durability) -> Result<()> {
        self.put("exit.json", record, durability)
            .or_else(|error| self.put_exit_in_place(record).map_err(|_| error))
    }

    /// Killed in between, this leaves a container whose last run is not known of.
    fn put_exit_in_place(&self, record: &ExitRecord) -> Result<()> {
        const STAGED: &str = ".exit.json.new";
        let what = || "cannot write exit.json".to_owned();
        let mut text = serde_json::to_vec(record).context(ErrorKind::InvalidArgument, what)?;
        rustix::fs::renameat(&self.dir, "state.json", &self.dir, STAGED).system(what)?;
        let flags = OFlags::WRONLY | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let file = rustix::fs::openat(&self.dir, STAGED, flags, Mode::empty()).system(what)?;
        let length = rustix::fs::fstat(&file).system(what)?.st_size as usize;
        // Shorter by nothing: blanks after an object are part of JSON.
        text.resize(text.len().max(length), b' ');
        let written = rustix::io::pwrite(&file, &text, 0).system(what)?;
        if written < text.len() {
            return Err(Errno::NOSPC).system(what);
        }
        rustix::fs::fsync(&file).system(what)?;
        rustix::fs::renameat(&self.dir, STAGED, &self.dir, "exit.json").system(what)
    }

    /// What the last health check of the last start found; `None` if there was none yet.
    pub fn health(&self, start: &StartRecord) -> Result<Option<HealthRecord>> {
        let record: Option<HealthRecord> = files::read_json(&self.dir, "health.json")?.good();
        Ok(record.filter(|record| record.started == start.started))
    }

    /// Written by the supervisor, which holds the lock. Never flushed: it is of one run.
    pub fn put_health(&self, record: &HealthRecord) -> Result<()> {
        self.put("health.json", record, Durability::Volatile)
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

    /// As [`Self::try_hold`]; but a command that only copies files of a stopped container is waited
    /// for.
    ///
    /// # Errors
    /// [`ErrorKind::Timeout`] if that takes minutes.
    pub fn hold_after_copies(&self) -> Result<Option<ContainerLock>> {
        self.after_copies(Purpose::Life)
    }

    /// As [`Self::hold_after_copies`], for copying files: the container counts as stopped meanwhile,
    /// and who wants to start or remove it waits.
    pub fn hold_for_files(&self) -> Result<Option<ContainerLock>> {
        self.after_copies(Purpose::Files)
    }

    fn after_copies(&self, purpose: Purpose) -> Result<Option<ContainerLock>> {
        let what = format!("container {}", self.id);
        let holders = || "a command that copies files of it".to_owned();
        locks::ask_until(&what, &holders, || {
            match ObjectLock::try_hold_for(purpose, &self.dir, "lock") {
                // Who removes it lets go of the lock before its files are deleted.
                Ok(Some(_)) | Err(_) if !self.is_in_place()? => {
                    return Err(Error::new(
                        ErrorKind::NoSuchContainer,
                        format!("No such container: {}", self.id),
                    ));
                }
                Ok(Some(lock)) => return Ok(Some(Some(lock))),
                Ok(None) => {}
                Err(error) => return Err(error),
            }
            match ObjectLock::purpose(&self.dir, "lock")? {
                Some(Purpose::Life) => Ok(Some(None)),
                // Or it was let go just now.
                Some(Purpose::Files) | None => Ok(None),
            }
        })
    }

    /// Whether it is still one of the store's containers.
    fn is_in_place(&self) -> Result<bool> {
        let what = || format!("cannot examine container {}", self.id);
        let held = rustix::fs::fstat(&self.dir).system(what)?;
        match rustix::fs::stat(&self.path) {
            Ok(found) => Ok((found.st_dev, found.st_ino) == (held.st_dev, held.st_ino)),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).system(what),
        }
    }

    /// Whether a supervisor lives (or the container is being started or removed), asked of the
    /// kernel.
    pub fn is_held(&self) -> Result<bool> {
        let purpose = ObjectLock::purpose(&self.dir, "lock")?;
        Ok(purpose == Some(Purpose::Life))
    }

    /// The state and the records it follows from. A supervisor that holds the lock has written
    /// its start record when the program runs; an earlier one is removed by
    /// [`Self::forget_start`] before.
    pub fn state(&self) -> Result<Status> {
        // The lock first: a supervisor writes the exit record before it lets go.
        let (purpose, removing) = ObjectLock::look(&self.dir, "lock")?;
        let held = purpose == Some(Purpose::Life);
        let start = self.start_record()?;
        let exit = self.exit_record()?;
        let mut status = Status::from(held, start, exit);
        status.removing = removing;
        // Every container is made with it, and `rm` takes it out of sight as a whole.
        status.damaged = !held && !exists(&self.dir, "upper")?;
        Ok(status)
    }

    /// Puts a sign on the container that it is being removed, for as long as this process keeps it;
    /// `None` if somebody else does so already.
    pub fn mark_removing(&self) -> Result<Option<ObjectLock>> {
        ObjectLock::mark(&self.dir, "lock")
    }

    /// [`forgive_volatile`] for a supervisor that has seen the first mount end.
    pub fn forgive_volatile(&self) -> Result<()> {
        forgive_volatile(&self.dir)
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

pub(super) fn read_record(dir: impl AsFd) -> Result<Stored<ContainerRecord>> {
    files::read_json(dir, RECORD)
}

/// Whether there never was a record: a power cut leaves none, or one without bytes or of zeros, of a
/// container that was not flushed because it goes when it ends. Every other damaged record was there
/// once, and files that somebody may want lie beside it.
pub(super) fn was_never_written(dir: impl AsFd) -> Result<bool> {
    match files::read(dir, RECORD, files::MAX_RECORD_BYTES) {
        Ok(record) => Ok(record.unwrap_or_default().iter().all(|byte| *byte == 0)),
        Err(Errno::FBIG | Errno::LOOP | Errno::ISDIR) => Ok(false),
        Err(errno) => Err(errno).system(|| format!("cannot read {RECORD}")),
    }
}

fn no_such_container(typed: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchContainer,
        format!("No such container: {typed}"),
    )
    .with_hint("`coracle ps -a` lists those that are here")
}

/// Lets an overlay that is never flushed be mounted a second time; `folder` has its `work`. The kernel
/// forbids it for what a power cut may have left, overlayfs(5) "Volatile mount"; here the same process
/// has seen the first mount end.
pub fn forgive_volatile(folder: impl AsFd) -> Result<()> {
    let mark = VOLATILE.join("/");
    let (file, directory) = (AtFlags::empty(), AtFlags::REMOVEDIR);
    for (place, kind) in [
        (format!("{mark}/dirty"), file),
        (mark, directory),
        (VOLATILE[..3].join("/"), directory),
    ] {
        match rustix::fs::unlinkat(&folder, &place, kind) {
            Ok(()) | Err(Errno::NOENT | Errno::NOTDIR) => {}
            Err(errno) => return Err(errno).system(|| format!("cannot remove {place}")),
        }
    }
    Ok(())
}

impl Store {
    pub(super) fn open_container(&self, id: &ContainerId) -> Result<Option<ContainerDir>> {
        let place = format!("containers/{id}");
        match rustix::fs::openat(&self.root, &place, FOLDER, Mode::empty()) {
            Ok(dir) => Ok(Some(ContainerDir {
                id: id.clone(),
                dir: dir.into(),
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
}

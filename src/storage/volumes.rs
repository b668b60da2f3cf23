//! Volumes: directories that containers share and that outlive them.
//!
//! ```text
//! volumes/NAME/       appears by one rename, goes by one
//!   volume.json         VolumeRecord, written once
//!   data/               what containers see
//!   lock                `flock`ed by who fills it
//!   filling/ ready/     what an image has at the place where the volume is mounted, on its way
//! ```
//!
//! **Who appears how.** A volume is made below `tmp/` and renamed into place; the kernel lets one of
//! several makers of a name win (`RENAME_NOREPLACE`), and all go on with that one.
//!
//! **Filling** (by the sandbox, which alone sees the image's layers as one tree): the image's files
//! are copied to `filling/`, which then is renamed to `ready/`; its entries are moved into `data/`
//! one by one, and `ready/` is removed last. Volumes are born with `filling/`, so whoever is killed
//! before or while copying leaves one that the next container fills: `filling/` is thrown away and begun
//! again. Killed while moving, the next container moves what is left. The lock makes a second
//! container wait for the first one's copy. It is waited for, but only by processes that hold nothing
//! but their container's lock, so it comes last in the order of locks.
//!
//! **In use** is what a container's record names; nothing counts. Who removes a volume has the
//! exclusive store lock while it looks and until the volume is out of sight.

use std::{
    collections::{BTreeMap, HashSet},
    io::Read,
    os::fd::{AsFd, OwnedFd},
    path::PathBuf,
};

use rustix::{
    fs::{AtFlags, Gid, Mode, RenameFlags, Uid},
    io::Errno,
};

use super::{
    Durability, FOLDER, Lease, Store, containers, delete, files,
    files::Stored,
    locks::{ExclusiveLock, SharedLock},
    make_folder,
    merge::merge,
    unpack::{UnpackOptions, unpack},
};
use crate::model::{
    ContainerId, Context, Error, ErrorKind, Result, mount::Mount, volume::VolumeRecord,
};

pub(super) const RECORD: &str = "volume.json";
const DATA: &str = "data";
const FILLING: &str = "filling";

/// Where the parts of a volume are, for who mounts and fills it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VolumePaths {
    pub data: PathBuf,
    pub folder: PathBuf,
}

impl Store {
    /// The paths of a volume, whether it is there or not. The name must be a checked one.
    pub fn volume_paths(&self, name: &str) -> VolumePaths {
        let folder = self.root_path.join("volumes").join(name);
        VolumePaths {
            data: folder.join(DATA),
            folder,
        }
    }

    /// Makes a volume if there is none of that name; gives the record of the one that is there then,
    /// and whether it was made. `owner` are the user and group of its root directory, if they are
    /// not this process's.
    pub fn make_volume(
        &self,
        record: &VolumeRecord,
        owner: (Option<u32>, Option<u32>),
        durability: Durability,
    ) -> Result<(VolumeRecord, bool)> {
        let what = || format!("cannot make volume {}", record.name);
        // Twice is only needed if the volume is removed, or a destroyed one is swept away.
        for _ in 0..8 {
            if let Some(there) = self.volume(&record.name)? {
                return Ok((there, false));
            }
            let shared = self.lock_shared()?;
            if self.place_volume(record, owner, durability, &shared)? {
                return Ok((record.clone(), true));
            }
            drop(shared);
            self.bury_destroyed_volume(&record.name)?;
        }
        Err(Errno::EXIST).system(what)
    }

    /// Whether it appeared; not if something of that name is there.
    fn place_volume(
        &self,
        record: &VolumeRecord,
        owner: (Option<u32>, Option<u32>),
        durability: Durability,
        _shared: &SharedLock,
    ) -> Result<bool> {
        let what = || format!("cannot make volume {}", record.name);
        let durable = durability == Durability::Durable;
        // Nobody sweeps while the shared lock is held, so it needs no lease.
        let mut bits = [0; 8];
        rustix::rand::getrandom(&mut bits, rustix::rand::GetRandomFlags::empty()).system(what)?;
        let staged = format!("tmp/volume-{:016x}", u64::from_ne_bytes(bits));
        make_folder(&self.root, "volumes").system(what)?;
        rustix::fs::mkdirat(&self.root, &staged, Mode::RWXU).system(what)?;
        let filled = (|| -> Result<bool> {
            let dir = self.folder(&staged)?;
            rustix::fs::mkdirat(&dir, DATA, Mode::RWXU).system(what)?;
            rustix::fs::mkdirat(&dir, FILLING, Mode::RWXU).system(what)?;
            // Whatever the umask is.
            let mode = Mode::from_raw_mode(0o755);
            rustix::fs::chmodat(&dir, DATA, mode, AtFlags::empty()).system(what)?;
            if owner != (None, None) {
                let (uid, gid) = (owner.0.map(Uid::from_raw), owner.1.map(Gid::from_raw));
                rustix::fs::chownat(&dir, DATA, uid, gid, AtFlags::SYMLINK_NOFOLLOW)
                    .system(|| format!("cannot give volume {} away", record.name))?;
            }
            let text = serde_json::to_vec(record).context(ErrorKind::System, what)?;
            files::write_new(&dir, RECORD, &text, durability)?;
            if durable {
                rustix::fs::fsync(&dir).system(what)?;
            }
            let place = format!("volumes/{}", record.name);
            match rustix::fs::renameat_with(
                &self.root,
                &staged,
                &self.root,
                &place,
                RenameFlags::NOREPLACE,
            ) {
                Ok(()) => Ok(true),
                Err(Errno::EXIST) => Ok(false),
                Err(errno) => Err(errno).system(what),
            }
        })();
        if !matches!(filled, Ok(true)) {
            // What cannot be deleted now is swept later.
            let _ = delete::remove_tree(&self.root, &staged);
        } else if durable {
            rustix::fs::fsync(self.folder("volumes")?).system(what)?;
        }
        filled
    }

    /// Removes the remains of a volume, so that one of its name can be made.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if it was there once, and its record is damaged: its files are not ours
    /// to throw away.
    fn bury_destroyed_volume(&self, name: &str) -> Result<()> {
        let alone = self.lock_exclusive()?;
        let Some(dir) = self.open_volume(name)? else {
            return Ok(());
        };
        let grave = if is_remains(name, &read_record(&dir)?) {
            self.bury("volumes", name)
                .system(|| format!("cannot remove the remains of volume {name}"))?
        } else if let Stored::Damaged = read_record(&dir)? {
            let place = self.volume_paths(name).folder;
            return Err(Error::new(
                ErrorKind::Store,
                format!("the record of volume {name} is damaged"),
            )
            .with_hint(format!(
                "save what is in {}, and remove it",
                place.display()
            )));
        } else {
            None
        };
        drop(alone);
        grave.map_or(Ok(()), |grave| self.decompose(&grave))
    }

    /// Takes volumes without a record out of sight, for who has the exclusive lock: what they were
    /// called in `tmp/`.
    pub(super) fn bury_remains_of_volumes(&self) -> Result<Vec<String>> {
        let mut graves = Vec::new();
        for name in self.volume_names()? {
            if let Some(dir) = self.open_volume(&name)?
                && is_remains(&name, &read_record(&dir)?)
            {
                let what = || format!("cannot remove the remains of volume {name}");
                graves.extend(self.bury("volumes", &name).system(what)?);
            }
        }
        Ok(graves)
    }

    fn open_volume(&self, name: &str) -> Result<Option<OwnedFd>> {
        let place = format!("volumes/{name}");
        match rustix::fs::openat(&self.root, &place, FOLDER, Mode::empty()) {
            Ok(dir) => Ok(Some(dir)),
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(None),
            Err(errno) => Err(errno).system(|| format!("cannot open volume {name}")),
        }
    }

    /// The volume's record, if it is there and whole.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if a newer program wrote it.
    pub fn volume(&self, name: &str) -> Result<Option<VolumeRecord>> {
        let Some(dir) = self.open_volume(name)? else {
            return Ok(None);
        };
        match read_record(&dir)? {
            Stored::Good(record) if record.name == name => Ok(Some(record)),
            Stored::Foreign(error) => Err(Error::new(
                ErrorKind::Store,
                format!("cannot understand the record of volume {name}"),
            )
            .with_source(error)),
            _ => Ok(None),
        }
    }

    /// The directory with the volume's files.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVolume`]
    pub fn volume_data(&self, name: &str) -> Result<OwnedFd> {
        let dir = self
            .open_volume(name)?
            .ok_or_else(|| no_such_volume(name))?;
        rustix::fs::openat(&dir, DATA, FOLDER, Mode::empty())
            .system(|| format!("cannot open volume {name}"))
    }

    /// Whether the folder with the volume's files is there, readable or not.
    pub fn has_volume_data(&self, name: &str) -> Result<bool> {
        match rustix::fs::statat(
            &self.root,
            format!("volumes/{name}/{DATA}"),
            rustix::fs::AtFlags::SYMLINK_NOFOLLOW,
        ) {
            Ok(stat) => Ok(rustix::fs::FileType::from_raw_mode(stat.st_mode)
                == rustix::fs::FileType::Directory),
            Err(Errno::NOENT | Errno::NOTDIR) => Ok(false),
            Err(errno) => Err(errno).system(|| format!("cannot examine volume {name}")),
        }
    }

    /// All volumes that are whole, by name.
    pub fn volumes(&self) -> Result<Vec<VolumeRecord>> {
        let mut records = Vec::new();
        for name in self.volume_names()? {
            if let Ok(Some(record)) = self.volume(&name) {
                records.push(record);
            }
        }
        records.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(records)
    }

    fn volume_names(&self) -> Result<Vec<String>> {
        let folder = match rustix::fs::openat(&self.root, "volumes", FOLDER, Mode::empty()) {
            Ok(folder) => folder,
            // The store is older than the first volume.
            Err(Errno::NOENT) => return Ok(Vec::new()),
            Err(errno) => return Err(errno).system(|| "cannot open volumes/".to_owned()),
        };
        files::names(&folder).system(|| "cannot list volumes/".to_owned())
    }

    /// Which containers use which volumes.
    ///
    /// # Errors
    /// [`ErrorKind::Store`] if there is a container of a newer program: what it uses is not known.
    pub fn volume_users(&self) -> Result<BTreeMap<String, Vec<ContainerId>>> {
        let mut users: BTreeMap<String, Vec<ContainerId>> = BTreeMap::new();
        for id in self.container_ids()? {
            let Some(dir) = self.open_container(&id)? else {
                continue;
            };
            match containers::read_record(dir.fd())? {
                Stored::Good(record) => {
                    for volume in record.spec.mounts.iter().filter_map(Mount::volume) {
                        let of = users.entry(volume.name.clone()).or_default();
                        of.push(record.id.clone());
                    }
                }
                Stored::Foreign(error) => {
                    return Err(Error::new(
                        ErrorKind::Store,
                        format!("container {id:?} was written by a newer coracle: which volumes it uses is not known"),
                    )
                    .with_source(error));
                }
                Stored::Missing | Stored::Damaged => {}
            }
        }
        Ok(users)
    }

    /// Removes a volume that no container uses. Files of other ids need the user namespace. If the
    /// deletion is interrupted, the volume is gone nevertheless, and the next sweep goes on.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchVolume`]; [`ErrorKind::Conflict`] if a container uses it.
    pub fn remove_volume(&self, name: &str) -> Result<()> {
        let alone = self.lock_exclusive()?;
        if self.open_volume(name)?.is_none() {
            return Err(no_such_volume(name));
        }
        if let Some(users) = self.volume_users()?.get(name) {
            let ids: Vec<&str> = users.iter().map(ContainerId::as_str).collect();
            return Err(Error::new(
                ErrorKind::Conflict,
                format!("volume {name} is in use - [{}]", ids.join(", ")),
            )
            .with_hint("remove these containers first"));
        }
        self.take_volumes(alone, &[name.to_owned()])
    }

    /// Removes those of the volumes that no container uses: the nameless ones of a container that
    /// was just removed.
    pub fn remove_unused_volumes(&self, names: &[String]) -> Result<Vec<String>> {
        if names.is_empty() {
            return Ok(Vec::new());
        }
        let alone = self.lock_exclusive()?;
        let users = self.volume_users()?;
        let mut seen = HashSet::new();
        let mut unused = Vec::new();
        for name in names {
            if !users.contains_key(name) && seen.insert(name) && self.open_volume(name)?.is_some() {
                unused.push(name.clone());
            }
        }
        self.take_volumes(alone, &unused)?;
        Ok(unused)
    }

    fn take_volumes(&self, alone: ExclusiveLock, names: &[String]) -> Result<()> {
        let mut graves = Vec::new();
        for name in names {
            let what = || format!("cannot remove volume {name}");
            match self.bury("volumes", name) {
                Ok(grave) => graves.extend(grave),
                // No room for one more entry in tmp/. Without its record it does not count.
                Err(_) => {
                    let dir = self
                        .open_volume(name)?
                        .ok_or_else(|| no_such_volume(name))?;
                    delete::remove_tree(&dir, RECORD)?;
                    rustix::fs::fsync(&dir).system(what)?;
                    delete::remove_tree(&self.root, &format!("volumes/{name}"))?;
                }
            }
        }
        if !names.is_empty() {
            // Before the files go. What cannot be flushed (full, or failing) is gone all the same.
            let _ = self.folder("volumes").map(rustix::fs::fsync);
        }
        drop(alone);
        graves.iter().try_for_each(|grave| self.decompose(grave))
    }
}

impl Lease<'_> {
    /// Unpacks an archive (to its end, out of sight) and moves its files into a volume, durably. Files
    /// of other ids need the user namespace.
    pub fn import_volume(
        &self,
        name: &str,
        archive: impl Read,
        options: &UnpackOptions,
    ) -> Result<()> {
        let what = || format!("cannot import into volume {name}");
        let store = self.store();
        let data = store.volume_data(name)?;
        let staged = "import";
        rustix::fs::mkdirat(self.dir(), staged, Mode::RWXU).system(what)?;
        let tree = rustix::fs::openat(self.dir(), staged, FOLDER, Mode::empty()).system(what)?;
        // An archive need not say anything about the directory itself.
        let stat = rustix::fs::fstat(&data).system(what)?;
        crate::sys::file_copy::set_owner_mode_times(tree.as_fd(), c".", &stat).system(what)?;
        unpack(archive, tree.as_fd(), options)?;
        merge(&tree, &data).system(what)?;
        rustix::fs::syncfs(&data).system(what)
    }
}

fn read_record(dir: &OwnedFd) -> Result<Stored<VolumeRecord>> {
    files::read_json(dir, RECORD)
}

/// What an interrupted deletion on a full disk leaves has no record; a power cut may have torn that
/// of a nameless volume, which is not flushed if it goes with its container. Every other volume was
/// flushed before it appeared.
fn is_remains(name: &str, record: &Stored<VolumeRecord>) -> bool {
    let nameless = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
    match record {
        Stored::Missing => true,
        Stored::Damaged => nameless,
        Stored::Foreign(_) | Stored::Good(_) => false,
    }
}

pub(super) fn no_such_volume(name: &str) -> Error {
    Error::new(
        ErrorKind::NoSuchVolume,
        format!("get {name}: no such volume"),
    )
    .with_hint("`coracle volume ls` lists those that are here")
}

//! Folders, owners, modes, and records that can be read.
//!
//! A store belongs to one user, and its folders are that user's alone (0700, records 0600). One that
//! was made to be read by others (its `format` is readable by all) shows them its content, and never
//! its containers, volumes, networks and secrets.

use rustix::{
    fs::{AtFlags, FileType, Gid, Mode, Uid},
    io::Errno,
};

use crate::{
    model::{
        ContainerId, Context, Result, container::ContainerRecord, image::ImageRecord,
        index::ManifestRecord, network::Network, secret::SecretRecord, volume::VolumeRecord,
    },
    storage::{FOLDERS, Store, containers, files, files::Stored, images},
};

/// What would mend a flaw.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Cure {
    /// Make the folder.
    Make,
    /// Give it this owner and this mode.
    Dress {
        owner: u32,
        mode: u32,
    },
    /// Remove a record that says nothing any more.
    Remove,
    /// The same, but something of the user's goes with it: only if that is wanted.
    RemoveIfForced,
    None,
}

#[derive(Clone, Debug)]
pub struct Flaw {
    /// Below the root; `.` is the root.
    pub place: String,
    pub why: String,
    pub cure: Cure,
}

/// What was found, by kind.
#[derive(Clone, Debug, Default)]
pub struct Places {
    pub access: Vec<Flaw>,
    pub records: Vec<Flaw>,
    /// Nobody's files.
    pub unknown: Vec<String>,
    /// Records of a newer program: nothing can be said about them.
    pub foreign: Vec<String>,
    /// How many files and folders were looked at.
    pub looked: u64,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Sort {
    Folder,
    File,
    Link,
}

/// Folders that are made when first needed.
const LATER: [&str; 7] = [
    "builds",
    "events",
    "secrets",
    "networks",
    "shifted",
    "manifests",
    "blobs/sha512",
];
const FILES: [&str; 3] = ["format", "lock", "orphans"];
/// What may be read by others in a store that is shared.
const CONTENT: [&str; 7] = [
    "format",
    "lock",
    "blobs",
    "layers",
    "images",
    "manifests",
    "shifted",
];

impl Store {
    /// Looks at everything but the content.
    pub fn check_places(&self) -> Result<Places> {
        let mut look = Look::new(self)?;
        look.root()?;
        look.folder_of_files("images", true)?;
        look.folder_of_files("secrets", true)?;
        look.folder_of_files("networks", true)?;
        look.folder_of_files("events", false)?;
        look.folder_of_files("partial", false)?;
        look.folder_of_files("manifests", true)?;
        look.blobs()?;
        look.layers()?;
        look.containers()?;
        look.volumes()?;
        let mut found = look.found;
        // What was taken away meanwhile is no flaw.
        let _shared = self.lock_shared()?;
        let there = |flaw: &Flaw| {
            flaw.cure == Cure::Make
                || rustix::fs::statat(&self.root, &flaw.place, AtFlags::SYMLINK_NOFOLLOW).is_ok()
        };
        found.access.retain(there);
        found.records.retain(there);
        found.unknown.sort();
        found.unknown.dedup();
        Ok(found)
    }

    /// Whether it was made to be read by others.
    pub fn is_shared(&self) -> Result<bool> {
        match rustix::fs::statat(&self.root, "format", AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(stat.st_mode & 0o044 == 0o044),
            Err(Errno::NOENT) => Ok(false),
            Err(errno) => Err(errno).system(|| "cannot examine the store's format".to_owned()),
        }
    }

    /// Mends one; whether it could be.
    pub fn cure(&self, flaw: &Flaw, force: bool) -> Result<bool> {
        let what = || format!("cannot mend {}", flaw.place);
        match flaw.cure {
            Cure::None => return Ok(false),
            Cure::RemoveIfForced if !force => return Ok(false),
            Cure::Make => crate::storage::make_folder(&self.root, &flaw.place).system(what)?,
            Cure::Dress { owner, mode } => {
                let uid = Uid::from_raw(owner);
                let place = flaw.place.as_str();
                let stat = rustix::fs::statat(&self.root, place, AtFlags::SYMLINK_NOFOLLOW)
                    .system(what)?;
                if FileType::from_raw_mode(stat.st_mode) == FileType::Symlink {
                    return Ok(false);
                }
                if stat.st_uid != owner {
                    let group = Some(Gid::from_raw(rustix::process::getegid().as_raw()));
                    let flags = AtFlags::SYMLINK_NOFOLLOW;
                    rustix::fs::chownat(&self.root, place, Some(uid), group, flags).system(what)?;
                }
                let mode = Mode::from_raw_mode(mode);
                rustix::fs::chmodat(&self.root, place, mode, AtFlags::empty()).system(what)?;
            }
            Cure::Remove | Cure::RemoveIfForced => {
                let _alone = self.lock_exclusive()?;
                if !self.is_still(flaw)? {
                    return Ok(true);
                }
                let (folder, name) = flaw.place.rsplit_once('/').unwrap_or((".", &flaw.place));
                if let Some(grave) = self.bury(folder, name).system(what)? {
                    self.decompose(&grave)?;
                }
            }
        }
        Ok(true)
    }
}

impl Store {
    /// Looks once more, with the store lock held: the name may be a good thing's by now.
    fn is_still(&self, flaw: &Flaw) -> Result<bool> {
        let mut look = Look::new(self)?;
        let place = flaw.place.as_str();
        let parts: Vec<&str> = place.split('/').collect();
        match parts[..] {
            [
                folder @ ("images" | "manifests" | "secrets" | "networks"),
                name,
            ] => {
                look.file(folder, name, true)?;
            }
            ["containers", name] => look.container(name)?,
            ["volumes", name] => look.volume(name)?,
            ["names", _] => drop(look.access(place, Sort::Link, false)?),
            _ => drop(look.access(place, Sort::File, false)?),
        }
        let found = look.found.access.iter().chain(&look.found.records);
        let mut same = found.filter(|again| again.place == flaw.place && again.cure == flaw.cure);
        Ok(same.next().is_some())
    }
}

struct Look<'a> {
    store: &'a Store,
    owner: u32,
    shared: bool,
    found: Places,
}

impl<'a> Look<'a> {
    fn new(store: &'a Store) -> Result<Look<'a>> {
        Ok(Look {
            store,
            owner: rustix::process::geteuid().as_raw(),
            shared: store.is_shared()?,
            found: Places::default(),
        })
    }

    fn root(&mut self) -> Result<()> {
        self.access(".", Sort::Folder, true)?;
        for folder in FOLDERS {
            self.access(folder, Sort::Folder, true)?;
        }
        for folder in LATER {
            self.access(folder, Sort::Folder, false)?;
        }
        for file in FILES {
            self.access(file, Sort::File, false)?;
        }
        for name in self.names(".")? {
            let known = FOLDERS.contains(&name.as_str())
                || LATER.contains(&name.as_str())
                || FILES.contains(&name.as_str())
                || matches!(name.as_str(), "lost+found" | ".format.new");
            if !known {
                self.found.unknown.push(name);
            }
        }
        for name in self.names("blobs")? {
            if !matches!(name.as_str(), "sha256" | "sha512") {
                self.found.unknown.push(format!("blobs/{name}"));
            }
        }
        Ok(())
    }

    /// Nothing if the folder is not there.
    fn names(&self, folder: &str) -> Result<Vec<String>> {
        match rustix::fs::openat(
            &self.store.root,
            folder,
            crate::storage::FOLDER,
            Mode::empty(),
        ) {
            Ok(dir) => {
                let mut names =
                    files::all_names(&dir).system(|| format!("cannot list {folder}/"))?;
                names.sort();
                Ok(names)
            }
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => Ok(Vec::new()),
            Err(errno) => Err(errno).system(|| format!("cannot open {folder}/")),
        }
    }

    /// Type, owner and mode of one thing. Whether it is there, and of this type.
    fn access(&mut self, place: &str, sort: Sort, must: bool) -> Result<bool> {
        let stat = match rustix::fs::statat(&self.store.root, place, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => stat,
            Err(Errno::NOENT) => {
                if must {
                    self.flaw(place, "the folder is missing", Cure::Make);
                }
                return Ok(false);
            }
            Err(errno) => return Err(errno).system(|| format!("cannot examine {place}")),
        };
        self.found.looked += 1;
        let right = match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => sort == Sort::Folder,
            FileType::RegularFile => sort == Sort::File,
            FileType::Symlink => sort == Sort::Link,
            _ => false,
        };
        if !right {
            let cure = match sort {
                Sort::Folder => Cure::None,
                Sort::File | Sort::Link => Cure::RemoveIfForced,
            };
            self.flaw(place, "of another type than it should be", cure);
            return Ok(false);
        }
        if sort == Sort::Link {
            return Ok(true);
        }
        self.mode_and_owner(place, sort, stat.st_mode & 0o7777, stat.st_uid);
        Ok(true)
    }

    fn mode_and_owner(&mut self, place: &str, sort: Sort, mode: u32, owner: u32) {
        let top = place.split('/').next().unwrap_or_default();
        let open = place == "." || (self.shared && CONTENT.contains(&top));
        let (least, most) = match (sort, open) {
            (Sort::Folder, true) => (0o700, 0o755),
            (Sort::Folder, false) => (0o700, 0o700),
            (_, true) => (0o400, 0o755),
            (_, false) => (0o400, 0o700),
        };
        let right = (mode & most & 0o777) | least;
        let wrong_owner = owner != self.owner;
        if mode != right || wrong_owner {
            let why = match wrong_owner {
                true => format!("it belongs to user {owner}"),
                false => format!("its mode is {mode:04o}, not {right:04o}"),
            };
            let cure = Cure::Dress {
                owner: self.owner,
                mode: right,
            };
            self.flaw(place, &why, cure);
        }
    }

    fn flaw(&mut self, place: &str, why: &str, cure: Cure) {
        self.found.access.push(Flaw {
            place: place.to_owned(),
            why: why.to_owned(),
            cure,
        });
    }

    fn record_flaw(&mut self, place: &str, why: &str, cure: Cure) {
        self.found.records.push(Flaw {
            place: place.to_owned(),
            why: why.to_owned(),
            cure,
        });
    }

    fn folder_of_files(&mut self, folder: &str, records: bool) -> Result<()> {
        for name in self.names(folder)? {
            self.file(folder, &name, records)?;
        }
        Ok(())
    }

    fn file(&mut self, folder: &str, name: &str, is_record: bool) -> Result<()> {
        let place = format!("{folder}/{name}");
        let is_file = self.access(&place, Sort::File, false)?;
        // One that begins with a dot is being written at this moment, or left by a killed process: the
        // next write of that name takes it over, and a collection removes it.
        match is_file && is_record && !name.starts_with('.') {
            true => self.record(folder, name, &place),
            false => Ok(()),
        }
    }

    fn record(&mut self, folder: &str, name: &str, place: &str) -> Result<()> {
        let root = &self.store.root;
        let verdict = match folder {
            "images" => verdict(files::read_json::<ImageRecord>(root, place)?, |record| {
                images::file_of(record) == name
            }),
            "manifests" => verdict(files::read_json::<ManifestRecord>(root, place)?, |record| {
                images::file_name(&record.name) == name
            }),
            "networks" => verdict(files::read_json::<Network>(root, place)?, |network| {
                network.name == name
            }),
            _ => verdict(files::read_json::<SecretRecord>(root, place)?, |record| {
                record.name == name
            }),
        };
        let cure = match folder {
            "images" | "manifests" => Cure::Remove,
            _ => Cure::RemoveIfForced,
        };
        self.judge(verdict, place, cure);
        Ok(())
    }

    fn judge(&mut self, verdict: Verdict, place: &str, cure: Cure) {
        match verdict {
            Verdict::Fine => {}
            Verdict::Foreign => self.found.foreign.push(place.to_owned()),
            Verdict::Damaged => self.record_flaw(place, "the record is damaged", cure),
            Verdict::Elsewhere => self.record_flaw(place, "the record is of another name", cure),
        }
    }

    fn blobs(&mut self) -> Result<()> {
        for algorithm in ["sha256", "sha512"] {
            for name in self.names(&format!("blobs/{algorithm}"))? {
                let place = format!("blobs/{algorithm}/{name}");
                if is_digest(algorithm, &name) {
                    self.access(&place, Sort::File, false)?;
                } else {
                    self.found.unknown.push(place);
                }
            }
        }
        Ok(())
    }

    fn layers(&mut self) -> Result<()> {
        for name in self.names("layers")? {
            let place = format!("layers/{name}");
            if !is_digest("sha256", &name) && !is_digest("sha512", &name) {
                self.found.unknown.push(place);
                continue;
            }
            if self.access(&place, Sort::Folder, false)? {
                self.access(&format!("{place}/layer.json"), Sort::File, false)?;
                self.strangers(&place, &["layer.json", "tree"])?;
            }
        }
        Ok(())
    }

    fn strangers(&mut self, folder: &str, known: &[&str]) -> Result<()> {
        for name in self.names(folder)? {
            if !known.contains(&name.as_str()) && !name.starts_with('.') {
                self.found.unknown.push(format!("{folder}/{name}"));
            }
        }
        Ok(())
    }

    fn containers(&mut self) -> Result<()> {
        for name in self.names("containers")? {
            self.container(&name)?;
        }
        for name in self.names("names")? {
            self.access(&format!("names/{name}"), Sort::Link, false)?;
        }
        Ok(())
    }

    fn container(&mut self, name: &str) -> Result<()> {
        const FILES: [&str; 5] = [
            "record.json",
            "lock",
            "state.json",
            "exit.json",
            "health.json",
        ];
        let place = format!("containers/{name}");
        let Ok(id) = name.parse::<ContainerId>() else {
            self.found.unknown.push(place);
            return Ok(());
        };
        if !self.access(&place, Sort::Folder, false)? {
            return Ok(());
        }
        for file in FILES {
            self.access(&format!("{place}/{file}"), Sort::File, false)?;
        }
        let Some(dir) = self.store.open_container(&id)? else {
            return Ok(());
        };
        let stored = files::read_json::<ContainerRecord>(dir.fd(), "record.json")?;
        let verdict = verdict(stored, |record| record.id == id);
        // Its files may be all that is left of somebody's work.
        let cure = match containers::was_never_written(dir.fd())? {
            true => Cure::Remove,
            false => Cure::RemoveIfForced,
        };
        self.judge(verdict, &place, cure);
        Ok(())
    }

    fn volumes(&mut self) -> Result<()> {
        for name in self.names("volumes")? {
            self.volume(&name)?;
        }
        Ok(())
    }

    fn volume(&mut self, name: &str) -> Result<()> {
        let place = format!("volumes/{name}");
        if !self.access(&place, Sort::Folder, false)? {
            return Ok(());
        }
        let record = format!("{place}/{}", crate::storage::volumes::RECORD);
        let stored = files::read_json::<VolumeRecord>(&self.store.root, &record)?;
        let verdict = verdict(stored, |record| record.name == name);
        self.judge(verdict, &place, Cure::RemoveIfForced);
        Ok(())
    }
}

enum Verdict {
    Fine,
    Damaged,
    Foreign,
    Elsewhere,
}

/// A record that is gone by now is none.
fn verdict<T>(stored: Stored<T>, fits: impl FnOnce(&T) -> bool) -> Verdict {
    match stored {
        Stored::Missing => Verdict::Damaged,
        Stored::Damaged => Verdict::Damaged,
        Stored::Foreign(_) => Verdict::Foreign,
        Stored::Good(record) if fits(&record) => Verdict::Fine,
        Stored::Good(_) => Verdict::Elsewhere,
    }
}

fn is_digest(algorithm: &str, hex: &str) -> bool {
    format!("{algorithm}:{hex}")
        .parse::<crate::model::Digest>()
        .is_ok()
}

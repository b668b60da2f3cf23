//! What killed processes left, and content that nothing names.
//!
//! All of it is harmless and goes with the next sweep or collection, so a check speaks of what is
//! older than a day (or what the caller says).

use std::time::Duration;

use rustix::{
    fs::{AtFlags, Mode, OFlags},
    io::Errno,
};

use crate::{
    model::{Context, Result},
    storage::{FOLDER, Store, delete, files, locks::try_lock_file},
};

/// Places below the root, each older than was asked for.
#[derive(Clone, Debug, Default)]
pub struct Leftovers {
    /// Staging of processes that are dead.
    pub staging: Vec<String>,
    /// Downloads that nobody is going on with.
    pub partials: Vec<String>,
    /// Names of containers that are not there, or are called otherwise.
    pub names: Vec<String>,
    /// Blobs and layers that no record and no live lease names.
    pub unused: Vec<String>,
}

/// Whether something else than a file lies there; nothing is no such thing.
fn is_no_file(errno: Errno, name: &str) -> Result<bool> {
    match errno {
        Errno::NOENT => Ok(false),
        Errno::LOOP | Errno::ISDIR | Errno::NXIO | Errno::NODEV => Ok(true),
        errno => Err(errno).system(|| format!("cannot look at partial/{name}")),
    }
}

impl Store {
    pub fn leftovers(&self, older_than: Duration) -> Result<Leftovers> {
        let mut found = Leftovers::default();
        let tmp = self.folder("tmp")?;
        for name in files::all_names(&tmp).system(|| "cannot list tmp/".to_owned())? {
            let dead = name.starts_with("dead-") || !self.is_live(&tmp, &name);
            if dead && self.is_older("tmp", &name, older_than) {
                found.staging.push(format!("tmp/{name}"));
            }
        }
        let partial = self.folder("partial")?;
        for name in files::all_names(&partial).system(|| "cannot list partial/".to_owned())? {
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let abandoned = match rustix::fs::openat(&partial, &name, flags, Mode::empty()) {
                Ok(file) => try_lock_file(&file).unwrap_or(false),
                Err(errno) => is_no_file(errno, &name)?,
            };
            if abandoned && self.is_older("partial", &name, older_than) {
                found.partials.push(format!("partial/{name}"));
            }
        }
        let names = self.folder("names")?;
        for name in files::all_names(&names).system(|| "cannot list names/".to_owned())? {
            if self.is_older("names", &name, older_than) && self.is_dead_name(&name)? {
                found.names.push(format!("names/{name}"));
            }
        }
        found.unused = self.unused_content(older_than)?;
        Ok(found)
    }

    /// Looked at with the shared lock: whoever adds has its claims or its records there by then.
    fn unused_content(&self, older_than: Duration) -> Result<Vec<String>> {
        let _shared = self.lock_shared()?;
        let Some(needed) = self.needed_digests()? else {
            return Ok(Vec::new());
        };
        let mut unused = Vec::new();
        for folder in ["blobs/sha256", "blobs/sha512", "layers"] {
            let Ok(dir) = rustix::fs::openat(&self.root, folder, FOLDER, Mode::empty()) else {
                continue;
            };
            let names = files::names(&dir).system(|| format!("cannot list {folder}"))?;
            unused.extend(
                names
                    .into_iter()
                    .filter(|name| {
                        !needed.contains(name) && self.is_older(folder, name, older_than)
                    })
                    .map(|name| format!("{folder}/{name}")),
            );
        }
        Ok(unused)
    }

    fn is_dead_name(&self, name: &str) -> Result<bool> {
        let _shared = self.lock_shared()?;
        let Some(id) = self.target_of_name(name)? else {
            return Ok(true);
        };
        // One that is being made stands in tmp/ and holds the shared lock until it can be seen; its
        // name may be there before.
        let staged = crate::storage::lease::exists(&self.root, &format!("tmp/{id}"))?;
        let named = self
            .containers()?
            .iter()
            .any(|(_, record)| record.id == id && record.name == name);
        Ok(!named && !staged)
    }

    fn is_older(&self, folder: &str, name: &str, limit: Duration) -> bool {
        let place = format!("{folder}/{name}");
        let Ok(stat) = rustix::fs::statat(&self.root, place, AtFlags::SYMLINK_NOFOLLOW) else {
            return false;
        };
        // A layer's tree has the times of its archive; the change time is the disk's own.
        let now = rustix::time::clock_gettime(rustix::time::ClockId::Realtime);
        now.tv_sec.saturating_sub(stat.st_ctime) >= limit.as_secs().cast_signed()
    }

    /// Removes leftovers: of the dead all, of downloads those that were found.
    pub fn remove_leftovers(&self, found: &Leftovers) -> Result<()> {
        let partial = self.folder("partial")?;
        for place in &found.partials {
            let name = place.strip_prefix("partial/").unwrap_or(place);
            let flags = OFlags::RDWR | OFlags::CLOEXEC | OFlags::NOFOLLOW | OFlags::NONBLOCK;
            let held = rustix::fs::openat(&partial, name, flags, Mode::empty());
            // Held until it is gone, so that nobody begins to write into what is being removed.
            let free = match &held {
                Ok(file) => try_lock_file(file)?,
                Err(errno) => is_no_file(*errno, name)?,
            };
            if free {
                delete::remove_tree(&partial, name)?;
            }
        }
        self.collect_garbage()
    }
}

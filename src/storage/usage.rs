//! What each thing of the store takes on the disk: blocks, as du(1) counts them, so that all of it
//! together is what `du ROOT` says. What a file system shares between files (reflinks) counts for each.
//!
//! Layers never change, and walking them is most of the work: what was measured is kept in
//! `layer-sizes` of the run root, with the number of the folder's inode, since a repair replaces the
//! folder. It is a cache: torn, gone or of another version, it is measured anew.
//!
//! Files of other ids of a user namespace can be measured only from inside of it: the caller has
//! entered it.

use std::{
    collections::{BTreeMap, HashMap},
    os::fd::OwnedFd,
};

use rustix::{
    fs::{AtFlags, FileType},
    io::Errno,
};

use super::{Durability, Store, files};
use crate::{
    model::{Context, Result},
    sys::tree_size,
};

const CACHE: &str = "layer-sizes";

/// Bytes of the disk.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DiskUsage {
    /// Of each blob, by the hexadecimal digits of its digest.
    pub blobs: HashMap<String, u64>,
    /// Of each layer, by the hexadecimal digits of its chain id.
    pub layers: HashMap<String, u64>,
    /// Of each tree made for other ids, by the digits of the chain id of the image's topmost layer.
    pub shifted: HashMap<String, u64>,
    /// By ID.
    pub containers: BTreeMap<String, u64>,
    /// By name.
    pub volumes: BTreeMap<String, u64>,
    /// What builds keep beside layers and blobs.
    pub builds: u64,
    /// Downloads that were begun, and what other commands stage at the moment.
    pub staged: u64,
    /// Records, the journal, folders.
    pub records: u64,
}

impl DiskUsage {
    pub fn total(&self) -> u64 {
        let maps = [&self.blobs, &self.layers, &self.shifted];
        let contents = maps.into_iter().flat_map(HashMap::values);
        let objects = self.containers.values().chain(self.volumes.values());
        contents.chain(objects).sum::<u64>() + self.builds + self.staged + self.records
    }
}

/// Number of the folder's inode, bytes; by the name in `layers/`.
type Known = HashMap<String, (u64, u64)>;

impl Store {
    /// Measures everything. Waits for no lock: what changes meanwhile is counted as it was, or not.
    pub fn disk_usage(&self) -> Result<DiskUsage> {
        let what = || "cannot measure the store".to_owned();
        let mut usage = DiskUsage::default();
        let own = rustix::fs::fstat(&self.root).system(what)?;
        usage.records = tree_size::blocks(&own);
        // A descriptor of its own: listing moves the offset.
        for name in files::all_names(self.folder(".")?).system(what)? {
            match name.as_str() {
                "blobs" => self.measure_blobs(&mut usage)?,
                "layers" => self.measure_layers(&mut usage)?,
                "shifted" => {
                    for (name, bytes) in self.measure_each("shifted", &mut usage.records)? {
                        let top = name.split('-').next().unwrap_or(&name);
                        *usage.shifted.entry(top.to_owned()).or_default() += bytes;
                    }
                }
                "containers" | "volumes" => {
                    let all = self.measure_each(&name, &mut usage.records)?;
                    let map = match name.as_str() {
                        "containers" => &mut usage.containers,
                        _ => &mut usage.volumes,
                    };
                    map.extend(all);
                }
                "tmp" | "partial" => {
                    let all = self.measure_each(&name, &mut usage.records)?;
                    usage.staged += all.iter().map(|(_, bytes)| bytes).sum::<u64>();
                }
                "builds" => usage.builds += self.measure(&name)?,
                _ => usage.records += self.measure(&name)?,
            }
        }
        Ok(usage)
    }

    fn measure_blobs(&self, usage: &mut DiskUsage) -> Result<()> {
        let blobs = self.folder("blobs")?;
        let own = rustix::fs::fstat(&blobs).system(|| "cannot measure blobs/".to_owned())?;
        usage.records += tree_size::blocks(&own);
        let algorithms = files::all_names(&blobs).system(|| "cannot list blobs/".to_owned())?;
        for algorithm in algorithms {
            let place = format!("blobs/{algorithm}");
            usage
                .blobs
                .extend(self.measure_each(&place, &mut usage.records)?);
        }
        Ok(())
    }

    fn measure_layers(&self, usage: &mut DiskUsage) -> Result<()> {
        let folder = self.folder("layers")?;
        let own = rustix::fs::fstat(&folder).system(|| "cannot measure layers/".to_owned())?;
        usage.records += tree_size::blocks(&own);
        let stored = files::read_json::<Known>(&self.runroot, CACHE);
        let known = stored
            .ok()
            .and_then(files::Stored::good)
            .unwrap_or_default();
        let mut now = Known::with_capacity(known.len());
        for name in files::all_names(&folder).system(|| "cannot list layers/".to_owned())? {
            let place = format!("layers/{name}");
            let Some(stat) = self.stat(&place)? else {
                continue;
            };
            let bytes = match known.get(&name) {
                Some((inode, bytes)) if *inode == stat.st_ino => *bytes,
                _ => self.measure(&place)?,
            };
            now.insert(name.clone(), (stat.st_ino, bytes));
            usage.layers.insert(name, bytes);
        }
        if now != known {
            self.remember(&now);
        }
        Ok(())
    }

    /// Another process may do the same, so the new file has a name of its own. Failing costs time only.
    fn remember(&self, known: &Known) {
        let staged = format!(".{CACHE}.{}", rustix::process::getpid().as_raw_pid());
        let Ok(text) = serde_json::to_vec(known) else {
            return;
        };
        let written = files::write_new(&self.runroot, &staged, &text, Durability::Volatile);
        let renamed = rustix::fs::renameat(&self.runroot, &staged, &self.runroot, CACHE);
        if written.is_err() || renamed.is_err() {
            let _ = rustix::fs::unlinkat(&self.runroot, &staged, AtFlags::empty());
        }
    }

    /// Everything in a folder, by name; the folder itself goes to `own`.
    fn measure_each(&self, place: &str, own: &mut u64) -> Result<Vec<(String, u64)>> {
        let what = || format!("cannot measure {place}/");
        let folder = self.folder(place)?;
        *own += tree_size::blocks(&rustix::fs::fstat(&folder).system(what)?);
        let mut all = Vec::new();
        for name in files::all_names(&folder).system(what)? {
            let bytes = self.measure(&format!("{place}/{name}"))?;
            all.push((name, bytes));
        }
        Ok(all)
    }

    /// A file, or a folder and all below it. Nothing if it is gone.
    fn measure(&self, place: &str) -> Result<u64> {
        let Some(stat) = self.stat(place)? else {
            return Ok(0);
        };
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            return Ok(tree_size::blocks(&stat));
        }
        let top: OwnedFd = match self.folder(place) {
            Ok(top) => top,
            Err(_) if self.stat(place)?.is_none() => return Ok(0),
            Err(error) => return Err(error),
        };
        tree_size::on_disk(&top).system(|| format!("cannot measure {place}"))
    }

    fn stat(&self, place: &str) -> Result<Option<rustix::fs::Stat>> {
        match rustix::fs::statat(&self.root, place, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(stat)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).system(|| format!("cannot measure {place}")),
        }
    }
}

//! What builds have made, to be used again: one record a step, by its cache key.
//!
//! ```text
//! builds/steps/HEX     a StepRecord: which layer the step with this key has made, if it made any
//! builds/blobs/HEX     archives of such layers that no image names yet
//! layers/HEX/          the layer itself, beside all others
//! ```
//!
//! The folders are made with the first build. A record appears when its layer is there, and nothing
//! is flushed: a build that is killed loses what it was doing, and the next one goes on behind it.
//!
//! **A power cut** may take what was never flushed. Records, and the layers that they brought, say in
//! which boot they were written ([`LayerFacts::unflushed`]); in any other they do not count. The commit of
//! an image ([`Lease::commit`]) flushes everything at once, takes that mark from the layers that the image
//! names, and flushes those marks before the image can be seen. So a step that ended up in an image is
//! good for ever, and one that did not is good until the next boot.
//!
//! Garbage collection keeps what a record names; whoever removes records (`builder prune`) collects
//! afterwards. Who changes `steps/` holds its `flock`; readers take no lock.
//!
//! [`LayerFacts::unflushed`]: super::LayerFacts::unflushed

use std::collections::HashSet;

use rustix::{
    fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    Durability, LayerFacts, Lease, StagedBlob, StagedLayer, Store,
    files::{self, Stored},
    layers::facts_place,
    lease::exists,
    locks::FolderLock,
    make_folder,
};
use crate::{
    model::{Context, Digest, ErrorKind, Result},
    sys::process,
};

const BUILDS: &str = "builds";
const STEPS: &str = "builds/steps";
pub(super) const STEP_BLOBS: &str = "builds/blobs";

/// What a step of a build has made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    pub key: Digest,
    /// The step before, for `builder du`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub parent: Option<Digest>,
    /// `None` if it has changed nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layer: Option<StepLayer>,
    /// The boot in which it was written, as long as it was not flushed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unflushed: Option<String>,
    /// RFC 3339.
    pub created: String,
    /// What it did, for people.
    pub name: String,
    /// Nobody has written it: it makes one layer of those of several steps.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub squashes: bool,
    /// What caches of others call it, if that is not `key`: by content, and by definition.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shared: Option<(Digest, Digest)>,
}

/// The layer of a step.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepLayer {
    pub chain_id: Digest,
    pub diff_id: Digest,
    /// Sum of the files' sizes in bytes.
    pub size: u64,
    /// Its archive, if that was made: the digest, and bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub blob: Option<(Digest, u64)>,
    /// The archive begins with the root directory, whose owner or mode it changes.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub with_root: bool,
}

/// A record and when it was used last, seconds since the epoch.
#[derive(Clone, Debug)]
pub struct ListedStep {
    pub record: StepRecord,
    pub used: i64,
}

impl Store {
    /// Where builds keep what they found out about files.
    pub fn build_folder(&self) -> Result<std::os::fd::OwnedFd> {
        make_folder(&self.root, BUILDS).system(|| format!("cannot make {BUILDS}/"))?;
        self.folder(BUILDS)
    }

    /// All records that count, in no order.
    pub fn build_steps(&self) -> Result<Vec<ListedStep>> {
        let what = || format!("cannot list {STEPS}/");
        if !exists(&self.root, STEPS)? {
            return Ok(Vec::new());
        }
        let folder = self.folder(STEPS)?;
        let boot = boot()?;
        let mut steps = Vec::new();
        for name in files::names(&folder).system(what)? {
            let record = files::read_json::<StepRecord>(&folder, &name)?;
            let Some(record) = record.good().filter(|record| counts(record, &boot)) else {
                continue;
            };
            match rustix::fs::statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) => steps.push(ListedStep {
                    record,
                    used: stat.st_mtime,
                }),
                Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).system(what),
            }
        }
        Ok(steps)
    }

    /// Forgets these steps; the caller collects the garbage. How many were there.
    pub fn forget_build_steps(&self, keys: &HashSet<Digest>) -> Result<usize> {
        if keys.is_empty() || !exists(&self.root, STEPS)? {
            return Ok(0);
        }
        let folder = FolderLock::hold(self, STEPS)?;
        let mut gone = 0;
        for key in keys {
            match rustix::fs::unlinkat(folder.dir(), key.hex(), AtFlags::empty()) {
                Ok(()) => gone += 1,
                Err(Errno::NOENT) => {}
                Err(errno) => {
                    return Err(errno).system(|| format!("cannot remove {STEPS}/{}", key.hex()));
                }
            }
        }
        Ok(gone)
    }

    /// Digests that records of steps name; `None` if a newer program's record keeps that secret.
    /// Records that count no more are named in `ruins`.
    pub(super) fn mark_build_steps(&self, ruins: &mut Vec<String>) -> Result<Option<Vec<Digest>>> {
        if !exists(&self.root, STEPS)? {
            return Ok(Some(Vec::new()));
        }
        let folder = self.folder(STEPS)?;
        let boot = boot()?;
        let mut digests = Vec::new();
        for name in files::names(&folder).system(|| format!("cannot list {STEPS}/"))? {
            match files::read_json::<StepRecord>(&folder, &name)? {
                Stored::Good(record) if counts(&record, &boot) => {
                    if let Some(layer) = record.layer {
                        digests.push(layer.chain_id);
                        digests.extend(layer.blob.map(|(blob, _)| blob));
                    }
                }
                Stored::Good(_) | Stored::Damaged => ruins.push(name),
                Stored::Missing => {}
                Stored::Foreign(_) => return Ok(None),
            }
        }
        Ok(Some(digests))
    }

    /// Removes records that count no more. Under the exclusive lock.
    pub(super) fn unlink_dead_steps(&self, names: &[String]) -> Result<()> {
        for name in names {
            let place = format!("{STEPS}/{name}");
            match rustix::fs::unlinkat(&self.root, &place, AtFlags::empty()) {
                Ok(()) | Err(Errno::NOENT) => {}
                Err(errno) => return Err(errno).system(|| format!("cannot remove {place}")),
            }
        }
        Ok(())
    }

    /// Says that these layers are on the disk, which the caller has seen to, and flushes that.
    pub(super) fn acknowledge_layers<'d>(
        &self,
        chain_ids: impl Iterator<Item = &'d Digest>,
    ) -> Result<()> {
        // Two builds may end with the same layer.
        let mut alone = None;
        for chain_id in chain_ids {
            let Some(facts) = self.unflushed_facts(chain_id)? else {
                continue;
            };
            if alone.is_none() {
                for folder in [BUILDS, STEPS] {
                    make_folder(&self.root, folder).system(|| format!("cannot make {folder}/"))?;
                }
                alone = Some(FolderLock::hold(self, STEPS)?);
            }
            let facts = LayerFacts {
                unflushed: None,
                ..facts
            };
            let what = || format!("cannot describe layer {}", facts.diff_id);
            let text = serde_json::to_vec(&facts).context(ErrorKind::System, what)?;
            let folder = self.folder(&super::layers::place(chain_id))?;
            files::put(folder, "layer.json", &text, Durability::Volatile)?;
        }
        if alone.is_some() {
            rustix::fs::syncfs(&self.root).system(|| "cannot flush the store".to_owned())?;
        }
        Ok(())
    }
}

impl Store {
    fn unflushed_facts(&self, chain_id: &Digest) -> Result<Option<LayerFacts>> {
        let facts = files::read_json::<LayerFacts>(&self.root, &facts_place(chain_id))?;
        Ok(facts.good().filter(|facts| facts.unflushed.is_some()))
    }
}

impl Lease<'_> {
    /// The record of the step with this key, if it counts and its layer is there. That then stays as
    /// long as the lease lives, and the record counts as used.
    pub fn find_step(&self, key: &Digest) -> Result<Option<StepRecord>> {
        let place = format!("{STEPS}/{}", key.hex());
        let root = &self.store().root;
        let Some(mut record) = files::read_json::<StepRecord>(root, &place)?.good() else {
            return Ok(None);
        };
        if record.key != *key || !counts(&record, &boot()?) {
            return Ok(None);
        }
        if let Some(layer) = &mut record.layer {
            if !self.has_layer(&layer.chain_id)? {
                return Ok(None);
            }
            if let Some((blob, _)) = &layer.blob
                && !self.has_step_blob(blob)?
            {
                layer.blob = None;
            }
        }
        let now = Timestamps {
            last_access: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_OMIT,
            },
            last_modification: Timespec {
                tv_sec: 0,
                tv_nsec: UTIME_NOW,
            },
        };
        // Gone meanwhile, or a read-only store: it is used all the same.
        let _ = rustix::fs::utimensat(root, &place, &now, AtFlags::SYMLINK_NOFOLLOW);
        Ok(Some(record))
    }

    /// Whether a step's archive is there, as a blob of the store or of its own. If so, it stays.
    fn has_step_blob(&self, blob: &Digest) -> Result<bool> {
        self.claim(blob, || {
            Ok(self.store().has_blob(blob)?
                || exists(&self.store().root, &format!("{STEP_BLOBS}/{}", blob.hex()))?)
        })
    }

    /// Makes a step's layer and its archive part of the store, and then its record, without a flush:
    /// see the head of this room.
    pub fn commit_step(
        &self,
        mut record: StepRecord,
        layer: Option<(StagedLayer, u64)>,
        blob: Option<StagedBlob>,
    ) -> Result<StepRecord> {
        let store = self.store();
        for folder in [BUILDS, STEPS, STEP_BLOBS] {
            make_folder(&store.root, folder).system(|| format!("cannot make {folder}/"))?;
        }
        let boot = boot()?;
        record.unflushed = Some(boot.clone());
        for digest in record
            .layer
            .iter()
            .map(|made| &made.chain_id)
            .chain(blob.as_ref().map(StagedBlob::digest))
        {
            self.keep_staged(digest)?;
        }
        let shared = store.lock_shared()?;
        if let (Some((mut layer, entries)), Some(made)) = (layer, &record.layer) {
            let facts = LayerFacts {
                diff_id: made.diff_id.clone(),
                size: made.size,
                entries,
                opaque_root: false,
                unflushed: Some(boot),
            };
            layer.seal_as(&made.chain_id, &facts)?;
            layer.settle(store, &self.dir)?;
        }
        if let Some(blob) = blob {
            let to = format!("{STEP_BLOBS}/{}", blob.digest().hex());
            blob.settle_at(store, &self.dir, &to)?;
        }
        let what = || format!("cannot describe build step {}", record.key);
        let text = serde_json::to_vec(&record).context(ErrorKind::System, what)?;
        {
            let folder = FolderLock::hold(store, STEPS)?;
            files::put(folder.dir(), record.key.hex(), &text, Durability::Volatile)?;
        }
        drop(shared);
        Ok(record)
    }

    /// A step's archive on its way to be a blob of the store, with [`Self::commit`]; `None` if it is
    /// one already.
    pub fn stage_step_blob(&self, blob: &Digest) -> Result<Option<StagedBlob>> {
        if self.has_blob(blob)? {
            return Ok(None);
        }
        let name = self.fresh_name("blob");
        let from = format!("{STEP_BLOBS}/{}", blob.hex());
        let what = || format!("cannot use {from}");
        let root = &self.store().root;
        rustix::fs::linkat(root, &from, self.dir(), &name, AtFlags::empty()).system(what)?;
        StagedBlob::adopt(self.dir(), name, blob).map(Some)
    }

    /// Forgets archives of steps that are blobs of the store now.
    pub fn drop_step_blobs<'b>(&self, staged: impl Iterator<Item = &'b Digest>) {
        for blob in staged {
            let place = format!("{STEP_BLOBS}/{}", blob.hex());
            let _ = rustix::fs::unlinkat(&self.store().root, place, AtFlags::empty());
        }
    }

    /// Records of steps whose layers an image names now count for ever.
    pub fn acknowledge_steps(&self, records: &[StepRecord]) -> Result<()> {
        let store = self.store();
        let unflushed = records.iter().filter(|record| record.unflushed.is_some());
        let mut folder = None;
        for record in unflushed {
            let folder = match &folder {
                Some(folder) => folder,
                None => folder.insert(FolderLock::hold(store, STEPS)?),
            };
            let record = StepRecord {
                squashes: false,
                unflushed: None,
                ..record.clone()
            };
            let what = || format!("cannot describe build step {}", record.key);
            let text = serde_json::to_vec(&record).context(ErrorKind::System, what)?;
            files::put(folder.dir(), record.key.hex(), &text, Durability::Volatile)?;
        }
        Ok(())
    }
}

fn counts(record: &StepRecord, boot: &str) -> bool {
    record.unflushed.as_deref().is_none_or(|then| then == boot)
}

/// This boot's id.
pub(super) fn boot() -> Result<String> {
    process::boot_id().system(|| "cannot tell this boot".to_owned())
}

//! What steps share that make layers: whether there is one already, and keeping a new one.

use serde::{Deserialize, Serialize};

use super::{Solver, imported, key::Keys, snapshot::Snapshot};
use crate::{
    build::worker::{Reporter, Status},
    model::{Context, Platform, Result},
    storage::{
        Lease, StagedLayer,
        builds::{StepLayer, StepRecord},
        changes::Changes,
        pack,
    },
};

/// What a worker tells of its step.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Made {
    Cached(StepRecord),
    New(StepRecord),
    /// What was to be had from a cache of others could not be fetched.
    Missed,
}

/// A step in its worker.
pub(super) struct Making<'a> {
    pub solver: &'a Solver<'a>,
    pub lease: &'a Lease<'a>,
    pub reporter: &'a Reporter,
    pub parent: Snapshot,
    /// For `builder du`.
    pub name: String,
    /// Of the stage.
    pub platform: &'a Platform,
    /// The cache is not asked.
    pub no_cache: bool,
    /// Caches of others are not asked for what is made in such a way, but for what is made of this.
    pub by_content: bool,
    /// Its layer will be one of the result: the archive is made at once.
    pub in_result: bool,
}

impl Making<'_> {
    pub fn say(&self, text: &str) {
        self.reporter.status(Status {
            text: text.to_owned(),
            current: 0,
            total: 0,
            done: false,
        });
    }

    /// What this store has, or else what a cache of others has, which is fetched.
    pub fn cached(&self, keys: &Keys) -> Result<Option<StepRecord>> {
        if self.no_cache {
            return Ok(None);
        }
        let keys = self.solver.with_times(keys);
        match self.lease.find_step(&keys.own)? {
            Some(record) => Ok(Some(record)),
            None => Ok(imported::find(self, &keys)),
        }
    }

    /// Makes a staged layer part of the store, under the step's key.
    pub fn keep(&self, keys: Keys, layer: StagedLayer, changes: &Changes) -> Result<StepRecord> {
        self.keep_on(&self.parent, (keys, self.in_result), layer, changes)
    }

    /// The same, on other layers.
    pub fn keep_on(
        &self,
        below: &Snapshot,
        (keys, archive): (Keys, bool),
        layer: StagedLayer,
        changes: &Changes,
    ) -> Result<StepRecord> {
        if let Some(epoch) = self.solver.youngest() {
            layer.make_older(epoch)?;
        }
        let keys = self.solver.with_times(&keys);
        let mut record = StepRecord {
            squashes: false,
            shared: keys.shared(),
            key: keys.own,
            parent: below.last.clone(),
            layer: None,
            unflushed: None,
            created: self.solver.now.clone(),
            name: self.name.clone(),
        };
        if changes.is_empty() {
            return self.lease.commit_step(record, None, None);
        }
        let with_root = changes.root_changed;
        let (diff_id, blob) = match archive {
            true => {
                let made = self.lease.archive_layer(layer.tree(), with_root)?;
                (made.diff_id, Some(made.blob))
            }
            false => {
                let digest = pack::digest_layer(layer.tree(), with_root);
                let digest = digest.system(|| "cannot read the layer of a step".to_owned())?;
                (digest, None)
            }
        };
        record.layer = Some(StepLayer {
            chain_id: below.chain_with(&diff_id),
            diff_id,
            size: changes.bytes,
            blob: blob
                .as_ref()
                .map(|blob| (blob.digest().clone(), blob.size())),
            with_root,
        });
        let layer = Some((layer, changes.entries));
        self.lease.commit_step(record, layer, blob)
    }
}

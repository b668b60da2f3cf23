//! From a layer's blob to its tree.

use std::{
    collections::{BTreeMap, HashSet},
    fs::File,
    io::Read,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::{Ingest, died, plan::Layer};
use crate::{
    model::{Context, Error, ErrorKind, Result},
    storage::{
        LayerFacts, Lease, StagedLayer,
        unpack::{
            Decompressor, Note, Privilege, UnpackOptions, UnpackSummary, hash_while,
            inherit_parents, unpack,
        },
    },
};

/// Most bytes of one layer unpacked: 1 TiB. The ratio limit of the decompressor is the bound that
/// bombs meet first.
const MAX_LAYER_BYTES: u64 = 1 << 40;
/// Each has a thread that inflates beside it.
const UNPACKERS: usize = 2;

pub(super) struct Unpacked {
    pub layer: StagedLayer,
    pub summary: UnpackSummary,
}

impl Unpacked {
    pub fn seal(&mut self, layer: &Layer) -> Result<LayerFacts> {
        let facts = LayerFacts {
            diff_id: layer.diff_id.clone(),
            size: self.summary.bytes,
            entries: self.summary.entries,
            opaque_root: self.summary.notes.contains_key(&Note::OpaqueRoot),
        };
        self.layer.seal(&facts)?;
        Ok(facts)
    }
}

impl Ingest<'_> {
    /// Two at a time, in any order: no layer's files depend on those below.
    pub(super) fn unpack_the_rest(&self) -> Result<()> {
        let unpacked: HashSet<usize> = self.staged().trees.keys().copied().collect();
        let rest: Vec<usize> = (0..self.layers.len())
            .filter(|index| !self.layers[*index].has_layer && !unpacked.contains(index))
            .collect();
        let blobs = std::mem::take(&mut self.staged().blobs);
        let next = AtomicUsize::new(0);
        let work = || -> Result<()> {
            while let Some(&index) = rest.get(next.fetch_add(1, Ordering::Relaxed)) {
                let layer = &self.layers[index];
                let tree = self.lease.stage_layer(&layer.chain_id)?;
                let unpacked = match blobs.get(&layer.blob) {
                    Some(blob) => unpack_blob(blob.reader(), layer, tree, self.privilege),
                    None => {
                        let file = self.lease.store().open_blob(&layer.blob)?;
                        unpack_blob(file, layer, tree, self.privilege)
                    }
                };
                let unpacked =
                    unpacked.inspect_err(|_| next.store(rest.len(), Ordering::Relaxed))?;
                self.staged().trees.insert(index, unpacked);
                self.flusher.arrived(layer.size);
                self.progress.layer_done(&layer.blob);
            }
            Ok(())
        };
        let result = thread::scope(|scope| {
            let helpers: Vec<_> = (1..UNPACKERS.min(rest.len()))
                // Without another thread it takes longer.
                .filter_map(|_| thread::Builder::new().spawn_scoped(scope, work).ok())
                .collect();
            let own = work();
            helpers.into_iter().fold(own, |result, helper| {
                let other = helper.join().unwrap_or_else(|_| Err(died()));
                result.and(other)
            })
        });
        self.staged().blobs = blobs;
        result
    }
}

/// Blob bytes → decompressed → hashed → unpacked.
pub(super) fn unpack_blob(
    blob: impl Read + Send,
    layer: &Layer,
    tree: StagedLayer,
    privilege: Privilege,
) -> Result<Unpacked> {
    let named = |error: Error| {
        Error::new(error.kind(), format!("cannot unpack layer {}", layer.blob)).with_source(error)
    };
    let plain = Decompressor::detect(blob).map_err(|error| match error.downcast::<Error>() {
        Ok(own) => named(own),
        Err(error) => named(Error::new(ErrorKind::System, "cannot read it").with_source(error)),
    })?;
    let options = UnpackOptions::new(privilege, MAX_LAYER_BYTES);
    let (summary, found) =
        hash_while(plain, |tar| unpack(tar, tree.tree(), &options)).map_err(named)?;
    if found.digest != layer.diff_id {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "layer {} unpacks to {}, the configuration says {}",
                layer.blob, found.digest, layer.diff_id
            ),
        ));
    }
    Ok(Unpacked {
        layer: tree,
        summary,
    })
}

/// Completes trees from the bottom up, so that each finds those below it complete.
pub(super) fn inherit(
    lease: &Lease<'_>,
    layers: &[Layer],
    trees: &BTreeMap<usize, Unpacked>,
) -> Result<()> {
    let Some(highest) = trees
        .iter()
        .rfind(|(_, unpacked)| !unpacked.summary.implied_parents.is_empty())
        .map(|(index, _)| *index)
    else {
        return Ok(());
    };
    let mut lower: Vec<OwnedFd> = Vec::new();
    for (index, layer) in layers.iter().enumerate().take(highest + 1) {
        let tree = match trees.get(&index) {
            Some(unpacked) => {
                let tree = unpacked.layer.tree();
                let below: Vec<BorrowedFd<'_>> = lower.iter().map(AsFd::as_fd).collect();
                inherit_parents(tree, &unpacked.summary.implied_parents, &below)?;
                tree.try_clone_to_owned()
            }
            None => File::open(lease.store().layer_tree(&layer.chain_id)).map(OwnedFd::from),
        };
        lower.push(tree.system(|| format!("cannot open layer {}", layer.chain_id))?);
    }
    Ok(())
}

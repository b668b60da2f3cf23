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
    model::{Context, Digest, Error, ErrorKind, Result},
    storage::{
        LayerFacts, Lease, StagedLayer,
        unpack::{
            Decompressor, Note, Privilege, UnpackOptions, UnpackSummary, hash_while,
            inherit_parents, unpack, unpack_buffered,
        },
    },
};

/// Most bytes of one layer unpacked: 1 TiB. The ratio limit of the decompressor is the bound that
/// bombs meet first.
const MAX_LAYER_BYTES: u64 = 1 << 40;
/// Each has a thread that inflates beside it.
const UNPACKERS: usize = 2;

/// The tree of a layer, and what the layer turned out to be.
pub struct Unpacked {
    pub(super) layer: StagedLayer,
    pub(super) summary: UnpackSummary,
    /// `None` if the blob is not compressed, and its own digest verified: that is the diff id.
    diff_id: Option<Digest>,
}

impl Unpacked {
    pub(super) fn diff_id<'a>(&'a self, blob: &'a Digest) -> &'a Digest {
        self.diff_id.as_ref().unwrap_or(blob)
    }

    pub(super) fn seal(&mut self, layer: &Layer) -> Result<LayerFacts> {
        let facts = LayerFacts {
            diff_id: layer.diff_id.clone(),
            size: self.summary.bytes,
            entries: self.summary.entries,
            opaque_root: self.summary.notes.contains_key(&Note::OpaqueRoot),
            unflushed: None,
        };
        self.layer.seal_as(&layer.chain_id, &facts)?;
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
                    Some(blob) => {
                        unpack_blob(blob.reader(), layer, tree, self.privilege, Hashed::Before)
                    }
                    None => {
                        let file = self.lease.store().open_blob(&layer.blob)?;
                        unpack_blob(file, layer, tree, self.privilege, Hashed::LongAgo)
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

/// When the blob's own digest is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Hashed {
    /// By this process, before or while it is unpacked.
    Before,
    /// When the store took it; the disk may have changed it since.
    LongAgo,
}

/// Blob bytes → decompressed → hashed → unpacked, and compared with what the configuration says.
pub(super) fn unpack_blob(
    blob: impl Read + Send,
    layer: &Layer,
    tree: StagedLayer,
    privilege: Privilege,
    hashed: Hashed,
) -> Result<Unpacked> {
    let unpacked = unpack_unknown(blob, tree, privilege, hashed).map_err(|error| {
        Error::new(error.kind(), format!("cannot unpack layer {}", layer.blob)).with_source(error)
    })?;
    let found = unpacked.diff_id(&layer.blob);
    if *found != layer.diff_id {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "layer {} unpacks to {found}, the configuration says {}",
                layer.blob, layer.diff_id
            ),
        ));
    }
    Ok(unpacked)
}

/// The same for a blob of which nobody knows which layer it is.
pub(super) fn unpack_unknown(
    blob: impl Read + Send,
    tree: StagedLayer,
    privilege: Privilege,
    hashed: Hashed,
) -> Result<Unpacked> {
    let mut tar = Decompressor::detect(blob).map_err(|error| match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::new(ErrorKind::System, "cannot read it").with_source(error),
    })?;
    let options = UnpackOptions::new(privilege, MAX_LAYER_BYTES);
    // What is not compressed is hashed as a blob, and that once.
    let (summary, diff_id) = if tar.is_plain() && hashed == Hashed::Before {
        (unpack(&mut tar, tree.tree(), &options)?, None)
    } else {
        let (summary, found) = hash_while(tar, |tar| unpack_buffered(tar, tree.tree(), &options))?;
        (summary, Some(found.digest))
    };
    Ok(Unpacked {
        layer: tree,
        summary,
        diff_id,
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

/// One layer on its own.
pub struct UnpackedLayer {
    pub layer: StagedLayer,
    /// Of all files.
    pub bytes: u64,
    /// Files, directories, links and whiteouts.
    pub entries: u64,
}

/// Unpacks a layer on top of others whose trees these are, lowest first. `ids` are the digest of the
/// blob, which the caller has verified, and the diff id that it has to have.
///
/// # Errors
/// [`ErrorKind::DigestMismatch`]; [`ErrorKind::InvalidContent`], also for a layer that hides all below.
pub fn unpack_on(
    below: &[BorrowedFd<'_>],
    blob: impl Read + Send,
    (digest, diff_id): (&Digest, &Digest),
    tree: StagedLayer,
    privilege: Privilege,
) -> Result<UnpackedLayer> {
    let Unpacked {
        layer,
        summary,
        diff_id: found,
    } = unpack_unknown(blob, tree, privilege, Hashed::Before)?;
    let found = found.as_ref().unwrap_or(digest);
    if found != diff_id {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!("layer {digest} unpacks to {found}, not to {diff_id}"),
        ));
    }
    if summary.notes.contains_key(&Note::OpaqueRoot) {
        return Err(Error::new(
            ErrorKind::InvalidContent,
            format!("layer {digest} hides all that is below"),
        ));
    }
    inherit_parents(layer.tree(), &summary.implied_parents, below)?;
    Ok(UnpackedLayer {
        layer,
        bytes: summary.bytes,
        entries: summary.entries,
    })
}

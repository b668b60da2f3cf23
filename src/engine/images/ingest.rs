//! From a manifest and its blobs to an image in the store: what `pull`, `load` and `import` share.
//!
//! ```text
//! Ingest::begin     manifest and configuration are checked against each other, and what the
//!                   store has already is claimed
//! Ingest::sinks     for blobs that come one after the other: a sink each. A sink writes its blob
//!                   and lets a thread unpack behind it
//! Ingest::provide   or: blobs that are staged already
//! Ingest::complete  unpacks what is still to be unpacked, gives implied directories the metadata
//!                   of the layers below, adds up sizes
//! Ingested::commit  everything becomes visible at once, under the given names
//! ```
//!
//! A sink and its unpacking thread share nothing but the blob's file and a counter of the bytes
//! in it ([`Feed`]). The download is therefore never held up by the unpacking, memory stays
//! bounded, and bytes left by an earlier, interrupted attempt are unpacked like fresh ones.
//!
//! Killed anywhere before the commit, only the lease and partial downloads are left behind.

use std::{
    collections::{BTreeMap, HashMap, HashSet},
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::FileExt,
    },
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

use crate::{
    engine::Progress,
    model::{
        BlobSink, Context, Digest, Error, ErrorKind, Reference, Result,
        image::{ImageConfig, ImageRecord, chain_ids},
        manifest::{self, Document},
    },
    storage::{
        BlobWriter, LayerFacts, Lease, StagedBlob, StagedLayer,
        unpack::{
            Decompressor, Note, Privilege, UnpackOptions, UnpackSummary, hash_while,
            inherit_parents, unpack,
        },
    },
};

/// More than any tool makes, and few enough to keep a descriptor or two for each.
pub const MAX_LAYERS: usize = 256;
/// Most bytes of one layer unpacked: 1 TiB. The ratio limit of the decompressor is the bound that
/// bombs meet first.
const MAX_LAYER_BYTES: u64 = 1 << 40;
/// Each has a thread that inflates beside it.
const UNPACKERS: usize = 2;

/// The two documents that make an image, as their digests cover them.
#[derive(Clone, Debug)]
pub struct ImageDocuments {
    pub manifest: Vec<u8>,
    /// What the registry or the descriptor called the manifest.
    pub media_type: Option<String>,
    pub config: Vec<u8>,
}

/// A blob to be fetched, and where its bytes go.
pub struct WantedBlob<'i> {
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    pub sink: Box<dyn BlobSink + 'i>,
}

/// One layer of the image being taken in.
#[derive(Clone, Debug)]
struct Layer {
    blob: Digest,
    size: u64,
    diff_id: Digest,
    chain_id: Digest,
    has_blob: bool,
    has_layer: bool,
}

/// An image on its way into the store.
pub struct Ingest<'a> {
    lease: &'a Lease<'a>,
    privilege: Privilege,
    progress: &'a dyn Progress,
    layers: Vec<Layer>,
    documents: Vec<StagedBlob>,
    created: Option<String>,
    staged: Mutex<Staged>,
}

#[derive(Default)]
struct Staged {
    blobs: HashMap<Digest, StagedBlob>,
    /// By position in the image.
    trees: BTreeMap<usize, Unpacked>,
}

/// The tree of a layer, and what the layer turned out to be.
pub(super) struct Unpacked {
    layer: StagedLayer,
    summary: UnpackSummary,
    /// `None` if the blob is not compressed, and its own digest verified: that is the diff id.
    diff_id: Option<Digest>,
}

impl<'a> Ingest<'a> {
    /// # Errors
    /// [`ErrorKind::InvalidContent`] if the documents are not those of one runnable image;
    /// [`ErrorKind::DigestMismatch`] if the configuration is not the one of the manifest.
    pub fn begin(
        lease: &'a Lease<'a>,
        privilege: Privilege,
        progress: &'a dyn Progress,
        image: &ImageDocuments,
    ) -> Result<Self> {
        let parsed = Document::parse(&image.manifest, image.media_type.as_deref())?;
        let Document::Manifest(parsed) = parsed else {
            return Err(invalid("an index stands where a manifest should"));
        };
        let config = ImageConfig::parse(&image.config)?;
        let documents = vec![
            lease.stage_document(&image.manifest)?,
            lease.stage_document(&image.config)?,
        ];
        let promised = manifest::digest_of(parsed.config())?;
        if promised != *documents[1].digest() {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "the configuration has the digest {}, the manifest says {promised}",
                    documents[1].digest()
                ),
            ));
        }
        let promised = parsed.config().size();
        if promised != documents[1].size() {
            return Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "the configuration has {} bytes, the manifest says {promised}",
                    documents[1].size()
                ),
            ));
        }
        let layers = plan_layers(lease, parsed.layers(), &config.rootfs.diff_ids)?;
        for layer in layers.iter().filter(|layer| layer.is_there()) {
            progress.layer_exists(&layer.blob);
        }
        Ok(Ingest {
            lease,
            privilege,
            progress,
            layers,
            documents,
            created: config.created,
            staged: Mutex::default(),
        })
    }

    /// Every blob that must be fetched. They may be filled in any order and by different threads;
    /// for one that failed this may be called again.
    pub fn sinks(&self) -> Result<Vec<WantedBlob<'_>>> {
        let mut seen = HashSet::new();
        let mut sinks = Vec::new();
        for (index, layer) in self.layers.iter().enumerate() {
            let wanted = !layer.has_blob && !self.staged().blobs.contains_key(&layer.blob);
            if wanted && seen.insert(&layer.blob) {
                sinks.push(WantedBlob {
                    digest: layer.blob.clone(),
                    size: layer.size,
                    sink: Box::new(LayerSink::open(self, index)?),
                });
            }
        }
        Ok(sinks)
    }

    /// The blobs that [`Self::sinks`] or [`Self::provide`] must still deliver, and their sizes.
    pub fn missing(&self) -> Vec<(Digest, u64)> {
        let staged = self.staged();
        let mut seen = HashSet::new();
        let missing = self.layers.iter().filter(|layer| !layer.has_blob);
        missing
            .filter(|layer| !staged.blobs.contains_key(&layer.blob) && seen.insert(&layer.blob))
            .map(|layer| (layer.blob.clone(), layer.size))
            .collect()
    }

    /// A verified layer blob from elsewhere.
    pub fn provide(&self, blob: StagedBlob) {
        self.staged().blobs.insert(blob.digest().clone(), blob);
    }

    /// Tells whoever shows progress that a blob has arrived, all at once.
    pub(super) fn announce(&self, blob: &Digest, size: u64) {
        self.progress.layer_started(blob, size);
        self.progress.layer_advanced(blob, size);
    }

    /// The same with its tree, unpacked while nobody knew which layer it is. A tree that is not of
    /// this image, or there already, is dropped.
    pub(super) fn provide_unpacked(&self, blob: &Digest, tree: Unpacked) {
        let mut staged = self.staged();
        let fits = |(index, layer): &(usize, &Layer)| {
            let wanted = !layer.has_layer && !staged.trees.contains_key(index);
            wanted && layer.blob == *blob && layer.diff_id == *tree.diff_id(blob)
        };
        let index = self.layers.iter().enumerate().find(fits);
        if let Some((index, _)) = index {
            staged.trees.insert(index, tree);
        }
    }

    /// Unpacks what no sink has unpacked, and completes the trees.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchBlob`] if a blob was not delivered, and those of unpacking.
    pub fn complete(self) -> Result<Ingested> {
        if let Some((blob, _)) = self.missing().first() {
            return Err(Error::new(
                ErrorKind::NoSuchBlob,
                format!("layer {blob} of the image is missing"),
            ));
        }
        self.unpack_the_rest()?;
        let Staged { blobs, mut trees } = self
            .staged
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner);
        inherit(self.lease, &self.layers, &trees)?;

        let mut size = 0_u64;
        let mut lowest = 0;
        for (index, layer) in self.layers.iter().enumerate() {
            let facts = match trees.get_mut(&index) {
                Some(unpacked) => unpacked.seal(layer)?,
                None => self.lease.store().layer_facts(&layer.chain_id)?,
            };
            size = size.saturating_add(facts.size);
            if facts.opaque_root {
                lowest = index;
            }
        }
        // What an opaque root hides is no part of any container's file system.
        trees.retain(|index, _| *index >= lowest);
        let record = ImageRecord {
            name: None,
            manifest: self.documents[0].digest().clone(),
            config: self.documents[1].digest().clone(),
            index: None,
            blobs: self.layers.iter().map(|layer| layer.blob.clone()).collect(),
            layers: self.layers[lowest..]
                .iter()
                .map(|layer| layer.chain_id.clone())
                .collect(),
            size,
            created: self.created,
            tagged: 0,
        };
        Ok(Ingested {
            record,
            blobs: self
                .documents
                .into_iter()
                .chain(blobs.into_values())
                .collect(),
            layers: trees.into_values().map(|unpacked| unpacked.layer).collect(),
        })
    }

    /// Two at a time, in any order: no layer's files depend on those below.
    fn unpack_the_rest(&self) -> Result<()> {
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
                self.progress.layer_done(&layer.blob);
            }
            Ok(())
        };
        let result = thread::scope(|scope| {
            let helpers: Vec<_> = (1..UNPACKERS.min(rest.len()))
                .map(|_| scope.spawn(work))
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

    fn staged(&self) -> MutexGuard<'_, Staged> {
        self.staged.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Unpacked {
    fn diff_id<'a>(&'a self, blob: &'a Digest) -> &'a Digest {
        self.diff_id.as_ref().unwrap_or(blob)
    }

    fn seal(&mut self, layer: &Layer) -> Result<LayerFacts> {
        let facts = LayerFacts {
            diff_id: layer.diff_id.clone(),
            size: self.summary.bytes,
            entries: self.summary.entries,
            opaque_root: self.summary.notes.contains_key(&Note::OpaqueRoot),
        };
        self.layer.seal_as(&layer.chain_id, &facts)?;
        Ok(facts)
    }
}

impl Layer {
    fn is_there(&self) -> bool {
        self.has_blob && self.has_layer
    }
}

fn plan_layers(
    lease: &Lease<'_>,
    descriptors: &[oci_spec::image::Descriptor],
    diff_ids: &[Digest],
) -> Result<Vec<Layer>> {
    if descriptors.len() != diff_ids.len() {
        return Err(invalid(&format!(
            "the manifest has {} layers, the configuration {}",
            descriptors.len(),
            diff_ids.len()
        )));
    }
    if descriptors.len() > MAX_LAYERS {
        return Err(invalid(&format!("it has more than {MAX_LAYERS} layers")));
    }
    let plan = |(descriptor, (diff_id, chain_id)): (_, (&Digest, Digest))| {
        let descriptor: &oci_spec::image::Descriptor = descriptor;
        manifest::layer_compression(descriptor.media_type().as_ref())?;
        if diff_id.algorithm() != "sha256" {
            return Err(invalid(&format!("the diff id {diff_id} is not SHA-256")));
        }
        let blob = manifest::digest_of(descriptor)?;
        // Of another size: the disk has damaged it, or the manifest lies. Fetched anew, that shows.
        let has_blob =
            lease.has_blob(&blob)? && lease.store().blob_size(&blob)? == descriptor.size();
        Ok(Layer {
            has_blob,
            has_layer: lease.has_layer(&chain_id)?,
            size: descriptor.size(),
            diff_id: diff_id.clone(),
            blob,
            chain_id,
        })
    };
    let ids = diff_ids.iter().zip(chain_ids(diff_ids));
    descriptors.iter().zip(ids).map(plan).collect()
}

/// When the blob's own digest is verified.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Hashed {
    /// By this process, before or while it is unpacked.
    Before,
    /// When the store took it; the disk may have changed it since.
    LongAgo,
}

/// Blob bytes → decompressed → hashed → unpacked, and compared with what the configuration says.
fn unpack_blob(
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

fn unpack_unknown(
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
        let (summary, found) = hash_while(tar, |tar| unpack(tar, tree.tree(), &options))?;
        (summary, Some(found.digest))
    };
    Ok(Unpacked {
        layer: tree,
        summary,
        diff_id,
    })
}

/// Completes trees from the bottom up, so that each finds those below it complete.
fn inherit(lease: &Lease<'_>, layers: &[Layer], trees: &BTreeMap<usize, Unpacked>) -> Result<()> {
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

/// A complete image that is not visible yet.
pub struct Ingested {
    record: ImageRecord,
    blobs: Vec<StagedBlob>,
    layers: Vec<StagedLayer>,
}

impl Ingested {
    /// Further documents to keep with it: the index it was chosen from.
    pub fn attach_index(&mut self, index: StagedBlob) {
        self.record.index = Some(index.digest().clone());
        self.blobs.push(index);
    }

    /// Makes the image visible under these names, or without one, and returns its records.
    pub fn commit(self, lease: &Lease<'_>, names: &[Reference]) -> Result<Vec<ImageRecord>> {
        let tagged = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |age| age.as_secs().cast_signed());
        let named = |name: Option<Reference>| ImageRecord {
            name,
            tagged,
            ..self.record.clone()
        };
        let records: Vec<ImageRecord> = match names {
            [] => vec![named(None)],
            names => names.iter().map(|name| named(Some(name.clone()))).collect(),
        };
        lease.commit(self.blobs, self.layers, &records)?;
        Ok(records)
    }
}

// ---- a blob that arrives while it is unpacked ------------------------------------------------

/// The sink of one layer blob.
struct LayerSink<'i> {
    ingest: &'i Ingest<'i>,
    index: usize,
    /// `None` once it was finished.
    writer: Option<BlobWriter>,
    unpacker: Option<Unpacker>,
    announced: bool,
}

struct Unpacker {
    feed: Arc<Feed>,
    /// `None` once it was joined.
    thread: Option<JoinHandle<Result<Unpacked>>>,
    /// What the thread said, if it ended before its time.
    ended: Option<Result<Unpacked>>,
}

impl<'i> LayerSink<'i> {
    fn open(ingest: &'i Ingest<'i>, index: usize) -> Result<Self> {
        let layer = &ingest.layers[index];
        Ok(LayerSink {
            ingest,
            index,
            writer: Some(ingest.lease.write_blob(&layer.blob, layer.size)?),
            unpacker: None,
            announced: false,
        })
    }

    fn layer(&self) -> &'i Layer {
        &self.ingest.layers[self.index]
    }

    fn writer(&mut self) -> Result<&mut BlobWriter> {
        self.writer.as_mut().ok_or_else(died)
    }

    /// Begins to unpack what is there already; done late, so that waiting sinks cost no thread.
    fn start(&mut self) -> Result<()> {
        let layer = self.layer();
        let offset = self.received();
        if !self.announced {
            self.announced = true;
            self.ingest.progress.layer_started(&layer.blob, layer.size);
            self.ingest.progress.layer_advanced(&layer.blob, offset);
        }
        if self.unpacker.is_none() && !layer.has_layer {
            let file = self.writer()?.reader()?;
            let tree = self.ingest.lease.stage_layer(&layer.chain_id)?;
            let privilege = self.ingest.privilege;
            let layer = layer.clone();
            let work = move |blob| unpack_blob(blob, &layer, tree, privilege, Hashed::Before);
            self.unpacker = Some(Unpacker::spawn(file, offset, work)?);
        }
        Ok(())
    }
}

impl BlobSink for LayerSink<'_> {
    fn received(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::offset)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.start()?;
        let writer = self.writer()?;
        writer.write(bytes)?;
        let there = writer.offset();
        let layer = self.layer();
        self.ingest
            .progress
            .layer_advanced(&layer.blob, bytes.len() as u64);
        match &mut self.unpacker {
            Some(unpacker) => unpacker.advance(there),
            None => Ok(()),
        }
    }

    fn restart(&mut self) -> Result<()> {
        // Its thread must be gone before the file changes under it.
        self.unpacker = None;
        self.announced = false;
        self.writer()?.restart()
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        self.start()?;
        // First the digest: if the bytes are wrong, why they cannot be unpacked is no news.
        let blob = self.writer.take().ok_or_else(died)?.finish()?;
        let unpacked = self.unpacker.take().map(Unpacker::finish).transpose()?;
        let layer = self.layer();
        let mut staged = self.ingest.staged();
        staged.blobs.insert(layer.blob.clone(), blob);
        if let Some(unpacked) = unpacked {
            staged.trees.insert(self.index, unpacked);
        }
        drop(staged);
        self.ingest.progress.layer_done(&layer.blob);
        Ok(())
    }
}

impl Unpacker {
    fn spawn(
        file: File,
        available: u64,
        work: impl FnOnce(FeedReader) -> Result<Unpacked> + Send + 'static,
    ) -> Result<Self> {
        let feed = Arc::new(Feed {
            state: Mutex::new(FeedState {
                available,
                end: End::NotYet,
            }),
            changed: Condvar::new(),
        });
        let reader = FeedReader {
            feed: feed.clone(),
            file,
            position: 0,
        };
        let thread = thread::Builder::new()
            .name("unpack".to_owned())
            .spawn(move || work(reader))
            .system(|| "cannot start a thread".to_owned())?;
        Ok(Unpacker {
            feed,
            thread: Some(thread),
            ended: None,
        })
    }

    /// More bytes are in the file. Fails early on what further bytes cannot mend (a full disk);
    /// invalid content waits for the digest, which may show that the transport was at fault.
    fn advance(&mut self, available: u64) -> Result<()> {
        self.feed.update(|state| state.available = available);
        if self.thread.as_ref().is_some_and(JoinHandle::is_finished) {
            let result = self.join();
            let hopeless = result.as_ref().err().is_some_and(|error| {
                !matches!(
                    error.kind(),
                    ErrorKind::InvalidContent | ErrorKind::DigestMismatch
                )
            });
            if hopeless {
                return result.map(drop);
            }
            self.ended = Some(result);
        }
        Ok(())
    }

    fn finish(mut self) -> Result<Unpacked> {
        self.feed.update(|state| state.end = End::Complete);
        self.join()
    }

    fn join(&mut self) -> Result<Unpacked> {
        if let Some(result) = self.ended.take() {
            return result;
        }
        let thread = self.thread.take().ok_or_else(died)?;
        thread.join().unwrap_or_else(|_| Err(died()))
    }
}

impl Drop for Unpacker {
    /// Nobody writes into the lease any more when this returns.
    fn drop(&mut self) {
        self.feed.update(|state| state.end = End::Abandoned);
        if self.thread.is_some() {
            let _ = self.join();
        }
    }
}

/// A blob that is unpacked as it arrives, before anybody knows which layer it is.
pub(super) struct Ahead(Unpacker);

impl Ahead {
    pub fn start(file: File, tree: StagedLayer, privilege: Privilege) -> Result<Ahead> {
        let work = move |blob| unpack_unknown(blob, tree, privilege, Hashed::Before);
        Unpacker::spawn(file, 0, work).map(Ahead)
    }

    /// So many bytes are in the file.
    pub fn advance(&self, available: u64) {
        self.0.feed.update(|state| state.available = available);
    }

    /// All bytes are there. `None` if it could not be unpacked: why is found out by whoever wants
    /// it as a layer, and nobody may.
    pub fn finish(self) -> Option<Unpacked> {
        self.0.finish().ok()
    }
}

/// How far a file is written that another thread reads.
struct Feed {
    state: Mutex<FeedState>,
    changed: Condvar,
}

struct FeedState {
    available: u64,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    NotYet,
    Complete,
    Abandoned,
}

impl Feed {
    fn update(&self, change: impl FnOnce(&mut FeedState)) {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        if state.end == End::NotYet {
            change(&mut state);
        }
        self.changed.notify_one();
    }

    /// How many bytes may be read behind `position`; 0 at the end. Waits for some.
    fn wait(&self, position: u64) -> io::Result<u64> {
        let mut state = self.state.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            match state.end {
                End::Abandoned => {
                    let why = "the layer's transfer was given up";
                    return Err(io::Error::other(Error::new(ErrorKind::System, why)));
                }
                _ if state.available > position => return Ok(state.available - position),
                End::Complete => return Ok(0),
                End::NotYet => {
                    state = self
                        .changed
                        .wait(state)
                        .unwrap_or_else(PoisonError::into_inner);
                }
            }
        }
    }
}

struct FeedReader {
    feed: Arc<Feed>,
    file: File,
    position: u64,
}

impl Read for FeedReader {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let available = self.feed.wait(self.position)?;
        let length = usize::try_from(available).map_or(buffer.len(), |n| n.min(buffer.len()));
        if length == 0 {
            return Ok(0);
        }
        let read = self.file.read_at(&mut buffer[..length], self.position)?;
        if read == 0 {
            return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
        }
        self.position += read as u64;
        Ok(read)
    }
}

fn invalid(why: &str) -> Error {
    Error::new(ErrorKind::InvalidContent, format!("invalid image: {why}"))
}

fn died() -> Error {
    Error::new(
        ErrorKind::System,
        "a thread that unpacks a layer did not answer",
    )
}

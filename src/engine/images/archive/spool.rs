//! An archive that can only be read front to back.

use std::{
    collections::HashMap,
    io::{self, BufReader, Read},
};

use super::{
    COPY_BUFFER, LayerFile, Listed, MAX_LINKS, check_size, digest_of_path, is_legacy,
    layer_missing, link_target, mismatch, missing, normal_name, read_limited, strange,
};
use crate::{
    engine::images::ingest::{Ahead, Ingest, Unpacked},
    model::{
        Context, Digest, Error, ErrorKind, Result, image::MAX_DOCUMENT_BYTES, manifest::Compression,
    },
    storage::{
        Lease, StagedBlob,
        unpack::{Entry, Kind, Privilege, TarStream, decompress_any, sniff},
    },
};

const DOCUMENTS: [&str; 5] = [
    "manifest.json",
    "index.json",
    "oci-layout",
    "version",
    "repositories",
];
/// A staged blob holds a descriptor; beyond so many they move into the store early.
const MAX_STAGED: usize = 128;
/// Trees hold two, and take more to throw away.
const MAX_UNPACKED: usize = 128;
/// Bytes behind the end of an archive.
const MAX_PADDING: u64 = 64 << 20;
/// Where a tar header says that it is one.
const USTAR: std::ops::Range<usize> = 257..262;

pub(super) struct Spool<'a> {
    lease: &'a Lease<'a>,
    privilege: Privilege,
    documents: HashMap<String, Vec<u8>>,
    members: HashMap<String, Member>,
    staged: HashMap<Digest, StagedBlob>,
    unpacked: HashMap<Digest, Unpacked>,
}

enum Member {
    Blob {
        digest: Digest,
        size: u64,
    },
    /// Another member's name.
    Link(String),
}

/// Reads an archive to its end.
pub(super) fn spool<'a>(
    lease: &'a Lease<'a>,
    source: impl Read + Send,
    privilege: Privilege,
) -> Result<Spool<'a>> {
    let plain = decompress_any(source).map_err(|error| match error.downcast::<Error>() {
        Ok(own) => own,
        Err(error) => Error::new(ErrorKind::System, "cannot read the archive").with_source(error),
    })?;
    let mut stream = TarStream::new(BufReader::with_capacity(COPY_BUFFER, plain));
    let mut spool = Spool {
        lease,
        privilege,
        documents: HashMap::new(),
        members: HashMap::new(),
        staged: HashMap::new(),
        unpacked: HashMap::new(),
    };
    let mut listed = Listed::default();
    while let Some(entry) = stream.next_entry()? {
        listed.count(&entry)?;
        let Some(name) = normal_name(&entry.path) else {
            return Err(strange(&entry.path, "is no name for a member"));
        };
        match entry.kind {
            Kind::File if DOCUMENTS.contains(&name.as_str()) => {
                let bytes = document(&entry, &mut stream)?;
                spool.documents.insert(name, bytes);
            }
            Kind::File if !is_legacy(&name) => {
                let blob = spool.blob(&name, &entry, &mut stream)?;
                spool.members.insert(name, blob);
            }
            Kind::Symlink | Kind::HardLink => {
                let Some(target) = link_target(&name, &entry) else {
                    return Err(strange(&entry.path, "links to nothing in the archive"));
                };
                spool.members.insert(name, Member::Link(target));
            }
            // Directories, and whatever else does no harm when it is not looked at.
            _ => {}
        }
    }
    // Whoever writes into a pipe wants to get rid of the padding, and a gzip stream has its
    // checksum at the end.
    stream.drain(MAX_PADDING)?;
    Ok(spool)
}

impl Spool<'_> {
    pub fn document(&self, name: &str) -> Option<Vec<u8>> {
        self.documents.get(name).cloned()
    }

    /// The bytes of a small blob that was staged; not verified again.
    pub fn staged_document(&self, digest: &Digest) -> Result<Option<Vec<u8>>> {
        let staged = self.staged.get(digest);
        staged
            .map(|blob| read_limited(blob.reader(), digest.as_str()))
            .transpose()
    }

    /// Digest and size of a member. Links are followed.
    pub fn member(&self, name: &str) -> Result<(Digest, u64)> {
        let mut found = normal_name(name.as_bytes()).ok_or_else(|| missing(name, "is no name"))?;
        for _ in 0..MAX_LINKS {
            match self.members.get(&found) {
                Some(Member::Blob { digest, size }) => return Ok((digest.clone(), *size)),
                Some(Member::Link(target)) => found.clone_from(target),
                None => return Err(missing(name, "is missing")),
            }
        }
        Err(missing(name, "is a circle of links"))
    }

    pub fn layer(&self, lease: &Lease<'_>, name: &str) -> Result<LayerFile> {
        let (digest, size) = self.member(name)?;
        let compression = self.compression(lease, &digest)?;
        Ok(LayerFile {
            digest,
            size,
            compression,
        })
    }

    fn compression(&self, lease: &Lease<'_>, digest: &Digest) -> Result<Compression> {
        let mut start = Vec::new();
        match self.staged.get(digest) {
            Some(blob) => blob.reader().take(6).read_to_end(&mut start),
            None => {
                let file = lease.store().open_blob(digest)?;
                file.take(6).read_to_end(&mut start)
            }
        }
        .system(|| format!("cannot read blob {digest}"))?;
        Ok(sniff(&start))
    }

    /// Hands the layers that the image lacks out.
    pub fn fill(&mut self, lease: &Lease<'_>, ingest: &Ingest<'_>) -> Result<()> {
        for (digest, size) in ingest.missing() {
            let staged = self.staged.remove(&digest);
            let found = match &staged {
                Some(blob) => blob.size(),
                None if lease.has_blob(&digest)? => lease.store().blob_size(&digest)?,
                None => return Err(layer_missing(&digest)),
            };
            check_size(&digest, found, size)?;
            ingest.announce(&digest, size);
            if let Some(tree) = self.unpacked.remove(&digest) {
                ingest.provide_unpacked(&digest, tree);
            }
            match staged {
                Some(blob) => ingest.provide(blob),
                None => return Err(layer_missing(&digest)),
            }
        }
        Ok(())
    }

    fn blob<R: io::BufRead>(
        &mut self,
        name: &str,
        entry: &Entry,
        stream: &mut TarStream<R>,
    ) -> Result<Member> {
        let size = entry.stored;
        if entry.sparse.is_some() {
            return Err(strange(&entry.path, "is sparse"));
        }
        let promised = digest_of_path(name);
        if let Some(digest) = &promised
            && (self.staged.contains_key(digest) || is_in_store(self.lease, digest, size)?)
        {
            let digest = digest.clone();
            return Ok(Member::Blob { digest, size });
        }
        let mut writer = match &promised {
            Some(digest) if digest.algorithm() != "sha256" => {
                self.lease.write_blob(digest, size)?
            }
            _ => self.lease.write_new_blob()?,
        };
        let mut ahead = None;
        let may_unpack = writer.offset() == 0 && self.unpacked.len() < MAX_UNPACKED;
        stream.data(size, |bytes| {
            let first = writer.offset() == 0;
            writer.write(bytes)?;
            if first && may_unpack && looks_like_layer(bytes) {
                let tree = self.lease.stage_new_layer()?;
                ahead = Some(Ahead::start(writer.reader()?, tree, self.privilege)?);
            }
            if let Some(ahead) = &ahead {
                ahead.advance(writer.offset());
            }
            Ok(())
        })?;
        let staged = writer.finish()?;
        let digest = staged.digest().clone();
        if let Some(promised) = promised
            && promised != digest
        {
            return Err(mismatch(&promised, &digest));
        }
        if let Some(tree) = ahead.and_then(Ahead::finish) {
            self.unpacked.insert(digest.clone(), tree);
        }
        self.staged.insert(digest.clone(), staged);
        if self.staged.len() > MAX_STAGED {
            self.settle()?;
        }
        Ok(Member::Blob { digest, size })
    }

    /// Moves what is staged into the store, where no name leads to it yet.
    fn settle(&mut self) -> Result<()> {
        let (digests, blobs): (Vec<Digest>, Vec<StagedBlob>) = self.staged.drain().unzip();
        self.lease.commit(blobs, Vec::new(), &[])?;
        for digest in digests {
            // Between the two steps a garbage collection may take it.
            if !self.lease.has_blob(&digest)? {
                return Err(Error::new(
                    ErrorKind::NoSuchBlob,
                    format!("blob {digest} was removed by another command"),
                )
                .with_hint("load the archive again"));
            }
        }
        Ok(())
    }
}

/// One of another size was damaged by the disk and is better replaced.
fn is_in_store(lease: &Lease<'_>, digest: &Digest, size: u64) -> Result<bool> {
    Ok(lease.has_blob(digest)? && lease.store().blob_size(digest)? == size)
}

/// Whether to unpack it while it arrives. A wrong guess costs time and nothing else.
fn looks_like_layer(start: &[u8]) -> bool {
    sniff(start) != Compression::None || start.get(USTAR) == Some(b"ustar")
}

fn document<R: io::BufRead>(entry: &Entry, stream: &mut TarStream<R>) -> Result<Vec<u8>> {
    if entry.stored > MAX_DOCUMENT_BYTES || entry.sparse.is_some() {
        return Err(strange(&entry.path, "is larger than 4 MiB"));
    }
    let mut bytes = Vec::new();
    stream.data(entry.stored, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    })?;
    Ok(bytes)
}

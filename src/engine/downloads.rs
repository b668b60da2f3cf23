//! Files by their URLs, and single blobs of registries.

use super::Engine;
use crate::{
    model::{BlobSink, Digest, Error, ErrorKind, Reference, RegistryOptions, Result},
    registry::{BlobRequest, DownloadRequest, Downloaded, OnRetry, Registry},
    storage::{BlobWriter, StagedBlob},
};

impl Engine {
    /// Fetches what is at a URL; `take` gets the bytes in order.
    pub fn download(
        &self,
        asked: &DownloadRequest<'_>,
        options: &RegistryOptions,
        take: &mut dyn FnMut(&[u8]) -> Result<()>,
    ) -> Result<Downloaded> {
        Registry::new(options).download(asked, take)
    }
}

/// One blob of the repository of `name`, with its digest and size.
pub(super) fn fetch_blob(
    writer: BlobWriter,
    registry: &Registry,
    name: &Reference,
    (digest, size): (&Digest, u64),
    retrying: OnRetry<'_>,
) -> Result<StagedBlob> {
    let mut staged = None;
    let sink = Box::new(Sink {
        writer: Some(writer),
        staged: &mut staged,
    });
    let request = BlobRequest {
        digest: digest.clone(),
        size,
        sink,
    };
    registry.fetch(name, vec![request], 1, retrying)?;
    staged.ok_or_else(|| Error::new(ErrorKind::Registry, format!("blob {digest} did not arrive")))
}

struct Sink<'a> {
    /// `None` once it was finished.
    writer: Option<BlobWriter>,
    staged: &'a mut Option<StagedBlob>,
}

impl BlobSink for Sink<'_> {
    fn received(&self) -> u64 {
        self.writer.as_ref().map_or(0, BlobWriter::offset)
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.writer
            .as_mut()
            .map_or(Ok(()), |writer| writer.write(bytes))
    }

    fn restart(&mut self) -> Result<()> {
        self.writer.as_mut().map_or(Ok(()), BlobWriter::restart)
    }

    fn verify(&mut self) -> Result<bool> {
        self.writer.as_mut().map_or(Ok(true), BlobWriter::verify)
    }

    fn finish(mut self: Box<Self>) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            *self.staged = Some(writer.finish()?);
        }
        Ok(())
    }
}

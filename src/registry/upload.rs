//! Blobs to a registry (OCI distribution specification 1.1, "Push").
//!
//! ```text
//! HEAD    blobs/DIGEST                   200: it is there, nothing is sent
//! POST    blobs/uploads/?mount=&from=    201: the registry took it from another repository
//! POST    blobs/uploads/                 202, Location
//! PATCH   Location, Content-Range        202, Location, Range: what the registry has now
//! GET     Location                       204, Location, Range: asked after every broken line
//! PUT     Location&digest=               201; a small blob goes along here, and needs no PATCH
//! ```
//!
//! One PATCH carries all that is left, unless the registry says that this is too much (413): then
//! parts of half the size, down to what it names as the least (`OCI-Chunk-Min-Length`). A registry that has no
//! PATCH gets everything with the PUT. Whatever breaks, the registry is asked how far it is, and the upload goes on there: no byte
//! that it has acknowledged is sent again. Attempts are counted anew when it has more than ever.
//!
//! Nobody hashes here: the registry compares with the digest in the PUT. Only if it complains is the
//! blob read again, to say whether the store or the way is at fault.

use std::{
    cell::RefCell,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, Scope},
};

use bytes::Bytes;
use futures_util::{StreamExt, stream, stream::FuturesUnordered};
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, CONTENT_TYPE, HeaderMap, HeaderValue, RANGE},
};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::sync::{Semaphore, mpsc};

use super::{
    endpoint::Origin,
    failure::Failure,
    session::{Ask, Content, Patience, Place, Repository, Session},
};
use crate::model::{BlobSource, Context, Digest, Error, ErrorKind, Reference, Result};

/// A blob to send, and where its bytes come from.
pub struct UploadRequest<'a> {
    pub digest: Digest,
    pub size: u64,
    pub source: Box<dyn BlobSource + 'a>,
    /// Repositories of the same registry that probably have it; others are passed over.
    pub mount_from: Vec<Reference>,
}

/// How a blob came to be in the repository.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Uploaded {
    /// It was there.
    Existed,
    /// From the repository of this path, `library/alpine`.
    Mounted(String),
    Sent,
}

/// Told how uploads go, by several threads.
pub trait UploadWatch: Sync {
    /// The registry does not have the blob: its bytes are about to be sent.
    fn started(&self, _: &Digest, _size: u64) {}
    /// So many bytes from the beginning were handed to the connection; fewer than before if it broke.
    fn sent(&self, _: &Digest, _bytes: u64) {}
    fn finished(&self, _: &Digest, _: &Uploaded) {}
    /// An attempt failed and will be repeated: what, and why.
    fn retrying(&self, what: &str, why: &str);
}

/// Blobs up to this size are sent with the request that completes the upload, in bytes.
const SMALL: u64 = 1 << 20;

/// What is read from a source at a time, in bytes.
const BLOCK: usize = 256 << 10;

/// Blocks that may wait for the connection.
const QUEUE: usize = 4;

/// The smallest part that is tried after a 413, in bytes.
const LEAST_PART: u64 = 1 << 20;

/// Repositories that are asked to lend a blob.
const MOUNTS: usize = 3;

/// Sends `blobs`, `parallel` at a time; with the first error the others stop.
pub(super) async fn upload<'scope, 'env, 'source: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    session: &Session,
    repository: &Repository,
    blobs: Vec<UploadRequest<'source>>,
    parallel: usize,
    watch: &'scope dyn UploadWatch,
) -> Result<()> {
    let lines = Semaphore::new(parallel.max(1));
    let mut running = FuturesUnordered::new();
    for (index, blob) in blobs.into_iter().enumerate() {
        let mut upload = Upload::new(scope, session, repository, blob, watch);
        // The first contact settles scheme and token for all.
        let exists = if index == 0 {
            Some(upload.exists().await?)
        } else {
            None
        };
        let lines = &lines;
        running.push(async move {
            let _line = lines.acquire().await;
            let exists = match exists {
                Some(exists) => exists,
                None => upload.exists().await?,
            };
            let how = if exists {
                Uploaded::Existed
            } else {
                upload.run().await?
            };
            watch.finished(&upload.digest, &how);
            Ok::<(), Error>(())
        });
    }
    while let Some(result) = running.next().await {
        result?;
    }
    Ok(())
}

/// Whether the repository has the blob.
pub(super) async fn exists(
    session: &Session,
    repository: &Repository,
    digest: &Digest,
) -> Result<bool, Failure> {
    let ask = Ask::new(
        repository,
        Method::HEAD,
        format!("blobs/{digest}"),
        format!("blob {digest}"),
    );
    let (registry, response) = session.attempt_any(&ask).await?;
    match response.status() {
        StatusCode::NOT_FOUND => Ok(false),
        status if status.is_success() => Ok(true),
        _ => Err(session.refusal(&ask, &registry, response).await),
    }
}

/// One blob on its way.
struct Upload<'scope, 'env, 'source, 'a> {
    scope: &'scope Scope<'scope, 'env>,
    session: &'a Session,
    repository: &'a Repository,
    watch: &'scope dyn UploadWatch,
    digest: Digest,
    size: u64,
    source: Arc<dyn BlobSource + 'source>,
    lenders: Vec<String>,
    /// `blob sha256:…`
    what: String,
    /// Where the upload goes on, once it was begun.
    place: Option<(Origin, Place)>,
    /// What the registry has of it.
    offset: u64,
    /// The registry is to be asked for `offset` first.
    doubtful: bool,
    /// An upload was begun before this one: it may have succeeded without our hearing of it.
    again: bool,
    /// Bytes that one request may carry.
    part: u64,
    least_part: u64,
    /// The registry knows no PATCH.
    at_once: bool,
}

/// What one step has led to.
enum Step {
    On,
    Done(Uploaded),
}

impl<'scope, 'env, 'source: 'scope, 'a> Upload<'scope, 'env, 'source, 'a> {
    fn new(
        scope: &'scope Scope<'scope, 'env>,
        session: &'a Session,
        repository: &'a Repository,
        blob: UploadRequest<'source>,
        watch: &'scope dyn UploadWatch,
    ) -> Self {
        let mut lenders: Vec<String> = Vec::new();
        for lender in &blob.mount_from {
            let path = lender.repository().to_owned();
            if repository.is_neighbour(lender) && !lenders.contains(&path) {
                lenders.push(path);
            }
        }
        lenders.truncate(MOUNTS);
        Upload {
            scope,
            session,
            repository,
            watch,
            what: format!("blob {}", blob.digest),
            digest: blob.digest,
            size: blob.size,
            source: Arc::from(blob.source),
            lenders,
            place: None,
            offset: 0,
            doubtful: false,
            again: false,
            part: u64::MAX,
            least_part: LEAST_PART,
            at_once: false,
        }
    }

    async fn exists(&self) -> Result<bool> {
        let on_retry = |what: &str, why: &str| self.watch.retrying(what, why);
        self.session
            .retrying(&self.what, &on_retry, async || {
                exists(self.session, self.repository, &self.digest).await
            })
            .await
    }

    async fn run(&mut self) -> Result<Uploaded> {
        let session = self.session;
        let mut patience = Patience::new(session.limits());
        let mut farthest = 0;
        loop {
            let failure = match self.step().await {
                Ok(Step::Done(how)) => return Ok(how),
                Ok(Step::On) => continue,
                Err(failure) => failure,
            };
            self.doubtful = true;
            if self.offset > farthest {
                farthest = self.offset;
                patience.renew();
            }
            let watch = self.watch;
            patience
                .pause(failure, &self.what, &|what, why| watch.retrying(what, why))
                .await?;
        }
    }

    async fn step(&mut self) -> Result<Step, Failure> {
        let Some((registry, place)) = self.place.clone() else {
            return self.begin().await;
        };
        let patch = self.ask(Method::PATCH);
        if self.doubtful || self.session.is_stale(&patch, &place) {
            return self.look(&registry, &place).await;
        }
        let left = self.size - self.offset;
        if left == 0 || self.at_once || (left <= SMALL && self.offset == 0 && left <= self.part) {
            return self.complete(&registry, &place).await;
        }
        self.send_part(&registry, &place).await
    }

    fn ask(&self, method: Method) -> Ask<'a> {
        Ask::new(self.repository, method, String::new(), self.what.clone())
    }

    /// Begins an upload, or spares it.
    async fn begin(&mut self) -> Result<Step, Failure> {
        if self.again && exists(self.session, self.repository, &self.digest).await? {
            return Ok(Step::Done(Uploaded::Sent));
        }
        self.offset = 0;
        self.doubtful = false;
        // Each is tried once; a refusal is no failure.
        for lender in std::mem::take(&mut self.lenders) {
            match self.mount(&lender).await {
                Ok(true) => return Ok(Step::Done(Uploaded::Mounted(lender))),
                Ok(false) if self.place.is_some() => break,
                Ok(false) | Err(_) => {}
            }
        }
        if self.place.is_none() {
            let mut ask = self.ask(Method::POST);
            ask.path = "blobs/uploads/".to_owned();
            ask.content = Some(&NOTHING);
            let (registry, response) = self.session.attempt_any(&ask).await?;
            if response.status() != StatusCode::ACCEPTED {
                return Err(self.session.refusal(&ask, &registry, response).await);
            }
            self.begun(registry, &response)?;
        }
        if !self.again {
            self.watch.started(&self.digest, self.size);
        }
        self.again = true;
        Ok(Step::On)
    }

    /// Whether the registry took the blob from `lender`. If not, it may have begun an upload.
    async fn mount(&mut self, lender: &str) -> Result<bool, Failure> {
        let mut ask = self.ask(Method::POST);
        ask.path = format!("blobs/uploads/?mount={}&from={lender}", self.digest);
        ask.content = Some(&NOTHING);
        ask.also = Some(lender);
        let (registry, response) = self.session.attempt_any(&ask).await?;
        match response.status() {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                self.begun(registry, &response)?;
                Ok(false)
            }
            _ => Ok(false),
        }
    }

    fn begun(&mut self, registry: Origin, response: &Response) -> Result<()> {
        let least = response
            .headers()
            .get("oci-chunk-min-length")
            .and_then(|value| value.to_str().ok()?.trim().parse().ok());
        self.least_part = least.unwrap_or(LEAST_PART).max(1);
        let place = self.session.place(&registry, response, &self.what)?;
        self.place = Some((registry, place));
        Ok(())
    }

    /// Asks how far the registry is.
    async fn look(&mut self, registry: &Origin, place: &Place) -> Result<Step, Failure> {
        let ask = self.ask(Method::GET);
        let response = self.session.attempt_at(&ask, place).await?;
        match response.status() {
            status if status.is_success() => {
                self.move_on(registry, &response)?;
                // Without the header nothing has arrived.
                self.offset = self.acknowledged(&response)?.unwrap_or(0);
                self.doubtful = false;
                Ok(Step::On)
            }
            // This upload is over, or the registry cannot say: another one.
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED | StatusCode::GONE => {
                self.place = None;
                Ok(Step::On)
            }
            _ => Err(self.session.refusal(&ask, registry, response).await),
        }
    }

    async fn send_part(&mut self, registry: &Origin, place: &Place) -> Result<Step, Failure> {
        let length = (self.size - self.offset).min(self.part);
        let content = self.content(length);
        let mut ask = self.ask(Method::PATCH);
        ask.headers = octets();
        let range = format!("{}-{}", self.offset, self.offset + length - 1);
        ask.headers.insert(CONTENT_RANGE, value(&range)?);
        ask.content = Some(&content);
        let response = match self.session.attempt_at(&ask, place).await {
            Ok(response) => response,
            Err(failure) => return Err(content.failure().unwrap_or(failure)),
        };
        match response.status() {
            status if status.is_success() => {
                self.move_on(registry, &response)?;
                let before = self.offset;
                self.offset = self.acknowledged(&response)?.unwrap_or(before + length);
                if self.offset <= before {
                    return Err(Failure::later(self.strange("took nothing of")));
                }
                Ok(Step::On)
            }
            StatusCode::PAYLOAD_TOO_LARGE if length > self.least_part => {
                self.part = (length / 2).max(self.least_part);
                self.doubtful = true;
                Ok(Step::On)
            }
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED if self.offset == 0 => {
                self.at_once = true;
                self.doubtful = true;
                Ok(Step::On)
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Err(Failure::later(
                self.strange("is at another place than expected of"),
            )),
            StatusCode::NOT_FOUND => {
                self.place = None;
                Err(Failure::later(self.strange("has forgotten the upload of")))
            }
            _ => Err(self.session.refusal(&ask, registry, response).await),
        }
    }

    /// Sends what is left, and asks the registry to check and keep it all.
    async fn complete(&mut self, registry: &Origin, place: &Place) -> Result<Step, Failure> {
        let content = self.content(self.size - self.offset);
        let mut ask = self.ask(Method::PUT);
        ask.headers = octets();
        if self.offset > 0 && content.length > 0 {
            let range = format!("{}-{}", self.offset, self.size - 1);
            ask.headers.insert(CONTENT_RANGE, value(&range)?);
        }
        ask.content = Some(&content);
        let place = place.with_query("digest", self.digest.as_str());
        let response = match self.session.attempt_at(&ask, &place).await {
            Ok(response) => response,
            Err(failure) => return Err(content.failure().unwrap_or(failure)),
        };
        match response.status() {
            status if status.is_success() => {
                let announced = super::announced_digest(response.headers());
                if announced.is_some_and(|announced| announced != self.digest) {
                    return Err(self.strange("says another digest for").into());
                }
                Ok(Step::Done(Uploaded::Sent))
            }
            StatusCode::RANGE_NOT_SATISFIABLE => Err(Failure::later(
                self.strange("is at another place than expected of"),
            )),
            StatusCode::NOT_FOUND => {
                self.place = None;
                Err(Failure::later(self.strange("has forgotten the upload of")))
            }
            StatusCode::BAD_REQUEST => {
                self.check()?;
                Err(self.session.refusal(&ask, registry, response).await)
            }
            _ => Err(self.session.refusal(&ask, registry, response).await),
        }
    }

    fn move_on(&mut self, registry: &Origin, response: &Response) -> Result<()> {
        // Some answer to GET without it: the address stays.
        if response.headers().contains_key(reqwest::header::LOCATION) {
            let place = self.session.place(registry, response, &self.what)?;
            self.place = Some((registry.clone(), place));
        }
        Ok(())
    }

    /// What the registry says that it has.
    fn acknowledged(&self, response: &Response) -> Result<Option<u64>> {
        let Some(range) = response.headers().get(RANGE) else {
            return Ok(None);
        };
        let end = range.to_str().ok().and_then(range_end);
        match end {
            Some(end) if end <= self.size => Ok(Some(end)),
            _ => Err(self.strange("says an impossible range for")),
        }
    }

    fn strange(&self, what: &str) -> Error {
        Error::new(
            ErrorKind::Registry,
            format!("the registry {what} {}", self.what),
        )
    }

    /// Whether the blob is what it should be.
    fn check(&self) -> Result<()> {
        let mut buffer = vec![0; BLOCK];
        let (mut sha256, mut sha512) = (Sha256::new(), Sha512::new());
        let long = self.digest.algorithm() == "sha512";
        let mut offset = 0;
        loop {
            let count = self.source.read_at(offset, &mut buffer)?;
            if count == 0 {
                break;
            }
            offset += count as u64;
            if long {
                sha512.update(&buffer[..count]);
            } else {
                sha256.update(&buffer[..count]);
            }
        }
        let found = if long {
            Digest::sha512(sha512.finalize())
        } else {
            Digest::sha256(sha256.finalize())
        };
        if found == self.digest {
            return Ok(());
        }
        Err(Error::new(
            ErrorKind::DigestMismatch,
            format!("{} in the store is damaged", self.what),
        )
        .with_hint("pull or load the image again"))
    }

    fn content(&self, length: u64) -> Stretch<'scope, 'env, 'source> {
        Stretch {
            scope: self.scope,
            watch: self.watch,
            digest: self.digest.clone(),
            source: self.source.clone(),
            offset: self.offset,
            length,
            line: RefCell::default(),
        }
    }
}

static NOTHING: Bytes = Bytes::new();

fn octets() -> HeaderMap {
    HeaderMap::from_iter([(
        CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    )])
}

fn value(text: &str) -> Result<HeaderValue> {
    HeaderValue::from_str(text).context(ErrorKind::Registry, || "invalid range".to_owned())
}

/// How many bytes `0-LAST` are. `0-0` means none: that is what registries say of a new upload, and a
/// single byte is never sent by itself.
fn range_end(range: &str) -> Option<u64> {
    let range = range.trim();
    let (first, last) = range
        .strip_prefix("bytes=")
        .unwrap_or(range)
        .split_once('-')?;
    let last: u64 = last.parse().ok()?;
    match (first, last) {
        ("0", 0) => Some(0),
        ("0", last) => last.checked_add(1),
        _ => None,
    }
}

/// A part of a source as the content of a request. A thread reads ahead of the connection.
struct Stretch<'scope, 'env, 'source> {
    scope: &'scope Scope<'scope, 'env>,
    watch: &'scope dyn UploadWatch,
    digest: Digest,
    source: Arc<dyn BlobSource + 'source>,
    offset: u64,
    length: u64,
    /// The newest; those before it are closed.
    line: RefCell<Option<Arc<Line>>>,
}

/// Between the thread that reads and the connection that sends.
struct Line {
    blocks: Mutex<mpsc::Receiver<Result<Bytes, std::io::Error>>>,
    taken: AtomicU64,
    /// Why the source cannot be read.
    failed: Mutex<Option<Error>>,
}

impl Line {
    /// Lets the thread end, even if the connection keeps its side.
    fn close(&self) {
        self.blocks
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .close();
    }
}

impl Stretch<'_, '_, '_> {
    /// The source's fault, if it is one.
    fn failure(&self) -> Option<Failure> {
        let line = self.line.borrow();
        let mut failed = line
            .as_ref()?
            .failed
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        failed.take().map(Failure::from)
    }
}

impl<'scope, 'source: 'scope> Content for Stretch<'scope, '_, 'source> {
    fn length(&self) -> u64 {
        self.length
    }

    fn open(&self) -> Result<reqwest::Body> {
        if self.length <= BLOCK as u64 {
            let mut bytes = vec![0; usize::try_from(self.length).unwrap_or(0)];
            read_all(&*self.source, self.offset, &mut bytes)?;
            return Ok(bytes.into());
        }
        let (sender, receiver) = mpsc::channel(QUEUE);
        let line = Arc::new(Line {
            blocks: Mutex::new(receiver),
            taken: AtomicU64::new(0),
            failed: Mutex::default(),
        });
        if let Some(old) = self.line.replace(Some(line.clone())) {
            old.close();
        }
        let (source, digest, watch) = (self.source.clone(), self.digest.clone(), self.watch);
        let (offset, end) = (self.offset, self.offset + self.length);
        let reader_line = line.clone();
        thread::Builder::new()
            .name(format!("send-{}", &digest.hex()[..10]))
            .spawn_scoped(self.scope, move || {
                let told = |at| watch.sent(&digest, at);
                if let Err(error) = read_ahead(&*source, offset, end, &sender, &told) {
                    let mut failed = reader_line
                        .failed
                        .lock()
                        .unwrap_or_else(PoisonError::into_inner);
                    *failed = Some(error);
                    drop(failed);
                    let _ = sender.blocking_send(Err(std::io::Error::other("unreadable")));
                }
            })
            .system(|| "cannot start a thread".to_owned())?;
        let blocks = stream::poll_fn(move |context| {
            let mut blocks = line.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            line.taken.fetch_add(1, Ordering::Relaxed);
            blocks.poll_recv(context)
        });
        Ok(reqwest::Body::wrap_stream(blocks))
    }

    fn taken(&self) -> u64 {
        let line = self.line.borrow();
        line.as_ref()
            .map_or(0, |line| line.taken.load(Ordering::Relaxed))
    }
}

impl Drop for Stretch<'_, '_, '_> {
    fn drop(&mut self) {
        if let Some(line) = self.line.take() {
            line.close();
        }
    }
}

/// Hands over the bytes from `offset` to `end`; ends early when nobody wants them any more.
fn read_ahead(
    source: &dyn BlobSource,
    mut offset: u64,
    end: u64,
    blocks: &mpsc::Sender<Result<Bytes, std::io::Error>>,
    told: &dyn Fn(u64),
) -> Result<()> {
    while offset < end {
        let length = (end - offset).min(BLOCK as u64);
        let mut block = vec![0; usize::try_from(length).unwrap_or(BLOCK)];
        read_all(source, offset, &mut block)?;
        if blocks.blocking_send(Ok(block.into())).is_err() {
            return Ok(());
        }
        offset += length;
        told(offset);
    }
    Ok(())
}

fn read_all(source: &dyn BlobSource, offset: u64, buffer: &mut [u8]) -> Result<()> {
    let mut filled = 0;
    while filled < buffer.len() {
        match source.read_at(offset + filled as u64, &mut buffer[filled..])? {
            0 => {
                return Err(Error::new(
                    ErrorKind::DigestMismatch,
                    format!(
                        "a blob of the store ends after {} bytes",
                        offset + filled as u64
                    ),
                )
                .with_hint("pull or load the image again"));
            }
            count => filled += count,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_range_says_how_far_the_registry_is() {
        assert_eq!(range_end("0-0"), Some(0));
        assert_eq!(range_end("0-99"), Some(100));
        assert_eq!(range_end("bytes=0-99"), Some(100));
        assert_eq!(range_end("5-9"), None);
        assert_eq!(range_end("0--1"), None);
        assert_eq!(range_end(&format!("0-{}", u64::MAX)), None);
    }

    proptest! {
        #[test]
        fn any_range_is_survived(noise in "[ -~]{0,40}", last in 1..u64::MAX) {
            let _ = range_end(&noise);
            prop_assert_eq!(range_end(&format!("0-{last}")), Some(last + 1));
        }
    }
}

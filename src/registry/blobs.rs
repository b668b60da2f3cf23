//! Many blobs at once: network on one thread, everything else on a thread for each blob.
//!
//! ```text
//! runtime thread   download ──┐                             one connection a blob, `parallel` of them
//! channel          Bytes, Bytes, (Restart, Bytes, …) Finish   about a MiB, so a slow disk slows the line
//! worker thread    └── sink.write, …, sink.finish           hash, inflate and unpack
//! ```
//!
//! Before the first byte a worker opens its sink and says where to begin. If another process is
//! fetching that very blob, the worker takes the bytes from there, and its line is free meanwhile.
//!
//! Where the place that has the manifest fails a blob, the next one is asked, from the byte on that was
//! reached: a mirror may lack what the registry itself has.
//!
//! A connection that breaks is taken up again with `Range` at the byte where it broke, and a
//! server that ignores that makes the sink restart. Attempts are counted anew after each MiB that
//! was never reached before, so a bad line may finish a large layer and a bad server cannot
//! keep us forever. If the digest is wrong because of bytes from an earlier attempt (a power cut), the
//! blob is fetched once more from its first byte. When one blob fails the others' downloads stop and their sinks are dropped.

use std::thread::{self, Scope};

use bytes::Bytes;
use futures_util::{StreamExt, stream::FuturesUnordered};
use reqwest::{
    Method, Response, StatusCode,
    header::{CONTENT_RANGE, HeaderMap, HeaderValue, RANGE},
};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::{
    OnRetry,
    failure::Failure,
    session::{self, Ask, Patience, Repository, Session},
};
use crate::model::{BlobSink, Context, Digest, Error, ErrorKind, Opening, Result};

/// A blob to fetch, and where its bytes go.
pub struct BlobRequest<'a> {
    pub digest: Digest,
    /// Bytes that the descriptor promises. Never more than these reach the sink.
    pub size: u64,
    /// Continues where [`BlobSink::received`] says once it is open. It verifies the digest in
    /// `finish`.
    pub sink: Box<dyn BlobSink + 'a>,
}

/// Pieces of the body are handed over in batches of about this many bytes: a switch of threads for
/// each read from a socket would cost more than the hashing.
const BATCH_BYTES: usize = 128 << 10;

/// Batches that may wait for the worker.
const QUEUE: usize = 8;

/// New ground that makes up for failed attempts, in bytes.
const PROGRESS: u64 = 1 << 20;

enum Piece {
    Bytes(Vec<Bytes>),
    Restart,
    /// All is there. If it is wrong, there may be right bytes elsewhere.
    Finish {
        has_choice: bool,
    },
}

/// Fetches all of `blobs`, the largest first; returns when every sink has finished, or with the
/// first error after all workers have ended.
pub(super) async fn fetch<'scope, 'env, 'sink: 'scope>(
    scope: &'scope Scope<'scope, 'env>,
    places: &[BlobPlace<'_>],
    mut blobs: Vec<BlobRequest<'sink>>,
    parallel: usize,
    on_retry: OnRetry<'_>,
) -> Result<()> {
    let lines = Semaphore::new(parallel.max(1));
    // A worker may outlast its download; so many may do so at the same time.
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let workers = Semaphore::new(parallel.max(1) + cores);
    // What takes longest begins first: at the end no core waits for another.
    blobs.sort_by_key(|blob| std::cmp::Reverse(blob.size));
    let mut running: FuturesUnordered<_> = blobs
        .into_iter()
        .map(|blob| {
            let (lines, workers) = (&lines, &workers);
            async move {
                let _worker = workers.acquire().await;
                let mut delivery = Delivery {
                    scope,
                    places,
                    digest: blob.digest,
                    size: blob.size,
                    lines,
                };
                let mut sink = blob.sink;
                // Ends: each time there are fewer bytes from elsewhere, or fewer places.
                while let Consumed::Again(again) = delivery.run(sink, on_retry).await? {
                    sink = again;
                }
                Ok(())
            }
        })
        .collect();
    while let Some(result) = running.next().await {
        result?;
    }
    Ok(())
}

/// Where blobs may be.
#[derive(Clone, Copy)]
pub(super) struct BlobPlace<'a> {
    pub session: &'a Session,
    pub repository: &'a Repository,
}

/// One blob on its way from the registry into its sink.
struct Delivery<'d, 'scope, 'env> {
    scope: &'scope Scope<'scope, 'env>,
    /// Those that were not passed over; the first is asked.
    places: &'d [BlobPlace<'d>],
    digest: Digest,
    size: u64,
    lines: &'d Semaphore,
}

impl<'scope> Delivery<'_, 'scope, '_> {
    async fn run<'sink: 'scope>(
        &mut self,
        sink: Box<dyn BlobSink + 'sink>,
        on_retry: OnRetry<'_>,
    ) -> Result<Consumed<'sink>> {
        let mut line = Some(self.lines.acquire().await);
        let (pieces, queue) = mpsc::channel(QUEUE);
        let (mut openings, outcome) = self.start_worker(sink, queue)?;
        let mut opened = openings.recv().await;
        if matches!(opened, Some(Opened::Elsewhere)) {
            // While others fetch it, the line is free for another blob.
            drop(line.take());
            opened = openings.recv().await;
            line = match &opened {
                Some(Opened::At(offset)) if *offset < self.size => Some(self.lines.acquire().await),
                _ => None,
            };
        }
        let mut of_one_place = false;
        let delivered = match (opened, self.places) {
            (Some(Opened::At(offset)), [place, others @ ..]) => {
                let mut download = Download {
                    place: *place,
                    others,
                    what: format!("blob {}", self.digest),
                    path: format!("blobs/{}", self.digest),
                    size: self.size,
                    offset,
                    of_one_place: offset == 0,
                    pieces,
                };
                let delivered = download.run(on_retry).await;
                of_one_place = download.of_one_place;
                self.places = &self.places[others.len() - download.others.len()..];
                delivered
            }
            // It has ended, and says why.
            _ => Ok(()),
        };
        drop(line);
        // The consumer's complaint explains the producer's, never the other way round.
        match (outcome.await, delivered) {
            (Ok(Ok(consumed)), Ok(())) => {
                if of_one_place && matches!(consumed, Consumed::Again(_)) {
                    log::info!("mirror passed over: its blob {} is damaged", self.digest);
                    self.places = &self.places[1..];
                }
                Ok(consumed)
            }
            (Ok(Err(Stopped::Sink(error))), _) | (_, Err(error)) => Err(error),
            _ => Err(self.ended_early()),
        }
    }

    fn ended_early(&self) -> Error {
        Error::new(
            ErrorKind::System,
            format!("the worker for blob {} ended early", self.digest),
        )
    }

    #[expect(
        clippy::type_complexity,
        reason = "two ends of two channels, used once"
    )]
    fn start_worker<'sink: 'scope>(
        &self,
        sink: Box<dyn BlobSink + 'sink>,
        queue: mpsc::Receiver<Piece>,
    ) -> Result<(
        mpsc::Receiver<Opened>,
        oneshot::Receiver<Result<Consumed<'sink>, Stopped>>,
    )> {
        let (report, outcome) = oneshot::channel();
        let (opened, openings) = mpsc::channel(2);
        thread::Builder::new()
            .name(format!("blob-{}", &self.digest.hex()[..10]))
            .spawn_scoped(self.scope, move || {
                let _ = report.send(consume(sink, &opened, queue));
            })
            .system(|| "cannot start a thread".to_owned())?;
        Ok((openings, outcome))
    }
}

/// What a worker says before it takes bytes.
enum Opened {
    /// It wants the bytes from here on.
    At(u64),
    /// It gets them from somebody else; at the end it says once more where it is.
    Elsewhere,
}

enum Consumed<'sink> {
    Done,
    /// All of it is wanted once more.
    Again(Box<dyn BlobSink + 'sink>),
}

enum Stopped {
    Sink(Error),
    /// The download ended before the blob did.
    Producer,
}

impl From<Error> for Stopped {
    fn from(error: Error) -> Self {
        Stopped::Sink(error)
    }
}

fn consume<'sink>(
    mut sink: Box<dyn BlobSink + 'sink>,
    opened: &mpsc::Sender<Opened>,
    mut queue: mpsc::Receiver<Piece>,
) -> Result<Consumed<'sink>, Stopped> {
    let gone = |_| Stopped::Producer;
    if sink.open()? == Opening::Elsewhere {
        opened.blocking_send(Opened::Elsewhere).map_err(gone)?;
        sink.follow(&|| !opened.is_closed())?;
    }
    let offset = sink.received();
    opened.blocking_send(Opened::At(offset)).map_err(gone)?;
    while let Some(piece) = queue.blocking_recv() {
        match piece {
            Piece::Bytes(batch) => {
                for bytes in batch {
                    sink.write(&bytes)?;
                }
            }
            Piece::Restart => sink.restart()?,
            Piece::Finish { has_choice } => {
                if has_choice && !sink.verify()? {
                    return Ok(Consumed::Again(sink));
                }
                sink.finish()?;
                return Ok(Consumed::Done);
            }
        }
    }
    Err(Stopped::Producer)
}

/// The producer's side of one blob.
struct Download<'a> {
    place: BlobPlace<'a>,
    /// Asked when that one fails.
    others: &'a [BlobPlace<'a>],
    /// `blob sha256:…`
    what: String,
    path: String,
    size: u64,
    /// What `received` of the sink is once the queue is empty.
    offset: u64,
    /// All of it is from `place`: nothing was there before, or is from one that was passed over.
    of_one_place: bool,
    pieces: mpsc::Sender<Piece>,
}

/// Why an attempt ended before the blob did.
enum Broken {
    Failed(Failure),
    /// The worker has ended and knows why.
    ConsumerGone,
}

impl From<Failure> for Broken {
    fn from(failure: Failure) -> Self {
        Broken::Failed(failure)
    }
}

impl From<Error> for Broken {
    fn from(error: Error) -> Self {
        Broken::Failed(error.into())
    }
}

impl Download<'_> {
    /// Delivers the blob, or returns early without an error when the consumer has gone.
    async fn run(&mut self, on_retry: OnRetry<'_>) -> Result<()> {
        let limits = self.place.session.limits();
        let mut patience = Patience::new(limits);
        let mut farthest = self.offset;
        loop {
            match self.attempt().await {
                Ok(()) => break,
                Err(Broken::ConsumerGone) => return Ok(()),
                Err(Broken::Failed(failure)) => {
                    if let Some((next, others)) = self.others.split_first() {
                        log::info!("mirror passed over: {}", failure.error.one_line());
                        (self.place, self.others) = (*next, others);
                        self.of_one_place = self.offset == 0;
                        continue;
                    }
                    if self.offset >= farthest.saturating_add(PROGRESS) {
                        farthest = self.offset;
                        patience.renew();
                    }
                    patience.pause(failure, &self.what, on_retry).await?;
                }
            }
        }
        let has_choice = !self.of_one_place || !self.others.is_empty();
        let _ = self.hand_over(Piece::Finish { has_choice }).await;
        Ok(())
    }

    async fn attempt(&mut self) -> Result<(), Broken> {
        if self.offset > self.size {
            self.restart().await?;
        }
        if self.offset == self.size {
            return Ok(());
        }
        let response = self.place.session.attempt_range(&self.ask()?).await?;
        self.check_start(&response).await?;
        self.check_length(&response)?;
        self.receive(response).await
    }

    fn ask(&self) -> Result<Ask<'_>> {
        let mut headers = HeaderMap::new();
        if self.offset > 0 {
            let range = HeaderValue::from_str(&format!("bytes={}-", self.offset))
                .context(ErrorKind::Registry, || "invalid range".to_owned())?;
            headers.insert(RANGE, range);
        }
        Ok(Ask {
            repository: self.place.repository,
            method: Method::GET,
            path: self.path.clone(),
            what: self.what.clone(),
            headers,
            content: None,
            also: None,
        })
    }

    /// Makes the sink's position and the response's first byte agree.
    async fn check_start(&mut self, response: &Response) -> Result<(), Broken> {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let start = range_start(response.headers());
                if start == Some(self.offset) || (start.is_none() && self.offset == 0) {
                    return Ok(());
                }
            }
            StatusCode::RANGE_NOT_SATISFIABLE => {}
            _ if self.offset == 0 => return Ok(()),
            _ => return self.restart().await,
        }
        // Another part than we asked for: ask for all of it.
        self.restart().await?;
        Err(Failure::later(Error::new(
            ErrorKind::Registry,
            format!(
                "the registry sent another part of {} than asked for",
                self.what
            ),
        ))
        .into())
    }

    /// A length that is known to be wrong need not be downloaded to be refused.
    fn check_length(&self, response: &Response) -> Result<()> {
        let expected = self.size - self.offset;
        match response.content_length() {
            Some(announced) if announced > expected => Err(self.too_long()),
            Some(announced) if announced < expected => Err(Error::new(
                ErrorKind::DigestMismatch,
                format!(
                    "{} has {} bytes in the registry, but the manifest says {}",
                    self.what,
                    self.offset + announced,
                    self.size
                ),
            )),
            _ => Ok(()),
        }
    }

    fn too_long(&self) -> Error {
        Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "{} has more bytes in the registry than the {} that the manifest says",
                self.what, self.size
            ),
        )
    }

    async fn receive(&mut self, mut response: Response) -> Result<(), Broken> {
        let origin = session::origin_of(response.url())?;
        let (mut batch, mut batched) = (Vec::new(), 0);
        loop {
            let chunk = self.place.session.chunk(&origin, &mut response).await;
            if let Ok(Some(bytes)) = &chunk
                && batched as u64 + bytes.len() as u64 <= self.size - self.offset
            {
                batched += bytes.len();
                batch.push(bytes.clone());
                if batched < BATCH_BYTES {
                    continue;
                }
            }
            // What has arrived is kept, whatever comes next.
            let full = batched >= BATCH_BYTES;
            self.hand_over(Piece::Bytes(std::mem::take(&mut batch)))
                .await?;
            self.offset += std::mem::take(&mut batched) as u64;
            match chunk? {
                Some(_) if full => {}
                Some(_) => return Err(self.too_long().into()),
                None if self.offset == self.size => return Ok(()),
                None => {
                    return Err(Failure::later(Error::new(
                        ErrorKind::Registry,
                        format!(
                            "registry {origin} ended {} at {} of {} bytes",
                            self.what, self.offset, self.size
                        ),
                    ))
                    .into());
                }
            }
        }
    }

    async fn restart(&mut self) -> Result<(), Broken> {
        self.offset = 0;
        self.of_one_place = true;
        self.hand_over(Piece::Restart).await
    }

    async fn hand_over(&self, piece: Piece) -> Result<(), Broken> {
        self.pieces
            .send(piece)
            .await
            .map_err(|_| Broken::ConsumerGone)
    }
}

/// The first byte of `Content-Range: bytes FIRST-LAST/SIZE` (RFC 9110, section 14.4).
fn range_start(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(CONTENT_RANGE)?.to_str().ok()?;
    let (first, _) = value.strip_prefix("bytes ")?.split_once('-')?;
    first.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn start(value: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_RANGE, HeaderValue::from_str(value).ok()?);
        range_start(&headers)
    }

    #[test]
    fn only_a_range_of_bytes_has_a_start() {
        assert_eq!(start("bytes 5-9/10"), Some(5));
        assert_eq!(start("bytes 5-9/*"), Some(5));
        assert_eq!(start("bytes */10"), None);
        assert_eq!(start("items 5-9/10"), None);
        assert_eq!(start("bytes -9/10"), None);
    }

    proptest! {
        #[test]
        fn the_start_comes_out_as_it_went_in(first: u64, last: u64, noise in "[ -~]{0,40}") {
            prop_assert_eq!(start(&format!("bytes {first}-{last}/*")), Some(first));
            let _ = start(&noise);
            let _ = start(&format!("bytes {noise}"));
        }
    }
}

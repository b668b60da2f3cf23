//! What is far: the distribution protocol (OCI distribution specification 1.1).
//!
//! [`Registry`] is a synchronous face over an asynchronous client. Its runtime has one thread, the
//! caller's, starts with the first request and ends with the value; credential helpers run before,
//! because nothing may fork beside a runtime. Bytes of blobs go into sinks that the caller gives, so this room knows no
//! store; documents are small and returned.
//!
//! ```text
//! endpoint      where a registry is, https or http        failure   answers and broken lines → errors
//! tls           whom to trust                             session   one request: scheme, grant, redirects, retries
//! resolver      names → addresses without getaddrinfo     blobs     many blobs at once, resumed by range
//! credentials   who we are, by                            upload    many blobs to the registry, resumed
//!   auth_files    docker's and podman's files             tags      the names in a repository
//!   credential_programs docker-credential-NAME            search    the repositories of a registry
//! auth          challenges, tokens                        login     is it us? and keeping that
//! configuration registries.conf from its files            proxy     which one, and when none
//! download      any file by its URL                       referrers who refers to a document
//! ```
//!
//! From `oci_distribution` (the crate `oci-client`) come the protocol's types: [`RegistryAuth`] with its redacting
//! `Debug`, and `RegistryToken`. Its `Client` is not used, and
//! `reqwest`, which it brings, is spoken to directly, because the client lets nobody hand it an HTTP
//! client: with it there would be no client certificates and no authorities for one host, no choice
//! of resolver, roots read from a folder at each start, redirects and token realms
//! followed wherever they lead with the password, no identity tokens, no limit on a manifest's size,
//! and neither retries nor resumption.
//!
//! Of files, this room writes auth files alone; what a crash leaves of one says [`auth_files`].
//!
//! [`RegistryAuth`]: oci_distribution::secrets::RegistryAuth

mod auth;
mod auth_files;
mod blobs;
mod configuration;
mod credential_programs;
mod credentials;
mod download;
mod endpoint;
mod failure;
mod login;
mod proxy;
mod referrers;
mod resolver;
mod search;
mod session;
mod tags;
mod tls;
mod upload;

use std::{
    cell::{OnceCell, RefCell},
    collections::HashMap,
    rc::Rc,
    thread,
    time::Duration,
};

pub use auth_files::Kept;
use blobs::BlobPlace;
pub use blobs::BlobRequest;
pub use configuration::{read as read_registries, registries};
use credentials::Credentials;
pub use download::{DownloadRequest, Downloaded};
pub use referrers::referrers_reference;
use reqwest::{
    Method,
    header::{ACCEPT, CONTENT_TYPE, HeaderMap, HeaderValue},
};
pub use search::FoundRepository;
use session::{Access, Ask, Repository, Session};
use sha2::{Digest as _, Sha256, Sha512};
use tokio::runtime::Runtime;
pub use upload::{UploadRequest, UploadWatch, Uploaded};

use crate::model::{
    BlobSink, Context, Digest, Error, ErrorKind, Reference, RegistryOptions, Result,
    image::MAX_DOCUMENT_BYTES,
    manifest,
    registries::{Endpoint, Purpose, Registries},
};

/// Blobs that are downloaded at the same time, as Docker's default.
pub const PARALLEL: usize = 3;

/// Blobs that are sent at the same time, as Docker's default.
pub const PARALLEL_UPLOADS: usize = 5;

/// Told before each repetition: what is being fetched, and why the last attempt failed.
pub type OnRetry<'a> = &'a dyn Fn(&str, &str);

/// How long to wait and how often to try.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Attempts after the first one.
    pub retries: u32,
    /// Pause before the second attempt.
    pub first_pause: Duration,
    /// Twice as long before each further one.
    pub doubling: bool,
    /// Until a connection stands: name, TCP and TLS.
    pub connect: Duration,
    /// Longest silence in the middle of an answer.
    pub stall: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            retries: 3,
            first_pause: Duration::from_millis(500),
            doubling: true,
            connect: Duration::from_secs(15),
            stall: Duration::from_secs(30),
        }
    }
}

impl Limits {
    fn of(options: &RegistryOptions) -> Self {
        let usual = Limits::default();
        Limits {
            retries: options.retries.unwrap_or(usual.retries),
            first_pause: options.retry_delay.unwrap_or(usual.first_pause),
            doubling: options.retry_delay.is_none(),
            ..usual
        }
    }
}

/// A manifest or index as it lies in a registry.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteDocument {
    /// Verified against `digest`.
    pub bytes: Vec<u8>,
    /// What the registry called it (`Content-Type`).
    pub media_type: Option<String>,
    pub digest: Digest,
}

/// A client for the registries of one command.
pub struct Registry {
    options: RegistryOptions,
    limits: Limits,
    session: Session,
    /// For registries that registries.conf calls insecure.
    insecure: OnceCell<Session>,
    registries: OnceCell<Registries>,
    /// By full name of the repository, and whether it is asked as a mirror.
    repositories: RefCell<HashMap<(String, bool), Rc<Repository>>>,
    /// The place that answered last for a name: its blobs come from there, too.
    answered: RefCell<HashMap<String, Rc<Repository>>>,
    runtime: OnceCell<Runtime>,
}

impl Registry {
    /// Reads nothing yet and connects to nothing.
    pub fn new(options: &RegistryOptions) -> Self {
        Registry::with_limits(options, Limits::of(options))
    }

    pub fn with_limits(options: &RegistryOptions, limits: Limits) -> Self {
        Registry {
            options: options.clone(),
            limits,
            session: Session::new(options.clone(), limits),
            insecure: OnceCell::new(),
            registries: OnceCell::new(),
            repositories: RefCell::default(),
            answered: RefCell::default(),
            runtime: OnceCell::new(),
        }
    }

    /// Finds the credentials for the repository of `reference` now. A helper program may run, so a
    /// caller that is about to change who it is, or to start threads, asks first.
    ///
    /// Errors: [`ErrorKind::InvalidArgument`] for an unreadable auth file,
    /// [`ErrorKind::Unauthorized`] for a helper that fails.
    pub fn prepare(&self, reference: &Reference) -> Result<()> {
        self.places(reference, Purpose::Any).map(|_| ())
    }

    /// What registries.conf says, read at the first question.
    ///
    /// Errors: [`ErrorKind::InvalidArgument`] for a file that cannot be understood.
    pub fn registries(&self) -> Result<&Registries> {
        if let Some(registries) = self.registries.get() {
            return Ok(registries);
        }
        let read = configuration::registries(&self.options)?;
        Ok(self.registries.get_or_init(|| read))
    }

    /// Fetches the manifest or index that `reference` stands for: by its digest if it has one, by
    /// its tag otherwise.
    ///
    /// Errors: [`ErrorKind::NotFoundInRegistry`], [`ErrorKind::Unauthorized`],
    /// [`ErrorKind::Registry`]; [`ErrorKind::DigestMismatch`] when the bytes are not those of the
    /// digest that was asked for or announced; [`ErrorKind::InvalidContent`] above 4 MiB.
    pub fn document(&self, reference: &Reference, on_retry: OnRetry<'_>) -> Result<RemoteDocument> {
        self.first_of_places(reference, |repository| {
            self.document_of(repository, reference, on_retry)
        })
    }

    /// [`Self::document`] from the registry itself: what is about to be changed there must not be
    /// what a mirror kept of it.
    ///
    /// Errors: as [`Self::document`].
    pub fn document_at_origin(
        &self,
        reference: &Reference,
        on_retry: OnRetry<'_>,
    ) -> Result<RemoteDocument> {
        let repository = self.repository(reference)?;
        self.document_of(&repository, reference, on_retry)
    }

    fn document_of(
        &self,
        repository: &Repository,
        reference: &Reference,
        on_retry: OnRetry<'_>,
    ) -> Result<RemoteDocument> {
        let session = self.session_for(repository);
        let ask = manifest_ask(repository, reference, Method::GET);
        let fetched = self
            .runtime()?
            .block_on(session.repeating(&ask, on_retry, async || {
                let response = session.attempt(&ask).await?;
                let media_type = header(response.headers(), CONTENT_TYPE.as_str());
                let announced = announced_digest(response.headers());
                let body = session.body(response, MAX_DOCUMENT_BYTES, &ask.what);
                Ok((body.await?, media_type, announced))
            }))?;
        let (bytes, media_type, announced) = fetched;
        let digest = match reference.digest().or(announced.as_ref()) {
            Some(wanted) => verify(&bytes, wanted, &ask.what)?,
            None => Digest::sha256(Sha256::digest(&bytes)),
        };
        Ok(RemoteDocument {
            bytes,
            media_type,
            digest,
        })
    }

    /// The digest that the registry announces for `reference`, without fetching the document (and
    /// without counting against Docker Hub's limit). Absent if it announces none. This is the
    /// registry's word and not verified: good enough to say that nothing has changed.
    ///
    /// Errors: as [`Self::document`].
    pub fn announced_digest(
        &self,
        reference: &Reference,
        on_retry: OnRetry<'_>,
    ) -> Result<Option<Digest>> {
        self.first_of_places(reference, |repository| {
            let session = self.session_for(repository);
            let ask = manifest_ask(repository, reference, Method::HEAD);
            self.runtime()?
                .block_on(session.repeating(&ask, on_retry, async || {
                    let response = session.attempt(&ask).await?;
                    Ok(announced_digest(response.headers()))
                }))
        })
    }

    /// Fetches blobs of the repository of `reference` into their sinks, `parallel` at a time;
    /// [`PARALLEL`] is usual. Each sink is used by a thread of its own, so that several cores hash
    /// and unpack. Returns when all sinks have finished, or with the first error; sinks
    /// that have finished by then stay finished, the others are dropped.
    ///
    /// Errors: as [`Self::document`], and what the sinks say.
    pub fn fetch(
        &self,
        reference: &Reference,
        blobs: Vec<BlobRequest<'_>>,
        parallel: usize,
        on_retry: OnRetry<'_>,
    ) -> Result<()> {
        let repositories = self.places_of_blobs(reference)?;
        let places: Vec<BlobPlace<'_>> = repositories
            .iter()
            .map(|repository| BlobPlace {
                session: self.session_for(repository),
                repository,
            })
            .collect();
        let runtime = self.runtime()?;
        thread::scope(|scope| {
            runtime.block_on(blobs::fetch(scope, &places, blobs, parallel, on_retry))
        })
    }

    /// Fetches one small blob, such as an image's configuration, and verifies it.
    ///
    /// Errors: as [`Self::document`].
    pub fn small_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        size: u64,
        on_retry: OnRetry<'_>,
    ) -> Result<Vec<u8>> {
        if size > MAX_DOCUMENT_BYTES {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!("blob {digest} is larger than {MAX_DOCUMENT_BYTES} bytes"),
            ));
        }
        let mut bytes = Vec::new();
        let sink = Box::new(Memory {
            bytes: &mut bytes,
            digest: digest.clone(),
        });
        let request = BlobRequest {
            digest: digest.clone(),
            size,
            sink,
        };
        self.fetch(reference, vec![request], 1, on_retry)?;
        Ok(bytes)
    }

    /// Whether the repository of `reference` has the blob.
    ///
    /// Errors: as [`Self::document`].
    pub fn has_blob(
        &self,
        reference: &Reference,
        digest: &Digest,
        on_retry: OnRetry<'_>,
    ) -> Result<bool> {
        let repository = self.repository(reference)?;
        let session = self.session_for(&repository);
        let what = format!("blob {digest}");
        self.runtime()?
            .block_on(session.retrying(&what, on_retry, async || {
                upload::exists(session, &repository, digest).await
            }))
    }

    /// Sends blobs to the repository of `reference`, `parallel` at a time ([`PARALLEL_UPLOADS`] is
    /// usual); those that it has are passed over. Returns when the registry has them all,
    /// or with the first error.
    ///
    /// Errors: as [`Self::document`], and what the sources say; [`ErrorKind::DigestMismatch`] if a
    /// source has other bytes than its digest says.
    pub fn upload(
        &self,
        reference: &Reference,
        blobs: Vec<UploadRequest<'_>>,
        parallel: usize,
        watch: &dyn UploadWatch,
    ) -> Result<()> {
        let repository = self.repository(reference)?;
        repository.widen(Access::Push);
        let runtime = self.runtime()?;
        thread::scope(|scope| {
            runtime.block_on(upload::upload(
                scope,
                self.session_for(&repository),
                &repository,
                blobs,
                parallel,
                watch,
            ))
        })
    }

    /// Puts a manifest or index under the name that `reference` says: its tag, or its digest if it
    /// has one. What the document names must be in the repository. Says which subject the
    /// registry has noted (`OCI-Subject`), if the document has one and the registry knows referrers.
    ///
    /// Errors: as [`Self::document`]; [`ErrorKind::DigestMismatch`] when the registry announces
    /// another digest than the bytes have.
    pub fn put_document(
        &self,
        reference: &Reference,
        bytes: Vec<u8>,
        media_type: &str,
        on_retry: OnRetry<'_>,
    ) -> Result<Option<Digest>> {
        let repository = self.repository(reference)?;
        let session = self.session_for(&repository);
        repository.widen(Access::Push);
        let bytes = bytes::Bytes::from(bytes);
        let mut ask = manifest_ask(&repository, reference, Method::PUT);
        let media_type = HeaderValue::from_str(media_type)
            .context(ErrorKind::InvalidContent, || {
                "invalid media type".to_owned()
            })?;
        ask.headers = HeaderMap::from_iter([(CONTENT_TYPE, media_type)]);
        ask.content = Some(&bytes);
        let headers =
            self.runtime()?
                .block_on(session.retrying(&ask.what, on_retry, async || {
                    let response = session.attempt(&ask).await?;
                    Ok(response.headers().clone())
                }))?;
        if let Some(announced) = announced_digest(&headers) {
            verify(&bytes, &announced, &ask.what)?;
        }
        Ok(header(&headers, "oci-subject").and_then(|subject| subject.parse().ok()))
    }

    /// Removes the manifest that `reference` stands for, or the tag alone, as the registry has it.
    ///
    /// Errors: as [`Self::document`]; many registries do not allow it.
    pub fn delete_document(&self, reference: &Reference, on_retry: OnRetry<'_>) -> Result<()> {
        let repository = self.repository(reference)?;
        let session = self.session_for(&repository);
        repository.widen(Access::Delete);
        let mut ask = manifest_ask(&repository, reference, Method::DELETE);
        ask.headers = HeaderMap::new();
        self.runtime()?
            .block_on(session.retrying(&ask.what, on_retry, async || {
                session.attempt(&ask).await.map(|_| ())
            }))
    }

    /// The tags of the repository of `reference`, as the registry sorts them.
    ///
    /// Errors: as [`Self::document`]; [`ErrorKind::InvalidContent`] above a hundred thousand.
    pub fn tags(&self, reference: &Reference, on_retry: OnRetry<'_>) -> Result<Vec<String>> {
        let repository = self.repository(reference)?;
        let session = self.session_for(&repository);
        self.runtime()?
            .block_on(tags::tags(session, &repository, reference, on_retry))
    }

    /// The registry itself for the repository of `reference`: where one writes, and lists.
    fn repository(&self, reference: &Reference) -> Result<Rc<Repository>> {
        let mut places = self.places(reference, Purpose::Push)?;
        places.pop().ok_or_else(|| no_place(reference))
    }

    /// Where the repository of `reference` is, mirrors first.
    fn places(&self, reference: &Reference, purpose: Purpose) -> Result<Vec<Rc<Repository>>> {
        let endpoints = self.registries()?.endpoints(reference, purpose)?;
        endpoints
            .into_iter()
            .map(|endpoint| self.place(endpoint))
            .collect()
    }

    fn place(&self, endpoint: Endpoint) -> Result<Rc<Repository>> {
        let key = (endpoint.reference.name(), endpoint.is_mirror);
        if let Some(repository) = self.repositories.borrow().get(&key) {
            return Ok(repository.clone());
        }
        let order = &self.registries()?.credential_helpers;
        let credentials = if endpoint.is_mirror {
            // What the command line gives is for the registry that it names.
            credentials::stored(&endpoint.reference, &self.options, order)?
                .map_or(Credentials::ANONYMOUS, Credentials::from)
        } else {
            credentials::find(&endpoint.reference, &self.options, order)?
        };
        let repository = Rc::new(Repository::at(&endpoint, credentials));
        self.repositories
            .borrow_mut()
            .insert(key, repository.clone());
        Ok(repository)
    }

    /// Asks the mirrors and then the registry itself until one answers; its failure is the one that
    /// counts.
    fn first_of_places<T>(
        &self,
        reference: &Reference,
        ask: impl Fn(&Repository) -> Result<T>,
    ) -> Result<T> {
        let mut places = self.places(reference, Purpose::Pull)?;
        let last = places.pop().ok_or_else(|| no_place(reference))?;
        for mirror in places {
            match ask(&mirror) {
                Ok(answer) => {
                    self.answered.borrow_mut().insert(reference.name(), mirror);
                    return Ok(answer);
                }
                Err(error) => log::info!("mirror passed over: {}", error.one_line()),
            }
        }
        let answer = ask(&last)?;
        self.answered.borrow_mut().insert(reference.name(), last);
        Ok(answer)
    }

    /// Where the manifest came from (if the store had it, the first place that has it, too), and the
    /// places after that.
    fn places_of_blobs(&self, reference: &Reference) -> Result<Vec<Rc<Repository>>> {
        let known = || self.answered.borrow().get(&reference.name()).cloned();
        let mut places = self.places(reference, Purpose::Pull)?;
        if places.len() > 1 && known().is_none() {
            self.announced_digest(reference, &|_, _| {})?;
        }
        let first = known().and_then(|first| places.iter().position(|at| Rc::ptr_eq(at, &first)));
        if let Some(first) = first {
            places.drain(..first);
        }
        if places.is_empty() {
            return Err(no_place(reference));
        }
        Ok(places)
    }

    fn session_for(&self, repository: &Repository) -> &Session {
        if !repository.insecure || self.options.tls_verify.is_some() {
            return &self.session;
        }
        self.insecure.get_or_init(|| {
            let options = RegistryOptions {
                tls_verify: Some(false),
                ..self.options.clone()
            };
            Session::new(options, self.limits)
        })
    }

    /// For what is no registry's.
    fn plain_session(&self) -> &Session {
        &self.session
    }

    fn runtime(&self) -> Result<&Runtime> {
        if let Some(runtime) = self.runtime.get() {
            return Ok(runtime);
        }
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_io()
            .enable_time()
            .build()
            .system(|| "cannot start the network runtime".to_owned())?;
        Ok(self.runtime.get_or_init(|| runtime))
    }
}

fn no_place(reference: &Reference) -> Error {
    let text = format!("no registry for {}", reference.familiar());
    Error::new(ErrorKind::Registry, text)
}

fn manifest_ask<'a>(repository: &'a Repository, reference: &Reference, method: Method) -> Ask<'a> {
    let name = match (reference.digest(), reference.tag()) {
        (Some(digest), _) => digest.as_str(),
        (None, Some(tag)) => tag,
        (None, None) => "latest",
    };
    let mut headers = HeaderMap::new();
    // One header for each type: some registries read only the first of a list.
    for accepted in manifest::ACCEPTED {
        headers.append(ACCEPT, HeaderValue::from_static(accepted));
    }
    Ask {
        repository,
        method,
        path: format!("manifests/{name}"),
        what: format!("manifest {}", reference.familiar()),
        headers,
        content: None,
        also: None,
    }
}

fn header(headers: &HeaderMap, name: &str) -> Option<String> {
    Some(headers.get(name)?.to_str().ok()?.to_owned())
}

fn announced_digest(headers: &HeaderMap) -> Option<Digest> {
    header(headers, "docker-content-digest")?.parse().ok()
}

/// `wanted`, if `bytes` have it.
fn verify(bytes: &[u8], wanted: &Digest, what: &str) -> Result<Digest> {
    let actual = match wanted.algorithm() {
        "sha512" => Sha512::digest(bytes).to_vec(),
        _ => Sha256::digest(bytes).to_vec(),
    };
    let actual: String = actual.iter().map(|byte| format!("{byte:02x}")).collect();
    if actual != wanted.hex() {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!(
                "{what} does not have the digest {wanted} but {}:{actual}",
                wanted.algorithm()
            ),
        ));
    }
    Ok(wanted.clone())
}

/// A sink for what is small.
struct Memory<'a> {
    bytes: &'a mut Vec<u8>,
    digest: Digest,
}

impl BlobSink for Memory<'_> {
    fn received(&self) -> u64 {
        self.bytes.len() as u64
    }

    fn write(&mut self, bytes: &[u8]) -> Result<()> {
        self.bytes.extend_from_slice(bytes);
        Ok(())
    }

    fn restart(&mut self) -> Result<()> {
        self.bytes.clear();
        Ok(())
    }

    fn verify(&mut self) -> Result<bool> {
        let right = verify(self.bytes, &self.digest, "").is_ok();
        if !right {
            self.bytes.clear();
        }
        Ok(right)
    }

    fn finish(self: Box<Self>) -> Result<()> {
        verify(self.bytes, &self.digest, &format!("blob {}", self.digest)).map(|_| ())
    }
}

//! One request to a registry, with everything that HTTP puts around it.
//!
//! ```text
//! attempt   first contact (which scheme?) → 401? get a grant, ask once more → redirects → response
//! retrying  attempt, pause, attempt, …                         at most `Limits::retries` pauses
//! ```
//!
//! Every origin has an HTTP client of its own, because `certs.d` gives every host its own trust
//! and its own client certificate. Redirects are followed here and not by the client: a grant goes
//! to the origin it was made for and to no other (CVE-2020-15157), and https does not lead to http.
//! The same holds for the addresses that a registry names for uploads ([`Place`]).
//! HTTP/1.1 is spoken, as podman does: one connection a blob has no shared flow-control window in
//! which a slowly unpacked layer could hold up the others.

use std::{
    cell::{Cell, OnceCell, RefCell},
    collections::HashMap,
    pin::pin,
    sync::Arc,
    time::{Duration, Instant},
};

use reqwest::{
    Client, Method, Response, StatusCode, Url,
    header::{AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderMap, HeaderValue, LOCATION},
    redirect::Policy,
};
use rustls::RootCertStore;
use tokio::time::timeout;

use super::{
    Limits, OnRetry,
    auth::{self, Challenge, Grant, TokenRequest},
    credentials::Credentials,
    endpoint::{self, Origin, Scheme},
    failure::{self, Failure, Retry},
    proxy,
    resolver::Resolver,
    tls,
};
use crate::model::{
    Context, Error, ErrorKind, Reference, RegistryOptions, Result, registries::Endpoint,
};

const MAX_REDIRECTS: usize = 10;

const LONGER_FOR_PUT: u32 = 10;

/// Largest answer of a token server, in bytes.
const MAX_TOKEN_BYTES: u64 = 1 << 20;

/// How much of an error's body is read for its message, in bytes.
const MAX_ERROR_BYTES: u64 = 64 << 10;

const LONGEST_BACK_OFF: Duration = Duration::from_secs(30);

/// A repository of a registry, and who we are there.
pub(super) struct Repository {
    /// `host[:port]` to connect to.
    authority: String,
    /// `library/alpine`
    path: String,
    credentials: Credentials,
    access: Cell<Access>,
    /// Another place has the same: this one is asked once.
    pub is_mirror: bool,
    /// It may be plain http or have an unknown certificate (registries.conf).
    pub insecure: bool,
    /// For the registry as a whole, when `path` is empty.
    whole: Whole,
}

/// What is asked of a registry and not of one of its repositories.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Whole {
    /// `v2`, or `v1` for searches.
    pub api: &'static str,
    /// What a token must allow; empty for: nothing but to be somebody.
    pub scope: &'static str,
    /// The token server is asked for an identity token, too.
    pub identity: bool,
}

/// What a token must allow. A command asks for the most that it is going to need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Access {
    Pull,
    Push,
    Delete,
}

impl Repository {
    pub fn new(reference: &Reference, credentials: Credentials) -> Self {
        Repository {
            authority: endpoint::authority(reference).to_owned(),
            path: reference.repository().to_owned(),
            credentials,
            access: Cell::new(Access::Pull),
            is_mirror: false,
            insecure: false,
            whole: Whole::default(),
        }
    }

    /// As registries.conf names it.
    pub fn at(endpoint: &Endpoint, credentials: Credentials) -> Self {
        Repository {
            is_mirror: endpoint.is_mirror,
            insecure: endpoint.insecure,
            ..Repository::new(&endpoint.reference, credentials)
        }
    }

    /// The registry `host[:port]` itself.
    pub fn whole(authority: &str, whole: Whole, insecure: bool, credentials: Credentials) -> Self {
        Repository {
            authority: authority.to_owned(),
            path: String::new(),
            credentials,
            access: Cell::new(Access::Pull),
            is_mirror: false,
            insecure,
            whole,
        }
    }

    /// Whether `other` is another repository of the same registry.
    pub fn is_neighbour(&self, other: &Reference) -> bool {
        endpoint::authority(other) == self.authority && other.repository() != self.path
    }

    /// Tokens that are fetched from now on allow this, too.
    pub fn widen(&self, access: Access) {
        self.access.set(self.access.get().max(access));
    }

    fn url(&self, scheme: Scheme, path: &str) -> Result<Url> {
        let scheme = scheme.as_str();
        let url = match self.path.as_str() {
            "" => format!("{scheme}://{}/{}/{path}", self.authority, self.whole.api),
            name => format!("{scheme}://{}/v2/{name}/{path}", self.authority),
        };
        Url::parse(&url).context(ErrorKind::InvalidArgument, || {
            format!("{} is not the address of a registry", self.authority)
        })
    }

    fn scope(&self) -> String {
        if self.path.is_empty() {
            return self.whole.scope.to_owned();
        }
        let actions = match self.access.get() {
            Access::Pull => "pull",
            Access::Push => "pull,push",
            Access::Delete => "pull,push,delete",
        };
        format!("repository:{}:{actions}", self.path)
    }
}

/// What goes along with a request. It may have to be sent more than once: to a registry that wants
/// a token first, or after a redirect.
pub(super) trait Content {
    fn length(&self) -> u64;
    /// The bytes from their beginning.
    fn open(&self) -> Result<reqwest::Body>;
    /// A number that changes as long as the connection takes bytes.
    fn taken(&self) -> u64;
}

impl Content for bytes::Bytes {
    fn length(&self) -> u64 {
        self.len() as u64
    }

    fn open(&self) -> Result<reqwest::Body> {
        Ok(self.clone().into())
    }

    fn taken(&self) -> u64 {
        0
    }
}

/// A request below `/v2/NAME/`.
pub(super) struct Ask<'a> {
    pub repository: &'a Repository,
    pub method: Method,
    /// `manifests/latest`, `blobs/sha256:…`
    pub path: String,
    /// The thing as it is called in errors: `manifest localhost/app:1`.
    pub what: String,
    pub headers: HeaderMap,
    pub content: Option<&'a dyn Content>,
    /// Another repository of the registry that the token must allow to read.
    pub also: Option<&'a str>,
}

impl<'a> Ask<'a> {
    pub fn new(repository: &'a Repository, method: Method, path: String, what: String) -> Self {
        Ask {
            repository,
            method,
            path,
            what,
            headers: HeaderMap::new(),
            content: None,
            also: None,
        }
    }

    fn scopes(&self) -> Vec<String> {
        let mut scopes = vec![self.repository.scope()];
        scopes.retain(|scope| !scope.is_empty());
        if let Some(path) = self.also {
            scopes.push(format!("repository:{path}:pull"));
        }
        scopes
    }
}

/// An address that a registry named in `Location`. It may be on another host, which then gets the
/// request but no credentials: only `registry` does.
#[derive(Clone)]
pub(super) struct Place {
    registry: Origin,
    url: Url,
}

impl Place {
    /// The same address with one more parameter.
    pub fn with_query(&self, key: &str, value: &str) -> Place {
        let mut place = self.clone();
        place.url.query_pairs_mut().append_pair(key, value);
        place
    }
}

pub(super) struct Session {
    options: RegistryOptions,
    limits: Limits,
    resolver: Arc<Resolver>,
    roots: OnceCell<RootCertStore>,
    clients: RefCell<HashMap<Origin, Client>>,
    /// By `host[:port]`: what the registry was found to speak.
    schemes: RefCell<HashMap<String, Scheme>>,
    /// By origin and scopes.
    grants: RefCell<HashMap<(Origin, Vec<String>), Grant>>,
    /// The token server of each registry: the first one named stays.
    realms: RefCell<HashMap<Origin, Origin>>,
    /// The identity token that a token server gave last.
    identity: RefCell<Option<String>>,
}

impl Session {
    pub fn new(options: RegistryOptions, limits: Limits) -> Self {
        Session {
            options,
            limits,
            resolver: Arc::default(),
            roots: OnceCell::new(),
            clients: RefCell::default(),
            schemes: RefCell::default(),
            grants: RefCell::default(),
            realms: RefCell::default(),
            identity: RefCell::default(),
        }
    }

    /// The identity token that came with an access token, if [`Whole::identity`] asked for it.
    pub fn take_identity(&self) -> Option<String> {
        self.identity.borrow_mut().take()
    }

    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Asks until there is a response of success, and refuses all others.
    pub async fn attempt(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let (registry, response) = self.attempt_any(ask).await?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refusal(ask, &registry, response).await)
    }

    /// As [`Self::attempt`], but 416 (Range Not Satisfiable) is a response, too.
    pub async fn attempt_range(&self, ask: &Ask<'_>) -> Result<Response, Failure> {
        let (registry, response) = self.attempt_any(ask).await?;
        match response.status() {
            StatusCode::RANGE_NOT_SATISFIABLE => Ok(response),
            status if status.is_success() => Ok(response),
            _ => Err(self.refusal(ask, &registry, response).await),
        }
    }

    /// The registry's origin, and the response that the redirects led to.
    pub async fn attempt_any(&self, ask: &Ask<'_>) -> Result<(Origin, Response), Failure> {
        let (origin, response) = self.first_contact(ask).await?;
        let url = ask.repository.url(origin.scheme, &ask.path)?;
        let response = self.proven(ask, &url, &origin, response).await?;
        Ok((origin, response))
    }

    /// As [`Self::attempt_any`], at an address that the registry named.
    pub async fn attempt_at(&self, ask: &Ask<'_>, place: &Place) -> Result<Response, Failure> {
        let Place { registry, url } = place;
        let response = self.send(ask, url, registry).await.map_err(not_plain)?;
        self.proven(ask, url, registry, response).await
    }

    /// If `response` asks for a proof, the response to the request with one; behind the redirects.
    async fn proven(
        &self,
        ask: &Ask<'_>,
        url: &Url,
        registry: &Origin,
        mut response: Response,
    ) -> Result<Response, Failure> {
        if response.status() == StatusCode::UNAUTHORIZED && origin_of(url)? == *registry {
            let grant = self.grant(ask, registry, response.headers()).await?;
            self.grants
                .borrow_mut()
                .insert((registry.clone(), ask.scopes()), grant);
            response = self.send(ask, url, registry).await?;
        }
        self.follow_redirects(ask, registry, response).await
    }

    /// Where `response` says that an upload goes on.
    pub fn place(&self, registry: &Origin, response: &Response, what: &str) -> Result<Place> {
        let bad = |why: &str| {
            Error::new(
                ErrorKind::Registry,
                format!("registry {registry} names {why} for {what}"),
            )
        };
        let location = response.headers().get(LOCATION);
        let location = location
            .and_then(|value| value.to_str().ok())
            .ok_or_else(|| bad("no address"))?;
        let mut url = response
            .url()
            .join(location)
            .map_err(|_| bad("an invalid URL"))?;
        let mut target = Origin::of(&url).ok_or_else(|| bad("a URL that is not http"))?;
        if registry.scheme == Scheme::Https && target.scheme == Scheme::Http {
            // A proxy in front of it speaks TLS and the registry does not know.
            let same_host =
                target.host == registry.host && [80, registry.port].contains(&target.port);
            if same_host && url.set_scheme("https").is_ok() {
                let _ = url.set_port(Some(registry.port));
                target = origin_of(&url)?;
            }
            if target.scheme == Scheme::Http && self.options.tls_verify != Some(false) {
                return Err(bad("a plain http URL").with_hint("allow it with --tls-verify=false"));
            }
        }
        Ok(Place {
            registry: registry.clone(),
            url,
        })
    }

    /// Whether the grant for `ask` has run out: it is better renewed with a small request than with
    /// a large one. Says so once: the grant is forgotten, for the registry may not want a new one, or
    /// the place be on a host that gets none.
    pub fn is_stale(&self, ask: &Ask<'_>, place: &Place) -> bool {
        let key = (place.registry.clone(), ask.scopes());
        let mut grants = self.grants.borrow_mut();
        let stale = grants.get(&key).is_some_and(|grant| !grant.is_fresh());
        if stale {
            grants.remove(&key);
        }
        stale
    }

    /// Sends the request with the first scheme that the registry understands.
    async fn first_contact(&self, ask: &Ask<'_>) -> Result<(Origin, Response), Failure> {
        let authority = &ask.repository.authority;
        let known = self.schemes.borrow().get(authority).copied();
        let candidates = match &known {
            Some(scheme) => std::slice::from_ref(scheme),
            None => endpoint::schemes(authority, self.options.tls_verify),
        };
        let mut candidates = candidates.iter().peekable();
        while let Some(&scheme) = candidates.next() {
            let url = ask.repository.url(scheme, &ask.path)?;
            let origin = origin_of(&url)?;
            match self.send(ask, &url, &origin).await {
                Ok(response) => {
                    self.schemes.borrow_mut().insert(authority.clone(), scheme);
                    return Ok((origin, response));
                }
                Err(failure) if failure.not_tls && candidates.peek().is_some() => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Error::new(ErrorKind::Registry, format!("no way to {authority}")).into())
    }

    /// One request, one response, whatever it says; with the grant for `registry` if `url` is
    /// there and one is known.
    async fn send(&self, ask: &Ask<'_>, url: &Url, registry: &Origin) -> Result<Response, Failure> {
        let origin = origin_of(url)?;
        let mut request = self
            .client(&origin)?
            .request(ask.method.clone(), url.clone())
            .headers(ask.headers.clone());
        if let Some(content) = ask.content {
            request = request
                .header(CONTENT_LENGTH, content.length())
                .body(content.open()?);
        }
        if origin == *registry
            && let Some(proof) = self.known_grant(&origin, ask)
        {
            request = request.header(AUTHORIZATION, proof.header());
        }
        self.answer(&origin, request, ask).await
    }

    async fn answer(
        &self,
        origin: &Origin,
        request: reqwest::RequestBuilder,
        ask: &Ask<'_>,
    ) -> Result<Response, Failure> {
        let mut patience = self.limits.connect + self.limits.stall;
        if ask.method == Method::PUT {
            // It completes an upload, and some storage copies all of it then.
            patience *= LONGER_FOR_PUT;
        }
        let taken = || ask.content.map_or(0, Content::taken);
        let mut sending = pin!(request.send());
        loop {
            let before = taken();
            match timeout(patience, &mut sending).await {
                Ok(Ok(response)) => return Ok(response),
                Ok(Err(cause)) => return Err(failure::unreachable(origin, cause)),
                Err(_) if taken() != before => {}
                Err(_) => return Err(stalled(origin, patience)),
            }
        }
    }

    fn known_grant(&self, origin: &Origin, ask: &Ask<'_>) -> Option<Grant> {
        let key = (origin.clone(), ask.scopes());
        self.grants
            .borrow()
            .get(&key)
            .filter(|grant| grant.is_fresh())
            .cloned()
    }

    /// What answers the registry's challenge.
    async fn grant(
        &self,
        ask: &Ask<'_>,
        origin: &Origin,
        headers: &HeaderMap,
    ) -> Result<Grant, Failure> {
        let credentials = &ask.repository.credentials;
        // A grant that was just refused is not tried again.
        let refused = self.known_grant(origin, ask).is_some();
        match auth::challenge(headers) {
            Some(Challenge::Bearer { realm, service }) => {
                if let Some(ready) = Grant::ready_token(credentials)
                    && !refused
                {
                    return Ok(ready);
                }
                let url = self.realm(origin, &realm)?;
                self.token(ask, origin, url, service.as_deref()).await
            }
            Some(Challenge::Basic) if !refused => Grant::basic(credentials)
                .ok_or_else(|| failure::unauthorized(origin, &ask.what, "").into()),
            Some(Challenge::Basic) | None => {
                Err(failure::unauthorized(origin, &ask.what, "").into())
            }
        }
    }

    fn realm(&self, origin: &Origin, realm: &str) -> Result<Url> {
        let url = auth::realm_url(origin, realm)?;
        let host = origin_of(&url)?;
        let mut realms = self.realms.borrow_mut();
        if realms.entry(origin.clone()).or_insert_with(|| host.clone()) != &host {
            return Err(Error::new(
                ErrorKind::Registry,
                format!("registry {origin} names more than one token server"),
            ));
        }
        Ok(url)
    }

    /// Asks the token server at `url` for a token.
    async fn token(
        &self,
        ask: &Ask<'_>,
        registry: &Origin,
        url: Url,
        service: Option<&str>,
    ) -> Result<Grant, Failure> {
        let server = origin_of(&url)?;
        let client = self.client(&server)?;
        let credentials = &ask.repository.credentials;
        let identity = ask.repository.whole.identity;
        let asks = auth::token_request(url, service, &ask.scopes(), credentials, identity);
        let request = match asks {
            TokenRequest::Get { url, proof: None } => client.get(url),
            TokenRequest::Get {
                url,
                proof: Some(proof),
            } => client.get(url).header(AUTHORIZATION, proof.header()),
            TokenRequest::Post { url, form } => client
                .post(url)
                .header(
                    CONTENT_TYPE,
                    HeaderValue::from_static("application/x-www-form-urlencoded"),
                )
                .body(form),
        };
        let asked = Instant::now();
        let small = Ask::new(ask.repository, Method::GET, String::new(), String::new());
        let response = self.answer(&server, request, &small).await?;
        let status = response.status();
        if !status.is_success() {
            let headers = response.headers().clone();
            let body = self.beginning(response).await;
            // Some token servers say 400 or 404 to a wrong password.
            return Err(
                if status.is_client_error() && status != StatusCode::TOO_MANY_REQUESTS {
                    failure::unauthorized(registry, &ask.what, "").into()
                } else {
                    failure::refused(&server, "a token", status, &headers, &body)
                },
            );
        }
        let body = self.body(response, MAX_TOKEN_BYTES, "a token").await?;
        if identity {
            *self.identity.borrow_mut() = auth::identity_token(&body);
        }
        auth::token_answer(&body, asked).ok_or_else(|| {
            Error::new(
                ErrorKind::Registry,
                format!("token server {server} did not send a token"),
            )
            .into()
        })
    }

    async fn follow_redirects(
        &self,
        ask: &Ask<'_>,
        registry: &Origin,
        mut response: Response,
    ) -> Result<Response, Failure> {
        for _ in 0..MAX_REDIRECTS {
            let Some(location) = redirect(&response) else {
                return Ok(response);
            };
            let refuse = |why: &str| {
                Error::new(
                    ErrorKind::Registry,
                    format!("registry {registry} redirects {} to {why}", ask.what),
                )
            };
            let (from, url) = (response.url(), response.url().join(&location));
            let url = url.map_err(|_| refuse("an invalid URL"))?;
            let target = Origin::of(&url).ok_or_else(|| refuse("a URL that is not http"))?;
            if from.scheme() == "https"
                && target.scheme == Scheme::Http
                && self.options.tls_verify != Some(false)
            {
                return Err(refuse("plain http")
                    .with_hint("allow it with --tls-verify=false")
                    .into());
            }
            response = self.send(ask, &url, registry).await.map_err(not_plain)?;
        }
        Err(Error::new(
            ErrorKind::Registry,
            format!("registry {registry} redirects {} in circles", ask.what),
        )
        .into())
    }

    /// Why the registry does not do what it was asked for.
    pub async fn refusal(&self, ask: &Ask<'_>, registry: &Origin, response: Response) -> Failure {
        let status = response.status();
        let headers = response.headers().clone();
        let origin = match origin_of(response.url()) {
            Ok(origin) => origin,
            Err(error) => return error.into(),
        };
        let body = self.beginning(response).await;
        let denied = matches!(status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN);
        if denied && origin != *registry {
            // The signature of a storage server's URL ran out: the registry makes a new one.
            return Failure::later(Error::new(
                ErrorKind::Registry,
                format!("storage server {origin} answered {status} for {}", ask.what),
            ));
        }
        failure::refused(&origin, &ask.what, status, &headers, &body)
    }

    async fn beginning(&self, response: Response) -> Vec<u8> {
        self.body(response, MAX_ERROR_BYTES, "the message")
            .await
            .unwrap_or_default()
    }

    /// The whole body, if it has at most `limit` bytes.
    pub async fn body(
        &self,
        mut response: Response,
        limit: u64,
        what: &str,
    ) -> Result<Vec<u8>, Failure> {
        let origin = origin_of(response.url())?;
        let mut body = Vec::new();
        while let Some(bytes) = self.chunk(&origin, &mut response).await? {
            if body.len() as u64 + bytes.len() as u64 > limit {
                return Err(Error::new(
                    ErrorKind::InvalidContent,
                    format!("{what} from registry {origin} is larger than {limit} bytes"),
                )
                .into());
            }
            body.extend_from_slice(&bytes);
        }
        Ok(body)
    }

    /// The next bytes of a body, or none at its end.
    pub async fn chunk(
        &self,
        origin: &Origin,
        response: &mut Response,
    ) -> Result<Option<bytes::Bytes>, Failure> {
        match timeout(self.limits.stall, response.chunk()).await {
            Ok(Ok(bytes)) => Ok(bytes),
            Ok(Err(cause)) => Err(Failure::later(
                Error::new(
                    ErrorKind::Registry,
                    format!("the connection to registry {origin} broke"),
                )
                .with_source(failure::innermost(&cause.without_url())),
            )),
            Err(_) => Err(stalled(origin, self.limits.stall)),
        }
    }

    /// Repeats `attempt` while that makes sense and the limit allows it.
    pub async fn retrying<T>(
        &self,
        what: &str,
        on_retry: OnRetry<'_>,
        attempt: impl AsyncFn() -> Result<T, Failure>,
    ) -> Result<T> {
        let mut patience = Patience::new(&self.limits);
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(failure) => patience.pause(failure, what, on_retry).await?,
            }
        }
    }

    /// [`Self::retrying`], but a mirror is asked once: there is another place.
    pub async fn repeating<T>(
        &self,
        ask: &Ask<'_>,
        on_retry: OnRetry<'_>,
        attempt: impl AsyncFn() -> Result<T, Failure>,
    ) -> Result<T> {
        if ask.repository.is_mirror {
            return attempt().await.map_err(|failure| failure.error);
        }
        self.retrying(&ask.what, on_retry, attempt).await
    }

    pub fn client(&self, origin: &Origin) -> Result<Client> {
        if let Some(client) = self.clients.borrow().get(origin) {
            return Ok(client.clone());
        }
        let client = self.build_client(origin)?;
        self.clients
            .borrow_mut()
            .insert(origin.clone(), client.clone());
        Ok(client)
    }

    fn build_client(&self, origin: &Origin) -> Result<Client> {
        let what = || format!("cannot set up the HTTP client for {origin}");
        let roots = match self.roots.get() {
            Some(roots) => roots,
            // Never read for plain http where nobody is to be trusted anyway: it takes a millisecond.
            // A proxy before it may speak TLS.
            None if origin.scheme == Scheme::Http && self.options.tls_verify == Some(false) => {
                &RootCertStore::empty()
            }
            None => {
                let read = tls::roots(&self.options)?;
                self.roots.get_or_init(|| read)
            }
        };
        let mut builder = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .http1_only()
            .user_agent(concat!("coracle/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(self.limits.connect)
            .dns_resolver(self.resolver.clone())
            .tls_backend_preconfigured(tls::client_config(origin, &self.options, roots)?);
        if let Some(proxy) = proxy::for_origin(origin, &self.options)? {
            builder = builder.proxy(proxy);
        }
        builder.build().map_err(|cause| {
            Error::new(ErrorKind::Registry, what()).with_source(failure::innermost(&cause))
        })
    }
}

/// How many more attempts an operation has.
pub(super) struct Patience<'a> {
    limits: &'a Limits,
    used: u32,
}

impl<'a> Patience<'a> {
    pub fn new(limits: &'a Limits) -> Self {
        Patience { limits, used: 0 }
    }

    /// Something was achieved: what comes next is another difficulty.
    pub fn renew(&mut self) {
        self.used = 0;
    }

    /// Waits before the next attempt, or gives the failure back as the error.
    pub async fn pause(
        &mut self,
        failure: Failure,
        what: &str,
        on_retry: OnRetry<'_>,
    ) -> Result<()> {
        let pause = match failure.retry {
            Retry::Never => return Err(failure.error),
            _ if self.used >= self.limits.retries => return Err(failure.error),
            Retry::After(pause) => pause,
            Retry::Later => self.back_off(),
        };
        self.used += 1;
        on_retry(what, &failure.error.one_line());
        tokio::time::sleep(pause).await;
        Ok(())
    }

    /// Doubles each time; up to a quarter more, so that many clients do not come back at once.
    fn back_off(&self) -> Duration {
        if !self.limits.doubling {
            return self.limits.first_pause;
        }
        let pause = self
            .limits
            .first_pause
            .saturating_mul(1 << self.used.min(16))
            .min(LONGEST_BACK_OFF);
        let nanos = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .map_or(0, |now| now.subsec_nanos());
        pause + pause.mul_f64(f64::from(nanos % 1000) / 4000.0)
    }
}

fn stalled(origin: &Origin, patience: Duration) -> Failure {
    Failure::later(Error::new(
        ErrorKind::Registry,
        format!(
            "registry {origin} sent nothing for {} s",
            patience.as_secs_f32()
        ),
    ))
}

/// A failure after which no other scheme is tried.
fn not_plain(failure: Failure) -> Failure {
    Failure {
        not_tls: false,
        ..failure
    }
}

pub(super) fn origin_of(url: &Url) -> Result<Origin> {
    Origin::of(url).ok_or_else(|| {
        Error::new(
            ErrorKind::Registry,
            format!("cannot connect to a {} URL", url.scheme()),
        )
    })
}

/// Where the response sends us, if it does.
fn redirect(response: &Response) -> Option<String> {
    let elsewhere = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
    let location = response.headers().get(LOCATION)?.to_str().ok()?;
    elsewhere.then(|| location.to_owned())
}

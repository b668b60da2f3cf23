//! A registry with bad days, for tests: plain threads, one connection each, HTTP/1.1 by hand.
//!
//! It serves the manifests and blobs it was given. A test's `chaos` sees each request first and
//! may answer it instead. Every request is remembered with its headers.
//!
//! `ca.pem` signed `server.pem` (localhost, 127.0.0.1) and `client.pem`; `self.pem` signed itself
//! the way `openssl req -x509` does it. The keys are of no use anywhere else.

#![allow(dead_code, reason = "each test program uses another part")]

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use coracle::model::{Digest, Reference};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use sha2::{Digest as _, Sha256};

pub const CA: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fake_registry/ca.pem");

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    /// With the query.
    pub path: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    pub body: String,
    pub bytes: Vec<u8>,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    pub fn is_blob(&self) -> bool {
        self.path.contains("/blobs/")
    }

    pub fn is_upload(&self) -> bool {
        self.path.contains("/blobs/uploads/")
    }

    fn parameter(&self, name: &str) -> Option<String> {
        let (_, query) = self.path.split_once('?')?;
        let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
        let (_, value) = pairs.into_iter().find(|(key, _)| *key == name)?;
        Some(value.replace("%3A", ":"))
    }
}

/// What goes over the wire.
#[derive(Clone, Debug, Default)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Close the connection after so many bytes of the body.
    pub cut: Option<usize>,
    /// Fall silent after so many bytes of the body.
    pub stall: Option<(usize, Duration)>,
    /// Do not say how long the body is (it ends with the connection).
    pub unknown_length: bool,
}

impl Reply {
    pub fn status(status: u16) -> Reply {
        Reply {
            status,
            ..Reply::default()
        }
    }

    pub fn ok(body: impl Into<Vec<u8>>) -> Reply {
        Reply {
            status: 200,
            body: body.into(),
            ..Reply::default()
        }
    }

    pub fn with(mut self, name: &str, value: impl Into<String>) -> Reply {
        self.headers.push((name.to_owned(), value.into()));
        self
    }
}

type Chaos = Box<dyn FnMut(&Request) -> Option<Reply> + Send>;
type Cut = Box<dyn FnMut(&Request) -> Option<usize> + Send>;

struct State {
    documents: Mutex<HashMap<String, (String, Vec<u8>)>>,
    blobs: Mutex<HashMap<String, Vec<u8>>>,
    requests: Mutex<Vec<Request>>,
    chaos: Mutex<Option<Chaos>>,
    cut: Mutex<Option<Cut>>,
    /// By the last part of their address.
    uploads: Mutex<HashMap<String, Vec<u8>>>,
}

pub struct FakeRegistry {
    pub address: SocketAddr,
    state: Arc<State>,
}

pub fn digest(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes))
}

impl FakeRegistry {
    pub fn start() -> FakeRegistry {
        FakeRegistry::start_on("127.0.0.1:0", None)
    }

    /// Over TLS, with `NAME.pem` and `NAME.key`; `client` asks for a certificate signed by `ca.pem`.
    pub fn start_tls(name: &str, client: bool) -> FakeRegistry {
        let file = |end: &str| {
            format!(
                "{}/tests/fake_registry/{name}.{end}",
                env!("CARGO_MANIFEST_DIR")
            )
        };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = rustls::ServerConfig::builder_with_provider(provider.clone())
            .with_safe_default_protocol_versions()
            .unwrap();
        let builder = if client {
            let mut roots = rustls::RootCertStore::empty();
            roots
                .add(CertificateDer::from_pem_file(CA).unwrap())
                .unwrap();
            let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(
                Arc::new(roots),
                provider,
            );
            builder.with_client_cert_verifier(verifier.build().unwrap())
        } else {
            builder.with_no_client_auth()
        };
        let config = builder
            .with_single_cert(
                vec![CertificateDer::from_pem_file(file("pem")).unwrap()],
                PrivateKeyDer::from_pem_file(file("key")).unwrap(),
            )
            .unwrap();
        FakeRegistry::start_on("127.0.0.1:0", Some(Arc::new(config)))
    }

    fn start_on(address: &str, tls: Option<Arc<rustls::ServerConfig>>) -> FakeRegistry {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            documents: Mutex::default(),
            blobs: Mutex::default(),
            requests: Mutex::default(),
            chaos: Mutex::default(),
            cut: Mutex::default(),
            uploads: Mutex::default(),
        });
        let shared = state.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (state, tls) = (shared.clone(), tls.clone());
                thread::spawn(move || {
                    let _ = match tls {
                        Some(config) => {
                            let session = rustls::ServerConnection::new(config).unwrap();
                            serve(rustls::StreamOwned::new(session, stream), &state)
                        }
                        None if speaks_tls(&stream) => Ok(()),
                        None => serve(stream, &state),
                    };
                });
            }
        });
        FakeRegistry { address, state }
    }

    pub fn add_blob(&self, bytes: impl Into<Vec<u8>>) -> Digest {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        let mut blobs = self.state.blobs.lock().unwrap();
        blobs.insert(digest.to_string(), bytes);
        digest
    }

    /// Under `tag` and under its digest.
    pub fn add_document(&self, tag: &str, media_type: &str, bytes: impl Into<Vec<u8>>) -> Digest {
        let bytes = bytes.into();
        let digest = digest(&bytes);
        let mut documents = self.state.documents.lock().unwrap();
        for name in [tag, digest.as_str()] {
            documents.insert(name.to_owned(), (media_type.to_owned(), bytes.clone()));
        }
        digest
    }

    /// Lets `chaos` answer first from now on.
    pub fn chaos(&self, chaos: impl FnMut(&Request) -> Option<Reply> + Send + 'static) {
        *self.state.chaos.lock().unwrap() = Some(Box::new(chaos));
    }

    /// Requests for which `cut` says a number break off after so many bytes of their body, which are
    /// kept. It sees them before the body.
    pub fn cut(&self, cut: impl FnMut(&Request) -> Option<usize> + Send + 'static) {
        *self.state.cut.lock().unwrap() = Some(Box::new(cut));
    }

    pub fn blob(&self, digest: &Digest) -> Option<Vec<u8>> {
        let blobs = self.state.blobs.lock().unwrap();
        blobs.get(digest.as_str()).cloned()
    }

    pub fn document(&self, name: &str) -> Option<(String, Vec<u8>)> {
        self.state.documents.lock().unwrap().get(name).cloned()
    }

    /// Forgets all uploads that are not complete.
    pub fn forget_uploads(&self) {
        self.state.uploads.lock().unwrap().clear();
    }

    pub fn requests(&self) -> Vec<Request> {
        self.state.requests.lock().unwrap().clone()
    }

    /// `127.0.0.1:PORT/REST`
    pub fn reference(&self, rest: &str) -> Reference {
        format!("{}/{rest}", self.address).parse().unwrap()
    }
}

/// A TLS record begins with 22; no method of HTTP does.
fn speaks_tls(stream: &TcpStream) -> bool {
    let mut first = [0];
    matches!(stream.peek(&mut first), Ok(1) if first[0] == 22)
}

fn serve(stream: impl Read + Write, state: &State) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream, state)? {
        state.requests.lock().unwrap().push(request.clone());
        let chaotic = match &mut *state.chaos.lock().unwrap() {
            Some(chaos) => chaos(&request),
            None => None,
        };
        let reply = chaotic.unwrap_or_else(|| usual(&request, state));
        let close = reply.cut.is_some() || reply.stall.is_some() || reply.unknown_length;
        send(stream.get_mut(), &request, reply)?;
        if close {
            break;
        }
    }
    Ok(())
}

fn read_request(stream: &mut impl BufRead, state: &State) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace().map(str::to_owned);
    let (method, path) = (
        words.next().unwrap_or_default(),
        words.next().unwrap_or_default(),
    );
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        match line.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let mut request = Request {
        method,
        path,
        headers,
        body: String::new(),
        bytes: Vec::new(),
    };
    let length = request.header("content-length").unwrap_or("0");
    let length: usize = length.parse().unwrap();
    let cut = match &mut *state.cut.lock().unwrap() {
        Some(cut) => cut(&request),
        None => None,
    };
    let mut body = vec![0; length.min(cut.unwrap_or(length))];
    stream.read_exact(&mut body)?;
    request.bytes = body;
    if cut.is_some() {
        state.requests.lock().unwrap().push(request.clone());
        let mut uploads = state.uploads.lock().unwrap();
        if let Some(upload) = uploads.get_mut(upload_name(&request)) {
            upload.extend_from_slice(&request.bytes);
        }
        return Ok(None);
    }
    request.body = String::from_utf8_lossy(&request.bytes).into_owned();
    Ok(Some(request))
}

fn usual(request: &Request, state: &State) -> Reply {
    let name = request.path.rsplit('/').next().unwrap_or_default();
    if request.is_upload() {
        upload(request, state)
    } else if request.method == "PUT" && request.path.contains("/manifests/") {
        let media_type = request
            .header("content-type")
            .unwrap_or_default()
            .to_owned();
        let digest = digest(&request.bytes);
        let mut documents = state.documents.lock().unwrap();
        for name in [name, digest.as_str()] {
            documents.insert(name.to_owned(), (media_type.clone(), request.bytes.clone()));
        }
        Reply::status(201).with("Docker-Content-Digest", digest.as_str())
    } else if request.is_blob() {
        match state.blobs.lock().unwrap().get(name) {
            Some(bytes) => part(request, bytes),
            None => unknown("BLOB_UNKNOWN"),
        }
    } else if request.path.contains("/manifests/") {
        match state.documents.lock().unwrap().get(name) {
            Some((media_type, bytes)) => Reply::ok(bytes.clone())
                .with("Content-Type", media_type)
                .with("Docker-Content-Digest", digest(bytes).to_string()),
            None => unknown("MANIFEST_UNKNOWN"),
        }
    } else {
        Reply::status(404)
    }
}

fn upload_name(request: &Request) -> &str {
    let path = request.path.split('?').next().unwrap_or_default();
    path.rsplit('/').next().unwrap_or_default()
}

/// An upload as Debian's registry does it.
fn upload(request: &Request, state: &State) -> Reply {
    let mut uploads = state.uploads.lock().unwrap();
    if request.method == "POST" {
        let id = format!("upload-{}", state.requests.lock().unwrap().len());
        let path = request.path.split('?').next().unwrap_or_default();
        let reply = Reply::status(202).with("Location", format!("{path}{id}"));
        uploads.insert(id, Vec::new());
        return reply.with("Range", "0-0");
    }
    let name = upload_name(request).to_owned();
    let Some(held) = uploads.get_mut(&name) else {
        return unknown("BLOB_UPLOAD_UNKNOWN");
    };
    let range = |held: &Vec<u8>| format!("0-{}", held.len().saturating_sub(1));
    let start = request.header("content-range").map(|range| {
        let (start, _) = range.split_once('-').unwrap();
        start.parse::<usize>().unwrap()
    });
    if start.is_some_and(|start| start != held.len()) {
        return Reply::status(416).with("Range", range(held));
    }
    held.extend_from_slice(&request.bytes);
    let location = request.path.split('?').next().unwrap_or_default();
    match request.method.as_str() {
        "GET" => Reply::status(204)
            .with("Location", location)
            .with("Range", range(held)),
        "PATCH" => Reply::status(202)
            .with("Location", location)
            .with("Range", range(held)),
        _ => {
            let bytes = uploads.remove(&name).unwrap();
            let digest = digest(&bytes);
            if request.parameter("digest").as_deref() != Some(digest.as_str()) {
                return Reply {
                    status: 400,
                    body: br#"{"errors":[{"code":"DIGEST_INVALID","message":"provided digest did not match uploaded content"}]}"#.to_vec(),
                    ..Reply::default()
                };
            }
            let mut blobs = state.blobs.lock().unwrap();
            blobs.insert(digest.to_string(), bytes);
            Reply::status(201).with("Docker-Content-Digest", digest.as_str())
        }
    }
}

fn unknown(code: &str) -> Reply {
    Reply {
        status: 404,
        body: format!(r#"{{"errors":[{{"code":"{code}","message":"unknown here"}}]}}"#).into(),
        ..Reply::default()
    }
}

/// The whole blob, or what `Range` asks for.
pub fn part(request: &Request, bytes: &[u8]) -> Reply {
    let range = request.header("range");
    match range.and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')) {
        Some(start) => {
            let start: usize = start.parse().unwrap();
            Reply {
                status: 206,
                body: bytes[start..].to_vec(),
                ..Reply::default()
            }
            .with(
                "Content-Range",
                format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
            )
        }
        None => Reply::ok(bytes),
    }
}

fn send(stream: &mut impl Write, request: &Request, reply: Reply) -> std::io::Result<()> {
    let mut head = format!("HTTP/1.1 {} Whatever\r\n", reply.status);
    for (name, value) in &reply.headers {
        head += &format!("{name}: {value}\r\n");
    }
    if reply.unknown_length {
        head += "Connection: close\r\n";
    } else if !reply
        .headers
        .iter()
        .any(|(name, _)| name == "Content-Length")
    {
        head += &format!("Content-Length: {}\r\n", reply.body.len());
    }
    stream.write_all(head.as_bytes())?;
    stream.write_all(b"\r\n")?;
    if request.method != "HEAD" {
        let end = reply.body.len();
        let end = end.min(reply.cut.unwrap_or(end));
        match reply.stall {
            Some((at, pause)) => {
                stream.write_all(&reply.body[..at])?;
                stream.flush()?;
                thread::sleep(pause);
            }
            None => stream.write_all(&reply.body[..end])?,
        }
    }
    stream.flush()
}

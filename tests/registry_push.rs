//! Uploads to a registry with bad days: what is spared, what is taken up again, who gets credentials.

mod fake_registry;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use coracle::{
    model::{BlobSource, Digest, ErrorKind, Reference, RegistryOptions, Result},
    registry::{Limits, Registry, UploadRequest, UploadWatch, Uploaded},
};
use fake_registry::{FakeRegistry, Reply, Request, digest};

/// Several blocks, none of them like another.
fn large() -> Vec<u8> {
    (0..5_000_000_u32).map(|i| (i ^ (i >> 8)) as u8).collect()
}

#[derive(Default)]
struct Watch {
    finished: Mutex<Vec<Uploaded>>,
    retries: AtomicUsize,
}

impl UploadWatch for Watch {
    fn finished(&self, _: &Digest, how: &Uploaded) {
        self.finished.lock().unwrap().push(how.clone());
    }

    fn retrying(&self, _: &str, _: &str) {
        self.retries.fetch_add(1, Ordering::Relaxed);
    }
}

fn limits() -> Limits {
    Limits {
        retries: 3,
        first_pause: Duration::from_millis(1),
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        ..Limits::default()
    }
}

fn request(bytes: &[u8]) -> UploadRequest<'static> {
    UploadRequest {
        digest: digest(bytes),
        size: bytes.len() as u64,
        source: Box::new(bytes.to_vec()),
        mount_from: Vec::new(),
    }
}

fn send_as(
    options: &RegistryOptions,
    to: &Reference,
    blobs: Vec<UploadRequest<'_>>,
) -> (Result<()>, Watch) {
    let watch = Watch::default();
    let registry = Registry::with_limits(options, limits());
    let result = registry.upload(to, blobs, 3, &watch);
    (result, watch)
}

fn send(registry: &FakeRegistry, bytes: &[u8]) -> (Result<()>, Watch) {
    send_as(
        &RegistryOptions::default(),
        &registry.reference("app:1"),
        vec![request(bytes)],
    )
}

fn of(registry: &FakeRegistry, method: &str) -> Vec<Request> {
    let mut requests = registry.requests();
    requests.retain(|request| request.method == method);
    requests
}

/// Bytes of blobs that went over the line.
fn sent(registry: &FakeRegistry) -> usize {
    let requests = registry.requests();
    requests.iter().map(|request| request.bytes.len()).sum()
}

#[test]
fn a_small_blob_goes_with_the_last_request() {
    let registry = FakeRegistry::start();
    let (result, watch) = send(&registry, b"small");
    result.unwrap();
    assert_eq!(registry.blob(&digest(b"small")).unwrap(), b"small");
    let methods: Vec<String> = registry.requests().into_iter().map(|r| r.method).collect();
    assert_eq!(methods, ["HEAD", "POST", "PUT"]);
    assert_eq!(*watch.finished.lock().unwrap(), [Uploaded::Sent]);
}

#[test]
fn an_empty_blob_is_a_blob() {
    let registry = FakeRegistry::start();
    send(&registry, b"").0.unwrap();
    assert_eq!(registry.blob(&digest(b"")).unwrap(), b"");
}

#[test]
fn what_is_there_is_not_sent() {
    let registry = FakeRegistry::start();
    registry.add_blob(large());
    let (result, watch) = send(&registry, &large());
    result.unwrap();
    assert_eq!(*watch.finished.lock().unwrap(), [Uploaded::Existed]);
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_large_blob_is_patched() {
    let registry = FakeRegistry::start();
    send(&registry, &large()).0.unwrap();
    assert_eq!(registry.blob(&digest(&large())).unwrap(), large());
    let patches = of(&registry, "PATCH");
    assert_eq!(patches.len(), 1);
    assert_eq!(patches[0].header("content-range"), Some("0-4999999"));
    assert_eq!(patches[0].header("content-length"), Some("5000000"));
}

#[test]
fn a_broken_upload_goes_on_where_the_registry_is() {
    let registry = FakeRegistry::start();
    let mut cuts = vec![2_000_000, 1, 1_234_567];
    registry.cut(move |request| (request.method == "PATCH").then(|| cuts.pop()).flatten());
    let (result, watch) = send(&registry, &large());
    result.unwrap();
    assert_eq!(registry.blob(&digest(&large())).unwrap(), large());
    assert_eq!(sent(&registry), large().len(), "a byte was sent twice");
    assert_eq!(watch.retries.load(Ordering::Relaxed), 3);
    let starts: Vec<String> = of(&registry, "PATCH")
        .iter()
        .map(|patch| patch.header("content-range").unwrap().to_owned())
        .collect();
    assert_eq!(
        starts,
        [
            "0-4999999",
            "1234567-4999999",
            "1234568-4999999",
            "3234568-4999999"
        ]
    );
}

#[test]
fn an_upload_that_the_registry_forgot_begins_anew() {
    let registry = FakeRegistry::start();
    let mut cuts = 1;
    registry.cut(move |request| {
        let cut = request.method == "PATCH" && cuts > 0;
        cuts -= i32::from(cut);
        cut.then_some(100)
    });
    registry.chaos(|request| {
        let asked = request.method == "GET" && request.is_upload();
        asked.then(|| Reply::status(404))
    });
    send(&registry, &large()).0.unwrap();
    assert_eq!(registry.blob(&digest(&large())).unwrap(), large());
    assert_eq!(of(&registry, "POST").len(), 2);
}

#[test]
fn an_answer_that_got_lost_is_found_out() {
    let registry = FakeRegistry::start();
    let bytes = large();
    let found = digest(&bytes);
    let state = Arc::new(AtomicUsize::new(0));
    let lost = state.clone();
    // The registry has completed the upload, but nobody heard of it.
    registry.chaos(move |request| match request.method.as_str() {
        "PUT" => {
            lost.store(1, Ordering::Relaxed);
            Some(Reply::status(500))
        }
        "GET" => Some(Reply::status(404)),
        "HEAD" if lost.load(Ordering::Relaxed) == 1 => Some(Reply::status(200)),
        _ => None,
    });
    let (result, watch) = send(&registry, &bytes);
    result.unwrap();
    assert_eq!(*watch.finished.lock().unwrap(), [Uploaded::Sent]);
    assert_eq!(of(&registry, "PATCH").len(), 1);
    assert_eq!(registry.blob(&found), None);
}

#[test]
fn a_registry_that_always_fails_is_given_up() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| (request.method == "PATCH").then(|| Reply::status(503)));
    let (result, watch) = send(&registry, &large());
    assert_eq!(result.unwrap_err().kind(), ErrorKind::Registry);
    assert_eq!(watch.retries.load(Ordering::Relaxed), 3);
}

#[test]
fn a_part_that_is_too_large_is_halved() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| {
        let large = request.method == "PATCH" && request.bytes.len() > 1_300_000;
        large.then(|| Reply::status(413))
    });
    send(&registry, &large()).0.unwrap();
    assert_eq!(registry.blob(&digest(&large())).unwrap(), large());
    assert!(of(&registry, "PATCH").len() >= 5);
}

#[test]
fn parts_are_not_smaller_than_the_registry_wants() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| match request.method.as_str() {
        "POST" => Some(
            Reply::status(202)
                .with("Location", "/v2/app/blobs/uploads/none")
                .with("OCI-Chunk-Min-Length", "3000000"),
        ),
        "GET" => Some(Reply::status(204).with("Range", "0-0")),
        "PATCH" => Some(Reply::status(413)),
        _ => None,
    });
    let error = send(&registry, &large()).0.unwrap_err();
    assert!(error.one_line().contains("413"), "{}", error.one_line());
    let lengths: Vec<usize> = of(&registry, "PATCH")
        .iter()
        .map(|patch| patch.bytes.len())
        .collect();
    assert_eq!(lengths, [5_000_000, 3_000_000]);
}

#[test]
fn without_patch_all_goes_with_put() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| (request.method == "PATCH").then(|| Reply::status(405)));
    send(&registry, &large()).0.unwrap();
    assert_eq!(registry.blob(&digest(&large())).unwrap(), large());
}

#[test]
fn an_impossible_range_is_not_believed() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| {
        let patch = request.method == "PATCH";
        patch.then(|| {
            Reply::status(202)
                .with("Location", "/v2/app/blobs/uploads/x")
                .with("Range", "0-99999999")
        })
    });
    let error = send(&registry, &large()).0.unwrap_err();
    assert!(error.one_line().contains("impossible range"));
}

#[test]
fn another_digest_in_the_answer_is_an_error() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| {
        let put = request.method == "PUT";
        put.then(|| {
            let other = digest(b"other");
            Reply::status(201).with("Docker-Content-Digest", other.as_str())
        })
    });
    let error = send(&registry, b"small").0.unwrap_err();
    assert!(error.one_line().contains("another digest"));
    let put = Registry::with_limits(&RegistryOptions::default(), limits()).put_document(
        &registry.reference("app:1"),
        b"{}".to_vec(),
        "application/vnd.oci.image.manifest.v1+json",
        &|_, _| {},
    );
    assert_eq!(put.unwrap_err().kind(), ErrorKind::DigestMismatch);
}

#[test]
fn a_damaged_blob_is_the_stores_fault() {
    let registry = FakeRegistry::start();
    let mut blob = request(&large());
    let mut damaged = large();
    damaged[4_000_000] ^= 1;
    blob.source = Box::new(damaged);
    let to = registry.reference("app:1");
    let (result, _) = send_as(&RegistryOptions::default(), &to, vec![blob]);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(error.one_line().contains("in the store is damaged"));
}

#[test]
fn a_blob_that_is_too_short_is_the_stores_fault() {
    let registry = FakeRegistry::start();
    let mut blob = request(&large());
    blob.source = Box::new(large()[..3_000_000].to_vec());
    let to = registry.reference("app:1");
    let (result, _) = send_as(&RegistryOptions::default(), &to, vec![blob]);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{error:?}");
}

struct Unreadable;

impl BlobSource for Unreadable {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> Result<usize> {
        if offset > 1_000_000 {
            let text = "cannot read a blob: I/O error";
            return Err(coracle::model::Error::new(ErrorKind::System, text));
        }
        Ok(buffer.len())
    }
}

#[test]
fn a_disk_that_fails_is_not_the_lines_fault() {
    let registry = FakeRegistry::start();
    let mut blob = request(&large());
    blob.source = Box::new(Unreadable);
    let to = registry.reference("app:1");
    let (result, watch) = send_as(&RegistryOptions::default(), &to, vec![blob]);
    assert_eq!(result.unwrap_err().kind(), ErrorKind::System);
    assert_eq!(watch.retries.load(Ordering::Relaxed), 0);
}

fn with_lenders(registry: &FakeRegistry, names: &[&str]) -> UploadRequest<'static> {
    let mut blob = request(&large());
    blob.mount_from = names.iter().map(|name| registry.reference(name)).collect();
    blob
}

#[test]
fn a_neighbour_lends_its_blob() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| {
        let mount = request.path.contains("mount=") && request.path.ends_with("from=base");
        mount.then(|| Reply::status(201))
    });
    let mut blob = with_lenders(&registry, &["base:1", "base:2", "app:3"]);
    blob.mount_from
        .push("elsewhere.example/base:1".parse().unwrap());
    let to = registry.reference("app:1");
    let (result, watch) = send_as(&RegistryOptions::default(), &to, vec![blob]);
    result.unwrap();
    let mounted = Uploaded::Mounted("base".to_owned());
    assert_eq!(*watch.finished.lock().unwrap(), [mounted]);
    assert_eq!(sent(&registry), 0);
}

#[test]
fn a_refused_mount_is_an_upload() {
    let registry = FakeRegistry::start();
    // One is not allowed, the next answers as if it had been asked for an upload.
    registry.chaos(|request| {
        let refused = request.path.ends_with("from=secret");
        refused.then(|| Reply::status(403))
    });
    let blob = with_lenders(&registry, &["secret:1", "base:1"]);
    let to = registry.reference("app:1");
    let (result, watch) = send_as(&RegistryOptions::default(), &to, vec![blob]);
    result.unwrap();
    assert_eq!(*watch.finished.lock().unwrap(), [Uploaded::Sent]);
    assert_eq!(of(&registry, "POST").len(), 2);
    assert_eq!(registry.blob(&digest(&large())).unwrap(), large());
}

fn with_password() -> RegistryOptions {
    RegistryOptions {
        credentials: Some(("user".to_owned(), "geheim".to_owned())),
        ..RegistryOptions::default()
    }
}

/// A registry that wants a password.
fn guarded(
    registry: &FakeRegistry,
    mut more: impl FnMut(&Request) -> Option<Reply> + Send + 'static,
) {
    registry.chaos(move |request| {
        if request.header("authorization").is_none() {
            let challenge = r#"Basic realm="here""#;
            return Some(Reply::status(401).with("WWW-Authenticate", challenge));
        }
        more(request)
    });
}

#[test]
fn an_address_on_another_host_gets_no_credentials() {
    let storage = FakeRegistry::start();
    let registry = FakeRegistry::start();
    // Both begin the same upload; the address that is named is the storage's.
    let begun = Registry::with_limits(&RegistryOptions::default(), limits());
    drop(begun);
    let address = storage.address;
    storage.chaos(|request| match request.method.as_str() {
        "PATCH" => Some(
            Reply::status(202)
                .with("Location", "/signed?state=abc")
                .with("Range", "0-4999999"),
        ),
        _ => Some(Reply::status(201)),
    });
    guarded(&registry, move |request| {
        (request.method == "POST").then(|| {
            Reply::status(202).with("Location", format!("http://{address}/signed?state=abc"))
        })
    });
    let to = registry.reference("app:1");
    send_as(&with_password(), &to, vec![request(&large())])
        .0
        .unwrap();
    let abroad = storage.requests();
    assert_eq!(abroad.len(), 2);
    for request in abroad {
        assert_eq!(request.header("authorization"), None);
        assert!(request.path.starts_with("/signed?state=abc"));
    }
}

#[test]
fn a_redirected_upload_goes_along_without_credentials() {
    let storage = FakeRegistry::start();
    let registry = FakeRegistry::start();
    let address = storage.address;
    storage.chaos(|_| Some(Reply::status(201)));
    guarded(&registry, move |request| {
        (request.method == "PUT")
            .then(|| Reply::status(307).with("Location", format!("http://{address}/put")))
    });
    let to = registry.reference("app:1");
    send_as(&with_password(), &to, vec![request(b"small")])
        .0
        .unwrap();
    let abroad = storage.requests();
    assert_eq!(abroad.len(), 1);
    assert_eq!(abroad[0].header("authorization"), None);
    assert_eq!(abroad[0].bytes, b"small");
}

#[test]
fn a_token_that_runs_out_in_the_middle_is_renewed() {
    let registry = FakeRegistry::start();
    let address = registry.address;
    let tokens = Arc::new(AtomicUsize::new(0));
    let given = tokens.clone();
    registry.chaos(move |request| {
        if request.path.starts_with("/token") {
            let number = given.fetch_add(1, Ordering::Relaxed) + 1;
            return Some(Reply::ok(format!(r#"{{"token":"T{number}"}}"#)));
        }
        // The first one ends with the first part of the upload.
        let valid = match request.method.as_str() {
            "HEAD" | "POST" => "Bearer T1",
            _ => "Bearer T2",
        };
        if request.header("authorization") != Some(valid) {
            let challenge = format!(r#"Bearer realm="http://{address}/token",service="here""#);
            return Some(Reply::status(401).with("WWW-Authenticate", challenge));
        }
        None
    });
    send(&registry, &large()).0.unwrap();
    assert_eq!(registry.blob(&digest(&large())).unwrap(), large());
    assert_eq!(tokens.load(Ordering::Relaxed), 2);
    let asked = registry.requests();
    let asked: Vec<&Request> = asked
        .iter()
        .filter(|request| request.path.starts_with("/token"))
        .collect();
    for request in asked {
        let scope = "scope=repository%3Aapp%3Apull%2Cpush";
        assert!(request.path.contains(scope), "{}", request.path);
    }
}

#[test]
fn a_mount_asks_for_both_repositories() {
    let registry = FakeRegistry::start();
    let address = registry.address;
    registry.chaos(move |request| {
        if request.path.starts_with("/token") {
            let both = request.path.matches("scope=").count() == 2;
            return Some(Reply::ok(format!(r#"{{"token":"T{both}"}}"#)));
        }
        let mount = request.path.contains("mount=");
        if request.header("authorization") != Some(&format!("Bearer T{mount}")) {
            let challenge = format!(r#"Bearer realm="http://{address}/token""#);
            return Some(Reply::status(401).with("WWW-Authenticate", challenge));
        }
        mount.then(|| Reply::status(201))
    });
    let blob = with_lenders(&registry, &["base:1"]);
    let to = registry.reference("app:1");
    let (result, watch) = send_as(&RegistryOptions::default(), &to, vec![blob]);
    result.unwrap();
    let mounted = Uploaded::Mounted("base".to_owned());
    assert_eq!(*watch.finished.lock().unwrap(), [mounted]);
}

#[test]
fn one_failure_ends_all() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| {
        let bad = request.method == "POST" && request.header("content-length") == Some("0");
        bad.then(|| Reply {
            status: 403,
            body: br#"{"errors":[{"code":"DENIED","message":"requested access to the resource is denied"}]}"#.to_vec(),
            ..Reply::default()
        })
    });
    let blobs = (0..20_u8).map(|i| request(&[i; 3000])).collect();
    let to = registry.reference("app:1");
    let (result, watch) = send_as(&RegistryOptions::default(), &to, blobs);
    let error = result.unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(
        error
            .one_line()
            .contains("requested access to the resource is denied")
    );
    assert!(error.hint().unwrap().contains("coracle login"));
    assert!(watch.finished.lock().unwrap().is_empty());
}

#[test]
fn tags_come_page_by_page() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| match request.path.as_str() {
        "/v2/app/tags/list" => Some(
            Reply::ok(r#"{"name":"app","tags":["a","b"]}"#)
                .with("Link", r#"</v2/app/tags/list?last=b&n=2>; rel="next""#),
        ),
        "/v2/app/tags/list?last=b&n=2" => Some(Reply::ok(r#"{"name":"app","tags":["c"]}"#)),
        _ => Some(Reply::ok(r#"{"name":"app","tags":null}"#)),
    });
    let client = Registry::with_limits(&RegistryOptions::default(), limits());
    let tags = |name: &str| client.tags(&registry.reference(name), &|_, _| {}).unwrap();
    assert_eq!(tags("app"), ["a", "b", "c"]);
    assert!(tags("empty").is_empty());
}

//! Documents from a registry: schemes, TLS, grants, redirects, repetitions, and what is said when
//! it does not work.

mod fake_registry;

use std::{
    cell::RefCell,
    fs,
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    path::PathBuf,
    time::{Duration, Instant},
};

use coracle::{
    model::{ErrorKind, Reference, RegistryOptions, Result, manifest::OCI_MANIFEST},
    registry::{Limits, Registry, RemoteDocument},
};
use fake_registry::{CA, FakeRegistry, Reply, digest};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn limits() -> Limits {
    Limits {
        retries: 3,
        first_pause: Duration::from_millis(1),
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        ..Limits::default()
    }
}

fn options() -> RegistryOptions {
    RegistryOptions::default()
}

fn document(options: &RegistryOptions, reference: &Reference) -> Result<RemoteDocument> {
    Registry::with_limits(options, limits()).document(reference, &|_, _| {})
}

fn registry_with_manifest() -> FakeRegistry {
    let registry = FakeRegistry::start();
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    registry
}

#[test]
fn by_tag_and_by_digest_over_plain_http_on_loopback() {
    let registry = registry_with_manifest();
    let expected = RemoteDocument {
        bytes: MANIFEST.to_vec(),
        media_type: Some(OCI_MANIFEST.to_owned()),
        digest: digest(MANIFEST),
    };
    let tag = registry.reference("team/app:1");
    assert_eq!(document(&options(), &tag).unwrap(), expected);
    let at_digest = tag.at_digest(digest(MANIFEST));
    assert_eq!(document(&options(), &at_digest).unwrap(), expected);

    let asked = registry.requests();
    assert_eq!(asked[0].path, "/v2/team/app/manifests/1");
    let accepted: Vec<_> = asked[0]
        .headers
        .iter()
        .filter(|(name, _)| name == "accept")
        .collect();
    assert_eq!(accepted.len(), 4);
    assert_eq!(asked[0].header("authorization"), None);
}

#[test]
fn the_announced_digest_costs_a_head_request() {
    let registry = registry_with_manifest();
    let client = Registry::with_limits(&options(), limits());
    let found = client.announced_digest(&registry.reference("app:1"), &|_, _| {});
    assert_eq!(found.unwrap(), Some(digest(MANIFEST)));
    assert_eq!(registry.requests()[0].method, "HEAD");
}

#[test]
fn plain_http_is_refused_when_tls_is_asked_for() {
    let registry = registry_with_manifest();
    let strict = RegistryOptions {
        tls_verify: Some(true),
        ..options()
    };
    let error = document(&strict, &registry.reference("app:1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(registry.requests().is_empty());
}

#[test]
fn bytes_that_are_not_those_of_the_digest_are_refused() {
    let registry = registry_with_manifest();
    registry.chaos(|request| {
        let reply = Reply::ok("other").with("Content-Type", OCI_MANIFEST);
        Some(if request.path.ends_with("/2") {
            reply.with("Docker-Content-Digest", digest(MANIFEST).to_string())
        } else {
            reply
        })
    });
    let wrong = registry.reference("app").at_digest(digest(MANIFEST));
    let error = document(&options(), &wrong).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    let error = document(&options(), &registry.reference("app:2")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
}

#[test]
fn a_document_has_a_largest_size() {
    let registry = registry_with_manifest();
    registry.chaos(|_| Some(Reply::ok(vec![b' '; (4 << 20) + 1])));
    let error = document(&options(), &registry.reference("app:1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
}

#[test]
fn what_is_not_there_is_said_once_and_not_asked_again() {
    let registry = registry_with_manifest();
    let error = document(&options(), &registry.reference("app:nope")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NotFoundInRegistry);
    let expected = format!(
        "manifest {0}/app:nope is not in registry {0}: manifest unknown: unknown here",
        registry.address
    );
    assert_eq!(error.one_line(), expected);
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_failing_registry_is_asked_again_and_then_named() {
    let registry = registry_with_manifest();
    registry.chaos(|_| Some(Reply::status(500)));
    let told = RefCell::new(Vec::new());
    let error = Registry::with_limits(&options(), limits())
        .document(&registry.reference("app:1"), &|what, why| {
            told.borrow_mut().push(format!("{what} | {why}"));
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    let line = format!(
        "registry {0} answered 500 Internal Server Error for manifest {0}/app:1",
        registry.address
    );
    assert_eq!(error.one_line(), line);
    assert_eq!(registry.requests().len(), 4);
    assert_eq!(told.borrow().len(), 3);
    assert!(told.borrow()[0].starts_with("manifest "));
}

#[test]
fn the_user_says_how_often_and_how_soon() {
    for retries in [0, 2] {
        let registry = registry_with_manifest();
        registry.chaos(|_| Some(Reply::status(500)));
        let options = RegistryOptions {
            retries: Some(retries),
            retry_delay: Some(Duration::from_millis(1)),
            ..options()
        };
        let wanted = registry.reference("app:1");
        Registry::new(&options)
            .document(&wanted, &|_, _| ())
            .unwrap_err();
        assert_eq!(registry.requests().len(), retries as usize + 1);
    }
}

#[test]
fn it_goes_on_when_the_registry_recovers() {
    for bad in [
        Reply::status(503),
        Reply::status(429),
        Reply {
            cut: Some(3),
            ..Reply::ok(MANIFEST)
        },
    ] {
        let registry = registry_with_manifest();
        let mut left = 2;
        registry.chaos(move |_| {
            left -= 1;
            (left >= 0).then(|| bad.clone())
        });
        assert!(document(&options(), &registry.reference("app:1")).is_ok());
        assert_eq!(registry.requests().len(), 3);
    }
}

#[test]
fn the_pause_is_as_long_as_the_registry_asks_for_within_reason() {
    let registry = registry_with_manifest();
    let mut first = true;
    registry.chaos(move |_| {
        std::mem::take(&mut first).then(|| Reply::status(429).with("Retry-After", "1"))
    });
    let start = Instant::now();
    assert!(document(&options(), &registry.reference("app:1")).is_ok());
    assert!(start.elapsed() >= Duration::from_secs(1));

    registry.chaos(|_| Some(Reply::status(429).with("Retry-After", "86400")));
    let asked = registry.requests().len();
    let error = document(&options(), &registry.reference("app:1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert_eq!(registry.requests().len(), asked + 1);
}

#[test]
fn silence_ends_the_attempt() {
    let registry = registry_with_manifest();
    registry.chaos(|_| {
        Some(Reply {
            stall: Some((3, Duration::from_secs(3))),
            ..Reply::ok(MANIFEST)
        })
    });
    let impatient = Limits {
        retries: 1,
        stall: Duration::from_millis(200),
        ..limits()
    };
    let start = Instant::now();
    let error = Registry::with_limits(&options(), impatient)
        .document(&registry.reference("app:1"), &|_, _| {})
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.message().contains("sent nothing"), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[test]
fn an_unreachable_registry_is_one_clear_line() {
    let port = TcpListener::bind("127.0.0.1:0")
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let reference = format!("localhost:{port}/app:1").parse().unwrap();
    let error = document(&options(), &reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert_eq!(
        error.one_line(),
        format!("cannot reach registry localhost:{port}: Connection refused (os error 111)")
    );
}

#[test]
fn a_host_that_does_not_exist_is_not_asked_for_again() {
    let told = RefCell::new(0);
    let error = Registry::with_limits(&options(), limits())
        .document(&"registry.invalid/app:1".parse().unwrap(), &|_, _| {
            *told.borrow_mut() += 1;
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    let line = error.one_line();
    assert!(
        line.starts_with("cannot reach registry registry.invalid: "),
        "{line}"
    );
    // Without a name server there is no answer, and that may change.
    assert!(
        *told.borrow() == 0 || !line.contains("no address for the name"),
        "{line}"
    );
}

#[test]
fn https_with_an_authority_from_certs_d() {
    let registry = FakeRegistry::start_tls("server", false);
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    let reference = registry.reference("app:1");
    let error = document(&options(), &reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.message().contains("unknown authority"), "{error:?}");
    let hint = error.hint().unwrap();
    let place = format!("/etc/docker/certs.d/{}/ca.crt", registry.address);
    assert!(hint.contains(&place), "{hint}");

    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(registry.address.to_string());
    fs::create_dir(&own).unwrap();
    fs::copy(CA, own.join("ca.crt")).unwrap();
    let trusting = RegistryOptions {
        certs_dirs: vec![dir.path().to_owned()],
        ..options()
    };
    assert!(document(&trusting, &reference).is_ok());

    let with_bundle = RegistryOptions {
        ca_file: Some(PathBuf::from(CA)),
        ..options()
    };
    assert!(document(&with_bundle, &reference).is_ok());
    let careless = RegistryOptions {
        tls_verify: Some(false),
        ..options()
    };
    assert!(document(&careless, &reference).is_ok());
}

#[test]
fn a_certificate_that_signed_itself_can_be_put_into_certs_d() {
    let registry = FakeRegistry::start_tls("self", false);
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    let reference = registry.reference("app:1");
    let error = document(&options(), &reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.hint().unwrap().contains("certs.d"));

    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(registry.address.to_string());
    fs::create_dir(&own).unwrap();
    fs::copy(CA.replace("ca.pem", "self.pem"), own.join("ca.crt")).unwrap();
    let trusting = RegistryOptions {
        certs_dirs: vec![dir.path().to_owned()],
        ..options()
    };
    assert!(document(&trusting, &reference).is_ok());
}

#[test]
fn a_client_certificate_is_shown_to_its_registry() {
    let registry = FakeRegistry::start_tls("server", true);
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    let reference = registry.reference("app:1");
    let dir = tempfile::tempdir().unwrap();
    let own = dir.path().join(registry.address.to_string());
    fs::create_dir(&own).unwrap();
    fs::copy(CA, own.join("ca.crt")).unwrap();
    let with_dir = RegistryOptions {
        certs_dirs: vec![dir.path().to_owned()],
        ..options()
    };
    let error = document(&with_dir, &reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);

    fs::copy(CA.replace("ca.pem", "client.pem"), own.join("client.cert")).unwrap();
    let error = document(&with_dir, &reference).unwrap_err();
    assert!(error.message().contains("client.key"), "{error}");
    fs::copy(CA.replace("ca.pem", "client.key"), own.join("client.key")).unwrap();
    assert!(document(&with_dir, &reference).is_ok());
}

/// A registry that wants a token of a token server on the same address, and takes each `uses` times.
fn token_registry(uses: u32) -> FakeRegistry {
    let registry = registry_with_manifest();
    let realm = format!("http://{}/token", registry.address);
    let (mut issued, mut left) = (0, 0);
    registry.chaos(move |request| {
        if request.path.starts_with("/token") {
            issued += 1;
            left = uses;
            let token = format!(r#"{{"token":"T{issued}","expires_in":300}}"#);
            return Some(Reply::ok(token));
        }
        let current = format!("Bearer T{issued}");
        if left > 0 && request.header("authorization") == Some(&current) {
            left -= 1;
            return None;
        }
        let challenge =
            format!(r#"Bearer realm="{realm}",service="here",scope="repository:app:pull,push,*""#);
        Some(Reply::status(401).with("WWW-Authenticate", challenge))
    });
    registry
}

#[test]
fn a_token_is_fetched_once_for_pulling_only() {
    let registry = token_registry(300);
    let client = Registry::with_limits(&options(), limits());
    let reference = registry.reference("team/app:1");
    for _ in 0..2 {
        client.document(&reference, &|_, _| {}).unwrap();
    }
    let paths: Vec<String> = registry.requests().into_iter().map(|r| r.path).collect();
    assert_eq!(
        paths,
        [
            "/v2/team/app/manifests/1",
            "/token?service=here&scope=repository%3Ateam%2Fapp%3Apull",
            "/v2/team/app/manifests/1",
            "/v2/team/app/manifests/1",
        ]
    );
}

#[test]
fn a_token_that_has_run_out_is_renewed() {
    let registry = token_registry(1);
    let client = Registry::with_limits(&options(), limits());
    for _ in 0..2 {
        let got = client.document(&registry.reference("app:1"), &|_, _| {});
        assert!(got.is_ok());
    }
    let tokens = registry.requests();
    let tokens = tokens.iter().filter(|r| r.path.starts_with("/token"));
    assert_eq!(tokens.count(), 2);
}

#[test]
fn the_password_goes_to_the_token_server_and_the_token_to_the_registry() {
    let registry = token_registry(300);
    let known = RegistryOptions {
        credentials: Some(("me".to_owned(), "pass:word".to_owned())),
        ..options()
    };
    document(&known, &registry.reference("app:1")).unwrap();
    let requests = registry.requests();
    assert_eq!(requests[0].header("authorization"), None);
    // me:pass:word
    assert_eq!(
        requests[1].header("authorization"),
        Some("Basic bWU6cGFzczp3b3Jk")
    );
    assert!(requests[1].path.ends_with("&account=me"));
    assert_eq!(requests[2].header("authorization"), Some("Bearer T1"));
}

#[test]
fn an_identity_token_is_exchanged_by_post() {
    let registry = token_registry(300);
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    let json = format!(
        r#"{{"auths":{{"{}":{{"identitytoken":"ID/+"}}}}}}"#,
        registry.address
    );
    fs::write(&file, json).unwrap();
    let known = RegistryOptions {
        auth_files: vec![dir.path().join("missing.json"), file],
        ..options()
    };
    document(&known, &registry.reference("app:1")).unwrap();
    let post = &registry.requests()[1];
    assert_eq!(
        (post.method.as_str(), post.path.as_str()),
        ("POST", "/token")
    );
    assert!(
        post.body.contains("grant_type=refresh_token"),
        "{}",
        post.body
    );
    assert!(
        post.body.contains("refresh_token=ID%2F%2B"),
        "{}",
        post.body
    );
}

fn basic_registry() -> FakeRegistry {
    let registry = registry_with_manifest();
    registry.chaos(|request| {
        // u:p
        (request.header("authorization") != Some("Basic dTpw"))
            .then(|| Reply::status(401).with("WWW-Authenticate", "Basic realm=\"here\""))
    });
    registry
}

#[test]
fn basic_credentials_and_their_absence() {
    let registry = basic_registry();
    let reference = registry.reference("app:1");
    let error = document(&options(), &reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let hint = error.hint().unwrap();
    assert!(hint.contains(&format!("coracle login {}", registry.address)));

    let with = |password: &str| RegistryOptions {
        credentials: Some(("u".to_owned(), password.to_owned())),
        ..options()
    };
    let error = document(&with("wrong"), &reference).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    assert!(!format!("{error:?}").contains("wrong"));
    assert!(document(&with("p"), &reference).is_ok());
}

/// Helpers are found through PATH, so a test can run one only by a PATH of its own: this program
/// runs itself with one.
#[test]
fn a_credential_helper_is_asked() {
    let registry = basic_registry();
    let dir = tempfile::tempdir().unwrap();
    if std::env::var_os("FAKE_REGISTRY_FOR_HELPER").is_none() {
        let helper = dir.path().join("docker-credential-test");
        let script = "#!/bin/sh\nread server\necho \"$1 $server\" >\"$0.asked\"\n\
                      echo '{\"ServerURL\":\"x\",\"Username\":\"u\",\"Secret\":\"p\"}'\n";
        fs::write(&helper, script).unwrap();
        fs::set_permissions(&helper, fs::Permissions::from_mode(0o755)).unwrap();
        let json = format!(r#"{{"credHelpers":{{"{}":"test"}}}}"#, registry.address);
        fs::write(dir.path().join("config.json"), json).unwrap();
        let status = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "a_credential_helper_is_asked"])
            .env("FAKE_REGISTRY_FOR_HELPER", registry.address.to_string())
            .env("HELPER_DIR", dir.path())
            .env("PATH", format!("{}:/usr/bin:/bin", dir.path().display()))
            .status()
            .unwrap();
        assert!(status.success());
        let asked = fs::read_to_string(dir.path().join("docker-credential-test.asked"));
        assert_eq!(asked.unwrap(), format!("get {}\n", registry.address));
        return;
    }
    let address = std::env::var("FAKE_REGISTRY_FOR_HELPER").unwrap();
    let known = RegistryOptions {
        auth_files: vec![PathBuf::from(std::env::var("HELPER_DIR").unwrap()).join("config.json")],
        ..options()
    };
    let reference = format!("{address}/app:1").parse().unwrap();
    assert!(document(&known, &reference).is_ok());
}

#[test]
fn a_damaged_auth_file_is_named_and_not_quoted() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("auth.json");
    fs::write(&file, r#"{"auths": {"x": {"auth": "SECRET"}"#).unwrap();
    let broken = RegistryOptions {
        auth_files: vec![file],
        ..options()
    };
    let error = document(&broken, &"localhost:1/x".parse().unwrap()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("auth.json"));
    assert!(!format!("{error:?}").contains("SECRET"));
}

/// CVE-2020-15157: the credentials of a registry must not reach the host that it redirects to.
#[test]
fn a_redirect_elsewhere_takes_no_credentials_along() {
    let (registry, storage) = (basic_registry(), registry_with_manifest());
    let location = format!(
        "http://{}/v2/app/manifests/1?signature=SIGNED",
        storage.address
    );
    registry.chaos(move |request| {
        Some(match request.header("authorization") {
            None => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"here\""),
            Some(_) if request.path.ends_with("/there") => {
                Reply::ok("{}").with("Content-Type", OCI_MANIFEST)
            }
            Some(_) if request.path.ends_with("/2") => {
                Reply::status(302).with("Location", "/there")
            }
            Some(_) => Reply::status(307).with("Location", location.clone()),
        })
    });
    let known = RegistryOptions {
        credentials: Some(("u".to_owned(), "p".to_owned())),
        ..options()
    };
    storage.chaos(|request| {
        request
            .path
            .contains("signature=SIGNED")
            .then(|| Reply::ok(MANIFEST))
    });
    assert!(document(&known, &registry.reference("app:1")).is_ok());
    assert_eq!(storage.requests()[0].header("authorization"), None);
    // To the same origin they go along.
    assert!(document(&known, &registry.reference("app:2")).is_ok());

    // And the signature is not shown when the storage fails.
    storage.chaos(|_| Some(Reply::status(403)));
    let error = document(&known, &registry.reference("app:1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
    assert!(error.message().contains(&storage.address.to_string()));
    assert!(!format!("{error:?}").contains("SIGNED"));
}

#[test]
fn redirects_end() {
    let registry = registry_with_manifest();
    registry.chaos(|request| Some(Reply::status(302).with("Location", request.path.clone())));
    let error = document(&options(), &registry.reference("app:1")).unwrap_err();
    assert!(error.message().contains("in circles"), "{error}");
    registry.chaos(|_| Some(Reply::status(302).with("Location", "file:///etc/passwd")));
    let error = document(&options(), &registry.reference("app:1")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);
}

#[test]
fn https_does_not_lead_to_http() {
    let (registry, storage) = (
        FakeRegistry::start_tls("server", false),
        registry_with_manifest(),
    );
    let (place, realm) = (
        format!("http://{}/v2/app/manifests/1", storage.address),
        format!("Bearer realm=\"http://{}/token\"", storage.address),
    );
    let trusting = RegistryOptions {
        ca_file: Some(PathBuf::from(CA)),
        ..options()
    };
    registry.chaos(move |_| Some(Reply::status(307).with("Location", place.clone())));
    let error = document(&trusting, &registry.reference("app:1")).unwrap_err();
    assert!(error.message().contains("to plain http"), "{error}");

    registry.chaos(move |_| Some(Reply::status(401).with("WWW-Authenticate", realm.clone())));
    let error = document(&trusting, &registry.reference("app:1")).unwrap_err();
    assert!(error.message().contains("not https"), "{error}");
    assert!(storage.requests().is_empty());
}

#[test]
fn a_proxy_is_not_used_for_this_machine_but_for_others() {
    let (registry, proxy) = (registry_with_manifest(), registry_with_manifest());
    let proxied = RegistryOptions {
        tls_verify: Some(false),
        http_proxy: Some(format!("http://{}", proxy.address)),
        ..options()
    };
    assert!(document(&proxied, &registry.reference("app:1")).is_ok());
    assert!(proxy.requests().is_empty());

    let elsewhere: Reference = "registry.invalid:80/app:1".parse().unwrap();
    let https_too = RegistryOptions {
        https_proxy: proxied.http_proxy.clone(),
        ..proxied.clone()
    };
    assert!(document(&https_too, &elsewhere).is_ok());
    let asked: Vec<String> = proxy
        .requests()
        .iter()
        .map(|request| format!("{} {}", request.method, request.path))
        .collect();
    assert_eq!(
        asked,
        [
            "CONNECT registry.invalid:80",
            "GET http://registry.invalid/v2/app/manifests/1"
        ]
    );
    let excepted = RegistryOptions {
        no_proxy: Some(".invalid".to_owned()),
        ..https_too
    };
    let impatient = Limits {
        retries: 0,
        connect: Duration::from_millis(500),
        ..limits()
    };
    let error = Registry::with_limits(&excepted, impatient).document(&elsewhere, &|_, _| {});
    assert_eq!(error.unwrap_err().kind(), ErrorKind::Registry);
    assert_eq!(proxy.requests().len(), 2);
}

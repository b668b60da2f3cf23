//! Logins, registries.conf and searches against a scripted registry: what is kept where, who is
//! asked, and that no secret is ever shown.

mod fake_registry;

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, symlink},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::Duration,
};

use coracle::{
    engine::logins::{self, Kept},
    model::{
        ErrorKind, Reference, RegistryOptions,
        auth_file::{AuthFile, StoredLogin},
        manifest::OCI_MANIFEST,
        registry::{LoginPlaces, RegistriesFiles},
    },
    registry::{Limits, Registry},
};
use fake_registry::{FakeRegistry, Reply, digest};

const MANIFEST: &[u8] = br#"{"schemaVersion":2}"#;

fn password(user: &str, password: &str) -> StoredLogin {
    StoredLogin::Password {
        user: user.to_owned(),
        password: password.to_owned(),
    }
}

/// Options that keep logins in `folder` and know no other file.
fn kept_in(folder: &Path) -> RegistryOptions {
    let (docker, podman) = (
        folder.join("docker/config.json"),
        folder.join("run/auth.json"),
    );
    RegistryOptions {
        auth_files: vec![podman.clone(), docker.clone()],
        login_places: LoginPlaces {
            docker: Some(docker),
            podman: Some(podman),
            ..LoginPlaces::default()
        },
        ..RegistryOptions::default()
    }
}

fn client(options: &RegistryOptions) -> Registry {
    let limits = Limits {
        retries: 1,
        first_pause: Duration::from_millis(1),
        connect: Duration::from_secs(5),
        stall: Duration::from_secs(5),
        ..Limits::default()
    };
    Registry::with_limits(options, limits)
}

/// Takes `u:p` alone.
fn basic_registry() -> FakeRegistry {
    let registry = FakeRegistry::start();
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    registry.chaos(|request| match request.header("authorization") {
        Some("Basic dTpw") if request.path == "/v2/" => Some(Reply::ok("{}")),
        Some("Basic dTpw") => None,
        _ => Some(Reply::status(401).with("WWW-Authenticate", "Basic realm=\"here\"")),
    });
    registry
}

fn entries(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap_or_default();
    AuthFile::parse(&text)
        .unwrap()
        .keys()
        .map(str::to_owned)
        .collect()
}

#[test]
fn a_login_is_kept_once_the_registry_has_taken_it() {
    let registry = basic_registry();
    let key = registry.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let options = kept_in(folder.path());
    let error = logins::log_in(&options, &key, password("u", "SECRET")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    let line = format!("registry {key} does not accept this user name and password");
    assert_eq!(error.one_line(), line);
    assert!(!format!("{error:?}").contains("SECRET"));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);

    let kept = logins::log_in(&options, &key, password("u", "p")).unwrap();
    let podman = folder.path().join("run/auth.json");
    assert_eq!(kept, Kept::File(podman.clone()));
    assert_eq!(fs::metadata(&podman).unwrap().mode() & 0o777, 0o600);
    assert_eq!(
        fs::metadata(folder.path().join("run")).unwrap().mode() & 0o777,
        0o700
    );
    assert_eq!(
        logins::stored_login(&options, &key).unwrap(),
        Some(password("u", "p"))
    );
    let reference = registry.reference("app:1");
    assert!(client(&options).document(&reference, &|_, _| {}).is_ok());

    assert!(logins::log_out(&options, &key).unwrap());
    assert!(!logins::log_out(&options, &key).unwrap());
    let error = client(&options)
        .document(&reference, &|_, _| {})
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
}

#[test]
fn dockers_file_is_taken_if_it_exists_and_an_older_entry_is_replaced_where_it_is() {
    let registry = basic_registry();
    let key = registry.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let options = kept_in(folder.path());
    let (docker, podman) = (
        folder.path().join("docker/config.json"),
        folder.path().join("run/auth.json"),
    );
    fs::create_dir(folder.path().join("docker")).unwrap();
    fs::write(&docker, r#"{"psFormat":"x"}"#).unwrap();
    fs::set_permissions(&docker, fs::Permissions::from_mode(0o644)).unwrap();
    let kept = logins::log_in(&options, &key, password("u", "p")).unwrap();
    assert_eq!(kept, Kept::File(docker.clone()));
    assert!(fs::read_to_string(&docker).unwrap().contains("psFormat"));
    assert_eq!(fs::metadata(&docker).unwrap().mode() & 0o777, 0o600);

    // An entry that is read before Docker's would hide the new one.
    fs::remove_file(&docker).unwrap();
    fs::write(&docker, "{}").unwrap();
    fs::create_dir(folder.path().join("run")).unwrap();
    fs::write(
        &podman,
        format!(r#"{{"auths":{{"{key}":{{"auth":"b2xkOm9sZA=="}}}}}}"#),
    )
    .unwrap();
    let kept = logins::log_in(&options, &key, password("u", "p")).unwrap();
    assert_eq!(kept, Kept::File(podman.clone()));

    // A logout empties all of them.
    fs::write(
        &docker,
        format!(
            r#"{{"auths":{{"https://{key}/v1/":{{"auth":"YTox"}},"o.example":{{"auth":"YTox"}}}}}}"#
        ),
    )
    .unwrap();
    assert!(logins::log_out(&options, &key).unwrap());
    assert_eq!(entries(&docker), ["o.example"]);
    assert!(entries(&podman).is_empty());
    assert!(logins::log_out_of_all(&options).unwrap());
    assert!(entries(&docker).is_empty());
}

#[test]
fn logins_at_the_same_time_keep_each_other_and_a_link_stays_one() {
    let registry = FakeRegistry::start();
    registry.chaos(|_| Some(Reply::ok("{}")));
    let folder = tempfile::tempdir().unwrap();
    let real = folder.path().join("real.json");
    symlink("real.json", folder.path().join("link.json")).unwrap();
    let mut options = kept_in(folder.path());
    options.auth_files = vec![folder.path().join("link.json")];
    options.login_places.named = Some(folder.path().join("link.json"));
    thread::scope(|scope| {
        for number in 0..16 {
            let (options, key) = (&options, format!("{}/team{number}", registry.address));
            scope.spawn(move || logins::log_in(options, &key, password("u", "p")).unwrap());
        }
    });
    assert_eq!(entries(&real).len(), 16);
    assert!(folder.path().join("link.json").is_symlink());
    let names: Vec<PathBuf> = fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert_eq!(names.len(), 2, "{names:?}");
}

#[test]
fn a_damaged_auth_file_stays_as_it_is() {
    let registry = basic_registry();
    let folder = tempfile::tempdir().unwrap();
    let options = kept_in(folder.path());
    fs::create_dir(folder.path().join("run")).unwrap();
    let file = folder.path().join("run/auth.json");
    fs::write(&file, r#"{"auths": {"SECRET"#).unwrap();
    let key = registry.address.to_string();
    let error = logins::log_in(&options, &key, password("u", "p")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    assert!(error.message().contains("auth.json") && !format!("{error:?}").contains("SECRET"));
    assert_eq!(fs::read_to_string(&file).unwrap(), r#"{"auths": {"SECRET"#);
}

/// As Docker's own token server: an identity token is given in exchange for the password.
#[test]
fn an_identity_token_is_asked_for_and_kept_instead_of_the_password() {
    let registry = FakeRegistry::start();
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    let realm = format!("http://{}/token", registry.address);
    registry.chaos(move |request| {
        if request.path.starts_with("/token") {
            let known = request.header("authorization") == Some("Basic dTpw")
                || request.body.contains("refresh_token=IDENTITY");
            return Some(match known {
                true => Reply::ok(r#"{"access_token":"T","refresh_token":"IDENTITY"}"#),
                false => Reply::status(401),
            });
        }
        match request.header("authorization") {
            Some("Bearer T") if request.path == "/v2/" => Some(Reply::ok("{}")),
            Some("Bearer T") => None,
            _ => Some(Reply::status(401).with(
                "WWW-Authenticate",
                format!("Bearer realm=\"{realm}\",service=\"here\""),
            )),
        }
    });
    let key = registry.address.to_string();
    let folder = tempfile::tempdir().unwrap();
    let options = kept_in(folder.path());
    let error = logins::log_in(&options, &key, password("u", "wrong")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unauthorized);
    logins::log_in(&options, &key, password("u", "p")).unwrap();
    let asked = registry.requests();
    let token = asked
        .iter()
        .find(|request| request.path.starts_with("/token"))
        .unwrap();
    assert_eq!(
        token.path,
        "/token?service=here&account=u&client_id=coracle&offline_token=true"
    );
    let text = fs::read_to_string(folder.path().join("run/auth.json")).unwrap();
    assert!(text.contains("\"identitytoken\": \"IDENTITY\""), "{text}");
    // u: without the password
    assert!(text.contains("\"auth\": \"dTo=\""), "{text}");
    let login = logins::stored_login(&options, &key).unwrap().unwrap();
    assert_eq!(login.user(), "u");
    logins::check_login(&options, &key, login).unwrap();
    let found = client(&options).document(&registry.reference("app:1"), &|_, _| {});
    assert!(found.is_ok());
}

/// Options that read `text` as registries.conf.
fn configured(folder: &Path, text: &str) -> RegistryOptions {
    let file = folder.join("registries.conf");
    fs::write(&file, text).unwrap();
    RegistryOptions {
        registries: RegistriesFiles {
            named: Some(file),
            ..RegistriesFiles::default()
        },
        ..kept_in(folder)
    }
}

fn reference(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn mirrors_are_asked_in_order_and_the_registry_last() {
    let (mirror, registry) = (FakeRegistry::start(), basic_registry());
    let absent = "127.0.0.1:1";
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[[registry]]\nprefix = \"r.example/team\"\nlocation = \"{0}/moved\"\ninsecure = true\n\
         [[registry.mirror]]\nlocation = \"{absent}\"\n\
         [[registry.mirror]]\nlocation = \"{1}/cache\"\n",
        registry.address, mirror.address
    );
    let mut options = configured(folder.path(), &text);
    options.credentials = Some(("u".to_owned(), "p".to_owned()));
    let name = reference("r.example/team/app:1");
    let paths = |registry: &FakeRegistry| -> Vec<String> {
        let asked = registry.requests();
        asked.into_iter().map(|request| request.path).collect()
    };

    let found = client(&options).document(&name, &|_, _| {}).unwrap();
    assert_eq!(found.digest, digest(MANIFEST));
    assert_eq!(paths(&mirror), ["/v2/cache/app/manifests/1"]);
    assert_eq!(paths(&registry), ["/v2/moved/app/manifests/1"; 2]);
    // What --creds gives is not the mirror's.
    mirror.chaos(|_| Some(Reply::status(401).with("WWW-Authenticate", "Basic realm=\"x\"")));
    client(&options).document(&name, &|_, _| {}).unwrap();
    assert!(
        mirror
            .requests()
            .iter()
            .all(|request| request.header("authorization").is_none())
    );

    // And the mirror alone, manifest and blobs, once it has the image.
    mirror.chaos(|_| None);
    mirror.add_document("1", OCI_MANIFEST, MANIFEST);
    let blob = mirror.add_blob("content");
    let before = registry.requests().len();
    let client = client(&options);
    client.document(&name, &|_, _| {}).unwrap();
    let bytes = client.small_blob(&name, &blob, 7, &|_, _| {}).unwrap();
    assert_eq!(bytes, b"content");
    assert_eq!(registry.requests().len(), before);
    // Uploads go to the registry.
    assert!(!client.has_blob(&name, &blob, &|_, _| {}).unwrap());
    assert_eq!(
        paths(&registry).last().unwrap(),
        &format!("/v2/moved/app/blobs/{blob}")
    );
}

#[test]
fn what_a_mirror_lacks_comes_from_the_next_place() {
    let (mirror, registry) = (FakeRegistry::start(), FakeRegistry::start());
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n",
        registry.address, mirror.address
    );
    let options = configured(folder.path(), &text);
    let name = registry.reference("app:1");
    mirror.add_document("1", OCI_MANIFEST, MANIFEST);
    registry.add_document("1", OCI_MANIFEST, "what is there now");
    let blob = registry.add_blob("content");
    let client = client(&options);
    client.document(&name, &|_, _| {}).unwrap();
    let bytes = client.small_blob(&name, &blob, 7, &|_, _| {}).unwrap();
    assert_eq!(bytes, b"content");
    assert!(
        mirror
            .requests()
            .iter()
            .any(fake_registry::Request::is_blob)
    );
    // What is to be changed is never what a mirror kept of it.
    let origin = client.document_at_origin(&name, &|_, _| {}).unwrap();
    assert_eq!(origin.bytes, b"what is there now");
    // Where nobody has it, the registry's own answer counts.
    let nothing = digest(b"nothing");
    let error = client
        .small_blob(&name, &nothing, 7, &|_, _| {})
        .unwrap_err();
    assert!(
        error.to_string().contains(&registry.address.to_string()),
        "{error}"
    );
}

#[test]
fn a_mirror_with_other_bytes_is_passed_over() {
    let (mirror, registry) = (FakeRegistry::start(), FakeRegistry::start());
    mirror.chaos(|_| Some(Reply::ok("other").with("Content-Type", OCI_MANIFEST)));
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\npull-from-mirror = \"digest-only\"",
        registry.address, mirror.address
    );
    let options = configured(folder.path(), &text);
    let name = registry.reference("app:1");
    client(&options).document(&name, &|_, _| {}).unwrap();
    assert!(mirror.requests().is_empty());
    let by_digest = name.at_digest(digest(MANIFEST));
    let found = client(&options).document(&by_digest, &|_, _| {}).unwrap();
    assert_eq!(found.bytes, MANIFEST);
    assert_eq!(mirror.requests().len(), 1);
}

/// A blob that two mirrors have other bytes of, and the registry has.
#[test]
fn a_mirror_with_a_damaged_blob_is_passed_over() {
    let (spoilt, short, registry) = (
        FakeRegistry::start(),
        FakeRegistry::start(),
        FakeRegistry::start(),
    );
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\n[[registry.mirror]]\nlocation = \"{}\"\n\
         [[registry.mirror]]\nlocation = \"{}\"\n",
        registry.address, spoilt.address, short.address
    );
    let options = configured(folder.path(), &text);
    let name = registry.reference("app:1");
    for place in [&spoilt, &short, &registry] {
        place.add_document("1", OCI_MANIFEST, MANIFEST);
    }
    let blob = registry.add_blob("content");
    for place in [&spoilt, &short] {
        place.chaos(|request| {
            request
                .is_blob()
                .then(|| Reply::ok("CONTENT").with("Content-Type", "application/octet-stream"))
        });
    }
    let client = client(&options);
    client.document(&name, &|_, _| {}).unwrap();
    let bytes = client.small_blob(&name, &blob, 7, &|_, _| {}).unwrap();
    assert_eq!(bytes, b"content");
    for place in [&spoilt, &short, &registry] {
        let asked = place.requests();
        let blobs = asked.iter().filter(|request| request.is_blob()).count();
        assert_eq!(blobs, 1);
    }
    // Where the registry itself has other bytes, that is the end.
    registry.chaos(|request| {
        request
            .is_blob()
            .then(|| Reply::ok("CONTENT").with("Content-Type", "application/octet-stream"))
    });
    let error = client.small_blob(&name, &blob, 7, &|_, _| {}).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
}

#[test]
fn blocked_is_blocked_and_a_bad_file_names_its_line() {
    let registry = basic_registry();
    let folder = tempfile::tempdir().unwrap();
    let text = format!(
        "[[registry]]\nlocation = \"{}\"\nblocked = true",
        registry.address
    );
    let options = configured(folder.path(), &text);
    let name = registry.reference("app:1");
    let error = client(&options).document(&name, &|_, _| {}).unwrap_err();
    assert!(error.message().contains("is blocked"), "{error}");
    let key = registry.address.to_string();
    let error = logins::log_in(&options, &key, password("u", "p")).unwrap_err();
    assert!(error.message().contains("is blocked"), "{error}");
    assert!(registry.requests().is_empty());

    let options = configured(
        folder.path(),
        "\n\n[[registry]]\nlocation = \"a.example\"\nblockd = true\n",
    );
    let error = client(&options).document(&name, &|_, _| {}).unwrap_err();
    assert!(
        error
            .message()
            .contains("registries.conf:5: unknown field `blockd`"),
        "{error}"
    );
    let gone = RegistryOptions {
        registries: RegistriesFiles {
            named: Some("/nonexistent/registries.conf".into()),
            ..RegistriesFiles::default()
        },
        ..RegistryOptions::default()
    };
    let error = client(&gone).document(&name, &|_, _| {}).unwrap_err();
    assert!(
        error.message().contains("/nonexistent/registries.conf"),
        "{error}"
    );
}

#[test]
fn additions_come_after_the_main_file_in_the_order_of_their_names() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, text: &str| fs::write(folder.path().join(name), text).unwrap();
    write("main", "unqualified-search-registries = [\"a.example\"]");
    write(
        "20.conf",
        "unqualified-search-registries = [\"c.example\"]\n[aliases]\nx = \"\"",
    );
    write(
        "10.conf",
        "unqualified-search-registries = [\"b.example\"]\n[aliases]\nx = \"x.example/y\"\nz = \"z.example/z\"",
    );
    write("30.txt", "nonsense");
    let files = RegistriesFiles {
        named: None,
        usual: vec!["/nonexistent".into(), folder.path().join("main")],
        additions: vec![folder.path().to_owned(), "/nonexistent".into()],
    };
    let known = logins::registries(&files).unwrap();
    let names = |short: &str| -> Vec<String> {
        let candidates = known.candidates(&reference(short)).unwrap();
        candidates.iter().map(ToString::to_string).collect()
    };
    assert_eq!(names("app:2"), ["c.example/app:2"]);
    assert_eq!(names("x"), ["c.example/x:latest"]);
    assert_eq!(names("z:1"), ["z.example/z:1"]);
    assert_eq!(names("d.example/app"), ["d.example/app:latest"]);
}

#[test]
fn searches_by_the_first_api_and_by_the_catalog() {
    let registry = FakeRegistry::start();
    registry.chaos(|request| {
        request.path.starts_with("/v1/search").then(|| {
            Reply::ok(
                r#"{"num_results":2,"results":[
                {"name":"a/app","description":"d","star_count":3,"is_official":true,"is_automated":false},
                {"name":"b/app"}]}"#,
            )
        })
    });
    let options = RegistryOptions::default();
    let term = |registry: &FakeRegistry| format!("{}/a p&p", registry.address);
    let found = logins::search(&options, &term(&registry), 25).unwrap();
    assert_eq!(found.len(), 2);
    assert_eq!(found[0].0, registry.address.to_string());
    assert!(found[0].1.official && found[0].1.stars == 3);
    assert_eq!(registry.requests()[0].path, "/v1/search?q=a+p%26p&n=25");

    let registry = basic_registry();
    registry.chaos(|request| {
        Some(
            match (request.path.as_str(), request.header("authorization")) {
                (_, None) => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"here\""),
                ("/v2/_catalog?n=1000", _) => Reply::ok(r#"{"repositories":["app","other"]}"#)
                    .with("Link", "</v2/_catalog?last=other&n=1000>; rel=\"next\""),
                ("/v2/_catalog?last=other&n=1000", _) => {
                    Reply::ok(r#"{"repositories":["team/app"]}"#)
                }
                _ => Reply::status(404),
            },
        )
    });
    let options = RegistryOptions {
        credentials: Some(("u".to_owned(), "p".to_owned())),
        ..options
    };
    let term = format!("{}/app", registry.address);
    let names = |limit: usize| -> Vec<String> {
        let found = logins::search(&options, &term, limit).unwrap();
        found.into_iter().map(|(_, one)| one.name).collect()
    };
    assert_eq!(names(25), ["app", "team/app"]);
    assert_eq!(names(1), ["app"]);
}

/// The host alone does not make an origin: another name of it, another port or another scheme is
/// somebody else.
#[test]
fn a_redirect_to_another_name_of_the_host_takes_no_credentials_along() {
    let registry = basic_registry();
    let port = registry.address.port();
    registry.chaos(move |request| {
        let host = request.header("host").unwrap_or_default().to_owned();
        if host.starts_with("localhost") {
            return Some(match request.header("authorization") {
                None => Reply::ok(MANIFEST).with("Content-Type", OCI_MANIFEST),
                Some(_) => Reply::status(500),
            });
        }
        Some(match request.header("authorization") {
            None => Reply::status(401).with("WWW-Authenticate", "Basic realm=\"here\""),
            Some(_) => Reply::status(307).with(
                "Location",
                format!("http://localhost:{port}/v2/app/manifests/1"),
            ),
        })
    });
    let options = RegistryOptions {
        credentials: Some(("u".to_owned(), "p".to_owned())),
        ..RegistryOptions::default()
    };
    let name = registry.reference("app:1");
    assert!(client(&options).document(&name, &|_, _| {}).is_ok());
}

/// The whole program at its most talkative says no password, no token and no signed address.
#[test]
fn no_log_holds_a_secret() {
    let registry = FakeRegistry::start();
    registry.add_document("1", OCI_MANIFEST, MANIFEST);
    let realm = format!("http://{}/token", registry.address);
    registry.chaos(move |request| {
        if request.path.starts_with("/token") {
            return Some(Reply::ok(
                r#"{"access_token":"ACCESSSECRET","refresh_token":"REFRESHSECRET"}"#,
            ));
        }
        match request.header("authorization") {
            Some("Bearer ACCESSSECRET") if request.path == "/v2/" => Some(Reply::ok("{}")),
            Some("Bearer ACCESSSECRET") if request.path.contains("signature") => {
                Some(Reply::status(500))
            }
            Some("Bearer ACCESSSECRET") => {
                Some(Reply::status(307).with("Location", "/there?signature=SIGNEDSECRET"))
            }
            _ => Some(Reply::status(401).with(
                "WWW-Authenticate",
                format!("Bearer realm=\"{realm}\",service=\"here\""),
            )),
        }
    });
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().to_str().unwrap();
    let run = |words: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
            .args([
                "-l",
                "trace",
                "--root",
                &format!("{home}/root"),
                "--runroot",
                &format!("{home}/run"),
            ])
            .args(words)
            .env_clear()
            .env("HOME", home)
            .env("https_proxy", "http://proxy:PROXYSECRET@proxy.invalid:1")
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (
            output.status.code(),
            String::from_utf8_lossy(&said).into_owned(),
        )
    };
    let address = registry.address.to_string();
    let file = format!("{home}/auth.json");
    let login = [
        "login",
        "-u",
        "u",
        "-p",
        "PASSWORDSECRET",
        "--authfile",
        &file,
        &address,
    ];
    let (code, mut said) = run(&login);
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read_to_string(&file).unwrap().contains("REFRESHSECRET"));
    let image = format!("{address}/app:1");
    for words in [
        vec!["pull", "--authfile", &file, &image],
        vec!["pull", "--creds", "u:PASSWORDSECRET", &image],
        vec!["pull", "--creds", "u:PASSWORDSECRET", "r.invalid/app"],
        vec!["search", "--authfile", &file, &image],
    ] {
        said += &run(&words).1;
    }
    assert!(said.contains("500"), "{said}");
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| line.contains("SECRET"))
        .collect();
    assert!(lines.is_empty(), "{lines:#?}");
    // The pair in base64, too.
    assert!(!said.contains("dTpQQVNTV09SRFNFQ1JFV"), "{said}");
}

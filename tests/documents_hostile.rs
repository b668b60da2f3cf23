//! Documents of images – manifest, index, configuration, `manifest.json`, `index.json`, `oci-layout` –
//! as somebody hostile would write them: every one is read as what it is or refused as invalid content
//! in one clear line, and an archive that is refused leaves the store as it was.
//!
//! Good documents are changed at random places: a value becomes another one, of another type, is
//! missing, doubled, very long or very deep. `fuzz/` has the same parsers for random bytes.

mod trees;

use std::{fs, io::Cursor, sync::LazyLock};

use coracle::{
    engine::{
        Silent,
        images::{archive::LoadSource, load::load},
    },
    model::{
        Digest, Error, ErrorKind, Platform, Reference,
        image::{ImageConfig, chain_ids},
        manifest::{self, ACCEPTED, Document},
    },
    storage::Store,
};
use proptest::prelude::*;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use trees::*;

fn sha(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes))
}

fn is_clear(error: &Error) {
    let kinds = [
        ErrorKind::InvalidContent,
        ErrorKind::DigestMismatch,
        ErrorKind::NoMatchingPlatform,
    ];
    assert!(kinds.contains(&error.kind()), "{error:?}");
    let text = error.to_string();
    assert!(text.len() < 20_000, "{} bytes", text.len());
    assert!(!text.chars().any(char::is_control), "{text:?}");
}

// ---- good documents --------------------------------------------------------------------------

static LAYER: LazyLock<Vec<u8>> = LazyLock::new(|| archive(&[file("f", "content")]));

fn config() -> Value {
    let host = Platform::host();
    json!({
        "architecture": host.architecture, "os": host.os, "created": "2026-01-02T03:04:05Z",
        "author": "me",
        "config": {
            "User": "1:2", "Env": ["A=b", "PATH=/bin"], "Entrypoint": ["/e"], "Cmd": ["c"],
            "ExposedPorts": {"80/tcp": {}}, "Volumes": {"/v": {}}, "WorkingDir": "/w",
            "Labels": {"a": "b"}, "StopSignal": "SIGTERM",
            "Healthcheck": {"Test": ["CMD", "x"], "Interval": 1_000_000_000_i64},
        },
        "rootfs": {"type": "layers", "diff_ids": [sha(&LAYER).as_str()]},
        "history": [{"created": "2026-01-02T03:04:05Z", "created_by": "x", "empty_layer": true}],
    })
}

fn descriptor(kind: &str, bytes: &[u8]) -> Value {
    json!({"mediaType": kind, "digest": sha(bytes).as_str(), "size": bytes.len()})
}

fn image_manifest(config: &[u8]) -> Value {
    json!({
        "schemaVersion": 2, "mediaType": manifest::OCI_MANIFEST,
        "config": descriptor(manifest::OCI_CONFIG, config),
        "layers": [descriptor("application/vnd.oci.image.layer.v1.tar", &LAYER)],
        "annotations": {"a": "b"},
    })
}

fn index(manifest: &[u8]) -> Value {
    let host = Platform::host();
    let mut entry = descriptor(manifest::OCI_MANIFEST, manifest);
    entry["platform"] = json!({"os": host.os, "architecture": host.architecture});
    entry["annotations"] = json!({"org.opencontainers.image.ref.name": "app:1"});
    json!({"schemaVersion": 2, "mediaType": manifest::OCI_INDEX, "manifests": [entry]})
}

/// An OCI archive; each document may be replaced, and those that name it follow.
fn oci_archive(change: &dyn Fn(usize, Value) -> Vec<u8>) -> Vec<u8> {
    let config = change(0, config());
    let manifest = change(1, image_manifest(&config));
    let index = change(2, index(&manifest));
    let layout = change(3, json!({"imageLayoutVersion": "1.0.0"}));
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", sha(bytes).hex());
    let files = [
        ("oci-layout".to_owned(), layout),
        ("index.json".to_owned(), index),
        (blob(&config), config),
        (blob(&manifest), manifest),
        (blob(&LAYER), LAYER.clone()),
    ];
    let member_of = |(name, data): (String, Vec<u8>)| Member {
        data,
        ..member(b'0', name)
    };
    archive(&files.map(member_of))
}

fn docker_archive(change: &dyn Fn(usize, Value) -> Vec<u8>) -> Vec<u8> {
    let config = change(0, config());
    let list = change(
        1,
        json!([{"Config": "config.json", "RepoTags": ["app:1"], "Layers": ["layer.tar"]}]),
    );
    let files = [
        ("config.json", config),
        ("layer.tar", LAYER.clone()),
        ("manifest.json", list),
    ];
    archive(&files.map(|(name, data)| Member {
        data,
        ..member(b'0', name)
    }))
}

// ---- hostile changes ---------------------------------------------------------------------------

#[derive(Clone, Debug)]
enum Change {
    Put(Value),
    Remove,
    /// A member of this name beside it, with its value.
    Beside(String),
    /// The same item many times.
    Repeat(usize),
    /// Inside of so many lists.
    Deep(usize),
}

fn hostile_value() -> impl Strategy<Value = Value> {
    let texts = vec![
        "",
        "x",
        "../x",
        "/etc/passwd",
        "a\0b",
        "\u{1b}[2J",
        "a\nb",
        "sha256:",
        "sha512:00",
        "SHA256:00",
        "sha256:../../../../etc/passwd",
        "sha256:ZZ",
        "http://[::1",
        "-1",
        "\u{202e}",
        "layers",
        "A",
        "=",
        "A=\n",
    ];
    prop_oneof![
        prop::sample::select(texts).prop_map(|text| json!(text)),
        (1..5000_usize).prop_map(|length| json!("n".repeat(length))),
        prop::sample::select(vec![i64::MIN, -1, 0, 1, 3, i64::MAX])
            .prop_map(|number| json!(number)),
        Just(json!(u64::MAX)),
        Just(json!(1e300)),
        Just(json!(1.5)),
        Just(json!(null)),
        Just(json!(true)),
        Just(json!([])),
        Just(json!({})),
        Just(json!([[]])),
        Just(json!({"": ""})),
        prop::sample::select(ACCEPTED.to_vec()).prop_map(|kind| json!(kind)),
        Just(json!(Digest::sha256([7_u8; 32]).as_str())),
    ]
}

fn change() -> impl Strategy<Value = Change> {
    let names = vec![
        "layers",
        "manifests",
        "config",
        "mediaType",
        "Layers",
        "rootfs",
        "urls",
        "subject",
        "artifactType",
        "data",
    ];
    prop_oneof![
        6 => hostile_value().prop_map(Change::Put),
        2 => Just(Change::Remove),
        2 => prop::sample::select(names).prop_map(|name| Change::Beside(name.to_owned())),
        1 => (2..300_usize).prop_map(Change::Repeat),
        1 => (1..400_usize).prop_map(Change::Deep),
    ]
}

/// Every place of a value, as JSON pointers, itself first.
fn places(value: &Value, here: &str, out: &mut Vec<String>) {
    out.push(here.to_owned());
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                let key = key.replace('~', "~0").replace('/', "~1");
                places(value, &format!("{here}/{key}"), out);
            }
        }
        Value::Array(list) => {
            for (n, value) in list.iter().enumerate() {
                places(value, &format!("{here}/{n}"), out);
            }
        }
        _ => {}
    }
}

/// Text, since a document of many levels is no value.
fn changed(mut value: Value, changes: &[(prop::sample::Index, Change)]) -> Vec<u8> {
    const HOLE: &str = "(deep)";
    let mut deep = 0;
    for (place, change) in changes {
        let mut all = Vec::new();
        places(&value, "", &mut all);
        let pointer = &all[place.index(all.len())];
        let here = value.pointer_mut(pointer).unwrap();
        match change {
            Change::Put(new) => *here = new.clone(),
            Change::Deep(levels) => {
                deep = *levels;
                *here = json!(HOLE);
            }
            Change::Repeat(count) => *here = json!(vec![here.clone(); *count]),
            Change::Remove | Change::Beside(_) => {
                let Some((above, name)) = pointer.rsplit_once('/') else {
                    continue;
                };
                let own = here.clone();
                match value.pointer_mut(above).unwrap() {
                    Value::Object(map) => {
                        match change {
                            Change::Beside(other) => map.insert(other.clone(), own),
                            _ => map.remove(&name.replace("~1", "/").replace("~0", "~")),
                        };
                    }
                    Value::Array(list) => list.clear(),
                    _ => unreachable!("what has members"),
                }
            }
        }
    }
    let nested = format!("{}{}", "[".repeat(deep), "]".repeat(deep));
    value
        .to_string()
        .replacen(&format!("\"{HOLE}\""), &nested, 1)
        .into_bytes()
}

fn changes() -> impl Strategy<Value = Vec<(prop::sample::Index, Change)>> {
    prop::collection::vec((any::<prop::sample::Index>(), change()), 1..4)
}

// ---- the parsers -------------------------------------------------------------------------------

fn read_document(bytes: &[u8], announced: Option<&str>) {
    match Document::parse(bytes, announced) {
        Err(error) => is_clear(&error),
        Ok(Document::Index(index)) => {
            if let Err(error) = manifest::choose(&index, &Platform::host()) {
                is_clear(&error);
            }
        }
        Ok(Document::Manifest(parsed)) => {
            for layer in parsed.layers() {
                let kind = manifest::layer_compression(layer.media_type().as_ref());
                let (kind, digest) = (kind.map(drop), manifest::digest_of(layer).map(drop));
                for error in [kind, digest].into_iter().filter_map(Result::err) {
                    assert!(!error.to_string().contains('\n'), "{error}");
                }
            }
        }
    }
}

/// Loads; what is refused leaves nothing.
fn load_into_a_store(archive: Vec<u8>) -> Result<(), Error> {
    let folder = tempfile::tempdir().unwrap();
    let store = Store::open(&folder.path().join("root"), &folder.path().join("run")).unwrap();
    let source = LoadSource::Stream(Box::new(Cursor::new(archive)));
    let result = load(&store, privilege(), source, None, &Silent).map(drop);
    if let Err(error) = &result {
        is_clear(error);
        for folder in ["images", "layers", "tmp"] {
            let left = fs::read_dir(store.root_path().join(folder))
                .unwrap()
                .count();
            assert_eq!(left, 0, "{folder} after {error}");
        }
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
    result
}

/// Without a change they are good, or the tests below would show nothing.
#[test]
fn unchanged_documents_are_good() {
    let unchanged = |_: usize, value: Value| value.to_string().into_bytes();
    load_into_a_store(oci_archive(&unchanged)).unwrap();
    load_into_a_store(docker_archive(&unchanged)).unwrap();
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(400) })]

    #[test]
    fn manifests_and_indexes(
        which in any::<bool>(),
        announced in prop::option::of(prop::sample::select(ACCEPTED.to_vec())),
        changes in changes(),
    ) {
        let value = if which { image_manifest(b"config") } else { index(b"manifest") };
        read_document(&changed(value, &changes), announced);
    }

    #[test]
    fn configurations(changes in changes()) {
        match ImageConfig::parse(&changed(config(), &changes)) {
            Err(error) => is_clear(&error),
            Ok(config) => {
                prop_assert_eq!(chain_ids(&config.rootfs.diff_ids).len(), config.rootfs.diff_ids.len());
                for variable in config.config.iter().flat_map(|config| config.env.iter().flatten()) {
                    prop_assert!(variable.find('=').is_some_and(|place| place > 0));
                }
            }
        }
    }

    #[test]
    fn damaged_bytes(
        which in 0..3_usize,
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        end in any::<prop::sample::Index>(),
    ) {
        let value = [config(), image_manifest(b"config"), index(b"manifest")][which].clone();
        let mut bytes = value.to_string().into_bytes();
        for (place, byte) in damage {
            let place = place.index(bytes.len());
            bytes[place] = byte;
        }
        bytes.truncate(bytes.len() - end.index(bytes.len() / 8));
        read_document(&bytes, None);
        if let Err(error) = ImageConfig::parse(&bytes) {
            is_clear(&error);
        }
    }

    /// What is accepted is printed and read back as the same, and no part could leave a folder.
    #[test]
    fn references(text in prop_oneof!["\\PC{0,60}", "[a-z0-9./:@_\\[\\]A-Z-]{0,80}", "([a-z]{1,5}[./:@]){1,6}[a-z]{0,3}"]) {
        match text.parse::<Reference>() {
            Err(error) => prop_assert!(!error.to_string().chars().any(char::is_control), "{}", error),
            Ok(reference) => {
                for printed in [reference.to_string(), reference.familiar()] {
                    prop_assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()));
                    prop_assert_eq!(&printed.parse::<Reference>().unwrap(), &reference);
                }
                for part in reference.repository().split('/') {
                    prop_assert!(!matches!(part, "" | "." | ".."));
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(120) })]

    #[test]
    fn archives_of_hostile_documents(
        docker in any::<bool>(),
        which in 0..4_usize,
        changes in changes(),
    ) {
        let change = |n: usize, value: Value| {
            if n == which { changed(value, &changes) } else { value.to_string().into_bytes() }
        };
        let archive = if docker { docker_archive(&change) } else { oci_archive(&change) };
        let _ = load_into_a_store(archive);
    }

    /// Names of members as a `manifest.json` may give them, and members of all kinds under them.
    #[test]
    fn archives_of_hostile_names(
        config_name in prop::sample::select(vec!["c", "../c", "/c", "./c", "d/../c", "..", "", "l", "manifest.json"]),
        layers in prop::collection::vec(prop::sample::select(vec!["t", "../t", "/etc/passwd", "l", "c", "d", "h", "x"]), 0..4),
        target in prop::sample::select(vec!["t", "/etc/passwd", "../../../../etc/passwd", "l", "h", "d/..", "/proc/self/environ"]),
    ) {
        let list = json!([{"Config": config_name, "RepoTags": ["app:1"], "Layers": layers}]);
        let archive = archive(&[
            Member { data: config().to_string().into_bytes(), ..member(b'0', "c") },
            Member { data: LAYER.clone(), ..member(b'0', "t") },
            dir("d"),
            symlink("l", target),
            hard_link("h", target),
            Member { data: list.to_string().into_bytes(), ..member(b'0', "manifest.json") },
        ]);
        if load_into_a_store(archive).is_ok() {
            prop_assert!(!layers.iter().any(|name| name.contains("passwd")));
        }
    }
}

/// Digests that are paths, and descriptors that name themselves.
#[test]
fn digests_are_digests() {
    let hex = "0".repeat(64);
    for digest in [
        "sha256:../../etc/passwd".to_owned(),
        format!("sha256:{}", "A".repeat(64)),
        format!("sha256:{hex}0"),
        format!("sha256/{hex}"),
        format!("sha256:{}\n", &hex[1..]),
        format!("md5:{hex}"),
        hex.clone(),
        format!(" sha256:{hex}"),
        format!("sha256:{}", "٠".repeat(32)),
        String::new(),
    ] {
        assert!(digest.parse::<Digest>().is_err(), "{digest:?}");
        let mut value = image_manifest(b"config");
        value["layers"][0]["digest"] = json!(digest);
        if let Ok(Document::Manifest(parsed)) = Document::parse(value.to_string().as_bytes(), None)
        {
            assert!(
                manifest::digest_of(&parsed.layers()[0]).is_err(),
                "{digest:?}"
            );
        }
    }
}

/// Both, neither, or announced as the other (CVE-2021-41190).
#[test]
fn manifest_or_index_never_both() {
    let both = |base: Value, key: &str, more: Value| {
        let mut value = base;
        value[key] = more;
        value.to_string().into_bytes()
    };
    for bytes in [
        both(image_manifest(b"c"), "manifests", json!([])),
        both(image_manifest(b"c"), "manifests", json!(null)),
        both(index(b"m"), "layers", json!([])),
        both(index(b"m"), "config", json!({})),
        both(index(b"m"), "config", json!(null)),
        both(index(b"m"), "mediaType", json!(manifest::OCI_MANIFEST)),
        both(
            image_manifest(b"c"),
            "mediaType",
            json!(manifest::OCI_INDEX),
        ),
        both(image_manifest(b"c"), "schemaVersion", json!(1)),
        both(image_manifest(b"c"), "schemaVersion", json!("2")),
    ] {
        for announced in [
            None,
            Some(manifest::OCI_INDEX),
            Some(manifest::OCI_MANIFEST),
            Some(manifest::DOCKER_INDEX),
        ] {
            let error = Document::parse(&bytes, announced).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidContent);
        }
    }
}

/// A small archive that stands for gigabytes of documents, and one of layers without end.
#[test]
fn documents_are_bounded_together() {
    let mut long = config();
    long["config"]["Labels"]["long"] = json!("x".repeat(3 << 20));
    let item =
        |layers: usize| json!({"Config": "c", "RepoTags": null, "Layers": vec!["t"; layers]});
    for (config, list) in [
        (long, json!(vec![item(1); 900])),
        (config(), json!([item(100_000)])),
        (config(), json!(vec![item(1); 100_000])),
    ] {
        let members = [
            ("c", config.to_string()),
            ("manifest.json", list.to_string()),
        ];
        let mut members: Vec<Member> = members
            .into_iter()
            .map(|(name, text)| Member {
                data: text.into_bytes(),
                ..member(b'0', name)
            })
            .collect();
        members.push(Member {
            data: LAYER.clone(),
            ..member(b'0', "t")
        });
        load_into_a_store(archive(&members)).expect_err("too much");
    }
}

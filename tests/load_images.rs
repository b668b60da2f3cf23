//! Archives in every shape become images, and bad ones leave the store as it was.

mod trees;

use std::{
    fs::{self, File},
    io::{self, Cursor},
    path::Path,
};

use coracle::{
    engine::{
        LayerPacking, SaveFormat, SaveTarget, SavedImage, Silent,
        images::{
            archive::LoadSource,
            import::{ImportOptions, import},
            ingest::{ImageDocuments, Ingest, WantedBlob},
            load::{LoadOptions, Loaded, load},
            save::save,
        },
    },
    model::{Digest, ErrorKind, Opening, Result, image::ImageConfig},
    storage::Store,
};
use sha2::{Digest as _, Sha256};
use trees::*;

struct Place {
    _dir: tempfile::TempDir,
    store: Store,
}

fn place() -> Place {
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&dir.path().join("root"), &dir.path().join("run")).unwrap();
    Place { _dir: dir, store }
}

fn load_bytes(place: &Place, archive: Vec<u8>) -> Result<Vec<Loaded>> {
    let source = LoadSource::Stream(Box::new(Cursor::new(archive)));
    load(
        &place.store,
        privilege(),
        source,
        &LoadOptions::default(),
        &Silent,
    )
}

fn sha(bytes: &[u8]) -> Digest {
    Digest::sha256(Sha256::digest(bytes))
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    io::Write::write_all(&mut encoder, bytes).unwrap();
    encoder.finish().unwrap()
}

fn data(path: &str, bytes: &[u8]) -> Member {
    Member {
        data: bytes.to_vec(),
        ..member(b'0', path)
    }
}

/// Three layers: a base, one that uses its directory without an entry, and one with a whiteout.
fn layers() -> Vec<Vec<u8>> {
    vec![
        archive(&[
            Member {
                mode: 0o1777,
                ..dir("tmp")
            },
            file("etc/name", "first"),
            file("etc/gone", "x"),
        ]),
        archive(&[file("tmp/f", "second")]),
        archive(&[file("etc/.wh.gone", ""), file("etc/name", "third")]),
    ]
}

fn config(layers: &[Vec<u8>]) -> Vec<u8> {
    let diff_ids: Vec<String> = layers.iter().map(|layer| sha(layer).to_string()).collect();
    let platform = coracle::model::Platform::host();
    serde_json::json!({
        "architecture": platform.architecture, "os": platform.os,
        "created": "2026-01-02T03:04:05Z", "config": {"Cmd": ["/bin/true"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids}
    })
    .to_string()
    .into_bytes()
}

fn docker_archive(tags: &[&str], layers: &[Vec<u8>]) -> Vec<u8> {
    let config = config(layers);
    let config_name = format!("{}.json", sha(&config).hex());
    let names: Vec<String> = (0..layers.len())
        .map(|n| format!("l{n}/layer.tar"))
        .collect();
    let manifest = serde_json::json!([
        {"Config": config_name, "RepoTags": tags, "Layers": names}
    ]);
    let mut members = vec![data(&config_name, &config)];
    for (n, (name, layer)) in names.iter().zip(layers).enumerate() {
        members.push(dir(&format!("l{n}/")));
        members.push(data(&format!("l{n}/VERSION"), b"1.0"));
        match layers[..n].iter().position(|earlier| earlier == layer) {
            Some(earlier) => members.push(symlink(name, &format!("../l{earlier}/layer.tar"))),
            None => members.push(data(name, layer)),
        }
    }
    members.push(data("manifest.json", manifest.to_string().as_bytes()));
    archive(&members)
}

/// Name and bytes of every file of an OCI layout.
fn oci_files(name: &str, layers: &[Vec<u8>], pack: fn(&[u8]) -> Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let blob = |bytes: &[u8]| format!("blobs/sha256/{}", sha(bytes).hex());
    let config = config(layers);
    let packed: Vec<Vec<u8>> = layers.iter().map(|layer| pack(layer)).collect();
    let described = |kind: &str, bytes: &[u8]| serde_json::json!({"mediaType": kind, "digest": sha(bytes).as_str(), "size": bytes.len()});
    let manifest = serde_json::json!({
        "schemaVersion": 2, "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": described("application/vnd.oci.image.config.v1+json", &config),
        "layers": packed.iter()
            .map(|layer| described("application/vnd.oci.image.layer.v1.tar+gzip", layer))
            .collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes();
    let mut entry = described("application/vnd.oci.image.manifest.v1+json", &manifest);
    entry["annotations"] = serde_json::json!({"org.opencontainers.image.ref.name": name});
    let index = serde_json::json!({"schemaVersion": 2, "manifests": [entry]});
    let mut files = vec![
        (
            "oci-layout".to_owned(),
            br#"{"imageLayoutVersion":"1.0.0"}"#.to_vec(),
        ),
        ("index.json".to_owned(), index.to_string().into_bytes()),
        (blob(&manifest), manifest),
        (blob(&config), config),
    ];
    for layer in packed {
        files.push((blob(&layer), layer));
    }
    files
}

fn oci_archive(files: &[(String, Vec<u8>)]) -> Vec<u8> {
    let members: Vec<Member> = files
        .iter()
        .map(|(name, bytes)| data(name, bytes))
        .collect();
    archive(&members)
}

fn check(place: &Place, loaded: &[Loaded], name: &str) {
    assert_eq!(loaded.len(), 1);
    let image = &loaded[0];
    assert_eq!(image.names, [name.parse().unwrap()]);
    assert_eq!(image.id, sha(&config(&layers())));
    let record = place.store.resolve_image(name).unwrap();
    assert_eq!(record.layers.len(), 3);
    assert_eq!(record.size, 5 + 1 + 6 + 5);
    assert_eq!(record.created.as_deref(), Some("2026-01-02T03:04:05Z"));
    let tree = |n: usize| snapshot(&place.store.layer_tree(&record.layers[n]));
    assert_eq!(tree(0)["etc/name"].content, b"first");
    assert_eq!(
        tree(1)["tmp"].mode,
        0o1777,
        "inherited from the layer below"
    );
    assert_eq!(tree(2)["etc/gone"].kind, 'c');
    for blob in &record.blobs {
        assert!(place.store.has_blob(blob).unwrap());
    }
    let manifest = place.store.read_blob(&record.manifest, 1 << 20).unwrap();
    assert!(
        String::from_utf8(manifest)
            .unwrap()
            .contains(record.config.as_str())
    );
    let config = place.store.read_blob(&record.config, 1 << 20).unwrap();
    ImageConfig::parse(&config).unwrap();
}

#[test]
fn a_docker_archive_is_loaded_plain_and_compressed() {
    for pack in [<[u8]>::to_vec, gzip, |tar: &[u8]| {
        zstd::encode_all(tar, 1).unwrap()
    }] {
        let place = place();
        let archive = docker_archive(&["example.org/app:1"], &layers());
        let loaded = load_bytes(&place, pack(&archive)).unwrap();
        check(&place, &loaded, "example.org/app:1");
    }
}

#[test]
fn links_stand_for_repeated_layers_and_several_images_share() {
    let place = place();
    let [first, second, _] = layers().try_into().unwrap();
    let repeated = [first.clone(), second.clone(), first.clone()];
    let loaded = load_bytes(&place, docker_archive(&["a:1", "b:2"], &repeated)).unwrap();
    assert_eq!(loaded[0].names.len(), 2);
    let record = place.store.resolve_image("b:2").unwrap();
    assert_eq!(record.blobs[0], record.blobs[2]);
    assert_ne!(record.layers[0], record.layers[2]);
    let again = load_bytes(&place, docker_archive(&["c:3"], &[first])).unwrap();
    assert_eq!(again[0].records[0].layers, record.layers[..1]);
}

#[test]
fn an_oci_archive_and_a_layout_directory_keep_the_manifest() {
    let files = oci_files("example.org/app:1", &layers(), gzip);
    let manifest = sha(&files[2].1);
    let place_a = place();
    let loaded = load_bytes(&place_a, oci_archive(&files)).unwrap();
    check(&place_a, &loaded, "example.org/app:1");
    assert_eq!(loaded[0].records[0].manifest, manifest);

    let layout = tempfile::tempdir().unwrap();
    fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
    for (name, bytes) in &files {
        fs::write(layout.path().join(name), bytes).unwrap();
    }
    let place_b = place();
    let source = || LoadSource::Path(layout.path().to_owned());
    let loaded = load(
        &place_b.store,
        privilege(),
        source(),
        &LoadOptions::default(),
        &Silent,
    )
    .unwrap();
    check(&place_b, &loaded, "example.org/app:1");
    assert_eq!(loaded[0].records[0].manifest, manifest);
    // Everything is there: nothing is unpacked or copied again.
    let again = load(
        &place_b.store,
        privilege(),
        source(),
        &LoadOptions::default(),
        &Silent,
    )
    .unwrap();
    check(&place_b, &again, "example.org/app:1");

    let other = LoadOptions {
        platforms: vec!["linux/s390x".parse().unwrap()],
        ..LoadOptions::default()
    };
    let error = load(&place_b.store, privilege(), source(), &other, &Silent).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoMatchingPlatform);
}

fn is_empty(store: &Store) -> bool {
    let root = store.root_path();
    let count = |folder: &str| fs::read_dir(root.join(folder)).unwrap().count();
    ["images", "layers", "blobs/sha256", "tmp"]
        .iter()
        .all(|folder| count(folder) == 0)
}

#[test]
fn bad_archives_leave_nothing_behind() {
    let good = docker_archive(&["app:1"], &layers());
    let files = oci_files("app:1", &layers(), gzip);
    let flipped = |which: usize| {
        let mut files = files.clone();
        let middle = files[which].1.len() / 2;
        files[which].1[middle] ^= 1;
        oci_archive(&files)
    };
    let without = |which: usize| {
        let mut files = files.clone();
        files.remove(which);
        oci_archive(&files)
    };
    let wrong_config = {
        let mut wrong = layers();
        let archive = docker_archive(&["app:1"], &wrong);
        let id = sha(&config(&wrong)).hex().to_owned();
        wrong[0] = archive_of_other();
        let config = config(&wrong);
        let mut members = vec![data(&format!("{id}.json"), &config)];
        let manifest = serde_json::json!([
            {"Config": format!("{id}.json"), "RepoTags": ["app:1"], "Layers": ["a", "a", "a"]}
        ]);
        members.push(data("a", &layers()[1]));
        members.push(data("manifest.json", manifest.to_string().as_bytes()));
        drop(archive);
        crate::archive(&members)
    };
    let escaping = docker_archive(&["app:1"], &[archive(&[file("../out", "x")])]);
    let invalid = ErrorKind::InvalidContent;
    let mismatch = ErrorKind::DigestMismatch;
    for (what, bytes, kind) in [
        ("empty", Vec::new(), invalid),
        ("text", b"hello ".repeat(200), invalid),
        ("truncated", good[..good.len() / 2].to_vec(), invalid),
        (
            "gzip without its checksum",
            gzip(&good)[..gzip(&good).len() - 8].to_vec(),
            invalid,
        ),
        ("truncated gzip", gzip(&good)[..500].to_vec(), invalid),
        ("xz", b"\xfd7zXZ\0 and so on".to_vec(), invalid),
        ("flipped manifest", flipped(2), mismatch),
        ("flipped config", flipped(3), mismatch),
        ("flipped layer", flipped(4), mismatch),
        ("missing manifest", without(2), invalid),
        ("missing config", without(3), invalid),
        ("missing layer", without(5), invalid),
        ("no index", without(1), invalid),
        ("other diff ids", wrong_config, mismatch),
        ("escaping layer", escaping, invalid),
        (
            "bad name",
            docker_archive(&["UPPER case"], &layers()),
            invalid,
        ),
        (
            "no image",
            archive(&[data("manifest.json", b"[]")]),
            invalid,
        ),
        (
            "not a list",
            archive(&[data("manifest.json", b"{}")]),
            invalid,
        ),
        (
            "circle",
            archive(&[
                symlink("c", "d"),
                symlink("d", "c"),
                data(
                    "manifest.json",
                    br#"[{"Config": "c", "RepoTags": null, "Layers": []}]"#,
                ),
            ]),
            invalid,
        ),
    ] {
        let place = place();
        let error = load_bytes(&place, bytes).map(|_| ()).unwrap_err();
        assert_eq!(error.kind(), kind, "{what}: {error:?}");
        assert!(is_empty(&place.store), "{what}");
    }
}

/// Names are kept in memory, and compressed they take no space elsewhere.
#[test]
fn the_list_of_members_is_bounded() {
    let place = place();
    let members: Vec<Member> = (0..20)
        .map(|n| data(&format!("{n}{}", "n".repeat(1_000_000)), b""))
        .collect();
    let archive = archive(&members);
    for error in [
        load_bytes(&place, gzip(&archive)).map(|_| ()),
        load_file(&place, &archive).map(|_| ()),
    ] {
        let text = error.unwrap_err().to_string();
        assert!(text.ends_with("makes the list of names too long"), "{text}");
        assert!(text.len() < 400, "{text}");
    }
    assert!(is_empty(&place.store));
}

#[test]
fn archives_of_the_first_docker_are_called_so() {
    let place = place();
    let old = archive(&[
        data("repositories", br#"{"app":{"1":"aa"}}"#),
        data("aa/json", b"{}"),
        data("aa/layer.tar", &layers()[0]),
    ]);
    for error in [
        load_bytes(&place, old.clone()).map(|_| ()),
        load_file(&place, &old).map(|_| ()),
    ] {
        assert!(error.unwrap_err().to_string().contains("before 1.10"));
    }
}

fn archive_of_other() -> Vec<u8> {
    archive(&[file("other", "other")])
}

#[test]
fn a_tar_is_imported_with_changes() {
    let place = place();
    let tar = archive(&[file("bin/app", "binary"), dir("srv")]);
    let options = ImportOptions {
        message: Some("from a tar".to_owned()),
        changes: vec!["CMD [\"/bin/app\"]".to_owned(), "ENV A=b".to_owned()],
        reference: Some("imported:1".parse().unwrap()),
        ..ImportOptions::default()
    };
    let id = import(&place.store, privilege(), &gzip(&tar)[..], &options).unwrap();
    let record = place.store.resolve_image("imported:1").unwrap();
    assert_eq!(record.config, id);
    assert_eq!(record.blobs, [sha(&tar)]);
    let config = place.store.read_blob(&id, 1 << 20).unwrap();
    let config = ImageConfig::parse(&config).unwrap();
    let defaults = config.config.unwrap();
    assert_eq!(defaults.cmd, Some(vec!["/bin/app".to_owned()]));
    assert_eq!(defaults.env, Some(vec!["A=b".to_owned()]));
    assert_eq!(
        config.history.unwrap()[0].comment.as_deref(),
        Some("from a tar")
    );
    let tree = snapshot(&place.store.layer_tree(&record.layers[0]));
    assert_eq!(tree["bin/app"].content, b"binary");

    let empty = tempfile::tempdir().unwrap();
    let store = Store::open(&empty.path().join("root"), &empty.path().join("run")).unwrap();
    let error = import(
        &store,
        privilege(),
        &b"no tar at all".repeat(100)[..],
        &options,
    );
    assert_eq!(error.unwrap_err().kind(), ErrorKind::InvalidContent);
    assert!(is_empty(&store));
}

fn documents(files: &[(String, Vec<u8>)]) -> ImageDocuments {
    ImageDocuments {
        manifest: files[2].1.clone(),
        media_type: None,
        config: files[3].1.clone(),
    }
}

/// A download that begins anew, one that is dropped half-way and resumed by the next attempt, and
/// one whose bytes are wrong.
#[test]
fn sinks_survive_restarts_interruptions_and_wrong_bytes() {
    let place = place();
    let files = oci_files("app:1", &layers(), gzip);
    let bytes_of = |digest: &Digest| {
        let name = format!("blobs/sha256/{}", digest.hex());
        files
            .iter()
            .find(|(file, _)| *file == name)
            .unwrap()
            .1
            .clone()
    };
    {
        let lease = place.store.lease().unwrap();
        let ingest = Ingest::begin(&lease, privilege(), &Silent, &documents(&files)).unwrap();
        let mut sinks = ingest.sinks().unwrap();
        assert_eq!(sinks.len(), 3);
        let WantedBlob {
            digest, mut sink, ..
        } = sinks.remove(0);
        assert_eq!(sink.open().unwrap(), Opening::Producer);
        sink.write(&bytes_of(&digest)[..50]).unwrap();
        assert_eq!(sink.received(), 50);
        // Dropped: killed, say.
    }
    let lease = place.store.lease().unwrap();
    let ingest = Ingest::begin(&lease, privilege(), &Silent, &documents(&files)).unwrap();
    for (n, wanted) in ingest.sinks().unwrap().into_iter().enumerate() {
        let WantedBlob {
            digest,
            size,
            mut sink,
        } = wanted;
        let bytes = bytes_of(&digest);
        assert_eq!(bytes.len() as u64, size);
        sink.open().unwrap();
        let from = sink.received() as usize;
        assert_eq!(from, if n == 0 { 50 } else { 0 });
        match n {
            0 => sink.write(&bytes[from..]).unwrap(),
            1 => {
                sink.write(b"an error page").unwrap();
                sink.restart().unwrap();
                assert_eq!(sink.received(), 0);
                for piece in bytes.chunks(7) {
                    sink.write(piece).unwrap();
                }
            }
            _ => {
                let mut wrong = bytes.clone();
                wrong[20] ^= 0xff;
                sink.write(&wrong).unwrap();
                let error = sink.finish().unwrap_err();
                assert_eq!(error.kind(), ErrorKind::DigestMismatch);
                continue;
            }
        }
        sink.finish().unwrap();
    }
    let mut rest = ingest.sinks().unwrap();
    assert_eq!(rest.len(), 1, "only the failed one is asked for again");
    let WantedBlob {
        digest, mut sink, ..
    } = rest.remove(0);
    sink.open().unwrap();
    sink.write(&bytes_of(&digest)).unwrap();
    let too_much = sink.write(b"x").unwrap_err();
    assert_eq!(too_much.kind(), ErrorKind::DigestMismatch);
    sink.finish().unwrap();
    drop(rest);
    let name = "app:1".parse().unwrap();
    let records = ingest.complete().unwrap().commit(&lease, &[name]).unwrap();
    assert_eq!(records[0].config, sha(&files[3].1));
    let tree = snapshot(&place.store.layer_tree(&records[0].layers[1]));
    assert_eq!(
        (tree["tmp"].mode, &tree["tmp/f"].content[..]),
        (0o1777, &b"second"[..])
    );
    drop(lease);
    assert_eq!(
        fs::read_dir(place.store.root_path().join("partial"))
            .unwrap()
            .count(),
        0
    );
    assert_eq!(
        fs::read_dir(place.store.root_path().join("tmp"))
            .unwrap()
            .count(),
        0
    );
}

#[test]
fn a_file_and_a_missing_file() {
    let place = place();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    let missing = load(
        &place.store,
        privilege(),
        LoadSource::Path(path.clone()),
        &LoadOptions::default(),
        &Silent,
    );
    assert!(missing.unwrap_err().message().contains("image.tar"));
    io::Write::write_all(
        &mut File::create(&path).unwrap(),
        &docker_archive(&["x:1"], &layers()),
    )
    .unwrap();
    let loaded = load(
        &place.store,
        privilege(),
        LoadSource::Path(path),
        &LoadOptions::default(),
        &Silent,
    )
    .unwrap();
    check(&place, &loaded, "x:1");
    assert!(Path::new(place.store.root_path()).join("images").is_dir());
}

/// What a disk may do to a store: none of it is believed, and loading again heals it.
#[test]
fn a_damaged_store_is_healed_by_loading_again() {
    let files = oci_files("example.org/app:1", &layers(), gzip);
    let layout = tempfile::tempdir().unwrap();
    fs::create_dir_all(layout.path().join("blobs/sha256")).unwrap();
    for (name, bytes) in &files {
        fs::write(layout.path().join(name), bytes).unwrap();
    }
    let place = place();
    let load_again = || {
        let source = LoadSource::Path(layout.path().to_owned());
        let loaded = load(
            &place.store,
            privilege(),
            source,
            &LoadOptions::default(),
            &Silent,
        )
        .unwrap();
        check(&place, &loaded, "example.org/app:1");
        loaded[0].records[0].clone()
    };
    let root = place.store.root_path();

    // A download that was begun is not what it seems.
    let (_, blob) = &files[4];
    let partial = root.join("partial");
    let partial = partial.join(format!("{}-{}", sha(blob).hex(), blob.len()));
    fs::write(&partial, vec![0; blob.len() / 2]).unwrap();
    let record = load_again();
    assert!(!partial.exists());

    // A layer's record is torn, and its tree is no longer what it was.
    let layer = root.join("layers").join(record.layers[1].hex());
    fs::write(layer.join("layer.json"), "{\"diff").unwrap();
    fs::remove_file(layer.join("tree/tmp/f")).unwrap();
    load_again();

    // A blob has become shorter, and its layer is gone too.
    let path = root.join("blobs/sha256").join(sha(blob).hex());
    fs::write(&path, &blob[..blob.len() / 2]).unwrap();
    fs::remove_file(
        root.join("layers")
            .join(record.layers[0].hex())
            .join("layer.json"),
    )
    .unwrap();
    load_again();
    assert_eq!(&fs::read(&path).unwrap(), blob);
    let archived = load_bytes(&place, oci_archive(&files)).unwrap();
    check(&place, &archived, "example.org/app:1");
}

/// Overlayfs does not look whether the root of a layer is opaque, so what it hides is left out.
#[test]
fn below_an_opaque_root_nothing_shows_through() {
    let below = archive(&[file("etc/secret", "x"), file("old", "x")]);
    let above = archive(&[file(".wh..wh..opq", ""), file("new", "y")]);
    let top = archive(&[file("top", "z")]);
    let all = [below.clone(), above, top];
    let place = place();
    load_bytes(&place, docker_archive(&["below:1"], &[below])).unwrap();
    for round in ["unpacked", "already there"] {
        let loaded = load_bytes(&place, docker_archive(&["hidden:1"], &all)).unwrap();
        let record = &loaded[0].records[0];
        let seen: Vec<bool> = place
            .store
            .overlay_lowers(&record.layers)
            .iter()
            .map(|tree| tree.join("old").exists() || tree.join("etc").exists())
            .collect();
        assert_eq!(seen, [false, false], "{round}");
        assert_eq!(record.blobs.len(), 3);
    }
}

#[test]
fn sizes_that_the_manifest_promises_are_kept() {
    let files = oci_files("example.org/app:1", &layers(), gzip);
    let place = place();
    let lie = |what: &str, n: usize| {
        let mut files = files.clone();
        let mut manifest: serde_json::Value = serde_json::from_slice(&files[2].1).unwrap();
        match what {
            "config" => manifest["config"]["size"] = 7.into(),
            _ => manifest["layers"][n]["size"] = 7.into(),
        }
        let bytes = manifest.to_string().into_bytes();
        files[2] = (format!("blobs/sha256/{}", sha(&bytes).hex()), bytes.clone());
        let mut index: serde_json::Value = serde_json::from_slice(&files[1].1).unwrap();
        index["manifests"][0]["digest"] = sha(&bytes).as_str().into();
        index["manifests"][0]["size"] = bytes.len().into();
        files[1].1 = index.to_string().into_bytes();
        let error = load_bytes(&place, oci_archive(&files)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{what}");
    };
    lie("config", 0);
    lie("layer", 2);
    assert!(is_empty(&place.store));
    // Also if the store has the blob already.
    load_bytes(&place, oci_archive(&files)).unwrap();
    lie("layer", 2);
}

fn load_file(place: &Place, archive: &[u8]) -> Result<Vec<Loaded>> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("image.tar");
    fs::write(&path, archive).unwrap();
    let options = LoadOptions::default();
    let source = LoadSource::Path(path);
    load(&place.store, privilege(), source, &options, &Silent)
}

#[test]
fn what_is_saved_is_what_was_loaded() {
    let loaded_from = |archive: &[u8], name: &str| {
        let place = place();
        let loaded = load_file(&place, archive).unwrap();
        check(&place, &loaded, name);
        (place, loaded)
    };
    let name = "example.org/app:1";
    let (source, loaded) = loaded_from(&oci_archive(&oci_files(name, &layers(), gzip)), name);
    let image = SavedImage {
        record: loaded[0].records[0].clone(),
        names: loaded[0].names.clone(),
        label: None,
    };
    let folder = tempfile::tempdir().unwrap();
    for (format, packing, keeps) in [
        (SaveFormat::DockerArchive, LayerPacking::AsStored, true),
        (SaveFormat::OciArchive, LayerPacking::AsStored, true),
        (SaveFormat::DockerArchive, LayerPacking::Plain, false),
        (SaveFormat::OciArchive, LayerPacking::Gzip, true),
    ] {
        let path = folder.path().join("saved");
        let images = std::slice::from_ref(&image);
        let target = SaveTarget::Path(path.clone());
        save(
            &source.store,
            images,
            format,
            packing,
            target,
            &coracle::engine::Silent,
        )
        .unwrap();
        let bytes = fs::read(&path).unwrap();
        let (_, by_file) = loaded_from(&bytes, name);
        let other = place();
        let by_stream = load_bytes(&other, bytes).unwrap();
        check(&other, &by_stream, name);
        let manifest = &by_file[0].records[0].manifest;
        assert_eq!(*manifest, by_stream[0].records[0].manifest);
        assert_eq!(*manifest == image.record.manifest, keeps);
    }
}

#[test]
fn one_image_of_several_may_be_asked_for() {
    let files = oci_files("latest", &layers(), gzip);
    let ask = |only: &str| {
        let place = place();
        let options = LoadOptions {
            only: Some(only.to_owned()),
            name: Some("example.org/own:1".parse().unwrap()),
            ..LoadOptions::default()
        };
        let source = LoadSource::Stream(Box::new(Cursor::new(oci_archive(&files))));
        let loaded = load(&place.store, privilege(), source, &options, &Silent)?;
        check(&place, &loaded, "example.org/own:1");
        Ok::<_, coracle::model::Error>(())
    };
    ask("latest").unwrap();
    assert_eq!(ask("other").unwrap_err().kind(), ErrorKind::NoSuchImage);
}

proptest::proptest! {
    #![proptest_config(proptest::prelude::ProptestConfig::with_cases(64))]

    /// Whatever is done to an archive, it is an image or an error, read either way.
    #[test]
    fn spoilt_archives_are_no_accident(
        old in proptest::bool::ANY,
        at in 0.0..1.0_f64,
        bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..600),
        cut in proptest::bool::ANY,
    ) {
        let mut archive = match old {
            true => docker_archive(&["app:1"], &layers()),
            false => oci_archive(&oci_files("app:1", &layers(), gzip)),
        };
        let at = (archive.len() as f64 * at) as usize;
        match cut {
            true => archive.truncate(at),
            false => {
                let end = (at + bytes.len()).min(archive.len());
                archive[at..end].copy_from_slice(&bytes[..end - at]);
            }
        }
        let (one, two) = (place(), place());
        let by_file = load_file(&one, &archive);
        let by_stream = load_bytes(&two, archive);
        for (place, outcome) in [(&one, &by_file), (&two, &by_stream)] {
            if outcome.is_err() {
                proptest::prop_assert!(place.store.images().unwrap().is_empty());
            }
        }
        if let (Ok(one), Ok(two)) = (by_file, by_stream) {
            proptest::prop_assert_eq!(&one[0].records[0].layers, &two[0].records[0].layers);
        }
    }
}

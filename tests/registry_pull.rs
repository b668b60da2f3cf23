//! `pull` from a registry into a store, without privileges: documents, platforms, layers, repetition.

mod fake_registry;

use std::{
    fs,
    io::{Read, Write},
    thread,
    time::Duration,
};

use coracle::{
    engine::{PullRequest, Pulled, Silent, images::pull::pull_into},
    model::{
        Digest, ErrorKind, Platform, Reference, RegistryOptions, Result,
        image::chain_ids,
        manifest::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST},
    },
    registry::{Limits, Registry},
    storage::{Store, unpack::Privilege},
};
use fake_registry::{FakeRegistry, Reply, digest, part};
use serde_json::json;

struct World {
    registry: FakeRegistry,
    store: Store,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("root"), &folder.path().join("run")).unwrap();
        World {
            registry: FakeRegistry::start(),
            store,
            folder,
        }
    }

    fn pull(&self, name: &str, platform: Option<&str>) -> Result<Pulled> {
        self.pull_reference(self.registry.reference(name), platform)
    }

    /// The store as another process sees it.
    fn reopen(&self) -> Store {
        let below = |name| self.folder.path().join(name);
        Store::open(&below("root"), &below("run")).unwrap()
    }

    fn pull_reference(&self, reference: Reference, platform: Option<&str>) -> Result<Pulled> {
        self.pull_into(&self.store, reference, platform)
    }

    fn pull_into(
        &self,
        store: &Store,
        reference: Reference,
        platform: Option<&str>,
    ) -> Result<Pulled> {
        let limits = Limits {
            retries: 1,
            first_pause: Duration::from_millis(1),
            ..Limits::default()
        };
        let request = PullRequest {
            reference,
            platform: platform.map(|platform| platform.parse().unwrap()),
            registry: RegistryOptions::default(),
        };
        let registry = Registry::with_limits(&request.registry, limits);
        pull_into(store, Privilege::Rootless, &registry, &request, &Silent)
    }

    /// Puts an image into the registry; returns its manifest's digest and size.
    fn publish(&self, tag: &str, platform: &Platform, layers: &[&Layer]) -> (Digest, usize) {
        let diff_ids: Vec<&Digest> = layers.iter().map(|layer| &layer.diff_id).collect();
        let config = json!({
            "architecture": platform.architecture, "os": platform.os,
            "rootfs": {"type": "layers", "diff_ids": diff_ids},
        })
        .to_string();
        let descriptors: Vec<_> = layers
            .iter()
            .map(|layer| {
                self.registry.add_blob(layer.blob.clone());
                json!({
                    "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                    "digest": digest(&layer.blob), "size": layer.blob.len(),
                })
            })
            .collect();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": self.registry.add_blob(config.clone()), "size": config.len(),
            },
            "layers": descriptors,
        })
        .to_string();
        let digest = self
            .registry
            .add_document(tag, OCI_MANIFEST, manifest.clone());
        (digest, manifest.len())
    }

    fn blobs_asked_for(&self) -> usize {
        let requests = self.registry.requests();
        requests.iter().filter(|request| request.is_blob()).count()
    }
}

struct Layer {
    blob: Vec<u8>,
    diff_id: Digest,
}

/// A gzipped tar of one file.
fn layer(path: &str, content: &[u8]) -> Layer {
    let mut builder = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(content.len() as u64);
    header.set_mode(0o644);
    header.set_uid(u64::from(rustix::process::getuid().as_raw()));
    header.set_gid(u64::from(rustix::process::getgid().as_raw()));
    builder.append_data(&mut header, path, content).unwrap();
    let tar = builder.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(&tar).unwrap();
    Layer {
        blob: gzip.finish().unwrap(),
        diff_id: digest(&tar),
    }
}

fn elsewhere() -> Platform {
    "linux/s390x".parse().unwrap()
}

#[test]
fn an_index_leads_to_the_image_for_this_machine() {
    let world = World::new();
    let (base, top) = (layer("etc/base", b"base"), layer("etc/top", b"top"));
    let host = Platform::host();
    let (ours, our_size) = world.publish("x", &host, &[&base, &top]);
    let (other, other_size) = world.publish("y", &elsewhere(), &[&base]);
    let index = json!({
        "schemaVersion": 2, "mediaType": OCI_INDEX,
        "manifests": [
            {"mediaType": OCI_MANIFEST, "digest": other, "size": other_size,
             "platform": {"os": "linux", "architecture": "s390x"}},
            {"mediaType": OCI_MANIFEST, "digest": ours, "size": our_size,
             "platform": {"os": host.os, "architecture": host.architecture}},
        ],
    });
    let index = world
        .registry
        .add_document("latest", OCI_INDEX, index.to_string());

    let pulled = world.pull("team/app", None).unwrap();
    assert!(!pulled.up_to_date);
    assert_eq!(pulled.digest, index);
    assert_eq!(pulled.record.manifest, ours);
    assert_eq!(pulled.record.index.as_ref(), Some(&index));
    let reference = world.registry.reference("team/app:latest");
    assert_eq!(
        world.store.image(&reference).unwrap(),
        Some(pulled.record.clone())
    );
    for (chain_id, (path, content)) in chain_ids(&[base.diff_id, top.diff_id])
        .iter()
        .zip([("etc/base", "base"), ("etc/top", "top")])
    {
        let file = world.store.layer_tree(chain_id).join(path);
        assert_eq!(fs::read_to_string(file).unwrap(), content);
    }
    // What was pulled can be pushed bit for bit.
    for blob in [&index, &ours, &digest(&base.blob), &digest(&top.blob)] {
        assert!(world.store.has_blob(blob).unwrap());
    }

    let asked = world.registry.requests().len();
    let again = world.pull("team/app", None).unwrap();
    assert!(again.up_to_date);
    assert_eq!((again.record, again.digest), (pulled.record, index));
    let requests = world.registry.requests();
    assert_eq!(requests.len(), asked + 1);
    assert_eq!(requests[asked].method, "HEAD");

    let other_pulled = world.pull("team/app", Some("linux/s390x")).unwrap();
    assert_eq!(other_pulled.record.manifest, other);
    let error = world.pull("team/app", Some("linux/riscv64")).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoMatchingPlatform);
    assert!(error.message().contains("linux/s390x"), "{error}");
}

#[test]
fn a_tag_that_moved_costs_only_what_is_new() {
    let world = World::new();
    let (base, old, new) = (layer("a", b"1"), layer("b", b"2"), layer("b", b"3"));
    world.publish("1", &Platform::host(), &[&base, &old]);
    let first = world.pull("app:1", None).unwrap();
    assert_eq!(world.blobs_asked_for(), 3);

    world.publish("1", &Platform::host(), &[&base, &new]);
    let second = world.pull("app:1", None).unwrap();
    assert!(!second.up_to_date);
    assert_eq!(world.blobs_asked_for(), 5); // configuration and the new layer
    let images = world.store.images().unwrap();
    let named: Vec<_> = images.iter().filter(|image| image.name.is_some()).collect();
    assert_eq!(named, [&second.record]);
    assert!(
        images
            .iter()
            .any(|image| image.config == first.record.config)
    );
}

#[test]
fn by_digest_the_second_time_nothing_is_asked() {
    let world = World::new();
    let (manifest, _) = world.publish("1", &Platform::host(), &[&layer("a", b"1")]);
    let name = format!("app:1@{manifest}");
    let pulled = world.pull(&name, None).unwrap();
    assert_eq!(
        pulled.record.name,
        Some(world.registry.reference("app").at_digest(manifest))
    );
    let asked = world.registry.requests().len();
    assert!(world.pull(&name, None).unwrap().up_to_date);
    assert_eq!(world.registry.requests().len(), asked);
}

#[test]
fn an_image_for_another_platform_must_be_asked_for() {
    let world = World::new();
    let (manifest, _) = world.publish("1", &elsewhere(), &[&layer("a", b"1")]);
    for name in ["app:1".to_owned(), format!("app@{manifest}")] {
        let error = world.pull(&name, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoMatchingPlatform);
        assert!(error.hint().unwrap().contains("--platform linux/s390x"));
    }
    assert!(world.store.images().unwrap().is_empty());
    let layers = world.registry.requests().into_iter().filter(|request| {
        request
            .path
            .contains(&digest(&layer("a", b"1").blob).to_string())
    });
    assert_eq!(layers.count(), 0);

    world.pull("app:1", Some("linux/s390x")).unwrap();
    // It is there now, but still not what a pull without a platform means.
    let error = world.pull("app:1", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoMatchingPlatform);
}

#[test]
fn a_wrong_layer_leaves_the_store_as_it_was() {
    let world = World::new();
    let (good, bad) = (layer("a", b"good"), layer("b", b"bad!"));
    world.publish("1", &Platform::host(), &[&good, &bad]);
    let digest_of_bad = digest(&bad.blob).to_string();
    let mut other = bad.blob.clone();
    let last = other.len() - 1;
    other[last] ^= 1;
    world.registry.chaos(move |request| {
        request
            .path
            .ends_with(&digest_of_bad)
            .then(|| Reply::ok(other.clone()))
    });
    let error = world.pull("app:1", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(world.store.images().unwrap().is_empty());

    world.registry.chaos(|_| None);
    assert!(world.pull("app:1", None).is_ok());
}

#[test]
fn an_interrupted_layer_is_continued_by_the_next_pull() {
    let world = World::new();
    let mut content = vec![0; 3 << 20];
    let mut state = 7u64;
    for byte in &mut content {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        *byte = (state >> 56) as u8;
    }
    let big = layer("big", &content);
    world.publish("1", &Platform::host(), &[&big]);
    let (name, whole) = (digest(&big.blob).to_string(), big.blob.clone());
    let mut left = 1;
    world.registry.chaos(move |request| {
        if !request.path.ends_with(&name) {
            return None;
        }
        left -= 1;
        Some(if left == 0 {
            Reply {
                cut: Some(1 << 20),
                ..part(request, &whole)
            }
        } else {
            Reply::status(400)
        })
    });
    let error = world.pull("app:1", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Registry);

    world.registry.chaos(|_| None);
    let asked = world.registry.requests().len();
    world.pull("app:1", None).unwrap();
    let ranges: Vec<String> = world.registry.requests()[asked..]
        .iter()
        .filter_map(|request| request.header("range").map(str::to_owned))
        .collect();
    assert_eq!(ranges, [format!("bytes={}-", 1 << 20)]);
    let tree = world.store.layer_tree(&big.diff_id);
    assert!(fs::read(tree.join("big")).unwrap() == content);
}

#[test]
fn as_many_layers_as_there_may_be() {
    let world = World::new();
    let layers: Vec<Layer> = (0..257)
        .map(|n| layer(&format!("f{n}"), n.to_string().as_bytes()))
        .collect();
    let all: Vec<&Layer> = layers.iter().collect();
    world.publish("256", &Platform::host(), &all[..256]);
    world.publish("257", &Platform::host(), &all);
    let record = world.pull("app:256", None).unwrap().record;
    assert_eq!(record.layers.len(), 256);
    let asked = world.blobs_asked_for();
    let error = world.pull("app:257", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
    assert!(error.message().contains("more than 256 layers"), "{error}");
    // Its configuration, and no layer.
    assert_eq!(world.blobs_asked_for(), asked + 1);
}

/// A hundred MiB of zeros in a hundred KiB: the limit is met while it is unpacked.
#[test]
fn a_bomb_is_refused() {
    let world = World::new();
    let mut tar = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(100 << 20);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    tar.append_data(&mut header, "zeros", std::io::repeat(0).take(100 << 20))
        .unwrap();
    let tar = tar.into_inner().unwrap();
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
    gzip.write_all(&tar).unwrap();
    let bomb = Layer {
        blob: gzip.finish().unwrap(),
        diff_id: digest(&tar),
    };
    assert!(bomb.blob.len() < 110_000);
    world.publish("1", &Platform::host(), &[&bomb]);
    let error = world.pull("app:1", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
    let told = format!("{error:?}");
    assert!(told.contains("thousandfold"), "{told}");
    assert!(world.store.images().unwrap().is_empty());
}

/// Bytes that do not compress.
fn noise(length: usize, seed: u64) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        (state >> 56) as u8
    };
    (0..length).map(|_| next()).collect()
}

/// A power cut leaves files whose length is right and whose bytes are not. Only that layer is
/// fetched again, in the very pull that notices.
#[test]
fn a_torn_beginning_costs_one_layer_once_more() {
    let world = World::new();
    let layers: Vec<Layer> = (0..3)
        .map(|n| layer(&format!("f{n}"), &noise(300_000, n)))
        .collect();
    world.publish("1", &Platform::host(), &layers.iter().collect::<Vec<_>>());
    let partial = |n: usize| {
        let folder = world.store.root_path().join("partial");
        let blob = &layers[n].blob;
        folder.join(format!("{}-{}", digest(blob).hex(), blob.len()))
    };
    // One is whole but for a block of zeros, one is the right beginning of its layer.
    let mut torn = layers[0].blob.clone();
    torn[100_000..104_096].fill(0);
    fs::write(partial(0), torn).unwrap();
    fs::write(partial(1), &layers[1].blob[..200_000]).unwrap();

    world.pull("app:1", None).unwrap();
    let asked: Vec<(usize, Option<String>)> = world
        .registry
        .requests()
        .iter()
        .filter_map(|request| {
            let of = |layer: &Layer| request.path.ends_with(digest(&layer.blob).hex());
            let n = layers.iter().position(of)?;
            Some((n, request.header("range").map(str::to_owned)))
        })
        .collect();
    let of = |n: usize| -> Vec<Option<String>> {
        let of_this = asked.iter().filter(|(layer, _)| *layer == n);
        of_this.map(|(_, range)| range.clone()).collect()
    };
    assert_eq!(of(0), [None]);
    assert_eq!(of(1), [Some("bytes=200000-".to_owned())]);
    assert_eq!(of(2), [None]);
    for (n, layer) in layers.iter().enumerate() {
        let bytes = world.store.read_blob(&digest(&layer.blob), 1 << 20);
        assert!(bytes.unwrap() == layer.blob, "layer {n}");
    }
}

/// A torn beginning, and then a registry that sends wrong bytes, too: once more is enough.
#[test]
fn wrong_bytes_behind_a_torn_beginning_are_an_error() {
    let world = World::new();
    let layer = layer("f", &noise(10_000, 1));
    world.publish("1", &Platform::host(), &[&layer]);
    let name = digest(&layer.blob);
    let partial = world.store.root_path().join("partial");
    let partial = partial.join(format!("{}-{}", name.hex(), layer.blob.len()));
    fs::write(&partial, [0; 100]).unwrap();
    let wrong = noise(layer.blob.len(), 2);
    world.registry.chaos(move |request| {
        let asked = request.path.ends_with(name.hex());
        asked.then(|| part(request, &wrong))
    });
    let error = world.pull("app:1", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(world.store.images().unwrap().is_empty());
}

/// However they meet: while one fetches, after it has finished, after it has committed.
#[test]
fn parallel_pulls_fetch_each_layer_once() {
    for pulls in [2, 8] {
        let world = World::new();
        let layers: Vec<Layer> = (0..8)
            .map(|n| layer(&format!("f{n}"), &noise(400_000, n)))
            .collect();
        let all: Vec<&Layer> = layers.iter().collect();
        world.publish("1", &Platform::host(), &all);
        thread::scope(|scope| {
            let pulls: Vec<_> = (0..pulls)
                .map(|n| {
                    let world = &world;
                    scope.spawn(move || {
                        // Each has descriptors, and so locks, of its own.
                        let store = world.reopen();
                        let name = world.registry.reference(&format!("app{n}:1"));
                        world.pull_into(&store, name, None).unwrap();
                    })
                })
                .collect();
            for pull in pulls {
                pull.join().unwrap();
            }
        });
        for layer in &layers {
            let hex = digest(&layer.blob).hex().to_owned();
            let requests = world.registry.requests();
            let asked = requests.iter().filter(|r| r.path.ends_with(&hex)).count();
            assert_eq!(asked, 1, "of {pulls} pulls");
        }
        assert_eq!(world.store.images().unwrap().len(), pulls);
        let left = fs::read_dir(world.store.root_path().join("partial")).unwrap();
        assert_eq!(left.count(), 0);
    }
}

#[test]
fn an_artifact_is_not_an_image() {
    let world = World::new();
    let chart = world.registry.add_blob("{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": OCI_MANIFEST,
        "config": {
            "mediaType": "application/vnd.cncf.helm.config.v1+json",
            "digest": chart, "size": 2,
        },
        "layers": [],
    });
    world
        .registry
        .add_document("1", OCI_MANIFEST, manifest.to_string());
    let error = world.pull("chart:1", None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
    assert!(error.message().contains("helm"), "{error}");
}

//! Policies and signatures against a scripted registry: every verdict, and that nothing of a refused
//! image stays.

mod fake_registry;

use std::{cell::Cell, fs, path::PathBuf, time::Duration};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use coracle::{
    engine::{PullRequest, Pulled, Silent, images::pull::pull_into},
    model::{
        Digest, ErrorKind, Reference, RegistryOptions, Result, TrustFiles,
        manifest::{OCI_CONFIG, OCI_INDEX, OCI_MANIFEST},
    },
    registry::{Limits, Registry},
    storage::{Store, unpack::Privilege},
};
use fake_registry::{FakeRegistry, digest};
use proptest::prelude::*;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P384_SHA384_ASN1_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _,
    },
};
use serde_json::{Value, json};

const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

enum Signer {
    Ecdsa(EcdsaKeyPair, &'static str),
    Ed25519(Ed25519KeyPair),
}

/// SubjectPublicKeyInfo of the curve up to the point.
const P256: &str = "3059301306072a8648ce3d020106082a8648ce3d030107034200";
const P384: &str = "3076301006072a8648ce3d020106052b81040022036200";
const ED25519: &str = "302a300506032b6570032100";

impl Signer {
    fn ecdsa(algorithm: &'static EcdsaSigningAlgorithm, prefix: &'static str) -> Signer {
        let random = SystemRandom::new();
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let pair = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        Signer::Ecdsa(pair, prefix)
    }

    fn p256() -> Signer {
        Signer::ecdsa(&ECDSA_P256_SHA256_ASN1_SIGNING, P256)
    }

    fn ed25519() -> Signer {
        let pkcs8 = Ed25519KeyPair::generate_pkcs8(&SystemRandom::new()).unwrap();
        Signer::Ed25519(Ed25519KeyPair::from_pkcs8(pkcs8.as_ref()).unwrap())
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Signer::Ecdsa(pair, _) => {
                let signature = pair.sign(&SystemRandom::new(), message).unwrap();
                signature.as_ref().to_vec()
            }
            Signer::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn pem(&self) -> String {
        let (prefix, point) = match self {
            Signer::Ecdsa(pair, prefix) => (*prefix, pair.public_key().as_ref()),
            Signer::Ed25519(pair) => (ED25519, pair.public_key().as_ref()),
        };
        let byte = |at: usize| u8::from_str_radix(&prefix[at..at + 2], 16).unwrap();
        let mut der: Vec<u8> = (0..prefix.len()).step_by(2).map(byte).collect();
        der.extend_from_slice(point);
        format!(
            "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
            STANDARD.encode(der)
        )
    }
}

fn payload(name: &str, digest: &Digest) -> String {
    json!({
        "critical": {
            "identity": {"docker-reference": name},
            "image": {"docker-manifest-digest": digest},
            "type": "cosign container image signature",
        },
        "optional": null,
    })
    .to_string()
}

struct World {
    registry: FakeRegistry,
    store: Store,
    folder: tempfile::TempDir,
    policies: Cell<u32>,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let store = Store::open(&folder.path().join("root"), &folder.path().join("run")).unwrap();
        World {
            registry: FakeRegistry::start(),
            store,
            folder,
            policies: Cell::new(0),
        }
    }

    /// An image without layers, named `tag`; of its own by the label.
    fn publish(&self, tag: &str) -> Digest {
        let config = json!({
            "architecture": "amd64", "os": "linux", "config": {"Labels": {"for": tag}},
            "rootfs": {"type": "layers", "diff_ids": []},
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": self.registry.add_blob(config.clone()), "size": config.len(),
            },
            "layers": [],
        });
        self.registry
            .add_document(tag, OCI_MANIFEST, manifest.to_string())
    }

    fn name(&self, tag: &str) -> String {
        self.registry.reference(&format!("app:{tag}")).to_string()
    }

    /// One layer of a signature manifest.
    fn layer(&self, payload: &str, signature: &[u8]) -> Value {
        json!({
            "mediaType": PAYLOAD_TYPE,
            "digest": self.registry.add_blob(payload), "size": payload.len(),
            "annotations": {"dev.cosignproject.cosign/signature": STANDARD.encode(signature)},
        })
    }

    fn attach(&self, image: &Digest, layers: &[Value]) {
        let config = "{}";
        let manifest = json!({
            "schemaVersion": 2, "mediaType": OCI_MANIFEST,
            "config": {
                "mediaType": OCI_CONFIG,
                "digest": self.registry.add_blob(config), "size": config.len(),
            },
            "layers": layers,
        });
        let tag = format!("sha256-{}.sig", image.hex());
        self.registry
            .add_document(&tag, OCI_MANIFEST, manifest.to_string());
    }

    fn sign(&self, signer: &Signer, name: &str, image: &Digest) {
        let payload = payload(name, image);
        let layer = self.layer(&payload, &signer.sign(payload.as_bytes()));
        self.attach(image, &[layer]);
    }

    fn file(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// A policy that asks for this of every image of the registry and rejects all others.
    fn policy(&self, requirements: &Value) -> PathBuf {
        let number = self.policies.get();
        self.policies.set(number + 1);
        let host = self.registry.address.to_string();
        let policy = json!({
            "default": [{"type": "reject"}],
            "transports": {"docker": {host: requirements}},
        });
        self.file(&format!("policy{number}.json"), &policy.to_string())
    }

    fn signed_by(&self, signer: &Signer) -> PathBuf {
        self.policy(&json!([{"type": "sigstoreSigned", "keyData": STANDARD.encode(signer.pem())}]))
    }

    fn pull(&self, name: &str, policy: PathBuf) -> Result<Pulled> {
        let trust = TrustFiles {
            named_policy: Some(policy),
            registries_dirs: vec![self.folder.path().join("registries.d")],
            ..TrustFiles::default()
        };
        self.pull_with(name.parse().unwrap(), trust)
    }

    fn pull_with(&self, reference: Reference, trust: TrustFiles) -> Result<Pulled> {
        let limits = Limits {
            retries: 0,
            first_pause: Duration::from_millis(1),
            ..Limits::default()
        };
        let request = PullRequest {
            reference,
            platform: Some("linux/amd64".parse().unwrap()),
            registry: RegistryOptions {
                trust,
                ..RegistryOptions::default()
            },
        };
        let registry = Registry::with_limits(&request.registry, limits);
        let privilege = Privilege::Rootless;
        pull_into(&self.store, privilege, &registry, &request, &Silent)
    }

    /// The pull is refused for a reason with these words, and left no image.
    fn refused(&self, name: &str, policy: PathBuf, why: &str) {
        let error = self.pull(name, policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error:?}");
        assert!(error.one_line().contains(why), "{error:?}");
        assert!(self.store.image(&name.parse().unwrap()).unwrap().is_none());
    }
}

#[test]
fn a_good_signature_admits_the_image() {
    let p384 = || Signer::ecdsa(&ECDSA_P384_SHA384_ASN1_SIGNING, P384);
    for signer in [Signer::p256(), p384(), Signer::ed25519()] {
        let world = World::new();
        let image = world.publish("1");
        world.sign(&signer, &world.name("1"), &image);
        let pulled = world.pull(&world.name("1"), world.signed_by(&signer));
        assert_eq!(pulled.unwrap().record.manifest, image);
    }
}

#[test]
fn what_does_not_prove_anything_is_refused() {
    let world = World::new();
    let (signer, stranger) = (Signer::p256(), Signer::p256());
    let image = world.publish("1");
    let other = world.publish("2");
    let name = world.name("1");
    let good = || world.signed_by(&signer);
    world.refused(&name, good(), "it has none");

    world.sign(&stranger, &name, &image);
    world.refused(&name, good(), "made by a key of the policy");

    world.sign(&Signer::ed25519(), &name, &image);
    world.refused(&name, good(), "made by a key of the policy");

    // Moved here from another image.
    let text = payload(&name, &other);
    let layer = world.layer(&text, &signer.sign(text.as_bytes()));
    world.attach(&image, &[layer]);
    world.refused(&name, good(), "made for another image");

    world.sign(&signer, &world.name("2"), &image);
    world.refused(&name, good(), "it was signed as");

    // cosign leaves the tag out.
    world.sign(&signer, &world.registry.reference("app").name(), &image);
    world.refused(&name, good(), "it was signed as");

    // Signed, but not a payload.
    let text = payload(&name, &image).replace("\"optional\"", "\"more\"");
    let layer = world.layer(&text, &signer.sign(text.as_bytes()));
    world.attach(&image, &[layer]);
    world.refused(&name, good(), "unknown field");

    // One byte was changed after it was signed.
    let text = payload(&name, &image);
    let layer = world.layer(&(text.clone() + " "), &signer.sign(text.as_bytes()));
    world.attach(&image, &[layer]);
    world.refused(&name, good(), "made by a key of the policy");
}

#[test]
fn malformed_attachments_are_refused() {
    let world = World::new();
    let signer = Signer::p256();
    let image = world.publish("1");
    let name = world.name("1");
    let text = payload(&name, &image);
    let signature = signer.sign(text.as_bytes());
    let with = |change: &dyn Fn(&mut Value)| {
        let mut layer = world.layer(&text, &signature);
        change(&mut layer);
        world.attach(&image, &[layer]);
    };
    let annotation = "dev.cosignproject.cosign/signature";
    with(&|layer| layer["annotations"] = json!({}));
    world.refused(&name, world.signed_by(&signer), "annotation is missing");
    with(&|layer| layer["annotations"][annotation] = json!("%%%"));
    world.refused(&name, world.signed_by(&signer), "not base64");
    with(&|layer| layer["annotations"][annotation] = json!(""));
    world.refused(&name, world.signed_by(&signer), "key of the policy");
    with(&|layer| layer["mediaType"] = json!("text/plain"));
    world.refused(&name, world.signed_by(&signer), "it has none");
    with(&|layer| layer["size"] = json!(1_u64 << 40));
    world.refused(&name, world.signed_by(&signer), "too large");
    with(&|layer| layer["digest"] = json!(digest(b"nothing")));
    world.refused(&name, world.signed_by(&signer), "cannot be read");

    let tag = format!("sha256-{}.sig", image.hex());
    for (media_type, bytes) in [
        (OCI_MANIFEST, "{"),
        (
            OCI_INDEX,
            r#"{"schemaVersion": 2,
        "manifests": []}"#,
        ),
        (OCI_MANIFEST, "[]"),
    ] {
        world.registry.add_document(&tag, media_type, bytes);
        world.refused(&name, world.signed_by(&signer), "cannot be read");
    }
    let huge = format!("{{\"x\": \"{}\"}}", "y".repeat(5 << 20));
    world.registry.add_document(&tag, OCI_MANIFEST, huge);
    world.refused(&name, world.signed_by(&signer), "cannot be read");
}

#[test]
fn a_good_signature_counts_among_many_but_not_among_thousands() {
    let world = World::new();
    let (signer, stranger) = (Signer::p256(), Signer::p256());
    let image = world.publish("1");
    let name = world.name("1");
    let text = payload(&name, &image);
    let bad = world.layer(&text, &stranger.sign(text.as_bytes()));
    let good = world.layer(&text, &signer.sign(text.as_bytes()));
    let mut layers = vec![bad.clone(); 2000];
    layers.push(good.clone());
    world.attach(&image, &layers);
    let before = world.registry.requests().len();
    world.refused(&name, world.signed_by(&signer), "key of the policy");
    assert!(world.registry.requests().len() - before < 80);
    world.attach(&image, &[bad.clone(), bad, good]);
    assert!(world.pull(&name, world.signed_by(&signer)).is_ok());
}

#[test]
fn each_requirement_must_be_fulfilled() {
    let world = World::new();
    let (one, two) = (Signer::p256(), Signer::ed25519());
    let image = world.publish("1");
    let name = world.name("1");
    let key = |signer: &Signer| STANDARD.encode(signer.pem());
    let both = || {
        world.policy(&json!([
            {"type": "sigstoreSigned", "keyData": key(&one)},
            {"type": "insecureAcceptAnything"},
            {"type": "sigstoreSigned", "keyData": key(&two)},
        ]))
    };
    let text = payload(&name, &image);
    let layer = |signer: &Signer| world.layer(&text, &signer.sign(text.as_bytes()));
    world.attach(&image, &[layer(&one)]);
    world.refused(&name, both(), "key of the policy");
    world.attach(&image, &[layer(&two), layer(&one)]);
    assert!(world.pull(&name, both()).is_ok());
    // keyDatas: one of them is enough.
    world.attach(&image, &[layer(&two)]);
    let either = json!([{"type": "sigstoreSigned", "keyDatas": [key(&one), key(&two)]}]);
    assert!(world.pull(&name, world.policy(&either)).is_ok());
}

#[test]
fn the_index_or_the_manifest_may_be_signed() {
    let world = World::new();
    let signer = Signer::p256();
    let image = world.publish("inner");
    let index = json!({"schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [{
        "mediaType": OCI_MANIFEST, "digest": image, "size": 1,
        "platform": {"os": "linux", "architecture": "amd64"},
    }]});
    let requests = world.registry.requests().len();
    assert_eq!(requests, 0);
    let index = world
        .registry
        .add_document("all", OCI_INDEX, index.to_string());
    let name = world.name("all");
    world.refused(&name, world.signed_by(&signer), "it has none");
    world.sign(&signer, &name, &index);
    assert!(world.pull(&name, world.signed_by(&signer)).is_ok());
    world.attach(&index, &[]);
    world.refused_again(&name, &signer);
    world.sign(&signer, &name, &image);
    assert!(world.pull(&name, world.signed_by(&signer)).is_ok());
}

impl World {
    /// Also of an image that is in the store.
    fn refused_again(&self, name: &str, signer: &Signer) {
        let error = self.pull(name, self.signed_by(signer)).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Untrusted, "{error:?}");
    }
}

#[test]
fn what_is_pulled_by_digest_needs_its_repository_signed() {
    let world = World::new();
    let signer = Signer::p256();
    let image = world.publish("1");
    world.sign(&signer, &world.name("any"), &image);
    let by_digest = world.registry.reference(&format!("app@{image}"));
    assert!(
        world
            .pull(&by_digest.to_string(), world.signed_by(&signer))
            .is_ok()
    );
}

#[test]
fn a_rejected_image_costs_no_request() {
    let world = World::new();
    world.publish("1");
    let name = world.name("1");
    world.refused(
        &name,
        world.policy(&json!([{"type": "reject"}])),
        "rejects it",
    );
    let both = json!([{"type": "insecureAcceptAnything"}, {"type": "reject"}]);
    world.refused(&name, world.policy(&both), "rejects it");
    assert!(world.registry.requests().is_empty());
    let accept = world.policy(&json!([{"type": "insecureAcceptAnything"}]));
    assert!(world.pull(&name, accept).is_ok());
}

#[test]
fn what_cannot_be_verified_is_an_error_where_it_would_decide() {
    let world = World::new();
    world.publish("1");
    let name = world.name("1");
    let key = STANDARD.encode(Signer::p256().pem());
    for requirement in [
        json!({"type": "signedBy", "keyType": "GPGKeys", "keyPath": "/x"}),
        json!({"type": "signedBaseLayer", "baseLayerIdentity": {"type": "matchExact"}}),
        json!({"type": "sigstoreSigned", "fulcio": {"caPath": "/x"}}),
        json!({"type": "sigstoreSigned", "pki": {}}),
        json!({"type": "sigstoreSigned", "keyData": key, "rekorPublicKeyPath": "/x"}),
        json!({"type": "sigstoreSigned"}),
        json!({"type": "sigstoreSigned", "keyData": key, "keyPath": "/x"}),
        json!({"type": "sigstoreSigned", "keyDatas": []}),
        json!({"type": "sigstoreSigned", "keyData": key,
               "signedIdentity": {"type": "exactReference", "dockerReference": "a.io/b"}}),
    ] {
        let policy = world.policy(&json!([{"type": "insecureAcceptAnything"}, requirement]));
        let error = world.pull(&name, policy).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::Unsupported,
            "{requirement}: {error:?}"
        );
    }
    for (data, why) in [
        ("!", "keyData"),
        ("", "PUBLIC KEY"),
        (&STANDARD.encode("no pem"), "PUBLIC KEY"),
        (&STANDARD.encode(Signer::p256().pem().repeat(2)), "several"),
        (
            &STANDARD.encode("-----BEGIN PUBLIC KEY-----\nMAAA\n-----END PUBLIC KEY-----\n"),
            "only ECDSA",
        ),
    ] {
        let policy = world.policy(&json!([{"type": "sigstoreSigned", "keyData": data}]));
        let error = world.pull(&name, policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
        assert!(error.one_line().contains(why), "{error:?}");
    }
    for path in ["/does/not/exist", "relative.pub"] {
        let policy = world.policy(&json!([{"type": "sigstoreSigned", "keyPath": path}]));
        let error = world.pull(&name, policy).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
    }
    assert!(world.registry.requests().is_empty());
}

#[test]
fn the_first_policy_that_is_there_counts() {
    let world = World::new();
    world.publish("1");
    let reference: Reference = world.name("1").parse().unwrap();
    let pull = |policies: &[&str]| {
        let path = |name: &&str| world.folder.path().join(name);
        let trust = TrustFiles {
            policies: policies.iter().map(path).collect(),
            ..TrustFiles::default()
        };
        world.pull_with(reference.clone(), trust)
    };
    world.file(
        "accept",
        r#"{"default": [{"type": "insecureAcceptAnything"}]}"#,
    );
    world.file("reject", r#"{"default": [{"type": "reject"}]}"#);
    world.file("torn", r#"{"default": [{"type": "insec"#);
    world.file("empty", "");
    assert!(pull(&[]).is_ok());
    assert!(pull(&["nothing", "nor/this"]).is_ok());
    assert!(pull(&["accept", "reject"]).is_ok());
    let kind = |policies: &[&str]| pull(policies).unwrap_err().kind();
    assert_eq!(kind(&["nothing", "reject", "accept"]), ErrorKind::Untrusted);
    assert_eq!(kind(&["torn", "accept"]), ErrorKind::InvalidArgument);
    assert_eq!(kind(&["empty", "accept"]), ErrorKind::InvalidArgument);
    // A link to nowhere is not an absent file.
    std::os::unix::fs::symlink("gone", world.folder.path().join("link")).unwrap();
    assert_eq!(kind(&["link", "accept"]), ErrorKind::InvalidArgument);
    let named = TrustFiles {
        named_policy: Some(world.folder.path().join("nothing")),
        ..TrustFiles::default()
    };
    let error = world.pull_with(reference.clone(), named).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn registries_d_can_forbid_attachments() {
    let world = World::new();
    let signer = Signer::p256();
    let image = world.publish("1");
    let name = world.name("1");
    world.sign(&signer, &name, &image);
    world.file("registries.d/ignored.txt", "{");
    world.file(
        "registries.d/a.yaml",
        "default-docker:\n  use-sigstore-attachments: false\n",
    );
    let error = world.pull(&name, world.signed_by(&signer)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported, "{error:?}");
    let host = world.registry.address;
    let more = format!("docker:\n  \"{host}\":\n    use-sigstore-attachments: true\n");
    world.file("registries.d/b.yaml", &more);
    assert!(world.pull(&name, world.signed_by(&signer)).is_ok());
    world.file("registries.d/c.yaml", &more);
    let error = world.pull(&name, world.signed_by(&signer)).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{error:?}");
}

/// The registry answers differently each time it is asked: what was verified is what is used.
#[test]
fn the_bytes_that_were_verified_are_used() {
    let world = World::new();
    let signer = Signer::p256();
    let good = world.publish("1");
    let name = world.name("1");
    world.sign(&signer, &name, &good);
    let evil = world.publish("evil");
    let manifest = world.registry.requests().len();
    assert_eq!(manifest, 0);
    // As soon as the signature was fetched, the tag stands for something else.
    let swapped = std::sync::atomic::AtomicBool::new(false);
    let evil_path = format!("/v2/app/manifests/{evil}");
    world.registry.chaos(move |request| {
        if request.path.contains(".sig") {
            swapped.store(true, std::sync::atomic::Ordering::SeqCst);
        }
        let again = swapped.load(std::sync::atomic::Ordering::SeqCst);
        let asks_tag = request.path.ends_with("/manifests/1");
        (again && asks_tag)
            .then(|| fake_registry::Reply::status(307).with("Location", evil_path.clone()))
    });
    let pulled = world.pull(&name, world.signed_by(&signer)).unwrap();
    assert_eq!(pulled.record.manifest, good);
}

proptest! {
    /// Whatever a policy file says, reading it ends, and what is understood is written and read again.
    #[test]
    fn any_bytes_are_a_policy_or_none(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = coracle::model::policy::Policy::parse(&bytes);
        let _ = coracle::model::policy::Payload::parse(&bytes);
        let _ = coracle::model::registries_d::RegistriesD::default().add(&bytes);
    }

    #[test]
    fn a_policy_is_written_as_it_is_read(
        scopes in proptest::collection::btree_map("[a-z*./:]{0,12}", 0..4_usize, 0..4),
    ) {
        let kinds = [
            json!({"type": "reject"}),
            json!({"type": "insecureAcceptAnything"}),
            json!({"type": "sigstoreSigned", "keyPath": "/k", "signedIdentity": {"type": "matchExact"}}),
            json!({"type": "signedBy", "keyType": "GPGKeys", "keyData": "x"}),
        ];
        let rules: serde_json::Map<String, Value> = scopes
            .into_iter()
            .map(|(scope, kind)| (scope, json!([kinds[kind]])))
            .collect();
        let text = json!({"default": [kinds[0]], "transports": {"docker": rules}});
        let policy = coracle::model::policy::Policy::parse(text.to_string().as_bytes()).unwrap();
        prop_assert_eq!(serde_json::to_value(&policy).unwrap(), text);
    }
}

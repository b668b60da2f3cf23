//! Any bytes as a manifest or an index, announced with the media type that the first byte chooses.
//! Oracle: no panic; what is accepted says again what it said when it is written and read back; one
//! that has both layers and manifests is never accepted, and neither is one that calls itself
//! otherwise than it was announced (CVE-2021-41190).

#![no_main]

use coracle::model::{
    Platform,
    manifest::{self, ACCEPTED, Document},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: (u8, &[u8])| {
    let (announced, bytes) = input;
    let announced = ACCEPTED.get(usize::from(announced)).copied();
    let Ok(document) = Document::parse(bytes, announced) else {
        return;
    };
    let json: serde_json::Value = serde_json::from_slice(bytes).expect("it was read as JSON");
    assert!(json.get("layers").is_none() || json.get("manifests").is_none());
    if let (Some(announced), Some(own)) = (announced, json.get("mediaType")) {
        assert_eq!(own.as_str(), Some(announced));
    }
    let again = match &document {
        Document::Index(index) => {
            for wanted in ["linux/amd64", "linux/arm64/v8", "windows/amd64"] {
                let wanted: Platform = wanted.parse().expect("a platform");
                if let Ok(chosen) = manifest::choose(index, &wanted) {
                    let _ = manifest::digest_of(chosen);
                }
            }
            serde_json::to_vec(index)
        }
        Document::Manifest(manifest) => {
            for layer in manifest.layers() {
                let _ = manifest::digest_of(layer);
                let _ = manifest::layer_compression(layer.media_type().as_ref());
            }
            let _ = manifest::digest_of(manifest.config());
            serde_json::to_vec(manifest)
        }
    };
    let again = again.expect("what was read can be written");
    assert_eq!(Document::parse(&again, announced).expect("and read"), document);
});

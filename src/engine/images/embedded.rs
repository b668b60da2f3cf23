//! The image inside the binary: `localhost/coracle-hello`, for a first container without a
//! registry.
//!
//! It is an OCI archive that `build/embedded.rs` made, and it enters the store as any other
//! archive does, by being loaded: there is no second way in. Nothing of it is in the store before
//! somebody runs it, and `rmi` removes it like any other image (the next `run` brings it back).

use super::{archive::LoadSource, load};
use crate::{
    engine::{Engine, Silent},
    model::{Reference, Result, image::ImageRecord},
};

/// The name the archive gives its image.
pub const NAME: &str = "localhost/coracle-hello:latest";

/// The archive: an OCI image layout in an uncompressed tar, as `load` reads it.
pub fn archive() -> &'static [u8] {
    include_bytes!(concat!(env!("OUT_DIR"), "/embedded.tar"))
}

impl Engine {
    /// The embedded image if that is what the user typed, taken into the store if it is not there.
    pub(crate) fn embedded_image(&self, typed: &str) -> Result<Option<ImageRecord>> {
        let (Ok(wanted), Ok(name)) = (typed.parse::<Reference>(), NAME.parse::<Reference>()) else {
            return Ok(None);
        };
        if !is_named(&wanted) {
            return Ok(None);
        }
        if let Some(image) = self.store.image(&name)? {
            return Ok(Some(image));
        }
        self.enter_user_namespace()?;
        let source = LoadSource::Stream(Box::new(archive()));
        load::load(
            &self.store,
            self.privilege(),
            source,
            &load::LoadOptions::default(),
            &Silent,
        )?;
        self.store.image(&name)
    }
}

/// Whether `wanted` names the embedded image: in full, or by the short name `coracle-hello`.
///
/// The short name is tried only when the store has no such image, and before a registry is asked:
/// `docker.io/library/` is Docker's own and will not get a `coracle-hello` of someone else.
pub fn is_named(wanted: &Reference) -> bool {
    let repository = wanted.name();
    wanted.digest().is_none()
        && wanted.tag() == Some("latest")
        && (repository == "localhost/coracle-hello"
            || repository == "docker.io/library/coracle-hello")
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, io::Read};

    use sha2::{Digest as _, Sha256};

    use super::*;
    use crate::model::{
        Digest,
        image::{ImageConfig, chain_ids},
    };

    fn members() -> BTreeMap<String, Vec<u8>> {
        let mut archive = tar::Archive::new(archive());
        let read = |entry: std::io::Result<tar::Entry<&[u8]>>| {
            let mut entry = entry.unwrap();
            let mut content = Vec::new();
            entry.read_to_end(&mut content).unwrap();
            (entry.path().unwrap().display().to_string(), content)
        };
        archive.entries().unwrap().map(read).collect()
    }

    #[test]
    fn every_blob_has_the_digest_it_is_named_by() {
        let members = members();
        let blobs: Vec<_> = members
            .iter()
            .filter_map(|(path, content)| Some((path.strip_prefix("blobs/sha256/")?, content)))
            .collect();
        assert_eq!(blobs.len(), 3, "manifest, configuration, layer");
        for (hex, content) in blobs {
            assert_eq!(Digest::sha256(Sha256::digest(content)).hex(), hex);
        }
    }

    #[test]
    fn index_leads_to_a_configuration_for_this_platform() {
        let members = members();
        let blob = |descriptor: &serde_json::Value| {
            let digest = descriptor["digest"].as_str().unwrap();
            let content = &members[&format!("blobs/{}", digest.replace(':', "/"))];
            assert_eq!(descriptor["size"], content.len());
            content.clone()
        };
        let index: serde_json::Value = serde_json::from_slice(&members["index.json"]).unwrap();
        let entry = &index["manifests"][0];
        assert_eq!(
            entry["annotations"]["org.opencontainers.image.ref.name"],
            NAME
        );
        let manifest: serde_json::Value = serde_json::from_slice(&blob(entry)).unwrap();
        let config = ImageConfig::parse(&blob(&manifest["config"])).unwrap();
        assert!(crate::model::Platform::host().accepts(&config.platform()));
        let layer = blob(&manifest["layers"][0]);
        let diff_id = Digest::sha256(Sha256::digest(&layer));
        assert_eq!(chain_ids(&config.rootfs.diff_ids), [diff_id]);
        let mut layer = tar::Archive::new(&layer[..]);
        let program = layer
            .entries()
            .unwrap()
            .map(|entry| entry.unwrap())
            .find(|entry| entry.path().unwrap().as_os_str() == "hello")
            .unwrap();
        assert_eq!(program.header().mode().unwrap(), 0o755);
    }

    #[test]
    fn stays_small() {
        assert!(archive().len() < 64 << 10, "{} bytes", archive().len());
    }

    #[test]
    fn short_and_full_name_are_known() {
        for (text, known) in [
            ("coracle-hello", true),
            ("localhost/coracle-hello", true),
            ("localhost/coracle-hello:latest", true),
            ("coracle-hello:1", false),
            ("someone/coracle-hello", false),
            ("localhost:5000/coracle-hello", false),
        ] {
            assert_eq!(is_named(&text.parse().unwrap()), known, "{text}");
        }
    }
}

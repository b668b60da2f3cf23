//! Documents that are not one runnable image: indexes (manifest lists) and artifacts, as they are
//! edited and written here (OCI image specification 1.1, `image-index.md` and `manifest.md`).
//!
//! Own types instead of `oci-spec`'s: what they do not know stays in `extra`, so that an entry that
//! was made elsewhere keeps every field when its index is written anew.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;
use sha2::Digest as _;

use super::{
    Context, Digest, Error, ErrorKind, Platform, Reference, Result,
    image::MAX_DOCUMENT_BYTES,
    manifest::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST},
};

/// Name of a file of an artifact, relative and without folders.
pub const TITLE: &str = "org.opencontainers.image.title";
pub const EMPTY_TYPE: &str = "application/vnd.oci.empty.v1+json";
/// The content of type [`EMPTY_TYPE`].
pub const EMPTY: &[u8] = b"{}";
/// The type of an artifact whose maker gave none.
pub const UNKNOWN_ARTIFACT: &str = "application/vnd.unknown.artifact.v1";

pub type Annotations = BTreeMap<String, String>;

/// A reference to content: OCI image specification, `descriptor.md`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    pub media_type: String,
    pub digest: Digest,
    /// Bytes.
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<EntryPlatform>,
    #[serde(
        default,
        skip_serializing_if = "is_empty",
        deserialize_with = "or_null"
    )]
    pub annotations: Annotations,
    /// `urls`, `data`, and what is not known.
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// What an entry of an index runs on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EntryPlatform {
    #[serde(default)]
    pub architecture: String,
    #[serde(default)]
    pub os: String,
    #[serde(
        rename = "os.version",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_version: Option<String>,
    #[serde(
        rename = "os.features",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    pub os_features: Option<Vec<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// Of the processor; Docker's lists alone have them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub features: Option<Vec<String>>,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// An OCI image index or a Docker manifest list.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Index {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    #[serde(default, deserialize_with = "or_null")]
    pub manifests: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "is_empty",
        deserialize_with = "or_null"
    )]
    pub annotations: Annotations,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

/// A manifest whose layers are files: an OCI artifact.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Artifact {
    pub schema_version: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub artifact_type: Option<String>,
    pub config: Descriptor,
    #[serde(default, deserialize_with = "or_null")]
    pub layers: Vec<Descriptor>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<Descriptor>,
    #[serde(
        default,
        skip_serializing_if = "is_empty",
        deserialize_with = "or_null"
    )]
    pub annotations: Annotations,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

fn is_empty<K, V>(map: &BTreeMap<K, V>) -> bool {
    map.is_empty()
}

/// Go writes empty lists and maps as `null`.
fn or_null<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: serde::Deserializer<'de>,
    T: Default + Deserialize<'de>,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}

/// What the store remembers of a name that stands for such a document. The file of `manifests/`
/// holds exactly this.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ManifestRecord {
    pub name: Reference,
    pub kind: ManifestKind,
    pub digest: Digest,
    /// Blobs that it needs and the store has.
    pub keeps: Vec<Digest>,
    /// When the document became what it is, Unix seconds.
    pub created: i64,
    /// The names by which the members of an index were added: where content is that `keeps` lacks.
    #[serde(default)]
    pub sources: BTreeMap<Digest, Reference>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ManifestKind {
    Index,
    Artifact,
}

/// What `manifest add` and `manifest annotate` say about an entry. Absent is "as it is".
#[derive(Clone, Debug, Default, PartialEq)]
pub struct EntryChanges {
    pub architecture: Option<String>,
    pub os: Option<String>,
    pub os_version: Option<String>,
    pub os_features: Vec<String>,
    pub variant: Option<String>,
    pub features: Vec<String>,
    pub annotations: Annotations,
}

impl Descriptor {
    pub fn of(bytes: &[u8], media_type: &str) -> Descriptor {
        Descriptor {
            media_type: media_type.to_owned(),
            digest: Digest::sha256(sha2::Sha256::digest(bytes)),
            size: bytes.len() as u64,
            artifact_type: None,
            platform: None,
            annotations: Annotations::new(),
            extra: BTreeMap::new(),
        }
    }

    /// The empty content, carried along as `data`.
    pub fn empty() -> Descriptor {
        let mut descriptor = Descriptor::of(EMPTY, EMPTY_TYPE);
        descriptor
            .extra
            .insert("data".to_owned(), Value::from("e30="));
        descriptor
    }

    /// As another document refers to this one: digest, size and type alone.
    pub fn bare(&self) -> Descriptor {
        Descriptor {
            artifact_type: None,
            platform: None,
            annotations: Annotations::new(),
            extra: BTreeMap::new(),
            ..self.clone()
        }
    }

    pub fn title(&self) -> Option<&str> {
        self.annotations.get(TITLE).map(String::as_str)
    }

    pub fn apply(&mut self, changes: &EntryChanges) {
        let EntryChanges {
            architecture,
            os,
            os_version,
            os_features,
            variant,
            features,
            annotations,
        } = changes;
        let mut platform = self.platform.clone().unwrap_or_default();
        let before = platform.clone();
        if let Some(architecture) = architecture {
            platform.architecture.clone_from(architecture);
        }
        if let Some(os) = os {
            platform.os.clone_from(os);
        }
        if os_version.is_some() {
            platform.os_version.clone_from(os_version);
        }
        if variant.is_some() {
            platform.variant.clone_from(variant);
        }
        if !os_features.is_empty() {
            platform.os_features = Some(os_features.clone());
        }
        if !features.is_empty() {
            platform.features = Some(features.clone());
        }
        if platform != before {
            self.platform = Some(platform);
        }
        self.annotations.extend(annotations.clone());
    }
}

impl EntryPlatform {
    pub fn of(platform: &Platform) -> EntryPlatform {
        EntryPlatform {
            architecture: platform.architecture.clone(),
            os: platform.os.clone(),
            variant: platform.variant.clone(),
            ..EntryPlatform::default()
        }
    }
}

impl Default for Index {
    fn default() -> Self {
        Index {
            schema_version: 2,
            media_type: Some(OCI_INDEX.to_owned()),
            artifact_type: None,
            manifests: Vec::new(),
            subject: None,
            annotations: Annotations::new(),
            extra: BTreeMap::new(),
        }
    }
}

impl Index {
    /// # Errors
    /// [`ErrorKind::InvalidContent`]
    pub fn parse(bytes: &[u8]) -> Result<Index> {
        serde_json::from_slice(bytes).context(ErrorKind::InvalidContent, || {
            "invalid image index".to_owned()
        })
    }

    /// Puts an entry in, in place of one with the same digest.
    pub fn put(&mut self, entry: Descriptor) {
        match self
            .manifests
            .iter_mut()
            .find(|other| other.digest == entry.digest)
        {
            Some(place) => *place = entry,
            None => self.manifests.push(entry),
        }
    }

    pub fn entry(&self, digest: &Digest) -> Option<&Descriptor> {
        self.manifests.iter().find(|entry| entry.digest == *digest)
    }

    /// Chooses the type as Docker and Podman do: a list of Docker's manifests alone is Docker's,
    /// unless it says something that only OCI's can.
    pub fn choose_type(&mut self) {
        let plain = |entry: &Descriptor| {
            entry.media_type == DOCKER_MANIFEST
                && entry.annotations.is_empty()
                && entry.artifact_type.is_none()
        };
        let docker = !self.manifests.is_empty()
            && self.manifests.iter().all(plain)
            && self.annotations.is_empty()
            && self.subject.is_none()
            && self.artifact_type.is_none();
        let chosen = if docker { DOCKER_INDEX } else { OCI_INDEX };
        self.media_type = Some(chosen.to_owned());
    }

    /// The document's bytes.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for more than registries take.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        to_bytes(self, "the index")
    }
}

impl Artifact {
    pub fn new(artifact_type: Option<&str>) -> Artifact {
        Artifact {
            schema_version: 2,
            media_type: Some(OCI_MANIFEST.to_owned()),
            artifact_type: Some(artifact_type.unwrap_or(UNKNOWN_ARTIFACT).to_owned()),
            config: Descriptor::empty(),
            layers: Vec::new(),
            subject: None,
            annotations: Annotations::new(),
            extra: BTreeMap::new(),
        }
    }

    /// # Errors
    /// [`ErrorKind::InvalidContent`]
    pub fn parse(bytes: &[u8]) -> Result<Artifact> {
        serde_json::from_slice(bytes).context(ErrorKind::InvalidContent, || {
            "invalid artifact manifest".to_owned()
        })
    }

    /// As [`Index::to_bytes`].
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        to_bytes(self, "the artifact's manifest")
    }

    /// What it is: its own word, or its configuration's.
    pub fn kind(&self) -> &str {
        self.artifact_type
            .as_deref()
            .unwrap_or(&self.config.media_type)
    }

    /// Bytes of all files.
    pub fn size(&self) -> u64 {
        let sizes = self.layers.iter().map(|layer| layer.size);
        sizes.fold(0, u64::saturating_add)
    }
}

fn to_bytes(document: &impl Serialize, what: &str) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(document)
        .context(ErrorKind::System, || format!("cannot write {what}"))?;
    if bytes.len() as u64 > MAX_DOCUMENT_BYTES {
        return Err(Error::invalid(format!(
            "{what} would be larger than the {MAX_DOCUMENT_BYTES} bytes that registries take"
        )));
    }
    Ok(bytes)
}

/// The tag under which a registry without the referrers API keeps the list of those that refer to
/// `subject`: OCI distribution specification 1.1, "Referrers Tag Schema".
pub fn referrers_tag(subject: &Digest) -> String {
    let hex = &subject.hex()[..subject.hex().len().min(64)];
    format!("{}-{hex}", subject.algorithm())
}

/// `KEY=VALUE` of `--annotation`.
///
/// # Errors
/// [`ErrorKind::InvalidArgument`]
pub fn annotations(texts: &[String]) -> Result<Annotations> {
    texts
        .iter()
        .map(|text| match text.split_once('=') {
            Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
            _ => Err(Error::invalid(format!(
                "invalid annotation {text:?}: expected KEY=VALUE"
            ))),
        })
        .collect()
}

/// The name that a file of an artifact may have in a folder: a title is somebody else's word, and
/// must not lead anywhere else.
///
/// # Errors
/// [`ErrorKind::InvalidContent`]
pub fn file_name(layer: &Descriptor) -> Result<String> {
    let Some(title) = layer.title().filter(|title| !title.is_empty()) else {
        return Ok(layer.digest.as_str().replace(':', "-"));
    };
    let plain = !title.contains(['/', '\\'])
        && !title.chars().any(char::is_control)
        && title != "."
        && title != ".."
        && title.len() <= 255;
    if plain {
        return Ok(title.to_owned());
    }
    let shown: String = title.chars().take(80).collect();
    Err(Error::new(
        ErrorKind::InvalidContent,
        format!("the title {shown:?} is not a plain file name"),
    )
    .with_hint(format!(
        "choose the blob and the file: --digest {} NAME FILE",
        layer.digest
    )))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn the_empty_content_is_the_specifications() {
        let empty = Descriptor::empty();
        assert_eq!(
            empty.digest.as_str(),
            "sha256:44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
        );
        assert_eq!(empty.size, 2);
    }

    #[test]
    fn what_is_not_known_stays() {
        let text = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [{
                "mediaType": OCI_MANIFEST,
                "digest": format!("sha256:{}", "a".repeat(64)),
                "size": 7,
                "platform": {"architecture": "arm64", "os": "linux", "new": [1]},
                "urls": ["https://h.example/x"],
                "newer": {"field": true},
            }],
            "later": "word",
        });
        let mut index = Index::parse(text.to_string().as_bytes()).unwrap();
        index.manifests[0].apply(&EntryChanges {
            variant: Some("v8".to_owned()),
            ..EntryChanges::default()
        });
        let mut expected = text;
        expected["manifests"][0]["platform"]["variant"] = json!("v8");
        let written: Value = serde_json::from_slice(&index.to_bytes().unwrap()).unwrap();
        assert_eq!(written, expected);
    }

    #[test]
    fn null_is_empty() {
        let index = Index::parse(br#"{"schemaVersion":2,"manifests":null}"#).unwrap();
        assert!(index.manifests.is_empty());
    }

    #[test]
    fn the_type_follows_the_members() {
        let mut index = Index::default();
        index.put(Descriptor::of(b"x", DOCKER_MANIFEST));
        index.choose_type();
        assert_eq!(index.media_type.as_deref(), Some(DOCKER_INDEX));
        index.put(Descriptor::of(b"y", OCI_MANIFEST));
        index.choose_type();
        assert_eq!(index.media_type.as_deref(), Some(OCI_INDEX));
    }

    #[test]
    fn titles_lead_nowhere() {
        let named = |title: &str| {
            let mut layer = Descriptor::of(b"x", "text/plain");
            layer.annotations.insert(TITLE.to_owned(), title.to_owned());
            file_name(&layer)
        };
        assert_eq!(named("a file.txt").unwrap(), "a file.txt");
        assert!(named("").unwrap().starts_with("sha256-"));
        for title in [
            "..",
            ".",
            "/etc/passwd",
            "../x",
            "a/b",
            "a\\b",
            "a\nb",
            "\u{1b}[2J",
            "a\0",
        ] {
            assert!(named(title).is_err(), "{title:?}");
        }
    }

    proptest! {
        /// No bytes make the parser panic, and what it reads it writes so that it is read the same.
        #[test]
        fn reading_and_writing_agree(index in indexes()) {
            let bytes = index.to_bytes().unwrap();
            prop_assert_eq!(Index::parse(&bytes).unwrap(), index);
        }

        #[test]
        fn any_bytes_are_an_index_or_an_error(text in r#"[{}\[\]":,a-z0-9 ]{0,200}"#) {
            let _ = Index::parse(text.as_bytes());
            let _ = Artifact::parse(text.as_bytes());
        }

        #[test]
        fn a_digest_is_in_an_index_once(seeds in prop::collection::vec(0u8..5, 0..20)) {
            let mut index = Index::default();
            for seed in &seeds {
                index.put(Descriptor::of(&[*seed], OCI_MANIFEST));
            }
            let different: std::collections::BTreeSet<u8> = seeds.into_iter().collect();
            prop_assert_eq!(index.manifests.len(), different.len());
        }

        #[test]
        fn a_file_name_is_one_component(title in "\\PC{0,20}") {
            let mut layer = Descriptor::of(b"x", "text/plain");
            layer.annotations.insert(TITLE.to_owned(), title);
            if let Ok(name) = file_name(&layer) {
                let mut parts = std::path::Path::new(&name).components();
                prop_assert!(matches!(parts.next(), Some(std::path::Component::Normal(_))));
                prop_assert!(parts.next().is_none());
            }
        }
    }

    fn indexes() -> impl Strategy<Value = Index> {
        let texts = || prop::collection::btree_map("[a-z.]{1,9}", "\\PC{0,9}", 0..3);
        let platform =
            ("[a-z0-9]{1,5}", prop::option::of("v[1-9]")).prop_map(|(os, variant)| EntryPlatform {
                architecture: "amd64".to_owned(),
                os,
                variant,
                ..EntryPlatform::default()
            });
        let entry = (any::<[u8; 4]>(), texts(), prop::option::of(platform)).prop_map(
            |(bytes, annotations, platform)| Descriptor {
                annotations,
                platform,
                ..Descriptor::of(&bytes, OCI_MANIFEST)
            },
        );
        let subject = prop::option::of(any::<[u8; 4]>());
        (prop::collection::vec(entry, 0..5), texts(), subject).prop_map(
            |(manifests, annotations, subject)| Index {
                manifests,
                annotations,
                subject: subject.map(|bytes| Descriptor::of(&bytes, OCI_MANIFEST)),
                ..Index::default()
            },
        )
    }
}

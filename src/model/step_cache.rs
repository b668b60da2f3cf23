//! The cache of builds as it travels: BuildKit's documents with our keys.
//!
//! ```text
//! manifest (or index)   config: application/vnd.buildkit.cacheconfig.v0, layers: archives
//! cache config          layers:  [{blob, parent, annotations{mediaType, diffID, size}}]
//!                       records: [{digest, inputs: [[{link}]], layers: [{layer, createdAt}], coracle.v1}]
//! inline                the same, without its blobs, in base64 as `moby.buildkit.cache.v0` of an image's
//!                       configuration: layer N is the image's layer N
//! ```
//!
//! A record is a step: `digest` its key, `inputs` the step before, `layers` what it made. What BuildKit
//! has no place for is in `coracle.v1`, which it does not look at; a record without is another
//! builder's, whose keys are made of other things, and is left out. `parent` -1 is none.

use std::collections::HashMap;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use super::{Context, Digest, Error, ErrorKind, Reference, Result};

pub const CONFIG_TYPE: &str = "application/vnd.buildkit.cacheconfig.v0";
/// In the configuration of an image.
pub const INLINE: &str = "moby.buildkit.cache.v0";

/// Where a cache is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CacheSource {
    /// A cache, or an image with one in its configuration.
    Registry(Reference),
    /// A folder: an OCI layout.
    Local {
        path: std::path::PathBuf,
        tag: String,
        digest: Option<Digest>,
    },
}

/// As messages name it.
impl std::fmt::Display for CacheSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            CacheSource::Registry(reference) => write!(f, "{reference}"),
            CacheSource::Local { path, .. } => write!(f, "{}", path.display()),
        }
    }
}

/// Which documents a cache is wrapped into.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CacheWrap {
    /// A manifest, as an image has one: all registries take it.
    #[default]
    Manifest,
    /// `image-manifest=false`: an index.
    Index,
    /// And `oci-mediatypes=false`.
    DockerIndex,
}

/// A step that somebody has done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedStep {
    pub key: Digest,
    /// Another key of the same step, if it has one: by the content of what it was made from.
    pub content: Option<Digest>,
    /// The key of the step before.
    pub parent: Option<Digest>,
    /// `None` if it has changed nothing.
    pub layer: Option<SharedLayer>,
    /// RFC 3339, not checked.
    pub created: String,
    /// The layer's archive begins with the root directory.
    pub with_root: bool,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SharedLayer {
    /// Of the archive, as it is packed.
    pub blob: Digest,
    /// Of the archive, in bytes.
    pub size: u64,
    pub media_type: String,
    /// Of the plain archive.
    pub diff_id: Digest,
}

#[derive(Default, Serialize, Deserialize)]
struct Config {
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Layer>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    records: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct Layer {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    blob: Option<Digest>,
    #[serde(default, skip_serializing_if = "is_zero")]
    parent: i64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    annotations: Option<Annotations>,
}

fn is_zero(number: &i64) -> bool {
    *number == 0
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Annotations {
    #[serde(default)]
    media_type: String,
    #[serde(rename = "diffID", default)]
    diff_id: Option<Digest>,
    #[serde(default)]
    size: u64,
}

#[derive(Serialize, Deserialize)]
struct Record {
    digest: Digest,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    inputs: Vec<Vec<Input>>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    layers: Vec<Made>,
    #[serde(
        rename = "coracle.v1",
        default,
        skip_serializing_if = "Option::is_none"
    )]
    own: Option<Own>,
}

#[derive(Serialize, Deserialize)]
struct Input {
    link: usize,
}

#[derive(Serialize, Deserialize)]
struct Made {
    layer: usize,
    #[serde(rename = "createdAt", default)]
    created: String,
}

#[derive(Serialize, Deserialize)]
struct Own {
    created: String,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    root: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    content: Option<Digest>,
}

/// The cache config of these steps; those before come before.
pub fn config(steps: &[SharedStep]) -> Result<Vec<u8>> {
    let mut layers: Vec<Layer> = Vec::new();
    let mut places: HashMap<&Digest, usize> = HashMap::new();
    for layer in steps.iter().filter_map(|step| step.layer.as_ref()) {
        places.entry(&layer.blob).or_insert_with(|| {
            layers.push(Layer {
                blob: Some(layer.blob.clone()),
                parent: -1,
                annotations: Some(Annotations {
                    media_type: layer.media_type.clone(),
                    diff_id: Some(layer.diff_id.clone()),
                    size: layer.size,
                }),
            });
            layers.len() - 1
        });
    }
    let place = |layer: &SharedLayer| places.get(&layer.blob).copied();
    written(&Config {
        records: records(steps, place),
        layers,
    })
}

/// The text in the configuration of an image that has these layers. Steps whose layer is not among
/// them are left out.
pub fn inline(steps: &[SharedStep], diff_ids: &[Digest]) -> Result<String> {
    let layers = (0..diff_ids.len()).map(|number| Layer {
        blob: None,
        parent: i64::try_from(number).unwrap_or(0) - 1,
        annotations: None,
    });
    let place = |layer: &SharedLayer| diff_ids.iter().position(|id| *id == layer.diff_id);
    let has_place = |step: &&SharedStep| step.layer.as_ref().is_none_or(|it| place(it).is_some());
    let steps: Vec<SharedStep> = steps.iter().filter(has_place).cloned().collect();
    let config = Config {
        layers: layers.collect(),
        records: records(&steps, place),
    };
    Ok(STANDARD.encode(written(&config)?))
}

fn records(steps: &[SharedStep], place: impl Fn(&SharedLayer) -> Option<usize>) -> Vec<Record> {
    let numbers: HashMap<&Digest, usize> = steps.iter().map(|step| &step.key).zip(0..).collect();
    let record = |step: &SharedStep| {
        let before = step.parent.as_ref().and_then(|key| numbers.get(key));
        let made = step.layer.as_ref().and_then(&place);
        Record {
            digest: step.key.clone(),
            inputs: before
                .map(|link| vec![Input { link: *link }])
                .into_iter()
                .collect(),
            layers: made
                .map(|layer| Made {
                    layer,
                    created: step.created.clone(),
                })
                .into_iter()
                .collect(),
            own: Some(Own {
                created: step.created.clone(),
                root: step.with_root,
                content: step.content.clone(),
            }),
        }
    };
    steps.iter().map(record).collect()
}

fn written(config: &Config) -> Result<Vec<u8>> {
    serde_json::to_vec(config).context(ErrorKind::System, || {
        "cannot write the cache's configuration".to_owned()
    })
}

/// Our steps in a cache config.
///
/// # Errors
/// [`ErrorKind::InvalidContent`]
pub fn parse(bytes: &[u8]) -> Result<Vec<SharedStep>> {
    let config = read(bytes)?;
    let layer = |layer: &Layer| {
        let annotations = layer.annotations.as_ref()?;
        Some(SharedLayer {
            blob: layer.blob.clone()?,
            size: annotations.size,
            media_type: annotations.media_type.clone(),
            diff_id: annotations.diff_id.clone()?,
        })
    };
    let layers: Vec<Option<SharedLayer>> = config.layers.iter().map(layer).collect();
    steps(&config.records, &layers)
}

/// Those of an image that has these layers.
///
/// # Errors
/// [`ErrorKind::InvalidContent`]
pub fn parse_inline(text: &str, layers: Vec<SharedLayer>) -> Result<Vec<SharedStep>> {
    let bytes = STANDARD
        .decode(text)
        .map_err(|_| invalid("it is not base64"))?;
    let layers: Vec<Option<SharedLayer>> = layers.into_iter().map(Some).collect();
    steps(&read(&bytes)?.records, &layers)
}

fn read(bytes: &[u8]) -> Result<Config> {
    serde_json::from_slice(bytes).context(ErrorKind::InvalidContent, || {
        "invalid cache configuration".to_owned()
    })
}

fn steps(records: &[Record], layers: &[Option<SharedLayer>]) -> Result<Vec<SharedStep>> {
    let mut steps = Vec::new();
    for record in records {
        let Some(own) = &record.own else { continue };
        let layer = match record.layers.first() {
            None => None,
            Some(made) => {
                let layer = layers.get(made.layer).cloned().flatten();
                Some(layer.ok_or_else(|| invalid("a record names a layer that it does not have"))?)
            }
        };
        if layer
            .as_ref()
            .is_some_and(|it| it.diff_id.algorithm() != "sha256")
        {
            return Err(invalid("the diff id of a layer is not SHA-256"));
        }
        let before = record.inputs.first().and_then(|input| input.first());
        steps.push(SharedStep {
            key: record.digest.clone(),
            content: own.content.clone(),
            parent: before
                .and_then(|input| records.get(input.link))
                .map(|record| record.digest.clone()),
            layer,
            created: own.created.clone(),
            with_root: own.root,
        });
    }
    Ok(steps)
}

fn invalid(why: &str) -> Error {
    Error::new(
        ErrorKind::InvalidContent,
        format!("invalid cache configuration: {why}"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(text: &str) -> Digest {
        use sha2::Digest as _;
        Digest::sha256(sha2::Sha256::digest(text))
    }

    fn layer(name: &str) -> SharedLayer {
        SharedLayer {
            blob: digest(&format!("blob of {name}")),
            size: 7,
            media_type: super::super::manifest::layer_media_type(
                super::super::manifest::Compression::Gzip,
            )
            .to_owned(),
            diff_id: digest(name),
        }
    }

    fn three() -> Vec<SharedStep> {
        let step = |key: &str, parent: Option<&str>, layer| SharedStep {
            key: digest(key),
            content: (key == "c").then(|| digest("d")),
            parent: parent.map(digest),
            layer,
            created: "2026-01-01T00:00:00Z".to_owned(),
            with_root: key == "b",
        };
        vec![
            step("a", None, Some(layer("one"))),
            step("b", Some("a"), None),
            step("c", Some("b"), Some(layer("two"))),
        ]
    }

    #[test]
    fn there_and_back() {
        assert_eq!(parse(&config(&three()).unwrap()).unwrap(), three());
        let image = [layer("base"), layer("one"), layer("two")];
        let diff_ids: Vec<Digest> = image.iter().map(|it| it.diff_id.clone()).collect();
        let text = inline(&three(), &diff_ids).unwrap();
        assert_eq!(parse_inline(&text, image.to_vec()).unwrap(), three());
        // A layer that the image has not, as after squashing.
        let text = inline(&three(), &diff_ids[..2]).unwrap();
        assert_eq!(parse_inline(&text, image.to_vec()).unwrap(), three()[..2]);
    }

    #[test]
    fn what_buildkit_wrote_has_nothing_of_ours() {
        let text = format!(
            r#"{{"layers":[{{"blob":"{0}","parent":-1,"annotations":{{"mediaType":"m","diffID":"{0}",
            "size":1,"createdAt":"2026-01-01T00:00:00Z"}}}},{{"blob":"{0}"}}],
            "records":[{{"digest":"{0}","inputs":[[{{"link":0,"selector":"x"}}]],"layers":[{{"layer":9}}]}},
            {{"digest":"{0}","chains":[{{"layers":[0]}}]}}]}}"#,
            digest("x")
        );
        assert_eq!(parse(text.as_bytes()).unwrap(), []);
    }

    #[test]
    fn damaged() {
        let good = String::from_utf8(config(&three()).unwrap()).unwrap();
        for (from, to) in [
            (r#""layer":1"#, r#""layer":2"#),
            (r#""layer":1"#, r#""layer":-1"#),
            ("sha256:", "sha256:x"),
            (r#""size":7"#, r#""size":-7"#),
        ] {
            assert!(good.contains(from), "{good}");
            parse(good.replace(from, to).as_bytes()).unwrap_err();
        }
        parse_inline("?", Vec::new()).unwrap_err();
        parse_inline(&STANDARD.encode(&good), vec![layer("one")]).unwrap_err();
    }
}

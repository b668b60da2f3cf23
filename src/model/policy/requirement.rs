//! What a policy can ask of an image.

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::identity::Identity;

/// One requirement.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub enum Requirement {
    /// Asks for nothing.
    InsecureAcceptAnything {},
    /// Fulfilled by no image.
    Reject {},
    /// A signature that cosign or skopeo made, beside the image in its registry.
    SigstoreSigned(Box<SigstoreKeys>),
    /// GnuPG's; not verified here.
    #[serde(rename_all = "camelCase")]
    SignedBy {
        key_type: String,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_path: Option<PathBuf>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_paths: Option<Vec<PathBuf>>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        key_data: Option<String>,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        signed_identity: Option<Identity>,
    },
    /// Was never implemented by anyone.
    #[serde(rename_all = "camelCase")]
    SignedBaseLayer { base_layer_identity: Identity },
}

/// Whose signature is good.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase", default)]
pub struct SigstoreKeys {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_path: Option<PathBuf>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_paths: Option<Vec<PathBuf>>,
    /// Base64 of a PEM.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_data: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_datas: Option<Vec<String>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fulcio: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pki: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_path: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_paths: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_data: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub rekor_public_key_datas: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signed_identity: Option<Identity>,
}

/// Where a public key is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum KeySource<'a> {
    File(&'a Path),
    /// Base64 of a PEM.
    Inline(&'a str),
}

impl SigstoreKeys {
    /// The keys any of which may have signed, or why this requirement cannot be honoured.
    pub fn sources(&self) -> Result<Vec<KeySource<'_>>, &'static str> {
        if self.fulcio.is_some() {
            return Err("certificates of Fulcio (fulcio) cannot be verified");
        }
        if self.pki.is_some() {
            return Err("certificates (pki) cannot be verified");
        }
        let rekor = [
            &self.rekor_public_key_path,
            &self.rekor_public_key_paths,
            &self.rekor_public_key_data,
            &self.rekor_public_key_datas,
        ];
        if rekor.iter().any(|key| key.is_some()) {
            return Err("entries of a transparency log (rekor…) cannot be verified");
        }
        let mut given: Vec<Vec<KeySource<'_>>> = Vec::new();
        given.extend(self.key_path.iter().map(|path| vec![KeySource::File(path)]));
        let paths = self.key_paths.iter();
        given.extend(paths.map(|paths| paths.iter().map(|path| KeySource::File(path)).collect()));
        let inline = self.key_data.iter();
        given.extend(inline.map(|text| vec![KeySource::Inline(text)]));
        let texts = self.key_datas.iter();
        given.extend(texts.map(|texts| texts.iter().map(|text| KeySource::Inline(text)).collect()));
        match (given.pop(), given.is_empty()) {
            (Some(keys), true) if !keys.is_empty() => Ok(keys),
            _ => Err("exactly one of keyPath, keyPaths, keyData and keyDatas must say the key"),
        }
    }

    pub fn identity(&self) -> &Identity {
        const DEFAULT: &Identity = &Identity::MatchRepoDigestOrExact {};
        self.signed_identity.as_ref().unwrap_or(DEFAULT)
    }
}

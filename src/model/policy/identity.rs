//! Whether the name in a signature is good enough for the name that an image was asked for by.

use serde::{Deserialize, Serialize};

use crate::model::Reference;

/// `signedIdentity`.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
#[serde(deny_unknown_fields)]
pub enum Identity {
    /// The same name with the same tag, or the same digest.
    MatchExact {},
    /// The same, or for an image asked for by digest the same repository.
    MatchRepoDigestOrExact {},
    /// The same repository.
    MatchRepository {},
    #[serde(rename_all = "camelCase")]
    ExactReference { docker_reference: String },
    #[serde(rename_all = "camelCase")]
    ExactRepository { docker_repository: String },
    /// As `MatchRepoDigestOrExact`, with another beginning of the name.
    #[serde(rename_all = "camelCase")]
    RemapIdentity {
        prefix: String,
        signed_prefix: String,
    },
}

/// A name as somebody wrote it.
#[derive(Clone, Debug, PartialEq)]
struct Written {
    reference: Reference,
    /// It has neither tag nor digest; `latest` was filled in by the parser.
    is_bare: bool,
}

impl Written {
    fn parse(text: &str) -> Option<Self> {
        let reference: Reference = text.parse().ok()?;
        let tag = reference.tag().unwrap_or_default();
        let has_tag = !tag.is_empty() && text.split('@').next()?.ends_with(&format!(":{tag}"));
        Some(Written {
            is_bare: reference.digest().is_none() && !has_tag,
            reference,
        })
    }

    fn is_exactly(&self, wanted: &Reference) -> bool {
        !self.is_bare && self.reference == *wanted
    }
}

impl Identity {
    /// Whether a signature on `signed` counts for an image asked for as `wanted`, which has a tag
    /// or a digest.
    pub fn accepts(&self, wanted: &Reference, signed: &str) -> bool {
        let Some(signed) = Written::parse(signed) else {
            return false;
        };
        match self {
            Identity::MatchExact {} => signed.is_exactly(wanted),
            Identity::MatchRepoDigestOrExact {} => same_digest_or_exact(&signed, wanted),
            Identity::MatchRepository {} => signed.reference.name() == wanted.name(),
            Identity::ExactReference { docker_reference } => Written::parse(docker_reference)
                .is_some_and(|only| !only.is_bare && signed.is_exactly(&only.reference)),
            Identity::ExactRepository { docker_repository } => Written::parse(docker_repository)
                .is_some_and(|only| only.reference.name() == signed.reference.name()),
            Identity::RemapIdentity {
                prefix,
                signed_prefix,
            } => remapped(wanted, prefix, signed_prefix)
                .is_some_and(|wanted| same_digest_or_exact(&signed, &wanted)),
        }
    }

    /// Why this can never be matched, if so: a rule that was mistyped must not be one that only
    /// ever refuses without a word on it.
    pub fn mistake(&self) -> Option<String> {
        match self {
            Identity::ExactReference { docker_reference } => {
                let good = Written::parse(docker_reference).is_some_and(|name| !name.is_bare);
                (!good).then(|| {
                    format!("dockerReference {docker_reference:?} is not a name with tag or digest")
                })
            }
            Identity::ExactRepository { docker_repository } => {
                let good = Written::parse(docker_repository).is_some();
                (!good).then(|| format!("dockerRepository {docker_repository:?} is not a name"))
            }
            Identity::RemapIdentity {
                prefix,
                signed_prefix,
            } => [("prefix", prefix), ("signedPrefix", signed_prefix)]
                .into_iter()
                .find(|(_, text)| !is_prefix(text))
                .map(|(key, text)| {
                    format!("{key} {text:?} is not a host or a fully written repository")
                }),
            _ => None,
        }
    }
}

fn same_digest_or_exact(signed: &Written, wanted: &Reference) -> bool {
    match wanted.tag() {
        Some(_) => signed.is_exactly(wanted),
        // The digest was compared with the image already.
        None => signed.reference.name() == wanted.name(),
    }
}

/// `wanted` with the other beginning, if it has the first; unchanged otherwise.
fn remapped(wanted: &Reference, prefix: &str, signed_prefix: &str) -> Option<Reference> {
    let name = wanted.name();
    let below = name.strip_prefix(prefix);
    if !below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/')) {
        return Some(wanted.clone());
    }
    let rest = &wanted.to_string()[prefix.len()..];
    format!("{signed_prefix}{rest}").parse().ok()
}

fn is_prefix(text: &str) -> bool {
    let below = format!("{text}/x");
    below
        .parse::<Reference>()
        .is_ok_and(|name| name.name() == below || text == crate::model::reference::DOCKER_HUB)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str =
        "a.io/b/c@sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn accepts(identity: &str, wanted: &str, signed: &str) -> bool {
        let identity: Identity = serde_json::from_str(identity).unwrap();
        assert_eq!(identity.mistake(), None);
        identity.accepts(&wanted.parse().unwrap(), signed)
    }

    #[test]
    fn every_kind_accepts_what_it_says() {
        let table = [
            (
                r#"{"type": "matchExact"}"#,
                "a.io/b/c:1",
                "a.io/b/c:1",
                true,
            ),
            (
                r#"{"type": "matchExact"}"#,
                "a.io/b/c:1",
                "a.io/b/c:2",
                false,
            ),
            (
                r#"{"type": "matchExact"}"#,
                "a.io/b/c:latest",
                "a.io/b/c",
                false,
            ),
            (
                r#"{"type": "matchExact"}"#,
                "busybox",
                "busybox:latest",
                true,
            ),
            (r#"{"type": "matchExact"}"#, DIGEST, "a.io/b/c:1", false),
            (
                r#"{"type": "matchRepoDigestOrExact"}"#,
                "a.io/b/c:1",
                "a.io/b/c:1",
                true,
            ),
            (
                r#"{"type": "matchRepoDigestOrExact"}"#,
                "a.io/b/c:1",
                "a.io/b/c",
                false,
            ),
            (
                r#"{"type": "matchRepoDigestOrExact"}"#,
                DIGEST,
                "a.io/b/c:1",
                true,
            ),
            (
                r#"{"type": "matchRepoDigestOrExact"}"#,
                DIGEST,
                "a.io/b/d:1",
                false,
            ),
            (
                r#"{"type": "matchRepository"}"#,
                "a.io/b/c:1",
                "a.io/b/c",
                true,
            ),
            (
                r#"{"type": "matchRepository"}"#,
                "a.io/b/c:1",
                "a.io/b",
                false,
            ),
            (
                r#"{"type": "matchRepository"}"#,
                "a.io/b/c:1",
                "a.io/b/c:",
                false,
            ),
            (
                r#"{"type": "exactReference", "dockerReference": "v.io/x:1"}"#,
                "a.io/b/c:1",
                "v.io/x:1",
                true,
            ),
            (
                r#"{"type": "exactReference", "dockerReference": "v.io/x:1"}"#,
                "v.io/x:2",
                "v.io/x:2",
                false,
            ),
            (
                r#"{"type": "exactRepository", "dockerRepository": "v.io/x"}"#,
                "a.io/b/c:1",
                "v.io/x:7",
                true,
            ),
            (
                r#"{"type": "remapIdentity", "prefix": "m:5000/v", "signedPrefix": "v.io"}"#,
                "m:5000/v/a/i:1",
                "v.io/a/i:1",
                true,
            ),
            (
                r#"{"type": "remapIdentity", "prefix": "m:5000/v", "signedPrefix": "v.io"}"#,
                "m:5000/va/i:1",
                "v.ioa/i:1",
                false,
            ),
            (
                r#"{"type": "remapIdentity", "prefix": "m:5000", "signedPrefix": "v.io"}"#,
                "other.io/i:1",
                "other.io/i:1",
                true,
            ),
        ];
        for (identity, wanted, signed, verdict) in table {
            assert_eq!(
                accepts(identity, wanted, signed),
                verdict,
                "{identity} {wanted} {signed}"
            );
        }
    }

    #[test]
    fn mistakes_are_told() {
        for text in [
            r#"{"type": "exactReference", "dockerReference": "v.io/x"}"#,
            r#"{"type": "exactRepository", "dockerRepository": "V V"}"#,
            r#"{"type": "remapIdentity", "prefix": "busybox", "signedPrefix": "v.io"}"#,
            r#"{"type": "remapIdentity", "prefix": "v.io", "signedPrefix": ""}"#,
        ] {
            let identity: Identity = serde_json::from_str(text).unwrap();
            assert!(identity.mistake().is_some(), "{text}");
        }
        assert!(serde_json::from_str::<Identity>(r#"{"type": "matchExact", "x": 1}"#).is_err());
        assert!(is_prefix("localhost") && is_prefix("docker.io/library") && is_prefix("docker.io"));
    }
}

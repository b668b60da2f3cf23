//! What a signature says: cosign's form of "simple signing" (containers-signature(5)).

use serde::Deserialize;

use crate::model::{Context, Digest, Error, ErrorKind, Result};

/// The media type of a layer that is such a payload.
pub const PAYLOAD_TYPE: &str = "application/vnd.dev.cosign.simplesigning.v1+json";
/// The annotation of that layer that holds the signature, base64.
pub const SIGNATURE_ANNOTATION: &str = "dev.cosignproject.cosign/signature";
/// A usual one has 250 bytes.
pub const MAX_PAYLOAD_BYTES: u64 = 256 << 10;

const KIND: &str = "cosign container image signature";

/// Only ever read after its signature was verified: until then it is somebody's claim.
#[derive(Debug, PartialEq)]
pub struct Payload {
    /// The name under which the image was signed.
    pub reference: String,
    /// What was signed: the digest of a manifest or index.
    pub digest: Digest,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Text {
    critical: Critical,
    /// Whatever else the signer wanted to say.
    #[serde(default, rename = "optional")]
    _optional: serde::de::IgnoredAny,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Critical {
    identity: SignedIdentity,
    image: SignedImage,
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedIdentity {
    #[serde(rename = "docker-reference")]
    reference: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct SignedImage {
    #[serde(rename = "docker-manifest-digest")]
    digest: Digest,
}

impl Payload {
    /// Reads a payload. What is critical must be understood, so an unknown key there is an error.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        let text: Text = serde_json::from_slice(bytes)
            .context(ErrorKind::InvalidContent, || {
                "invalid signature payload".to_owned()
            })?;
        if text.critical.kind != KIND {
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!(
                    "invalid signature payload: its type is {:?}",
                    text.critical.kind
                ),
            ));
        }
        Ok(Payload {
            reference: text.critical.identity.reference,
            digest: text.critical.image.digest,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ZEROS: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn text(critical: &str, rest: &str) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":"a.io/b"}},"image":{{"docker-manifest-digest":"{ZEROS}"}},{critical}}}{rest}}}"#
        )
    }

    #[test]
    fn what_cosign_writes_is_read() {
        for rest in [
            r#","optional":null"#,
            r#","optional":{"creator":"x","n":[1]}"#,
            "",
        ] {
            let text = text(r#""type":"cosign container image signature""#, rest);
            let payload = Payload::parse(text.as_bytes()).unwrap();
            assert_eq!(payload.reference, "a.io/b");
            assert_eq!(payload.digest.as_str(), ZEROS);
        }
    }

    #[test]
    fn anything_else_is_refused() {
        let kind = r#""type":"cosign container image signature""#;
        for bad in [
            text(r#""type":"atomic container signature""#, ""),
            text(&format!(r#"{kind},"expires":1"#), ""),
            text(&format!(r#"{kind},{kind}"#), ""),
            text(kind, r#","more":1"#),
            text(kind, "").replace("sha256:0", "sha256:G"),
            text(kind, "").replace("\"a.io/b\"", "7"),
            text(kind, "") + "x",
            String::new(),
            "[]".to_owned(),
        ] {
            let error = Payload::parse(bad.as_bytes()).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidContent, "{bad}");
        }
    }
}

//! Signatures that lie beside an image: the tag `sha256-HEX.sig` of its repository is an OCI
//! manifest, each layer of it one signature: a payload ([`crate::model::policy::Payload`]) with the signature over it
//! in an annotation.
//!
//! All of it comes from the registry and is not to be believed: a payload is parsed only after its
//! signature was verified, signatures are tried one by one up to [`MAX_SIGNATURES`], and the digest
//! that they must name is computed here, from the bytes that will be used.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use oci_spec::image::Descriptor;
use sha2::{Digest as _, Sha256};

use super::{Demand, Signer, untrusted};
use crate::{
    model::{
        Digest, Error, ErrorKind, Reference, Result,
        manifest::{self, Document},
        policy::{MAX_PAYLOAD_BYTES, PAYLOAD_TYPE, Payload, SIGNATURE_ANNOTATION},
    },
    registry::{OnRetry, Registry},
};

/// Signatures on one document that are looked at.
const MAX_SIGNATURES: usize = 64;

/// Why no signature was good enough: the one that came closest.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Missing {
    Signature,
    Readable(String),
    Key,
    /// The key has signed something that is no payload.
    Payload(String),
    Digest,
    Name(String),
}

struct Signature {
    payload: Vec<u8>,
    signature: Vec<u8>,
}

impl Demand {
    /// Whether the image may be used. `documents` are the bytes that will be: what the name stands
    /// for, and the manifest chosen from it if that is another one.
    ///
    /// # Errors
    /// [`ErrorKind::Untrusted`]; those of [`Registry::document`].
    pub fn check(
        &self,
        registry: &Registry,
        documents: &[&[u8]],
        on_retry: OnRetry<'_>,
    ) -> Result<()> {
        let mut open: Vec<&Signer> = self.signers.iter().collect();
        let mut closest = Missing::Signature;
        let attached = Attached {
            registry,
            name: &self.name,
            on_retry,
        };
        for document in documents {
            let digest = Digest::sha256(Sha256::digest(document));
            let descriptors = match attached.list(&digest) {
                Ok(descriptors) => descriptors,
                Err(error) => {
                    closest = closest.max(Missing::Readable(unusable(error)?));
                    continue;
                }
            };
            for descriptor in &descriptors {
                let signature = match attached.fetch(descriptor) {
                    Ok(signature) => signature,
                    Err(error) => {
                        closest = closest.max(Missing::Readable(unusable(error)?));
                        continue;
                    }
                };
                open.retain(
                    |signer| match signer.judge(&signature, &digest, &self.name) {
                        Ok(()) => false,
                        Err(missing) => {
                            closest = closest.clone().max(missing);
                            true
                        }
                    },
                );
                if open.is_empty() {
                    return Ok(());
                }
            }
        }
        Err(untrusted(
            &self.name.familiar(),
            &closest.why(&self.name),
            &self.policy,
        ))
    }
}

impl Signer {
    /// The order is that of trust: key, payload, digest, name.
    fn judge(&self, found: &Signature, digest: &Digest, name: &Reference) -> Result<(), Missing> {
        let known = |key: &super::keys::PublicKey| key.signed(&found.payload, &found.signature);
        if !self.keys.iter().any(known) {
            return Err(Missing::Key);
        }
        let payload =
            Payload::parse(&found.payload).map_err(|error| Missing::Payload(error.one_line()))?;
        if payload.digest != *digest {
            return Err(Missing::Digest);
        }
        if !self.identity.accepts(name, &payload.reference) {
            return Err(Missing::Name(payload.reference));
        }
        Ok(())
    }
}

impl Missing {
    fn why(&self, name: &Reference) -> String {
        match self {
            Missing::Signature => "a signature is required, and it has none".to_owned(),
            Missing::Readable(why) => format!("its signatures cannot be read: {why}"),
            Missing::Key => "no signature on it was made by a key of the policy".to_owned(),
            Missing::Payload(why) => format!("its signature is of no use: {why}"),
            Missing::Digest => "the signature beside it was made for another image".to_owned(),
            Missing::Name(signed) => format!(
                "it was signed as {signed:?}, which the policy does not accept for {}",
                name.familiar()
            ),
        }
    }
}

/// The text of an error that makes one signature useless; other errors end the check.
fn unusable(error: Error) -> Result<String> {
    match error.kind() {
        ErrorKind::NotFoundInRegistry | ErrorKind::InvalidContent | ErrorKind::DigestMismatch => {
            Ok(error.one_line())
        }
        _ => Err(error),
    }
}

/// What lies beside an image in its registry.
struct Attached<'a> {
    registry: &'a Registry,
    name: &'a Reference,
    on_retry: OnRetry<'a>,
}

impl Attached<'_> {
    /// The layers that are signatures on `digest`; none if there is no such tag.
    fn list(&self, digest: &Digest) -> Result<Vec<Descriptor>> {
        let tag = format!("{}:sha256-{}.sig", self.name.name(), digest.hex());
        let found = match self.registry.document(&tag.parse()?, self.on_retry) {
            Err(error) if error.kind() == ErrorKind::NotFoundInRegistry => return Ok(Vec::new()),
            other => other?,
        };
        let Document::Manifest(manifest) =
            Document::parse(&found.bytes, found.media_type.as_deref())?
        else {
            return Err(Error::new(ErrorKind::InvalidContent, "they are an index"));
        };
        let is_signature = |layer: &&Descriptor| layer.media_type().to_string() == PAYLOAD_TYPE;
        let layers = manifest.layers().iter().filter(is_signature);
        Ok(layers.take(MAX_SIGNATURES).cloned().collect())
    }

    fn fetch(&self, descriptor: &Descriptor) -> Result<Signature> {
        let invalid = |why: &str| Error::new(ErrorKind::InvalidContent, why);
        let annotations = descriptor.annotations().as_ref();
        let text = annotations
            .and_then(|all| all.get(SIGNATURE_ANNOTATION))
            .ok_or_else(|| invalid("an annotation is missing"))?;
        let signature = STANDARD
            .decode(text)
            .map_err(|_| invalid("a signature is not base64"))?;
        if descriptor.size() > MAX_PAYLOAD_BYTES {
            return Err(invalid("a payload is too large"));
        }
        let digest = manifest::digest_of(descriptor)?;
        let size = descriptor.size();
        let payload = self
            .registry
            .small_blob(self.name, &digest, size, self.on_retry)?;
        Ok(Signature { payload, signature })
    }
}

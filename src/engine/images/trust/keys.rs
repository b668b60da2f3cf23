//! Public keys, and whether one of them made a signature.
//!
//! The algorithm follows from the key alone, never from what a signature says: ECDSA on P-256 and
//! P-384, Ed25519 and RSA (PKCS #1 v1.5) from 2048 bits on, over SHA-256 as cosign has it; its
//! newer versions take SHA-384 for P-384.

use base64::{Engine as _, engine::general_purpose::STANDARD};
use rustls::pki_types::{SignatureVerificationAlgorithm, SubjectPublicKeyInfoDer, pem::PemObject};
use webpki::{RawPublicKeyEntity, ring};

use crate::model::{
    Context, Error, ErrorKind, Result,
    policy::{KeySource, SigstoreKeys},
};

/// A usual one has 180 bytes.
const MAX_KEY_BYTES: u64 = 64 << 10;

static ALGORITHMS: &[&dyn SignatureVerificationAlgorithm] = &[
    ring::ECDSA_P256_SHA256,
    ring::ECDSA_P384_SHA256,
    ring::ECDSA_P384_SHA384,
    ring::ED25519,
    ring::RSA_PKCS1_2048_8192_SHA256,
];

/// A key that signatures can be verified with.
#[derive(Debug)]
pub struct PublicKey(SubjectPublicKeyInfoDer<'static>);

impl PublicKey {
    /// The one key of a PEM file.
    pub fn from_pem(pem: &[u8]) -> Result<Self> {
        let mut keys = Vec::new();
        for key in SubjectPublicKeyInfoDer::pem_slice_iter(pem) {
            keys.push(key.map_err(|_| Error::invalid("it is not PEM"))?);
        }
        let key = match (keys.pop(), keys.is_empty()) {
            (Some(key), true) => PublicKey(key),
            (None, _) => return Err(Error::invalid("there is no \"PUBLIC KEY\" in it")),
            _ => return Err(Error::invalid("there are several public keys in it")),
        };
        match key.verify(b"", b"") {
            Verified::No => Ok(key),
            _ => Err(Error::invalid(
                "only ECDSA on P-256 and P-384, Ed25519 and RSA can be verified",
            )),
        }
    }

    /// Whether this key signed `message`.
    pub fn signed(&self, message: &[u8], signature: &[u8]) -> bool {
        matches!(self.verify(message, signature), Verified::Yes)
    }

    fn verify(&self, message: &[u8], signature: &[u8]) -> Verified {
        let Ok(key) = RawPublicKeyEntity::try_from(&self.0) else {
            return Verified::NotPossible;
        };
        let mut outcome = Verified::NotPossible;
        for algorithm in ALGORITHMS {
            match key.verify_signature(*algorithm, message, signature) {
                Ok(()) => return Verified::Yes,
                Err(webpki::Error::InvalidSignatureForPublicKey) => outcome = Verified::No,
                // The algorithm is for another kind of key.
                Err(_) => {}
            }
        }
        outcome
    }
}

enum Verified {
    Yes,
    No,
    /// The key is of no kind that is known here.
    NotPossible,
}

/// Reads all keys of a requirement: one that is missing is an error, not a signer fewer.
pub fn read(keys: &SigstoreKeys) -> Result<Vec<PublicKey>> {
    let sources = keys.sources().map_err(Error::invalid)?;
    sources.into_iter().map(read_one).collect()
}

fn read_one(source: KeySource<'_>) -> Result<PublicKey> {
    let (pem, what) = match source {
        KeySource::File(path) => {
            let what = format!("invalid public key {}", path.display());
            if !path.is_absolute() {
                return Err(Error::invalid(format!("{what}: the path is not absolute")));
            }
            (super::read_file(path, MAX_KEY_BYTES)?, what)
        }
        KeySource::Inline(text) => {
            let what = "invalid public key in keyData".to_owned();
            let pem = STANDARD.decode(text.trim());
            (
                pem.context(ErrorKind::InvalidArgument, || what.clone())?,
                what,
            )
        }
    };
    PublicKey::from_pem(&pem).context(ErrorKind::InvalidArgument, || what)
}

//! Private keys in files: OpenSSH's own format (PROTOCOL.key), PKCS #8, PKCS #1 and SEC 1 in PEM.
//!
//! What is read is only ever a key for `ring`, which checks that its parts belong together; the public
//! half is taken from there. Keys under a passphrase are for ssh-agent(1): there is nobody to ask here.

use std::fmt;

use base64::{Engine as _, prelude::BASE64_STANDARD};
use ring::{
    rand::SystemRandom,
    rsa::{KeyPairComponents, PublicKeyComponents},
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair,
        EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
        RsaKeyPair,
    },
};

use super::wire::{Reader, Writer, without_zeros};

const MAGIC: &[u8] = b"openssh-key-v1\0";
/// Flags of a request to sign (draft-miller-ssh-agent, section 5.3).
pub const RSA_SHA2_256: u32 = 2;
pub const RSA_SHA2_512: u32 = 4;
/// Bytes of a number of an RSA key: `ring` takes moduli of 4096 bits.
const MAX_INTEGER: usize = 512;

#[derive(Debug)]
pub struct Key {
    pair: Pair,
    pub comment: String,
}

#[derive(Debug)]
enum Pair {
    Ed25519(Ed25519KeyPair),
    Ecdsa(&'static Curve, EcdsaKeyPair),
    Rsa(RsaKeyPair),
}

#[derive(Debug)]
struct Curve {
    /// Of a key, and of the curve itself.
    name: &'static str,
    /// Bytes of a number.
    size: usize,
    algorithm: &'static EcdsaSigningAlgorithm,
    /// AlgorithmIdentifier of RFC 5480: id-ecPublicKey and the curve.
    identifier: &'static [u8],
}

static CURVES: [Curve; 2] = [
    Curve {
        name: "nistp256",
        size: 32,
        algorithm: &ECDSA_P256_SHA256_FIXED_SIGNING,
        identifier:
            b"\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07",
    },
    Curve {
        name: "nistp384",
        size: 48,
        algorithm: &ECDSA_P384_SHA384_FIXED_SIGNING,
        identifier: b"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x22",
    },
];

/// Why a file is of no use.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Under a passphrase.
    Encrypted,
    /// No kind of key that is known.
    Kind(String),
    NoKey,
    /// It says that it is a key.
    Broken,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Encrypted => f.write_str("it is encrypted"),
            Fault::Kind(kind) => write!(f, "keys of the kind {kind:?} are not supported"),
            Fault::NoKey => f.write_str("it is neither a socket nor a private key"),
            Fault::Broken => f.write_str("it is not a valid key"),
        }
    }
}

impl Key {
    /// `name` is what it is called if it has no comment.
    pub fn parse(text: &[u8], name: &str) -> Result<Key, Fault> {
        let text = std::str::from_utf8(text).map_err(|_| Fault::NoKey)?;
        let (label, bytes) = unarmour(text)?;
        let bare = |pair: Option<Pair>| {
            let comment = name.to_owned();
            pair.map(|pair| Key { pair, comment }).ok_or(Fault::Broken)
        };
        match label {
            "OPENSSH PRIVATE KEY" => openssh(&bytes, name),
            "PRIVATE KEY" => bare(pkcs8(&bytes)),
            "RSA PRIVATE KEY" => bare(RsaKeyPair::from_der(&bytes).ok().map(Pair::Rsa)),
            "EC PRIVATE KEY" => bare(CURVES.iter().find_map(|curve| sec1(curve, &bytes))),
            "ENCRYPTED PRIVATE KEY" => Err(Fault::Encrypted),
            other if other.ends_with("PRIVATE KEY") => Err(Fault::Kind(other.to_owned())),
            _ => Err(Fault::NoKey),
        }
    }

    /// The public half, as SSH writes it (RFC 4253, section 6.6; RFC 5656, section 3.1).
    pub fn public(&self) -> Vec<u8> {
        let writer = Writer::default();
        match &self.pair {
            Pair::Ed25519(pair) => writer
                .string(b"ssh-ed25519")
                .string(pair.public_key().as_ref()),
            Pair::Ecdsa(curve, pair) => writer
                .string(curve.algorithm_name().as_bytes())
                .string(curve.name.as_bytes())
                .string(pair.public_key().as_ref()),
            Pair::Rsa(pair) => {
                let parts: PublicKeyComponents<Vec<u8>> = pair.public().into();
                writer
                    .string(b"ssh-rsa")
                    .integer(&parts.e)
                    .integer(&parts.n)
            }
        }
        .0
    }

    /// A signature as SSH writes it; None if what is asked for is not there (SHA-1).
    pub fn sign(&self, data: &[u8], flags: u32) -> Option<Vec<u8>> {
        let random = SystemRandom::new();
        let writer = Writer::default();
        Some(
            match &self.pair {
                Pair::Ed25519(pair) => writer
                    .string(b"ssh-ed25519")
                    .string(pair.sign(data).as_ref()),
                Pair::Ecdsa(curve, pair) => {
                    let signed = pair.sign(&random, data).ok()?;
                    let (r, s) = signed.as_ref().split_at_checked(curve.size)?;
                    let pair = Writer::default().integer(r).integer(s);
                    writer
                        .string(curve.algorithm_name().as_bytes())
                        .string(&pair.0)
                }
                Pair::Rsa(pair) => {
                    let (name, algorithm) = match flags {
                        _ if flags & RSA_SHA2_512 != 0 => ("rsa-sha2-512", &RSA_PKCS1_SHA512),
                        _ if flags & RSA_SHA2_256 != 0 => ("rsa-sha2-256", &RSA_PKCS1_SHA256),
                        _ => return None,
                    };
                    let mut signed = vec![0; pair.public().modulus_len()];
                    pair.sign(algorithm, &random, data, &mut signed).ok()?;
                    writer.string(name.as_bytes()).string(&signed)
                }
            }
            .0,
        )
    }
}

impl Curve {
    fn algorithm_name(&self) -> String {
        format!("ecdsa-sha2-{}", self.name)
    }
}

/// The label and the bytes of the first document in PEM (RFC 7468) that is a private key.
fn unarmour(text: &str) -> Result<(&str, Vec<u8>), Fault> {
    let mut rest = text;
    loop {
        let (_, begun) = rest.split_once("-----BEGIN ").ok_or(Fault::NoKey)?;
        let (label, body) = begun.split_once("-----").ok_or(Fault::NoKey)?;
        let end = format!("-----END {label}-----");
        let (body, after) = body.split_once(&end).ok_or(Fault::Broken)?;
        rest = after;
        // Parameters of a curve stand before the key.
        if !label.ends_with("PRIVATE KEY") {
            continue;
        }
        if body.contains("ENCRYPTED") {
            return Err(Fault::Encrypted);
        }
        let letters: String = body.split_ascii_whitespace().collect();
        let bytes = BASE64_STANDARD.decode(letters).map_err(|_| Fault::Broken)?;
        return Ok((label, bytes));
    }
}

fn pkcs8(bytes: &[u8]) -> Option<Pair> {
    if let Ok(pair) = Ed25519KeyPair::from_pkcs8_maybe_unchecked(bytes) {
        return Some(Pair::Ed25519(pair));
    }
    if let Ok(pair) = RsaKeyPair::from_pkcs8(bytes) {
        return Some(Pair::Rsa(pair));
    }
    CURVES.iter().find_map(|curve| {
        let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm, bytes, &SystemRandom::new());
        pair.ok().map(|pair| Pair::Ecdsa(curve, pair))
    })
}

/// An ECPrivateKey (RFC 5915) inside of PKCS #8, where it says which curve it is on.
fn sec1(curve: &'static Curve, key: &[u8]) -> Option<Pair> {
    let version = &b"\x02\x01\x00"[..];
    let inner = [version, curve.identifier, &der(0x04, key)?].concat();
    let outer = der(0x30, &inner)?;
    let pair = EcdsaKeyPair::from_pkcs8(curve.algorithm, &outer, &SystemRandom::new());
    pair.ok().map(|pair| Pair::Ecdsa(curve, pair))
}

/// Tag, length, value. Keys of curves are shorter than 64 KiB.
fn der(tag: u8, value: &[u8]) -> Option<Vec<u8>> {
    let [high, low] = u16::try_from(value.len()).ok()?.to_be_bytes();
    let head = match (high, low) {
        (0, 0..0x80) => vec![tag, low],
        (0, _) => vec![tag, 0x81, low],
        _ => vec![tag, 0x82, high, low],
    };
    Some([&head, value].concat())
}

fn openssh(bytes: &[u8], name: &str) -> Result<Key, Fault> {
    let bytes = bytes.strip_prefix(MAGIC).ok_or(Fault::Broken)?;
    let mut reader = Reader(bytes);
    let outer = (|| {
        let cipher = reader.string()?;
        let (_kdf, _options) = (reader.string()?, reader.string()?);
        let count = reader.number()?;
        let _public = reader.string()?;
        Some((cipher, count, reader.string()?))
    })();
    let (cipher, count, private) = outer.ok_or(Fault::Broken)?;
    if cipher != b"none" {
        return Err(Fault::Encrypted);
    }
    if count != 1 {
        return Err(Fault::Broken);
    }
    let mut reader = Reader(private);
    let (one, other) = (reader.number(), reader.number());
    if one != other {
        return Err(Fault::Broken);
    }
    let kind = reader.string().ok_or(Fault::Broken)?;
    let pair = match kind {
        b"ssh-ed25519" => ed25519(&mut reader),
        b"ssh-rsa" => rsa(&mut reader),
        b"ecdsa-sha2-nistp256" | b"ecdsa-sha2-nistp384" => ecdsa(&mut reader),
        other => return Err(Fault::Kind(shown(other))),
    };
    let pair = pair.ok_or(Fault::Broken)?;
    let comment = reader.string().map(shown).unwrap_or_default();
    let comment = if comment.is_empty() {
        name.to_owned()
    } else {
        comment
    };
    Ok(Key { pair, comment })
}

/// At most a line.
fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let letters = text.chars().filter(|letter| !letter.is_control());
    letters.take(200).collect()
}

fn ed25519(reader: &mut Reader<'_>) -> Option<Pair> {
    let public = reader.string()?;
    let (seed, _) = reader.string()?.split_at_checked(32)?;
    let pair = Ed25519KeyPair::from_seed_and_public_key(seed, public);
    pair.ok().map(Pair::Ed25519)
}

fn ecdsa(reader: &mut Reader<'_>) -> Option<Pair> {
    let name = reader.string()?;
    let curve = CURVES.iter().find(|curve| curve.name.as_bytes() == name)?;
    let (point, number) = (reader.string()?, reader.integer()?);
    let zeros = curve.size.checked_sub(number.len())?;
    let number = [&vec![0; zeros], number].concat();
    let random = SystemRandom::new();
    let algorithm = curve.algorithm;
    let pair = EcdsaKeyPair::from_private_key_and_public_key(algorithm, &number, point, &random);
    pair.ok().map(|pair| Pair::Ecdsa(curve, pair))
}

fn rsa(reader: &mut Reader<'_>) -> Option<Pair> {
    let mut integer = || reader.integer().filter(|bytes| bytes.len() <= MAX_INTEGER);
    let (n, e, d) = (integer()?, integer()?, integer()?);
    let (inverse, p, q) = (integer()?, integer()?, integer()?);
    let components = KeyPairComponents {
        public_key: PublicKeyComponents { n, e },
        d,
        p,
        q,
        dP: &*remainder(d, &less_one(p)?)?,
        dQ: &*remainder(d, &less_one(q)?)?,
        qInv: inverse,
    };
    RsaKeyPair::from_components(&components).ok().map(Pair::Rsa)
}

/// Of an odd number, as primes are.
fn less_one(number: &[u8]) -> Option<Vec<u8>> {
    let mut less = number.to_vec();
    let last = less.last_mut().filter(|last| **last & 1 == 1)?;
    *last -= 1;
    Some(less)
}

/// `number` modulo `modulus`, both with the highest byte first: bit after bit, once for a key.
fn remainder(number: &[u8], modulus: &[u8]) -> Option<Vec<u8>> {
    let modulus = without_zeros(modulus);
    if modulus.is_empty() {
        return None;
    }
    // One byte more, for what is shifted out at the top.
    let modulus = [&[0], modulus].concat();
    let mut rest = vec![0_u8; modulus.len()];
    for byte in number {
        for bit in (0..8).rev() {
            let mut carried = byte >> bit & 1;
            for digit in rest.iter_mut().rev() {
                (*digit, carried) = (*digit << 1 | carried, *digit >> 7);
            }
            if rest >= modulus {
                subtract(&mut rest, &modulus);
            }
        }
    }
    Some(without_zeros(&rest).to_vec())
}

/// Of numbers of the same length, the smaller from the larger.
fn subtract(from: &mut [u8], what: &[u8]) {
    let mut borrowed = false;
    for (digit, less) in from.iter_mut().zip(what).rev() {
        let (without, first) = digit.overflowing_sub(*less);
        let (without, second) = without.overflowing_sub(borrowed.into());
        (*digit, borrowed) = (without, first || second);
    }
}

#[cfg(test)]
mod tests;

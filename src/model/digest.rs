//! Content digests (`sha256:HEX`), as in the OCI image specification, "Digests".

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, ErrorKind, Result};

/// A digest whose text is known to be canonical: `sha256:` and 64, or `sha512:` and 128,
/// lower-case hexadecimal digits. Paths of the store are built from this type alone, so a
/// hostile manifest cannot name a file outside of it (CVE-2024-3727).
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

impl Digest {
    /// The digest that 32 bytes of a finished SHA-256 are written as.
    pub fn sha256(bytes: impl AsRef<[u8]>) -> Self {
        Self::written("sha256:", bytes.as_ref(), 32)
    }

    /// The digest that 64 bytes of a finished SHA-512 are written as.
    pub fn sha512(bytes: impl AsRef<[u8]>) -> Self {
        Self::written("sha512:", bytes.as_ref(), 64)
    }

    fn written(algorithm: &str, bytes: &[u8], expected: usize) -> Self {
        debug_assert_eq!(bytes.len(), expected);
        let mut text = String::with_capacity(algorithm.len() + 2 * expected);
        text.push_str(algorithm);
        for byte in bytes {
            use fmt::Write;
            let _ = write!(text, "{byte:02x}");
        }
        Digest(text)
    }

    /// `sha256` or `sha512`.
    pub fn algorithm(&self) -> &str {
        self.0
            .split_once(':')
            .map_or("", |(algorithm, _)| algorithm)
    }

    pub fn hex(&self) -> &str {
        self.0.split_once(':').map_or("", |(_, hex)| hex)
    }

    /// The first twelve digits, as `docker images` shows them.
    pub fn short(&self) -> &str {
        &self.hex()[..12]
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Digest {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let digits = match text.split_once(':') {
            Some(("sha256", hex)) if hex.len() == 64 => hex,
            Some(("sha512", hex)) if hex.len() == 128 => hex,
            _ => "",
        };
        let canonical = |digit: &u8| digit.is_ascii_digit() || (b'a'..=b'f').contains(digit);
        if digits.is_empty() || !digits.as_bytes().iter().all(canonical) {
            let shown: String = text.chars().take(80).collect();
            return Err(Error::new(
                ErrorKind::InvalidContent,
                format!("invalid digest {shown:?}: expected sha256: and 64 hexadecimal digits"),
            ));
        }
        Ok(Digest(text.to_owned()))
    }
}

impl TryFrom<String> for Digest {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> String {
        digest.0
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

//! Secrets: small values kept in the store, and how a container gets them.
//!
//! A value is printed by nothing here: [`SecretBytes`] shows its length only.

use std::{collections::BTreeMap, fmt, str::FromStr};

use base64::Engine as _;
use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// Podman's limit, exclusive.
pub const MAX_BYTES: usize = 512_000;

/// A value that no log and no debug output shows.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretBytes(Vec<u8>);

impl SecretBytes {
    /// Takes 1 to 511 999 bytes.
    pub fn new(bytes: Vec<u8>) -> Result<Self> {
        if bytes.is_empty() || bytes.len() >= MAX_BYTES {
            return Err(Error::invalid(format!(
                "secret data must be larger than 0 and less than {MAX_BYTES} bytes"
            )));
        }
        Ok(SecretBytes(bytes))
    }

    /// The value itself.
    pub fn reveal(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Debug for SecretBytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}

impl TryFrom<String> for SecretBytes {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        let bytes = base64::engine::general_purpose::STANDARD
            .decode(text)
            .map_err(|_| Error::invalid("a secret's record is not base64"))?;
        Ok(SecretBytes(bytes))
    }
}

impl From<SecretBytes> for String {
    fn from(secret: SecretBytes) -> String {
        base64::engine::general_purpose::STANDARD.encode(secret.0)
    }
}

/// A secret in the store: the file `secrets/NAME`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretRecord {
    /// 25 hexadecimal digits.
    pub id: String,
    pub name: String,
    /// RFC 3339 with nanoseconds, UTC.
    pub created: String,
    pub updated: String,
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    #[serde(default)]
    pub driver_options: BTreeMap<String, String>,
    pub data: SecretBytes,
}

/// Checks a secret's name: it is a file name too.
pub fn check_name(name: &str) -> Result<()> {
    let first = name
        .bytes()
        .next()
        .is_some_and(|b| b.is_ascii_alphanumeric());
    let good = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-');
    if first && name.len() <= 245 && name.bytes().all(good) {
        Ok(())
    } else {
        Err(Error::invalid(format!(
            "invalid secret name {name:?}: only [a-zA-Z0-9][a-zA-Z0-9_.-]* is allowed, at most 245 characters"
        )))
    }
}

/// How a container gets a secret: `--secret`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SecretUse {
    /// Name or ID.
    pub secret: String,
    pub way: SecretWay,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum SecretWay {
    File {
        /// Absolute.
        target: String,
        uid: u32,
        gid: u32,
        /// Permission bits.
        mode: u32,
    },
    Variable(String),
}

/// Where secrets are, unless a target says otherwise.
pub const FOLDER: &str = "/run/secrets";

impl FromStr for SecretUse {
    type Err = Error;

    /// `NAME[,type=mount|env][,target=…][,uid=…][,gid=…][,mode=…]`
    fn from_str(text: &str) -> Result<Self> {
        let invalid = |why: String| Error::invalid(format!("invalid secret {text:?}: {why}"));
        let mut fields = text.split(',');
        let secret = fields.next().unwrap_or_default();
        let secret = secret.strip_prefix("source=").unwrap_or(secret);
        if secret.is_empty() || secret.contains('=') {
            return Err(invalid("it must begin with the secret's name".to_owned()));
        }
        let mut options: BTreeMap<&str, &str> = BTreeMap::new();
        for field in fields {
            let (key, value) = field.split_once('=').unwrap_or((field, ""));
            if !["type", "target", "uid", "gid", "mode"].contains(&key) {
                return Err(invalid(format!("{key:?} is not an option")));
            }
            if value.is_empty() {
                return Err(invalid(format!("{key} has no value")));
            }
            options.insert(key, value);
        }
        let target = options.get("target").copied();
        let way = match options.get("type").copied() {
            Some("env") => {
                if let Some(key) = ["uid", "gid", "mode"]
                    .into_iter()
                    .find(|key| options.contains_key(key))
                {
                    return Err(invalid(format!("{key} makes no sense with type=env")));
                }
                SecretWay::Variable(variable(target.unwrap_or(secret)).map_err(invalid)?)
            }
            None | Some("mount") => {
                let id = |key: &str| match options.get(key) {
                    None => Ok(0),
                    Some(value) => value
                        .parse::<u32>()
                        .ok()
                        .filter(|id| *id != u32::MAX)
                        .ok_or_else(|| invalid(format!("{key} is not a number"))),
                };
                let mode = match options.get("mode") {
                    None => 0o444,
                    Some(value) => u32::from_str_radix(value, 8)
                        .ok()
                        .filter(|mode| *mode <= 0o777)
                        .ok_or_else(|| invalid("mode is not octal".to_owned()))?,
                };
                SecretWay::File {
                    target: file(target.unwrap_or(secret)).map_err(invalid)?,
                    uid: id("uid")?,
                    gid: id("gid")?,
                    mode,
                }
            }
            Some(other) => return Err(invalid(format!("type {other:?} is unknown"))),
        };
        Ok(SecretUse {
            secret: secret.to_owned(),
            way,
        })
    }
}

fn variable(name: &str) -> Result<String, String> {
    if name.contains(['=', '\0']) {
        return Err(format!("{name:?} is not the name of a variable"));
    }
    Ok(name.to_owned())
}

fn file(target: &str) -> Result<String, String> {
    if target.contains('\0') || target.split('/').any(|part| part == "..") || target.ends_with('/')
    {
        return Err(format!("{target:?} is not a file's path"));
    }
    Ok(match target.strip_prefix('/') {
        Some(_) => target.to_owned(),
        None => format!("{FOLDER}/{target}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uses_are_files_or_variables() {
        let way = |text: &str| text.parse::<SecretUse>().unwrap().way;
        let file = |target: &str, uid, gid, mode| SecretWay::File {
            target: target.to_owned(),
            uid,
            gid,
            mode,
        };
        assert_eq!(way("db"), file("/run/secrets/db", 0, 0, 0o444));
        assert_eq!(
            way("db,target=x,uid=1,gid=2,mode=0400"),
            file("/run/secrets/x", 1, 2, 0o400)
        );
        assert_eq!(way("db,target=/etc/key"), file("/etc/key", 0, 0, 0o444));
        assert_eq!(way("db,type=env"), SecretWay::Variable("db".to_owned()));
        assert_eq!(
            way("db,type=env,target=PASSWORD"),
            SecretWay::Variable("PASSWORD".to_owned())
        );
        for text in [
            "",
            "target=x",
            "db,type=x",
            "db,what=1",
            "db,mode=9",
            "db,mode=1777",
            "db,uid=-1",
            "db,uid=4294967295",
            "db,target=../x",
            "db,target=/a/../../x",
            "db,target=",
            "db,type=env,mode=400",
            "db,type=env,target=A=B",
        ] {
            assert!(text.parse::<SecretUse>().is_err(), "{text}");
        }
    }

    #[test]
    fn nothing_shows_a_value() {
        let secret = SecretBytes::new(b"hunter2".to_vec()).unwrap();
        assert_eq!(format!("{secret:?}"), "<7 bytes>");
        assert!(SecretBytes::new(Vec::new()).is_err());
        assert!(SecretBytes::new(vec![0; MAX_BYTES]).is_err());
        let text = serde_json::to_string(&secret).unwrap();
        assert_eq!(serde_json::from_str::<SecretBytes>(&text).unwrap(), secret);
    }
}

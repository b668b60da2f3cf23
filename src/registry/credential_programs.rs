//! Credential helpers: programs that keep secrets for docker and podman.
//!
//! A helper is `docker-credential-NAME`, run with one word as argument and one text on stdin
//! (docker-credential-helpers' protocol):
//!
//! ```text
//! get     SERVER                                    → {"ServerURL": …, "Username": …, "Secret": …}
//! store   {"ServerURL": …, "Username": …, "Secret": …}
//! erase   SERVER
//! list                                              → {"SERVER": "user", …}
//! ```
//!
//! The user name `<token>` marks the secret as an identity token. Helpers run before the
//! asynchronous runtime exists, because nothing may fork beside that.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use serde::{Deserialize, Serialize};

use super::failure::printable;
use crate::model::{Error, ErrorKind, Result, auth_file::StoredLogin};

/// Largest answer, in bytes.
const MAX_ANSWER_BYTES: u64 = 4 << 20;

/// Helpers may ask for a password to unlock a keyring, but not forever.
const PATIENCE: Duration = Duration::from_secs(60);

/// The user name that marks an identity token.
const TOKEN_USER: &str = "<token>";

/// The helper's words for "there is nothing", fixed by the protocol.
const NOTHING: &str = "credentials not found in native keychain";

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Record {
    #[serde(rename = "ServerURL", default)]
    server: String,
    username: String,
    secret: String,
}

/// A helper by its name.
pub(super) struct Helper<'a> {
    name: &'a str,
}

impl<'a> Helper<'a> {
    /// # Errors
    /// For a name that would be a path.
    pub fn named(name: &'a str) -> Result<Self> {
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(plain) {
            return Err(Error::invalid(format!(
                "invalid credential helper name {:?}",
                printable(name)
            )));
        }
        Ok(Helper { name })
    }

    /// Absent if the helper has nothing for this server.
    pub fn get(&self, server: &str) -> Result<Option<StoredLogin>> {
        let doing = format!("give the credentials for {server}");
        let output = match self.ask("get", server, &doing)? {
            Answer::Done(output) => output,
            Answer::Nothing => return Ok(None),
        };
        let record: Record = serde_json::from_slice(&output)
            .map_err(|_| self.failed(&doing, "its answer is not the JSON that was expected"))?;
        Ok(Some(if record.username == TOKEN_USER {
            StoredLogin::IdentityToken {
                user: String::new(),
                token: record.secret,
            }
        } else {
            StoredLogin::Password {
                user: record.username,
                password: record.secret,
            }
        }))
    }

    pub fn store(&self, server: &str, login: &StoredLogin) -> Result<()> {
        let (user, secret) = match login {
            StoredLogin::Password { user, password } => (user.as_str(), password),
            StoredLogin::IdentityToken { token, .. } => (TOKEN_USER, token),
            StoredLogin::RegistryToken(token) => (TOKEN_USER, token),
        };
        let record = Record {
            server: server.to_owned(),
            username: user.to_owned(),
            secret: secret.clone(),
        };
        let text = serde_json::to_string(&record).unwrap_or_default();
        self.ask(
            "store",
            &text,
            &format!("keep the credentials for {server}"),
        )?;
        Ok(())
    }

    /// Whether there was something to erase, as far as the helper says.
    pub fn erase(&self, server: &str) -> Result<bool> {
        let doing = format!("erase the credentials for {server}");
        Ok(matches!(
            self.ask("erase", server, &doing)?,
            Answer::Done(_)
        ))
    }

    /// Servers, and who we are there.
    pub fn list(&self) -> Result<BTreeMap<String, String>> {
        let doing = "list its credentials";
        match self.ask("list", "", doing)? {
            Answer::Nothing => Ok(BTreeMap::new()),
            Answer::Done(output) => serde_json::from_slice(&output)
                .map_err(|_| self.failed(doing, "its answer is not the JSON that was expected")),
        }
    }

    fn ask(&self, verb: &str, text: &str, doing: &str) -> Result<Answer> {
        let child = Command::new(format!("docker-credential-{}", self.name))
            .arg(verb)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|cause| {
                self.failed(doing, &cause.to_string()).with_hint(
                    "install it, or remove it from the auth file's credHelpers or credsStore",
                )
            })?;
        let (success, output) = converse(child, text).map_err(|why| self.failed(doing, &why))?;
        if success {
            return Ok(Answer::Done(output));
        }
        // Helpers say why on stdout.
        let words = String::from_utf8_lossy(&output);
        if words.trim() == NOTHING {
            return Ok(Answer::Nothing);
        }
        // What was to be stored could come back in the words.
        let why = match verb {
            "store" => "it failed".to_owned(),
            _ => printable(&words),
        };
        Err(self.failed(doing, &why))
    }

    fn failed(&self, doing: &str, why: &str) -> Error {
        Error::new(
            ErrorKind::Unauthorized,
            format!("docker-credential-{} cannot {doing}: {why}", self.name),
        )
    }
}

enum Answer {
    Done(Vec<u8>),
    Nothing,
}

/// Gives `text` to the helper and takes its answer, for at most [`PATIENCE`].
fn converse(mut child: Child, text: &str) -> Result<(bool, Vec<u8>), String> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err("no pipes".to_owned());
    };
    let (sender, answer) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(MAX_ANSWER_BYTES).read_to_end(&mut output);
        let _ = sender.send(read.map(|_| output));
    });
    // A helper that does not read is fine. A text longer than the pipe's buffer waits for it, in a
    // thread that ends with the helper.
    let text = format!("{text}\n");
    let writer = thread::spawn(move || {
        let _ = stdin.write_all(text.as_bytes());
    });
    let output = match answer.recv_timeout(PATIENCE) {
        Ok(read) => read.map_err(|cause| cause.to_string()),
        Err(_) => {
            let _ = child.kill();
            Err(format!("no answer in {} s", PATIENCE.as_secs()))
        }
    };
    let status = child.wait().map_err(|cause| cause.to_string())?;
    let output = output?;
    let _ = (reader.join(), writer.join());
    Ok((status.success(), output))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_helper_name_cannot_be_a_path() {
        for name in ["../x", "a/b", "", "a b", "$x"] {
            let error = Helper::named(name).err().unwrap();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }
}

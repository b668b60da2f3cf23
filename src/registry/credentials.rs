//! Who we are at a registry: the auth files of docker and podman, and their credential helpers.
//!
//! An auth file is JSON:
//!
//! ```json
//! {
//!   "auths": {
//!     "registry.example/team": { "auth": "BASE64(user:password)", "identitytoken": "…" },
//!     "https://index.docker.io/v1/": { "auth": "…" }
//!   },
//!   "credHelpers": { "registry.example": "NAME" },
//!   "credsStore": "NAME"
//! }
//! ```
//!
//! Order: `--creds`; then file by file, first answer wins: the helper for this registry, the
//! entry with the longest matching namespace (`registry.example/team/app`, `…/team`, …, the host
//! itself; containers-auth.json(5)), the helper for everything. Keys with a scheme are Docker's
//! old form and stand for the host alone.
//!
//! A helper is the program `docker-credential-NAME`, given `get` as argument and the registry on
//! stdin; it answers `{"Username": …, "Secret": …}`. The user name `<token>` marks the secret as
//! an identity token. It runs before the asynchronous runtime exists, because nothing may fork
//! beside that.

use std::{
    collections::BTreeMap,
    fmt, fs,
    io::{Read, Write},
    path::Path,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Duration,
};

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use oci_distribution::secrets::RegistryAuth;
use serde::Deserialize;

use super::failure::printable;
use crate::model::{
    Context, Error, ErrorKind, Reference, RegistryOptions, Result, reference::DOCKER_HUB,
};

/// Largest auth file, and largest answer of a helper, in bytes.
const MAX_FILE_BYTES: u64 = 4 << 20;

/// Helpers may ask for a password to unlock a keyring, but not forever.
const HELPER_TIME: Duration = Duration::from_secs(60);

/// What Docker calls its hub when it talks to helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

#[derive(Clone)]
pub(super) enum Credentials {
    /// Anonymous, user and password, or a ready bearer token.
    Plain(RegistryAuth),
    /// A refresh token that the token server turns into access tokens (OAuth 2).
    IdentityToken(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Plain(auth) => auth.fmt(f),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

/// The credentials for the repository of `reference`; anonymous if there are none. May run a
/// helper.
pub(super) fn find(reference: &Reference, options: &RegistryOptions) -> Result<Credentials> {
    if let Some((user, password)) = &options.credentials {
        return Ok(Credentials::Plain(RegistryAuth::Basic(
            user.clone(),
            password.clone(),
        )));
    }
    for path in &options.auth_files {
        if let Some(file) = AuthFile::read(path)?
            && let Some(found) = file.find(reference, path)?
        {
            return Ok(found);
        }
    }
    Ok(Credentials::Plain(RegistryAuth::Anonymous))
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthFile {
    auths: BTreeMap<String, AuthEntry>,
    #[serde(rename = "credHelpers")]
    helpers: BTreeMap<String, String>,
    #[serde(rename = "credsStore")]
    store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: Option<String>,
    username: Option<String>,
    password: Option<String>,
    identitytoken: Option<String>,
    registrytoken: Option<String>,
}

impl AuthFile {
    /// Absent if there is no such file.
    fn read(path: &Path) -> Result<Option<AuthFile>> {
        let what = || format!("cannot read auth file {}", path.display());
        let file = match fs::File::open(path) {
            Ok(file) => file,
            Err(cause) if cause.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(cause) => return Err(cause).system(what),
        };
        let mut text = String::new();
        file.take(MAX_FILE_BYTES)
            .read_to_string(&mut text)
            .system(what)?;
        if text.trim().is_empty() {
            return Ok(None);
        }
        // The parser's message could quote a password; only the place is kept.
        serde_json::from_str(&text).map(Some).map_err(|cause| {
            Error::invalid(format!(
                "auth file {} is not valid JSON of docker's or podman's form (line {}, column {})",
                path.display(),
                cause.line(),
                cause.column()
            ))
        })
    }

    fn find(&self, reference: &Reference, path: &Path) -> Result<Option<Credentials>> {
        let registry = reference.registry();
        let server = match registry {
            DOCKER_HUB => DOCKER_HUB_KEY,
            registry => registry,
        };
        let own_helper = self
            .helpers
            .iter()
            .find(|(key, _)| normal_key(key) == registry)
            .map(|(_, name)| name);
        if let Some(name) = own_helper
            && let Some(found) = ask_helper(name, server)?
        {
            return Ok(Some(found));
        }
        for wanted in namespaces(reference) {
            for (_, entry) in self
                .auths
                .iter()
                .filter(|(key, _)| normal_key(key) == wanted)
            {
                if let Some(found) = entry.credentials(&wanted, path)? {
                    return Ok(Some(found));
                }
            }
        }
        match &self.store {
            Some(name) if !name.is_empty() && own_helper.is_none() => ask_helper(name, server),
            _ => Ok(None),
        }
    }
}

impl AuthEntry {
    /// Absent for the empty entries that Docker leaves where a helper has the secret.
    fn credentials(&self, key: &str, path: &Path) -> Result<Option<Credentials>> {
        let given = |field: &Option<String>| field.clone().filter(|text| !text.is_empty());
        if let Some(token) = given(&self.identitytoken) {
            return Ok(Some(Credentials::IdentityToken(token)));
        }
        if let Some(token) = given(&self.registrytoken) {
            return Ok(Some(Credentials::Plain(RegistryAuth::Bearer(token))));
        }
        let pair = match given(&self.auth) {
            Some(auth) => Some(decode_pair(&auth).ok_or_else(|| {
                Error::invalid(format!(
                    "auth file {}: the entry for {key} is not base64 of user:password",
                    path.display()
                ))
            })?),
            None => given(&self.username).zip(given(&self.password)),
        };
        Ok(pair
            .filter(|(user, _)| !user.is_empty())
            .map(|(user, password)| Credentials::Plain(RegistryAuth::Basic(user, password))))
    }
}

/// What the key of an entry may be for `reference`, longest first.
fn namespaces(reference: &Reference) -> Vec<String> {
    let mut name = reference.name();
    let mut names = vec![name.clone()];
    while let Some(slash) = name.rfind('/') {
        name.truncate(slash);
        names.push(name.clone());
    }
    names
}

/// `registry.example/team` as it is; `https://registry.example/v1/` is `registry.example`.
fn normal_key(key: &str) -> &str {
    let legacy = key
        .strip_prefix("https://")
        .or_else(|| key.strip_prefix("http://"));
    let name = match legacy {
        Some(rest) => rest.split('/').next().unwrap_or(rest),
        None => key.trim_end_matches('/'),
    };
    match name {
        "index.docker.io" | "registry-1.docker.io" | "index.docker.io/v1" => DOCKER_HUB,
        name => name,
    }
}

/// `user:password` in base64, padded or not; old Dockers end the text with NUL bytes.
fn decode_pair(auth: &str) -> Option<(String, String)> {
    let lenient = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let text = String::from_utf8(lenient.decode(auth.trim()).ok()?).ok()?;
    let (user, password) = text.split_once(':')?;
    Some((user.to_owned(), password.trim_end_matches('\0').to_owned()))
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct HelperAnswer {
    username: String,
    secret: String,
}

/// Absent if the helper has nothing for this server.
fn ask_helper(name: &str, server: &str) -> Result<Option<Credentials>> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    if name.is_empty() || !name.bytes().all(plain) {
        return Err(Error::invalid(format!(
            "invalid credential helper name {:?}",
            printable(name)
        )));
    }
    let program = format!("docker-credential-{name}");
    let failed = |why: String| {
        Error::new(
            ErrorKind::Unauthorized,
            format!("{program} cannot give the credentials for {server}: {why}"),
        )
    };
    let child = Command::new(&program)
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .map_err(|cause| {
            failed(cause.to_string()).with_hint(
                "install it, or remove it from the auth file's credHelpers or credsStore",
            )
        })?;
    let (success, output) = converse(child, server).map_err(failed)?;
    if !success {
        // Helpers say why on stdout. These words are theirs for "there is nothing", fixed by
        // docker-credential-helpers' protocol.
        let text = String::from_utf8_lossy(&output);
        if text.trim() == "credentials not found in native keychain" {
            return Ok(None);
        }
        return Err(failed(printable(&text)));
    }
    let answer: HelperAnswer = serde_json::from_slice(&output)
        .map_err(|_| failed("its answer is not the JSON that was expected".to_owned()))?;
    Ok(Some(if answer.username == "<token>" {
        Credentials::IdentityToken(answer.secret)
    } else {
        Credentials::Plain(RegistryAuth::Basic(answer.username, answer.secret))
    }))
}

/// Gives `server` to the helper and takes its answer, for at most [`HELPER_TIME`].
fn converse(mut child: Child, server: &str) -> Result<(bool, Vec<u8>), String> {
    let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
    let (Some(mut stdin), Some(stdout)) = (stdin, stdout) else {
        return Err("no pipes".to_owned());
    };
    let (sender, answer) = mpsc::channel();
    let reader = thread::spawn(move || {
        let mut output = Vec::new();
        let read = stdout.take(MAX_FILE_BYTES).read_to_end(&mut output);
        let _ = sender.send(read.map(|_| output));
    });
    // Shorter than any pipe's buffer, so this cannot block; a helper that does not read is fine.
    let _ = writeln!(stdin, "{server}");
    drop(stdin);
    let output = match answer.recv_timeout(HELPER_TIME) {
        Ok(read) => read.map_err(|cause| cause.to_string()),
        Err(_) => {
            let _ = child.kill();
            Err(format!("no answer in {} s", HELPER_TIME.as_secs()))
        }
    };
    let status = child.wait().map_err(|cause| cause.to_string())?;
    let output = output?;
    let _ = reader.join();
    Ok((status.success(), output))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(json: &str) -> AuthFile {
        serde_json::from_str(json).unwrap()
    }

    fn found(json: &str, reference: &str) -> Option<(String, String)> {
        let reference: Reference = reference.parse().unwrap();
        match file(json).find(&reference, Path::new("auth.json")).unwrap() {
            Some(Credentials::Plain(RegistryAuth::Basic(user, password))) => Some((user, password)),
            Some(Credentials::IdentityToken(token)) => Some(("<token>".to_owned(), token)),
            _ => None,
        }
    }

    fn pair(user: &str, password: &str) -> Option<(String, String)> {
        Some((user.to_owned(), password.to_owned()))
    }

    #[test]
    fn the_longest_namespace_wins() {
        // a:1, b:2, c:3
        let json = r#"{"auths": {
            "r.example": {"auth": "YTox"},
            "r.example/team": {"auth": "Yjoy"},
            "r.example/team/app": {"auth": "Yzoz"}
        }}"#;
        assert_eq!(found(json, "r.example/team/app"), pair("c", "3"));
        assert_eq!(found(json, "r.example/team/other:x"), pair("b", "2"));
        assert_eq!(found(json, "r.example/teamwork/app"), pair("a", "1"));
        assert_eq!(found(json, "r.example:5000/team/app"), None);
        assert_eq!(found(json, "example/team"), None);
    }

    #[test]
    fn docker_hub_has_many_names() {
        for key in [
            "https://index.docker.io/v1/",
            "index.docker.io",
            "docker.io",
            "registry-1.docker.io",
        ] {
            let json = format!(r#"{{"auths": {{"{key}": {{"auth": "YTox"}}}}}}"#);
            assert_eq!(found(&json, "alpine"), pair("a", "1"), "{key}");
            assert_eq!(found(&json, "r.example/alpine"), None, "{key}");
        }
    }

    #[test]
    fn identity_tokens_and_empty_entries() {
        let json = r#"{"auths": {
            "r.example": {"auth": "PHRva2VuPjo=", "identitytoken": "T"},
            "s.example": {},
            "t.example": {"username": "u", "password": "p"}
        }}"#;
        assert_eq!(found(json, "r.example/x"), pair("<token>", "T"));
        assert_eq!(found(json, "s.example/x"), None);
        assert_eq!(found(json, "t.example/x"), pair("u", "p"));
    }

    #[test]
    fn a_password_may_hold_colons_and_padding_may_be_missing() {
        assert_eq!(decode_pair("dTpwOnE="), pair("u", "p:q"));
        assert_eq!(decode_pair("dTpwOnE"), pair("u", "p:q"));
        assert_eq!(decode_pair("dTpwAAA="), pair("u", "p"));
        assert_eq!(decode_pair("dQ=="), None);
        assert_eq!(decode_pair("!"), None);
    }

    #[test]
    fn debug_output_has_no_secrets() {
        let shown = format!(
            "{:?} {:?}",
            Credentials::IdentityToken("SECRET".to_owned()),
            Credentials::Plain(RegistryAuth::Basic("u".to_owned(), "SECRET".to_owned()))
        );
        assert!(!shown.contains("SECRET"), "{shown}");
    }

    #[test]
    fn a_helper_name_cannot_be_a_path() {
        for name in ["../x", "a/b", "", "a b", "$x"] {
            let error = ask_helper(name, "r.example").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
        }
    }

    proptest! {
        #[test]
        fn decoding_what_was_encoded(user in "[^:\0]{1,20}", password in "[^\0]{0,20}") {
            let auth = base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"));
            prop_assert_eq!(decode_pair(&auth), Some((user, password)));
        }

        #[test]
        fn any_text_decodes_or_does_not(auth in ".{0,60}", key in ".{0,60}") {
            let _ = decode_pair(&auth);
            prop_assert!(normal_key(&key).len() <= key.len().max(DOCKER_HUB.len()));
        }
    }
}

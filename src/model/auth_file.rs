//! Auth files: who we are at registries, as docker's `config.json` and podman's `auth.json` say it
//! (containers-auth.json(5)).
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
//! Keys are a registry or a namespace of one; the longest that fits wins. Keys with a scheme are
//! Docker's old form and stand for the host alone. The file belongs to other programs, too: what we
//! do not know is kept as it is, in its place.
//!
//! Nothing here shows a secret: not [`StoredLogin`]'s `Debug`, and no error.

use std::fmt;

use base64::{
    Engine as _,
    alphabet::STANDARD,
    engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig},
};
use serde::Serialize as _;
use serde_json::{Map, Value, json};

use super::{
    Error, Reference,
    reference::{DOCKER_HUB, check_location},
};

/// What Docker calls its hub in its own file and when it talks to helpers.
pub const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// What an entry, or a credential helper, says about us.
#[derive(Clone, PartialEq, Eq)]
pub enum StoredLogin {
    Password {
        user: String,
        password: String,
    },
    /// A refresh token that a token server turns into access tokens (OAuth 2). The user's name
    /// may be empty.
    IdentityToken {
        user: String,
        token: String,
    },
    /// An access token, ready to be sent.
    RegistryToken(String),
}

impl StoredLogin {
    /// Empty where a token stands for nobody by name.
    pub fn user(&self) -> &str {
        match self {
            StoredLogin::Password { user, .. } | StoredLogin::IdentityToken { user, .. } => user,
            StoredLogin::RegistryToken(_) => "",
        }
    }
}

impl fmt::Debug for StoredLogin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self {
            StoredLogin::Password { .. } => "password",
            StoredLogin::IdentityToken { .. } => "identity token",
            StoredLogin::RegistryToken(_) => "registry token",
        };
        write!(f, "<{kind} of {:?}>", self.user())
    }
}

/// Why a text is not an auth file; says where, and quotes nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BadAuthFile {
    /// Not JSON, or not an object.
    Json { line: usize, column: usize },
    /// A known key holds another type of value.
    Type(String),
    /// An entry's `auth` is not base64 of `user:password`.
    Pair(String),
}

impl fmt::Display for BadAuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            BadAuthFile::Json { line, column } => {
                let form = "is not valid JSON of docker's or podman's form";
                write!(f, "{form} (line {line}, column {column})")
            }
            BadAuthFile::Type(key) => write!(f, "{key} does not hold what it should"),
            BadAuthFile::Pair(key) => {
                write!(f, "the entry for {key} is not base64 of user:password")
            }
        }
    }
}

impl std::error::Error for BadAuthFile {}

/// An auth file, with everything that others keep in it.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct AuthFile {
    document: Map<String, Value>,
}

/// Entries hold secrets.
impl fmt::Debug for AuthFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.keys()).finish()
    }
}

impl AuthFile {
    /// An empty text is an empty file.
    ///
    /// # Errors
    /// Where the text is not of this form.
    pub fn parse(text: &str) -> Result<AuthFile, BadAuthFile> {
        if text.trim().is_empty() {
            return Ok(AuthFile::default());
        }
        let parsed: Result<Map<String, Value>, _> = serde_json::from_str(text);
        // The parser's own message could quote a password; only the place is kept.
        let document = parsed.map_err(|cause| BadAuthFile::Json {
            line: cause.line(),
            column: cause.column(),
        })?;
        let file = AuthFile { document };
        file.check()?;
        Ok(file)
    }

    fn check(&self) -> Result<(), BadAuthFile> {
        let wrong = |key: &str| Err(BadAuthFile::Type(quoted(key)));
        for (key, value) in [
            ("auths", self.document.get("auths")),
            ("credHelpers", self.document.get("credHelpers")),
        ] {
            match value {
                None | Some(Value::Null) => {}
                Some(Value::Object(entries)) => {
                    let good = |value: &Value| match key {
                        "auths" => value.is_null() || is_entry(value),
                        _ => value.is_string(),
                    };
                    if let Some((bad, _)) = entries.iter().find(|(_, value)| !good(value)) {
                        return wrong(bad);
                    }
                }
                Some(_) => return wrong(key),
            }
        }
        match self.document.get("credsStore") {
            None | Some(Value::Null | Value::String(_)) => Ok(()),
            Some(_) => wrong("credsStore"),
        }
    }

    /// As docker and podman lay it out.
    pub fn to_text(&self) -> String {
        let mut text = Vec::new();
        let layout = serde_json::ser::PrettyFormatter::with_indent(b"\t");
        let mut printer = serde_json::Serializer::with_formatter(&mut text, layout);
        // A map of JSON values is always printable, and what is printed is UTF-8.
        let _ = self.document.serialize(&mut printer);
        text.push(b'\n');
        String::from_utf8(text).unwrap_or_default()
    }

    fn entries(&self) -> impl Iterator<Item = (&String, &Value)> {
        let entries = self.document.get("auths").and_then(Value::as_object);
        entries.into_iter().flatten()
    }

    /// The keys of all entries, as they are written.
    pub fn keys(&self) -> impl Iterator<Item = &str> {
        self.entries().map(|(key, _)| key.as_str())
    }

    /// The helper that is in charge of this registry alone.
    pub fn helper(&self, registry: &str) -> Option<&str> {
        let helpers = self.document.get("credHelpers")?.as_object()?;
        helpers
            .iter()
            .find(|(key, _)| normal_key(key) == registry)
            .and_then(|(_, name)| name.as_str())
    }

    /// All helpers for single registries: (registry, name).
    pub fn helpers(&self) -> impl Iterator<Item = (&str, &str)> {
        let helpers = self.document.get("credHelpers").and_then(Value::as_object);
        let named = helpers.into_iter().flatten();
        named.filter_map(|(key, name)| Some((normal_key(key), name.as_str()?)))
    }

    /// The helper that keeps everything.
    pub fn store(&self) -> Option<&str> {
        let name = self.document.get("credsStore")?.as_str()?;
        (!name.is_empty()).then_some(name)
    }

    /// The entry with the longest key that fits; none for the empty ones that Docker leaves where
    /// a helper has the secret.
    ///
    /// # Errors
    /// [`BadAuthFile::Pair`].
    pub fn login_for(&self, reference: &Reference) -> Result<Option<StoredLogin>, BadAuthFile> {
        for wanted in namespaces(&reference.name()) {
            if let Some(found) = self.login_at(&wanted)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The entry of exactly this registry or namespace.
    ///
    /// # Errors
    /// As [`Self::login_for`].
    pub fn login_at(&self, name: &str) -> Result<Option<StoredLogin>, BadAuthFile> {
        for (key, entry) in self.entries() {
            if normal_key(key) == name
                && let Some(found) = login(key, entry)?
            {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// Puts an entry in the place of all that mean the same registry or namespace.
    pub fn set(&mut self, key: &str, login: &StoredLogin) {
        self.remove(normal_key(key));
        let pair = |user: &str, password: &str| {
            base64::engine::general_purpose::STANDARD.encode(format!("{user}:{password}"))
        };
        let entry = match login {
            StoredLogin::Password { user, password } => json!({"auth": pair(user, password)}),
            StoredLogin::IdentityToken { user, token } => {
                json!({"auth": pair(user, ""), "identitytoken": token})
            }
            StoredLogin::RegistryToken(token) => json!({"registrytoken": token}),
        };
        self.insert(key, entry);
    }

    /// The empty entry by which Docker notes that a helper has the secret.
    pub fn set_elsewhere(&mut self, key: &str) {
        self.remove(normal_key(key));
        self.insert(key, json!({}));
    }

    fn insert(&mut self, key: &str, entry: Value) {
        let auths = self.document.entry("auths").or_insert_with(|| json!({}));
        if !auths.is_object() {
            *auths = json!({});
        }
        if let Some(auths) = auths.as_object_mut() {
            auths.insert(key.to_owned(), entry);
        }
    }

    /// Takes out every entry of exactly this registry or namespace; whether there was one.
    pub fn remove(&mut self, name: &str) -> bool {
        self.remove_if(|key| normal_key(key) == name)
    }

    /// Takes out all entries; whether there was one.
    pub fn remove_all(&mut self) -> bool {
        self.remove_if(|_| true)
    }

    fn remove_if(&mut self, goes: impl Fn(&str) -> bool) -> bool {
        let Some(auths) = self
            .document
            .get_mut("auths")
            .and_then(Value::as_object_mut)
        else {
            return false;
        };
        let before = auths.len();
        auths.retain(|key, _| !goes(key));
        auths.len() < before
    }
}

fn is_entry(value: &Value) -> bool {
    let fields = [
        "auth",
        "username",
        "password",
        "identitytoken",
        "registrytoken",
    ];
    value.is_object()
        && fields.iter().all(|field| {
            matches!(
                value.get(field),
                None | Some(Value::Null | Value::String(_))
            )
        })
}

fn login(key: &str, entry: &Value) -> Result<Option<StoredLogin>, BadAuthFile> {
    let given = |field: &str| {
        let text = entry.get(field).and_then(Value::as_str);
        text.filter(|text| !text.is_empty()).map(str::to_owned)
    };
    let pair = match given("auth") {
        Some(auth) => {
            Some(decode_pair(&auth).ok_or_else(|| BadAuthFile::Pair(quoted(normal_key(key))))?)
        }
        None => given("username").zip(given("password")),
    };
    if let Some(token) = given("identitytoken") {
        let user = pair.map(|(user, _)| user).unwrap_or_default();
        return Ok(Some(StoredLogin::IdentityToken { user, token }));
    }
    if let Some(token) = given("registrytoken") {
        return Ok(Some(StoredLogin::RegistryToken(token)));
    }
    Ok(pair
        .filter(|(user, _)| !user.is_empty())
        .map(|(user, password)| StoredLogin::Password { user, password }))
}

/// A key of somebody's file as it may be shown.
fn quoted(key: &str) -> String {
    let shown: String = key.chars().take(100).collect();
    shown.escape_debug().to_string()
}

/// What the key of an entry may be for `name`, longest first.
fn namespaces(name: &str) -> impl Iterator<Item = String> {
    let mut next = Some(name.to_owned());
    std::iter::from_fn(move || {
        let name = next.take()?;
        next = name.rfind('/').map(|slash| name[..slash].to_owned());
        Some(name)
    })
}

/// `registry.example/team` as it is; `https://registry.example/v1/` is `registry.example`; all of
/// Docker Hub's names are `docker.io`.
pub fn normal_key(key: &str) -> &str {
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

/// What `login SERVER` means: a registry, or a namespace of one (`registry.example/team`). A URL
/// stands for its host.
///
/// # Errors
/// If it is neither.
pub fn login_key(typed: &str) -> super::Result<String> {
    let key = normal_key(typed);
    match check_location(key) {
        Ok(()) => Ok(key.to_owned()),
        Err(why) => Err(Error::invalid(format!("invalid registry {typed:?}: {why}"))),
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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn file(json: &str) -> AuthFile {
        AuthFile::parse(json).unwrap()
    }

    fn password(user: &str, password: &str) -> Option<StoredLogin> {
        Some(StoredLogin::Password {
            user: user.to_owned(),
            password: password.to_owned(),
        })
    }

    fn found(json: &str, reference: &str) -> Option<StoredLogin> {
        file(json).login_for(&reference.parse().unwrap()).unwrap()
    }

    #[test]
    fn the_longest_namespace_wins() {
        // a:1, b:2, c:3
        let json = r#"{"auths": {
            "r.example": {"auth": "YTox"},
            "r.example/team": {"auth": "Yjoy"},
            "r.example/team/app": {"auth": "Yzoz"}
        }}"#;
        assert_eq!(found(json, "r.example/team/app"), password("c", "3"));
        assert_eq!(found(json, "r.example/team/other:x"), password("b", "2"));
        assert_eq!(found(json, "r.example/teamwork/app"), password("a", "1"));
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
            assert_eq!(found(&json, "alpine"), password("a", "1"), "{key}");
            assert_eq!(found(&json, "r.example/alpine"), None, "{key}");
        }
    }

    #[test]
    fn identity_tokens_and_empty_entries() {
        let json = r#"{"auths": {
            "r.example": {"auth": "bWU6", "identitytoken": "T"},
            "s.example": {},
            "t.example": {"username": "u", "password": "p"}
        }}"#;
        let token = StoredLogin::IdentityToken {
            user: "me".to_owned(),
            token: "T".to_owned(),
        };
        assert_eq!(found(json, "r.example/x"), Some(token));
        assert_eq!(found(json, "s.example/x"), None);
        assert_eq!(found(json, "t.example/x"), password("u", "p"));
    }

    #[test]
    fn a_password_may_hold_colons_and_padding_may_be_missing() {
        let pair = |user: &str, password: &str| Some((user.to_owned(), password.to_owned()));
        assert_eq!(decode_pair("dTpwOnE="), pair("u", "p:q"));
        assert_eq!(decode_pair("dTpwOnE"), pair("u", "p:q"));
        assert_eq!(decode_pair("dTpwAAA="), pair("u", "p"));
        assert_eq!(decode_pair("dQ=="), None);
        assert_eq!(decode_pair("!"), None);
    }

    #[test]
    fn what_others_keep_in_the_file_stays() {
        let mut file = file(
            r#"{"HttpHeaders":{"X":"y"},"auths":{"a.example":{"auth":"YTox","email":"e"},
                "https://index.docker.io/v1/":{"auth":"YTox"}},"psFormat":"table {{.ID}}"}"#,
        );
        file.set("docker.io", &password("u", "p").unwrap());
        let text = file.to_text();
        let expected = "{\n\t\"HttpHeaders\": {\n\t\t\"X\": \"y\"\n\t},\n\t\"auths\": {\n\t\t\"a.example\": {\n\
            \t\t\t\"auth\": \"YTox\",\n\t\t\t\"email\": \"e\"\n\t\t},\n\t\t\"docker.io\": {\n\
            \t\t\t\"auth\": \"dTpw\"\n\t\t}\n\t},\n\t\"psFormat\": \"table {{.ID}}\"\n}\n";
        assert_eq!(text, expected);
        assert!(file.remove("a.example") && !file.remove("a.example"));
        assert!(file.remove_all() && file.keys().next().is_none());
    }

    #[test]
    fn errors_and_debug_output_have_no_secrets() {
        for text in [
            r#"{"auths": {"x": {"auth": "SECRET"}"#,
            r#"{"auths": {"x": {"auth": ["SECRET"]}}}"#,
            r#"{"auths": "SECRET"}"#,
            r#"{"credsStore": ["SECRET"]}"#,
            r#"{"credHelpers": {"x": ["SECRET"]}}"#,
            r#"["SECRET"]"#,
        ] {
            let error = AuthFile::parse(text).unwrap_err();
            assert!(!format!("{error} {error:?}").contains("SECRET"), "{error}");
        }
        let bad = file(r#"{"auths": {"x.example": {"auth": "SECRET!"}}}"#);
        let error = bad.login_at("x.example").unwrap_err();
        assert_eq!(error, BadAuthFile::Pair("x.example".to_owned()));
        assert!(!format!("{bad:?} {:?}", password("u", "SECRET")).contains("SECRET"));
    }

    proptest! {
        #[test]
        fn what_is_set_is_found_and_read_again(
            user in "[^:\0]{1,20}", password in "[^\0]{0,20}", key in "[a-z]{1,8}\\.example(/[a-z]{1,5}){0,2}",
            others in prop::collection::hash_map("[a-z]{1,8}", "[ -~]{0,20}", 0..4),
        ) {
            let login = StoredLogin::Password { user, password };
            let mut file = AuthFile { document: others.iter()
                .filter(|(name, _)| *name != "auths")
                .map(|(name, value)| (format!("x-{name}"), json!(value))).collect() };
            let before = file.document.len();
            file.set(&key, &login);
            let file = AuthFile::parse(&file.to_text()).unwrap();
            prop_assert_eq!(file.login_at(&key).unwrap(), Some(login));
            prop_assert_eq!(file.document.len(), before + 1);
        }

        #[test]
        fn any_text_is_a_file_or_is_not(text in ".{0,200}", auth in ".{0,60}", key in ".{0,60}") {
            let _ = AuthFile::parse(&text);
            let _ = decode_pair(&auth);
            prop_assert!(normal_key(&key).len() <= key.len().max(DOCKER_HUB.len()));
            let file = AuthFile { document: json!({"auths": {key.clone(): {"auth": auth}}}).as_object().unwrap().clone() };
            let again = AuthFile::parse(&file.to_text()).unwrap();
            prop_assert_eq!(&again, &file);
            let _ = again.login_at(normal_key(&key));
        }
    }
}

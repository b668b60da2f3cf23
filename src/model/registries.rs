//! registries.conf, version 2 (containers-registries.conf(5)): which registry a name means, which
//! mirrors come before it, which are blocked or may be plain http.
//!
//! ```toml
//! unqualified-search-registries = ["docker.io"]
//! short-name-mode = "permissive"
//!
//! [[registry]]
//! prefix = "example.com/team"        # or "*.example.com"; the longest that fits counts
//! location = "10.0.0.1:5000/team"
//! insecure = true
//!
//! [[registry.mirror]]
//! location = "mirror.example.com/team"
//! pull-from-mirror = "digest-only"
//!
//! [aliases]
//! "fedora" = "registry.fedoraproject.org/fedora"
//! ```
//!
//! Without a file, and for what a file does not say, Docker's rules hold: a name without a registry
//! is one of Docker Hub. A key that does not exist is an error and not passed over: it could be a
//! mistyped `blocked`.

use std::{collections::BTreeMap, fmt, path::Path};

use serde::{Deserialize, Deserializer, de};

use super::{
    Error, ErrorKind, Reference, Result,
    reference::{DOCKER_HUB, check_location},
};

/// What all files together say.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registries {
    /// Absent where no file says it: Docker Hub then.
    pub search: Option<Vec<String>>,
    pub short_names: ShortNames,
    /// Where logins are kept, in this order; `containers-auth.json` are the auth files.
    pub credential_helpers: Vec<String>,
    pub entries: Vec<RegistryEntry>,
    /// Short name → full name.
    pub aliases: BTreeMap<String, String>,
    /// The file that set `search` last, for messages.
    search_from: String,
}

/// The name for auth files among the credential helpers.
pub const AUTH_FILES: &str = "containers-auth.json";

/// `short-name-mode`: what is done if several registries could be meant.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum ShortNames {
    /// An error. (podman asks at a terminal and fails elsewhere.)
    Enforcing,
    /// All are tried in their order, as podman does it where no terminal is.
    #[default]
    Permissive,
    Disabled,
}

/// `[[registry]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RegistryEntry {
    /// `host[:port][/path]`, or `*.domain[:port][/path]`.
    pub prefix: String,
    /// What stands in the place of the prefix; absent if nothing does.
    pub location: Option<String>,
    pub insecure: bool,
    pub blocked: bool,
    pub mirrors: Vec<Mirror>,
}

/// `[[registry.mirror]]`
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mirror {
    pub location: String,
    pub insecure: bool,
    pub pulls: PullsFromMirror,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PullsFromMirror {
    #[default]
    All,
    DigestOnly,
    TagOnly,
}

/// A place where an image may be, as it is asked for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub reference: Reference,
    pub insecure: bool,
    pub is_mirror: bool,
}

/// What is done with the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// Mirrors come first.
    Pull,
    /// Mirrors are not asked.
    Push,
    /// Every place that might be asked.
    Any,
}

impl Registries {
    /// Adds a file; what it says counts more than what earlier ones said.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] with the file's name and the line.
    pub fn add(&mut self, path: &Path, text: &str) -> Result<()> {
        let file: File = toml::from_str(text).map_err(|error| bad_file(path, text, &error))?;
        if let Some(search) = file.search {
            self.search = Some(search.into_iter().map(|place| place.0).collect());
            self.search_from = path.display().to_string();
        }
        if let Some(mode) = file.short_names {
            self.short_names = mode;
        }
        if let Some(helpers) = file.credential_helpers {
            self.credential_helpers = helpers;
        }
        for Alias { short, full } in file.aliases.map(|aliases| aliases.0).unwrap_or_default() {
            if full.is_empty() {
                self.aliases.remove(&short);
            } else {
                self.aliases.insert(short, full);
            }
        }
        let mut prefixes: Vec<String> = Vec::new();
        for entry in file.registries {
            let entry = entry.0;
            if prefixes.contains(&entry.prefix) {
                return Err(Error::invalid(format!(
                    "{}: two [[registry]] tables have the prefix {:?}",
                    path.display(),
                    entry.prefix
                )));
            }
            prefixes.push(entry.prefix.clone());
            self.entries.retain(|older| older.prefix != entry.prefix);
            self.entries.push(entry);
        }
        Ok(())
    }

    /// What a reference may mean, in the order in which it is looked for: itself, unless it was
    /// typed without a registry.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if short names are not allowed here, or several registries
    /// could be meant and none may be guessed.
    pub fn candidates(&self, reference: &Reference) -> Result<Vec<Reference>> {
        if !reference.is_short() {
            return Ok(vec![reference.clone()]);
        }
        let short = reference.familiar_name();
        if let Some(full) = self.aliases.get(&short) {
            return Ok(vec![reference.renamed(full)?]);
        }
        let Some(search) = &self.search else {
            return Ok(vec![reference.clone()]);
        };
        let refuse = |why: &str| {
            let from = &self.search_from;
            Error::invalid(format!(
                "image name {short:?} has no registry: {why} ({from})"
            ))
            .with_hint(format!(
                "write it in full, such as docker.io/{short}, or add it to [aliases]"
            ))
        };
        match (search.len(), self.short_names) {
            (0, _) => return Err(refuse("unqualified-search-registries is empty")),
            (2.., ShortNames::Enforcing) => {
                return Err(refuse(
                    "it may be one of several, and short-name-mode is enforcing",
                ));
            }
            _ => {}
        }
        search
            .iter()
            .map(|place| reference.renamed(&format!("{place}/{short}")))
            .collect()
    }

    /// Where to ask for a reference, in this order.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if the registry is blocked.
    pub fn endpoints(&self, reference: &Reference, purpose: Purpose) -> Result<Vec<Endpoint>> {
        let Some((entry, length)) = self.entry_for(reference) else {
            return Ok(vec![Endpoint {
                reference: reference.clone(),
                insecure: false,
                is_mirror: false,
            }]);
        };
        if entry.blocked {
            return Err(Error::new(
                ErrorKind::InvalidArgument,
                format!(
                    "registry {} is blocked: registries.conf says so for {:?}",
                    reference.registry(),
                    entry.prefix
                ),
            ));
        }
        let name = reference.name();
        let rest = name.get(length..).unwrap_or_default();
        let moved = |location: &str| reference.renamed(&format!("{location}{rest}"));
        let mut endpoints = Vec::new();
        let mirrors = entry.mirrors.iter().filter(|mirror| {
            let by_digest = reference.digest().is_some();
            match (purpose, mirror.pulls) {
                (Purpose::Push, _) => false,
                (Purpose::Any, _) | (Purpose::Pull, PullsFromMirror::All) => true,
                (Purpose::Pull, PullsFromMirror::DigestOnly) => by_digest,
                (Purpose::Pull, PullsFromMirror::TagOnly) => !by_digest,
            }
        });
        for mirror in mirrors {
            endpoints.push(Endpoint {
                reference: moved(&mirror.location)?,
                insecure: mirror.insecure,
                is_mirror: true,
            });
        }
        endpoints.push(Endpoint {
            reference: match &entry.location {
                Some(location) => moved(location)?,
                None => reference.clone(),
            },
            insecure: entry.insecure,
            is_mirror: false,
        });
        Ok(endpoints)
    }

    /// The entry with the longest prefix that fits, and how much of the name that is.
    fn entry_for(&self, reference: &Reference) -> Option<(&RegistryEntry, usize)> {
        let name = reference.name();
        let fitting = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry, matched(&entry.prefix, &name)?)));
        fitting.max_by_key(|(_, length)| *length)
    }

    /// Whether a whole registry may be plain http.
    pub fn is_insecure(&self, registry: &str) -> bool {
        self.registry_entry(registry)
            .is_some_and(|entry| entry.insecure)
    }

    pub fn is_blocked(&self, registry: &str) -> bool {
        self.registry_entry(registry)
            .is_some_and(|entry| entry.blocked)
    }

    fn registry_entry(&self, registry: &str) -> Option<&RegistryEntry> {
        let fitting = self
            .entries
            .iter()
            .filter_map(|entry| Some((entry, matched(&entry.prefix, registry)?)));
        fitting
            .max_by_key(|(_, length)| *length)
            .map(|(entry, _)| entry)
    }

    /// The registries that `search` asks where none is named.
    pub fn searched(&self) -> Vec<String> {
        self.search
            .clone()
            .unwrap_or_else(|| vec![DOCKER_HUB.to_owned()])
    }
}

/// How many bytes of `name` the prefix covers, if it fits.
fn matched(prefix: &str, name: &str) -> Option<usize> {
    let end = match prefix.strip_prefix('*') {
        None => name.starts_with(prefix).then_some(prefix.len())?,
        Some(suffix) => {
            let host = name.split('/').next().unwrap_or_default().len();
            let (at, _) = name.match_indices(suffix).find(|(at, _)| {
                let end = at + suffix.len();
                *at > 0 && *at < host && is_boundary(name, end)
            })?;
            at + suffix.len()
        }
    };
    is_boundary(name, end).then_some(end)
}

fn is_boundary(name: &str, at: usize) -> bool {
    matches!(name.as_bytes().get(at), None | Some(b'/'))
}

fn bad_file(path: &Path, text: &str, error: &toml::de::Error) -> Error {
    let before = error
        .span()
        .and_then(|span| text.get(..span.start))
        .unwrap_or_default();
    let line = before.matches('\n').count() + 1;
    Error::invalid(format!(
        "{}:{line}: {}",
        path.display(),
        error.message().replace('\n', " ")
    ))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct File {
    #[serde(rename = "unqualified-search-registries")]
    search: Option<Vec<Location>>,
    #[serde(rename = "short-name-mode")]
    short_names: Option<ShortNames>,
    credential_helpers: Option<Vec<String>>,
    #[serde(rename = "registry", default)]
    registries: Vec<Checked>,
    aliases: Option<Aliases>,
    /// Belongs to a storage driver that we do not have.
    #[serde(rename = "additional-layer-store-auth-helper")]
    _layer_store_helper: Option<String>,
    #[serde(rename = "registries")]
    _version_1: Option<Version1>,
}

/// `[registries.search]` and its like.
struct Version1;

impl<'de> Deserialize<'de> for Version1 {
    fn deserialize<D: Deserializer<'de>>(_: D) -> Result<Self, D::Error> {
        Err(de::Error::custom(
            "this is version 1 of the format, which is not read: write unqualified-search-registries and [[registry]] tables instead of [registries.…]",
        ))
    }
}

/// `host[:port][/path]`
#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Location(String);

impl TryFrom<String> for Location {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        // Podman takes a scheme for a mistake, too; a slash at the end it takes away.
        let text = text.trim_end_matches('/').to_owned();
        if text.contains("://") {
            return Err(format!("{text:?} must be without http:// or https://"));
        }
        match check_location(&text) {
            Ok(()) => Ok(Location(text)),
            Err(why) => Err(format!(
                "{text:?} is not a registry or a namespace of one: {why}"
            )),
        }
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct Prefix(String);

impl TryFrom<String> for Prefix {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.strip_prefix("*.") {
            Some(domain) => Location::try_from(domain.to_owned()).map(|_| Prefix(text)),
            None => Location::try_from(text).map(|place| Prefix(place.0)),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct RegistryTable {
    prefix: Option<Prefix>,
    location: Option<Location>,
    #[serde(default)]
    insecure: bool,
    #[serde(default)]
    blocked: bool,
    #[serde(default)]
    mirror_by_digest_only: bool,
    #[serde(default)]
    mirror: Vec<MirrorTable>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
struct MirrorTable {
    location: Location,
    #[serde(default)]
    insecure: bool,
    pull_from_mirror: Option<PullsFromMirror>,
}

#[derive(Deserialize)]
#[serde(try_from = "RegistryTable")]
struct Checked(RegistryEntry);

impl TryFrom<RegistryTable> for Checked {
    type Error = String;

    fn try_from(table: RegistryTable) -> Result<Self, String> {
        let location = table.location.map(|location| location.0);
        let prefix = match (table.prefix, &location) {
            (Some(prefix), _) => prefix.0,
            (None, Some(location)) => location.clone(),
            (None, None) => return Err("[[registry]] has neither location nor prefix".to_owned()),
        };
        if location.is_none() && !prefix.starts_with("*.") {
            return Err(format!(
                "[[registry]] with the prefix {prefix:?} has no location"
            ));
        }
        let by_digest = table.mirror_by_digest_only;
        if by_digest
            && table
                .mirror
                .iter()
                .any(|mirror| mirror.pull_from_mirror.is_some())
        {
            return Err("pull-from-mirror and mirror-by-digest-only exclude each other".to_owned());
        }
        let default = if by_digest {
            PullsFromMirror::DigestOnly
        } else {
            PullsFromMirror::All
        };
        let mirrors = table.mirror.into_iter().map(|mirror| Mirror {
            location: mirror.location.0,
            insecure: mirror.insecure,
            pulls: mirror.pull_from_mirror.unwrap_or(default),
        });
        Ok(Checked(RegistryEntry {
            mirrors: mirrors.collect(),
            prefix,
            location,
            insecure: table.insecure,
            blocked: table.blocked,
        }))
    }
}

struct Alias {
    short: String,
    /// Empty: no longer.
    full: String,
}

struct Aliases(Vec<Alias>);

impl<'de> Deserialize<'de> for Aliases {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(AliasVisitor)
    }
}

struct AliasVisitor;

impl<'de> de::Visitor<'de> for AliasVisitor {
    type Value = Aliases;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table of short names and full names")
    }

    fn visit_map<A: de::MapAccess<'de>>(self, mut map: A) -> Result<Aliases, A::Error> {
        let mut aliases = Vec::new();
        while let Some(short) = map.next_key::<String>()? {
            let full: AliasTarget = map.next_value()?;
            let typed: Option<Reference> = short.parse().ok();
            if !typed.is_some_and(|typed| typed.is_short() && typed.familiar_name() == short) {
                return Err(de::Error::custom(format!(
                    "alias {short:?} is not a name without registry and tag"
                )));
            }
            aliases.push(Alias {
                short,
                full: full.0,
            });
        }
        Ok(Aliases(aliases))
    }
}

#[derive(Deserialize)]
#[serde(try_from = "String")]
struct AliasTarget(String);

impl TryFrom<String> for AliasTarget {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        let full = text.is_empty()
            || (check_location(&text).is_ok()
                && text.parse().is_ok_and(|full: Reference| !full.is_short()));
        if full {
            Ok(AliasTarget(text))
        } else {
            Err(format!(
                "an alias must stand for a full name without a tag, and {text:?} is none"
            ))
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn registries(text: &str) -> Result<Registries> {
        let mut all = Registries::default();
        all.add(Path::new("r.conf"), text)?;
        Ok(all)
    }

    fn places(all: &Registries, name: &str) -> Vec<String> {
        let name = name.parse().unwrap();
        let endpoints = all.endpoints(&name, Purpose::Pull).unwrap();
        endpoints
            .iter()
            .map(|endpoint| endpoint.reference.to_string())
            .collect()
    }

    fn candidates(all: &Registries, name: &str) -> Vec<String> {
        let found = all.candidates(&name.parse().unwrap()).unwrap();
        found.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn without_a_file_dockers_rules_hold() {
        let all = Registries::default();
        assert_eq!(
            candidates(&all, "alpine"),
            ["docker.io/library/alpine:latest"]
        );
        assert_eq!(candidates(&all, "u/app:1"), ["docker.io/u/app:1"]);
        assert_eq!(places(&all, "r.example/x"), ["r.example/x:latest"]);
        assert_eq!(all.searched(), ["docker.io"]);
    }

    #[test]
    fn the_longest_prefix_counts() {
        let all = registries(
            r#"
            [[registry]]
            location = "r.example"
            [[registry]]
            prefix = "r.example/team"
            location = "other:5000/x"
            [[registry]]
            prefix = "*.cloud.example"
            location = "inner.example"
            [[registry]]
            prefix = "*.plain.example/a"
            "#,
        )
        .unwrap();
        assert_eq!(places(&all, "r.example/app:1"), ["r.example/app:1"]);
        assert_eq!(places(&all, "r.example/team/app:1"), ["other:5000/x/app:1"]);
        assert_eq!(
            places(&all, "r.example/teamwork/app"),
            ["r.example/teamwork/app:latest"]
        );
        assert_eq!(
            places(&all, "a.b.cloud.example/x/y"),
            ["inner.example/x/y:latest"]
        );
        assert_eq!(places(&all, "cloud.example/x"), ["cloud.example/x:latest"]);
        assert_eq!(
            places(&all, "q.example/z.cloud.example"),
            ["q.example/z.cloud.example:latest"]
        );
        assert_eq!(
            places(&all, "b.plain.example/a/x"),
            ["b.plain.example/a/x:latest"]
        );
    }

    #[test]
    fn docker_hub_may_have_a_mirror() {
        let all = registries(
            "[[registry]]\nlocation = \"docker.io\"\n[[registry.mirror]]\nlocation = \"m:5000\"",
        )
        .unwrap();
        let expected = ["m:5000/library/alpine:3", "docker.io/library/alpine:3"];
        assert_eq!(places(&all, "alpine:3"), expected);
    }

    #[test]
    fn short_names() {
        let text = "unqualified-search-registries = [\"docker.io\", \"q.example:5000/team\"]\n[aliases]\n\"a/b\" = \"r.example/c\"";
        let all = registries(text).unwrap();
        let expected = ["docker.io/library/app:1", "q.example:5000/team/app:1"];
        assert_eq!(candidates(&all, "app:1"), expected);
        assert_eq!(candidates(&all, "a/b:2"), ["r.example/c:2"]);
        let digest = format!("app@sha256:{}", "a".repeat(64));
        assert!(candidates(&all, &digest)[0].starts_with("docker.io/library/app@sha256:"));
        for more in ["short-name-mode = \"enforcing\"\n", ""] {
            let search = if more.is_empty() {
                "[]"
            } else {
                "[\"a.example\", \"b.example\"]"
            };
            let text = format!("{more}unqualified-search-registries = {search}");
            let all = registries(&text).unwrap();
            let error = all.candidates(&"app".parse().unwrap()).unwrap_err();
            assert!(error.message().contains("r.conf"), "{error}");
        }
    }

    #[test]
    fn what_is_wrong_is_named_with_its_line() {
        for (text, words) in [
            (
                "\n[registries.search]\nregistries = []",
                "r.conf:2: this is version 1",
            ),
            (
                "[[registry]]\nlocation = \"https://r.example\"",
                "r.conf:2: ",
            ),
            ("[[registry]]\nlocation = \"r.example/UPPER\"", "r.conf:2: "),
            (
                "[[registry]]\nblocked = true",
                "neither location nor prefix",
            ),
            ("[[registry]]\nprefix = \"r.example\"", "has no location"),
            (
                "[[registry]]\nlocation = \"r.example\"\nblocked = 1",
                "r.conf:3: ",
            ),
            ("short-name-mode = \"x\"", "r.conf:1: "),
            ("unqualified-search-registries = [\"a b\"]", "r.conf:1: "),
            ("[aliases]\n\"a\" = \"b\"", "r.conf:2: "),
            ("[aliases]\n\"a:1\" = \"r.example/b\"", "a:1"),
            ("[aliases]\n\"a\" = \"r.example/b:1\"", "r.conf:2: "),
            ("nonsense", "r.conf:1: "),
            (
                "[[registry]]\nlocation=\"r.example\"\n[[registry]]\nlocation=\"r.example\"",
                "two",
            ),
            (
                "[[registry]]\nlocation=\"r.example\"\nmirror-by-digest-only=true\n[[registry.mirror]]\nlocation=\"m.example\"\npull-from-mirror=\"all\"",
                "exclude",
            ),
        ] {
            let error = registries(text).unwrap_err();
            assert_eq!(error.kind(), ErrorKind::InvalidArgument);
            assert!(error.message().contains(words), "{text:?}: {error}");
        }
    }

    proptest! {
        #[test]
        fn any_text_is_survived(text in "([\\[\\]a-z =\".*/:\n-]|registry|location|prefix|aliases){0,60}") {
            let _ = registries(&text);
        }

        /// A place is the location and what the prefix left over, and never another tag.
        #[test]
        fn a_prefix_is_replaced_and_nothing_else(
            prefix in "[a-z]{1,4}\\.example(/[a-z]{1,3})?", location in "[a-z]{1,4}:[1-9]{2}(/[a-z]{1,3})?",
            rest in "(/[a-z]{1,3}){1,2}", tag in "[a-z]{1,4}",
        ) {
            let all = registries(&format!("[[registry]]\nprefix = {prefix:?}\nlocation = {location:?}")).unwrap();
            prop_assert_eq!(places(&all, &format!("{prefix}{rest}:{tag}")), [format!("{location}{rest}:{tag}")]);
        }
    }
}

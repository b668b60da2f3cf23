//! Which images may be used at all: containers-policy.json(5).
//!
//! ```text
//! requirement   what an image of a place must fulfil        identity   whom a signature must name
//! scope         the places that rules can be written for    payload    what a signature says
//! ```
//!
//! The file is a door lock, so it is read strictly: a key that is not known, given twice or of the
//! wrong shape makes all of it invalid. What it may say and cannot be done here (GnuPG keys,
//! certificates of Fulcio, transparency logs, …) is understood and kept; it is an error only where
//! it would decide on an image.

mod identity;
mod payload;
mod requirement;
mod scope;

use std::{collections::BTreeMap, fmt};

use serde::{
    Deserialize, Deserializer, Serialize,
    de::{self, MapAccess, Visitor},
};

use super::{Context, ErrorKind, Result};

pub use identity::Identity;
pub use payload::{MAX_PAYLOAD_BYTES, PAYLOAD_TYPE, Payload, SIGNATURE_ANNOTATION};
pub use requirement::{KeySource, Requirement, SigstoreKeys};
pub use scope::Place;

/// A whole policy.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub struct Policy {
    /// For every image that no other rule is written for.
    pub default: Rule,
    /// By transport (`docker`, `oci-archive`, …), then by scope; the empty scope is the
    /// transport's default.
    #[serde(
        default,
        skip_serializing_if = "BTreeMap::is_empty",
        deserialize_with = "transports"
    )]
    pub transports: BTreeMap<String, BTreeMap<String, Rule>>,
}

/// Requirements all of which an image must fulfil; at least one.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize)]
#[serde(try_from = "Vec<Requirement>")]
pub struct Rule(Vec<Requirement>);

impl Rule {
    pub fn new(requirement: Requirement) -> Self {
        Rule(vec![requirement])
    }

    pub fn requirements(&self) -> &[Requirement] {
        &self.0
    }
}

impl TryFrom<Vec<Requirement>> for Rule {
    type Error = &'static str;

    fn try_from(requirements: Vec<Requirement>) -> Result<Self, Self::Error> {
        if requirements.is_empty() {
            return Err("a list of requirements must not be empty");
        }
        Ok(Rule(requirements))
    }
}

impl Policy {
    /// What holds without any policy: Docker's behaviour.
    pub fn accept() -> Self {
        Policy {
            default: Rule::new(Requirement::InsecureAcceptAnything {}),
            transports: BTreeMap::new(),
        }
    }

    /// Reads a policy file. The caller says which file it was.
    pub fn parse(bytes: &[u8]) -> Result<Self> {
        serde_json::from_slice(bytes).context(ErrorKind::InvalidArgument, || {
            "invalid signature policy".to_owned()
        })
    }

    /// The rule for a place: that of its longest scope.
    pub fn rule(&self, place: &Place<'_>) -> &Rule {
        let Some(scopes) = self.transports.get(place.transport()) else {
            return &self.default;
        };
        let named = place.scopes().into_iter();
        named
            .chain([String::new()])
            .find_map(|scope| scopes.get(&scope))
            .unwrap_or(&self.default)
    }
}

fn transports<'de, D: Deserializer<'de>>(
    from: D,
) -> Result<BTreeMap<String, BTreeMap<String, Rule>>, D::Error> {
    let map: UniqueMap<UniqueMap<Rule>> = UniqueMap::deserialize(from)?;
    Ok(map.0.into_iter().map(|(key, map)| (key, map.0)).collect())
}

/// An object whose keys must differ: of two rules for one place, one would be lost in silence.
struct UniqueMap<T>(BTreeMap<String, T>);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for UniqueMap<T> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Keys<T>(std::marker::PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for Keys<T> {
            type Value = UniqueMap<T>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut entries = BTreeMap::new();
                while let Some(key) = map.next_key::<String>()? {
                    if entries.contains_key(&key) {
                        return Err(de::Error::custom(format_args!("duplicate key {key:?}")));
                    }
                    let value = map.next_value()?;
                    entries.insert(key, value);
                }
                Ok(UniqueMap(entries))
            }
        }
        from.deserialize_map(Keys(std::marker::PhantomData))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(text: &str) -> String {
        Policy::parse(text.as_bytes()).unwrap_err().one_line()
    }

    #[test]
    fn a_policy_is_read_strictly() {
        let good = r#"{"default": [{"type": "reject"}], "transports": {"docker": {"a.io": [
            {"type": "insecureAcceptAnything"}]}, "some-new-one": {"": [{"type": "reject"}]}}}"#;
        assert!(Policy::parse(good.as_bytes()).is_ok());
        for (text, why) in [
            ("", "EOF"),
            ("{}", "missing field `default`"),
            (r#"{"default": []}"#, "must not be empty"),
            (r#"{"default": [{"type": "accept"}]}"#, "unknown variant"),
            (
                r#"{"default": [{"type": "reject", "keyPath": "/x"}]}"#,
                "unknown field `keyPath`",
            ),
            (
                r#"{"default": [{"type": "reject", "type": "insecureAcceptAnything"}]}"#,
                "duplicate field `type`",
            ),
            (
                r#"{"default": [{"type": "reject"}], "default": [{"type": "reject"}]}"#,
                "duplicate field `default`",
            ),
            (
                r#"{"default": [{"type": "reject"}], "Transports": {}}"#,
                "unknown field `Transports`",
            ),
            (
                r#"{"default": [{"type": "reject"}], "transports": {"docker": {"a": [{"type":
                "reject"}], "a": [{"type": "insecureAcceptAnything"}]}}}"#,
                "duplicate key \"a\"",
            ),
            (
                r#"{"default": [{"type": "reject"}], "transports": {"docker": {}, "docker": {}}}"#,
                "duplicate key \"docker\"",
            ),
            (r#"{"default": [{"type": "reject"}]} {}"#, "trailing"),
        ] {
            let error = refused(text);
            assert!(error.contains(why), "{text}: {error}");
        }
    }

    #[test]
    fn the_longest_scope_decides() {
        let policy = r#"{"default": [{"type": "reject"}], "transports": {"docker": {
            "": [{"type": "sigstoreSigned", "keyPath": "/default"}],
            "a.io": [{"type": "sigstoreSigned", "keyPath": "/host"}],
            "a.io/b": [{"type": "sigstoreSigned", "keyPath": "/folder"}],
            "a.io/b/c": [{"type": "sigstoreSigned", "keyPath": "/repository"}],
            "a.io/b/c:tag": [{"type": "sigstoreSigned", "keyPath": "/tag"}],
            "*.a.io": [{"type": "sigstoreSigned", "keyPath": "/below"}],
            "*.x.a.io": [{"type": "sigstoreSigned", "keyPath": "/further"}]}}}"#;
        let policy = Policy::parse(policy.as_bytes()).unwrap();
        let key = |name: &str| {
            let name = name.parse().unwrap();
            match &policy.rule(&Place::Registry(&name)).0[0] {
                Requirement::SigstoreSigned(keys) => {
                    keys.key_path.clone().unwrap().display().to_string()
                }
                other => format!("{other:?}"),
            }
        };
        assert_eq!(key("a.io/b/c:tag"), "/tag");
        assert_eq!(key("a.io/b/c:other"), "/repository");
        assert_eq!(key("a.io/b/cd"), "/folder");
        assert_eq!(key("a.io/bc"), "/host");
        assert_eq!(key("w.a.io:5000/b/c"), "/below");
        assert_eq!(key("w.x.a.io/b/c"), "/further");
        assert_eq!(key("aa.io/b"), "/default");
        assert_eq!(key("busybox"), "/default");
        let archive = Place::File {
            transport: "docker-archive",
            path: None,
        };
        assert_eq!(policy.rule(&archive).0[0], Requirement::Reject {});
    }
}

//! Keys of the cache: what a step's result depends on, as one digest.
//!
//! Every part goes in with its length and its name, so no two lists of parts make the same bytes. A key
//! says nothing of time, of who builds, or of the order in which stages were done.
//!
//! A step has three, made side by side from the keys of the steps before:
//!
//! - `own`: what this store knows it by. Where a layer was taken from somebody else's cache, it says so, and
//!   which layer: what was built on top of it is never found by a build that does not have the same below.
//! - `content`: what caches of others know it by. Files that come from other stages count by content.
//! - `definition`: the same, but those files count by how they were made, so it is known before they are.

use serde::Serialize;
use sha2::{Digest as _, Sha256};

use crate::{
    model::{Context, Digest, ErrorKind, Result},
    storage::builds::StepRecord,
};

/// Counts up when the same parts come to mean something else.
const VERSION: u8 = 2;

/// The keys of a step that is done, or asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Keys {
    pub own: Digest,
    pub content: Digest,
    pub definition: Digest,
}

impl Keys {
    /// A thing that is known by one.
    pub fn same(key: &Digest) -> Keys {
        Keys {
            own: key.clone(),
            content: key.clone(),
            definition: key.clone(),
        }
    }

    pub fn of(record: &StepRecord) -> Keys {
        let (content, definition) = record.shared.as_ref().map_or_else(
            || (&record.key, &record.key),
            |(content, definition)| (content, definition),
        );
        Keys {
            own: record.key.clone(),
            content: content.clone(),
            definition: definition.clone(),
        }
    }

    /// Those of others, as a record has them.
    pub fn shared(&self) -> Option<(Digest, Digest)> {
        let same = self.own == self.content && self.own == self.definition;
        (!same).then(|| (self.content.clone(), self.definition.clone()))
    }
}

/// Keys in the making: own, by content, by definition.
#[derive(Clone)]
pub(super) struct Key([Sha256; 3]);

impl Key {
    pub fn new(kind: &str) -> Key {
        let mut hash = Sha256::new();
        hash.update([VERSION]);
        let mut key = Key([hash.clone(), hash.clone(), hash]);
        key.add("kind", kind.as_bytes());
        key
    }

    pub fn add(&mut self, name: &str, bytes: &[u8]) -> &mut Key {
        for hash in &mut self.0 {
            add(hash, name, bytes);
        }
        self
    }

    /// A step before.
    pub fn step(&mut self, name: &str, keys: &Keys) -> &mut Key {
        let keys = [&keys.own, &keys.content, &keys.definition];
        for (hash, key) in self.0.iter_mut().zip(keys) {
            add(hash, name, key.as_str().as_bytes());
        }
        self
    }

    /// What has a digest, and how that was made.
    pub fn made(&mut self, name: &str, digest: &Digest, definition: &Digest) -> &mut Key {
        let [own, content, by_definition] = &mut self.0;
        for hash in [own, content] {
            add(hash, name, digest.as_str().as_bytes());
        }
        add(by_definition, name, definition.as_str().as_bytes());
        self
    }

    /// What came of it, which its definition does not say.
    pub fn outcome(&mut self, name: &str, digest: &Digest) -> &mut Key {
        let [own, content, _] = &mut self.0;
        for hash in [own, content] {
            add(hash, name, digest.as_str().as_bytes());
        }
        self
    }

    pub fn digest(&mut self, name: &str, digest: &Digest) -> &mut Key {
        self.add(name, digest.as_str().as_bytes())
    }

    /// Anything that has one way to be written.
    pub fn value(&mut self, name: &str, value: &impl Serialize) -> Result<&mut Key> {
        let text = serde_json::to_vec(value)
            .context(ErrorKind::System, || "cannot make a cache key".to_owned())?;
        Ok(self.add(name, &text))
    }

    pub fn finish(self) -> Keys {
        let [own, content, definition] = self.0.map(|hash| Digest::sha256(hash.finalize()));
        Keys {
            own,
            content,
            definition,
        }
    }
}

fn add(hash: &mut Sha256, name: &str, bytes: &[u8]) {
    for part in [name.as_bytes(), bytes] {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_do_not_run_together() {
        let key = |parts: &[(&str, &str)]| {
            let mut key = Key::new("test");
            for (name, value) in parts {
                key.add(name, value.as_bytes());
            }
            key.finish()
        };
        let one = key(&[("a", "bc"), ("d", "e")]);
        assert_eq!(one, key(&[("a", "bc"), ("d", "e")]));
        assert_ne!(one, key(&[("ab", "c"), ("d", "e")]));
        assert_ne!(one, key(&[("a", "bcd"), ("", "e")]));
        assert_ne!(one, key(&[("d", "e"), ("a", "bc")]));
    }

    #[test]
    fn what_is_built_on_an_imported_layer_is_told_apart() {
        let below = |own: &str| Keys {
            own: own.parse().unwrap(),
            ..Key::new("below").finish()
        };
        let ours = Key::new("below").finish();
        let digest = format!("sha256:{}", "1".repeat(64));
        let step = |keys: &Keys| {
            let mut key = Key::new("run");
            key.step("parent", keys);
            key.finish()
        };
        let (one, other) = (step(&ours), step(&below(&digest)));
        assert_ne!(one.own, other.own);
        assert_eq!(
            (one.content, one.definition),
            (other.content, other.definition)
        );
    }

    #[test]
    fn files_of_a_stage_count_by_content_or_by_how_they_are_made() {
        let digest =
            |digit: &str| -> Digest { format!("sha256:{}", digit.repeat(64)).parse().unwrap() };
        let copy = |content: &str, definition: &str| {
            let mut key = Key::new("copy");
            key.made("files", &digest(content), &digest(definition));
            key.finish()
        };
        let (one, other) = (copy("1", "3"), copy("2", "3"));
        assert_eq!(one.definition, other.definition);
        assert_ne!(one.content, other.content);
        let other = copy("1", "4");
        assert_eq!((&one.own, &one.content), (&other.own, &other.content));
        assert_ne!(one.definition, other.definition);
    }
}

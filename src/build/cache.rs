//! What earlier builds have left for later ones: steps with their layers, and the directories of
//! `RUN --mount=type=cache`.

use std::collections::HashSet;

use crate::{
    engine::Engine,
    model::{Digest, Result},
};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CacheEntry {
    /// Unique, in hexadecimal digits.
    pub id: String,
    pub kind: CacheKind,
    /// What it did, or the id of the directory.
    pub description: String,
    /// Of files.
    pub bytes: u64,
    /// An image has this layer, too: forgetting the step frees nothing.
    pub shared: bool,
    pub in_use: bool,
    /// RFC 3339; empty if nobody has noted it.
    pub created: String,
    /// Seconds since 1970.
    pub used: i64,
    /// The step before.
    pub parent: Option<String>,
    /// How the store calls it.
    key: Key,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CacheKind {
    Step,
    Directory,
}

impl CacheKind {
    /// As BuildKit calls it.
    pub fn as_str(self) -> &'static str {
        match self {
            CacheKind::Step => "regular",
            CacheKind::Directory => "exec.cachemount",
        }
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Key {
    Step(Digest),
    Directory(String),
}

/// Digits of an id: as many as BuildKit's have.
const DIGITS: usize = 25;

/// All of it, what was used last first.
pub fn list(engine: &Engine) -> Result<Vec<CacheEntry>> {
    let store = engine.store();
    let mut of_images: HashSet<Digest> = HashSet::new();
    for image in store.images()? {
        of_images.extend(image.layers);
    }
    let short = |digest: &Digest| digest.hex()[..DIGITS].to_owned();
    let mut entries = Vec::new();
    for listed in store.build_steps()? {
        let record = listed.record;
        let layer = record.layer.as_ref();
        entries.push(CacheEntry {
            id: short(&record.key),
            kind: CacheKind::Step,
            description: record.name,
            bytes: layer.map_or(0, |layer| layer.size),
            shared: layer.is_some_and(|layer| of_images.contains(&layer.chain_id)),
            in_use: false,
            created: record.created,
            used: listed.used,
            parent: record.parent.as_ref().map(short),
            key: Key::Step(record.key),
        });
    }
    for cache in store.build_caches()? {
        entries.push(CacheEntry {
            id: cache.key.chars().take(DIGITS).collect(),
            kind: CacheKind::Directory,
            description: format!("cached mount {}", cache.id),
            bytes: cache.bytes,
            shared: false,
            in_use: cache.in_use,
            created: String::new(),
            used: cache.used,
            parent: None,
            key: Key::Directory(cache.key),
        });
    }
    entries.sort_by(|one, other| (other.used, &other.id).cmp(&(one.used, &one.id)));
    Ok(entries)
}

/// Forgets these; what a build is using stays. Layers go that nothing else needs; how many bytes of the
/// disk that frees.
pub fn remove(engine: &Engine, entries: &[CacheEntry]) -> Result<u64> {
    engine.enter_user_namespace()?;
    let store = engine.store();
    let mut steps = HashSet::new();
    let mut bytes = 0;
    for entry in entries {
        match &entry.key {
            Key::Step(key) => drop(steps.insert(key.clone())),
            Key::Directory(key) => {
                store.remove_build_cache(key)?;
                bytes += entry.bytes;
            }
        }
    }
    store.forget_build_steps(&steps)?;
    store.forget_url_copies()?;
    let alone = store.lock_exclusive()?;
    let garbage = store.bury_garbage(&alone)?;
    drop(alone);
    bytes += garbage.disk_bytes(store);
    garbage.delete(store)?;
    store.sweep()?;
    Ok(bytes)
}

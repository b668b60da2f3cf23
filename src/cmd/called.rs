//! By which name the program was called, and whose habits are wanted.
//!
//! A link or a copy named `docker` or `podman` is that program as far as users and scripts see it:
//! usage lines and messages bear its name. Exit codes follow Docker's column of the table; podman's
//! if the name, `--compat` or `CORACLE_COMPAT` (in this order of rising weight: name, variable,
//! flag) says so.

use std::{
    ffi::OsStr,
    path::Path,
    sync::OnceLock,
    sync::atomic::{AtomicBool, Ordering},
};

/// The names that a link may have to be more than another name for the same.
pub const NAMES: [&str; 2] = ["docker", "podman"];

static NAME: OnceLock<&'static str> = OnceLock::new();
static AS_PODMAN: AtomicBool = AtomicBool::new(false);

/// Notes the first word of the command line.
pub fn note(word: Option<&OsStr>) {
    let called = word.and_then(|word| Path::new(word).file_name());
    let known = NAMES
        .into_iter()
        .find(|name| called == Some(OsStr::new(name)));
    if let Some(known) = known {
        let _ = NAME.set(known);
        AS_PODMAN.store(known == "podman", Ordering::Relaxed);
    }
}

/// Takes the word of `--compat` or `CORACLE_COMPAT`; false if it is none.
pub fn set_habits(word: &str) -> bool {
    match word {
        "docker" | "" => AS_PODMAN.store(false, Ordering::Relaxed),
        "podman" => AS_PODMAN.store(true, Ordering::Relaxed),
        _ => return false,
    }
    true
}

/// `coracle`, `docker` or `podman`.
pub fn name() -> &'static str {
    NAME.get().copied().unwrap_or("coracle")
}

/// Whether podman's exit codes are wanted.
pub fn as_podman() -> bool {
    AS_PODMAN.load(Ordering::Relaxed)
}

/// What a message advises to call, by the name that is there to be called.
pub fn in_own_words(text: &str) -> String {
    text.replace("`coracle ", &format!("`{} ", name()))
}

//! `login`, `logout`, `search`: what is said to a registry without touching the store.

pub use crate::registry::{FoundRepository, Kept};
use crate::{
    model::{
        Reference, RegistryOptions, Result, auth_file::StoredLogin, registries::Registries,
        registry::RegistriesFiles,
    },
    registry::{Registry, read_registries},
};

/// Shows `login` to the registry of `key` (`host[:port][/namespace]`) and keeps it if it is taken.
///
/// # Errors
/// [`ErrorKind::Unauthorized`](crate::model::ErrorKind) if it is not, and nothing is written.
pub fn log_in(options: &RegistryOptions, key: &str, login: StoredLogin) -> Result<Kept> {
    let registry = Registry::new(options);
    let kept = check(&registry, key, login)?;
    registry.keep_login(key, &kept)
}

/// Whether the registry still takes what is kept for it.
///
/// # Errors
/// As [`log_in`].
pub fn check_login(options: &RegistryOptions, key: &str, login: StoredLogin) -> Result<()> {
    check(&Registry::new(options), key, login).map(|_| ())
}

fn check(registry: &Registry, key: &str, login: StoredLogin) -> Result<StoredLogin> {
    registry.check_login(key.split('/').next().unwrap_or(key), login)
}

/// What is kept for `key`.
pub fn stored_login(options: &RegistryOptions, key: &str) -> Result<Option<StoredLogin>> {
    Registry::new(options).stored_login(key)
}

/// The name that an auth file has for `key`. No program is asked: this is for a line of `info`.
pub fn user_in_files(options: &RegistryOptions, key: &str) -> Option<String> {
    Registry::new(options).user_in_files(key)
}

/// Forgets what is kept for `key`; whether something was.
pub fn log_out(options: &RegistryOptions, key: &str) -> Result<bool> {
    Registry::new(options).forget_login(key)
}

/// Forgets all logins.
pub fn log_out_of_all(options: &RegistryOptions) -> Result<bool> {
    Registry::new(options).forget_logins()
}

/// Repositories with `term` in their name, of the registry that `term` begins with, or of those
/// that registries.conf wants searched. At most `limit` of each.
pub fn search(
    options: &RegistryOptions,
    term: &str,
    limit: usize,
) -> Result<Vec<(String, FoundRepository)>> {
    let registry = Registry::new(options);
    let (places, term) = match term.split_once('/') {
        Some((host, rest)) if is_registry(host) => (vec![host.to_owned()], rest),
        _ => (registry.registries()?.searched(), term),
    };
    let mut found = Vec::new();
    for place in places {
        let here = registry.search(&place, term, limit)?;
        found.extend(here.into_iter().map(|one| (place.clone(), one)));
    }
    Ok(found)
}

fn is_registry(host: &str) -> bool {
    format!("{host}/x")
        .parse()
        .is_ok_and(|name: Reference| !name.is_short())
}

/// The tags of a repository, which may be named without its registry.
pub fn tags(options: &RegistryOptions, reference: &Reference) -> Result<(Reference, Vec<String>)> {
    let registry = Registry::new(options);
    let mut last = None;
    for candidate in registry.registries()?.candidates(reference)? {
        match registry.tags(&candidate, &|_, _| {}) {
            Ok(tags) => return Ok((candidate, tags)),
            Err(error) => last = Some(error),
        }
    }
    Err(last.unwrap_or_else(|| crate::model::Error::invalid("no registry to search")))
}

/// What registries.conf says.
pub fn registries(files: &RegistriesFiles) -> Result<Registries> {
    read_registries(files)
}

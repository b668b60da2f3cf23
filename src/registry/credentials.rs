//! Who we are at a registry: from the auth files and credential helpers.
//!
//! Order: `--creds`; then what registries.conf lists as `credential-helpers`, by default the auth
//! files alone. Among those, file by file, first answer wins: the helper for this registry, the
//! entry with the longest matching namespace (`registry.example/team/app`, `…/team`, …, the host
//! itself), the helper for everything.

use std::{fmt, path::Path};

use oci_distribution::secrets::RegistryAuth;

use super::{auth_files, credential_programs::Helper};
use crate::model::{
    Reference, RegistryOptions, Result,
    auth_file::{AuthFile, DOCKER_HUB_KEY, StoredLogin},
    reference::DOCKER_HUB,
    registries::AUTH_FILES,
};

#[derive(Clone)]
pub(super) enum Credentials {
    /// Anonymous, user and password, or a ready bearer token.
    Plain(RegistryAuth),
    /// A refresh token that the token server turns into access tokens (OAuth 2).
    IdentityToken(String),
}

impl Credentials {
    pub const ANONYMOUS: Credentials = Credentials::Plain(RegistryAuth::Anonymous);
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Credentials::Plain(auth) => auth.fmt(f),
            Credentials::IdentityToken(_) => f.write_str("IdentityToken"),
        }
    }
}

impl From<StoredLogin> for Credentials {
    fn from(login: StoredLogin) -> Self {
        match login {
            StoredLogin::Password { user, password } => {
                Credentials::Plain(RegistryAuth::Basic(user, password))
            }
            StoredLogin::IdentityToken { token, .. } => Credentials::IdentityToken(token),
            StoredLogin::RegistryToken(token) => Credentials::Plain(RegistryAuth::Bearer(token)),
        }
    }
}

/// The credentials for the repository of `reference`; anonymous if there are none. May run a
/// helper. `order` is registries.conf's `credential-helpers`.
pub(super) fn find(
    reference: &Reference,
    options: &RegistryOptions,
    order: &[String],
) -> Result<Credentials> {
    if let Some((user, password)) = &options.credentials {
        return Ok(Credentials::Plain(RegistryAuth::Basic(
            user.clone(),
            password.clone(),
        )));
    }
    let found = stored(reference, options, order)?;
    Ok(found.map_or(Credentials::ANONYMOUS, Credentials::from))
}

/// What files and helpers know.
pub(super) fn stored(
    reference: &Reference,
    options: &RegistryOptions,
    order: &[String],
) -> Result<Option<StoredLogin>> {
    if order.is_empty() {
        return in_files(reference, options);
    }
    for name in order {
        let found = if name == AUTH_FILES {
            in_files(reference, options)?
        } else {
            Helper::named(name)?.get(server(reference.registry()))?
        };
        if found.is_some() {
            return Ok(found);
        }
    }
    Ok(None)
}

fn in_files(reference: &Reference, options: &RegistryOptions) -> Result<Option<StoredLogin>> {
    for path in auth_files::all(options) {
        if let Some(file) = auth_files::read_among(&path, options)?
            && let Some(found) = in_file(&file, reference, &path)?
        {
            return Ok(Some(found));
        }
    }
    Ok(None)
}

fn in_file(file: &AuthFile, reference: &Reference, path: &Path) -> Result<Option<StoredLogin>> {
    let registry = reference.registry();
    let own = file.helper(registry);
    if let Some(name) = own
        && let Some(found) = Helper::named(name)?.get(server(registry))?
    {
        return Ok(Some(found));
    }
    let found = file
        .login_for(reference)
        .map_err(|bad| auth_files::bad_file(path, &bad))?;
    match file.store() {
        Some(name) if found.is_none() && own.is_none() => {
            Helper::named(name)?.get(server(registry))
        }
        _ => Ok(found),
    }
}

/// A registry as helpers know it.
pub(super) fn server(registry: &str) -> &str {
    match registry {
        DOCKER_HUB => DOCKER_HUB_KEY,
        registry => registry,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn debug_output_has_no_secrets() {
        let shown = format!(
            "{:?} {:?}",
            Credentials::IdentityToken("SECRET".to_owned()),
            Credentials::Plain(RegistryAuth::Basic("u".to_owned(), "SECRET".to_owned()))
        );
        assert!(!shown.contains("SECRET"), "{shown}");
    }
}

//! Who we are, shown to a registry and kept: `GET /v2/` answered with a challenge, and the auth files.

use reqwest::Method;

use super::{
    Registry, auth_files,
    auth_files::Kept,
    credentials::{self, Credentials},
    endpoint,
    session::{Ask, Repository, Whole},
};
use crate::model::{
    Error, ErrorKind, Reference, Result,
    auth_file::{StoredLogin, normal_key},
};

impl Registry {
    /// Asks a registry (`host[:port]`) whether it takes the login. Gives what is to be kept: the
    /// identity token that the token server exchanges the password for, if it does, and the login
    /// itself otherwise.
    ///
    /// Errors: [`ErrorKind::Unauthorized`] if it does not; others as [`Registry::document`].
    pub fn check_login(&self, registry: &str, login: StoredLogin) -> Result<StoredLogin> {
        let whole = Whole {
            api: "v2",
            scope: "",
            identity: matches!(login, StoredLogin::Password { .. }),
        };
        let repository = self.whole(registry, whole, login.clone().into())?;
        let session = self.session_for(&repository);
        let what = "the login".to_owned();
        let ask = Ask::new(&repository, Method::GET, String::new(), what);
        let outcome =
            self.runtime()?
                .block_on(session.retrying(&ask.what, &|_, _| {}, async || {
                    session.attempt(&ask).await.map(|_| ())
                }));
        outcome.map_err(|error| match error.kind() {
            ErrorKind::Unauthorized => Error::new(
                ErrorKind::Unauthorized,
                format!("registry {registry} does not accept this user name and password"),
            ),
            ErrorKind::NotFoundInRegistry => Error::new(
                ErrorKind::Registry,
                format!("{registry} is not a registry: it answers 404 to /v2/"),
            ),
            _ => error,
        })?;
        let user = login.user().to_owned();
        Ok(match session.take_identity() {
            Some(token) => StoredLogin::IdentityToken { user, token },
            None => login,
        })
    }

    /// The registry itself, and not one of its repositories.
    pub(super) fn whole(
        &self,
        registry: &str,
        whole: Whole,
        credentials: Credentials,
    ) -> Result<Repository> {
        let registries = self.registries()?;
        if registries.is_blocked(registry) {
            return Err(Error::invalid(format!(
                "registry {registry} is blocked by registries.conf"
            )));
        }
        let authority = match whole.api {
            "v1" => search_authority(registry),
            _ => endpoint::authority_of(registry),
        };
        let insecure = registries.is_insecure(registry);
        Ok(Repository::whole(authority, whole, insecure, credentials))
    }

    /// What is kept for a registry or a namespace of one.
    ///
    /// Errors: as [`Registry::prepare`].
    pub fn stored_login(&self, key: &str) -> Result<Option<StoredLogin>> {
        let order = &self.registries()?.credential_helpers;
        credentials::stored(&any_repository(key)?, &self.options, order)
    }

    /// The user that an auth file names for `key`, whatever helpers there are.
    pub fn user_in_files(&self, key: &str) -> Option<String> {
        let files = auth_files::all(&self.options);
        let mut files = files
            .iter()
            .filter_map(|path| auth_files::read_among(path, &self.options).ok().flatten());
        let login = files.find_map(|file| file.login_at(normal_key(key)).ok().flatten())?;
        Some(login.user().to_owned()).filter(|user| !user.is_empty())
    }

    /// Keeps a login; says where.
    ///
    /// Errors: [`ErrorKind::InvalidArgument`] for an auth file that cannot be understood,
    /// [`ErrorKind::Unauthorized`] for a helper that fails, [`ErrorKind::System`].
    pub fn keep_login(&self, key: &str, login: &StoredLogin) -> Result<Kept> {
        let order = &self.registries()?.credential_helpers;
        auth_files::remember(key, login, &self.options, order)
    }

    /// Takes a login out of every place that has it; whether one had.
    ///
    /// Errors: as [`Self::keep_login`]; the other places are done all the same.
    pub fn forget_login(&self, key: &str) -> Result<bool> {
        let order = &self.registries()?.credential_helpers;
        auth_files::forget(key, &self.options, order)
    }

    /// Takes out all logins.
    ///
    /// Errors: as [`Self::forget_login`].
    pub fn forget_logins(&self) -> Result<bool> {
        let order = &self.registries()?.credential_helpers;
        auth_files::forget_all(&self.options, order)
    }

    pub(super) fn credentials_for(&self, registry: &str) -> Result<Credentials> {
        let order = &self.registries()?.credential_helpers;
        credentials::find(&any_repository(registry)?, &self.options, order)
    }
}

/// Docker Hub is searched elsewhere than it is pulled from.
fn search_authority(registry: &str) -> &str {
    match registry {
        crate::model::reference::DOCKER_HUB => "index.docker.io",
        registry => registry,
    }
}

/// Some repository of the registry or namespace: entries are looked up by one.
fn any_repository(key: &str) -> Result<Reference> {
    "any".parse::<Reference>()?.renamed(&format!("{key}/any"))
}

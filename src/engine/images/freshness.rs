//! Which images are fetched anew, and every tag of a repository.

use super::pull::known;
use crate::{
    engine::{Engine, Progress, PullRequest, Pulled},
    model::{Error, ErrorKind, Reference, RegistryOptions, Result},
    registry::Registry,
};

/// `pull --policy`. Whatever is said, layers that are here are not fetched again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// The registry is asked and must answer.
    #[default]
    Always,
    /// It is asked if the store lacks the image, or has it for another platform.
    Missing,
    /// It is never asked.
    Never,
    /// It is asked; if it does not answer, the image that is here will do.
    Newer,
}

impl Engine {
    /// [`Engine::pull`], if `freshness` asks for it.
    ///
    /// # Errors
    /// As [`Engine::pull`]; [`ErrorKind::NoSuchImage`] for an image that is not here and is not to
    /// be fetched.
    pub fn pull_unless_here(
        &self,
        request: &PullRequest,
        freshness: Freshness,
        progress: &dyn Progress,
    ) -> Result<Pulled> {
        if freshness == Freshness::Always {
            return self.pull(request, progress);
        }
        let known = known(&self.store, request, progress)?;
        match (freshness, known) {
            (Freshness::Missing | Freshness::Never, Some(known)) => Ok(known),
            (Freshness::Never, None) => Err(Error::new(
                ErrorKind::NoSuchImage,
                format!(
                    "{} is not here, and --policy=never forbids to pull it",
                    request.reference.familiar()
                ),
            )),
            (Freshness::Newer, Some(known)) => match self.pull(request, progress) {
                Err(error) if is_far(error.kind()) => {
                    progress.notice(&format!(
                        "the image that is here is used: {}",
                        error.one_line()
                    ));
                    Ok(known)
                }
                other => other,
            },
            (_, _) => self.pull(request, progress),
        }
    }

    /// Every tag of the repository of `name`, as the registry lists them.
    ///
    /// # Errors
    /// Those of [`Registry`].
    pub fn tags_in_registry(
        &self,
        name: &Reference,
        options: &RegistryOptions,
        progress: &dyn Progress,
    ) -> Result<Vec<Reference>> {
        let registry = Registry::new(options);
        let mut missed = Vec::new();
        for candidate in registry.registries()?.candidates(name)? {
            registry.prepare(&candidate)?;
            match registry.tags(&candidate, &|what, why| progress.retrying(what, why)) {
                Ok(tags) => {
                    let full = |tag: &String| format!("{}:{tag}", candidate.name()).parse();
                    return tags.iter().map(full).collect();
                }
                Err(error) if is_far(error.kind()) => missed.push(error),
                Err(error) => return Err(error),
            }
        }
        Err(super::pull::nowhere(name, missed))
    }
}

/// Failures of the way to the image, not of the image.
fn is_far(kind: ErrorKind) -> bool {
    matches!(
        kind,
        ErrorKind::Registry | ErrorKind::Unauthorized | ErrorKind::NotFoundInRegistry
    )
}

//! Where signatures of images are kept: containers-registries.d(5).
//!
//! Only `use-sigstore-attachments` has an effect: whether signatures may be looked for beside the
//! image. The places of GnuPG's signatures are read, so that a file with them is not refused.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::{Error, Reference, Result, policy::Place};

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct Settings {
    use_sigstore_attachments: Option<bool>,
    lookaside: Option<String>,
    lookaside_staging: Option<String>,
    sigstore: Option<String>,
    sigstore_staging: Option<String>,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(rename_all = "kebab-case", default)]
struct File {
    default_docker: Option<Settings>,
    docker: BTreeMap<String, Settings>,
}

/// All files of the folder, taken together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RegistriesD(File);

impl RegistriesD {
    /// Takes one more file in. The caller says which it was.
    ///
    /// # Errors
    /// Not YAML of this shape, or a place that another file spoke of.
    pub fn add(&mut self, bytes: &[u8]) -> Result<()> {
        let options = serde_saphyr::options! { strict_booleans: true };
        let file: Option<File> = serde_saphyr::from_slice_with_options(bytes, options)
            .map_err(|cause| Error::invalid(cause.to_string().replace('\n', " ")))?;
        let file = file.unwrap_or_default();
        if self.0.default_docker.is_some() && file.default_docker.is_some() {
            return Err(Error::invalid("default-docker is in another file, too"));
        }
        self.0.default_docker = self.0.default_docker.take().or(file.default_docker);
        for (place, settings) in file.docker {
            if self.0.docker.contains_key(&place) {
                return Err(Error::invalid(format!("{place} is in another file, too")));
            }
            self.0.docker.insert(place, settings);
        }
        Ok(())
    }

    /// Whether signatures may be looked for beside the image; absent where no file says so.
    pub fn use_sigstore_attachments(&self, name: &Reference) -> Option<bool> {
        let scopes = Place::Registry(name).scopes();
        let said = scopes.iter().filter_map(|scope| self.0.docker.get(scope));
        said.chain(&self.0.default_docker)
            .find_map(|settings| settings.use_sigstore_attachments)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_narrowest_place_that_says_something_counts() {
        let mut all = RegistriesD::default();
        all.add(b"default-docker:\n  use-sigstore-attachments: false\n")
            .unwrap();
        all.add(b"docker:\n  a.io:\n    use-sigstore-attachments: true\n  a.io/b:\n    lookaside: https://x\n")
            .unwrap();
        all.add(b"").unwrap();
        let asked = |name: &str| all.use_sigstore_attachments(&name.parse().unwrap());
        assert_eq!(asked("a.io/b/c"), Some(true));
        assert_eq!(asked("b.io/b"), Some(false));
        let error = all.clone().add(b"docker: {a.io: {}}").unwrap_err();
        assert!(error.one_line().contains("a.io is in another file"));
        assert!(all.clone().add(b"docker: [1]").is_err());
        assert!(
            all.add(b"docker: {c.io: {use-sigstore-attachments: maybe}}")
                .is_err()
        );
    }
}

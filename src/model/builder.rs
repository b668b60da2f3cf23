//! Builders by the names that users have given them. There is one builder, this program; scripts make
//! others before they build, choose them, and remove them afterwards.

use serde::{Deserialize, Serialize};

use super::{Error, Result};

/// The name that is always there.
pub const DEFAULT: &str = "default";

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Builders {
    /// Nothing for [`DEFAULT`].
    #[serde(skip_serializing_if = "Option::is_none")]
    current: Option<String>,
    names: Vec<String>,
}

impl Builders {
    pub fn current(&self) -> &str {
        self.current.as_deref().unwrap_or(DEFAULT)
    }

    /// All names, [`DEFAULT`] last, as docker lists them.
    pub fn all(&self) -> impl Iterator<Item = &str> {
        self.names.iter().map(String::as_str).chain([DEFAULT])
    }

    /// # Errors
    /// [`ErrorKind::InvalidArgument`](super::ErrorKind::InvalidArgument) for a name that nobody gave.
    pub fn check(&self, name: &str) -> Result<()> {
        match self.all().any(|known| known == name) {
            true => Ok(()),
            false => Err(Error::invalid(format!("no builder {name:?} found"))),
        }
    }

    /// Adds a name; one that is there stays only if nodes are appended to it.
    pub fn add(&mut self, name: &str, append: bool) -> Result<()> {
        let known = self.all().any(|known| known == name);
        match (known, append) {
            (true, false) => Err(Error::invalid(format!(
                "existing instance for {name:?} but no append mode, specify the node name to make changes for existing instances"
            ))),
            (true, true) => Ok(()),
            (false, _) => {
                check_name(name)?;
                self.names.push(name.to_owned());
                Ok(())
            }
        }
    }

    pub fn choose(&mut self, name: &str) -> Result<()> {
        self.check(name)?;
        self.current = Some(name.to_owned()).filter(|name| name != DEFAULT);
        Ok(())
    }

    /// Removes a name; [`DEFAULT`] is then the current one, if it was this.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        self.check(name)?;
        if name == DEFAULT {
            let text = "the builder \"default\" cannot be removed";
            return Err(
                Error::invalid(text).with_hint("`coracle builder prune` removes what it keeps")
            );
        }
        self.names.retain(|known| known != name);
        if self.current() == name {
            self.current = None;
        }
        Ok(())
    }

    /// Removes all names that were given; which.
    pub fn clear(&mut self) -> Vec<String> {
        self.current = None;
        std::mem::take(&mut self.names)
    }
}

fn check_name(name: &str) -> Result<()> {
    let starts = name.starts_with(|first: char| first.is_ascii_alphabetic());
    let fits = |letter: char| letter.is_ascii_alphanumeric() || "_.-".contains(letter);
    if starts && name.len() <= 245 && name.chars().all(fits) {
        return Ok(());
    }
    Err(Error::invalid(format!(
        "invalid instance name: {name:?}, name needs to start with a letter and may only contain symbols, except ._-"
    )))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_there_from_its_making_to_its_removal() {
        let mut builders = Builders::default();
        assert_eq!(builders.all().collect::<Vec<_>>(), ["default"]);
        builders.add("ci", false).unwrap();
        assert!(builders.add("ci", false).is_err());
        builders.add("ci", true).unwrap();
        builders.choose("ci").unwrap();
        assert_eq!(builders.current(), "ci");
        assert_eq!(builders.all().collect::<Vec<_>>(), ["ci", "default"]);
        builders.remove("ci").unwrap();
        assert_eq!(builders.current(), "default");
        assert!(builders.remove("ci").is_err());
        assert!(builders.remove("default").is_err());
        assert!(builders.choose("ci").is_err());
    }
}

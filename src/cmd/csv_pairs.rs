//! `KEY=VALUE,KEY=VALUE`, one record of comma-separated values: each key is taken once, and what
//! nobody has taken is an error.

use crate::model::{Error, Result, mount::split_csv};

#[derive(Debug)]
pub struct Pairs {
    flag: &'static str,
    pairs: Vec<(String, String)>,
}

impl Pairs {
    /// # Errors
    /// A field that is no pair. `flag` is the one that is being read.
    pub fn parse(flag: &'static str, text: &str) -> Result<Pairs> {
        let bad = |why: &str| Error::invalid(format!("invalid {flag} {text:?}: {why}"));
        let mut pairs = Vec::new();
        for field in split_csv(text).map_err(bad)? {
            let (key, value) = field
                .split_once('=')
                .ok_or_else(|| bad(&format!("invalid field '{field}' must be a key=value pair")))?;
            pairs.push((key.trim().to_ascii_lowercase(), value.to_owned()));
        }
        Ok(Pairs { flag, pairs })
    }

    pub fn has(&self, key: &str) -> bool {
        self.pairs.iter().any(|(name, _)| name == key)
    }

    /// The last one of that name.
    pub fn take(&mut self, key: &str) -> Option<String> {
        let mut value = None;
        self.pairs.retain_mut(|(name, other)| {
            let found = name == key;
            if found {
                value = Some(std::mem::take(other));
            }
            !found
        });
        value
    }

    pub fn flag(&mut self, key: &str) -> Result<Option<bool>> {
        let value = self.take(key);
        let value = value.map(|value| match value.as_str() {
            "1" | "t" | "T" | "TRUE" | "true" | "True" => Ok(true),
            "0" | "f" | "F" | "FALSE" | "false" | "False" => Ok(false),
            other => {
                let text = format!(
                    "invalid {}: {key} is {other:?}, neither true nor false",
                    self.flag
                );
                Err(Error::invalid(text))
            }
        });
        value.transpose()
    }

    /// All whose names begin so, without that.
    pub fn take_with_prefix(&mut self, prefix: &str) -> Vec<(String, String)> {
        let mut taken = Vec::new();
        self.pairs
            .retain(|(name, value)| match name.strip_prefix(prefix) {
                Some(rest) => {
                    taken.push((rest.to_owned(), value.clone()));
                    false
                }
                None => true,
            });
        taken
    }

    pub fn finish(self) -> Result<()> {
        match self.pairs.first() {
            None => Ok(()),
            Some((key, _)) => Err(Error::invalid(format!(
                "invalid {}: unexpected key '{key}'",
                self.flag
            ))),
        }
    }
}

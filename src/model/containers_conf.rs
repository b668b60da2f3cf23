//! containers.conf(5): what podman's users have set for every container.
//!
//! ```toml
//! [containers]
//! default_capabilities = ["CHOWN", "SETUID"]
//! log_size_max = 1048576
//! env = ["LANG=C.UTF-8", {append=true}]
//! ```
//!
//! Files are read in an order in which the later ones weigh more, key by key. A list replaces the one
//! before, or is added to it if it ends with `{append=true}`. Keys that are not known are podman's own
//! affair.

use std::collections::BTreeMap;

use toml::{Table, Value};

use super::{Error, Result};

/// What all files together say: `containers.pids_limit` → its value and the file it comes from.
#[derive(Debug, Default)]
pub struct ContainersConf {
    settings: BTreeMap<String, Setting>,
}

#[derive(Debug)]
pub struct Setting {
    /// One of a text, a number or a switch; several of a list.
    pub values: Vec<String>,
    pub file: String,
}

impl ContainersConf {
    /// Reads one more file.
    ///
    /// # Errors
    /// [`super::ErrorKind::InvalidArgument`] with file and line, or file and key.
    pub fn add(&mut self, file: &str, text: &str) -> Result<()> {
        let tables: Table = toml::from_str(text).map_err(|error| {
            let before = error.span().map_or("", |span| &text[..span.start]);
            let line = before.matches('\n').count() + 1;
            let message = error.message().replace('\n', " ");
            Error::invalid(format!("{file}:{line}: {message}"))
        })?;
        for (table, settings) in tables {
            let Value::Table(settings) = settings else {
                continue;
            };
            for (key, value) in settings {
                self.set(file, format!("{table}.{key}"), value)?;
            }
        }
        Ok(())
    }

    fn set(&mut self, file: &str, key: String, value: Value) -> Result<()> {
        let mut values = Vec::new();
        let mut is_added = false;
        match value {
            // [engine.runtimes] and its kin.
            Value::Table(_) => return Ok(()),
            Value::Array(list) => {
                for value in list {
                    match value {
                        Value::Table(word) => {
                            is_added = word.get("append") == Some(&Value::Boolean(true));
                        }
                        value => values.push(plain(file, &key, value)?),
                    }
                }
            }
            value => values.push(plain(file, &key, value)?),
        }
        if is_added && let Some(known) = self.settings.remove(&key) {
            values.splice(0..0, known.values);
        }
        let file = file.to_owned();
        self.settings.insert(key, Setting { values, file });
        Ok(())
    }

    pub fn get(&self, key: &str) -> Option<&Setting> {
        self.settings.get(key)
    }
}

fn plain(file: &str, key: &str, value: Value) -> Result<String> {
    match value {
        Value::String(text) => Ok(text),
        Value::Integer(number) => Ok(number.to_string()),
        Value::Boolean(switch) => Ok(switch.to_string()),
        other => Err(Error::invalid(format!(
            "{file}: {key} is neither a text nor a number nor true or false, but a {}",
            other.type_str()
        ))),
    }
}

#[cfg(test)]
mod tests {
    use super::ContainersConf;

    fn values(conf: &ContainersConf, key: &str) -> Vec<String> {
        conf.get(key)
            .map_or(Vec::new(), |setting| setting.values.clone())
    }

    #[test]
    fn later_files_weigh_more_and_lists_may_grow() {
        let mut conf = ContainersConf::default();
        let first = "[containers]\npids_limit = 100\nenv = [\"A=1\"]\ndns_servers = [\"10.0.0.1\"]\n[engine.runtimes]\nrunc = [\"/bin/runc\"]\n";
        conf.add("/etc/one", first).unwrap();
        let second = "[containers]\npids_limit = 200\nenv = [\"B=2\", {append=true}]\ndns_servers = []\ninit = true\n";
        conf.add("/etc/two", second).unwrap();
        assert_eq!(values(&conf, "containers.pids_limit"), ["200"]);
        assert_eq!(values(&conf, "containers.env"), ["A=1", "B=2"]);
        assert_eq!(values(&conf, "containers.dns_servers"), [""; 0]);
        assert_eq!(values(&conf, "containers.init"), ["true"]);
        assert_eq!(conf.get("containers.env").unwrap().file, "/etc/two");
        assert!(conf.get("containers.nothing").is_none());
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        let mut conf = ContainersConf::default();
        let error = conf
            .add("/etc/one", "[containers]\npids_limit =\n")
            .unwrap_err();
        assert!(error.to_string().starts_with("/etc/one:2: "), "{error}");
        let error = conf
            .add("/etc/one", "[containers]\npids_limit = 1.5\n")
            .unwrap_err();
        assert!(
            error
                .to_string()
                .contains("containers.pids_limit is neither"),
            "{error}"
        );
    }
}

//! Hooks for many containers: the files of a folder that `--hooks-dir` names, in Podman's format
//! (oci-hooks(5), version 1.0.0).
//!
//! A file says which containers it is for. All the conditions that it lists must hold, and it must
//! list one.

use std::{collections::BTreeMap, path::PathBuf};

use regex_lite::Regex;
use serde::Deserialize;

use super::{
    Context, Error, ErrorKind, Result,
    hook::{Hook, Hooks},
};

#[derive(Debug, Deserialize)]
pub struct HookFile {
    version: String,
    hook: Program,
    when: When,
    stages: Vec<String>,
}

#[derive(Debug, Deserialize)]
struct Program {
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    #[serde(default)]
    timeout: Option<u32>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct When {
    always: Option<bool>,
    /// Patterns of keys, and of their values.
    annotations: BTreeMap<String, String>,
    /// Patterns of the program.
    commands: Vec<String>,
    has_bind_mounts: Option<bool>,
}

/// What a file's conditions are about.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub program: &'a str,
    pub annotations: &'a BTreeMap<String, String>,
    pub has_bind_mounts: bool,
}

impl HookFile {
    /// `name` is the file's, for messages.
    pub fn parse(name: &str, text: &[u8]) -> Result<Self> {
        let what = || format!("invalid hook file {name}");
        let file: HookFile =
            serde_json::from_slice(text).context(ErrorKind::InvalidArgument, what)?;
        let fault = if file.version != "1.0.0" {
            Some(format!("version {:?} is not 1.0.0", file.version))
        } else if !file.hook.path.is_absolute() {
            Some("its path is not absolute".to_owned())
        } else if file.stages.is_empty() {
            Some("it has no stages".to_owned())
        } else {
            None
        };
        match fault {
            None => Ok(file),
            Some(fault) => Err(Error::invalid(format!("{}: {fault}", what()))),
        }
    }

    /// Whether it is for this container.
    pub fn fits(&self, subject: Subject<'_>) -> Result<bool> {
        let when = &self.when;
        if when.always == Some(false)
            || when
                .has_bind_mounts
                .is_some_and(|wanted| wanted != subject.has_bind_mounts)
        {
            return Ok(false);
        }
        for (key, value) in &when.annotations {
            let (key, value) = (pattern(key)?, pattern(value)?);
            let mut annotations = subject.annotations.iter();
            if !annotations.any(|(name, text)| key.is_match(name) && value.is_match(text)) {
                return Ok(false);
            }
        }
        let mut fits = when.commands.is_empty();
        for command in &when.commands {
            fits |= pattern(command)?.is_match(subject.program);
        }
        let lists_any = when.always.is_some()
            || when.has_bind_mounts == Some(true)
            || !when.annotations.is_empty()
            || !when.commands.is_empty();
        Ok(fits && lists_any)
    }

    /// Adds its program at its moments.
    pub fn add_to(&self, hooks: &mut Hooks) -> Result<()> {
        for stage in &self.stages {
            let list = hooks.at(stage).ok_or_else(|| {
                Error::invalid(format!("{stage:?} is not a moment at which hooks are run"))
            })?;
            list.push(Hook {
                path: self.hook.path.clone(),
                args: self.hook.args.clone(),
                env: self.hook.env.clone(),
                timeout: self.hook.timeout,
            });
        }
        Ok(())
    }
}

fn pattern(text: &str) -> Result<Regex> {
    Regex::new(text).context(ErrorKind::InvalidArgument, || {
        format!("{text:?} in a hook file is not a regular expression")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(when: &str) -> bool {
        let text = format!(
            r#"{{"version":"1.0.0","hook":{{"path":"/h"}},"when":{when},"stages":["poststop"]}}"#
        );
        let file = HookFile::parse("h.json", text.as_bytes()).unwrap();
        let annotations = BTreeMap::from([("org.x.y".to_owned(), "on".to_owned())]);
        let subject = Subject {
            program: "/bin/sh",
            annotations: &annotations,
            has_bind_mounts: false,
        };
        file.fits(subject).unwrap()
    }

    #[test]
    fn all_conditions_must_hold() {
        for (when, expected) in [
            ("{}", false),
            (r#"{"always":true}"#, true),
            (r#"{"always":false}"#, false),
            (r#"{"annotations":{"^org\\.x":"^on$"}}"#, true),
            (r#"{"annotations":{"^org\\.x":"off"}}"#, false),
            (r#"{"commands":["sh$","zsh"]}"#, true),
            (r#"{"commands":["zsh"]}"#, false),
            (r#"{"always":true,"commands":["zsh"]}"#, false),
            (r#"{"hasBindMounts":true}"#, false),
        ] {
            assert_eq!(fits(when), expected, "{when}");
        }
    }

    #[test]
    fn what_is_no_hook_file_is_refused() {
        for text in [
            "{",
            r#"{"version":"2","hook":{"path":"/h"},"when":{},"stages":["poststop"]}"#,
            r#"{"version":"1.0.0","hook":{"path":"h"},"when":{},"stages":["poststop"]}"#,
            r#"{"version":"1.0.0","hook":{"path":"/h"},"when":{},"stages":[]}"#,
            r#"{"version":"1.0.0","hook":{"path":"/h"},"when":{"other":1},"stages":["poststop"]}"#,
        ] {
            assert!(
                HookFile::parse("h.json", text.as_bytes()).is_err(),
                "{text}"
            );
        }
    }
}

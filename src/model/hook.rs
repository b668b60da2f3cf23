//! Hooks: programs that the host runs at fixed moments of a container's life, as the OCI runtime
//! specification has them.
//!
//! They come from a bundle's `config.json`, from device descriptions (CDI) and from folders named
//! with `--hooks-dir`; never from an image.

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

/// A container's hooks and what they are told, on their standard input.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HookPlan {
    /// The container's ID, its bundle's (or own) folder and its annotations: for the state.
    pub id: String,
    pub bundle: PathBuf,
    pub annotations: BTreeMap<String, String>,
    pub hooks: Hooks,
}

/// By moment. Those before the program's start can prevent it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Hooks {
    /// On the host, when the namespaces exist and before pivot_root; deprecated.
    pub prestart: Vec<Hook>,
    /// The same moment, after those.
    pub create_runtime: Vec<Hook>,
    /// In the container's namespaces, with the host's tree still in sight.
    pub create_container: Vec<Hook>,
    /// In the container, with the program's rights, right before it.
    pub start_container: Vec<Hook>,
    /// On the host, when the program runs.
    pub poststart: Vec<Hook>,
    /// On the host, when the container has ended.
    pub poststop: Vec<Hook>,
}

/// One program.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hook {
    /// Absolute.
    pub path: PathBuf,
    /// With `argv[0]`; empty is the path alone.
    pub args: Vec<String>,
    /// All of its environment, `NAME=VALUE`.
    pub env: Vec<String>,
    /// Seconds after which it is killed and counts as failed; `None` waits for ever.
    pub timeout: Option<u32>,
}

impl Hooks {
    /// The hooks of a moment by its name in the specification.
    pub fn at(&mut self, moment: &str) -> Option<&mut Vec<Hook>> {
        Some(match moment {
            "prestart" => &mut self.prestart,
            "createRuntime" => &mut self.create_runtime,
            "createContainer" => &mut self.create_container,
            "startContainer" => &mut self.start_container,
            "poststart" => &mut self.poststart,
            "poststop" => &mut self.poststop,
            _ => return None,
        })
    }

    pub fn is_empty(&self) -> bool {
        [
            &self.prestart,
            &self.create_runtime,
            &self.create_container,
            &self.start_container,
            &self.poststart,
            &self.poststop,
        ]
        .into_iter()
        .all(Vec::is_empty)
    }
}

/// The container's state as hooks are told (`state` of the runtime specification).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    Creating,
    Created,
    Running,
    Stopped,
}

impl HookPlan {
    /// The state as JSON. `pid` is the first process's number on the host, or in the container for
    /// hooks that run there.
    pub fn state(&self, moment: Moment, pid: Option<i32>) -> String {
        let status = match moment {
            Moment::Creating => "creating",
            Moment::Created => "created",
            Moment::Running => "running",
            Moment::Stopped => "stopped",
        };
        let mut state = serde_json::json!({
            "ociVersion": "1.2.0",
            "id": self.id,
            "status": status,
        });
        if let Some(pid) = pid {
            state["pid"] = pid.into();
        }
        state["bundle"] = self.bundle.to_string_lossy().into();
        if !self.annotations.is_empty() {
            state["annotations"] = serde_json::json!(self.annotations);
        }
        state.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_that_of_the_specification() {
        let plan = HookPlan {
            id: "c1".to_owned(),
            bundle: "/b".into(),
            annotations: BTreeMap::from([("a".to_owned(), "1".to_owned())]),
            hooks: Hooks::default(),
        };
        assert_eq!(
            plan.state(Moment::Creating, Some(7)),
            r#"{"ociVersion":"1.2.0","id":"c1","status":"creating","pid":7,"bundle":"/b","annotations":{"a":"1"}}"#
        );
        assert!(!plan.state(Moment::Stopped, None).contains("pid"));
    }
}

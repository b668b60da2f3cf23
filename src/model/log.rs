//! Where a container's output is kept: `--log-driver` and `--log-opt`.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    pub driver: LogDriver,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// Docker's JSON lines.
    #[default]
    JsonFile,
    None,
}

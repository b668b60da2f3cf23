//! Whether a container is well: what is asked of the image's `HEALTHCHECK` and of `--health-*`.

use serde::{Deserialize, Serialize};

/// What the user asks for; what is not said is as the image says.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct HealthSpec {}

//! What is written into the container's passwd(5), group(5) and localtime(5), and its secrets.

use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSpec {}

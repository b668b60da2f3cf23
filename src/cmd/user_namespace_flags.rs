//! How a container's ids become the machine's: `--userns` and the maps.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct UserNamespaceFlags {}

impl UserNamespaceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, _spec: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

//! How much of the machine a container may use: its cgroup's settings.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct ResourceFlags {}

impl ResourceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, _spec: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

//! Rights, filters, limits of processes: what a container may do to the kernel.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct SecurityFlags {}

impl SecurityFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, _spec: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

//! Which devices a container may use.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct DeviceFlags {}

impl DeviceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, _spec: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

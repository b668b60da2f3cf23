//! The flags of a container's health check.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct HealthFlags {}

impl HealthFlags {
    pub fn apply(self, _: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

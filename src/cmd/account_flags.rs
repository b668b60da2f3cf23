//! Users, groups, time zone and secrets that are written into a container.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct AccountFlags {}

impl AccountFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, _spec: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

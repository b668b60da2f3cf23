//! Which namespaces a container shares, and with whom.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct NamespaceFlags {}

impl NamespaceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, _spec: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

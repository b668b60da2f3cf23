//! A container without an image: a folder of the host as its root, or an OCI bundle.

use clap::Args;

use crate::model::{ContainerSpec, Result};

#[derive(Args)]
pub struct BundleFlags {}

impl BundleFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, _spec: &mut ContainerSpec) -> Result<()> {
        Ok(())
    }
}

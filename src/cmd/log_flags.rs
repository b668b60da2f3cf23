//! The flags of a container's log.

use clap::Args;

use crate::model::{ContainerSpec, Result, log::LogSpec};

#[derive(Args)]
pub struct LogFlags {
    /// Where the output goes: json-file, k8s-file, local, journald, none, passthrough or
    /// passthrough-tty
    #[arg(long, value_name = "string")]
    log_driver: Option<String>,
    /// Option of the log driver: max-size=10m, max-file=3, compress=true, tag=, labels=, env=,
    /// path=, mode=
    #[arg(long, value_name = "NAME=VALUE")]
    log_opt: Vec<String>,
}

impl LogFlags {
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        let driver = self.log_driver.unwrap_or_default();
        spec.logging = LogSpec::parse(&driver, &self.log_opt)?;
        if spec.logging.driver.has_files() && spec.logging.buffer()?.is_some() {
            log::warn!(
                "--log-opt mode=non-blocking has no effect with {}: nobody reads slowly, it is a file",
                spec.logging.driver.name()
            );
        }
        Ok(())
    }
}

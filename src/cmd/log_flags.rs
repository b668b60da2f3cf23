//! The flags of a container's log.

use clap::Args;

use super::ui;
use crate::model::{
    ContainerSpec, Error, Result,
    log::{LogDriver, LogSpec},
};

#[derive(Args)]
pub struct LogFlags {
    /// Where the output goes: json-file, k8s-file, local, journald, none, passthrough or
    /// passthrough-tty
    #[arg(long, value_name = "string")]
    log_driver: Option<String>,
    /// Option of the log driver: max-size=10m, max-file=3, compress=true, tag=, labels=, env=,
    /// path=, mode=
    #[arg(long, value_name = "list")]
    log_opt: Vec<String>,
}

impl LogFlags {
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        let driver = self.log_driver.unwrap_or_default();
        spec.logging = LogSpec::parse(&driver, &self.log_opt)?;
        refuse_terminal(spec)?;
        if spec.logging.driver.has_files() && spec.logging.buffer()?.is_some() {
            log::warn!(
                "--log-opt mode=non-blocking has no effect with {}: nobody reads slowly, it is a file",
                spec.logging.driver.name()
            );
        }
        if spec.logging.driver == LogDriver::K8sFile && spec.logging.options.contains_key("tag") {
            log::warn!("--log-opt tag has no effect with k8s-file: its lines have no room for one");
        }
        Ok(())
    }
}

/// A program with the command's own terminal could type into it and read what others type.
fn refuse_terminal(spec: &ContainerSpec) -> Result<()> {
    let driver = spec.logging.driver;
    if spec.tty && driver.passes_through() {
        return Err(Error::invalid(format!(
            "--log-driver {} and --tty exclude each other: the container has either the streams of the command or a terminal of its own",
            driver.name()
        )));
    }
    let terminal =
        || ui::stdin_is_terminal() || ui::stdout_is_terminal() || ui::stderr_is_terminal();
    if driver == LogDriver::Passthrough && terminal() {
        let text = "the '--log-driver passthrough' option cannot be used on a TTY";
        return Err(Error::invalid(text).with_hint("--log-driver passthrough-tty"));
    }
    Ok(())
}

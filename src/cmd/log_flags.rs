//! The flags of a container's log.

use clap::Args;

use crate::model::{
    ContainerSpec, Error, ErrorKind, Result,
    log::{LogDriver, LogSpec},
};

#[derive(Args)]
pub struct LogFlags {
    /// Where the output goes: json-file or none
    #[arg(long, value_name = "string")]
    log_driver: Option<String>,
}

impl LogFlags {
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        spec.logging = LogSpec {
            driver: log_driver(self.log_driver.as_deref())?,
        };
        Ok(())
    }
}

fn log_driver(text: Option<&str>) -> Result<LogDriver> {
    match text {
        None | Some("" | "json-file") => Ok(LogDriver::JsonFile),
        Some("none") => Ok(LogDriver::None),
        Some(other) => Err(Error::new(
            ErrorKind::Unsupported,
            format!("log driver {other:?} is not supported"),
        )
        .with_hint("--log-driver json-file, or none")),
    }
}

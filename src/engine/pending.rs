//! Methods of the facade whose use-case has not landed; each is deleted by the one that does.

use super::{requests::*, *};
use crate::model::{ContainerId, ContainerSpec, Error, ErrorKind, image::ImageRecord};

fn pending<T>(what: &str) -> Result<T> {
    Err(Error::new(
        ErrorKind::Unsupported,
        format!("{what} is not there yet"),
    ))
}

impl Engine {
    /// Newest first. `size` measures the writable layers, which walks them.
    pub fn containers(&self, _all: bool, _size: bool) -> Result<Vec<ContainerSummary>> {
        pending("listing containers")
    }

    /// One object as Docker's `container inspect` shows it.
    pub fn inspect_container(&self, _container: &str, _size: bool) -> Result<serde_json::Value> {
        pending("inspecting containers")
    }

    pub fn logs(
        &self,
        _container: &str,
        _options: &LogOptions,
        _sink: &mut dyn FnMut(LogLine) -> Result<()>,
    ) -> Result<()> {
        pending("reading logs")
    }

    /// `timeout` in seconds, -1 waits for ever; `None` for both is as the container says.
    pub fn stop(
        &self,
        _container: &str,
        _signal: Option<i32>,
        _timeout: Option<i64>,
    ) -> Result<()> {
        pending("stopping containers")
    }

    pub fn kill(&self, _container: &str, _signal: i32) -> Result<()> {
        pending("signalling containers")
    }

    /// Waits until the container does not run and returns its exit code.
    pub fn wait(&self, _container: &str) -> Result<i32> {
        pending("waiting for containers")
    }

    pub fn remove_container(&self, _container: &str, _force: bool, _volumes: bool) -> Result<()> {
        pending("removing containers")
    }

    /// One object with the keys of Docker's `info`.
    pub fn info(&self) -> Result<serde_json::Value> {
        pending("describing the engine")
    }

    pub fn doctor(&self) -> Vec<Check> {
        Vec::new()
    }
}

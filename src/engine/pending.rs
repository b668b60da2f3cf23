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
    pub fn pull(&self, _request: &PullRequest, _progress: &dyn Progress) -> Result<Pulled> {
        pending("pulling images")
    }

    pub fn load(
        &self,
        _request: &LoadRequest,
        _progress: &dyn Progress,
    ) -> Result<Vec<ImageRecord>> {
        pending("loading images")
    }

    pub fn import(
        &self,
        _request: &ImportRequest,
        _progress: &dyn Progress,
    ) -> Result<ImageRecord> {
        pending("importing images")
    }
}

//! What a context is, by how it is written. No file is looked at.

use crate::model::{Error, LayoutImage, Reference, Result};

use super::super::git_address::GitAddress;

/// A context as the user wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// A path of the host.
    Folder(String),
    /// `-`
    StandardInput,
    /// An archive, or a Dockerfile alone.
    Url(String),
    Git(GitAddress),
    Image(Reference),
    OciLayout {
        path: String,
        image: LayoutImage,
    },
    Stage(String),
}

impl Place {
    /// The argument of `build`: a folder, `-`, a URL, a repository.
    pub fn of_main(text: &str) -> Result<Place> {
        if text == "-" {
            return Ok(Place::StandardInput);
        }
        if let Some(git) = GitAddress::parse_context(text)? {
            return Ok(Place::Git(git));
        }
        if is_url(text) {
            return Ok(Place::Url(text.to_owned()));
        }
        Ok(Place::Folder(text.to_owned()))
    }

    /// The value of `--build-context NAME=VALUE`.
    pub fn of_named(text: &str) -> Result<Place> {
        if let Some(reference) = text.strip_prefix("docker-image://") {
            return Ok(Place::Image(reference.parse()?));
        }
        if let Some(layout) = text.strip_prefix("oci-layout://") {
            return layout_place(layout);
        }
        if let Some(stage) = text.strip_prefix("target:") {
            return Ok(Place::Stage(stage.to_owned()));
        }
        match Place::of_main(text)? {
            Place::StandardInput => Err(Error::invalid(
                "invalid --build-context: standard input can be the main context alone",
            )),
            other => Ok(other),
        }
    }
}

pub fn is_url(text: &str) -> bool {
    ["http://", "https://"]
        .iter()
        .any(|scheme| text.starts_with(scheme))
}

/// `PATH[:TAG][@DIGEST]`
fn layout_place(text: &str) -> Result<Place> {
    let (place, digest) = match text.rsplit_once('@') {
        Some((place, digest)) => (place, Some(digest.parse()?)),
        None => (text, None),
    };
    let (path, tag) = match place.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (path, Some(tag)),
        _ => (place, None),
    };
    // A digest says more than a tag.
    let image = match (digest, tag) {
        (Some(digest), _) => LayoutImage::Digest(digest),
        (None, Some(tag)) => LayoutImage::Tag(tag.to_owned()),
        (None, None) => LayoutImage::Any,
    };
    if path.is_empty() {
        return Err(Error::invalid(format!(
            "invalid context oci-layout://{text}: it has no path"
        )));
    }
    Ok(Place::OciLayout {
        path: path.to_owned(),
        image,
    })
}

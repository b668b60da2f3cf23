//! Where an image comes from or goes to (containers-transports(5)): `docker://alpine`,
//! `oci-archive:app.tar:app:1`. What begins with no transport is a name in a registry.

use std::path::PathBuf;

use super::{Digest, Error, ErrorKind, Reference, Result};

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Transport {
    /// A name that a registry knows, as it was typed.
    Registry(String),
    Archive(Archive),
}

/// An archive or a folder on this machine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Archive {
    pub kind: ArchiveKind,
    pub path: PathBuf,
    /// The image's name in it.
    pub reference: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ArchiveKind {
    Docker,
    Oci,
    /// An image layout as a folder.
    OciFolder,
    /// Files beside each other, as `skopeo copy` writes `dir:`.
    DockerFolder,
}

/// Which image of an OCI layout.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LayoutImage {
    /// The one that is called `latest`, or the only one.
    Any,
    /// `org.opencontainers.image.ref.name`
    Tag(String),
    /// Of a manifest or an index.
    Digest(Digest),
}

const ARCHIVES: [(&str, ArchiveKind); 4] = [
    ("docker-archive:", ArchiveKind::Docker),
    ("oci-archive:", ArchiveKind::Oci),
    ("oci:", ArchiveKind::OciFolder),
    ("dir:", ArchiveKind::DockerFolder),
];

const REFUSED: [&str; 4] = ["docker-daemon:", "ostree:", "tarball:", "sif:"];

impl Transport {
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] for a path that is missing; [`ErrorKind::Unsupported`] for
    /// transports that are not there.
    pub fn parse(text: &str) -> Result<Transport> {
        for local in ["containers-storage:", "docker://"] {
            if let Some(name) = text.strip_prefix(local) {
                return Ok(Transport::Registry(name.to_owned()));
            }
        }
        if let Some(refused) = REFUSED.iter().find(|prefix| text.starts_with(**prefix)) {
            return Err(Error::new(
                ErrorKind::Unsupported,
                format!("transport {refused} is not supported"),
            )
            .with_hint("there are docker://, docker-archive:, oci-archive:, oci: and dir:"));
        }
        let Some((rest, kind)) = ARCHIVES
            .iter()
            .find_map(|(prefix, kind)| Some((text.strip_prefix(prefix)?, *kind)))
        else {
            return Ok(Transport::Registry(text.to_owned()));
        };
        let (path, reference) = match rest.split_once(':') {
            _ if kind == ArchiveKind::DockerFolder => (rest, None),
            Some((path, reference)) => (path, Some(reference.to_owned())),
            None => (rest, None),
        };
        if path.is_empty() {
            return Err(Error::invalid(format!("{text:?} names no file")));
        }
        Ok(Transport::Archive(Archive {
            kind,
            path: path.into(),
            reference: reference.filter(|reference| !reference.is_empty()),
        }))
    }
}

impl Archive {
    /// The image's name in the archive, in full.
    ///
    /// # Errors
    /// [`ErrorKind::InvalidArgument`] if it is none.
    pub fn name(&self) -> Result<Option<Reference>> {
        self.reference.as_deref().map(str::parse).transpose()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(kind: ArchiveKind, path: &str, reference: Option<&str>) -> Transport {
        Transport::Archive(Archive {
            kind,
            path: path.into(),
            reference: reference.map(str::to_owned),
        })
    }

    #[test]
    fn a_name_is_a_name_unless_it_begins_with_a_transport() {
        let parse = |text| Transport::parse(text).unwrap();
        assert_eq!(parse("oci"), Transport::Registry("oci".to_owned()));
        assert_eq!(
            parse("localhost:5000/oci:1"),
            Transport::Registry("localhost:5000/oci:1".to_owned())
        );
        assert_eq!(
            parse("docker://alpine:3"),
            Transport::Registry("alpine:3".to_owned())
        );
        assert_eq!(
            parse("oci-archive:/tmp/x.tar:app:1"),
            archive(ArchiveKind::Oci, "/tmp/x.tar", Some("app:1"))
        );
        assert_eq!(
            parse("docker-archive:x.tar"),
            archive(ArchiveKind::Docker, "x.tar", None)
        );
        assert_eq!(
            parse("oci:dir:"),
            archive(ArchiveKind::OciFolder, "dir", None)
        );
        assert_eq!(
            parse("dir:a:b"),
            archive(ArchiveKind::DockerFolder, "a:b", None)
        );
        assert!(Transport::parse("oci:").is_err());
        assert!(Transport::parse("docker-daemon:x").is_err());
    }
}

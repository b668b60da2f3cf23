//! The places that a policy's rules are written for, from the narrowest to the widest.

use std::path::{Component, Path};

use crate::model::Reference;

/// Where an image comes from.
#[derive(Clone, Debug)]
pub enum Place<'a> {
    /// A registry (`docker`). The name has a tag or a digest.
    Registry(&'a Reference),
    /// An archive or folder; standard input has no path.
    File {
        /// `docker-archive`, `oci-archive`, `oci`, `dir`, `tarball`.
        transport: &'static str,
        path: Option<&'a Path>,
    },
}

impl Place<'_> {
    pub fn transport(&self) -> &str {
        match self {
            Place::Registry(_) => "docker",
            Place::File { transport, .. } => transport,
        }
    }

    /// Without the empty one, which every place of the transport is in.
    pub fn scopes(&self) -> Vec<String> {
        match self {
            Place::Registry(name) => of_name(name),
            Place::File { transport, path } if TAKES_PATHS.contains(transport) => {
                path.map(of_path).unwrap_or_default()
            }
            Place::File { .. } => Vec::new(),
        }
    }
}

const TAKES_PATHS: [&str; 3] = ["oci", "oci-archive", "dir"];

/// `host:5000/a/b:tag`, `host:5000/a/b`, `host:5000/a`, `host:5000`, `*.domain`. As elsewhere, a
/// wildcard stands without a port.
fn of_name(name: &Reference) -> Vec<String> {
    let mut scopes = vec![name.to_string(), name.name()];
    let mut rest = name.name();
    while let Some(slash) = rest.rfind('/') {
        rest.truncate(slash);
        scopes.push(rest.clone());
    }
    let host = name.registry();
    let mut host = host.split_once(':').map_or(host, |(host, _)| host);
    while let Some((_, domain)) = host.split_once('.') {
        scopes.push(format!("*.{domain}"));
        host = domain;
    }
    scopes
}

/// The path and every folder above it but `/`.
fn of_path(path: &Path) -> Vec<String> {
    let plain = path.is_absolute()
        && path
            .components()
            .all(|part| matches!(part, Component::RootDir | Component::Normal(_)));
    let above = path.ancestors().filter(|folder| folder.parent().is_some());
    match plain {
        true => above.filter_map(Path::to_str).map(str::to_owned).collect(),
        false => Vec::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_in_these_scopes() {
        let scopes = |name: &str| Place::Registry(&name.parse().unwrap()).scopes();
        assert_eq!(
            scopes("busybox"),
            [
                "docker.io/library/busybox:latest",
                "docker.io/library/busybox",
                "docker.io/library",
                "docker.io",
                "*.io"
            ]
        );
        let scopes = scopes(
            "a.b.example:443/x@sha256:0000000000000000000000000000000000000000000000000000000000000000",
        );
        assert_eq!(
            scopes[1..],
            [
                "a.b.example:443/x",
                "a.b.example:443",
                "*.b.example",
                "*.example"
            ]
        );
    }

    #[test]
    fn a_path_is_in_its_folders() {
        let scopes = |transport, path| {
            let path = Some(Path::new(path));
            Place::File { transport, path }.scopes()
        };
        assert_eq!(scopes("oci", "/a/b/c"), ["/a/b/c", "/a/b", "/a"]);
        assert!(scopes("oci", "/a/../b").is_empty());
        assert!(scopes("docker-archive", "/a/b").is_empty());
    }
}

//! Image references: `[REGISTRY/]REPOSITORY[:TAG][@DIGEST]`, with Docker's short names.
//!
//! The grammar is that of the OCI distribution specification ("Pulling manifests") and of
//! Docker's `reference` package. It is written by hand rather than taken from a crate because
//! `run` parses one on its hot path and the crates compile regular expressions for it.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Digest, Error, Result};

pub const DOCKER_HUB: &str = "docker.io";

/// A fully named image. `docker.io/library/` is filled in for short names; the tag is absent
/// only if a digest is there.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
    typed: Typed,
}

/// How the registry was named. Two references are the same whatever it says.
#[derive(Clone, Copy, Debug, Default)]
struct Typed {
    /// Not at all: `docker.io` was filled in.
    short: bool,
}

impl PartialEq for Typed {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Typed {}

impl std::hash::Hash for Typed {
    fn hash<H: std::hash::Hasher>(&self, _: &mut H) {}
}

impl PartialOrd for Typed {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Typed {
    fn cmp(&self, _: &Self) -> std::cmp::Ordering {
        std::cmp::Ordering::Equal
    }
}

impl Reference {
    /// Whether it was written without a registry, as `alpine` or `user/app`: registries.conf may
    /// then say another one than Docker Hub.
    pub fn is_short(&self) -> bool {
        self.typed.short
    }

    /// The same tag and digest of another repository, `host[:port]/path`. Unlike in a reference
    /// that is typed, the first component is the host whatever it looks like.
    ///
    /// # Errors
    /// If that is not the name of a repository.
    pub fn renamed(&self, name: &str) -> Result<Reference> {
        let (registry, repository) = split_location(name)
            .map_err(|why| Error::invalid(format!("invalid repository {name:?}: {why}")))?;
        let repository = match (registry, repository) {
            (DOCKER_HUB, path) if !path.contains('/') => format!("library/{path}"),
            (_, path) => path.to_owned(),
        };
        check_repository(name, &repository)
            .map_err(|why| Error::invalid(format!("invalid repository {name:?}: {why}")))?;
        Ok(Reference {
            registry: registry.to_owned(),
            repository,
            tag: self.tag.clone(),
            digest: self.digest.clone(),
            typed: Typed::default(),
        })
    }

    /// `host[:port]`; `docker.io` for Docker Hub.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the registry, `library/alpine`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same repository at a digest, without a tag.
    pub fn at_digest(&self, digest: Digest) -> Reference {
        Reference {
            tag: None,
            digest: Some(digest),
            ..self.clone()
        }
    }

    /// `docker.io/library/alpine`: registry and repository without tag and digest.
    pub fn name(&self) -> String {
        format!("{}/{}", self.registry, self.repository)
    }

    /// [`Self::name`] as Docker shows it: `alpine`, `user/app`, `registry:5000/app`. Shortened only
    /// as far as it is still read as the same: not `docker.io/library/a/b`, nor `docker.io/a.b/c`,
    /// nor what would look like an image ID.
    pub fn familiar_name(&self) -> String {
        if self.registry != DOCKER_HUB {
            return self.name();
        }
        match self.repository.strip_prefix("library/") {
            Some(short) if is_hex_id(short) => self.name(),
            Some(short) if !short.contains('/') => short.to_owned(),
            _ => match self.repository.split_once('/') {
                Some((first, _)) if is_host(first) => self.name(),
                _ => self.repository.clone(),
            },
        }
    }

    /// The whole reference as Docker shows it: `alpine:latest`.
    pub fn familiar(&self) -> String {
        self.with_suffix(self.familiar_name())
    }

    fn with_suffix(&self, mut text: String) -> String {
        if let Some(tag) = &self.tag {
            text.push(':');
            text.push_str(tag);
        }
        if let Some(digest) = &self.digest {
            text.push('@');
            text.push_str(digest.as_str());
        }
        text
    }
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.with_suffix(self.name()))
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> String {
        reference.to_string()
    }
}

impl TryFrom<String> for Reference {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl FromStr for Reference {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        parse(text)
            .map_err(|why| Error::invalid(format!("invalid image reference {text:?}: {why}")))
    }
}

/// `host[:port][/path]` in two; the path may be empty, and is not checked.
pub(super) fn split_location(name: &str) -> Result<(&str, &str), &'static str> {
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    check_registry(host)?;
    Ok((host, path))
}

/// A registry or a namespace of one: `host[:port][/path]`.
pub(super) fn check_location(name: &str) -> Result<(), &'static str> {
    let (_, path) = split_location(name)?;
    if path.is_empty() && !name.ends_with('/') {
        return Ok(());
    }
    check_repository(name, path)
}

fn parse(text: &str) -> Result<Reference, &'static str> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (
            rest,
            Some(
                digest
                    .parse()
                    .map_err(|_| "the digest is not sha256: and 64 hexadecimal digits")?,
            ),
        ),
        None => (text, None),
    };
    // A colon belongs to the tag only behind the last slash; before it, it is a port.
    let name_end = rest.rfind('/').map_or(0, |slash| slash + 1);
    let (name, tag) = match rest[name_end..].find(':') {
        Some(colon) => (
            &rest[..name_end + colon],
            Some(&rest[name_end + colon + 1..]),
        ),
        None => (rest, None),
    };
    if let Some(tag) = tag
        && !is_tag(tag)
    {
        return Err(
            "a tag is at most 128 letters, digits, '_', '.' and '-', and does not begin with '.' or '-'",
        );
    }
    let (registry, repository, short) = match name.split_once('/') {
        Some((host, path)) if is_host(host) => (host, path.to_owned(), false),
        Some(_) => (DOCKER_HUB, name.to_owned(), true),
        None => (DOCKER_HUB, format!("library/{name}"), true),
    };
    let (registry, repository) = match registry {
        "index.docker.io" | "docker.io" if !repository.contains('/') => {
            (DOCKER_HUB, format!("library/{repository}"))
        }
        "index.docker.io" => (DOCKER_HUB, repository),
        _ => (registry, repository),
    };
    check_registry(registry)?;
    check_repository(name, &repository)?;
    let tag = match (tag, &digest) {
        (Some(tag), _) => Some(tag.to_owned()),
        (None, None) => Some("latest".to_owned()),
        (None, Some(_)) => None,
    };
    Ok(Reference {
        registry: registry.to_owned(),
        repository,
        tag,
        digest,
        typed: Typed { short },
    })
}

/// Docker's rule: the first component is a host if it could not be a plain name.
fn is_host(component: &str) -> bool {
    component == "localhost"
        || component.contains(['.', ':'])
        || component.bytes().any(|byte| byte.is_ascii_uppercase())
}

fn check_registry(registry: &str) -> Result<(), &'static str> {
    let (host, port) = if let Some(bracketed) = registry.strip_prefix('[') {
        let (address, port) = bracketed
            .split_once(']')
            .ok_or("the IPv6 address has no ']'")?;
        if address.parse::<std::net::Ipv6Addr>().is_err() {
            return Err("the registry is not an IPv6 address");
        }
        (
            "ipv6",
            port.strip_prefix(':')
                .or(if port.is_empty() { None } else { Some("x") }),
        )
    } else {
        registry
            .split_once(':')
            .map_or((registry, None), |(host, port)| (host, Some(port)))
    };
    let label = |label: &str| {
        !label.is_empty()
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    if host.len() > 253 || !host.split('.').all(label) {
        return Err("the registry is not a host name");
    }
    match port {
        Some(port)
            if port.is_empty()
                || !port.bytes().all(|byte| byte.is_ascii_digit())
                || port.parse::<u16>().is_err() =>
        {
            Err("the registry's port is not a number up to 65535")
        }
        _ => Ok(()),
    }
}

fn check_repository(typed: &str, repository: &str) -> Result<(), &'static str> {
    if repository.bytes().any(|byte| byte.is_ascii_uppercase()) {
        return Err("repository names are lower case");
    }
    if repository.len() > 255 {
        return Err("the name is longer than 255 characters");
    }
    // Such a name could not be told from an image ID.
    if is_hex_id(typed) {
        return Err("a name cannot be 64 hexadecimal digits");
    }
    if repository.split('/').all(is_path_component) {
        Ok(())
    } else {
        Err(
            "a name consists of lower-case letters and digits, separated by '/', '.', '_', '__' or dashes",
        )
    }
}

fn is_hex_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*`
fn is_path_component(component: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !alphanumeric(first) || !alphanumeric(last) {
        return false;
    }
    bytes.split(alphanumeric).all(|separator| {
        matches!(separator, b"" | b"." | b"_" | b"__") || separator.iter().all(|&b| b == b'-')
    })
}

fn is_tag(tag: &str) -> bool {
    let word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    tag.len() <= 128
        && tag.bytes().next().is_some_and(word)
        && tag
            .bytes()
            .all(|byte| word(byte) || byte == b'.' || byte == b'-')
}

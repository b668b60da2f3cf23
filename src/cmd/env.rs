//! The only reader of environment variables.

use std::{env, path::PathBuf};

/// A variable that is set, not empty and valid UTF-8.
fn text(name: &str) -> Option<String> {
    env::var(name).ok().filter(|value| !value.is_empty())
}

fn path(name: &str) -> Option<PathBuf> {
    env::var_os(name)
        .filter(|value| !value.is_empty())
        .map(PathBuf::from)
}

/// An absolute path: the XDG base directory specification wants others ignored.
fn xdg(name: &str) -> Option<PathBuf> {
    path(name).filter(|path| path.is_absolute())
}

/// A variable the user copies into a container with `-e NAME`; it may be empty.
pub fn forwarded(name: &str) -> Option<String> {
    env::var(name).ok()
}

/// `CORACLE_` settings, before the configuration file and after flags.
pub fn setting(name: &str) -> Option<String> {
    text(&format!("CORACLE_{name}"))
}

/// <https://no-color.org>
pub fn no_color() -> bool {
    path("NO_COLOR").is_some() || text("TERM").is_some_and(|term| term == "dumb")
}

/// Whether the terminal can do no more than print line after line.
pub fn dumb_terminal() -> bool {
    text("TERM").is_none_or(|term| term == "dumb")
}

pub fn home() -> Option<PathBuf> {
    path("HOME")
}

pub fn xdg_config_home() -> Option<PathBuf> {
    xdg("XDG_CONFIG_HOME")
}

pub fn xdg_data_home() -> Option<PathBuf> {
    xdg("XDG_DATA_HOME")
}

pub fn xdg_runtime_dir() -> Option<PathBuf> {
    xdg("XDG_RUNTIME_DIR")
}

/// Where a shell looks for programs.
pub fn search_path() -> Vec<PathBuf> {
    path("PATH").map_or(Vec::new(), |all| env::split_paths(&all).collect())
}

/// Docker's and podman's ways to name the file with registry credentials.
pub fn auth_files() -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = path("REGISTRY_AUTH_FILE").into_iter().collect();
    files.extend(docker_config().map(|folder| folder.join("config.json")));
    files
}

/// The folder of Docker's `config.json`.
pub fn docker_config() -> Option<PathBuf> {
    path("DOCKER_CONFIG")
}

/// podman's ways to name containers.conf, and a file that outweighs all others.
pub fn containers_conf() -> Option<PathBuf> {
    path("CONTAINERS_CONF")
}

pub fn containers_conf_override() -> Option<PathBuf> {
    path("CONTAINERS_CONF_OVERRIDE")
}

/// podman's ways to name registries.conf and the folder with additions to it.
pub fn registries_conf() -> Option<PathBuf> {
    path("CONTAINERS_REGISTRIES_CONF").or_else(|| path("REGISTRIES_CONFIG_PATH"))
}

pub fn registries_conf_dir() -> Option<PathBuf> {
    path("CONTAINERS_REGISTRIES_CONF_DIR")
}

/// How builds show what they do, as docker's `--progress`.
pub fn build_progress() -> Option<String> {
    text("BUILDKIT_PROGRESS")
}

/// <https://reproducible-builds.org/specs/source-date-epoch>
pub fn source_date_epoch() -> Option<String> {
    text("SOURCE_DATE_EPOCH")
}

/// The socket of the user's ssh-agent(1).
pub fn ssh_agent() -> Option<PathBuf> {
    path("SSH_AUTH_SOCK")
}

/// The builder that buildx would take.
pub fn builder() -> Option<String> {
    text("BUILDX_BUILDER").filter(|name| !name.is_empty())
}

/// Whether Docker's client would ask for Notary's signatures.
pub fn content_trust() -> bool {
    text("DOCKER_CONTENT_TRUST")
        .is_some_and(|value| matches!(value.as_str(), "1" | "t" | "T" | "true" | "TRUE" | "True"))
}

/// Which daemon Docker's client would talk to, and by which of its contexts.
pub fn docker_host() -> Option<String> {
    text("DOCKER_HOST")
}

pub fn docker_context() -> Option<String> {
    text("DOCKER_CONTEXT")
}

pub fn default_platform() -> Option<String> {
    text("DOCKER_DEFAULT_PLATFORM")
}

/// A bundle of certificate authorities, as OpenSSL's programs take it.
pub fn ca_file() -> Option<PathBuf> {
    path("SSL_CERT_FILE")
}

/// Folders of certificate authorities, likewise.
pub fn ca_dirs() -> Vec<PathBuf> {
    path("SSL_CERT_DIR").map_or(Vec::new(), |dirs| env::split_paths(&dirs).collect())
}

/// `http_proxy` in either case. The upper-case form of this one is refused in CGI programs; here
/// it is what Docker reads.
pub fn http_proxy() -> Option<String> {
    text("http_proxy").or_else(|| text("HTTP_PROXY"))
}

pub fn https_proxy() -> Option<String> {
    text("https_proxy").or_else(|| text("HTTPS_PROXY"))
}

pub fn no_proxy() -> Option<String> {
    text("no_proxy").or_else(|| text("NO_PROXY"))
}

/// Everything, for `--env-host`. What is not UTF-8 stays here.
pub fn all() -> Vec<String> {
    let variables = env::vars_os().filter_map(|(name, value)| {
        let (name, value) = (name.into_string().ok()?, value.into_string().ok()?);
        // A name is never empty in a shell; execve(2) lets anything through.
        (!name.is_empty()).then(|| format!("{name}={value}"))
    });
    variables.collect()
}

/// The variables by which programs are told of proxies, in either case, for `--http-proxy`.
pub fn proxies() -> Vec<String> {
    let names = [
        "http_proxy",
        "https_proxy",
        "ftp_proxy",
        "no_proxy",
        "all_proxy",
    ];
    let both = names
        .iter()
        .flat_map(|name| [(*name).to_owned(), name.to_ascii_uppercase()]);
    both.filter_map(|name| env::var(&name).ok().map(|value| format!("{name}={value}")))
        .collect()
}

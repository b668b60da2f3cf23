//! What the user says about registries: which to trust, as whom, through which proxy.

use std::{fmt, path::PathBuf, time::Duration};

/// How to talk to registries, as flags, environment and configuration say.
#[derive(Clone, Default)]
pub struct RegistryOptions {
    /// `--tls-verify`: `Some(false)` also allows plain http; `None` verifies, and allows plain http
    /// for loopback addresses as Docker does.
    pub tls_verify: Option<bool>,
    /// `--creds user:password`.
    pub credentials: Option<(String, String)>,
    /// `--authfile`, and the default places to look for one, first match wins.
    pub auth_files: Vec<PathBuf>,
    /// Also `/run/containers/UID/auth.json`, podman's place where there is no `XDG_RUNTIME_DIR`.
    pub run_auth_file: bool,
    /// Where a login is written.
    pub login_places: LoginPlaces,
    /// Where registries.conf and its additions may be; read when a registry is asked.
    pub registries: RegistriesFiles,
    /// Folders like `/etc/docker/certs.d`, holding `HOST[:PORT]/ca.crt`, `client.cert`, `client.key`.
    pub certs_dirs: Vec<PathBuf>,
    /// `SSL_CERT_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `SSL_CERT_DIR`: folders with further certificates.
    pub ca_dirs: Vec<PathBuf>,
    /// `http_proxy`, `https_proxy`, `no_proxy` as the environment gives them.
    pub http_proxy: Option<String>,
    pub https_proxy: Option<String>,
    pub no_proxy: Option<String>,
    /// `--retry`: attempts after the first one.
    pub retries: Option<u32>,
    /// `--retry-delay`: the pause before each of them, instead of one that doubles.
    pub retry_delay: Option<Duration>,
    /// Which images may be used.
    pub trust: TrustFiles,
}

/// Where the rules on signatures are.
#[derive(Clone, Debug, Default)]
pub struct TrustFiles {
    /// `--signature-policy`: instead of the others, and it must be there.
    pub named_policy: Option<PathBuf>,
    /// containers-policy.json(5): the first that is there counts. If none is, all images may be used.
    pub policies: Vec<PathBuf>,
    /// containers-registries.d(5): the first folder that is there counts.
    pub registries_dirs: Vec<PathBuf>,
}

/// Where a login may be written, apart from the auth files that have one already.
#[derive(Clone, Debug, Default)]
pub struct LoginPlaces {
    /// The file that flags, environment or configuration name: no other is written.
    pub named: Option<PathBuf>,
    /// The named file has Docker's form; otherwise its name says so, `config.json`.
    pub is_dockers: bool,
    /// Docker's own file, taken if it exists.
    pub docker: Option<PathBuf>,
    /// Podman's; absent for `/run/containers/UID/auth.json`.
    pub podman: Option<PathBuf>,
}

/// The files of containers-registries.conf(5).
#[derive(Clone, Debug, Default)]
pub struct RegistriesFiles {
    /// `CONTAINERS_REGISTRIES_CONF`: must exist.
    pub named: Option<PathBuf>,
    /// Otherwise the first of these that exists.
    pub usual: Vec<PathBuf>,
    /// Folders with further `*.conf`, each in the order of the names.
    pub additions: Vec<PathBuf>,
}

/// Passwords (also those inside a proxy's URL) stay out of every log.
impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("tls_verify", &self.tls_verify)
            .field("credentials", &self.credentials.is_some())
            .field("auth_files", &self.auth_files)
            .field("login_places", &self.login_places)
            .field("registries", &self.registries)
            .field("certs_dirs", &self.certs_dirs)
            .field("ca_file", &self.ca_file)
            .field("ca_dirs", &self.ca_dirs)
            .field("http_proxy", &self.http_proxy.is_some())
            .field("https_proxy", &self.https_proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .field("retries", &self.retries)
            .field("retry_delay", &self.retry_delay)
            .field("trust", &self.trust)
            .finish()
    }
}

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
    /// Folders like `/etc/docker/certs.d`, holding `HOST[:PORT]/ca.crt`, `client.cert`, `client.key`.
    pub certs_dirs: Vec<PathBuf>,
    /// `SSL_CERT_FILE`.
    pub ca_file: Option<PathBuf>,
    /// `http_proxy`, `https_proxy`, `no_proxy` as the environment gives them.
    pub http_proxy: Option<String>,
    pub https_proxy: Option<String>,
    pub no_proxy: Option<String>,
    /// `--retry`: attempts after the first one.
    pub retries: Option<u32>,
    /// `--retry-delay`: the pause before each of them, instead of one that doubles.
    pub retry_delay: Option<Duration>,
}

/// Passwords (also those inside a proxy's URL) stay out of every log.
impl fmt::Debug for RegistryOptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RegistryOptions")
            .field("tls_verify", &self.tls_verify)
            .field("credentials", &self.credentials.is_some())
            .field("auth_files", &self.auth_files)
            .field("certs_dirs", &self.certs_dirs)
            .field("ca_file", &self.ca_file)
            .field("http_proxy", &self.http_proxy.is_some())
            .field("https_proxy", &self.https_proxy.is_some())
            .field("no_proxy", &self.no_proxy)
            .field("retries", &self.retries)
            .field("retry_delay", &self.retry_delay)
            .finish()
    }
}

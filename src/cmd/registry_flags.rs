//! Flags of every command that may talk to a registry; the names are podman's.

use std::path::PathBuf;

use clap::Args;

use super::Session;
use crate::{
    engine::RegistryOptions,
    model::{Error, Result, human},
};

#[derive(Args)]
pub struct RegistryFlags {
    /// File with registry credentials
    #[arg(long, value_name = "string")]
    authfile: Option<PathBuf>,
    /// Folder with a registry's ca.crt, client.cert and client.key
    #[arg(long, value_name = "path")]
    cert_dir: Option<PathBuf>,
    /// Credentials for the registry, USER:PASSWORD
    #[arg(long, value_name = "string")]
    creds: Option<String>,
    /// Attempts after one that failed
    #[arg(long, value_name = "uint")]
    retry: Option<u32>,
    /// Pause before each of them, as 2s (default: 0.5s, doubled each time)
    #[arg(long, value_name = "string")]
    retry_delay: Option<String>,
    /// Rules on which images may be used, instead of the usual file
    #[arg(long, value_name = "path", hide = true)]
    signature_policy: Option<PathBuf>,
    /// Demand https and a known certificate
    #[arg(long, value_name = "bool", num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    tls_verify: Option<bool>,
}

impl RegistryFlags {
    pub fn options(&self, session: &Session) -> Result<RegistryOptions> {
        let mut options = session.settings.registry_options();
        if self.signature_policy.is_some() {
            options.trust.named_policy = self.signature_policy.clone();
        }
        options.tls_verify = self.tls_verify.or(options.tls_verify);
        options.retries = self.retry;
        options.retry_delay = self
            .retry_delay
            .as_deref()
            .map(human::parse_duration)
            .transpose()?;
        if let Some(file) = &self.authfile {
            options.auth_files = vec![file.clone()];
            options.run_auth_file = false;
            options.login_places.named = Some(file.clone());
        }
        if let Some(folder) = &self.cert_dir {
            options.certs_dirs.insert(0, folder.clone());
        }
        if let Some(text) = &self.creds {
            let (user, password) = text
                .split_once(':')
                .ok_or_else(|| Error::invalid("invalid --creds: expected USER:PASSWORD"))?;
            options.credentials = Some((user.to_owned(), password.to_owned()));
        }
        Ok(options)
    }
}

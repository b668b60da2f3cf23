//! Secrets as a skin sees them: made, listed, shown, removed. A value leaves the store into a
//! container, or by `inspect --showsecret`, and by nothing else.

use super::{Engine, supervisor};
use crate::model::{
    Context, ErrorKind, Result,
    secret::{SecretRecord, check_name},
};

pub use crate::model::secret::SecretBytes;

/// What is asked for by `secret create`.
#[derive(Clone, Debug)]
pub struct NewSecret {
    pub name: String,
    pub data: SecretBytes,
    pub labels: std::collections::BTreeMap<String, String>,
    pub driver_options: std::collections::BTreeMap<String, String>,
    /// One of that name gives way.
    pub replace: bool,
}

impl Engine {
    /// Keeps a secret; its ID.
    pub fn create_secret(&self, new: NewSecret) -> Result<String> {
        check_name(&new.name)?;
        let now = supervisor::now();
        let id = random_id()?;
        let record = SecretRecord {
            id: id.clone(),
            name: new.name,
            created: now.clone(),
            updated: now,
            labels: new.labels,
            driver_options: new.driver_options,
            data: new.data,
        };
        self.store.put_secret(record, new.replace)?;
        Ok(id)
    }

    pub fn secrets(&self) -> Result<Vec<SecretRecord>> {
        self.store.secrets()
    }

    /// By name, ID or the beginning of one.
    pub fn secret(&self, name: &str) -> Result<SecretRecord> {
        self.store.resolve_secret(name)
    }

    /// Removes a secret; its ID.
    pub fn remove_secret(&self, name: &str) -> Result<String> {
        Ok(self.store.remove_secret(name)?.id)
    }
}

/// As long as Podman's.
fn random_id() -> Result<String> {
    let mut bytes = [0_u8; 13];
    let what = || "cannot get random bytes".to_owned();
    rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::empty())
        .context(ErrorKind::System, what)?;
    let mut id: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    id.truncate(25);
    Ok(id)
}

//! What is looked up of this machine and the store for a request: users of the host, time zones,
//! secrets. Files only, never the C library's name services.

use std::fs;

use super::{Engine, devices, plan::Found};
use crate::model::{
    ContainerSpec, Context, Error, ErrorKind, Result,
    account::{AccountSpec, UserEntry, check_time_zone, group_name, host_user},
};

const ZONES: &str = "/usr/share/zoneinfo";
/// No time zone is larger.
const MAX_ZONE: usize = 1 << 20;

impl Engine {
    /// Everything that a request names. Costs nothing where nothing is named.
    pub(super) fn find(&self, spec: &ContainerSpec) -> Result<Found> {
        let mut found = Found::default();
        devices::find(spec, &mut found)?;
        found.host_users = host_users(&spec.account)?;
        if let Some(zone) = &spec.account.time_zone {
            found.local_time = Some(time_zone(zone)?);
        }
        for wanted in &spec.account.secrets {
            let record = self.store.resolve_secret(&wanted.secret)?;
            found.secrets.push((wanted.way.clone(), record.data));
        }
        found
            .secrets
            .extend(spec.account.given_secrets.iter().cloned());
        Ok(found)
    }
}

fn host_users(account: &AccountSpec) -> Result<Vec<(UserEntry, Option<String>)>> {
    if account.host_users.is_empty() {
        return Ok(Vec::new());
    }
    let read = |path: &str| fs::read(path).system(|| format!("cannot read {path}"));
    let (passwd, group) = (read("/etc/passwd")?, read("/etc/group")?);
    let find = |wanted: &String| {
        let user = host_user(&passwd, wanted).ok_or_else(|| {
            Error::invalid(format!("--hostuser {wanted}: /etc/passwd has no such user"))
        })?;
        let name = group_name(&group, user.gid);
        Ok((user, name))
    };
    account.host_users.iter().map(find).collect()
}

fn time_zone(name: &str) -> Result<Vec<u8>> {
    let path = if name == "local" {
        "/etc/localtime".to_owned()
    } else {
        check_time_zone(name)?;
        format!("{ZONES}/{name}")
    };
    let bytes = fs::read(&path).context(ErrorKind::InvalidArgument, || {
        format!("cannot find time zone {name:?}: cannot read {path}")
    })?;
    // tzfile(5)
    if bytes.starts_with(b"TZif") && bytes.len() <= MAX_ZONE {
        Ok(bytes)
    } else {
        Err(Error::invalid(format!("{path} is no time zone")))
    }
}

//! What is written into the container's own files: users, groups, the time zone, secrets.

use super::{ContainerFiles, MountStep, mounts::check_target};
use serde::{Deserialize, Serialize};

use crate::model::{
    ContainerSpec, Result,
    account::{Line, UserEntry, group_line, numbered_user},
    cdi,
    device::DeviceNode,
    secret::{SecretBytes, SecretWay},
};

/// What a request names and had to be looked up: on the host, or in the store.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    pub devices: Vec<DeviceNode>,
    /// What devices need, by their CDI specifications.
    pub edits: cdi::Edits,
    /// With the names of their groups.
    pub host_users: Vec<(UserEntry, Option<String>)>,
    /// tzfile(5)
    pub local_time: Option<Vec<u8>>,
    pub secrets: Vec<(SecretWay, SecretBytes)>,
}

/// What is written into the root file system before anything is mounted in it. A line is written
/// only where its file has neither its name nor its number.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AccountPlan {
    /// For passwd(5).
    pub users: Vec<Line>,
    /// For group(5).
    pub groups: Vec<Line>,
    /// The content of /etc/localtime, tzfile(5).
    pub local_time: Option<Vec<u8>>,
}

/// Values that only the container may see. They are not part of [`ProcessPlan`], which is stored.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SecretPlan {
    pub files: Vec<SecretFile>,
    /// Names of variables of the first process, and their values.
    pub variables: Vec<(String, SecretBytes)>,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SecretFile {
    pub target: String,
    pub uid: u32,
    pub gid: u32,
    /// Permission bits.
    pub mode: u32,
    pub data: SecretBytes,
}

/// The lines for passwd and group, and the time zone.
pub(super) fn plan(
    spec: &ContainerSpec,
    user: &str,
    working_directory: &str,
    files: &ContainerFiles,
) -> Result<AccountPlan> {
    let account = &spec.account;
    let mut plan = AccountPlan {
        local_time: files.found.local_time.clone(),
        ..AccountPlan::default()
    };
    for (user, group) in &files.found.host_users {
        plan.users.push(user.line(None)?);
        let group = group.as_deref().unwrap_or(&user.name);
        plan.groups.push(group_line(group, user.gid, "", None)?);
    }
    if account.passwd
        && let Some(user) = numbered_user(user, working_directory)?
    {
        let (user, group) = lines_of(spec, &user)?;
        plan.users.push(user);
        plan.groups.push(group);
    }
    Ok(plan)
}

/// The lines of a user in passwd and group, by the request's templates.
pub fn lines_of(spec: &ContainerSpec, user: &UserEntry) -> Result<(Line, Line)> {
    let account = &spec.account;
    let line = user.line(account.passwd_entry.as_deref())?;
    let group = account.group_entry.as_deref();
    let group = group_line(&user.gid.to_string(), user.gid, &user.name, group)?;
    Ok((line, group))
}

/// Values of secrets, apart from everything that is stored or shown.
pub(super) fn secrets(files: &ContainerFiles) -> Result<SecretPlan> {
    let mut plan = SecretPlan::default();
    for (way, data) in &files.found.secrets {
        match way {
            SecretWay::Variable(name) => plan.variables.push((name.clone(), data.clone())),
            SecretWay::File {
                target,
                uid,
                gid,
                mode,
            } => plan.files.push(SecretFile {
                target: check_target(target)?,
                uid: *uid,
                gid: *gid,
                mode: *mode,
                data: data.clone(),
            }),
        }
    }
    Ok(plan)
}

/// Secrets come last: over whatever the user mounted on /run.
pub(super) fn steps(files: &ContainerFiles) -> Vec<MountStep> {
    let is_file = |way: &SecretWay| matches!(way, SecretWay::File { .. });
    let any = files.found.secrets.iter().any(|(way, _)| is_file(way));
    any.then_some(MountStep::Secrets).into_iter().collect()
}

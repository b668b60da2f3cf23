//! Hooks that come with devices.

use std::path::PathBuf;

use super::ContainerFiles;
use crate::model::{
    Error, ErrorKind, Result, cdi,
    container::ContainerRecord,
    hook::{Hook, HookPlan, Hooks},
};

/// What the CDI specifications of the container's devices want to be run; `None` is the rule.
pub(super) fn plan(
    record: &ContainerRecord,
    files: &ContainerFiles,
    of_devices: &[cdi::Hook],
) -> Result<Option<Box<HookPlan>>> {
    if of_devices.is_empty() {
        return Ok(None);
    }
    let mut hooks = Hooks::default();
    for hook in of_devices {
        hooks
            .at(&hook.hook_name)
            .ok_or_else(|| refused(hook, "its moment is not known"))?
            .push(translate(hook)?);
    }
    Ok(Some(Box::new(HookPlan {
        id: record.id.to_string(),
        bundle: files.directory.clone(),
        annotations: record.spec.annotations.clone(),
        hooks,
    })))
}

fn translate(hook: &cdi::Hook) -> Result<Hook> {
    if !hook.path.starts_with('/') {
        return Err(refused(hook, "its path is not absolute"));
    }
    let timeout = hook.timeout.map(u32::try_from).transpose();
    let timeout = timeout.map_err(|_| refused(hook, "its timeout is not a number of seconds"))?;
    Ok(Hook {
        path: PathBuf::from(&hook.path),
        args: hook.args.clone(),
        env: hook.env.clone(),
        timeout: timeout.filter(|&seconds| seconds > 0),
    })
}

fn refused(hook: &cdi::Hook, why: &str) -> Error {
    Error::new(
        ErrorKind::Unsupported,
        format!(
            "CDI device injection failed: {} hook {:?}: {why}",
            hook.hook_name, hook.path
        ),
    )
}

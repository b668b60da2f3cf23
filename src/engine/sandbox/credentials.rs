//! Who the program is and what it may do: looked up once in the container's own files, then taken
//! on in one fixed order and read back.

use std::os::fd::BorrowedFd;

use super::seccomp;
use crate::{
    engine::plan::{FilterPlan, ProcessPlan},
    model::{
        Context, Error, ErrorKind, Result,
        host::IdRange,
        user::{MAX_FILE, UserSpec},
        user_namespace::{IdMaps, lines},
    },
    sys::{
        in_root,
        process::{self, Credentials},
    },
};

/// The outcome of looking up a plan's user.
#[derive(Debug)]
pub(super) struct Identity {
    pub credentials: Credentials,
    /// The plan's environment with `HOME`.
    pub environment: Vec<String>,
}

/// Finds the plan's user in the container's passwd(5) and group(5).
pub(super) fn look_up(plan: &ProcessPlan, root: BorrowedFd<'_>) -> Result<Identity> {
    let user: UserSpec = plan.user.parse()?;
    let identity = user.resolve(
        &read_file(root, c"/etc/passwd")?,
        &read_file(root, c"/etc/group")?,
    )?;
    let mut environment = plan.environment.clone();
    if !environment
        .iter()
        .any(|variable| variable.starts_with("HOME="))
    {
        let home = identity
            .home
            .as_deref()
            .filter(|home| !home.is_empty())
            .unwrap_or("/");
        environment.push(format!("HOME={home}"));
    }
    let groups = plan.set_groups.then_some(identity.groups);
    if !plan.set_groups && (identity.uid, identity.gid) != (0, 0) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!(
                "cannot run as user {:?}: only user 0 exists without a range of subordinate ids",
                plan.user
            ),
        )
        .with_hint("`coracle doctor` says how to get one"));
    }
    if let Some(ids) = &plan.ids {
        check_ids(
            ids,
            identity.uid,
            identity.gid,
            groups.as_deref(),
            &plan.user,
        )?;
    }
    Ok(Identity {
        credentials: Credentials {
            uid: identity.uid,
            gid: identity.gid,
            groups,
        },
        environment,
    })
}

/// The kernel would say EINVAL.
fn check_ids(ids: &IdMaps, uid: u32, gid: u32, groups: Option<&[u32]>, user: &str) -> Result<()> {
    let missing = |kind: &str, id: u32, map: &[IdRange]| {
        Error::new(
            ErrorKind::Unsupported,
            format!("cannot run as user {user:?}: {kind} id {id} is not mapped (container, outside, count: {})", lines(map, ' ').join(", ")),
        )
        .with_hint("ask for more ids: --userns auto:size=N or keep-id, or another --uidmap and --gidmap")
    };
    if ids.outside_uid(uid).is_none() {
        return Err(missing("user", uid, &ids.uids));
    }
    let mut all = std::iter::once(&gid).chain(groups.unwrap_or_default());
    match all.find(|group| ids.outside_gid(**group).is_none()) {
        Some(group) => Err(missing("group", *group, &ids.gids)),
        None => Ok(()),
    }
}

/// A small file of the container. What is not a regular file counts as absent, and opening never
/// waits: a FIFO or an endless device must not hang us (CVE-2024-9676).
fn read_file(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let what = || format!("cannot read the container's {}", path.to_string_lossy());
    in_root::read_regular(root, path, MAX_FILE + 1).system(what)
}

/// Gives up every right that the plan does not leave: bounding set, system calls, groups, ids,
/// capabilities. The filter comes before the ids because loading it without no_new_privs needs
/// CAP_SYS_ADMIN; it lets the remaining calls through.
pub(super) fn confine(plan: &ProcessPlan, identity: &Identity) -> Result<()> {
    process::limit_bounding_set(plan.capabilities)
        .system(|| "cannot limit the capabilities".to_owned())?;
    let credentials = &identity.credentials;
    match plan.filter {
        FilterPlan::Default => seccomp::load_default()?,
    }
    process::set_credentials(credentials)
        .system(|| format!("cannot become user {}:{}", credentials.uid, credentials.gid))?;
    let permitted = if credentials.uid == 0 {
        plan.capabilities
    } else {
        0
    };
    process::set_capabilities(permitted).system(|| "cannot give up capabilities".to_owned())?;
    let sets =
        process::capability_sets().system(|| "cannot read the capabilities back".to_owned())?;
    if sets == [permitted, permitted, 0] {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::System,
            format!("the capabilities came out as {sets:x?} instead of {permitted:#x}"),
        ))
    }
}

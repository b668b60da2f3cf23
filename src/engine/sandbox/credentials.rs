//! Who the program is and what it may do: looked up once in the container's own files, then taken
//! on in one fixed order and read back.

use std::os::fd::BorrowedFd;

use super::{outside::Outside, seccomp};
use crate::{
    engine::plan::ProcessPlan,
    model::{
        Context, Error, ErrorKind, Result,
        host::IdRange,
        namespace::Personality,
        security::{Resource, Ulimit, show_limit},
        user::{MAX_FILE, UserSpec, add_groups},
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
    let group_file = read_file(root, c"/etc/group")?;
    let mut identity = user.resolve(&read_file(root, c"/etc/passwd")?, &group_file)?;
    add_groups(
        &mut identity.groups,
        &plan.rights.additional_groups,
        &group_file,
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
    let groups = (plan.set_groups && !plan.rights.keep_groups).then_some(identity.groups);
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
pub(super) fn read_file(root: BorrowedFd<'_>, path: &std::ffi::CStr) -> Result<Vec<u8>> {
    let what = || format!("cannot read the container's {}", path.to_string_lossy());
    in_root::read_regular(root, path, MAX_FILE + 1).system(what)
}

/// Gives up every right that the plan does not leave: limits, bounding set, system calls, groups, ids,
/// capabilities. The filter comes before the ids because loading it without no_new_privs needs
/// CAP_SYS_ADMIN; with it, it comes last, as it may refuse what is done here.
pub(super) fn confine(plan: &ProcessPlan, identity: &Identity, outside: &Outside) -> Result<()> {
    if confine_but_filter(plan, identity, outside)? {
        confine_calls(plan, outside)?;
    }
    Ok(())
}

/// The system calls, with no_new_privs.
pub(super) fn confine_calls(plan: &ProcessPlan, outside: &Outside) -> Result<()> {
    seccomp::load_filter(&plan.filter, outside)
}

/// [`confine`] up to a filter that can come last; says whether one is left.
pub(super) fn confine_but_filter(
    plan: &ProcessPlan,
    identity: &Identity,
    outside: &Outside,
) -> Result<bool> {
    if let Some(personality) = plan.personality {
        let domain = match personality {
            Personality::Linux => 0,
            Personality::Linux32 => 8,
        };
        process::set_personality(domain).system(|| "cannot set the personality".to_owned())?;
    }
    let rights = &plan.rights;
    rights.limits.iter().try_for_each(limit)?;
    process::limit_bounding_set(plan.capabilities)
        .system(|| "cannot limit the capabilities".to_owned())?;
    let credentials = &identity.credentials;
    if rights.no_new_privileges {
        rustix::thread::set_no_new_privs(true)
            .system(|| "cannot rule out new privileges".to_owned())?;
    } else {
        seccomp::load_filter(&plan.filter, outside)?;
    }
    process::set_credentials(credentials)
        .system(|| format!("cannot become user {}:{}", credentials.uid, credentials.gid))?;
    let (permitted, ambient) = if credentials.uid == 0 {
        (plan.capabilities, 0)
    } else {
        (rights.ambient, rights.ambient)
    };
    set_capabilities(permitted, ambient)?;
    Ok(rights.no_new_privileges)
}

/// Sets the four sets and reads them back.
fn set_capabilities(permitted: u64, ambient: u64) -> Result<()> {
    process::set_capabilities(permitted, ambient)
        .system(|| "cannot give up capabilities".to_owned())?;
    let what = || "cannot read the capabilities back".to_owned();
    let sets = process::capability_sets().system(what)?;
    // The kernel keeps ambient within inheritable: where that is empty there is nothing to read.
    let raised = if ambient == 0 {
        0
    } else {
        process::ambient_capabilities().system(what)?
    };
    if sets == [permitted, permitted, ambient] && raised == ambient {
        Ok(())
    } else {
        Err(Error::new(
            ErrorKind::System,
            format!(
                "the capabilities came out as {sets:x?} and {raised:#x} instead of {permitted:#x} and {ambient:#x}"
            ),
        ))
    }
}

/// Sets a limit of this process and all that come from it, setrlimit(2).
fn limit(limit: &Ulimit) -> Result<()> {
    let resource = kernel_resource(limit.resource);
    let wanted = rustix::process::Rlimit {
        current: limit.soft,
        maximum: limit.hard,
    };
    rustix::process::setrlimit(resource, wanted).map_err(|errno| {
        let name = limit.resource.name();
        let allowed = rustix::process::getrlimit(resource).maximum;
        let (wanted, allowed) = (show_limit(limit.hard), show_limit(allowed));
        if errno == rustix::io::Errno::PERM {
            Error::new(
                ErrorKind::Unsupported,
                format!(
                    "cannot limit {name} to {wanted}: the caller's own hard limit is {allowed}"
                ),
            )
        } else {
            Error::new(
                ErrorKind::System,
                format!("cannot limit {name} to {wanted}"),
            )
            .with_source(errno)
        }
    })
}

fn kernel_resource(resource: Resource) -> rustix::process::Resource {
    use rustix::process::Resource as Kernel;
    match resource {
        Resource::As => Kernel::As,
        Resource::Core => Kernel::Core,
        Resource::Cpu => Kernel::Cpu,
        Resource::Data => Kernel::Data,
        Resource::Fsize => Kernel::Fsize,
        Resource::Locks => Kernel::Locks,
        Resource::Memlock => Kernel::Memlock,
        Resource::Msgqueue => Kernel::Msgqueue,
        Resource::Nice => Kernel::Nice,
        Resource::Nofile => Kernel::Nofile,
        Resource::Nproc => Kernel::Nproc,
        Resource::Rss => Kernel::Rss,
        Resource::Rtprio => Kernel::Rtprio,
        Resource::Rttime => Kernel::Rttime,
        Resource::Sigpending => Kernel::Sigpending,
        Resource::Stack => Kernel::Stack,
    }
}

/// The mode bits that new files do not get.
pub(super) fn umask(plan: &ProcessPlan) -> rustix::fs::Mode {
    rustix::fs::Mode::from_raw_mode(plan.rights.umask.unwrap_or(0o022))
}

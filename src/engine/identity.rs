//! Who runs this, and the user namespace in which an ordinary user is root of her own ids.
//!
//! A namespace is made when one is needed and lasts as long as a process is in it. While any
//! supervisor of the user lives, its namespace is joined instead: that saves the two set-user-ID
//! programs that write the id maps (1.2 ms, the dearest step of a rootless start). Otherwise the
//! maps are being written while the command goes on with whatever needs only the user's own files.

use std::{
    cell::RefCell,
    fs,
    os::{fd::OwnedFd, unix::fs::MetadataExt},
    path::Path,
};

use crate::{
    model::{
        Context, Error, ErrorKind, Result, capability,
        host::{HostFacts, IdRange, UserMode, id_map, subordinate_ranges, user_name},
    },
    storage::{Opener, Store},
    sys::{process, user_namespace},
};

/// Left in the run root when the hint has been given.
const HINTED: &str = "hinted";

pub(super) struct User {
    uid: u32,
    mode: UserMode,
    /// Of this process as it was started.
    capabilities: u64,
    initial_namespace: bool,
    namespace: RefCell<Namespace>,
}

enum Namespace {
    /// This process is where it was started.
    Outside,
    /// With it who waits for it to be named, if anybody may.
    Pending(user_namespace::Pending, Option<Naming>),
    Inside,
}

/// The run root and its lock, see [`Store::make_namespace_alone`].
type Naming = (OwnedFd, OwnedFd);

impl User {
    pub(super) fn detect() -> Result<User> {
        let initial_namespace = in_initial_namespace();
        let (uid, gid) = (
            rustix::process::geteuid().as_raw(),
            rustix::process::getegid().as_raw(),
        );
        let capabilities = match uid {
            0 => process::effective_capabilities()
                .system(|| "cannot read the capabilities".to_owned())?,
            _ => 0,
        };
        let mode = match uid {
            0 => mode_of_root(capabilities, gid),
            _ => mode_of_user(uid, gid),
        };
        // After a namespace of our own was entered the answer would be another one.
        let initial_namespace = initial_namespace && mode == UserMode::Root;
        Ok(User {
            uid,
            mode,
            capabilities,
            initial_namespace,
            namespace: RefCell::new(Namespace::Outside),
        })
    }

    pub(super) fn uid(&self) -> u32 {
        self.uid
    }

    /// Whose trees of additional stores may be used in place.
    pub(super) fn opener(&self) -> Opener {
        let has_ids = match &self.mode {
            UserMode::Root => self.initial_namespace,
            UserMode::Rootless { .. } => true,
            UserMode::SingleId { .. } => false,
        };
        Opener {
            uid: self.uid,
            has_ids,
        }
    }

    pub(super) fn mode(&self) -> &UserMode {
        &self.mode
    }

    /// Root of the first user namespace.
    pub(super) fn is_real_root(&self) -> bool {
        self.initial_namespace
    }

    /// What the planner may know of this machine.
    pub(super) fn host_facts(&self) -> Result<HostFacts> {
        let capabilities = match self.mode {
            UserMode::Root => self.capabilities,
            _ => capability::ALL,
        };
        Ok(HostFacts {
            user: self.mode.clone(),
            initial_user_namespace: self.initial_namespace,
            capabilities,
            thermal_folders: thermal_folders(),
            kernel: None,
        })
    }

    /// Whether this process is (about to be) in a user namespace that others of the user may join.
    pub(super) fn has_namespace(&self) -> bool {
        self.mode != UserMode::Root
    }

    /// Whether this process has not entered any yet.
    pub(super) fn may_choose_namespace(&self) -> bool {
        self.has_namespace() && matches!(*self.namespace.borrow(), Namespace::Outside)
    }

    /// Joins a living namespace of the user's or begins a new one; see [`Self::finish_namespace`].
    pub(super) fn begin_namespace(&self, store: &Store) -> Result<()> {
        self.begin(store, None)
    }

    /// The same for a container whose neighbours have to be in the same one: of those that are started
    /// at once one makes it, and the others join it.
    pub(super) fn begin_common_namespace(&self, store: &Store) -> Result<()> {
        let (uids, gids) = match &self.mode {
            UserMode::Root => return Ok(()),
            UserMode::Rootless { uids, gids } => (uids.clone(), gids.clone()),
            UserMode::SingleId { uid, gid, .. } => (id_map(*uid, &[]), id_map(*gid, &[])),
        };
        let (uids, gids) = (kernel_ranges(&uids), kernel_ranges(&gids));
        let mut naming = None;
        if !join_living(store, &uids, &gids) {
            naming = store.make_namespace_alone();
            if naming.is_none() || !join_living(store, &uids, &gids) {
                return self.begin(store, naming);
            }
        }
        *self.namespace.borrow_mut() = Namespace::Inside;
        drop(naming);
        Ok(())
    }

    fn begin(&self, store: &Store, naming: Option<Naming>) -> Result<()> {
        let mut namespace = self.namespace.borrow_mut();
        if !matches!(*namespace, Namespace::Outside) {
            return Ok(());
        }
        *namespace = match &self.mode {
            UserMode::Root => Namespace::Inside,
            UserMode::SingleId { uid, gid, .. } => {
                user_namespace::enter_single_id(*uid, *gid).map_err(namespace_refused)?;
                name(naming)?;
                Namespace::Inside
            }
            UserMode::Rootless { uids, gids } => {
                let (uids, gids) = (kernel_ranges(uids), kernel_ranges(gids));
                if join_living(store, &uids, &gids) {
                    Namespace::Inside
                } else {
                    Namespace::Pending(
                        user_namespace::begin(&uids, &gids).map_err(namespace_refused)?,
                        naming,
                    )
                }
            }
        };
        Ok(())
    }

    /// Joins the user namespace of a container's process: not just any of the user's, for only its
    /// owner may enter the container's other namespaces. Whether it was joined.
    pub(super) fn join_namespace_of(&self, pid: i32) -> Result<bool> {
        let (uids, gids) = match &self.mode {
            UserMode::Root => return Ok(true),
            UserMode::Rootless { uids, gids } => (uids.clone(), gids.clone()),
            UserMode::SingleId { uid, gid, .. } => (id_map(*uid, &[]), id_map(*gid, &[])),
        };
        let joined = user_namespace::join(pid, &kernel_ranges(&uids), &kernel_ranges(&gids))
            .system(|| "cannot join the container's user namespace".to_owned())?;
        if joined {
            *self.namespace.borrow_mut() = Namespace::Inside;
        }
        Ok(joined)
    }

    /// Joins the user namespace that owns a namespace of another kind, which nobody else may enter.
    /// Nothing happens if that is the host's.
    pub(super) fn join_owner_of(&self, namespace: &OwnedFd) -> Result<()> {
        let (uids, gids) = match &self.mode {
            UserMode::Root => return Ok(()),
            UserMode::Rootless { uids, gids } => (uids.clone(), gids.clone()),
            UserMode::SingleId { uid, gid, .. } => (id_map(*uid, &[]), id_map(*gid, &[])),
        };
        let (uids, gids) = (kernel_ranges(&uids), kernel_ranges(&gids));
        match user_namespace::join_owner(namespace, &uids, &gids) {
            Ok(Some(true)) => *self.namespace.borrow_mut() = Namespace::Inside,
            Ok(Some(false)) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    "cannot join a namespace whose owner has other user ids",
                ));
            }
            // Entering it later says why not.
            Ok(None) | Err(_) => {}
        }
        Ok(())
    }

    /// Waits until the ids of a namespace that was begun are mapped.
    pub(super) fn finish_namespace(&self) -> Result<()> {
        let mut namespace = self.namespace.borrow_mut();
        if let Namespace::Pending(pending, naming) =
            std::mem::replace(&mut *namespace, Namespace::Inside)
        {
            pending.finish().map_err(|cause| {
                Error::new(
                    ErrorKind::Unsupported,
                    "cannot map the ranges of /etc/subuid and /etc/subgid",
                )
                .with_source(cause)
                .with_hint("install the package uidmap; `coracle doctor` says more")
            })?;
            name(naming)?;
        }
        Ok(())
    }

    /// Said once a boot: what an ordinary user without subordinate ids is missing.
    pub(super) fn notice(&self, store: &Store) -> Option<String> {
        let UserMode::SingleId { why, .. } = &self.mode else {
            return None;
        };
        let flags =
            rustix::fs::OFlags::CREATE | rustix::fs::OFlags::EXCL | rustix::fs::OFlags::CLOEXEC;
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::openat(
            store.runroot(),
            HINTED,
            flags | rustix::fs::OFlags::WRONLY,
            mode,
        )
        .ok()?;
        Some(format!(
            "{why}: containers have only user 0; `coracle doctor` says how to get more"
        ))
    }
}

/// Outside of any user namespace the map is the whole range onto itself.
fn in_initial_namespace() -> bool {
    let text = process::read_small("/proc/self/uid_map").unwrap_or_default();
    String::from_utf8_lossy(&text)
        .split_ascii_whitespace()
        .eq(["0", "0", "4294967295"])
}

fn mode_of_root(capabilities: u64, gid: u32) -> UserMode {
    const SYS_ADMIN: u64 = 1 << 21;
    if capabilities & SYS_ADMIN != 0 {
        return UserMode::Root;
    }
    let why = "root lacks CAP_SYS_ADMIN here (an outer container)".to_owned();
    UserMode::SingleId { uid: 0, gid, why }
}

fn mode_of_user(uid: u32, gid: u32) -> UserMode {
    let single = |why: &str| UserMode::SingleId {
        uid,
        gid,
        why: why.to_owned(),
    };
    let name = process::read_small("/etc/passwd")
        .ok()
        .and_then(|passwd| user_name(&passwd, uid));
    let ranges = |file: &str| {
        let text = process::read_small(file).unwrap_or_default();
        subordinate_ranges(&text, name.as_deref(), uid)
    };
    let (uids, gids) = (ranges("/etc/subuid"), ranges("/etc/subgid"));
    if uids.is_empty() || gids.is_empty() {
        return single("no ranges in /etc/subuid and /etc/subgid for this user");
    }
    if !is_mapper_installed() {
        return single("newuidmap and newgidmap are not installed");
    }
    UserMode::Rootless {
        uids: id_map(uid, &uids),
        gids: id_map(gid, &gids),
    }
}

fn is_mapper_installed() -> bool {
    [
        "/usr/bin",
        "/bin",
        "/usr/local/bin",
        "/run/wrappers/bin",
        "/usr/sbin",
    ]
    .iter()
    .any(|folder| {
        Path::new(folder)
            .join("newuidmap")
            .metadata()
            .is_ok_and(|file| file.mode() & 0o111 != 0)
    })
}

fn kernel_ranges(ranges: &[IdRange]) -> Vec<user_namespace::IdRange> {
    let convert = |range: &IdRange| user_namespace::IdRange {
        inside: range.inside,
        outside: range.outside,
        count: range.count,
    };
    ranges.iter().map(convert).collect()
}

/// Until the supervisor is named this process is.
fn name(naming: Option<Naming>) -> Result<()> {
    let Some((runroot, _lock)) = naming else {
        return Ok(());
    };
    let own = process::own_host_pid().system(|| "cannot identify this process".to_owned())?;
    Store::name_namespace_holder_in(&runroot, own)
}

/// Joins the namespace of the process that was named last. A stale name costs one failed open.
fn join_living(
    store: &Store,
    uids: &[user_namespace::IdRange],
    gids: &[user_namespace::IdRange],
) -> bool {
    store
        .namespace_holder()
        .is_some_and(|pid| user_namespace::join(pid, uids, gids).unwrap_or(false))
}

fn namespace_refused(cause: std::io::Error) -> Error {
    let hint = match cause.raw_os_error() {
        Some(libc::EPERM | libc::EACCES) => {
            "unprivileged user namespaces are switched off: sudo sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        }
        Some(libc::ENOSPC | libc::EUSERS) => {
            "the limit is reached: sudo sysctl user.max_user_namespaces=28633"
        }
        _ => "`coracle doctor` says what is missing",
    };
    Error::new(ErrorKind::Unsupported, "cannot make a user namespace")
        .with_source(cause)
        .with_hint(hint)
}

/// Looked for on the first processor only where it has none: machines have many.
fn thermal_folders() -> Vec<String> {
    const PROCESSORS: &str = "/sys/devices/system/cpu";
    if rustix::fs::access(
        format!("{PROCESSORS}/cpu0/thermal_throttle"),
        rustix::fs::Access::EXISTS,
    )
    .is_err()
    {
        return Vec::new();
    }
    let Ok(entries) = fs::read_dir(PROCESSORS) else {
        return Vec::new();
    };
    let mut folders: Vec<String> = entries
        .flatten()
        .filter_map(|entry| entry.file_name().into_string().ok())
        .filter(|name| {
            name.strip_prefix("cpu")
                .is_some_and(|number| number.parse::<u32>().is_ok())
        })
        .map(|name| format!("sys/devices/system/cpu/{name}/thermal_throttle"))
        .collect();
    folders.sort();
    folders
}

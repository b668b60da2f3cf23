//! `doctor`: what this machine gives containers, and the command that would make it give more.
//!
//! Whether the kernel allows a thing is asked of the kernel: a forked child tries it and ends, and
//! takes its namespaces and mounts with it. All that is written is a staging folder of the store,
//! which is removed again (by the next sweep if this process is killed). In a process with several
//! threads, which cannot be forked, these checks are unknown.

use std::{
    fs,
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

mod networks;

use super::{Check, Engine, Health, cgroup::Abilities, machine};
use crate::{
    model::{
        Context, Result,
        host::{UserMode, subordinate_ranges, user_name},
    },
    storage::Driver,
    sys::{
        fork::{self, Namespaces},
        mount::{Attributes, Parameter, new_mount},
        process, user_namespace,
    },
};

/// Linux 5.12 brought mount_setattr(2), the last call that nothing replaces.
const OLDEST_KERNEL: (u32, u32) = (5, 12);
/// Linux 6.5 takes layers one by one, so their number is not limited by one page of text.
const GOOD_KERNEL: (u32, u32) = (6, 5);
/// What most images need: ids up to 65535.
const GOOD_RANGE: u64 = 65_536;
/// Where the ranges of ordinary users begin (login.defs(5), SUB_UID_MIN).
const FIRST_RANGE: u64 = 100_000;
/// Where the mapping programs are looked for, as by those who run them.
const MAPPER_FOLDERS: [&str; 5] = [
    "/usr/bin",
    "/bin",
    "/usr/local/bin",
    "/run/wrappers/bin",
    "/usr/sbin",
];

impl Engine {
    /// Looks at everything that containers depend on. Never fails: what cannot be looked at is
    /// [`Health::Unknown`].
    pub fn doctor(&self) -> Vec<Check> {
        let rootless = self.user.has_namespace();
        let mut checks = vec![mode(self.user.mode()), kernel()];
        if rootless {
            checks.extend([
                mapper("newuidmap"),
                mapper("newgidmap"),
                subordinate("/etc/subuid", "user", rustix::process::geteuid().as_raw()),
                subordinate("/etc/subgid", "group", rustix::process::getegid().as_raw()),
                user_namespaces(),
            ]);
        }
        checks.extend([
            self.overlay(),
            self.store_health(),
            self.run_root(),
            control_groups(&self.cgroup_abilities(), rootless),
            seccomp(),
            apparmor(),
            proc_mounts(rootless),
            proc_visibility(),
        ]);
        checks.extend(self.network_checks());
        checks
    }

    /// Tries to mount one on the store's own file system.
    fn overlay(&self) -> Check {
        const NAME: &str = "overlayfs";
        if self.forced_driver == Some(Driver::Copy) {
            return limited(NAME, "not used: the copy driver was asked for")
                .fix("leave out --storage-driver");
        }
        match self.try_overlay() {
            Err(error) => unknown(NAME, error.one_line()),
            Ok(None) => unknown(NAME, NOT_TRIED),
            Ok(Some(Ok(()))) => fine(NAME, "layers can be mounted on the store's file system"),
            Ok(Some(Err(why))) => limited(
                NAME,
                format!("refused on the store's file system, so layers are copied: {why}"),
            )
            .fix("coracle --root FOLDER, with a folder on ext4, xfs or btrfs"),
        }
    }

    fn try_overlay(&self) -> Result<Option<Attempt>> {
        let lease = self.store.lease()?;
        let folder = lease.path();
        for name in ["lower", "upper", "work"] {
            let path = folder.join(name);
            fs::create_dir(&path).system(|| format!("cannot make {}", path.display()))?;
        }
        let rootless = self.user.has_namespace();
        Ok(attempt(|| {
            if rootless {
                enter_namespace()?;
            }
            // Relative names: the store's path may hold what overlayfs takes for a separator.
            rustix::process::chdir(&folder)?;
            let mut parameters = vec![
                Parameter::String(c"lowerdir", c"lower"),
                Parameter::String(c"upperdir", c"upper"),
                Parameter::String(c"workdir", c"work"),
            ];
            if rootless {
                parameters.push(Parameter::Flag(c"userxattr"));
            }
            new_mount(c"overlay", &parameters, Attributes::NONE).map(drop)
        }))
    }

    fn store_health(&self) -> Check {
        const NAME: &str = "store";
        let root = self.store.root_path().display();
        let counted = || -> Result<(usize, usize)> {
            Ok((self.store.images()?.len(), self.store.containers()?.len()))
        };
        match counted() {
            Ok((images, containers)) => fine(
                NAME,
                format!("{root}: format understood, {images} images, {containers} containers"),
            ),
            Err(error) => broken(NAME, format!("{root}: {}", error.one_line())),
        }
    }

    fn run_root(&self) -> Check {
        const NAME: &str = "run root";
        let path = self.store.runroot_path();
        let shown = path.display();
        if let Err(error) = self.store.socket_folder() {
            return broken(NAME, error.one_line()).fix(format!("chmod u+rwx {shown}"));
        }
        if self.user.has_namespace() && path.starts_with("/tmp") {
            let (name, uid) = (own_name(), rustix::process::geteuid().as_raw());
            return limited(
                NAME,
                format!("{shown}: not a folder of the login session, may be swept away"),
            )
            .fix(format!(
                "sudo loginctl enable-linger {name} && export XDG_RUNTIME_DIR=/run/user/{uid}"
            ));
        }
        fine(NAME, shown.to_string())
    }
}

const NOT_TRIED: &str = "not tried: this process has several threads";

fn check(name: &str, health: Health, detail: impl Into<String>) -> Check {
    Check {
        name: name.to_owned(),
        health,
        detail: detail.into(),
        fix: None,
    }
}

fn fine(name: &str, detail: impl Into<String>) -> Check {
    check(name, Health::Fine, detail)
}

fn limited(name: &str, detail: impl Into<String>) -> Check {
    check(name, Health::Limited, detail)
}

fn broken(name: &str, detail: impl Into<String>) -> Check {
    check(name, Health::Broken, detail)
}

fn unknown(name: &str, detail: impl Into<String>) -> Check {
    check(name, Health::Unknown, detail)
}

impl Check {
    #[must_use]
    fn fix(mut self, command: impl Into<String>) -> Check {
        self.fix = Some(command.into());
        self
    }
}

/// How something that was tried in a child ended: the reason if it was refused.
type Attempt = std::result::Result<(), String>;

/// Runs `act` in a child of this process, which then ends. `None` if it could not be run.
fn attempt(act: impl FnOnce() -> io::Result<()>) -> Option<Attempt> {
    if !fork::is_single_threaded() {
        return None;
    }
    let (read, write) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).ok()?;
    let child = fork::fork(Namespaces::NONE, || match act() {
        Ok(()) => 0,
        Err(error) => {
            if let Ok(pipe) = write.try_clone() {
                // Far less than a pipe holds: never blocks.
                let _ = fs::File::from(pipe).write_all(error.to_string().as_bytes());
            }
            1
        }
    });
    drop(write);
    let status = process::reap(&child.ok()?.pidfd).ok()?;
    let mut why = String::new();
    fs::File::from(read)
        .take(4096)
        .read_to_string(&mut why)
        .ok()?;
    Some(if status == 0 { Ok(()) } else { Err(why) })
}

/// A user namespace with one id and its own mounts: what needs no helper program.
fn enter_namespace() -> io::Result<()> {
    let (uid, gid) = (rustix::process::geteuid(), rustix::process::getegid());
    user_namespace::enter_single_id(uid.as_raw(), gid.as_raw())?;
    // Some systems allow the namespace but nothing in it: this is the first thing they refuse.
    user_namespace::unshare_mounts()
}

fn mode(mode: &UserMode) -> Check {
    const NAME: &str = "mode";
    match mode {
        UserMode::Root => fine(NAME, "root: ids of containers are those of the host"),
        UserMode::Rootless { uids, gids } => {
            let count = |ranges: &[crate::model::host::IdRange]| -> u64 {
                ranges.iter().map(|range| u64::from(range.count)).sum()
            };
            let (uids, gids) = (count(uids), count(gids));
            let detail = format!("rootless with {uids} user ids and {gids} group ids");
            if uids.min(gids) >= GOOD_RANGE {
                fine(NAME, detail)
            } else {
                limited(NAME, format!("{detail}: some images use ids up to 65535"))
                    .fix(add_ranges(&own_name()))
            }
        }
        UserMode::SingleId { uid: 0, why, .. } => limited(NAME, format!("single id: {why}"))
            .fix("give the outer container CAP_SYS_ADMIN, or run as an ordinary user"),
        UserMode::SingleId { why, .. } => {
            let install = match find_mapper("newuidmap") {
                Some(_) => "",
                None => "sudo apt-get install uidmap && ",
            };
            limited(NAME, format!("single id, only user 0 exists: {why}"))
                .fix(format!("{install}{}", add_ranges(&own_name())))
        }
    }
}

/// The command that gives ranges which are nobody's yet: whoever had them, too, would be the owner of
/// what the other's containers write.
fn add_ranges(name: &str) -> String {
    let files = ["/etc/subuid", "/etc/subgid"];
    let firsts = files.map(|file| first_free(&fs::read_to_string(file).unwrap_or_default()));
    let first = firsts[0].max(firsts[1]);
    let last = first.saturating_add(GOOD_RANGE - 1);
    format!("sudo usermod --add-subuids {first}-{last} --add-subgids {first}-{last} {name}")
}

/// The first id behind all ranges of a file like /etc/subuid, subuid(5).
fn first_free(text: &str) -> u64 {
    let ends = text.lines().filter_map(|line| {
        let mut fields = line.split(':').skip(1);
        let mut number = || fields.next()?.trim().parse::<u64>().ok();
        number()?.checked_add(number()?)
    });
    ends.fold(FIRST_RANGE, u64::max)
}

/// This user's name, or the shell's word for it.
fn own_name() -> String {
    let passwd = fs::read("/etc/passwd").unwrap_or_default();
    user_name(&passwd, rustix::process::geteuid().as_raw()).unwrap_or_else(|| "$USER".to_owned())
}

fn kernel() -> Check {
    const NAME: &str = "kernel";
    let release = machine::kernel().release;
    let Some(version) = kernel_version(&release) else {
        return unknown(NAME, format!("cannot understand the release {release:?}"));
    };
    let upgrade = "upgrade the kernel";
    if version < OLDEST_KERNEL {
        let (major, minor) = OLDEST_KERNEL;
        broken(NAME, format!("{release}: Linux {major}.{minor} is needed")).fix(upgrade)
    } else if version < GOOD_KERNEL {
        let detail = format!("{release}: images of many layers need Linux 6.5");
        limited(NAME, detail).fix(upgrade)
    } else {
        fine(NAME, release)
    }
}

fn kernel_version(release: &str) -> Option<(u32, u32)> {
    let (major, rest) = release.split_once('.')?;
    let minor = rest.split(|letter: char| !letter.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

/// The program must be there and be allowed to write id maps: set-user-ID, or by capability.
fn mapper(program: &str) -> Check {
    let Some((file, path)) = find_mapper(program) else {
        return limited(program, "not installed: only a single id can be mapped")
            .fix("sudo apt-get install uidmap");
    };
    let shown = path.display();
    if file.permissions().mode() & 0o111 == 0 {
        return limited(program, format!("{shown} is not executable"))
            .fix(format!("sudo chmod 4755 {shown}"));
    }
    if file.mode() & 0o4000 != 0 && file.uid() == 0 {
        return fine(program, format!("{shown}, set-user-ID"));
    }
    if has_capabilities(&path) {
        return fine(program, format!("{shown}, with file capabilities"));
    }
    limited(
        program,
        format!("{shown} has neither the set-user-ID bit nor file capabilities"),
    )
    .fix(format!("sudo chmod u+s {shown}"))
}

fn find_mapper(program: &str) -> Option<(fs::Metadata, PathBuf)> {
    MAPPER_FOLDERS
        .iter()
        .map(|folder| Path::new(folder).join(program))
        .find_map(|path| Some((path.metadata().ok()?, path)))
}

fn has_capabilities(path: &Path) -> bool {
    rustix::fs::getxattr(path, "security.capability", &mut [0_u8; 64]).is_ok()
}

/// Ranges are given to users, in both files.
fn subordinate(file: &str, kind: &str, id: u32) -> Check {
    let text = match fs::read(file) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return unknown(file, error.to_string()),
    };
    let uid = rustix::process::geteuid().as_raw();
    let name = own_name();
    let ranges = subordinate_ranges(&text, Some(&name), uid);
    if ranges.is_empty() {
        return limited(file, format!("no {kind} ids for {name}")).fix(add_ranges(&name));
    }
    let covers_self = ranges
        .iter()
        .any(|(first, count)| id >= *first && id - first < *count);
    let words: Vec<String> = ranges
        .iter()
        .map(|(first, count)| format!("{count} from {first}"))
        .collect();
    let detail = format!("{kind} ids for {name}: {}", words.join(", "));
    if covers_self {
        return limited(
            file,
            format!("{detail}, which contain the {kind}'s own id {id}"),
        )
        .fix(format!("sudo editor {file}"));
    }
    fine(file, detail)
}

fn user_namespaces() -> Check {
    const NAME: &str = "user namespaces";
    let why = match attempt(enter_namespace) {
        Some(Ok(())) => return fine(NAME, "an ordinary user can make them"),
        Some(Err(why)) => why,
        None => return unknown(NAME, NOT_TRIED),
    };
    for (name, forbidding, good) in [
        ("kernel.unprivileged_userns_clone", 0, "1"),
        ("kernel.apparmor_restrict_unprivileged_userns", 1, "0"),
        ("user.max_user_namespaces", 0, "28633"),
    ] {
        if machine::sysctl(name) == Some(forbidding) {
            return broken(NAME, format!("{why}: {name} is {forbidding}"))
                .fix(format!("sudo sysctl -w {name}={good}"));
        }
    }
    broken(NAME, why)
}

fn control_groups(abilities: &Abilities, rootless: bool) -> Check {
    const NAME: &str = "control groups";
    const DELEGATE: &str = "sudo mkdir -p /etc/systemd/system/user@.service.d && printf '[Service]\\nDelegate=cpu cpuset io memory pids\\n' | sudo tee /etc/systemd/system/user@.service.d/delegate.conf && sudo systemctl daemon-reload, then log in anew";
    if let Some(why) = &abilities.why_none {
        if !abilities.legacy_controllers.is_empty() {
            let detail = "version 1 only: limits hold, but containers cannot be paused";
            return limited(NAME, detail).fix("boot with systemd.unified_cgroup_hierarchy=1");
        }
        let detail = format!("{why}: no limits for containers");
        return match machine::cgroup_version() {
            Some(2) => limited(NAME, detail).fix("loginctl enable-linger, and log in anew"),
            _ => limited(NAME, detail).fix("boot with systemd.unified_cgroup_hierarchy=1"),
        };
    }
    let missing: Vec<&str> = ["cpu", "memory", "pids"]
        .into_iter()
        .filter(|wanted| !abilities.has(wanted))
        .collect();
    let version = match (abilities.legacy_controllers.is_empty(), rootless) {
        (false, false) => "versions 1 (limits) and 2",
        _ => "version 2",
    };
    if missing.is_empty() {
        let controllers = [&abilities.controllers[..], &abilities.legacy_controllers].concat();
        let (driver, list) = (abilities.driver, controllers.join(" "));
        return fine(NAME, format!("{version}, by {driver}: {list}"));
    }
    let detail = format!("{version}, without limits of: {}", missing.join(", "));
    match rootless {
        true => limited(NAME, detail).fix(DELEGATE),
        false => limited(NAME, detail),
    }
}

fn seccomp() -> Check {
    const NAME: &str = "seccomp";
    match machine::text("/proc/sys/kernel/seccomp/actions_avail") {
        Some(actions) if actions.split(' ').any(|action| action == "errno") => {
            fine(NAME, "system calls of containers are filtered")
        }
        Some(actions) => broken(NAME, format!("the kernel can only {actions}")),
        None => match machine::text("/proc/self/status") {
            Some(status) if status.contains("\nSeccomp:") => {
                fine(NAME, "system calls of containers are filtered")
            }
            Some(_) => broken(NAME, "this kernel has no filters for system calls")
                .fix("use a kernel with CONFIG_SECCOMP_FILTER"),
            None => unknown(NAME, "/proc/self/status cannot be read"),
        },
    }
}

/// There is no profile of ours, so that it is missing is no fault.
fn apparmor() -> Check {
    const NAME: &str = "AppArmor";
    let profile = machine::text("/proc/self/attr/apparmor/current");
    match (machine::has_apparmor(), profile) {
        (false, _) => fine(
            NAME,
            "not on this machine: --security-opt apparmor=NAME is an error",
        ),
        (true, Some(profile)) => fine(
            NAME,
            format!(
                "containers keep the profile of the caller ({profile}) unless --security-opt apparmor=NAME names one"
            ),
        ),
        (true, None) => fine(
            NAME,
            "containers get a profile with --security-opt apparmor=NAME",
        ),
    }
}

/// Whether a fresh procfs can be mounted: the kernel refuses that where parts of the present one
/// are hidden (in another container), mount_namespaces(7).
fn proc_mounts(rootless: bool) -> Check {
    const NAME: &str = "/proc of containers";
    let tried = attempt(|| {
        if rootless {
            enter_namespace()?;
        }
        let child = fork::fork(Namespaces::PID.with(Namespaces::MOUNT), || match new_mount(
            c"proc",
            &[],
            Attributes::NONE,
        ) {
            Ok(_) => 0,
            Err(error) => error.raw_os_error().unwrap_or(255),
        })?;
        match process::reap(&child.pidfd)? {
            0 => Ok(()),
            255 => Err(io::Error::other("refused by the kernel")),
            errno => Err(io::Error::from_raw_os_error(errno)),
        }
    });
    match tried {
        None => unknown(NAME, NOT_TRIED),
        Some(Ok(())) => fine(NAME, "can be mounted"),
        Some(Err(why)) => broken(NAME, format!("cannot be mounted: {why}"))
            .fix("in an outer container: run that with --security-opt unmask=ALL (podman) or systempaths=unconfined (docker)"),
    }
}

/// Processes are told from later ones with their number by /proc.
fn proc_visibility() -> Check {
    const NAME: &str = "/proc";
    let own = rustix::process::getpid().as_raw_nonzero().get();
    if process::start_time(own).is_err() || process::boot_id().is_err() {
        return broken(NAME, "does not show this process and this boot")
            .fix("sudo mount -t proc proc /proc");
    }
    // Of another user in most cases: hidden by the mount option hidepid.
    if process::start_time(1).is_err() {
        return limited(NAME, "hides processes of other users (hidepid)")
            .fix("sudo mount -o remount,hidepid=0 /proc");
    }
    fine(NAME, "shows all processes")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_are_understood() {
        assert_eq!(kernel_version("6.12.57+deb13-amd64"), Some((6, 12)));
        assert_eq!(kernel_version("5.4-rc1"), Some((5, 4)));
        assert_eq!(kernel_version("6.5.0"), Some((6, 5)));
        assert_eq!(kernel_version("linux"), None);
    }

    #[test]
    fn ranges_that_are_nobodys() {
        assert_eq!(first_free(""), 100_000);
        assert_eq!(first_free("old:1000:10\n# more\nalice\n"), 100_000);
        let taken = "bob:165536:65536\nalice:100000:65536\n";
        assert_eq!(first_free(taken), 231_072);
    }

    #[test]
    fn no_mode_but_a_poor_one_needs_a_command() {
        let poor = UserMode::SingleId {
            uid: 1000,
            gid: 1000,
            why: "no ranges".to_owned(),
        };
        let check = mode(&poor);
        assert_eq!(check.health, Health::Limited);
        assert!(check.fix.unwrap().contains("sudo usermod --add-subuids "));
        assert_eq!(mode(&UserMode::Root).health, Health::Fine);
        assert_eq!(mode(&UserMode::Root).fix, None);
    }
}

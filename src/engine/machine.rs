//! What `info` and `doctor` tell about the machine: read from /proc, /sys and /etc, changing
//! nothing. What cannot be read is `None`, never a guess.

use std::fs;

use rustix::fs::StatFs;

const CGROUP2_SUPER_MAGIC: u32 = 0x6367_7270;
/// With version 1 a tmpfs holds one folder a controller.
const TMPFS_MAGIC: u32 = 0x0102_1994;

/// A small file's text without the white space around it.
pub(super) fn text(path: &str) -> Option<String> {
    Some(fs::read_to_string(path).ok()?.trim().to_owned())
}

/// A number below /proc/sys: `number("kernel.unprivileged_userns_clone")`.
pub(super) fn sysctl(name: &str) -> Option<i64> {
    text(&format!("/proc/sys/{}", name.replace('.', "/")))?
        .parse()
        .ok()
}

/// Whether AppArmor is there and switched on.
pub(super) fn has_apparmor() -> bool {
    text("/sys/module/apparmor/parameters/enabled").as_deref() == Some("Y")
}

/// The version of the control groups, from the file system at /sys/fs/cgroup.
pub(super) fn cgroup_version() -> Option<u32> {
    let kind: StatFs = rustix::fs::statfs("/sys/fs/cgroup").ok()?;
    match u32::try_from(kind.f_type).ok()? {
        CGROUP2_SUPER_MAGIC => Some(2),
        TMPFS_MAGIC => Some(1),
        _ => None,
    }
}

/// A value of os-release(5).
pub(super) fn os_release(key: &str) -> Option<String> {
    let text = fs::read_to_string("/etc/os-release")
        .or_else(|_| fs::read_to_string("/usr/lib/os-release"))
        .ok()?;
    os_release_value(&text, key)
}

fn os_release_value(text: &str, key: &str) -> Option<String> {
    let value = text.lines().find_map(|line| {
        let (name, value) = line.split_once('=')?;
        (name.trim() == key).then_some(value.trim())
    })?;
    // Quoted as for a shell.
    Some(shlex::split(value)?.concat())
}

/// Bytes of memory, from /proc/meminfo (in KiB there).
pub(super) fn memory_total() -> Option<u64> {
    let text = fs::read_to_string("/proc/meminfo").ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = line.split_ascii_whitespace().next()?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// Time of all processors together since boot, idle time included, in nanoseconds: the first line
/// of /proc/stat (proc_stat(5)) without the guests' share, which is part of the user's.
pub(super) fn cpu_nanoseconds() -> Option<u64> {
    let text = fs::read_to_string("/proc/stat").ok()?;
    let numbers = text.lines().next()?.strip_prefix("cpu ")?;
    let ticks: u64 = numbers
        .split_ascii_whitespace()
        .take(8)
        .filter_map(|number| number.parse::<u64>().ok())
        .sum();
    Some(ticks * (1_000_000_000 / rustix::param::clock_ticks_per_second().max(1)))
}

/// Of `uname`: release, machine, host name.
pub(super) struct Kernel {
    pub release: String,
    pub machine: String,
    pub hostname: String,
}

pub(super) fn kernel() -> Kernel {
    let uname = rustix::system::uname();
    Kernel {
        release: uname.release().to_string_lossy().into_owned(),
        machine: uname.machine().to_string_lossy().into_owned(),
        hostname: uname.nodename().to_string_lossy().into_owned(),
    }
}

/// The kernel's version, major and minor.
pub(super) fn kernel_version() -> Option<(u32, u32)> {
    version_numbers(&kernel().release)
}

fn version_numbers(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release
        .split(|letter: char| !letter.is_ascii_digit())
        .map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn os_release_values_are_unquoted() {
        let text = "NAME=Debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\nX='a b'\n# c\n";
        let value = |key| os_release_value(text, key);
        assert_eq!(
            value("PRETTY_NAME").as_deref(),
            Some("Debian GNU/Linux 13 (trixie)")
        );
        assert_eq!(value("NAME").as_deref(), Some("Debian"));
        assert_eq!(value("X").as_deref(), Some("a b"));
        assert_eq!(value("PRETTY"), None);
    }

    #[test]
    fn versions_are_two_numbers() {
        assert_eq!(version_numbers("6.18.0-rc1+"), Some((6, 18)));
        assert_eq!(version_numbers("5.12"), Some((5, 12)));
        assert_eq!(version_numbers("linux"), None);
    }
}

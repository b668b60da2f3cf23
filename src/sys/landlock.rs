//! Giving up the right to change files, landlock(7): for a thread and what it makes, for good. Reading
//! stays as it is.

use std::{
    io,
    os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd},
};

/// `LANDLOCK_ACCESS_FS_…` of the first version.
const EXECUTE: u64 = 1;
const WRITE: u64 = 1 << 1;
const REMOVE_FOLDER: u64 = 1 << 4;
const REMOVE_FILE: u64 = 1 << 5;
/// Devices, folders, files, sockets, pipes and links.
const MAKE_ANYTHING: u64 = 0x7f << 6;
const MAKE_FOLDER: u64 = 1 << 7;
const MAKE_FILE: u64 = 1 << 8;
const MAKE_SOCKET: u64 = 1 << 9;

/// What may be done below a folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// Files that are there may be written to.
    Write,
    /// Files, folders and sockets may be made and removed, too.
    All,
}

/// `struct landlock_ruleset_attr`, the first version.
#[repr(C)]
struct Ruleset {
    handled: u64,
}

/// `struct landlock_path_beneath_attr`.
#[repr(C, packed)]
struct Beneath {
    allowed: u64,
    folder: RawFd,
}

/// From now on the calling thread changes and executes nothing but what is said here, below folders
/// that are open. It also reaches no more into processes that are not restricted by the same call
/// (ptrace(2)). Needs no_new_privs. `false` if this kernel has no landlock, or has it off.
pub fn change_only_below(folders: &[(BorrowedFd<'_>, Change)]) -> io::Result<bool> {
    const PATH_BENEATH: libc::c_long = 1;
    let handled = EXECUTE | WRITE | REMOVE_FOLDER | REMOVE_FILE | MAKE_ANYTHING;
    let ruleset = Ruleset { handled };
    // SAFETY: the pointer and size describe one live struct, which the kernel only reads.
    let made = unsafe {
        libc::syscall(
            libc::SYS_landlock_create_ruleset,
            &raw const ruleset,
            size_of::<Ruleset>(),
            0,
        )
    };
    let rules = match RawFd::try_from(made) {
        // SAFETY: the kernel has just made this descriptor (close-on-exec) for us alone.
        Ok(rules) if rules >= 0 => unsafe { OwnedFd::from_raw_fd(rules) },
        _ => return missing(io::Error::last_os_error()),
    };
    for (folder, change) in folders {
        let beneath = Beneath {
            allowed: match change {
                Change::Write => WRITE,
                Change::All => {
                    WRITE | REMOVE_FOLDER | REMOVE_FILE | MAKE_FOLDER | MAKE_FILE | MAKE_SOCKET
                }
            },
            folder: folder.as_raw_fd(),
        };
        // SAFETY: the kernel only reads the struct; both descriptors are open.
        check(unsafe {
            libc::syscall(
                libc::SYS_landlock_add_rule,
                rules.as_fd().as_raw_fd(),
                PATH_BENEATH,
                &raw const beneath,
                0,
            )
        })?;
    }
    // SAFETY: plain numbers.
    check(unsafe { libc::syscall(libc::SYS_landlock_restrict_self, rules.as_raw_fd(), 0) })?;
    Ok(true)
}

fn missing(error: io::Error) -> io::Result<bool> {
    match error.raw_os_error() {
        // EPERM: a filter around us does not know the call.
        Some(libc::ENOSYS | libc::EOPNOTSUPP | libc::EPERM) => Ok(false),
        _ => Err(error),
    }
}

fn check(result: libc::c_long) -> io::Result<()> {
    if result == -1 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};

    use super::*;

    #[test]
    fn nothing_is_changed_elsewhere() {
        let [own, listed, other] = [(); 3].map(|()| tempfile::tempdir().unwrap());
        for folder in [&listed, &other] {
            fs::write(folder.path().join("there"), "old").unwrap();
        }
        let thread = std::thread::scope(|scope| {
            let restricted = scope.spawn(|| {
                rustix::thread::set_no_new_privs(true).unwrap();
                let folders = [&own, &listed].map(|folder| File::open(folder.path()).unwrap());
                let allowed = [
                    (folders[0].as_fd(), Change::All),
                    (folders[1].as_fd(), Change::Write),
                ];
                if !change_only_below(&allowed).unwrap() {
                    return;
                }
                let file = own.path().join("new");
                fs::write(&file, "new").unwrap();
                fs::rename(&file, own.path().join("newer")).unwrap();
                fs::create_dir(own.path().join("folder")).unwrap();
                fs::remove_dir(own.path().join("folder")).unwrap();
                fs::write(listed.path().join("there"), "new").unwrap();
                for denied in [
                    fs::write(listed.path().join("new"), "new"),
                    fs::write(other.path().join("there"), "new"),
                    fs::write(other.path().join("new"), "new"),
                    fs::remove_file(other.path().join("there")),
                    fs::create_dir(other.path().join("folder")),
                ] {
                    let error = denied.unwrap_err();
                    assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
                }
                assert_eq!(fs::read(other.path().join("there")).unwrap(), b"old");
            });
            restricted.join()
        });
        thread.unwrap();
    }
}

//! Capabilities by name and number, capabilities(7).

use super::{Error, ErrorKind, Result};

/// Every capability in the order of its number; the newest, 40, came with Linux 5.9.
pub static NAMES: [&str; 41] = [
    "CHOWN",
    "DAC_OVERRIDE",
    "DAC_READ_SEARCH",
    "FOWNER",
    "FSETID",
    "KILL",
    "SETGID",
    "SETUID",
    "SETPCAP",
    "LINUX_IMMUTABLE",
    "NET_BIND_SERVICE",
    "NET_BROADCAST",
    "NET_ADMIN",
    "NET_RAW",
    "IPC_LOCK",
    "IPC_OWNER",
    "SYS_MODULE",
    "SYS_RAWIO",
    "SYS_CHROOT",
    "SYS_PTRACE",
    "SYS_PACCT",
    "SYS_ADMIN",
    "SYS_BOOT",
    "SYS_NICE",
    "SYS_RESOURCE",
    "SYS_TIME",
    "SYS_TTY_CONFIG",
    "MKNOD",
    "LEASE",
    "AUDIT_WRITE",
    "AUDIT_CONTROL",
    "SETFCAP",
    "MAC_OVERRIDE",
    "MAC_ADMIN",
    "SYSLOG",
    "WAKE_ALARM",
    "BLOCK_SUSPEND",
    "AUDIT_READ",
    "PERFMON",
    "BPF",
    "CHECKPOINT_RESTORE",
];

/// All that this program knows, as a mask.
pub const ALL: u64 = (1 << NAMES.len()) - 1;

/// What a container gets unless told otherwise: podman's eleven. Docker's further three
/// (`AUDIT_WRITE`, `MKNOD`, `NET_RAW`) let it make devices and forge packets.
pub const DEFAULT: u64 = bit("CHOWN")
    | bit("DAC_OVERRIDE")
    | bit("FOWNER")
    | bit("FSETID")
    | bit("KILL")
    | bit("NET_BIND_SERVICE")
    | bit("SETFCAP")
    | bit("SETGID")
    | bit("SETPCAP")
    | bit("SETUID")
    | bit("SYS_CHROOT");

/// For constants: a name that does not exist fails the compilation.
const fn bit(name: &str) -> u64 {
    let mut number = 0;
    loop {
        if equal(NAMES[number].as_bytes(), name.as_bytes()) {
            return 1 << number;
        }
        number += 1;
    }
}

const fn equal(left: &[u8], right: &[u8]) -> bool {
    if left.len() != right.len() {
        return false;
    }
    let mut index = 0;
    while index < left.len() {
        if left[index] != right[index] {
            return false;
        }
        index += 1;
    }
    true
}

/// The number of `CAP_CHOWN`, `CHOWN` or `chown`.
pub fn parse(text: &str) -> Result<u8> {
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("CAP_").unwrap_or(&upper);
    NAMES
        .iter()
        .position(|known| *known == name)
        .map(|number| number as u8)
        .ok_or_else(|| {
            Error::invalid(format!("unknown capability {text:?}"))
                .with_hint("see capabilities(7); the prefix CAP_ may be left out")
        })
}

/// `CAP_CHOWN` for 0; `None` for a number newer than this program.
pub fn name(number: u8) -> Option<String> {
    NAMES
        .get(usize::from(number))
        .map(|name| format!("CAP_{name}"))
}

/// The names of a mask in the order of their numbers, for `inspect`.
pub fn names(mask: u64) -> Vec<String> {
    (0..NAMES.len() as u8)
        .filter(|number| mask & (1 << number) != 0)
        .filter_map(name)
        .collect()
}

/// What adding and dropping make of [`DEFAULT`], the way Docker resolves them: `ALL` counts first,
/// on either side, and what is named then is the exception; of a name on both sides adding wins.
/// `available` is what there is to be had. Fails for a named capability that there is not, and for
/// `ALL` on both sides.
pub fn resolve(add: &[String], drop: &[String], available: u64) -> Result<u64> {
    let (added, all_added) = mask(add)?;
    let (dropped, all_dropped) = mask(drop)?;
    if added & !available != 0 {
        let missing = names(added & !available).join(", ");
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("cannot add {missing}: this process does not have it itself"),
        )
        .with_hint("an outer container or service withholds it; give it there first"));
    }
    match (all_added, all_dropped) {
        (true, true) => Err(Error::invalid(
            "all capabilities are added and dropped at once",
        )),
        (true, false) => Ok(available & !dropped),
        (false, true) => Ok(added),
        (false, false) => Ok(DEFAULT & available & !dropped | added),
    }
}

/// Names as a mask, and whether `ALL` is among them.
pub fn mask(list: &[String]) -> Result<(u64, bool)> {
    let mut mask = 0;
    let mut all = false;
    for name in list {
        if name.eq_ignore_ascii_case("all") {
            all = true;
        } else {
            mask |= 1 << parse(name)?;
        }
    }
    Ok((mask, all))
}

/// What of `granted` was asked for by name (or `ALL`): a user other than root holds it too.
pub fn explicit(add: &[String], granted: u64) -> Result<u64> {
    let (added, all) = mask(add)?;
    Ok(if all { granted } else { added & granted })
}

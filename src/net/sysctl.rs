//! Settings of the kernel's network code, sysctl(8), below `/proc/sys/net`.
//!
//! They belong to a network namespace: that of the thread that opens the file. Names of links are
//! folders there and may contain dots, so nothing here knows the dotted names.

use std::{
    fs::{self, File},
    io,
};

use crate::model::{Context, Error, Result};

/// Sets `path`, below `/proc/sys/net`. A setting that this kernel does not have is none that could
/// do harm: nothing is done.
pub fn set(path: &str, value: &str) -> Result<()> {
    let file = format!("/proc/sys/net/{path}");
    match fs::write(&file, value) {
        Err(cause) if cause.kind() == io::ErrorKind::NotFound => Ok(()),
        done => done.system(|| format!("cannot set {file} to {value}")),
    }
}

/// The value; nothing if this kernel has no such setting.
pub fn get(path: &str) -> Option<String> {
    let text = fs::read_to_string(format!("/proc/sys/net/{path}")).ok()?;
    Some(text.trim_end().to_owned())
}

/// Makes this host pass packets on from link to link, if it does not yet: containers have no way
/// out without. Docker and podman do so too.
///
/// One process at a time: a write that finds the kernel's lock of links taken is undone and tried
/// again within the kernel, so with several writers `ip_forward` reads 1 for moments without being
/// in force, and can stay 1 while no link forwards. What new links are given changes under that lock
/// only, and says what is in force.
pub fn forward_ipv4() -> Result<()> {
    const SWITCH: &str = "ipv4/ip_forward";
    const OF_NEW_LINKS: &str = "ipv4/conf/default/forwarding";
    let forwards = || get(OF_NEW_LINKS).as_deref() != Some("0");
    if forwards() {
        return Ok(());
    }
    let turn = File::open(format!("/proc/sys/net/{SWITCH}")).and_then(|file| {
        file.lock()?;
        Ok(file)
    });
    let _turn = turn.system(|| "cannot wait for a turn to change ip_forward".to_owned())?;
    if !forwards() {
        set(SWITCH, "1").map_err(with_forward_hint)?;
    }
    if !forwards() {
        // The switch was on, and somebody had set this one off.
        set(OF_NEW_LINKS, "1").map_err(with_forward_hint)?;
    }
    Ok(())
}

/// The same for IPv6. A host that forwards no longer listens to routers, unless it is told to
/// (`accept_ra=2`, ip-sysctl.rst): a host that got its default route from one would lose it, so its
/// links are told first.
pub fn forward_ipv6() -> Result<()> {
    if get("ipv6/conf/all/forwarding").as_deref() != Some("0") {
        return Ok(());
    }
    let links = fs::read_dir("/proc/sys/net/ipv6/conf")
        .into_iter()
        .flatten();
    for link in links.flatten() {
        let Ok(name) = link.file_name().into_string() else {
            continue;
        };
        let setting = format!("ipv6/conf/{name}/accept_ra");
        if name != "all" && get(&setting).as_deref() == Some("1") {
            set(&setting, "2")?;
        }
    }
    set("ipv6/conf/all/forwarding", "1").map_err(with_forward_hint)
}

fn with_forward_hint(error: Error) -> Error {
    error.with_hint("sysctl -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1, once for all")
}

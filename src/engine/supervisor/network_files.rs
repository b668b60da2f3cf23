//! The files that are mounted over a container's /etc/hosts, /etc/hostname and /etc/resolv.conf
//! ([`plan::network_files`] says what is in them). They are written anew before every start: they are
//! never flushed, so that a power cut may leave them empty.

use std::os::fd::{AsFd, BorrowedFd};

pub use crate::engine::plan::network_files::Connections;
use crate::{
    engine::plan::network_files::{HostTexts, exchange_lines, host_lines, network_files},
    model::{
        Context, Result,
        container::{ContainerRecord, NetworkMode},
        dns::{DnsSpec, HostsBase},
    },
    storage::{Durability, files, shifted},
};

const NAMES: [&str; 3] = ["hosts", "hostname", "resolv.conf"];
/// Bytes of a hosts file that the container may have made longer.
const LONGEST: usize = 1 << 20;

/// `folder` is the container's; a new file gets the mode that the umask leaves of 0644.
pub fn write(
    folder: impl AsFd,
    record: &ContainerRecord,
    shared_hostname: Option<&str>,
    connections: Connections<'_>,
) -> Result<()> {
    let folder = folder.as_fd();
    let resolv_conf = match record.spec.network {
        NetworkMode::None => Vec::new(),
        _ => std::fs::read("/etc/resolv.conf").unwrap_or_default(),
    };
    let hosts = base(folder, &record.spec.dns)?;
    let texts = HostTexts {
        resolv_conf: &resolv_conf,
        hosts: hosts.as_deref(),
    };
    let written = network_files(record, shared_hostname, connections, texts);
    let contents = [
        written.hosts.as_slice(),
        written.hostname.as_bytes(),
        &written.resolv_conf,
    ];
    NAMES
        .into_iter()
        .zip(contents)
        .try_for_each(|(name, text)| files::write_readable(folder, name, text))?;
    match &record.ids {
        Some(ids) => shifted::give_to_root(folder, &NAMES, ids),
        None => Ok(()),
    }
}

/// In the container's folder, what its image has as /etc/hosts: its file is mounted over that.
const OF_IMAGE: &str = "hosts.image";

/// Keeps the image's hosts file for a container that is being made and is to begin with it.
pub fn keep_base(folder: impl AsFd, text: &[u8], durability: Durability) -> Result<()> {
    files::put(folder, OF_IMAGE, text, durability)
}

fn base(folder: BorrowedFd<'_>, dns: &DnsSpec) -> Result<Option<Vec<u8>>> {
    let text = match &dns.hosts_base {
        HostsBase::None => return Ok(None),
        HostsBase::File(path) => {
            std::fs::read(path).system(|| format!("cannot read the hosts file {path}"))?
        }
        HostsBase::Image => files::read(folder, OF_IMAGE, LONGEST)
            .system(|| "cannot read the image's hosts file".to_owned())?
            .unwrap_or_default(),
    };
    Ok(Some(text))
}

/// What changes in a running container's files when its networks do. The container sees it: the
/// file stays the same. What else it has written there stays too.
pub fn update(
    folder: impl AsFd,
    record: &ContainerRecord,
    shared_hostname: Option<&str>,
    before: Connections<'_>,
    after: Connections<'_>,
) -> Result<()> {
    let folder = folder.as_fd();
    let lines = |connections| host_lines(record, shared_hostname, connections);
    let (before, after) = (lines(before), lines(after));
    if before == after {
        return Ok(());
    }
    let text = match files::read(folder, "hosts", LONGEST) {
        // What the container has made of it is its own affair.
        Err(rustix::io::Errno::FBIG) => return Ok(()),
        text => text.system(|| "cannot read the container's hosts file".to_owned())?,
    };
    let text = exchange_lines(&text.unwrap_or_default(), &before, &after);
    files::rewrite(folder, "hosts", &text)
}

//! The members of a network, for who asks often: a responder to DNS queries.

use std::{
    os::fd::OwnedFd,
    time::{Duration, SystemTime},
};

use super::{
    Store,
    network_leases::{Member, listing},
};
use crate::model::{Context, Result, network::NetworkId};

impl Store {
    /// The members of a network, for who asks often.
    pub fn member_view(&self, network: &NetworkId) -> Result<MemberView<'_>> {
        let leases = self.lock_leases(network)?;
        Ok(MemberView {
            store: self,
            network: network.clone(),
            folder: leases.members,
            seen: None,
            members: Vec::new(),
        })
    }
}

/// The members of a network, read anew when something has changed.
#[derive(Debug)]
pub struct MemberView<'a> {
    store: &'a Store,
    network: NetworkId,
    folder: OwnedFd,
    /// The folder's mtime when it was read; `None` if it may have changed within that moment.
    seen: Option<(i64, u64)>,
    members: Vec<Member>,
}

/// A change within this time of another one may have the same mtime (a tick of the kernel's clock
/// is 1 to 10 ms, inode_set_ctime_current).
const TICK: Duration = Duration::from_millis(20);

impl MemberView<'_> {
    /// The next look reads everything: a container that was killed leaves its lease as it was.
    pub fn forget(&mut self) {
        self.seen = None;
    }

    /// Who is in the network now: one system call, if nothing has changed.
    pub fn members(&mut self) -> Result<&[Member]> {
        self.news()?;
        Ok(&self.members)
    }

    /// The same, or `None` if nothing has changed since the last look.
    pub fn news(&mut self) -> Result<Option<&[Member]>> {
        let stat = rustix::fs::fstat(&self.folder).system(|| listing(&self.network))?;
        let changed = (stat.st_mtime, stat.st_mtime_nsec);
        if self.seen == Some(changed) {
            return Ok(None);
        }
        self.members = self.store.living(&self.folder, &self.network)?;
        self.seen = is_past(changed).then_some(changed);
        Ok(Some(&self.members))
    }
}

/// Whether the moment is so long ago that a later change shows.
fn is_past((seconds, nanoseconds): (i64, u64)) -> bool {
    let Ok(seconds) = u64::try_from(seconds) else {
        return false;
    };
    let moment = Duration::from_secs(seconds) + Duration::from_nanos(nanoseconds);
    let since = SystemTime::UNIX_EPOCH
        .checked_add(moment)
        .and_then(|moment| SystemTime::now().duration_since(moment).ok());
    since.is_some_and(|since| since > TICK)
}

//! Standing still for clients: the container's group is frozen as long as one that asked for it is
//! connected. A command that is killed lets go of it that way too, and with this process the
//! container ends.
//!
//! The loop never waits for the freezer: it tells the kernel, and the command waits. `pause` and
//! `unpause` write to the same file of the group; what was paused before stays so.

use super::{super::protocol::Event, EventLoop};
use crate::engine::cgroup::Group;

/// What a client wants of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standstill {
    No,
    Asked,
    Held,
    /// It asked for what stands still to stay so.
    ToStay,
}

impl EventLoop {
    /// Answers who has asked in this round, and lets the container go on when the last has gone.
    pub(super) fn stand_still(&mut self, group: Option<&Group>) {
        for client in &mut self.clients {
            let still = match client.standstill {
                Standstill::Asked => group.is_some_and(|group| {
                    let paused = group.is_frozen();
                    let told = !paused && group.tell_freezer(true).is_ok();
                    self.stands_still |= told;
                    paused || told
                }),
                Standstill::ToStay => std::mem::take(&mut self.stands_still),
                Standstill::No | Standstill::Held => continue,
            };
            client.standstill = match client.standstill {
                Standstill::Asked if still => Standstill::Held,
                _ => Standstill::No,
            };
            client.tell(&Event::StandsStill(still));
        }
        let held = self
            .clients
            .iter()
            .any(|client| client.standstill == Standstill::Held && !client.gone && !client.leaving);
        if self.stands_still && !held {
            self.stands_still = false;
            if let Some(group) = group {
                let _ = group.tell_freezer(false);
            }
        }
    }
}

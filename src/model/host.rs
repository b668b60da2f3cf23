//! What the planner knows about the host: handed to it as a value, so that it needs no I/O.

use serde::{Deserialize, Serialize};

/// Facts about this process and this machine that change what a container gets.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HostFacts {
    pub user: UserMode,
    /// Not in a user namespace: device nodes can be made and `trusted.*` attributes set.
    pub initial_user_namespace: bool,
    /// The capabilities this process may hand on, as a bit mask (capabilities(7)).
    pub capabilities: u64,
    /// Folders below /sys that tell of a processor's temperature events, without the leading
    /// slash: a side channel that is masked (GHSA-6fw5-f8r9-fgfm).
    pub thermal_folders: Vec<String>,
    /// `uname -r` as numbers, where the plan depends on it; no system call is made otherwise.
    pub kernel: Option<(u32, u32)>,
}

/// How ids of the container become ids of the host (design.md, "Rootless first").
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum UserMode {
    /// Real root: ids are the host's own.
    Root,
    /// An ordinary user with ranges in /etc/subuid and /etc/subgid.
    Rootless {
        uids: Vec<IdRange>,
        gids: Vec<IdRange>,
    },
    /// An ordinary user without: only id 0 exists, and it is the user.
    SingleId { uid: u32, gid: u32, why: String },
}

/// `count` ids from `inside` in the container are those from `outside` on the host
/// (user_namespaces(7), "uid_map").
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdRange {
    pub inside: u32,
    pub outside: u32,
    pub count: u32,
}

/// The ranges that a file like /etc/subuid gives to a user, subuid(5): lines `who:start:count`,
/// where `who` is the name or the number.
pub fn subordinate_ranges(file: &[u8], name: Option<&str>, uid: u32) -> Vec<(u32, u32)> {
    let number = uid.to_string();
    let line = |line: &[u8]| -> Option<(u32, u32)> {
        let mut fields = std::str::from_utf8(line).ok()?.trim().splitn(3, ':');
        let (who, start, count) = (fields.next()?, fields.next()?, fields.next()?);
        if who != number && Some(who) != name {
            return None;
        }
        let (start, count): (u32, u32) = (start.parse().ok()?, count.parse().ok()?);
        // Ids end at 2^32 - 2; -1 means "no change" to the kernel.
        (count > 0 && start.checked_add(count).is_some()).then_some((start, count))
    };
    file.split(|&byte| byte == b'\n').filter_map(line).collect()
}

/// The map of a user's own namespace: id 0 is the user, then the subordinate ranges one after the
/// other.
pub fn id_map(own: u32, ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut map = vec![IdRange {
        inside: 0,
        outside: own,
        count: 1,
    }];
    let mut next = 1_u32;
    for &(start, count) in ranges {
        let count = count.min(u32::MAX - 1 - next);
        if count > 0 {
            map.push(IdRange {
                inside: next,
                outside: start,
                count,
            });
            next += count;
        }
    }
    map
}

/// The name of a user in passwd(5) text.
pub fn user_name(passwd: &[u8], uid: u32) -> Option<String> {
    let number = uid.to_string();
    passwd.split(|&byte| byte == b'\n').find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_ranges_by_name_and_by_number() {
        let file = b"root:1:5\nalice:100000:65536\n1000:300000:10\nalice:x:1\nalice:4294967295:2\nalicex:7:7\n";
        assert_eq!(
            subordinate_ranges(file, Some("alice"), 1000),
            [(100_000, 65_536), (300_000, 10)]
        );
        assert_eq!(subordinate_ranges(file, None, 7), []);
        assert_eq!(subordinate_ranges(b"bob:0:0\n", Some("bob"), 7), []);
    }

    #[test]
    fn the_user_is_id_0_and_ranges_follow() {
        let map = id_map(1000, &[(100_000, 65_536), (300_000, 10)]);
        let triples: Vec<_> = map
            .iter()
            .map(|range| (range.inside, range.outside, range.count))
            .collect();
        assert_eq!(
            triples,
            [(0, 1000, 1), (1, 100_000, 65_536), (65_537, 300_000, 10)]
        );
    }

    #[test]
    fn finds_the_name_of_a_number() {
        let passwd = b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:1000::/home/alice:/bin/sh\n";
        assert_eq!(user_name(passwd, 1000).as_deref(), Some("alice"));
        assert_eq!(user_name(passwd, 1001), None);
    }
}

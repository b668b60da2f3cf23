//! From what `--userns` and the maps ask for to the container's [`IdMaps`].
//!
//! Rules of an ordinary user name ids of her own namespace (0 is the user, 1… her subordinate
//! ids), as Podman's do; with `@`, and as root, the machine's.

use crate::model::{
    Error, ErrorKind, Result,
    container::ContainerRecord,
    host::{HostFacts, IdRange, UserMode},
    user_namespace::{IdKind, IdMaps, MAX_RANGES, MapRule, UserNamespace, UserNamespaceMode},
};

/// Where root's automatic maps come from if /etc/subuid has no line for `containers`: 256 ranges of
/// 65536 ids in the half of the ids that neither users nor systemd's containers reach into.
pub const DEFAULT_POOL: (u32, u32) = (1 << 31, 1 << 24);

/// An automatic map is never smaller.
pub const SMALLEST_AUTO: u32 = 1024;

/// What the request is decided by, besides itself.
#[derive(Clone, Debug, Default)]
pub struct IdFacts {
    /// Outside ids that automatic maps are cut from: start and count.
    pub uid_pool: Vec<(u32, u32)>,
    pub gid_pool: Vec<(u32, u32)>,
    /// What other containers have of them.
    pub taken: Vec<IdMaps>,
    /// One more than the highest id that the image's passwd and group files and the request name.
    pub needed: u32,
    /// The ranges of `--subuidname` and `--subgidname`.
    pub named_uids: Vec<(u32, u32)>,
    pub named_gids: Vec<(u32, u32)>,
}

/// The container's maps; `None` if they would be the engine's own. Not for modes that take
/// another's namespace.
pub fn id_maps(
    request: &UserNamespace,
    user: &UserMode,
    facts: &IdFacts,
) -> Result<Option<IdMaps>> {
    if let (true, UserMode::SingleId { why, .. }) = (request.is_own(), user) {
        return Err(Error::new(
            ErrorKind::Unsupported,
            format!("--userns {} needs subordinate ids: {why}", request.typed),
        )
        .with_hint("`coracle doctor` says how to get some"));
    }
    let maps = match &request.mode {
        UserNamespaceMode::KeepId { uid, gid, size } => keep_id(user, *uid, *gid, *size)?,
        UserNamespaceMode::NoMap => no_map(user)?,
        UserNamespaceMode::Auto {
            size,
            uid_maps,
            gid_maps,
        } => automatic(user, facts, *size, uid_maps, gid_maps)?,
        UserNamespaceMode::Private => Some(private(request, user, facts)?),
        _ => None,
    };
    if let Some(maps) = &maps {
        check("user", &maps.uids, available(user).0)?;
        check("group", &maps.gids, available(user).1)?;
    }
    Ok(maps)
}

/// How many outside ids there are, of users and of groups.
fn available(user: &UserMode) -> (u32, u32) {
    let end = |map: &[IdRange]| map.last().map_or(0, |last| last.inside + last.count);
    match user {
        UserMode::Rootless { uids, gids } => (end(uids), end(gids)),
        // -1 is no id.
        UserMode::Root => (u32::MAX, u32::MAX),
        UserMode::SingleId { .. } => (1, 1),
    }
}

fn only_rootless(mode: &str) -> Error {
    Error::invalid(format!(
        "--userns {mode} is for ordinary users: root has no id to keep apart"
    ))
    .with_hint("as root, --userns auto or --uidmap and --gidmap map ids")
}

/// The user's own id is `uid` inside; her subordinate ids fill the rest in their order.
fn keep_id(
    user: &UserMode,
    uid: Option<u32>,
    gid: Option<u32>,
    size: Option<u32>,
) -> Result<Option<IdMaps>> {
    let UserMode::Rootless { uids, gids } = user else {
        return Err(only_rootless("keep-id"));
    };
    let own = |map: &[IdRange]| map.first().map_or(0, |own| own.outside);
    let kept = (uid.unwrap_or(own(uids)), gid.unwrap_or(own(gids)));
    if kept == (0, 0) && size.is_none() {
        // That is the engine's own map.
        return Ok(None);
    }
    let (users, groups) = available(user);
    Ok(Some(IdMaps {
        uids: around(kept.0, users, size),
        gids: around(kept.1, groups, size),
        kept: Some(kept),
        reserved: false,
    }))
}

fn around(kept: u32, available: u32, size: Option<u32>) -> Vec<IdRange> {
    let subordinate = (available - 1).min(size.unwrap_or(u32::MAX));
    let below = kept.min(subordinate);
    let range = |inside, outside, count| IdRange {
        inside,
        outside,
        count,
    };
    let mut map = vec![range(0, 1, below), range(kept, 0, 1)];
    if subordinate > kept {
        map.push(range(kept + 1, kept + 1, subordinate - kept));
    }
    map.retain(|range| range.count > 0);
    map
}

fn no_map(user: &UserMode) -> Result<Option<IdMaps>> {
    if *user == UserMode::Root {
        return Err(only_rootless("nomap"));
    }
    let subordinate = |available: u32| {
        vec![IdRange {
            inside: 0,
            outside: 1,
            count: available - 1,
        }]
    };
    let (users, groups) = available(user);
    Ok(Some(IdMaps {
        uids: subordinate(users),
        gids: subordinate(groups),
        ..IdMaps::default()
    }))
}

/// The lowest free range: what other containers let go of is used first, and so are the image's
/// layers that were prepared for it.
fn automatic(
    user: &UserMode,
    facts: &IdFacts,
    size: Option<u32>,
    uid_maps: &[MapRule],
    gid_maps: &[MapRule],
) -> Result<Option<IdMaps>> {
    let size = size.unwrap_or(facts.needed.max(SMALLEST_AUTO));
    let block = |kind: &str, pool: &[(u32, u32)], taken: &dyn Fn(&IdMaps) -> Vec<IdRange>| {
        let taken: Vec<IdRange> = facts.taken.iter().flat_map(taken).collect();
        lowest_free(pool, &taken, size).ok_or_else(|| {
            let in_use = facts.taken.len();
            Error::new(
                ErrorKind::Conflict,
                format!("no {size} {kind} ids in a row are free for --userns auto: {in_use} containers have ids of their own"),
            )
            .with_hint("remove some containers, add ranges to /etc/subuid and /etc/subgid, or ask for fewer: --userns auto:size=N")
        })
    };
    let uid = block("user", &facts.uid_pool, &|maps| maps.uids.clone())?;
    let gid = block("group", &facts.gid_pool, &|maps| maps.gids.clone())?;
    let whole = |outside| {
        vec![IdRange {
            inside: 0,
            outside,
            count: size,
        }]
    };
    Ok(Some(IdMaps {
        uids: extend(whole(uid), uid_maps, machine_uids(user))?,
        gids: extend(whole(gid), gid_maps, machine_gids(user))?,
        kept: None,
        reserved: true,
    }))
}

/// First fit.
fn lowest_free(pool: &[(u32, u32)], taken: &[IdRange], size: u32) -> Option<u32> {
    let fits = |start: u32| {
        let end = start.checked_add(size)?;
        let obstacle = taken
            .iter()
            .filter(|range| range.outside < end && start < range.outside + range.count)
            .map(|range| range.outside + range.count)
            .max();
        Some((end, obstacle))
    };
    for &(first, count) in pool {
        let mut start = first;
        while let Some((end, obstacle)) = fits(start) {
            if end - first > count {
                break;
            }
            match obstacle {
                None => return Some(start),
                Some(next) => start = next,
            }
        }
    }
    None
}

fn private(request: &UserNamespace, user: &UserMode, facts: &IdFacts) -> Result<IdMaps> {
    let of = |rules: &[MapRule], others: &[MapRule], kind: IdKind| -> Vec<MapRule> {
        // One flag alone serves both.
        let rules = if rules.is_empty() { others } else { rules };
        let fits = |rule: &&MapRule| rule.only.is_none_or(|only| only == kind);
        rules.iter().filter(fits).copied().collect()
    };
    let uid_rules = of(&request.uid_maps, &request.gid_maps, IdKind::User);
    let gid_rules = of(&request.gid_maps, &request.uid_maps, IdKind::Group);
    let (users, groups) = available(user);
    let base = |rules: &[MapRule], named: &[(u32, u32)], available: u32| {
        if !named.is_empty() {
            from_zero(named)
        } else if rules.iter().any(|rule| rule.extends) {
            from_zero(&[(0, available)])
        } else {
            Vec::new()
        }
    };
    let uids = base(&uid_rules, &facts.named_uids, users);
    let gids = base(&gid_rules, &facts.named_gids, groups);
    Ok(IdMaps {
        uids: extend(uids, &uid_rules, machine_uids(user))?,
        gids: extend(gids, &gid_rules, machine_gids(user))?,
        kept: None,
        reserved: true,
    })
}

fn from_zero(ranges: &[(u32, u32)]) -> Vec<IdRange> {
    let mut inside = 0_u32;
    let mut map = Vec::new();
    for &(outside, count) in ranges {
        let count = count.min(u32::MAX - inside);
        map.push(IdRange {
            inside,
            outside,
            count,
        });
        inside += count;
    }
    map.retain(|range| range.count > 0);
    map
}

fn machine_uids(user: &UserMode) -> &[IdRange] {
    match user {
        UserMode::Rootless { uids, .. } => uids,
        _ => &[],
    }
}

fn machine_gids(user: &UserMode) -> &[IdRange] {
    match user {
        UserMode::Rootless { gids, .. } => gids,
        _ => &[],
    }
}

/// Puts `rules` into a map. What they name on either side is taken out of the ranges that are there.
fn extend(
    mut map: Vec<IdRange>,
    rules: &[MapRule],
    of_machine: &[IdRange],
) -> Result<Vec<IdRange>> {
    let mut own = Vec::new();
    for rule in rules {
        let mut range = rule.range;
        if rule.of_machine && !of_machine.is_empty() {
            range.outside = to_own(range, of_machine)?;
        }
        map = map
            .into_iter()
            .flat_map(|there| without(there, range.inside, there.inside, range.count))
            .flat_map(|there| without(there, range.outside, there.outside, range.count))
            .collect();
        own.push(range);
    }
    map.extend(own);
    map.sort_by_key(|range| range.inside);
    Ok(map)
}

/// What is left of `range`, which begins at `begin` on the side that is looked at, without `count`
/// ids from `hole` on.
fn without(range: IdRange, hole: u32, begin: u32, count: u32) -> Vec<IdRange> {
    let (begin, end) = (u64::from(begin), u64::from(begin) + u64::from(range.count));
    let (hole, hole_end) = (u64::from(hole), u64::from(hole) + u64::from(count));
    let part = |from: u64, to: u64| {
        let skipped = (from - begin) as u32;
        (from < to).then(|| IdRange {
            inside: range.inside + skipped,
            outside: range.outside + skipped,
            count: (to - from) as u32,
        })
    };
    if hole_end <= begin || hole >= end {
        return vec![range];
    }
    let before = part(begin, hole.max(begin));
    let after = part(hole_end.min(end), end);
    before.into_iter().chain(after).collect()
}

/// A range of the machine's ids in those of the user's namespace.
fn to_own(range: IdRange, map: &[IdRange]) -> Result<u32> {
    map.iter()
        .find(|own| {
            range.outside >= own.outside
                && u64::from(range.outside - own.outside) + u64::from(range.count)
                    <= u64::from(own.count)
        })
        .map(|own| own.inside + (range.outside - own.outside))
        .ok_or_else(|| {
            Error::invalid(format!(
                "the machine's ids {} to {} are not this user's to map",
                range.outside,
                u64::from(range.outside) + u64::from(range.count) - 1
            ))
            .with_hint("only the user's own id and the ranges of /etc/subuid and /etc/subgid are")
        })
}

/// What the kernel would refuse with a bare number.
pub(super) fn check(kind: &str, map: &[IdRange], available: u32) -> Result<()> {
    let invalid = |why: String| Err(Error::invalid(format!("invalid {kind} id map: {why}")));
    if map.len() > MAX_RANGES {
        return invalid(format!("more than {MAX_RANGES} ranges"));
    }
    if !map.iter().any(|range| range.inside == 0) {
        return invalid("the container's id 0 is missing".to_owned());
    }
    for (index, range) in map.iter().enumerate() {
        let end = u64::from(range.outside) + u64::from(range.count);
        if end > u64::from(available) {
            return invalid(format!("there is no id {} to map to", end - 1));
        }
        let overlaps = |a: u32, b: u32, other: &IdRange| {
            u64::from(a) < u64::from(b) + u64::from(other.count)
                && u64::from(b) < u64::from(a) + u64::from(range.count)
        };
        for other in &map[..index] {
            if overlaps(range.inside, other.inside, other) {
                return invalid(format!(
                    "container id {} is mapped twice",
                    range.inside.max(other.inside)
                ));
            }
            if overlaps(range.outside, other.outside, other) {
                return invalid(format!(
                    "id {} is mapped to twice",
                    range.outside.max(other.outside)
                ));
            }
        }
    }
    Ok(())
}

/// The groups that the kernel lets send ICMP echo requests in the container's network: all, or as
/// many as one range holds. The kernel takes the numbers as the container counts, but compares the
/// machine's: the range must ascend in both, and its ends must be mapped.
///
/// Without rights over the machine it costs a system call, which a container without a network is
/// spared.
pub(super) fn pinging_groups(record: &ContainerRecord, host: &HostFacts) -> Option<(u32, u32)> {
    if host.initial_user_namespace {
        return Some((0, i32::MAX.cast_unsigned()));
    }
    if !record.spec.network.is_connected() {
        return None;
    }
    let of_engine = machine_gids(&host.user);
    let groups = match &record.ids {
        Some(ids) if !of_engine.is_empty() => through(&ids.gids, of_engine),
        Some(ids) => ids.gids.clone(),
        None => of_engine.to_vec(),
    };
    // With nothing but the user's own group, or in a namespace that somebody else has made.
    Some(ascending(&groups).unwrap_or((0, 0)))
}

/// A map into a namespace, as one into the namespace around that.
fn through(map: &[IdRange], around: &[IdRange]) -> Vec<IdRange> {
    let part = |range: &IdRange, own: &IdRange| {
        let first = range.outside.max(own.inside);
        let last = (range.outside + (range.count - 1)).min(own.inside + (own.count - 1));
        (first <= last).then(|| IdRange {
            inside: range.inside + (first - range.outside),
            outside: own.outside + (first - own.inside),
            count: last - first + 1,
        })
    };
    map.iter()
        .flat_map(|range| around.iter().filter_map(move |own| part(range, own)))
        .collect()
}

/// From the lowest id of the machine to the highest, if that ascends inside too; else the range of
/// group 0, which most programs run in.
fn ascending(map: &[IdRange]) -> Option<(u32, u32)> {
    let ends = |first: &IdRange, last: &IdRange| (first.inside, last.inside + (last.count - 1));
    let lowest = map.iter().min_by_key(|range| range.outside)?;
    let highest = map.iter().max_by_key(|range| range.outside)?;
    let whole = ends(lowest, highest);
    if whole.0 <= whole.1 {
        return Some(whole);
    }
    let of_root = map.iter().find(|range| range.inside == 0);
    of_root.map(|range| ends(range, range))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{host::id_map, user_namespace::lines};

    fn rootless() -> UserMode {
        UserMode::Rootless {
            uids: id_map(1000, &[(100_000, 65536)]),
            gids: id_map(1000, &[(100_000, 65536)]),
        }
    }

    fn request(mode: &str, maps: &[&str]) -> UserNamespace {
        UserNamespace {
            mode: mode.parse().unwrap(),
            uid_maps: maps.iter().map(|map| map.parse().unwrap()).collect(),
            typed: mode.into(),
            ..UserNamespace::default()
        }
    }

    fn pool() -> IdFacts {
        IdFacts {
            uid_pool: vec![(1, 65536)],
            gid_pool: vec![(1, 65536)],
            needed: 101,
            ..IdFacts::default()
        }
    }

    fn uids(mode: &str, maps: &[&str]) -> String {
        let maps = id_maps(&request(mode, maps), &rootless(), &pool()).unwrap();
        maps.map_or("none".into(), |maps| lines(&maps.uids, ':').join(" "))
    }

    #[test]
    fn modes_of_an_ordinary_user() {
        for (mode, maps, expected) in [
            ("host", &[][..], "none"),
            ("keep-id:uid=0,gid=0", &[], "none"),
            ("keep-id", &[], "0:1:1000 1000:0:1 1001:1001:64536"),
            ("keep-id:uid=3,gid=4", &[], "0:1:3 3:0:1 4:4:65533"),
            ("keep-id:uid=3,gid=4,size=10", &[], "0:1:3 3:0:1 4:4:7"),
            ("keep-id:uid=70000,gid=4", &[], "0:1:65536 70000:0:1"),
            ("nomap", &[], "0:1:65536"),
            ("auto", &[], "0:1:1024"),
            ("auto:size=3000", &[], "0:1:3000"),
            ("auto:size=10,uidmapping=5:0:1", &[], "0:1:5 5:0:1 6:7:4"),
            ("private", &["0:1:10"], "0:1:10"),
            ("private", &["0:@100005:10"], "0:6:10"),
            ("private", &["+5:0:1"], "1:1:4 5:0:1 6:6:65531"),
        ] {
            // The last one has no id 0 left.
            if maps == ["+5:0:1"] {
                assert!(id_maps(&request(mode, maps), &rootless(), &pool()).is_err());
                continue;
            }
            assert_eq!(uids(mode, maps), expected, "{mode} {maps:?}");
        }
    }

    #[test]
    fn automatic_ranges_are_disjoint_and_the_lowest_comes_first() {
        let mut facts = pool();
        let mut starts = Vec::new();
        for _ in 0..3 {
            let maps = id_maps(&request("auto", &[]), &rootless(), &facts)
                .unwrap()
                .unwrap();
            starts.push(maps.uids[0].outside);
            facts.taken.push(maps);
        }
        assert_eq!(starts, [1, 1025, 2049]);
        facts.taken.remove(1);
        let again = id_maps(&request("auto", &[]), &rootless(), &facts)
            .unwrap()
            .unwrap();
        assert_eq!(again.uids[0].outside, 1025);
        let large = request("auto:size=1025", &[]);
        let large = id_maps(&large, &rootless(), &facts).unwrap().unwrap();
        assert_eq!(large.uids[0].outside, 3073);
        let error = id_maps(&request("auto:size=65000", &[]), &rootless(), &facts).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict);
    }

    #[test]
    fn maps_that_the_kernel_would_refuse() {
        for maps in [
            &["1:1:10"][..],
            &["0:1:10", "5:20:10"],
            &["0:1:10", "10:5:1"],
            &["0:65537:1"],
            &["0:@5:1"],
        ] {
            let refused = id_maps(&request("private", maps), &rootless(), &pool());
            assert_eq!(
                refused.unwrap_err().kind(),
                ErrorKind::InvalidArgument,
                "{maps:?}"
            );
        }
        for mode in ["keep-id", "nomap"] {
            assert!(id_maps(&request(mode, &[]), &UserMode::Root, &pool()).is_err());
        }
        let single = UserMode::SingleId {
            uid: 1,
            gid: 1,
            why: "none".into(),
        };
        assert!(id_maps(&request("auto", &[]), &single, &pool()).is_err());
    }

    #[test]
    fn as_many_groups_as_one_range_holds_may_ping() {
        let map = |ranges: &[(u32, u32, u32)]| -> Vec<IdRange> {
            let one = |&(inside, outside, count): &(u32, u32, u32)| IdRange {
                inside,
                outside,
                count,
            };
            ranges.iter().map(one).collect()
        };
        let usual = map(&[(0, 1000, 1), (1, 100_000, 65_536)]);
        assert_eq!(ascending(&usual), Some((0, 65_536)));
        // The user's own group has a higher number than the subordinate ones.
        let high = map(&[(0, 200_000, 1), (1, 100_000, 65_536)]);
        assert_eq!(ascending(&high), Some((0, 0)));
        // keep-id: the machine's lowest is the user's, in the middle.
        let kept = map(&[(0, 1, 1000), (1000, 0, 1), (1001, 1001, 64_536)]);
        let kept = through(&kept, &usual);
        assert_eq!(
            kept,
            map(&[(0, 100_000, 1000), (1000, 1000, 1), (1001, 101_000, 64_536)])
        );
        assert_eq!(ascending(&kept), Some((1000, 65_536)));
        assert_eq!(ascending(&[]), None);
        // Over the border of two ranges, and beyond the last.
        assert_eq!(
            through(&map(&[(0, 0, 5), (7, 70_000, 1)]), &usual),
            map(&[(0, 1000, 1), (1, 100_000, 4)])
        );
    }
}

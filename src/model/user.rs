//! Who the container's program runs as: `user[:group]` and the container's own `/etc/passwd`
//! and `/etc/group`, passwd(5) and group(5).
//!
//! Both files come from an image and are hostile: they are bytes here (how they were opened is
//! the sandbox's matter), bounded, and never looked at beyond the fields that are needed.
//! What begins with a digit or a sign is a number or an error, never a name (CVE-2026-46680),
//! and -1 is no id: setresuid(2) would take it for "leave as it is".

use super::{Error, ErrorKind, Result};

/// No passwd or group file is read beyond this (CVE-2024-9676).
pub const MAX_FILE: usize = 1 << 20;
/// The kernel's own limit of supplementary groups (`NGROUPS_MAX`), and ours of lines.
pub const MAX_GROUPS: usize = 65536;

/// One half of a user spec.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Id {
    Number(u32),
    Name(String),
}

/// `user[:group]` as typed. An absent group is that of the user's passwd line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserSpec {
    pub user: Id,
    pub group: Option<Id>,
}

impl Default for UserSpec {
    fn default() -> Self {
        UserSpec {
            user: Id::Number(0),
            group: None,
        }
    }
}

/// The ids a process gets, all of them ids of the container.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    pub uid: u32,
    pub gid: u32,
    /// Exactly what setgroups(2) is to be told, ascending: the memberships of the group file and
    /// the primary group. Without the latter a group's denial could be evaded (CVE-2022-36109).
    pub groups: Vec<u32>,
    /// The user's passwd line names it.
    pub name: Option<String>,
    pub home: Option<String>,
}

impl std::str::FromStr for UserSpec {
    type Err = Error;

    /// An empty user (`:group`, or nothing) is root.
    fn from_str(text: &str) -> Result<Self> {
        let (user, group) = match text.split_once(':') {
            Some((user, group)) => (user, Some(group)),
            None => (text, None),
        };
        let invalid = |why: String| Error::invalid(format!("invalid user {text:?}: {why}"));
        let user = if user.is_empty() {
            Id::Number(0)
        } else {
            parse_id(user).map_err(invalid)?
        };
        let group = match group {
            None | Some("") => None,
            Some(group) => Some(parse_id(group).map_err(invalid)?),
        };
        Ok(UserSpec { user, group })
    }
}

fn parse_id(text: &str) -> Result<Id, String> {
    if !text.starts_with(|first: char| first.is_ascii_digit() || matches!(first, '-' | '+')) {
        let bad = |byte: u8| byte.is_ascii_control() || matches!(byte, b':' | b'/');
        if text.bytes().any(bad) || text.len() > 256 {
            return Err(format!("{text:?} is not a name"));
        }
        return Ok(Id::Name(text.to_owned()));
    }
    match number(text.as_bytes()) {
        Some(id) => Ok(Id::Number(id)),
        None => Err(format!("{text:?} is not a number from 0 to 4294967294")),
    }
}

/// Digits only, and less than -1 as an unsigned number.
fn number(digits: &[u8]) -> Option<u32> {
    if !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let id: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (id != u32::MAX).then_some(id)
}

impl UserSpec {
    /// Looks the spec up in the container's files; an absent file is an empty one.
    ///
    /// A number needs no line: its group is then 0, as Docker has it. A named group leaves out
    /// the other memberships, also as Docker has it. Fails with
    /// [`ErrorKind::InvalidArgument`] for a name that is not there, and with
    /// [`ErrorKind::InvalidContent`] for a file beyond the limits or a line with an absurd id.
    pub fn resolve(&self, passwd: &[u8], group: &[u8]) -> Result<Identity> {
        let entry = find_user(&self.user, passwd)?;
        let uid = match (&self.user, &entry) {
            (_, Some(entry)) => entry.uid,
            (Id::Number(uid), None) => *uid,
            (Id::Name(name), None) => {
                return Err(Error::invalid(format!(
                    "unable to find user {name}: no matching entries in passwd file"
                )));
            }
        };
        let gid = match &self.group {
            Some(Id::Number(gid)) => *gid,
            Some(Id::Name(name)) => find_group(name, group)?,
            None => entry.as_ref().map_or(0, |entry| entry.gid),
        };
        let mut groups = match &entry {
            Some(entry) if self.group.is_none() => memberships(entry.name, group)?,
            _ => Vec::new(),
        };
        groups.push(gid);
        groups.sort_unstable();
        groups.dedup();
        if groups.len() > MAX_GROUPS {
            return Err(too_big("/etc/group"));
        }
        let text = |bytes: &[u8]| {
            let text = std::str::from_utf8(bytes).ok()?;
            (!text.is_empty() && !text.contains('\0')).then(|| text.to_owned())
        };
        Ok(Identity {
            uid,
            gid,
            groups,
            name: entry.as_ref().and_then(|entry| text(entry.name)),
            home: entry.as_ref().and_then(|entry| text(entry.home)),
        })
    }
}

struct PasswdEntry<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// The first line that fits. Lines with too few fields and NIS lines (`+`, `-`) are passed over.
fn find_user<'a>(user: &Id, passwd: &'a [u8]) -> Result<Option<PasswdEntry<'a>>> {
    for fields in lines(passwd, "/etc/passwd")? {
        let [name, _, uid, gid, _, home, ..] = fields[..] else {
            continue;
        };
        let fits = match user {
            Id::Name(wanted) => name == wanted.as_bytes(),
            Id::Number(wanted) => number(uid) == Some(*wanted),
        };
        if !fits {
            continue;
        }
        let (Some(uid), Some(gid)) = (number(uid), number(gid)) else {
            return Err(bad_line("/etc/passwd", name));
        };
        return Ok(Some(PasswdEntry {
            name,
            uid,
            gid,
            home,
        }));
    }
    Ok(None)
}

fn find_group(wanted: &str, group: &[u8]) -> Result<u32> {
    for fields in lines(group, "/etc/group")? {
        let [name, _, gid, ..] = fields[..] else {
            continue;
        };
        if name == wanted.as_bytes() {
            return number(gid).ok_or_else(|| bad_line("/etc/group", name));
        }
    }
    Err(Error::invalid(format!(
        "unable to find group {wanted}: no matching entries in group file"
    )))
}

/// Adds groups by name or number to those of a user, in place and in order. A number needs no line.
pub fn add_groups(groups: &mut Vec<u32>, more: &[String], group_file: &[u8]) -> Result<()> {
    for group in more {
        let id = parse_id(group)
            .map_err(|why| Error::invalid(format!("invalid group {group:?}: {why}")))?;
        groups.push(match id {
            Id::Number(gid) => gid,
            Id::Name(name) => find_group(&name, group_file)?,
        });
    }
    if !more.is_empty() {
        groups.sort_unstable();
        groups.dedup();
    }
    if groups.len() > MAX_GROUPS {
        return Err(too_big("/etc/group"));
    }
    Ok(())
}

/// The ids of the groups that list the user.
fn memberships(user: &[u8], group: &[u8]) -> Result<Vec<u32>> {
    let mut ids = Vec::new();
    for fields in lines(group, "/etc/group")? {
        let [name, _, gid, members, ..] = fields[..] else {
            continue;
        };
        if members
            .split(|&byte| byte == b',')
            .any(|member| member == user)
        {
            ids.push(number(gid).ok_or_else(|| bad_line("/etc/group", name))?);
        }
    }
    Ok(ids)
}

/// The fields of every entry, after the limits have been checked.
fn lines<'a>(bytes: &'a [u8], file: &'static str) -> Result<impl Iterator<Item = Vec<&'a [u8]>>> {
    if bytes.len() > MAX_FILE || bytes.split(|&byte| byte == b'\n').count() > MAX_GROUPS {
        return Err(too_big(file));
    }
    Ok(bytes
        .split(|&byte| byte == b'\n')
        .map(|line| line.strip_suffix(b"\r").unwrap_or(line).trim_ascii_start())
        .filter(|line| !matches!(line.first(), None | Some(b'#' | b'+' | b'-' | b':')))
        .map(|line| line.split(|&byte| byte == b':').collect()))
}

fn too_big(file: &str) -> Error {
    Error::new(
        ErrorKind::InvalidContent,
        format!("{file} of the container has more than {MAX_FILE} bytes or {MAX_GROUPS} lines"),
    )
}

fn bad_line(file: &str, name: &[u8]) -> Error {
    Error::new(
        ErrorKind::InvalidContent,
        format!(
            "{file} of the container has no valid id for {:?}",
            String::from_utf8_lossy(name)
        ),
    )
}

/// The highest id in the third field of passwd(5) or group(5) lines, or in the fourth if that is
/// a number too. Nobody's (65534) does not count.
pub fn highest_id(file: &[u8]) -> u32 {
    const NOBODY: u32 = 65534;
    let ids = file.split(|&byte| byte == b'\n').flat_map(|line| {
        let line = std::str::from_utf8(line).unwrap_or_default();
        line.split(':').skip(2).take(2)
    });
    ids.filter_map(|field| field.parse::<u32>().ok())
        .filter(|&id| id != NOBODY && id < u32::MAX)
        .max()
        .unwrap_or(0)
}

//! What is written into the container's passwd(5), group(5) and localtime(5), and its secrets.
//!
//! Entries are written only where neither the name nor the number is there yet, and only when
//! somebody asked.

use serde::{Deserialize, Serialize};

use super::{
    Error, Result,
    secret::{SecretBytes, SecretUse, SecretWay},
    user::{Id, UserSpec},
};

#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct AccountSpec {
    /// `--passwd`: a line for the container's user, if there is none.
    pub passwd: bool,
    /// `--passwd-entry`: that line, with [`USER_FIELDS`].
    pub passwd_entry: Option<String>,
    /// `--group-entry`: that of the group, with [`GROUP_FIELDS`].
    pub group_entry: Option<String>,
    /// `--hostuser`: names or numbers of the host's users.
    pub host_users: Vec<String>,
    /// `--tz`: a name below /usr/share/zoneinfo, or `local`.
    pub time_zone: Option<String>,
    /// Variables of the host (`--env-host`, `--http-proxy`): the image's come before them.
    pub host_environment: Vec<String>,
    /// `--env-merge`: `NAME=VALUE` with `$OTHER` of the variables so far.
    pub merged_environment: Vec<String>,
    /// `--unsetenv`: names of variables of the image and of ours.
    pub unset: Vec<String>,
    /// `--unsetenv-all`
    pub unset_all: bool,
    pub secrets: Vec<SecretUse>,
    /// Secrets that are in no store: of a step of a build. They are in no record either.
    #[serde(skip)]
    pub given_secrets: Vec<(SecretWay, SecretBytes)>,
}

/// What a template of `--passwd-entry` may name.
pub const USER_FIELDS: [&str; 5] = ["USERNAME", "UID", "GID", "NAME", "HOME"];
/// What a template of `--group-entry` may name.
pub const GROUP_FIELDS: [&str; 3] = ["GROUPNAME", "GID", "USERLIST"];

/// A user as passwd(5) describes one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UserEntry {
    pub name: String,
    pub uid: u32,
    pub gid: u32,
    /// The person's name.
    pub full_name: String,
    pub home: String,
}

/// A line that a passwd or group file gets if it has none with its name or number.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Line {
    pub name: String,
    pub id: u32,
    pub text: String,
}

impl UserEntry {
    /// The line, by a template or as Podman writes it.
    pub fn line(&self, template: Option<&str>) -> Result<Line> {
        let template = template.unwrap_or("$USERNAME:*:$UID:$GID:$NAME:$HOME:/bin/sh");
        let (uid, gid) = (self.uid.to_string(), self.gid.to_string());
        let text = expand(template, |field| match field {
            "USERNAME" => self.name.clone(),
            "UID" => uid.clone(),
            "GID" => gid.clone(),
            "NAME" => self.full_name.clone(),
            "HOME" => self.home.clone(),
            _ => String::new(),
        });
        Line::new(text, 2, 7, "--passwd-entry")
    }
}

/// The line of a group.
pub fn group_line(name: &str, gid: u32, members: &str, template: Option<&str>) -> Result<Line> {
    let template = template.unwrap_or("$GROUPNAME:x:$GID:$USERLIST");
    let text = expand(template, |field| match field {
        "GROUPNAME" => name.to_owned(),
        "GID" => gid.to_string(),
        "USERLIST" => members.to_owned(),
        _ => String::new(),
    });
    Line::new(text, 2, 4, "--group-entry")
}

impl Line {
    /// Checks that it is one line with so many fields and a number among them.
    fn new(text: String, id_field: usize, fields: usize, flag: &str) -> Result<Line> {
        let invalid = |why: &str| Error::invalid(format!("invalid {flag}: {text:?} {why}"));
        let parts: Vec<&str> = text.trim_end_matches('\n').split(':').collect();
        if parts.len() != fields || parts[0].is_empty() {
            return Err(invalid(&format!("is not a line of {fields} fields")));
        }
        if text.trim_end_matches('\n').chars().any(char::is_control) {
            return Err(invalid("contains a control character"));
        }
        let id = parts[id_field]
            .parse()
            .map_err(|_| invalid("has no number in its third field"))?;
        Ok(Line {
            name: parts[0].to_owned(),
            id,
            text: text.trim_end_matches('\n').to_owned(),
        })
    }

    /// Whether a file has a line with this name or number. Fields as in passwd(5) and group(5).
    pub fn is_in(&self, file: &[u8]) -> bool {
        file.split(|byte| *byte == b'\n').any(|line| {
            let mut fields = line.split(|byte| *byte == b':');
            let name = fields.next() == Some(self.name.as_bytes());
            let id = fields.nth(1).map(<[u8]>::trim_ascii);
            name || id == Some(self.id.to_string().as_bytes())
        })
    }
}

/// The file with the lines that it lacks, or `None` if it lacks none.
pub fn complete(file: &[u8], lines: &[Line]) -> Option<Vec<u8>> {
    let mut text = file.to_vec();
    for line in lines {
        if line.is_in(&text) {
            continue;
        }
        if text.last().is_some_and(|byte| *byte != b'\n') {
            text.push(b'\n');
        }
        text.extend_from_slice(line.text.as_bytes());
        text.push(b'\n');
    }
    (text != file).then_some(text)
}

/// The user of a container who has a number and perhaps no name: called by the number, as Podman
/// does. `None` for a name: the image has to know it.
pub fn numbered_user(user: &str, home: &str) -> Result<Option<UserEntry>> {
    let user: UserSpec = user.parse()?;
    let Id::Number(uid) = user.user else {
        return Ok(None);
    };
    let gid = match user.group {
        Some(Id::Number(gid)) => gid,
        _ => 0,
    };
    Ok(Some(UserEntry {
        name: uid.to_string(),
        uid,
        gid,
        full_name: "container user".to_owned(),
        home: home.to_owned(),
    }))
}

/// The user of the host's passwd(5) text who has this name or number.
pub fn host_user(passwd: &[u8], wanted: &str) -> Option<UserEntry> {
    passwd.split(|byte| *byte == b'\n').find_map(|line| {
        let line = std::str::from_utf8(line).ok()?;
        let fields: Vec<&str> = line.split(':').collect();
        let [name, _, uid, gid, full_name, home, ..] = fields[..] else {
            return None;
        };
        (name == wanted || uid == wanted).then_some(())?;
        Some(UserEntry {
            name: name.to_owned(),
            uid: uid.parse().ok()?,
            gid: gid.parse().ok()?,
            // Only the name: rooms and telephones stay at home.
            full_name: full_name.split(',').next().unwrap_or_default().to_owned(),
            home: home.to_owned(),
        })
    })
}

/// The name that group(5) text has for a number.
pub fn group_name(group: &[u8], gid: u32) -> Option<String> {
    let number = gid.to_string();
    group.split(|byte| *byte == b'\n').find_map(|line| {
        let mut fields = std::str::from_utf8(line).ok()?.split(':');
        let name = fields.next()?;
        (fields.nth(1)? == number).then(|| name.to_owned())
    })
}

/// Replaces `$NAME` and `${NAME}`, as Go's `os.Expand` does. A dollar before anything else stays.
pub fn expand(text: &str, value: impl Fn(&str) -> String) -> String {
    let mut expanded = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, after)) = rest.split_once('$') {
        expanded.push_str(before);
        let braced = after
            .strip_prefix('{')
            .and_then(|after| after.split_once('}'));
        let plain = after
            .find(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
            .unwrap_or(after.len());
        rest = match braced {
            Some((name, behind)) => {
                expanded.push_str(&value(name));
                behind
            }
            None if plain > 0 => {
                expanded.push_str(&value(&after[..plain]));
                &after[plain..]
            }
            None => {
                expanded.push('$');
                after
            }
        };
    }
    expanded.push_str(rest);
    expanded
}

/// Checks a time zone's name: a relative path that stays below its folder.
pub fn check_time_zone(name: &str) -> Result<()> {
    let good = |part: &str| {
        !matches!(part, "" | "." | "..")
            && part.bytes().all(|byte| {
                byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'+' | b'.')
            })
    };
    if name.split('/').all(good) {
        Ok(())
    } else {
        Err(Error::invalid(format!("invalid time zone {name:?}"))
            .with_hint("a name like Europe/Berlin, or local for that of this machine"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user() -> UserEntry {
        UserEntry {
            name: "alice".to_owned(),
            uid: 1000,
            gid: 100,
            full_name: "Alice".to_owned(),
            home: "/home/alice".to_owned(),
        }
    }

    #[test]
    fn entries_follow_their_templates() {
        let line = |template| user().line(template).map(|line| line.text);
        assert_eq!(
            line(None).unwrap(),
            "alice:*:1000:100:Alice:/home/alice:/bin/sh"
        );
        assert_eq!(
            line(Some("x$USERNAME:x:${UID}:$GID:$NAME:/:/bin/false\n")).unwrap(),
            "xalice:x:1000:100:Alice:/:/bin/false"
        );
        for bad in ["", "a:b", "$USERNAME:*:x:1:::", "a:*:1:1:::\nroot::0:0:::"] {
            assert!(line(Some(bad)).is_err(), "{bad:?}");
        }
        assert_eq!(
            group_line("users", 100, "alice", None).unwrap().text,
            "users:x:100:alice"
        );
    }

    #[test]
    fn what_is_there_is_not_written_again() {
        let line = user().line(None).unwrap();
        let lines = [line.clone()];
        assert_eq!(complete(b"x:*:1000:1:::\n", &lines), None);
        assert_eq!(complete(b"alice:*:5:1:::\n", &lines), None);
        assert_eq!(
            complete(b"root:x:0:0:::", &lines).unwrap(),
            format!("root:x:0:0:::\n{}\n", line.text).as_bytes()
        );
        assert_eq!(
            complete(b"", &lines).unwrap(),
            format!("{}\n", line.text).as_bytes()
        );
    }

    #[test]
    fn the_hosts_users_are_found_by_name_and_number() {
        let passwd =
            b"root:x:0:0:root:/root:/bin/sh\nalice:x:1000:100:Alice,12,34:/home/alice:/bin/zsh\n";
        assert_eq!(host_user(passwd, "alice"), Some(user()));
        assert_eq!(host_user(passwd, "1000"), Some(user()));
        assert_eq!(host_user(passwd, "bob"), None);
    }

    #[test]
    fn a_name_in_the_image_needs_no_line() {
        assert_eq!(numbered_user("www", "/").unwrap(), None);
        let found = numbered_user("1234:5", "/work").unwrap().unwrap();
        assert_eq!((found.uid, found.gid), (1234, 5));
        assert_eq!(found.name, "1234");
        assert_eq!(found.home, "/work");
    }

    #[test]
    fn variables_are_expanded_as_go_does() {
        let value = |name: &str| format!("<{name}>");
        assert_eq!(expand("a$B-${C}$", value), "a<B>-<C>$");
        assert_eq!(expand("$$x ${x", value), "$<x> ${x");
    }

    #[test]
    fn time_zones_stay_in_their_folder() {
        for good in [
            "UTC",
            "Europe/Berlin",
            "Etc/GMT+1",
            "America/Port-au-Prince",
        ] {
            assert!(check_time_zone(good).is_ok(), "{good}");
        }
        for bad in ["", "../../etc/shadow", "/etc/passwd", "a//b", "a b", "a/.."] {
            assert!(check_time_zone(bad).is_err(), "{bad}");
        }
    }
}

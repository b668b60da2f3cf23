//! The columns of `top`: ps(1)'s, asked for by its options, and Podman's descriptors.
//!
//! Of ps's options those are understood that choose columns; every selection (`-e`, `-a`, `x`, …)
//! means all processes of the container.

use jiff::{Timestamp, tz::TimeZone};

use crate::model::{Error, Result, capability, process::ProcessFacts};

/// A column: its header and the text of its cells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Column {
    pub header: String,
    cell: Cell,
}

/// What a cell shows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Cell {
    Arguments,
    Capabilities(usize),
    Command,
    Elapsed,
    ElapsedSeconds,
    Flags,
    Group,
    GroupNumber,
    GroupOfHost,
    Groups,
    GroupsOfHost,
    Label,
    MemoryShare,
    Nice,
    OwnPid,
    ParentPid,
    Percent,
    Pid,
    Priority,
    ProcessGroup,
    Processor,
    RealGroup,
    RealUser,
    RealUserOwn,
    RealGroupOwn,
    Resident,
    Seccomp,
    Session,
    Start,
    State,
    StateFlags,
    Terminal,
    Threads,
    Time,
    TimeShort,
    User,
    UserNumber,
    UserOwn,
    GroupOwn,
    Virtual,
}

/// Which words name a column: ps's name, Podman's code, header, cell in ps, cell for Podman (where
/// numbers and names are those of the container).
type Name = (&'static str, &'static str, Cell, Cell);

static NAMES: &[Name] = {
    use Cell::*;
    &[
        ("args", "COMMAND", Arguments, Arguments),
        ("cmd", "CMD", Arguments, Arguments),
        ("command", "COMMAND", Arguments, Arguments),
        ("comm", "COMMAND", Command, Command),
        ("ucmd", "CMD", Command, Command),
        ("ucomm", "COMMAND", Command, Command),
        ("capinh", "INHERITED CAPS", Capabilities(0), Capabilities(0)),
        ("capprm", "PERMITTED CAPS", Capabilities(1), Capabilities(1)),
        ("capeff", "EFFECTIVE CAPS", Capabilities(2), Capabilities(2)),
        ("capbnd", "BOUNDING CAPS", Capabilities(3), Capabilities(3)),
        ("capamb", "AMBIENT CAPS", Capabilities(4), Capabilities(4)),
        ("c", "C", Processor, Processor),
        ("pcpu", "%CPU", Percent, Percent),
        ("%cpu", "%CPU", Percent, Percent),
        ("pmem", "%MEM", MemoryShare, MemoryShare),
        ("%mem", "%MEM", MemoryShare, MemoryShare),
        ("etime", "ELAPSED", Elapsed, Elapsed),
        ("etimes", "ELAPSED", ElapsedSeconds, ElapsedSeconds),
        ("f", "F", Flags, Flags),
        ("flags", "F", Flags, Flags),
        ("user", "USER", User, UserOwn),
        ("euser", "EUSER", User, UserOwn),
        ("uname", "USER", User, UserOwn),
        ("uid", "UID", UserNumber, UserNumber),
        ("euid", "EUID", UserNumber, UserNumber),
        ("ruser", "RUSER", RealUser, RealUserOwn),
        ("group", "GROUP", Group, GroupOwn),
        ("egroup", "EGROUP", Group, GroupOwn),
        ("gid", "GID", GroupNumber, GroupNumber),
        ("egid", "EGID", GroupNumber, GroupNumber),
        ("rgroup", "RGROUP", RealGroup, RealGroupOwn),
        ("groups", "GROUPS", Groups, Groups),
        ("hgroup", "HGROUP", GroupOfHost, GroupOfHost),
        ("hgroups", "HGROUPS", GroupsOfHost, GroupsOfHost),
        ("huser", "HUSER", User, User),
        ("hpid", "HPID", Pid, Pid),
        ("label", "LABEL", Label, Label),
        ("nice", "NI", Nice, Nice),
        ("ni", "NI", Nice, Nice),
        ("pri", "PRI", Priority, Priority),
        ("pid", "PID", Pid, OwnPid),
        ("tgid", "TGID", Pid, OwnPid),
        ("ppid", "PPID", ParentPid, ParentPid),
        ("pgid", "PGID", ProcessGroup, ProcessGroup),
        ("pgrp", "PGRP", ProcessGroup, ProcessGroup),
        ("sid", "SID", Session, Session),
        ("sess", "SESS", Session, Session),
        ("rss", "RSS", Resident, Resident),
        ("rssize", "RSS", Resident, Resident),
        ("seccomp", "SECCOMP", Seccomp, Seccomp),
        ("start", "STARTED", Start, Start),
        ("stime", "STIME", Start, Start),
        ("start_time", "START", Start, Start),
        ("s", "S", State, State),
        ("state", "S", State, State),
        ("stat", "STAT", StateFlags, StateFlags),
        ("nlwp", "NLWP", Threads, Threads),
        ("thcount", "THCNT", Threads, Threads),
        ("time", "TIME", Time, TimeShort),
        ("cputime", "TIME", Time, TimeShort),
        ("bsdtime", "TIME", TimeShort, TimeShort),
        ("tty", "TT", Terminal, Terminal),
        ("tt", "TT", Terminal, Terminal),
        ("tname", "TTY", Terminal, Terminal),
        ("vsz", "VSZ", Virtual, Virtual),
        ("vsize", "VSZ", Virtual, Virtual),
    ]
};

/// Podman's one-letter codes.
const CODES: &[(&str, &str)] = &[
    ("%C", "pcpu"),
    ("%G", "group"),
    ("%P", "ppid"),
    ("%U", "user"),
    ("%a", "args"),
    ("%c", "comm"),
    ("%g", "rgroup"),
    ("%n", "nice"),
    ("%p", "pid"),
    ("%r", "pgid"),
    ("%t", "etime"),
    ("%u", "ruser"),
    ("%x", "time"),
    ("%y", "tty"),
    ("%z", "vsz"),
];

/// Descriptors that Podman has; other words are ps's.
const DESCRIPTORS: &[&str] = &[
    "args", "capamb", "capbnd", "capeff", "capinh", "capprm", "comm", "etime", "group", "groups",
    "hgroup", "hgroups", "hpid", "huser", "label", "nice", "pcpu", "pgid", "pid", "ppid", "rgroup",
    "rss", "ruser", "seccomp", "state", "stime", "time", "tty", "user", "vsz",
];

/// The columns that the words behind the container's name ask for; `-ef` without any, as Docker.
pub fn parse(words: &[String]) -> Result<Vec<Column>> {
    if !words.is_empty()
        && let Some(columns) = words
            .iter()
            .map(|word| descriptors(word))
            .collect::<Option<Vec<_>>>()
    {
        return Ok(columns.concat());
    }
    let mut options = Options::default();
    let mut words = words.iter();
    while let Some(word) = words.next() {
        options.read(word, &mut words)?;
    }
    Ok(options.columns())
}

/// One word of Podman's: descriptors, by commas or one.
fn descriptors(word: &str) -> Option<Vec<Column>> {
    word.split(',')
        .map(|name| {
            let code = CODES.iter().find(|(code, _)| *code == name);
            let name = code.map_or(name, |(_, name)| name);
            if !DESCRIPTORS.contains(&name) {
                return None;
            }
            let (_, header, _, cell) = NAMES.iter().find(|(known, ..)| *known == name)?;
            let header = match name {
                "comm" | "args" => "COMMAND",
                "state" => "STATE",
                "tty" => "TTY",
                _ => header,
            };
            Some(Column {
                header: header.to_owned(),
                cell: *cell,
            })
        })
        .collect()
}

/// What of ps's options chooses columns.
#[derive(Default)]
struct Options {
    /// `-o`, in order.
    chosen: Vec<Column>,
    full: bool,
    long: bool,
    jobs: bool,
    user: bool,
}

impl Options {
    fn read(&mut self, word: &str, rest: &mut std::slice::Iter<'_, String>) -> Result<()> {
        if let Some(long) = word.strip_prefix("--") {
            return match long.split_once('=') {
                Some(("format", list)) => self.choose(list),
                None if long == "format" => self.choose(following(word, rest)?),
                _ => Err(unknown(word)),
            };
        }
        let dashed = word.starts_with('-');
        let letters = word.trim_start_matches('-');
        for (at, letter) in letters.char_indices() {
            match (letter, dashed) {
                ('o', _) => {
                    let list = &letters[at + 1..];
                    return if list.is_empty() {
                        self.choose(following(word, rest)?)
                    } else {
                        self.choose(list)
                    };
                }
                // Which processes, and how wide: all, as wide as they are.
                ('e' | 'A' | 'a' | 'd' | 'w' | 'N', true)
                | ('a' | 'x' | 'w' | 'g' | 'T' | 'r', false) => {}
                ('f' | 'F', true) => self.full = true,
                ('l', _) => self.long = true,
                ('j', _) => self.jobs = true,
                ('u', false) => self.user = true,
                _ => return Err(unknown(word)),
            }
        }
        Ok(())
    }

    /// `pid,comm=NAME`: a header of one's own reaches to the end of the word.
    fn choose(&mut self, list: &str) -> Result<()> {
        let (list, header) = match list.split_once('=') {
            Some((list, header)) => (list, Some(header)),
            None => (list, None),
        };
        for name in list.split([',', ' ']).filter(|name| !name.is_empty()) {
            self.chosen.push(by_name(name)?);
        }
        if let (Some(header), Some(last)) = (header, self.chosen.last_mut()) {
            header.clone_into(&mut last.header);
        }
        if self.chosen.is_empty() {
            return Err(Error::invalid("ps -o needs names of columns"));
        }
        Ok(())
    }

    fn columns(self) -> Vec<Column> {
        use Cell::*;
        if !self.chosen.is_empty() {
            return self.chosen;
        }
        let table: &[(&str, Cell)] = if self.user {
            &[
                ("USER", User),
                ("PID", Pid),
                ("%CPU", Percent),
                ("%MEM", MemoryShare),
                ("VSZ", Virtual),
                ("RSS", Resident),
                ("TTY", Terminal),
                ("STAT", StateFlags),
                ("START", Start),
                ("TIME", TimeShort),
                ("COMMAND", Arguments),
            ]
        } else if self.long {
            &[
                ("F", Flags),
                ("S", State),
                ("UID", UserNumber),
                ("PID", Pid),
                ("PPID", ParentPid),
                ("C", Processor),
                ("PRI", Priority),
                ("NI", Nice),
                ("SZ", Virtual),
                ("TTY", Terminal),
                ("TIME", Time),
                ("CMD", Command),
            ]
        } else if self.jobs {
            &[
                ("PID", Pid),
                ("PGID", ProcessGroup),
                ("SID", Session),
                ("TTY", Terminal),
                ("TIME", Time),
                ("CMD", Command),
            ]
        } else {
            &[
                ("UID", User),
                ("PID", Pid),
                ("PPID", ParentPid),
                ("C", Processor),
                ("STIME", Start),
                ("TTY", Terminal),
                ("TIME", Time),
                ("CMD", Arguments),
            ]
        };
        let column = |(header, cell): &(&str, Cell)| Column {
            header: (*header).to_owned(),
            cell: *cell,
        };
        table.iter().map(column).collect()
    }
}

fn by_name(name: &str) -> Result<Column> {
    let found = NAMES.iter().find(|(known, ..)| *known == name);
    let (_, header, cell, _) =
        found.ok_or_else(|| Error::invalid(format!("ps has no column {name:?} here")))?;
    Ok(Column {
        header: (*header).to_owned(),
        cell: *cell,
    })
}

fn following<'a>(word: &str, rest: &mut std::slice::Iter<'a, String>) -> Result<&'a str> {
    rest.next()
        .map(String::as_str)
        .ok_or_else(|| Error::invalid(format!("ps option {word} needs a list of columns")))
}

fn unknown(word: &str) -> Error {
    Error::invalid(format!("ps option {word:?} is not understood here"))
        .with_hint("-ef, aux, -o pid,comm,..., or descriptors such as: pid user args")
}

impl Column {
    /// The cell of one process. `memory` is the machine's, in bytes.
    pub fn show(&self, process: &ProcessFacts, memory: u64) -> String {
        let ids = &process.ids;
        let name = |id: &crate::model::process::Named| {
            id.name.clone().unwrap_or_else(|| id.number.to_string())
        };
        let list = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(",");
        match self.cell {
            Cell::Arguments => process.arguments.clone(),
            Cell::Capabilities(set) => capabilities(process.capabilities[set]),
            Cell::Command => process.name.clone(),
            Cell::Elapsed => elapsed(process.elapsed),
            Cell::ElapsedSeconds => process.elapsed.to_string(),
            Cell::Flags => "4".to_owned(),
            Cell::Group | Cell::GroupOfHost => name(&ids.effective_group),
            Cell::GroupNumber => ids.effective_group.number.to_string(),
            Cell::GroupOwn => own_name(ids.own_effective_group),
            Cell::Groups => list(&ids.own_groups),
            Cell::GroupsOfHost => list(&ids.groups),
            Cell::Label => "unconfined".to_owned(),
            Cell::MemoryShare => share(process.resident_size, memory),
            Cell::Nice => process.nice.to_string(),
            Cell::OwnPid => process.own_pid.to_string(),
            Cell::ParentPid => process.ppid.to_string(),
            Cell::Percent => percent(process, 1),
            Cell::Pid => process.pid.to_string(),
            Cell::Priority => (39 - process.priority).to_string(),
            Cell::ProcessGroup => process.group.to_string(),
            Cell::Processor => percent(process, 0),
            Cell::RealGroup => name(&ids.real_group),
            Cell::RealGroupOwn => own_name(ids.own_real_group),
            Cell::RealUser => name(&ids.real),
            Cell::RealUserOwn => own_name(ids.own_real),
            Cell::Resident => (process.resident_size / 1024).to_string(),
            Cell::Seccomp => seccomp(process.seccomp),
            Cell::Session => process.session.to_string(),
            Cell::Start => start(process),
            Cell::State => process.state.to_string(),
            Cell::StateFlags => state_flags(process),
            Cell::Terminal => terminal(process.terminal),
            Cell::Threads => process.threads.to_string(),
            Cell::Time => clock(process.processor_time / 1000),
            Cell::TimeShort => {
                let seconds = process.processor_time / 1000;
                format!("{}:{:02}", seconds / 60, seconds % 60)
            }
            Cell::User => name(&ids.effective),
            Cell::UserNumber => ids.effective.number.to_string(),
            Cell::UserOwn => own_name(ids.own_effective),
            Cell::Virtual => (process.virtual_size / 1024).to_string(),
        }
    }
}

/// Names in the container are its files' to say, which are not read: only 0 is known.
fn own_name(id: u32) -> String {
    if id == 0 {
        "root".to_owned()
    } else {
        id.to_string()
    }
}

fn capabilities(mask: u64) -> String {
    if mask == 0 {
        return "none".to_owned();
    }
    if mask & capability::ALL == capability::ALL {
        return "full".to_owned();
    }
    let names = capability::NAMES.iter().enumerate();
    let held = names.filter(|(number, _)| mask & (1 << number) != 0);
    held.map(|(_, name)| *name).collect::<Vec<_>>().join(",")
}

fn seccomp(mode: Option<u32>) -> String {
    match mode {
        Some(0) => "disabled",
        Some(1) => "strict",
        Some(2) => "filter",
        _ => "?",
    }
    .to_owned()
}

/// Processor time over the time since the start.
fn percent(process: &ProcessFacts, digits: usize) -> String {
    if process.elapsed == 0 {
        return format!("{:.digits$}", 0.0);
    }
    let share = process.processor_time as f64 / 10.0 / process.elapsed as f64;
    if digits == 0 {
        return (share as u64).to_string();
    }
    format!("{share:.digits$}")
}

fn share(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "0.0".to_owned();
    }
    format!("{:.1}", part as f64 * 100.0 / whole as f64)
}

/// ps(1): `[[DD-]HH:]MM:SS`.
fn elapsed(seconds: u64) -> String {
    let (days, hours) = (seconds / 86_400, seconds / 3600 % 24);
    let rest = format!("{:02}:{:02}", seconds / 60 % 60, seconds % 60);
    match (days, hours) {
        (0, 0) => rest,
        (0, hours) => format!("{hours:02}:{rest}"),
        (days, hours) => format!("{days}-{hours:02}:{rest}"),
    }
}

/// `[DD-]HH:MM:SS`
fn clock(seconds: u64) -> String {
    let days = seconds / 86_400;
    let rest = format!(
        "{:02}:{:02}:{:02}",
        seconds / 3600 % 24,
        seconds / 60 % 60,
        seconds % 60
    );
    if days == 0 {
        rest
    } else {
        format!("{days}-{rest}")
    }
}

/// The time of day if it was within the last 24 hours, else the day, else the year.
fn start(process: &ProcessFacts) -> String {
    let second = i64::try_from(process.started).unwrap_or(0);
    let Ok(moment) = Timestamp::from_second(second) else {
        return "?".to_owned();
    };
    let local = moment.to_zoned(TimeZone::system());
    let form = match process.elapsed {
        0..86_400 => "%H:%M",
        86_400..31_536_000 => "%b%d",
        _ => "%Y",
    };
    local.strftime(form).to_string()
}

fn state_flags(process: &ProcessFacts) -> String {
    let mut text = process.state.to_string();
    for (on, flag) in [
        (process.nice < 0, '<'),
        (process.nice > 0, 'N'),
        (process.session == process.pid, 's'),
        (process.threads > 1, 'l'),
        (process.foreground_group == process.group, '+'),
    ] {
        text.extend(on.then_some(flag));
    }
    text
}

/// Numbers as in Linux's Documentation/admin-guide/devices.txt: 136–143 are pseudo-terminals.
fn terminal(number: i32) -> String {
    let number = number as u32;
    let (major, minor) = (number >> 8 & 0xfff, number & 0xff | number >> 12 & 0xf_ff00);
    match major {
        0 => "?".to_owned(),
        4 if minor < 64 => format!("tty{minor}"),
        4 => format!("ttyS{}", minor - 64),
        136..=143 => format!("pts/{}", minor + (major - 136) * 256),
        _ => format!("{major}:{minor}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(words: &[&str]) -> String {
        let words: Vec<String> = words.iter().map(|&word| word.to_owned()).collect();
        match parse(&words) {
            Ok(columns) => {
                let headers: Vec<String> =
                    columns.into_iter().map(|column| column.header).collect();
                headers.join(" ")
            }
            Err(error) => error.message().to_owned(),
        }
    }

    #[test]
    fn options_of_ps_choose_columns() {
        for (words, expected) in [
            (&[][..], "UID PID PPID C STIME TTY TIME CMD"),
            (&["-ef"], "UID PID PPID C STIME TTY TIME CMD"),
            (
                &["aux"],
                "USER PID %CPU %MEM VSZ RSS TTY STAT START TIME COMMAND",
            ),
            (&["-o", "pid,comm"], "PID COMMAND"),
            (&["-eo", "pid,args=WHAT"], "PID WHAT"),
            (&["-opid", "-o", "user="], "PID "),
            (&["axo", "pid,stat"], "PID STAT"),
            (&["--format", "rss vsz"], "RSS VSZ"),
            (&["-ej"], "PID PGID SID TTY TIME CMD"),
        ] {
            assert_eq!(headers(words), expected, "{words:?}");
        }
    }

    #[test]
    fn podmans_descriptors_do_too() {
        assert_eq!(headers(&["pid", "user", "%C"]), "PID USER %CPU");
        assert_eq!(headers(&["hpid,huser", "comm"]), "HPID HUSER COMMAND");
        assert_eq!(headers(&["etime", "capeff"]), "ELAPSED EFFECTIVE CAPS");
    }

    #[test]
    fn what_is_not_understood_is_named() {
        for words in [
            &["-o", "nothing"][..],
            &["--sort=pid"],
            &["-o"],
            &["-p", "1"],
            &["-Z"],
        ] {
            assert!(
                headers(words).contains("ps"),
                "{words:?}: {}",
                headers(words)
            );
        }
    }

    #[test]
    fn cells_are_written_as_ps_does() {
        assert_eq!(elapsed(59), "00:59");
        assert_eq!(elapsed(3661), "01:01:01");
        assert_eq!(elapsed(90_061), "1-01:01:01");
        assert_eq!(clock(3661), "01:01:01");
        assert_eq!(terminal(0), "?");
        assert_eq!(terminal(34_816), "pts/0");
        assert_eq!(terminal(1025), "tty1");
        let busy = ProcessFacts {
            processor_time: 2500,
            elapsed: 10,
            state: 'S',
            pid: 7,
            session: 7,
            threads: 2,
            ..ProcessFacts::default()
        };
        assert_eq!(percent(&busy, 1), "25.0");
        assert_eq!(state_flags(&busy), "Ssl+");
        assert_eq!(capabilities(0b11), "CHOWN,DAC_OVERRIDE");
    }
}

//! Signal names and numbers, signal(7), "Signal numbering for standard signals".
//!
//! The numbers are those shared by x86, arm and most others (not Alpha, SPARC, MIPS, PA-RISC).
//! Real-time signals are glibc's and musl's view: 34 to 64, since the C libraries keep 32 and 33.

use super::{Error, Result};

pub const SIGHUP: i32 = 1;
pub const SIGINT: i32 = 2;
pub const SIGKILL: i32 = 9;
pub const SIGTERM: i32 = 15;
const RTMIN: i32 = 34;
const RTMAX: i32 = 64;

/// The first name of a number is the one that is printed.
const NAMES: &[(&str, i32)] = &[
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("POLL", 29),
    ("PWR", 30),
    ("SYS", 31),
];

/// `SIGTERM`, `term`, `15`, `RTMIN+3` or `SIGRTMAX-1`.
pub fn parse_signal(text: &str) -> Result<i32> {
    number(text).ok_or_else(|| {
        Error::invalid(format!("invalid signal {text:?}"))
            .with_hint("a name such as SIGTERM or HUP, or a number from 1 to 64")
    })
}

fn number(text: &str) -> Option<i32> {
    if text.starts_with(|first: char| first.is_ascii_digit()) {
        return in_range(text, 1, RTMAX);
    }
    let upper = text.to_ascii_uppercase();
    let name = upper.strip_prefix("SIG").unwrap_or(&upper);
    if let Some((_, number)) = NAMES.iter().find(|(known, _)| *known == name) {
        return Some(*number);
    }
    match name {
        "RTMIN" => Some(RTMIN),
        "RTMAX" => Some(RTMAX),
        _ => {
            let reach = RTMAX - RTMIN;
            if let Some(offset) = name.strip_prefix("RTMIN+") {
                in_range(offset, 0, reach).map(|offset| RTMIN + offset)
            } else {
                in_range(name.strip_prefix("RTMAX-")?, 0, reach).map(|offset| RTMAX - offset)
            }
        }
    }
}

/// Digits only: `parse` alone would also take a sign.
fn in_range(text: &str, least: i32, greatest: i32) -> Option<i32> {
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    let number = text.parse().ok()?;
    (digits && (least..=greatest).contains(&number)).then_some(number)
}

/// `SIGTERM` for 15, `SIGRTMIN+3` for 37; the number itself if it has no name.
pub fn signal_name(number: i32) -> String {
    if let Some((name, _)) = NAMES.iter().find(|(_, known)| *known == number) {
        return format!("SIG{name}");
    }
    match number {
        RTMIN => "SIGRTMIN".to_owned(),
        RTMAX => "SIGRTMAX".to_owned(),
        _ if (RTMIN..=RTMIN + 15).contains(&number) => format!("SIGRTMIN+{}", number - RTMIN),
        _ if (RTMIN..RTMAX).contains(&number) => format!("SIGRTMAX-{}", RTMAX - number),
        _ => number.to_string(),
    }
}

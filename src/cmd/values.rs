//! Values of flags as Docker's client reads them: by the word that help shows for them (`int`,
//! `bytes`), and for lists of a form of their own by the flag's name.
//!
//! What cannot be read is refused while the flags are read, with 125 and in pflag's words, whatever
//! else the command would do: `run --memory abc --help` is a mistake, too. What a value means is the
//! command's business. A number goes on in plain decimal digits, however Go allows it to be written
//! (`0x10`, `1_000`).

use std::any::TypeId;

use clap::Arg;

use crate::model::human;

type Checked = Result<String, String>;

/// The flag with the reader of its values, if they have a form.
pub fn checked(arg: Arg) -> Arg {
    if arg.get_value_parser().type_id() != TypeId::of::<String>() {
        return arg;
    }
    let long = arg.get_long().unwrap_or_default();
    let by_name: Option<fn(&str) -> Checked> = match long {
        "add-host" => Some(add_host),
        "blkio-weight-device"
        | "device-read-bps"
        | "device-read-iops"
        | "device-write-bps"
        | "device-write-iops" => Some(of_a_device),
        "device-cgroup-rule" => Some(device_rule),
        "dns" => Some(dns_server),
        "gpus" => Some(gpus),
        "health-interval" => Some(duration_or_disable),
        "memory-swap" => Some(bytes_or_unlimited),
        "mount" => Some(mount),
        "sysctl" => Some(sysctl),
        "ulimit" => Some(ulimit),
        _ => None,
    };
    match by_name.or_else(|| by_kind(kind(&arg))) {
        Some(check) => arg.value_parser(check),
        None => arg,
    }
}

fn by_kind(kind: &str) -> Option<fn(&str) -> Checked> {
    Some(match kind {
        "int" => |text| go_int(text, i64::MIN.into(), i64::MAX.into(), "ParseInt"),
        "uint" => |text| go_int(text, 0, u64::MAX.into(), "ParseUint"),
        "uint16" => |text| go_int(text, 0, u16::MAX.into(), "ParseUint"),
        "bytes" => bytes,
        "decimal" => decimal,
        "duration" => duration,
        "filter" => filter,
        "stringToString" => pair,
        _ => return None,
    })
}

fn kind(arg: &Arg) -> &str {
    let names = arg.get_value_names().unwrap_or_default();
    names.first().map_or("", |name| name.as_str())
}

/// What Go says of a number that clap could not read.
pub fn complaint(arg: &Arg, text: &str) -> Option<String> {
    let check = match kind(arg) {
        kind @ ("int" | "uint" | "uint16") => by_kind(kind)?,
        _ => return None,
    };
    let function = if kind(arg) == "int" {
        "ParseInt"
    } else {
        "ParseUint"
    };
    // A narrower type than 64 bits holds what the flag is for.
    let narrow = || format!("strconv.{function}: parsing {text:?}: value out of range");
    Some(check(text).err().unwrap_or_else(narrow))
}

/// strconv.ParseInt and ParseUint with base 0: the prefix says the base.
fn go_int(text: &str, least: i128, most: i128, function: &str) -> Checked {
    let because = |why: &str| Err(format!("strconv.{function}: parsing {text:?}: {why}"));
    let signs: &[char] = if least < 0 { &['-', '+'] } else { &[] };
    let digits = text.strip_prefix(signs).unwrap_or(text);
    let lower = digits.to_ascii_lowercase();
    let (radix, digits) = match lower.as_bytes() {
        [b'0', b'x', ..] => (16, &lower[2..]),
        [b'0', b'o', ..] => (8, &lower[2..]),
        [b'0', b'b', ..] => (2, &lower[2..]),
        [b'0', _, ..] => (8, &lower[1..]),
        _ => (10, lower.as_str()),
    };
    let digits = digits.replace('_', "");
    if digits.is_empty() || !digits.chars().all(|digit| digit.is_digit(radix)) {
        return because("invalid syntax");
    }
    let size = i128::from_str_radix(&digits, radix).unwrap_or(i128::MAX);
    let number = if text.starts_with('-') { -size } else { size };
    if number < least || number > most {
        return because("value out of range");
    }
    Ok(number.to_string())
}

fn bytes(text: &str) -> Checked {
    match human::parse_bytes(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("invalid size: '{text}'")),
    }
}

fn bytes_or_unlimited(text: &str) -> Checked {
    match text {
        "-1" => Ok(text.to_owned()),
        _ => bytes(text),
    }
}

/// big.Rat: decimals, exponents, fractions.
fn decimal(text: &str) -> Checked {
    let is_number = |text: &str| text.parse::<f64>().is_ok_and(f64::is_finite);
    let fits = match text.split_once('/') {
        Some((over, under)) => is_number(over) && is_number(under),
        None => is_number(text),
    };
    if !fits {
        return Err(format!("failed to parse {text} as a rational number"));
    }
    Ok(text.to_owned())
}

/// Whether a negative one makes sense is for the command to say.
fn duration(text: &str) -> Checked {
    match human::parse_duration(text.strip_prefix('-').unwrap_or(text)) {
        Ok(_) => Ok(text.to_owned()),
        Err(_) => Err(format!("time: invalid duration {text:?}")),
    }
}

/// Podman's word for checks that only come when they are asked for.
fn duration_or_disable(text: &str) -> Checked {
    match text {
        "disable" => Ok(text.to_owned()),
        _ => duration(text),
    }
}

fn filter(text: &str) -> Checked {
    if !text.is_empty() && !text.contains('=') {
        return Err("bad format of filter (expected name=value)".to_owned());
    }
    Ok(text.to_owned())
}

fn pair(text: &str) -> Checked {
    if !text.contains('=') {
        return Err(format!("{text} must be formatted as key=value"));
    }
    Ok(text.to_owned())
}

fn add_host(text: &str) -> Checked {
    let name = text.split([':', '=']).next().unwrap_or_default();
    if name.is_empty() || name.len() == text.len() {
        return Err(format!("bad format for add-host: {text:?}"));
    }
    Ok(text.to_owned())
}

fn of_a_device(text: &str) -> Checked {
    if !text.contains(':') {
        return Err(format!("bad format: {text}"));
    }
    Ok(text.to_owned())
}

fn device_rule(text: &str) -> Checked {
    if text.split(' ').count() != 3 || !text.contains(':') {
        return Err(format!("invalid device cgroup format '{text}'"));
    }
    Ok(text.to_owned())
}

/// Podman's `none`, too.
fn dns_server(text: &str) -> Checked {
    if text != "none" && text.parse::<std::net::IpAddr>().is_err() {
        return Err(format!("IP address is not correctly formatted: {text}"));
    }
    Ok(text.to_owned())
}

fn gpus(text: &str) -> Checked {
    if !text.contains(['=', ',']) && text != "all" && text.parse::<i64>().is_err() {
        return Err(format!(
            "invalid count ({text}): value must be either \"all\" or an integer: invalid syntax"
        ));
    }
    Ok(text.to_owned())
}

/// A single word is no mount, not even one of those that may stand without a value.
fn mount(text: &str) -> Checked {
    if !text.contains('=') {
        return Err(format!("invalid field '{text}' must be a key=value pair"));
    }
    Ok(text.to_owned())
}

fn sysctl(text: &str) -> Checked {
    if !text.contains('=') {
        return Err(format!("sysctl '{text}' is not allowed"));
    }
    Ok(text.to_owned())
}

/// Podman's `host`, too.
fn ulimit(text: &str) -> Checked {
    if text != "host" && !text.contains('=') {
        return Err(format!("invalid ulimit argument: {text}"));
    }
    Ok(text.to_owned())
}

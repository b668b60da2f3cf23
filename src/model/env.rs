//! Environment variables as they are given: `-e` and `--env-file`, in Docker's grammar.
//!
//! A name without a value is looked up in the caller's environment, which this module does not
//! know: the caller passes a function. A name found nowhere is left out. Values are raw: there
//! are no quotes, no escapes and no expansion.

use std::collections::{HashMap, hash_map::Entry};

use super::{Error, ErrorKind, Result};

/// Gives the value of a variable of the caller's environment.
pub type Lookup<'a> = &'a dyn Fn(&str) -> Option<String>;

/// A file longer than this is not an environment (the kernel takes 2 MiB of them by default).
const MAX_FILE: usize = 8 << 20;

/// Resolves `-e NAME=VALUE` and `-e NAME`; `None` if the name has no value anywhere.
pub fn resolve_env(text: &str, lookup: Lookup) -> Result<Option<String>> {
    let invalid = |why| {
        Err(Error::invalid(format!(
            "invalid environment variable {text:?}: {why}"
        )))
    };
    if text.contains('\0') {
        return invalid("it contains a NUL byte");
    }
    match text.split_once('=') {
        Some(("", _)) => invalid("the name is missing"),
        Some(_) => Ok(Some(text.to_owned())),
        None if text.is_empty() => invalid("the name is missing"),
        None => Ok(lookup(text).map(|value| format!("{text}={value}"))),
    }
}

/// Reads an `--env-file`: lines `NAME=VALUE` or `NAME`; blank lines and those that begin with
/// `#` are skipped, a byte order mark too.
pub fn parse_env_file(bytes: &[u8], lookup: Lookup) -> Result<Vec<String>> {
    let invalid = |number: usize, why: &str| {
        Error::invalid(format!("invalid environment file: line {number}: {why}"))
    };
    if bytes.len() > MAX_FILE {
        return Err(Error::new(
            ErrorKind::InvalidArgument,
            format!("invalid environment file: it is longer than {MAX_FILE} bytes"),
        ));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let mut variables = Vec::new();
    for (index, line) in bytes.split(|&byte| byte == b'\n').enumerate() {
        let number = index + 1;
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = std::str::from_utf8(line).map_err(|_| invalid(number, "it is not UTF-8"))?;
        let line = line.trim_start();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let name = line.split_once('=').map_or(line, |(name, _)| name);
        if name.is_empty() {
            return Err(invalid(number, "the name is missing"));
        }
        if name.contains(char::is_whitespace) {
            return Err(invalid(
                number,
                &format!("the name {name:?} contains a blank"),
            ));
        }
        let variable =
            resolve_env(line, lookup).map_err(|error| invalid(number, error.message()))?;
        variables.extend(variable);
    }
    Ok(variables)
}

/// Appends `later` to `earlier`. A variable that is there already keeps its place and gets the
/// new value, so that the order of an image's environment survives.
pub fn merge_env(earlier: &[String], later: &[String]) -> Vec<String> {
    let mut merged: Vec<String> = Vec::with_capacity(earlier.len() + later.len());
    let mut places: HashMap<&str, usize> = HashMap::new();
    for variable in earlier.iter().chain(later) {
        match places.entry(name_of(variable)) {
            Entry::Occupied(place) => {
                merged[*place.get()].clone_from(variable);
            }
            Entry::Vacant(place) => {
                place.insert(merged.len());
                merged.push(variable.clone());
            }
        }
    }
    merged
}

/// The part before the first `=`.
pub fn name_of(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// The value that a list of `NAME=VALUE` gives a name; the last one counts.
pub fn value_of<'a>(variables: &'a [String], name: &str) -> Option<&'a str> {
    variables.iter().rev().find_map(|variable| {
        let (candidate, value) = variable.split_once('=')?;
        (candidate == name).then_some(value)
    })
}

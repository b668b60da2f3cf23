//! Where a container's output is kept: `--log-driver` and `--log-opt`.
//!
//! Options are checked when they are given, in Docker's words, and kept as they were typed: what
//! `inspect` shows. [`LogPlan`] is what the supervisor makes of them.

use std::{collections::BTreeMap, str::FromStr};

use serde::{Deserialize, Serialize};

use super::{Error, ErrorKind, Result, human};

#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogSpec {
    pub driver: LogDriver,
    /// As typed, later ones win; an option without `=` has an empty value.
    pub options: BTreeMap<String, String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum LogDriver {
    /// Docker's JSON lines.
    #[default]
    JsonFile,
    /// The lines of Kubernetes' container runtimes.
    K8sFile,
    /// JSON lines in zstd frames.
    Local,
    /// systemd-journald's native protocol.
    Journald,
    None,
    /// The container has the streams of the command that started it.
    Passthrough,
    /// The same, and they may be a terminal.
    PassthroughTty,
}

/// How many bytes a log may take, and in how many files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogLimits {
    /// Of one file, before any compression; `None` never rotates.
    pub size: Option<u64>,
    /// The current one included.
    pub files: u32,
    /// Rotated files are compressed (gzip).
    pub compress: bool,
}

/// What the supervisor does with a container's output.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogPlan {
    pub driver: LogDriver,
    pub limits: LogLimits,
    /// Another file than the one in the container's folder: an absolute path.
    pub path: Option<String>,
    /// What is said of the container with every record: labels, variables, the tag.
    pub attributes: BTreeMap<String, String>,
    /// What journald is told of the container.
    pub fields: BTreeMap<String, String>,
    /// How many bytes may wait for a slow reader (journald); `None` waits for it.
    pub buffer: Option<u64>,
}

/// How long a frame of a `local` log is, before and after compression. In the file it is a
/// skippable frame (RFC 8878, 3.1.2), so that any zstd program can read the whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    pub compressed: u32,
    pub records: u32,
}

impl FrameHeader {
    pub const LENGTH: usize = 16;
    /// A skippable frame of eight bytes.
    const BEGINNING: [u8; 8] = [0x5c, 0x2a, 0x4d, 0x18, 8, 0, 0, 0];

    pub fn encode(self) -> [u8; Self::LENGTH] {
        let mut out = [0; Self::LENGTH];
        out[..8].copy_from_slice(&Self::BEGINNING);
        out[8..12].copy_from_slice(&self.compressed.to_le_bytes());
        out[12..].copy_from_slice(&self.records.to_le_bytes());
        out
    }

    /// `None` if a frame does not begin so.
    pub fn parse(bytes: &[u8; Self::LENGTH]) -> Option<FrameHeader> {
        let number = |at: usize| {
            let digits = bytes[at..at + 4].try_into().unwrap_or_default();
            u32::from_le_bytes(digits)
        };
        bytes.starts_with(&Self::BEGINNING).then(|| FrameHeader {
            compressed: number(8),
            records: number(12),
        })
    }
}

const DEFAULT_SIZE: u64 = 10_000_000;
const DEFAULT_FILES: u32 = 3;
const DEFAULT_BUFFER: u64 = 1 << 20;

/// What names the container in its records.
const ATTRIBUTES: [&str; 5] = ["labels", "labels-regex", "env", "env-regex", "tag"];
/// What bounds the files.
const LIMITS: [&str; 3] = ["max-size", "max-file", "compress"];
/// Known to every driver but `none`.
const COMMON: [&str; 2] = ["mode", "max-buffer-size"];

impl LogDriver {
    pub fn name(self) -> &'static str {
        match self {
            LogDriver::JsonFile => "json-file",
            LogDriver::K8sFile => "k8s-file",
            LogDriver::Local => "local",
            LogDriver::Journald => "journald",
            LogDriver::None => "none",
            LogDriver::Passthrough => "passthrough",
            LogDriver::PassthroughTty => "passthrough-tty",
        }
    }

    /// Whether it writes files of ours, which `logs` can read.
    pub fn has_files(self) -> bool {
        matches!(
            self,
            LogDriver::JsonFile | LogDriver::K8sFile | LogDriver::Local
        )
    }

    /// Whether the container is given the streams of the command that starts it.
    pub fn passes_through(self) -> bool {
        matches!(self, LogDriver::Passthrough | LogDriver::PassthroughTty)
    }

    fn knows(self, option: &str) -> bool {
        let own: &[&[&str]] = match self {
            LogDriver::JsonFile => &[&ATTRIBUTES, &LIMITS, &["path"]],
            LogDriver::K8sFile => &[&LIMITS, &["path", "tag"]],
            LogDriver::Local => &[&LIMITS],
            LogDriver::Journald => &[&ATTRIBUTES],
            LogDriver::None => return false,
            LogDriver::Passthrough | LogDriver::PassthroughTty => &[],
        };
        own.iter().any(|names| names.contains(&option)) || COMMON.contains(&option)
    }
}

impl FromStr for LogDriver {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        const ELSEWHERE: [&str; 7] = [
            "syslog", "gelf", "fluentd", "awslogs", "splunk", "etwlogs", "gcplogs",
        ];
        Ok(match text {
            "" | "json-file" => LogDriver::JsonFile,
            "k8s-file" => LogDriver::K8sFile,
            "local" => LogDriver::Local,
            "journald" => LogDriver::Journald,
            "none" => LogDriver::None,
            "passthrough" => LogDriver::Passthrough,
            "passthrough-tty" => LogDriver::PassthroughTty,
            other if ELSEWHERE.contains(&other) => {
                return Err(Error::new(
                    ErrorKind::Unsupported,
                    format!("log driver {other} is not supported: there is no daemon that could send a log over the network"),
                )
                .with_hint("json-file, k8s-file or local, and a collector that reads the file; or journald"));
            }
            other => {
                return Err(Error::invalid(format!(
                    "logger: no log driver named '{other}' is registered"
                ))
                .with_hint(
                    "json-file, k8s-file, local, journald, none, passthrough or passthrough-tty",
                ));
            }
        })
    }
}

impl LogSpec {
    /// From `--log-driver` and each `--log-opt NAME=VALUE`.
    pub fn parse(driver: &str, options: &[String]) -> Result<LogSpec> {
        let driver: LogDriver = driver.parse()?;
        if driver == LogDriver::None && !options.is_empty() {
            return Err(Error::invalid("invalid logging opts for driver none"));
        }
        let options = options.iter().map(|option| {
            let (name, value) = option.split_once('=').unwrap_or((option, ""));
            (name.to_owned(), value.to_owned())
        });
        let spec = LogSpec {
            driver,
            options: options.collect(),
        };
        spec.check()?;
        Ok(spec)
    }

    fn check(&self) -> Result<()> {
        let mode = self.options.get("mode").map_or("", String::as_str);
        if !matches!(mode, "" | "blocking" | "non-blocking") {
            return Err(Error::invalid(format!(
                "logger: logging mode not supported: {mode}"
            )));
        }
        if self.options.contains_key("max-buffer-size") && mode != "non-blocking" {
            return Err(Error::invalid(
                "logger: max-buffer-size option is only supported with 'mode=non-blocking'",
            ));
        }
        self.buffer()?;
        let name = self.driver.name();
        if let Some(unknown) = self.options.keys().find(|key| !self.driver.knows(key)) {
            return Err(Error::invalid(format!(
                "unknown log opt '{unknown}' for {name} log driver"
            )));
        }
        for option in ["labels-regex", "env-regex"] {
            self.regex(option)?;
        }
        if let Some(path) = self.options.get("path")
            && !path.starts_with('/')
        {
            return Err(Error::invalid(format!(
                "log opt path: {path:?} is not an absolute path of a file"
            )));
        }
        self.limits().map(drop)
    }

    /// Those of the options, or the driver's own.
    pub fn limits(&self) -> Result<LogLimits> {
        let size = match self.options.get("max-size").map(String::as_str) {
            None => Some(DEFAULT_SIZE),
            // Docker's word for no limit.
            Some("-1") => None,
            Some(text) => Some(human::parse_decimal_bytes(text)?)
                .filter(|size| *size > 0)
                .map(Some)
                .ok_or_else(|| Error::invalid("max-size must be a positive number"))?,
        };
        let files = match self.options.get("max-file") {
            None if size.is_none() => 1,
            None => DEFAULT_FILES,
            Some(text) => text
                .parse::<i64>()
                .map_err(|_| Error::invalid(format!("invalid max-file: {text:?} is no number")))?
                .try_into()
                .ok()
                .filter(|files| (1..=10_000).contains(files))
                .ok_or_else(|| {
                    Error::invalid("max-file cannot be less than 1 or more than 10000")
                })?,
        };
        let compress = match self.options.get("compress") {
            None => false,
            Some(text) => parse_bool(text).ok_or_else(|| {
                Error::invalid(format!(
                    "invalid compress: {text:?} is neither true nor false"
                ))
            })?,
        };
        if compress && self.driver != LogDriver::Local && (files == 1 || size.is_none()) {
            return Err(Error::invalid(
                "compress cannot be true when max-file is less than 2 or max-size is not set",
            ));
        }
        Ok(LogLimits {
            size,
            files,
            // Its frames are compressed already.
            compress: compress && self.driver != LogDriver::Local,
        })
    }

    /// Bytes that may wait with `mode=non-blocking`.
    pub fn buffer(&self) -> Result<Option<u64>> {
        if self.options.get("mode").map(String::as_str) != Some("non-blocking") {
            return Ok(None);
        }
        let size = self.options.get("max-buffer-size");
        Ok(Some(match size {
            None => DEFAULT_BUFFER,
            Some(text) => human::parse_bytes(text).map_err(|error| {
                Error::invalid(format!(
                    "error parsing option max-buffer-size: {}",
                    error.message()
                ))
            })?,
        }))
    }

    fn regex(&self, option: &str) -> Result<Option<regex_lite::Regex>> {
        let Some(text) = self.options.get(option).filter(|text| !text.is_empty()) else {
            return Ok(None);
        };
        match regex_lite::Regex::new(text) {
            Ok(regex) => Ok(Some(regex)),
            Err(error) => Err(Error::invalid(format!(
                "invalid {option} {text:?}: {error}"
            ))),
        }
    }

    /// What the options choose of the container's labels and variables (`NAME=VALUE`).
    pub fn attributes(
        &self,
        labels: &BTreeMap<String, String>,
        variables: &[String],
    ) -> Result<BTreeMap<String, String>> {
        let variables: BTreeMap<&str, &str> = variables
            .iter()
            .filter_map(|variable| variable.split_once('='))
            .collect();
        let labels = labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
        let mut chosen = BTreeMap::new();
        self.choose("labels", "labels-regex", labels, &mut chosen)?;
        self.choose("env", "env-regex", variables.into_iter(), &mut chosen)?;
        Ok(chosen)
    }

    fn choose<'a>(
        &self,
        names: &str,
        regex: &str,
        all: impl Iterator<Item = (&'a str, &'a str)>,
        chosen: &mut BTreeMap<String, String>,
    ) -> Result<()> {
        let names = self.options.get(names).map_or("", String::as_str);
        let regex = self.regex(regex)?;
        let wanted = |name: &str| {
            !name.is_empty() && names.split(',').any(|one| one == name)
                || regex.as_ref().is_some_and(|regex| regex.is_match(name))
        };
        chosen.extend(
            all.filter(|(name, _)| wanted(name))
                .map(|(name, value)| (name.to_owned(), value.to_owned())),
        );
        Ok(())
    }
}

/// As Go's `strconv.ParseBool`.
fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "true" | "TRUE" | "True" => Some(true),
        "0" | "f" | "F" | "false" | "FALSE" | "False" => Some(false),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(driver: &str, options: &[&str]) -> Result<LogSpec> {
        let options: Vec<String> = options.iter().map(|&text| text.to_owned()).collect();
        LogSpec::parse(driver, &options)
    }

    fn refused(driver: &str, options: &[&str]) -> String {
        parse(driver, options).unwrap_err().one_line()
    }

    #[test]
    fn limits_are_docker_s_with_a_cap() {
        let limits = |options: &[&str]| parse("json-file", options).unwrap().limits().unwrap();
        let default = limits(&[]);
        assert_eq!((default.size, default.files), (Some(10_000_000), 3));
        assert_eq!(limits(&["max-size=10k"]).size, Some(10_000));
        assert_eq!(
            limits(&["max-size=1.5m", "max-file=7"]).size,
            Some(1_500_000)
        );
        let endless = limits(&["max-size=-1"]);
        assert_eq!((endless.size, endless.files), (None, 1));
        assert!(limits(&["compress=true"]).compress);
        assert_eq!(parse("", &[]).unwrap().driver, LogDriver::JsonFile);
    }

    #[test]
    fn refuses_in_docker_s_words() {
        let unknown = refused("json-file", &["max-sizes=1"]);
        assert_eq!(
            unknown,
            "unknown log opt 'max-sizes' for json-file log driver"
        );
        assert_eq!(
            refused("none", &["max-size=1k"]),
            "invalid logging opts for driver none"
        );
        assert_eq!(
            refused("json-file", &["mode=later"]),
            "logger: logging mode not supported: later"
        );
        assert_eq!(
            refused("json-file", &["max-buffer-size=1m"]),
            "logger: max-buffer-size option is only supported with 'mode=non-blocking'"
        );
        assert!(refused("json-file", &["max-size=ten"]).starts_with("invalid size: 'ten'"));
        assert_eq!(
            refused("json-file", &["max-size=0"]),
            "max-size must be a positive number"
        );
        assert!(
            refused("json-file", &["max-file=0"]).starts_with("max-file cannot be less than 1")
        );
        assert!(
            refused("json-file", &["compress=true", "max-file=1"]).starts_with("compress cannot")
        );
        assert!(refused("json-file", &["path=here"]).contains("absolute"));
        assert!(refused("json-file", &["env-regex=("]).starts_with("invalid env-regex"));
        assert!(refused("splunk", &[]).contains("not supported"));
        assert_eq!(
            refused("nowhere", &[]),
            "logger: no log driver named 'nowhere' is registered"
        );
    }

    #[test]
    fn attributes_are_chosen_by_name_and_pattern() {
        let labels = BTreeMap::from([("a.b", "1"), ("c", "2"), ("a.d", "3")])
            .into_iter()
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
            .collect();
        let variables = ["HOME=/".to_owned(), "LANG=C".to_owned()];
        let spec = parse(
            "json-file",
            &["labels=c,none", "labels-regex=^a\\.", "env=LANG"],
        );
        let chosen = spec.unwrap().attributes(&labels, &variables).unwrap();
        let names: Vec<&str> = chosen.keys().map(String::as_str).collect();
        assert_eq!(names, ["LANG", "a.b", "a.d", "c"]);
    }
}

//! What containers.conf(5) sets for every container, as words of the command line before the user's
//! own: whatever reads the flags reads the settings too, and judges them in the same way.
//!
//! Only what the user and the machine's administrator wrote counts (`~/.config/containers`,
//! `/etc/containers`), not what a distribution ships in /usr/share for podman: that would make other
//! containers of docker's commands when podman is installed beside.

use std::{
    ffi::OsString,
    fs,
    io::ErrorKind::NotFound,
    path::{Path, PathBuf},
};

use clap::{ArgMatches, Command, parser::ValueSource};

use super::{env, failure::Failure, settings};
use crate::model::{
    Context, Error, ErrorKind, Result, capability,
    containers_conf::{ContainersConf, Setting},
};

/// A key, the flag that it is the default of, and what stands before its value.
struct Rule {
    key: &'static str,
    flag: &'static str,
    before: &'static str,
    /// The user's own list takes its place; other lists are added to.
    replaced: bool,
    /// Values that ask for what happens anyway, or for a helper program that is not needed.
    usual: &'static [&'static str],
}

const fn rule(key: &'static str, flag: &'static str) -> Rule {
    Rule {
        key,
        flag,
        before: "",
        replaced: false,
        usual: &[""],
    }
}

const fn list(key: &'static str, flag: &'static str) -> Rule {
    Rule {
        replaced: true,
        ..rule(key, flag)
    }
}

const fn option(key: &'static str, flag: &'static str, before: &'static str) -> Rule {
    Rule {
        before,
        ..rule(key, flag)
    }
}

const CAPABILITIES: &str = "containers.default_capabilities";

const RULES: &[Rule] = &[
    rule("containers.annotations", "annotation"),
    option("containers.apparmor_profile", "security-opt", "apparmor="),
    rule("containers.cgroupns", "cgroupns"),
    rule("containers.cgroups", "cgroups"),
    rule("containers.default_sysctls", "sysctl"),
    rule("containers.default_ulimits", "ulimit"),
    rule("containers.devices", "device"),
    list("containers.dns_options", "dns-option"),
    list("containers.dns_searches", "dns-search"),
    list("containers.dns_servers", "dns"),
    rule("containers.env", "env"),
    rule("containers.env_host", "env-host"),
    rule("containers.http_proxy", "http-proxy"),
    rule("containers.init", "init"),
    rule("containers.ipcns", "ipc"),
    rule("containers.log_driver", "log-driver"),
    Rule {
        usual: &["", "-1"],
        ..option("containers.log_size_max", "log-opt", "max-size=")
    },
    option("containers.log_tag", "log-opt", "tag="),
    rule("containers.mounts", "mount"),
    Rule {
        replaced: true,
        usual: &["", "private", "slirp4netns"],
        ..rule("containers.netns", "network")
    },
    rule("containers.no_hosts", "no-hosts"),
    rule("containers.oom_score_adj", "oom-score-adj"),
    rule("containers.pidns", "pid"),
    rule("containers.pids_limit", "pids-limit"),
    rule("containers.privileged", "privileged"),
    rule("containers.read_only", "read-only"),
    option("containers.seccomp_profile", "security-opt", "seccomp="),
    rule("containers.shm_size", "shm-size"),
    rule("containers.tz", "tz"),
    rule("containers.umask", "umask"),
    Rule {
        usual: &["", "host", "private"],
        ..rule("containers.userns", "userns")
    },
    rule("containers.utsns", "uts"),
    rule("containers.volumes", "volume"),
];

/// The words to put before the user's, who gave the flags in `given`.
pub fn words(command: &Command, given: &ArgMatches) -> std::result::Result<Vec<OsString>, Failure> {
    let conf = read()?;
    let flags = Given { command, given };
    let mut words: Vec<OsString> = RULES
        .iter()
        .filter_map(|rule| Some((rule, conf.get(rule.key)?)))
        .flat_map(|(rule, setting)| of_rule(rule, setting, &flags))
        .map(OsString::from)
        .collect();
    if let Some(setting) = conf.get(CAPABILITIES) {
        let (wanted, _) = capability::mask(&setting.values).map_err(|error| {
            Error::invalid(format!("{}: {CAPABILITIES}: {error}", setting.file))
        })?;
        let all = capabilities(wanted, &flags)?;
        words.extend(all.into_iter().map(OsString::from));
    }
    Ok(words)
}

/// Every setting that counts: its key, its value and its file, for `config show`.
pub fn shown() -> Result<Vec<(&'static str, String, String)>> {
    let conf = read()?;
    let keys = RULES.iter().map(|rule| rule.key).chain([CAPABILITIES]);
    let set = keys.filter_map(|key| Some((key, conf.get(key)?)));
    Ok(set
        .map(|(key, setting)| (key, setting.values.join(","), setting.file.clone()))
        .collect())
}

fn of_rule(rule: &Rule, setting: &Setting, flags: &Given) -> Vec<String> {
    let own = flags.values(rule.flag);
    let is_own = !own.is_empty()
        && (rule.replaced || own.iter().any(|value| value.starts_with(rule.before)));
    // A log that is no file has no size.
    let is_idle = rule.flag == "log-opt" && !flags.logs_to_files();
    if is_idle || is_own && (rule.replaced || !rule.before.is_empty()) {
        return Vec::new();
    }
    let values = setting.values.iter();
    values
        .filter(|value| !rule.usual.contains(&value.as_str()))
        .map(|value| format!("--{}={}{value}", rule.flag, rule.before))
        .collect()
}

/// The difference to what containers have without a word. What the user takes away is not given back,
/// and what the user gives is not taken away: with both named, giving would win.
fn capabilities(wanted: u64, flags: &Given) -> Result<Vec<String>> {
    let (given, all_given) = capability::mask(&flags.values("cap-add"))?;
    let (taken, all_taken) = capability::mask(&flags.values("cap-drop"))?;
    let mut more = wanted & !capability::DEFAULT & !taken;
    let mut less = capability::DEFAULT & !wanted & !given;
    if all_taken {
        more = 0;
    }
    if all_given {
        less = 0;
    }
    let words = |flag: &str, mask| {
        let names = capability::names(mask).into_iter();
        names
            .map(move |name| format!("--{flag}={name}"))
            .collect::<Vec<_>>()
    };
    Ok([words("cap-add", more), words("cap-drop", less)].concat())
}

/// What the user said.
struct Given<'a> {
    command: &'a Command,
    given: &'a ArgMatches,
}

impl Given<'_> {
    /// The values that the user gave a flag; none if the flag was not given.
    fn values(&self, long: &str) -> Vec<String> {
        let arg = self
            .command
            .get_arguments()
            .find(|arg| arg.get_long() == Some(long));
        let Some(id) = arg.map(|arg| arg.get_id().as_str()) else {
            return Vec::new();
        };
        if self.given.value_source(id) != Some(ValueSource::CommandLine) {
            return Vec::new();
        }
        let raw = self.given.get_raw(id).into_iter().flatten();
        raw.flat_map(|value| {
            value
                .to_string_lossy()
                .split(',')
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
    }

    fn logs_to_files(&self) -> bool {
        let drivers = self.values("log-driver");
        drivers
            .iter()
            .all(|driver| ["json-file", "k8s-file", "local"].contains(&driver.as_str()))
    }
}

fn read() -> Result<ContainersConf> {
    let mut conf = ContainersConf::default();
    for file in files() {
        let text = match fs::read_to_string(&file) {
            Ok(text) => text,
            // What an administrator has set and this user may not read is not passed over.
            Err(cause) if cause.kind() == NotFound => continue,
            Err(cause) if settings::is_absent(&cause) && !file.starts_with("/etc") => continue,
            Err(cause) => {
                let what = || format!("cannot read {}", file.display());
                return Err(cause).context(ErrorKind::InvalidArgument, what);
            }
        };
        conf.add(&file.display().to_string(), &text)?;
    }
    Ok(conf)
}

/// In the order in which they are read.
fn files() -> Vec<PathBuf> {
    let mut files = match env::containers_conf() {
        Some(named) => vec![named],
        None => {
            let home = env::xdg_config_home().or_else(|| Some(env::home()?.join(".config")));
            let folders = [Some("/etc".into()), home];
            folders
                .into_iter()
                .flatten()
                .flat_map(|folder: PathBuf| with_additions(&folder))
                .collect()
        }
    };
    files.extend(env::containers_conf_override());
    files
}

fn with_additions(folder: &Path) -> Vec<PathBuf> {
    let file = folder.join("containers/containers.conf");
    let mut additions: Vec<PathBuf> = fs::read_dir(file.with_extension("conf.d"))
        .into_iter()
        .flatten()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.extension().is_some_and(|end| end == "conf"))
        .collect();
    additions.sort_unstable();
    additions.insert(0, file);
    additions
}

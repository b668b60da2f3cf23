//! `--change` of `import` and `commit`: single Dockerfile instructions that alter what a container
//! runs by default, and how they go together with what it runs already ([`merge`]).

use std::collections::BTreeMap;

use serde_json::json;

use crate::model::{Error, Result, health::HealthConfig, human, image::ProcessDefaults};

/// Defaults that the instructions make of nothing. An entrypoint drops the command unless an
/// instruction has set one.
pub fn defaults(changes: &[String]) -> Result<ProcessDefaults> {
    let mut made = ProcessDefaults::default();
    let mut has_command = false;
    for change in changes {
        apply(&mut made, change)?;
        match instruction(change).0.as_str() {
            "CMD" => has_command = true,
            "ENTRYPOINT" if !has_command => made.cmd = None,
            _ => {}
        }
    }
    Ok(made)
}

/// What is set in `ours` counts; the rest is as in `theirs`. Lists and sets are put together.
pub fn merge(mut ours: ProcessDefaults, theirs: ProcessDefaults) -> ProcessDefaults {
    let is_set = |list: &Option<Vec<String>>| list.as_ref().is_some_and(|list| !list.is_empty());
    let checks = (
        HealthConfig::of_image(&ours),
        HealthConfig::of_image(&theirs),
    );
    ours.user = ours.user.or(theirs.user);
    ours.working_dir = ours.working_dir.or(theirs.working_dir);
    ours.stop_signal = ours.stop_signal.or(theirs.stop_signal);
    let env = ours.env.get_or_insert_default();
    for variable in theirs.env.into_iter().flatten() {
        let name = variable.split('=').next().unwrap_or_default();
        let has = |other: &String| other.split('=').next() == Some(name);
        if !env.iter().any(has) {
            env.push(variable);
        }
    }
    if !is_set(&ours.entrypoint) {
        if !is_set(&ours.cmd) {
            ours.cmd = theirs.cmd;
        }
        ours.entrypoint = ours.entrypoint.or(theirs.entrypoint);
    }
    for (key, value) in theirs.labels.into_iter().flatten() {
        let labels = ours.labels.get_or_insert_default();
        labels.entry(key).or_insert(value);
    }
    for port in theirs.exposed_ports.into_iter().flatten() {
        add(&mut ours.exposed_ports, port.0);
    }
    for volume in theirs.volumes.into_iter().flatten() {
        add(&mut ours.volumes, volume.0);
    }
    let check = match checks {
        (Some(check), Some(below)) => Some(check.over(&below)),
        (check, below) => check.or(below),
    };
    if let Some(check) = check {
        ours.extra.insert(HEALTHCHECK.to_owned(), json!(check));
    }
    ours
}

const HEALTHCHECK: &str = "Healthcheck";
const ON_BUILD: &str = "OnBuild";

/// In capitals, and what follows.
fn instruction(change: &str) -> (String, &str) {
    let change = change.trim();
    let (instruction, rest) = change
        .split_once(char::is_whitespace)
        .unwrap_or((change, ""));
    (instruction.to_ascii_uppercase(), rest.trim())
}

/// Applies `CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`, `HEALTHCHECK`, `LABEL`, `ONBUILD`, `STOPSIGNAL`,
/// `USER`, `VOLUME` or `WORKDIR`, as the Dockerfile reference describes them.
///
/// # Errors
/// [`crate::model::ErrorKind::InvalidArgument`] for any other instruction or a bad argument.
pub fn apply(defaults: &mut ProcessDefaults, change: &str) -> Result<()> {
    let (instruction, rest) = instruction(change);
    let refuse = |why: &str| Error::invalid(format!("invalid change {:?}: {why}", change.trim()));
    if rest.is_empty() {
        return Err(refuse("an argument is missing"));
    }
    match instruction.as_str() {
        "CMD" => defaults.cmd = Some(program(rest)),
        "ENTRYPOINT" => defaults.entrypoint = Some(program(rest)),
        "ENV" => {
            for (name, value) in pairs(rest).ok_or_else(|| refuse("expected NAME=VALUE"))? {
                set_variable(defaults.env.get_or_insert_default(), &name, &value);
            }
        }
        "LABEL" => {
            let labels = pairs(rest).ok_or_else(|| refuse("expected NAME=VALUE"))?;
            defaults.labels.get_or_insert_default().extend(labels);
        }
        "EXPOSE" => {
            for port in rest.split_whitespace() {
                let port = exposed(port).ok_or_else(|| refuse("expected PORT[/PROTOCOL]"))?;
                add(&mut defaults.exposed_ports, port);
            }
        }
        "VOLUME" => {
            let folders = list(rest)
                .or_else(|| shlex::split(rest))
                .ok_or_else(|| refuse("a quote is not closed"))?;
            for folder in folders {
                add(&mut defaults.volumes, folder);
            }
        }
        "USER" => defaults.user = Some(rest.to_owned()),
        "WORKDIR" => defaults.working_dir = Some(workdir(defaults, rest)),
        "HEALTHCHECK" => {
            let check = health_check(rest).map_err(|why| refuse(&why))?;
            defaults.extra.insert(HEALTHCHECK.to_owned(), check);
        }
        "ONBUILD" => {
            let trigger = self::instruction(rest).0;
            if matches!(trigger.as_str(), "ONBUILD" | "FROM" | "MAINTAINER") {
                return Err(refuse(&format!("{trigger} cannot be a trigger")));
            }
            let triggers = defaults.extra.entry(ON_BUILD.to_owned());
            if let serde_json::Value::Array(list) = triggers.or_insert_with(|| json!([])) {
                list.push(json!(rest));
            }
        }
        "STOPSIGNAL" => defaults.stop_signal = Some(rest.to_owned()),
        other => {
            return Err(Error::invalid(format!("{other} is not a valid change command"))
                .with_hint("CMD, ENTRYPOINT, ENV, EXPOSE, HEALTHCHECK, LABEL, ONBUILD, STOPSIGNAL, USER, VOLUME and WORKDIR are"));
        }
    }
    Ok(())
}

/// `[--interval=30s …] CMD …` or `NONE`, as the image configuration has it: times in nanoseconds.
fn health_check(text: &str) -> std::result::Result<serde_json::Value, String> {
    let mut check = HealthConfig::default();
    let mut rest = text;
    while let Some(option) = rest.strip_prefix("--") {
        let (option, behind) = option
            .split_once(char::is_whitespace)
            .ok_or("CMD or NONE is missing")?;
        let (name, value) = option.split_once('=').ok_or("an option has no value")?;
        let time = || {
            let length = human::parse_duration(value).map_err(|error| error.one_line())?;
            i64::try_from(length.as_nanos()).map_err(|_| format!("{value:?} is too long"))
        };
        match name {
            "interval" => check.interval = time()?,
            "timeout" => check.timeout = time()?,
            "start-period" => check.start_period = time()?,
            "start-interval" => check.start_interval = time()?,
            "retries" => {
                let count = value.parse();
                check.retries = count.map_err(|_| format!("{value:?} is not a number"))?;
            }
            _ => return Err(format!("unknown option --{name}")),
        }
        rest = behind.trim_start();
    }
    let (kind, command) = instruction(rest);
    check.test = Some(match kind.as_str() {
        "NONE" if command.is_empty() => vec!["NONE".to_owned()],
        "CMD" if !command.is_empty() => match list(command) {
            Some(words) => [vec!["CMD".to_owned()], words].concat(),
            None => vec!["CMD-SHELL".to_owned(), command.to_owned()],
        },
        _ => return Err("expected CMD and a command, or NONE".to_owned()),
    });
    check.check().map_err(|error| error.one_line())?;
    Ok(json!(check))
}

/// JSON is taken as it is, anything else is a line for the shell.
fn program(text: &str) -> Vec<String> {
    list(text).unwrap_or_else(|| vec!["/bin/sh".to_owned(), "-c".to_owned(), text.to_owned()])
}

fn list(text: &str) -> Option<Vec<String>> {
    serde_json::from_str(text).ok()
}

/// `NAME=VALUE …` with shell quotes, or the old `NAME VALUE`.
fn pairs(text: &str) -> Option<Vec<(String, String)>> {
    let first = text.split_whitespace().next()?;
    if !first.contains('=') {
        let (name, value) = text.split_once(char::is_whitespace)?;
        return Some(vec![(name.to_owned(), value.trim().to_owned())]);
    }
    let pair = |word: String| {
        let (name, value) = word.split_once('=')?;
        (!name.is_empty()).then(|| (name.to_owned(), value.to_owned()))
    };
    shlex::split(text)?.into_iter().map(pair).collect()
}

fn set_variable(env: &mut Vec<String>, name: &str, value: &str) {
    let new = format!("{name}={value}");
    let same = |old: &&mut String| old.split_once('=').is_some_and(|(old, _)| old == name);
    match env.iter_mut().find(same) {
        Some(old) => *old = new,
        None => env.push(new),
    }
}

/// `80`, `80/udp`, `8000-8010/tcp`; the protocol is written out.
fn exposed(port: &str) -> Option<String> {
    let (range, protocol) = port.split_once('/').unwrap_or((port, "tcp"));
    let protocol = protocol.to_ascii_lowercase();
    let (low, high) = range.split_once('-').unwrap_or((range, range));
    let number = |text: &str| text.parse::<u16>().ok();
    let known = matches!(protocol.as_str(), "tcp" | "udp" | "sctp");
    (known && number(low)? <= number(high)?).then(|| format!("{range}/{protocol}"))
}

fn add(set: &mut Option<BTreeMap<String, serde_json::Value>>, key: String) {
    let empty = serde_json::Value::Object(serde_json::Map::new());
    set.get_or_insert_default().insert(key, empty);
}

/// A relative one continues the former.
fn workdir(defaults: &ProcessDefaults, path: &str) -> String {
    if path.starts_with('/') {
        return path.to_owned();
    }
    let base = defaults.working_dir.as_deref().unwrap_or("/");
    format!("{}/{path}", base.trim_end_matches('/'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instructions_change_the_defaults() {
        let mut defaults = ProcessDefaults::default();
        for change in [
            "ENV A=1 B=\"two words\"",
            "env A 3",
            "CMD [\"a\", \"b\"]",
            "ENTRYPOINT run me",
            "LABEL x=y",
            "EXPOSE 80 53/UDP",
            "VOLUME [\"/v\"]",
            "VOLUME /w",
            "WORKDIR /srv",
            "WORKDIR sub",
            "USER 1:2",
            "STOPSIGNAL SIGQUIT",
        ] {
            apply(&mut defaults, change).unwrap();
        }
        let json = serde_json::to_value(&defaults).unwrap();
        assert_eq!(
            json,
            serde_json::json!({
                "User": "1:2", "ExposedPorts": {"53/udp": {}, "80/tcp": {}},
                "Env": ["A=3", "B=two words"], "Entrypoint": ["/bin/sh", "-c", "run me"],
                "Cmd": ["a", "b"], "Volumes": {"/v": {}, "/w": {}}, "WorkingDir": "/srv/sub",
                "Labels": {"x": "y"}, "StopSignal": "SIGQUIT"
            })
        );
    }

    #[test]
    fn health_checks_and_triggers_are_docker_s_own_fields() {
        let changes = [
            "HEALTHCHECK --interval=1m --retries=2 CMD test -e /ok",
            "ONBUILD RUN make",
            "ONBUILD COPY . /src",
        ];
        let made = defaults(&changes.map(str::to_owned)).unwrap();
        let json = serde_json::to_value(&made).unwrap();
        assert_eq!(
            json["Healthcheck"],
            json!({"Interval": 60_000_000_000_i64, "Retries": 2, "Test": ["CMD-SHELL", "test -e /ok"]})
        );
        assert_eq!(json["OnBuild"], json!(["RUN make", "COPY . /src"]));
        let none = defaults(&["healthcheck none".to_owned()]).unwrap();
        assert_eq!(none.extra["Healthcheck"], json!({"Test": ["NONE"]}));
        for bad in [
            "HEALTHCHECK",
            "HEALTHCHECK --x=1 CMD a",
            "HEALTHCHECK CMD",
            "HEALTHCHECK x",
            "HEALTHCHECK --interval=1m",
            "HEALTHCHECK --retries=a CMD b",
            "ONBUILD FROM x",
        ] {
            assert!(defaults(&[bad.to_owned()]).is_err(), "{bad}");
        }
    }

    #[test]
    fn what_is_changed_counts_and_the_rest_stays() {
        let words = |text: &str| Some(text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        let theirs = || ProcessDefaults {
            env: words("A=1 B=2"),
            cmd: words("sh"),
            entrypoint: words("tini --"),
            labels: Some([("x".to_owned(), "1".to_owned())].into()),
            ..ProcessDefaults::default()
        };
        let changed = |changes: &[&str]| {
            let changes: Vec<String> = changes.iter().map(|&text| text.to_owned()).collect();
            merge(defaults(&changes).unwrap(), theirs())
        };
        let same = changed(&[]);
        assert_eq!((same.cmd, same.entrypoint), (words("sh"), words("tini --")));
        let command = changed(&["CMD [\"a\"]", "ENV B=3", "LABEL y=2"]);
        assert_eq!(
            (command.cmd, command.entrypoint),
            (words("a"), words("tini --"))
        );
        assert_eq!(command.env, words("B=3 A=1"));
        assert_eq!(command.labels.unwrap().len(), 2);
        // An entrypoint drops the command, as in a Dockerfile.
        let entrypoint = changed(&["ENTRYPOINT [\"b\"]"]);
        assert_eq!((entrypoint.cmd, entrypoint.entrypoint), (None, words("b")));
    }

    #[test]
    fn others_are_refused() {
        for change in [
            "RUN x",
            "CMD",
            "",
            "ENV",
            "ENV =x",
            "ENV A",
            "EXPOSE x",
            "EXPOSE 9-8",
        ] {
            assert!(
                apply(&mut ProcessDefaults::default(), change).is_err(),
                "{change}"
            );
        }
    }
}

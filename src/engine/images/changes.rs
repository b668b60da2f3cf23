//! `--change` of `import` and `commit`: single Dockerfile instructions that alter what a container
//! runs by default.

use std::collections::BTreeMap;

use crate::model::{Error, Result, image::ProcessDefaults};

/// Applies `CMD`, `ENTRYPOINT`, `ENV`, `EXPOSE`, `LABEL`, `STOPSIGNAL`, `USER`, `VOLUME` or
/// `WORKDIR`, as the Dockerfile reference describes them.
///
/// # Errors
/// [`crate::model::ErrorKind::InvalidArgument`] for any other instruction or a bad argument.
pub fn apply(defaults: &mut ProcessDefaults, change: &str) -> Result<()> {
    let change = change.trim();
    let (instruction, rest) = change
        .split_once(char::is_whitespace)
        .unwrap_or((change, ""));
    let rest = rest.trim();
    let refuse = |why: &str| Error::invalid(format!("invalid change {change:?}: {why}"));
    if rest.is_empty() {
        return Err(refuse("an argument is missing"));
    }
    match instruction.to_ascii_uppercase().as_str() {
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
        "STOPSIGNAL" => defaults.stop_signal = Some(rest.to_owned()),
        _ => return Err(refuse("it is not an instruction that can be given here")),
    }
    Ok(())
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

//! `image trust`: the rules on which images may be used, shown and written.

use std::path::PathBuf;

use clap::Args;
use serde_json::json;

use super::{
    Session, columns,
    failure::Failure,
    inspect, parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{Engine, TrustKind, TrustLine, TrustRequest},
    model::{Error, TrustFiles},
};

#[derive(Args)]
struct Flags {
    /// show: as JSON
    #[arg(long, short = 'j')]
    json: bool,
    /// show: without headings
    #[arg(long, short = 'n')]
    noheading: bool,
    /// show: the policy as it is
    #[arg(long)]
    raw: bool,
    /// set: public key that must have signed; each of several must
    #[arg(long, short = 'f', value_name = "string", value_delimiter = ',')]
    pubkeysfile: Vec<PathBuf>,
    /// set: accept, reject or sigstoreSigned
    #[arg(long, short = 't', value_name = "string")]
    r#type: Option<String>,
    /// Policy to show or change instead of the usual one
    #[arg(long, value_name = "path", alias = "policypath")]
    signature_policy: Option<PathBuf>,
}

pub const VERB: Verb = Verb {
    spellings: &["image trust"],
    about: "Show or set which images may be pulled",
    usage: "show [OPTIONS] [REGISTRY] | set [OPTIONS] default|REGISTRY",
    arity: Arity::Between(1, 2),
    flags: Flags::augment_args,
    run: |session, matches, words| run(session, parse::flags(matches)?, &words),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, words: &[String]) -> Outcome {
    let files = session
        .settings
        .trust_files_or(flags.signature_policy.clone());
    match (words[0].as_str(), words.get(1)) {
        ("show", registry) if flags.r#type.is_none() && flags.pubkeysfile.is_empty() => {
            show(&flags, &files, registry.map(String::as_str))
        }
        ("set", Some(registry)) if !(flags.json || flags.raw || flags.noheading) => {
            set(flags, files, registry)
        }
        ("set", None) => Err(Failure::Plain(
            "image trust set: name a registry, a repository or \"default\"".to_owned(),
            125,
        )),
        ("show" | "set", _) => Err(Failure::Flag(
            "--type and --pubkeysfile are for set; --json, --noheading and --raw for show"
                .to_owned(),
        )),
        (other, _) => Err(Failure::Plain(
            format!("unknown command: coracle image trust {other}; there are show and set"),
            125,
        )),
    }
}

fn show(flags: &Flags, files: &TrustFiles, registry: Option<&str>) -> Outcome {
    let view = Engine::trust(files)?;
    if flags.raw {
        let policy = serde_json::to_value(&view.policy)
            .map_err(|cause| Failure::Plain(cause.to_string(), 125))?;
        ui::json(&inspect::pretty_one(&policy))?;
        return Ok(0);
    }
    let is_wanted = |line: &&TrustLine| registry.is_none_or(|name| line.scope == name);
    let lines: Vec<&TrustLine> = view.lines.iter().filter(is_wanted).collect();
    if flags.json {
        let objects: Vec<serde_json::Value> = lines.iter().map(|line| object(line)).collect();
        ui::json(&inspect::pretty(&objects))?;
    } else {
        let mut table = String::new();
        if !flags.noheading {
            table.push_str("TRANSPORT\tNAME\tTYPE\tKEYS\n");
        }
        for line in &lines {
            let keys = line.keys.join(",");
            let cells = [&line.transport, &line.scope, line.kind, &keys];
            table.push_str(&cells.map(printable).join("\t"));
            table.push('\n');
        }
        ui::raw(columns::align(&table).as_bytes())?;
    }
    for line in lines {
        if let Some(why) = &line.cannot {
            ui::notice(&format!(
                "the rule {} {:?} will refuse every image: {why}",
                line.transport, line.scope
            ));
        }
    }
    Ok(0)
}

/// A tab or an escape in a policy is text.
fn printable(text: &str) -> String {
    text.replace(char::is_control, "?")
}

/// podman's keys.
fn object(line: &TrustLine) -> serde_json::Value {
    let name = match line.transport.as_str() {
        "all" => "* (default)",
        _ => &line.scope,
    };
    let mut object = json!({"transport": line.transport});
    if !line.scope.is_empty() {
        object["name"] = json!(name);
        object["repo_name"] = json!(line.scope);
    }
    object["type"] = json!(line.kind);
    if !line.keys.is_empty() {
        object["keys"] = json!(line.keys);
    }
    object
}

fn set(flags: Flags, files: TrustFiles, registry: &str) -> Outcome {
    let kind = match flags.r#type.as_deref() {
        Some("accept") => TrustKind::Accept,
        Some("reject") => TrustKind::Reject,
        Some("sigstoreSigned") => TrustKind::Sigstore,
        Some("signedBy") | None => {
            return Err(Error::invalid(
                "signedBy asks for signatures of GnuPG, which cannot be verified",
            )
            .with_hint("give --type accept, reject or sigstoreSigned")
            .into());
        }
        Some(other) => {
            return Err(Failure::Plain(
                format!("invalid --type {other:?}: expected accept, reject or sigstoreSigned"),
                125,
            ));
        }
    };
    Engine::set_trust(&TrustRequest {
        files,
        scope: registry.to_owned(),
        kind,
        keys: flags.pubkeysfile,
    })?;
    Ok(0)
}

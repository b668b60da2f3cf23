//! RUN: what is executed, in which surroundings, with which mounts.

use super::{
    Document, Mount, RunStep, SCRIPTS, Source,
    fold::{Fold, clean},
    scope, shown,
    survey::Asking,
};
use crate::build::dockerfile::{
    Complaint, Result,
    instruction::{CommandLine, Running},
    nodes::{Heredoc, is_heredoc},
    run_flags::{self, MountKind, Network},
};

/// Of files that come from nowhere else.
const CACHE_MODE: u32 = 0o755;
const SECRET_MODE: u32 = 0o400;
const SOCKET_MODE: u32 = 0o600;

pub(super) fn run(fold: &mut Fold<'_>, run: &Running, asking: &Asking) -> Result<RunStep> {
    let (argv, script) = command(fold, run)?;
    let mut mounts = Vec::new();
    for (text, source) in run.mounts.iter().zip(&asking.sources) {
        let mut expand = |value: &str| fold.word(&asking.step.node, value);
        let mount = run_flags::mount(text, &mut expand)?;
        if let Some(Source::Stage(index)) = source {
            fold.must_be_above(*index, mount.from.as_deref().unwrap_or_default(), "mount")?;
        }
        let sockets = mounts
            .iter()
            .filter(|mount| matches!(mount, Mount::Ssh { .. }));
        let sockets = sockets.count();
        mounts.push(resolved(fold, mount, source.clone(), sockets)?);
    }
    let defaults = fold.defaults();
    Ok(RunStep {
        argv,
        script,
        env: fold.state.scope.pairs(),
        proxies: scope::proxies(fold.shared.inputs),
        workdir: defaults
            .working_dir
            .clone()
            .unwrap_or_else(|| "/".to_owned()),
        user: defaults.user.clone().unwrap_or_default(),
        mounts,
        network: match run.network {
            Network::Default => fold.shared.inputs.network,
            network => network,
        },
        security: run.security,
    })
}

/// Here-documents: one that is all of the command is its script, by the shell or by whom its first
/// line names; others are the shell's own.
fn command(fold: &Fold<'_>, run: &Running) -> Result<(Vec<String>, Option<Document>)> {
    let line = match &run.command {
        CommandLine::Exec(words) => return Ok((words.clone(), None)),
        CommandLine::Shell(line) => line,
    };
    let (line, script) = match &run.heredocs[..] {
        [] => (line.clone(), None),
        [only] if is_heredoc(line) && only.content.starts_with("#!") => {
            let document = Document::new(&only.name, only.content.clone())?;
            (format!("{SCRIPTS}/{}", only.name), Some(document))
        }
        [only] if is_heredoc(line) => (only.content.clone(), None),
        documents => (documents.iter().fold(line.clone(), with_document), None),
    };
    let mut argv = fold.shell();
    argv.push(line);
    Ok((argv, script))
}

fn with_document(line: String, document: &Heredoc) -> String {
    format!("{line}\n{}{}", document.content, document.name)
}

fn resolved(
    fold: &Fold<'_>,
    mount: run_flags::Mount,
    source: Option<Source>,
    sockets: usize,
) -> Result<Mount> {
    let written = mount.target.clone().unwrap_or_default();
    let written = written.as_str();
    // A mount without a target is at the working directory.
    let target = fold.below_workdir(written);
    let said = (!written.is_empty()).then(|| target.clone());
    let below = || match target.as_str() {
        "/" => Err(Complaint::new(format!("invalid mount target {target:?}")).about(written)),
        _ => Ok(target.clone()),
    };
    let path = clean("/", mount.source.as_deref().unwrap_or_default());
    let uid = mount.uid.unwrap_or(0);
    let gid = mount.gid.unwrap_or(0);
    Ok(match mount.kind {
        MountKind::Bind => Mount::Bind {
            target: below()?,
            source: source.unwrap_or(Source::Context),
            path,
            writable: mount.writable.unwrap_or(false),
        },
        MountKind::Cache => Mount::Cache {
            target: below()?,
            // A cache is called by what was written: others may have another working directory.
            id: fold.cache_id(match mount.id.filter(|id| !id.is_empty()) {
                Some(id) => id,
                None if written.is_empty() => target.clone(),
                None => clean("", written),
            }),
            sharing: mount.sharing.unwrap_or_default(),
            source: source.unwrap_or(Source::Scratch),
            path,
            read_only: mount.writable == Some(false),
            mode: mount.mode.unwrap_or(CACHE_MODE),
            uid,
            gid,
        },
        MountKind::Tmpfs => Mount::Tmpfs {
            target: below()?,
            size: mount.size.filter(|size| *size > 0),
        },
        MountKind::Secret => {
            let named = mount.id.or(mount.source).filter(|id| !id.is_empty());
            let id = named.or_else(|| said.as_deref().map(base_name));
            let id = id.filter(|id| !id.is_empty());
            let id = id.ok_or_else(|| Complaint::new("one of source, target required"))?;
            let default = (mount.env.is_none()).then(|| clean("/run/secrets", &base_name(&id)));
            Mount::Secret {
                target: said.or(default),
                id,
                env: mount.env,
                required: mount.required,
                mode: mount.mode.unwrap_or(SECRET_MODE),
                uid,
                gid,
            }
        }
        MountKind::Ssh => Mount::Ssh {
            id: mount
                .id
                .filter(|id| !id.is_empty())
                .unwrap_or_else(|| "default".to_owned()),
            target: said.unwrap_or_else(|| format!("/run/buildkit/ssh_agent.{sockets}")),
            required: mount.required,
            mode: mount.mode.unwrap_or(SOCKET_MODE),
            uid,
            gid,
        },
    })
}

fn base_name(path: &str) -> String {
    let name = path.trim_end_matches('/').rsplit('/').next();
    name.unwrap_or_default().to_owned()
}

/// `RUN |1 A=b /bin/sh -c make # buildkit`: arguments that are in scope, then what is executed.
pub(super) fn created_by(fold: &Fold<'_>, argv: &[String]) -> String {
    let arguments = fold.argument_values();
    let mut words = Vec::new();
    if !arguments.is_empty() {
        words.push(format!("|{}", arguments.len()));
        words.extend(arguments);
    }
    words.extend(argv.iter().cloned());
    format!("RUN {} # buildkit", words.join(" "))
}

/// Variables that have a secret in them: what they are worth is not known here, and not shown.
pub(super) fn secret_variables(run: &Running) -> impl Iterator<Item = String> {
    run.mounts.iter().filter_map(|text| {
        let mount = run_flags::mount(text, &mut |value| Ok(value.to_owned()));
        let mount = mount.ok().filter(|mount| mount.kind == MountKind::Secret);
        mount?.env
    })
}

/// What is shown of it: documents by their first line.
pub(super) fn shown_command(run: &Running, text: &str) -> String {
    match (&run.command, &run.heredocs[..]) {
        (CommandLine::Shell(line), [first, ..]) if is_heredoc(line) => {
            format!("{text} {}", shown::summary(first))
        }
        _ => text.to_owned(),
    }
}

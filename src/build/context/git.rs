//! A repository's tree as a folder, by the host's git(1): it knows the user's keys, helpers and
//! proxies. It is asked for the one commit that is wanted.
//!
//! The tree is hostile as any archive: it is only ever read with [`crate::sys::in_root`]. No hook is
//! run, and no transport that runs a program of the repository's choice.

use std::{
    os::fd::BorrowedFd,
    path::Path,
    process::{Command, Output, Stdio},
};

use rustix::fs::Mode;

use crate::{
    build::{
        context::credentials::Credentials,
        git_address::{GitAddress, is_hash},
    },
    model::{Error, ErrorKind, Result},
};

/// How git is told to refuse what a repository could start.
const CAREFUL: [&str; 10] = [
    "-c",
    "core.hooksPath=/dev/null",
    "-c",
    "core.fsmonitor=false",
    "-c",
    "protocol.ext.allow=never",
    "-c",
    "advice.detachedHead=false",
    "-c",
    "init.defaultBranch=main",
];

/// Fills the empty folder, which `path` leads to, with the tree; returns the commit's hash.
pub fn check_out(git: &GitAddress, folder: &Path, credentials: &Credentials) -> Result<String> {
    let told = credentials.for_git(&git.remote);
    let git_at = |words: &[&str]| run(folder, words, &told);
    // What is checked out has the modes that git knows, whatever the user's umask is.
    let umask = rustix::process::umask(Mode::from(0o022));
    let checked_out = (|| {
        git_at(&["init", "--quiet", "."])?;
        git_at(&["remote", "add", "origin", &git.remote])?;
        fetch(git, &git_at)?;
        git_at(&["checkout", "--quiet", "--force", "--detach", "FETCH_HEAD"])?;
        if git.submodules && folder.join(".gitmodules").exists() {
            let update = ["submodule", "update", "--init", "--recursive", "--depth=1"];
            git_at(&update)?;
        }
        git_at(&["rev-parse", "HEAD"])
    })();
    rustix::process::umask(umask);
    let commit = checked_out?.trim().to_owned();
    if let Some(wanted) = &git.checksum
        && !commit.starts_with(&wanted.to_ascii_lowercase())
    {
        return Err(Error::new(
            ErrorKind::DigestMismatch,
            format!("{} is at commit {commit}, not at {wanted}", git.remote),
        ));
    }
    Ok(commit)
}

fn fetch(git: &GitAddress, git_at: &dyn Fn(&[&str]) -> Result<String>) -> Result<()> {
    let (reference, commit) = (git.reference.as_deref(), git.checksum.as_deref());
    let wanted = match git.fetch_by_commit {
        true => commit.or(reference),
        false => reference.or(commit),
    };
    let wanted = wanted.unwrap_or("HEAD");
    let shallow = [
        "fetch",
        "--quiet",
        "--depth=1",
        "--no-tags",
        "origin",
        wanted,
    ];
    let Err(failed) = git_at(&shallow) else {
        return Ok(());
    };
    if !is_hash(wanted) {
        return Err(failed);
    }
    // Servers may give whole branches alone, and no server knows abbreviated hashes.
    git_at(&[
        "fetch",
        "--quiet",
        "--tags",
        "origin",
        "+refs/heads/*:refs/remotes/origin/*",
    ])?;
    let commit = git_at(&[
        "rev-parse",
        "--verify",
        "--end-of-options",
        &format!("{wanted}^{{commit}}"),
    ])?;
    git_at(&["update-ref", "FETCH_HEAD", commit.trim()]).map(drop)
}

fn run(folder: &Path, words: &[&str], told: &[(String, String)]) -> Result<String> {
    let mut command = Command::new("git");
    // Not as arguments, which everybody can read.
    if !told.is_empty() {
        command.env("GIT_CONFIG_COUNT", told.len().to_string());
    }
    for (number, (name, value)) in told.iter().enumerate() {
        command
            .env(format!("GIT_CONFIG_KEY_{number}"), name)
            .env(format!("GIT_CONFIG_VALUE_{number}"), value);
    }
    let output = command
        .args(CAREFUL)
        .args(words)
        .current_dir(folder)
        .env("GIT_TERMINAL_PROMPT", "0")
        .env_remove("GIT_DIR")
        .env_remove("GIT_WORK_TREE")
        .env_remove("GIT_INDEX_FILE")
        .stdin(Stdio::null())
        .output();
    let Output {
        status,
        stdout,
        stderr,
    } = output.map_err(missing)?;
    if status.success() {
        return Ok(String::from_utf8_lossy(&stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&stderr);
    let said = said.lines().rfind(|line| !line.trim().is_empty());
    Err(Error::new(
        ErrorKind::System,
        format!(
            "git {} failed: {}",
            words[0],
            said.unwrap_or("it says nothing")
        ),
    ))
}

fn missing(cause: std::io::Error) -> Error {
    let error = Error::new(
        ErrorKind::Unsupported,
        "cannot start git, which fetches repositories",
    );
    match cause.kind() {
        std::io::ErrorKind::NotFound => error
            .with_source(cause)
            .with_hint("install the package git, or give the context as a folder or an archive"),
        _ => error.with_source(cause),
    }
}

/// The repository itself is no part of the context.
pub fn forget_history(folder: BorrowedFd<'_>) -> Result<()> {
    crate::storage::delete::remove_tree(folder, ".git")
}

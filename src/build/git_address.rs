//! Where in which repository: how contexts and ADD name a tree that git keeps.
//!
//! ```text
//! https://host/path.git[#REF[:FOLDER]]        http(s) if the path ends in .git, and in no other way
//! ssh://host/path, git://host/path            the same without .git
//! user@host:path                              as scp(1) writes places
//! …[?ref=REF&subdir=FOLDER…][#REF[:FOLDER]]   the query knows ref, branch, tag, commit (checksum),
//!                                             subdir, keep-git-dir, submodules, mtime, fetch-by-commit
//! github.com/user/project                     as it is typed: a context alone
//! ```
//!
//! Query and fragment may say the same, but not two things. The rules are BuildKit's
//! (frontend/dockerfile/dfgitutil); besides, no word of an address is one that git or ssh would take
//! for an option.

use serde::{Deserialize, Serialize};

use super::dockerfile::run_flags::go_bool;
use crate::model::{Error, Result};

/// Of the tree: files 0644 or 0755, directories 0755.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct GitAddress {
    /// Without what stands behind `#` and `?`.
    pub remote: String,
    /// A branch, a tag, a commit, `refs/…`; the remote's HEAD otherwise.
    pub reference: Option<String>,
    /// That folder of the tree alone: a clean path without a slash at its beginning.
    pub folder: Option<String>,
    /// The beginning of the commit that it has to be.
    pub checksum: Option<String>,
    pub keep_git_folder: Option<bool>,
    pub submodules: bool,
    /// Times of the files are the commit's.
    pub mtime_is_commit: bool,
    /// The commit is asked for by itself, not found below a reference.
    pub fetch_by_commit: bool,
}

impl GitAddress {
    fn new(remote: String) -> Self {
        GitAddress {
            remote,
            reference: None,
            folder: None,
            checksum: None,
            keep_git_folder: None,
            submodules: true,
            mtime_is_commit: false,
            fetch_by_commit: false,
        }
    }

    /// None for what does not name a repository.
    ///
    /// # Errors
    /// One that is named in a way that cannot be: an option of git's, an unknown key, a contradiction.
    pub fn parse(text: &str) -> Result<Option<GitAddress>> {
        let (address, fragment) = text.split_once('#').unwrap_or((text, ""));
        let (address, query) = address.split_once('?').unwrap_or((address, ""));
        if !is_repository(address) {
            return Ok(None);
        }
        let (reference, folder) = fragment.split_once(':').unwrap_or((fragment, ""));
        let mut git = GitAddress {
            reference: some(reference),
            folder: some(folder),
            ..GitAddress::new(address.to_owned())
        };
        git.read_query(query)?;
        git.folder = git
            .folder
            .as_deref()
            .map(cleaned)
            .and_then(|path| some(&path));
        git.check()?;
        Ok(Some(git))
    }

    /// The same for the context of a build, which may be without a scheme: `github.com/user/project`.
    ///
    /// # Errors
    /// As [`GitAddress::parse`].
    pub fn parse_context(text: &str) -> Result<Option<GitAddress>> {
        if !text.starts_with("github.com/") {
            return GitAddress::parse(text);
        }
        // Whether it ends in `.git` makes no difference here.
        let end = text.find(['?', '#']).unwrap_or(text.len());
        let (path, rest) = text.split_at(end);
        let path = path.trim_end_matches('/');
        let path = path.strip_suffix(".git").unwrap_or(path);
        GitAddress::parse(&format!("https://{path}.git{rest}"))
    }

    fn read_query(&mut self, query: &str) -> Result<()> {
        let (mut tag, mut branch) = (None, None);
        let mut seen: Vec<&str> = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            if seen.contains(&name) {
                return Err(wrong(format!("query {name:?} has multiple values")));
            }
            seen.push(name);
            let is_switch = matches!(name, "submodules" | "keep-git-dir" | "fetch-by-commit");
            if value.is_empty() && !is_switch {
                return Err(wrong(format!("query {name:?} has no value")));
            }
            let on = || match value {
                "" => Ok(true),
                value => {
                    go_bool(value).ok_or_else(|| wrong(format!("invalid {name} value: {value:?}")))
                }
            };
            match name {
                "ref" => agree("ref", &mut self.reference, value)?,
                "subdir" => agree("subdir", &mut self.folder, value)?,
                "tag" => tag = Some(prefixed("refs/tags/", value)),
                "branch" => branch = Some(prefixed("refs/heads/", value)),
                "checksum" | "commit" => self.checksum = Some(value.to_owned()),
                "keep-git-dir" => self.keep_git_folder = Some(on()?),
                "submodules" => self.submodules = on()?,
                "fetch-by-commit" => self.fetch_by_commit = on()?,
                "mtime" => match value {
                    "checkout" => self.mtime_is_commit = false,
                    "commit" => self.mtime_is_commit = true,
                    _ => return Err(wrong(format!("invalid mtime value: {value:?}"))),
                },
                _ => return Err(wrong(format!("unexpected query {name:?}"))),
            }
        }
        if tag.is_some() && branch.is_some() {
            return Err(wrong("branch conflicts with tag".to_owned()));
        }
        if let Some(reference) = tag.or(branch) {
            agree("ref", &mut self.reference, &reference)?;
        }
        if self.reference.is_none() {
            self.reference.clone_from(&self.checksum);
        }
        Ok(())
    }

    /// Nothing of it is an option to git or ssh, and a hash is one.
    fn check(&self) -> Result<()> {
        let address = self.remote.split_once("://");
        let address = address.map_or(&*self.remote, |(_, rest)| rest);
        let host = address.split_once('@').map_or(address, |(_, host)| host);
        let words = [Some(address), Some(host), self.reference.as_deref()];
        for word in words.into_iter().flatten() {
            if word.starts_with('-') || word.contains(|letter: char| letter.is_control()) {
                return Err(wrong(format!("{word:?} would be an option")));
            }
        }
        match &self.checksum {
            Some(hash) if !is_hash(hash) => Err(wrong(format!("{hash:?} is no commit"))),
            _ => Ok(()),
        }
    }
}

fn wrong(what: String) -> Error {
    Error::invalid(format!("invalid git source: {what}"))
}

/// Hexadecimal digits, of which git wants four at least.
pub fn is_hash(text: &str) -> bool {
    (4..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_repository(address: &str) -> bool {
    match address.split_once("://") {
        Some(("http" | "https", rest)) => {
            let path = rest.split_once('/').map_or("", |(_, path)| path);
            path.ends_with(".git")
        }
        Some(("ssh" | "git", rest)) => !rest.is_empty(),
        Some(_) => false,
        None => is_scp_like(address),
    }
}

/// `user@host:path`, but not a path of this host that has these letters somewhere.
fn is_scp_like(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else {
        return false;
    };
    let Some((host, path)) = rest.split_once(':') else {
        return false;
    };
    let word = |part: &str, others: &str| {
        let fits = |letter: char| letter.is_ascii_alphanumeric() || others.contains(letter);
        !part.is_empty() && !part.starts_with('-') && part.chars().all(fits)
    };
    word(user, "-_") && word(host, "-.") && !path.is_empty()
}

fn some(text: &str) -> Option<String> {
    (!text.is_empty()).then(|| text.to_owned())
}

/// Nothing is above the root.
fn cleaned(path: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join("/")
}

fn prefixed(prefix: &str, name: &str) -> String {
    match name.starts_with(prefix) {
        true => name.to_owned(),
        false => format!("{prefix}{name}"),
    }
}

fn agree(what: &str, known: &mut Option<String>, value: &str) -> Result<()> {
    match known {
        Some(known) if known != value => {
            Err(wrong(format!("{what} conflicts: {known:?} vs {value:?}")))
        }
        _ => {
            *known = Some(value.to_owned());
            Ok(())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn git(text: &str) -> Option<GitAddress> {
        GitAddress::parse(text).unwrap()
    }

    fn plain(remote: &str) -> GitAddress {
        GitAddress::new(remote.to_owned())
    }

    #[test]
    fn repositories() {
        for remote in [
            "https://h/a.git",
            "git@h:a/b",
            "ssh://h/a",
            "git://h:1/a",
            "a-b_c@h.x:~/y",
        ] {
            assert_eq!(git(remote), Some(plain(remote)));
        }
        let folder = |reference: Option<&str>, folder: &str, remote: &str| GitAddress {
            reference: reference.map(str::to_owned),
            folder: Some(folder.to_owned()),
            ..plain(remote)
        };
        for (text, expected) in [
            (
                "https://h/a.git#v1:sub/folder",
                folder(Some("v1"), "sub/folder", "https://h/a.git"),
            ),
            ("ssh://h/a#:/sub/../x/", folder(None, "x", "ssh://h/a")),
            ("git@h:a?ref=r&subdir=x", folder(Some("r"), "x", "git@h:a")),
            (
                "https://h/a.git?ref=v1&subdir=s#v1:s",
                folder(Some("v1"), "s", "https://h/a.git"),
            ),
            (
                "https://h/a.git?branch=main&subdir=x&keep-git-dir=1&submodules=false&commit=abcd",
                GitAddress {
                    checksum: Some("abcd".to_owned()),
                    keep_git_folder: Some(true),
                    submodules: false,
                    ..folder(Some("refs/heads/main"), "x", "https://h/a.git")
                },
            ),
            (
                "https://h/a.git?tag=v1&keep-git-dir&mtime=commit&subdir=/",
                GitAddress {
                    keep_git_folder: Some(true),
                    mtime_is_commit: true,
                    reference: Some("refs/tags/v1".to_owned()),
                    ..plain("https://h/a.git")
                },
            ),
        ] {
            assert_eq!(git(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn contexts_may_be_without_a_scheme() {
        let context = |text: &str| GitAddress::parse_context(text).unwrap().unwrap();
        for text in ["github.com/a/b", "github.com/a/b.git", "github.com/a/b/"] {
            assert_eq!(context(text), plain("https://github.com/a/b.git"), "{text}");
            assert_eq!(git(text), None, "{text}");
        }
        let tagged = context("github.com/a/b#v1");
        assert_eq!(tagged.reference.as_deref(), Some("v1"));
        assert_eq!(context("git@h:a"), plain("git@h:a"));
    }

    #[test]
    fn no_repositories() {
        for text in [
            ".",
            "a/b.git",
            "./a.git",
            "a@b",
            "dir/x",
            "/a@b:c",
            "https://h/a/b",
            "https://h/a.tar.gz",
            "https://h/a?x=1",
            "https://h/a?ref=main",
            "https://h/a.git/",
            "https://h.git",
            "a b@c:d",
            "file:///a.git",
            "git@-oProxyCommand=x:a",
            "-x@host:a",
        ] {
            assert_eq!(git(text), None, "{text}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused() {
        for text in [
            "https://host/a.git#--upload-pack=x",
            "ssh://host/a#-x",
            "ssh://-oProxyCommand=x/a",
            "ssh://user@-oProxyCommand=x/a",
            "https://host/a.git?ref=-x",
            "https://host/a.git?commit=xyz",
            "https://host/a.git?ref=a&what=b",
            "https://host/a.git?ref=a#b",
            "https://host/a.git?subdir=a#:b",
            "https://host/a.git?ref=",
            "https://host/a.git?ref=a&ref=a",
            "https://host/a.git?tag=a&branch=b",
            "https://host/a.git?submodules=perhaps",
            "https://host/a.git#a\nb",
        ] {
            assert!(GitAddress::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever is written, git never sees a word of it as an option.
        #[test]
        fn no_text_is_an_option(text in "[-a-z@:/.#?=&]{0,40}", odd in "(?s).{0,60}") {
            let _ = GitAddress::parse(&odd);
            for text in [text.clone(), format!("https://h/a.git{text}"), format!("git@h:{text}")] {
                let Ok(Some(git)) = GitAddress::parse_context(&text) else { continue };
                assert!(!git.remote.starts_with('-'));
                assert!(!git.remote.contains(['?', '#']));
                assert!(git.reference.is_none_or(|reference| !reference.starts_with('-')));
                assert!(git.folder.is_none_or(|folder| !folder.split('/').any(|part| part == "..")));
            }
        }
    }
}

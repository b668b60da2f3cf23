//! COPY and ADD: what is copied from where, and where to.

use super::{
    Chmod, CopySource, CopyStep, Document, Source,
    fold::{Fold, clean},
    survey::Asking,
};
use crate::{
    build::{
        dockerfile::{
            Complaint, Instruction, Node, Result,
            instruction::{Copied, Copying},
            words::{self, Reading},
        },
        git_address::GitAddress,
        lint,
    },
    model::Digest,
};

pub(super) fn copy(
    fold: &mut Fold<'_>,
    copy: &Copying,
    asking: &Asking,
) -> Result<(CopyStep, String)> {
    let node = &asking.step.node;
    let is_add = matches!(asking.step.instruction, Instruction::Add(_));
    let from = asking.sources.first().cloned().flatten();
    let from = from.unwrap_or(Source::Context);
    if let Source::Stage(index) = from {
        fold.must_be_above(index, copy.from.as_deref().unwrap_or_default(), "copy")?;
    }
    let mut word = |text: &Option<String>| -> Result<Option<String>> {
        let text = text
            .as_ref()
            .map(|text| fold.word(node, text))
            .transpose()?;
        Ok(text.filter(|text| !text.is_empty()))
    };
    let chown = word(&copy.chown)?;
    let chmod = word(&copy.chmod)?;
    let checksum = word(&copy.checksum)?;
    let excludes = copy.excludes.iter().map(|text| fold.word(node, text));
    let excludes = excludes.collect::<Result<Vec<_>>>()?;
    let destination = fold.word(node, &copy.destination)?;

    let told = created_by(is_add, copy.parents, chown.as_deref(), chmod.as_deref());
    let mut list = List {
        told,
        sources: Vec::new(),
    };
    let named = Named {
        from: &from,
        copy,
        is_add,
        checksum: checksum.as_deref(),
    };
    list.paths(fold, node, &named)?;
    if checksum.is_some() {
        may_have_checksum(&copy.sources, &list.sources)?;
    }
    list.documents(fold, node, copy)?;
    let List { told, sources } = list;
    let last = destination.rsplit('/').next().unwrap_or_default();
    let step = CopyStep {
        into_directory: matches!(last, "" | "." | "..") || sources.len() > 1,
        destination: fold.below_workdir(&destination),
        sources,
        chown,
        chmod: chmod.as_deref().map(parse_chmod).transpose()?,
        link: copy.link,
        excludes,
    };
    Ok((step, format!("{told} {destination} # buildkit")))
}

/// Sources, and what the history says of them: documents behind the others.
struct List {
    told: String,
    sources: Vec<CopySource>,
}

impl List {
    fn paths(&mut self, fold: &mut Fold<'_>, node: &Node, named: &Named<'_>) -> Result<()> {
        for source in &named.copy.sources {
            let Copied::Named(text) = source else {
                continue;
            };
            let text = fold.word(node, text)?;
            self.told += &format!(" {text}");
            let source = named.source(&text)?;
            let is_of_context = matches!(
                source,
                CopySource::Path {
                    source: Source::Context,
                    ..
                }
            );
            if let Some(ignore) = fold.shared.ignore.filter(|_| is_of_context) {
                lint::check_ignored(node, named.is_add, &clean("/", &text), ignore, fold.lint);
            }
            self.sources.push(source);
        }
        Ok(())
    }

    fn documents(&mut self, fold: &mut Fold<'_>, node: &Node, copy: &Copying) -> Result<()> {
        for source in &copy.sources {
            let Copied::Heredoc(document) = source else {
                continue;
            };
            self.told += &format!(" <<{}", document.name);
            let content = match document.expand {
                false => document.content.clone(),
                true => {
                    let scope = &fold.state.scope;
                    let content = &document.content;
                    let expanded = words::expand_as(Reading::Document, content, '\\', scope)?;
                    fold.check_variables(node, &expanded);
                    expanded.text
                }
            };
            let document = Document::new(&document.name, content)?;
            self.sources.push(CopySource::Document(document));
        }
        Ok(())
    }
}

fn created_by(is_add: bool, parents: bool, chown: Option<&str>, chmod: Option<&str>) -> String {
    let mut told = if is_add { "ADD" } else { "COPY" }.to_owned();
    if parents {
        told += " --parents";
    }
    for (flag, value) in [("chown", chown), ("chmod", chmod)] {
        told.extend(value.map(|value| format!(" --{flag}={value}")));
    }
    told
}

/// A source that is called by a path or an address.
struct Named<'a> {
    from: &'a Source,
    copy: &'a Copying,
    is_add: bool,
    checksum: Option<&'a str>,
}

impl Named<'_> {
    fn source(&self, text: &str) -> Result<CopySource> {
        let wrong = |error: crate::model::Error| Complaint::new(error.one_line()).about(text);
        if let Some(source) = GitAddress::parse(text).map_err(wrong)? {
            return self.git(source, text);
        }
        if text.starts_with("http://") || text.starts_with("https://") {
            return self.http(text);
        }
        let source = self.from.clone();
        if self.copy.parents {
            let (root, pattern) = text.split_once("/./").unwrap_or(("/", text));
            return Ok(CopySource::Parents {
                source,
                root: clean("/", root),
                pattern: clean("/", pattern).trim_start_matches('/').to_owned(),
            });
        }
        Ok(CopySource::Path {
            source,
            path: clean("/", text),
            unpack: self.copy.unpack.unwrap_or(self.is_add),
        })
    }

    fn git(&self, mut source: GitAddress, text: &str) -> Result<CopySource> {
        if !self.is_add {
            return Err(Complaint::new("source can't be a git ref for COPY").about(text));
        }
        if let Some(keep) = self.copy.keep_git_dir {
            if source.keep_git_folder == Some(!keep) {
                return Err(Complaint::new("inconsistent keep-git-dir configuration").about(text));
            }
            source.keep_git_folder = Some(keep);
        }
        match (self.checksum, &source.checksum) {
            (Some(asked), Some(said)) if asked != said => {
                let what = format!("checksum mismatch {asked:?} != {said:?}");
                return Err(Complaint::new(what).about(text));
            }
            (Some(asked), None) => source.checksum = Some(asked.to_owned()),
            _ => {}
        }
        Ok(CopySource::Git(source))
    }

    fn http(&self, url: &str) -> Result<CopySource> {
        if !self.is_add {
            return Err(Complaint::new("source can't be a URL for COPY").about(url));
        }
        if let Some(checksum) = self.checksum {
            let wrong =
                |error: crate::model::Error| Complaint::new(error.one_line()).about(checksum);
            checksum.parse::<Digest>().map_err(wrong)?;
        }
        Ok(CopySource::Http {
            url: url.to_owned(),
            name: file_name(url),
            checksum: self.checksum.map(str::to_owned),
            unpack: self.copy.unpack.unwrap_or(false),
        })
    }
}

/// The last part of the address's path.
fn file_name(url: &str) -> String {
    let (_, rest) = url.split_once("://").unwrap_or(("", url));
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let path = path.split_once('/').map_or("", |(_, path)| path);
    let name = path.trim_end_matches('/').rsplit('/').next();
    let name = name.map(decoded).unwrap_or_default();
    match name.as_str() {
        "" | "." | ".." => "__unnamed__".to_owned(),
        name if name.contains(['/', '\0']) => "__unnamed__".to_owned(),
        _ => name,
    }
}

/// `%20` and its like are what they stand for, if all of them are fine.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte != b'%' {
            bytes.push(byte);
            continue;
        }
        let digit = |byte: Option<u8>| char::from(byte?).to_digit(16);
        match (digit(rest.next()), digit(rest.next())) {
            (Some(high), Some(low)) => bytes.push((high * 16 + low) as u8),
            _ => return text.to_owned(),
        }
    }
    String::from_utf8(bytes).unwrap_or_else(|_| text.to_owned())
}

fn may_have_checksum(written: &[Copied], sources: &[CopySource]) -> Result<()> {
    if written.len() != 1 {
        return Err(Complaint::new(
            "checksum can't be specified for multiple sources",
        ));
    }
    match sources {
        [CopySource::Http { .. } | CopySource::Git(_)] => Ok(()),
        _ => Err(Complaint::new("checksum requires HTTP(S) or Git sources")),
    }
}

/// Octal digits, or as chmod(1): `u=rwX,go=rX`.
fn parse_chmod(text: &str) -> Result<Chmod> {
    let digits = text.chars().all(|digit| digit.is_ascii_digit());
    if digits {
        let mode = u32::from_str_radix(text, 8).ok();
        let mode = mode.filter(|mode| *mode <= 0o7777);
        return mode.map(Chmod::Octal).ok_or_else(|| {
            Complaint::new(format!(
                "invalid chmod parameter: '{text}'. it should be octal string and between 0 and 07777"
            ))
            .about(text)
        });
    }
    match text.split(',').all(is_clause) {
        true => Ok(Chmod::Symbolic(text.to_owned())),
        false => Err(Complaint::new(format!("invalid chmod parameter: '{text}'"))
            .about(text)
            .with_hint("octal digits, or as chmod(1): u=rwX,go=rX")),
    }
}

/// `[ugoa]*([-+=]([rwxXst]*|[ugo]))+`
fn is_clause(clause: &str) -> bool {
    let actions = clause.trim_start_matches(['u', 'g', 'o', 'a']);
    if !actions.starts_with(['+', '-', '=']) {
        return false;
    }
    let is_permissions = |letters: &str| {
        let copied = matches!(letters, "u" | "g" | "o");
        copied || letters.chars().all(|letter| "rwxXst".contains(letter))
    };
    actions.split(['+', '-', '=']).all(is_permissions)
}

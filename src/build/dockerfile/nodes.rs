//! Text → nodes: one logical line each, with its flags and here-documents.
//!
//! ```text
//! # escape=`          directives: before everything else, each once
//! # a comment
//! RUN --mount=… a \   a continued line; comments and empty lines inside vanish
//!     b <<END         words of the first line name the here-documents that follow it
//! …
//! END
//! ```

use std::ops::RangeInclusive;

use super::{Complaint, Result, words};

/// One instruction, not understood yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Node {
    /// As it was written.
    pub keyword: String,
    /// `--name` or `--name=value`, without quotes and escapes.
    pub flags: Vec<String>,
    /// Behind the flags.
    pub rest: String,
    /// All of the logical line.
    pub text: String,
    pub heredocs: Vec<Heredoc>,
    pub lines: RangeInclusive<u32>,
    /// The comment right above it, a line each.
    pub comments: Vec<String>,
    /// An empty line was in the middle of it.
    pub has_empty_continuation: bool,
}

impl Node {
    pub fn is(&self, keyword: &str) -> bool {
        self.keyword.eq_ignore_ascii_case(keyword)
    }
}

/// A document in the file: `<<NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Heredoc {
    pub name: String,
    /// Of the shell's redirection, `3<<NAME`.
    pub descriptor: Option<u32>,
    /// Variables in it are expanded: no part of its name was quoted.
    pub expand: bool,
    /// `<<-`: tabs at the beginning of lines are not part of it.
    pub strip_tabs: bool,
    pub content: String,
}

/// What stands before the first instruction and speaks to the parser.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Directives {
    /// The image of the frontend that the file was written for.
    pub syntax: Option<String>,
    pub escape: char,
    /// Which checks are to be left out, and whether they are errors: `skip=…;error=…`.
    pub check: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    pub directives: Directives,
    pub nodes: Vec<Node>,
}

/// Reads a whole file.
///
/// # Errors
/// What no instruction can be found in, and here-documents without an end.
pub fn parse(text: &str) -> Result<Text> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut lines = Lines {
        rest: text.split_inclusive('\n'),
        number: 0,
    };
    let (directives, head) = directives(text)?;
    let mut nodes = Vec::new();
    let mut comments = Vec::new();
    while let Some(line) = lines.next() {
        let trimmed = line.trim();
        if let Some(comment) = trimmed.strip_prefix('#') {
            match comment.trim() {
                "" => comments.clear(),
                _ if lines.number <= head => {}
                comment => comments.push(comment.to_owned()),
            }
        } else if trimmed.is_empty() {
            comments.clear();
        } else {
            let comments = std::mem::take(&mut comments);
            nodes.push(lines.node(line, directives.escape, comments)?);
        }
    }
    match nodes.is_empty() {
        true => Err(Complaint::new("file with no instructions")),
        false => Ok(Text { directives, nodes }),
    }
}

struct Lines<'a> {
    /// Each with the character that ends it.
    rest: std::str::SplitInclusive<'a, char>,
    /// Of the last one that was taken, from one.
    number: u32,
}

impl<'a> Lines<'a> {
    fn next(&mut self) -> Option<&'a str> {
        let line = self.rest.next()?;
        self.number += 1;
        Some(line)
    }

    /// The instruction that begins with this line.
    fn node(&mut self, first: &str, escape: char, comments: Vec<String>) -> Result<Node> {
        let start = self.number;
        let (mut logical, mut ended) = continued(first.trim_start(), escape);
        let mut has_empty_continuation = false;
        while !ended {
            let Some(line) = self.next() else { break };
            if line.trim_start().starts_with('#') {
                continue;
            }
            if line.trim().is_empty() {
                has_empty_continuation = true;
                continue;
            }
            let (more, last) = continued(line, escape);
            logical.push_str(&more);
            ended = last;
        }
        let mut node = node(&logical);
        node.heredocs = self.heredocs(&node, escape, start)?;
        node.lines = start..=self.number;
        node.comments = comments;
        node.has_empty_continuation = has_empty_continuation;
        Ok(node)
    }

    fn heredocs(&mut self, node: &Node, escape: char, start: u32) -> Result<Vec<Heredoc>> {
        let mut found = match may_have_heredocs(node) {
            true => words::heredocs(&node.rest, escape)
                .map_err(|complaint| complaint.at(&(start..=self.number)))?,
            false => Vec::new(),
        };
        for heredoc in &mut found {
            self.fill(heredoc, start)?;
        }
        Ok(found)
    }

    fn fill(&mut self, heredoc: &mut Heredoc, start: u32) -> Result<()> {
        while let Some(line) = self.next() {
            let bare = line.trim_end_matches(['\n', '\r']);
            let bare = match heredoc.strip_tabs {
                true => bare.trim_start_matches('\t'),
                false => bare,
            };
            if bare == heredoc.name {
                return Ok(());
            }
            let kept = match heredoc.strip_tabs {
                true => line.trim_start_matches('\t'),
                false => line,
            };
            heredoc.content.push_str(kept);
        }
        Err(
            Complaint::new(format!("unterminated heredoc {}", heredoc.name))
                .about(heredoc.name.clone())
                .at(&(start..=start)),
        )
    }
}

/// Without the escape character at its end, and whether it had none.
fn continued(line: &str, escape: char) -> (String, bool) {
    let line = line.trim_end_matches(['\n', '\r']);
    let bare = line.trim_end_matches([' ', '\t']);
    match bare.strip_suffix(escape) {
        // An escaped escape character is none.
        Some(before) if !before.ends_with(escape) => (before.to_owned(), false),
        _ => (line.to_owned(), true),
    }
}

fn node(logical: &str) -> Node {
    let logical = logical.trim();
    let (keyword, rest) = logical
        .split_once(|letter: char| letter.is_whitespace())
        .unwrap_or((logical, ""));
    let (flags, rest) = words::flags(rest.trim());
    Node {
        keyword: keyword.to_owned(),
        flags,
        rest: rest.trim().to_owned(),
        text: logical.to_owned(),
        heredocs: Vec::new(),
        lines: 0..=0,
        comments: Vec::new(),
        has_empty_continuation: false,
    }
}

/// The instruction that a trigger (`ONBUILD …`) stands for, at the same lines.
pub fn triggered(onbuild: &Node) -> Node {
    Node {
        lines: onbuild.lines.clone(),
        heredocs: onbuild.heredocs.clone(),
        ..node(&onbuild.rest)
    }
}

/// Whether all of a command is one here-document.
pub fn is_heredoc(line: &str) -> bool {
    matches!(words::heredoc(line.trim(), '\\'), Ok(Some(_)))
}

fn may_have_heredocs(node: &Node) -> bool {
    if node.is("ONBUILD") {
        return may_have_heredocs(&self::node(&node.rest));
    }
    let may = node.is("RUN") || node.is("COPY") || node.is("ADD");
    may && node.rest.contains("<<") && !node.rest.starts_with('[')
}

/// `# name=value` at the head of the file, and of how many lines that is. A line of another shape ends
/// them.
fn directives(text: &str) -> Result<(Directives, u32)> {
    let mut directives = Directives {
        syntax: None,
        escape: '\\',
        check: None,
    };
    let mut seen: Vec<String> = Vec::new();
    let mut head = 0;
    for (number, line) in (1_u32..).zip(text.lines()) {
        if number == 1 && line.starts_with("#!") {
            head = 1;
            continue;
        }
        let Some((name, value)) = directive(line) else {
            break;
        };
        if seen.contains(&name) {
            let what = format!("only one {name} parser directive can be used");
            return Err(Complaint::new(what).about(name).at(&(number..=number)));
        }
        match name.as_str() {
            "syntax" => directives.syntax = Some(value.to_owned()),
            "check" => directives.check = Some(value.to_owned()),
            "escape" if matches!(value, "\\" | "`") => {
                directives.escape = value.chars().next().unwrap_or('\\');
            }
            "escape" => {
                let what = format!("invalid escape token '{value}' does not match ` or \\");
                return Err(Complaint::new(what).about(value).at(&(number..=number)));
            }
            // Unknown ones are comments, and comments end the directives.
            _ => break,
        }
        seen.push(name);
        head = number;
    }
    Ok((directives, head))
}

fn directive(line: &str) -> Option<(String, &str)> {
    let (name, value) = line.trim().strip_prefix('#')?.split_once('=')?;
    let name = name.trim();
    let is_name = name.starts_with(|letter: char| letter.is_ascii_alphabetic())
        && name.chars().all(|letter| letter.is_ascii_alphanumeric());
    let value = value.trim();
    (is_name && !value.is_empty()).then(|| (name.to_ascii_lowercase(), value))
}

//! `.dockerignore`: which paths of a context are left out, and `--exclude` of COPY and ADD.
//!
//! Not gitignore: patterns are rooted at the context, `*` does not cross `/`, `**` stands for any
//! number of directories, and the last pattern that matches a path, or a directory above it, wins.
//! A pattern with `!` takes out what an earlier one has put in.
//!
//! What Docker's matcher (moby/patternmatcher) makes of odd patterns is kept: `**` at the beginning of
//! a pattern without further wildcards matches any beginning at all (`**foo` matches `xfoo`), and at its
//! end any end (`foo**` matches `foox/y`).

use super::{
    dockerfile::{Complaint, Result},
    letter_class::LetterClass,
};

/// The patterns of a file, in its order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ignore {
    patterns: Vec<Pattern>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Pattern {
    is_exception: bool,
    /// Cleaned as a path is, without a slash at its beginning.
    text: String,
    matcher: Matcher,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Matcher {
    /// The path begins so.
    Prefix(String),
    /// The path ends so; if that begins with a slash, it may be all of the path without it.
    Suffix(String),
    Whole(Vec<Piece>),
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Letter(char),
    /// `?`: any letter but a slash.
    One,
    /// `*`: any number of letters but slashes.
    Any,
    /// `**` or `**/` in front of something: nothing, or anything that ends in a slash.
    Directories,
    /// `**` at the end.
    Rest,
    /// `[a-z]`
    Class(LetterClass),
}

impl Ignore {
    /// Reads a file: one pattern a line, `#` at the beginning of a line makes a comment of it.
    ///
    /// # Errors
    /// The line of a pattern that is none.
    pub fn parse(text: &str) -> Result<Ignore> {
        let text = text.strip_prefix('\u{feff}').unwrap_or(text);
        let mut ignore = Ignore::default();
        for (number, line) in (1_u32..).zip(text.lines()) {
            if line.starts_with('#') || line.trim().is_empty() {
                continue;
            }
            ignore
                .add(line.trim())
                .map_err(|complaint| complaint.at(&(number..=number)))?;
        }
        Ok(ignore)
    }

    /// Adds one pattern.
    ///
    /// # Errors
    /// What is no pattern.
    pub fn add(&mut self, line: &str) -> Result<()> {
        let (is_exception, written) = match line.strip_prefix('!') {
            Some(pattern) => (true, pattern.trim()),
            None => (false, line),
        };
        if written.is_empty() {
            let what = format!("illegal exclusion pattern: {line:?}");
            return Err(Complaint::new(what).about(line));
        }
        let text = cleaned(written);
        self.patterns.push(Pattern {
            matcher: matcher(&text, written)?,
            is_exception,
            text,
        });
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.patterns.is_empty()
    }

    /// Whether a path below the context (`a/b`, without a leading slash) is left out.
    pub fn excludes(&self, path: &str) -> bool {
        let mut is_excluded = false;
        for pattern in &self.patterns {
            if pattern.is_exception == is_excluded && pattern.matches_or_holds(path) {
                is_excluded = !pattern.is_exception;
            }
        }
        is_excluded
    }

    /// Whether a path is left out for certain, before any file is known: no `!` may bring back what is
    /// at it or below it. The context itself, an empty path, is left out if all of it is.
    pub fn surely_excludes(&self, path: &str) -> bool {
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.is_exception);
        if exceptions.any(|pattern| pattern.may_reach(path)) {
            return false;
        }
        let all = |pattern: &Pattern| {
            !pattern.is_exception && matches!(pattern.text.as_str(), "*" | "**" | "**/*")
        };
        match path.is_empty() {
            true => self.patterns.iter().any(all),
            false => self.excludes(path),
        }
    }

    /// Whether nothing below a directory that is left out can be in the context all the same, so that
    /// it need not be read.
    pub fn excludes_all_below(&self, directory: &str) -> bool {
        let mut exceptions = self.patterns.iter().filter(|pattern| pattern.is_exception);
        self.excludes(directory) && !exceptions.any(|pattern| pattern.may_match_below(directory))
    }
}

impl Pattern {
    /// The path itself or a directory above it.
    fn matches_or_holds(&self, path: &str) -> bool {
        if let Matcher::Whole(pieces) = &self.matcher {
            // Most patterns begin with letters that most paths do not.
            let fixed = self.text.split(['*', '?', '[', '\\']).next();
            let begins = fixed.is_none_or(|fixed| path.starts_with(fixed));
            return begins && run(pieces, path).matches_or_holds();
        }
        let above = path.match_indices('/').map(|(slash, _)| &path[..slash]);
        above.chain([path]).any(|path| self.matcher.matches(path))
    }

    fn may_match_below(&self, directory: &str) -> bool {
        let below = format!("{directory}/");
        match &self.matcher {
            Matcher::Suffix(_) => true,
            Matcher::Prefix(prefix) => prefix.starts_with(&below) || below.starts_with(prefix),
            Matcher::Whole(pieces) => run(pieces, &below).next.contains(&true),
        }
    }

    /// Whether it could match something at a path or below it: behind the first part with a wildcard,
    /// it may be anything.
    fn may_reach(&self, path: &str) -> bool {
        let is_wild = |part: &str| part.contains(['*', '?', '[']);
        let parts: Vec<&str> = self.text.split('/').collect();
        let fixed: Vec<&str> = parts
            .iter()
            .copied()
            .take_while(|part| !is_wild(part))
            .collect();
        let has_wildcard = fixed.len() < parts.len();
        let fixed = fixed.join("/");
        let is_at_or_below = |path: &str, base: &str| {
            let below = path.strip_prefix(base);
            base.is_empty() || below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        is_at_or_below(&fixed, path) || (has_wildcard && is_at_or_below(path, &fixed))
    }
}

/// As Go's filepath.Clean, without a slash at the beginning.
fn cleaned(pattern: &str) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in pattern.split('/') {
        match part {
            "" | "." => {}
            // Above the root is the root.
            ".." if parts.is_empty() && pattern.starts_with('/') => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    match parts.is_empty() {
        true => ".".to_owned(),
        false => parts.join("/"),
    }
}

fn matcher(text: &str, written: &str) -> Result<Matcher> {
    let pieces = pieces(text).ok_or_else(|| {
        Complaint::new(format!("syntax error in pattern {written:?}")).about(written)
    })?;
    let is_plain = |pieces: &[Piece]| {
        let mut pieces = pieces.iter();
        pieces.all(|piece| matches!(piece, Piece::Letter(_))) && !text.contains('\\')
    };
    Ok(match &pieces[..] {
        [Piece::Directories | Piece::Rest, rest @ ..] if is_plain(rest) => {
            Matcher::Suffix(text[2..].to_owned())
        }
        [rest @ .., Piece::Rest] if is_plain(rest) => {
            Matcher::Prefix(text[..text.len() - 2].to_owned())
        }
        _ => Matcher::Whole(pieces),
    })
}

fn pieces(text: &str) -> Option<Vec<Piece>> {
    let mut letters = text.chars().peekable();
    let mut pieces = Vec::new();
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            '*' if letters.next_if_eq(&'*').is_some() => {
                letters.next_if_eq(&'/');
                match letters.peek() {
                    None => Piece::Rest,
                    Some(_) => Piece::Directories,
                }
            }
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => Piece::Letter(letters.next()?),
            '[' => {
                let class = LetterClass::parse(&mut letters);
                Piece::Class(class.filter(|class| !class.has_backward_range())?)
            }
            letter => Piece::Letter(letter),
        });
    }
    Some(pieces)
}

impl Matcher {
    fn matches(&self, path: &str) -> bool {
        match self {
            Matcher::Prefix(prefix) => path.starts_with(prefix),
            Matcher::Suffix(suffix) => {
                path.ends_with(suffix) || suffix.strip_prefix('/') == Some(path)
            }
            Matcher::Whole(pieces) => run(pieces, path).matches(),
        }
    }
}

/// What has become of pieces along a path.
struct Run {
    /// Which pieces may come next when all of the path was read.
    next: Vec<bool>,
    /// A directory above the path matched.
    holds: bool,
}

impl Run {
    fn matches(&self) -> bool {
        self.next.last() == Some(&true)
    }

    fn matches_or_holds(&self) -> bool {
        self.holds || self.matches()
    }
}

/// All ways are followed at once: pieces × letters steps.
fn run(pieces: &[Piece], path: &str) -> Run {
    let mut holds = false;
    let mut after = vec![false; pieces.len() + 1];
    let mut next = vec![false; pieces.len() + 1];
    next[0] = true;
    skip(pieces, &mut next);
    // Inside of `**/`, behind a letter that is no slash.
    let mut inside = vec![false; pieces.len()];
    for letter in path.chars() {
        holds |= letter == '/' && next.last() == Some(&true);
        after.fill(false);
        for (place, piece) in pieces.iter().enumerate() {
            let is_next = next[place];
            match piece {
                Piece::Directories => {
                    let reached = is_next || inside[place];
                    inside[place] = reached;
                    after[place + 1] |= reached && letter == '/';
                }
                _ if !is_next => {}
                Piece::Any => after[place] |= letter != '/',
                Piece::Rest => after[place] = true,
                Piece::One => after[place + 1] |= letter != '/',
                Piece::Letter(wanted) => after[place + 1] |= *wanted == letter,
                Piece::Class(class) => after[place + 1] |= class.holds(letter),
            }
        }
        skip(pieces, &mut after);
        std::mem::swap(&mut next, &mut after);
    }
    // What goes on inside of `**/` may still come to an end.
    if inside.contains(&true) && next.len() > 1 {
        next[0] = true;
    }
    Run { next, holds }
}

/// Pieces that may stand for nothing.
fn skip(pieces: &[Piece], next: &mut [bool]) {
    for (place, piece) in pieces.iter().enumerate() {
        if next[place] && matches!(piece, Piece::Any | Piece::Rest | Piece::Directories) {
            next[place + 1] = true;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excluded(text: &str, path: &str) -> bool {
        Ignore::parse(text).unwrap().excludes(path)
    }

    #[test]
    fn patterns_are_rooted_and_cover_what_is_below() {
        for (pattern, path, expected) in [
            ("foo", "foo", true),
            ("foo", "foo/bar", true),
            ("foo", "a/foo", false),
            ("/foo/", "foo", true),
            ("./foo", "foo", true),
            ("a/../foo", "foo", true),
            ("**/foo", "foo", true),
            ("**/foo", "a/b/foo", true),
            ("**/foo", "a/b/foobar", false),
            ("a/**", "a/b", true),
            ("a/**", "a", false),
            ("a/**/b", "a/b", true),
            ("a/**/b", "a/x/y/b", true),
            ("*.go", "x.go", true),
            ("*.go", "a/x.go", false),
            ("*/x.go", "a/x.go", true),
            ("a?c", "abc", true),
            ("a?c", "a/c", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            (r"\*x", "*x", true),
            (r"\*x", "ax", false),
            ("*", "anything/below", true),
            ("#x", "#x", false),
            ("é*", "été", true),
            ("**foo", "xfoo", true),
            ("**foo", "a/xfoo", true),
            ("**foo*", "xfoo", false),
            ("**foo*", "a/foox", true),
            ("foo**", "foox/y", true),
            ("a**b", "ab", true),
            ("a**b", "ax/b", true),
            ("a**b", "axb", false),
            ("a/**/b", "a/bb", false),
            ("a/**/b*", "a/x/y/bb", true),
            ("**", "a/b", true),
            ("**/*.md", "a.md", true),
            ("**/*.md", "a/b/c.md", true),
            ("**/x/**/y?", "a/x/b/yy", true),
            ("**/x/**/y?", "a/b/yy", false),
            ("/", "a", false),
            (".", "a", false),
            ("../a", "a", false),
            ("/../a", "a", true),
            (r"a\b", r"a\b", false),
            ("[!a]x", "!x", true),
            ("[!a]x", "bx", false),
        ] {
            assert_eq!(excluded(pattern, path), expected, "{pattern} {path}");
        }
    }

    #[test]
    fn the_last_one_that_matches_wins() {
        let text = "*\n!a\na/secret\n# a comment\n\n!a/secret/not";
        for (path, expected) in [
            ("b", true),
            ("a", false),
            ("a/x", false),
            ("a/secret", true),
            ("a/secret/x", true),
            ("a/secret/not", false),
        ] {
            assert_eq!(excluded(text, path), expected, "{path}");
        }
        let ignore = Ignore::parse(text).unwrap();
        assert!(ignore.excludes_all_below("b"));
        assert!(!ignore.excludes_all_below("a/secret"));
        let deep = Ignore::parse("node_modules\n!**/keep\n").unwrap();
        assert!(!deep.excludes_all_below("node_modules"));
        let other = Ignore::parse("a\n!b/**/c*\n!a?/x").unwrap();
        assert!(other.excludes_all_below("a"));
    }

    #[test]
    fn some_paths_are_left_out_whatever_there_is() {
        for (text, path, expected) in [
            ("a", "a", true),
            ("a", "a/b", true),
            ("a", "b", false),
            ("*\n!a/b", "a", false),
            ("*\n!a/b", "c", true),
            ("*\n!*/b", "c", false),
            ("*\n!c/*/b", "c", false),
            ("*", "", true),
            ("a", "", false),
        ] {
            let ignore = Ignore::parse(text).unwrap();
            assert_eq!(ignore.surely_excludes(path), expected, "{text:?} {path}");
        }
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_line() {
        for (text, line) in [("a\n!", 2), ("[", 1), ("\n\n[a-]", 3), ("a\\", 1)] {
            let complaint = Ignore::parse(text).unwrap_err();
            assert_eq!(complaint.lines, Some(line..=line), "{text:?}");
        }
    }

    mod properties {
        use proptest::prelude::*;

        use super::*;

        proptest! {
            #[test]
            fn no_text_is_too_odd(text in "(?s).{0,60}", path in "[a-c*?/]{1,20}") {
                if let Ok(ignore) = Ignore::parse(&text) {
                    let excluded = ignore.excludes(&path);
                    if ignore.surely_excludes(&path) {
                        prop_assert!(excluded);
                    }
                }
            }

            /// What need not be read is not in the context.
            #[test]
            fn nothing_is_lost_below(
                lines in proptest::collection::vec("!?[ab*?/]{1,6}", 1..6),
                directory in "[ab]{1,2}(/[ab]{1,2}){0,2}",
                below in "[ab]{1,2}(/[ab]{1,2}){0,2}",
            ) {
                let Ok(ignore) = Ignore::parse(&lines.join("\n")) else { return Ok(()) };
                if ignore.excludes_all_below(&directory) {
                    let path = format!("{directory}/{below}");
                    prop_assert!(ignore.excludes(&path), "{lines:?} {path}");
                }
            }

            /// Without wildcards a pattern is a path.
            #[test]
            fn plain_patterns_are_paths(
                pattern in "[ab]{1,2}(/[ab]{1,2}){0,2}",
                path in "[ab]{1,2}(/[ab]{1,2}){0,2}",
            ) {
                let ignore = Ignore::parse(&pattern).unwrap();
                let below = path.strip_prefix(&pattern);
                let expected = below.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
                prop_assert_eq!(ignore.excludes(&path), expected);
            }
        }
    }
}

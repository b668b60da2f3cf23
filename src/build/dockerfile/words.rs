//! Words: quotes, escapes and `$variables`, as BuildKit's frontend reads them. That is nearly, but not
//! quite, what a shell does: `\` before an ordinary letter is dropped outside of quotes and kept inside
//! of double ones, nothing is a command, and values are split into words only where many are wanted.

use std::collections::BTreeSet;

use super::{Complaint, Result, nodes::Heredoc};

/// What variables are worth; none is unset.
pub trait Variables {
    fn get(&self, name: &str) -> Option<&str>;
}

impl<F: Fn(&str) -> Option<&'static str>> Variables for F {
    fn get(&self, name: &str) -> Option<&str> {
        self(name)
    }
}

/// A word with its variables expanded and its quotes removed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Expanded {
    pub text: String,
    /// The same, split at blanks that were neither quoted nor escaped.
    pub words: Vec<String>,
    /// Variables that are asked for and set.
    pub used: BTreeSet<String>,
    /// Variables that are asked for and not set, without a word that says what then.
    pub unset: BTreeSet<String>,
}

/// How quotes and unknown variables are read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reading {
    /// Quotes are taken away; what is not set is empty.
    Word,
    /// Quotes are letters, as in a here-document.
    Document,
    /// For showing a command: quotes and what is not set stay.
    Shown,
}

/// Expands `word`.
///
/// # Errors
/// Quotes and braces without an end, substitutions that there are not, and those that want an error
/// (`${name:?message}`).
pub fn expand(word: &str, escape: char, variables: &dyn Variables) -> Result<Expanded> {
    expand_as(Reading::Word, word, escape, variables)
}

/// # Errors
/// As [`expand`].
pub fn expand_as(
    reading: Reading,
    word: &str,
    escape: char,
    variables: &dyn Variables,
) -> Result<Expanded> {
    let mut reader = Reader {
        rest: word.chars().peekable(),
        escape,
        reading,
        depth: 0,
        variables,
        used: BTreeSet::new(),
        unset: BTreeSet::new(),
    };
    let mut out = Out::default();
    reader
        .read_until(None, false, &mut out)
        .map_err(|complaint| match complaint.about {
            Some(_) => complaint,
            None => complaint.about(word),
        })?;
    out.end_word();
    Ok(Expanded {
        text: out.text,
        words: out.words,
        used: reader.used,
        unset: reader.unset,
    })
}

#[derive(Debug, Default)]
struct Out {
    text: String,
    words: Vec<String>,
    word: Option<String>,
}

impl Out {
    /// A letter that was neither quoted nor escaped.
    fn bare(&mut self, letter: char) {
        self.text.push(letter);
        match letter.is_whitespace() {
            true => self.end_word(),
            false => self.word.get_or_insert_default().push(letter),
        }
    }

    fn literal(&mut self, letter: char) {
        self.text.push(letter);
        self.word.get_or_insert_default().push(letter);
    }

    /// Quoted, it is a part of a word even if it is empty.
    fn quoted(&mut self, text: &str) {
        self.text.push_str(text);
        self.word.get_or_insert_default().push_str(text);
    }

    fn end_word(&mut self) {
        self.words.extend(self.word.take());
    }
}

struct Reader<'a> {
    rest: std::iter::Peekable<std::str::Chars<'a>>,
    escape: char,
    reading: Reading,
    /// Of substitutions within substitutions.
    depth: u32,
    variables: &'a dyn Variables,
    used: BTreeSet<String>,
    unset: BTreeSet<String>,
}

/// Substitutions within substitutions; a stack is finite.
const DEEPEST: u32 = 64;

/// Bytes that a word may come to: `ENV a=$a$a` would double it with each line.
const LONGEST: usize = 4 << 20;

impl Reader<'_> {
    /// Up to a letter that is taken away with it, or to the end. `raw` keeps escape characters: what is
    /// read is a pattern.
    fn read_until(&mut self, end: Option<char>, raw: bool, out: &mut Out) -> Result<()> {
        while let Some(letter) = self.rest.next() {
            match letter {
                _ if end == Some(letter) => return Ok(()),
                '\'' if self.reading != Reading::Document => self.single_quoted(out)?,
                '"' if self.reading != Reading::Document => self.double_quoted(out)?,
                '$' => {
                    let value = self.variable()?;
                    not_endless(out.text.len() + value.len())?;
                    value.chars().for_each(|letter| out.bare(letter));
                }
                _ if letter == self.escape => {
                    if raw {
                        out.literal(letter);
                    }
                    if let Some(escaped) = self.rest.next() {
                        out.literal(escaped);
                    }
                }
                _ => out.bare(letter),
            }
        }
        match end {
            None => Ok(()),
            Some('/') => Err(Complaint::new("syntax error: missing '/' in ${}")),
            Some(_) => Err(Complaint::new("syntax error: missing '}'")),
        }
    }

    /// What is in quotes, with them if they are to be shown.
    fn put_quoted(&self, quote: char, text: &str, out: &mut Out) {
        match self.reading {
            Reading::Shown => out.quoted(&format!("{quote}{text}{quote}")),
            _ => out.quoted(text),
        }
    }

    fn single_quoted(&mut self, out: &mut Out) -> Result<()> {
        let mut text = String::new();
        for letter in self.rest.by_ref() {
            if letter == '\'' {
                self.put_quoted('\'', &text, out);
                return Ok(());
            }
            text.push(letter);
        }
        let what = "unexpected end of statement while looking for matching single-quote";
        Err(Complaint::new(what))
    }

    fn double_quoted(&mut self, out: &mut Out) -> Result<()> {
        let mut text = String::new();
        while let Some(letter) = self.rest.next() {
            match letter {
                '"' => {
                    self.put_quoted('"', &text, out);
                    return Ok(());
                }
                '$' => {
                    let value = self.variable()?;
                    not_endless(text.len() + value.len())?;
                    text.push_str(&value);
                }
                _ if letter == self.escape => match self.rest.peek() {
                    Some(&next) if next == '"' || next == '$' || next == self.escape => {
                        self.rest.next();
                        text.push(next);
                    }
                    Some(_) => text.push(letter),
                    None => {}
                },
                _ => text.push(letter),
            }
        }
        let what = "unexpected end of statement while looking for matching double-quote";
        Err(Complaint::new(what))
    }

    /// What stands behind a `$`.
    fn variable(&mut self) -> Result<String> {
        if self.rest.peek() != Some(&'{') {
            let name = self.name();
            return Ok(match name.is_empty() {
                true => "$".to_owned(),
                false => match self.value(&name) {
                    None if self.reading == Reading::Shown => format!("${name}"),
                    value => value.unwrap_or_default(),
                },
            });
        }
        self.rest.next();
        match self.rest.peek() {
            None => return Err(Complaint::new("syntax error: missing '}'")),
            Some('{' | '}' | ':') => {
                return Err(Complaint::new("syntax error: bad substitution"));
            }
            Some(_) => {}
        }
        let name = self.name();
        self.depth += 1;
        if self.depth > DEEPEST {
            return Err(Complaint::new("substitutions are nested too deeply"));
        }
        let value = self.substitution(&name);
        self.depth -= 1;
        value
    }

    fn value(&mut self, name: &str) -> Option<String> {
        let value = self.variables.get(name);
        let seen = match value {
            Some(_) => &mut self.used,
            None => &mut self.unset,
        };
        seen.insert(name.to_owned());
        value.map(str::to_owned)
    }

    /// Letters, digits and underscores; or one number; or one of the shell's special parameters.
    fn name(&mut self) -> String {
        let mut name = String::new();
        while let Some(&letter) = self.rest.peek() {
            let special = "@*#?-$!".contains(letter);
            if name.is_empty() && special {
                self.rest.next();
                return letter.to_string();
            }
            let number = name.starts_with(|first: char| first.is_numeric());
            let fits = match number {
                true => letter.is_numeric(),
                false => letter.is_alphanumeric() || letter == '_',
            };
            if !fits {
                break;
            }
            name.push(letter);
            self.rest.next();
        }
        name
    }

    /// `${name` was read.
    fn substitution(&mut self, name: &str) -> Result<String> {
        let bad = |operator: String| {
            Complaint::new(format!("unsupported modifier ({operator}) in substitution"))
        };
        let operator = self.rest.next();
        let (operator, empty_is_unset) = match operator {
            None => return Err(Complaint::new("syntax error: missing '}'")),
            Some('}') => {
                return Ok(match self.value(name) {
                    None if self.reading == Reading::Shown => format!("${{{name}}}"),
                    value => value.unwrap_or_default(),
                });
            }
            Some('/') => return self.replacement(name),
            Some(':') => match self.rest.next() {
                Some(operator @ ('-' | '+' | '?')) => (operator, true),
                other => {
                    return Err(bad(format!(
                        ":{}",
                        other.map(String::from).unwrap_or_default()
                    )));
                }
            },
            Some(operator @ ('-' | '+' | '?' | '#' | '%')) => (operator, false),
            Some(other) => return Err(bad(other.to_string())),
        };
        let is_pattern = matches!(operator, '#' | '%');
        let greedy = is_pattern && self.rest.next_if_eq(&operator).is_some();
        let word = self.inner('}', is_pattern)?;
        let value = self.variables.get(name).map(str::to_owned);
        if value.is_some() {
            self.used.insert(name.to_owned());
        }
        let present = value
            .clone()
            .filter(|value| !(empty_is_unset && value.is_empty()));
        Ok(match operator {
            '-' => present.unwrap_or(word),
            '+' => present.map(|_| word).unwrap_or_default(),
            '?' => return present.ok_or_else(|| refused(name, &word, value.is_some())),
            _ => {
                if value.is_none() {
                    self.unset.insert(name.to_owned());
                }
                let value = value.unwrap_or_default();
                not_too_long_for_a_pattern(&value)?;
                cut(&value, &Pattern::new(&word), operator == '#', greedy)
            }
        })
    }

    fn inner(&mut self, end: char, raw: bool) -> Result<String> {
        let mut out = Out::default();
        self.read_until(Some(end), raw, &mut out)?;
        Ok(out.text)
    }

    /// `${name/` was read: the first match of a pattern is replaced, or with `//` all of them.
    fn replacement(&mut self, name: &str) -> Result<String> {
        let all = self.rest.next_if_eq(&'/').is_some();
        let pattern = Pattern::new(&self.inner('/', true)?);
        let by = self.inner('}', true)?;
        let value = self.value(name).unwrap_or_default();
        not_too_long_for_a_pattern(&value)?;
        let mut replaced = String::new();
        let mut rest = value.as_str();
        while !rest.is_empty() {
            match pattern.longest_prefix(rest).filter(|length| *length > 0) {
                Some(length) => {
                    not_endless(replaced.len() + by.len())?;
                    replaced.push_str(&by);
                    rest = &rest[length..];
                    if !all {
                        break;
                    }
                }
                None => {
                    let letter = rest.chars().next().map_or(1, char::len_utf8);
                    replaced.push_str(&rest[..letter]);
                    rest = &rest[letter..];
                }
            }
        }
        Ok(replaced + rest)
    }
}

/// Looking for a pattern takes letters × letters steps.
fn not_too_long_for_a_pattern(value: &str) -> Result<()> {
    match value.len() > 32 << 10 {
        true => Err(Complaint::new(
            "more than 32 KiB are too long for a pattern",
        )),
        false => Ok(()),
    }
}

fn not_endless(length: usize) -> Result<()> {
    match length > LONGEST {
        true => Err(Complaint::new("variables come to more than 4 MiB")),
        false => Ok(()),
    }
}

fn refused(name: &str, word: &str, is_set: bool) -> Complaint {
    let message = match (word, is_set) {
        ("", false) => "is not allowed to be unset",
        ("", true) => "is not allowed to be empty",
        (word, _) => word,
    };
    Complaint::new(format!("{name}: {message}"))
}

fn cut(value: &str, pattern: &Pattern, from_start: bool, greedy: bool) -> String {
    let places = value
        .char_indices()
        .map(|(index, _)| index)
        .chain([value.len()]);
    let mut places: Vec<usize> = places.collect();
    // The shortest first: from the start it ends early, from the end it begins late.
    if from_start == greedy {
        places.reverse();
    }
    for place in places {
        let (before, behind) = value.split_at(place);
        let (candidate, left) = match from_start {
            true => (before, behind),
            false => (behind, before),
        };
        if pattern.matches(candidate) {
            return left.to_owned();
        }
    }
    value.to_owned()
}

/// A shell's pattern: `*`, `?`, and `\` before what is meant literally.
struct Pattern(Vec<Part>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Any,
    One,
    Letter(char),
}

impl Pattern {
    fn new(text: &str) -> Self {
        let mut letters = text.chars();
        let mut parts = Vec::new();
        while let Some(letter) = letters.next() {
            parts.push(match letter {
                '*' => Part::Any,
                '?' => Part::One,
                '\\' => Part::Letter(letters.next().unwrap_or('\\')),
                letter => Part::Letter(letter),
            });
        }
        Pattern(parts)
    }

    fn matches(&self, text: &str) -> bool {
        self.longest_prefix(text) == Some(text.len())
    }

    /// How many bytes of the beginning it can match at most. Parts × letters steps at most.
    fn longest_prefix(&self, text: &str) -> Option<usize> {
        // Which parts may come next; all ways are followed at once.
        let mut next = vec![false; self.0.len() + 1];
        next[0] = true;
        self.skip_any(&mut next);
        let mut longest = next[self.0.len()].then_some(0);
        for (index, letter) in text.char_indices() {
            let mut after = vec![false; self.0.len() + 1];
            for (place, part) in self.0.iter().enumerate().filter(|(place, _)| next[*place]) {
                match part {
                    Part::Any => after[place] = true,
                    Part::One => after[place + 1] = true,
                    Part::Letter(wanted) => after[place + 1] |= *wanted == letter,
                }
            }
            self.skip_any(&mut after);
            next = after;
            if !next.contains(&true) {
                break;
            }
            if next[self.0.len()] {
                longest = Some(index + letter.len_utf8());
            }
        }
        longest
    }

    fn skip_any(&self, next: &mut [bool]) {
        for place in 0..self.0.len() {
            if next[place] && self.0[place] == Part::Any {
                next[place + 1] = true;
            }
        }
    }
}

/// Takes leading `--flags` off, without their quotes and escapes. What follows them is left as it is.
pub fn flags(text: &str) -> (Vec<String>, &str) {
    let mut flags = Vec::new();
    let mut rest = text.trim_start();
    while rest.starts_with("--") {
        let (word, behind) = unquoted(rest);
        rest = behind.trim_start();
        if word == "--" {
            break;
        }
        flags.push(word);
    }
    (flags, rest)
}

fn unquoted(text: &str) -> (String, &str) {
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.char_indices();
    while let Some((index, letter)) = letters.next() {
        match (letter, quote) {
            ('\\', _) => word.extend(letters.next().map(|(_, escaped)| escaped)),
            (_, Some(open)) if letter == open => quote = None,
            ('\'' | '"', None) => quote = Some(letter),
            (_, None) if letter.is_whitespace() => return (word, &text[index..]),
            _ => word.push(letter),
        }
    }
    (word, "")
}

/// Splits at blanks outside of quotes; words keep quotes and escapes.
pub fn split(text: &str, escape: char) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quote = None;
    let mut letters = text.chars();
    while let Some(letter) = letters.next() {
        if letter.is_whitespace() && quote.is_none() {
            if !word.is_empty() {
                words.push(std::mem::take(&mut word));
            }
            continue;
        }
        word.push(letter);
        match quote {
            // Nothing is escaped between single quotes.
            _ if letter == escape && quote != Some('\'') => word.extend(letters.next()),
            Some(open) if letter == open => quote = None,
            None if matches!(letter, '\'' | '"') => quote = Some(letter),
            _ => {}
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

/// The here-documents that a line announces, still without content.
pub(super) fn heredocs(text: &str, escape: char) -> Result<Vec<Heredoc>> {
    let words = split(text, escape);
    words
        .iter()
        .filter_map(|word| heredoc(word, escape).transpose())
        .collect()
}

/// `[N]<<[-]NAME`; none if the word is something else.
pub(super) fn heredoc(word: &str, escape: char) -> Result<Option<Heredoc>> {
    let Some((descriptor, name)) = word.split_once("<<") else {
        return Ok(None);
    };
    if !descriptor.chars().all(|digit| digit.is_ascii_digit()) || name.contains('<') {
        return Ok(None);
    }
    let descriptor = match descriptor {
        "" => None,
        digits => Some(digits.parse().map_err(|_| {
            Complaint::new(format!("invalid descriptor of a heredoc: {digits}")).about(digits)
        })?),
    };
    let (strip_tabs, raw) = match name.strip_prefix('-') {
        Some(name) => (true, name),
        None => (false, name),
    };
    let nothing = |_: &str| None;
    let name = expand(&raw.replace('$', &format!("{escape}$")), escape, &nothing)?;
    let expand = !raw.contains(['\'', '"', escape]);
    Ok((name.words.len() == 1).then(|| Heredoc {
        name: name.text,
        descriptor,
        expand,
        strip_tabs,
        content: String::new(),
    }))
}

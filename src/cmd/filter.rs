//! `--filter KEY=VALUE`: the same key twice is "or", different keys are "and".

use std::collections::BTreeMap;

use regex_lite::Regex;

use super::failure::Failure;

pub struct Filters(Vec<(String, String)>);

impl Filters {
    /// Fails like Docker for what is not `KEY=VALUE` (a flag error) or not a known key.
    pub fn parse(texts: &[String], known: &[&str]) -> Result<Self, Failure> {
        let mut filters = Vec::new();
        for text in texts.iter().filter(|text| !text.is_empty()) {
            let Some((key, value)) = text.split_once('=') else {
                return Err(Failure::Flag(format!(
                    "invalid argument {text:?} for \"-f, --filter\" flag: bad format of filter (expected name=value)"
                )));
            };
            let key = key.trim().to_ascii_lowercase();
            if !known.contains(&key.as_str()) {
                return Err(Failure::Plain(
                    format!("invalid filter '{key}': known are {}", known.join(", ")),
                    1,
                ));
            }
            filters.push((key, value.trim().to_owned()));
        }
        Ok(Filters(filters))
    }

    pub fn values<'a>(&'a self, key: &'a str) -> impl Iterator<Item = &'a str> {
        self.0
            .iter()
            .filter(move |(name, _)| name == key)
            .map(|(_, value)| value.as_str())
    }

    pub fn has(&self, key: &str) -> bool {
        self.values(key).next().is_some()
    }

    /// Whether no filter with this key is there, or one of them accepts.
    pub fn accepts(&self, key: &str, accept: impl Fn(&str) -> bool) -> bool {
        !self.has(key) || self.values(key).any(accept)
    }

    /// `label=KEY` and `label=KEY=VALUE`; unlike other keys all of them must fit.
    pub fn accepts_labels(&self, labels: &BTreeMap<String, String>) -> bool {
        self.values("label")
            .all(|wanted| match wanted.split_once('=') {
                Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
                None => labels.contains_key(wanted),
            })
    }

    /// `label!=KEY` and `label!=KEY=VALUE`: none of them may fit.
    pub fn refuses_no_label(&self, labels: &BTreeMap<String, String>) -> bool {
        !self
            .values("label!")
            .any(|unwanted| match unwanted.split_once('=') {
                Some((key, value)) => labels.get(key).is_some_and(|have| have == value),
                None => labels.contains_key(unwanted),
            })
    }

    /// The values of a key as regular expressions.
    pub fn patterns(&self, key: &str) -> Patterns {
        let values = self.values(key);
        Patterns(
            values
                .map(|text| (text.to_owned(), Regex::new(text).ok()))
                .collect(),
        )
    }

    /// A boolean filter such as `dangling`.
    pub fn boolean(&self, key: &str) -> Result<Option<bool>, Failure> {
        match self.values(key).last() {
            None => Ok(None),
            Some("1" | "t" | "true" | "TRUE" | "True") => Ok(Some(true)),
            Some("0" | "f" | "false" | "FALSE" | "False") => Ok(Some(false)),
            Some(other) => Err(Failure::Plain(
                format!("invalid filter '{key}={other}': expected true or false"),
                1,
            )),
        }
    }
}

/// Docker's regular expressions of names and IDs: a text fits if it is one of them as they stand, or
/// if one is found in it. What is no regular expression only fits itself.
pub struct Patterns(Vec<(String, Option<Regex>)>);

impl Patterns {
    /// Whether there is none, or one that fits.
    pub fn accept(&self, text: &str) -> bool {
        self.0.is_empty() || self.fits(text)
    }

    /// The same for a name, which Docker begins with a slash: patterns may say so, and need not.
    pub fn accept_name(&self, name: &str) -> bool {
        self.accept(name) || self.fits(&format!("/{name}"))
    }

    fn fits(&self, text: &str) -> bool {
        self.0.iter().any(|(plain, regex)| {
            plain == text || regex.as_ref().is_some_and(|regex| regex.is_match(text))
        })
    }
}

/// Go's `path.Match`: `*` and `?` do not cross a `/`; `[a-z]` and `[^a-z]`; `\` quotes.
pub fn glob(pattern: &str, text: &str) -> bool {
    let pattern: Vec<char> = pattern.chars().collect();
    let text: Vec<char> = text.chars().collect();
    // Where the last star stands and where its text began: the only place to go back to. A star
    // does not cross a slash, so an earlier star cannot do better.
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        if at < pattern.len() && pattern[at] == '*' {
            star = Some((at, here));
            at += 1;
            continue;
        }
        if here == text.len() && at == pattern.len() {
            return true;
        }
        if here < text.len()
            && let Some(next) = one(&pattern, at, text[here])
        {
            at = next;
            here += 1;
            continue;
        }
        match star {
            Some((back, from)) if from < text.len() && text[from] != '/' => {
                star = Some((back, from + 1));
                at = back + 1;
                here = from + 1;
            }
            _ => return false,
        }
    }
}

/// Matches one character; the place behind the part of the pattern that did.
fn one(pattern: &[char], at: usize, letter: char) -> Option<usize> {
    match *pattern.get(at)? {
        '?' => (letter != '/').then_some(at + 1),
        '\\' => (*pattern.get(at + 1)? == letter).then_some(at + 2),
        '[' => class(pattern, at + 1, letter),
        plain => (plain == letter).then_some(at + 1),
    }
}

fn class(pattern: &[char], mut at: usize, letter: char) -> Option<usize> {
    let negated = pattern.get(at) == Some(&'^');
    if negated {
        at += 1;
    }
    let mut found = false;
    let start = at;
    while at == start || *pattern.get(at)? != ']' {
        let low = *pattern.get(at)?;
        let high = if pattern.get(at + 1) == Some(&'-') && pattern.get(at + 2) != Some(&']') {
            at += 2;
            *pattern.get(at)?
        } else {
            low
        };
        found |= (low..=high).contains(&letter);
        at += 1;
    }
    (found != negated).then_some(at + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_match_as_gos_path_match_does() {
        for (pattern, text, matches) in [
            ("alpine", "alpine", true),
            ("*", "alpine", true),
            ("*", "user/app", false),
            ("*/*", "user/app", true),
            ("al*ne:3.?", "alpine:3.9", true),
            ("a*b*c", "aXbYbZc", true),
            ("a*b*c", "aXbYbZ", false),
            ("[a-c]x", "bx", true),
            ("[^a-c]x", "bx", false),
            ("\\*", "*", true),
            ("[", "[", false),
            ("", "", true),
            ("*", "", true),
        ] {
            assert_eq!(glob(pattern, text), matches, "{pattern} {text}");
        }
    }

    #[test]
    fn names_match_as_regular_expressions() {
        for (pattern, name, matches) in [
            ("eb", "web", true),
            ("^/web$", "web", true),
            ("/web", "web", true),
            ("^eb", "web", false),
            ("we$", "web", false),
            ("^web.*", "web-1", true),
            ("^w.b[0-9]+$", "wob12", true),
            ("^w.b[0-9]+$", "wob", false),
            ("^(a|b)$", "b", true),
            ("^(a|b)$", "ab", false),
            ("^/(a|b)$", "a", true),
            ("^a$|^b$", "b", true),
            ("^a$|^b$", "bc", false),
            ("a\\.b", "a.b", true),
            ("a\\.b", "axb", false),
            ("colou?r", "my-color", true),
            ("[^a-z]x", "1x", true),
            ("", "web", true),
            ("[", "web", false),
            ("[", "[", true),
            ("^(?:web|db)-\\d{2}$", "db-07", true),
            ("^(?i)WEB$", "web", true),
            ("(a*)*b", "aaaaaaaaaaaaaaaaaaaaaaaaaaaa", false),
        ] {
            let filters = Filters(vec![("name".to_owned(), pattern.to_owned())]);
            let fits = filters.patterns("name").accept_name(name);
            assert_eq!(fits, matches, "{pattern} {name}");
        }
    }
}

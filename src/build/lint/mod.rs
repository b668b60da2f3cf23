//! BuildKit's checks: what is allowed in a Dockerfile and probably not meant.
//!
//! Rules are named, explained and linked as BuildKit does it; `# check=skip=RULE,…` at the head of a
//! file leaves some out, the same comment right above an instruction leaves them out there, and
//! `error=true` makes a failure of them. Some are experimental: only `experimental=RULE,…` asks for
//! them.

use std::ops::RangeInclusive;

use super::dockerfile::{Complaint, Dockerfile, Node, Result, run_flags::go_bool, visible};

mod checks;
mod describe;
mod rules;

pub use describe::{Outline, OutlineArgument, OutlineSecret, Target, outline, targets};
pub use rules::Rule;

pub(in crate::build) use checks::*;

/// One finding.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    pub rule: Rule,
    pub message: String,
    pub lines: RangeInclusive<u32>,
}

/// Which rules hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Options {
    skip_all: bool,
    skip: Vec<String>,
    experimental_all: bool,
    experimental: Vec<String>,
    error: bool,
}

impl Options {
    /// `skip=A,B;error=true;experimental=all`.
    fn parse(text: &str) -> Result<Options> {
        let mut options = Options::default();
        for part in text.split(';').filter(|_| !text.trim().is_empty()) {
            let bad = || Complaint::new(format!("invalid check option {part:?}")).about(part);
            let (name, value) = part.split_once('=').ok_or_else(bad)?;
            let value = value.trim();
            let listed = || {
                value
                    .split(',')
                    .map(|rule| rule.trim().to_owned())
                    .collect()
            };
            match (name.trim(), value) {
                ("skip", "all") => options.skip_all = true,
                ("skip", _) => options.skip = listed(),
                ("experimental", "all") => options.experimental_all = true,
                ("experimental", _) => options.experimental = listed(),
                ("error", _) => {
                    options.error = go_bool(value).ok_or_else(|| {
                        Complaint::new(format!("failed to parse check option {part:?}")).about(part)
                    })?;
                }
                _ => return Err(bad()),
            }
        }
        Ok(options)
    }

    fn holds(&self, rule: Rule) -> bool {
        let listed = |rules: &[String]| rules.iter().any(|name| name == rule.name());
        match rule.is_experimental() {
            true => self.experimental_all || listed(&self.experimental),
            false => !self.skip_all && !listed(&self.skip),
        }
    }
}

/// Collects what is found.
#[derive(Clone, Debug, Default)]
pub struct Lint {
    options: Options,
    warnings: Vec<Warning>,
}

impl Lint {
    /// As the file says, or `--build-arg BUILDKIT_DOCKERFILE_CHECK` in its place.
    ///
    /// # Errors
    /// A directive `check` that is none.
    pub fn of(file: &Dockerfile, given: Option<&str>) -> Result<Lint> {
        let check = given.or(file.directives.check.as_deref());
        let check = check.unwrap_or_default();
        Ok(Lint {
            options: Options::parse(check)?,
            warnings: Vec::new(),
        })
    }

    /// About an instruction, unless the file or a comment above it says no.
    pub(in crate::build) fn warn(&mut self, node: &Node, rule: Rule, message: String) {
        self.warn_at(node, node.lines.clone(), rule, message);
    }

    /// About some lines of an instruction.
    fn warn_at(&mut self, node: &Node, lines: RangeInclusive<u32>, rule: Rule, message: String) {
        let checks = node.comments.iter().filter_map(|comment| {
            let (name, value) = comment.split_once('=')?;
            let is_check = name.trim().eq_ignore_ascii_case("check");
            Options::parse(value).ok().filter(|_| is_check)
        });
        let is_experimental = rule.is_experimental();
        // Experimental ones have to be asked for by someone, the others not to be refused.
        let mut votes = checks.map(|options| options.holds(rule));
        let holds = match is_experimental {
            true => self.options.holds(rule) || votes.any(|vote| vote),
            false => self.options.holds(rule) && votes.all(|vote| vote),
        };
        let warning = Warning {
            rule,
            message: visible(&message),
            lines,
        };
        if holds && !self.warnings.contains(&warning) {
            self.warnings.push(warning);
        }
    }

    pub fn warnings_are_errors(&self) -> bool {
        self.options.error
    }

    /// In the order of the file.
    pub fn into_warnings(mut self) -> Vec<Warning> {
        self.warnings
            .sort_by_key(|warning| (*warning.lines.start(), warning.rule));
        self.warnings
    }
}

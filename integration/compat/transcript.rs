//! The text of a transcript → its cases and their steps. The notation is at the head of `compat`.

use std::collections::BTreeSet;

#[derive(Debug)]
pub struct Transcript {
    pub cases: Vec<Section>,
}

/// One case: commands that are given in one shell.
#[derive(Debug)]
pub struct Section {
    pub title: String,
    /// Containers have to be paused: not every kind of user can on every machine.
    pub needs_freezer: bool,
    pub steps: Vec<Step>,
}

/// One command, and what is expected of it.
#[derive(Debug, Default)]
pub struct Step {
    pub command: String,
    pub stdout: Vec<String>,
    pub stderr: Vec<String>,
    pub code: i32,
}

/// Why a text is none.
pub fn parse(text: &str) -> Result<Transcript, String> {
    let mut cases: Vec<Section> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim_end();
        let place = |what: &str| format!("line {}: {what}", number + 1);
        if let Some(title) = line.strip_prefix("== ") {
            cases.push(Section {
                title: title.to_owned(),
                needs_freezer: false,
                steps: Vec::new(),
            });
            continue;
        }
        // What stands before the first case says what the file is about.
        let Some(case) = cases.last_mut() else {
            continue;
        };
        if let Some(command) = line.strip_prefix("$ ") {
            case.steps.push(Step {
                command: command.to_owned(),
                ..Step::default()
            });
        } else if let Some(step) = case.steps.last_mut() {
            add(step, line).map_err(|what| place(&what))?;
        } else if line == "needs: freezer" {
            case.needs_freezer = true;
        }
    }
    check(&mut cases)?;
    Ok(Transcript { cases })
}

/// A line below a command.
fn add(step: &mut Step, line: &str) -> Result<(), String> {
    let nothing_expected = step.stdout.is_empty() && step.stderr.is_empty();
    if let Some(more) = line.strip_prefix("> ").or((line == ">").then_some(""))
        && nothing_expected
    {
        step.command.push('\n');
        step.command.push_str(more);
    } else if let Some(code) = line.strip_prefix("? ") {
        step.code = code
            .parse()
            .map_err(|_| format!("no exit code: {code:?}"))?;
    } else if let Some(said) = line.strip_prefix("2>") {
        step.stderr.push(said.trim_start().to_owned());
    } else {
        step.stdout.push(line.to_owned());
    }
    Ok(())
}

fn check(cases: &mut [Section]) -> Result<(), String> {
    let mut titles = BTreeSet::new();
    for case in cases {
        if case.steps.is_empty() {
            return Err(format!("no command in case {:?}", case.title));
        }
        // Lists of differences are of the form `file: title: reason`.
        if case.title.contains(": ") {
            return Err(format!("a colon in a title: {:?}", case.title));
        }
        if !titles.insert(case.title.clone()) {
            return Err(format!("two cases are called {:?}", case.title));
        }
        for step in &mut case.steps {
            // The line between two cases belongs to none.
            while step.stdout.last().is_some_and(String::is_empty) {
                step.stdout.pop();
            }
        }
    }
    Ok(())
}

#[test]
fn a_case_has_steps() {
    let text =
        "about\n== one\na note\n$ cat <<END\n> x\n> END\nx\n\n? 3\n2> told\n\n== two\n$ true\n";
    let cases = parse(text).unwrap().cases;
    assert_eq!(cases.len(), 2);
    let step = &cases[0].steps[0];
    assert_eq!(step.command, "cat <<END\nx\nEND");
    assert_eq!(
        (step.stdout.as_slice(), step.code),
        (&["x".to_owned()][..], 3)
    );
    assert_eq!(step.stderr, ["told"]);
}

#[test]
fn mistakes_are_found() {
    for (text, says) in [
        ("== a\n$ true\n== a\n$ true\n", "two cases"),
        ("== a\n", "no command"),
        ("== a: b\n$ true\n", "a colon"),
        ("== a\n$ true\n? x\n", "line 3: no exit code"),
    ] {
        let wrong = parse(text).unwrap_err();
        assert!(wrong.contains(says), "{wrong}");
    }
}

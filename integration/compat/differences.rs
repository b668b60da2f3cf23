//! In which cases a peer is known not to do as Docker does.
//!
//! One line each, `file: title: reason`; `*` for the title is a file that cannot be played there
//! at all. A reason that begins with `sometimes` is of a case that goes one way or the other there.

pub struct Difference {
    pub file: String,
    pub title: String,
    pub reason: String,
}

impl Difference {
    pub fn of_the_whole_file(&self) -> bool {
        self.title == "*"
    }

    fn is_certain(&self) -> bool {
        !self.reason.starts_with("sometimes")
    }
}

/// The list of an engine; an engine without one is expected to do all as Docker does.
pub fn all(engine: &str) -> Vec<Difference> {
    let path = super::folder().join(engine).with_extension("differences");
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let lines = text
        .lines()
        .filter(|line| !line.is_empty() && !line.starts_with('#'));
    lines.map(parse).collect()
}

fn parse(line: &str) -> Difference {
    let mut parts = line.splitn(3, ": ").map(str::to_owned);
    match (parts.next(), parts.next(), parts.next()) {
        (Some(file), Some(title), Some(reason)) if !reason.is_empty() => Difference {
            file,
            title,
            reason,
        },
        _ => panic!("not of the form `file: title: reason`: {line}"),
    }
}

/// Fails if the cases that differ are not those of the list.
#[track_caller]
pub fn check(engine: &str, file: &str, failed: &[(String, String)]) {
    let known: Vec<Difference> = all(engine)
        .into_iter()
        .filter(|known| known.file == file)
        .collect();
    let mut wrong = String::new();
    for (title, report) in failed {
        if !known.iter().any(|known| &known.title == title) {
            wrong += &format!("\nNOT LISTED {file}: {title}: \n{report}");
        }
    }
    let has_failed = |known: &Difference| failed.iter().any(|(title, _)| title == &known.title);
    for known in known
        .iter()
        .filter(|known| known.is_certain() && !has_failed(known))
    {
        wrong += &format!(
            "\nGONE {file}: {}: take its line off the list\n",
            known.title
        );
    }
    assert!(
        wrong.is_empty(),
        "{engine} and {engine}.differences disagree:{wrong}"
    );
}

//! The reference as one page of Markdown.

use clap::Command;

use super::{
    super::{help, tree, unsupported, verb::Verb},
    answer, answers, flags_of, full_name, global_flags, verbs,
};

pub fn reference() -> String {
    let mut page = String::from(
        "# Reference\n\n\
        <!-- Written by `coracle system reference`: `make reference`. -->\n\n\
        Every command and every flag, as `--help` says it. `coracle system man` writes the same as man pages.\n\n\
        ## Before every command\n\n",
    );
    page.push_str(&flags(&global_flags(), unsupported::GLOBAL));
    page.push_str("## Groups\n\n");
    page.push_str(&table(
        ["Group", ""],
        tree::GROUPS
            .iter()
            .map(|(name, about)| [code(name), (*about).to_owned()]),
    ));
    page.push_str("## Commands\n\n");
    for verb in verbs() {
        page.push_str(&command(verb));
    }
    page.push_str(
        "## Commands that are answered\n\n\
        They are known to docker's or podman's users and are not here; each says so.\n\n",
    );
    page.push_str(&table(
        ["Command", "Answer"],
        answers()
            .into_iter()
            .map(|(name, about)| [code(name), about.to_owned()]),
    ));
    page.truncate(page.trim_end().len());
    page.push('\n');
    page
}

fn command(verb: &Verb) -> String {
    let mut text = format!("### {}\n\n{}\n\n", verb.name(), escaped(verb.about));
    let usage = format!("{} {}", full_name(verb.name()), verb.usage);
    // Some have two lines.
    let lines: Vec<String> = usage
        .lines()
        .map(|line| format!("`{}`", line.trim()))
        .collect();
    text.push_str(&format!("{}\n\n", lines.join("\\\n")));
    let others: Vec<String> = verb
        .spellings
        .iter()
        .filter(|name| **name != verb.name())
        .map(|name| code(name))
        .collect();
    if !others.is_empty() {
        text.push_str(&format!("Also: {}\n\n", others.join(", ")));
    }
    text.push_str(&flags(&flags_of(verb), verb.unsupported));
    text
}

fn flags(command: &Command, absent: &[unsupported::Unsupported]) -> String {
    let mut text = String::new();
    let shown = help::shown(command);
    if !shown.is_empty() {
        let rows = shown.iter().map(|flag| {
            let short = flag
                .short
                .map_or(String::new(), |letter| format!("-{letter}, "));
            let name = format!("{short}--{} {}", flag.long, flag.value);
            [code(name.trim_end()), escaped(&flag.about)]
        });
        text.push_str(&table(["Flag", ""], rows));
    }
    if !absent.is_empty() {
        let rows = absent
            .iter()
            .map(|flag| [code(&format!("--{}", flag.long)), escaped(&answer(flag))]);
        text.push_str(&table(["Known, not there", ""], rows));
    }
    text
}

fn table(headings: [&str; 2], rows: impl Iterator<Item = [String; 2]>) -> String {
    let mut text = format!("| {} | {} |\n|---|---|\n", headings[0], headings[1]);
    for [name, about] in rows {
        text.push_str(&format!("| {name} | {about} |\n"));
    }
    text.push('\n');
    text
}

fn code(text: &str) -> String {
    format!("`{}`", text.replace('|', "\\|"))
}

/// What would end a cell or begin a tag.
fn escaped(text: &str) -> String {
    text.replace('|', "\\|").replace('<', "&lt;")
}

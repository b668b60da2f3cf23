//! Man pages: roff(7), in the sections that man-pages(7) asks for.

use roff::{Inline, Roff, bold, italic, roman};

use super::{
    super::{called, help, tree, unsupported, verb::Verb},
    answer, answers, flags_of, full_name, global_flags, verbs,
};

/// File name and text of each: one for the program, one for each group and each command, and for
/// each further spelling one that leads to it.
pub fn pages() -> Vec<(String, String)> {
    let mut pages = vec![(file(""), program())];
    for (name, about) in tree::GROUPS {
        pages.push((file(name), group(name, about)));
    }
    for verb in verbs() {
        pages.push((file(verb.name()), command(verb)));
        let others = verb.spellings.iter().filter(|name| **name != verb.name());
        pages.extend(others.map(|name| (file(name), format!(".so man1/{}\n", file(verb.name())))));
    }
    pages
}

/// `coracle-network-ls`.
fn title(spelling: &str) -> String {
    full_name(spelling).trim_end().replace(' ', "-")
}

fn file(spelling: &str) -> String {
    format!("{}.1", title(spelling))
}

fn begin(spelling: &str, about: &str, usage: &str) -> Roff {
    let mut page = Roff::new();
    let version = format!("coracle {}", env!("CARGO_PKG_VERSION"));
    let heading = title(spelling).to_uppercase();
    // Empty words would not be written: two quotes are the date that no page has.
    page.control(
        "TH",
        [heading.as_str(), "1", "\"\"", &version, "Containers"],
    );
    page.control("SH", ["NAME"]);
    page.text([roman(format!("{} - {about}", title(spelling)))]);
    page.control("SH", ["SYNOPSIS"]);
    let (first, more) = usage.split_once('\n').unwrap_or((usage, ""));
    page.text([
        bold(full_name(spelling).trim_end()),
        roman(format!(" {first}")),
    ]);
    for line in more.lines() {
        page.control("br", []);
        page.text([roman(line.trim())]);
    }
    page
}

fn program() -> String {
    let mut page = begin(
        "",
        "run containers, without a daemon",
        "[OPTIONS] COMMAND [ARG...]",
    );
    page.control("SH", ["DESCRIPTION"]);
    page.text([roman(
        "Pulls, builds, runs, connects and ships OCI containers for an ordinary user. Each command does its \
         work itself: there is no daemon. The commands are those of docker(1).",
    )]);
    options(&mut page, "OPTIONS", &global_flags(), unsupported::GLOBAL);
    page.control("SH", ["COMMANDS"]);
    for verb in verbs() {
        entry(
            &mut page,
            &[bold(title(verb.name())), roman("(1)")],
            verb.about,
        );
    }
    page.control("SH", ["ANSWERED COMMANDS"]);
    page.text([roman(
        "Known to users of docker and podman, and not here; each says so.",
    )]);
    for (name, about) in answers() {
        entry(&mut page, &[bold(name)], about);
    }
    page.control("SH", ["FILES"]);
    for (path, about) in FILES {
        entry(&mut page, &[italic(*path)], about);
    }
    page.render()
}

const FILES: &[(&str, &str)] = &[
    (
        "~/.config/coracle/config.toml",
        "Settings; `config show` says which are in force, and by what.",
    ),
    (
        "~/.docker/config.json",
        "Docker's settings and credentials, as far as they matter here.",
    ),
    (
        "~/.config/containers/, /etc/containers/",
        "registries.conf, policy.json, registries.d and certs.d.",
    ),
    (
        "~/.local/share/coracle/, /var/lib/coracle/",
        "Images, containers, volumes and networks: --root names another place.",
    ),
];

fn group(name: &str, about: &str) -> String {
    let mut page = begin(name, about, "COMMAND");
    page.control("SH", ["COMMANDS"]);
    for verb in verbs() {
        let inside = verb.spellings.iter().find(|spelling| {
            let group = spelling.split_once(' ').map(|(group, _)| group);
            group == Some(name)
        });
        if let Some(spelling) = inside {
            entry(
                &mut page,
                &[bold(title(spelling)), roman("(1)")],
                verb.about,
            );
        }
    }
    see_also(&mut page, "");
    page.render()
}

fn command(verb: &Verb) -> String {
    let mut page = begin(verb.name(), verb.about, verb.usage);
    if verb.spellings.len() > 1 {
        page.control("SH", ["ALIASES"]);
        let names: Vec<String> = verb.spellings.iter().map(|name| full_name(name)).collect();
        page.text([roman(names.join(", "))]);
    }
    options(&mut page, "OPTIONS", &flags_of(verb), verb.unsupported);
    let group = verb.spellings.iter().find_map(|name| name.split_once(' '));
    see_also(&mut page, group.map_or("", |(group, _)| group));
    page.render()
}

fn options(
    page: &mut Roff,
    heading: &str,
    command: &clap::Command,
    absent: &[unsupported::Unsupported],
) {
    let flags = help::shown(command);
    if !flags.is_empty() {
        page.control("SH", [heading]);
    }
    for flag in &flags {
        let mut names = Vec::new();
        if let Some(letter) = flag.short {
            names.extend([bold(format!("-{letter}")), roman(", ")]);
        }
        names.push(bold(format!("--{}", flag.long)));
        if !flag.value.is_empty() {
            names.extend([roman(" "), italic(flag.value)]);
        }
        entry(page, &names, &flag.about);
    }
    if !absent.is_empty() {
        page.control("SH", ["KNOWN, NOT THERE"]);
    }
    for flag in absent {
        entry(page, &[bold(format!("--{}", flag.long))], &answer(flag));
    }
}

fn entry(page: &mut Roff, name: &[Inline], about: &str) {
    page.control("TP", []);
    page.text(name);
    page.text([roman(about)]);
}

fn see_also(page: &mut Roff, group: &str) {
    page.control("SH", ["SEE ALSO"]);
    let mut names = vec![bold(called::name()), roman("(1)")];
    if !group.is_empty() {
        names.extend([roman(", "), bold(title(group)), roman("(1)")]);
    }
    page.text(names);
}

//! The commands of README.md and of docs/: each is given as it stands there, in order, a page in a world
//! of its own, and must end with code 0.
//!
//! Commands are the lines of indented and `sh` blocks, those behind `$` in `console` blocks, whose other
//! lines must be what is printed, and the scripts in `yaml` blocks. What stands behind two spaces is a
//! remark, or another command. [`PAGES`] says what a reader of a page has, and lists the commands that
//! cannot be given here, with the reason; their flags must be known all the same.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
};

use pulldown_cmark::{CodeBlockKind, Event, Parser, Tag, TagEnd};
use serde_json::Value;

use crate::{
    case::{Case, finish, shared},
    networking::begin,
    registry::Registry,
    scripts::{Image, call_docker, have},
};

/// A page of the documentation.
struct Page {
    file: &'static str,
    images: &'static [Image],
    /// What a reader has before she begins, as a script.
    before: &'static str,
    /// Words of examples, and those that stand for them here.
    here: &'static [(&'static str, &'static str)],
    /// Commands, by how they begin, that are given in another way.
    ways: &'static [(&'static str, Way)],
}

/// How a command is given.
#[derive(Clone, Copy)]
enum Way {
    /// As it stands.
    Plainly,
    /// In front of a terminal, with this typed.
    Terminal(&'static str),
    /// With this on standard input.
    Told(&'static str),
    /// Until Ctrl-C: it has no end of its own.
    Interrupted,
    /// By an ordinary user: root's would change the machine, or there is no sense in it.
    AsOrdinary(&'static str),
    /// By root: an ordinary user has control groups on some machines only.
    AsRoot,
    /// Not here.
    Elsewhere(&'static str),
}

use Way::{AsOrdinary, AsRoot, Elsewhere, Interrupted, Plainly, Terminal, Told};

mod pages;
use pages::PAGES;

/// One case a page.
macro_rules! pages {
    ($($name:ident $file:literal;)+) => {
        cases! { $($name: root ordinary;)+ }

        $(fn $name(case: &Case) {
            holds(case, $file);
        })+

        const CASES: &[&str] = &[$($file),+];
    };
}

pages! {
    readme "README.md";
    archives "docs/archives.md";
    build "docs/build.md";
    bundles "docs/bundles.md";
    ci "docs/ci.md";
    command_line "docs/command-line.md";
    commit "docs/commit.md";
    devices "docs/devices.md";
    events "docs/events.md";
    files "docs/files.md";
    health "docs/health.md";
    images "docs/images.md";
    manifests "docs/manifests.md";
    migration "docs/migration.md";
    networking "docs/networking.md";
    push "docs/push.md";
    registries "docs/registries.md";
    reliability "docs/reliability.md";
    resources "docs/resources.md";
    rootless "docs/rootless.md";
    storage "docs/storage.md";
    transfer "docs/transfer.md";
    trust "docs/trust.md";
    volumes "docs/volumes.md";
}

/// A command of a page, and what is shown below it.
#[derive(Debug)]
struct Step {
    command: String,
    shown: Vec<String>,
}

#[test]
fn every_page_with_commands_has_a_case() {
    let mut pages = vec![PathBuf::from("README.md")];
    for entry in fs::read_dir(sources().join("docs")).unwrap() {
        pages.push(Path::new("docs").join(entry.unwrap().file_name()));
    }
    let with_commands = pages
        .iter()
        .map(|page| page.to_str().unwrap())
        .filter(|page| !steps(page).is_empty());
    let with_commands: BTreeSet<&str> = with_commands.collect();
    assert_eq!(with_commands, CASES.iter().copied().collect());
    for page in PAGES {
        assert!(with_commands.contains(page.file), "{}", page.file);
        let steps = steps(page.file);
        for (start, _) in page.ways {
            let known = steps.iter().any(|step| step.command.starts_with(start));
            assert!(known, "{} has no command {start:?}", page.file);
        }
    }
}

fn sources() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// The commands of a page.
fn steps(page: &str) -> Vec<Step> {
    let text = fs::read_to_string(sources().join(page)).unwrap();
    let mut steps = Vec::new();
    let mut block: Option<(String, String)> = None;
    for event in Parser::new(&text) {
        match event {
            Event::Start(Tag::CodeBlock(kind)) => {
                let language = match kind {
                    CodeBlockKind::Indented => "sh".to_owned(),
                    CodeBlockKind::Fenced(language) => language.to_string(),
                };
                block = Some((language, String::new()));
            }
            Event::Text(text) => {
                if let Some((_, lines)) = &mut block {
                    lines.push_str(&text);
                }
            }
            Event::End(TagEnd::CodeBlock) => {
                let (language, lines) = block.take().unwrap();
                match language.as_str() {
                    "sh" => steps.extend(lines.lines().flat_map(commands).map(plain)),
                    "console" => steps.extend(session(&lines)),
                    "yaml" => steps.extend(scripts(&lines).into_iter().map(plain)),
                    "text" | "json" | "toml" => {}
                    _ => panic!("{page}: a block in {language:?}"),
                }
            }
            _ => {}
        }
    }
    steps
}

fn plain(command: String) -> Step {
    Step {
        command,
        shown: Vec::new(),
    }
}

/// The commands of a line: what is between two spaces or more, but for remarks.
fn commands(line: &str) -> Vec<String> {
    let mut parts = line.split("  ").map(str::trim);
    let first = parts.next().unwrap_or_default();
    let more = parts.filter(|part| part.starts_with("coracle "));
    std::iter::once(first)
        .filter(|first| !first.is_empty() && !first.starts_with('#'))
        .chain(more)
        .map(str::to_owned)
        .collect()
}

fn session(block: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    for line in block.lines() {
        match line.strip_prefix("$ ") {
            Some(command) => steps.extend(commands(command).into_iter().map(plain)),
            None => {
                let step = steps.last_mut().expect("output below a command");
                step.shown.push(line.to_owned());
            }
        }
    }
    steps
}

/// The lines of everything under `run`, `script` and `before_script`.
fn scripts(block: &str) -> Vec<String> {
    fn walk(value: &Value, of_script: bool, found: &mut Vec<String>) {
        match value {
            Value::Object(entries) => {
                for (key, value) in entries {
                    let of_script = ["run", "script", "before_script"].contains(&key.as_str());
                    walk(value, of_script, found);
                }
            }
            Value::Array(list) => list.iter().for_each(|value| walk(value, of_script, found)),
            Value::String(text) if of_script => found.extend(text.lines().map(str::to_owned)),
            _ => {}
        }
    }
    let mut found = Vec::new();
    let document: Value = serde_saphyr::from_str(block).unwrap();
    walk(&document, false, &mut found);
    found
}

fn holds(case: &Case, file: &str) {
    let Some(world) = begin(case) else {
        return;
    };
    let page = PAGES.iter().find(|page| page.file == file);
    let page = page.unwrap_or_else(|| panic!("{file} is not in PAGES"));
    have(case, page.images);
    call_docker(case);
    let shared_images = Registry::http(case);
    let own = Registry::writable(case, "pushed");
    know_the_registries(case, &shared_images, &own);
    let steps = steps(file);
    let outcome = give(case, page, &steps, &own.address);
    clean(case);
    assert_eq!(outcome, "", "{file}");
    world.is_empty(case);
}

/// docker.io has what the shared registry has, and the registries of examples are one of the case's own.
fn know_the_registries(case: &Case, shared_images: &Registry, own: &Registry) {
    let mut text = String::new();
    for (name, image) in [("debian", "debian"), ("alpine", "busybox")] {
        write!(
            text,
            "[[registry]]\nprefix = \"docker.io/library/{name}\"\nlocation = \"{}/test/{image}\"\ninsecure = true\n",
            shared_images.address
        )
        .unwrap();
    }
    let file = case.make_file("registries.conf", text);
    case.set("CONTAINERS_REGISTRIES_CONF", file.to_str().unwrap());
    case.set("REGISTRY", &own.address);
    case.set("SHARED", shared().to_str().unwrap());
    case.set("USER", case.user.kind);
}

/// Gives all commands, one after the other, in one shell; what failed and how.
fn give(case: &Case, page: &Page, steps: &[Step], registry: &str) -> String {
    let work = case.make_dir("work");
    let told = case.make_dir("told");
    let mut script = format!("exec </dev/null\nset -e\n{}\nset +e\n", page.before);
    for (index, step) in steps.iter().enumerate() {
        let command = here(page, &step.command, registry);
        let way = match way(page, &step.command) {
            AsOrdinary(reason) if case.is_root() => Elsewhere(reason),
            AsRoot if !case.is_root() => Elsewhere("needs control groups"),
            way => way,
        };
        let given = match way {
            Plainly | AsOrdinary(_) | AsRoot => command,
            Told(text) => format!("{command} <<'TOLD'\n{text}\nTOLD"),
            Terminal(text) => {
                let file = case.make_file(&format!("told/{index}"), &command);
                format!(
                    "{{ sleep 1; for line in {text}; do echo $line; sleep 1; done; }} | timeout 20 script -qec 'bash {}' /dev/null",
                    file.display()
                )
            }
            Interrupted => {
                let file = case.make_file(&format!("told/{index}"), format!("exec {command}"));
                format!("timeout -s INT 1 bash {}; test $? = 124", file.display())
            }
            Elsewhere(reason) => {
                println!("not given: {}: {reason}", step.command);
                known(&step.command)
            }
        };
        // In a function a `cd` holds, and an error of the shell's own ends no other command.
        writeln!(
            script,
            "step() {{\n{given}\n}}\nstep >{0}/{index}.out 2>{0}/{index}.err\necho $? >{0}/{index}.code",
            told.display()
        )
        .unwrap();
    }
    let script = case.make_file("page.sh", script);
    let mut bash = case.program("bash");
    bash.arg(script).current_dir(work);
    let shell = finish(bash);
    if shell.code != 0 {
        return shell.to_string();
    }
    let read = |index: usize, end: &str| {
        fs::read_to_string(told.join(format!("{index}.{end}"))).unwrap_or_default()
    };
    let shown = |step: &Step| -> Vec<String> {
        let lines = step.shown.iter();
        lines.map(|line| here(page, line, registry)).collect()
    };
    let mut failed = String::new();
    for (index, step) in steps.iter().enumerate() {
        let [code, out, err] = ["code", "out", "err"].map(|end| read(index, end));
        let wrong = if code.trim() != "0" {
            format!("code {}", code.trim())
        } else if !shows(&shown(step), &out) && !matches!(way(page, &step.command), Elsewhere(_)) {
            format!("shown is {:#?}", step.shown)
        } else {
            continue;
        };
        write!(failed, "\n$ {}\n{wrong}\n{out}{err}", step.command).unwrap();
    }
    failed
}

fn here(page: &Page, command: &str, registry: &str) -> String {
    let mut command = command.to_owned();
    for (there, here) in page.here {
        command = command.replace(there, here);
    }
    command.replace("$REGISTRY", registry)
}

fn way(page: &Page, command: &str) -> Way {
    let ways = page.ways.iter();
    let longest = ways
        .filter(|(start, _)| command.starts_with(start))
        .max_by_key(|(start, _)| start.len());
    longest.map_or(Plainly, |(_, way)| *way)
}

/// That the program knows the flags of its commands, without doing any.
fn known(command: &str) -> String {
    let ours = command
        .split([';', '|', '&'])
        .map(str::trim)
        .filter(|part| part.starts_with("coracle ") || part.starts_with("docker "));
    // What stands behind an image's name is another program's.
    let flags = ours.map(|part| {
        [" IMAGE", " debian"].iter().fold(part, |part, image| {
            part.split_once(image).map_or(part, |(flags, _)| flags)
        })
    });
    let asked = flags.map(|part| format!("{part} --help | grep -q Usage"));
    std::iter::once("true".to_owned())
        .chain(asked)
        .collect::<Vec<_>>()
        .join(" && ")
}

/// Whether what is shown is what was printed: `…` stands for anything, and numbers and digests are
/// others every time.
fn shows(shown: &[String], printed: &str) -> bool {
    let pattern = |line: &String| {
        let escaped = regex_lite::escape(line).replace('…', ".*");
        let digits = regex_lite::Regex::new("[0-9a-f]*[0-9][0-9a-f]*").unwrap();
        let line = digits.replace_all(&escaped, "[0-9a-f]+");
        regex_lite::Regex::new(&format!("^{line}$")).unwrap()
    };
    let patterns: Vec<_> = shown.iter().map(pattern).collect();
    let lines: Vec<&str> = printed.lines().collect();
    shown.is_empty()
        || patterns.len() == lines.len()
            && patterns
                .iter()
                .zip(lines)
                .all(|(pattern, line)| pattern.is_match(line))
}

/// A page may leave what it has shown; it goes with the case, if nothing of it runs.
fn clean(case: &Case) {
    let script = "coracle ps -aq | xargs -r coracle rm -f -v -t 0 >/dev/null; coracle network prune -f >/dev/null";
    let mut bash = case.program("bash");
    bash.args(["-c", script]);
    finish(bash).ok();
    case.engine("system check --quick").ok();
}

//! The house rules that no compiler keeps: who may import whom, and who alone may do a thing.
//!
//! The sources are read as text, with comments, strings and `#[cfg(test)]` modules taken out.
//! A rule that fails names the file, the line and the way out.
//!
//! Name services are not looked for here: `src/sys/nss.rs` defines them away, and `make release`
//! asks the finished program (`nm`) whether the C library's own came in.

use std::{
    fs,
    path::{Path, PathBuf},
};

/// Rooms, the most particular path first, with the rooms each may import. `mod.rs` of a room
/// with rooms inside (`engine/`) counts as the use-cases around them.
const ROOMS: &[(&str, &[&str])] = &[
    ("model", &[]),
    ("sys", &[]),
    ("storage", &["model", "sys"]),
    ("registry", &["model"]),
    ("net", &["model", "sys", "storage"]),
    ("engine::plan", &["model"]),
    ("engine::bundle", &["model", "engine::plan"]),
    ("engine::cgroup", &["model", "sys", "engine::plan"]),
    ("engine::sandbox", &["model", "sys", "engine::plan"]),
    (
        "engine::supervisor",
        &[
            "model",
            "sys",
            "storage",
            "net",
            "engine::cgroup",
            "engine::sandbox",
            "engine::plan",
        ],
    ),
    (
        "engine",
        &[
            "model",
            "sys",
            "storage",
            "registry",
            "net",
            "engine::plan",
            "engine::bundle",
            "engine::cgroup",
            "engine::sandbox",
            "engine::supervisor",
        ],
    ),
    ("build", &["model", "sys", "storage", "engine"]),
    ("compose", &["model", "engine"]),
    ("kube", &["model", "engine"]),
    ("api", &["model", "engine"]),
    ("cmd", &["model", "engine", "build"]),
];

/// Functions that are one long table or one long straight line, with the reason.
const LONG_FUNCTIONS: &[(&str, &str, &str)] = &[(
    "build/progress/tests.rs",
    "two_stages",
    "a build, event by event",
)];
const LONGEST_FUNCTION: usize = 80;

struct Source {
    /// Below `src/`.
    path: String,
    /// As written.
    text: String,
    /// The same lines without comments, strings and test modules.
    code: Vec<String>,
}

impl Source {
    /// The room and, for `engine/`, the room inside.
    fn room(&self) -> Option<&'static str> {
        let module = self.path.trim_end_matches(".rs").replace('/', "::");
        let inside = |room: &str| {
            module == room
                || module
                    .strip_prefix(room)
                    .is_some_and(|rest| rest.starts_with("::"))
        };
        // The rooms inside of a room stand before it in the table.
        ROOMS
            .iter()
            .map(|(room, _)| *room)
            .find(|room| inside(room))
    }

    /// Lines whose code contains the text, as `path:line`.
    fn lines_with(&self, wanted: &str) -> Vec<String> {
        let numbered = self.code.iter().enumerate();
        numbered
            .filter(|(_, line)| contains_word(line, wanted))
            .map(|(index, _)| format!("src/{}:{}", self.path, index + 1))
            .collect()
    }
}

/// The text, not as a part of a longer name.
fn contains_word(line: &str, wanted: &str) -> bool {
    let part_of_name = |c: char| c.is_alphanumeric() || c == '_';
    line.match_indices(wanted).any(|(at, _)| {
        !line[..at].ends_with(part_of_name) && !line[at + wanted.len()..].starts_with(part_of_name)
    })
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut paths = Vec::new();
    collect(&root, &mut paths);
    paths.sort();
    assert!(paths.len() > 10, "the sources are in {}", root.display());
    let read = |path: PathBuf| {
        let text = fs::read_to_string(&path).unwrap();
        Source {
            path: path
                .strip_prefix(&root)
                .unwrap()
                .to_str()
                .unwrap()
                .to_owned(),
            code: without_tests(&code_lines(&text)),
            text,
        }
    };
    paths.into_iter().map(read).collect()
}

fn collect(folder: &Path, paths: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            collect(&path, paths);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            paths.push(path);
        }
    }
}

/// Blanks comments, strings and characters, so that braces and words in them do not count.
fn code_lines(text: &str) -> Vec<String> {
    let mut code = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else {
            literal_length(
                rest,
                code.ends_with(|c: char| c.is_alphanumeric() || c == '_'),
            )
        };
        if length == 0 {
            code.push(first);
            rest = &rest[first.len_utf8()..];
        } else {
            let (blank, next) = rest.split_at(length);
            code.extend(blank.chars().map(|c| if c == '\n' { c } else { ' ' }));
            rest = next;
        }
    }
    code.lines().map(str::to_owned).collect()
}

/// The length of a string or character literal at the start of the text; 0 if there is none.
fn literal_length(text: &str, within_name: bool) -> usize {
    let bytes = text.as_bytes();
    let prefix = text
        .bytes()
        .take_while(|byte| matches!(byte, b'b' | b'c' | b'r'))
        .count();
    let prefix = if within_name { 0 } else { prefix.min(2) };
    let raw = text[..prefix].contains('r');
    let hashes = text[prefix..]
        .bytes()
        .take_while(|&byte| raw && byte == b'#')
        .count();
    match bytes.get(prefix + hashes) {
        Some(b'"') if raw => {
            let end = format!("\"{}", "#".repeat(hashes));
            let start = prefix + hashes + 1;
            text[start..]
                .find(&end)
                .map_or(text.len(), |at| start + at + end.len())
        }
        Some(b'"') => escaped_length(text, prefix + 1, b'"'),
        // 'x' and '\n', but not the lifetime 'a.
        Some(b'\'') if hashes == 0 => {
            let inner = text[prefix + 1..].chars().next().map_or(0, char::len_utf8);
            let closes = bytes.get(prefix + 1 + inner) == Some(&b'\'');
            if bytes.get(prefix + 1) == Some(&b'\\') || closes {
                escaped_length(text, prefix + 1, b'\'')
            } else {
                0
            }
        }
        _ => 0,
    }
}

fn escaped_length(text: &str, start: usize, quote: u8) -> usize {
    let bytes = text.as_bytes();
    let mut at = start;
    while at < bytes.len() && bytes[at] != quote {
        at += if bytes[at] == b'\\' { 2 } else { 1 };
    }
    (at + 1).min(bytes.len())
}

/// Blanks `#[cfg(test)]` items up to their closing brace.
fn without_tests(code: &[String]) -> Vec<String> {
    let mut kept = Vec::with_capacity(code.len());
    let mut skipped: Option<(bool, i32)> = None;
    for line in code {
        if skipped.is_none() && line.trim_start().starts_with("#[cfg(test)]") {
            skipped = Some((false, 0));
        }
        let Some((opened, depth)) = skipped else {
            kept.push(line.clone());
            continue;
        };
        let depth = depth + balance(line);
        let opened = opened || line.contains('{');
        let over = opened && depth == 0 || !opened && line.trim_end().ends_with(';');
        skipped = if over { None } else { Some((opened, depth)) };
        kept.push(String::new());
    }
    kept
}

fn balance(line: &str) -> i32 {
    let count = |wanted| line.matches(wanted).count() as i32;
    count('{') - count('}')
}

/// Every path that the code names below `crate`, with nested `use` trees unfolded, and its line.
fn crate_paths(source: &Source) -> Vec<(usize, String)> {
    let text = source.code.join("\n");
    let mut found = Vec::new();
    for (at, _) in text.match_indices("crate::") {
        if text[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_' || c == '$') {
            continue;
        }
        let line = text[..at].matches('\n').count() + 1;
        for path in unfold(&text[at + "crate::".len()..]) {
            found.push((line, path));
        }
    }
    found
}

/// `model::{Digest, user::Id}` → `model::Digest`, `model::user::Id`.
fn unfold(text: &str) -> Vec<String> {
    let name = |c: char| c.is_alphanumeric() || c == '_' || c == ':' || c == '*';
    let end = text.find(|c| !name(c)).unwrap_or(text.len());
    let (prefix, rest) = text.split_at(end);
    let Some(group) = rest
        .strip_prefix('{')
        .filter(|_| prefix.is_empty() || prefix.ends_with("::"))
    else {
        return vec![prefix.trim_end_matches(':').to_owned()];
    };
    let mut paths = Vec::new();
    for part in top_level_parts(group) {
        paths.extend(
            unfold(part.trim())
                .into_iter()
                .map(|path| format!("{prefix}{path}")),
        );
    }
    paths
}

/// The comma-separated parts up to the brace that closes the group.
fn top_level_parts(group: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut start) = (Vec::new(), 0, 0);
    for (at, c) in group.char_indices() {
        match c {
            '{' => depth += 1,
            '}' if depth > 0 => depth -= 1,
            '}' | ',' if depth == 0 => {
                parts.push(&group[start..at]);
                start = at + 1;
                if c == '}' {
                    break;
                }
            }
            _ => {}
        }
    }
    parts.retain(|part| !part.trim().is_empty());
    parts
}

/// The room that a path leads to: `engine::Engine` is the facade, `engine::plan::X` is not.
fn room_of(path: &str) -> Option<&'static str> {
    let within = |room: &str| path == room || path.starts_with(&format!("{room}::"));
    ROOMS
        .iter()
        .map(|(room, _)| *room)
        .find(|room| within(room))
}

fn none_of(faults: &[String], rule: &str) {
    assert!(faults.is_empty(), "{rule}:\n  {}", faults.join("\n  "));
}

#[test]
fn rooms_import_only_those_below_them() {
    let mut faults = Vec::new();
    for source in sources() {
        let Some(own) = source.room() else { continue };
        let allowed = ROOMS.iter().find(|(room, _)| *room == own).unwrap().1;
        // `super::super::…` out of a room is written crate::…, where this test sees it.
        for (line, path) in crate_paths(&source) {
            let fine = match room_of(&path) {
                Some(other) => {
                    other == own
                        || allowed.contains(&other)
                        // Types of the engine's mod.rs (requests) belong to all of its rooms.
                        || other == "engine" && own.starts_with("engine::") && path.matches("::").count() == 1
                }
                // Macros and the crate's own name.
                None => !ROOMS.iter().any(|(room, _)| path.starts_with(room)),
            };
            if !fine {
                faults.push(format!(
                    "src/{}:{line}: {own} imports crate::{path}",
                    source.path
                ));
            }
        }
    }
    none_of(
        &faults,
        "the table of rooms (src/lib.rs) forbids these imports",
    );
}

#[test]
fn unsafe_code_is_in_sys() {
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.room() != Some("sys"))
    {
        faults.extend(source.lines_with("unsafe"));
        faults.extend(source.lines_with("unsafe_code"));
    }
    none_of(
        &faults,
        "only src/sys/ may say unsafe: put a safe function there",
    );
}

#[test]
fn one_writer_to_the_terminal() {
    // Progress bars are drawn by indicatif, which has to be told where.
    let writers = [
        "cmd/ui.rs",
        "cmd/progress.rs",
        "engine/containers/streams.rs",
    ];
    let words = [
        "print!",
        "println!",
        "eprint!",
        "eprintln!",
        "dbg!",
        "io::stdout",
        "io::stderr",
        "stdout()",
        "stderr()",
    ];
    let mut faults = Vec::new();
    for source in sources() {
        let api = source.room() == Some("api");
        // The container's own streams are checked and handed over there, not written to.
        let hands_over = ["engine/sandbox/", "engine/supervisor/"]
            .iter()
            .any(|room| source.path.starts_with(room));
        if api || hands_over || writers.contains(&source.path.as_str()) {
            continue;
        }
        faults.extend(words.iter().flat_map(|word| source.lines_with(word)));
    }
    none_of(
        &faults,
        "only cmd::ui writes to the user: return a value or an error",
    );
}

#[test]
fn one_reader_of_the_environment() {
    let words = [
        "env::var",
        "env::var_os",
        "env::vars",
        "env::vars_os",
        "env::set_var",
        "env::remove_var",
    ];
    let mut faults = Vec::new();
    for source in sources()
        .iter()
        .filter(|source| source.path != "cmd/env.rs")
    {
        faults.extend(words.iter().flat_map(|word| source.lines_with(word)));
    }
    none_of(
        &faults,
        "only cmd::env reads variables: pass the value along",
    );
}

/// Folder names of the store are string literals: looked for in the text as written, outside of
/// comments.
#[test]
fn only_storage_knows_paths_of_the_store() {
    let names = ["blobs/sha256", "layers/", "containers/", "images/"];
    // The registry's URLs, the archives of embedded.rs and the documentation of nouns have the same words.
    let exempt = |source: &Source| {
        matches!(
            source.room(),
            Some("storage" | "registry" | "cmd" | "model")
        ) || source.path == "engine/images/embedded.rs"
    };
    let mut faults = Vec::new();
    for source in sources().iter().filter(|source| !exempt(source)) {
        for (index, line) in source.text.lines().enumerate() {
            let code =
                !line.trim_start().starts_with("//") && !source.code[index].trim().is_empty();
            let named = names.iter().any(|name| line.contains(&format!("\"{name}")));
            if code && named {
                faults.push(format!("src/{}:{}", source.path, index + 1));
            }
        }
    }
    none_of(&faults, "only storage knows a path below the root");
}

#[test]
fn asynchronous_code_is_in_registry_and_api() {
    let mut faults = Vec::new();
    for source in sources() {
        if !matches!(source.room(), Some("registry" | "api")) {
            faults.extend(
                ["async", "await", "tokio"]
                    .iter()
                    .flat_map(|word| source.lines_with(word)),
            );
        }
    }
    none_of(
        &faults,
        "nothing may fork beside a runtime: async stays in registry and api",
    );
}

#[test]
fn files_are_named_for_what_they_hold_and_say_it() {
    let mut faults = Vec::new();
    for source in sources() {
        let vague = [
            "util", "utils", "common", "helper", "helpers", "manager", "misc", "internal",
        ];
        let parts = source.path.trim_end_matches(".rs").split(['/', '_']);
        if parts.into_iter().any(|part| vague.contains(&part)) {
            faults.push(format!("src/{}: the name says nothing", source.path));
        }
        if !source.text.starts_with("//! ") {
            faults.push(format!("src/{}: no module head (//!)", source.path));
        }
    }
    none_of(
        &faults,
        "a file is one noun or verb, and its head explains it",
    );
}

#[test]
fn functions_fit_a_screen() {
    let mut faults = Vec::new();
    for source in sources() {
        for (name, line, length) in functions(&source.code) {
            let known =
                |(path, known, _): &&(&str, &str, &str)| *path == source.path && *known == name;
            if length > LONGEST_FUNCTION && !LONG_FUNCTIONS.iter().any(|long| known(&long)) {
                faults.push(format!(
                    "src/{}:{line}: {name} has {length} lines",
                    source.path
                ));
            }
        }
    }
    none_of(
        &faults,
        "functions fit one screen, unless they are a table (LONG_FUNCTIONS)",
    );
}

/// Name, first line and number of lines of every function, by its braces.
fn functions(code: &[String]) -> Vec<(String, usize, usize)> {
    let mut found = Vec::new();
    for (start, line) in code.iter().enumerate() {
        let Some(at) = line
            .find("fn ")
            .filter(|at| line[..*at].is_empty() || line[..*at].ends_with(' '))
        else {
            continue;
        };
        let name: String = line[at + 3..]
            .chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect();
        let (mut depth, mut opened) = (0, false);
        for (offset, line) in code[start..].iter().enumerate() {
            depth += balance(line);
            opened |= line.contains('{');
            if !opened && line.trim_end().ends_with(';') {
                break;
            }
            if opened && depth <= 0 {
                found.push((name, start + 1, offset + 1));
                break;
            }
        }
    }
    found
}

/// The reader of this file is a parser too.
#[test]
fn the_rules_see_what_they_look_for() {
    let text = "let a = \"unsafe {\"; // unsafe\nlet b = '{'; let c: &'a str = r#\"x\"}\"#;\nunsafe { 'x' }\n";
    let code = code_lines(text);
    assert_eq!(code.len(), 3);
    let seen: Vec<bool> = code
        .iter()
        .map(|line| contains_word(line, "unsafe"))
        .collect();
    assert_eq!(seen, [false, false, true]);
    assert_eq!(code.iter().map(|line| balance(line)).sum::<i32>(), 0);
    assert!(!contains_word("unsafe_code", "unsafe"));

    let lines: Vec<String> = "fn a() {\n}\n#[cfg(test)]\nmod tests {\n  fn b() {}\n}\nfn c() {}"
        .lines()
        .map(str::to_owned)
        .collect();
    let names: Vec<String> = functions(&without_tests(&lines))
        .into_iter()
        .map(|f| f.0)
        .collect();
    assert_eq!(names, ["a", "c"]);

    let mut paths = unfold("{\n model::{Digest, user::{Id, Name}},\n sys::fork,\n};\n");
    paths.sort();
    assert_eq!(
        paths,
        [
            "model::Digest",
            "model::user::Id",
            "model::user::Name",
            "sys::fork"
        ]
    );
    assert_eq!(unfold("engine::Engine;"), ["engine::Engine"]);
    assert_eq!(room_of("engine::plan::Plan"), Some("engine::plan"));
    assert_eq!(room_of("engine::Engine"), Some("engine"));
}

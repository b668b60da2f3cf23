//! Rules of the Dockerfile language, built for real: `tests/data/dockerfiles/NAME/{Dockerfile, context,
//! tree}`, whose form `tests/dockerfiles.rs` describes.

use std::{
    collections::BTreeMap,
    fs,
    io::{Read, Write},
    os::unix::fs::{PermissionsExt, lchown, symlink},
    path::{Path, PathBuf},
};

use crate::case::{Case, Outcome};

cases! {
    trees: root ordinary;
}

/// Paths, and the line that a tree says of each.
type Tree = BTreeMap<String, String>;

fn trees(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox docker.io/library/busybox")
        .ok();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/dockerfiles");
    let mut rules: Vec<PathBuf> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.join("tree").exists())
        .collect();
    rules.sort();
    assert!(rules.len() > 30, "{} rules with a tree", rules.len());
    let context = case.make_dir("empty");
    let base = built(case, &context, "FROM busybox\n", &[]).1;
    let faults: Vec<String> = rules
        .iter()
        .filter_map(|rule| check(case, rule, &base).err())
        .collect();
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

fn check(case: &Case, rule: &Path, base: &Tree) -> Result<(), String> {
    let name = rule.file_name().unwrap().to_str().unwrap();
    let read = |file: &str| fs::read_to_string(rule.join(file)).unwrap_or_default();
    let context = case.make_dir(name);
    make(case, &context, &read("context"));
    let expect = read("expect");
    let flags: Vec<String> = expect
        .lines()
        .filter_map(|line| line.split_once(": "))
        .filter(|(key, _)| matches!(*key, "build-arg" | "target" | "platform" | "label"))
        .map(|(key, value)| format!("--{key}={value}"))
        .collect();
    let (outcome, got) = built(case, &context, &read("Dockerfile"), &flags);
    let tree = read("tree");
    if let Some(error) = tree.strip_prefix("error: ") {
        let told = outcome.code != 0 && outcome.stderr.contains(error.trim_end());
        return told
            .then_some(())
            .ok_or(format!("{name}: {}", outcome.stderr));
    }
    if outcome.code != 0 {
        return Err(format!("{name}: {}", outcome.stderr));
    }
    let from_busybox = read("Dockerfile").contains("FROM busybox");
    let nothing = Tree::new();
    let base = if from_busybox { base } else { &nothing };
    let new = got
        .iter()
        .filter(|(path, line)| base.get(*path) != Some(line));
    let gone = base.keys().filter(|path| !got.contains_key(*path));
    let mut lines: Vec<String> = new.map(|(_, line)| line.clone()).collect();
    lines.extend(gone.map(|path| format!("- {path}")));
    lines.sort();
    let mut wanted: Vec<&str> = tree.lines().collect();
    wanted.sort_unstable();
    match wanted == lines {
        true => Ok(()),
        false => Err(format!("{name}:\n  wanted {wanted:#?}\n  got {lines:#?}")),
    }
}

fn built(case: &Case, context: &Path, dockerfile: &str, flags: &[String]) -> (Outcome, Tree) {
    let file = case.make_file("Dockerfile", dockerfile);
    let archive = case.dir_path("tree.tar");
    let _ = fs::remove_file(&archive);
    let output = format!("--output=type=tar,dest={}", archive.display());
    let mut words = vec![
        "build",
        "--network=none",
        &output,
        "-f",
        file.to_str().unwrap(),
    ];
    words.extend(flags.iter().map(String::as_str));
    words.push(context.to_str().unwrap());
    let outcome = case.words(&words);
    let tree = match fs::File::open(&archive) {
        Ok(archive) => listing(archive),
        Err(_) => Tree::new(),
    };
    (outcome, tree)
}

fn listing(archive: impl Read) -> Tree {
    let mut tree = Tree::new();
    for entry in tar::Archive::new(archive).entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().to_str().unwrap().to_owned();
        let path = path.trim_start_matches("./").trim_matches('/').to_owned();
        if path.is_empty() {
            continue;
        }
        let header = entry.header();
        let owner = format!("{}:{}", header.uid().unwrap(), header.gid().unwrap());
        let start = format!("{:04o} {owner} {path}", header.mode().unwrap() & 0o7777);
        let link = entry.link_name().unwrap();
        let link = link
            .map(|link| link.to_str().unwrap().to_owned())
            .unwrap_or_default();
        let line = match header.entry_type() {
            tar::EntryType::Directory => format!("{start}/"),
            tar::EntryType::Symlink => format!("0777 {owner} {path} -> {link}"),
            tar::EntryType::Link => format!("{start} => {link}"),
            _ => {
                let mut content = Vec::new();
                entry.read_to_end(&mut content).unwrap();
                let content = String::from_utf8_lossy(&content);
                format!("{start} = {}", serde_json::json!(content))
            }
        };
        tree.insert(path, line);
    }
    tree
}

/// One line of a context.
struct Line<'a> {
    mode: Option<u32>,
    owner: Option<(u32, u32)>,
    /// A path, and what it is.
    rest: &'a str,
}

impl<'a> Line<'a> {
    fn of(line: &'a str) -> Line<'a> {
        let mut rest = line.trim();
        let mut word = |fits: fn(&str) -> bool| {
            let (word, behind) = rest.split_once(' ').filter(|(word, _)| fits(word))?;
            rest = behind;
            Some(word)
        };
        let is_mode = |word: &str| word.len() == 4 && word.chars().all(|digit| digit.is_digit(8));
        let is_owner = |word: &str| word.contains(':');
        let mode = word(is_mode).map(|mode| u32::from_str_radix(mode, 8).unwrap());
        let owner = word(is_owner).map(|owner| {
            let (user, group) = owner.split_once(':').unwrap();
            (user.parse().unwrap(), group.parse().unwrap())
        });
        Line { mode, owner, rest }
    }
}

/// Makes the files of a context, as the case's user's.
fn make(case: &Case, folder: &Path, context: &str) {
    let mut lines = context.lines();
    while let Some(line) = lines.next() {
        let Line { mode, owner, rest } = Line::of(line);
        let name = if let Some((name, target)) = rest.split_once(" -> ") {
            symlink(target, folder.join(name)).unwrap();
            name
        } else if let Some((name, content)) = rest.split_once(" = ") {
            let content: String = serde_json::from_str(content).unwrap();
            fs::write(folder.join(name), content).unwrap();
            name
        } else if let Some(name) = rest.strip_suffix(" {") {
            let inside: Vec<&str> = lines.by_ref().take_while(|line| *line != "}").collect();
            let archive = packed(&inside);
            let mut file = fs::File::create(folder.join(name)).unwrap();
            match name.contains("gz") {
                true => compressed(file, &archive),
                false => file.write_all(&archive).unwrap(),
            }
            name
        } else {
            fs::create_dir_all(folder.join(rest)).unwrap();
            rest
        };
        let path = folder.join(name);
        if let Some(mode) = mode {
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        }
        let (uid, gid) = owner
            .filter(|_| case.is_root())
            .unwrap_or((case.user.uid, case.user.gid));
        lchown(&path, Some(uid), Some(gid)).unwrap();
    }
}

fn compressed(file: fs::File, content: &[u8]) {
    let mut encoder = flate2::write::GzEncoder::new(file, flate2::Compression::default());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap();
}

/// An archive of these lines.
fn packed(lines: &[&str]) -> Vec<u8> {
    let mut archive = tar::Builder::new(Vec::new());
    for Line { mode, owner, rest } in lines.iter().map(|line| Line::of(line)) {
        let mut header = tar::Header::new_gnu();
        let (uid, gid) = owner.unwrap_or_default();
        header.set_mode(mode.unwrap_or(0o644));
        header.set_uid(uid.into());
        header.set_gid(gid.into());
        header.set_size(0);
        if let Some((name, target)) = rest.split_once(" -> ") {
            header.set_entry_type(tar::EntryType::Symlink);
            archive.append_link(&mut header, name, target).unwrap();
        } else if let Some((name, content)) = rest.split_once(" = ") {
            let content: String = serde_json::from_str(content).unwrap();
            header.set_size(content.len() as u64);
            archive
                .append_data(&mut header, name, content.as_bytes())
                .unwrap();
        } else {
            header.set_entry_type(tar::EntryType::Directory);
            archive
                .append_data(&mut header, rest, std::io::empty())
                .unwrap();
        }
    }
    archive.into_inner().unwrap()
}

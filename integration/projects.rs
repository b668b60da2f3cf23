//! Real projects, `integration/projects/NAME`: a Dockerfile of several stages in which the tests run, on
//! images made of Debian packages; the result runs and answers over HTTP.
//!
//! Python's image is there for every run of the suite. The others are large or take long to make:
//! `integration/projects/run` (`make projects`) makes them and tries all four.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::lchown,
    path::{Path, PathBuf},
    time::Instant,
};

use crate::{
    build::steps,
    case::{Case, Outcome, shared},
    networking::{self, get, load_debian},
};

cases! {
    c: root ordinary;
    python: root ordinary;
    node: root ordinary;
    rust: root ordinary;
}

struct Project {
    name: &'static str,
    answers: &'static str,
    /// What only the result needs.
    program: &'static str,
    /// What only its tests need.
    test: &'static str,
    comment: &'static str,
}

fn c(case: &Case) {
    holds(
        case,
        &Project {
            name: "c",
            answers: "hello from C",
            program: "server.c",
            test: "test.c",
            comment: "/* changed */\n",
        },
    );
}

fn python(case: &Case) {
    holds(
        case,
        &Project {
            name: "python",
            answers: "hello from Python",
            program: "answers/__main__.py",
            test: "tests/test_answers.py",
            comment: "# changed\n",
        },
    );
}

fn node(case: &Case) {
    holds(
        case,
        &Project {
            name: "node",
            answers: "hello from Node",
            program: "server.js",
            test: "test/answer.test.js",
            comment: "// changed\n",
        },
    );
}

fn rust(case: &Case) {
    holds(
        case,
        &Project {
            name: "rust",
            answers: "hello from Rust",
            program: "src/main.rs",
            test: "tests/answers.rs",
            comment: "// changed\n",
        },
    );
}

/// Whether the image that it is built on could be had.
fn has_image(case: &Case, name: &str) -> bool {
    if name == "python" {
        return true;
    }
    let files = shared().join(format!("images/project-{name}.tar"));
    if !files.exists() {
        case.skip("its image is large: `make projects` makes it");
        return false;
    }
    let image = format!("localhost/project-{name}");
    case.words(&["import", files.to_str().unwrap(), &image])
        .ok();
    true
}

/// The project's files, as the case's user's.
fn sources(case: &Case, name: &str) -> PathBuf {
    let from = Path::new(env!("CARGO_MANIFEST_DIR")).join("integration/projects");
    let to = case.make_dir("project");
    for entry in walkdir::WalkDir::new(from.join(name)).min_depth(1) {
        let entry = entry.unwrap();
        let place = to.join(entry.path().strip_prefix(from.join(name)).unwrap());
        match entry.file_type().is_dir() {
            true => fs::create_dir(&place).unwrap(),
            false => drop(fs::copy(entry.path(), &place).unwrap()),
        }
        lchown(&place, Some(case.user.uid), Some(case.user.gid)).unwrap();
    }
    to
}

fn append(file: &Path, text: &str) {
    let content = fs::read_to_string(file).unwrap();
    fs::write(file, content + text).unwrap();
}

/// Programs that ran, and those whose results were there.
fn programs(build: &Outcome) -> [BTreeSet<String>; 2] {
    ["DONE", "CACHED"].map(|end| {
        let steps = steps(build, end).into_iter();
        steps.filter(|name| name.contains("] RUN ")).collect()
    })
}

fn of_stage(names: &BTreeSet<String>, stage: &str) -> bool {
    let start = format!("{stage} ");
    names.iter().any(|name| name.starts_with(&start))
}

fn holds(case: &Case, project: &Project) {
    let Some(_world) = networking::begin(case) else {
        return;
    };
    if !has_image(case, project.name) {
        return;
    }
    load_debian(case);
    let folder = sources(case, project.name);
    let build = || {
        let begun = Instant::now();
        let words = ["build", "--progress=plain", "-t", "app"];
        let built = case.words(&[&words[..], &[folder.to_str().unwrap()]].concat());
        (built.ok(), begun.elapsed())
    };
    let answers = || {
        let run = ["run", "-d", "--name=app", "-p=127.0.0.1:8080:8080", "app"];
        case.words(&run).ok();
        case.eventually("it answers", || {
            get("127.0.0.1:8080", "/").is_ok_and(|text| text == project.answers)
        });
        assert_eq!(get("127.0.0.1:8080", "/x").unwrap(), "no /x");
        case.engine("exec app cat /passed").ok().prints("passed");
        case.engine("rm -f -t 0 app").ok();
    };
    let (first, cold) = build();
    let [ran, cached] = programs(&first);
    assert!(of_stage(&ran, "test") && of_stage(&ran, "build"), "{first}");
    assert!(cached.is_empty(), "{first}");
    answers();
    // Nothing has changed, so nothing is done.
    let (second, warm) = build();
    assert!(steps(&second, "DONE").is_empty(), "{second}");
    assert_eq!(steps(&second, "CACHED"), steps(&first, "DONE"), "{second}");
    // What has changed takes along what depends on it, and nothing else.
    append(&folder.join(project.program), project.comment);
    let (third, changed) = build();
    let [ran, cached] = programs(&third);
    assert!(
        of_stage(&ran, "build") && of_stage(&cached, "test"),
        "{third}"
    );
    answers();
    append(&folder.join(project.test), project.comment);
    let [ran, cached] = programs(&build().0);
    assert!(of_stage(&ran, "test") && of_stage(&cached, "build"));
    println!(
        "{}: cold {cold:?}, cached {warm:?}, one file {changed:?}",
        project.name
    );
    case.engine("system check --quick").ok();
}

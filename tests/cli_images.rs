//! Commands on images and containers, in a store that has none: what scripts test for.

use std::process::{Command, Stdio};

fn coracle(words: &[&str]) -> (i32, String, String) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let output = Command::new(env!("CARGO_BIN_EXE_coracle"))
        .env_clear()
        .env("HOME", folder.path())
        .arg("--root")
        .arg(folder.path().join("store"))
        .arg("--runroot")
        .arg(folder.path().join("run"))
        .args(words)
        .stdin(Stdio::null())
        .output()
        .expect("coracle runs");
    (
        output.status.code().unwrap_or(-1),
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

#[test]
fn no_images_are_a_heading_or_nothing() {
    let (code, out, err) = coracle(&["images"]);
    assert_eq!((code, err.as_str()), (0, ""));
    insta::assert_snapshot!(out, @"REPOSITORY   TAG       IMAGE ID   CREATED   SIZE");
    for words in [
        vec!["images", "-q"],
        vec!["images", "-aq", "alpine"],
        vec!["image", "ls", "--format", "{{.ID}}"],
        vec!["images", "--format", "json"],
        vec!["images", "--filter", "dangling=true", "-q"],
    ] {
        assert_eq!(
            coracle(&words),
            (0, String::new(), String::new()),
            "{words:?}"
        );
    }
    let (_, out, _) = coracle(&["images", "--digests"]);
    insta::assert_snapshot!(out, @"REPOSITORY   TAG       DIGEST    IMAGE ID   CREATED   SIZE");
}

#[test]
fn a_missing_object_has_dockers_codes() {
    for (words, code, out) in [
        (vec!["image", "inspect", "x"], 1, "[]\n"),
        (vec!["inspect", "--type=image", "x"], 1, "[]\n"),
        (
            vec!["inspect", "--type", "image", "-f", "{{.Id}}", "x"],
            1,
            "\n",
        ),
        (vec!["rmi", "x"], 1, ""),
        (vec!["rmi", "-f", "x"], 0, ""),
        (vec!["tag", "x", "y"], 1, ""),
        (vec!["run", "--pull=never", "x"], 125, ""),
        (vec!["create", "--pull=never", "x"], 1, ""),
        (vec!["exec", "x", "sh"], 1, ""),
        (vec!["start", "x"], 1, ""),
        (vec!["attach", "x"], 1, ""),
    ] {
        let (is, stdout, err) = coracle(&words);
        assert_eq!((is, stdout.as_str()), (code, out), "{words:?}: {err}");
        assert!(err.contains("coracle: No such "), "{words:?}: {err}");
    }
}

/// Several objects: every failure is told, the rest is done.
#[test]
fn every_missing_object_is_told() {
    let (code, out, err) = coracle(&["rmi", "x", "y"]);
    assert_eq!((code, out.as_str()), (1, ""));
    let told = |name: &str| err.contains(&format!("No such image: {name}"));
    assert!(told("x") && told("y"), "{err}");
}

//! What shells are offered, and that the script for bash offers it.

use std::process::{Command, Stdio};

struct Caller {
    home: tempfile::TempDir,
}

impl Caller {
    fn new() -> Self {
        Caller {
            home: tempfile::tempdir().expect("a folder"),
        }
    }

    fn call(&self, program: &str, words: &[&str]) -> (i32, String) {
        let mut command = Command::new(program);
        command
            .args(words)
            .env_clear()
            .env("HOME", self.home.path());
        command
            .env("XDG_RUNTIME_DIR", self.home.path())
            // Root's own store is the machine's.
            .env("CORACLE_ROOT", self.home.path().join("root"))
            .env("CORACLE_RUNROOT", self.home.path().join("runroot"))
            .stdin(Stdio::null());
        let output = command.output().expect("it runs");
        let out = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code().unwrap_or(-1), out)
    }

    fn coracle(&self, words: &[&str]) -> String {
        let (code, out) = self.call(env!("CARGO_BIN_EXE_coracle"), words);
        assert_eq!(code, 0, "{words:?}: {out}");
        out
    }

    /// The candidates without what they are, and the directive.
    fn offered(&self, words: &[&str]) -> (Vec<String>, String) {
        let out = self.coracle(&[&["__complete"], words].concat());
        let mut lines: Vec<&str> = out.lines().collect();
        let directive = lines.pop().expect("a directive").to_owned();
        let words = lines
            .iter()
            .map(|line| line.split('\t').next().unwrap_or_default());
        (words.map(str::to_owned).collect(), directive)
    }
}

#[test]
fn commands_flags_and_values_are_offered() {
    let caller = Caller::new();
    for (words, expected) in [
        (&["pul"] as &[&str], "pull"),
        (&["volum"], "volume"),
        (&["container", "un"], "unpause"),
        (&["run", "--cap-a"], "--cap-add"),
        (&["run", "--restart", "unl"], "unless-stopped"),
        (&["run", "--restart=unl"], "--restart=unless-stopped"),
        (&["build", "--progress", "ra"], "rawjson"),
        (&["completion", "z"], "zsh"),
        (&["system", "boot", "en"], "enable"),
    ] {
        assert_eq!(
            caller.offered(words),
            (vec![expected.to_owned()], ":4".to_owned()),
            "{words:?}"
        );
    }
    // A line says what it is; what only says no is not offered.
    let out = caller.coracle(&["__complete", "p"]);
    assert!(
        out.contains("pull\tFetch images from a registry\n"),
        "{out}"
    );
    assert!(!out.lines().any(|line| line.starts_with("pod")), "{out}");
    assert!(
        !caller
            .offered(&["__comp"])
            .0
            .iter()
            .any(|word| word.contains("__"))
    );
    // Files are the shell's.
    for words in [
        &["build", ""] as &[&str],
        &["run", "--env-file", ""],
        &["load", "-i", ""],
        &["run", "busybox", "--fla"],
    ] {
        assert_eq!(
            caller.offered(words),
            (vec![], ":0".to_owned()),
            "{words:?}"
        );
    }
    // Nothing more can come, or nobody knows what.
    assert_eq!(caller.offered(&["rename", "a", "b", ""]).1, ":4");
    assert_eq!(caller.offered(&["nosuch", "command", ""]).1, ":0");
    assert_eq!(caller.offered(&[]).1, ":4");
}

#[test]
fn names_are_those_of_the_moment() {
    let caller = Caller::new();
    caller.coracle(&["volume", "create", "data"]);
    caller.coracle(&["volume", "create", "other"]);
    let data = (vec!["data".to_owned()], ":4".to_owned());
    assert_eq!(caller.offered(&["volume", "rm", "d"]), data);
    assert_eq!(caller.offered(&["volume", "rm", "other", "d"]), data);
    assert_eq!(
        caller.offered(&["run", "-v", "d"]),
        (vec!["data".to_owned()], ":2".to_owned())
    );
    assert_eq!(caller.offered(&["run", "--rm", "-itv", "d"]).0, ["data"]);
    assert_eq!(caller.offered(&["inspect", "da"]).0, ["data"]);
    assert_eq!(caller.offered(&["run", "--network", "ho"]).0, ["host"]);
}

#[test]
fn bash_completes() {
    let caller = Caller::new();
    caller.coracle(&["volume", "create", "data"]);
    let own = env!("CARGO_BIN_EXE_coracle");
    for (line, expected) in [
        ("volume in", "inspect"),
        ("volume rm d", "data"),
        ("run --network=ho", "host"),
        ("run --rest", "--restart"),
    ] {
        let script = format!(
            "source <({own} completion bash); COMP_LINE='{own} {line}'; COMP_POINT=${{#COMP_LINE}}; _coracle; echo \"${{COMPREPLY[@]}}\""
        );
        let (code, out) = caller.call("/bin/bash", &["--norc", "-c", &script]);
        assert_eq!((code, out.trim_end()), (0, expected), "{line}");
    }
    for (shell, word) in [("zsh", "#compdef coracle"), ("fish", "complete -c $name")] {
        assert!(caller.coracle(&["completion", shell]).contains(word));
    }
}

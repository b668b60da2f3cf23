//! `-e` and `--env-file`.

use coracle::model::{
    ErrorKind,
    env::{merge_env, name_of, parse_env_file, resolve_env, value_of},
};
use proptest::prelude::*;

fn caller(name: &str) -> Option<String> {
    (name == "HOME").then(|| "/home/me".to_owned())
}

fn list(variables: &[&str]) -> Vec<String> {
    variables
        .iter()
        .map(|&variable| variable.to_owned())
        .collect()
}

#[test]
fn flags() {
    for (text, expected) in [
        ("A=1", Some("A=1")),
        ("A=", Some("A=")),
        ("A=b=c d", Some("A=b=c d")),
        ("A=*", Some("A=*")),
        ("HOME", Some("HOME=/home/me")),
        ("ABSENT", None),
        ("*", None),
    ] {
        assert_eq!(
            resolve_env(text, &caller).unwrap().as_deref(),
            expected,
            "{text}"
        );
    }
    for text in ["", "=1", "A=\0"] {
        let error = resolve_env(text, &caller).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text:?}");
    }
}

#[test]
fn files() {
    let file = "\u{feff}# comment\n\nA=1\r\n  B= two \nC=\"quoted $HOME\" # kept\nHOME\nABSENT\n   # also\nD=";
    assert_eq!(
        parse_env_file(file.as_bytes(), &caller).unwrap(),
        [
            "A=1",
            "B= two ",
            "C=\"quoted $HOME\" # kept",
            "HOME=/home/me",
            "D="
        ]
    );
    for (file, line) in [
        (&b"A=1\n=2\n"[..], "line 2"),
        (b"export A=1", "line 1"),
        (b"A =1", "line 1"),
        (b"A\xff=1", "line 1"),
        (b"\n\nA=\0", "line 3"),
    ] {
        let error = parse_env_file(file, &caller).unwrap_err();
        assert!(error.message().contains(line), "{error:?}");
    }
    let endless = vec![b'#'; (8 << 20) + 1];
    assert!(parse_env_file(&endless, &caller).is_err());
}

#[test]
fn later_variables_win_and_keep_the_place() {
    assert_eq!(
        merge_env(
            &list(&["PATH=/bin", "A=1"]),
            &list(&["B=2", "PATH=/usr/bin", "B=3"])
        ),
        ["PATH=/usr/bin", "A=1", "B=3"]
    );
    assert_eq!(value_of(&list(&["A=1", "A=2=3", "B"]), "A"), Some("2=3"));
    assert_eq!(value_of(&list(&["A=1"]), "B"), None);
}

proptest! {
    #[test]
    fn any_file_gives_named_values_or_an_error(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        for variable in parse_env_file(&bytes, &caller).into_iter().flatten() {
            prop_assert!(variable.contains('=') && !name_of(&variable).is_empty());
        }
    }

    #[test]
    fn merged_names_are_unique_and_last_values_win(
        earlier in proptest::collection::vec("[A-C]=[0-9]", 0..8),
        later in proptest::collection::vec("[A-C]=[0-9]", 0..8),
    ) {
        let merged = merge_env(&earlier, &later);
        let all: Vec<String> = earlier.iter().chain(&later).cloned().collect();
        for name in ["A", "B", "C"] {
            prop_assert!(merged.iter().filter(|variable| name_of(variable) == name).count() <= 1);
            prop_assert_eq!(value_of(&merged, name), value_of(&all, name));
        }
    }
}

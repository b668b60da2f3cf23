//! Killed while something is sent away: `push`, and `login` as far as it keeps what it was told.

use std::fs;

use super::stepper::everywhere;
use crate::{case::Case, registry::Registry};

cases! {
    push: root ordinary;
    login: root ordinary;
}

/// What the registry was given by halves is no image; the next push makes it whole.
fn push(case: &Case) {
    let (_registry, image) = super::destination(case);
    let args = ["push", "-q", image.as_str()];
    everywhere(
        case,
        &args,
        |case| super::tagged(case, &image),
        |case| {
            super::is_sound(case);
            case.words(&args).ok();
            case.words(&["rmi", &image]).ok();
            case.words(&["pull", "-q", &image]).ok();
            let run = [
                "run",
                "--rm",
                "--network=none",
                &image,
                "cat",
                "/var/www/index.html",
            ];
            case.words(&run).ok().prints("hello");
        },
    );
    super::sweep(case);
    assert_eq!(super::names_in(case, "tmp"), [""; 0]);
}

/// The auth file is as it was or has the new login; others' logins are never lost.
fn login(case: &Case) {
    let registry = Registry::guarded(case, "guarded");
    let folder = case.make_dir("auth");
    let file = folder.join("auth.json");
    let path = format!("--authfile={}", file.display());
    let address = registry.address.as_str();
    let args = [
        "login",
        path.as_str(),
        "-u",
        "user",
        "-p",
        "geheim",
        address,
    ];
    let other = r#"{"auths":{"other.example":{"auth":"YTpi"}}}"#;
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            case.make_file("auth/auth.json", other);
        },
        |case| {
            let text = fs::read(&file).unwrap();
            let value: serde_json::Value = serde_json::from_slice(&text).unwrap();
            assert_eq!(value["auths"]["other.example"]["auth"], "YTpi");
            case.words(&args).ok();
            let value: serde_json::Value =
                serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
            assert!(value["auths"][address]["auth"].is_string(), "{value}");
            assert_eq!(value["auths"]["other.example"]["auth"], "YTpi");
        },
    );
}

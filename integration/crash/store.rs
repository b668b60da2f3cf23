//! Killed while the store is read as a whole: `save`, and `system check --repair`.

use std::{
    fs,
    path::{Path, PathBuf},
};

use super::{names_in, stepper::everywhere, sweep};
use crate::case::Case;

cases! {
    save: root ordinary;
    repair: root ordinary;
}

/// What is under the name that was asked for is a whole archive, or there is nothing.
fn save(case: &Case) {
    let folder = case.make_dir("saved");
    let file = folder.join("image.tar");
    let path = file.display().to_string();
    let args = ["save", "-o", path.as_str(), "localhost/busybox"];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            let _ = fs::remove_file(&file);
        },
        |case| {
            if file.exists() {
                case.words(&["load", "-q", "-i", &path]).ok();
            }
            case.words(&args).ok();
            case.engine("rmi localhost/busybox").ok();
            case.words(&["load", "-q", "-i", &path]).ok();
            case.shell("", "cat /var/www/index.html")
                .ok()
                .prints("hello");
        },
    );
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

/// The file of that name in any layer.
pub fn in_a_layer(case: &Case, name: &str) -> PathBuf {
    let layers = fs::read_dir(case.root().join("layers")).unwrap();
    layers
        .map(|layer| layer.unwrap().path().join("tree").join(name))
        .find(|path| path.exists())
        .unwrap_or_else(|| panic!("no layer has {name}"))
}

/// As a worn out disk would: the file's end is gone.
pub fn damage(file: &Path) {
    fs::File::options()
        .write(true)
        .open(file)
        .unwrap()
        .set_len(1)
        .unwrap();
}

/// However far the repair came, the next one finishes it, and what was whole before is whole.
fn repair(case: &Case) {
    everywhere(
        case,
        &["system", "check", "--repair"],
        |case| {
            super::witness(case);
            case.load_busybox();
            damage(&in_a_layer(case, "var/www/index.html"));
        },
        |case| {
            super::check_witness_alone(case);
            case.engine("system check --repair").ok();
            case.engine("system check").ok();
            case.shell("", "cat /var/www/index.html")
                .ok()
                .prints("hello");
        },
    );
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

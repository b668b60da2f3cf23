//! Killed while something named is made that is neither image nor container: manifest lists, artifacts,
//! stores for others.

use std::{fs, path::Path};

use super::{names_in, stepper::everywhere, sweep};
use crate::{case::Case, registry::Registry};

cases! {
    manifest: root ordinary;
    manifest_push: root ordinary;
    artifact: root ordinary;
    artifact_push: root ordinary;
    export_store: root ordinary;
}

fn nothing_staged(case: &Case) {
    sweep(case);
    assert_eq!(names_in(case, "tmp"), [""; 0]);
}

/// A list that is there has the member it was made of.
fn manifest(case: &Case) {
    let args = super::MAKE_LIST;
    everywhere(case, &args, super::without_list, |case| {
        super::check_witness(case);
        if case.engine("manifest exists list").code != 0 {
            case.words(&args).ok();
        }
        let shown = case.engine("manifest inspect list").ok().json();
        assert_eq!(shown["manifests"].as_array().map(Vec::len), Some(1));
        case.engine("run --rm --network none list cat /var/www/index.html")
            .ok()
            .prints("hello");
    });
    nothing_staged(case);
}

/// The list appears in the registry after its members; with `--purge` it is either here or there.
fn manifest_push(case: &Case) {
    let registry = Registry::writable(case, "pushed");
    let list = format!("{}/some/list:1", registry.address);
    let args = ["manifest", "push", "-q", "--purge", list.as_str()];
    let create = ["manifest", "create", &list, "localhost/busybox"];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            case.words(&["manifest", "rm", &list]);
            case.words(&create).ok();
        },
        |case| {
            super::is_sound(case);
            if case.words(&["manifest", "exists", &list]).code == 0 {
                case.words(&args).ok();
            }
            case.words(&["pull", "-q", &list]).ok();
            case.words(&["run", "--rm", "--network=none", &list, "true"])
                .ok();
            case.words(&["rmi", &list]).ok();
        },
    );
    nothing_staged(case);
}

fn with_files(case: &Case) -> [String; 2] {
    let small = case.make_file("small", "one\n").display().to_string();
    let large = case.make_file("large", vec![7_u8; 700 << 10]);
    [small, large.display().to_string()]
}

fn is_extracted(case: &Case, name: &str) {
    let out = case.make_dir("out");
    let to = out.display().to_string();
    case.words(&["artifact", "extract", name, &to]).ok();
    assert_eq!(fs::read(out.join("small")).unwrap(), b"one\n");
    assert!(fs::read(out.join("large")).unwrap() == vec![7_u8; 700 << 10]);
    fs::remove_dir_all(out).unwrap();
}

fn artifact(case: &Case) {
    let [small, large] = with_files(case);
    let args = ["artifact", "add", "localhost/files", &small, &large];
    everywhere(case, &args, super::without_artifact, |case| {
        super::check_witness(case);
        let listed = case.engine("artifact ls --noheading").ok();
        if !listed.stdout.contains("localhost/files") {
            listed.prints("");
            case.words(&args).ok();
        }
        is_extracted(case, "localhost/files");
    });
    case.engine("artifact rm localhost/files").ok();
    nothing_staged(case);
}

/// Sent and fetched again.
fn artifact_push(case: &Case) {
    let registry = Registry::writable(case, "pushed");
    let [small, large] = with_files(case);
    let name = format!("{}/some/files:1", registry.address);
    let args = ["artifact", "push", "-q", name.as_str()];
    everywhere(
        case,
        &args,
        |case| {
            case.words(&["artifact", "rm", &name]);
            case.words(&["artifact", "add", &name, &small, &large]).ok();
        },
        |case| {
            super::is_sound(case);
            case.words(&args).ok();
            case.words(&["artifact", "rm", &name]).ok();
            case.words(&["artifact", "pull", "-q", &name]).ok();
            is_extracted(case, &name);
        },
    );
    case.words(&["artifact", "rm", &name]).ok();
    nothing_staged(case);
}

/// The folder may be there by halves; what it names is whole, and the same command does the rest.
fn export_store(case: &Case) {
    let folder = case.dir.join("exported");
    let path = folder.display().to_string();
    let args = ["image", "export-store", "localhost/busybox", path.as_str()];
    let option = format!("additionalimagestore={path}");
    let elsewhere = |words: &[&str]| {
        let root = case.dir.join("elsewhere").display().to_string();
        let options = ["--root", root.as_str(), "--storage-opt", option.as_str()];
        case.words(&[&options[..], words].concat())
    };
    let run = ["run", "--rm", "--network=none", "--pull=never"];
    let program = ["localhost/busybox", "cat", "/var/www/index.html"];
    everywhere(
        case,
        &args,
        |case| {
            case.load_busybox();
            remove_tree(&folder);
        },
        |case| {
            super::is_sound(case);
            if folder.join("format").exists() {
                let listed = elsewhere(&["images", "--format", "{{.Repository}}"]).ok();
                if listed.stdout.contains("localhost/busybox") {
                    elsewhere(&[&run[..], &program].concat())
                        .ok()
                        .prints("hello");
                }
            }
            case.words(&args).ok();
            elsewhere(&[&run[..], &program].concat())
                .ok()
                .prints("hello");
        },
    );
    remove_tree(&folder);
    nothing_staged(case);
}

fn remove_tree(folder: &Path) {
    let _ = fs::remove_dir_all(folder);
}

//! Attacks that worked elsewhere, tried on this engine with real containers. `docs/security.md`
//! lists the rule behind each, and `tests/security_page.rs` keeps that list complete.
//!
//! | file | the attacker |
//! |---|---|
//! | entering | waits inside for a process of ours, or is what we are asked to execute |
//! | paths | an image, or a container beside ours, whose paths lead outside |
//! | accounts | writes passwd(5) and group(5) |
//! | copy | a container or an archive on the other end of `cp` |
//! | kernel_surface | asks the kernel for more than a program needs |
//! | store | another user of this machine, or the caller's own environment |
//!
//! The `.py` files beside this one are what runs inside.

use crate::{
    case::{Case, Outcome, shared},
    image::Image,
};

mod accounts;
mod copy;
mod entering;
mod kernel_surface;
mod paths;
mod store;

fn load(case: &Case, image: &Image) {
    case.with_input(&["load", "-q"], image.archive()).ok();
}

fn load_python(case: &Case) {
    let archive = shared().join("images/debian.oci.tar");
    case.words(&["load", "-q", "-i", archive.to_str().unwrap()])
        .ok();
}

/// The words that run one of our scripts in the Debian image, with `flags` before the image.
/// [`load_python`] comes first.
fn python_words(case: &Case, flags: &[&str], script: &str) -> Vec<String> {
    let file = case.make_file("attack.py", script);
    let mount = format!("{}:/attack.py:ro", file.display());
    let mut words: Vec<String> = ["run", "--network=none", "-v", &mount]
        .map(str::to_owned)
        .into();
    words.extend(flags.iter().copied().map(str::to_owned));
    words.extend(["localhost/debian", "python3", "/attack.py"].map(str::to_owned));
    words
}

fn python(case: &Case, flags: &[&str], script: &str) -> Outcome {
    let flags = [&["--rm"], flags].concat();
    case.words(&python_words(case, &flags, script))
}

/// Starts a container that waits, from an image that may be anything.
fn detached(case: &Case, name: &str, image: &str) {
    case.words(&[
        "run",
        "-d",
        "--network=none",
        "--name",
        name,
        image,
        "sh",
        "-c",
        "while :; do sleep 100; done",
    ])
    .ok();
}

fn remove(case: &Case, name: &str) {
    case.words(&["rm", "-f", name]).ok();
}

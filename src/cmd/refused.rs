//! Commands of Podman's that are known and not there, each with what does instead. Exit code 125,
//! whatever stands behind them, and nothing is touched.

use super::{
    failure::Failure,
    unsupported::NO_CHECKPOINTS,
    verb::{Arity, Outcome, Verb},
};

const NO_MOUNTS: &str =
    "no mount outlives a command here: see `coracle cp`, `coracle export` and `coracle diff`";

const NO_IMAGE_MOUNTS: &str = "no mount outlives a command here: see `coracle image ls-files`, `coracle image diff` and `coracle save`";

const REFUSED: Verb = Verb {
    arity: Arity::AtLeast(0),
    // Whatever flags it is given, the answer is the same.
    flags: |command| command.ignore_errors(true),
    ..Verb::PLAIN
};

pub const CHECKPOINT: Verb = Verb {
    spellings: &["container checkpoint"],
    about: "Not supported: keep what a container does for later",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    run: |_, _, _| refuse("container checkpoint", NO_CHECKPOINTS),
    ..REFUSED
};

pub const RESTORE: Verb = Verb {
    spellings: &["container restore"],
    about: "Not supported: go on from a checkpoint",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    run: |_, _, _| refuse("container restore", NO_CHECKPOINTS),
    ..REFUSED
};

pub const MOUNT: Verb = Verb {
    spellings: &["container mount", "mount"],
    about: "Not supported: show a container's files in a folder of the host",
    usage: "[OPTIONS] [CONTAINER...]",
    run: |_, _, _| refuse("mount", NO_MOUNTS),
    ..REFUSED
};

pub const UNMOUNT: Verb = Verb {
    spellings: &["container unmount", "container umount", "umount", "unmount"],
    about: "Not supported: end what mount has begun",
    usage: "[OPTIONS] CONTAINER [CONTAINER...]",
    run: |_, _, _| refuse("unmount", NO_MOUNTS),
    ..REFUSED
};

pub const IMAGE_MOUNT: Verb = Verb {
    spellings: &["image mount"],
    about: "Not supported: show an image's files in a folder of the host",
    usage: "[OPTIONS] [IMAGE...]",
    run: |_, _, _| refuse("image mount", NO_IMAGE_MOUNTS),
    ..REFUSED
};

pub const IMAGE_UNMOUNT: Verb = Verb {
    spellings: &["image unmount", "image umount"],
    about: "Not supported: end what image mount has begun",
    usage: "[OPTIONS] IMAGE [IMAGE...]",
    run: |_, _, _| refuse("image unmount", NO_IMAGE_MOUNTS),
    ..REFUSED
};

pub const RUNLABEL: Verb = Verb {
    spellings: &["container runlabel"],
    about: "Not supported: run a command that an image's label says",
    usage: "[OPTIONS] LABEL IMAGE [ARG...]",
    run: |_, _, _| {
        let instead = "an image does not say what is run on the host: read the label with `coracle image inspect` and run it yourself";
        refuse("container runlabel", instead)
    },
    ..REFUSED
};

fn refuse(command: &str, instead: &'static str) -> Outcome {
    let text = format!("{command} is not supported");
    Err(Failure::Refused(text, instead))
}

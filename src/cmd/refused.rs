//! Commands that are known and not there, each with what does instead. Exit code 125, whatever stands
//! behind them, and nothing is touched.

use super::{
    failure::Failure,
    verb::{Arity, Verb},
};

const REFUSED: Verb = Verb {
    usage: "[OPTIONS] [ARG...]",
    arity: Arity::AtLeast(0),
    // Whatever flags it is given, the answer is the same.
    flags: |command| command.ignore_errors(true),
    ..Verb::PLAIN
};

macro_rules! refused {
    ($($($spelling:literal)|+: $name:literal => $instead:literal;)+) => {
        pub static VERBS: &[Verb] = &[$(Verb {
            spellings: &[$($spelling),+],
            about: concat!("Not supported: ", $instead),
            run: |_, _, _| Err(Failure::Refused(concat!($name, " is not supported").to_owned(), $instead)),
            ..REFUSED
        },)+];
    };
}

refused! {
    "container checkpoint": "container checkpoint" =>
        "freeze the container with `coracle pause`, or keep its files with `coracle commit`";
    "container restore": "container restore" =>
        "freeze the container with `coracle pause`, or keep its files with `coracle commit`";
    "container mount" | "mount": "mount" =>
        "no mount outlives a command here: see `coracle cp`, `coracle export` and `coracle diff`";
    "container unmount" | "container umount" | "umount" | "unmount": "unmount" =>
        "no mount outlives a command here: see `coracle cp`, `coracle export` and `coracle diff`";
    "image mount": "image mount" =>
        "no mount outlives a command here: see `coracle image ls-files`, `coracle image diff` and `coracle save`";
    "image unmount" | "image umount": "image unmount" =>
        "no mount outlives a command here: see `coracle image ls-files`, `coracle image diff` and `coracle save`";
    "container runlabel": "container runlabel" =>
        "an image does not say what is run on the host: read the label with `coracle image inspect` and run it yourself";
    "volume mount" | "volume unmount" | "volume reload": "volume mount" =>
        "no mount outlives a command here: see `coracle volume export` and `coracle volume import`";
    "image sign": "image sign" =>
        "sign the digest that is pushed, for example with cosign: see `coracle image trust`";
    "buildx bake": "buildx bake" => "run `coracle build` once for each target";
    "buildx debug": "buildx debug" => "`coracle build --invoke on-error` opens a shell in a step that fails";
    "buildx dial-stdio": "buildx dial-stdio" => "there is no buildkitd to speak with";
    "buildx policy": "buildx policy" => "policy.json says which base images may be used, see `coracle image trust`";
    "buildx history": "buildx history" =>
        "what builds keep is shown by `coracle builder du --verbose`";
    "pod": "pod" =>
        "containers share namespaces by --network, --ipc, --pid and --uts container:NAME";
    "kube" | "play" | "generate": "kube" => "there are no pods to make of its files";
    "compose": "compose" =>
        "run each service with `coracle run`, on a network of `coracle network create`";
    "machine": "machine" => "containers run on this machine's own kernel";
    "farm": "farm" => "builds run on this machine, for other platforms with --platform";
    "quadlet": "quadlet" => "`coracle system boot` says what starts with the machine";
    "auto-update": "auto-update" => "pull the image, and make the container anew";
    "unshare": "unshare" =>
        "files of other owners are reached by `coracle cp`, `coracle export` and `coracle volume export`";
    "remote" | "system connection": "system connection" => "there is no daemon to be connected with";
    "system service": "system service" => "there is no daemon: each command runs containers itself";
}

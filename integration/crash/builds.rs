//! Killed anywhere while an image is built: the next build works, takes every step from the cache that
//! was said to be done, and nothing is left of the one before.

use std::fs;

use super::{check_witness, content, is_sound, names_in, stepper::everywhere_told, sweep, witness};
use crate::{
    build::steps,
    case::{Case, Outcome, collect},
    cgroups::groups,
};

cases! {
    build: root ordinary;
    step_that_runs: root ordinary;
}

pub const DOCKERFILE: &str = "\
FROM localhost/busybox AS built
COPY file /file
RUN --mount=type=cache,target=/cache,sharing=locked echo x >> /cache/log; tr a-z A-Z < /file > /made
FROM localhost/busybox AS beside
RUN echo beside > /beside
FROM localhost/busybox
WORKDIR /app
COPY --from=built /made .
COPY --link --from=beside /beside /x/
RUN cat made /x/beside > all; rm made
CMD [\"cat\", \"all\"]
";

/// Words of a build of this Dockerfile, whose steps have no network.
pub fn words(case: &Case, dockerfile: &str) -> [String; 6] {
    let folder = case.make_dir("context");
    case.make_file("context/Dockerfile", dockerfile);
    case.make_file("context/file", "text\n");
    let words = ["build", "--progress=plain", "--network=none", "-t", "app"].map(str::to_owned);
    let [a, b, c, d, e] = words;
    [a, b, c, d, e, folder.display().to_string()]
}

/// Neither an image nor a step is there.
pub fn forgotten(case: &Case) {
    witness(case);
    case.load_busybox();
    case.engine("rmi app");
    case.engine("builder prune -af").ok();
}

/// Another build does what is left to be done.
pub fn goes_on(case: &Case, args: &[&str], before: &Outcome) {
    let again = case.words(args).ok();
    let (done, cached) = (steps(before, "DONE"), steps(&again, "CACHED"));
    assert!(done.is_subset(&cached), "{before}\n{again}");
    case.engine("run --rm --network none app")
        .ok()
        .prints("TEXT\nbeside");
}

fn build(case: &Case) {
    let words = words(case, DOCKERFILE);
    let args: Vec<&str> = words.iter().map(String::as_str).collect();
    forgotten(case);
    let before = content(case);
    everywhere_told(
        case,
        &args,
        |case| {
            forgotten(case);
            assert_eq!(content(case), before);
        },
        |case, killed| {
            check_witness(case);
            goes_on(case, &args, killed);
            for folder in ["containers", "tmp"] {
                assert_eq!(names_in(case, folder), [""; 0], "{folder}");
            }
        },
    );
    forgotten(case);
    sweep(case);
    for folder in ["tmp", "builds/blobs", "builds/steps", "builds/caches"] {
        assert_eq!(names_in(case, folder), [""; 0], "{folder}");
    }
}

/// Whoever of those dies that carry out a step, the others come to an end by themselves.
fn step_that_runs(case: &Case) {
    forgotten(case);
    let words = words(
        case,
        "FROM localhost/busybox\nRUN echo first > /first\n\
         RUN --mount=type=cache,target=/cache,sharing=locked test -e /cache/second || { touch /cache/second; exec sleep 1000; }\n",
    );
    let mut tried = 0;
    for victim in 0.. {
        case.engine("builder prune -af").ok();
        let build = case.start(&words);
        case.eventually("the step runs", || {
            let sleeps = |(_, arguments): &(i32, String)| arguments.starts_with("sleep 1000");
            case.processes().iter().any(sleeps)
        });
        let processes = case.processes();
        let [container] = &names_in(case, "containers")[..] else {
            panic!("one step, one container");
        };
        // It is nobody's but the build's.
        case.engine("ps -aq").ok().prints("");
        let Some((pid, who)) = processes.get(victim) else {
            let pid = rustix::process::Pid::from_child(&build);
            rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
            collect("build".to_owned(), build);
            case.eventually("it has ended", || case.processes().is_empty());
            break;
        };
        let pid = rustix::process::Pid::from_raw(*pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        println!("killed {who}");
        let killed = collect("build".to_owned(), build);
        assert_ne!(killed.code, 0, "{who} {killed}");
        case.eventually("everything has ended", || case.processes().is_empty());
        // The lock of the cache is free, and what was done before is not done again.
        let again = case.words(&words).ok();
        assert_eq!(steps(&again, "CACHED").len(), 1, "{again}");
        assert_eq!(names_in(case, "containers"), [""; 0]);
        assert_eq!(groups(container).len(), 0, "a control group is left");
        assert_eq!(names_in(case, "tmp"), [""; 0]);
        case.engine("rmi app").ok();
        tried += 1;
    }
    // The command, the step's worker, the supervisor, and the program.
    assert!(tried >= 4, "{tried} processes");
    is_sound(case);
    let _ = fs::remove_dir_all(case.dir_path("context"));
}

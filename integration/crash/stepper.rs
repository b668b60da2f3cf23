//! Kills a command at the n-th of the calls that change something, for every n or a sample of them.
//!
//! strace does it. Two kinds of death: the one process that makes the call, whereupon the others must
//! come to an end by themselves; and with it everything else that the command had started.

use std::{
    collections::BTreeMap,
    hash::{DefaultHasher, Hash, Hasher},
    process::{Command, Stdio},
};

use crate::case::{Case, Outcome, finish};

/// What changes the store or the kernel, and therefore where a death could matter.
pub const CALLS: &str = "openat,openat2,write,pwrite64,writev,mkdir,mkdirat,rename,renameat,renameat2,unlink,unlinkat,rmdir,\
    link,linkat,symlink,symlinkat,fsync,fdatasync,syncfs,ftruncate,flock,clone,clone3,fchmod,fchmodat,fchown,fchownat,\
    mknodat,utimensat,fsetxattr,setxattr,fsopen,fsmount,move_mount,open_tree,pivot_root,umount2,sethostname,unshare,setns,\
    sendto,sendmsg,copy_file_range,fallocate,lseek";

/// How many places of a command are tried when nobody asks for more.
const SAMPLE: usize = 6;

/// Whether everything is tried, however long it takes.
pub fn is_full() -> bool {
    std::env::var("CORACLE_CRASH").is_ok_and(|value| value == "full")
}

/// How many places are tried when not all are: `CORACLE_CRASH=60`.
fn sample() -> usize {
    let asked = std::env::var("CORACLE_CRASH").ok();
    asked
        .and_then(|text| text.parse().ok())
        .map_or(SAMPLE, |count: usize| count.max(1))
}

/// A number that is always the same for this word in this case, and another one in other cases.
pub fn lot(word: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::thread::current().name().hash(&mut hasher);
    word.hash(&mut hasher);
    hasher.finish()
}

/// A place to die: the n-th time that any process makes this call.
pub type Place = (String, usize);

/// Who dies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Death {
    One,
    Tree,
}

/// The command under strace, told to die at that place.
fn strace(case: &Case, (call, n): &Place, death: Death, args: &[&str]) -> Outcome {
    let (trace, inject) = (
        format!("trace={call}"),
        format!("inject={call}:signal=KILL:when={n}"),
    );
    let log = match death {
        Death::One => "/dev/null",
        // In a pid namespace of their own: signal 9 to everyone there, at once.
        Death::Tree => "|grep -q -m1 'killed by SIGKILL' && kill -9 -1",
    };
    let options = ["-f", "-qq", "-o", log, "-e", &trace, "-e", &inject];
    let traced = case
        .strace(&options, args)
        .expect("places() was allowed to");
    finish(match death {
        Death::One => traced,
        Death::Tree => in_pid_namespace(&traced),
    })
}

/// The same command with a pid namespace around it.
fn in_pid_namespace(inner: &Command) -> Command {
    let mut command = Command::new("unshare");
    // A shell as first process: it alone survives the signal, and ends then.
    let shell = ["sh", "-c", "\"$@\"; exit $?", "sh"];
    command
        .args(["--pid", "--fork", "--mount-proc"])
        .args(shell)
        .arg(inner.get_program())
        .args(inner.get_args())
        .env_clear()
        .envs(
            inner
                .get_envs()
                .filter_map(|(name, value)| Some((name, value?))),
        )
        .stdin(Stdio::null());
    if let Some(dir) = inner.get_current_dir() {
        command.current_dir(dir);
    }
    command
}

/// Every place of the command, in the order it reaches them when it is left alone.
fn places(case: &Case, args: &[&str]) -> Option<Vec<Place>> {
    places_of(case, args, CALLS)
}

/// The same of these calls.
pub fn places_of(case: &Case, args: &[&str], calls: &str) -> Option<Vec<Place>> {
    let log = case.dir.join("calls").display().to_string();
    let trace = format!("trace={calls}");
    finish(case.strace(&["-f", "-qq", "-o", &log, "-e", &trace], args)?).ok();
    let text = std::fs::read_to_string(&log).unwrap();
    // strace counts for every process and every call by itself.
    let mut counts = BTreeMap::<(&str, &str), usize>::new();
    let mut places: Vec<Place> = Vec::new();
    for line in text.lines() {
        let Some((process, rest)) = line.split_once(char::is_whitespace) else {
            continue;
        };
        let Some((call, _)) = rest.trim_start().split_once('(') else {
            continue;
        };
        let count = counts.entry((process, call)).or_default();
        *count += 1;
        let place = (call.to_owned(), *count);
        if calls.split(',').any(|name| name == call) && !places.contains(&place) {
            places.push(place);
        }
    }
    Some(places)
}

/// Kills the command at many places; `before` makes the state it starts from, `after` checks what
/// must hold however far it came.
pub fn everywhere(case: &Case, args: &[&str], before: impl Fn(&Case), after: impl Fn(&Case)) {
    kill(case, args, before, |_| false, |case, _| after(case));
}

/// The same of a command whose last words are promises: `after` gets them.
pub fn everywhere_told(
    case: &Case,
    args: &[&str],
    before: impl Fn(&Case),
    after: impl Fn(&Case, &Outcome),
) {
    kill(case, args, before, |_| false, after);
}

/// The same of a command that changes what others have started: `ended` says when it is over, other
/// than by nothing running but what ran before.
pub fn everywhere_until(
    case: &Case,
    args: &[&str],
    before: impl Fn(&Case),
    ended: impl Fn(&Case) -> bool,
    after: impl Fn(&Case),
) {
    kill(case, args, before, ended, |case, _| after(case));
}

fn kill(
    case: &Case,
    args: &[&str],
    before: impl Fn(&Case),
    ended: impl Fn(&Case) -> bool,
    after: impl Fn(&Case, &Outcome),
) {
    before(case);
    let Some(places) = places(case, args) else {
        return;
    };
    let total = places.len();
    let full = is_full();
    let step = if full { 1 } else { (total / sample()).max(1) };
    let first = usize::try_from(lot("") % step as u64).unwrap();
    let (mut tried, mut deaths) = (0, 0);
    for (n, place) in places.iter().enumerate() {
        // The last ones, where things become visible, are always tried.
        if n % step != first && n + 3 < total {
            continue;
        }
        for death in [Death::One, Death::Tree] {
            if !full && (tried % 2 == 0) != (death == Death::One) {
                continue;
            }
            before(case);
            let resident = case.processes();
            let outcome = strace(case, place, death, args);
            deaths += usize::from(outcome.code == 137);
            println!("{}({}) {death:?}: {}", place.0, place.1, outcome.code);
            // But for what was running before.
            case.eventually("everything has ended", || {
                let processes = case.processes();
                ended(case) || processes.iter().all(|process| resident.contains(process))
            });
            assert!(case.mounts().is_empty(), "mounts after {place:?}");
            after(case, &outcome);
        }
        tried += 1;
    }
    super::is_sound(case);
    println!("{total} places, {tried} tried, the command itself killed {deaths} times");
    assert!(
        tried > 3 && deaths > 0,
        "{deaths} deaths at {tried} of {total} places"
    );
}

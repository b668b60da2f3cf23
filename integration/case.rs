//! One case: who runs it, where its store is, and the commands it gives.
//!
//! Every case has a directory of its own with its own `--root`, `--runroot` and home, and commands
//! start with an empty environment, so that cases neither see each other nor the machine's settings.
//! When a case ends, nothing of it may be left: no process, no mount, no file.

use std::{
    collections::BTreeMap,
    fs,
    io::{ErrorKind, Write},
    os::unix::{
        fs::{MetadataExt, PermissionsExt, chown},
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex,
        atomic::{AtomicU32, Ordering},
    },
    time::{Duration, Instant},
};

/// Registers functions as test cases, once for every user named:
/// `cases! { exit_codes: root ordinary; }`.
macro_rules! cases {
    ($($name:ident: $($user:ident)+;)+) => {
        $(mod $name {
            $(#[test]
            fn $user() {
                let name = concat!(module_path!(), "::", stringify!($user));
                $crate::case::Case::run(stringify!($user), name, super::$name);
            })+
        })+
    };
}

/// Longest that any command of a case may take.
const PATIENCE: Duration = Duration::from_secs(120);

pub struct Case {
    name: String,
    /// Belongs to the user of the case; removed at the end.
    pub dir: PathBuf,
    pub user: User,
    engine: String,
    /// Further variables for every command.
    env: Mutex<BTreeMap<String, String>>,
}

/// Who gives the commands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct User {
    pub uid: u32,
    pub gid: u32,
    /// `root`, `ordinary` or `single`.
    pub kind: &'static str,
}

impl User {
    /// The user of that kind, or why there is none.
    fn find(kind: &'static str) -> Result<User, String> {
        let me = rustix::process::geteuid().as_raw();
        let own = |kind| User {
            uid: me,
            gid: rustix::process::getegid().as_raw(),
            kind,
        };
        match kind {
            "root" if me == 0 => Ok(own(kind)),
            "root" => Err("needs root".to_owned()),
            _ if me == 0 => {
                let name = user_name(kind);
                let (uid, gid) = passwd(name).ok_or_else(|| {
                    format!("there is no user {name}; integration/prepare makes it")
                })?;
                Ok(User { uid, gid, kind })
            }
            "ordinary" => Ok(own(kind)),
            _ => Err("needs root, to act as a user without subordinate ids".to_owned()),
        }
    }
}

fn user_name(kind: &str) -> &'static str {
    match kind {
        "root" => "root",
        "ordinary" => "coracle-test",
        _ => "coracle-single",
    }
}

/// Says that a case was not tried, and why; `integration/run` shows the list.
fn skip(name: &str, why: &str) {
    eprintln!("skipped: {name}: {why}");
    let list = fs::File::options()
        .append(true)
        .create(true)
        .open(shared().join("skipped"));
    if let Ok(mut list) = list {
        let _ = writeln!(list, "{name}: {why}");
    }
}

fn passwd(name: &str) -> Option<(u32, u32)> {
    let users = fs::read_to_string("/etc/passwd").ok()?;
    let line = users
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    let mut fields = line.split(':').skip(1);
    Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
}

/// What `integration/prepare` made.
pub fn shared() -> PathBuf {
    match std::env::var_os("CORACLE_TEST_DIR") {
        Some(dir) => dir.into(),
        None => {
            let me = rustix::process::geteuid().as_raw();
            format!("/var/tmp/coracle-integration-{me}").into()
        }
    }
}

/// A killed run may have left the folder of a process that had the same number.
fn new_folder() -> PathBuf {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let cases = shared().join("cases");
    loop {
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        // The end keeps one name from being the beginning of another's: processes are told by it.
        let dir = cases.join(format!("{}-{count}.case", std::process::id()));
        match fs::create_dir(&dir) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            made => {
                made.unwrap();
                return dir;
            }
        }
    }
}

impl Case {
    /// Runs one case as one kind of user, or says why not.
    pub fn run(kind: &'static str, name: &str, body: fn(&Case)) {
        let name = name.strip_prefix("integration::").unwrap_or(name);
        if let Err(why) = Self::attempt(kind, name, body) {
            skip(name, &why);
        }
    }

    fn attempt(kind: &'static str, name: &str, body: fn(&Case)) -> Result<(), String> {
        let engine = engine();
        if engine.starts_with('/') && !Path::new(&engine).exists() {
            return Err(format!(
                "{engine} does not exist; `make integration` makes it"
            ));
        }
        let user = User::find(kind)?;
        let case = Case {
            name: name.to_owned(),
            dir: new_folder(),
            user,
            engine,
            env: Mutex::default(),
        };
        for part in ["", "home", "runtime"] {
            case.make_dir(part);
        }
        case.check_shared();
        body(&case);
        case.check_nothing_left();
        Ok(())
    }

    /// Says that the rest of the case was not tried.
    pub fn skip(&self, why: &str) {
        skip(&self.name, why);
    }

    fn check_shared(&self) {
        let images = shared().join("images/busybox.tar");
        assert!(
            images.exists(),
            "{} is missing: run integration/prepare",
            images.display()
        );
    }

    /// Makes a directory below the case's, for its user.
    pub fn make_dir(&self, name: &str) -> PathBuf {
        let path = self.dir.join(name);
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, PermissionsExt::from_mode(0o700)).unwrap();
        chown(&path, Some(self.user.uid), Some(self.user.gid)).unwrap();
        path
    }

    /// Makes a file below the case's directory, for its user.
    pub fn make_file(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.dir.join(name);
        fs::write(&path, content).unwrap();
        chown(&path, Some(self.user.uid), Some(self.user.gid)).unwrap();
        path
    }

    /// Sets a variable for every further command.
    pub fn set(&self, name: &str, value: &str) {
        let mut env = self.env.lock().unwrap();
        env.insert(name.to_owned(), value.to_owned());
    }

    pub fn is_root(&self) -> bool {
        self.user.kind == "root"
    }

    /// An ordinary user who has one id only.
    pub fn is_single(&self) -> bool {
        self.user.kind == "single"
    }

    /// A path below the case's directory.
    pub fn dir_path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn root(&self) -> PathBuf {
        self.dir.join("root")
    }

    /// Another program that few machines have; without it, a line in the list of skipped cases.
    pub fn installed(&self, program: &str) -> Option<Command> {
        let mut folders = ["/usr/bin", "/usr/sbin", "/bin"].iter();
        if folders.any(|folder| Path::new(folder).join(program).exists()) {
            return Some(self.program(program));
        }
        self.skip(&format!("{program} is not installed"));
        None
    }

    /// A program other than the engine, as the user of the case and in its environment.
    pub fn program(&self, program: &str) -> Command {
        let mut command = self.program_as_caller(program);
        if rustix::process::geteuid().as_raw() != self.user.uid {
            // Also drops root's supplementary groups.
            command.uid(self.user.uid).gid(self.user.gid);
        }
        command
    }

    fn program_as_caller(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command
            .env_clear()
            .env(
                "PATH",
                "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            )
            .env("HOME", self.dir.join("home"))
            .env("XDG_RUNTIME_DIR", self.dir.join("runtime"))
            .env("LANG", "C.UTF-8")
            // Root's networks are the machine's; cases about networks have a world of their own.
            .env("CORACLE_NETWORK", "none")
            // How leftovers of this case are told from others' processes.
            .env("CORACLE_CASE", &self.dir)
            .envs(self.env.lock().unwrap().iter())
            .current_dir(&self.dir)
            .stdin(Stdio::null());
        command
    }

    /// A command of the engine under strace, with strace's own options first. Nothing, and a line
    /// in the list of skipped cases, where that would change what the command does: newuidmap is
    /// setuid, and only root may trace such a program with its powers.
    pub fn strace<S: AsRef<str>>(&self, options: &[&str], args: &[S]) -> Option<Command> {
        let caller_is_root = rustix::process::geteuid().is_root();
        if self.user.kind == "ordinary" && !caller_is_root {
            skip(&self.name, "needs root, to trace setuid programs");
            return None;
        }
        let mut command = self.program_as_caller("strace");
        if self.user.uid != 0 && caller_is_root {
            command.args(["-u", user_name(self.user.kind)]);
        }
        command.args(options).args(self.engine_words());
        command.args(args.iter().map(S::as_ref));
        Some(command)
    }

    /// The words every command of the engine begins with.
    pub fn engine_words(&self) -> Vec<String> {
        let mut words = vec![self.engine.clone()];
        let path = |name: &str| self.dir.join(name).display().to_string();
        match self.engine.as_str() {
            "docker" => {}
            "podman" => words.extend([
                "--cgroup-manager=cgroupfs".to_owned(),
                "--events-backend=none".to_owned(),
                format!("--root={}", path("root")),
                format!("--runroot={}", path("run")),
            ]),
            _ => words.extend([
                format!("--root={}", path("root")),
                format!("--runroot={}", path("run")),
            ]),
        }
        words
    }

    /// A command of the engine, not started yet.
    pub fn command<S: AsRef<str>>(&self, args: &[S]) -> Command {
        let words = self.engine_words();
        let mut command = self.program(&words[0]);
        command.args(&words[1..]);
        command.args(args.iter().map(S::as_ref));
        command
    }

    /// Runs a command of the engine to its end. Words are separated by blanks, as in a shell
    /// without quotes; [`Self::words`] takes a list.
    pub fn engine(&self, line: &str) -> Outcome {
        self.words(&line.split_whitespace().collect::<Vec<_>>())
    }

    pub fn words<S: AsRef<str>>(&self, args: &[S]) -> Outcome {
        finish(self.command(args))
    }

    /// The same with something on standard input.
    pub fn with_input<S: AsRef<str>>(&self, args: &[S], input: impl AsRef<[u8]>) -> Outcome {
        finish_with_input(self.command(args), input.as_ref().to_vec())
    }

    /// `run --rm --network none busybox sh -c SCRIPT` with flags before the image.
    pub fn shell(&self, flags: &str, script: &str) -> Outcome {
        let mut words = vec!["run", "--rm", "--network", "none"];
        words.extend(flags.split_whitespace());
        words.extend(["localhost/busybox", "sh", "-c", script]);
        self.words(&words)
    }

    /// Loads the image that most cases use.
    pub fn load_busybox(&self) {
        let archive = shared().join("images/busybox.tar");
        self.words(&["load", "-i", archive.to_str().unwrap()]).ok();
    }

    pub fn start<S: AsRef<str>>(&self, args: &[S]) -> Child {
        self.command(args)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    /// Tries until it holds; panics after ten seconds.
    pub fn eventually(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let end = Instant::now() + Duration::from_secs(10);
        while !holds() {
            assert!(Instant::now() < end, "not within ten seconds: {what}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Every path, type, size and content below the store: equal before and after a command that
    /// must change nothing. Locks are not part of it, nor is the journal of events: what was tried and
    /// undone has happened.
    pub fn store_listing(&self) -> String {
        let script = "cd \"$1\" && find . -not -path './tmp*' -not -path './events*' -not -name '*.lock' \
                      -printf '%p %y %s\\n' | sort && find . -type f -size -8M \
                      -not -path './tmp*' -not -path './events*' -not -name '*.lock' \
                      | sort | xargs -r -d '\\n' sha256sum";
        let mut find = self.program("sh");
        find.args(["-c", script, "sh"]).arg(self.root());
        if self.user.uid != 0 && rustix::process::geteuid().is_root() {
            // Files of subordinate ids are not the user's to read.
            find = Command::new("sh");
            find.args(["-c", script, "sh"]).arg(self.root());
        }
        finish(find).ok().stdout
    }

    /// Processes on this machine that belong to the case: their arguments, environment or open
    /// files name its directory, or a mount that only they see does (a container's root).
    pub fn processes(&self) -> Vec<(i32, String)> {
        let mark = self.dir.display().to_string();
        // Another engine mounts on the machine itself: whoever has copied its mounts meanwhile, any
        // container of ours among them, is none of the case's.
        let of_another_engine = matches!(self.engine.as_str(), "docker" | "podman");
        let outside = !of_another_engine && self.mounts().is_empty();
        let mut found = Vec::new();
        for entry in fs::read_dir("/proc").unwrap().flatten() {
            let Some(pid) = entry
                .file_name()
                .to_str()
                .and_then(|name| name.parse().ok())
            else {
                continue;
            };
            if pid == std::process::id() as i32 {
                continue;
            }
            let read = |file: &str| {
                let bytes = fs::read(entry.path().join(file)).unwrap_or_default();
                String::from_utf8_lossy(&bytes).replace('\0', " ")
            };
            let arguments = read("cmdline");
            // The registry of the case ends with the value that stands for it.
            if arguments.starts_with("docker-registry ") {
                continue;
            }
            let opens = || {
                fs::read_dir(entry.path().join("fd"))
                    .into_iter()
                    .flatten()
                    .flatten()
                    .filter_map(|link| fs::read_link(link.path()).ok())
                    .any(|target| target.starts_with(&self.dir))
            };
            if arguments.contains(&mark)
                || read("environ").contains(&mark)
                || opens()
                || (outside && read("mountinfo").contains(&mark))
            {
                found.push((pid, arguments));
            }
        }
        found
    }

    /// Mounts that this machine sees below the case's directory.
    pub fn mounts(&self) -> Vec<String> {
        let mark = self.dir.display().to_string();
        fs::read_to_string("/proc/self/mountinfo")
            .unwrap()
            .lines()
            .filter(|line| line.contains(&mark))
            .map(str::to_owned)
            .collect()
    }

    fn check_nothing_left(&self) {
        let end = Instant::now() + Duration::from_secs(5);
        // A process that was killed may take a moment to vanish.
        while !self.processes().is_empty() && Instant::now() < end {
            std::thread::sleep(Duration::from_millis(20));
        }
        let processes = self.processes();
        assert!(processes.is_empty(), "processes are left: {processes:?}");
        let mounts = self.mounts();
        assert!(mounts.is_empty(), "mounts are left: {mounts:?}");
    }
}

impl Drop for Case {
    fn drop(&mut self) {
        // Only after a failure is there anything.
        for (pid, _) in self.processes() {
            if let Some(pid) = rustix::process::Pid::from_raw(pid) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
        }
        if std::thread::panicking() && std::env::var_os("CORACLE_KEEP").is_some() {
            eprintln!("kept: {}", self.dir.display());
            return;
        }
        if fs::remove_dir_all(&self.dir).is_err() {
            // Directories without permissions, and files of subordinate ids.
            let _ = Command::new("chmod")
                .args(["-R", "u+rwx"])
                .arg(&self.dir)
                .stderr(Stdio::null())
                .status();
            let _ = fs::remove_dir_all(&self.dir);
        }
    }
}

/// `ENGINE`, or the binary that `integration/prepare` put where every user can read it.
fn engine() -> String {
    match std::env::var("ENGINE") {
        Ok(engine) if !engine.is_empty() => engine,
        _ => shared().join("bin/coracle").display().to_string(),
    }
}

/// How a command ended and what it said.
#[derive(Debug)]
pub struct Outcome {
    pub line: String,
    pub code: i32,
    pub stdout: String,
    pub stderr: String,
}

impl Outcome {
    #[track_caller]
    pub fn ok(self) -> Self {
        self.exits(0)
    }

    #[track_caller]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self}");
        self
    }

    /// Fails as a command should: this code, one clear line (and perhaps a hint), no panic, and
    /// the line says this.
    #[track_caller]
    pub fn fails(self, code: i32, says: &str) -> Self {
        assert_eq!(self.code, code, "{self}");
        // Docker shows the usage below what is wrong with the words themselves.
        let about_words = self.stderr.contains("Run 'coracle");
        let count = |start: &str| {
            let lines = self.stderr.lines();
            lines.filter(|line| line.starts_with(start)).count()
        };
        assert!(
            about_words || count("coracle:") == 1 && count("hint:") <= 1,
            "not one clear line:\n{self}"
        );
        assert!(!self.stderr.contains("panicked"), "{self}");
        assert!(
            self.stderr.to_lowercase().contains(&says.to_lowercase()),
            "does not say {says:?}:\n{self}"
        );
        self
    }

    #[track_caller]
    pub fn prints(self, expected: &str) -> Self {
        assert_eq!(self.stdout.trim_end(), expected, "{self}");
        self
    }

    #[track_caller]
    pub fn contains(self, part: &str) -> Self {
        assert!(self.stdout.contains(part), "{part:?} is not in\n{self}");
        self
    }

    /// The first line of standard output.
    pub fn first(&self) -> &str {
        self.stdout.lines().next().unwrap_or("")
    }

    #[track_caller]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|cause| panic!("{cause}\n{self}"))
    }
}

impl std::fmt::Display for Outcome {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "$ {}\nexit code {}\n--- stdout\n{}\n--- stderr\n{}",
            self.line, self.code, self.stdout, self.stderr
        )
    }
}

pub fn finish(command: Command) -> Outcome {
    finish_with_input(command, Vec::new())
}

fn finish_with_input(mut command: Command, input: Vec<u8>) -> Outcome {
    let line = format!("{command:?}");
    if !input.is_empty() {
        command.stdin(Stdio::piped());
    }
    let mut child = command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|cause| panic!("{line}: {cause}"));
    let writer = child.stdin.take().map(|mut stdin| {
        std::thread::spawn(move || {
            // A command that fails early does not read everything.
            let _ = stdin.write_all(&input);
        })
    });
    let outcome = collect(line, child);
    if let Some(writer) = writer {
        writer.join().unwrap();
    }
    outcome
}

/// Waits for a command with all its output; kills it when it takes too long.
pub fn collect(line: String, child: Child) -> Outcome {
    let pid = rustix::process::Pid::from_child(&child);
    let (done, waiting) = std::sync::mpsc::channel::<()>();
    let watchdog = std::thread::spawn(move || {
        let late =
            waiting.recv_timeout(PATIENCE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout);
        if late {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
        late
    });
    let Output {
        status,
        stdout,
        stderr,
    } = child.wait_with_output().unwrap();
    drop(done);
    assert!(
        !watchdog.join().unwrap(),
        "took longer than {PATIENCE:?}: {line}"
    );
    Outcome {
        line,
        code: status
            .code()
            .unwrap_or_else(|| 128 + status.signal().unwrap_or(0)),
        stdout: String::from_utf8_lossy(&stdout).into_owned(),
        stderr: String::from_utf8_lossy(&stderr).into_owned(),
    }
}

/// Bytes on disk below a directory, and how many files.
pub fn usage(dir: &Path) -> (u64, usize) {
    walkdir::WalkDir::new(dir)
        .into_iter()
        .flatten()
        .filter_map(|entry| fs::symlink_metadata(entry.path()).ok())
        .fold((0, 0), |(bytes, files), data| {
            (bytes + data.blocks() * 512, files + 1)
        })
}

//! A pseudo-terminal with a program at its other end: what a person in front of it would see.

use std::{
    fs::File,
    io::{Read, Write},
    os::fd::{AsFd, OwnedFd},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{Mode, OFlags},
    pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt},
    termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize},
};

use crate::case::Case;

pub struct Terminal {
    master: File,
    slave: OwnedFd,
    child: Child,
    seen: String,
}

impl Terminal {
    /// Starts a command of the engine on a new terminal of 24 lines and 80 columns.
    pub fn start<S: AsRef<str>>(case: &Case, args: &[S]) -> Terminal {
        let mut words = case.engine_words();
        words.extend(args.iter().map(|word| word.as_ref().to_owned()));
        Self::run(case, &words)
    }

    /// Starts a shell with job control on a new terminal; its prompt is `host$ `.
    pub fn shell(case: &Case) -> Terminal {
        let words = ["env", "PS1=host$ ", "bash", "--norc", "--noprofile", "-i"];
        let mut terminal = Self::run(case, &words.map(str::to_owned));
        terminal.expect("host$ ");
        // What is typed appears nowhere but where it is asked for.
        terminal.send("bind 'set enable-bracketed-paste off' 2>/dev/null; stty -echo\r");
        terminal.expect("host$ ");
        terminal
    }

    fn run(case: &Case, words: &[String]) -> Terminal {
        let master =
            openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let name = ptsname(&master, Vec::new()).unwrap();
        let slave = rustix::fs::open(
            name.as_c_str(),
            OFlags::RDWR | OFlags::NOCTTY | OFlags::CLOEXEC,
            Mode::empty(),
        )
        .unwrap();
        if rustix::process::geteuid().is_root() {
            std::os::unix::fs::chown(
                name.to_str().unwrap(),
                Some(case.user.uid),
                Some(case.user.gid),
            )
            .unwrap();
        }
        let end = || Stdio::from(slave.try_clone().unwrap());
        // setsid gives the command a session whose controlling terminal this is.
        let mut command: Command = case.program("setsid");
        command.args(["--ctty", "--wait"]).args(words);
        command.env("TERM", "xterm");
        command.stdin(end()).stdout(end()).stderr(end());
        let master = File::from(master);
        set_size(&master, 24, 80);
        Terminal {
            child: command.spawn().unwrap(),
            master,
            slave,
            seen: String::new(),
        }
    }

    pub fn resize(&mut self, rows: u16, columns: u16) {
        set_size(&self.master, rows, columns);
    }

    pub fn send(&mut self, keys: &str) {
        self.master.write_all(keys.as_bytes()).unwrap();
    }

    /// Reads until the text has appeared, and forgets everything up to its end.
    #[track_caller]
    pub fn expect(&mut self, text: &str) -> String {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            if let Some(at) = self.seen.find(text) {
                return self.seen.drain(..at + text.len()).collect();
            }
            let more = Instant::now() < end && self.read(Duration::from_millis(100));
            let finished = !more && self.child.try_wait().unwrap().is_some();
            assert!(
                Instant::now() < end && !finished,
                "{text:?} did not appear; seen: {:?}",
                self.seen
            );
        }
    }

    /// Whether something came within the time.
    fn read(&mut self, patience: Duration) -> bool {
        let ready = {
            let mut fds = [PollFd::new(&self.master, PollFlags::IN)];
            let timeout = Timespec {
                tv_sec: 0,
                tv_nsec: patience.subsec_nanos().into(),
            };
            poll(&mut fds, Some(&timeout)).unwrap() > 0
        };
        let mut bytes = [0; 4096];
        match ready.then(|| self.master.read(&mut bytes)) {
            Some(Ok(count)) if count > 0 => {
                self.seen
                    .push_str(&String::from_utf8_lossy(&bytes[..count]));
                true
            }
            _ => false,
        }
    }

    /// Whether the terminal is as a shell wants it: echo and line editing on.
    pub fn is_cooked(&self) -> bool {
        let modes = tcgetattr(self.slave.as_fd()).unwrap().local_modes;
        modes.contains(LocalModes::ECHO | LocalModes::ICANON)
    }

    /// The exit code, once the command has ended.
    #[track_caller]
    pub fn exit_code(&mut self) -> i32 {
        let end = Instant::now() + Duration::from_secs(15);
        loop {
            self.read(Duration::from_millis(50));
            if let Some(status) = self.child.try_wait().unwrap() {
                while self.read(Duration::from_millis(50)) {}
                return status.code().unwrap_or(-1);
            }
            assert!(Instant::now() < end, "does not end; seen: {:?}", self.seen);
        }
    }

    pub fn seen(&self) -> &str {
        &self.seen
    }
}

fn set_size(master: &File, rows: u16, columns: u16) {
    let size = Winsize {
        ws_row: rows,
        ws_col: columns,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    tcsetwinsize(master, size).unwrap();
}

impl Drop for Terminal {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

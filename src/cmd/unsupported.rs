//! Flags of Docker's and Podman's `run`, `create` and `exec` that are known and not there.
//!
//! They are not declared: `run` would build them on every call. The words are looked through
//! before clap sees them, and what is found here is refused or taken out with a notice. Never
//! is a flag dropped in silence that limits or protects: a container with more rights than it
//! was asked to have is worse than none.

use std::ffi::OsString;

use clap::{Arg, ArgAction, Command};

use super::{env, failure::Failure, parse, ui};

pub struct Unsupported {
    pub long: &'static str,
    pub short: Option<char>,
    /// Takes a value; the others are booleans.
    pub valued: bool,
    pub answer: Answer,
    /// Values that ask for what happens anyway.
    pub harmless: &'static [&'static str],
    /// What to do instead of a flag that is refused, or why one has no effect.
    pub instead: &'static str,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// An error.
    Refuse,
    /// Go on, it has no effect.
    Ignore,
}

use Answer::{Ignore, Refuse};

pub const fn valued(long: &'static str, answer: Answer) -> Unsupported {
    Unsupported {
        long,
        short: None,
        valued: true,
        answer,
        harmless: &[],
        instead: "",
    }
}

/// Refused for good, or for want of what it is about.
pub const fn refused(long: &'static str, instead: &'static str) -> Unsupported {
    Unsupported {
        instead,
        ..valued(long, Refuse)
    }
}

const fn only_windows(long: &'static str, instead: &'static str) -> Unsupported {
    Unsupported {
        harmless: &["0", ""],
        ..refused(long, instead)
    }
}

pub const fn boolean(long: &'static str, answer: Answer) -> Unsupported {
    Unsupported {
        valued: false,
        harmless: &["false", "0", "f", "F", "FALSE", "False"],
        ..valued(long, answer)
    }
}

pub const NO_DECRYPTION: &str =
    "layers are not decrypted here: pull and decrypt the image with skopeo, and load it";
const NO_CONTENT_TRUST: &str = "content trust (Notary) is not checked: policy.json asks for signatures of sigstore's, see `coracle image trust show`";

/// `=false` asks for signatures of Docker's Notary: a protection that was asked for and is not there is
/// an error.
pub const CONTENT_TRUST: Unsupported = Unsupported {
    harmless: &["true", "1", "t", "T", "TRUE", "True"],
    instead: NO_CONTENT_TRUST,
    ..boolean("disable-content-trust", Refuse)
};

/// `pull`'s and `push`'s share.
pub static TRANSFER: &[Unsupported] = &[CONTENT_TRUST];

/// The names of docker's and podman's own runtimes mean what happens anyway.
pub const RUNTIMES: &[&str] = &["coracle", "", "runc", "io.containerd.runc.v2", "crun"];

pub static RUN: &[Unsupported] = &[
    refused("arch", "--platform linux/ARCH chooses the image"),
    refused(
        "chrootdirs",
        "hosts and resolv.conf are made for the container's root alone: mount them into others with -v",
    ),
    refused(
        "conmon-pidfile",
        "--pidfile gets the number of the first process",
    ),
    only_windows("cpu-count", "only Windows has it; on Linux it is --cpus"),
    only_windows("cpu-percent", "only Windows has it; on Linux it is --cpus"),
    refused("decryption-key", NO_DECRYPTION),
    CONTENT_TRUST,
    refused("init-ctr", "there are no pods"),
    only_windows(
        "io-maxbandwidth",
        "only Windows has it; on Linux it is --device-read-bps and --device-write-bps",
    ),
    only_windows(
        "io-maxiops",
        "only Windows has it; on Linux it is --device-read-iops and --device-write-iops",
    ),
    Unsupported {
        harmless: &["default", ""],
        ..refused("isolation", "default is the only isolation on Linux")
    },
    refused("os", "--platform OS/ARCH chooses the image"),
    Unsupported {
        instead: "an error is an error",
        ..boolean("permissive", Refuse)
    },
    refused("pod", "there are no pods"),
    refused("pod-id-file", "there are no pods"),
    refused(
        "preserve-fd",
        "only 0, 1 and 2 are open in a container; bind a file or a socket with -v",
    ),
    Unsupported {
        harmless: &["0"],
        ..refused(
            "preserve-fds",
            "only 0, 1 and 2 are open in a container; bind a file or a socket with -v",
        )
    },
    refused(
        "rdt-class",
        "classes of cache and memory bandwidth (resctrl) are not used: see --cpuset-cpus and --cpu-shares",
    ),
    refused("requires", "start the other containers first"),
    // This program is the runtime, and carries out itself what it would ask another for.
    Unsupported {
        harmless: RUNTIMES,
        ..refused(
            "runtime",
            "unknown or invalid runtime name: coracle is the only one",
        )
    },
    Unsupported {
        harmless: &["ignore", ""],
        ..refused(
            "sdnotify",
            "ignore is the only mode: nobody is told that a container is ready",
        )
    },
    Unsupported {
        harmless: &["default", ""],
        ..refused(
            "seccomp-policy",
            "--security-opt seccomp=FILE takes a profile; one of the image is not trusted",
        )
    },
    refused(
        "shm-size-systemd",
        "the mounts for systemd have the sizes of their own: mount a --tmpfs with size= instead",
    ),
    refused(
        "storage-opt",
        "a container's files have no quota: put the store (--root) on a file system that has one",
    ),
    Unsupported {
        instead: "there is no daemon to give a socket of",
        ..boolean("use-api-socket", Refuse)
    },
    refused("variant", "--platform linux/ARCH/VARIANT chooses the image"),
];

const NO_DAEMON: &str = "there is no daemon: what is asked for is done here";

const fn ignored(long: &'static str, why: &'static str) -> Unsupported {
    Unsupported {
        instead: why,
        ..valued(long, Ignore)
    }
}

/// Those that stand before the command.
pub static GLOBAL: &[Unsupported] = &[
    refused("cdi-spec-dir", "it is a flag of run and create here"),
    ignored(
        "cgroup-manager",
        "who makes control groups follows from the machine, see `coracle doctor`",
    ),
    ignored("conmon", "this program looks after containers itself"),
    refused("connection", NO_DAEMON),
    ignored(
        "events-backend",
        "events are in a journal of the store, see `coracle events`",
    ),
    refused("hooks-dir", "it is a flag of run and create here"),
    refused("identity", NO_DAEMON),
    refused(
        "imagestore",
        "--root has everything; images of others are read with --storage-opt additionalimagestore=FOLDER",
    ),
    refused(
        "module",
        "CONTAINERS_CONF_OVERRIDE names one more containers.conf, see `coracle config show`",
    ),
    ignored("network-cmd-path", "no helper program makes networks"),
    refused(
        "network-config-dir",
        "networks are kept in the store: --root",
    ),
    refused("out", "standard output goes elsewhere by the shell: >FILE"),
    Unsupported {
        instead: NO_DAEMON,
        ..boolean("remote", Refuse)
    },
    Unsupported {
        harmless: RUNTIMES,
        ..refused(
            "runtime",
            "unknown or invalid runtime name: coracle is the only one",
        )
    },
    refused("runtime-flag", "coracle is the only runtime"),
    refused("ssh", NO_DAEMON),
    Unsupported {
        instead: "messages go to standard error: `systemd-cat coracle …` keeps them in the journal",
        ..boolean("syslog", Refuse)
    },
    Unsupported {
        instead: NO_DAEMON,
        ..boolean("tls", Refuse)
    },
    refused("tls-ca", NO_DAEMON),
    refused("tls-cert", NO_DAEMON),
    refused("tls-key", NO_DAEMON),
    refused("tlscacert", NO_DAEMON),
    refused("tlscert", NO_DAEMON),
    refused("tlskey", NO_DAEMON),
    Unsupported {
        instead: NO_DAEMON,
        ..boolean("tlsverify", Refuse)
    },
    refused(
        "tmpdir",
        "--runroot is the folder of what is gone at reboot",
    ),
    Unsupported {
        instead: "put --root on a tmpfs",
        ..boolean("transient-store", Refuse)
    },
    refused("url", NO_DAEMON),
    refused("volumepath", "volumes are kept in the store: --root"),
];

/// `exec`'s share.
pub static EXEC: &[Unsupported] = &[
    Unsupported {
        instead: "a program of exec leaves no session behind",
        ..boolean("no-session", Ignore)
    },
    refused(
        "preserve-fd",
        "only 0, 1 and 2 are open in a container; bind a file or a socket with run -v",
    ),
    Unsupported {
        harmless: &["0"],
        ..refused(
            "preserve-fds",
            "only 0, 1 and 2 are open in a container; bind a file or a socket with run -v",
        )
    },
];

pub static START: &[Unsupported] = &[
    refused("checkpoint", NO_CHECKPOINTS),
    refused("checkpoint-dir", NO_CHECKPOINTS),
];

const NO_CHECKPOINTS: &str =
    "freeze the container with `coracle pause`, or keep its files with `coracle commit`";

/// The same wish by DOCKER_CONTENT_TRUST. The flag outweighs it where it stands before all arguments and
/// values.
pub fn refuse_content_trust(verb: &str, words: &[OsString]) -> Result<(), Failure> {
    let asks = ["run", "create", "pull", "push", "build"].contains(&verb) && env::content_trust();
    let mut flags = words
        .iter()
        .map_while(|word| word.to_str())
        .take_while(|word| word.starts_with('-'));
    if asks && !flags.any(|word| word.starts_with("--disable-content-trust")) {
        let text = "DOCKER_CONTENT_TRUST asks for what is not supported".to_owned();
        return Err(Failure::Refused(text, NO_CONTENT_TRUST));
    }
    Ok(())
}

/// Why a flag that is declared is always an error, if its help says so.
pub fn refused_by_its_command(about: &str) -> Option<&str> {
    about.strip_prefix("Not supported: ")
}

/// Why a flag that is declared does nothing, if its help says so.
pub fn without_effect(about: &str) -> Option<&str> {
    let (who, why) = about.split_once(": ")?;
    let who = who.to_ascii_lowercase();
    ["for docker's sake", "for podman's sake", "has no effect"]
        .contains(&who.as_str())
        .then_some(why)
}

/// The words without the flags of the table, after a notice about those that were taken out.
/// Looks no further than the `count`-th argument.
pub fn take_out(
    table: &[Unsupported],
    command: &Command,
    words: &[OsString],
    count: usize,
) -> Result<Vec<OsString>, Failure> {
    let mut sieve = Sieve {
        table,
        command,
        kept: Vec::with_capacity(words.len()),
        dropped: Vec::new(),
    };
    let mut arguments = 0;
    let mut rest = words;
    while let [first, ..] = rest {
        let word = first.to_str().unwrap_or_default();
        if arguments == count || word == "--" {
            break;
        }
        let used = if let Some(long) = word.strip_prefix("--") {
            sieve.long(long, rest)?
        } else if word.len() > 1 && word.starts_with('-') {
            sieve.cluster(word, rest)?
        } else {
            arguments += 1;
            sieve.kept.push(first.clone());
            1
        };
        rest = &rest[used..];
    }
    sieve.kept.extend_from_slice(rest);
    notice(&sieve.dropped);
    Ok(sieve.kept)
}

struct Sieve<'a> {
    table: &'a [Unsupported],
    command: &'a Command,
    kept: Vec<OsString>,
    dropped: Vec<&'a Unsupported>,
}

impl<'a> Sieve<'a> {
    /// Takes `--long` and its value; how many words that are.
    fn long(&mut self, long: &str, words: &[OsString]) -> Result<usize, Failure> {
        let (name, value) = match long.split_once('=') {
            Some((name, value)) => (name, Some(value)),
            None => (long, None),
        };
        let table = self.table;
        let Some(flag) = table.iter().find(|flag| flag.long == name) else {
            return Ok(self.keep(words));
        };
        let (value, used) = match (value, flag.valued) {
            (Some(value), _) => (value, 1),
            (None, false) => ("true", 1),
            (None, true) => {
                let missing = || Failure::Flag(format!("flag needs an argument: --{name}"));
                (following(words).ok_or_else(missing)?, 2)
            }
        };
        self.answer(flag, value)?;
        Ok(used)
    }

    /// The same for letters behind one dash: those before the table's stay.
    fn cluster(&mut self, word: &str, words: &[OsString]) -> Result<usize, Failure> {
        let mut stay = String::from("-");
        let mut used = 1;
        for (place, letter) in word.char_indices().skip(1) {
            let rest = &word[place + letter.len_utf8()..];
            let is_letter = |arg: &&Arg| arg.get_short() == Some(letter);
            let declared = self.command.get_arguments().find(is_letter);
            let table = self.table;
            let flag = table.iter().find(|flag| flag.short == Some(letter));
            match (declared, flag) {
                (Some(arg), _) if is_letter_alone(arg, rest) => stay.push(letter),
                (None, Some(flag)) if !flag.valued && !rest.starts_with('=') => {
                    self.answer(flag, "true")?;
                }
                (None, Some(flag)) => {
                    let value = if rest.is_empty() {
                        used = 2;
                        following(words).ok_or_else(|| {
                            Failure::Flag(format!("flag needs an argument: '{letter}' in {word}"))
                        })?
                    } else {
                        rest.strip_prefix('=').unwrap_or(rest)
                    };
                    self.answer(flag, value)?;
                    if stay.len() > 1 {
                        self.kept.push(stay.into());
                    }
                    return Ok(used);
                }
                // A value, or clap's to judge.
                _ => {
                    stay.push_str(&word[place..]);
                    break;
                }
            }
        }
        if stay.len() == 1 {
            return Ok(1);
        }
        Ok(self.keep(&[&[stay.into()], &words[1..]].concat()))
    }

    /// Keeps a flag together with the word that is its value.
    fn keep(&mut self, words: &[OsString]) -> usize {
        let valued = parse::takes_next_word(self.command, &words[0]);
        let used = words.len().min(1 + usize::from(valued));
        self.kept.extend_from_slice(&words[..used]);
        used
    }

    fn answer(&mut self, flag: &'a Unsupported, value: &str) -> Result<(), Failure> {
        if flag.harmless.contains(&value) {
            return Ok(());
        }
        if flag.answer == Refuse {
            return Err(refusal(flag, value));
        }
        if !self.dropped.iter().any(|other| other.long == flag.long) {
            self.dropped.push(flag);
        }
        Ok(())
    }
}

fn refusal(flag: &Unsupported, value: &str) -> Failure {
    let text = if flag.valued {
        format!("--{} {value:?} is not supported", flag.long)
    } else {
        format!("--{} is not supported", flag.long)
    };
    Failure::Refused(text, flag.instead)
}

fn following(words: &[OsString]) -> Option<&str> {
    words.get(1).and_then(|word| word.to_str())
}

/// Whether another flag's letter follows this one, and not its value.
fn is_letter_alone(arg: &Arg, rest: &str) -> bool {
    match arg.get_action() {
        ArgAction::Set | ArgAction::Append => arg.is_require_equals_set() && !rest.starts_with('='),
        _ => true,
    }
}

fn notice(dropped: &[&Unsupported]) {
    for flag in dropped {
        ui::notice(&format!("--{} has no effect: {}", flag.long, flag.instead));
    }
}

//! What a command does while it watches a container: its terminal and streams on one side, the
//! supervisor's socket on the other.
//!
//! The command only copies. If it is killed, the container goes on; if the supervisor is, the
//! socket closes and the command says so.
//!
//! Signals, as Docker has them: all that a program may wait for go to the container, but for the
//! job control of the shell, which is about this command (Ctrl-Z stops it, the container goes on).
//! The third SIGINT or SIGTERM is for this command too, or a program that listens to none could
//! not be left. A reader of standard output that went away ends the command like any other, by
//! SIGPIPE's code. A terminal in raw mode is given back on every way out, and while the command
//! stands still.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;

use super::streams::{self, DetachKeys, Flow, Input, Outflow, Terminal, WITHOUT_WAITING};
use crate::{
    engine::{
        AttachOptions,
        supervisor::protocol::{self, Attachment, Event, MAX_PAYLOAD, Request},
    },
    model::{Context, Error, ErrorKind, Result},
    storage::ContainerDir,
    sys::{packet, poll::PollSet, process, signals},
};

pub(super) use super::streams::terminal_size;

/// Waits for the supervisor's word that the program runs; the number of its process.
pub(super) fn await_start(socket: &OwnedFd) -> Result<i32> {
    // A failure's text is the longest first word.
    let mut buffer = vec![0; 16 << 10];
    loop {
        let (length, _) = packet::receive(socket, &mut buffer, true)
            .system(|| "cannot hear from the supervisor".to_owned())?;
        return match Event::parse(&buffer[..length]) {
            Some(Event::Started(pid)) => Ok(pid),
            Some(Event::Failed(failure)) => Err(failure.into_error()),
            Some(Event::Notice(text)) => {
                log::warn!("{text}");
                continue;
            }
            _ => Err(Error::new(
                ErrorKind::System,
                "the container's supervisor ended before it could start the container",
            )),
        };
    }
}

/// The signals that go to the container, caught from before it starts: one that comes earlier than
/// the session waits for it. Caught means blocked and readable, so that none is lost between two
/// reads; dropping this lets them act on this process again.
pub(super) struct CaughtSignals {
    descriptor: OwnedFd,
    before: signals::SignalSet,
}

impl CaughtSignals {
    /// `raw`: a terminal may be set to raw mode and must be given back.
    pub(super) fn begin(options: &AttachOptions, raw: bool) -> Result<CaughtSignals> {
        let what = || "cannot catch signals".to_owned();
        let caught = caught_signals(options, raw);
        let before = signals::block_only(&caught).system(what)?;
        let descriptor = signals::descriptor(&caught).system(what)?;
        Ok(CaughtSignals { descriptor, before })
    }
}

impl Drop for CaughtSignals {
    fn drop(&mut self) {
        let _ = signals::block_only(&self.before);
    }
}

/// All that a program may wait for; not those that stop or break this very process. Without a
/// proxy they act on this command alone.
fn caught_signals(options: &AttachOptions, raw: bool) -> signals::SignalSet {
    const OURS: [i32; 15] = [
        libc::SIGCHLD,
        libc::SIGPIPE,
        libc::SIGURG,
        libc::SIGTSTP,
        libc::SIGTTIN,
        libc::SIGTTOU,
        libc::SIGCONT,
        libc::SIGSEGV,
        libc::SIGBUS,
        libc::SIGFPE,
        libc::SIGILL,
        libc::SIGABRT,
        libc::SIGTRAP,
        libc::SIGSYS,
        libc::SIGPROF,
    ];
    let set = if options.sig_proxy {
        OURS.iter().fold(signals::SignalSet::all(), |set, signal| {
            set.without(*signal)
        })
    } else {
        signals::SignalSet::of(&[libc::SIGWINCH])
    };
    if raw {
        Terminal::SIGNALS
            .iter()
            .fold(set, |set, signal| set.with(*signal))
    } else {
        set
    }
}

/// How many of SIGINT and SIGTERM make the command go: Docker's number.
const ENOUGH: u32 = 3;

pub(super) struct Session<'a> {
    pub socket: OwnedFd,
    pub signals: CaughtSignals,
    pub directory: &'a ContainerDir,
    /// The container has a terminal.
    pub terminal: bool,
    pub attachment: Attachment,
    pub options: &'a AttachOptions,
    /// The program has been drawing for somebody else: it is made to draw again.
    pub redraw: bool,
    /// Told the terminal's rows and columns, whenever the container was.
    pub resized: &'a dyn Fn(u16, u16),
}

impl Session<'_> {
    /// Copies until the container ends or this command leaves it.
    pub(super) fn run(&self) -> Result<Ended> {
        let raw = if self.terminal && self.attachment.stdin {
            Terminal::make_raw()?
        } else {
            None
        };
        let mut copying = Copying {
            session: self,
            raw,
            interrupts: 0,
            keys: DetachKeys::new(&self.options.detach_keys),
            input_open: self.attachment.stdin,
            request: None,
            output: Outflow::default(),
            error_output: Outflow::default(),
            buffer: vec![0; MAX_PAYLOAD + 1],
        };
        if self.redraw {
            copying.resize_by(1);
        }
        copying.resize();
        copying.run()
    }
}

/// How a session ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// The container, with this code.
    Exited(i32),
    /// The user has detached.
    Detached,
    /// This command was told to go, and ends with this code.
    Left(u8),
}

/// A session at work.
struct Copying<'a> {
    session: &'a Session<'a>,
    /// The terminal, while it is lent to the container.
    raw: Option<Terminal>,
    interrupts: u32,
    keys: DetachKeys,
    input_open: bool,
    /// A packet that the supervisor has had no room for; no more is read meanwhile.
    request: Option<Vec<u8>>,
    output: Outflow,
    error_output: Outflow,
    buffer: Vec<u8>,
}

#[derive(Clone, Copy)]
enum Source {
    Socket,
    Signals,
    Input,
    Output,
    ErrorOutput,
}

impl Copying<'_> {
    fn run(&mut self) -> Result<Ended> {
        loop {
            for (source, ready) in self.wait()? {
                let ended = match source {
                    Source::Signals => self.forward_signals()?,
                    Source::Output => {
                        let flow = self.output.advance(streams::output(), WITHOUT_WAITING);
                        self.left_by_reader(flow)
                    }
                    Source::ErrorOutput => {
                        let to = streams::error_output();
                        let flow = self.error_output.advance(to, WITHOUT_WAITING);
                        self.left_by_reader(flow)
                    }
                    Source::Input => self.forward_input(),
                    Source::Socket => self.talk(ready)?,
                };
                if let Some(ended) = ended {
                    return Ok(ended);
                }
            }
        }
    }

    /// A pipe without a reader ends this command, as it ends every program of a pipeline.
    fn left_by_reader(&self, flow: Flow) -> Option<Ended> {
        (flow == Flow::NoReader).then_some(Ended::Left(128 + libc::SIGPIPE as u8))
    }

    fn talk(&mut self, ready: PollFlags) -> Result<Option<Ended>> {
        if ready.contains(PollFlags::OUT) {
            self.send_request();
        }
        let news = ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
        if news && let Some(code) = self.show()? {
            self.output.finish(streams::output());
            self.error_output.finish(streams::error_output());
            return Ok(Some(Ended::Exited(code)));
        }
        Ok(None)
    }

    fn wait(&self) -> Result<Vec<(Source, PollFlags)>> {
        let mut set = PollSet::with_capacity(5);
        let signals = self.session.signals.descriptor.as_fd();
        set.add(Source::Signals, signals, PollFlags::IN);
        let mut flags = PollFlags::empty();
        if self.output.is_empty() && self.error_output.is_empty() {
            flags |= PollFlags::IN;
        }
        if self.request.is_some() {
            flags |= PollFlags::OUT;
        }
        if !flags.is_empty() {
            set.add(Source::Socket, self.session.socket.as_fd(), flags);
        }
        if self.input_open && self.request.is_none() {
            set.add(Source::Input, streams::input(), PollFlags::IN);
        }
        if !self.output.is_empty() {
            set.add(Source::Output, streams::output(), PollFlags::OUT);
        }
        if !self.error_output.is_empty() {
            set.add(Source::ErrorOutput, streams::error_output(), PollFlags::OUT);
        }
        set.wait()
            .system(|| "cannot watch the container".to_owned())
    }

    /// Signals go to the container's first process directly: the supervisor may be busy with us.
    fn forward_signals(&mut self) -> Result<Option<Ended>> {
        while let Some(signal) = signals::next(&self.session.signals.descriptor)
            .system(|| "cannot read signals".to_owned())?
        {
            if signal == libc::SIGWINCH {
                self.resize();
                continue;
            }
            if let Some(raw) = &self.raw
                && raw.suspend_or_resume(signal)
            {
                self.resize();
                continue;
            }
            if matches!(signal, libc::SIGTSTP | libc::SIGCONT) {
                continue;
            }
            if !self.session.options.sig_proxy {
                return Ok(Some(Ended::Left(128 + signal as u8)));
            }
            if matches!(signal, libc::SIGINT | libc::SIGTERM) {
                self.interrupts += 1;
                if self.interrupts == ENOUGH {
                    return Ok(Some(Ended::Left(self.leave_running())));
                }
            }
            self.signal_program(signal)?;
        }
        Ok(None)
    }

    fn signal_program(&self, signal: i32) -> Result<()> {
        let Some(start) = self.session.directory.start_record()? else {
            return Ok(());
        };
        let init = process::open(start.init.pid, start.init.start_time);
        if let Some(init) =
            init.system(|| "cannot open the container's first process".to_owned())?
        {
            // It may just be ending, which the socket tells.
            let _ = process::signal(init, signal);
        }
        Ok(())
    }

    /// The exit code of a command that has been asked to go often enough.
    fn leave_running(&mut self) -> u8 {
        self.raw = None;
        let id = self.session.directory.id();
        log::warn!(
            "got {ENOUGH} SIGTERM/SIGINTs, forcefully exiting; container {} goes on, `coracle stop` ends it",
            id.short()
        );
        1
    }

    /// Tells the terminal's size, if there is one. Best effort: the next change tells it again.
    fn resize(&mut self) {
        self.resize_by(0);
    }

    fn resize_by(&mut self, more: u16) {
        if !self.session.terminal {
            return;
        }
        if let Some((rows, columns)) = terminal_size() {
            let request = Request::Resize {
                rows: rows.saturating_add(more),
                columns: columns.saturating_add(more),
            };
            let _ = request.try_send(&self.session.socket);
            if more == 0 {
                (self.session.resized)(rows, columns);
            }
        }
    }

    fn forward_input(&mut self) -> Option<Ended> {
        match streams::read(streams::input(), &mut self.buffer[..MAX_PAYLOAD / 2]) {
            Input::Later => {}
            Input::Ended => {
                self.input_open = false;
                let held = self.keys.rest();
                if !held.is_empty() {
                    let _ = Request::Input(&held).send(&self.session.socket);
                }
                self.request = Some(Request::InputEnd.encode());
                self.send_request();
            }
            Input::Bytes(count) => {
                let mut passed = Vec::with_capacity(count);
                let typed = &self.buffer[..count];
                let detached = self.session.terminal && self.keys.filter(typed, &mut passed);
                if !self.session.terminal {
                    passed.extend_from_slice(typed);
                }
                if !passed.is_empty() {
                    self.request = Some(Request::Input(&passed).encode());
                    self.send_request();
                }
                if detached {
                    let _ = Request::Detach.send(&self.session.socket);
                    return Some(Ended::Detached);
                }
            }
        }
        None
    }

    fn send_request(&mut self) {
        let Some(packet) = &self.request else { return };
        match protocol::send_packet(&self.session.socket, packet, false) {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            // Sent, or nobody is there any more, which reading from the socket tells.
            _ => self.request = None,
        }
    }

    /// Takes what the supervisor sent; the exit code when the container has ended.
    fn show(&mut self) -> Result<Option<i32>> {
        let received = packet::receive(&self.session.socket, &mut self.buffer, false);
        let length = match received {
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(None),
            other => {
                other
                    .system(|| "cannot hear from the supervisor".to_owned())?
                    .0
            }
        };
        if length == 0 {
            return Err(Error::new(
                ErrorKind::System,
                "the container's supervisor was killed, and the container with it",
            ));
        }
        let wanted = self.session.options.streams;
        match Event::parse(&self.buffer[..length]) {
            Some(Event::Output(bytes)) if wanted.stdout => self.output.push(bytes),
            Some(Event::ErrorOutput(bytes)) if wanted.stderr => self.error_output.push(bytes),
            Some(Event::Exited(code)) => return Ok(Some(code)),
            _ => {}
        }
        Ok(None)
    }
}

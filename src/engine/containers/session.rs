//! What a command does while it watches a container: its terminal and streams on one side, the
//! supervisor's socket on the other.
//!
//! The command only copies. If it is killed, the container goes on; if the supervisor is, the
//! socket closes and the command says so.

use std::os::fd::{AsFd, OwnedFd};

use rustix::event::PollFlags;

use super::streams::{self, DetachKeys, Input, Outflow, Terminal, WITHOUT_WAITING};
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
            Some(Event::Failed {
                kind,
                message,
                hint,
            }) => {
                let error = Error::new(kind, message);
                Err(match hint {
                    Some(hint) => error.with_hint(hint),
                    None => error,
                })
            }
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
    pub(super) fn begin(options: &AttachOptions) -> Result<CaughtSignals> {
        let what = || "cannot catch signals".to_owned();
        let caught = caught_signals(options);
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
fn caught_signals(options: &AttachOptions) -> signals::SignalSet {
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
    if options.sig_proxy {
        OURS.iter().fold(signals::SignalSet::all(), |set, signal| {
            set.without(*signal)
        })
    } else {
        signals::SignalSet::of(&[libc::SIGWINCH])
    }
}

pub(super) struct Session<'a> {
    pub socket: OwnedFd,
    pub signals: CaughtSignals,
    pub directory: &'a ContainerDir,
    /// The container has a terminal.
    pub terminal: bool,
    pub attachment: Attachment,
    pub options: &'a AttachOptions,
    /// Told the terminal's rows and columns, whenever the container was.
    pub resized: &'a dyn Fn(u16, u16),
}

impl Session<'_> {
    /// Copies until the container ends: its exit code, or `None` if the user detached.
    pub(super) fn run(&self) -> Result<Option<i32>> {
        let _raw = if self.terminal && self.attachment.stdin {
            Terminal::make_raw()?
        } else {
            None
        };
        let mut copying = Copying {
            session: self,
            keys: DetachKeys::new(&self.options.detach_keys),
            input_open: self.attachment.stdin,
            request: None,
            output: Outflow::default(),
            error_output: Outflow::default(),
            buffer: vec![0; MAX_PAYLOAD + 1],
        };
        copying.resize();
        copying.run()
    }
}

/// A session at work.
struct Copying<'a> {
    session: &'a Session<'a>,
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
    fn run(&mut self) -> Result<Option<i32>> {
        loop {
            for (source, ready) in self.wait()? {
                match source {
                    Source::Signals => self.forward_signals()?,
                    Source::Output => {
                        self.output.advance(streams::output(), WITHOUT_WAITING);
                    }
                    Source::ErrorOutput => {
                        self.error_output
                            .advance(streams::error_output(), WITHOUT_WAITING);
                    }
                    Source::Input if self.forward_input() => return Ok(None),
                    Source::Input => {}
                    Source::Socket => {
                        if ready.contains(PollFlags::OUT) {
                            self.send_request();
                        }
                        let news =
                            ready.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR);
                        if news && let Some(code) = self.show()? {
                            self.output.finish(streams::output());
                            self.error_output.finish(streams::error_output());
                            return Ok(Some(code));
                        }
                    }
                }
            }
        }
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
    fn forward_signals(&mut self) -> Result<()> {
        while let Some(signal) = signals::next(&self.session.signals.descriptor)
            .system(|| "cannot read signals".to_owned())?
        {
            if signal == libc::SIGWINCH {
                self.resize();
                continue;
            }
            let Some(start) = self.session.directory.start_record()? else {
                continue;
            };
            let init = process::open(start.init.pid, start.init.start_time);
            if let Some(init) =
                init.system(|| "cannot open the container's first process".to_owned())?
            {
                // It may just be ending, which the socket tells.
                let _ = process::signal(init, signal);
            }
        }
        Ok(())
    }

    /// Tells the terminal's size, if there is one. Best effort: the next change tells it again.
    fn resize(&mut self) {
        if !self.session.terminal {
            return;
        }
        if let Some((rows, columns)) = terminal_size() {
            let _ = Request::Resize { rows, columns }.try_send(&self.session.socket);
            (self.session.resized)(rows, columns);
        }
    }

    /// Whether the user has detached.
    fn forward_input(&mut self) -> bool {
        match streams::read(streams::input(), &mut self.buffer[..MAX_PAYLOAD / 2]) {
            Input::Later => {}
            Input::Ended => {
                self.input_open = false;
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
                    return true;
                }
            }
        }
        false
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
        match Event::parse(&self.buffer[..length]) {
            Some(Event::Output(bytes)) => self.output.push(bytes),
            Some(Event::ErrorOutput(bytes)) => self.error_output.push(bytes),
            Some(Event::Exited(code)) => return Ok(Some(code)),
            _ => {}
        }
        Ok(None)
    }
}

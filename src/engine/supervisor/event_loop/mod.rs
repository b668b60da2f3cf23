//! The supervisor's one loop: it waits on descriptors only (poll(2) on pidfd, signalfd, sockets,
//! pipes, timers), with no threads. It lives through all runs of the container, and answers its
//! socket between them too.
//!
//! Output goes to the log first, then to every attached client. A client that does not keep up
//! holds the program back, as a full pipe would; nothing is dropped.

mod clients;
mod direct;
mod health;
mod standstill;
mod streams;

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    time::Duration,
};

use rustix::{
    event::{PollFlags, Timespec},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags},
};

use self::clients::Client;
pub(super) use self::streams::StreamEnds;
use super::{
    super::cgroup::Group,
    StopPlan,
    health::{HealthPlan, Monitor, Part},
    log::{LogWriter, Stream},
    orphans::Orphans,
    protocol::{After, Event, Wish},
};
use crate::{
    model::{Context, Result, health::HealthStatus},
    sys::{poll::PollSet, process, signals},
};

/// What an init system sends to processes before it kills them: the container is stopped, and its end
/// is none that a policy has to mend.
const CLOSING_DOWN: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// So long after the last output its room is kept.
const BUSY: Duration = Duration::from_secs(5);

/// After so long it is tried again to let a client in for whom there was no descriptor.
const CROWDED: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct EventLoop {
    /// The container's first process; `None` between two runs.
    init: Option<OwnedFd>,
    pid: i32,
    listener: OwnedFd,
    signals: Option<OwnedFd>,
    orphans: Option<Orphans>,
    /// Of the container's network process.
    network: Option<OwnedFd>,
    network_ended: bool,
    /// Of `--timeout`, of the time to stop in when the machine shuts down, or between two runs of the
    /// delay.
    timer: Option<OwnedFd>,
    streams: StreamEnds,
    /// Input that the program has not taken yet; no more is accepted meanwhile.
    pending_input: Vec<u8>,
    input_ended: bool,
    /// A client's end of input is the program's (Docker's `StdinOnce`).
    input_once: bool,
    log: Option<LogWriter>,
    clients: Vec<Client>,
    exit_code: Option<i32>,
    wish: Wish,
    /// The machine or the user's session is about to end: this process was told to.
    closing_down: bool,
    stop: StopPlan,
    start_now: bool,
    health: Option<Box<Monitor>>,
    health_wanted: Option<Option<Box<HealthPlan>>>,
    /// The container's health has changed to this, and nobody has noted it yet.
    health_news: Option<HealthStatus>,
    /// The container stands still because clients asked for it, not because it was paused.
    stands_still: bool,
    /// There was no descriptor left for another client.
    crowded: bool,
    buffer: Vec<u8>,
    /// There was output lately, and the room for it is kept for what follows.
    busy: bool,
}

/// What the loop comes back with.
#[derive(Debug)]
pub(super) enum Turn {
    /// The container has ended and all its output has been read; its exit code.
    Exited(i32),
    /// The container's health shall be looked after in another way from now on, or not at all.
    Health(Option<Box<HealthPlan>>),
    /// It has changed to this.
    HealthNews(HealthStatus),
    /// The network process is no more.
    NetworkEnded,
}

/// What a descriptor that has become ready belongs to.
#[derive(Clone, Copy, Debug)]
enum Source {
    Init,
    Listener,
    Signals,
    Timer,
    Input,
    Output(usize),
    Client(usize),
    Health(Part),
    Network,
    /// A stream of that client's own.
    Direct(usize, Stream),
}

impl EventLoop {
    pub(super) fn new(
        listener: OwnedFd,
        log: Option<LogWriter>,
        stop: StopPlan,
        input_once: bool,
    ) -> Self {
        EventLoop {
            init: None,
            pid: 0,
            listener,
            // The container's end is told by its pidfd.
            signals: signals::descriptor(&signals::SignalSet::all().without(libc::SIGCHLD)).ok(),
            orphans: None,
            network: None,
            network_ended: false,
            timer: None,
            streams: StreamEnds::default(),
            pending_input: Vec::new(),
            input_ended: false,
            input_once,
            log,
            clients: Vec::new(),
            exit_code: None,
            wish: Wish::default(),
            closing_down: false,
            stop,
            start_now: false,
            health: None,
            health_wanted: None,
            health_news: None,
            stands_still: false,
            crowded: false,
            buffer: Vec::new(),
            busy: false,
        }
    }

    /// A run of the program begins. Whoever has connected meanwhile watches it.
    /// `pid` is the number of its first process on the host.
    pub(super) fn begin(&mut self, init: OwnedFd, pid: i32, streams: StreamEnds) {
        self.init = Some(init);
        self.pid = pid;
        self.streams = streams;
        self.input_ended = false;
        self.timer = None;
        self.exit_code = None;
        self.wish = Wish::default();
        self.start_now = false;
        for client in &mut self.clients {
            client.tell(&Event::Started(pid));
        }
    }

    /// The container has no pid namespace of its own: orphans are reaped, and whoever is left when
    /// the first process has ended is killed.
    pub(super) fn look_after(&mut self, orphans: Orphans) {
        self.orphans = Some(orphans);
        self.signals = signals::descriptor(&signals::SignalSet::all()).ok();
    }

    /// Says when this process, the container's network process, ends.
    pub(super) fn look_after_network(&mut self, process: Option<OwnedFd>) {
        self.network = process;
        self.network_ended = false;
    }

    /// The container's first process, during a run.
    pub(super) fn first_process(&self) -> Option<BorrowedFd<'_>> {
        self.init.as_ref().map(AsFd::as_fd)
    }

    /// Kills the first process after so many seconds.
    pub(super) fn end_after(&mut self, seconds: u32) -> Result<()> {
        let timer = timer(Duration::from_secs(seconds.into()))
            .system(|| "cannot set the timer of --timeout".to_owned())?;
        self.timer = Some(timer);
        Ok(())
    }

    /// Runs until the container has ended, or something is to be done for its health. `group` is
    /// the container's.
    pub(super) fn run(&mut self, group: Option<&Group>) -> Result<Turn> {
        loop {
            if let Some(status) = self.health_news.take() {
                return Ok(Turn::HealthNews(status));
            }
            if let Some(code) = self.exit_code {
                self.drain();
                self.streams = StreamEnds::default();
                self.pending_input = Vec::new();
                return Ok(Turn::Exited(code));
            }
            if let Some(plan) = self.wanted_health() {
                return Ok(Turn::Health(plan));
            }
            if std::mem::take(&mut self.network_ended) {
                return Ok(Turn::NetworkEnded);
            }
            self.round(group)?;
        }
    }

    /// Waits until the next run shall begin, or `false` if there is to be none any more.
    pub(super) fn wait_for_restart(&mut self, delay: Duration) -> Result<bool> {
        let what = || "cannot set the timer of the restart".to_owned();
        if delay > Duration::ZERO {
            self.timer = Some(timer(delay).system(what)?);
        }
        loop {
            if self.rests() {
                return Ok(false);
            }
            if self.timer.is_none() || self.start_now {
                return Ok(true);
            }
            self.round(None)?;
        }
    }

    /// Whether nothing comes after the end, whatever the policy says.
    fn rests(&self) -> bool {
        self.closing_down || self.wish.after == Some(After::Rest)
    }

    /// What has been asked for since the run began.
    pub(super) fn wish(&self) -> Wish {
        let after = if self.rests() {
            Some(After::Rest)
        } else {
            self.wish.after
        };
        Wish { after, ..self.wish }
    }

    /// Waits for events and deals with them.
    fn round(&mut self, group: Option<&Group>) -> Result<()> {
        let ready = self.wait()?;
        if matches!(ready.first(), Some((Source::Init, _))) && self.may_have_been_told(&ready) {
            self.hear_clients();
        }
        for (source, ready) in ready {
            self.deal_with(source, ready)?;
        }
        self.stand_still(group);
        self.tidy();
        Ok(())
    }

    fn deal_with(&mut self, source: Source, ready: PollFlags) -> Result<()> {
        match source {
            Source::Init => self.note_end()?,
            Source::Timer => {
                self.timer = None;
                self.signal_init(libc::SIGKILL);
            }
            Source::Listener => self.accept(),
            Source::Signals => self.forward_signal(),
            Source::Input => self.feed_input(),
            // Nobody can write to it any more, and nothing is left in it.
            Source::Output(index) if ready == PollFlags::HUP => self.end_output(index),
            Source::Output(index) => self.read_output(index),
            Source::Client(index) => self.serve(index, ready),
            Source::Health(part) => self.tend_health(part),
            Source::Network => {
                self.network = None;
                self.network_ended = true;
            }
            Source::Direct(index, stream) => self.clients[index].advance(stream),
        }
        Ok(())
    }

    fn signal_init(&self, number: i32) {
        if let Some(init) = &self.init {
            let _ = process::signal(init, number);
        }
    }

    /// Whoever ends the container says so before: what has been said is heard first. It was asked
    /// for the end before it asked for words, so words that came before the end are not missed.
    fn may_have_been_told(&self, ready: &[(Source, PollFlags)]) -> bool {
        let speaks =
            |(source, _): &(Source, _)| matches!(source, Source::Listener | Source::Client(_));
        !self.pending_input.is_empty() || ready.iter().any(speaks)
    }

    fn note_end(&mut self) -> Result<()> {
        if let Some(init) = self.init.take() {
            let code = process::reap(&init).system(|| "cannot reap the container".to_owned())?;
            self.exit_code = Some(code);
        }
        if let Some(orphans) = self.orphans.take() {
            // A /proc that cannot be read must not hide the end.
            let _ = orphans.end_all();
        }
        self.end_health();
        self.timer = None;
        self.stands_still = false;
        Ok(())
    }

    /// Waits for the next events. Whatever would only pile up is not waited for.
    fn wait(&mut self) -> Result<Vec<(Source, PollFlags)>> {
        let congested = self.clients.iter().any(Client::is_congested);
        let crowded = std::mem::take(&mut self.crowded);
        let mut set = PollSet::with_capacity(7 + self.clients.len());
        if let Some(init) = &self.init {
            set.add(Source::Init, init.as_fd(), PollFlags::IN);
        }
        if !crowded {
            set.add(Source::Listener, self.listener.as_fd(), PollFlags::IN);
        }
        if let Some(signals) = &self.signals {
            set.add(Source::Signals, signals.as_fd(), PollFlags::IN);
        }
        if let Some(timer) = &self.timer {
            set.add(Source::Timer, timer.as_fd(), PollFlags::IN);
        }
        if let Some(monitor) = &self.health {
            monitor.watch(&mut set, Source::Health);
        }
        if let Some(network) = &self.network {
            set.add(Source::Network, network.as_fd(), PollFlags::IN);
        }
        if let Some(input) = &self.streams.input
            && !self.pending_input.is_empty()
        {
            set.add(Source::Input, input.as_fd(), PollFlags::OUT);
        }
        if !congested {
            for (index, output) in self.streams.outputs.iter().enumerate() {
                let Some((_, output)) = output else { continue };
                set.add(Source::Output(index), output.as_fd(), PollFlags::IN);
            }
        }
        for (index, client) in self.clients.iter().enumerate() {
            let mut flags = PollFlags::empty();
            if self.pending_input.is_empty() {
                flags |= PollFlags::IN;
            }
            client.add_to(&mut set, index, flags);
        }
        let what = || "cannot wait for events".to_owned();
        if crowded {
            return set.wait_at_most(CROWDED).system(what);
        }
        if !self.busy {
            return set.wait().system(what);
        }
        let ready = set.wait_at_most(BUSY).system(what)?;
        if ready.is_empty() {
            self.rest();
        }
        Ok(ready)
    }

    /// A signal to the supervisor (a shutdown, most likely) is meant for the container.
    fn forward_signal(&mut self) {
        let Some(descriptor) = &self.signals else {
            return;
        };
        let mut closes_down = false;
        while let Ok(Some(number)) = signals::next(descriptor) {
            if number == libc::SIGCHLD {
                self.reap_strays();
            } else if CLOSING_DOWN.contains(&number) {
                closes_down = true;
            } else if number != libc::SIGPIPE {
                self.signal_init(number);
            }
        }
        if closes_down {
            self.close_down();
        }
    }

    /// Stops the container as `stop` does, so that no shutdown has to wait for a program that does
    /// not hear.
    fn close_down(&mut self) {
        let begun = std::mem::replace(&mut self.closing_down, true);
        self.signal_init(self.stop.signal);
        if let Some(seconds) = self.stop.timeout.filter(|_| !begun) {
            // Without a timer whoever shuts down kills in the end.
            // 0 would be never.
            let after = Duration::from_secs(seconds).max(Duration::from_millis(1));
            self.timer = timer(after).ok().or(self.timer.take());
        }
    }
}

/// Becomes readable after so long, timerfd_create(2).
fn timer(after: Duration) -> io::Result<OwnedFd> {
    let nothing = Timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let timer = rustix::time::timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?;
    let after = Itimerspec {
        it_interval: nothing,
        it_value: Timespec::try_from(after).map_err(|_| io::ErrorKind::InvalidInput)?,
    };
    rustix::time::timerfd_settime(&timer, TimerfdTimerFlags::empty(), &after)?;
    Ok(timer)
}

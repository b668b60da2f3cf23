//! The runs of a container's program, from the first start to the end after which nothing comes.

use std::{
    os::fd::{BorrowedFd, OwnedFd},
    time::Instant,
};

use super::{
    super::{
        cgroup,
        plan::{self, CgroupPlan},
        sandbox::{self, hooks},
    },
    Container,
    event_loop::{self, EventLoop, Turn},
    events, log, network_files, now, orphans,
    protocol::{self, After, Event, Wish},
    restart::{End, Restarts},
};
use crate::{
    model::{
        Context, Error, ErrorKind, Result,
        container::{ExitRecord, ProcessIdentity, StartRecord},
        event as model_event,
        hook::Moment,
        namespace::Place,
        restart::RestartPolicy,
    },
    storage::Durability,
    sys::{fork, process},
};

/// A run of the program.
pub(super) struct Run {
    groups: cgroup::Made,
    pub(super) begun: Instant,
    /// RFC 3339, as in the start record.
    started: String,
    /// What has gone wrong without ending it.
    notices: Vec<String>,
}

/// What is known of a run that is over.
struct Outcome {
    code: i32,
    oom_killed: bool,
    error: Option<String>,
    /// `None` if it did not get as far.
    started: Option<String>,
    finished: String,
    /// What is still to be noted in the journal.
    events: Vec<model_event::Event>,
}

impl Container<'_> {
    /// All runs of the program, and the time between them.
    pub(super) fn run(mut self, client: &mut Option<OwnedFd>, held: Vec<OwnedFd>) -> Result<()> {
        let socket = self.listen()?;
        let logging = &self.plan.logging;
        let files = || self.directory.log_files(logging.path.as_deref());
        let log = log::LogWriter::open(logging, files)?;
        let mut watch = EventLoop::new(socket, log, self.plan.stop, self.plan.input_once);
        let mut restarts = Restarts::default();
        let mut run = match self.begin(&mut watch, client, &held, 0) {
            Ok(run) => run,
            Err(error) => return self.failed_to_start(error),
        };
        loop {
            let code = self.watch(&mut watch, &run)?;
            let end = End {
                code,
                wish: watch.wish(),
                length: run.begun.elapsed(),
            };
            let mut outcome = self.end(run, end);
            let Some(delay) = restarts.next(self.policy(end), end) else {
                return self.finish(watch, outcome, restarts.count);
            };
            // If it cannot be written (a full disk) the next one may be.
            let _ = self.note_end(&mut outcome, end.wish, true, restarts.count);
            watch.let_go(code);
            if !watch.wait_for_restart(delay)? {
                return self.finish(watch, outcome, restarts.count);
            }
            run = match self.begin_anew(&mut watch, &held, restarts.count) {
                Ok(run) => run,
                Err(error) => {
                    let outcome = self.unstarted(&error);
                    return self.finish(watch, outcome, restarts.count);
                }
            };
        }
    }

    /// Starts the program, and watches it from then on.
    fn begin(
        &mut self,
        watch: &mut EventLoop,
        client: &mut Option<OwnedFd>,
        held: &[OwnedFd],
        restarts: u32,
    ) -> Result<Run> {
        let (streams, mut ends) = self.streams()?;
        self.start_network(watch)?;
        let (groups, devices_guarded) = self.make_cgroups(client.as_ref())?;
        let adopts = self.leave_pid_namespace()?;
        let cgroups = sandbox::Cgroups {
            own: groups.group.as_ref().map(cgroup::Group::fd),
            entrances: &groups.legacy.entrances,
            devices_guarded,
        };
        let connect = |namespace: BorrowedFd<'_>| self.connect(namespace);
        let started = sandbox::start(&self.plan.sandbox, streams, held, cgroups, &connect)
            .inspect_err(|_| groups.remove())?;
        if let Some(terminal) = started.terminal {
            ends = event_loop::StreamEnds::of_terminal(terminal)?;
        }
        let noted = self.note_start(&started.init, &groups, restarts);
        let (record, pid) = noted.inspect_err(|_| {
            // A full disk, most likely. Without the record nobody could deal with it.
            let _ = process::signal(&started.init.pidfd, libc::SIGKILL);
            let _ = process::reap(&started.init.pidfd);
            groups.remove();
        })?;
        let begun = Instant::now();
        self.note_started();
        let run = Run {
            groups,
            begun,
            started: record.started,
            notices: self.after_start(pid),
        };
        let first = started.init.pid;
        watch.begin(started.init.pidfd, pid, ends);
        if adopts && let Some(mounts) = started.mount_namespace {
            watch.look_after(orphans::Orphans::new(first, mounts));
        }
        if let Some(seconds) = self.plan.timeout {
            watch.end_after(seconds)?;
        }
        if let Some(client) = client.take() {
            let _ = protocol::send_packet(&client, &Event::Started(pid).encode(), true);
            watch.add_client(client, self.plan.client);
        }
        Ok(run)
    }

    /// Watches a run until it is over; the exit code.
    fn watch(&mut self, watch: &mut EventLoop, run: &Run) -> Result<i32> {
        self.look_after_health(watch, run);
        loop {
            match watch.run(run.groups.group.as_ref())? {
                Turn::Exited(code) => return Ok(code),
                Turn::Health(plan) => {
                    self.plan.health = plan;
                    self.look_after_health(watch, run);
                }
                Turn::HealthNews(status) => self.note_health(status),
                Turn::NetworkEnded => self.mend_network(watch),
            }
        }
    }

    /// Does what a command does before it starts a container that was started before.
    fn begin_anew(
        &mut self,
        watch: &mut EventLoop,
        held: &[OwnedFd],
        restarts: u32,
    ) -> Result<Run> {
        if let Some(plan) = watch.wanted_health() {
            self.plan.health = plan;
        }
        self.directory.forget_start()?;
        if self.plan.auto_remove {
            self.directory.forgive_volatile()?;
        }
        let record = self.directory.record()?;
        self.renew_network(&record)?;
        let network = self.plan.network.as_deref();
        let (endpoints, host) =
            network.map_or_else(Default::default, |plan| (plan.endpoints(), plan.host()));
        let connections = network_files::Connections {
            endpoints: &endpoints,
            host: &host,
        };
        let hostname = self.plan.hostname.as_deref();
        network_files::write(self.directory.fd(), &record, hostname, connections)?;
        if let Some(limits) = self.directory.resources()? {
            let before = &self.plan.sandbox.cgroup;
            self.plan.sandbox.cgroup = CgroupPlan {
                must_be_writable: before.must_be_writable,
                ..plan::cgroup::cgroup(&limits, before.writable)?
            };
        }
        self.plan.sandbox.was_started_before();
        let run = self.begin(watch, &mut None, held, restarts);
        // No client's going does it after this start.
        process::forget_program_pages();
        run
    }

    /// What is left of a run is removed.
    fn end(&self, run: Run, end: End) -> Outcome {
        let code = end.code;
        let oom_killed = self.was_oom_killed(code, &run.groups);
        if let Some(network) = &self.network {
            network.detach();
        }
        run.groups.remove();
        let mut notices = run.notices;
        notices.extend(self.after_stop());
        Outcome {
            code,
            oom_killed,
            error: (!notices.is_empty()).then(|| notices.join("; ")),
            started: Some(run.started),
            finished: now(),
            events: self.events_of_end(code, oom_killed, end.length.as_secs()),
        }
    }

    /// The policy as it is now: `update` may have changed it.
    fn policy(&self, end: End) -> RestartPolicy {
        if self.plan.auto_remove || end.wish.after == Some(After::Rest) {
            return RestartPolicy::No;
        }
        let record = self.directory.record();
        record.map_or(RestartPolicy::No, |record| record.spec.restart)
    }

    /// Writes down that the program runs, for other commands.
    fn note_start(
        &self,
        init: &fork::Child,
        groups: &cgroup::Made,
        restarts: u32,
    ) -> Result<(StartRecord, i32)> {
        let what = || "cannot identify the container's first process".to_owned();
        let boot_id = process::boot_id().system(what)?;
        let identity = |pid: i32| -> Result<ProcessIdentity> {
            // It may have ended already; nobody will find it then, and need not.
            let start_time = process::start_time(pid).unwrap_or(0);
            Ok(ProcessIdentity {
                pid,
                start_time,
                boot_id: boot_id.clone(),
            })
        };
        let own = process::own_host_pid().system(what)?;
        let pid = process::host_pid(&init.pidfd).system(what)?;
        // Nobody could join the user namespace through a hidden process.
        let hidden = self.plan.sandbox.namespaces.placement.pid != Place::Own;
        if self.plan.shares_user_namespace && !hidden {
            self.store.name_namespace_holder(own)?;
        }
        let record = StartRecord {
            supervisor: identity(own)?,
            init: identity(pid)?,
            started: now(),
            restarts,
            namespaces: self.plan.sandbox.namespaces.placement,
            process: serde_json::to_string(&self.plan.sandbox.process)
                .context(ErrorKind::System, what)?,
            cgroup: groups.group.as_ref().map(|group| group.path().to_owned()),
            legacy_cgroups: groups.legacy.groups.clone(),
            spares_device_rules: self.plan.sandbox.devices.spares_rules,
        };
        let durability = if self.plan.starts_after_boot {
            Durability::Durable
        } else {
            Durability::Volatile
        };
        self.directory.put_start_record(&record, durability)?;
        Ok((record, pid))
    }

    /// The program never ran: Docker's codes are 127 (not found), 126 (not executable), 128.
    fn failed_to_start(mut self, error: Error) -> Result<()> {
        if error.kind() == ErrorKind::OverlayRefused {
            // The command will try again with copied layers: nothing has happened yet.
            self.remove_socket();
            self.end_network();
            return Err(error);
        }
        let outcome = self.unstarted(&error);
        self.finish_with(outcome, Wish::default(), 0)?;
        Err(error)
    }

    fn unstarted(&self, error: &Error) -> Outcome {
        let code = match error.kind() {
            ErrorKind::CommandNotFound => 127,
            ErrorKind::CommandNotExecutable => 126,
            _ => 128,
        };
        let mut reasons = vec![error.one_line()];
        reasons.extend(self.after_stop());
        Outcome {
            code,
            oom_killed: false,
            error: Some(reasons.join("; ")),
            started: None,
            finished: now(),
            events: self.events_of_end(code, false, 0),
        }
    }

    /// `poststart` hooks: the program runs already, so that a failure is only told.
    fn after_start(&self, pid: i32) -> Vec<String> {
        let Some(plan) = &self.plan.sandbox.hooks else {
            return Vec::new();
        };
        let state = plan.state(Moment::Running, Some(pid));
        let enter = || hooks::enter_bundle(plan);
        hooks::run_all("poststart", &plan.hooks.poststart, &state, &enter)
    }

    /// `poststop` hooks, after every start that got as far as hooks, successful or not. A supervisor
    /// that is killed runs none.
    fn after_stop(&self) -> Vec<String> {
        let Some(plan) = &self.plan.sandbox.hooks else {
            return Vec::new();
        };
        let state = plan.state(Moment::Stopped, None);
        let enter = || hooks::enter_bundle(plan);
        hooks::run_all("poststop", &plan.hooks.poststop, &state, &enter)
    }

    /// Asked only where it can be: of a container with a limit, or one that was killed.
    fn was_oom_killed(&self, code: i32, groups: &cgroup::Made) -> bool {
        let limited = self.plan.sandbox.cgroup.limits_memory;
        (limited || code == 128 + libc::SIGKILL) && groups.had_oom_kill()
    }

    /// The last end: written down, told to everybody.
    fn finish(self, mut watch: EventLoop, outcome: Outcome, restarts: u32) -> Result<()> {
        let code = outcome.code;
        // If the record cannot be written (a full disk), whoever watches still learns the code.
        let _ = self.finish_with(outcome, watch.wish(), restarts);
        watch.say_goodbye(code);
        // What is still open closes with the process.
        fork::end(0)
    }

    /// Writes down the end (or removes the container), and lets go of the lock.
    fn finish_with(mut self, mut outcome: Outcome, wish: Wish, restarts: u32) -> Result<()> {
        self.remove_socket();
        self.end_network();
        if self.plan.auto_remove {
            let (name, nameless) = (&self.plan.name, &self.plan.nameless_volumes);
            let removed =
                self.store
                    .remove_ended_container(&self.directory, name, nameless, self.lock);
            let gone = removed.is_ok();
            let destroyed = gone.then(|| events::destroyed(&self.plan)).into_iter();
            self.store
                .note_events(outcome.events.into_iter().chain(destroyed.flatten()));
            // The process ends now, and closes it with everything else.
            let _ = std::mem::ManuallyDrop::new(self.sockets);
            return removed;
        }
        self.note_end(&mut outcome, wish, false, restarts)
    }

    fn note_end(
        &self,
        outcome: &mut Outcome,
        wish: Wish,
        restarting: bool,
        restarts: u32,
    ) -> Result<()> {
        // Before anyone can know that it has ended.
        self.store.note_events(std::mem::take(&mut outcome.events));
        let record = ExitRecord {
            code: outcome.code,
            oom_killed: outcome.oom_killed,
            by_hand: wish.by_hand,
            restarting,
            restarts,
            error: outcome.error.clone(),
            started: outcome.started.clone(),
            finished: outcome.finished.clone(),
        };
        let durability = if self.plan.auto_remove {
            Durability::Volatile
        } else {
            Durability::Durable
        };
        self.directory.put_exit_record(&record, durability)
    }
}

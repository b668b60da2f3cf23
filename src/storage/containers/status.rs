//! What a container does now: the lock and two records make it up.

use crate::model::{
    container::{ContainerState, ExitRecord, StartRecord},
    restart::LastRun,
};

/// What is known about a container's life.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Status {
    pub state: ContainerState,
    pub start: Option<StartRecord>,
    /// Only the end of the run that `start` began. Absent for one that ended unseen: its
    /// supervisor was killed, or the machine stopped.
    pub exit: Option<ExitRecord>,
    /// A process that lives is removing the container: it may be waiting for its end.
    pub removing: bool,
    /// Its writable layer is gone, so it can only be removed. Never of one that runs.
    pub damaged: bool,
}

impl Status {
    pub(super) fn from(held: bool, start: Option<StartRecord>, exit: Option<ExitRecord>) -> Status {
        let exit = exit.filter(|exit| match (&start, &exit.started) {
            (Some(start), Some(started)) => start.started == *started,
            (Some(_), None) => false,
            (None, _) => true,
        });
        let state = match (&start, &exit) {
            (_, Some(exit)) if held && exit.restarting => ContainerState::Restarting,
            (Some(_), _) if held && exit.is_none() => ContainerState::Running,
            (Some(_), _) | (None, Some(_)) => ContainerState::Exited,
            (None, None) => ContainerState::Created,
        };
        Status {
            state,
            start,
            exit,
            removing: false,
            damaged: false,
        }
    }

    /// When the last run began, RFC 3339.
    pub fn started(&self) -> Option<&str> {
        let of_exit = || self.exit.as_ref()?.started.as_deref();
        let start = self.start.as_ref().map(|start| start.started.as_str());
        start.or_else(of_exit)
    }

    /// What a restart policy asks when the machine has started.
    pub fn last_run(&self) -> LastRun {
        let restarts = self.restarts();
        match (&self.start, &self.exit) {
            (_, Some(exit)) if exit.started.is_some() || restarts > 0 => LastRun::Ended {
                code: exit.code,
                by_hand: exit.by_hand,
                restarts,
            },
            (Some(_), None) => LastRun::Unseen { restarts },
            _ => LastRun::Never,
        }
    }

    /// How often the supervisor has started the program anew since a command did.
    pub fn restarts(&self) -> u32 {
        let of_start = self.start.as_ref().map(|start| start.restarts);
        self.exit
            .as_ref()
            .map(|exit| exit.restarts)
            .or(of_start)
            .unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::container::ProcessIdentity;

    fn start(at: &str) -> Option<StartRecord> {
        let process = ProcessIdentity {
            pid: 1,
            start_time: 2,
            boot_id: "b".into(),
        };
        Some(StartRecord {
            supervisor: process.clone(),
            init: process,
            started: at.into(),
            namespaces: Default::default(),
            restarts: 0,
            process: String::new(),
            cgroup: None,
            legacy_cgroups: Vec::new(),
            spares_device_rules: false,
        })
    }

    fn restarting(of: &str) -> Option<ExitRecord> {
        let exit = exit(Some(of))?;
        Some(ExitRecord {
            restarting: true,
            ..exit
        })
    }

    fn exit(of: Option<&str>) -> Option<ExitRecord> {
        Some(ExitRecord {
            code: 0,
            oom_killed: false,
            by_hand: false,
            restarting: false,
            restarts: 0,
            error: None,
            started: of.map(String::from),
            finished: "later".into(),
        })
    }

    #[test]
    fn the_lock_and_matching_records_make_the_state() {
        use ContainerState::*;
        let state = |held, start, exit| Status::from(held, start, exit).state;
        assert_eq!(state(false, None, None), Created);
        assert_eq!(state(true, None, None), Created);
        assert_eq!(state(true, start("1"), None), Running);
        assert_eq!(state(true, start("2"), exit(Some("1"))), Running);
        assert_eq!(state(true, start("1"), exit(Some("1"))), Exited);
        assert_eq!(state(false, start("1"), exit(Some("1"))), Exited);
        assert_eq!(state(false, None, exit(None)), Exited);
    }

    #[test]
    fn between_two_runs_it_restarts_as_long_as_its_supervisor_lives() {
        use ContainerState::*;
        let state = |held, start, exit| Status::from(held, start, exit).state;
        assert_eq!(state(true, start("1"), restarting("1")), Restarting);
        // The next run is being prepared.
        assert_eq!(state(true, None, restarting("1")), Restarting);
        assert_eq!(state(true, start("2"), restarting("1")), Running);
        assert_eq!(state(false, start("1"), restarting("1")), Exited);
        assert_eq!(state(false, None, restarting("1")), Exited);
    }

    #[test]
    fn a_run_whose_supervisor_was_killed_has_no_exit_record() {
        let status = Status::from(false, start("2"), exit(Some("1")));
        assert_eq!(status.state, ContainerState::Exited);
        assert_eq!(status.exit, None);
    }
}

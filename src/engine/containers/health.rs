//! A container's health: what is to be checked, what was found, and `healthcheck run`.

use std::{
    os::fd::OwnedFd,
    time::{Duration, Instant},
};

use super::ending::END_LIMIT;
use crate::{
    engine::{
        Engine, HealthVerdict,
        supervisor::{
            health::HealthPlan,
            protocol::{Attachment, Event, MAX_PAYLOAD, Request},
            socket_name,
        },
    },
    model::{
        Context, Error, ErrorKind, Result,
        container::{ContainerRecord, ContainerState},
        health::{HealthCheck, HealthRecord, HealthSpec, HealthStatus},
        image::ProcessDefaults,
    },
    storage::{ContainerDir, containers::Status},
    sys::{packet, process},
};

/// Docker's time between the stop signal and SIGKILL, seconds.
const STOP_TIMEOUT: i64 = 10;

impl Engine {
    /// How the container is; `None` if it has no health check or was never started.
    pub fn health(&self, container: &str) -> Result<Option<HealthStatus>> {
        let (directory, record) = self.store.find_container(container)?;
        let image = self.defaults_of(&record);
        let (health, status) = (&record.spec.health, directory.state()?);
        let found = found(&directory, health, Some(&image), &status)?;
        Ok(found.map(|health| health.status))
    }

    /// Has a running container's health checked now, and waits for the result.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if it does not run, stands still or has no health check.
    pub fn check_health(&self, container: &str) -> Result<HealthVerdict> {
        let (directory, record) = self.store.find_container(container)?;
        let conflict = |text: &str| {
            let text = format!("container {} {text}", record.name);
            Error::new(ErrorKind::Conflict, text)
        };
        let Some(check) = self.health_check(&record) else {
            return Err(conflict("has no defined healthcheck")
                .with_hint("--health-cmd of run, create and update defines one"));
        };
        match super::state_of(&directory)? {
            ContainerState::Running => {}
            ContainerState::Paused => {
                return Err(conflict("is paused").with_hint("unpause it first"));
            }
            _ => return Err(conflict("is not running").with_hint("start it first")),
        }
        let socket = self.speak_to(&directory, &Request::CheckHealth)?;
        let startup = check.startup.map_or(Duration::ZERO, |it| it.probe.timeout);
        // One that runs already may go before.
        let longest = check.probe.timeout.max(startup);
        let deadline = Instant::now().checked_add(longest + END_LIMIT);
        loop {
            match answer(&socket, deadline, &record.name)? {
                Answer::Checked(Some((passed, status))) => {
                    return Ok(HealthVerdict { passed, status });
                }
                Answer::Checked(None) | Answer::Ended => return Err(conflict("is not running")),
                Answer::Other => {}
            }
        }
    }

    /// Tells the container's supervisor, if there is one, that the record has another health check.
    pub(super) fn tell_health(
        &self,
        directory: &ContainerDir,
        record: &ContainerRecord,
    ) -> Result<()> {
        if !directory.is_held()? {
            return Ok(());
        }
        let what = || "cannot describe the health check".to_owned();
        let plan = self.health_plan(record, Some(&self.defaults_of(record)));
        let plan = serde_json::to_vec(&plan).context(ErrorKind::System, what)?;
        if plan.len() > MAX_PAYLOAD {
            return Err(Error::invalid("the health check's command is too long")
                .with_hint("it is taken at the next start of the container"));
        }
        let Ok(socket) = self.speak_to(directory, &Request::Health(&plan)) else {
            // It has just ended; the next start reads the record.
            return Ok(());
        };
        let deadline = Instant::now().checked_add(END_LIMIT);
        while let Answer::Other = answer(&socket, deadline, &record.name)? {}
        Ok(())
    }

    /// What a supervisor does for the container's health, if its image has these defaults.
    pub(super) fn health_plan(
        &self,
        record: &ContainerRecord,
        image: Option<&ProcessDefaults>,
    ) -> Option<Box<HealthPlan>> {
        let none = ProcessDefaults::default();
        let check = record.spec.health.effective(image.unwrap_or(&none))?;
        let timeout = record.spec.stop_timeout.unwrap_or(STOP_TIMEOUT);
        Some(Box::new(HealthPlan {
            check,
            stop_signal: self.stop_signal(record),
            stop_timeout: u64::try_from(timeout).ok().map(Duration::from_secs),
        }))
    }

    fn health_check(&self, record: &ContainerRecord) -> Option<HealthCheck> {
        record.spec.health.effective(&self.defaults_of(record))
    }

    /// Those of the image; one that is damaged has none.
    fn defaults_of(&self, record: &ContainerRecord) -> ProcessDefaults {
        let image = record.image_id.as_ref();
        let image = image.and_then(|id| self.image_config(id).ok());
        image.and_then(|image| image.config).unwrap_or_default()
    }

    fn speak_to(&self, directory: &ContainerDir, request: &Request<'_>) -> Result<OwnedFd> {
        let what = || "cannot speak to the container's supervisor".to_owned();
        let name = socket_name(directory.id());
        let socket = packet::connect(self.store.socket_folder()?, &name).system(what)?;
        Request::Attach(Attachment::default())
            .send(&socket)
            .system(what)?;
        request.send(&socket).system(what)?;
        Ok(socket)
    }
}

enum Answer {
    Checked(Option<(bool, HealthStatus)>),
    Ended,
    Other,
}

/// What the supervisor says next. One that was started by an older program may say nothing.
fn answer(socket: &OwnedFd, deadline: Option<Instant>, name: &str) -> Result<Answer> {
    let what = || "cannot hear the container's supervisor".to_owned();
    let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
    if !process::wait_ended(socket, left).system(what)? {
        let text = format!("the supervisor of container {name} does not answer");
        return Err(Error::new(ErrorKind::Conflict, text)
            .with_hint("if an older coracle started the container, stop it and start it again"));
    }
    let mut buffer = vec![0; MAX_PAYLOAD + 1];
    let (length, _) = packet::receive(socket, &mut buffer, true).system(what)?;
    Ok(match Event::parse(&buffer[..length]) {
        Some(Event::Checked(found)) => Answer::Checked(found),
        Some(Event::HealthTaken) => Answer::Checked(None),
        Some(Event::Exited(_)) => Answer::Ended,
        None if length == 0 => Answer::Ended,
        _ => Answer::Other,
    })
}

/// What is known of the container's health: `None` without a check, or before the first start. One
/// that does not run counts as unhealthy, as with Docker.
pub(super) fn found(
    directory: &ContainerDir,
    spec: &HealthSpec,
    image: Option<&ProcessDefaults>,
    status: &Status,
) -> Result<Option<HealthRecord>> {
    let none = ProcessDefaults::default();
    let check = spec.effective(image.unwrap_or(&none));
    let (Some(_), Some(start)) = (check, &status.start) else {
        return Ok(None);
    };
    let known = directory.health(start)?;
    let mut health = known.unwrap_or_else(|| HealthRecord::begin(&start.started));
    let runs = matches!(
        status.state,
        ContainerState::Running | ContainerState::Paused
    );
    if !runs {
        health.status = HealthStatus::Unhealthy;
    }
    Ok(Some(health))
}

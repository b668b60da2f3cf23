//! Names of what there is at the moment. What cannot be read has no names: a shell that completes is
//! no place for complaints.

use crate::{
    cmd::Session,
    engine::Engine,
    model::{Result, container::ContainerState},
};

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Container,
    Image,
    Volume,
    Network,
    Secret,
    /// `CONTAINER:`, or a file.
    Path,
    /// Whatever `inspect` knows.
    Any,
}

impl Kind {
    /// What stands at this place of a usage line.
    pub fn of_place(place: &str) -> Option<Kind> {
        Some(match place {
            _ if place.starts_with("CONTAINER:") => Kind::Path,
            _ if place.starts_with("CONTAINER") => Kind::Container,
            _ if place.contains("IMAGE") || place.starts_with("NAME[:TAG") => Kind::Image,
            _ if place.starts_with("VOLUME") => Kind::Volume,
            _ if place.starts_with("NETWORK") => Kind::Network,
            _ if place.starts_with("SECRET") => Kind::Secret,
            "NAME|ID" => Kind::Any,
            _ => return None,
        })
    }
}

pub struct Names<'a> {
    pub session: &'a Session,
    /// For which command.
    pub verb: &'a str,
}

impl Names<'_> {
    /// Names and what they are.
    pub fn of(&self, kind: Kind) -> Vec<(String, String)> {
        let found = self.session.engine().map(|engine| match kind {
            Kind::Container => self.containers(engine, ""),
            Kind::Path => self.containers(engine, ":"),
            Kind::Image => images(engine),
            Kind::Volume => named(engine.volumes(), |one| one.name),
            Kind::Network => named(engine.networks(), |one| one.name),
            Kind::Secret => named(engine.secrets(), |one| one.name),
            Kind::Any => {
                let kinds = [Kind::Container, Kind::Image, Kind::Volume, Kind::Network];
                Ok(kinds.into_iter().flat_map(|kind| self.of(kind)).collect())
            }
        });
        found.ok().and_then(Result::ok).unwrap_or_default()
    }

    /// Those that the command can do something with, with something behind each name.
    fn containers(&self, engine: &Engine, behind: &str) -> Result<Vec<(String, String)>> {
        let fits = |state: &ContainerState| match self.verb {
            "exec" | "attach" | "top" | "port" | "pause" | "kill" | "stop" => {
                *state == ContainerState::Running
            }
            "unpause" => *state == ContainerState::Paused,
            "start" => !matches!(state, ContainerState::Running | ContainerState::Paused),
            _ => true,
        };
        let all = engine.containers(true, false)?.into_iter();
        let fitting = all.filter(|one| fits(&one.state));
        Ok(fitting
            .map(|one| (format!("{}{behind}", one.name), one.image))
            .collect())
    }
}

fn images(engine: &Engine) -> Result<Vec<(String, String)>> {
    let images = engine.images()?.into_iter();
    let names = images.filter_map(|image| image.name);
    Ok(names.map(|name| (name.familiar(), String::new())).collect())
}

fn named<T>(all: Result<Vec<T>>, name: impl Fn(T) -> String) -> Result<Vec<(String, String)>> {
    Ok(all?
        .into_iter()
        .map(|one| (name(one), String::new()))
        .collect())
}

//! Which command may be given in which state, in Docker's words. `stop`, `wait`, `logs` and
//! `inspect` may in every one.
//!
//! The state that is asked about is a moment old when the answer is given. What must not happen
//! twice, or to a container that is gone, is kept from it by the container's lock; this table says
//! why, before anything is begun.

use crate::model::{
    Error, ErrorKind, Result,
    container::{ContainerRecord, ContainerState},
};

/// What a command wants of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Move {
    Start,
    Restart,
    Kill,
    Pause,
    Unpause,
    Rename,
    Remove,
    /// `rm -f`
    RemoveByForce,
    Attach,
    Exec,
    Top,
    Update,
}

/// What to do about a move that is no error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::engine) enum Legal {
    Go,
    /// The container is where the command would bring it.
    Done,
}

/// `typed` is how the user named the container.
pub(in crate::engine) fn check(
    wanted: Move,
    state: ContainerState,
    record: &ContainerRecord,
    typed: &str,
) -> Result<Legal> {
    use ContainerState::*;
    let (id, name) = (&record.id, &record.name);
    let not_running = || format!("container {id} is not running");
    let restarting =
        || format!("container {id} is restarting, wait until the container is running");
    let marked = "container is marked for removal and cannot be";
    let message = match (wanted, state) {
        (Move::RemoveByForce, _) => return Ok(Legal::Go),

        (Move::Start, Created | Exited) => return Ok(Legal::Go),
        (Move::Start, Running | Restarting) => return Ok(Legal::Done),
        (Move::Start, Paused) => "cannot start a paused container, try unpause instead".to_owned(),
        (Move::Start, Removing | Dead) => format!("{marked} started"),

        (Move::Restart, Removing | Dead) => {
            format!("cannot restart container {typed}: {marked} started")
        }
        (Move::Restart, _) => return Ok(Legal::Go),

        (Move::Kill, Running | Paused | Restarting) => return Ok(Legal::Go),
        (Move::Kill, Created | Exited | Removing | Dead) => {
            format!("cannot kill container: {typed}: {}", not_running())
        }

        (Move::Pause | Move::Exec | Move::Top, Running) => return Ok(Legal::Go),
        (Move::Pause, Paused) => format!("container {typed} is already paused"),
        (Move::Exec, Paused) => {
            format!("container {typed} is paused, unpause the container before exec")
        }
        (Move::Top, Paused) => return Ok(Legal::Go),
        (Move::Pause | Move::Exec | Move::Top, Restarting) => restarting(),
        (Move::Pause, _) => format!("cannot pause container: {typed}: {}", not_running()),
        (Move::Exec | Move::Top, _) => not_running(),

        (Move::Unpause, Paused) => return Ok(Legal::Go),
        (Move::Unpause, Running | Restarting) => format!("container {typed} is not paused"),
        (Move::Unpause, _) => format!("cannot unpause container: {typed}: {}", not_running()),

        (Move::Rename | Move::Update, Created | Running | Paused | Restarting | Exited) => {
            return Ok(Legal::Go);
        }
        // What is left of it is known by its name.
        (Move::Rename, Dead) => return Ok(Legal::Go),
        (Move::Rename, Removing) => format!("{marked} renamed"),
        (Move::Update, Removing | Dead) => {
            format!("cannot update container {typed}: {marked} \"update\"")
        }

        (Move::Remove, Created | Exited | Dead) => return Ok(Legal::Go),
        (Move::Remove, Paused) => format!(
            "cannot remove container \"/{name}\": container is paused and must be unpaused first"
        ),
        (Move::Remove, Running | Restarting) => format!(
            "cannot remove container \"/{name}\": container is {state}: stop the container before removing or force remove"
        ),
        (Move::Remove, Removing) => format!("removal of container {typed} is already in progress"),

        (Move::Attach, Running) => return Ok(Legal::Go),
        (Move::Attach, Paused) => {
            "cannot attach to a paused container, unpause it first".to_owned()
        }
        (Move::Attach, Restarting) => {
            "cannot attach to a restarting container, wait until it is running".to_owned()
        }
        (Move::Attach, _) => "cannot attach to a stopped container, start it first".to_owned(),
    };
    let error = Error::new(ErrorKind::Conflict, message);
    Err(match advice(wanted, state, name) {
        Some(advice) => error.with_hint(advice),
        None => error,
    })
}

/// The command that would help, where the message does not say it already.
fn advice(wanted: Move, state: ContainerState, name: &str) -> Option<String> {
    use ContainerState::*;
    match (wanted, state) {
        (Move::Remove, Running | Paused | Restarting) => {
            Some(format!("`coracle rm -f {name}` kills and removes it"))
        }
        (Move::Attach, Created | Exited) => {
            Some(format!("start it first: coracle start -a {name}"))
        }
        (_, Dead) => Some(format!(
            "its files were damaged: `coracle rm {name}` removes what is left"
        )),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [ContainerState; 7] = [
        ContainerState::Created,
        ContainerState::Running,
        ContainerState::Paused,
        ContainerState::Restarting,
        ContainerState::Exited,
        ContainerState::Removing,
        ContainerState::Dead,
    ];

    fn record() -> ContainerRecord {
        ContainerRecord {
            id: "a".repeat(64).parse().unwrap(),
            name: "boat".to_owned(),
            created: String::new(),
            spec: Default::default(),
            image_id: None,
            layers: Vec::new(),
            ids: None,
            path: String::new(),
            args: Vec::new(),
        }
    }

    /// One letter a state, in the order above: `g`o, `d`one or `-` for an error.
    fn row(wanted: Move) -> String {
        let letter = |state| match check(wanted, state, &record(), "boat") {
            Ok(Legal::Go) => 'g',
            Ok(Legal::Done) => 'd',
            Err(_) => '-',
        };
        STATES.into_iter().map(letter).collect()
    }

    #[test]
    fn the_table_is_dockers() {
        for (wanted, legal) in [
            // created running paused restarting exited removing dead
            (Move::Start, "gd-dg--"),
            (Move::Restart, "ggggg--"),
            (Move::Kill, "-ggg---"),
            (Move::Pause, "-g-----"),
            (Move::Unpause, "--g----"),
            (Move::Rename, "ggggg-g"),
            (Move::Remove, "g---g-g"),
            (Move::RemoveByForce, "ggggggg"),
            (Move::Attach, "-g-----"),
            (Move::Exec, "-g-----"),
            (Move::Top, "-gg----"),
            (Move::Update, "ggggg--"),
        ] {
            assert_eq!(row(wanted), legal, "{wanted:?}");
        }
    }

    #[test]
    fn an_illegal_move_is_told_in_dockers_words() {
        use ContainerState::*;
        let said = |wanted, state| {
            let error = check(wanted, state, &record(), "boat").unwrap_err();
            assert_eq!(error.kind(), ErrorKind::Conflict);
            error.one_line().replace(record().id.as_str(), "ID")
        };
        for (wanted, state, words) in [
            (
                Move::Start,
                Paused,
                "cannot start a paused container, try unpause instead",
            ),
            (
                Move::Start,
                Removing,
                "container is marked for removal and cannot be started",
            ),
            (
                Move::Kill,
                Exited,
                "cannot kill container: boat: container ID is not running",
            ),
            (
                Move::Pause,
                Created,
                "cannot pause container: boat: container ID is not running",
            ),
            (Move::Pause, Paused, "container boat is already paused"),
            (
                Move::Pause,
                Restarting,
                "container ID is restarting, wait until the container is running",
            ),
            (Move::Unpause, Running, "container boat is not paused"),
            (
                Move::Exec,
                Paused,
                "container boat is paused, unpause the container before exec",
            ),
            (Move::Top, Exited, "container ID is not running"),
            (
                Move::Remove,
                Running,
                "cannot remove container \"/boat\": container is running: stop the container before removing or force remove",
            ),
            (
                Move::Remove,
                Paused,
                "cannot remove container \"/boat\": container is paused and must be unpaused first",
            ),
            (
                Move::Remove,
                Removing,
                "removal of container boat is already in progress",
            ),
            (
                Move::Attach,
                Exited,
                "cannot attach to a stopped container, start it first",
            ),
            (
                Move::Attach,
                Paused,
                "cannot attach to a paused container, unpause it first",
            ),
            (
                Move::Update,
                Dead,
                "cannot update container boat: container is marked for removal and cannot be \"update\"",
            ),
        ] {
            assert_eq!(said(wanted, state), words, "{wanted:?} {state}");
        }
    }
}

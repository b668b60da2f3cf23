//! `system resume`: what an init system calls once it is up.

use super::{
    Session, ui,
    verb::{Arity, Outcome, Verb},
};

pub const VERB: Verb = Verb {
    spellings: &["system resume"],
    about: "Start the containers that shall run after a reboot",
    usage: "",
    arity: Arity::None,
    run: |session, _, _| run(session),
    ..Verb::PLAIN
};

fn run(session: &Session) -> Outcome {
    let mut code = 0;
    session.engine()?.resume(|name, started| {
        match started {
            // A reader that has gone must not keep the others from starting.
            Ok(()) => drop(ui::line(name)),
            Err(error) => {
                let text = format!("cannot start {name}: {}", error.one_line());
                ui::error(&text, error.hint());
                code = 1;
            }
        }
    })?;
    Ok(code)
}

//! `doctor`: what works here, what does not, and the command that would help.

use clap::Args;

use super::{
    Session, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::engine::Health;

#[derive(Args)]
struct Flags {}

pub const VERB: Verb = Verb {
    spellings: &["system doctor", "doctor"],
    about: "Look for what keeps containers from working well, and say what helps",
    usage: "",
    arity: Arity::None,
    flags: Flags::augment_args,
    run: |session, _, _| run(session),
    ..Verb::PLAIN
};

/// Exit code 1 if something is broken; what is merely limited is told of.
fn run(session: &Session) -> Outcome {
    let checks = session.engine()?.doctor();
    let wide = checks
        .iter()
        .map(|check| check.name.len())
        .max()
        .unwrap_or(0);
    let mut code = 0;
    for check in &checks {
        let verdict = match check.health {
            Health::Fine => "ok     ",
            Health::Limited => "limited",
            Health::Broken => "BROKEN ",
            Health::Unknown => "unknown",
        };
        if check.health == Health::Broken {
            code = 1;
        }
        ui::line(&format!(
            "{verdict}  {:wide$}  {}",
            check.name, check.detail
        ))?;
        if let Some(fix) = &check.fix {
            ui::line(&format!("         {:wide$}  try: {fix}", ""))?;
        }
    }
    Ok(code)
}

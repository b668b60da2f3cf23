//! `system boot`: whether containers with a restart policy are started with the machine.

use clap::Args;

use super::{
    Session, env, parse, ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{
    engine::{Boot, BootOptions},
    model::Error,
};

#[derive(Args)]
struct Flags {
    /// What starts this machine: systemd, cron, openrc or runit (default: found out)
    #[arg(long, value_name = "string")]
    init: Option<String>,
}

pub const VERB: Verb = Verb {
    spellings: &["system boot"],
    about: "Start containers with the machine: enable, disable or status",
    usage: "[OPTIONS] enable|disable|status",
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, matches, words| run(session, &parse::flags(matches)?, &words),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, words: &[String]) -> Outcome {
    let options = BootOptions {
        init: flags.init.as_deref().map(str::parse).transpose()?,
        config_home: env::xdg_config_home().or_else(|| Some(env::home()?.join(".config"))),
    };
    let engine = session.engine()?;
    match words.first().map(String::as_str) {
        Some("enable") => show(&engine.enable_boot(&options)?),
        Some("disable") => {
            engine.disable_boot(&options)?;
            Ok(0)
        }
        Some("status") => {
            let boot = engine.boot_status(&options)?;
            let enabled = boot != Boot::None;
            ui::line(if enabled { "enabled" } else { "disabled" })?;
            explain_lingering(&boot);
            // As `systemctl is-enabled`.
            Ok(u8::from(!enabled))
        }
        other => Err(Error::invalid(format!(
            "unknown word {:?}: use enable, disable or status",
            other.unwrap_or_default()
        ))
        .into()),
    }
}

fn show(boot: &Boot) -> Outcome {
    match boot {
        Boot::Unit { path, of_root, .. } => {
            ui::line(&path.display().to_string())?;
            let manager = if *of_root { "" } else { " --user" };
            ui::notice(&format!(
                "systemd reads it when it starts; `systemctl{manager} daemon-reload` has it know now"
            ));
            explain_lingering(boot);
        }
        Boot::ByHand(lines) => {
            ui::notice("nothing was changed: put one of these lines where it says");
            for line in lines {
                ui::line(line)?;
            }
        }
        Boot::None => {}
    }
    Ok(0)
}

fn explain_lingering(boot: &Boot) {
    if let Boot::Unit {
        without_lingering: Some(name),
        ..
    } = boot
    {
        ui::notice(&format!(
            "lingering is off: the containers of {name} start when {name} logs in and end at the last logout; \
             `loginctl enable-linger {name}` starts them with the machine"
        ));
    }
}

//! `pull`: fetch an image from a registry.

use clap::Args;

use super::{
    Session, container_flags,
    failure::Failure,
    parse,
    progress::{Show, Stream},
    registry_flags::RegistryFlags,
    ui,
    verb::{Arity, Outcome, Verb},
};
use crate::{engine::PullRequest, model::Reference};

#[derive(Args)]
struct Flags {
    /// For Docker's sake: refused
    #[arg(long, short = 'a', hide = true)]
    all_tags: bool,
    #[arg(long, hide = true)]
    disable_content_trust: bool,
    /// Platform to choose from a multi-platform image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// Print the image's name alone
    #[arg(long, short = 'q')]
    quiet: bool,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["image pull", "pull"],
    about: "Fetch an image from a registry",
    usage: "[OPTIONS] NAME[:TAG|@DIGEST]",
    arity: Arity::Exactly(1),
    flags: Flags::augment_args,
    run: |session, matches, names| run(session, parse::flags(matches)?, &names[0]),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, name: &str) -> Outcome {
    if flags.all_tags {
        return Err(Failure::Plain(
            "--all-tags is not supported yet".to_owned(),
            125,
        ));
    }
    let request = PullRequest {
        reference: name.parse::<Reference>()?,
        registry: flags.registry.options(session)?,
        platform: container_flags::platform(flags.platform)?,
    };
    let reference = &request.reference;
    let show = Show::new(Stream::Stdout, flags.quiet);
    if is_without_tag(name, reference) {
        show.line("Using default tag: latest");
    }
    show.pulling(reference);
    let pulled = session.engine()?.pull(&request, &show);
    show.finish();
    let pulled = pulled?;
    let elsewhere = pulled.record.name.as_ref();
    // registries.conf may have sent a short name somewhere else.
    let found = elsewhere
        .filter(|name| name.name() != reference.name())
        .unwrap_or(reference);
    show.summary(&pulled, &found.familiar());
    ui::line(&found.to_string())?;
    Ok(0)
}

fn is_without_tag(typed: &str, reference: &Reference) -> bool {
    reference.digest().is_none()
        && reference
            .tag()
            .is_some_and(|tag| !typed.ends_with(&format!(":{tag}")))
}

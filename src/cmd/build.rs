//! `build`: a Dockerfile and a context → an image.

use std::{collections::BTreeMap, path::PathBuf};

use clap::Args;

use super::{
    Session, build_cache_flags as cache,
    build_output_flags::{self as output, Asides},
    build_secret_flags as secret, build_show,
    build_step_flags::StepFlags,
    build_unsupported, builder, container_flags, env,
    failure::Failure,
    parse,
    registry_flags::RegistryFlags,
    ui,
    verb::{Arity, Outcome, Verb, wrong_count},
};
use crate::{
    build::{
        self,
        context::{self, Wanted, credentials::Credentials},
        export::{self, ImageOutput, Output},
        invoke::Invoke,
        request::{BuildRequest, CacheTarget, Entitlements},
    },
    engine::Engine,
    model::{
        Context, Digest, Error, ErrorKind, Platform, Reference, Result, container::PullPolicy,
        manifest::Format,
    },
};

#[derive(Args)]
struct Flags {
    /// Let steps ask for network.host or security.insecure
    #[arg(long, value_name = "list", value_delimiter = ',')]
    allow: Vec<String>,
    /// Annotate the image's documents, [LEVEL[[PLATFORM]]:]KEY=VALUE
    #[arg(long, value_name = "list")]
    annotation: Vec<String>,
    /// Architecture of the image
    #[arg(long, value_name = "string")]
    arch: Option<String>,
    /// Set a build argument, NAME=VALUE, or NAME as it is in the environment
    #[arg(long, value_name = "list")]
    build_arg: Vec<String>,
    /// Read build arguments from a file of such lines
    #[arg(long, value_name = "file")]
    build_arg_file: Vec<PathBuf>,
    /// One more context, NAME=PATH, a URL, docker-image://, oci-layout:// or target:
    #[arg(long, value_name = "list")]
    build_context: Vec<String>,
    /// Who builds: default is the only one
    #[arg(long, value_name = "string")]
    builder: Option<String>,
    /// Where other caches are: a reference, or type=registry|local,…
    #[arg(long, value_name = "strings")]
    cache_from: Vec<String>,
    /// Where the cache is copied to: type=inline|registry|local,…
    #[arg(long, value_name = "list")]
    cache_to: Vec<String>,
    /// What is done: build, check, outline or targets
    #[arg(long, value_name = "string", default_value = "build")]
    call: String,
    /// Only check the Dockerfile
    #[arg(long)]
    check: bool,
    /// Name of the Dockerfile; - is standard input
    #[arg(long, short = 'f', value_name = "string")]
    file: Option<String>,
    /// Kind of the image's documents: oci or docker
    #[arg(long, value_name = "format", default_value = "oci")]
    format: String,
    /// Write the image's ID to a file
    #[arg(long, value_name = "string")]
    iidfile: Option<PathBuf>,
    /// File with patterns of what is left out of the context
    #[arg(long, value_name = "file")]
    ignorefile: Option<PathBuf>,
    /// Open a shell in a step that fails: on-error, or a command instead of /bin/sh
    #[arg(long, value_name = "string")]
    invoke: Option<String>,
    /// Steps at a time
    #[arg(
        long,
        value_name = "int",
        default_value = "0",
        hide_default_value = true
    )]
    jobs: usize,
    /// Set a label of the image, KEY=VALUE
    #[arg(long, value_name = "list")]
    label: Vec<String>,
    /// Keep the image in the store, besides other outputs
    #[arg(long)]
    load: bool,
    /// Write what came out, as JSON, to a file
    #[arg(long, value_name = "string")]
    metadata_file: Option<PathBuf>,
    /// Ask the cache for nothing
    #[arg(long)]
    no_cache: bool,
    /// Ask it for nothing in these stages
    #[arg(long, value_name = "list", value_delimiter = ',')]
    no_cache_filter: Vec<String>,
    /// Operating system of the image
    #[arg(long, value_name = "string")]
    os: Option<String>,
    /// What becomes of the result: a folder, -, or type=local|tar|oci|docker|image|registry,…
    #[arg(long, short = 'o', value_name = "list")]
    output: Vec<String>,
    /// Platform of the image; several with commas between them
    #[arg(long, value_name = "string", value_delimiter = ',')]
    platform: Vec<String>,
    /// How progress is shown: auto, plain, tty, quiet, rawjson or none (default "auto")
    #[arg(long, value_name = "string")]
    progress: Option<String>,
    /// Ask registries for newer base images; or when: always, missing, never or newer
    #[arg(long, value_name = "policy", num_args = 0..=1, require_equals = true, default_missing_value = "always")]
    pull: Option<String>,
    /// Send the image to its registry
    #[arg(long)]
    push: bool,
    /// Print the image's ID alone
    #[arg(long, short = 'q')]
    quiet: bool,
    /// No file in a new layer is younger than SOURCE_DATE_EPOCH
    #[arg(long)]
    rewrite_timestamp: bool,
    /// A secret of steps, id=ID[,src=FILE|,env=NAME]
    #[arg(long, value_name = "list")]
    secret: Vec<String>,
    /// Time of the image, in seconds since 1970
    #[arg(long, alias = "timestamp", value_name = "int")]
    source_date_epoch: Option<i64>,
    /// Make one layer of all that are new
    #[arg(long)]
    squash: bool,
    /// Let steps use an agent of SSH, default or ID=SOCKET
    #[arg(long, value_name = "list")]
    ssh: Vec<String>,
    /// Name of the image
    #[arg(long, short = 't', value_name = "list")]
    tag: Vec<String>,
    /// Stage that is built
    #[arg(long, value_name = "string")]
    target: Option<String>,
    /// Variant of the architecture
    #[arg(long, value_name = "string")]
    variant: Option<String>,
    #[command(flatten)]
    steps: StepFlags,
    #[command(flatten)]
    registry: RegistryFlags,
}

pub const VERB: Verb = Verb {
    spellings: &[
        "image build",
        "builder build",
        "buildx build",
        "buildx b",
        "build",
    ],
    about: "Build an image from a Dockerfile",
    usage: "[OPTIONS] PATH | URL | -",
    arity: Arity::AtMost(1),
    unsupported: build_unsupported::BUILD,
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, parse::flags(matches)?, arguments),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: Flags, arguments: Vec<String>) -> Outcome {
    builder::chosen(session, flags.builder.as_ref())?;
    let mut wanted = wanted(session, &flags, arguments)?;
    let mut asides = Asides::default();
    let outputs = outputs(&flags, &mut asides)?;
    let call = call(&flags)?;
    let show = build_show::How::choose(flags.progress.as_deref(), flags.quiet)?;
    let after = After {
        quiet: flags.quiet,
        id_file: flags.iidfile.clone(),
        metadata_file: flags.metadata_file.clone(),
    };
    let request = request(flags, &outputs, asides);
    let mut request = request.map_err(Failure::Value)?;
    for proxy in &session.settings.proxies {
        let (name, value) = proxy.split_once('=').unwrap_or((proxy, ""));
        let args = &mut request.build_args;
        args.entry(name.to_owned())
            .or_insert_with(|| value.to_owned());
    }
    request.registry = wanted.registry.clone();
    wanted.credentials = Credentials::of(&request.secrets);
    let engine = session.starting_engine()?;
    let opened = context::open(engine, &wanted).map_err(build_show::told)?;
    request.dockerfile = opened.dockerfile.clone();
    request.context = opened.context.clone();
    request.named_contexts = opened.named.clone();
    if call != "build" {
        return build_show::describe(engine, &call, &request);
    }
    build_and_export(engine, &request, &outputs, &show, &after)
}

/// What is left to be said when all is done.
struct After {
    quiet: bool,
    id_file: Option<PathBuf>,
    metadata_file: Option<PathBuf>,
}

fn build_and_export(
    engine: &Engine,
    request: &BuildRequest,
    outputs: &[Output],
    show: &build_show::How,
    after: &After,
) -> Outcome {
    let done = show.with(|progress| {
        let built = build::build(engine, request, progress)?;
        export::export(engine, request, &built, outputs, progress)?;
        Ok(built)
    });
    let built = match done {
        Ok(built) => built,
        Err(error) => return Err(looked_into(request, build_show::told(error))),
    };
    let id = built.id().map(Digest::as_str);
    if let Some(file) = &after.id_file {
        std::fs::write(file, id.unwrap_or_default())
            .system(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &after.metadata_file {
        let document = build_show::metadata(request, &built);
        std::fs::write(file, document).system(|| format!("cannot write {}", file.display()))?;
    }
    if after.quiet
        && let Some(id) = id
    {
        ui::line(id)?;
    }
    Ok(0)
}

/// A step that has failed, if it is to be looked into.
fn looked_into(request: &BuildRequest, failure: Failure) -> Failure {
    let invoke = request.invoke.as_ref();
    let Some(invoke) = invoke.filter(|invoke| invoke.has_step()) else {
        return failure;
    };
    ui::notice("a shell in the step that has failed; nothing that it does is kept");
    match invoke.open() {
        Ok(()) => failure,
        Err(error) => error.into(),
    }
}

/// `--invoke`: `on-error`, or a command.
fn invoke(text: &str) -> Result<Invoke> {
    let words = match text {
        "" | "on-error" | "on" | "default" => Vec::new(),
        command => shlex::split(command)
            .ok_or_else(|| Error::invalid(format!("invalid --invoke {command:?}: open quotes")))?,
    };
    Ok(Invoke::new(words))
}

fn wanted(session: &Session, flags: &Flags, arguments: Vec<String>) -> Result<Wanted, Failure> {
    // Podman's builds are of the current directory if they do not say otherwise.
    let context = match (arguments.into_iter().next(), &flags.file) {
        (Some(context), _) => context,
        (None, Some(_)) => ".".to_owned(),
        (None, None) => {
            return Err(wrong_count("build", "requires 1 argument"));
        }
    };
    let mut named = Vec::new();
    for text in &flags.build_context {
        let pair = text
            .split_once('=')
            .filter(|(name, value)| !name.is_empty() && !value.is_empty());
        let (name, value) = pair.ok_or_else(|| {
            Error::invalid(format!("invalid context value: {text}, expected key=value"))
        })?;
        named.push((name.to_owned(), value.to_owned()));
    }
    Ok(Wanted {
        context,
        dockerfile: flags.file.clone().filter(|name| !name.is_empty()),
        named,
        ignore_file: flags.ignorefile.clone(),
        registry: flags.registry.options(session)?,
        ..Wanted::default()
    })
}

fn outputs(flags: &Flags, asides: &mut Asides) -> Result<Vec<Output>, Failure> {
    let mut outputs = Vec::new();
    for text in &flags.output {
        outputs.push(output::parse(text, asides)?);
    }
    let image = ImageOutput {
        push: flags.push,
        ..ImageOutput::default()
    };
    if flags.push {
        let pushed = outputs.iter_mut().find_map(|output| match output {
            Output::Image(image) => Some(image),
            _ => None,
        });
        match pushed {
            Some(pushed) => pushed.push = true,
            None => outputs.push(Output::Image(image)),
        }
    } else if outputs.is_empty() || flags.load && !outputs.iter().any(is_image) {
        outputs.push(Output::Image(image));
    }
    Ok(outputs)
}

fn is_image(output: &Output) -> bool {
    matches!(output, Output::Image(_))
}

fn call(flags: &Flags) -> Result<String, Failure> {
    let method = flags.call.split(',').next().unwrap_or_default();
    match method.strip_prefix("method=").unwrap_or(method) {
        _ if flags.check => Ok("check".to_owned()),
        "" | "build" => Ok("build".to_owned()),
        "check" | "lint" => Ok("check".to_owned()),
        name @ ("outline" | "targets") => Ok(name.to_owned()),
        other => Err(Failure::Flag(format!(
            "invalid value {other:?} for \"--call\" flag"
        ))),
    }
}

fn request(flags: Flags, outputs: &[Output], asides: Asides) -> Result<BuildRequest> {
    let format = document_format(&flags.format, outputs)?;
    let mut build_args = build_args(&flags.build_arg_file, &flags.build_arg)?;
    if flags.steps.http_proxy {
        for proxy in env::proxies() {
            let (name, value) = proxy.split_once('=').unwrap_or((&proxy, ""));
            build_args
                .entry(name.to_owned())
                .or_insert_with(|| value.to_owned());
        }
    }
    let mut annotations = asides.annotations;
    for text in &flags.annotation {
        annotations.extend(output::parse_annotation(text)?);
    }
    let epoch = source_date_epoch(flags.source_date_epoch, &mut build_args)?;
    let cache_to = cache::targets(&flags.cache_to, &build_args)?;
    let keeps_image = outputs.iter().any(is_image) || cache_to.contains(&CacheTarget::Inline);
    Ok(BuildRequest {
        build_args,
        target: flags.target.filter(|stage| !stage.is_empty()),
        platforms: platforms(flags.platform, flags.os, flags.arch, flags.variant)?,
        secrets: secret::secrets(&flags.secret)?,
        ssh: secret::agents(&flags.ssh)?,
        invoke: flags.invoke.as_deref().map(invoke).transpose()?,
        entitlements: entitlements(&flags.allow)?,
        labels: pairs(&flags.label),
        annotations,
        no_cache: flags.no_cache,
        no_cache_stages: flags.no_cache_filter,
        pull: pull_policy(flags.pull.as_deref())?,
        cache_from: cache::sources(&flags.cache_from)?,
        cache_to,
        squash: flags.squash,
        jobs: flags.jobs,
        source_date_epoch: epoch,
        rewrite_timestamps: flags.rewrite_timestamp || asides.rewrite_timestamps,
        docker_documents: format == Format::Docker,
        tags: tags(&flags.tag, outputs)?,
        without_image: !keeps_image
            && !outputs
                .iter()
                .any(|output| matches!(output, Output::Archive { .. })),
        run: flags.steps.into_spec()?,
        ..BuildRequest::default()
    })
}

fn document_format(flag: &str, outputs: &[Output]) -> Result<Format> {
    let said = outputs.iter().find_map(|output| match output {
        Output::Image(image) => image.format,
        _ => None,
    });
    match (said, flag) {
        (Some(format), _) => Ok(format),
        (None, "oci") => Ok(Format::Oci),
        (None, "docker") => Ok(Format::Docker),
        (None, other) => Err(Error::invalid(format!(
            "unrecognized image type {other:?}: expected oci or docker"
        ))),
    }
}

/// Each name once, in their order.
fn tags(texts: &[String], outputs: &[Output]) -> Result<Vec<Reference>> {
    let mut tags: Vec<Reference> = Vec::new();
    for text in texts {
        let tag: Reference = text.parse()?;
        if tag.digest().is_some() {
            return Err(Error::invalid(format!(
                "invalid tag {text:?}: refusing to create a tag with a digest reference"
            )));
        }
        tags.push(tag);
    }
    for output in outputs {
        if let Output::Image(image) = output {
            tags.extend(image.names.iter().cloned());
        }
    }
    let mut seen = std::collections::HashSet::new();
    tags.retain(|tag| seen.insert(tag.clone()));
    Ok(tags)
}

fn build_args(files: &[PathBuf], texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut all = BTreeMap::new();
    for path in files {
        let text = std::fs::read_to_string(path).context(ErrorKind::InvalidArgument, || {
            format!("cannot read {}", path.display())
        })?;
        let lines = text.lines().map(str::trim);
        for line in lines.filter(|line| !line.is_empty() && !line.starts_with('#')) {
            let (name, value) = line.split_once('=').unwrap_or((line, ""));
            all.insert(name.to_owned(), value.to_owned());
        }
    }
    for text in texts {
        match text.split_once('=') {
            Some((name, value)) => drop(all.insert(name.to_owned(), value.to_owned())),
            None => match env::forwarded(text) {
                Some(value) => drop(all.insert(text.clone(), value)),
                None => drop(all.remove(text)),
            },
        }
    }
    Ok(all)
}

/// The flag, the argument, or else the variable, which becomes an argument as with docker.
fn source_date_epoch(
    flag: Option<i64>,
    build_args: &mut BTreeMap<String, String>,
) -> Result<Option<i64>> {
    const NAME: &str = "SOURCE_DATE_EPOCH";
    let text = match (flag, build_args.get(NAME)) {
        (Some(seconds), _) => Some(seconds.to_string()),
        (None, Some(text)) => Some(text.clone()),
        (None, None) => env::source_date_epoch(),
    };
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let bad = |_| Error::invalid(format!("invalid {NAME}: {text}"));
    let seconds: i64 = text.parse().map_err(bad)?;
    build_args.insert(NAME.to_owned(), text);
    Ok(Some(seconds))
}

fn platforms(
    typed: Vec<String>,
    os: Option<String>,
    architecture: Option<String>,
    variant: Option<String>,
) -> Result<Vec<Platform>> {
    if os.is_some() || architecture.is_some() || variant.is_some() {
        let host = Platform::host();
        let os = os.unwrap_or(host.os);
        let mut text = format!("{os}/{}", architecture.unwrap_or(host.architecture));
        if let Some(variant) = variant {
            text.push_str(&format!("/{variant}"));
        }
        return Ok(vec![text.parse()?]);
    }
    let mut platforms: Vec<Platform> = Vec::new();
    for text in typed.iter().filter(|text| !text.is_empty()) {
        let platform = match text.as_str() {
            "local" => Platform::host(),
            text => text.parse()?,
        };
        if !platforms.contains(&platform) {
            platforms.push(platform);
        }
    }
    if platforms.is_empty() {
        platforms.extend(container_flags::platform(None)?);
    }
    Ok(platforms)
}

fn entitlements(texts: &[String]) -> Result<Entitlements> {
    let mut entitlements = Entitlements::default();
    for text in texts {
        match text.as_str() {
            "network.host" => entitlements.host_network = true,
            "security.insecure" => entitlements.insecure = true,
            other => {
                return Err(Error::invalid(format!("unknown entitlement {other:?}"))
                    .with_hint("there are network.host and security.insecure"));
            }
        }
    }
    Ok(entitlements)
}

fn pairs(texts: &[String]) -> BTreeMap<String, String> {
    let pairs = texts
        .iter()
        .map(|text| text.split_once('=').unwrap_or((text, "")));
    pairs
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn pull_policy(text: Option<&str>) -> Result<PullPolicy> {
    match text {
        None | Some("false" | "missing" | "ifmissing" | "") => Ok(PullPolicy::Missing),
        // Whoever is asked answers with what is newer.
        Some("true" | "always" | "newer" | "ifnewer") => Ok(PullPolicy::Always),
        Some("never") => Ok(PullPolicy::Never),
        Some(other) => Err(Error::invalid(format!("invalid pull policy {other:?}"))
            .with_hint("there are always, missing, never and newer")),
    }
}

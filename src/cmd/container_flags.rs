//! The flags that `run` and `create` share, and the [`ContainerSpec`] they become.

use std::{
    collections::BTreeMap,
    fs,
    io::Write,
    path::{Path, PathBuf},
};

use clap::Args;

use super::{
    account_flags::AccountFlags, bundle_flags::BundleFlags, device_flags::DeviceFlags, env,
    failure::Failure, health_flags::HealthFlags, log_flags::LogFlags, mount_flags::MountFlags,
    namespace_flags::NamespaceFlags, network_flags::NetworkFlags, registry_flags::RegistryFlags,
    resource_flags::ResourceFlags, security_flags::SecurityFlags, settings::Settings,
    user_namespace_flags::UserNamespaceFlags,
};
use crate::model::{
    ContainerId, ContainerSpec, Context, Error, ErrorKind, Result,
    container::{AttachedStreams, NetworkMode, PullPolicy, check_name},
    env as variables,
    restart::RestartPolicy,
    signal::parse_signal,
};

#[derive(Args)]
pub struct ContainerFlags {
    /// Connect these streams: stdin, stdout, stderr
    #[arg(long, short = 'a', value_name = "list", value_parser = stream)]
    pub attach: Vec<Stream>,
    /// Write the container's ID to a new file
    #[arg(long, value_name = "string")]
    cidfile: Option<PathBuf>,
    /// Program to run instead of the image's entrypoint
    #[arg(long, value_name = "string")]
    entrypoint: Option<String>,
    /// Set a variable, or copy one from this environment
    #[arg(long, short = 'e', value_name = "list")]
    env: Vec<String>,
    /// Read variables from a file
    #[arg(long, value_name = "list")]
    env_file: Vec<PathBuf>,
    /// Name of the host inside the container
    #[arg(long, short = 'h', value_name = "string")]
    hostname: Option<String>,
    /// Run a small init that forwards signals and reaps processes
    #[arg(long)]
    init: bool,
    /// Keep standard input open
    #[arg(long, short = 'i')]
    pub interactive: bool,
    /// Set a label, KEY=VALUE
    #[arg(long, short = 'l', value_name = "list")]
    label: Vec<String>,
    /// Read labels from a file
    #[arg(long, value_name = "list")]
    label_file: Vec<PathBuf>,
    /// Name the container
    #[arg(long, value_name = "string")]
    name: Option<String>,
    /// Platform to choose from a multi-platform image
    #[arg(long, value_name = "string")]
    platform: Option<String>,
    /// When to pull the image: always, missing or never
    #[arg(long, value_name = "string", default_value = "missing")]
    pull: String,
    /// Do not show a pull's progress
    #[arg(long, short = 'q')]
    pub quiet: bool,
    /// Remove another container of that --name first
    #[arg(long)]
    replace: bool,
    /// When to start the container again after its end: no, on-failure[:MOST], always or
    /// unless-stopped (default "no")
    #[arg(long, value_name = "string")]
    restart: Option<String>,
    /// Remove the container when it ends
    #[arg(long)]
    rm: bool,
    /// Signal that asks the container to end
    #[arg(long, value_name = "string")]
    stop_signal: Option<String>,
    /// Seconds between that signal and SIGKILL
    #[arg(long, value_name = "int")]
    stop_timeout: Option<i64>,
    /// Give the program a terminal
    #[arg(long, short = 't')]
    pub tty: bool,
    /// User of the program, name or number, with an optional group
    #[arg(long, short = 'u', value_name = "string")]
    user: Option<String>,
    /// Folder to start in
    #[arg(long, short = 'w', value_name = "string")]
    workdir: Option<String>,
    #[command(flatten)]
    health: HealthFlags,
    #[command(flatten)]
    logging: LogFlags,
    #[command(flatten)]
    mounts: MountFlags,
    #[command(flatten)]
    networks: NetworkFlags,
    #[command(flatten)]
    namespaces: NamespaceFlags,
    #[command(flatten)]
    user_namespace: UserNamespaceFlags,
    #[command(flatten)]
    security: SecurityFlags,
    #[command(flatten)]
    resources: ResourceFlags,
    #[command(flatten)]
    devices: DeviceFlags,
    #[command(flatten)]
    account: AccountFlags,
    #[command(flatten)]
    pub bundle: BundleFlags,
    #[command(flatten)]
    pub registry: RegistryFlags,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdin,
    Stdout,
    Stderr,
}

fn stream(text: &str) -> std::result::Result<Stream, String> {
    match text.to_ascii_lowercase().as_str() {
        "stdin" => Ok(Stream::Stdin),
        "stdout" => Ok(Stream::Stdout),
        "stderr" => Ok(Stream::Stderr),
        _ => Err("valid streams are STDIN, STDOUT and STDERR".to_owned()),
    }
}

/// What the user's settings add to every container.
pub fn follow_settings(spec: &mut ContainerSpec, settings: &Settings) {
    spec.resources.strict_limits |= settings.strict_limits;
    for proxy in &settings.proxies {
        let name = proxy.split('=').next();
        if !spec.env.iter().any(|own| own.split('=').next() == name) {
            spec.env.push(proxy.clone());
        }
    }
}

impl ContainerFlags {
    /// The image and the program with its arguments come behind the flags.
    pub fn into_spec(
        self,
        detach: bool,
        arguments: Vec<String>,
    ) -> std::result::Result<ContainerSpec, Failure> {
        let attach = self.attached(detach);
        let mut arguments = arguments.into_iter();
        // As `inspect` shows names.
        let bare = |name: String| name.strip_prefix('/').map(str::to_owned).unwrap_or(name);
        let name = self.name.map(bare).filter(|name| !name.is_empty());
        if let Some(name) = &name {
            check_name(name)?;
        }
        if let Some(workdir) = self
            .workdir
            .as_deref()
            .filter(|path| !path.starts_with('/'))
        {
            return Err(Error::invalid(format!(
                "the working directory {workdir:?} is not an absolute path"
            ))
            .into());
        }
        if let Some(path) = &self.cidfile {
            refuse_existing(path)?;
        }
        let mut spec = ContainerSpec {
            image: arguments.next().unwrap_or_default(),
            platform: platform(self.platform)?,
            pull: pull_policy(&self.pull)?,
            name,
            replace: self.replace,
            entrypoint: self.entrypoint.map(|program| match program.as_str() {
                "" => Vec::new(),
                _ => vec![program],
            }),
            command: arguments.collect(),
            env: environment(&self.env_file, &self.env)?,
            workdir: self.workdir,
            user: self.user.filter(|user| !user.is_empty()),
            hostname: self.hostname.filter(|name| !name.is_empty()),
            labels: labels(&self.label_file, &self.label)?,
            init: self.init,
            tty: self.tty,
            interactive: self.interactive,
            auto_remove: self.rm,
            stop_signal: self.stop_signal.as_deref().map(parse_signal).transpose()?,
            stop_timeout: self.stop_timeout,
            restart: self.restart.as_deref().unwrap_or_default().parse()?,
            cidfile: self.cidfile.map(|path| path.to_string_lossy().into_owned()),
            attach,
            ..ContainerSpec::default()
        };
        if spec.auto_remove && spec.restart != RestartPolicy::No {
            let text = "conflicting options: cannot specify both --restart and --rm";
            return Err(Error::invalid(text).into());
        }
        self.health.apply(&mut spec)?;
        self.logging.apply(&mut spec)?;
        self.mounts.apply(&mut spec)?;
        let default_network = self.networks.are_default();
        self.networks.apply(&mut spec)?;
        if default_network && self.bundle.is_bundle() {
            // config.json says which network there is.
            spec.network = NetworkMode::default();
        }
        self.namespaces.apply(&mut spec)?;
        self.user_namespace.apply(&mut spec)?;
        self.security.apply(&mut spec)?;
        self.resources.apply(&mut spec)?;
        self.devices.apply(&mut spec)?;
        self.account.apply(&mut spec)?;
        self.bundle.apply(&mut spec)?;
        Ok(spec)
    }

    /// Docker's rule: what `-a` names; otherwise both outputs, and the input with `-i`.
    fn attached(&self, detach: bool) -> AttachedStreams {
        let named = |stream| self.attach.contains(&stream);
        if detach {
            AttachedStreams::default()
        } else if self.attach.is_empty() {
            AttachedStreams::all(self.interactive)
        } else {
            AttachedStreams {
                stdin: named(Stream::Stdin) || self.interactive,
                stdout: named(Stream::Stdout),
                stderr: named(Stream::Stderr),
            }
        }
    }
}

/// `--platform`, or what `DOCKER_DEFAULT_PLATFORM` says.
pub fn platform(flag: Option<String>) -> Result<Option<crate::model::Platform>> {
    flag.filter(|text| !text.is_empty())
        .or_else(env::default_platform)
        .map(|text| text.parse())
        .transpose()
}

/// `--platform` alone.
pub fn platform_flag(flag: Option<String>) -> Result<Option<crate::model::Platform>> {
    flag.filter(|text| !text.is_empty())
        .map(|text| text.parse())
        .transpose()
}

fn pull_policy(text: &str) -> Result<PullPolicy> {
    match text {
        "always" => Ok(PullPolicy::Always),
        "missing" | "" => Ok(PullPolicy::Missing),
        "never" => Ok(PullPolicy::Never),
        other => Err(Error::invalid(format!(
            "invalid pull option: '{other}': must be one of \"always\", \"missing\" or \"never\""
        ))),
    }
}

/// Files first, so that a flag wins over them.
pub fn environment(files: &[PathBuf], flags: &[String]) -> Result<Vec<String>> {
    let lookup = &env::forwarded;
    let mut all = Vec::new();
    for path in files {
        let bytes = read(path)?;
        let parsed = variables::parse_env_file(&bytes, lookup)
            .context(ErrorKind::InvalidArgument, || {
                format!("invalid environment file {}", path.display())
            })?;
        all.extend(parsed);
    }
    for flag in flags {
        all.extend(variables::resolve_env(flag, lookup)?);
    }
    Ok(all)
}

fn labels(files: &[PathBuf], flags: &[String]) -> Result<BTreeMap<String, String>> {
    let mut all = Vec::new();
    for path in files {
        let bytes = read(path)?;
        // A key alone is a label without a value, not one from the environment.
        let empty = |_: &str| Some(String::new());
        let parsed = variables::parse_env_file(&bytes, &empty)
            .context(ErrorKind::InvalidArgument, || {
                format!("invalid label file {}", path.display())
            })?;
        all.extend(parsed);
    }
    all.extend_from_slice(flags);
    key_values("label", &all)
}

/// `KEY=VALUE`, or a key alone, each; of several with the same key the last counts.
pub fn key_values(what: &str, texts: &[String]) -> Result<BTreeMap<String, String>> {
    let mut map = BTreeMap::new();
    for text in texts {
        let (key, value) = text.split_once('=').unwrap_or((text, ""));
        if key.is_empty() {
            return Err(Error::invalid(format!(
                "invalid {what} {text:?}: the key is missing"
            )));
        }
        map.insert(key.to_owned(), value.to_owned());
    }
    Ok(map)
}

fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).context(ErrorKind::InvalidArgument, || {
        format!("cannot read {}", path.display())
    })
}

fn refuse_existing(path: &Path) -> Result<()> {
    if path.symlink_metadata().is_ok() {
        return Err(
            Error::invalid(format!("container ID file {} exists", path.display()))
                .with_hint("another container may be using it; delete the file if none is"),
        );
    }
    Ok(())
}

/// Writes `--cidfile`, which must be new.
pub fn write_cidfile(path: Option<&str>, id: &ContainerId) -> Result<()> {
    let Some(path) = path else { return Ok(()) };
    let write = || {
        let mut file = fs::File::create_new(path)?;
        file.write_all(id.as_str().as_bytes())
    };
    write().system(|| format!("cannot write container ID file {path}"))
}

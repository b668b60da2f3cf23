//! Global settings: flags, then the environment (`CORACLE_*`), then `config.toml`.
//!
//! The file is `$XDG_CONFIG_HOME/coracle/config.toml` (default `~/.config`), or what `--config`
//! names: the file itself or the folder it is in. An absent file is fine unless it was named; a
//! key that does not exist is an error that says where it stands. See [`File`] for the keys.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::{env, failure::Failure, ui};
use crate::{
    engine::{EngineOptions, RegistryOptions},
    model::{
        Context, Error, ErrorKind, Result, TrustFiles,
        registry::{LoginPlaces, RegistriesFiles},
    },
};

#[derive(Args, Default)]
pub struct GlobalFlags {
    /// Configuration file, or the folder it is in
    #[arg(long, value_name = "string")]
    config: Option<PathBuf>,
    /// For Docker's sake: only "default" exists, there is no daemon
    #[arg(long, short = 'c', value_name = "string")]
    context: Option<String>,
    /// Say more about what is done (log level debug)
    #[arg(long, short = 'D')]
    debug: bool,
    /// For Docker's sake: refused, there is no daemon
    #[arg(long, short = 'H', value_name = "list")]
    host: Vec<String>,
    /// How much to say: debug, info, warn, error or fatal
    #[arg(long, short = 'l', value_name = "string")]
    log_level: Option<String>,
    /// Folder of everything that lasts
    #[arg(long, value_name = "string")]
    root: Option<PathBuf>,
    /// Folder of locks and sockets, gone at reboot
    #[arg(long, value_name = "string")]
    runroot: Option<PathBuf>,
    /// How layers are stacked: overlay or copy
    #[arg(long, value_name = "string")]
    storage_driver: Option<String>,
    /// Option of the storage driver, NAME=VALUE
    #[arg(long, value_name = "list")]
    storage_opt: Vec<String>,
    /// Print the version and quit
    #[arg(long, short = 'v')]
    pub version: bool,
}

/// `config.toml`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
struct File {
    root: Option<PathBuf>,
    runroot: Option<PathBuf>,
    storage_driver: Option<String>,
    storage_options: Option<Vec<String>>,
    log_level: Option<String>,
    /// Default of `--detach-keys`.
    detach_keys: Option<String>,
    /// `false` allows plain http and unknown certificates for every registry.
    tls_verify: Option<bool>,
    /// Registry credentials, in Docker's or podman's format.
    authfile: Option<PathBuf>,
    /// Which images may be used: containers-policy.json(5).
    signature_policy: Option<PathBuf>,
    /// Defaults of `ps --format` and `images --format`.
    ps_format: Option<String>,
    images_format: Option<String>,
    volumes_format: Option<String>,
    /// `true` is `--strict-limits` for every container.
    strict_limits: Option<bool>,
}

pub struct Settings {
    root: Option<PathBuf>,
    runroot: Option<PathBuf>,
    storage_driver: Option<String>,
    storage_options: Vec<String>,
    tls_verify: Option<bool>,
    authfile: Option<PathBuf>,
    signature_policy: Option<PathBuf>,
    /// A folder given with `--config`: Docker keeps its `config.json` there.
    config_folder: Option<PathBuf>,
    pub detach_keys: Option<String>,
    pub ps_format: Option<String>,
    pub images_format: Option<String>,
    pub volumes_format: Option<String>,
    pub strict_limits: bool,
}

impl Settings {
    /// Also sets the log level: from here on the `log` crate speaks.
    pub fn resolve(flags: GlobalFlags) -> std::result::Result<Self, Failure> {
        refuse_daemons(&flags)?;
        let config_folder = flags.config.clone().filter(|path| path.is_dir());
        let file = read_file(flags.config.as_deref())?;
        let level = if flags.debug {
            Some("debug".to_owned())
        } else {
            flags
                .log_level
                .or(env::setting("LOG_LEVEL"))
                .or(file.log_level)
        };
        ui::log_to_stderr(log_level(level.as_deref())?);
        let env_path = |name| env::setting(name).map(PathBuf::from);
        let storage_options = if !flags.storage_opt.is_empty() {
            flags.storage_opt
        } else if let Some(text) = env::setting("STORAGE_OPTS") {
            text.split(',').map(str::to_owned).collect()
        } else {
            file.storage_options.unwrap_or_default()
        };
        Ok(Settings {
            root: flags.root.or_else(|| env_path("ROOT")).or(file.root),
            runroot: flags
                .runroot
                .or_else(|| env_path("RUNROOT"))
                .or(file.runroot),
            storage_driver: flags
                .storage_driver
                .or_else(|| env::setting("STORAGE_DRIVER"))
                .or(file.storage_driver),
            storage_options,
            tls_verify: match env::setting("TLS_VERIFY") {
                Some(text) => Some(text != "0" && text != "false"),
                None => file.tls_verify,
            },
            authfile: env_path("AUTHFILE").or(file.authfile),
            signature_policy: env_path("SIGNATURE_POLICY").or(file.signature_policy),
            config_folder,
            detach_keys: env::setting("DETACH_KEYS").or(file.detach_keys),
            ps_format: file.ps_format,
            images_format: file.images_format,
            volumes_format: file.volumes_format,
            strict_limits: file.strict_limits.unwrap_or(false),
        })
    }

    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            root: self.root.clone(),
            runroot: self.runroot.clone(),
            storage_driver: self.storage_driver.clone(),
            storage_options: self.storage_options.clone(),
            home: env::home(),
            xdg_data_home: env::xdg_data_home(),
            xdg_runtime_dir: env::xdg_runtime_dir(),
            registries: registries_files(),
        }
    }

    /// Cheap: names places, opens none of them.
    pub fn registry_options(&self) -> RegistryOptions {
        let home = |below: &str| env::home().map(|home| home.join(below));
        let mut named: Vec<PathBuf> = self.authfile.clone().into_iter().collect();
        named.extend(
            self.config_folder
                .as_ref()
                .map(|dir| dir.join("config.json")),
        );
        named.extend(env::auth_files());
        let podman = env::xdg_runtime_dir().map(|dir| dir.join("containers/auth.json"));
        let docker = home(".docker/config.json");
        let login_places = LoginPlaces {
            named: named.first().cloned(),
            is_dockers: false,
            docker: docker.clone(),
            podman: podman.clone(),
        };
        let mut auth_files = named;
        auth_files.extend(podman.clone());
        auth_files.extend(home(".config/containers/auth.json"));
        auth_files.extend(docker);
        let mut certs_dirs: Vec<PathBuf> = Vec::new();
        certs_dirs.extend(home(".config/containers/certs.d"));
        certs_dirs.push("/etc/containers/certs.d".into());
        certs_dirs.push("/etc/docker/certs.d".into());
        RegistryOptions {
            tls_verify: self.tls_verify,
            credentials: None,
            auth_files,
            run_auth_file: podman.is_none(),
            login_places,
            registries: registries_files(),
            certs_dirs,
            ca_file: env::ca_file(),
            ca_dirs: env::ca_dirs(),
            http_proxy: env::http_proxy(),
            https_proxy: env::https_proxy(),
            no_proxy: env::no_proxy(),
            retries: None,
            retry_delay: None,
            trust: self.trust_files(),
        }
    }

    pub fn trust_files_or(&self, policy: Option<PathBuf>) -> TrustFiles {
        let mut files = self.trust_files();
        files.named_policy = policy.or(files.named_policy);
        files
    }

    /// Cheap, too.
    pub fn trust_files(&self) -> TrustFiles {
        let home = |below: &str| env::home().map(|home| home.join(below));
        let both = |name: &str| {
            let own = home(&format!(".config/containers/{name}"));
            own.into_iter()
                .chain([Path::new("/etc/containers").join(name)])
                .collect()
        };
        TrustFiles {
            named_policy: self.signature_policy.clone(),
            policies: both("policy.json"),
            registries_dirs: both("registries.d"),
        }
    }
}

/// The places of containers-registries.conf(5).
pub fn registries_files() -> RegistriesFiles {
    let home = |below: &str| env::home().map(|home| home.join(below));
    let mut usual: Vec<PathBuf> = home(".config/containers/registries.conf")
        .into_iter()
        .collect();
    usual.push("/etc/containers/registries.conf".into());
    let system = env::registries_conf_dir();
    let mut additions = vec![system.unwrap_or_else(|| "/etc/containers/registries.conf.d".into())];
    additions.extend(home(".config/containers/registries.conf.d"));
    RegistriesFiles {
        named: env::registries_conf(),
        usual,
        additions,
    }
}

fn refuse_daemons(flags: &GlobalFlags) -> std::result::Result<(), Failure> {
    let flag = if !flags.host.is_empty() {
        "-H/--host"
    } else if flags
        .context
        .as_deref()
        .is_some_and(|name| name != "default")
    {
        "-c/--context"
    } else {
        return Ok(());
    };
    Err(Failure::Plain(
        format!("{flag} names a daemon, and coracle has none: it runs containers itself, here"),
        125,
    ))
}

fn log_level(text: Option<&str>) -> std::result::Result<log::LevelFilter, Failure> {
    use log::LevelFilter;
    Ok(match text {
        None | Some("warn" | "warning") => LevelFilter::Warn,
        Some("trace") => LevelFilter::Trace,
        Some("debug") => LevelFilter::Debug,
        Some("info") => LevelFilter::Info,
        Some("error") => LevelFilter::Error,
        Some("fatal" | "panic") => LevelFilter::Off,
        Some(other) => {
            return Err(Failure::Plain(
                format!("invalid log level {other:?}: expected debug, info, warn, error or fatal"),
                125,
            ));
        }
    })
}

fn read_file(named: Option<&Path>) -> Result<File> {
    let path = match named {
        Some(path) if path.is_dir() => path.join("config.toml"),
        Some(path) => path.to_owned(),
        None => {
            let folder =
                env::xdg_config_home().or_else(|| env::home().map(|home| home.join(".config")));
            match folder {
                Some(folder) => folder.join("coracle/config.toml"),
                None => return Ok(File::default()),
            }
        }
    };
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(cause) if is_absent(&cause) && named != Some(path.as_path()) => {
            return Ok(File::default());
        }
        Err(cause) => {
            return Err(cause).context(ErrorKind::InvalidArgument, || {
                format!("cannot read configuration {}", path.display())
            });
        }
    };
    toml::from_str(&text).map_err(|error| {
        let before = error
            .span()
            .map_or("", |span| &text[..span.start.min(text.len())]);
        let line = before.matches('\n').count() + 1;
        Error::invalid(format!(
            "{}:{line}: {}",
            path.display(),
            error.message().replace('\n', " ")
        ))
    })
}

/// Also a home that this user may not look into: nothing was asked for there.
fn is_absent(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(cause.kind(), NotFound | NotADirectory | PermissionDenied)
}

//! Global settings: flags, then the environment (`CORACLE_*`), then `config.toml`.
//!
//! The file is `$XDG_CONFIG_HOME/coracle/config.toml` (default `~/.config`), or what `--config`
//! names: the file itself or the folder it is in. An absent file is fine unless it was named; a
//! key that does not exist is an error that says where it stands. See [`File`] for the keys.

use std::path::{Path, PathBuf};

use clap::Args;
use serde::Deserialize;

use super::{called, env, failure::Failure, ui};
use crate::{
    engine::{EngineOptions, RegistryOptions},
    model::{
        Context, Error, ErrorKind, Result, TrustFiles,
        client_config::ClientConfig,
        registry::{LoginPlaces, RegistriesFiles},
    },
};

#[derive(Args, Default)]
pub struct GlobalFlags {
    /// Configuration file, or the folder it is in
    #[arg(long, value_name = "string")]
    config: Option<PathBuf>,
    /// Whose exit codes: docker or podman
    #[arg(long, value_name = "string")]
    pub compat: Option<String>,
    /// Not supported: there is no daemon, only the context "default" exists
    #[arg(long, short = 'c', value_name = "string")]
    context: Option<String>,
    /// Say more about what is done (log level debug)
    #[arg(long, short = 'D')]
    debug: bool,
    /// Not supported: there is no daemon, but any socket of this machine means this program
    #[arg(long, short = 'H', value_name = "list")]
    host: Vec<String>,
    /// How much to say: debug, info, warn, error or fatal (default "warn")
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
    /// `tproxy` or `tun`.
    network_backend: Option<String>,
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
    networks_format: Option<String>,
    stats_format: Option<String>,
    /// `true` is `--strict-limits` for every container.
    strict_limits: Option<bool>,
}

pub struct Settings {
    root: Option<PathBuf>,
    runroot: Option<PathBuf>,
    storage_driver: Option<String>,
    storage_options: Vec<String>,
    network_backend: Option<String>,
    tls_verify: Option<bool>,
    authfile: Option<PathBuf>,
    signature_policy: Option<PathBuf>,
    /// A folder given with `--config`: Docker keeps its `config.json` there.
    config_folder: Option<PathBuf>,
    pub detach_keys: Option<String>,
    pub ps_format: Option<String>,
    pub images_format: Option<String>,
    pub volumes_format: Option<String>,
    pub networks_format: Option<String>,
    pub stats_format: Option<String>,
    pub strict_limits: bool,
    /// `NAME=VALUE` for containers and steps of builds.
    pub proxies: Vec<String>,
    pub prune_filters: Vec<String>,
    /// Each setting that somebody made, its value and by what, for `config show`.
    pub origins: Vec<(&'static str, String, String)>,
}

/// Which of several sources has a setting.
struct Picker {
    own_file: String,
    dockers_file: String,
    origins: Vec<(&'static str, String, String)>,
}

impl Picker {
    /// The first that has it: the flag, the variable `CORACLE_NAME`, config.toml, Docker's config.json.
    fn pick<T: Clone>(
        &mut self,
        key: &'static str,
        sources: [Option<T>; 4],
        show: impl FnOnce(&T) -> String,
    ) -> Option<T> {
        let (place, value) = sources
            .into_iter()
            .enumerate()
            .find_map(|(place, value)| Some((place, value?)))?;
        let origin = match place {
            0 => format!("--{key}"),
            1 => format!("CORACLE_{}", variable(key)),
            2 => self.own_file.clone(),
            _ => self.dockers_file.clone(),
        };
        self.origins.push((key, show(&value), origin));
        Some(value)
    }

    fn text(
        &mut self,
        key: &'static str,
        flag: Option<String>,
        own: Option<String>,
        dockers: Option<String>,
    ) -> Option<String> {
        let sources = [flag, env::setting(&variable(key)), own, dockers];
        self.pick(key, sources, Clone::clone)
    }

    /// How a list looks: no variable says so.
    fn format(
        &mut self,
        key: &'static str,
        own: Option<String>,
        dockers: Option<String>,
    ) -> Option<String> {
        self.pick(key, [None, None, own, dockers], Clone::clone)
    }

    fn switch(
        &mut self,
        key: &'static str,
        variable: Option<bool>,
        own: Option<bool>,
    ) -> Option<bool> {
        self.pick(key, [None, variable, own, None], ToString::to_string)
    }

    fn list(&mut self, key: &'static str, sources: [Option<Vec<String>>; 4]) -> Vec<String> {
        let found = self.pick(key, sources, |all| all.join(","));
        found.unwrap_or_default()
    }

    fn path(
        &mut self,
        key: &'static str,
        flag: Option<PathBuf>,
        own: Option<PathBuf>,
    ) -> Option<PathBuf> {
        let variable = env::setting(&variable(key)).map(PathBuf::from);
        self.pick(key, [flag, variable, own, None], |path| {
            path.display().to_string()
        })
    }
}

fn filled(all: Vec<String>) -> Option<Vec<String>> {
    Some(all).filter(|all| !all.is_empty())
}

/// `STORAGE_DRIVER` for `storage-driver`.
fn variable(key: &str) -> String {
    key.replace('-', "_").to_ascii_uppercase()
}

impl Settings {
    /// Also sets the log level: from here on the `log` crate speaks.
    pub fn resolve(flags: GlobalFlags) -> std::result::Result<Self, Failure> {
        let config_folder = flags.config.clone().filter(|path| path.is_dir());
        let own = read_file(flags.config.as_deref())?;
        let dockers_file = dockers_file(config_folder.as_deref());
        let dockers = dockers_file
            .as_deref()
            .map(read_dockers)
            .unwrap_or_default();
        refuse_daemons(&flags, dockers.current_context.as_deref())?;
        let shown =
            |path: Option<PathBuf>| path.map_or(String::new(), |path| path.display().to_string());
        let mut from = Picker {
            own_file: shown(config_file(flags.config.as_deref())),
            dockers_file: shown(dockers_file),
            origins: Vec::new(),
        };
        let debug = flags.debug.then(|| "debug".to_owned());
        let level = from.text("log-level", debug.or(flags.log_level), own.log_level, None);
        ui::log_to_stderr(log_level(level.as_deref())?);
        let options = env::setting("STORAGE_OPTS");
        let options = options.map(|text| text.split(',').map(str::to_owned).collect());
        let options = [
            filled(flags.storage_opt),
            options,
            own.storage_options,
            None,
        ];
        let verify = env::setting("TLS_VERIFY").map(|text| text != "0" && text != "false");
        let proxies = filled(dockers.proxy_variables());
        let filters = filled(dockers.prune_filters);
        let driver = flags.storage_driver;
        Ok(Settings {
            root: from.path("root", flags.root, own.root),
            runroot: from.path("runroot", flags.runroot, own.runroot),
            storage_driver: from.text("storage-driver", driver, own.storage_driver, None),
            storage_options: from.list("storage-options", options),
            network_backend: from.text("network-backend", None, own.network_backend, None),
            tls_verify: from.switch("tls-verify", verify, own.tls_verify),
            authfile: from.path("authfile", None, own.authfile),
            signature_policy: from.path("signature-policy", None, own.signature_policy),
            config_folder,
            detach_keys: from.text("detach-keys", None, own.detach_keys, dockers.detach_keys),
            ps_format: from.format("ps-format", own.ps_format, dockers.ps_format),
            images_format: from.format("images-format", own.images_format, dockers.images_format),
            volumes_format: from.format(
                "volumes-format",
                own.volumes_format,
                dockers.volumes_format,
            ),
            networks_format: from.format(
                "networks-format",
                own.networks_format,
                dockers.networks_format,
            ),
            stats_format: from.format("stats-format", own.stats_format, dockers.stats_format),
            strict_limits: from
                .switch("strict-limits", None, own.strict_limits)
                .unwrap_or(false),
            proxies: from.list("proxies", [None, None, None, proxies]),
            prune_filters: from.list("prune-filters", [None, None, None, filters]),
            origins: from.origins,
        })
    }

    pub fn engine_options(&self) -> EngineOptions {
        EngineOptions {
            root: self.root.clone(),
            runroot: self.runroot.clone(),
            storage_driver: self.storage_driver.clone(),
            storage_options: self.storage_options.clone(),
            network_backend: self.network_backend.clone(),
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

/// Whose exit codes are wanted, before anything can fail with one.
pub fn follow_habits(flag: Option<&str>) -> std::result::Result<(), Failure> {
    let word = flag.map(str::to_owned).or_else(|| env::setting("COMPAT"));
    match word {
        Some(word) if !called::set_habits(&word) => Err(Failure::Flag(format!(
            "invalid argument {word:?} for \"--compat\" flag: it is docker or podman"
        ))),
        _ => Ok(()),
    }
}

fn refuse_daemons(
    flags: &GlobalFlags,
    current_context: Option<&str>,
) -> std::result::Result<(), Failure> {
    let from_env: Vec<String> = env::docker_host().into_iter().collect();
    let (host, by) = match flags.host.as_slice() {
        [] => (from_env.as_slice(), "DOCKER_HOST"),
        given => (given, "-H/--host"),
    };
    // The engine of this machine is this program.
    let far = host.iter().find(|host| !host.starts_with("unix://"));
    let context = flags.context.clone().map(|name| (name, "-c/--context"));
    let context = context.or_else(|| Some((env::docker_context()?, "DOCKER_CONTEXT")));
    let context =
        context.or_else(|| Some((current_context?.to_owned(), "config.json's currentContext")));
    let (what, by) = match (far, context) {
        (Some(far), _) => (far.clone(), by),
        (None, Some((name, by))) if !matches!(name.as_str(), "default" | "") && host.is_empty() => {
            (name, by)
        }
        _ => return Ok(()),
    };
    Err(Failure::Refused(
        format!(
            "{by} names the daemon {what}, and coracle has none: it runs containers itself, here"
        ),
        "leave it out, or unset the variable",
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
                format!(
                    "Unable to parse logging level: {other} (debug, info, warn, error or fatal)"
                ),
                1,
            ));
        }
    })
}

/// Where config.toml would be.
fn config_file(named: Option<&Path>) -> Option<PathBuf> {
    match named {
        Some(path) if path.is_dir() => Some(path.join("config.toml")),
        Some(path) => Some(path.to_owned()),
        None => {
            let folder =
                env::xdg_config_home().or_else(|| env::home().map(|home| home.join(".config")));
            folder.map(|folder| folder.join("coracle/config.toml"))
        }
    }
}

/// Docker's own: in the folder that `--config` or DOCKER_CONFIG names, or in the home.
fn dockers_file(named: Option<&Path>) -> Option<PathBuf> {
    let folder = named.map(Path::to_owned).or_else(env::docker_config);
    let folder = folder.or_else(|| env::home().map(|home| home.join(".docker")));
    folder.map(|folder| folder.join("config.json"))
}

/// As with Docker's client a file that cannot be read is told of, and no failure.
fn read_dockers(path: &Path) -> ClientConfig {
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(cause) if is_absent(&cause) => return ClientConfig::default(),
        Err(cause) => {
            ui::notice(&format!("cannot read {}: {cause}", path.display()));
            return ClientConfig::default();
        }
    };
    ClientConfig::parse(&text).unwrap_or_else(|error| {
        ui::notice(&format!(
            "{} has no effect: {}",
            path.display(),
            error.one_line()
        ));
        ClientConfig::default()
    })
}

fn read_file(named: Option<&Path>) -> Result<File> {
    let Some(path) = config_file(named) else {
        return Ok(File::default());
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
pub fn is_absent(cause: &std::io::Error) -> bool {
    use std::io::ErrorKind::{NotADirectory, NotFound, PermissionDenied};
    matches!(cause.kind(), NotFound | NotADirectory | PermissionDenied)
}

//! RUN: a program on the layers so far; what it writes becomes a layer.

use std::{
    fs::Permissions,
    io::Write,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use rustix::fs::{Gid, Mode, Uid};

use super::{
    Solver, copy_step, emulation,
    key::{Key, Keys},
    snapshot::Snapshot,
    step::{Made, Making},
};
use crate::{
    build::{
        dockerfile::run_flags::{Network, Security, Sharing},
        graph::{Document, Mount, RunStep, SCRIPTS, Source},
        invoke, ssh,
    },
    model::{
        ContainerSpec, Context, Digest, Error, ErrorKind, Result,
        container::NetworkMode,
        mount::{self, MountOptions, MountSource, Origin, Propagation},
        secret::{SecretBytes, SecretWay},
    },
    storage::build_caches::{Having, HeldCache},
};

/// Of all programs that RUN starts, as BuildKit's; `BUILDKIT_SANDBOX_HOSTNAME` changes it.
const HOSTNAME: &str = "buildkitsandbox";

/// The key of a RUN, but for what it reads from contexts.
pub(super) fn key(
    solver: &Solver<'_>,
    run: &RunStep,
    parent: &Snapshot,
    platform: &str,
) -> Result<Key> {
    let mut key = Key::new("run");
    key.step("parent", &parent.keys);
    key.add("platform", platform.as_bytes());
    let mut plain = run.clone();
    for mount in &mut plain.mounts {
        match mount {
            Mount::Bind { source, .. } | Mount::Cache { source, .. } => *source = Source::Scratch,
            Mount::Tmpfs { .. } | Mount::Secret { .. } | Mount::Ssh { .. } => {}
        }
    }
    key.value("run", &plain)?;
    for source in run.mounts.iter().filter_map(Mount::source) {
        if let Some(snapshot) = solver.snapshot(source) {
            key.step("from", &snapshot.keys);
        }
    }
    Ok(key)
}

/// Its keys, if they can be known before it is done.
pub(super) fn foreseen(making: &Making<'_>, run: &RunStep, platform: &str) -> Result<Keys> {
    let mut key = key(making.solver, run, &making.parent, platform)?;
    for mount in &run.mounts {
        if let Mount::Bind { source, path, .. } = mount
            && let Some(folder) = making.solver.folder(source)
        {
            key.digest("files", &copy_step::context_key(making, folder, path)?);
        }
    }
    Ok(key.finish())
}

/// Whether its key depends on files of a context, which have to be read.
pub(super) fn reads_context(solver: &Solver<'_>, run: &RunStep) -> bool {
    let mut sources = run.mounts.iter().filter_map(Mount::source);
    sources.any(|source| solver.folder(source).is_some())
}

/// Whether the command line allows what the step wants. What was made with more rights is had with them
/// alone, so this comes before the cache is asked.
pub(super) fn check_allowed(solver: &Solver<'_>, run: &RunStep) -> Result<()> {
    let allowed = solver.request.entitlements;
    let refused = if run.network == Network::Host && !allowed.host_network {
        ("RUN --network=host", "--allow network.host")
    } else if run.security == Security::Insecure && !allowed.insecure {
        ("RUN --security=insecure", "--allow security.insecure")
    } else {
        return Ok(());
    };
    let (what, flag) = refused;
    let error = Error::new(ErrorKind::InvalidArgument, format!("{what} is not allowed"));
    Err(error.with_hint(format!("{flag} allows it")))
}

/// In a worker.
pub(super) fn make(making: &Making<'_>, run: &RunStep, key: Key) -> Result<Made> {
    let mut mounting = Mounting {
        making,
        key,
        mounts: Vec::new(),
        held: Vec::new(),
        secrets: Vec::new(),
        env: Vec::new(),
        places: Vec::new(),
        agents: Vec::new(),
    };
    for mount in &run.mounts {
        mounting.add(mount)?;
    }
    if let Some(script) = &run.script {
        mounting.script(script)?;
    }
    let Mounting {
        key,
        mounts,
        held,
        secrets,
        env,
        places,
        agents,
        ..
    } = mounting;
    let keys = key.finish();
    if let Some(record) = making.cached(&keys)? {
        return Ok(Made::Cached(record));
    }
    emulation::check(making.platform)?;
    let mut spec = spec(making, run, env)?;
    spec.mounts.extend(mounts);
    spec.account.given_secrets = secrets;
    let chain_ids = making.parent.chain_ids();
    let engine = making.solver.engine;
    let invoke = making.solver.request.invoke.as_ref();
    let shell = invoke.map(|invoke| invoke.spec(&spec));
    let (code, written) = engine.run_on_layers(making.lease, &chain_ids, spec)?;
    if code != 0 {
        let error = failed(run, code);
        if let Some(shell) = shell
            && making.reporter.stop(&error)
        {
            invoke::take_terminal()?;
            engine.run_on_written(&written, shell)?;
        }
        return Err(error);
    }
    drop(agents);
    let (layer, changes) = engine.take_written(making.lease, &written, &places)?;
    // Caches belong to the next one from here on.
    drop(held);
    making.keep(keys, layer, &changes).map(Made::New)
}

/// In BuildKit's words.
fn failed(run: &RunStep, code: i32) -> Error {
    let command = shown(&run.argv);
    let why = match code {
        137 => ": killed, perhaps for want of memory",
        _ => "",
    };
    Error::new(
        ErrorKind::BuildFailed,
        format!("process \"{command}\" did not complete successfully: exit code: {code}{why}"),
    )
}

pub(super) fn shown(argv: &[String]) -> String {
    argv.join(" ")
}

fn spec(making: &Making<'_>, run: &RunStep, env: Vec<String>) -> Result<ContainerSpec> {
    let asked = &making.solver.request.run;
    let mut spec = ContainerSpec {
        entrypoint: Some(run.argv.clone()),
        command: Vec::new(),
        workdir: Some(run.workdir.clone()),
        user: Some(run.user.clone()).filter(|user| !user.is_empty()),
        hostname: Some(hostname(making)),
        interactive: false,
        ..asked.clone()
    };
    spec.env = run.env.iter().chain(&run.proxies).cloned().collect();
    spec.env.extend(env);
    spec.network = match run.network {
        Network::None => NetworkMode::None,
        Network::Host => NetworkMode::Host,
        Network::Default => asked.network.clone(),
    };
    if run.security == Security::Insecure {
        spec.security.privileged = true;
    }
    Ok(spec)
}

fn hostname(making: &Making<'_>) -> String {
    let args = &making.solver.request.build_args;
    let asked = making.solver.request.run.hostname.clone();
    asked
        .or_else(|| args.get("BUILDKIT_SANDBOX_HOSTNAME").cloned())
        .unwrap_or_else(|| HOSTNAME.to_owned())
}

/// What is mounted for a step, and what has to be known, held and cleared away for that.
struct Mounting<'m> {
    making: &'m Making<'m>,
    key: Key,
    mounts: Vec<mount::Mount>,
    held: Vec<HeldCache>,
    secrets: Vec<(SecretWay, SecretBytes)>,
    env: Vec<String>,
    /// Places of mounts, without a leading slash, with the directories that lead there.
    places: Vec<String>,
    agents: Vec<ssh::Serving>,
}

impl Mounting<'_> {
    fn add(&mut self, mount: &Mount) -> Result<()> {
        match mount {
            Mount::Bind {
                target,
                source,
                path,
                writable,
            } => self.bind(target, source, path, *writable),
            Mount::Cache { .. } => self.cache(mount),
            Mount::Tmpfs { target, size } => {
                let source = MountSource::Tmpfs {
                    size: *size,
                    mode: None,
                    options: vec!["exec".to_owned()],
                    copy_up: false,
                };
                self.mount(target, source, false, None);
                Ok(())
            }
            Mount::Secret { .. } => self.secret(mount),
            Mount::Ssh { .. } => self.ssh(mount),
        }
    }

    fn mount(
        &mut self,
        target: &str,
        source: MountSource,
        read_only: bool,
        subpath: Option<String>,
    ) {
        self.place(target);
        self.mounts.push(mount::Mount {
            target: target.to_owned(),
            source,
            read_only,
            options: MountOptions {
                origin: Origin::Mount,
                subpath,
                ..MountOptions::default()
            },
        });
    }

    fn place(&mut self, target: &str) {
        let target = target.trim_matches('/');
        for (at, _) in target.match_indices('/') {
            self.places.push(target[..at].to_owned());
        }
        self.places.push(target.to_owned());
    }

    fn bind(&mut self, target: &str, source: &Source, path: &str, writable: bool) -> Result<()> {
        let solver = self.making.solver;
        let (layers, subpath) = match solver.folder(source) {
            Some(folder) => {
                let (record, subpath) = copy_step::context_layer(self.making, folder, path)?;
                self.key.digest("files", &record.key);
                let layers = record.layer.into_iter().map(|layer| layer.chain_id);
                (layers.collect(), subpath)
            }
            None => {
                let snapshot = solver.snapshot(source).cloned();
                let snapshot = snapshot.unwrap_or_else(Snapshot::empty);
                (snapshot.chain_ids(), path.trim_matches('/').to_owned())
            }
        };
        self.layers(target, layers, &subpath, writable);
        Ok(())
    }

    fn layers(&mut self, target: &str, layers: Vec<Digest>, path: &str, writable: bool) {
        let source = MountSource::Image {
            image: String::new(),
            layers,
            writable,
        };
        let subpath = Some(path.to_owned()).filter(|path| !path.is_empty());
        self.mount(target, source, !writable, subpath);
    }

    fn cache(&mut self, mount: &Mount) -> Result<()> {
        let Mount::Cache {
            target,
            id,
            sharing,
            source,
            path,
            read_only,
            mode,
            uid,
            gid,
        } = mount
        else {
            return Ok(());
        };
        let having = match sharing {
            Sharing::Shared => Having::Shared,
            Sharing::Private => Having::Private,
            Sharing::Locked => Having::Locked,
        };
        let solver = self.making.solver;
        let args = &solver.request.build_args;
        let space = args.get("BUILDKIT_CACHE_MOUNT_NS");
        let id = space.map_or_else(|| id.clone(), |space| format!("{space}/{id}"));
        let held = solver.engine.store().hold_build_cache(&id, having, &|| {
            self.making.say(&format!("waiting for cache {id}"));
        })?;
        let layers = solver.snapshot(source).map(Snapshot::chain_ids);
        let place: PathBuf = held.data(|folder| {
            if let Some(layers) = &layers {
                copy_step::fill(self.making, layers, path, folder)?;
            }
            let what = || format!("cannot make cache {id}");
            let (owner, group) = (Uid::from_raw(*uid), Gid::from_raw(*gid));
            rustix::fs::fchown(folder, Some(owner), Some(group)).system(what)?;
            rustix::fs::fchmod(folder, Mode::from_raw_mode(*mode)).system(what)
        })?;
        self.held.push(held);
        self.mount(target, bind(&absolute(&place)?), *read_only, None);
        Ok(())
    }

    fn secret(&mut self, mount: &Mount) -> Result<()> {
        let Mount::Secret {
            id,
            target,
            env,
            required,
            mode,
            uid,
            gid,
        } = mount
        else {
            return Ok(());
        };
        let Some(value) = self.making.solver.request.secrets.get(id) else {
            return match required {
                true => Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("secret {id}: not found"),
                )
                .with_hint(format!("--secret id={id},src=FILE"))),
                false => Ok(()),
            };
        };
        let bytes = SecretBytes::new(value.0.clone())?;
        if let Some(name) = env {
            let way = SecretWay::Variable(name.clone());
            self.secrets.push((way, bytes.clone()));
        }
        if let Some(target) = target {
            self.place(target);
            let way = SecretWay::File {
                target: target.clone(),
                uid: *uid,
                gid: *gid,
                mode: *mode,
            };
            self.secrets.push((way, bytes));
        }
        Ok(())
    }

    fn script(&mut self, script: &Document) -> Result<()> {
        let path = self.making.lease.path().join("script");
        let path = absolute(&path)?;
        let what = || format!("cannot write {}", path.display());
        let mut options = std::fs::File::options();
        let file = options.write(true).create_new(true).open(&path);
        let mut file = file.system(what)?;
        file.write_all(script.content.as_bytes()).system(what)?;
        // Whatever the umask says: the program may be somebody else.
        file.set_permissions(Permissions::from_mode(0o755))
            .system(what)?;
        let target = format!("{SCRIPTS}/{}", script.name);
        self.mount(&target, bind(&path), true, None);
        Ok(())
    }

    fn ssh(&mut self, mount: &Mount) -> Result<()> {
        let Mount::Ssh {
            id,
            target,
            required,
            mode,
            uid,
            gid,
        } = mount
        else {
            return Ok(());
        };
        let Some(agent) = self.making.solver.request.ssh.get(id) else {
            return match required {
                true => Err(Error::new(
                    ErrorKind::InvalidArgument,
                    format!("no SSH key {id:?} is forwarded"),
                )
                .with_hint(format!("--ssh {id}"))),
                false => Ok(()),
            };
        };
        let (lease, owner) = (
            self.making.lease,
            ssh::Owner {
                uid: *uid,
                gid: *gid,
                mode: *mode,
            },
        );
        let name = format!("agent-{}", self.agents.len());
        let serving = ssh::Serving::start(lease.dir(), &name, owner, agent)?;
        self.agents.push(serving);
        let socket = absolute(&lease.path().join(&name))?;
        self.mount(target, bind(&socket), false, None);
        if !self.env.iter().any(|it| it.starts_with("SSH_AUTH_SOCK=")) {
            self.env.push(format!("SSH_AUTH_SOCK={target}"));
        }
        Ok(())
    }
}

fn bind(source: &Path) -> MountSource {
    MountSource::Bind {
        source: source.to_string_lossy().into_owned(),
        propagation: Propagation::default(),
        recursive: false,
        create_source: false,
    }
}

fn absolute(path: &Path) -> Result<PathBuf> {
    std::path::absolute(path).system(|| format!("cannot make {} absolute", path.display()))
}

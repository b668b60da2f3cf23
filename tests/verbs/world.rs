//! An engine on a temporary store, containers in it, and somebody who looks after them.

use std::{
    os::fd::OwnedFd,
    process::{Child, Command, Stdio},
    thread::JoinHandle,
};

use coracle::{
    engine::{Engine, EngineOptions, supervisor},
    model::{
        ContainerSpec, Digest,
        container::{ContainerRecord, ExitRecord, ProcessIdentity, StartRecord},
        image::ImageRecord,
    },
    storage::{ContainerDir, ContainerLock, Durability, LayerFacts, Store},
    sys::{packet, process},
};

pub struct World {
    pub engine: Engine,
    pub store: Store,
    pub folder: tempfile::TempDir,
    pub image: ImageRecord,
}

pub const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{
    "Env":["PATH=/bin","LANG=C"],"Cmd":["sh"],"WorkingDir":"/srv","StopSignal":"SIGUSR1",
    "Labels":{"of":"image","both":"image"}},"rootfs":{"type":"layers","diff_ids":[]}}"#;

impl World {
    pub fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let (root, runroot) = (folder.path().join("root"), folder.path().join("run"));
        let store = Store::open(&root, &runroot).unwrap();
        let engine = Engine::open(EngineOptions {
            root: Some(root),
            runroot: Some(runroot),
            ..EngineOptions::default()
        })
        .unwrap();
        let image = add_image(&store);
        World {
            engine,
            store,
            folder,
            image,
        }
    }

    pub fn add(&self, name: &str) -> (ContainerDir, ContainerLock, ContainerRecord) {
        self.add_with(name, ContainerSpec::default())
    }

    pub fn add_with(
        &self,
        name: &str,
        spec: ContainerSpec,
    ) -> (ContainerDir, ContainerLock, ContainerRecord) {
        static COUNT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
        let count = COUNT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let record = ContainerRecord {
            id: digest(&format!("{name} {count}")).hex().parse().unwrap(),
            name: name.to_owned(),
            created: format!("2026-01-01T00:00:00.{count:09}Z"),
            spec: ContainerSpec {
                image: "boat".to_owned(),
                ..spec
            },
            image_id: Some(self.image.config.clone()),
            layers: self.image.layers.clone(),
            ids: None,
            path: "sleep".to_owned(),
            args: vec!["1".to_owned()],
        };
        let staged = self.store.stage_container(&record.id).unwrap();
        staged.make_folder("upper").unwrap();
        let (directory, lock) = staged.commit(&record, Durability::Volatile).unwrap();
        (directory, lock, record)
    }

    /// A container whose first process is `sh -c script`; returns when it has said a line.
    pub fn run(&self, name: &str, spec: ContainerSpec, script: &str) -> Supervised {
        let auto_remove = spec.auto_remove;
        let (directory, lock, _) = self.add_with(name, spec);
        std::fs::write(directory.log_path(), "").unwrap();
        let init = shell(script);
        let stand_in = shell("echo; exec sleep 1000");
        let start = StartRecord {
            restarts: 0,
            supervisor: identity(&stand_in),
            init: identity(&init),
            started: "2026-01-01T00:00:01.000000000Z".to_owned(),
            namespaces: Default::default(),
            process: String::new(),
            cgroup: None,
            legacy_cgroups: Vec::new(),
            spares_device_rules: false,
        };
        directory
            .put_start_record(&start, Durability::Volatile)
            .unwrap();
        let name = supervisor::socket_name(directory.id());
        let socket = packet::listen(self.store.socket_folder().unwrap(), &name).unwrap();
        rustix::io::ioctl_fionbio(&socket, false).unwrap();
        Supervised {
            store: self.reopen(),
            directory,
            lock,
            socket,
            init,
            stand_in,
            auto_remove,
        }
    }

    pub fn reopen(&self) -> Store {
        let folder = self.folder.path();
        Store::open(&folder.join("root"), &folder.join("run")).unwrap()
    }
}

fn digest(text: &str) -> Digest {
    use sha2::Digest as _;
    Digest::sha256(sha2::Sha256::digest(text))
}

fn add_image(store: &Store) -> ImageRecord {
    let lease = store.lease().unwrap();
    let config = lease.stage_document(CONFIG.as_bytes()).unwrap();
    let chain_id = digest("tree");
    let mut layer = lease.stage_layer(&chain_id).unwrap();
    let facts = LayerFacts {
        diff_id: chain_id.clone(),
        size: 1000,
        entries: 1,
        opaque_root: false,
        unflushed: None,
    };
    layer.seal(&facts).unwrap();
    let manifest = lease.stage_document(b"{}").unwrap();
    let record = ImageRecord {
        name: Some("boat".parse().unwrap()),
        manifest: manifest.digest().clone(),
        config: config.digest().clone(),
        index: None,
        blobs: vec![],
        others: vec![],
        layers: vec![chain_id],
        size: 1000,
        created: None,
        tagged: 0,
    };
    lease
        .commit(
            vec![config, manifest],
            vec![layer],
            std::slice::from_ref(&record),
        )
        .unwrap();
    record
}

/// A shell that has said its first line.
fn shell(script: &str) -> Child {
    let mut child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut byte = [0];
    std::io::Read::read(child.stdout.as_mut().unwrap(), &mut byte).unwrap();
    child
}

fn identity(child: &Child) -> ProcessIdentity {
    let pid = i32::try_from(child.id()).unwrap();
    ProcessIdentity {
        pid,
        start_time: process::start_time(pid).unwrap(),
        boot_id: process::boot_id().unwrap(),
    }
}

/// A running container before anybody looks after it.
pub struct Supervised {
    store: Store,
    pub directory: ContainerDir,
    lock: ContainerLock,
    socket: OwnedFd,
    init: Child,
    stand_in: Child,
    auto_remove: bool,
}

impl Supervised {
    /// Looks after it until it ends. `last` is done after the end, before that is known to anyone.
    pub fn supervise(self, last: impl FnOnce(&ContainerDir) + Send + 'static) -> JoinHandle<i32> {
        std::thread::spawn(move || self.run(last))
    }

    fn run(mut self, last: impl FnOnce(&ContainerDir)) -> i32 {
        use std::os::unix::process::ExitStatusExt;
        let status = self.init.wait().unwrap();
        let code = status.code().or(status.signal().map(|n| 128 + n)).unwrap();
        last(&self.directory);
        // Whoever has connected until now is told.
        rustix::io::ioctl_fionbio(&self.socket, true).unwrap();
        let clients: Vec<OwnedFd> =
            std::iter::from_fn(|| rustix::net::accept(&self.socket).ok()).collect();
        if self.auto_remove {
            self.store
                .remove_container(&self.directory, self.lock)
                .unwrap();
        } else {
            let exit = ExitRecord {
                code,
                oom_killed: false,
                by_hand: false,
                restarting: false,
                restarts: 0,
                error: None,
                started: Some("2026-01-01T00:00:01.000000000Z".to_owned()),
                finished: "2026-01-01T00:00:02.000000000Z".to_owned(),
            };
            self.directory
                .put_exit_record(&exit, Durability::Volatile)
                .unwrap();
            drop(self.lock);
        }
        let word = supervisor::protocol::Event::Exited(code).encode();
        for client in clients {
            // It may have gone meanwhile.
            let _ = packet::send(client, &word, &[], None::<&OwnedFd>, true);
        }
        drop(self.socket);
        self.stand_in.kill().unwrap();
        self.stand_in.wait().unwrap();
        code
    }

    /// Is killed as `kill -9` does it: all processes are gone, nothing is written.
    pub fn be_killed(mut self) {
        self.init.kill().unwrap();
        self.init.wait().unwrap();
        drop(self.socket);
        drop(self.lock);
        self.stand_in.kill().unwrap();
        self.stand_in.wait().unwrap();
    }
}

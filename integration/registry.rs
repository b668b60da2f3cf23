//! A registry on loopback, for one case: Debian's `docker-registry` over the shared images, read
//! only, by http or https; or an empty one to push to; or one that only fails.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::case::{Case, shared};

pub struct Registry {
    /// `127.0.0.1:PORT`
    pub address: String,
    server: Child,
}

impl Registry {
    pub fn http(case: &Case) -> Registry {
        Self::start(case, &shared_storage(), "")
    }

    /// An empty one of the case's own; `name` tells several apart.
    pub fn writable(case: &Case, name: &str) -> Registry {
        let folder = case.dir.join(name);
        fs::create_dir_all(&folder).unwrap();
        let storage = format!("{{rootdirectory: {}}}", folder.display());
        Self::start(case, &format!("{{filesystem: {storage}}}"), "")
    }

    /// An empty one that user `user` with password `geheim` may use.
    pub fn guarded(case: &Case, name: &str) -> Registry {
        let folder = case.dir.join(name);
        fs::create_dir_all(&folder).unwrap();
        let users = case.dir.join(format!("{name}.htpasswd"));
        let hash = "$2b$04$q5DrRo1acPTSaj3fqJbqzuuph9IVbNToaRiBcEhuHw.NQhlqoFoju";
        fs::write(&users, format!("user:{hash}\n")).unwrap();
        let storage = format!("{{filesystem: {{rootdirectory: {}}}}}", folder.display());
        let lines = format!(
            "\nauth: {{htpasswd: {{realm: here, path: {}}}}}\n",
            users.display()
        );
        Self::start_with(case, &storage, "", &lines)
    }

    /// With a certificate of the shared private authority.
    pub fn https(case: &Case) -> Registry {
        let tls = shared().join("tls");
        let file = |name: &str| tls.join(name).display().to_string();
        Self::start(
            case,
            &shared_storage(),
            &format!(
                ", tls: {{certificate: {}, key: {}}}",
                file("server.crt"),
                file("server.key")
            ),
        )
    }

    pub fn authority() -> PathBuf {
        shared().join("tls/ca.crt")
    }

    fn start(case: &Case, storage: &str, tls: &str) -> Registry {
        Self::start_with(case, storage, tls, "")
    }

    fn start_with(case: &Case, storage: &str, tls: &str, more: &str) -> Registry {
        // The port may be taken by somebody else between here and there.
        for attempt in 0.. {
            let address = free_address();
            let config = case.dir.join(format!("registry-{address}.yml"));
            fs::write(
                &config,
                format!(
                    "version: 0.1\nlog: {{level: error, accesslog: {{disabled: true}}}}\n\
                     storage: {storage}\n\
                     http: {{addr: \"{address}\"{tls}}}\n{more}"
                ),
            )
            .unwrap();
            let server = Command::new("docker-registry")
                .arg("serve")
                .arg(&config)
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(fs::File::create(case.dir.join("registry.log")).unwrap())
                .spawn()
                .expect("docker-registry is installed");
            let mut registry = Registry { address, server };
            if registry.answers() {
                return registry;
            }
            assert!(attempt < 5, "docker-registry does not start");
        }
        unreachable!()
    }

    fn answers(&mut self) -> bool {
        let end = Instant::now() + Duration::from_secs(10);
        while Instant::now() < end {
            if self.server.try_wait().unwrap().is_some() {
                return false;
            }
            if TcpStream::connect(&self.address).is_ok() {
                return true;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// `ADDRESS/test/NAME`
    pub fn image(&self, name: &str) -> String {
        format!("{}/test/{name}", self.address)
    }
}

fn shared_storage() -> String {
    format!(
        "{{filesystem: {{rootdirectory: {}}}, maintenance: {{readonly: {{enabled: true}}}}}}",
        shared().join("registry").display()
    )
}

impl Drop for Registry {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

/// An address nobody listens at, at this moment.
pub fn free_address() -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    socket.local_addr().unwrap().to_string()
}

/// Answers every request with the same bytes, for as long as the test's process lives.
pub fn answering(response: &'static str) -> String {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for stream in socket.incoming().flatten() {
            std::thread::spawn(move || answer(stream, response));
        }
    });
    address
}

fn answer(mut stream: TcpStream, response: &str) {
    let mut request = [0; 4096];
    let _ = stream.read(&mut request);
    let _ = stream.write_all(response.as_bytes());
}

//! Which namespaces a container shares, and with whom; and what else its first process finds of the
//! kernel's settings.

use std::path::PathBuf;

use clap::Args;

use super::ui;
use crate::model::{
    ContainerSpec, Context, Error, ErrorKind, Result,
    container::NetworkMode,
    namespace::{IpcMode, NamespaceMode, Namespaces, Personality, SystemdMode},
};

#[derive(Args)]
pub struct NamespaceFlags {
    /// Cgroup namespace: host, private, container:NAME or ns:PATH
    #[arg(long, value_name = "string")]
    cgroupns: Option<String>,
    /// NIS domain name of the container
    #[arg(long, value_name = "string")]
    domainname: Option<String>,
    /// For Podman's sake: the built-in init of --init is taken
    #[arg(long, value_name = "string", hide = true)]
    init_path: Option<String>,
    /// IPC namespace: none, private, shareable, host, container:NAME or ns:PATH
    #[arg(long, value_name = "string")]
    ipc: Option<String>,
    /// Leave the image's /etc/hostname alone
    #[arg(long)]
    no_hostname: bool,
    /// Leave the image's /etc/hosts alone
    #[arg(long)]
    no_hosts: bool,
    /// Execution domain of the program: LINUX or LINUX32
    #[arg(long, value_name = "string")]
    personality: Option<String>,
    /// PID namespace: host, private, container:NAME or ns:PATH
    #[arg(long, value_name = "string")]
    pid: Option<String>,
    /// Write the number of the first process to a file
    #[arg(long, value_name = "string")]
    pidfile: Option<PathBuf>,
    /// Prepare for systemd as the program: true (if it is), false or always
    #[arg(long, value_name = "string")]
    systemd: Option<String>,
    /// Kill the container after so many seconds
    #[arg(long, value_name = "uint")]
    timeout: Option<u32>,
    /// UTS namespace: host, private, container:NAME or ns:PATH
    #[arg(long, value_name = "string")]
    uts: Option<String>,
}

impl NamespaceFlags {
    /// Puts what the flags say into `spec`.
    pub fn apply(self, spec: &mut ContainerSpec) -> Result<()> {
        if self.init_path.is_some() {
            ui::notice("--init-path has no effect: the init is part of this program");
        }
        if self.no_hosts && matches!(spec.network, NetworkMode::Container(_)) {
            return Err(Error::invalid(
                "conflicting options: --no-hosts and the network mode",
            ));
        }
        let mode = |text: Option<String>, what: &str| {
            NamespaceMode::parse(text.as_deref().unwrap_or_default(), what)
        };
        spec.namespaces = Namespaces {
            pid: mode(self.pid, "--pid: invalid PID mode")?,
            ipc: IpcMode::parse(self.ipc.as_deref().unwrap_or_default())?,
            uts: mode(self.uts, "--uts: invalid UTS mode")?,
            cgroup: mode(self.cgroupns, "--cgroupns: invalid CGROUP mode")?,
            domainname: self.domainname.filter(|name| !name.is_empty()),
            systemd: self
                .systemd
                .as_deref()
                .map_or(Ok(SystemdMode::default()), SystemdMode::parse)?,
            no_hostname: self.no_hostname,
            no_hosts: self.no_hosts,
            timeout: self.timeout.filter(|seconds| *seconds > 0),
            personality: self
                .personality
                .as_deref()
                .map(Personality::parse)
                .transpose()?,
            pidfile: None,
        };
        spec.namespaces.pidfile = self.pidfile.map(absolute).transpose()?;
        Ok(())
    }
}

/// `start` may be given in another folder.
fn absolute(path: PathBuf) -> Result<String> {
    let what = || format!("invalid path {}", path.display());
    let whole = std::path::absolute(&path).context(ErrorKind::InvalidArgument, what)?;
    let text = whole.into_os_string().into_string();
    text.map_err(|_| Error::invalid(what()))
}

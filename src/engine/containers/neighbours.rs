//! Those whose namespaces a container joins: found by name when it is created, and opened before it
//! starts, so that what is entered is what was checked.

use std::os::fd::OwnedFd;

use rustix::fs::{Mode, OFlags};

use crate::{
    engine::{
        Engine,
        plan::{self, Neighbour, Surroundings, Target},
    },
    model::{
        ContainerSpec, Context, Error, ErrorKind, Result,
        container::{ContainerRecord, NetworkMode},
        namespace::{IpcMode, NamespaceKind, NamespaceMode, Placement},
        user_namespace::UserNamespaceMode,
    },
    sys::{process, user_namespace},
};

/// `f_type` of namespaces, statfs(2).
const NSFS_MAGIC: u64 = 0x6e73_6673;

/// What the planner has to know, and the descriptors that go with it.
#[derive(Default)]
pub(super) struct Neighbours {
    pub surroundings: Surroundings,
    /// One for each neighbour.
    pub held: Vec<OwnedFd>,
    /// A process whose user namespace the container has to be in.
    process: Option<i32>,
}

impl Engine {
    /// Checks the namespaces of a request, and puts whole ids where it names containers: a name may
    /// go to another one later.
    pub(super) fn settle_namespaces(&self, spec: &mut ContainerSpec) -> Result<()> {
        plan::check_namespaces(spec)?;
        self.settle_networks(spec)?;
        let network = match &mut spec.network {
            NetworkMode::Container(whose) => Some(whose),
            _ => None,
        };
        let users = match &mut spec.user_namespace.mode {
            UserNamespaceMode::Container(whose) => Some(whose),
            _ => None,
        };
        let namespaces = &mut spec.namespaces;
        if let IpcMode::Container(whose) = &namespaces.ipc {
            plan::check_shareable(&self.store.find_container(whose)?.1)?;
        }
        for whose in [
            namespaces.pid.container_mut(),
            namespaces.uts.container_mut(),
            namespaces.cgroup.container_mut(),
            namespaces.ipc.container_mut(),
            network,
            users,
        ]
        .into_iter()
        .flatten()
        {
            *whose = self.store.find_container(whose)?.1.id.to_string();
        }
        Ok(())
    }

    /// Opens everybody whom the container joins. They have to run.
    pub(super) fn open_neighbours(&self, spec: &ContainerSpec) -> Result<Neighbours> {
        let mut neighbours = Neighbours::default();
        for target in plan::targets(spec) {
            let (placement, held) = match &target {
                Target::Path(kind, path) => (Placement::default(), open_namespace(*kind, path)?),
                Target::Container(id) => {
                    let (placement, pid, held) = self.open_container(spec, id)?;
                    neighbours.process = Some(pid);
                    (placement, held)
                }
            };
            let neighbour = Neighbour { target, placement };
            neighbours.surroundings.neighbours.push(neighbour);
            neighbours.held.push(held);
        }
        self.look_around(spec, &mut neighbours.surroundings)?;
        Ok(neighbours)
    }

    /// The first process of a running container: its number, and the process itself.
    fn open_container(&self, spec: &ContainerSpec, id: &str) -> Result<(Placement, i32, OwnedFd)> {
        let stopped = || {
            Error::new(
                ErrorKind::Conflict,
                format!(
                    "cannot join {} of a non running container: {id}",
                    shared_with(spec, id)
                ),
            )
            .with_hint("start that one first")
        };
        let (directory, record) = self.store.find_container(id)?;
        let start = directory.start_record()?.ok_or_else(stopped)?;
        let this_boot = process::boot_id().system(|| "cannot tell this boot".to_owned())?;
        if !directory.is_held()? || start.init.boot_id != this_boot {
            return Err(stopped());
        }
        let pidfd = process::open(start.init.pid, start.init.start_time)
            .system(|| format!("cannot open the first process of container {id}"))?
            .ok_or_else(stopped)?;
        // A user namespace of its own is nested in that of its supervisor.
        let holder = match record.ids {
            Some(_) => start.supervisor.pid,
            None => start.init.pid,
        };
        Ok((start.namespaces, holder, pidfd))
    }

    /// The names and files that come with the namespaces that `spec` shares.
    fn look_around(&self, spec: &ContainerSpec, surroundings: &mut Surroundings) -> Result<()> {
        surroundings.hostname = self.shared_hostname(spec)?;
        if let NetworkMode::Container(id) = &spec.network {
            let (mut directory, mut record) = self.store.find_container(id)?;
            // Whose network is itself another's.
            while let NetworkMode::Container(id) = &record.spec.network {
                (directory, record) = self.store.find_container(id)?;
            }
            surroundings.network_files = Some(super::run::absolute(directory.path())?);
        }
        Ok(())
    }

    /// What the UTS namespace that is shared is called, or the container whose network is, as
    /// Docker has it: that one's hosts file knows no other name.
    pub(in crate::engine) fn shared_hostname(
        &self,
        spec: &ContainerSpec,
    ) -> Result<Option<String>> {
        let id = match (&spec.namespaces.uts, &spec.network) {
            (NamespaceMode::Host, _) => {
                let uname = rustix::system::uname();
                return Ok(Some(uname.nodename().to_string_lossy().into_owned()));
            }
            (NamespaceMode::Container(id), _) | (_, NetworkMode::Container(id)) => id,
            _ => return Ok(None),
        };
        let (_, record) = self.store.find_container(id)?;
        self.hostname_of(&record).map(Some)
    }

    /// What a container is called inside.
    pub(super) fn hostname_of(&self, record: &ContainerRecord) -> Result<String> {
        let shared = self.shared_hostname(&record.spec)?;
        Ok(plan::hostname(record, shared.as_deref()).to_owned())
    }

    /// Brings this process into the user namespace in which the container will live: that of its
    /// neighbours, whose other namespaces nobody else may enter, that of its networks, or any of the
    /// user's.
    pub(super) fn begin_namespace_among(
        &self,
        neighbours: &Neighbours,
        network: &NetworkMode,
    ) -> Result<()> {
        if let Some(pid) = neighbours.process
            && !user_namespace::is_own(pid)
            && !self.user.join_namespace_of(pid)?
        {
            return Err(Error::new(
                ErrorKind::Unsupported,
                "cannot join a container that has other user ids",
            ));
        }
        if neighbours.process.is_none()
            && let Some(namespace) = neighbours.held.first()
        {
            self.user.join_owner_of(namespace)?;
        }
        self.begin_namespace_of_networks(network)?;
        self.user.begin_namespace(&self.store)
    }
}

/// The kinds that `spec` shares with a container, in Docker's words.
fn shared_with(spec: &ContainerSpec, id: &str) -> String {
    let shared = |kind: &NamespaceKind| {
        spec.namespaces.mode(*kind, &spec.network) == NamespaceMode::Container(id.to_owned())
    };
    match NamespaceKind::ALL.into_iter().find(shared) {
        Some(NamespaceKind::Network) | None => "network".to_owned(),
        Some(kind) => kind.to_string(),
    }
}

fn open_namespace(kind: NamespaceKind, path: &str) -> Result<OwnedFd> {
    let what = || format!("cannot open the {kind} namespace {path}");
    // What is not a namespace, a FIFO perhaps, must not hold us up.
    let flags = OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK | OFlags::NOCTTY;
    let file =
        rustix::fs::open(path, flags, Mode::empty()).context(ErrorKind::InvalidArgument, what)?;
    if rustix::fs::fstatfs(&file).system(what)?.f_type as u64 == NSFS_MAGIC {
        Ok(file)
    } else {
        Err(Error::invalid(format!("{path} is not a namespace"))
            .with_hint("give a file like /run/netns/NAME or /proc/PID/ns/net"))
    }
}

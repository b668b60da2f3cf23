//! Who is in a network, with which addresses: files of the run root, so that a reboot clears them.
//!
//! ```text
//! RUNROOT/networks/ID/
//!   lock                       `flock`ed by who takes or gives back addresses; its content are the
//!                              addresses that were given out last, one of each family
//!   members/CONTAINER,IP,IP    a [`Member`] as JSON: one readdir tells what is taken
//! ```
//!
//! **A lease is void if its container's lock is free** (`containers/ID/lock`, [`Purpose::Life`]):
//! nothing needs to be given back, but giving back is what [`Store::release_lease`] does at an end that
//! somebody sees. Void ones are not counted as members, and go when their container starts again, when
//! their address is asked for, when the network is removed; besides, whoever takes an address looks
//! at a few others, so that none stays for ever.
//!
//! **Order of locks**: a network's lease lock is taken with the container's lock or `networks/` held,
//! and nothing is locked after it but the object locks that are only asked about.
//!
//! **What a crash leaves**: a staged file in `members/` (its name begins with a dot), overwritten or
//! removed by the next who looks there; a torn `lock` file, which only makes the search for an address
//! begin in front.
//!
//! **Change is seen by the folder's mtime** ([`MemberView`]): a member's file appears, is replaced and
//! goes by an operation on the folder.

use std::{
    collections::HashSet,
    net::IpAddr,
    os::fd::{AsFd, OwnedFd},
};

use ipnet::IpNet;
use rustix::{
    fs::{AtFlags, FlockOperation, Mode, OFlags},
    io::Errno,
};
use serde::{Deserialize, Serialize};

use super::{
    Durability, FOLDER, Store, files,
    locks::{self, ObjectLock, Purpose},
    make_folder, networks,
};
use crate::model::{
    ContainerId, Context, Error, ErrorKind, Result,
    address_pool::{check_address, next_address},
    attachment::Attachment,
    network::{Endpoint, Mac, Network, NetworkId, Subnet},
};

pub use super::member_view::MemberView;

/// A container in a network: the content of its lease's file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub container: ContainerId,
    /// The container's.
    pub name: String,
    pub endpoint: Endpoint,
    /// Who keeps the namespace in which the network's bridge is, if this member does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub router: Option<RouterHolder>,
}

/// A process that holds a descriptor of a network's router namespace: `/proc/PID/fd/FD`, believed
/// only if the namespace there has this inode.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RouterHolder {
    /// In the host's pid namespace.
    pub pid: i32,
    pub fd: i32,
    pub inode: u64,
}

/// What a container wants of a network.
#[derive(Clone, Copy, Debug)]
pub struct LeaseRequest<'a> {
    pub container: &'a ContainerId,
    /// The container's name.
    pub name: &'a str,
    pub attachment: &'a Attachment,
    /// Inside the container, unless the attachment names another.
    pub interface: &'a str,
    /// Under which it is to be found in the network.
    pub names: &'a [String],
    /// The container's default routes are to lead there.
    pub default_route: bool,
    /// The container runs already and is to be attached: a lease that it has is not void.
    pub live: bool,
}

/// While it lives, nobody else takes or gives back addresses of a network.
#[derive(Debug)]
pub struct NetworkLeases<'a> {
    store: &'a Store,
    id: NetworkId,
    lock: OwnedFd,
    pub(super) members: OwnedFd,
}

/// How many of the others' leases are looked at by who takes one.
const LOOKED_AT: usize = 4;

impl Store {
    /// Takes addresses of a network for a container whose lock is held. A lease that the container
    /// has left behind there goes.
    ///
    /// # Errors
    /// [`ErrorKind::NoSuchNetwork`] if it was removed meanwhile; [`ErrorKind::Conflict`] if an address
    /// is taken, or all are; [`ErrorKind::InvalidArgument`] if one is not the network's.
    pub fn lease_addresses(
        &self,
        network: &Network,
        request: &LeaseRequest<'_>,
    ) -> Result<Endpoint> {
        let leases = self.lock_leases(&network.id)?;
        // Who removes one holds this lock until the definition is gone.
        if !network.is_default() && !self.is_defined(network)? {
            leases.remove_folder();
            return Err(networks::no_such_network(&network.name));
        }
        leases.take(network, request)
    }

    fn is_defined(&self, network: &Network) -> Result<bool> {
        super::lease::exists(&self.root, &format!("networks/{}", network.name))
    }

    /// Gives a container's addresses in a network back. One that has none is no failure.
    pub fn release_lease(&self, network: &NetworkId, container: &ContainerId) -> Result<()> {
        let Some(members) = self.open_members(network)? else {
            return Ok(());
        };
        for name in files::names(&members).system(|| listing(network))? {
            if LeaseName::parse(&name).is_some_and(|lease| lease.container == *container) {
                unlink(&members, &name)?;
            }
        }
        Ok(())
    }

    /// As [`Self::release_lease`], by who knows what was leased: one system call.
    pub fn release_endpoint(&self, endpoint: &Endpoint, container: &ContainerId) -> Result<()> {
        let name = LeaseName::of(container, endpoint).to_string();
        let place = format!("networks/{}/members/{name}", endpoint.network);
        unlink(&self.runroot, &place)
    }

    /// Waits for the network's lock.
    pub fn lock_leases(&self, network: &NetworkId) -> Result<NetworkLeases<'_>> {
        let what = || format!("cannot open the leases of network {}", network.short());
        let place = format!("networks/{network}");
        for _ in 0..64 {
            let flags = OFlags::RDWR | OFlags::CREATE | OFlags::CLOEXEC | OFlags::NOFOLLOW;
            let file = format!("{place}/lock");
            let lock = match rustix::fs::openat(&self.runroot, &file, flags, Mode::from(0o600)) {
                Ok(lock) => lock,
                Err(Errno::NOENT) => {
                    make_folder(&self.runroot, "networks")
                        .and_then(|()| make_folder(&self.runroot, &place))
                        .system(what)?;
                    continue;
                }
                Err(errno) => return Err(errno).system(what),
            };
            locks::wait_for(
                &lock,
                FlockOperation::NonBlockingLockExclusive,
                &format!("the leases of network {}", network.short()),
            )?;
            // Who removed the network while this waited took the file along.
            if rustix::fs::fstat(&lock).system(what)?.st_nlink == 0 {
                continue;
            }
            let folder = format!("{place}/members");
            let open = || rustix::fs::openat(&self.runroot, &folder, FOLDER, Mode::empty());
            let members = match open() {
                Err(Errno::NOENT) => make_folder(&self.runroot, &folder).and_then(|()| open()),
                other => other,
            };
            return Ok(NetworkLeases {
                store: self,
                id: network.clone(),
                lock,
                members: members.system(what)?,
            });
        }
        Err(Errno::NOENT).system(what)
    }

    fn open_members(&self, network: &NetworkId) -> Result<Option<OwnedFd>> {
        let place = format!("networks/{network}/members");
        match rustix::fs::openat(&self.runroot, &place, FOLDER, Mode::empty()) {
            Ok(members) => Ok(Some(members)),
            Err(Errno::NOENT) => Ok(None),
            Err(errno) => Err(errno).system(|| listing(network)),
        }
    }

    /// Who is in a network now. Takes no lock.
    pub fn network_members(&self, network: &NetworkId) -> Result<Vec<Member>> {
        match self.open_members(network)? {
            Some(members) => self.living(&members, network),
            None => Ok(Vec::new()),
        }
    }

    /// Some member that keeps the network's router namespace. Takes no lock: it may be gone.
    pub fn router_holder(&self, network: &NetworkId) -> Result<Option<RouterHolder>> {
        let Some(members) = self.open_members(network)? else {
            return Ok(None);
        };
        for name in files::names(&members).system(|| listing(network))? {
            if let Some(lease) = LeaseName::parse(&name)
                && let Some(member) = files::read_json::<Member>(&members, &name)?.good()
                && let Some(router) = member.router
                && !self.is_void(&lease.container)?
            {
                return Ok(Some(router));
            }
        }
        Ok(None)
    }

    /// A container's endpoints in these networks. Whether they are void is not looked at.
    pub fn endpoints(
        &self,
        container: &ContainerId,
        networks: &[NetworkId],
    ) -> Result<Vec<Endpoint>> {
        let mut endpoints = Vec::new();
        for network in networks {
            let Some(members) = self.open_members(network)? else {
                continue;
            };
            for name in files::names(&members).system(|| listing(network))? {
                if LeaseName::parse(&name).is_some_and(|lease| lease.container == *container)
                    && let Some(member) = files::read_json::<Member>(&members, &name)?.good()
                {
                    endpoints.push(member.endpoint);
                }
            }
        }
        Ok(endpoints)
    }

    pub(super) fn living(&self, members: &OwnedFd, network: &NetworkId) -> Result<Vec<Member>> {
        let mut living = Vec::new();
        for name in list(members, network)? {
            let Some(lease) = LeaseName::parse(&name) else {
                continue;
            };
            if !self.is_void(&lease.container)?
                && let Some(member) = files::read_json::<Member>(members, &name)?.good()
            {
                living.push(member);
            }
        }
        living.sort_by(|a, b| (&a.name, &a.container).cmp(&(&b.name, &b.container)));
        Ok(living)
    }

    /// Whether nobody holds the lock of the container.
    pub(super) fn is_void(&self, container: &ContainerId) -> Result<bool> {
        let lock = format!("containers/{container}/lock");
        Ok(ObjectLock::purpose(&self.root, &lock)? != Some(Purpose::Life))
    }

    /// Removes leases that are void of all networks, and what belongs to none that there is.
    pub fn sweep_leases(&self) -> Result<()> {
        let what = || "cannot list networks/ of the run root".to_owned();
        let folder = match rustix::fs::openat(&self.runroot, "networks", FOLDER, Mode::empty()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(()),
            Err(errno) => return Err(errno).system(what),
        };
        let defined: HashSet<NetworkId> = self
            .networks()?
            .into_iter()
            .map(|network| network.id)
            .collect();
        for id in files::names(&folder).system(what)? {
            let Ok(id) = id.parse::<NetworkId>() else {
                continue;
            };
            let leases = self.lock_leases(&id)?;
            leases.sweep()?;
            if !defined.contains(&id) && list(&leases.members, &id)?.is_empty() {
                leases.remove_folder();
            }
        }
        Ok(())
    }
}

pub(super) fn listing(network: &NetworkId) -> String {
    format!("cannot list the members of network {}", network.short())
}

fn list(members: &OwnedFd, network: &NetworkId) -> Result<Vec<String>> {
    // An own descriptor: one can be listed once.
    let own = rustix::fs::openat(members, ".", FOLDER, Mode::empty());
    let names = own.and_then(|own| files::names(&own));
    names.system(|| listing(network))
}

pub(super) fn unlink(dir: impl AsFd, place: &str) -> Result<()> {
    match rustix::fs::unlinkat(dir, place, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(errno) => Err(errno).system(|| format!("cannot remove {place}")),
    }
}

impl NetworkLeases<'_> {
    /// Who is in the network now.
    pub fn members(&self) -> Result<Vec<Member>> {
        self.store.living(&self.members, &self.id)
    }

    /// Notes in a member's lease that its process keeps the router namespace.
    ///
    /// # Errors
    /// [`ErrorKind::Conflict`] if the container has no lease.
    pub fn note_router(
        &self,
        endpoint: &Endpoint,
        container: &ContainerId,
        router: RouterHolder,
    ) -> Result<()> {
        let name = LeaseName::of(container, endpoint).to_string();
        let member: Option<Member> = files::read_json(&self.members, &name)?.good();
        let mut member = member.ok_or_else(|| {
            Error::new(
                ErrorKind::Conflict,
                format!(
                    "container {} has no lease in this network",
                    container.short()
                ),
            )
        })?;
        member.router = Some(router);
        self.put(&name, &member)
    }

    /// Has a member be found under another name; the others of its names stay. One that has no lease
    /// is no failure.
    pub fn rename_member(&self, container: &ContainerId, old: &str, new: &str) -> Result<()> {
        for name in list(&self.members, &self.id)? {
            if LeaseName::parse(&name).is_none_or(|lease| lease.container != *container) {
                continue;
            }
            let Some(mut member) = files::read_json::<Member>(&self.members, &name)?.good() else {
                continue;
            };
            new.clone_into(&mut member.name);
            let names = &mut member.endpoint.names;
            names.retain(|one| one != old && one != new);
            names.insert(0, new.to_owned());
            self.put(&name, &member)?;
        }
        Ok(())
    }

    /// Those of the members that keep the router namespace, if their notes are true.
    pub fn routers(&self) -> Result<Vec<RouterHolder>> {
        let members = self.members()?;
        Ok(members
            .into_iter()
            .filter_map(|member| member.router)
            .collect())
    }

    /// Removes void leases and staged files.
    pub fn sweep(&self) -> Result<()> {
        let own = rustix::fs::openat(&self.members, ".", FOLDER, Mode::empty());
        let names = own.and_then(|own| files::all_names(&own));
        for name in names.system(|| listing(&self.id))? {
            let void = match LeaseName::parse(&name) {
                Some(lease) => self.store.is_void(&lease.container)?,
                None => true,
            };
            if void {
                unlink(&self.members, &name)?;
            }
        }
        Ok(())
    }

    /// Takes the folder away, if no member is in it. The lock goes last: who waits for it looks
    /// whether the file still has a name.
    pub(super) fn remove_folder(&self) {
        let place = format!("networks/{}", self.id);
        let runroot = &self.store.runroot;
        let remove = |name: &str, flags: AtFlags| {
            rustix::fs::unlinkat(runroot, format!("{place}{name}"), flags)
        };
        let _ = self
            .sweep()
            .map_err(|_| Errno::BUSY)
            .and_then(|()| remove("/members", AtFlags::REMOVEDIR))
            .and_then(|()| remove("/lock", AtFlags::empty()))
            .and_then(|()| remove("", AtFlags::REMOVEDIR));
    }

    fn put(&self, name: &str, member: &Member) -> Result<()> {
        let text = serde_json::to_vec(member)
            .context(ErrorKind::System, || "cannot describe a lease".to_owned())?;
        files::put(&self.members, name, &text, Durability::Volatile)
    }

    fn take(&self, network: &Network, request: &LeaseRequest<'_>) -> Result<Endpoint> {
        let mut others = Vec::new();
        for name in list(&self.members, &self.id)? {
            match LeaseName::parse(&name) {
                Some(lease) if lease.container == *request.container => {
                    if request.live {
                        return Err(already_in(network, request));
                    }
                    unlink(&self.members, &name)?;
                }
                Some(lease) => others.push((name, lease)),
                None => {}
            }
        }
        let given = self.last_given();
        self.look_at_a_few(&mut others, &given)?;
        let mut addresses = Vec::with_capacity(2);
        let mut gateways = Vec::with_capacity(2);
        let asked = [
            request.attachment.ip4.map(IpAddr::from),
            request.attachment.ip6.map(IpAddr::from),
        ];
        for (ipv4, asked) in [true, false].into_iter().zip(asked) {
            let Some(subnet) = network.subnet(ipv4) else {
                if let Some(address) = asked {
                    return Err(Error::invalid(format!(
                        "invalid endpoint settings: no configured subnet contains IP address {address}"
                    ))
                    .with_hint(format!("network {} has no subnet of this family", network.name)));
                }
                continue;
            };
            let address = match asked {
                Some(address) => self.take_asked(subnet, address, &mut others)?,
                None => self.take_any(subnet, &given, &mut others)?,
            };
            addresses.extend(IpNet::new(address, subnet.net.prefix_len()));
            gateways.extend(subnet.gateway.filter(|_| !network.internal));
        }
        let endpoint = endpoint(network, request, addresses, gateways)?;
        let member = Member {
            container: request.container.clone(),
            name: request.name.to_owned(),
            endpoint,
            router: None,
        };
        let name = LeaseName::of(request.container, &member.endpoint).to_string();
        self.put(&name, &member)?;
        self.remember_given(&member.endpoint, &given);
        Ok(member.endpoint)
    }

    /// Removes those of a few others that are void: other ones each time.
    fn look_at_a_few(&self, others: &mut Vec<(String, LeaseName)>, given: &[IpAddr]) -> Result<()> {
        let count = others.len();
        let turn = given.first().map_or(0, |address| match address {
            IpAddr::V4(address) => address.to_bits() as usize,
            IpAddr::V6(address) => address.to_bits() as usize,
        });
        others.sort_by(|(a, _), (b, _)| a.cmp(b));
        let mut void = Vec::new();
        for step in 0..LOOKED_AT.min(count) {
            let place = turn.wrapping_mul(LOOKED_AT).wrapping_add(step) % count;
            if self.store.is_void(&others[place].1.container)? {
                void.push(others[place].0.clone());
            }
        }
        for name in &void {
            unlink(&self.members, name)?;
        }
        others.retain(|(name, _)| !void.contains(name));
        Ok(())
    }

    fn take_asked(
        &self,
        subnet: &Subnet,
        address: IpAddr,
        others: &mut Vec<(String, LeaseName)>,
    ) -> Result<IpAddr> {
        check_address(subnet, address)?;
        let holder = others
            .iter()
            .position(|(_, lease)| lease.addresses.contains(&address));
        if let Some(place) = holder {
            let (name, lease) = &others[place];
            if !self.store.is_void(&lease.container)? {
                let member: Option<Member> = files::read_json(&self.members, name)?.good();
                let whose =
                    member.map_or_else(|| lease.container.short().to_owned(), |member| member.name);
                return Err(Error::new(
                    ErrorKind::Conflict,
                    format!("Address already in use: {address} belongs to container {whose}"),
                )
                .with_hint("ask for another one, or for none"));
            }
            unlink(&self.members, name)?;
            others.remove(place);
        }
        Ok(address)
    }

    fn take_any(
        &self,
        subnet: &Subnet,
        given: &[IpAddr],
        others: &mut Vec<(String, LeaseName)>,
    ) -> Result<IpAddr> {
        let ipv4 = subnet.is_ipv4();
        let last = given.iter().copied().find(|last| last.is_ipv4() == ipv4);
        let taken = |others: &[(String, LeaseName)]| -> HashSet<IpAddr> {
            let leases = others.iter().flat_map(|(_, lease)| &lease.addresses);
            leases.copied().collect()
        };
        match next_address(subnet, last, &taken(others)) {
            Err(error) if error.kind() == ErrorKind::Conflict => {}
            other => return other,
        }
        // There may be some that nobody has given back.
        self.sweep()?;
        let left: HashSet<String> = list(&self.members, &self.id)?.into_iter().collect();
        others.retain(|(name, _)| left.contains(name));
        next_address(subnet, last, &taken(others))
    }

    fn last_given(&self) -> Vec<IpAddr> {
        let mut text = [0; 128];
        let length = rustix::io::pread(&self.lock, &mut text, 0).unwrap_or(0);
        let text = std::str::from_utf8(&text[..length]).unwrap_or_default();
        text.split_ascii_whitespace()
            .filter_map(|address| address.parse().ok())
            .collect()
    }

    /// In place: whoever reads half of it begins in front.
    fn remember_given(&self, endpoint: &Endpoint, before: &[IpAddr]) {
        let mut text = String::new();
        for ipv4 in [true, false] {
            let now = endpoint.address(ipv4).map(IpNet::addr);
            let last = now.or(before.iter().copied().find(|last| last.is_ipv4() == ipv4));
            if let Some(last) = last {
                text.push_str(&last.to_string());
                text.push(' ');
            }
        }
        // Behind a shorter text nothing of a longer one may stay.
        let _ = rustix::io::pwrite(&self.lock, format!("{text:<64}").as_bytes(), 0);
    }
}

fn already_in(network: &Network, request: &LeaseRequest<'_>) -> Error {
    Error::new(
        ErrorKind::Conflict,
        format!(
            "endpoint with name {} already exists in network {}",
            request.name, network.name
        ),
    )
}

fn endpoint(
    network: &Network,
    request: &LeaseRequest<'_>,
    addresses: Vec<IpNet>,
    gateways: Vec<IpAddr>,
) -> Result<Endpoint> {
    let attachment = request.attachment;
    let mac = match (attachment.mac, addresses.first()) {
        (Some(mac), _) => mac,
        (None, Some(address)) => Mac::of_address(address.addr()),
        // Nobody's address to derive it from: as random as the container's id.
        (None, None) => {
            let digits = request.container.as_str();
            let byte = |place: usize| {
                u8::from_str_radix(&digits[place..place + 2], 16).unwrap_or_default()
            };
            Mac([0x02, 0x42, byte(0), byte(2), byte(4), byte(6)])
        }
    };
    let interface = attachment.interface.as_deref().unwrap_or(request.interface);
    let mtu = attachment.driver_options.get("mtu").map(|mtu| {
        mtu.parse()
            .map_err(|_| Error::invalid(format!("invalid mtu {mtu:?}: expected bytes")))
    });
    Ok(Endpoint {
        network: network.id.clone(),
        network_name: network.name.clone(),
        interface: interface.to_owned(),
        host_interface: attachment.host_interface.clone(),
        addresses,
        gateways,
        mac,
        names: request.names.to_vec(),
        default_route: request.default_route,
        mtu: mtu.transpose()?.or(network.mtu),
        metric: network.metric,
        link_local: attachment.link_local.clone(),
    })
}

/// The name of a lease's file: `CONTAINER,IP,IP`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct LeaseName {
    container: ContainerId,
    addresses: Vec<IpAddr>,
}

impl LeaseName {
    fn of(container: &ContainerId, endpoint: &Endpoint) -> Self {
        LeaseName {
            container: container.clone(),
            addresses: endpoint.addresses.iter().map(IpNet::addr).collect(),
        }
    }

    fn parse(name: &str) -> Option<Self> {
        let mut fields = name.split(',');
        let container = fields.next()?.parse().ok()?;
        let addresses: Result<Vec<IpAddr>, _> = fields.map(str::parse).collect();
        Some(LeaseName {
            container,
            addresses: addresses.ok()?,
        })
    }
}

impl std::fmt::Display for LeaseName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.container)?;
        let mut addresses = self.addresses.iter();
        addresses.try_for_each(|address| write!(f, ",{address}"))
    }
}

//! The Go structures behind Docker's objects, as far as templates see them.
//!
//! Docker runs a template over a structure of its client first, and over the JSON document only if
//! that fails. What a structure prints and which fields it has is therefore part of the command
//! line: `{{.HostConfig.RestartPolicy}}` is `{no 0}`, `{{.HostConfig.Init}}` is `<nil>`, and a field
//! that the JSON leaves out is a zero value rather than a mistake.
//!
//! One line a structure: its name, then its fields in Go's order. A field is its name, `=` and its
//! key in JSON if that differs, and its type: `string`, `int`, `bool`, `time` (time.Time),
//! `duration` (nanoseconds), `any`, the name of a structure, or one of these behind `*`, `[]` and
//! `map[]` (whose keys are texts). A field that is only `+` and a structure is embedded: its fields
//! are those of the outer structure, and print in braces of their own.
//!
//! API 1.50, the client's structures of 28.2.

/// One field of a structure.
pub struct Field {
    /// Empty for an embedded structure.
    pub name: &'static str,
    /// Its key in JSON.
    pub key: &'static str,
    pub kind: &'static str,
}

/// The fields of a structure, nothing for a name that is not one.
pub fn fields(structure: &str) -> Option<impl Iterator<Item = Field>> {
    let line = STRUCTURES.lines().find_map(|line| {
        let (name, rest) = line.split_once(':')?;
        (name == structure).then_some(rest)
    })?;
    Some(line.split(',').filter_map(|field| {
        let mut words = field.split_whitespace();
        let word = words.next()?;
        if let Some(kind) = word.strip_prefix('+') {
            return Some(Field {
                name: "",
                key: "",
                kind,
            });
        }
        let (name, key) = word.split_once('=').unwrap_or((word, word));
        Some(Field {
            name,
            key,
            kind: words.next()?,
        })
    }))
}

pub const CONTAINER: &str = "container.InspectResponse";
pub const IMAGE: &str = "image.InspectResponse";
pub const NETWORK: &str = "network.Inspect";
pub const VOLUME: &str = "volume.Volume";
pub const INFO: &str = "system.dockerInfo";
pub const VERSION: &str = "system.versionInfo";
pub const EVENT: &str = "events.Message";

const STRUCTURES: &str = "\
container.InspectResponse: +container.ContainerJSONBase, Mounts []container.MountPoint, Config *container.Config, NetworkSettings *container.NetworkSettings, ImageManifestDescriptor *v1.Descriptor
container.ContainerJSONBase: ID=Id string, Created string, Path string, Args []string, State *container.State, Image string, ResolvConfPath string, HostnamePath string, HostsPath string, LogPath string, Name string, RestartCount int, Driver string, Platform string, MountLabel string, ProcessLabel string, AppArmorProfile string, ExecIDs []string, HostConfig *container.HostConfig, GraphDriver storage.DriverData, SizeRw *int, SizeRootFs *int
container.State: Status string, Running bool, Paused bool, Restarting bool, OOMKilled bool, Dead bool, Pid int, ExitCode int, Error string, StartedAt string, FinishedAt string, Health *container.Health
container.Health: Status string, FailingStreak int, Log []*container.HealthcheckResult
container.HealthcheckResult: Start time, End time, ExitCode int, Output string
container.Config: Hostname string, Domainname string, User string, AttachStdin bool, AttachStdout bool, AttachStderr bool, ExposedPorts map[]struct, Tty bool, OpenStdin bool, StdinOnce bool, Env []string, Cmd []string, Healthcheck *v1.HealthcheckConfig, ArgsEscaped bool, Image string, Volumes map[]struct, WorkingDir string, Entrypoint []string, NetworkDisabled bool, MacAddress string, OnBuild []string, Labels map[]string, StopSignal string, StopTimeout *int, Shell []string
struct:
v1.HealthcheckConfig: Test []string, Interval duration, Timeout duration, StartPeriod duration, StartInterval duration, Retries int
container.HostConfig: Binds []string, ContainerIDFile string, LogConfig container.LogConfig, NetworkMode string, PortBindings map[][]nat.PortBinding, RestartPolicy container.RestartPolicy, AutoRemove bool, VolumeDriver string, VolumesFrom []string, ConsoleSize []int, Annotations map[]string, CapAdd []string, CapDrop []string, CgroupnsMode string, DNS=Dns []string, DNSOptions=DnsOptions []string, DNSSearch=DnsSearch []string, ExtraHosts []string, GroupAdd []string, IpcMode string, Cgroup string, Links []string, OomScoreAdj int, PidMode string, Privileged bool, PublishAllPorts bool, ReadonlyRootfs bool, SecurityOpt []string, StorageOpt map[]string, Tmpfs map[]string, UTSMode string, UsernsMode string, ShmSize int, Sysctls map[]string, Runtime string, Isolation string, +container.Resources, Mounts []mount.Mount, MaskedPaths []string, ReadonlyPaths []string, Init *bool
container.Resources: CPUShares=CpuShares int, Memory int, NanoCPUs=NanoCpus int, CgroupParent string, BlkioWeight int, BlkioWeightDevice []*blkiodev.WeightDevice, BlkioDeviceReadBps []*blkiodev.ThrottleDevice, BlkioDeviceWriteBps []*blkiodev.ThrottleDevice, BlkioDeviceReadIOps []*blkiodev.ThrottleDevice, BlkioDeviceWriteIOps []*blkiodev.ThrottleDevice, CPUPeriod=CpuPeriod int, CPUQuota=CpuQuota int, CPURealtimePeriod=CpuRealtimePeriod int, CPURealtimeRuntime=CpuRealtimeRuntime int, CpusetCpus string, CpusetMems string, Devices []container.DeviceMapping, DeviceCgroupRules []string, DeviceRequests []container.DeviceRequest, KernelMemory int, KernelMemoryTCP int, MemoryReservation int, MemorySwap int, MemorySwappiness *int, OomKillDisable *bool, PidsLimit *int, Ulimits []*container.Ulimit, CPUCount=CpuCount int, CPUPercent=CpuPercent int, IOMaximumIOps int, IOMaximumBandwidth int
container.LogConfig: Type string, Config map[]string
container.RestartPolicy: Name string, MaximumRetryCount int
container.DeviceMapping: PathOnHost string, PathInContainer string, CgroupPermissions string
container.DeviceRequest: Driver string, Count int, DeviceIDs []string, Capabilities [][]string, Options map[]string
container.Ulimit: Name string, Hard int, Soft int
blkiodev.WeightDevice: Path string, Weight int
blkiodev.ThrottleDevice: Path string, Rate int
nat.PortBinding: HostIP=HostIp string, HostPort string
mount.Mount: Type string, Source string, Target string, ReadOnly bool, Consistency string, BindOptions *mount.BindOptions, VolumeOptions *mount.VolumeOptions, ImageOptions *mount.ImageOptions, TmpfsOptions *mount.TmpfsOptions, ClusterOptions *struct
mount.BindOptions: Propagation string, NonRecursive bool, CreateMountpoint bool, ReadOnlyNonRecursive bool, ReadOnlyForceRecursive bool
mount.VolumeOptions: NoCopy bool, Labels map[]string, Subpath string, DriverConfig *mount.Driver
mount.Driver: Name string, Options map[]string
mount.ImageOptions: Subpath string
mount.TmpfsOptions: SizeBytes int, Mode int, Options [][]string
container.MountPoint: Type string, Name string, Source string, Destination string, Driver string, Mode string, RW bool, Propagation string
container.NetworkSettings: +container.NetworkSettingsBase, +container.DefaultNetworkSettings, Networks map[]*network.EndpointSettings
container.NetworkSettingsBase: Bridge string, SandboxID string, SandboxKey string, Ports map[][]nat.PortBinding, HairpinMode bool, LinkLocalIPv6Address string, LinkLocalIPv6PrefixLen int, SecondaryIPAddresses []network.Address, SecondaryIPv6Addresses []network.Address
container.DefaultNetworkSettings: EndpointID string, Gateway string, GlobalIPv6Address string, GlobalIPv6PrefixLen int, IPAddress string, IPPrefixLen int, IPv6Gateway string, MacAddress string
network.Address: Addr string, PrefixLen int
network.EndpointSettings: IPAMConfig *network.EndpointIPAMConfig, Links []string, Aliases []string, MacAddress string, DriverOpts map[]string, GwPriority int, NetworkID string, EndpointID string, Gateway string, IPAddress string, IPPrefixLen int, IPv6Gateway string, GlobalIPv6Address string, GlobalIPv6PrefixLen int, DNSNames []string
network.EndpointIPAMConfig: IPv4Address string, IPv6Address string, LinkLocalIPs []string
storage.DriverData: Data map[]string, Name string
v1.Descriptor: MediaType=mediaType string, Digest=digest string, Size=size int, URLs=urls []string, Annotations=annotations map[]string, Data=data any, Platform=platform *v1.Platform, ArtifactType=artifactType string
v1.Platform: Architecture=architecture string, OS=os string, OSVersion=os.version string, OSFeatures=os.features []string, Variant=variant string
image.InspectResponse: ID=Id string, RepoTags []string, RepoDigests []string, Parent string, Comment string, Created string, Container string, ContainerConfig *container.Config, DockerVersion string, Author string, Config *v1.DockerOCIImageConfig, Architecture string, Variant string, Os string, OsVersion string, Size int, VirtualSize int, GraphDriver storage.DriverData, RootFS image.RootFS, Metadata image.Metadata, Descriptor *v1.Descriptor, Manifests []image.ManifestSummary
image.RootFS: Type string, Layers []string
image.Metadata: LastTagTime time
image.ManifestSummary: ID string, Descriptor v1.Descriptor, Available bool, Kind string
v1.DockerOCIImageConfig: +v1.ImageConfig, +v1.DockerOCIImageConfigExt
v1.ImageConfig: User string, ExposedPorts map[]struct, Env []string, Entrypoint []string, Cmd []string, Volumes map[]struct, WorkingDir string, Labels map[]string, StopSignal string, ArgsEscaped bool
v1.DockerOCIImageConfigExt: Healthcheck *v1.HealthcheckConfig, OnBuild []string, Shell []string
network.Inspect: Name string, ID=Id string, Created time, Scope string, Driver string, EnableIPv4 bool, EnableIPv6 bool, IPAM network.IPAM, Internal bool, Attachable bool, Ingress bool, ConfigFrom network.ConfigReference, ConfigOnly bool, Containers map[]network.EndpointResource, Options map[]string, Labels map[]string, Peers []network.PeerInfo, Services map[]network.ServiceInfo
network.IPAM: Driver string, Options map[]string, Config []network.IPAMConfig
network.IPAMConfig: Subnet string, IPRange string, Gateway string, AuxAddress=AuxiliaryAddresses map[]string
network.ConfigReference: Network string
network.EndpointResource: Name string, EndpointID string, MacAddress string, IPv4Address string, IPv6Address string
network.PeerInfo: Name string, IP string
network.ServiceInfo: VIP string, Ports []string, LocalLBIndex int, Tasks []any
volume.Volume: ClusterVolume *struct, CreatedAt string, Driver string, Labels map[]string, Mountpoint string, Name string, Options map[]string, Scope string, Status map[]any, UsageData *volume.UsageData
volume.UsageData: RefCount int, Size int
system.versionInfo: Client system.clientVersion, Server *types.Version
system.clientVersion: Platform *types.Platform, Version string, APIVersion=ApiVersion string, DefaultAPIVersion string, GitCommit string, GoVersion string, Os string, Arch string, BuildTime string, Context string
types.Platform: Name string
types.Version: Platform types.Platform, Components []types.ComponentVersion, Version string, APIVersion=ApiVersion string, MinAPIVersion string, GitCommit string, GoVersion string, Os string, Arch string, KernelVersion string, Experimental bool, BuildTime string
types.ComponentVersion: Name string, Version string, Details map[]string
system.dockerInfo: +system.Info, ServerErrors []string, UserName string, ClientInfo *system.clientInfo, ClientErrors []string
system.clientInfo: Debug bool, +system.clientVersion, Plugins []any, Warnings []string
system.Info: ID string, Containers int, ContainersRunning int, ContainersPaused int, ContainersStopped int, Images int, Driver string, DriverStatus [][]string, SystemStatus [][]string, Plugins system.PluginsInfo, MemoryLimit bool, SwapLimit bool, KernelMemory bool, KernelMemoryTCP bool, CPUCfsPeriod=CpuCfsPeriod bool, CPUCfsQuota=CpuCfsQuota bool, CPUShares bool, CPUSet bool, PidsLimit bool, IPv4Forwarding bool, Debug bool, NFd int, OomKillDisable bool, NGoroutines int, SystemTime string, LoggingDriver string, CgroupDriver string, CgroupVersion string, NEventsListener int, KernelVersion string, OperatingSystem string, OSVersion string, OSType string, Architecture string, IndexServerAddress string, RegistryConfig *registry.ServiceConfig, NCPU int, MemTotal int, GenericResources []any, DockerRootDir string, HTTPProxy=HttpProxy string, HTTPSProxy=HttpsProxy string, NoProxy string, Name string, Labels []string, ExperimentalBuild bool, ServerVersion string, Runtimes map[]system.RuntimeWithStatus, DefaultRuntime string, Swarm swarm.Info, LiveRestoreEnabled bool, Isolation string, InitBinary string, ContainerdCommit system.Commit, RuncCommit system.Commit, InitCommit system.Commit, SecurityOptions []string, ProductLicense string, DefaultAddressPools []system.NetworkAddressPool, FirewallBackend *system.FirewallInfo, CDISpecDirs []string, DiscoveredDevices []system.DeviceInfo, Containerd *system.ContainerdInfo, Warnings []string
system.PluginsInfo: Volume []string, Network []string, Authorization []string, Log []string
system.RuntimeWithStatus: +system.Runtime, Status=status map[]string
system.Runtime: Path=path string, Args=runtimeArgs []string, Type=type string, Options=options map[]any
system.Commit: ID string
system.NetworkAddressPool: Base string, Size int
system.FirewallInfo: Driver string, Info [][]string
system.DeviceInfo: Source string, ID string
system.ContainerdInfo: Address string, Namespaces system.ContainerdNamespaces
system.ContainerdNamespaces: Containers string, Plugins string
registry.ServiceConfig: AllowNondistributableArtifactsCIDRs []string, AllowNondistributableArtifactsHostnames []string, InsecureRegistryCIDRs []string, IndexConfigs map[]*registry.IndexInfo, Mirrors []string
registry.IndexInfo: Name string, Mirrors []string, Secure bool, Official bool
swarm.Info: NodeID string, NodeAddr string, LocalNodeState string, ControlAvailable bool, Error string, RemoteManagers []swarm.Peer, Nodes int, Managers int, Cluster *struct, Warnings []string
swarm.Peer: NodeID string, Addr string
events.Message: Status=status string, ID=id string, From=from string, Type string, Action string, Actor events.Actor, Scope=scope string, Time=time int, TimeNano=timeNano int
events.Actor: ID string, Attributes map[]string
";

#[cfg(test)]
mod tests {
    use super::*;

    /// What a kind comes to without its `*`, `[]` and `map[]`.
    fn innermost(kind: &str) -> &str {
        kind.rsplit(['*', ']']).next().unwrap_or_default()
    }

    #[test]
    fn every_type_is_plain_or_a_structure_of_the_table() {
        for line in STRUCTURES.lines() {
            let (name, rest) = line.split_once(':').expect("a structure's name");
            let count = rest
                .split(',')
                .filter(|field| !field.trim().is_empty())
                .count();
            let fields: Vec<Field> = fields(name).expect(name).collect();
            assert_eq!(fields.len(), count, "{name} has a field without a type");
            for field in fields {
                let kind = innermost(field.kind);
                let plain = ["string", "int", "bool", "time", "duration", "any"];
                assert!(
                    plain.contains(&kind) || super::fields(kind).is_some(),
                    "{name}.{} is a {kind}",
                    field.name
                );
            }
        }
    }

    #[test]
    fn the_roots_are_structures() {
        for root in [CONTAINER, IMAGE, NETWORK, VOLUME, INFO, VERSION, EVENT] {
            assert!(fields(root).is_some(), "{root}");
        }
    }
}

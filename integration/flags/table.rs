//! The rows. Words before the image, a script, and what it prints; `{…}` is filled in by
//! [`super::World::fill`].

use Expect::{Prints, Refused, Untried};

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Expect {
    /// Ends well, with this on standard output.
    Prints(&'static str),
    /// Ends with 125 and one line that says this.
    Refused(&'static str),
    /// Not here, and why.
    Untried(&'static str),
}

pub struct Row {
    pub flag: &'static str,
    pub words: &'static [&'static str],
    pub script: &'static str,
    pub root: Expect,
    pub ordinary: Expect,
}

const fn row(
    flag: &'static str,
    words: &'static [&'static str],
    script: &'static str,
    prints: &'static str,
) -> Row {
    Row {
        flag,
        words,
        script,
        root: Prints(prints),
        ordinary: Prints(prints),
    }
}

impl Row {
    const fn for_root(self, root: Expect) -> Row {
        Row { root, ..self }
    }

    const fn for_ordinary(self, ordinary: Expect) -> Row {
        Row { ordinary, ..self }
    }
}

pub const PROCESS: &[Row] = &[
    row("user", &["--user=1000:29"], "id -u; id -g", "1000\n29"),
    row(
        "user",
        &["--user=alice"],
        "id -un; id -G",
        "alice\n1000 10 29",
    ),
    row(
        "group-add",
        &["--group-add=1234", "--group-add=wheel"],
        "id -G",
        "0 10 1234",
    ),
    row(
        "env",
        &["--env=A=1", "-eOF_THE_HOST"],
        "echo $A $OF_THE_HOST",
        "1 here",
    ),
    row(
        "env-file",
        &["--env-file={dir}/env"],
        "echo $FROM_FILE",
        "7",
    ),
    row("env-host", &["--env-host"], "echo $OF_THE_HOST", "here"),
    row(
        "env-merge",
        &["--env-merge=PATH=${PATH}:/more"],
        "echo $PATH | grep -o '.:/more'",
        "n:/more",
    ),
    row(
        "http-proxy",
        &["--http-proxy"],
        "echo $http_proxy",
        "http://proxy.invalid:1",
    ),
    row(
        "unsetenv",
        &["--env=A=1", "--unsetenv=FROM_IMAGE"],
        "echo x$FROM_IMAGE",
        "x",
    ),
    row(
        "unsetenv-all",
        &["--unsetenv-all"],
        "echo x$FROM_IMAGE",
        "x",
    ),
    row("workdir", &["--workdir=/etc"], "pwd", "/etc"),
    row(
        "workdir",
        &["--workdir=/new/folder"],
        "pwd; stat -c %a /new",
        "/new/folder\n755",
    ),
    row(
        "entrypoint",
        &["--entrypoint=/bin/busybox"],
        "tr '\\0' ' ' < /proc/$$/cmdline | cut -d' ' -f1",
        "/bin/busybox",
    ),
    row("tty", &["--tty"], "tty", "/dev/pts/0"),
    row(
        "interactive",
        &["--interactive"],
        "readlink /proc/self/fd/0 | cut -d: -f1",
        "pipe",
    ),
    row("init", &["--init"], "[ $$ -gt 1 ] && echo child", "child"),
    row(
        "umask",
        &["--umask=0027"],
        "umask; touch /x; stat -c %a /x",
        "0027\n640",
    ),
    row("tz", &["--tz=Europe/Paris"], "date -d @0 +%H", "01"),
    row(
        "personality",
        &["--personality=LINUX32"],
        "uname -m | grep -c -e i.86 -e arm",
        "1",
    ),
    row(
        "passwd",
        &["--passwd=false", "--user=4321"],
        "grep -c 4321 /etc/passwd; true",
        "0",
    ),
    row(
        "passwd-entry",
        &["--user=4321", "--passwd-entry=eve:x:$UID:$GID::/:/bin/sh"],
        "id -un",
        "eve",
    ),
    row(
        "group-entry",
        &["--user=4321:4322", "--group-entry=crew:x:$GID:"],
        "id -gn",
        "crew",
    ),
    row(
        "hostuser",
        &["--hostuser=nobody"],
        "grep -c ^nobody: /etc/passwd",
        "1",
    ),
];

pub const NAMESPACES: &[Row] = &[
    row(
        "hostname",
        &["--hostname=box"],
        "hostname; grep -c box /etc/hosts",
        "box\n1",
    ),
    row(
        "domainname",
        &["--domainname=example.org"],
        "cat /proc/sys/kernel/domainname",
        "example.org",
    ),
    row(
        "network",
        &["--network=host"],
        "readlink /proc/self/ns/net",
        "{host:net}",
    ),
    row(
        "network",
        &["--network=none"],
        "tail -n +3 /proc/net/dev | cut -d: -f1 | tr -d ' '",
        "lo",
    ),
    row(
        "pid",
        &["--pid=host"],
        "readlink /proc/self/ns/pid",
        "{host:pid}",
    ),
    row(
        "pid",
        &["--pid=container:peer"],
        "readlink /proc/self/ns/pid",
        "{peer:pid}",
    ),
    row(
        "pid",
        &["--pid=private"],
        "readlink /proc/1/comm 2>/dev/null; echo $$",
        "1",
    ),
    row(
        "ipc",
        &["--ipc=host"],
        "readlink /proc/self/ns/ipc",
        "{host:ipc}",
    ),
    row(
        "ipc",
        &["--ipc=container:peer"],
        "readlink /proc/self/ns/ipc",
        "{peer:ipc}",
    ),
    row(
        "ipc",
        &["--ipc=none"],
        "grep -c ' /dev/shm ' /proc/mounts; true",
        "0",
    ),
    row(
        "uts",
        &["--uts=host"],
        "readlink /proc/self/ns/uts",
        "{host:uts}",
    ),
    row(
        "uts",
        &["--uts=container:peer"],
        "readlink /proc/self/ns/uts",
        "{peer:uts}",
    ),
    row(
        "cgroupns",
        &["--cgroupns=host"],
        "readlink /proc/self/ns/cgroup",
        "{host:cgroup}",
    ),
    row(
        "cgroupns",
        &["--cgroupns=private"],
        "cut -d: -f3 /proc/self/cgroup | sort -u",
        "/",
    ),
    row(
        "userns",
        &["--userns=host"],
        "readlink /proc/self/ns/user",
        "{host:user}",
    )
    .for_ordinary(Prints("{peer:user}")),
    row(
        "userns",
        &["--userns=keep-id"],
        "id -u; id -g",
        "{uid}\n{gid}",
    )
    .for_root(Untried("root keeps its id without it")),
    row(
        "userns",
        &["--userns=keep-id:uid=7,gid=8"],
        "id -u; id -g",
        "7\n8",
    )
    .for_root(Untried("root keeps its id without it")),
    row("userns", &["--userns=nomap"], "id -u", "0").for_root(Refused("nomap")),
    row(
        "uidmap",
        &["--uidmap=0:1000:500", "--gidmap=0:2000:600"],
        "awk '{print $1, $2, $3}' /proc/self/uid_map /proc/self/gid_map",
        "0 1000 500\n0 2000 600",
    ),
    row(
        "gidmap",
        &["--uidmap=0:1000:500", "--gidmap=0:2000:600"],
        "touch /x; stat -c %u:%g /x",
        "0:0",
    ),
    row(
        "subuidname",
        &["--subuidname=coracle-test", "--subgidname=coracle-test"],
        "awk '{print $1, $3}' /proc/self/uid_map",
        "0 65536",
    )
    .for_ordinary(Untried("depends on the ranges of this machine")),
    row(
        "subgidname",
        &["--subuidname=coracle-test", "--subgidname=coracle-test"],
        "awk '{print $1, $3}' /proc/self/gid_map",
        "0 65536",
    )
    .for_ordinary(Untried("depends on the ranges of this machine")),
    row(
        "no-hostname",
        &["--no-hostname", "--hostname=box"],
        "grep -c box /etc/hostname 2>/dev/null; true",
        "",
    ),
    row(
        "no-hosts",
        &["--no-hosts"],
        "grep -c ' /etc/hosts ' /proc/mounts; true",
        "0",
    ),
    row(
        "systemd",
        &["--systemd=always"],
        "stat -f -c %T /run /tmp; echo $container",
        "tmpfs\ntmpfs\noci",
    )
    .for_root(Untried(
        "what systemd needs of the machine differs: the area of namespaces tries it",
    ))
    .for_ordinary(Untried(
        "what systemd needs of the machine differs: the area of namespaces tries it",
    )),
];

pub const MOUNTS: &[Row] = &[
    row(
        "volume",
        &["--volume={dir}/src:/m"],
        "cat /m/file; touch /m/x && echo writable",
        "content\nwritable",
    ),
    row(
        "volume",
        &["--volume={dir}/src:/m:ro"],
        "cat /m/file; touch /m/y 2>/dev/null || echo read-only",
        "content\nread-only",
    ),
    row(
        "mount",
        &["--mount=type=bind,src={dir}/src,dst=/m,readonly"],
        "cat /m/file; touch /m/y 2>/dev/null || echo read-only",
        "content\nread-only",
    ),
    row(
        "mount",
        &["--mount=type=tmpfs,dst=/m,tmpfs-size=1m,tmpfs-mode=0700"],
        "df -k /m | tail -1 | awk '{print $2}'; stat -c %a /m",
        "1024\n700",
    ),
    row(
        "mount",
        &["--mount=type=bind,src=/no/such/folder,dst=/m"],
        "true",
        "",
    )
    .for_root(Refused("/no/such/folder"))
    .for_ordinary(Refused("/no/such/folder")),
    row(
        "tmpfs",
        &["--tmpfs=/m:size=1m,noexec,mode=1770"],
        "df -k /m | tail -1 | awk '{print $2}'; stat -c %a /m; grep ' /m ' /proc/mounts | grep -o noexec",
        "1024\n1770\nnoexec",
    ),
    row(
        "read-only",
        &["--read-only"],
        "touch /x 2>/dev/null || echo read-only; touch /dev/shm/x && echo shm",
        "read-only\nshm",
    ),
    row(
        "read-only-tmpfs",
        &["--read-only", "--read-only-tmpfs"],
        "touch /tmp/x /run/x /var/tmp/x && echo fine; touch /x 2>/dev/null || echo read-only",
        "fine\nread-only",
    ),
    row(
        "shm-size",
        &["--shm-size=1m"],
        "df -k /dev/shm | tail -1 | awk '{print $2}'",
        "1024",
    ),
    row("shm-size-systemd", &["--shm-size-systemd=1m"], "true", ""),
    row(
        "volumes-from",
        &["--volumes-from=peer"],
        "cat /shared/file; touch /shared/z && echo writable",
        "content\nwritable",
    ),
    row(
        "volumes-from",
        &["--volumes-from=peer:ro"],
        "cat /shared/file; touch /shared/q 2>/dev/null || echo read-only",
        "content\nread-only",
    ),
    row("volume-driver", &["--volume-driver=local"], "true", ""),
    row("image-volume", &["--image-volume=ignore"], "true", ""),
];

pub const DEVICES: &[Row] = &[
    row(
        "device",
        &["--device=/dev/null:/dev/mine"],
        "stat -c %t:%T /dev/mine; echo x > /dev/mine && echo writes",
        "1:3\nwrites",
    ),
    row("device", &["--device=/dev/no-such-device"], "true", "")
        .for_root(Refused("/dev/no-such-device"))
        .for_ordinary(Refused("/dev/no-such-device")),
    row(
        "device-cgroup-rule",
        &["--device-cgroup-rule=c 1:* rwm"],
        "head -c 1 /dev/zero | wc -c",
        "1",
    )
    .for_ordinary(Untried(
        "an ordinary user's devices are those that it may open anyway",
    )),
    row("gpus", &["--gpus=all"], "true", "")
        .for_root(Refused(""))
        .for_ordinary(Refused("")),
    row("cdi-spec-dir", &["--cdi-spec-dir={dir}/src"], "true", ""),
];

pub const SECURITY: &[Row] = &[
    row(
        "cap-add",
        &["--cap-add=NET_ADMIN"],
        "grep CapEff /proc/self/status | cut -f2",
        "00000000800415fb",
    ),
    row(
        "cap-drop",
        &["--cap-drop=ALL"],
        "grep -e CapBnd -e CapEff /proc/self/status | cut -f2",
        "0000000000000000\n0000000000000000",
    ),
    row(
        "cap-drop",
        &["--cap-drop=CHOWN"],
        "grep CapBnd /proc/self/status | cut -f2; chown 1 /bin 2>/dev/null || echo refused",
        "00000000800405fa\nrefused",
    ),
    row(
        "privileged",
        &["--privileged"],
        "grep Seccomp: /proc/self/status | cut -f2; [ $(grep CapEff /proc/self/status | cut -f2) = $(grep CapBnd /proc/1/status | cut -f2) ] && echo same; mount -t tmpfs none /mnt 2>/dev/null || mkdir /mnt && mount -t tmpfs none /mnt && echo mounted",
        "0\nsame\nmounted",
    ),
    row(
        "security-opt",
        &["--security-opt=seccomp=unconfined"],
        "grep Seccomp: /proc/self/status | cut -f2",
        "0",
    ),
    row(
        "security-opt",
        &["--security-opt=no-new-privileges"],
        "grep NoNewPrivs /proc/self/status | cut -f2",
        "1",
    ),
    row(
        "security-opt",
        &["--security-opt=systempaths=unconfined"],
        "grep -c -e ' /proc/sys ' -e ' /proc/keys ' /proc/mounts; true",
        "0",
    ),
    row(
        "security-opt",
        &["--security-opt=mask=/proc/version"],
        "wc -c < /proc/version",
        "0",
    ),
    row(
        "security-opt",
        &["--security-opt=unmask=/proc/interrupts"],
        "[ -s /proc/interrupts ] || grep -c CPU /proc/interrupts",
        "1",
    ),
    row(
        "security-opt",
        &["--security-opt=seccomp=/no/such/profile"],
        "true",
        "",
    )
    .for_root(Refused("/no/such/profile"))
    .for_ordinary(Refused("/no/such/profile")),
    row(
        "ulimit",
        &["--ulimit=nofile=100:200", "--ulimit=core=0"],
        "ulimit -Sn; ulimit -Hn; ulimit -c",
        "100\n200\n0",
    ),
    row(
        "sysctl",
        &[
            "--sysctl=net.ipv4.ip_forward=1",
            "--sysctl=kernel.msgmax=4096",
        ],
        "cat /proc/sys/net/ipv4/ip_forward /proc/sys/kernel/msgmax",
        "1\n4096",
    ),
    row("sysctl", &["--sysctl=kernel.panic=5"], "true", "")
        .for_root(Refused("kernel.panic"))
        .for_ordinary(Refused("kernel.panic")),
    row(
        "oom-score-adj",
        &["--oom-score-adj=500"],
        "cat /proc/self/oom_score_adj",
        "500",
    ),
];

pub const LIFECYCLE: &[Row] = &[
    row("rm", &["--rm"], "true", ""),
    row("name", &["--name=chosen"], "hostname | wc -c", "13"),
    row("cidfile", &["--cidfile={dir}/cid"], "true", ""),
    row("pidfile", &["--pidfile={dir}/pid"], "true", ""),
    row("timeout", &["--timeout=60"], "echo in time", "in time"),
    row("annotation", &["--annotation=a=b"], "true", ""),
    row("stop-signal", &["--stop-signal=USR1"], "true", ""),
    row("stop-timeout", &["--stop-timeout=3"], "true", ""),
    row("label", &["--label=a=b"], "true", ""),
    row("label-file", &["--label-file={dir}/labels"], "true", ""),
    row("log-driver", &["--log-driver=none"], "echo shown", "shown"),
    row(
        "log-opt",
        &[
            "--log-driver=k8s-file",
            "--log-opt=max-size=1m",
            "--log-opt=path={dir}/log",
        ],
        "echo shown",
        "shown",
    ),
    row(
        "attach",
        &["--attach=stdout"],
        "echo shown; echo hidden >&2",
        "shown",
    ),
    row("sig-proxy", &["--sig-proxy=false"], "true", ""),
    row("detach-keys", &["--detach-keys=ctrl-a"], "true", ""),
    row(
        "health-cmd",
        &[
            "--health-cmd=touch /well",
            "--health-interval=1ms",
            "--health-timeout=5s",
            "--health-retries=1",
            "--health-start-period=1s",
            "--health-start-interval=1ms",
        ],
        "until [ -e /well ]; do sleep 0.01; done; echo checked",
        "checked",
    ),
    row(
        "health-startup-cmd",
        &[
            "--health-cmd=touch /well",
            "--health-startup-cmd=touch /up",
            "--health-startup-interval=1ms",
            "--health-startup-retries=3",
            "--health-startup-success=2",
            "--health-startup-timeout=5s",
        ],
        "until [ -e /well ]; do sleep 0.01; done; ls /up",
        "/up",
    ),
    row(
        "no-healthcheck",
        &["--no-healthcheck"],
        "echo unchecked",
        "unchecked",
    ),
    row("pull", &["--pull=never"], "true", ""),
    row("quiet", &["--quiet"], "true", ""),
];

pub struct Limit {
    pub flag: &'static str,
    pub words: &'static [&'static str],
    /// As cgroups of version 1 call it.
    pub controller: &'static str,
    /// File and one of its lines; no file means that the version has nothing of the kind.
    pub v1: (&'static str, &'static str),
    pub v2: (&'static str, &'static str),
}

const fn limit(
    flag: &'static str,
    words: &'static [&'static str],
    controller: &'static str,
    v1: (&'static str, &'static str),
    v2: (&'static str, &'static str),
) -> Limit {
    Limit {
        flag,
        words,
        controller,
        v1,
        v2,
    }
}

const NOTHING: (&str, &str) = ("", "");

pub const LIMITS: &[Limit] = &[
    limit(
        "memory",
        &["--memory=64m"],
        "memory",
        ("memory.limit_in_bytes", "67108864"),
        ("memory.max", "67108864"),
    ),
    limit(
        "memory-reservation",
        &["--memory-reservation=32m"],
        "memory",
        ("memory.soft_limit_in_bytes", "33554432"),
        ("memory.low", "33554432"),
    ),
    limit(
        "memory-swap",
        &["--memory=64m", "--memory-swap=96m"],
        "memory",
        ("memory.memsw.limit_in_bytes", "100663296"),
        ("memory.swap.max", "33554432"),
    ),
    limit(
        "memory-swappiness",
        &["--memory-swappiness=10"],
        "memory",
        ("memory.swappiness", "10"),
        NOTHING,
    ),
    limit(
        "oom-kill-disable",
        &["--memory=64m", "--oom-kill-disable"],
        "memory",
        ("memory.oom_control", "oom_kill_disable 1"),
        NOTHING,
    ),
    limit(
        "kernel-memory",
        &["--kernel-memory=64m"],
        "memory",
        NOTHING,
        NOTHING,
    ),
    limit(
        "cpus",
        &["--cpus=0.5"],
        "cpu",
        ("cpu.cfs_quota_us", "50000"),
        ("cpu.max", "50000 100000"),
    ),
    limit(
        "cpu-quota",
        &["--cpu-quota=20000", "--cpu-period=40000"],
        "cpu",
        ("cpu.cfs_quota_us", "20000"),
        ("cpu.max", "20000 40000"),
    ),
    limit(
        "cpu-period",
        &["--cpu-period=40000", "--cpu-quota=20000"],
        "cpu",
        ("cpu.cfs_period_us", "40000"),
        ("cpu.max", "20000 40000"),
    ),
    limit(
        "cpu-shares",
        &["--cpu-shares=512"],
        "cpu",
        ("cpu.shares", "512"),
        NOTHING,
    ),
    limit(
        "cpu-rt-period",
        &["--cpu-rt-period=1000000"],
        "cpu",
        NOTHING,
        NOTHING,
    ),
    limit(
        "cpu-rt-runtime",
        &["--cpu-rt-runtime=1000", "--cpu-rt-period=1000000"],
        "cpu",
        NOTHING,
        NOTHING,
    ),
    limit(
        "cpuset-cpus",
        &["--cpuset-cpus=0"],
        "cpuset",
        ("cpuset.cpus", "0"),
        ("cpuset.cpus", "0"),
    ),
    limit(
        "cpuset-mems",
        &["--cpuset-mems=0"],
        "cpuset",
        ("cpuset.mems", "0"),
        ("cpuset.mems", "0"),
    ),
    limit(
        "pids-limit",
        &["--pids-limit=17"],
        "pids",
        ("pids.max", "17"),
        ("pids.max", "17"),
    ),
    limit(
        "blkio-weight",
        &["--blkio-weight=300"],
        "blkio",
        NOTHING,
        NOTHING,
    ),
    limit(
        "blkio-weight-device",
        &["--blkio-weight-device={node}:300"],
        "blkio",
        NOTHING,
        NOTHING,
    ),
    limit(
        "device-read-bps",
        &["--device-read-bps={node}:1mb"],
        "blkio",
        ("blkio.throttle.read_bps_device", "{disk} 1048576"),
        ("io.max", "{disk} rbps=1048576 wbps=max riops=max wiops=max"),
    ),
    limit(
        "device-write-bps",
        &["--device-write-bps={node}:1mb"],
        "blkio",
        ("blkio.throttle.write_bps_device", "{disk} 1048576"),
        ("io.max", "{disk} rbps=max wbps=1048576 riops=max wiops=max"),
    ),
    limit(
        "device-read-iops",
        &["--device-read-iops={node}:100"],
        "blkio",
        ("blkio.throttle.read_iops_device", "{disk} 100"),
        ("io.max", "{disk} rbps=max wbps=max riops=100 wiops=max"),
    ),
    limit(
        "device-write-iops",
        &["--device-write-iops={node}:100"],
        "blkio",
        ("blkio.throttle.write_iops_device", "{disk} 100"),
        ("io.max", "{disk} rbps=max wbps=max riops=max wiops=100"),
    ),
];

/// Flags whose effect a row cannot show, and where it is shown.
pub const ELSEWHERE: &[(&str, &str)] = &[
    ("authfile", "tests/registry_requests.rs"),
    ("cert-dir", "pull::own_authority"),
    ("creds", "tests/registry_requests.rs"),
    ("retry", "tests/registry_requests.rs"),
    ("retry-delay", "tests/registry_requests.rs"),
    ("tls-verify", "pull::unknown_authority_is_refused"),
    ("platform", "pull::platforms"),
    ("restart", "integration/restart.rs"),
    ("detach", "life::detached"),
    ("help", "tests/cli_frame.rs"),
    (
        "cgroup-parent",
        "the area of cgroups: a place for its limits has to be made",
    ),
    ("cgroup-conf", "the area of cgroups: needs version 2"),
    ("cgroups", "the area of cgroups"),
    (
        "strict-limits",
        "flags::limits says when a limit cannot hold; the area of cgroups",
    ),
    (
        "secret",
        "the area of devices: a secret has to be made first",
    ),
    ("bundle", "the area of bundles"),
    ("add-host", "the area of networks"),
    ("dns", "the area of networks"),
    ("dns-option", "the area of networks"),
    ("dns-search", "the area of networks"),
    ("expose", "the area of networks"),
    ("hosts-file", "the area of networks"),
    ("ip", "the area of networks"),
    ("ip6", "the area of networks"),
    ("link", "the area of networks"),
    ("link-local-ip", "the area of networks"),
    ("mac-address", "the area of networks"),
    ("network-alias", "the area of networks"),
    ("publish", "the area of networks"),
    ("publish-all", "the area of networks"),
    ("hooks-dir", "the area of bundles"),
    ("rootfs", "the area of bundles"),
    ("health-interval", "the row of health-cmd"),
    ("health-log-destination", "health::bad_settings_are_refused"),
    ("health-max-log-count", "health::results_are_bounded"),
    ("health-max-log-size", "health::results_are_bounded"),
    ("health-on-failure", "health::unhealthy_containers_end"),
    ("health-retries", "the row of health-cmd"),
    ("health-start-interval", "the row of health-cmd"),
    ("health-start-period", "the row of health-cmd"),
    ("health-startup-interval", "the row of health-startup-cmd"),
    ("health-startup-retries", "the row of health-startup-cmd"),
    ("health-startup-success", "the row of health-startup-cmd"),
    ("health-startup-timeout", "the row of health-startup-cmd"),
    ("health-timeout", "the row of health-cmd"),
    ("replace", "life::replaced_by_name"),
    ("rmi", "life::image_goes_with_its_run"),
];

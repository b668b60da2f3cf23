//! The command line's frame: help, wrong flags, wrong counts, settings. Docker 28's client is the
//! measure for words and exit codes; nothing here needs an image or a container.

use std::{
    path::Path,
    process::{Command, Output, Stdio},
};

/// A user with an empty home and nothing else.
struct User {
    home: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        User {
            home: tempfile::tempdir().expect("a temporary folder"),
        }
    }

    fn path(&self) -> &Path {
        self.home.path()
    }

    fn command(&self, words: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_coracle"));
        command
            .args(words)
            .env_clear()
            .env("HOME", self.path())
            .current_dir(self.path())
            .stdin(Stdio::null());
        command
    }

    fn run(&self, words: &[&str]) -> Transcript {
        self.command(words).output().expect("coracle runs").into()
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Transcript {
    code: i32,
    out: String,
    err: String,
}

impl From<Output> for Transcript {
    fn from(output: Output) -> Self {
        Transcript {
            code: output.status.code().unwrap_or(-1),
            out: String::from_utf8_lossy(&output.stdout).into_owned(),
            err: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Transcript {
    /// The first line of standard error.
    fn first(&self) -> &str {
        self.err.lines().next().unwrap_or_default()
    }
}

fn coracle(words: &[&str]) -> Transcript {
    User::new().run(words)
}

#[test]
fn help_of_a_command_is_in_dockers_layout() {
    let help = coracle(&["stop", "--help"]);
    assert_eq!(help.code, 0);
    assert_eq!(help.err, "");
    insta::assert_snapshot!(help.out, @"
    Usage:  coracle stop [OPTIONS] CONTAINER [CONTAINER...]

    Stop running containers

    Aliases:
      coracle container stop, coracle stop

    Options:
      -a, --all             All containers that run
          --cidfile file    The container whose ID is in this file, too
      -f, --filter filter   Those that run and fit, as for ps
      -i, --ignore          A container that is not there is no error
      -l, --latest          The container that was made last, instead of a name
      -s, --signal string   Signal that asks the container to end
      -t, --timeout int     Seconds to wait before SIGKILL, -1 waits for ever
    ");
}

#[test]
fn help_of_run_lists_its_flags_by_name() {
    let help = coracle(&["run", "--help"]);
    assert_eq!(help.code, 0);
    insta::assert_snapshot!(help.out, @r#"
    Usage:  coracle run [OPTIONS] IMAGE [COMMAND] [ARG...]

    Create a container from an image and run a program in it

    Aliases:
      coracle container run, coracle run

    Options:
          --add-host list                      Line of /etc/hosts, NAME:IP; the
                                               address may be host-gateway
          --annotation map                     Add an annotation of the runtime
                                               specification, KEY=VALUE (default
                                               map[])
      -a, --attach list                        Connect these streams: stdin, stdout,
                                               stderr
          --authfile string                    File with registry credentials
          --blkio-weight uint16                Share of block device time, 10 to
                                               1000 (default 0)
          --blkio-weight-device list           The same for one device, PATH:WEIGHT
                                               (default [])
      -b, --bundle string                      Run the runtime bundle in this folder
                                               instead of an image
          --cap-add list                       Give the container a capability, or
                                               ALL
          --cap-drop list                      Take a capability from the container,
                                               or ALL
          --cdi-spec-dir list                  Folder with CDI specifications
          --cert-dir path                      Folder with a registry's ca.crt,
                                               client.cert and client.key
          --cgroup-conf strings                Write a value into a file of the
                                               cgroup, FILE=VALUE (version 2)
          --cgroup-parent string               Cgroup in which the container's is
                                               made
          --cgroupns string                    Cgroup namespace: host, private,
                                               container:NAME or ns:PATH
          --cgroups string                     Where the cgroup is made: enabled,
                                               disabled, no-conmon or split
          --cidfile string                     Write the container's ID to a new
                                               file
          --cpu-period int                     Length of a scheduling period in
                                               microseconds
          --cpu-quota int                      Processor time in one period, in
                                               microseconds
          --cpu-rt-period int                  Length of a real-time period in
                                               microseconds (cgroup version 1 only)
          --cpu-rt-runtime int                 Real-time processor time in one
                                               period, in microseconds (cgroup
                                               version 1 only)
      -c, --cpu-shares int                     Share of processor time among
                                               containers; 1024 is usual
          --cpus decimal                       Number of processors, 1.5 for example
          --cpuset-cpus string                 Processors that may be used, 0-2,4
          --cpuset-mems string                 Memory nodes that may be used
          --creds string                       Credentials for the registry,
                                               USER:PASSWORD
      -d, --detach                             Leave the container running in the
                                               background and print its ID
          --detach-keys string                 Keys that leave the container
                                               running, ctrl-p,ctrl-q if nothing is
                                               said
          --device list                        Give a device:
                                               HOST[:CONTAINER[:rwm]], or the name
                                               of a CDI device
          --device-cgroup-rule list            Allow devices by their numbers, like
                                               'c 1:* rwm'
          --device-read-bps list               Bytes a second read from a device,
                                               PATH:NUMBER[UNIT] (default [])
          --device-read-iops list              Reads a second from a device,
                                               PATH:NUMBER (default [])
          --device-write-bps list              Bytes a second written to a device,
                                               PATH:NUMBER[UNIT] (default [])
          --device-write-iops list             Writes a second to a device,
                                               PATH:NUMBER (default [])
          --dns list                           DNS server; none leaves the image's
                                               resolv.conf alone
          --dns-option list                    Option of resolv.conf
          --dns-search list                    Domain that short names are looked up
                                               in; "." is none
          --domainname string                  NIS domain name of the container
          --entrypoint string                  Program to run instead of the image's
                                               entrypoint
      -e, --env list                           Set a variable, or copy one from this
                                               environment
          --env-file list                      Read variables from a file
          --env-host                           Copy all variables of this
                                               environment; the image's count more
          --env-merge list                     Set a variable made of the image's,
                                               like PATH=/x:${PATH}
          --expose list                        Port that the program listens on:
                                               PORT[-PORT][/PROTOCOL]
          --gidmap strings                     Map group ids, CONTAINER:HOST:COUNT
          --gpus gpu-request                   Give GPUs: all, a number, or device=,
                                               driver=, capabilities=
          --group-add list                     Add groups to the program's user, or
                                               keep-groups
          --group-entry string                 Line of the user's group in the
                                               container's /etc/group
          --health-cmd string                  Check the container's health with
                                               this line of shell, or a JSON array
                                               of words; none is no check
          --health-interval duration           Time between two checks, 30s if
                                               nothing is said; disable checks by
                                               hand only (default 0s)
          --health-log-destination string      Where results are kept: local
          --health-max-log-count uint          How many results are kept, 5 if
                                               nothing is said; 0 is as many as
                                               possible
          --health-max-log-size uint           How many bytes of a check's output
                                               are kept, 4096 if nothing is said; 0
                                               is as many as possible
          --health-on-failure string           What to do with a container that has
                                               become unhealthy: none, kill, restart
                                               or stop
          --health-retries int                 Failures in a row that make the
                                               container unhealthy, 3 if nothing is
                                               said
          --health-start-interval duration     Time between two checks in the start
                                               period, 5s if nothing is said
                                               (default 0s)
          --health-start-period duration       Time after the start in which
                                               failures do not count (default 0s)
          --health-startup-cmd string          Check this first, and the container's
                                               health when it has succeeded
          --health-startup-interval duration   Time between two startup checks, 30s
                                               if nothing is said
          --health-startup-retries uint        Failed startup checks in a row after
                                               which the container is started anew;
                                               0 is never
          --health-startup-success uint        Successful startup checks that are
                                               needed
          --health-startup-timeout duration    Time after which a startup check is
                                               killed, 30s if nothing is said
          --health-timeout duration            Time after which a check is killed,
                                               30s if nothing is said (default 0s)
          --hooks-dir string                   Run the hooks that the files of this
                                               folder describe
      -h, --hostname string                    Name of the host inside the container
          --hosts-file string                  What /etc/hosts begins with: a file,
                                               image or none
          --hostuser list                      Add users of this machine to the
                                               container's /etc/passwd
          --http-proxy                         Copy the proxy variables of this
                                               environment
          --image-volume string                What becomes of the image's volumes:
                                               anonymous, tmpfs or ignore
          --init                               Run a small init that forwards
                                               signals and reaps processes
      -i, --interactive                        Keep standard input open
          --ip string                          Address of IPv4
          --ip6 string                         Address of IPv6
          --ipc string                         IPC namespace: none, private,
                                               shareable, host, container:NAME or
                                               ns:PATH
      -l, --label list                         Set a label, KEY=VALUE
          --label-file list                    Read labels from a file
          --link list                          Another container under a name that
                                               only this one knows: CONTAINER[:NAME]
          --link-local-ip list                 One more address, of the link alone
          --log-driver string                  Where the output goes: json-file,
                                               k8s-file, local, journald, none,
                                               passthrough or passthrough-tty
          --log-opt list                       Option of the log driver:
                                               max-size=10m, max-file=3,
                                               compress=true, tag=, labels=, env=,
                                               path=, mode=
          --mac-address string                 Ethernet address
      -m, --memory bytes                       Most memory the container may use,
                                               512m for example
          --memory-reservation bytes           Memory that is left to the container
                                               when the machine is short of it
          --memory-swap bytes                  Most memory and swap together; -1 is
                                               no limit of swap
          --memory-swappiness int              Inclination to swap, 0 to 100 (cgroup
                                               version 1 only) (default -1)
          --mount mount                        Mount a path, volume, tmpfs or image,
                                               type=...,source=...,target=...
          --name string                        Name the container
          --network network                    Network of the container: none, host,
                                               bridge, private, container:NAME,
                                               ns:PATH, or the name of a network,
                                               with NAME:alias=A,ip=ADDRESS or
                                               name=NAME,alias=A,ip=ADDRESS
          --network-alias list                 Name of the container in its network,
                                               besides its own
          --no-healthcheck                     Do not check the container's health,
                                               whatever the image says
          --no-hostname                        Leave the image's /etc/hostname alone
          --no-hosts                           Leave the image's /etc/hosts alone
          --oom-kill-disable                   Do not kill the container when its
                                               memory is used up (cgroup version 1
                                               only)
          --oom-score-adj int                  How soon the kernel ends the program
                                               when memory is out, -1000 to 1000
          --passwd                             Add the container's user to its
                                               /etc/passwd if it is not there
          --passwd-entry string                That line, with $USERNAME, $UID,
                                               $GID, $NAME and $HOME
          --personality string                 Execution domain of the program:
                                               LINUX or LINUX32
          --pid string                         PID namespace: host, private,
                                               container:NAME or ns:PATH
          --pidfile string                     Write the number of the first process
                                               to a file
          --pids-limit int                     Most processes and threads; 0 or -1
                                               is no limit
          --platform string                    Platform to choose from a
                                               multi-platform image
          --privileged                         Give the container nearly all rights
                                               of the caller
      -p, --publish list                       Have a port of the host stand for one
                                               of the container:
                                               [[IP:][PORT]:]PORT[/PROTOCOL]
      -P, --publish-all                        Publish all exposed ports, each on
                                               any that is free
          --pull string                        When to pull the image: always,
                                               missing or never (default "missing")
      -q, --quiet                              Do not show a pull's progress
          --read-only                          Mount the root file system read-only
          --read-only-tmpfs                    With --read-only, make /run, /tmp and
                                               /var/tmp writable
          --replace                            Remove another container of that
                                               --name first
          --restart string                     When to start the container again
                                               after its end: no, on-failure[:MOST],
                                               always or unless-stopped (default
                                               "no")
          --retry uint                         Attempts after one that failed
          --retry-delay string                 Pause before each of them, as 2s
                                               (default: 0.5s, doubled each time)
          --rm                                 Remove the container when it ends
          --rmi                                Remove the container and its image
                                               when it ends
          --rootfs                             The first argument is a folder with a
                                               root file system, not an image
          --secret list                        Give a secret:
                                               NAME[,type=mount|env,target=,uid=,gid=,mode=]
          --security-opt list                  Change the filters around the
                                               container, KEY=VALUE
          --shm-size bytes                     Size of /dev/shm
          --sig-proxy                          Send signals for this process to the
                                               program (default true)
          --stop-signal string                 Signal that asks the container to end
          --stop-timeout int                   Seconds between that signal and
                                               SIGKILL
          --strict-limits                      Fail if a limit cannot hold on this
                                               machine
          --subgidname string                  Map the ranges that this name has in
                                               /etc/subgid
          --subuidname string                  Map the ranges that this name has in
                                               /etc/subuid
          --sysctl map                         Set a kernel parameter of the
                                               container's own namespaces (default
                                               map[])
          --systemd string                     Prepare for systemd as the program:
                                               true (if it is), false or always
          --timeout uint                       Kill the container after so many
                                               seconds
          --tls-verify                         Demand https and a known certificate
          --tmpfs list                         Mount a tmpfs, PATH[:OPTIONS]
      -t, --tty                                Give the program a terminal
          --tz string                          Time zone, like Europe/Berlin, or
                                               local for that of this machine
          --uidmap strings                     Map user ids, CONTAINER:HOST:COUNT
          --ulimit ulimit                      Limit a resource of each process,
                                               NAME=SOFT[:HARD] (default [])
          --umask string                       Mask of modes that new files do not
                                               get
          --unsetenv list                      Leave variables of the image out
          --unsetenv-all                       Leave all variables of the image out
      -u, --user string                        User of the program, name or number,
                                               with an optional group
          --userns string                      User namespace: host, keep-id, auto,
                                               nomap, private, container:NAME or
                                               ns:PATH
          --uts string                         UTS namespace: host, private,
                                               container:NAME or ns:PATH
      -v, --volume list                        Mount a volume or a path of the host,
                                               [SOURCE:]TARGET[:OPTIONS]
          --volume-driver string               What keeps the volumes that are made:
                                               local is the only one
          --volumes-from list                  Mount what another container mounts,
                                               CONTAINER[:ro]
      -w, --workdir string                     Folder to start in
    "#);
}

#[test]
fn every_spelling_has_help_and_none_touches_the_store() {
    let user = User::new();
    for words in [
        "attach",
        "create",
        "doctor",
        "exec",
        "images",
        "import",
        "info",
        "inspect",
        "kill",
        "load",
        "logs",
        "ps",
        "pull",
        "rm",
        "rmi",
        "run",
        "start",
        "stop",
        "tag",
        "version",
        "wait",
        "container attach",
        "container create",
        "container exec",
        "container inspect",
        "container kill",
        "container list",
        "container logs",
        "container ls",
        "container ps",
        "container remove",
        "container rm",
        "container run",
        "container start",
        "container stop",
        "container wait",
        "image import",
        "image inspect",
        "image list",
        "image load",
        "image ls",
        "image pull",
        "image remove",
        "image rm",
        "image tag",
        "system info",
        "system doctor",
    ] {
        let mut words: Vec<&str> = words.split(' ').collect();
        words.push("--help");
        let help = user.run(&words);
        assert_eq!((help.code, help.err.as_str()), (0, ""), "{words:?}");
        let usage = format!("Usage:  coracle {}", words[..words.len() - 1].join(" "));
        assert!(help.out.starts_with(&usage), "{words:?}: {}", help.out);
        assert_eq!(
            user.run(&[&["help"], &words[..words.len() - 1]].concat())
                .out,
            help.out
        );
    }
    assert_eq!(user.path().read_dir().expect("readable").count(), 0);
}

#[test]
fn without_words_help_goes_to_standard_error() {
    let all = coracle(&[]);
    assert_eq!((all.code, all.out.as_str()), (0, ""));
    let help = coracle(&["--help"]);
    assert_eq!((help.code, help.err.as_str()), (0, ""));
    assert_eq!(all.err, help.out);
    let group = coracle(&["container"]);
    assert_eq!((group.code, group.out.as_str()), (0, ""));
    assert_eq!(group.err, coracle(&["container", "--help"]).out);
}

#[test]
fn a_wrong_flag_is_told_as_docker_tells_it() {
    let wrong = coracle(&["run", "--foo", "alpine"]);
    assert_eq!((wrong.code, wrong.out.as_str()), (125, ""));
    insta::assert_snapshot!(wrong.err, @"
    unknown flag: --foo

    Usage:  coracle run [OPTIONS] IMAGE [COMMAND] [ARG...]

    Run 'coracle run --help' for more information
    ");
    for (words, first) in [
        (
            vec!["run", "-zz", "x"],
            "unknown shorthand flag: 'z' in -zz",
        ),
        (
            vec!["run", "-itz", "x"],
            "unknown shorthand flag: 'z' in -itz",
        ),
        (vec!["run", "-e"], "flag needs an argument: 'e' in -e"),
        (vec!["run", "-ite"], "flag needs an argument: 'e' in -ite"),
        (vec!["run", "-m"], "flag needs an argument: 'm' in -m"),
        (vec!["run", "--memory"], "flag needs an argument: --memory"),
        (vec!["run", "--name"], "flag needs an argument: --name"),
        (vec!["ps", "--format"], "flag needs an argument: --format"),
        (vec!["kill", "-s"], "flag needs an argument: 's' in -s"),
        (vec!["--foo", "ps"], "unknown flag: --foo"),
        (vec!["pull", "--plat"], "unknown flag: --plat"),
        (vec!["container", "--foo"], "unknown flag: --foo"),
        (
            vec!["run", "--attach=foo", "x"],
            "invalid argument \"foo\" for \"-a, --attach\" flag: valid streams are STDIN, STDOUT and STDERR",
        ),
        (
            vec!["run", "--rm=maybe", "x"],
            "invalid argument \"maybe\" for \"--rm\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        ),
        (
            vec!["ps", "-n", "abc"],
            "invalid argument \"abc\" for \"-n, --last\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax",
        ),
        (
            vec!["ps", "-f", "foo"],
            "invalid argument \"foo\" for \"-f, --filter\" flag: bad format of filter (expected name=value)",
        ),
    ] {
        let wrong = coracle(&words);
        assert_eq!((wrong.code, wrong.first()), (125, first), "{words:?}");
        assert_eq!(wrong.out, "", "{words:?}");
    }
}

#[test]
fn a_wrong_count_is_code_1() {
    let wrong = coracle(&["rm"]);
    assert_eq!(wrong.code, 1);
    insta::assert_snapshot!(wrong.err, @"
    coracle: 'coracle rm' requires at least 1 argument

    Usage:  coracle rm [OPTIONS] CONTAINER [CONTAINER...]

    Run 'coracle rm --help' for more information
    ");
    for (words, first) in [
        (
            vec!["run"],
            "coracle: 'coracle run' requires at least 1 argument",
        ),
        (
            vec!["run", "--rm", "--"],
            "coracle: 'coracle run' requires at least 1 argument",
        ),
        (
            vec!["ps", "x"],
            "coracle: 'coracle ps' accepts no arguments",
        ),
        (
            vec!["exec", "c"],
            "coracle: 'coracle exec' requires at least 2 arguments",
        ),
        (
            vec!["tag", "a"],
            "coracle: 'coracle tag' requires 2 arguments",
        ),
        (
            vec!["logs"],
            "coracle: 'coracle logs' requires at least 1 argument",
        ),
        (
            vec!["images", "a", "b"],
            "coracle: 'coracle images' requires at most 1 argument",
        ),
        (
            vec!["import"],
            "coracle: 'coracle import' requires at least 1 and at most 2 arguments",
        ),
        (
            vec!["container", "wait"],
            "coracle: 'coracle container wait' requires at least 1 argument",
        ),
    ] {
        let wrong = coracle(&words);
        assert_eq!((wrong.code, wrong.first()), (1, first), "{words:?}");
    }
}

#[test]
fn an_unknown_command_is_code_1() {
    let wrong = coracle(&["foo"]);
    assert_eq!(wrong.code, 1);
    insta::assert_snapshot!(wrong.err, @"
    coracle: unknown command: coracle foo

    Usage:  coracle [OPTIONS] COMMAND [ARG...]

    Run 'coracle --help' for more information
    ");
    let wrong = coracle(&["container", "foo"]);
    assert_eq!(
        (wrong.code, wrong.first()),
        (1, "coracle: unknown command: coracle container foo")
    );
    assert_eq!(coracle(&["help", "foo"]).code, 1);
}

/// What protects or limits is refused by name, before anything is done.
#[test]
fn flags_that_are_not_there_are_refused_or_noticed() {
    for (words, expected) in [
        (
            vec!["run", "--runtime", "runsc", "x"],
            "coracle: --runtime \"runsc\" is not supported\nhint: unknown or invalid runtime name: coracle is the only one\n",
        ),
        (
            vec!["run", "--use-api-socket", "x"],
            "coracle: --use-api-socket is not supported\nhint: there is no daemon to give a socket of\n",
        ),
        (
            vec!["create", "--storage-opt=size=1G", "x"],
            "coracle: --storage-opt \"size=1G\" is not supported\nhint: a container's files have no quota: put the store (--root) on a file system that has one\n",
        ),
        (
            vec!["create", "--isolation=hyperv", "x"],
            "coracle: --isolation \"hyperv\" is not supported\nhint: default is the only isolation on Linux\n",
        ),
        (
            vec!["run", "--cpu-count", "2", "x"],
            "coracle: --cpu-count \"2\" is not supported\nhint: only Windows has it; on Linux it is --cpus\n",
        ),
        (
            vec!["exec", "--preserve-fds", "1", "x", "y"],
            "coracle: --preserve-fds \"1\" is not supported\nhint: only 0, 1 and 2 are open in a container; bind a file or a socket with run -v\n",
        ),
    ] {
        let refused = coracle(&words);
        assert_eq!(
            (refused.code, refused.err.as_str()),
            (125, expected),
            "{words:?}"
        );
    }
    let noticed = coracle(&["--cgroup-manager", "systemd", "run", "--name", "?", "x"]);
    assert_eq!(
        noticed.first(),
        "note: --cgroup-manager has no effect: who makes control groups follows from the machine, see `coracle doctor`"
    );
    assert!(noticed.err.contains("invalid container name"));
    let refused = coracle(&["--runtime=kata", "run", "x"]);
    assert_eq!(refused.code, 125);
    assert!(
        refused
            .first()
            .starts_with("coracle: --runtime \"kata\" is not supported")
    );
    // An invalid name ends each of these after the flags were read.
    let words = [
        "run",
        "--runtime=coracle",
        "--isolation=default",
        "--cpu-count=0",
        "--use-api-socket=false",
        "--restart=no",
        "-P=false",
        "--name",
        "?",
        "x",
    ];
    assert!(
        coracle(&words)
            .first()
            .starts_with("coracle: invalid container name")
    );
}

/// Flags end at the image: what follows is the program's. All of these reach the check of the
/// name, which would not happen if a word had been misread.
#[test]
fn words_behind_the_image_are_not_flags() {
    for words in [
        vec!["run", "--name", "?", "alpine", "--foo"],
        vec!["run", "--name=?", "--", "alpine", "--foo"],
        vec!["run", "--net", "host", "--name", "?", "alpine", "--net"],
        vec!["run", "-e", "-x", "--name", "?", "alpine", "--help"],
        vec!["run", "--name", "first", "--name", "?", "alpine"],
        vec!["create", "--sig-proxy", "--name", "?", "alpine"],
        vec![
            "run",
            "--sig-proxy=false",
            "-itd=false",
            "--name",
            "?",
            "alpine",
            "-zz",
        ],
        vec![
            "run", "-iw", "/", "--name", "?", "alpine", "sh", "-c", "exit 3",
        ],
    ] {
        let run = coracle(&words);
        if words[0] == "create" {
            assert_eq!(run.first(), "unknown flag: --sig-proxy");
        } else {
            assert_eq!(run.code, 125, "{words:?}");
            assert!(
                run.first()
                    .starts_with("coracle: invalid container name \"?\""),
                "{words:?}: {}",
                run.err
            );
        }
    }
}

#[test]
fn values_are_checked_before_anything_is_done() {
    for (words, code, first) in [
        (
            vec!["run", "--pull=foo", "x"],
            125,
            "coracle: invalid pull option: 'foo': must be one of \"always\", \"missing\" or \"never\"",
        ),
        (
            vec!["run", "-w", "foo", "x"],
            125,
            "coracle: the working directory \"foo\" is not an absolute path",
        ),
        (
            vec!["run", "-d", "-a", "stdin", "x"],
            1,
            "coracle: conflicting options: cannot specify both --attach and --detach",
        ),
        (
            vec!["run", "-it", "x"],
            1,
            "coracle: the input device is not a TTY",
        ),
        (
            vec!["exec", "-it", "c", "sh"],
            1,
            "coracle: the input device is not a TTY",
        ),
        (
            vec!["run", "--network=container:x", "y"],
            125,
            "coracle: No such container: x",
        ),
        (
            vec!["start", "-a", "x", "y"],
            1,
            "coracle: you cannot start and attach multiple containers at once",
        ),
        (
            vec!["inspect", "--type", "foo", "x"],
            1,
            "coracle: \"foo\" is not a valid value for --type",
        ),
        (
            vec!["inspect", "-f", "{{", "x"],
            64,
            "coracle: template parsing error: template: :1: unclosed action",
        ),
        (
            vec!["pull", "A"],
            1,
            "coracle: invalid image reference \"A\": repository names are lower case",
        ),
        (
            vec!["ps", "-f", "status=bar"],
            1,
            "coracle: invalid filter 'status=bar'",
        ),
        (
            vec!["logs", "--since", "foo", "x"],
            1,
            "coracle: invalid time \"foo\"",
        ),
    ] {
        let wrong = coracle(&words);
        assert_eq!((wrong.code, wrong.first()), (code, first), "{words:?}");
    }
}

#[test]
fn an_existing_cidfile_is_not_overwritten() {
    let user = User::new();
    std::fs::write(user.path().join("cid"), "mine").expect("writable");
    let run = user.run(&["run", "--cidfile", "cid", "x"]);
    assert_eq!(run.code, 125);
    assert_eq!(run.first(), "coracle: container ID file cid exists");
    assert_eq!(
        std::fs::read_to_string(user.path().join("cid")).expect("readable"),
        "mine"
    );
}

#[test]
fn there_is_no_daemon_to_name() {
    for words in [
        vec!["-H", "tcp://docker:2375", "version"],
        vec!["--context", "remote", "version"],
    ] {
        let wrong = coracle(&words);
        assert_eq!(wrong.code, 125);
        assert!(wrong.first().contains("coracle has none"), "{}", wrong.err);
    }
    assert_eq!(coracle(&["-c", "default", "version"]).code, 0);
    // The engine of this machine is this program, whatever its socket would be called.
    let own = ["-H", "unix:///var/run/docker.sock", "version"];
    assert_eq!(coracle(&own).code, 0);
}

#[test]
fn version_is_found_where_scripts_look_for_it() {
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        coracle(&["-v"])
            .out
            .starts_with(&format!("coracle version {version}, build "))
    );
    assert_eq!(coracle(&["--version"]), coracle(&["-v"]));
    let version = coracle::model::DOCKER_VERSION;
    for (format, expected) in [
        ("{{.Server.Version}}", version),
        ("{{.Client.Version}}", version),
        (
            "{{.Server.Os}}/{{.Server.Arch}} {{.Server.APIVersion}}",
            "linux/",
        ),
        ("{{.Server.ApiVersion}}", "1.50"),
        ("{{(index .Server.Components 0).Name}}", "Engine"),
    ] {
        let out = coracle(&["version", "--format", format]);
        assert_eq!(out.code, 0, "{format}: {}", out.err);
        assert!(out.out.starts_with(expected), "{format}: {}", out.out);
    }
    let json = coracle(&["version", "-f", "json"]).out;
    let json: serde_json::Value = serde_json::from_str(&json).expect("one JSON object");
    assert_eq!(json["Client"]["Version"], version);
    assert_eq!(coracle(&["version", "-f", "{{.Nope}}"]).code, 1);
    assert_eq!(coracle(&["version", "-f", "{{"]).code, 64);
}

#[test]
fn an_unknown_key_of_the_configuration_is_named_with_its_line() {
    let user = User::new();
    let folder = user.path().join(".config/coracle");
    std::fs::create_dir_all(&folder).expect("writable");
    let file = folder.join("config.toml");
    std::fs::write(&file, "log-level = \"info\"\nrot = \"/x\"\n").expect("writable");
    let wrong = user.run(&["version"]);
    assert_eq!(wrong.code, 1);
    let place = format!("coracle: {}:2: unknown field `rot`", file.display());
    assert!(wrong.first().starts_with(&place), "{}", wrong.err);

    std::fs::write(&file, "log-level = \"loud\"\n").expect("writable");
    assert_eq!(
        user.run(&["version"]).first(),
        "coracle: Unable to parse logging level: loud (debug, info, warn, error or fatal)"
    );
    // The environment wins over the file, a flag over both.
    let mut command = user.command(&["version"]);
    let output = command.env("CORACLE_LOG_LEVEL", "info").output();
    assert!(output.expect("coracle runs").status.success());
    assert_eq!(user.run(&["-l", "error", "version"]).code, 0);
    assert_eq!(user.run(&["-D", "version"]).code, 0);
}

#[test]
fn a_named_configuration_must_be_there() {
    let wrong = coracle(&["--config", "/nonexistent/config.toml", "version"]);
    assert_eq!(wrong.code, 1);
    assert_eq!(
        wrong.first(),
        "coracle: cannot read configuration /nonexistent/config.toml: No such file or directory (os error 2)"
    );
    // A folder may be Docker's own, without our file.
    let user = User::new();
    assert_eq!(user.run(&["--config", ".", "version"]).code, 0);
}

/// `coracle --help | head -1` ends without a word, whatever the writer had left.
#[test]
fn a_closed_pipe_is_no_news() {
    let user = User::new();
    let (reader, writer) = std::io::pipe().expect("a pipe");
    drop(reader);
    let output = user
        .command(&["--help"])
        .stdout(writer)
        .stderr(Stdio::piped())
        .output()
        .expect("coracle runs");
    assert_eq!(output.status.code(), Some(141));
    assert_eq!(String::from_utf8_lossy(&output.stderr), "");
}

#[test]
fn a_full_device_is_an_error() {
    let Ok(full) = std::fs::File::options().write(true).open("/dev/full") else {
        return;
    };
    let user = User::new();
    let output: Transcript = user
        .command(&["version"])
        .stdout(full)
        .stderr(Stdio::piped())
        .output()
        .expect("coracle runs")
        .into();
    assert_eq!(output.code, 1);
    assert!(
        output
            .first()
            .starts_with("coracle: cannot write to standard output: ")
    );
}

/// What only answers that it is not there is not among what is.
#[test]
fn the_overview_has_dockers_sections() {
    let help = coracle(&["--help"]);
    assert_eq!(help.code, 0);
    let headings: Vec<&str> = help
        .out
        .lines()
        .filter(|line| line.ends_with(':') && !line.starts_with(' '))
        .collect();
    assert_eq!(
        headings,
        [
            "Common Commands:",
            "Management Commands:",
            "Commands:",
            "Global Options:"
        ]
    );
    let listed = |name: &str| {
        let mut words = help.out.lines().filter_map(|line| line.strip_prefix("  "));
        words.any(|line| line.split(' ').next() == Some(name))
    };
    for there in ["run", "info", "container", "volume", "wait"] {
        assert!(listed(there), "{there}");
    }
    for refused in ["mount", "pod", "swarm", "machine"] {
        assert!(!listed(refused), "{refused}");
    }
    let common: Vec<&str> = help
        .out
        .lines()
        .skip_while(|line| *line != "Common Commands:")
        .skip(1)
        .take_while(|line| !line.is_empty())
        .filter_map(|line| line.split_whitespace().next())
        .collect();
    assert_eq!(common[..4], ["run", "exec", "ps", "build"]);
}

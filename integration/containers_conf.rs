//! containers.conf(5): what podman's users have set for every container, and what the command says
//! against it.

use crate::case::Case;

cases! {
    settings_are_defaults: root ordinary;
    capabilities: root ordinary single;
    files_in_their_order: root ordinary;
    mistakes: root ordinary;
}

const QUIET: &str = "run --rm --network none";

fn set(case: &Case, text: &str) {
    let file = case.make_file("containers.conf", format!("[containers]\n{text}"));
    case.set("CONTAINERS_CONF", &file.display().to_string());
}

fn settings_are_defaults(case: &Case) {
    case.load_busybox();
    set(
        case,
        r#"env = ["LANG=C.UTF-8", "COLOUR=red"]
init = true
log_driver = "k8s-file"
log_size_max = 8192
pids_limit = 77
default_ulimits = ["nofile=100:200"]
dns_servers = ["10.9.8.7"]
shm_size = "1m"
umask = "0027"
volumes = ["/etc:/host-etc:ro"]
"#,
    );
    let script = "echo $COLOUR; ulimit -n; umask; cat /etc/resolv.conf; cat /proc/1/comm; ls -d /host-etc/passwd; df -k /dev/shm | tail -n 1 | awk '{print $2}'; ls /sys/class/net";
    case.shell("", script)
        .ok()
        .prints("red\n100\n0027\nnameserver 10.9.8.7\ncoracle-init\n/host-etc/passwd\n1024\nlo");
    // The command's own words weigh more; single ones and those that exclude each other take their place.
    let flags = "-e COLOUR=blue --init=false --ulimit nofile=50:60 --dns 1.2.3.4 --umask 0077";
    let script = "echo $COLOUR $LANG; ulimit -n; umask; cat /etc/resolv.conf; cat /proc/1/comm; :";
    case.shell(flags, script)
        .ok()
        .prints("blue C.UTF-8\n50\n0077\nnameserver 1.2.3.4\nsh");
    case.engine("create --name logs localhost/busybox true")
        .ok();
    let format = "{{.HostConfig.LogConfig.Type}} {{index .HostConfig.LogConfig.Config \"max-size\"}} {{.HostConfig.PidsLimit}}";
    case.words(&["inspect", "-f", format, "logs"])
        .ok()
        .prints("k8s-file 8192 77");
    // A log that is no file has no size.
    case.engine("create --log-driver none localhost/busybox true")
        .ok();
    let file = case.dir.join("containers.conf").display().to_string();
    let shown = case.engine("config show").ok().stdout;
    let row = shown
        .lines()
        .find(|line| line.starts_with("containers.pids_limit"));
    let row: Vec<&str> = row.unwrap_or_default().split_whitespace().collect();
    assert_eq!(row, ["containers.pids_limit", "77", &file], "{shown}");
}

/// What the user takes away stays away, and what the user gives is given.
fn capabilities(case: &Case) {
    case.load_busybox();
    set(case, "default_capabilities = [\"CHOWN\", \"NET_ADMIN\"]\n");
    let bounds = |flags: &str| {
        let line = format!("{QUIET} {flags} localhost/busybox grep CapBnd /proc/self/status");
        let shown = case.engine(&line).ok().stdout;
        u64::from_str_radix(shown.trim_start_matches("CapBnd:").trim(), 16).expect("a mask")
    };
    let (chown, net_admin, mknod) = (1, 1 << 12, 1 << 27);
    assert_eq!(bounds(""), chown | net_admin);
    assert_eq!(bounds("--cap-drop NET_ADMIN"), chown);
    assert_eq!(bounds("--cap-drop all"), 0);
    assert_eq!(bounds("--cap-drop all --cap-add MKNOD"), mknod);
    assert_eq!(bounds("--cap-add CAP_MKNOD"), chown | net_admin | mknod);
    assert_eq!(bounds("--cap-add all --cap-drop CHOWN") & chown, 0);
    assert_ne!(bounds("--cap-add all") & (1 << 21), 0);
    set(case, "default_capabilities = []\n");
    assert_eq!(bounds(""), 0);
}

fn files_in_their_order(case: &Case) {
    case.load_busybox();
    let folder = case.make_dir("settings/containers/containers.conf.d");
    case.set(
        "XDG_CONFIG_HOME",
        &case.dir.join("settings").display().to_string(),
    );
    let write = |name: &str, text: &str| {
        std::fs::write(folder.join(name), format!("[containers]\n{text}\n")).unwrap();
    };
    write("../containers.conf", "env = [\"A=1\"]\numask = \"0001\"");
    write("20-two.conf", "env = [\"C=3\", {append=true}]");
    write(
        "10-one.conf",
        "env = [\"B=2\", {append=true}]\numask = \"0002\"",
    );
    write("30-other.txt", "umask = \"0777\"");
    case.shell("", "echo $A $B $C; umask")
        .ok()
        .prints("1 2 3\n0002");
    let last = case.make_file("last", "[containers]\numask = \"0007\"\n");
    case.set("CONTAINERS_CONF_OVERRIDE", &last.display().to_string());
    case.shell("", "echo $A; umask").ok().prints("1\n0007");
    case.set("CONTAINERS_CONF", "/dev/null");
    case.shell("", "echo $A; umask").ok().prints("\n0007");
}

fn mistakes(case: &Case) {
    case.load_busybox();
    let run = || case.engine(&format!("{QUIET} localhost/busybox true"));
    set(case, "umask =\n");
    run().fails(125, "containers.conf:2: ");
    set(case, "umask = 1.5\n");
    run().fails(125, "containers.conf: containers.umask is neither");
    set(case, "default_capabilities = [\"FLY\"]\n");
    run().fails(125, "containers.conf: containers.default_capabilities");
    set(case, "seccomp_profile = \"/nothing/here\"\n");
    run().fails(125, "/nothing/here");
    case.engine("ps").ok();
    // Keys of podman's own.
    set(
        case,
        "prepare_volume_on_create = true\n[engine]\nevents_logger = \"file\"\n",
    );
    run().ok();
}

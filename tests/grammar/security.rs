//! What `--cap-add`, `--security-opt`, `--ulimit`, `--sysctl` and `--umask` understand.

use coracle::model::{
    capability,
    security::{
        Resource, SeccompChoice, SecurityOption, SecuritySpec, Ulimit, Unmask,
        parse_security_option, parse_sysctl, parse_ulimit, parse_umask,
    },
    user::add_groups,
};
use proptest::prelude::*;

#[test]
fn capabilities_are_resolved_as_docker_does() {
    let (all, default) = (capability::ALL, capability::DEFAULT);
    let bit = |name: &str| 1_u64 << capability::parse(name).unwrap();
    for (add, drop, expected) in [
        (vec![], vec![], default),
        (vec!["NET_ADMIN"], vec![], default | bit("NET_ADMIN")),
        (
            vec!["cap_net_admin"],
            vec!["chown"],
            (default | bit("NET_ADMIN")) & !bit("CHOWN"),
        ),
        (vec!["ALL"], vec![], all),
        (vec!["all"], vec!["SYS_ADMIN"], all & !bit("SYS_ADMIN")),
        (vec![], vec!["ALL"], 0),
        (vec!["CHOWN"], vec!["ALL"], bit("CHOWN")),
        // Of a name on both sides adding wins.
        (vec!["CHOWN"], vec!["CHOWN"], default),
        (
            vec!["ALL"],
            vec!["CHOWN", "KILL"],
            all & !bit("CHOWN") & !bit("KILL"),
        ),
    ] {
        let list = |names: &[&str]| {
            names
                .iter()
                .map(|&name| name.to_owned())
                .collect::<Vec<_>>()
        };
        let (add, drop) = (list(&add), list(&drop));
        let resolved = capability::resolve(&add, &drop, all).unwrap();
        assert_eq!(resolved, expected, "{add:?} {drop:?}");
    }
    let both = ["ALL".to_owned()];
    assert!(capability::resolve(&both, &both, all).is_err());
    // What the process lacks itself can be left out of ALL, but not promised by name.
    let some = all & !bit("SYS_RESOURCE");
    assert_eq!(capability::resolve(&both, &[], some).unwrap(), some);
    assert!(capability::resolve(&["SYS_RESOURCE".to_owned()], &[], some).is_err());
}

#[test]
fn only_what_was_named_is_ambient() {
    let add = |names: &[&str], granted| {
        let names: Vec<String> = names.iter().map(|&name| name.to_owned()).collect();
        capability::explicit(&names, granted).unwrap()
    };
    assert_eq!(add(&[], capability::DEFAULT), 0);
    assert_eq!(add(&["CHOWN"], capability::DEFAULT), 1);
    assert_eq!(add(&["ALL"], 0b11), 0b11);
}

#[test]
fn lists_of_capabilities() {
    let list = |texts: &[&str]| {
        let mut list = Vec::new();
        for text in texts {
            SecuritySpec::add_capabilities(&mut list, text).map_err(|error| error.one_line())?;
        }
        Ok::<_, String>(list)
    };
    assert_eq!(
        list(&["chown,CAP_KILL", "Kill", "all"]).unwrap(),
        ["CAP_CHOWN", "CAP_KILL", "ALL"]
    );
    for text in ["", "CHOWN,", "FLY"] {
        assert!(list(&[text]).is_err(), "{text}");
    }
}

#[test]
fn ulimits() {
    let limit = |resource, soft, hard| Ulimit {
        resource,
        soft,
        hard,
    };
    for (text, expected) in [
        ("nofile=5", limit(Resource::Nofile, Some(5), Some(5))),
        ("nofile=5:6", limit(Resource::Nofile, Some(5), Some(6))),
        ("core=-1", limit(Resource::Core, None, None)),
        ("core=0:-1", limit(Resource::Core, Some(0), None)),
        (
            "RLIMIT_STACK=1:unlimited",
            limit(Resource::Stack, Some(1), None),
        ),
    ] {
        assert_eq!(parse_ulimit(text).unwrap(), expected, "{text}");
    }
    for text in [
        "",
        "nofile",
        "nofile=",
        "nofile=:5",
        "nofile=5:",
        "nofile=6:5",
        "nofile=-1:5",
        "nofile=-2",
        "nofile=+5",
        "nofile=5:6:7",
        "files=5",
        "nofile=99999999999999999999",
        "nofile=0x5",
    ] {
        assert!(parse_ulimit(text).is_err(), "{text}");
    }
}

#[test]
fn umasks() {
    for (text, expected) in [("022", 0o22), ("0", 0), ("0777", 0o777), ("7", 7)] {
        assert_eq!(parse_umask(text).unwrap(), expected, "{text}");
    }
    for text in ["", "8", "01777", "00022", "u=rwx", "-1", "+7", "0x7"] {
        assert!(parse_umask(text).is_err(), "{text}");
    }
}

#[test]
fn sysctls() {
    for (text, name, value) in [
        ("net.ipv4.ip_forward=1", "net.ipv4.ip_forward", "1"),
        ("net/ipv4/ip_forward=1", "net.ipv4.ip_forward", "1"),
        (
            "net/ipv4/conf/eth0.1/forwarding=0",
            "net.ipv4.conf.eth0/1.forwarding",
            "0",
        ),
        ("kernel.sem=1 2 3 4", "kernel.sem", "1 2 3 4"),
        ("net.a=b=c", "net.a", "b=c"),
        ("net.a=", "net.a", ""),
    ] {
        let parsed = parse_sysctl(text).unwrap();
        assert_eq!(
            (parsed.0.as_str(), parsed.1.as_str()),
            (name, value),
            "{text}"
        );
    }
    for text in [
        "",
        "net.a",
        "=1",
        "net=1",
        "net..a=1",
        ".net.a=1",
        "net.=1",
        "net.a=1\n2",
        "net/../a=1",
        "net.//.a=1",
        "/net/a=1",
    ] {
        assert!(parse_sysctl(text).is_err(), "{text}");
    }
}

#[test]
fn security_options() {
    use SecurityOption as Option;
    let paths = |list: &[&str]| list.iter().map(|&path| path.to_owned()).collect::<Vec<_>>();
    for (text, expected) in [
        ("no-new-privileges", Option::NoNewPrivileges(true)),
        ("no-new-privileges:true", Option::NoNewPrivileges(true)),
        ("no-new-privileges=false", Option::NoNewPrivileges(false)),
        ("seccomp=unconfined", Option::SeccompUnconfined),
        ("seccomp:unconfined", Option::SeccompUnconfined),
        ("seccomp=builtin", Option::SeccompBuiltIn),
        ("seccomp=nesting", Option::SeccompNesting),
        ("nesting", Option::SeccompNesting),
        ("seccomp=wide", Option::SeccompWide),
        (
            "seccomp=./a=b.json",
            Option::SeccompFile("./a=b.json".to_owned()),
        ),
        ("apparmor=unconfined", Option::AppArmor(None)),
        (
            "apparmor:docker-default",
            Option::AppArmor(Some("docker-default".to_owned())),
        ),
        ("label=disable", Option::LabelDisable),
        ("label:disable", Option::LabelDisable),
        ("mask=/a:/b/./c/", Option::Mask(paths(&["/a", "/b/c"]))),
        ("unmask=ALL", Option::Unmask(Unmask::All)),
        (
            "unmask=/proc/kcore",
            Option::Unmask(Unmask::Paths(paths(&["/proc/kcore"]))),
        ),
        ("systempaths=unconfined", Option::Unmask(Unmask::All)),
        (
            "proc-opts=hidepid=2,subset=pid",
            Option::ProcOptions(vec![
                ("hidepid".to_owned(), "2".to_owned()),
                ("subset".to_owned(), "pid".to_owned()),
            ]),
        ),
        ("writable-cgroups", Option::WritableCgroups(true)),
        ("writable-cgroups=false", Option::WritableCgroups(false)),
    ] {
        assert_eq!(parse_security_option(text).unwrap(), expected, "{text}");
    }
    for text in [
        "",
        "foo",
        "foo=bar",
        "seccomp",
        "seccomp=",
        "no-new-privileges=maybe",
        "apparmor=",
        "apparmor=a b",
        "label=type:container_t",
        "label=nested",
        "mask=a",
        "mask=/",
        "mask=/a:",
        "mask=/a/../b",
        "unmask=",
        "systempaths=confined",
        "proc-opts=",
        "proc-opts=ro",
        "proc-opts=hidepid=3",
        "proc-opts=hidepid=2,,",
    ] {
        assert!(parse_security_option(text).is_err(), "{text}");
    }
}

#[test]
fn filters_do_not_mix() {
    let add = |texts: &[&str]| {
        let mut spec = SecuritySpec::default();
        for text in texts {
            spec.add_option(parse_security_option(text).unwrap(), Some("{}".to_owned()))
                .map_err(|error| error.one_line())?;
        }
        Ok::<_, String>(spec.seccomp)
    };
    assert_eq!(
        add(&["seccomp=nesting", "seccomp=wide"]).unwrap(),
        SeccompChoice::BuiltIn {
            nesting: true,
            wide: true
        }
    );
    assert_eq!(
        add(&["seccomp=unconfined"; 2]).unwrap(),
        SeccompChoice::Unconfined
    );
    assert!(add(&["seccomp=unconfined", "seccomp=wide"]).is_err());
    assert!(add(&["seccomp=wide", "seccomp=x.json"]).is_err());
    assert!(add(&["seccomp=x.json", "seccomp=unconfined"]).is_err());
}

#[test]
fn patterns_of_unmask() {
    let opens = |pattern: &str, path: &str| Unmask::Paths(vec![pattern.to_owned()]).opens(path);
    for (pattern, path, expected) in [
        ("/proc/kcore", "/proc/kcore", true),
        ("/proc/kcore", "/proc/kcor", false),
        ("/proc/*", "/proc/kcore", true),
        ("/proc/*", "/proc", false),
        ("/proc/*", "/proc/a/b", false),
        ("/proc/*_stats", "/proc/latency_stats", true),
        ("/proc/timer_*", "/proc/timer_list", true),
        ("/proc/*im*st*", "/proc/timer_list", true),
        ("/proc/*im*sx*", "/proc/timer_list", false),
        ("/sys/*/virtual/*", "/sys/devices/virtual/powercap", true),
    ] {
        assert_eq!(opens(pattern, path), expected, "{pattern} {path}");
    }
    assert!(Unmask::All.opens("/anything"));
}

#[test]
fn added_groups() {
    let file = b"root:x:0:\naudio:x:29:\nbad:x:-1:\n";
    let add = |groups: &[&str]| {
        let names: Vec<String> = groups.iter().map(|&name| name.to_owned()).collect();
        let mut groups = vec![7, 100];
        add_groups(&mut groups, &names, file).map_err(|error| error.one_line())?;
        Ok::<_, String>(groups)
    };
    assert_eq!(add(&[]).unwrap(), [7, 100]);
    assert_eq!(add(&["audio", "9", "100"]).unwrap(), [7, 9, 29, 100]);
    for name in ["nosuch", "bad", "-1", "4294967295", "1x", "a:b"] {
        assert!(add(&[name]).is_err(), "{name}");
    }
}

proptest! {
    #[test]
    fn no_text_breaks_the_parsers(text in "[a-z=:./*,-]{0,20}|.{0,20}") {
        let _ = parse_ulimit(&text);
        let _ = parse_umask(&text);
        if let Ok((name, value)) = parse_sysctl(&text) {
            prop_assert!(!name.contains("..") && !value.contains('\0'));
        }
        if let Ok(SecurityOption::Mask(paths)) = parse_security_option(&text) {
            prop_assert!(paths.iter().all(|path| path.starts_with('/') && !path.contains("..")));
        }
    }
}

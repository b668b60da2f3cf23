//! `-v`, `--mount` and `--tmpfs`.

use coracle::model::{
    ErrorKind,
    mount::{
        Mount, MountOptions, MountSource, Origin, Propagation, VolumeSource, parse_mount,
        parse_tmpfs, parse_volume, parse_volumes_from,
    },
};
use proptest::prelude::*;

fn bind(source: &str, target: &str, create: bool) -> Mount {
    Mount {
        target: target.to_owned(),
        source: MountSource::Bind {
            source: source.to_owned(),
            propagation: Propagation::RPrivate,
            recursive: true,
            create_source: create,
        },
        read_only: false,
        options: of(if create {
            Origin::Volume
        } else {
            Origin::Mount
        }),
    }
}

fn of(origin: Origin) -> MountOptions {
    MountOptions {
        origin,
        ..MountOptions::default()
    }
}

fn volume(name: &str, target: &str, origin: Origin) -> Mount {
    Mount {
        target: target.to_owned(),
        source: MountSource::Volume(VolumeSource {
            name: name.to_owned(),
            anonymous: name.is_empty(),
            ..VolumeSource::default()
        }),
        read_only: false,
        options: of(origin),
    }
}

/// The mount without its third field: another test looks at that.
fn untyped(mut mount: Mount) -> Mount {
    mount.options.typed.clear();
    mount
}

fn with(mut mount: Mount, change: impl FnOnce(&mut MountOptions)) -> Mount {
    change(&mut mount.options);
    mount
}

fn tmpfs_of(
    origin: Origin,
    target: &str,
    size: Option<u64>,
    mode: Option<u32>,
    options: &[&str],
) -> Mount {
    Mount {
        target: target.to_owned(),
        source: MountSource::Tmpfs {
            size,
            mode,
            options: options.iter().map(|&option| option.to_owned()).collect(),
            copy_up: false,
        },
        read_only: false,
        options: of(origin),
    }
}

fn tmpfs(target: &str, size: Option<u64>, mode: Option<u32>, options: &[&str]) -> Mount {
    tmpfs_of(Origin::Tmpfs, target, size, mode, options)
}

fn with_propagation(mut mount: Mount, wanted: Propagation) -> Mount {
    if let MountSource::Bind { propagation, .. } = &mut mount.source {
        *propagation = wanted;
    }
    mount
}

fn read_only(mount: Mount) -> Mount {
    Mount {
        read_only: true,
        ..mount
    }
}

#[test]
fn volumes_that_are_accepted() {
    for (text, expected) in [
        ("/a:/b", bind("/a", "/b", true)),
        ("./a:/b", bind("./a", "/b", true)),
        ("~/a:/b", bind("~/a", "/b", true)),
        (".:/b//c/./d/../e/", bind(".", "/b/c/e", true)),
        ("/a:/b:rw", bind("/a", "/b", true)),
        ("/a:/b:ro", read_only(bind("/a", "/b", true))),
        ("/a:/b:ro,Z", read_only(bind("/a", "/b", true))),
        ("/a:/b:z,nocopy,cached", bind("/a", "/b", true)),
        ("/a b:/c d", bind("/a b", "/c d", true)),
        (
            "/a:/b:rshared",
            with_propagation(bind("/a", "/b", true), Propagation::RShared),
        ),
        (
            "/a:/b:ro,slave",
            read_only(with_propagation(bind("/a", "/b", true), Propagation::Slave)),
        ),
        (
            "/a:/b:U,noexec,nodev,suid",
            with(bind("/a", "/b", true), |options| {
                options.chown = true;
                (options.exec, options.dev, options.suid) = (Some(false), Some(false), Some(true));
            }),
        ),
        (
            "/a:/b:O,upperdir=/u,workdir=/w",
            with(bind("/a", "/b", true), |options| {
                let folders = options.overlay.get_or_insert_default();
                (folders.upper, folders.work) = (Some("/u".into()), Some("/w".into()));
            }),
        ),
        (
            "/a:/b:idmap=uids=0-1-10",
            with(bind("/a", "/b", true), |options| {
                options.id_map = Some("uids=0-1-10".into());
            }),
        ),
        ("/b", volume("", "/b", Origin::Volume)),
        ("data:/b", volume("data", "/b", Origin::Volume)),
        (
            "data:/b:ro,z",
            read_only(volume("data", "/b", Origin::Volume)),
        ),
    ] {
        assert_eq!(untyped(parse_volume(text).unwrap()), expected, "{text}");
    }
    let typed = parse_volume("data:/b:ro,nocopy").unwrap();
    assert_eq!(typed.options.typed, "ro,nocopy");
    assert!(typed.volume().unwrap().no_copy);
}

#[test]
fn volumes_of_other_containers() {
    for (text, read_only) in [("x", None), ("x:ro", Some(true)), ("x:rw,z", Some(false))] {
        let from = parse_volumes_from(text).unwrap();
        assert_eq!((from.container.as_str(), from.read_only), ("x", read_only));
    }
    for text in ["", ":ro", "x:", "x:ro,rw", "x:y", "x:ro:z"] {
        let accepted = parse_volumes_from(text).is_ok();
        assert_eq!(accepted, text == "x:", "{text}");
    }
}

#[test]
fn volumes_that_are_refused() {
    for text in [
        "",
        ":",
        "/a:",
        ":/b",
        "/a::ro",
        "/a:/b:ro:x",
        "/a:b",
        "/a:/",
        "/a:/b/..",
        "/a:/b:x",
        "/a:/b:ro,rw",
        "/a:/b:ro,ro",
        "/a:/b:shared,private",
        "/a:/b:z,Z",
        "/a:/b\0c",
        "a:b",
        "a:/b",
        "a/b:/c",
        "-a:/c",
        "data",
        "/b:ro",
        "data:/b:rshared",
        "/a:/b:upperdir=/u,workdir=/w",
        "/a:/b:O,upperdir=/u",
        "/a:/b:exec,noexec",
    ] {
        let error = parse_volume(text).unwrap_err();
        assert_eq!(
            error.kind(),
            ErrorKind::InvalidArgument,
            "{text}: {error:?}"
        );
        assert!(error.hint().is_some(), "{text}");
    }
}

#[test]
fn mounts_that_are_accepted() {
    let not_recursive = |mut mount: Mount| {
        if let MountSource::Bind { recursive, .. } = &mut mount.source {
            *recursive = false;
        }
        mount
    };
    for (text, expected) in [
        ("type=bind,source=/a,target=/b", bind("/a", "/b", false)),
        ("dst=/b,SRC=./a,Type=bind", bind("./a", "/b", false)),
        (
            "type=bind,src=/a,destination=/b,ro",
            read_only(bind("/a", "/b", false)),
        ),
        (
            "type=bind,src=/a,dst=/b,readonly=false",
            bind("/a", "/b", false),
        ),
        (
            "type=bind,src=/a,dst=/b,ro=1",
            read_only(bind("/a", "/b", false)),
        ),
        (
            r#"type=bind,"src=/a,""b""",dst=/b"#,
            bind(r#"/a,"b""#, "/b", false),
        ),
        ("type=bind,src=/a=b,dst=/b", bind("/a=b", "/b", false)),
        (
            "type=bind,src=/a,dst=/b,consistency=cached",
            bind("/a", "/b", false),
        ),
        (
            "type=bind,src=/a,dst=/b,relabel=shared",
            bind("/a", "/b", false),
        ),
        (
            "type=bind,src=/a,dst=/b,bind-nonrecursive",
            not_recursive(bind("/a", "/b", false)),
        ),
        (
            "type=bind,src=/a,dst=/b,bind-recursive=disabled",
            not_recursive(bind("/a", "/b", false)),
        ),
        (
            "type=bind,src=/a,dst=/b,bind-propagation=rslave",
            with_propagation(bind("/a", "/b", false), Propagation::RSlave),
        ),
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=readonly",
            read_only(bind("/a", "/b", false)),
        ),
        (
            "type=bind,src=/a,dst=/b,ro,bind-recursive=writable",
            with(read_only(bind("/a", "/b", false)), |options| {
                options.writable_below = true;
            }),
        ),
        (
            "type=tmpfs,target=/t",
            tmpfs_of(Origin::Mount, "/t", None, None, &[]),
        ),
        (
            "type=tmpfs,target=/t,tmpfs-size=1m,tmpfs-mode=0700",
            tmpfs_of(Origin::Mount, "/t", Some(1 << 20), Some(0o700), &[]),
        ),
        (
            "type=tmpfs,dst=/t,ro",
            read_only(tmpfs_of(Origin::Mount, "/t", None, None, &[])),
        ),
        ("target=/b", volume("", "/b", Origin::Mount)),
        ("source=data,target=/b", volume("data", "/b", Origin::Mount)),
        (
            "type=volume,source=data,target=/b,volume-subpath=./x//y",
            with(volume("data", "/b", Origin::Mount), |options| {
                options.subpath = Some("x/y".into());
            }),
        ),
    ] {
        assert_eq!(parse_mount(text).unwrap(), expected, "{text}");
    }
}

#[test]
fn mounts_that_are_refused() {
    for text in [
        "type=bind",
        "type=bind,source=/a",
        "type=bind,target=/b",
        "type=bind,source=,target=/b",
        "type=bind,source=a,target=/b",
        "type=bind,source=/a,target=b",
        "type=bind,source=/a,target=/",
        "type=bind,source=/a,target=/b,colour=red",
        "type=bind,source=/a,target=/b,tmpfs-size=1m",
        "type=bind,source=/a,target=/b,volume-nocopy",
        "type=bind,source=/a,target=/b,ro=perhaps",
        "type=bind,source=/a,target=/b,bind-propagation=x",
        "type=bind,source=/a,target=/b,bind-recursive=readonly",
        "type=bind,source=/a,target=/b,bind-recursive=writable",
        "type=volume,source=/a,target=/b",
        "type=volume,source=data,target=/b,volume-subpath=../x",
        "type=volume,source=data,target=/b,volume-subpath=a/../../x",
        "type=volume,source=data,target=/b,volume-subpath=/x",
        "type=volume,source=data,target=/b,bind-propagation=rslave",
        "type=image,target=/b",
        "type=devpts,source=x,target=/b",
        "type=devpts,target=/b,uid=-1",
        "type=bind,source=/a,target=/b,source",
        "type=bind,source=/a,target=/b,",
        "type=bind,\"source=/a,target=/b",
        "type=bind,\"source=/a\"b,target=/b",
        "type=bind,sou\"rce=/a,target=/b",
        "type=tmpfs,target=/t,source=/a",
        "type=tmpfs,target=/t,tmpfs-mode=9",
        "type=tmpfs,target=/t,tmpfs-mode=+7",
        "type=tmpfs,target=/t,tmpfs-size=big",
        "type=tmpfs,target=/t,bind-propagation=rslave",
        "type=floppy,target=/t",
    ] {
        let error = parse_mount(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    }
    for text in [
        "type=glob,source=/a/*,target=/b",
        "type=volume,source=data,target=/b,volume-driver=nfs",
    ] {
        let error = parse_mount(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Unsupported, "{text}");
    }
}

#[test]
fn tmpfs_flags() {
    for (text, expected) in [
        ("/t", tmpfs("/t", None, None, &[])),
        ("/t:", tmpfs("/t", None, None, &[])),
        (
            "/t:size=64m,mode=1777",
            tmpfs("/t", Some(64 << 20), Some(0o1777), &[]),
        ),
        (
            "/t:size=50%,exec",
            tmpfs("/t", None, None, &["size=50%", "exec"]),
        ),
        (
            "/t:uid=1,gid=2,nr_inodes=4k",
            tmpfs("/t", None, None, &["uid=1", "gid=2", "nr_inodes=4k"]),
        ),
        ("/t:ro,rw", tmpfs("/t", None, None, &[])),
        (
            "/t:ro,noexec",
            read_only(tmpfs("/t", None, None, &["noexec"])),
        ),
    ] {
        assert_eq!(untyped(parse_tmpfs(text).unwrap()), expected, "{text}");
    }
    for text in [
        "",
        "t",
        "/",
        "/t:colour",
        "/t:size=",
        "/t:size=%",
        "/t:mode=8",
        "/t:uid=-1",
        "/t:uid=4294967295",
        "/t:huge=always",
        "/t:nr_inodes=1x",
    ] {
        let error = parse_tmpfs(text).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{text}");
    }
}

proptest! {
    #[test]
    fn any_accepted_name_is_a_file_name(text in "([a-z./:_-]{0,12}|source=[a-z./_-]{0,6},target=/t(,volume-subpath=[a-z./]{0,9})?)") {
        for mount in [parse_volume(&text), parse_mount(&text)].into_iter().flatten() {
            if let Some(volume) = mount.volume() {
                prop_assert_eq!(volume.anonymous, volume.name.is_empty());
                prop_assert!(!volume.name.contains('/') && !volume.name.starts_with('.'));
            }
            for part in mount.options.subpath.iter().flat_map(|path| path.split('/')) {
                prop_assert!(!matches!(part, "" | "." | ".."));
            }
        }
    }

    #[test]
    fn any_accepted_target_is_plain_and_absolute(text in "(.{0,40}|[a/.,:=ro~\"]{0,30}|type=(bind|tmpfs|volume|image),src=[/a.\"]{1,5},dst=[/a.,\"]{1,9})") {
        for mount in [parse_volume(&text), parse_mount(&text), parse_tmpfs(&text)].into_iter().flatten() {
            prop_assert!(mount.target.starts_with('/') && mount.target.len() > 1);
            for part in mount.target[1..].split('/') {
                prop_assert!(!matches!(part, "" | "." | ".."));
            }
        }
    }

    #[test]
    fn any_source_survives_quoting(source in "/[^\0]{0,20}") {
        let quoted = source.replace('"', "\"\"");
        let mount = parse_mount(&format!("type=bind,\"source={quoted}\",target=/t")).unwrap();
        prop_assert_eq!(mount, bind(&source, "/t", false));
    }
}

//! Volumes and mounts: what is in them, who owns it, how long they live, and what cannot leave them.

use std::fs;

use crate::{
    case::{Case, Outcome, collect},
    image::{Image, busybox_layer},
};

cases! {
    named_volumes_stay: root ordinary single;
    nameless_volumes_go_with_their_container: root ordinary single;
    image_volumes: root ordinary;
    filled_from_the_image: root ordinary single;
    filled_once: root ordinary;
    two_containers_fill_one_volume: root ordinary;
    killed_while_filling: root ordinary;
    hostile_image_content: root ordinary;
    subpaths_stay_inside: root ordinary;
    volumes_from: root ordinary;
    removal: root ordinary single;
    prune_and_filters: root ordinary;
    export_and_import: root ordinary;
    import_of_a_bad_archive: root ordinary;
    driver_options: root ordinary;
    bind_options: root ordinary;
    chown_of_a_source: root ordinary;
    tmpfs_options: root ordinary single;
    shm_size: root ordinary;
    read_only_root: root ordinary;
    images_as_mounts: root ordinary;
    overlays: root ordinary;
    kernel_places: root ordinary;
    shown_by_inspect: root ordinary;
    what_cannot_be_done: root ordinary;
    sockets_of_engines_that_do_not_run: root ordinary;
}

/// `localhost/vol`, with a shell and a volume at /data, whose files have owners, modes and times.
fn load_image(case: &Case) {
    let mut layer = tar::Builder::new(Vec::new());
    let mut add = |path: &str, kind: tar::EntryType, mode: u32, owner: (u64, u64), text: &str| {
        let mut header = tar::Header::new_gnu();
        header.set_entry_type(kind);
        header.set_mode(mode);
        header.set_uid(owner.0);
        header.set_gid(owner.1);
        header.set_mtime(1_000_000_000);
        let link = kind.is_symlink();
        header.set_size(if link { 0 } else { text.len() as u64 });
        if link {
            layer.append_link(&mut header, path, text).unwrap();
        } else {
            layer
                .append_data(&mut header, path, text.as_bytes())
                .unwrap();
        }
    };
    use tar::EntryType::{Directory, Regular, Symlink};
    // A user without subordinate ids has one owner for everything.
    let owner = if case.is_single() { (0, 0) } else { (33, 44) };
    add("data/", Directory, 0o2750, owner, "");
    add("data/one", Regular, 0o4755, owner, "1\n");
    add("data/sub/", Directory, 0o700, owner, "");
    add("data/sub/two", Regular, 0o640, owner, "2\n");
    add("data/link", Symlink, 0o777, owner, "/etc/passwd");
    add("etc/", Directory, 0o755, (0, 0), "");
    add(
        "etc/passwd",
        Regular,
        0o644,
        (0, 0),
        "root:x:0:0::/:/bin/sh\n",
    );
    let layers = vec![busybox_layer().bytes(), layer.into_inner().unwrap()];
    let mut image = Image::new("localhost/vol:latest", layers);
    image.config = serde_json::json!({"Cmd": ["/bin/sh"], "Volumes": {"/data": {}}});
    let archive = case.make_file("vol.tar", image.archive());
    case.words(&["load", "-i", archive.to_str().unwrap()]).ok();
}

/// A script in a `--rm` container of that image.
fn vol(case: &Case, flags: &str, script: &str) -> Outcome {
    let mut words = vec!["run", "--rm", "--network", "none"];
    words.extend(flags.split_whitespace());
    words.extend(["localhost/vol", "sh", "-c", script]);
    case.words(&words)
}

fn volumes(case: &Case, flags: &str) -> Vec<String> {
    let listed = case.engine(&format!("volume ls -q {flags}")).ok().stdout;
    listed.lines().map(str::to_owned).collect()
}

const OWNERS: &str = "cd /data && stat -c '%n %a %u:%g %Y' . one sub sub/two && readlink link";

fn owners(case: &Case) -> String {
    let of = if case.is_single() { "0:0" } else { "33:44" };
    format!(
        ". 2750 {of} 1000000000\none 4755 {of} 1000000000\nsub 700 {of} 1000000000\n\
         sub/two 640 {of} 1000000000\n/etc/passwd"
    )
}

fn named_volumes_stay(case: &Case) {
    case.load_busybox();
    case.shell("-v data:/d", "echo kept > /d/file").ok();
    case.shell("-v data:/elsewhere:ro", "cat /elsewhere/file; touch /elsewhere/x 2>/dev/null || echo read-only; grep -c ' /elsewhere ro,' /proc/self/mountinfo")
        .ok()
        .prints("kept\nread-only\n1");
    assert_eq!(volumes(case, ""), ["data"]);
    case.engine("volume create data").ok().prints("data");
    case.shell("--mount type=volume,source=data,target=/d", "cat /d/file")
        .ok()
        .prints("kept");
    case.engine("volume exists data").exits(0).prints("");
    case.engine("volume exists other").exits(1).prints("");
}

fn nameless_volumes_go_with_their_container(case: &Case) {
    case.load_busybox();
    case.shell(
        "-v /d --mount target=/e -v named:/n",
        "touch /d/x /e/x /n/x",
    )
    .ok();
    assert_eq!(volumes(case, ""), ["named"]);
    let run = "run --name box --network none -v /d -v named:/n localhost/busybox touch /d/x";
    case.engine(run).ok();
    assert_eq!(volumes(case, "").len(), 2);
    case.engine("rm box").ok();
    assert_eq!(volumes(case, "--filter dangling=true").len(), 2);
    case.engine("volume prune -f")
        .ok()
        .contains("Total reclaimed space: 0B");
    assert_eq!(volumes(case, ""), ["named"]);
    case.engine(run).ok();
    case.engine("rm -v box").ok();
    assert_eq!(volumes(case, ""), ["named"]);
    // Removed before it ended, and one that was never started.
    case.engine("create --rm --name box --network none -v /d localhost/busybox")
        .ok();
    case.engine("rm box").ok();
    assert_eq!(volumes(case, ""), ["named"]);
    // Nothing is left of a container that could not be made.
    case.engine("create --name box --network none localhost/busybox")
        .ok();
    case.engine("create --name box --network none -v /d localhost/busybox")
        .fails(1, "already in use");
    assert_eq!(volumes(case, ""), ["named"]);
}

fn image_volumes(case: &Case) {
    load_image(case);
    vol(
        case,
        "",
        "grep ' /data ' /proc/self/mountinfo | cut -d' ' -f5; cat /data/one",
    )
    .ok()
    .prints("/data\n1");
    assert!(volumes(case, "").is_empty());
    vol(
        case,
        "--image-volume ignore",
        "grep -c ' /data ' /proc/self/mountinfo; cat /data/one",
    )
    .prints("0\n1");
    vol(
        case,
        "--image-volume tmpfs",
        "grep ' /data ' /proc/self/mountinfo | grep -c tmpfs; cat /data/one",
    )
    .ok()
    .prints("1\n1");
    vol(case, "--tmpfs /data", "ls /data").ok().prints("");
    case.engine("run --rm --image-volume x localhost/vol true")
        .fails(125, "image volume");
    // The user's own mount takes the place.
    vol(case, "-v mine:/data", "true").ok();
    assert_eq!(volumes(case, ""), ["mine"]);
}

fn filled_from_the_image(case: &Case) {
    load_image(case);
    vol(case, "-v new:/data", OWNERS).ok().prints(&owners(case));
    // It belongs to the volume from then on.
    vol(case, "-v new:/else", "cat /else/sub/two; ls -d /data/sub")
        .ok()
        .prints("2\n/data/sub");
    vol(case, "-v empty:/data:nocopy", "ls /data")
        .ok()
        .prints("");
    vol(
        case,
        "--mount type=volume,source=e2,target=/data,volume-nocopy",
        "ls /data",
    )
    .ok()
    .prints("");
    // Read-only for the container, not for the copy.
    vol(case, "-v ro:/data:ro", "cat /data/one")
        .ok()
        .prints("1");
}

fn filled_once(case: &Case) {
    load_image(case);
    case.engine("volume create there").ok();
    vol(case, "-v there:/x", "echo mine > /x/mine").ok();
    vol(case, "-v there:/data", "ls /data").ok().prints("mine");
    // A program may empty its volume; a restart does not fill it again.
    case.words(&[
        "create",
        "--name",
        "box",
        "--network",
        "none",
        "-v",
        "vol:/data",
        "localhost/vol",
        "sh",
        "-c",
        "ls /data; rm -rf /data/*",
    ])
    .ok();
    case.engine("start -a box").ok().prints("link\none\nsub");
    case.engine("start -a box").ok().prints("");
}

fn two_containers_fill_one_volume(case: &Case) {
    load_image(case);
    let children: Vec<_> = (0..4)
        .map(|_| {
            let script = "cat /data/one /data/sub/two; ls /data";
            case.start(&[
                "run",
                "--rm",
                "--network",
                "none",
                "-v",
                "vol:/data",
                "localhost/vol",
                "sh",
                "-c",
                script,
            ])
        })
        .collect();
    for child in children {
        collect("run".to_owned(), child)
            .ok()
            .prints("1\n2\nlink\none\nsub");
    }
    vol(case, "-v vol:/data", OWNERS).ok().prints(&owners(case));
}

/// The copy is made by the container's first process; it is killed at its n-th call of a kind, and
/// the container started again.
fn killed_while_filling(case: &Case) {
    load_image(case);
    for (call, n) in [
        ("utimensat", 1),
        ("utimensat", 3),
        ("renameat2", 2),
        ("renameat2", 3),
    ] {
        let name = format!("c-{call}-{n}");
        let mount = format!("{name}:/data");
        case.words(&[
            "create",
            "--name",
            &name,
            "--network",
            "none",
            "-v",
            &mount,
            "localhost/vol",
            "sh",
            "-c",
            OWNERS,
        ])
        .ok();
        let trace = format!("trace={call}");
        let inject = format!("inject={call}:signal=KILL:when={n}");
        let options = ["-f", "-qq", "-o", "/dev/null", "-e", &trace, "-e", &inject];
        let Some(command) = case.strace(&options, &["start", "-a", &name]) else {
            return;
        };
        let killed = crate::case::finish(command);
        assert_ne!(killed.code, 0, "{call} {n}: {killed}");
        let outcome = case.engine(&format!("start -a {name}")).ok();
        // All but the time of the volume's own directory, which the interrupted moves have changed.
        let all_but_first = |text: &str| text.lines().skip(1).collect::<Vec<_>>().join("\n");
        assert_eq!(
            all_but_first(outcome.stdout.trim_end()),
            all_but_first(&owners(case)),
            "{call} {n}: {outcome}"
        );
        assert!(
            outcome.stdout.starts_with(". 2750 33:44 "),
            "{call} {n}: {outcome}"
        );
        let folder = case.root().join("volumes").join(&name);
        let mut left: Vec<String> = fs::read_dir(&folder)
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["data", "lock", "volume.json"], "{call} {n}");
    }
}

/// The image's place for the volume is a link out, a file, or not there.
fn hostile_image_content(case: &Case) {
    let secret = case.make_file("secret", "secret");
    let outside = secret.parent().unwrap().to_str().unwrap().to_owned();
    let layer = busybox_layer()
        .symlink("out", &outside)
        .symlink("up", "../../../../../../../../../../../../etc")
        .file("file", "text")
        .symlink("loop", "loop");
    let image = Image::new("localhost/bad:latest", vec![layer.bytes()]);
    let archive = case.make_file("bad.tar", image.archive());
    case.words(&["load", "-i", archive.to_str().unwrap()]).ok();
    let run = |target: &str| {
        case.words(&[
            "run",
            "--rm",
            "--network",
            "none",
            "-v",
            &format!("v{}:{target}", target.len()),
            "localhost/bad",
            "ls",
            target,
        ])
    };
    // Inside of the root the first one names a directory that is not there.
    let outcome = run("/out");
    assert!(!outcome.stdout.contains("secret"), "{outcome}");
    let outcome = run("/up");
    assert!(!outcome.stdout.contains("shadow"), "{outcome}");
    run("/file").fails(125, "cannot mount");
    run("/loop").fails(125, "cannot mount");
    for name in volumes(case, "") {
        let data = case.root().join("volumes").join(&name).join("data");
        for entry in fs::read_dir(data).unwrap() {
            let name = entry.unwrap().file_name();
            assert!(name != "secret" && name != "shadow", "{name:?}");
        }
    }
}

fn subpaths_stay_inside(case: &Case) {
    load_image(case);
    vol(
        case,
        "-v vol:/data",
        "cd /data; ln -s / root; ln -s ../../.. up; ln -s sub inner; ln -s /proc/self/root magic",
    )
    .ok();
    let with = |subpath: &str| {
        format!("--mount type=volume,source=vol,target=/s,volume-subpath={subpath}")
    };
    vol(case, &with("sub"), "ls /s").ok().prints("two");
    vol(case, &with("inner"), "ls /s").ok().prints("two");
    vol(case, &with("one"), "cat /s").ok().prints("1");
    for link in ["root", "root/etc", "up", "up/etc", "link", "magic"] {
        vol(case, &with(link), "ls /s").fails(125, "subpath");
    }
    vol(case, &with("nope"), "true").fails(125, "not there");
    for path in ["../v", "sub/../../x", "/sub"] {
        vol(case, &with(path), "true").fails(125, "subpath");
    }
}

fn volumes_from(case: &Case) {
    case.load_busybox();
    let dir = case.make_dir("bound");
    case.words(&[
        "create",
        "--name",
        "one",
        "--network",
        "none",
        "-v",
        "data:/d",
        "-v",
        "/anon",
        "-v",
        &format!("{}:/b:ro", dir.display()),
        "--tmpfs",
        "/t",
        "localhost/busybox",
    ])
    .ok();
    let script =
        "grep -E ' /(d|anon|b|t) ' /proc/self/mountinfo | cut -d' ' -f5,6 | cut -d, -f1 | sort";
    case.shell("--volumes-from one", script)
        .ok()
        .prints("/anon rw\n/b ro\n/d rw");
    case.shell("--volumes-from one:ro", script)
        .ok()
        .prints("/anon ro\n/b ro\n/d ro");
    // They are the other container's: removed with neither of those that borrowed them.
    assert_eq!(volumes(case, "").len(), 2);
    case.engine("create --name two --network none --volumes-from one localhost/busybox")
        .ok();
    case.engine("rm -v one").ok();
    assert_eq!(volumes(case, "").len(), 2);
    case.engine("rm -v two").ok();
    assert_eq!(volumes(case, ""), ["data"]);
    case.engine("run --rm --volumes-from one localhost/busybox true")
        .fails(125, "No such container");
}

fn removal(case: &Case) {
    case.load_busybox();
    case.engine("create --name box --network none -v data:/d localhost/busybox")
        .ok();
    case.engine("volume rm data").fails(1, "in use");
    case.engine("volume prune -af").ok();
    assert_eq!(volumes(case, ""), ["data"]);
    case.engine("rm box").ok();
    // Files of any owner go, too.
    let owner = if case.is_single() { "0" } else { "77" };
    case.shell(
        "-v data:/d",
        &format!("mkdir -p /d/a/b; touch /d/a/b/c; chown -R {owner} /d/a; chmod 0 /d/a"),
    )
    .ok();
    case.engine("volume rm data").ok().prints("data");
    case.engine("volume rm data").fails(1, "no such volume");
    case.engine("volume rm -f data").exits(0).prints("data");
    assert!(!case.root().join("volumes/data").exists());
}

fn prune_and_filters(case: &Case) {
    for name in ["aa", "bb", "cc"] {
        case.engine(&format!(
            "volume create --label name={name} --label all {name}"
        ))
        .ok();
    }
    case.engine("volume create").ok();
    assert_eq!(volumes(case, "--filter label=name=bb"), ["bb"]);
    assert_eq!(volumes(case, "--filter label=all").len(), 3);
    assert_eq!(volumes(case, "--filter name=^bb$"), ["bb"]);
    assert_eq!(volumes(case, "--filter driver=local").len(), 4);
    assert!(volumes(case, "--filter driver=nfs").is_empty());
    case.engine("volume ls --filter x=y")
        .fails(1, "invalid filter");
    // Without --all only those without a name.
    case.engine("volume prune -f")
        .ok()
        .contains("Deleted Volumes:");
    assert_eq!(volumes(case, ""), ["aa", "bb", "cc"]);
    case.engine("volume prune -af --filter label=name=aa").ok();
    assert_eq!(volumes(case, ""), ["bb", "cc"]);
    case.engine("volume prune -af --filter label!=name=bb").ok();
    assert_eq!(volumes(case, ""), ["bb"]);
    case.engine("volume prune -af --filter until=1h").ok();
    assert_eq!(volumes(case, ""), ["bb"]);
    case.with_input(&["volume", "prune", "-a"], "n\n")
        .fails(1, "cancelled");
    case.with_input(&["volume", "prune", "-a"], "y\n").ok();
    assert!(volumes(case, "").is_empty());
    let format = "volume ls --format {{.Driver}}={{.Name}}";
    case.engine("volume create zz").ok();
    case.engine(format).ok().prints("local=zz");
}

fn export_and_import(case: &Case) {
    load_image(case);
    vol(case, "-v from:/data", "true").ok();
    let archive = case.dir_path("volume.tar");
    case.words(&["volume", "export", "from", "-o", archive.to_str().unwrap()])
        .ok();
    case.engine("volume create to").ok();
    case.words(&["volume", "import", "to", archive.to_str().unwrap()])
        .ok();
    vol(case, "-v to:/data", OWNERS).ok().prints(&owners(case));
    // Over what is there: others stay, these are replaced.
    vol(
        case,
        "-v to:/data",
        "echo changed > /data/one; echo new > /data/new",
    )
    .ok();
    case.with_input(
        &["volume", "import", "to", "-"],
        fs::read(&archive).unwrap(),
    )
    .ok();
    vol(case, "-v to:/data", "cat /data/one /data/new")
        .ok()
        .prints("1\nnew");
    case.engine("volume export nope").fails(1, "no such volume");
    case.with_input(&["volume", "import", "nope", "-"], "")
        .fails(1, "no such volume");
}

/// An archive that ends too early, or that wants to leave the volume, changes nothing.
fn import_of_a_bad_archive(case: &Case) {
    use crate::image::Layer;
    case.load_busybox();
    case.shell("-v vol:/v", "echo old > /v/file").ok();
    let good = Layer::new()
        .file("file", "new")
        .file("other", "new")
        .bytes();
    let escape = Layer::new()
        .file("file", "new")
        .file("../../../x", "x")
        .bytes();
    for bad in [good[..700].to_vec(), escape, b"rubbish".to_vec()] {
        case.with_input(&["volume", "import", "vol", "-"], bad)
            .fails(1, "");
        case.shell("-v vol:/v", "cat /v/file; ls /v")
            .ok()
            .prints("old\nfile");
    }
    // A link in the volume is not followed.
    let secret = case.make_file("secret", "secret");
    let dir = secret.parent().unwrap().display().to_string();
    case.shell("-v vol:/v", &format!("ln -s {dir} /v/out")).ok();
    let through = Layer::new()
        .dir("out/")
        .file("out/secret", "overwritten")
        .bytes();
    case.with_input(&["volume", "import", "vol", "-"], through)
        .ok();
    assert_eq!(fs::read_to_string(&secret).unwrap(), "secret");
    // What layers mean by such a name has no meaning here.
    let plain = Layer::new().file(".wh.file", "plain").bytes();
    case.with_input(&["volume", "import", "vol", "-"], plain)
        .ok();
    case.shell("-v vol:/v", "cat /v/file /v/.wh.file")
        .ok()
        .prints("old\nplain");
}

fn driver_options(case: &Case) {
    case.load_busybox();
    let dir = case.make_dir("own");
    case.make_file("own/file", "text\n");
    let device = format!("device={}", dir.display());
    case.words(&[
        "volume",
        "create",
        "-o",
        "type=none",
        "-o",
        &device,
        "-o",
        "o=bind,ro",
        "bound",
    ])
    .ok();
    case.shell(
        "-v bound:/b",
        "cat /b/file; touch /b/x 2>/dev/null || echo read-only",
    )
    .ok()
    .prints("text\nread-only");
    case.engine("volume create -o type=tmpfs -o device=tmpfs -o o=size=1m,nosuid,nodev memory")
        .ok();
    case.shell(
        "-v memory:/m",
        "grep ' /m ' /proc/self/mountinfo | grep -c 'nosuid,nodev.* tmpfs .*size=1024k'",
    )
    .ok()
    .prints("1");
    case.engine("volume create -o type=ext4 -o device=/nowhere disk")
        .ok();
    case.shell("-v disk:/d", "true")
        .fails(125, "cannot mount /nowhere");
    case.engine("volume create -o colour=red x1")
        .fails(1, "colour");
    case.engine("volume create -d nfs x1").fails(1, "driver");
    case.engine("volume create x")
        .fails(1, "invalid volume name");
    // The user's files stay.
    case.engine("volume rm bound memory disk").ok();
    assert!(dir.join("file").exists());
}

fn bind_options(case: &Case) {
    case.load_busybox();
    let dir = case.make_dir("dir").display().to_string();
    let flags = |options: &str| format!("-v {dir}:/d:{options}");
    let shown = "grep ' /d ' /proc/self/mountinfo | cut -d' ' -f6";
    case.shell(&flags("noexec,nosuid,nodev"), shown)
        .ok()
        .contains("nosuid,nodev,noexec");
    case.shell(
        &format!("--mount type=bind,source={dir},target=/d,noexec,ro"),
        shown,
    )
    .ok()
    .contains("ro,noexec");
    case.shell(&flags("z,cached"), "touch /d/x").ok();
    case.shell(
        &format!("--mount type=bind,source={dir}/made,target=/d,create"),
        "touch /d/x",
    )
    .ok();
    assert!(fs::exists(format!("{dir}/made/x")).unwrap());
    case.shell(
        &format!("--mount type=bind,source={dir},target=/d,subpath=made"),
        "true",
    )
    .fails(125, "subpath");
    case.shell(&flags("idmap"), "true").fails(125, "idmap");
}

fn chown_of_a_source(case: &Case) {
    case.load_busybox();
    let dir = case.make_dir("dir").display().to_string();
    case.make_file("dir/file", "");
    let mut link = case.program("ln");
    link.args(["-s", "/etc/passwd", &format!("{dir}/link")]);
    crate::case::finish(link).ok();
    case.shell(
        &format!("-u 55:66 -v {dir}:/d:U"),
        "stat -c %u:%g /d /d/file; touch /d/new; stat -c %u /etc/passwd",
    )
    .ok()
    .prints("55:66\n55:66\n0");
    case.shell(&format!("-u 0:0 -v {dir}:/d:U"), "stat -c %u:%g /d /d/new")
        .ok()
        .prints("0:0\n0:0");
    case.shell("-v /usr:/d:U", "true").fails(125, "system");
}

fn tmpfs_options(case: &Case) {
    load_image(case);
    let shown = "grep ' /t ' /proc/self/mountinfo; stat -c %a /t";
    let outcome = vol(case, "--tmpfs /t", shown)
        .ok()
        .contains("rw,nosuid,nodev,noexec");
    assert!(outcome.stdout.ends_with("1777\n"), "{outcome}");
    vol(case, "--tmpfs /t:exec,size=1m,mode=700", shown)
        .ok()
        .contains("size=1024k,mode=700");
    vol(
        case,
        "--mount type=tmpfs,target=/t,tmpfs-size=2m,tmpfs-mode=750",
        shown,
    )
    .ok()
    .contains("size=2048k,mode=750");
    vol(case, "--tmpfs /data", "ls /data").ok().prints("");
    vol(
        case,
        "--tmpfs /data:tmpcopyup",
        "cat /data/one; stat -c %a /data",
    )
    .ok()
    .prints("1\n2750");
    vol(case, "--tmpfs /data:tmpcopyup,ro,notmpcopyup", "ls /data")
        .ok()
        .prints("");
    vol(case, "--tmpfs /t:colour", "true").fails(125, "colour");
}

fn shm_size(case: &Case) {
    case.load_busybox();
    let script = "df -k /dev/shm | tail -1 | awk '{print $2}'";
    case.shell("--shm-size 1m", script).ok().prints("1024");
    case.shell("--shm-size 0", script).ok().prints("65536");
    case.engine("run --rm --shm-size x localhost/busybox true")
        .fails(125, "x");
}

fn read_only_root(case: &Case) {
    case.load_busybox();
    let script = "for f in /x /tmp/x /run/x /var/tmp/x /dev/shm/x; do touch $f 2>/dev/null && echo $f; done; true";
    case.shell("--read-only", script).ok().prints("/dev/shm/x");
    case.shell("--read-only --read-only-tmpfs", script)
        .ok()
        .prints("/tmp/x\n/run/x\n/var/tmp/x\n/dev/shm/x");
    case.shell("--read-only -v vol:/tmp", script)
        .ok()
        .prints("/tmp/x\n/dev/shm/x");
}

fn images_as_mounts(case: &Case) {
    case.load_busybox();
    load_image(case);
    case.shell(
        "--mount type=image,source=localhost/vol,target=/i",
        "cat /i/data/one; touch /i/x 2>/dev/null || echo read-only",
    )
    .ok()
    .prints("1\nread-only");
    case.shell(
        "--mount type=image,source=localhost/vol,target=/i,subpath=data/sub",
        "ls /i",
    )
    .ok()
    .prints("two");
    case.shell(
        "--mount type=image,source=localhost/vol,target=/i,rw=true",
        "touch /i/x && ls /i/x",
    )
    .ok()
    .prints("/i/x");
    // It stays as long as a container mounts it.
    case.engine("create --name box --network none --mount type=image,source=localhost/vol,target=/i localhost/busybox cat /i/data/one").ok();
    case.engine("rmi localhost/vol").ok();
    case.engine("start -a box").ok().prints("1");
    case.shell("--mount type=image,source=localhost/none,target=/i", "true")
        .fails(125, "No such image");
}

fn overlays(case: &Case) {
    case.load_busybox();
    let dir = case.make_dir("dir").display().to_string();
    case.make_file("dir/file", "old\n");
    case.shell(&format!("-v {dir}:/d:O"), "echo new > /d/file; cat /d/file")
        .ok()
        .prints("new");
    assert_eq!(fs::read_to_string(format!("{dir}/file")).unwrap(), "old\n");
}

fn kernel_places(case: &Case) {
    case.load_busybox();
    let file = case.make_file("cpuinfo", "made up\n").display().to_string();
    case.shell(&format!("-v {file}:/proc/cpuinfo:ro"), "cat /proc/cpuinfo")
        .ok()
        .prints("made up");
    for target in [
        "/proc",
        "/proc/keys",
        "/proc/sys/kernel/core_pattern",
        "/proc/self/attr",
        "/sys",
        "/sys/kernel",
    ] {
        case.shell(&format!("-v {file}:{target}"), "true")
            .fails(125, "/proc, /sys");
    }
    let dir = case.make_dir("dir").display().to_string();
    case.shell(&format!("-v {dir}:/proc/cpuinfo"), "true")
        .fails(125, "cannot mount");
    case.shell(&format!("-v {dir}:/sys/fs/cgroup"), "true")
        .fails(125, "/proc, /sys");
    case.shell("--tmpfs /proc/cpuinfo", "true")
        .fails(125, "/proc, /sys");
    assert!(volumes(case, "").is_empty());
}

fn shown_by_inspect(case: &Case) {
    case.load_busybox();
    case.engine("create --name box --network none -v data:/d:ro -v /anon --mount type=volume,source=other,target=/o,volume-subpath=x --shm-size 2m localhost/busybox").ok();
    let shown = case.engine("inspect box").ok().json();
    let shown = &shown[0];
    assert_eq!(
        shown["HostConfig"]["Binds"],
        serde_json::json!(["data:/d:ro"])
    );
    assert_eq!(shown["HostConfig"]["ShmSize"], 2 << 20);
    assert_eq!(
        shown["HostConfig"]["Mounts"][0]["VolumeOptions"]["Subpath"],
        "x"
    );
    assert_eq!(shown["Config"]["Volumes"], serde_json::json!({"/anon": {}}));
    let mount = &shown["Mounts"][0];
    assert_eq!(mount["Type"], "volume");
    assert_eq!(mount["Name"], "data");
    assert_eq!(mount["Driver"], "local");
    assert_eq!(mount["RW"], false);
    let volume = case.engine("volume inspect data").ok().json();
    assert_eq!(volume[0]["Mountpoint"], mount["Source"]);
    assert_eq!(
        case.engine("inspect --type volume data").ok().json(),
        volume
    );
    case.engine("volume inspect nope")
        .fails(1, "no such volume")
        .prints("[]");
    case.words(&[
        "ps",
        "-a",
        "--filter",
        "volume=data",
        "--format",
        "{{.Names}} {{.LocalVolumes}}",
    ])
    .ok()
    .prints("box 3");
    case.engine("ps -a -q --filter volume=nope").ok().prints("");
}

fn what_cannot_be_done(case: &Case) {
    case.load_busybox();
    for (flags, says) in [
        ("-v a:/b", "invalid volume name"),
        ("-v ab:/x -v cd:/x/", "duplicate mount point"),
        ("-v ab:/x:rshared", "propagation"),
        ("--volume-driver nfs -v ab:/x", "driver"),
        ("--mount type=glob,source=/a,target=/b", "glob"),
        ("--mount type=bind,source=/nope,target=/b", "does not exist"),
        (
            "--mount type=bind,source=/,target=/b,bind-recursive=writable",
            "readonly",
        ),
    ] {
        case.shell(flags, "true").fails(125, says);
    }
    assert!(volumes(case, "").is_empty());
}

/// CI systems mount them into every job; a folder made in such a place would be in an engine's way.
fn sockets_of_engines_that_do_not_run(case: &Case) {
    case.load_busybox();
    let socket = case.dir_path("runtime/docker.sock");
    let path = socket.display().to_string();
    for flag in [
        format!("-v {path}:/sock"),
        format!("--mount type=bind,source={path},target=/sock"),
    ] {
        let outcome = case.shell(&flag, "test ! -e /sock").ok();
        let note = format!("note: {path} is not mounted");
        assert!(outcome.stderr.contains(&note), "{outcome}");
        assert!(!socket.exists());
    }
    let _listening = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let outcome = case
        .shell(&format!("-v {path}:/sock"), "test -S /sock")
        .ok();
    assert_eq!(outcome.stderr, "");
    fs::remove_file(socket).unwrap();
}

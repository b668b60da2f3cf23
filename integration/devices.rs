//! Devices, CDI, secrets, users, time zones and variables that a container is given by flags.

use crate::{
    case::Case,
    image::{Image, busybox_layer},
};

cases! {
    device_under_another_name: root ordinary single;
    device_with_its_owner_and_mode: root;
    folder_of_devices: root;
    device_of_the_host_is_opened: root;
    device_rules_are_in_force: root;
    nodes_of_the_image_open_nothing: root;
    privileged_containers_have_the_machines: root ordinary;
    devices_that_do_not_exist: root ordinary;
    limits_that_nobody_enforces: ordinary;
    image_with_a_link_for_a_device: root ordinary;
    cdi_device: root ordinary;
    cdi_precedence: root ordinary;
    gpus: root ordinary;
    devices_in_inspect: root;
    secret_files: root ordinary;
    secret_variables_are_in_no_record: root ordinary;
    secret_commands: root ordinary single;
    time_zone: root ordinary single;
    user_entries: root ordinary;
    user_entry_through_a_link: root ordinary;
    variables_of_the_host: root ordinary;
}

fn device_under_another_name(case: &Case) {
    case.load_busybox();
    let script = "for d in /dev/xnull /opt/deep/zero; do stat -c '%n %F %t:%T' $d; done; \
                  echo gone > /dev/xnull && head -c 3 /opt/deep/zero | wc -c";
    case.shell(
        "--device /dev/null:/dev/xnull --device /dev/zero:/opt/deep/zero:rw",
        script,
    )
    .ok()
    .prints("/dev/xnull character special file 1:3\n/opt/deep/zero character special file 1:5\n3");
    // Nothing of it is left on the host.
    assert!(!std::path::Path::new("/dev/xnull").exists());
}

/// A node of the case's own on the host, in a place where nobody looks.
fn node(case: &Case, name: &str, numbers: &str, mode: &str) -> Option<String> {
    let path = case.dir.join(name);
    let made = case
        .program("mknod")
        .args(["-m", mode])
        .arg(&path)
        .args(["c"])
        .args(numbers.split(':'))
        .status();
    if !made.is_ok_and(|status| status.success()) {
        case.skip("device nodes cannot be made here");
        return None;
    }
    Some(path.display().to_string())
}

fn device_with_its_owner_and_mode(case: &Case) {
    case.load_busybox();
    let Some(path) = node(case, "thing", "1:7", "0640") else {
        return;
    };
    std::os::unix::fs::chown(&path, Some(12), Some(34)).unwrap();
    let link = case.dir.join("link");
    std::os::unix::fs::symlink(&path, &link).unwrap();
    case.shell(
        &format!("--device {}:/dev/thing", link.display()),
        "stat -c '%t:%T %a %u:%g' /dev/thing",
    )
    .ok()
    .prints("1:7 640 12:34");
    // A device of a path that every container has: the one that was asked for counts.
    case.shell(
        &format!("--device {path}:/dev/zero"),
        "stat -c '%t:%T' /dev/zero",
    )
    .ok()
    .prints("1:7");
}

fn folder_of_devices(case: &Case) {
    case.load_busybox();
    case.make_dir("bus");
    case.make_dir("bus/001");
    if node(case, "bus/a", "1:3", "0666").is_none() {
        return;
    }
    node(case, "bus/001/b", "1:5", "0666");
    case.make_file("bus/text", "no device");
    let folder = case.dir.join("bus").display().to_string();
    case.shell(
        &format!("--device {folder}:/dev/bus"),
        "cd /dev/bus && find . -type c | sort; ls text 2>/dev/null; stat -c %t:%T 001/b",
    )
    .ok()
    .prints("./001/b\n./a\n1:5");
}

/// A device of the machine's that no container has by itself.
fn device_of_the_host_is_opened(case: &Case) {
    case.load_busybox();
    if !std::path::Path::new("/dev/fuse").exists() {
        return case.skip("there is no /dev/fuse");
    }
    case.shell(
        "--device /dev/fuse",
        "stat -c %t:%T /dev/fuse; : < /dev/fuse && echo open",
    )
    .ok()
    .prints("a:e5\nopen");
}

/// A program that may make nodes can open only those that the rules name.
fn device_rules_are_in_force(case: &Case) {
    case.load_busybox();
    let has_version_2 = std::fs::read_to_string("/proc/mounts")
        .unwrap()
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("cgroup2"));
    if !has_version_2 || !std::path::Path::new("/dev/fuse").exists() {
        return case.skip("needs cgroup2 and /dev/fuse");
    }
    let opens = "mknod /tmp/n c 10 229 && (: < /tmp/n) 2>/dev/null && echo read; \
                 (: > /tmp/n) 2>/dev/null && echo write; true";
    let run = |flags: &[&str]| {
        let mut words = vec!["run", "--rm", "--network=none", "--cap-add=MKNOD"];
        words.extend(flags);
        words.extend(["localhost/busybox", "sh", "-c", opens]);
        case.words(&words).ok()
    };
    run(&[]).prints("");
    run(&["--device-cgroup-rule", "c 10:229 r"]).prints("read");
    run(&["--device", "/dev/fuse:/dev/x:w"]).prints("write");
    run(&["--device", "/dev/fuse"]).prints("read\nwrite");
    run(&["--privileged"]).prints("read\nwrite");
}

/// An image that brings nodes of the machine's devices. With ids of its own the container owns them,
/// and had no rules: it could open every device of the machine.
fn nodes_of_the_image_open_nothing(case: &Case) {
    if !std::path::Path::new("/dev/fuse").exists() {
        return case.skip("needs /dev/fuse");
    }
    let layer = busybox_layer()
        .device("fuse", 10, 229)
        .device("nothing", 1, 3);
    let image = Image::new("localhost/nodes", vec![layer.bytes()]);
    load(case, &image);
    let opens = "for n in /fuse /nothing /dev/null; do (: < $n) 2>/dev/null && echo $n; done";
    let run = |flags: &[&str]| {
        let mut words = vec!["run", "--rm", "--network=none"];
        words.extend(flags);
        words.extend(["localhost/nodes", "sh", "-c", opens]);
        case.words(&words).ok()
    };
    run(&[]).prints("/dev/null");
    run(&["--userns=auto"]).prints("/dev/null");
    run(&["--userns=auto", "--privileged"]).prints("/dev/null");
    let rules = std::fs::read_to_string("/proc/mounts").unwrap();
    if rules
        .lines()
        .any(|line| line.split(' ').nth(2) == Some("cgroup2"))
    {
        run(&["--cap-add=MKNOD"]).prints("/nothing\n/dev/null");
        run(&["--userns=auto", "--cap-add=MKNOD"]).prints("/nothing\n/dev/null");
        run(&["--device-cgroup-rule", "c 10:229 r"]).prints("/fuse\n/nothing\n/dev/null");
    }
    // Nor does what a more privileged program makes later.
    case.words(&[
        "run",
        "-d",
        "--name=later",
        "--network=none",
        "localhost/nodes",
        "sleep",
        "100",
    ])
    .ok();
    let script = format!(
        "mknod /dev/made c 10 229; {}",
        opens.replace("/nothing", "/dev/made")
    );
    case.words(&["exec", "--privileged", "later", "sh", "-c", &script])
        .ok()
        .prints("/dev/null");
    case.engine("rm -f later").ok();
}

fn privileged_containers_have_the_machines(case: &Case) {
    case.load_busybox();
    let devices = "cd /dev && find . -type c -o -type b | grep -v pts | sort";
    let outcome = case.shell("--privileged", devices).ok();
    let own = case.shell("", devices).ok();
    for name in own.stdout.lines() {
        assert!(outcome.stdout.contains(name), "{name}: {outcome}");
    }
    if case.is_root() && std::path::Path::new("/dev/fuse").exists() {
        assert!(outcome.stdout.contains("./fuse"), "{outcome}");
    }
    for name in ["./ptmx", "./console"] {
        assert!(
            !outcome.stdout.lines().any(|line| line == name),
            "{outcome}"
        );
    }
}

fn devices_that_do_not_exist(case: &Case) {
    case.load_busybox();
    let before = case.store_listing();
    let run = |flags: &str| {
        case.engine(&format!(
            "run --network none {flags} localhost/busybox true"
        ))
    };
    run("--device /dev/nope").fails(
        125,
        "error gathering device information while adding custom device \"/dev/nope\": no such file or directory",
    );
    run("--device /etc/passwd").fails(125, "not a device node");
    run("--device /dev/null:/proc/null").fails(125, "/proc/null");
    run("--device /dev/null:/dev/../..").fails(125, "the container's root");
    run("--device /dev/null:/dev/x:rx").fails(125, "bad mode specified");
    run("--device-cgroup-rule=c-1:3").fails(125, "invalid device cgroup format");
    run("--device no.such/thing=one").fails(
        125,
        "CDI device injection failed: unresolvable CDI devices no.such/thing=one",
    );
    assert_eq!(before, case.store_listing());
}

/// Without root there is no control group that could hold back a device.
fn limits_that_nobody_enforces(case: &Case) {
    case.load_busybox();
    case.shell("--device /dev/null:/dev/x:r", "true")
        .fails(125, "cannot be limited to \"r\" without root");
    case.words(&[
        "run",
        "--network=none",
        "--device-cgroup-rule",
        "c 1:3 r",
        "localhost/busybox",
        "true",
    ])
    .fails(125, "device cgroup rules are not supported");
}

fn load(case: &Case, image: &Image) {
    let archive = case.make_file("image.tar", image.archive());
    case.words(&["load", "-i", archive.to_str().unwrap()]).ok();
}

/// CVE-2026-41579: the image has a link where a node is to be made.
fn image_with_a_link_for_a_device(case: &Case) {
    let trap = case.make_dir("trap");
    let layer = busybox_layer()
        .symlink("opt", trap.to_str().unwrap())
        .symlink("leaf", trap.join("node").to_str().unwrap())
        .symlink("kernel", "/proc")
        .bytes();
    load(case, &Image::new("localhost/trap", vec![layer]));
    let run = |target: &str| {
        case.engine(&format!(
            "run --rm --network none --device /dev/null:{target} localhost/trap true"
        ))
    };
    run("/opt/node");
    run("/leaf");
    run("/kernel/node").exits(125);
    assert_eq!(std::fs::read_dir(&trap).unwrap().count(), 0);
}

const SPECIFICATION: &str = r#"cdiVersion: "0.6.0"
kind: example.com/thing
containerEdits:
  env:
  - THING=yes
devices:
- name: one
  containerEdits:
    env:
    - WHICH=one
    deviceNodes:
    - path: /dev/thing
      hostPath: /dev/zero
      permissions: rw
    mounts:
    - hostPath: HOST
      containerPath: /opt/thing/text
      options: [ro, nosuid, nodev, noexec, bind]
- name: two
  containerEdits:
    env:
    - SECOND=yes
"#;

/// A folder with the specification; the flag for it.
fn specification(case: &Case, folder: &str, edit: impl Fn(String) -> String) -> String {
    let text = case.make_file("text", "of the vendor\n");
    let folder_path = case.make_dir(folder);
    let text = SPECIFICATION.replace("HOST", text.to_str().unwrap());
    case.make_file(&format!("{folder}/thing.yaml"), edit(text));
    format!("--cdi-spec-dir {}", folder_path.display())
}

fn cdi_device(case: &Case) {
    case.load_busybox();
    let folder = specification(case, "cdi", |text| text);
    let script = "echo $THING $WHICH $SECOND; stat -c %t:%T /dev/thing; cat /opt/thing/text; \
                  (echo x > /opt/thing/text) 2>/dev/null && echo written; \
                  grep -c '/opt/thing/text .*ro,nosuid,nodev,noexec' /proc/mounts";
    case.shell(
        &format!("{folder} --device example.com/thing=one -e WHICH=mine"),
        script,
    )
    .ok()
    .prints("yes one\n1:5\nof the vendor\n1");
    case.shell(
        &format!("{folder} --device example.com/thing=all"),
        "echo $THING $WHICH $SECOND",
    )
    .ok()
    .prints("yes one yes");
    case.shell(
        &format!("{folder} --device example.com/thing=one --device example.com/thing=three"),
        "true",
    )
    .fails(125, "unresolvable CDI devices example.com/thing=three");
}

/// A later folder counts more; a broken file takes only its own devices away.
fn cdi_precedence(case: &Case) {
    case.load_busybox();
    let first = specification(case, "a", |text| text);
    let second = specification(case, "b", |text| text.replace("WHICH=one", "WHICH=later"));
    case.make_file("b/broken.json", "{");
    case.shell(
        &format!("{first} {second} --device example.com/thing=one"),
        "echo $WHICH",
    )
    .ok()
    .prints("later");
}

fn gpus(case: &Case) {
    case.load_busybox();
    let empty = case.make_dir("none");
    case.shell(
        &format!("--cdi-spec-dir {} --gpus all", empty.display()),
        "true",
    )
    .fails(
        125,
        "could not select device driver \"\" with capabilities: [[gpu]]",
    );
    let folder = specification(case, "cdi", |text| {
        text.replace("example.com/thing", "nvidia.com/gpu")
            .replace("name: one", "name: '0'")
            .replace("name: two", "name: '1'")
    });
    let script = "echo $WHICH$SECOND";
    case.shell(&format!("{folder} --gpus 1"), script)
        .ok()
        .prints("one");
    case.shell(&format!("{folder} --gpus device=1"), script)
        .ok()
        .prints("yes");
    case.shell(&format!("{folder} --gpus all"), script)
        .ok()
        .prints("oneyes");
    case.shell(&format!("{folder} --gpus 3"), "true")
        .fails(125, "could not select device driver");
}

fn devices_in_inspect(case: &Case) {
    case.load_busybox();
    case.words(&[
        "create",
        "--name=devices",
        "--network=none",
        "--device=/dev/null:/dev/x:rw",
        "--device-cgroup-rule=c 1:* rwm",
        "localhost/busybox",
    ])
    .ok();
    let object = case.engine("inspect devices").ok().json();
    let host = &object[0]["HostConfig"];
    assert_eq!(
        host["Devices"],
        serde_json::json!([{"PathOnHost": "/dev/null", "PathInContainer": "/dev/x", "CgroupPermissions": "rw"}])
    );
    assert_eq!(host["DeviceCgroupRules"], serde_json::json!(["c 1:* rwm"]));
    assert_eq!(host["DeviceRequests"], serde_json::Value::Null);
    case.engine("rm devices").ok();
}

fn make_secret(case: &Case, name: &str, value: &str) {
    case.with_input(&["secret", "create", name, "-"], value)
        .ok();
}

fn secret_files(case: &Case) {
    case.load_busybox();
    make_secret(case, "key", "hunter2");
    let script = "cat /run/secrets/key /run/secrets/deep/other /etc/app/key; echo; \
                  stat -c '%a %u:%g %s' /run/secrets/key /etc/app/key; \
                  grep ' /run/secrets ' /proc/mounts | cut -d, -f1-4; ls -A /run/secrets; \
                  (echo x > /etc/app/key) 2>/dev/null && echo written; true";
    case.shell(
        "--secret key --secret key,target=deep/other --secret key,target=/etc/app/key,mode=0400,uid=7,gid=8",
        script,
    )
    .ok()
    .prints(
        "hunter2hunter2hunter2\n444 0:0 7\n400 7:8 7\n\
         tmpfs /run/secrets tmpfs ro,nosuid,nodev,noexec\ndeep\nkey",
    );
    case.shell("--secret nobody", "true")
        .fails(125, "no such secret");
    case.shell("--secret key,mode=rw", "true")
        .fails(125, "mode is not octal");
    // The container's own mounts do not stand in the way.
    case.shell("--secret key --tmpfs /run", "cat /run/secrets/key")
        .ok()
        .prints("hunter2");
}

fn secret_variables_are_in_no_record(case: &Case) {
    case.load_busybox();
    make_secret(case, "key", "correct-horse-battery");
    case.engine(
        "run -d --name secretive --network none --secret key,type=env,target=KEY localhost/busybox sleep 100",
    )
    .ok();
    case.words(&["exec", "secretive", "sh", "-c", "echo $KEY"])
        .ok()
        .prints("correct-horse-battery");
    let object = case.engine("inspect secretive").ok();
    assert!(!object.stdout.contains("horse"), "{object}");
    // "correct-horse" as base64 begins so.
    for form in ["correct-horse-battery", "Y29ycmVjdC1ob3Jz"] {
        let mut grep = case.program("grep");
        grep.args(["-rls", form])
            .arg(case.root().join("containers"));
        let found = String::from_utf8(grep.output().unwrap().stdout).unwrap();
        assert_eq!(found, "");
    }
    case.engine("rm -f secretive").ok();
}

fn secret_commands(case: &Case) {
    let file = case.make_file("value", "from a file");
    let id = case
        .words(&[
            "secret",
            "create",
            "-l",
            "a=b",
            "first",
            file.to_str().unwrap(),
        ])
        .ok();
    assert_eq!(id.first().len(), 25, "{id}");
    case.with_input(&["secret", "create", "first", "-"], "x")
        .fails(1, "secret name in use");
    case.with_input(&["secret", "create", "--replace", "first", "-"], "new")
        .ok();
    case.engine("secret inspect --showsecret --format {{.SecretData}} first")
        .ok()
        .prints("new");
    case.set("VALUE", "of a variable");
    case.engine("secret create --env second VALUE").ok();
    case.engine("secret ls --format {{.Name}}")
        .ok()
        .prints("first\nsecond");
    let shown = case.engine("secret inspect first").ok();
    assert!(!shown.stdout.contains("new"), "{shown}");
    case.engine("secret exists second").ok();
    case.engine("secret exists third").exits(1);
    case.engine("secret create third /no/such/file")
        .fails(1, "cannot read the secret");
    case.with_input(&["secret", "create", "../x", "-"], "x")
        .fails(1, "invalid secret name");
    case.engine("secret rm first nobody").exits(1);
    case.engine("secret rm --all").ok();
    case.engine("secret ls -q").ok().prints("");
    let folder = case.root().join("secrets");
    assert_eq!(std::fs::read_dir(folder).unwrap().count(), 0);
}

fn time_zone(case: &Case) {
    case.load_busybox();
    if !std::path::Path::new("/usr/share/zoneinfo/Asia/Kathmandu").exists() {
        return case.skip("there is no zone information");
    }
    case.shell(
        "--tz Asia/Kathmandu",
        "date +%z; [ -L /etc/localtime ] || echo file",
    )
    .ok()
    .prints("+0545\nfile");
    case.shell("--tz No/Where", "true")
        .fails(125, "cannot find time zone");
    case.shell("--tz ../../../etc/passwd", "true")
        .fails(125, "invalid time zone");
}

fn user_entries(case: &Case) {
    case.load_busybox();
    let script =
        "id -un; id -gn; grep -c . /etc/passwd > /dev/null; grep '^1234\\|:1234:' /etc/passwd";
    case.shell("-u 1234:77 --passwd -w /tmp", script)
        .ok()
        .prints("1234\n77\n1234:*:1234:77:container user:/tmp:/bin/sh");
    case.shell(
        "--read-only -u 1234:77 --passwd-entry joe:*:$UID:$GID::/home/joe:/bin/ash --group-entry crew:x:$GID:",
        "id -un; id -gn; echo $HOME",
    )
    .ok()
    .prints("joe\ncrew\n/home/joe");
    // Without the flags nothing is written.
    case.shell("-u 1234", "grep 1234 /etc/passwd").exits(1);
    case.shell("-u 1234 --passwd-entry nonsense", "true")
        .fails(125, "invalid --passwd-entry");
    case.shell("--hostuser root-x", "true")
        .fails(125, "no such user");
    case.shell("--hostuser daemon", "grep -c ^daemon: /etc/passwd")
        .ok()
        .prints("1");
}

/// CVE-2025-9566 is of this kind: a file of the host is written by way of a link in the image.
fn user_entry_through_a_link(case: &Case) {
    let victim = case.make_file("victim", "root:x:0:0::/:/bin/sh\n");
    let layer = busybox_layer()
        .dir("etc/")
        .symlink("etc/passwd", victim.to_str().unwrap())
        .symlink("etc/group", "/proc/self/fd/3")
        .symlink("etc/localtime", victim.to_str().unwrap())
        .bytes();
    load(case, &Image::new("localhost/linked", vec![layer]));
    case.words(&[
        "run",
        "--rm",
        "--network=none",
        "--tz=UTC",
        "--user=1234",
        "--passwd",
        "localhost/linked",
        "sh",
        "-c",
        "cut -d: -f1 /etc/passwd; [ -f /etc/localtime ] && echo zone",
    ])
    .ok()
    .prints("1234\nzone");
    assert_eq!(
        std::fs::read_to_string(victim).unwrap(),
        "root:x:0:0::/:/bin/sh\n"
    );
}

fn variables_of_the_host(case: &Case) {
    case.load_busybox();
    case.set("FROM_HOST", "yes");
    case.set("FROM_IMAGE", "host");
    case.set("https_proxy", "http://proxy:1");
    let script = "echo \"$FROM_HOST,$https_proxy\"";
    case.shell("", script).ok().prints(",");
    case.shell("--http-proxy", script)
        .ok()
        .prints(",http://proxy:1");
    case.shell("--env-host", script)
        .ok()
        .prints("yes,http://proxy:1");
    // The image's variables count more, and can be taken away or built upon.
    let outcome = case.shell("--env-host", "echo $FROM_IMAGE").ok();
    assert_ne!(outcome.stdout, "host\n", "{outcome}");
    let image = outcome.stdout.trim();
    case.shell("--unsetenv FROM_IMAGE", "echo ${FROM_IMAGE-gone}")
        .ok()
        .prints("gone");
    case.shell(
        "--env-merge FROM_IMAGE=${FROM_IMAGE}/more",
        "echo $FROM_IMAGE",
    )
    .ok()
    .prints(&format!("{image}/more"));
    case.engine("run --rm --network none --unsetenv-all -e ONE=1 localhost/busybox env")
        .ok()
        .prints("ONE=1\nHOME=/root");
}

//! `build`: Dockerfiles and contexts from everywhere, what comes out and where it goes.

use std::{
    collections::BTreeSet,
    fs,
    io::{Read, Write},
    net::TcpListener,
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
};

use crate::{
    case::{Case, Outcome, collect},
    registry::{self, Registry},
    terminal::Terminal,
};

cases! {
    an_image_from_a_folder: root ordinary single;
    steps_are_done_once: root ordinary single;
    contexts_from_standard_input: root ordinary single;
    where_the_dockerfile_is: root ordinary;
    what_is_left_out: root ordinary single;
    arguments_labels_and_targets: root ordinary;
    secrets_stay_secret: root ordinary single;
    ssh_keys_and_agents: root ordinary single;
    named_contexts: root ordinary;
    images_of_layouts: root ordinary single;
    steps_are_nobodys_containers: root ordinary;
    a_shell_in_a_failed_step: root ordinary single;
    outputs: root ordinary single;
    to_a_registry: root ordinary;
    from_a_url: root ordinary;
    files_of_urls: root ordinary single;
    credentials_go_to_their_host_alone: root ordinary;
    from_a_repository: root ordinary;
    hostile_contexts: root ordinary single;
    what_went_wrong: root ordinary;
    how_it_goes: root ordinary;
    checks: root ordinary;
    the_cache_is_shown_and_removed: root ordinary single;
    flags_that_are_not_there: root;
    the_same_image_on_another_day: root ordinary;
    squashed_layers: root ordinary;
    a_step_is_done_on_what_is_below: root ordinary;
    the_check_knows_steps: root ordinary;
}

/// The main context, with this Dockerfile.
pub fn context(case: &Case, dockerfile: &str) -> String {
    let folder = case.make_dir("context");
    case.make_file("context/Dockerfile", dockerfile);
    case.make_file("context/file", "text\n");
    folder.to_str().unwrap().to_owned()
}

/// Steps have no network, so that none is needed.
pub fn build(case: &Case, words: &[&str]) -> Outcome {
    case.words(&[&["build", "--progress=plain", "--network=none"], words].concat())
}

pub fn run(case: &Case, image: &str, words: &[&str]) -> String {
    let outcome = case.words(&[&["run", "--rm", "--network=none", image], words].concat());
    outcome.ok().stdout.trim_end().to_owned()
}

/// Steps whose last line is this one, by their names.
pub fn steps(outcome: &Outcome, end: &str) -> BTreeSet<String> {
    let lines = || outcome.stderr.lines();
    let ended = lines().filter_map(|line| {
        let (number, word) = line.strip_prefix('#')?.split_once(' ')?;
        word.starts_with(end).then_some(number)
    });
    let names = ended.map(|number| {
        let start = format!("#{number} [");
        let name = lines().find_map(|line| line.strip_prefix(&start));
        name.unwrap_or_default().to_owned()
    });
    // What is no step of the Dockerfile is done each time.
    names
        .filter(|name| !name.is_empty() && !name.starts_with("internal]"))
        .collect()
}

fn an_image_from_a_folder(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nENV GREETING=hello\nWORKDIR /place\nCOPY file .\n\
         RUN echo \"$GREETING\" > greeting && adduser -D -H nobody2 2>/dev/null || true\n\
         CMD [\"sh\", \"-c\", \"cat file greeting; pwd\"]\n",
    );
    let id_file = case.dir_path("id");
    let id_file = id_file.to_str().unwrap();
    let metadata = case.dir_path("metadata.json");
    let metadata = metadata.to_str().unwrap();
    let built = build(
        case,
        &[
            "-t",
            "app:1",
            "-t",
            "other",
            "--iidfile",
            id_file,
            "--metadata-file",
            metadata,
            &context,
        ],
    );
    let log = built.ok().stderr;
    assert!(log.contains("COPY file ."), "{log}");
    assert!(
        log.contains("naming to docker.io/library/app:1 done"),
        "{log}"
    );
    assert_eq!(run(case, "app:1", &[]), "text\nhello\n/place");
    assert_eq!(run(case, "other", &["cat", "/place/greeting"]), "hello");
    let id = fs::read_to_string(id_file).unwrap();
    case.words(&["inspect", "--format", "{{.Id}}", "app:1"])
        .ok()
        .prints(&id);
    let said: serde_json::Value = serde_json::from_slice(&fs::read(metadata).unwrap()).unwrap();
    assert_eq!(said["containerimage.config.digest"], id.as_str());
    assert_eq!(
        said["image.name"],
        "docker.io/library/app:1,docker.io/library/other:latest"
    );
    // -q says the ID on standard output and nothing else, and it is the same again.
    let quiet = case
        .words(&["build", "-q", "--network=none", &context])
        .ok();
    assert_eq!(
        (quiet.stdout.trim_end(), quiet.stderr.as_str()),
        (id.as_str(), "")
    );
    let history = case.words(&["history", "--no-trunc", "app:1"]).ok().stdout;
    assert!(history.contains("CMD [\"sh\""), "{history}");
}

fn steps_are_done_once(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nCOPY file /file\nRUN cat /proc/sys/kernel/random/uuid > /uuid\n",
    );
    let uuid = |flags: &[&str]| {
        build(case, &[flags, &["-t", "app", &context]].concat()).ok();
        run(case, "app", &["cat", "/uuid"])
    };
    let first = uuid(&[]);
    assert_eq!(uuid(&[]), first);
    // Times are not content.
    case.make_file("context/file", "text\n");
    assert_eq!(uuid(&[]), first);
    case.make_file("context/file", "other\n");
    let second = uuid(&[]);
    assert_ne!(second, first);
    let third = uuid(&["--no-cache"]);
    assert_ne!(third, second);
    case.make_file("context/file", "text\n");
    assert_eq!(uuid(&[]), first);
}

/// A tar of the folder by the host's program, as the case's user.
fn archive(case: &Case, folder: &str, compression: &str) -> Vec<u8> {
    let mut tar = case.program("tar");
    let output = tar
        .args([compression, "-cf", "-", "-C", folder, "."])
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

fn contexts_from_standard_input(case: &Case) {
    case.load_busybox();
    let context = context(case, "FROM localhost/busybox\nCOPY file /file\n");
    for compression in ["--format=gnu", "-z", "-J", "-j"] {
        let tar = archive(case, &context, compression);
        case.with_input(&["build", "-q", "-t", "app", "-"], tar)
            .ok();
        assert_eq!(run(case, "app", &["cat", "/file"]), "text", "{compression}");
        case.engine("rmi app").ok();
    }
    let lone = "FROM localhost/busybox\nENV A=lone\n";
    case.with_input(&["build", "-q", "-t", "app", "-"], lone)
        .ok();
    assert_eq!(run(case, "app", &["sh", "-c", "echo $A"]), "lone");
    // The Dockerfile comes from there and the files from the folder.
    let other = "FROM localhost/busybox\nCOPY file /from-f\n";
    case.with_input(&["build", "-q", "-t", "app", "-f", "-", &context], other)
        .ok();
    assert_eq!(run(case, "app", &["cat", "/from-f"]), "text");
    // In an archive -f names a member.
    case.make_file("context/other.txt", "FROM localhost/busybox\nENV A=other\n");
    let tar = archive(case, &context, "-z");
    case.with_input(&["build", "-q", "-t", "app", "-f", "other.txt", "-"], tar)
        .ok();
    assert_eq!(run(case, "app", &["sh", "-c", "echo $A"]), "other");
    case.with_input(&["build", "-f", "-", "-"], lone)
        .fails(1, "can't use stdin for both build context and dockerfile");
    case.with_input(&["build", "-"], "FROM nowhere\nCOPY\n")
        .exits(1);
}

fn where_the_dockerfile_is(case: &Case) {
    case.load_busybox();
    let folder = case.make_dir("context");
    let folder = folder.to_str().unwrap();
    build(case, &[folder]).fails(
        1,
        "failed to read dockerfile: open Dockerfile: no such file",
    );
    for name in ["Containerfile", "dockerfile", "Dockerfile"] {
        let text = format!("FROM localhost/busybox\nENV A={name}\n");
        case.make_file(&format!("context/{name}"), text);
        build(case, &["-t", "app", folder]).ok();
        assert_eq!(run(case, "app", &["sh", "-c", "echo $A"]), name);
    }
    // Relative to the current directory.
    case.make_file("elsewhere", "FROM localhost/busybox\nENV A=elsewhere\n");
    let mut command = case.command(&["build", "-q", "-t", "app", "-f", "elsewhere", "context"]);
    command.current_dir(&case.dir);
    crate::case::finish(command).ok();
    assert_eq!(run(case, "app", &["sh", "-c", "echo $A"]), "elsewhere");
    build(case, &["-f", "nowhere", folder]).fails(1, "failed to read dockerfile: open nowhere");
    build(case, &["/no/such/folder"]).fails(1, "path \"/no/such/folder\" not found");
}

fn what_is_left_out(case: &Case) {
    case.load_busybox();
    let context = context(case, "FROM localhost/busybox\nCOPY . /context\n");
    case.make_dir("context/sub");
    case.make_file("context/sub/a.log", "");
    case.make_file("context/sub/b.txt", "");
    case.make_file("context/keep.log", "");
    let listed = |flags: &[&str]| {
        build(case, &[flags, &["-t", "app", &context]].concat()).ok();
        let list = run(
            case,
            "app",
            &["sh", "-c", "cd /context && find . -type f | sort"],
        );
        list.replace("./", "").replace('\n', " ")
    };
    case.make_file("context/.dockerignore", "**/*.log\n!keep.log\nDockerfile\n");
    assert_eq!(listed(&[]), ".dockerignore file keep.log sub/b.txt");
    // That of the Dockerfile comes first.
    case.make_file("context/Dockerfile.dockerignore", "sub\n.*\nDockerfile*\n");
    assert_eq!(listed(&[]), "file keep.log");
    case.make_file("patterns", "*\n!file\n");
    let patterns = case.dir_path("patterns");
    assert_eq!(
        listed(&["--ignorefile", patterns.to_str().unwrap()]),
        "file"
    );
    case.make_file("context/Dockerfile.dockerignore", "!\n");
    build(case, &[&context]).exits(1);
}

fn arguments_labels_and_targets(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "ARG BASE=busybox\nFROM localhost/$BASE AS first\nARG WORD=default\nARG FROM_ENV\n\
         LABEL word=$WORD\nENV WORD=$WORD FROM_ENV=$FROM_ENV\nFROM first AS second\nRUN false\n",
    );
    case.set("FROM_ENV", "environment");
    let flags = [
        "--build-arg",
        "WORD=given",
        "--build-arg",
        "FROM_ENV",
        "--build-arg",
        "UNSET",
        "--label",
        "more=1",
        "--target",
        "first",
        "-t",
        "app",
    ];
    build(case, &[&flags[..], &[&context]].concat()).ok();
    assert_eq!(
        run(case, "app", &["sh", "-c", "echo $WORD $FROM_ENV"]),
        "given environment"
    );
    let labels = case
        .words(&["inspect", "--format", "{{json .Config.Labels}}", "app"])
        .ok();
    assert_eq!(
        labels.json(),
        serde_json::json!({"test.origin": "busybox", "word": "given", "more": "1"})
    );
    build(case, &["--target", "first", "-t", "app", &context]).ok();
    assert_eq!(run(case, "app", &["sh", "-c", "echo $WORD"]), "default");
    build(case, &["--target", "third", &context]).exits(1);
}

fn secrets_stay_secret(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nRUN --mount=type=secret,id=key cat /run/secrets/key | tr a-z A-Z > /upper\n\
         RUN --mount=type=secret,id=word,env=WORD echo \"$WORD\" | tr a-z A-Z > /word\n",
    );
    let file = case.make_file("key", "xyzzy-key");
    case.set("THE_WORD", "xyzzy-word");
    let key = format!("id=key,src={}", file.display());
    let flags = [
        "--secret",
        &key,
        "--secret",
        "id=word,env=THE_WORD",
        "-t",
        "app",
    ];
    let log = build(case, &[&flags[..], &[&context]].concat()).ok().stderr;
    assert!(!log.contains("xyzzy"), "{log}");
    assert_eq!(
        run(case, "app", &["cat", "/word", "/upper"]),
        "XYZZY-WORD\nXYZZY-KEY"
    );
    assert_eq!(
        run(
            case,
            "app",
            &["sh", "-c", "ls /run/secrets 2>/dev/null; true"]
        ),
        ""
    );
    let mut grep = case.program("grep");
    let found = grep
        .args(["-rl", "xyzzy-"])
        .arg(case.root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
    build(case, &["--secret", "src=x", &context]).fails(125, "secret missing ID");
    build(case, &["--ssh", "default=/etc/passwd", &context])
        .fails(125, "it is neither a socket nor a private key");
}

/// Programs of this machine for steps, below /host.
const LOADER: &str = "/host/usr/lib/x86_64-linux-gnu/ld-linux-x86-64.so.2 --library-path /host/usr/lib/x86_64-linux-gnu";

fn ssh_keys_and_agents(case: &Case) {
    let is_there = |path: &str| std::path::Path::new(path).exists();
    if !is_there("/usr/bin/ssh-add") || !is_there(&LOADER.split(' ').next().unwrap()[5..]) {
        case.skip("there is no OpenSSH");
        return;
    }
    case.load_busybox();
    let context = context(
        case,
        &format!(
            "FROM localhost/busybox\nCOPY key.pub /\n\
             RUN --mount=type=ssh {LOADER} /host/usr/bin/ssh-add -l && echo data > /data && \
             {LOADER} /host/usr/bin/ssh-keygen -Y sign -n test -f /key.pub /data\n\
             RUN --mount=type=ssh,mode=0640 stat -c %a $SSH_AUTH_SOCK; \
             {LOADER} /host/usr/bin/ssh-add -D && exit 1; true\n"
        ),
    );
    let rsa = include_str!("../tests/data/ssh/rsa");
    let ed25519 = include_str!("../tests/data/ssh/ed25519");
    case.make_file(
        "context/key.pub",
        include_str!("../tests/data/ssh/ed25519.pub"),
    );
    let key = case.make_file("key", ed25519);
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).unwrap();
    let other = case.make_file("other", rsa);
    let both = format!("default={},{}", other.display(), key.display());
    let with = |ssh: &str| {
        let flags = [
            "--no-cache",
            "--volume=/:/host:ro",
            "-t",
            "app",
            "--ssh",
            ssh,
        ];
        build(case, &[&flags[..], &[&context]].concat())
    };
    let log = with(&both).ok().stderr;
    for part in [
        "test rsa (RSA)",
        "test ed25519 (ED25519)",
        " 640\n",
        "remove all",
    ] {
        assert!(log.contains(part), "{part}: {log}");
    }
    let verify = || {
        let signature = case.words(&["run", "--rm", "--network=none", "app", "cat", "/data.sig"]);
        let signature = case.make_file("data.sig", signature.ok().stdout);
        let data = fs::File::open(case.make_file("data", "data\n")).unwrap();
        let mut keygen = case.program("ssh-keygen");
        keygen.args(["-Y", "check-novalidate", "-n", "test", "-s"]);
        let verified = keygen.arg(signature).stdin(data).output().unwrap();
        assert!(verified.status.success(), "{verified:?}");
    };
    verify();
    // An agent of the user's is asked for signatures, and not changed.
    let socket = case.dir_path("agent");
    let mut agent = case.program("ssh-agent");
    let agent = agent.arg("-D").arg("-a").arg(&socket).stdout(Stdio::null());
    let mut agent = agent.spawn().unwrap();
    let mut add = case.program("ssh-add");
    add.env("SSH_AUTH_SOCK", &socket).arg(&key);
    case.eventually("the agent has the key", || {
        add.output().unwrap().status.success()
    });
    with(&format!("default={}", socket.display())).ok();
    verify();
    let mut list = case.program("ssh-add");
    let list = list.arg("-l").env("SSH_AUTH_SOCK", &socket).output();
    let _ = agent.kill();
    let _ = agent.wait();
    assert!(list.unwrap().status.success(), "the key is gone");
    let encrypted = case.make_file("encrypted", include_str!("../tests/data/ssh/encrypted"));
    with(&format!("x={}", encrypted.display())).fails(125, "it is encrypted");
    with(&format!("x={},{}", key.display(), context)).exits(125);
}

fn named_contexts(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM base\nCOPY --from=more one /one\nCOPY --from=image /etc/group /group\nCOPY file /file\n",
    );
    case.make_dir("more");
    case.make_file("more/one", "more\n");
    case.make_file("more/two", "left out\n");
    case.make_file("more/.dockerignore", "two\n");
    let more = format!("more={}", case.dir_path("more").display());
    let flags = [
        "--build-context",
        &more,
        "--build-context",
        "base=docker-image://localhost/busybox",
        "--build-context",
        "image=docker-image://localhost/busybox",
        "-t",
        "app",
    ];
    build(case, &[&flags[..], &[&context]].concat()).ok();
    assert_eq!(run(case, "app", &["cat", "/one", "/file"]), "more\ntext");
    build(case, &["--build-context", "more", &context]).fails(1, "expected key=value");
    build(case, &["--build-context", "more=/no/such", &context])
        .fails(1, "cannot use the context \"more\"");
}

fn images_of_layouts(case: &Case) {
    case.load_busybox();
    let context = context(case, "FROM localhost/busybox\nENV A=one\nCOPY file /one\n");
    let layout = case.dir_path("layout");
    let output = format!("type=oci,tar=false,dest={}", layout.display());
    build(case, &["-t", "localhost/app:v1", "-o", &output, &context]).ok();
    case.words(&["rmi", "localhost/app:v1"]).ok();
    case.make_file(
        "context/Dockerfile",
        "FROM base\nCOPY --from=again /one /two\nRUN echo $A > /three\n",
    );
    let of_layout = |rest: &str| {
        let base = format!("base=oci-layout://{}{rest}", layout.display());
        let again = format!("again=oci-layout://{}{rest}", layout.display());
        let flags = [
            "--build-context",
            &base,
            "--build-context",
            &again,
            "-t",
            "app",
        ];
        build(case, &[&flags[..], &[&context]].concat())
    };
    // The only one, one by its tag, one by its digest; the store has none of a name for it.
    of_layout("").ok();
    assert_eq!(
        run(case, "app", &["cat", "/one", "/two", "/three"]),
        "text\ntext\none"
    );
    case.words(&["image", "inspect", "localhost/app:v1"])
        .exits(1);
    of_layout(":v1").ok();
    let index = fs::read_to_string(layout.join("index.json")).unwrap();
    let at = index.find("sha256:").unwrap();
    let digest = &index[at..at + 71];
    of_layout(&format!("@{digest}")).ok();
    of_layout(&format!(":other@{digest}")).ok();
    assert_eq!(run(case, "app", &["cat", "/three"]), "one");
    of_layout(":v2").fails(1, "has no image tagged \"v2\"");
    of_layout(&format!("@sha256:{}", "0".repeat(64))).fails(1, "is missing");
    // What is not what it is called is no base.
    let blob = layout.join("blobs/sha256").join(&digest[7..]);
    fs::write(&blob, "{}").unwrap();
    of_layout(":v1").exits(1);
    fs::remove_file(layout.join("oci-layout")).unwrap();
    of_layout(":v1").fails(1, "it has no file oci-layout");
    build(case, &["--build-context", "base=target:other", &context])
        .fails(1, "target:other is another target of a bake file");
}

fn steps_are_nobodys_containers(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nRUN touch /cache/begun; while [ ! -e /cache/go ]; do sleep 0.1; done\n",
    );
    let cache = case.make_dir("cache");
    let volume = format!("--volume={}:/cache", cache.display());
    let child = case.start(&["build", "--network=none", &volume, &context]);
    case.eventually("the step runs", || cache.join("begun").exists());
    let info = case.words(&["info", "--format", "{{.Containers}} {{.ContainersRunning}}"]);
    info.ok().prints("0 0");
    case.words(&["ps", "-aq"]).ok().prints("");
    fs::write(cache.join("go"), "").unwrap();
    collect("build".to_owned(), child).ok();
    let events = case.words(&[
        "events",
        "--since=1h",
        "--until=0s",
        "--filter=type=container",
    ]);
    events.ok().prints("");
}

fn a_shell_in_a_failed_step(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nENV WORD=of-the-step\n\
         RUN --mount=type=tmpfs,target=/mounted echo half > /half; exit 3\n",
    );
    let words = ["build", "--network=none", "--invoke=on-error", &context];
    let mut terminal = Terminal::start(case, &words);
    terminal.expect("a shell in the step that has failed");
    terminal.expect("# ");
    terminal.send("cat /half; echo $WORD | tr a-z A-Z; grep -c /mounted /proc/mounts; exit 7\r");
    for text in ["half", "OF-THE-STEP", "1", "exit code: 3"] {
        terminal.expect(text);
    }
    assert_eq!(terminal.exit_code(), 1);
    assert!(terminal.is_cooked());
    let words = [
        "build",
        "--network=none",
        "--invoke",
        "echo 'in it'",
        &context,
    ];
    let mut terminal = Terminal::start(case, &words);
    terminal.expect("in it\r\n");
    assert_eq!(terminal.exit_code(), 1);
    build(case, &["--invoke=on-error", &context]).fails(1, "cannot open the terminal");
}

fn outputs(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM scratch\nCOPY file /a/file\nCOPY --chmod=755 file /b\nCOPY file /a/gone\n\
         FROM localhost/busybox AS more\nRUN ln -s /etc/passwd /link && ln /etc/group /hard && mkfifo /pipe\n",
    );
    let before = case.words(&["images", "-aq"]).ok().stdout;
    let out = case.make_dir("out");
    let output = |words: &[&str]| build(case, &[words, &[&context]].concat());
    // Only the files, in a folder that has other things in it.
    fs::write(out.join("mine"), "").unwrap();
    std::os::unix::fs::symlink("/etc", out.join("etc")).unwrap();
    output(&["-o", out.to_str().unwrap()]).ok();
    assert_eq!(
        fs::read_to_string(out.join("link")).unwrap(),
        fs::read_to_string("/etc/passwd").unwrap()
    );
    assert!(out.join("mine").exists());
    // What was a link is a folder now: nothing was written through it.
    assert!(out.join("etc").symlink_metadata().unwrap().is_dir());
    use std::os::unix::fs::MetadataExt;
    let owner = out.join("hard").metadata().unwrap();
    assert_eq!((owner.uid(), owner.nlink()), (case.user.uid, 2));
    let whole = format!("type=local,mode=delete,dest={}", out.display());
    output(&["--target", "0", "-o", &whole]).ok();
    let mut names: Vec<_> = fs::read_dir(&out)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    assert_eq!(names, ["a", "b"]);
    // As an archive, to standard output too.
    let tar = case.dir_path("out.tar");
    output(&["-o", &format!("type=tar,dest={}", tar.display())]).ok();
    let listed = case
        .program("tar")
        .arg("-tf")
        .arg(&tar)
        .output()
        .unwrap()
        .stdout;
    let listed = String::from_utf8(listed).unwrap();
    assert!(
        listed.lines().any(|name| name == "link") && listed.contains("etc/passwd"),
        "{listed}"
    );
    output(&["--target", "0", "-o", "-"])
        .ok()
        .contains("a/file");
    // None of these has made an image.
    case.words(&["images", "-aq"])
        .ok()
        .prints(before.trim_end());
    for kind in ["oci", "docker"] {
        let file = case.dir_path(kind);
        output(&[
            "-t",
            "app:1",
            "-o",
            &format!("type={kind},dest={}", file.display()),
        ])
        .ok();
        case.engine("rmi app:1").ok();
        case.words(&["load", "-i", file.to_str().unwrap()])
            .ok()
            .contains("app:1");
        assert_eq!(run(case, "app:1", &["readlink", "/link"]), "/etc/passwd");
        case.engine("rmi app:1").ok();
    }
    output(&["-o", "type=local"]).fails(1, "dest is required for local exporter");
    output(&["-o", "type=what"]).fails(1, "unknown type");
}

fn to_a_registry(case: &Case) {
    let registry = Registry::writable(case, "target");
    case.load_busybox();
    let context = context(case, "FROM localhost/busybox\nCOPY file /file\n");
    let name = format!("{}/app:1", registry.address);
    build(case, &["--push", "-t", &name, &context]).ok();
    case.words(&["rmi", &name]).ok();
    case.words(&["pull", "-q", &name]).ok();
    assert_eq!(run(case, &name, &["cat", "/file"]), "text");
    let other = format!(
        "type=registry,name={}/zstd:1,compression=zstd,force-compression=true",
        registry.address
    );
    build(case, &["-o", &other, &context]).ok();
    build(case, &["--push", &context]).exits(1);
    // A base that is not here is fetched; one that is nowhere is said with the line that wants it.
    case.words(&["rmi", &name]).ok();
    case.make_file(
        "context/Dockerfile",
        format!("FROM {name}\nRUN test -e /file\n"),
    );
    let log = build(case, &["-t", "on-it", &context]).ok().stderr;
    assert!(log.contains(&format!("load metadata for {name}")), "{log}");
    assert_eq!(run(case, "on-it", &["cat", "/file"]), "text");
    let nowhere = format!("{}/nowhere", registry.address);
    case.make_file("context/Dockerfile", format!("\nFROM {nowhere}\n"));
    build(case, &[&context]).fails(1, "Dockerfile:2");
}

const DOCKERFILE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 36\r\nConnection: close\r\n\r\nFROM localhost/busybox\nENV A=fetched\n";
const ELSEWHERE: &str = "HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/x\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
const MISSING: &str = "HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

fn from_a_url(case: &Case) {
    case.load_busybox();
    let url = format!("http://{}/Dockerfile", registry::answering(DOCKERFILE));
    build(case, &["-t", "app", &url]).ok();
    assert_eq!(run(case, "app", &["sh", "-c", "echo $A"]), "fetched");
    let context = context(case, "FROM scratch\n");
    build(case, &["-t", "app", "-f", &url, &context]).ok();
    assert_eq!(run(case, "app", &["sh", "-c", "echo $A"]), "fetched");
    let url = format!("http://{}/x", registry::answering(MISSING));
    build(case, &[&url]).fails(1, "answered 404");
    let url = format!("http://{}/x", registry::answering(ELSEWHERE));
    build(case, &[&url]).fails(1, "cannot download");
}

/// A server that remembers what it was asked: heads of requests. `answer` gets each.
fn server(
    answer: impl Fn(&str) -> String + Send + Sync + 'static,
) -> (String, Arc<Mutex<Vec<String>>>) {
    let socket = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = socket.local_addr().unwrap().to_string();
    let asked = Arc::new(Mutex::new(Vec::new()));
    let heard = asked.clone();
    std::thread::spawn(move || {
        for mut stream in socket.incoming().flatten() {
            let mut head = Vec::new();
            let mut bytes = [0; 1024];
            while !head.ends_with(b"\r\n\r\n") {
                match stream.read(&mut bytes) {
                    Ok(length @ 1..) => head.extend(&bytes[..length]),
                    _ => break,
                }
            }
            let head = String::from_utf8_lossy(&head).into_owned();
            let _ = stream.write_all(answer(&head).as_bytes());
            heard.lock().unwrap().push(head);
        }
    });
    (address, asked)
}

fn response(status: &str, headers: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n{headers}\r\n{body}"
    )
}

fn files_of_urls(case: &Case) {
    case.load_busybox();
    let (address, asked) = server(|head| match head {
        _ if head.contains("if-none-match: \"1\"") => response("304 Not Modified", "", ""),
        _ if head.starts_with("GET /fresh") => response("200 OK", "", "fresh"),
        _ => response("200 OK", "ETag: \"1\"\r\n", "body"),
    });
    let context = context(
        case,
        &format!("FROM localhost/busybox\nADD http://{address}/a /a\n"),
    );
    let statuses = |asked: &Mutex<Vec<String>>| {
        let heads = std::mem::take(&mut *asked.lock().unwrap());
        let has_condition = heads.iter().map(|head| head.contains("if-none-match"));
        has_condition.collect::<Vec<_>>()
    };
    build(case, &["-t", "app", &context]).ok();
    assert_eq!(statuses(&asked), [false]);
    // The server says that it has not changed: by the cache, and when all is made anew.
    let log = build(case, &["-t", "app", &context]).ok().stderr;
    assert!(log.contains("CACHED"), "{log}");
    build(case, &["-t", "app", "--no-cache", &context]).ok();
    assert_eq!(statuses(&asked), [true, true]);
    assert_eq!(run(case, "app", &["cat", "/a"]), "body");
    // A copy that is torn is no copy.
    let copies = case.root().join("builds/urls");
    let copy = fs::read_dir(&copies)
        .unwrap()
        .next()
        .unwrap()
        .unwrap()
        .path();
    let text = fs::read_to_string(&copy).unwrap().replace("body", "bod\n");
    fs::write(&copy, text).unwrap();
    build(case, &["-t", "app", "--no-cache", &context]).ok();
    assert_eq!(statuses(&asked), [true, false]);
    assert_eq!(run(case, "app", &["cat", "/a"]), "body");
    // What has the right checksum is not asked for at all.
    let checksum = "sha256:230d8358dc8e8890b4c58deeb62912ee2f20357ae92a5cc861b98e68fe31acb5";
    let add = format!("FROM localhost/busybox\nADD --checksum={checksum} http://{address}/a /b\n");
    case.make_file("context/Dockerfile", add);
    build(case, &["-t", "app", &context]).ok();
    assert_eq!(statuses(&asked), [] as [bool; 0]);
    // Nothing is kept of what has no name for its version.
    let add = format!("FROM localhost/busybox\nADD http://{address}/fresh /b\n");
    case.make_file("context/Dockerfile", add);
    build(case, &["-t", "app", &context]).ok();
    build(case, &["-t", "app", &context]).ok();
    assert_eq!(statuses(&asked), [false, false]);
    case.words(&["builder", "prune", "-af"]).ok();
    assert_eq!(fs::read_dir(&copies).unwrap().count(), 0);
}

fn credentials_go_to_their_host_alone(case: &Case) {
    case.load_busybox();
    let (elsewhere, heard) = server(|_| response("200 OK", "", "elsewhere"));
    let (address, asked) = server(move |head| {
        let away = || {
            response(
                "302 Found",
                &format!("Location: http://{elsewhere}/x\r\n"),
                "",
            )
        };
        match head {
            _ if head.contains("/away") => away(),
            _ if head.contains("authorization: Bearer xyzzy") => response("200 OK", "", "open"),
            _ => response("401 Unauthorized", "", ""),
        }
    });
    let context = context(
        case,
        &format!(
            "FROM localhost/busybox\nADD http://{address}/a /a\nADD http://{address}/away /b\n"
        ),
    );
    build(case, &["-t", "app", &context]).fails(1, "answered 401");
    let token = case.make_file("token", "xyzzy\n");
    let flag = |id: &str| format!("id={id},src={}", token.display());
    let secret = flag("HTTP_AUTH_TOKEN_127.0.0.1");
    let built = build(case, &["-t", "app", "--secret", &secret, &context]).ok();
    assert_eq!(run(case, "app", &["cat", "/a", "/b"]), "openelsewhere");
    let history = case.words(&["history", "--no-trunc", "app"]).ok().stdout;
    assert!(!built.stderr.contains("xyzzy") && !history.contains("xyzzy"));
    let mut grep = case.program("grep");
    let found = grep
        .args(["-rl", "xyzzy"])
        .arg(case.root())
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(found.stdout).unwrap(), "");
    let told = |asked: &Mutex<Vec<String>>, what: &str| {
        let heads = std::mem::take(&mut *asked.lock().unwrap());
        let told = heads
            .iter()
            .filter(|head| head.to_lowercase().contains(what));
        (heads.len(), told.count())
    };
    assert_eq!(told(&asked, "authorization: bearer xyzzy"), (3, 2));
    assert_eq!(told(&heard, "authorization"), (1, 0));
    if Command::new("git").arg("--version").output().is_err() {
        return;
    }
    // x-access-token:xyzzy
    let basic = "authorization: basic eC1hY2Nlc3MtdG9rZW46eHl6enk=".to_lowercase();
    for (id, path, count) in [
        (format!("GIT_AUTH_TOKEN.{address}"), "a.git", 1),
        ("GIT_AUTH_TOKEN".to_owned(), "away.git", 1),
        ("GIT_AUTH_TOKEN.other".to_owned(), "a.git", 0),
    ] {
        let add = format!("FROM localhost/busybox\nADD http://{address}/{path} /r\n");
        case.make_file("context/Dockerfile", add);
        let failed = build(case, &["--secret", &flag(&id), &context]);
        failed.fails(1, "git fetch failed");
        assert_eq!(told(&asked, &basic).1, count, "{id}");
        assert_eq!(told(&heard, "git").0, 0);
    }
}

/// A server of all repositories below the case's folder, until this is dropped.
struct GitServer(Child);

impl Drop for GitServer {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn git(case: &Case, words: &[&str]) {
    let mut git = case.program("git");
    git.args([
        "-c",
        "user.name=a",
        "-c",
        "user.email=a@b",
        "-c",
        "init.defaultBranch=main",
    ]);
    let output = git
        .args(words)
        .current_dir(case.dir_path("repo"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
}

fn from_a_repository(case: &Case) {
    if Command::new("git").arg("--version").output().is_err() {
        case.skip("there is no git");
        return;
    }
    case.load_busybox();
    case.make_dir("repo");
    case.make_dir("repo/sub");
    case.make_file("repo/Dockerfile", "FROM localhost/busybox\nCOPY . /r\n");
    case.make_file("repo/sub/Dockerfile", "FROM localhost/busybox\nENV A=sub\n");
    for words in [
        &["init", "-q", "."][..],
        &["add", "-A"],
        &["commit", "-qm", "one"],
        &["tag", "v1"],
    ] {
        git(case, words);
    }
    case.make_file("repo/later", "");
    git(case, &["add", "-A"]);
    git(case, &["commit", "-qm", "two"]);
    let address = registry::free_address();
    let port = address.rsplit(':').next().unwrap();
    let place = Command::new("git")
        .arg("--exec-path")
        .output()
        .unwrap()
        .stdout;
    let place = String::from_utf8(place).unwrap();
    let mut daemon = case.program(&format!("{}/git-daemon", place.trim()));
    daemon.args([
        "--reuseaddr",
        "--export-all",
        "--listen=127.0.0.1",
        &format!("--port={port}"),
    ]);
    daemon
        .arg(format!("--base-path={}", case.dir.display()))
        .stderr(Stdio::null());
    let _server = GitServer(daemon.spawn().unwrap());
    case.eventually("git answers", || {
        std::net::TcpStream::connect(&address).is_ok()
    });
    let url = format!("git://{address}/repo");
    build(case, &["-t", "app", &url]).ok();
    assert_eq!(
        run(case, "app", &["sh", "-c", "ls -A /r | tr '\\n' ' '"]),
        "Dockerfile later sub"
    );
    build(case, &["-t", "app", &format!("{url}#v1")]).ok();
    assert_eq!(
        run(case, "app", &["sh", "-c", "ls -A /r | tr '\\n' ' '"]),
        "Dockerfile sub"
    );
    build(case, &["-t", "app", &format!("{url}#main:sub")]).ok();
    assert_eq!(run(case, "app", &["sh", "-c", "echo $A"]), "sub");
    build(case, &[&format!("{url}#no-such-branch")]).fails(1, "git fetch failed");
    build(case, &[&format!("{url}#:no/such")]).fails(1, "no folder");
    // Nothing of it is left.
    let left = fs::read_dir(case.root().join("tmp")).unwrap().count();
    assert_eq!(left, 0);
}

fn hostile_contexts(case: &Case) {
    case.load_busybox();
    let secret = case.make_file("secret", "FROM localhost/busybox\n# outside\n");
    let evil = case.make_dir("evil");
    std::os::unix::fs::symlink(&secret, evil.join("Dockerfile")).unwrap();
    // Neither the Dockerfile nor what is copied is ever outside of the context.
    build(case, &[evil.to_str().unwrap()]).fails(1, "failed to read dockerfile");
    let tar = archive(case, evil.to_str().unwrap(), "--format=gnu");
    case.with_input(&["build", "-"], tar)
        .fails(1, "failed to read dockerfile");
    fs::remove_file(evil.join("Dockerfile")).unwrap();
    case.make_file(
        "evil/Dockerfile",
        "FROM localhost/busybox\nCOPY link/passwd /x\n",
    );
    std::os::unix::fs::symlink("/etc", evil.join("link")).unwrap();
    build(case, &[evil.to_str().unwrap()]).exits(1);
    // An archive does not write outside of its own tree.
    let script =
        "mkdir t && cd t && echo x > x && tar -cPf ../up.tar --transform 's,x,../../../escaped,' x";
    let made = case
        .program("sh")
        .args(["-c", script])
        .current_dir(&case.dir)
        .status()
        .unwrap();
    assert!(made.success());
    let tar = fs::read(case.dir_path("up.tar")).unwrap();
    case.with_input(&["build", "-"], tar).exits(1);
    assert!(!case.dir_path("escaped").exists() && !case.root().join("escaped").exists());
    // A fifo is not waited for.
    let made = case
        .program("mkfifo")
        .arg(evil.join("pipe"))
        .status()
        .unwrap();
    assert!(made.success());
    build(case, &["-f", "-", evil.to_str().unwrap()]).exits(1);
    case.make_file(
        "evil/Dockerfile",
        "FROM localhost/busybox\nCOPY Dockerfile /d\n",
    );
    fs::remove_file(evil.join("pipe")).unwrap();
    build(case, &["-t", "app", evil.to_str().unwrap()]).ok();
    assert_eq!(fs::read_dir(case.root().join("tmp")).unwrap().count(), 0);
}

fn what_went_wrong(case: &Case) {
    case.load_busybox();
    let folder = context(
        case,
        "FROM localhost/busybox\nRUN echo about to fail; exit 3\n",
    );
    let failed = build(case, &[&folder]).exits(1).stderr;
    let expected = [
        "#2 ERROR: process \"/bin/sh -c echo about to fail; exit 3\" did not complete successfully: exit code: 3",
        "------\n > [2/2] RUN echo about to fail; exit 3:\n",
        "about to fail\n------\n",
        "2 | >>> RUN echo about to fail; exit 3\n",
    ];
    for part in expected {
        assert!(failed.contains(part), "{part:?} is not in\n{failed}");
    }
    // In silence too the reason is told.
    let quiet = case
        .words(&["build", "-q", "--network=none", &folder])
        .exits(1);
    assert!(
        quiet.stderr.contains("about to fail") && quiet.stdout.is_empty(),
        "{quiet}"
    );
    case.make_file("context/Dockerfile", "FROM localhost/busybox\nRUNN true\n");
    let failed = build(case, &[&folder]).exits(1).stderr;
    assert!(
        failed.contains("Dockerfile:2: unknown instruction: RUNN"),
        "{failed}"
    );
    assert!(failed.contains(">>> RUNN true\n"), "{failed}");
    build(case, &[]).exits(1);
    // A base image that nobody has.
    case.make_file("context/Dockerfile", "FROM 127.0.0.1:1/nobody\n");
    let failed = build(case, &["--pull=never", &folder]).exits(1).stderr;
    assert!(failed.contains("Dockerfile:1"), "{failed}");
}

fn how_it_goes(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nRUN printf 'one\\ntwo'\nRUN true\n",
    );
    let log = build(case, &[&context]).ok().stderr;
    assert!(log.contains("[2/3] RUN printf 'one\\ntwo'\n"), "{log}");
    assert!(
        log.lines()
            .any(|line| line.starts_with("#2 0.") && line.ends_with(" one")),
        "{log}"
    );
    let log = build(case, &[&context]).ok().stderr;
    assert!(log.contains("\n#2 CACHED\n"), "{log}");
    let raw = case
        .words(&[
            "build",
            "--progress=rawjson",
            "--network=none",
            "--no-cache",
            &context,
        ])
        .ok();
    let mut cached = 0;
    for line in raw.stderr.lines() {
        let status: serde_json::Value = serde_json::from_str(line).unwrap();
        cached += usize::from(status["vertexes"][0]["cached"] == true);
    }
    assert_eq!(cached, 0);
    case.set("BUILDKIT_PROGRESS", "quiet");
    let quiet = case.words(&["build", "--network=none", &context]).ok();
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("", ""));
    case.words(&["build", "--progress=tty", &context])
        .fails(1, "not a terminal");
    case.words(&["build", "--progress=what", &context])
        .exits(125);
}

fn checks(case: &Case) {
    case.load_busybox();
    let context = context(case, "FROM localhost/busybox as Base\nCMD true\n");
    let found = build(case, &["--check", &context]).exits(1).stdout;
    assert!(found.starts_with("Check complete, "), "{found}");
    for rule in ["FromAsCasing", "StageNameCasing", "JSONArgsRecommended"] {
        assert!(found.contains(rule), "{rule}: {found}");
    }
    let log = build(case, &[&context]).ok().stderr;
    assert!(
        log.contains("3 warnings found") && log.contains("(line 2)"),
        "{log}"
    );
    case.make_file(
        "context/Dockerfile",
        "# check=error=true\nARG A=1\n# base is where it begins\nFROM localhost/busybox AS base\nARG B=2\nFROM base AS last\nARG C\n",
    );
    build(case, &["--check", &context])
        .ok()
        .prints("Check complete, no warnings found.");
    let targets = build(case, &["--call=targets", &context]).ok().stdout;
    assert!(
        targets.contains("last (default)") && targets.contains("is where it begins"),
        "{targets}"
    );
    build(case, &["--call=outline", "--target=base", &context])
        .ok()
        .contains("B");
    case.make_file(
        "context/Dockerfile",
        "# check=error=true\nFROM localhost/busybox\nCMD true\n",
    );
    let log = build(case, &[&context]).exits(1).stderr;
    assert!(
        log.contains("lint violation found for rules: JSONArgsRecommended"),
        "{log}"
    );
}

fn the_cache_is_shown_and_removed(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nRUN head -c 100000 /dev/zero > /zeros\nRUN --mount=type=cache,target=/c,id=the-cache echo x > /c/x\n",
    );
    build(case, &["-t", "app", &context]).ok();
    let shown = case.words(&["builder", "du", "--verbose"]).ok().stdout;
    assert!(
        shown.contains("RUN head") && shown.contains("exec.cachemount"),
        "{shown}"
    );
    assert!(shown.contains("Total:"), "{shown}");
    let list: Vec<serde_json::Value> = case
        .words(&[
            "buildx",
            "du",
            "--format",
            "json",
            "--filter",
            "type=regular",
        ])
        .ok()
        .stdout
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    assert!(list.iter().any(|step| step["Size"] == 100_000), "{list:?}");
    // Of steps an image has the layers; nothing but the directory goes.
    case.words(&["builder", "prune", "-f"])
        .ok()
        .contains("Total:");
    assert!(build(case, &[&context]).ok().stderr.contains("CACHED"));
    case.engine("rmi app").ok();
    case.with_input(&["builder", "prune"], "n\n").exits(1);
    case.words(&["builder", "prune", "-af"]).ok();
    case.words(&["builder", "du"]).ok().contains("Total:\t\t0B");
    assert!(!build(case, &[&context]).ok().stderr.contains("CACHED"));
    case.words(&["system", "prune", "-af"])
        .ok()
        .contains("Deleted build cache objects:");
    case.words(&["builder", "du"]).ok().contains("Total:\t\t0B");
    case.words(&["builder", "ls"]).ok().contains("default*");
    case.words(&["buildx", "inspect"])
        .ok()
        .contains("Driver: coracle");
    case.words(&["buildx", "use", "other"])
        .fails(1, "no builder \"other\" found");
    let name = case
        .words(&["buildx", "create", "--use", "--driver", "docker-container"])
        .ok();
    case.words(&["buildx", "rm", name.first()]).ok();
}

fn flags_that_are_not_there(case: &Case) {
    let context = context(case, "FROM scratch\n");
    for flags in [
        &["--userns", "host"][..],
        &["--policy", "x"],
        &["--device", "/dev/null"],
        &["--cw", "x"],
        &["--isolation", "hyperv"],
        &["--no-hosts"],
        &["--squash-all"],
        &["--cpp-flag", "x"],
    ] {
        let refused = build(case, &[flags, &[&context]].concat());
        assert_eq!(refused.code, 125, "{refused}");
    }
    for flags in [
        &["--provenance=false"][..],
        &["--sbom=false"],
        &["--rm"],
        &["--force-rm=false"],
        &["--compress"],
        &["--layers"],
        &["--isolation", "default"],
    ] {
        let built = build(
            case,
            &[
                flags,
                &["--progress=quiet", "-o", "type=cacheonly", &context],
            ]
            .concat(),
        );
        assert_eq!(built.ok().stderr, "", "{flags:?}");
    }
    build(case, &["--allow", "device=x", &context]).fails(125, "unknown entitlement");
    build(case, &["--cache-to", "type=gha", &context]).fails(125, "is not supported");
    build(case, &["--builder", "other", &context]).fails(1, "no builder \"other\" found");
    case.words(&["buildx", "bake"]).exits(125);
}

fn the_same_image_on_another_day(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nCOPY file /file\nRUN date > /dev/null; echo x > /x\n",
    );
    let id = || {
        let flags = ["build", "-q", "--no-cache", "--network=none"];
        let more = ["--output", "type=image,rewrite-timestamp=true", &context];
        case.words(&[&flags[..], &more].concat()).ok().stdout
    };
    case.set("SOURCE_DATE_EPOCH", "1700000000");
    let first = id();
    // The second that files are from is another one.
    std::thread::sleep(std::time::Duration::from_millis(1100));
    case.make_file("context/file", "text\n");
    assert_eq!(id(), first);
    let created = case
        .words(&["inspect", "--format", "{{.Created}}", first.trim_end()])
        .ok();
    created.prints("2023-11-14T22:13:20Z");
}

fn squashed_layers(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox\nRUN echo one > /one && echo two > /two\nRUN rm /one /etc/group\nCOPY file /file\nENV A=b\n",
    );
    let layers = |flags: &[&str]| {
        build(case, &[flags, &["-t", "app", &context]].concat()).ok();
        let format = ["inspect", "--format", "{{len .RootFS.Layers}}", "app"];
        case.words(&format)
            .ok()
            .stdout
            .trim()
            .parse::<usize>()
            .unwrap()
    };
    let base = layers(&[]) - 3;
    assert_eq!(layers(&["--squash"]), base + 1);
    let script = "cat /two /file; ls /one /etc/group /etc/passwd 2>/dev/null; true";
    assert_eq!(
        run(case, "app", &["sh", "-c", script]),
        "two\ntext\n/etc/passwd"
    );
    let history = case.words(&["history", "app"]).ok().stdout;
    assert!(history.contains("all new layers as one"), "{history}");
    // It is pushed and saved as any other.
    case.words(&[
        "save",
        "-o",
        case.dir_path("app.tar").to_str().unwrap(),
        "app",
    ])
    .ok();
    case.engine("rmi app").ok();
    case.words(&["load", "-i", case.dir_path("app.tar").to_str().unwrap()])
        .ok();
    assert_eq!(run(case, "app", &["sh", "-c", "cat /two"]), "two");
}

/// What is in the cache counts on the very same files alone, whatever the steps in between depend on.
fn a_step_is_done_on_what_is_below(case: &Case) {
    case.load_busybox();
    let linked = |word: &str| {
        let context = context(
            case,
            &format!(
                "FROM localhost/busybox AS base\nRUN echo {word} > /word\n\
                 FROM base\nCOPY --link file /file\nRUN cat /word /file > /both\n"
            ),
        );
        build(case, &["-t", word, &context]).ok();
        run(case, word, &["cat", "/both"])
    };
    // The layer of the COPY is the same and serves twice.
    assert_eq!(linked("one"), "one\ntext");
    assert_eq!(linked("two"), "two\ntext");
    let sizes = case
        .words(&["history", "--format", "{{.Size}}", "two"])
        .ok();
    assert_eq!(sizes.stdout.lines().nth(1), Some("5B"), "{sizes}");
    case.engine("system check").ok();
    // As a base, it lies on something else each time.
    let top = |base: &str| {
        let dockerfile = format!("FROM {base}\nRUN cat /word > /again\n");
        case.make_file("context/Dockerfile", dockerfile);
        let context = case.dir_path("context").display().to_string();
        build(case, &["-t", "top", &context]).ok();
        run(case, "top", &["cat", "/again"])
    };
    assert_eq!((top("one"), top("two")), ("one".into(), "two".into()));
    // A step that makes something else each time, and was forgotten.
    let context = context(
        case,
        "FROM localhost/busybox\nRUN cat /proc/sys/kernel/random/uuid > /uuid\n\
         RUN cp /uuid /same\nRUN test -e /uuid\n",
    );
    let is_same = || {
        let log = build(case, &["-t", "app", &context]).ok().stderr;
        run(case, "app", &["cmp", "/uuid", "/same"]);
        case.engine("system check").ok();
        log.matches("CACHED").count()
    };
    assert_eq!((is_same(), is_same()), (0, 3));
    let steps = fs::read_dir(case.root().join("builds/steps")).unwrap();
    for step in steps.map(|step| step.unwrap().path()) {
        if fs::read_to_string(&step).unwrap().contains("random/uuid") {
            fs::remove_file(step).unwrap();
        }
    }
    assert_eq!(is_same(), 0);
}

/// Layers that are in no image are looked at, too. One that is damaged is made again.
fn the_check_knows_steps(case: &Case) {
    case.load_busybox();
    let context = context(
        case,
        "FROM localhost/busybox AS first\nRUN echo kept > /kept && ln /kept /linked && rm /etc/group\n\
         FROM localhost/busybox\nCOPY --from=first /kept /\n",
    );
    build(case, &["-t", "app", &context]).ok();
    case.engine("system check").ok().contains("ok       layers");
    let layers = fs::read_dir(case.root().join("layers")).unwrap();
    let mut kept = layers.map(|layer| layer.unwrap().path().join("tree/linked"));
    let kept = kept.find(|path| path.exists()).unwrap();
    fs::write(&kept, "other").unwrap();
    let broken = case.engine("system check").exits(1);
    assert!(
        broken.stdout.contains("its files are other ones"),
        "{broken}"
    );
    case.engine("system check --quick").ok();
    case.engine("system check --repair").ok();
    assert!(!kept.exists());
    case.engine("system check").ok();
    let log = build(case, &["-t", "app", &context]).ok().stderr;
    assert!(!log.contains("#2 CACHED"), "{log}");
    assert_eq!(run(case, "app", &["cat", "/kept"]), "kept");
}

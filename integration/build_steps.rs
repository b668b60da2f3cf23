//! Programs of RUN: their networks, roots made of nothing, and images, contexts and Dockerfiles that are
//! made to get at the host (`CVE-2024-1753`, `-9675`, `-9676`, `-11218`, `-23651`, `-23652`, `-23653`).

use std::{
    fs,
    os::unix::{
        ffi::OsStrExt,
        fs::{FileExt, MetadataExt, chown},
    },
    path::Path,
    time::{Duration, Instant},
};

use crate::{
    case::{Case, Outcome, collect},
    networking,
    world::HOST,
};

cases! {
    networks_of_steps: root ordinary;
    begun_with_nothing: root ordinary single;
    nobody_sees_a_step: root ordinary;
    links_of_images: root ordinary single;
    links_below_mounts: root ordinary;
    names_of_caches: root ordinary;
    accounts_of_images: root ordinary;
    names_of_files: root ordinary;
    holes: root ordinary;
    files_that_change: root ordinary;
    more_than_was_allowed: root;
}

fn context(case: &Case, dockerfile: &str) -> String {
    let folder = case.make_dir("context");
    case.make_file("context/Dockerfile", dockerfile);
    case.make_file("context/file", "text\n");
    folder.display().to_string()
}

fn build(case: &Case, flags: &[&str], dockerfile: &str) -> Outcome {
    let context = context(case, dockerfile);
    let begin = ["build", "--progress=plain", "-t", "app"];
    case.words(&[&begin[..], flags, &[context.as_str()]].concat())
}

/// Builds without a network, and prints what the image has there.
fn built(case: &Case, dockerfile: &str, file: &str) -> String {
    build(case, &["--network=none"], dockerfile).ok();
    let cat = ["run", "--rm", "--network=none", "app", "cat", file];
    case.words(&cat).ok().stdout
}

/// The container's files are the image's, so are those of the host.
fn of_host(path: &str) -> String {
    fs::read_to_string(path).unwrap()
}

fn networks_of_steps(case: &Case) {
    let Some(world) = networking::begin(case) else {
        return;
    };
    world.serve_tcp("192.0.2.1:7000");
    let dockerfile = "FROM localhost/busybox\n\
        RUN echo hello | nc -w 5 192.0.2.1 7000 > /seen\n\
        RUN cat /etc/resolv.conf > /resolver; cat /etc/hosts > /names\n\
        RUN --network=none ls /sys/class/net > /alone\n";
    let flags = ["--add-host=extra:192.0.2.77"];
    build(case, &flags, dockerfile).ok();
    let look = |script: &str| {
        let words = ["run", "--rm", "app", "sh", "-c", script];
        case.words(&words).ok().stdout
    };
    assert_eq!(look("cat /seen"), format!("{HOST}\nhello\n"));
    assert_eq!(look("cat /alone"), "lo\n");
    let names = look("cat /names");
    assert!(
        names.contains("127.0.0.1") && names.contains("192.0.2.77"),
        "{names}"
    );
    // What was mounted is not in the image, whose containers have their own.
    assert_eq!(
        look("cmp /resolver /etc/resolv.conf; grep -c extra /etc/hosts || true"),
        "0\n"
    );
    build(case, &["--network=none", "--no-cache"], dockerfile).exits(1);
    let dockerfile = "FROM localhost/busybox\nRUN --network=host ip -o link > /links\n";
    build(case, &[], dockerfile).fails(1, "RUN --network=host is not allowed");
    build(case, &["--allow=network.host"], dockerfile).ok();
    assert!(look("cat /links").contains("out0"));
    case.engine("rmi app").ok();
    world.is_empty(case);
}

fn begun_with_nothing(case: &Case) {
    let refused = build(case, &["--network=none"], "FROM scratch\nRUN true\n");
    refused.fails(1, "\"/bin/sh\"");
    context(case, "");
    let busybox = ["/bin/busybox", "/usr/bin/busybox"].map(Path::new);
    let busybox = busybox.into_iter().find(|path| path.exists()).unwrap();
    let copy = case.dir_path("context/busybox");
    fs::copy(busybox, &copy).unwrap();
    chown(&copy, Some(case.user.uid), Some(case.user.gid)).unwrap();
    // Nothing below, and a program that comes by a mount alone.
    let mount = "--mount=type=bind,source=busybox,target=/busybox";
    let dockerfile = format!(
        "FROM scratch AS first\n\
         RUN {mount} [\"/busybox\", \"sh\", \"-c\", \"/busybox mkdir -p /d /gone && echo x > /d/x && /busybox rm -r /gone\"]\n\
         RUN {mount} [\"/busybox\", \"chmod\", \"750\", \"/d\"]\n\
         FROM scratch\nCOPY busybox /bin/cat\nCOPY --from=first / /\n"
    );
    assert_eq!(built(case, &dockerfile, "/d/x"), "x\n");
    let format = ["inspect", "-f", "{{len .RootFS.Layers}}", "app"];
    case.words(&format).ok().prints("2");
    case.engine("system check").ok();
}

fn nobody_sees_a_step(case: &Case) {
    case.load_busybox();
    let context = context(case, "FROM localhost/busybox\nRUN sleep 1000\n");
    let build = case.start(&["build", "--network=none", &context]);
    case.eventually("the step runs", || {
        let mut processes = case.processes().into_iter();
        processes.any(|(_, arguments)| arguments.starts_with("sleep 1000"))
    });
    case.engine("ps -aq").ok().prints("");
    let containers = fs::read_dir(case.root().join("containers")).unwrap();
    let id = containers.last().unwrap().unwrap().file_name();
    // Nor is it removed with what nobody uses.
    case.engine("container prune -f").ok();
    case.engine("system prune -f").ok();
    assert!(case.root().join("containers").join(&id).exists());
    let pid = rustix::process::Pid::from_child(&build);
    rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    let ended = collect("build".to_owned(), build);
    assert_ne!(ended.code, 0, "{ended}");
    case.eventually("the step has ended", || case.processes().is_empty());
}

/// CVE-2024-1753: what is mounted or copied from an image is what its links mean in it.
fn links_of_images(case: &Case) {
    case.load_busybox();
    let evil = "FROM localhost/busybox AS evil\n\
        RUN ln -s / /top && ln -s ../../../../../etc /up && ln -s /etc/passwd /absolute && ln -s /proc/1/root /proc-root\n\
        FROM localhost/busybox\n";
    let passwd = of_host("/etc/passwd");
    for (step, file) in [
        (
            "RUN --mount=type=bind,from=evil,source=/top,target=/m cat /m/etc/passwd > /got",
            "/got",
        ),
        (
            "RUN --mount=type=bind,from=evil,source=/up,target=/m cat /m/passwd > /got",
            "/got",
        ),
        (
            "RUN --mount=type=bind,from=evil,source=/absolute,target=/m cat /m > /got",
            "/got",
        ),
        (
            "RUN --mount=type=cache,from=evil,source=/up,target=/m cat /m/passwd > /got",
            "/got",
        ),
        ("COPY --from=evil /up/passwd /got", "/got"),
        ("COPY --from=evil /absolute /got", "/got"),
        ("COPY --from=evil /top/etc/passwd /got", "/got"),
    ] {
        let got = built(case, &format!("{evil}{step}\n"), file);
        assert!(got.contains("root:") && got != passwd, "{step}: {got}");
        case.engine("builder prune -af").ok();
    }
    let through_proc = "RUN --mount=type=bind,from=evil,source=/proc-root,target=/m ls /m\n";
    build(case, &["--network=none"], &format!("{evil}{through_proc}")).exits(1);
}

/// CVE-2024-23652: the place of a mount is made, and removed, where it is, whatever is there later.
fn links_below_mounts(case: &Case) {
    case.load_busybox();
    let outside = case.make_dir("outside");
    case.make_file("outside/kept", "");
    let outside = outside.display();
    let seen = built(
        case,
        &format!(
            "FROM localhost/busybox\n\
             RUN ln -s {outside} /link && ln -s /a/b /inside && mkdir -p /a/b\n\
             RUN --mount=type=tmpfs,target=/stub/kept true; ln -s {outside} /later\n\
             RUN --mount=type=cache,target=/inside/c,id=inside echo x > /a/b/c/x\n\
             RUN --mount=type=bind,source=file,target=/m/file mv /m /n 2>/dev/null; rm -rf /stub; ls / > /seen\n"
        ),
        "/seen",
    );
    assert!(seen.contains("later") && !seen.contains("stub"), "{seen}");
    let beyond = format!(
        "FROM localhost/busybox\nRUN ln -s {outside} /link\nRUN --mount=type=tmpfs,target=/link/new true\n"
    );
    build(case, &["--network=none"], &beyond).fails(1, "Not a directory");
    // Neither made nor removed on the host.
    let left: Vec<_> = fs::read_dir(case.dir_path("outside")).unwrap().collect();
    assert_eq!(left.len(), 1);
    assert!(case.dir_path("outside/kept").exists());
}

/// CVE-2024-9675: an id is a name and no path; what is in a cache stays there.
fn names_of_caches(case: &Case) {
    case.load_busybox();
    let long = "x/".repeat(3000);
    for id in ["../../../../escaped", "/etc", "..", ".", "a\u{1}b", &long] {
        let step =
            format!("RUN --mount=type=cache,target=/c,id={id} echo {{}} >> /c/f; cat /c/f > /got");
        let first = format!("FROM localhost/busybox\n{}\n", step.replace("{}", "1"));
        let second = format!("FROM localhost/busybox\n{}\n", step.replace("{}", "2"));
        assert_eq!(built(case, &first, "/got"), "1\n", "{id:.30}");
        assert_eq!(built(case, &second, "/got"), "1\n2\n", "{id:.30}");
    }
    let caches = fs::read_dir(case.root().join("builds/caches")).unwrap();
    let names = caches.map(|cache| cache.unwrap().file_name());
    assert!(names.map(|name| name.len()).all(|length| length == 64));
    for folder in [case.dir.clone(), case.root(), case.root().join("builds")] {
        assert!(!folder.join("escaped").exists());
    }
    // A step turns the cache into a link to the host: the next one mounts a directory.
    let place = "--mount=type=cache,target=/cache,id=turned";
    let dockerfile = format!(
        "FROM localhost/busybox\nRUN {place} ln -s {} /cache/d\n\
         RUN {place} ls /cache/d/ > /got 2>&1 || true\n",
        case.dir.display()
    );
    let got = built(case, &dockerfile, "/got");
    assert!(got.contains("No such file"), "{got}");
}

/// CVE-2024-9676: files that say who is who may be anything.
fn accounts_of_images(case: &Case) {
    case.load_busybox();
    let begun = Instant::now();
    for passwd in [
        "mkfifo /etc/passwd /etc/group",
        "ln -s /dev/zero /etc/passwd; ln -s /proc/self/fd/0 /etc/group",
        "mkdir /etc/passwd /etc/group",
        "ln -s /etc/passwd /etc/passwd; ln -s ../../../../../etc/group /etc/group",
        "truncate -s 20M /etc/passwd; truncate -s 20M /etc/group",
    ] {
        let base =
            format!("FROM localhost/busybox AS base\nRUN rm /etc/passwd /etc/group; {passwd}\n");
        for step in [
            "COPY --chown=somebody:some file /f",
            "USER somebody\nRUN true",
            "RUN --mount=type=cache,target=/c,uid=5 true\nUSER somebody\nWORKDIR /w",
        ] {
            let only = format!(
                "{base}FROM localhost/busybox AS last\nCOPY --from=base /etc /etc\n{step}\n"
            );
            let dockerfile = match passwd.contains("truncate") {
                // In the very layers: nothing that large is copied.
                true => format!("{base}{step}\n"),
                false => only,
            };
            build(case, &["--network=none", "--no-cache"], &dockerfile).exits(1);
        }
    }
    assert!(begun.elapsed() < Duration::from_secs(60));
}

/// Names say nothing to terminals, to lists of the cache, or to archives.
fn names_of_files(case: &Case) {
    case.load_busybox();
    context(case, "");
    let names: [&[u8]; 4] = [
        b"line\n#9 DONE 0.0s",
        b"\x1b[2Jred",
        b"-rf",
        b"not\xffutf-8",
    ];
    for name in names {
        let path = case
            .dir_path("context")
            .join(std::ffi::OsStr::from_bytes(name));
        fs::write(&path, "").unwrap();
        chown(&path, Some(case.user.uid), Some(case.user.gid)).unwrap();
    }
    let dockerfile = "FROM localhost/busybox\nCOPY . /all/\nRUN cd /all; for f in *; do echo x >> ./\"$f\"; done; ls | wc -l > /count; rm -- -rf; ls /all >&2\n";
    let log = build(case, &["--network=none"], dockerfile).ok().stderr;
    assert!(
        !log.contains('\x1b') && !log.contains("\n#9 DONE 0.0s\n#9"),
        "{log:?}"
    );
    let look = ["run", "--rm", "--network=none", "app", "cat", "/count"];
    case.words(&look).ok().prints("6");
    case.engine("system check").ok();
    build(case, &["--network=none"], dockerfile).ok();
    let list = case.engine("builder du --verbose").ok().stdout;
    assert!(!list.contains('\x1b'));
}

/// A file that has holes takes no more room in the layer.
fn holes(case: &Case) {
    case.load_busybox();
    context(case, "");
    let place = case.dir_path("context/sparse");
    let file = fs::File::create(&place).unwrap();
    file.set_len(300 << 20).unwrap();
    file.write_at(b"end", (300 << 20) - 3).unwrap();
    chown(&place, Some(case.user.uid), Some(case.user.gid)).unwrap();
    let dockerfile = "FROM localhost/busybox AS first\nCOPY sparse /sparse\nFROM localhost/busybox\nCOPY --from=first /sparse /again\nRUN tail -c 3 /again > /got\n";
    assert_eq!(built(case, dockerfile, "/got"), "end");
    let layers = fs::read_dir(case.root().join("layers")).unwrap();
    let mut found = 0;
    for layer in layers.map(|layer| layer.unwrap().path().join("tree")) {
        for name in ["sparse", "again"] {
            if let Ok(data) = fs::symlink_metadata(layer.join(name)) {
                found += 1;
                assert!(data.blocks() < 20_000, "{name}: {} blocks", data.blocks());
            }
        }
    }
    assert_eq!(found, 2);
    fs::remove_file(place).unwrap();
}

/// Somebody changes the context all the time: each build has some state of it or says what is wrong.
fn files_that_change(case: &Case) {
    case.load_busybox();
    let secret = case.make_file("secret", "from beyond\n");
    context(case, "");
    let script = "cd context; while :; do \
        head -c 200000 /dev/zero > changing; : > changing; \
        ln -sf ../secret swapped; rm swapped; echo inside > swapped; rm -rf d; mkdir -p d/e; echo inside > d/e/f; \
        mv d old; ln -s ../../ d; rm d; rm -rf old; done";
    let mut changing = case.program("sh");
    let mut changing = changing
        .args(["-c", script])
        .stderr(std::process::Stdio::null())
        .spawn()
        .unwrap();
    let dockerfile = "FROM localhost/busybox\nCOPY . /all/\nRUN find /all -type f | xargs cat | grep -c [f]rom.beyond > /got; true\n";
    let mut made = 0;
    for _ in 0..10 {
        let outcome = build(case, &["--network=none"], dockerfile);
        assert!(!outcome.stderr.contains("panicked"), "{outcome}");
        if outcome.code == 0 {
            made += 1;
            let look = ["run", "--rm", "--network=none", "app", "cat", "/got"];
            case.words(&look).ok().prints("0");
        } else {
            assert_eq!(outcome.code, 1, "{outcome}");
        }
    }
    changing.kill().unwrap();
    changing.wait().unwrap();
    println!("{made} of 10 builds");
    assert_eq!(of_host(secret.to_str().unwrap()), "from beyond\n");
    case.engine("system check").ok();
    build(case, &["--network=none"], dockerfile).ok();
}

/// CVE-2024-23653: what a Dockerfile asks for is given only if the command line allows it.
fn more_than_was_allowed(case: &Case) {
    case.load_busybox();
    let dockerfile =
        "FROM localhost/busybox\nRUN --security=insecure grep CapEff /proc/self/status > /got\n";
    build(case, &["--network=none"], dockerfile).fails(1, "is not allowed");
    build(
        case,
        &["--network=none", "--allow=security.insecure"],
        dockerfile,
    )
    .ok();
    // What was made with more rights is not had without them.
    build(case, &["--network=none"], dockerfile).fails(1, "is not allowed");
    let mounts =
        "FROM localhost/busybox\nRUN --mount=type=bind,target=/x,bind-propagation=rshared true\n";
    build(case, &["--network=none"], mounts).fails(1, "unexpected key");
}

//! `--format`: what Docker 28 prints for the same objects, Go's structures and all.

use crate::case::Case;

cases! {
    of_containers: root ordinary;
    of_others: root ordinary;
    of_lists: root ordinary;
    of_info: root ordinary;
    mistakes: root ordinary;
}

fn one(case: &Case) {
    case.load_busybox();
    case.engine(
        "run -d --name one --network none --label a.b=c -v store:/data -m 64m --restart on-failure:3 \
         --health-cmd true --health-interval 90s localhost/busybox sleep 1000",
    )
    .ok();
}

fn of_containers(case: &Case) {
    one(case);
    for (format, expected) in [
        ("{{.HostConfig.RestartPolicy}}", "{on-failure 3}"),
        (
            "{{json .HostConfig.RestartPolicy}}",
            r#"{"Name":"on-failure","MaximumRetryCount":3}"#,
        ),
        ("{{.HostConfig.LogConfig}}", "{json-file map[]}"),
        ("{{.HostConfig.CapAdd}}|{{.Config.Entrypoint}}", "[]|[]"),
        ("{{json .HostConfig.CapAdd}}", "null"),
        (
            "{{.HostConfig.Init}} {{.HostConfig.Memory}}",
            "<nil> 67108864",
        ),
        (
            "{{.Config.StopSignal}}|{{.SizeRw}}|{{.Config.MacAddress}}",
            "|<nil>|",
        ),
        ("{{.Config.Healthcheck.Interval}}", "1m30s"),
        (
            "{{range .Mounts}}{{.Type}} {{.Name}} {{.RW}}{{end}}",
            "volume store true",
        ),
        (
            "{{index .Config.Labels \"a.b\"}}{{index .Config.Labels \"none\"}}",
            "c",
        ),
        ("{{.Config.Labels.none}}", "<no value>"),
        (
            "{{.Id | printf \"%.0s\"}}{{.HostConfig.RestartPolicy}}",
            "map[MaximumRetryCount:3 Name:on-failure]",
        ),
        ("{{if .State.Running}}{{.State.Status}}{{end}}", "running"),
        ("{{.NetworkSettings.Ports}}", "map[]"),
    ] {
        let shown = case.words(&["inspect", "-f", format, "one"]);
        shown.ok().prints(expected);
    }
    // An empty line, as Docker ends what has nothing to show.
    let nothing = case.words(&["inspect", "-f", "{{.Nope}}", "one"]);
    let nothing = nothing.fails(1, "map has no entry for key \"Nope\"");
    assert_eq!(nothing.stdout, "\n", "{nothing}");
    case.engine("rm -f -v one").ok();
}

fn of_others(case: &Case) {
    one(case);
    for (words, format, expected) in [
        (
            "volume inspect store",
            "{{.Status}} {{.UsageData}} {{.Scope}}",
            "map[] <nil> local",
        ),
        (
            "image inspect localhost/busybox",
            "{{.ContainerConfig}} {{.Config.Cmd}} {{.Variant}}",
            "<nil> [sh]",
        ),
        (
            "network inspect bridge",
            "{{.ConfigFrom}} {{.Peers}} {{.Services}}",
            "{} [] map[]",
        ),
        (
            "version",
            "{{.Server.Experimental}} {{.Server.MinAPIVersion}}",
            "false",
        ),
    ] {
        let words: Vec<&str> = words.split(' ').chain(["-f", format]).collect();
        let shown = case.words(&words).ok();
        assert!(shown.stdout.trim_end().starts_with(expected), "{shown}");
    }
    case.engine("rm -f -v one").ok();
}

fn of_lists(case: &Case) {
    one(case);
    let shown = case
        .words(&[
            "ps",
            "--format",
            r"table {{truncate .ID 4}}\t{{upper .Names}}",
        ])
        .ok();
    let lines: Vec<&str> = shown.stdout.lines().collect();
    assert_eq!(lines[0], "CONTAINER ID   NAMES", "{shown}");
    assert!(lines[1].ends_with("           ONE"), "{shown}");
    let shown = case.words(&["ps", "-q", "--format", "{{.Names}}"]).ok();
    assert_eq!(shown.first().len(), 12, "{shown}");
    assert!(
        shown.stderr.contains("WARNING: Ignoring custom format"),
        "{shown}"
    );
    // In other lists a format that is asked for wins, in silence.
    case.words(&["images", "-q", "--format", "{{.Repository}}"])
        .ok()
        .prints("localhost/busybox");
    case.words(&["volume", "ls", "-q", "--format", "{{.Driver}}"])
        .ok()
        .prints("local");
    case.words(&["ps", "--format", r#"{{.Label "a.b"}}"#])
        .ok()
        .prints("c");
    case.engine("rm -f -v one").ok();
}

fn of_info(case: &Case) {
    let text = case.engine("info").ok().stdout;
    let mut rest = text.as_str();
    // In this order.
    for line in [
        "Client:",
        " Context:    default\n",
        "\nServer:\n",
        " Plugins:\n  Volume: local\n",
        " Swarm: inactive\n",
        " Runtimes: coracle\n",
        " Default Runtime: coracle\n",
        " Init Binary: coracle\n",
        " Security Options:\n  seccomp\n   Profile: builtin\n",
        " Kernel Version: ",
        " Docker Root Dir: ",
        " Debug Mode: false\n",
        " Experimental: false\n",
        " Insecure Registries:\n",
        " Live Restore Enabled: true\n",
    ] {
        let at = rest
            .find(line)
            .unwrap_or_else(|| panic!("no {line:?} in its place:\n{text}"));
        rest = &rest[at + line.len()..];
    }
    let keys = [
        "GitCommit",
        "GoVersion",
        "BuildTime",
        "DefaultAPIVersion",
        "Plugins",
    ];
    let client = case
        .words(&["info", "-f", "{{json .ClientInfo}}"])
        .ok()
        .json();
    for key in keys {
        assert!(!client[key].is_null(), "{key} is missing: {client}");
    }
    case.words(&["info", "-f", "{{.Containerd}} {{.Swarm.LocalNodeState}}"])
        .ok()
        .prints("<nil> inactive");
}

fn mistakes(case: &Case) {
    case.load_busybox();
    for words in ["ps", "images", "network ls", "volume ls", "system df"] {
        let line = format!("{words} --format {{{{");
        case.engine(&line).fails(1, "template parsing error");
    }
    for words in ["inspect localhost/busybox", "info", "version"] {
        let line = format!("{words} --format {{{{");
        case.engine(&line).fails(64, "unclosed action");
    }
    // Not JSON's names where Docker's structures have others.
    case.engine("version -f {{.Server.Nope}}")
        .fails(1, "template parsing error");
}

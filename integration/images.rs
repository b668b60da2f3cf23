//! Images from files: load, import, list, tag, inspect, remove.

use crate::{
    case::{Case, shared},
    image::{Image, Layer, busybox_layer},
};

cases! {
    load_shapes: root ordinary single;
    load_from_input: root ordinary;
    import_a_tree: root ordinary;
    list: root ordinary;
    tag_and_remove: root ordinary;
    remove_in_use: root ordinary;
    inspect_image: root ordinary;
    layers_are_shared: root ordinary;
    removing_frees_everything: root ordinary;
    load_again_heals: root ordinary;
    sparse_in_the_old_form: root;
    hard_link_into_a_lower_layer: root ordinary;
    several_names_at_once: root ordinary;
    untag_keeps_the_image: root ordinary;
    remove_all: root ordinary;
    remove_of_a_platform: root ordinary;
    filters_of_both_engines: root ordinary;
}

const NAMES: [&str; 3] = ["images", "--format", "{{.Repository}}:{{.Tag}}"];

fn load_shapes(case: &Case) {
    for shape in ["busybox.tar", "busybox.oci.tar", "busybox"] {
        let path = shared().join("images").join(shape);
        case.words(&["load", "-i", path.to_str().unwrap()])
            .ok()
            .contains("localhost/busybox:latest");
        case.shell("", "cat /var/www/index.html")
            .ok()
            .prints("hello");
        case.engine("rmi localhost/busybox").ok();
        case.words(&NAMES).ok().prints("");
    }
}

fn load_from_input(case: &Case) {
    for shape in ["busybox.tar", "busybox.oci.tar"] {
        let archive = std::fs::read(shared().join("images").join(shape)).unwrap();
        case.with_input(&["load", "-q"], archive)
            .ok()
            .contains("localhost/busybox:latest");
        case.shell("", "true").ok();
        case.engine("rmi localhost/busybox").ok();
    }
}

fn import_a_tree(case: &Case) {
    let tree = busybox_layer()
        .dir("etc/")
        .file("etc/imported", "yes\n")
        .bytes();
    let file = case.make_file("tree.tar", &tree);
    case.words(&[
        "import",
        "-c",
        "CMD [\"cat\", \"/etc/imported\"]",
        "-c",
        "ENV A=b",
        file.to_str().unwrap(),
        "localhost/imported:1",
    ])
    .ok();
    case.engine("run --rm --network none localhost/imported:1")
        .ok()
        .prints("yes");
    case.with_input(&["import", "-", "localhost/imported:2"], tree)
        .ok();
    case.engine("run --rm --network none localhost/imported:2 cat /etc/imported")
        .ok()
        .prints("yes");
    case.engine("import /no/such/file localhost/x")
        .fails(1, "/no/such/file");
}

fn list(case: &Case) {
    case.engine("images -q").ok().prints("");
    case.load_busybox();
    let table = case.engine("images").ok();
    let head: Vec<&str> = table.first().split_whitespace().collect();
    assert_eq!(
        head,
        ["REPOSITORY", "TAG", "IMAGE", "ID", "CREATED", "SIZE"]
    );
    let row: Vec<&str> = table
        .stdout
        .lines()
        .nth(1)
        .unwrap()
        .split_whitespace()
        .collect();
    assert_eq!(row[..2], ["localhost/busybox", "latest"]);
    let long = case.engine("images -q --no-trunc").ok();
    assert!(
        long.first().starts_with("sha256:") && long.first()[7..].starts_with(row[2]),
        "{long}"
    );
    case.engine("images localhost/nothing").ok();
}

fn tag_and_remove(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox localhost/other:v1").ok();
    let id = case
        .engine("images -q localhost/busybox")
        .ok()
        .first()
        .to_owned();
    assert_eq!(case.engine("images -q localhost/other").ok().first(), id);
    // One name goes, the image stays.
    case.engine("rmi localhost/busybox")
        .ok()
        .contains("Untagged");
    case.words(&NAMES).ok().prints("localhost/other:v1");
    case.engine("run --rm --network none localhost/other:v1 true")
        .ok();
    case.words(&["run", "--rm", "--network=none", &id, "true"])
        .ok();
    case.engine("rmi localhost/busybox").fails(1, "busybox");
    case.words(&["rmi", &id]).ok().contains("Deleted");
    case.engine("images -q").ok().prints("");
    case.engine("tag localhost/other:v1 x").fails(1, "other");
    case.load_busybox();
    case.engine("tag localhost/busybox Bad:Name:x")
        .fails(1, "Bad");
}

fn remove_in_use(case: &Case) {
    case.load_busybox();
    case.engine("run -d --name user --network none localhost/busybox sleep 100")
        .ok();
    case.engine("rmi localhost/busybox").fails(1, "used");
    case.engine("exec user true").ok();
    case.engine("rm -f user").ok();
    case.engine("rmi localhost/busybox").ok();
}

fn inspect_image(case: &Case) {
    case.load_busybox();
    let image = &case.engine("image inspect localhost/busybox").ok().json()[0];
    assert_eq!(image["RepoTags"][0], "localhost/busybox:latest");
    assert_eq!(image["Os"], "linux");
    assert_eq!(image["Config"]["Labels"]["test.origin"], "busybox");
    assert_eq!(image["RootFS"]["Layers"].as_array().unwrap().len(), 1);
    assert!(image["Id"].as_str().unwrap().starts_with("sha256:"));
    assert!(image["Size"].as_u64().unwrap() > 500_000);
    case.engine("image inspect localhost/nothing").exits(1);
}

/// Three images that differ in their last layer only: the others are stored once.
fn layers_are_shared(case: &Case) {
    let below = busybox_layer().bytes();
    for n in 1..=3 {
        let top = Layer::new().file("which", &format!("{n}\n")).bytes();
        let archive =
            Image::new(&format!("localhost/shared:{n}"), vec![below.clone(), top]).archive();
        case.with_input(&["load"], archive).ok();
    }
    let layers = std::fs::read_dir(case.root().join("layers"))
        .unwrap()
        .flatten();
    assert_eq!(
        layers.filter(|entry| entry.path().is_dir()).count(),
        4,
        "one shared and three tops"
    );
    for n in 1..=3 {
        case.engine(&format!(
            "run --rm --network none localhost/shared:{n} cat /which"
        ))
        .ok()
        .prints(&n.to_string());
    }
    case.engine("rmi localhost/shared:1 localhost/shared:2")
        .ok();
    case.engine("run --rm --network none localhost/shared:3 cat /which")
        .ok()
        .prints("3");
}

fn removing_frees_everything(case: &Case) {
    case.engine("images -q").ok();
    let (_, before) = crate::case::usage(&case.root());
    case.load_busybox();
    case.engine("run --name kept --network none localhost/busybox true")
        .ok();
    case.engine("rm kept").ok();
    case.engine("rmi localhost/busybox").ok();
    case.engine("images -q").ok();
    let (bytes, after) = crate::case::usage(&case.root());
    assert!(bytes < 200_000, "{bytes} bytes are left");
    assert!(after <= before + 16, "{before} files before, {after} after");
}

/// Loading what is there is quick and changes nothing; loading over a damaged layer repairs it.
fn load_again_heals(case: &Case) {
    case.load_busybox();
    let before = case.store_listing();
    case.load_busybox();
    let tree_lines = |listing: &str| {
        listing
            .lines()
            .filter(|line| line.contains("layers/"))
            .count()
    };
    assert_eq!(tree_lines(&before), tree_lines(&case.store_listing()));
    case.shell("", "true").ok();
}

/// GNU tar's older form of files with holes (type `S`), which many readers get wrong.
fn sparse_in_the_old_form(case: &Case) {
    let dir = case.make_dir("tree");
    let script = "cp /usr/bin/busybox busybox 2>/dev/null || cp /bin/busybox busybox; \
        for at in 0 5242880 67108858; do printf island | dd of=holes bs=1 seek=$at conv=notrunc 2>/dev/null; done; \
        tar --format=gnu -S -cf ../holes.tar busybox holes && sha256sum < holes";
    let mut make = case.program("sh");
    make.args(["-c", script]).current_dir(&dir);
    let expected = crate::case::finish(make).ok();
    let archive = case.dir.join("holes.tar");
    assert!(
        std::fs::metadata(&archive).unwrap().len() < 8 << 20,
        "the archive has holes"
    );
    case.words(&["import", archive.to_str().unwrap(), "localhost/holes"])
        .ok();
    case.engine("run --rm --network none localhost/holes /busybox sha256sum /holes")
        .ok()
        .prints(&format!(
            "{}  /holes",
            expected.first().trim_end_matches(" -").trim()
        ));
    let (bytes, _) = crate::case::usage(&case.root());
    assert!(bytes < 30 << 20, "the holes were filled: {bytes} bytes");
}

/// No builder makes such a layer (overlayfs copies the file up first), but some tools do: it is
/// unpacked right or refused with a word, never wrong.
fn hard_link_into_a_lower_layer(case: &Case) {
    let below = busybox_layer().file("below", "below\n").bytes();
    let above = Layer::new().hardlink("above", "below").bytes();
    let archive = Image::new("localhost/linked", vec![below, above]).archive();
    let outcome = case.with_input(&["load"], archive);
    if outcome.code == 0 {
        case.engine("run --rm --network none localhost/linked cat /above")
            .ok()
            .prints("below");
    } else {
        outcome.fails(1, "hard link");
    }
}

fn several_names_at_once(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox a:1 b:2").ok();
    // All or none.
    case.engine("tag localhost/busybox c:1 UPPER").exits(1);
    let names = [
        "images",
        "--sort",
        "repository",
        "--format",
        "{{.Repository}}:{{.Tag}}",
    ];
    case.words(&names)
        .ok()
        .prints("a:1\nb:2\nlocalhost/busybox:latest");
    case.engine("images -n --sort size --format table").ok();
    case.engine("images --sort colour")
        .fails(125, "created, id, repository");
}

fn untag_keeps_the_image(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox a:1 b:2").ok();
    case.engine("untag a:1 b:2 c:3")
        .fails(1, "not a name of image");
    case.engine("untag a:1 b:2").ok();
    let names = ["images", "--format", "{{.Repository}}:{{.Tag}}"];
    case.words(&names)
        .ok()
        .prints("a:1\nlocalhost/busybox:latest");
    let id = case.engine("images -q --no-trunc a").ok().stdout;
    case.engine("untag a").exits(1);
    case.engine("untag a:1").ok();
    case.words(&names).ok().prints("<none>:<none>");
    case.words(&["run", "--rm", "--network", "none", id.trim(), "true"])
        .ok();
    case.words(&["tag", id.trim(), "back"]).ok();
    case.words(&names).ok().prints("back:latest");
}

fn remove_all(case: &Case) {
    case.engine("rmi --all").ok().prints("");
    case.load_busybox();
    case.engine("tag localhost/busybox a:1 other.example/b:2")
        .ok();
    case.engine("create --name user --network none a:1 true")
        .ok();
    case.engine("rmi -a").fails(1, "is being used by");
    case.engine("images -q a:1").ok();
    case.engine("rm user").ok();
    case.engine("rmi -a surplus").exits(125);
    case.engine("rmi").exits(1);
    case.engine("rmi -a")
        .ok()
        .contains("Untagged: other.example/b:2");
    case.engine("images -q").ok().prints("");
    case.engine("rmi --ignore nothing").ok().prints("");
    case.engine("rmi nothing").fails(1, "No such image");
}

fn filters_of_both_engines(case: &Case) {
    case.load_busybox();
    case.engine("tag localhost/busybox a:1").ok();
    let id = case.engine("images -q a").ok().stdout;
    let shown = |filter: &str, expected: &str| {
        let words = ["images", "--format", "{{.Repository}}", "--filter", filter];
        case.words(&words).ok().prints(expected);
    };
    shown("reference!=a*", "localhost/busybox");
    shown(&format!("id={}", id.trim()), "a\nlocalhost/busybox");
    shown("id=0123", "");
    shown("until=1h", "a\nlocalhost/busybox");
    shown("until=1999-01-01", "");
    shown("containers=true", "");
    shown("intermediate=true", "");
    shown("label=test.origin=busybox", "a\nlocalhost/busybox");
    shown("label!=test.origin", "");
    case.engine("create --name user --network none a:1 true")
        .ok();
    shown("containers=true", "a\nlocalhost/busybox");
    case.engine("images --filter colour=blue")
        .fails(1, "invalid filter");
}

fn remove_of_a_platform(case: &Case) {
    case.load_busybox();
    let rmi = |platform: &str, image: &str| case.words(&["rmi", "--platform", platform, image]);
    rmi("linux/s390x,windows/amd64", "localhost/busybox").fails(1, "it is for platform linux/");
    rmi("what is this", "localhost/busybox").fails(1, "platform");
    case.words(&["rmi", "--all", "--platform=linux/amd64"])
        .fails(125, "--all");
    let words = ["image", "inspect", "-f", "{{.Os}}/{{.Architecture}}"];
    let own = case
        .words(&[&words[..], &["localhost/busybox"]].concat())
        .ok();
    rmi(
        &format!("linux/s390x,{}", own.stdout.trim()),
        "localhost/busybox",
    )
    .ok()
    .contains("Deleted: ");
    case.words(&NAMES).ok().prints("");
}

//! Indexes, artifacts and referrers, against a registry that a test scripts: no privileges.

mod fake_registry;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    sync::{Arc, Mutex},
};

use coracle::{
    engine::{
        Engine, EngineOptions, Silent,
        artifacts::{ArtifactPush, Extract, NewArtifact, NewFile},
        manifests::{AddRequest, ManifestPush},
    },
    model::{
        Digest, ErrorKind, Reference, RegistryOptions, Result,
        index::{Annotations, Artifact, Descriptor, EntryChanges, Index, TITLE},
        manifest::{
            DOCKER_CONFIG, DOCKER_INDEX, DOCKER_MANIFEST, Format, OCI_CONFIG, OCI_INDEX,
            OCI_MANIFEST,
        },
    },
    registry::Registry,
    storage::Store,
};
use fake_registry::{FakeRegistry, Reply, digest};
use serde_json::json;

struct World {
    registry: FakeRegistry,
    engine: Engine,
    folder: tempfile::TempDir,
}

impl World {
    fn new() -> World {
        let folder = tempfile::tempdir().unwrap();
        let engine = Engine::open(EngineOptions {
            root: Some(folder.path().join("root")),
            runroot: Some(folder.path().join("run")),
            ..EngineOptions::default()
        });
        World {
            registry: FakeRegistry::start(),
            engine: engine.unwrap(),
            folder,
        }
    }

    fn store(&self) -> Store {
        let path = self.folder.path();
        Store::open(&path.join("root"), &path.join("run")).unwrap()
    }

    fn has(&self, digest: &Digest) -> bool {
        self.store().has_blob(digest).unwrap()
    }

    /// An image of one layer in the registry; its manifest's digest, and the layer's.
    fn publish(&self, tag: &str, architecture: &str, docker: bool) -> (Digest, Digest) {
        let (manifest_type, config_type) = match docker {
            true => (DOCKER_MANIFEST, DOCKER_CONFIG),
            false => (OCI_MANIFEST, OCI_CONFIG),
        };
        let config = json!({
            "architecture": architecture, "os": "linux",
            "rootfs": {"type": "layers", "diff_ids": []},
        })
        .to_string();
        let layer = format!("layer of {tag}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": manifest_type,
            "config": {
                "mediaType": config_type, "size": config.len(),
                "digest": self.registry.add_blob(config.clone()),
            },
            "layers": [{
                "mediaType": "application/vnd.oci.image.layer.v1.tar", "size": layer.len(),
                "digest": self.registry.add_blob(layer.clone()),
            }],
        })
        .to_string();
        let manifest = self.registry.add_document(tag, manifest_type, manifest);
        (manifest, digest(layer.as_bytes()))
    }

    fn request(&self, members: &[&str]) -> AddRequest<'static> {
        AddRequest {
            members: members
                .iter()
                .map(|tag| self.registry.reference(tag).to_string())
                .collect(),
            all: false,
            changes: EntryChanges::default(),
            artifact: None,
            registry: RegistryOptions::default(),
            progress: &Silent,
        }
    }

    fn create(&self, list: &str, members: &[&str]) -> Result<Digest> {
        let annotations = Annotations::new();
        self.engine
            .create_manifest_list(&name(list), false, &annotations, &self.request(members))
    }

    fn index(&self, list: &str) -> Index {
        let options = RegistryOptions::default();
        let bytes = self.engine.inspect_manifest(list, &options, &Silent);
        Index::parse(&bytes.unwrap()).unwrap()
    }

    fn artifact(
        &self,
        text: &str,
        files: &[(&str, &str)],
        subject: Option<String>,
    ) -> Result<Digest> {
        let folder = self.folder.path();
        let file = |(called, content): &(&str, &str)| {
            fs::write(folder.join(called), content).unwrap();
            NewFile {
                path: folder.join(called),
                media_type: None,
                titled: true,
                annotations: Annotations::new(),
            }
        };
        self.engine.add_artifact(&NewArtifact {
            name: name(text),
            files: files.iter().map(file).collect(),
            artifact_type: Some("application/vnd.example".to_owned()),
            subject,
            append: false,
            replace: false,
            registry: RegistryOptions::default(),
        })
    }

    fn push(&self, list: &str, to: &str) -> Result<Digest> {
        let pushed = self.engine.push_manifest_list(&ManifestPush {
            list: list.to_owned(),
            target: Some(self.registry.reference(to)),
            all: true,
            format: None,
            registry: RegistryOptions::default(),
            progress: &Silent,
        });
        Ok(pushed?.digest)
    }

    /// The registry takes what it is sent from now on; what it was sent, in order.
    fn accept(&self, mounts: bool, notes_subjects: bool) -> Arc<Mutex<Vec<String>>> {
        let sent: Arc<Mutex<Vec<String>>> = Arc::default();
        let log = sent.clone();
        let mut taken: BTreeMap<String, (String, Vec<u8>)> = BTreeMap::new();
        self.registry.chaos(move |request| {
            let path = request.path.split('?').next().unwrap_or_default();
            let last = path.rsplit('/').next().unwrap_or_default();
            let note = |what: &str| log.lock().unwrap().push(format!("{what} {last}"));
            match request.method.as_str() {
                "HEAD" if request.is_blob() && path.contains("/new/") => Some(Reply::status(404)),
                "POST" if request.path.contains("mount=") && mounts => {
                    log.lock().unwrap().push("mount".to_owned());
                    Some(Reply::status(201))
                }
                "POST" => Some(Reply::status(202).with("Location", format!("{path}some-upload"))),
                "PUT" if path.contains("/uploads/") => {
                    note("blob");
                    Some(Reply::status(201))
                }
                "PUT" => {
                    note("document");
                    let media_type = request.header("content-type").unwrap_or_default();
                    let body = request.body.clone().into_bytes();
                    let subject = Index::parse(&body).ok().and_then(|index| index.subject);
                    taken.insert(last.to_owned(), (media_type.to_owned(), body));
                    let reply = Reply::status(201);
                    Some(match subject {
                        Some(subject) if notes_subjects => {
                            reply.with("OCI-Subject", subject.digest.to_string())
                        }
                        _ => reply,
                    })
                }
                "GET" => taken.get(last).map(|(media_type, body)| {
                    Reply::ok(body.clone()).with("Content-Type", media_type)
                }),
                _ => None,
            }
        });
        sent
    }
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

#[test]
fn members_far_away_are_described_and_their_layers_left_there() {
    let world = World::new();
    let (amd, layer) = world.publish("amd", "amd64", false);
    let (arm, _) = world.publish("arm", "arm64", false);
    world.create("list", &["app:amd", "app:arm"]).unwrap();
    let index = world.index("list");
    assert_eq!(index.media_type.as_deref(), Some(OCI_INDEX));
    let platforms: Vec<String> = index
        .manifests
        .iter()
        .map(|entry| entry.platform.clone().unwrap().architecture)
        .collect();
    assert_eq!(platforms, ["amd64", "arm64"]);
    assert!(world.has(&amd) && world.has(&arm) && !world.has(&layer));
    let wanted = layer.to_string();
    assert!(
        !world
            .registry
            .requests()
            .iter()
            .any(|r| r.path.contains(&wanted))
    );
}

#[test]
fn a_list_of_dockers_manifests_is_dockers() {
    let world = World::new();
    world.publish("a", "amd64", true);
    world.create("list", &["app:a"]).unwrap();
    assert_eq!(
        world.index("list").media_type.as_deref(),
        Some(DOCKER_INDEX)
    );
    world.publish("b", "arm64", false);
    world
        .engine
        .add_to_manifest_list("list", &world.request(&["app:b"]))
        .unwrap();
    assert_eq!(world.index("list").media_type.as_deref(), Some(OCI_INDEX));
}

#[test]
fn a_name_that_is_taken_is_refused_before_anything_is_asked() {
    let world = World::new();
    world.create("list", &[]).unwrap();
    let error = world.create("list", &["app:nowhere"]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NameInUse);
    assert!(world.registry.requests().is_empty());
    let error = world.artifact("list", &[("f", "x")], None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NameInUse);
}

#[test]
fn collection_keeps_what_a_list_and_an_artifact_need_and_takes_it_afterwards() {
    let world = World::new();
    let (manifest, _) = world.publish("a", "amd64", false);
    let list = world.create("list", &["app:a"]).unwrap();
    let artifact = world.artifact("art", &[("f", "content")], None).unwrap();
    let file = digest(b"content");
    world.store().collect_garbage().unwrap();
    for kept in [&manifest, &list, &artifact, &file] {
        assert!(world.has(kept), "{kept}");
    }
    world.engine.remove_manifest_list("list").unwrap();
    assert!(!world.has(&manifest) && !world.has(&list) && world.has(&file));
    world.engine.remove_artifact("art").unwrap();
    assert!(!world.has(&artifact) && !world.has(&file));
}

#[test]
fn a_torn_record_counts_as_none_and_one_of_a_newer_program_stops_collection() {
    let world = World::new();
    let artifact = world.artifact("art", &[("f", "content")], None).unwrap();
    let records = world.folder.path().join("root/manifests");
    fs::write(records.join("torn:1"), b"").unwrap();
    fs::write(records.join(".x.new"), b"{").unwrap();
    assert_eq!(world.engine.artifacts().unwrap().len(), 1);
    world.store().collect_garbage().unwrap();
    assert!(!records.join("torn:1").exists() && !records.join(".x.new").exists());

    fs::write(records.join("newer:1"), b"{\"shape\":[]}").unwrap();
    let record = fs::read_dir(&records).unwrap().flatten();
    for file in record.filter(|file| file.file_name() != "newer:1") {
        fs::remove_file(file.path()).unwrap();
    }
    world.store().collect_garbage().unwrap();
    assert!(world.has(&artifact));
}

#[test]
fn changes_at_the_same_time_are_all_there() {
    let world = World::new();
    let tags: Vec<String> = (0..6).map(|number| format!("t{number}")).collect();
    for tag in &tags {
        world.publish(tag, "amd64", false);
    }
    world.create("list", &[]).unwrap();
    std::thread::scope(|scope| {
        for tag in &tags {
            // As another process: an engine of its own.
            let (folder, request) = (world.folder.path(), world.request(&[&format!("app:{tag}")]));
            let members = request.members;
            scope.spawn(move || {
                let engine = Engine::open(EngineOptions {
                    root: Some(folder.join("root")),
                    runroot: Some(folder.join("run")),
                    ..EngineOptions::default()
                });
                let request = AddRequest {
                    members,
                    all: false,
                    changes: EntryChanges::default(),
                    artifact: None,
                    registry: RegistryOptions::default(),
                    progress: &Silent,
                };
                engine
                    .unwrap()
                    .add_to_manifest_list("list", &request)
                    .unwrap();
            });
        }
    });
    assert_eq!(world.index("list").manifests.len(), tags.len());
}

#[test]
fn annotating_and_removing_by_the_name_a_member_was_added_by() {
    let world = World::new();
    let (first, _) = world.publish("a", "amd64", false);
    let (second, _) = world.publish("b", "arm64", false);
    world.create("list", &["app:a", "app:b"]).unwrap();
    let changes = EntryChanges {
        variant: Some("v9".to_owned()),
        annotations: Annotations::from([("k".to_owned(), "v".to_owned())]),
        ..EntryChanges::default()
    };
    let member = world.registry.reference("app:b").to_string();
    let annotate = |member: &str| {
        world
            .engine
            .annotate_manifest_list("list", Some(member), &changes, None)
    };
    annotate(&member).unwrap();
    let entry = world.index("list").entry(&second).cloned().unwrap();
    assert_eq!(entry.platform.unwrap().variant.as_deref(), Some("v9"));
    assert_eq!(entry.annotations["k"], "v");
    assert_eq!(
        annotate("nobody").unwrap_err().kind(),
        ErrorKind::NoSuchImage
    );
    world
        .engine
        .remove_from_manifest_list("list", &member)
        .unwrap();
    world
        .engine
        .remove_from_manifest_list("list", &first.hex()[..12])
        .unwrap();
    assert!(world.index("list").manifests.is_empty());
    world.store().collect_garbage().unwrap();
    assert!(!world.has(&first) && !world.has(&second));
}

#[test]
fn the_index_is_the_last_that_a_push_sends() {
    let world = World::new();
    let (member, layer) = world.publish("a", "amd64", false);
    let list = world.create("list", &["app:a"]).unwrap();
    let sent = world.accept(false, false);
    assert_eq!(world.push("list", "new/app:1").unwrap(), list);
    let sent = sent.lock().unwrap().clone();
    // The configuration is here; the layer was fetched from where the member came from.
    assert_eq!(
        sent,
        [
            "blob some-upload".to_owned(),
            "blob some-upload".to_owned(),
            format!("document {member}"),
            "document 1".to_owned()
        ]
    );
    let requests = world.registry.requests();
    let wanted = format!("/v2/app/blobs/{layer}");
    assert!(
        requests
            .iter()
            .any(|r| r.method == "GET" && r.path == wanted)
    );
    let bodies: Vec<&str> = requests
        .iter()
        .map(|request| request.body.as_str())
        .collect();
    assert!(bodies.contains(&"layer of a"));
}

#[test]
fn what_can_be_mounted_is_not_fetched() {
    let world = World::new();
    let (_, layer) = world.publish("a", "amd64", false);
    world.create("list", &["app:a"]).unwrap();
    let sent = world.accept(true, false);
    world.push("list", "new/app:1").unwrap();
    let sent = sent.lock().unwrap().clone();
    assert_eq!(
        sent.iter().filter(|line| *line == "mount").count(),
        2,
        "{sent:?}"
    );
    let wanted = layer.to_string();
    let requests = world.registry.requests();
    let fetched = |request: &fake_registry::Request| {
        request.method == "GET" && request.path.contains(&wanted)
    };
    assert!(!requests.iter().any(fetched));
}

#[test]
fn a_list_that_dockers_kind_cannot_say_is_not_pushed_as_one() {
    let world = World::new();
    world.publish("a", "amd64", false);
    world.create("list", &["app:a"]).unwrap();
    let error = world
        .engine
        .push_manifest_list(&ManifestPush {
            list: "list".to_owned(),
            target: Some(world.registry.reference("new/app:1")),
            all: true,
            format: Some(Format::Docker),
            registry: RegistryOptions::default(),
            progress: &Silent,
        })
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

fn referrer(seed: &str, kind: &str) -> Descriptor {
    Descriptor {
        artifact_type: Some(kind.to_owned()),
        ..Descriptor::of(seed.as_bytes(), OCI_MANIFEST)
    }
}

fn page(entries: &[Descriptor]) -> Vec<u8> {
    let index = Index {
        manifests: entries.to_vec(),
        ..Index::default()
    };
    index.to_bytes().unwrap()
}

fn list_referrers(world: &World, kind: Option<&str>) -> Result<Vec<Digest>> {
    let subject = world.registry.reference("app:a");
    let subject = subject.at_digest(digest(b"subject"));
    let registry = Registry::new(&RegistryOptions::default());
    let found = registry.referrers(&subject, &digest(b"subject"), kind, &|_, _| {})?;
    Ok(found.into_iter().map(|entry| entry.digest).collect())
}

#[test]
fn referrers_come_in_pages_and_are_filtered_here_if_not_there() {
    let world = World::new();
    world.registry.chaos(|request| {
        let (path, query) = request.path.split_once('?').unwrap_or((&request.path, ""));
        path.contains("/referrers/").then(|| {
            let reply =
                |entries: &[Descriptor]| Reply::ok(page(entries)).with("Content-Type", OCI_INDEX);
            match query {
                "n=1&last=x" => reply(&[referrer("two", "t/b")]),
                _ => reply(&[referrer("one", "t/a")]).with(
                    "Link",
                    r#"<http://elsewhere.example/?n=1&last=x>; rel="next""#,
                ),
            }
        })
    });
    let all = list_referrers(&world, None).unwrap();
    assert_eq!(all, [digest(b"one"), digest(b"two")]);
    assert_eq!(
        list_referrers(&world, Some("t/b")).unwrap(),
        [digest(b"two")]
    );
    let requests = world.registry.requests();
    assert!(
        requests
            .iter()
            .any(|r| r.path.ends_with("?artifactType=t/b"))
    );
}

#[test]
fn referrers_that_never_end_are_an_error() {
    let world = World::new();
    let entries: Vec<Descriptor> = (0..2000).map(|n| referrer(&n.to_string(), "t")).collect();
    world.registry.chaos(move |request| {
        request
            .path
            .contains("/referrers/")
            .then(|| Reply::ok(page(&entries)).with("Link", r#"<?n=1>; rel="next""#))
    });
    let error = list_referrers(&world, None).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
}

#[test]
fn a_tag_stands_in_for_the_api() {
    let world = World::new();
    assert_eq!(list_referrers(&world, None).unwrap(), []);
    let tag = digest(b"subject").as_str().replace(':', "-");
    world
        .registry
        .add_document(&tag, OCI_INDEX, page(&[referrer("one", "t/a")]));
    assert_eq!(list_referrers(&world, None).unwrap(), [digest(b"one")]);
    assert_eq!(list_referrers(&world, Some("t/b")).unwrap(), []);
    // Somebody's image under that tag says nothing.
    world.publish(&tag, "amd64", false);
    assert_eq!(list_referrers(&world, None).unwrap(), []);
}

fn push_artifact(world: &World, text: &str, to: &str) -> Result<()> {
    let pushed = world.engine.push_artifact(&ArtifactPush {
        artifact: text.to_owned(),
        target: Some(world.registry.reference(to)),
        registry: RegistryOptions::default(),
        progress: &Silent,
    });
    pushed.map(drop)
}

#[test]
fn a_subject_is_noted_under_the_tag_where_there_is_no_api() {
    let world = World::new();
    let (subject, _) = world.publish("a", "amd64", false);
    let far = format!("docker://{}", world.registry.reference("new/app:a"));
    for (text, content) in [("one", "1"), ("two", "2")] {
        world
            .artifact(text, &[("f", content)], Some(far.clone()))
            .unwrap();
    }
    let sent = world.accept(false, false);
    push_artifact(&world, "one", "new/app:one").unwrap();
    push_artifact(&world, "two", "new/app:two").unwrap();
    push_artifact(&world, "two", "new/app:two").unwrap();
    let options = RegistryOptions::default();
    let at = world
        .registry
        .reference("new/app:a")
        .at_digest(subject.clone());
    let (of, found) = world
        .engine
        .referrers(&at, None, &options, &Silent)
        .unwrap();
    assert_eq!(of, subject);
    assert_eq!(found.len(), 2);
    assert!(
        found
            .iter()
            .all(|entry| entry.artifact_type.as_deref() == Some("application/vnd.example"))
    );
    let tag = format!("document {}", subject.as_str().replace(':', "-"));
    let noted = sent
        .lock()
        .unwrap()
        .iter()
        .filter(|line| **line == tag)
        .count();
    // The second push of the same finds itself there.
    assert_eq!(noted, 2);
}

#[test]
fn a_registry_that_notes_subjects_gets_no_tag() {
    let world = World::new();
    world.publish("a", "amd64", false);
    let far = format!("docker://{}", world.registry.reference("new/app:a"));
    world.artifact("one", &[("f", "1")], Some(far)).unwrap();
    let sent = world.accept(false, true);
    push_artifact(&world, "one", "new/app:one").unwrap();
    let sent = sent.lock().unwrap().clone();
    assert!(
        !sent.iter().any(|line| line.contains("sha256-")),
        "{sent:?}"
    );
}

fn hostile(world: &World, titles: &[&str]) -> Digest {
    let mut artifact = Artifact::new(None);
    let empty = artifact.config.digest.clone();
    assert_eq!(world.registry.add_blob("{}"), empty);
    for (number, title) in titles.iter().enumerate() {
        let content = format!("content {number}");
        let mut layer = Descriptor::of(content.as_bytes(), "text/plain");
        layer
            .annotations
            .insert(TITLE.to_owned(), (*title).to_owned());
        artifact.layers.push(layer);
        world.registry.add_blob(content);
    }
    let bytes = artifact.to_bytes().unwrap();
    world.registry.add_document("hostile", OCI_MANIFEST, bytes)
}

fn pull_artifact(world: &World, tag: &str) -> Result<Digest> {
    let options = RegistryOptions::default();
    world
        .engine
        .pull_artifact(&world.registry.reference(tag), &options, &Silent)
}

fn extract(world: &World, to: &Path, title: Option<&str>, digest: Option<Digest>) -> Result<()> {
    world.engine.extract_artifact(&Extract {
        artifact: world.registry.reference("app:hostile").to_string(),
        title: title.map(str::to_owned),
        digest,
        destination: to.to_owned(),
    })
}

#[test]
fn titles_of_others_do_not_leave_the_folder() {
    for title in [
        "../escaped",
        "/tmp/escaped",
        "..",
        "a/../../b",
        "x\u{1b}[2J",
    ] {
        let world = World::new();
        hostile(&world, &["fine", title]);
        pull_artifact(&world, "app:hostile").unwrap();
        let to = world.folder.path().join("out");
        fs::create_dir(&to).unwrap();
        let error = extract(&world, &to, None, None).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidContent, "{title}");
        assert!(!error.message().contains('\u{1b}'));
        // Not even the one before it.
        assert_eq!(fs::read_dir(&to).unwrap().count(), 0);
        // Under a name of the user's own choice it can be had.
        extract(&world, &to.join("mine"), Some(title), None).unwrap();
        assert_eq!(fs::read_to_string(to.join("mine")).unwrap(), "content 1");
    }
}

#[test]
fn a_link_in_the_folder_is_replaced_and_not_followed() {
    let world = World::new();
    hostile(&world, &["name"]);
    pull_artifact(&world, "app:hostile").unwrap();
    let to = world.folder.path().join("out");
    fs::create_dir(&to).unwrap();
    let outside = world.folder.path().join("outside");
    fs::write(&outside, "mine").unwrap();
    std::os::unix::fs::symlink(&outside, to.join("name")).unwrap();
    extract(&world, &to, None, None).unwrap();
    assert_eq!(fs::read_to_string(&outside).unwrap(), "mine");
    assert_eq!(fs::read_to_string(to.join("name")).unwrap(), "content 0");
}

#[test]
fn two_files_of_one_name_are_refused() {
    let world = World::new();
    hostile(&world, &["same", "same"]);
    pull_artifact(&world, "app:hostile").unwrap();
    let to = world.folder.path().join("out");
    fs::create_dir(&to).unwrap();
    assert!(extract(&world, &to, None, None).is_err());
    let first = Some(digest(b"content 0"));
    extract(&world, &to.join("one"), None, first).unwrap();
    assert_eq!(fs::read_to_string(to.join("one")).unwrap(), "content 0");
}

#[test]
fn blobs_of_an_artifact_are_verified_and_the_name_stays_what_it_was() {
    let world = World::new();
    hostile(&world, &["f"]);
    let wrong = digest(b"content 0").to_string();
    world.registry.chaos(move |request| {
        request
            .path
            .ends_with(&wrong)
            .then(|| Reply::ok("content X"))
    });
    let error = pull_artifact(&world, "app:hostile").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::DigestMismatch);
    assert!(world.engine.artifacts().unwrap().is_empty());
}

#[test]
fn an_index_is_no_artifact() {
    let world = World::new();
    world.registry.add_document("i", OCI_INDEX, page(&[]));
    let error = pull_artifact(&world, "app:i").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
}

#[test]
fn an_index_inside_of_itself_ends() {
    let world = World::new();
    let inner = world.registry.add_document("i0", OCI_INDEX, page(&[]));
    let mut last = Descriptor {
        digest: inner,
        ..Descriptor::of(&page(&[]), OCI_INDEX)
    };
    for number in 1..6 {
        let bytes = page(&[last]);
        last = Descriptor::of(&bytes, OCI_INDEX);
        world
            .registry
            .add_document(&format!("i{number}"), OCI_INDEX, bytes);
    }
    let mut request = world.request(&["app:i5"]);
    request.all = true;
    let annotations = Annotations::new();
    let list = name("list");
    world
        .engine
        .create_manifest_list(&list, false, &annotations, &request)
        .unwrap();
    let error = world.push("list", "new/app:1").unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidContent);
}

//! Names of images: resolving what a user types, retagging, removing by Docker's rules, inspect.

mod storage;

use coracle::{
    engine::{Engine, EngineOptions, Removed},
    model::{ErrorKind, Reference, image::ImageRecord},
    storage::Durability,
};
use storage::{World, container_record, digest, stage_image};

fn engine(world: &World) -> Engine {
    Engine::open(EngineOptions {
        root: Some(world.path("")),
        runroot: Some(world.folder.path().join("run")),
        ..EngineOptions::default()
    })
    .unwrap()
}

fn name(text: &str) -> Reference {
    text.parse().unwrap()
}

fn names(world: &World) -> Vec<String> {
    let shown = |record: ImageRecord| {
        record
            .name
            .map_or("<none>".to_owned(), |name| name.familiar())
    };
    let records = world.store.images().unwrap();
    records.into_iter().map(shown).collect()
}

fn untagged(text: &str) -> Removed {
    Removed::Untagged(text.to_owned())
}

#[test]
fn an_image_is_found_by_name_id_and_prefix() {
    let world = World::new();
    let record = world.add_image("alpine:3", "one");
    let id = &record.config;
    for typed in [
        "alpine:3",
        "docker.io/library/alpine:3",
        id.as_str(),
        id.hex(),
        id.short(),
        &id.hex()[..1],
        &format!("sha256:{}", &id.hex()[..1]),
        &format!("alpine@{}", record.manifest),
        &format!("alpine:3@{}", record.manifest),
    ] {
        assert_eq!(world.store.resolve_image(typed).unwrap(), record, "{typed}");
    }
    for typed in [
        "alpine",
        "debian",
        &format!("debian@{}", record.manifest),
        &format!("alpine@{}", digest("x")),
        digest("x").as_str(),
        "sha256:0000",
    ] {
        let error = world.store.resolve_image(typed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchImage, "{typed}");
    }
    for typed in ["", "Alpine", "../x", "a b"] {
        let error = world.store.resolve_image(typed).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidArgument, "{typed}");
    }
}

#[test]
fn an_ambiguous_prefix_is_an_error_but_two_names_of_one_image_are_not() {
    let world = World::new();
    let images: Vec<ImageRecord> = (0..17)
        .map(|index| world.add_image(&format!("i{index}"), &index.to_string()))
        .collect();
    let digit = |record: &ImageRecord| record.config.hex()[..1].to_owned();
    let mut firsts: Vec<String> = images.iter().map(digit).collect();
    firsts.sort();
    let twice = firsts.windows(2).find(|pair| pair[0] == pair[1]).unwrap();
    let error = world.store.resolve_image(&twice[0]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
    engine(&world).tag("i3", &name("again")).unwrap();
    let found = world.store.resolve_image(images[3].config.short()).unwrap();
    assert_eq!(found.config, images[3].config);
}

#[test]
fn a_name_of_hexadecimal_digits_is_a_name_first() {
    let world = World::new();
    let record = world.add_image("other", "one");
    let prefix = record.config.hex()[..6].to_owned();
    assert_eq!(world.store.resolve_image(&prefix).unwrap(), record);
    let named = world.add_image(&prefix, "two");
    assert_eq!(world.store.resolve_image(&prefix).unwrap(), named);
}

#[test]
fn an_image_whose_last_name_moves_on_stays_without_one() {
    let world = World::new();
    let old = world.add_image("app", "old");
    let new = world.add_image("app", "new");
    assert_eq!(names(&world), ["app:latest", "<none>"]);
    let found = world.store.resolve_image(old.config.short()).unwrap();
    assert_eq!(
        found,
        ImageRecord {
            name: None,
            ..old.clone()
        }
    );
    world.store.collect_garbage().unwrap();
    assert!(world.store.has_layer(&old.layers[0]).unwrap());

    let engine = engine(&world);
    engine.tag(old.config.short(), &name("app:old")).unwrap();
    assert_eq!(names(&world), ["app:latest", "app:old"]);
    // It has another name: no unnamed record is left behind.
    engine.tag("app", &name("app:old")).unwrap();
    engine.tag(old.config.short(), &name("app:v0")).unwrap();
    engine.tag("app", &name("app:v0")).unwrap();
    assert_eq!(names(&world), ["app:latest", "app:old", "app:v0", "<none>"]);
    assert_eq!(engine.images().unwrap().len(), 4);
    let error = engine
        .tag("app", &name(&format!("app@{}", new.manifest)))
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidArgument);
}

#[test]
fn names_given_at_the_same_time_lose_no_image() {
    let world = World::new();
    let records: Vec<ImageRecord> = (0..8)
        .map(|index| world.add_image(&format!("i{index}"), &index.to_string()))
        .collect();
    let engine = engine(&world);
    std::thread::scope(|scope| {
        for record in &records {
            scope.spawn(|| {
                let engine = self::engine(&world);
                engine.tag(record.config.as_str(), &name("latest")).unwrap();
            });
        }
    });
    for index in 0..8 {
        engine.remove_image(&format!("i{index}"), true).unwrap();
    }
    // The winner, and nobody else: the others lost their last name by `rmi`.
    assert_eq!(names(&world), ["latest:latest"]);
    for record in &records {
        let lease = world.store.lease().unwrap();
        let (blobs, layer, mut record) =
            stage_image(&lease, Some("latest"), &record.config.hex()[..9]);
        record.name = Some(name("latest"));
        lease.commit(blobs, vec![layer], &[record]).unwrap();
    }
    assert_eq!(names(&world).len(), 9);
}

#[test]
fn removing_one_of_two_names_keeps_the_image() {
    let world = World::new();
    let record = world.add_image("app:1", "one");
    let engine = engine(&world);
    engine.tag("app:1", &name("app:2")).unwrap();
    assert_eq!(
        engine.remove_image("app:1", false).unwrap(),
        [untagged("app:1")]
    );
    assert_eq!(
        engine.remove_image("app:2", false).unwrap(),
        [
            untagged("app:2"),
            untagged(&format!("app@{}", record.manifest)),
            Removed::Deleted(record.config.clone()),
            Removed::Deleted(record.layers[0].clone()),
        ]
    );
    assert_eq!(world.list("layers"), [""; 0]);
    assert_eq!(world.list("blobs/sha256"), [""; 0]);
    let error = engine.remove_image("app:2", true).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::NoSuchImage);
}

#[test]
fn an_id_with_names_in_one_repository_goes_with_all_of_them() {
    let world = World::new();
    let record = world.add_image("app:1", "one");
    let engine = engine(&world);
    engine.tag("app:1", &name("app:2")).unwrap();
    let removals = engine.remove_image(record.config.short(), false).unwrap();
    let with_digest = format!("app@{}", record.manifest);
    assert_eq!(
        removals[..3],
        [untagged("app:1"), untagged("app:2"), untagged(&with_digest)]
    );
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn an_id_with_names_in_two_repositories_needs_force() {
    let world = World::new();
    let record = world.add_image("app:1", "one");
    let engine = engine(&world);
    engine.tag("app:1", &name("copy:1")).unwrap();
    let error = engine
        .remove_image(record.config.short(), false)
        .unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Conflict);
    assert!(error.message().contains("multiple repositories"));
    assert_eq!(names(&world).len(), 2);
    engine.remove_image(record.config.short(), true).unwrap();
    assert_eq!(names(&world), [""; 0]);
}

#[test]
fn an_image_in_use_is_kept_or_only_untagged() {
    let world = World::new();
    let record = world.add_image("app", "one");
    let engine = engine(&world);
    let (dir, lock, container) = world.add_container("boat", &record);
    let id = record.config.short();
    for (typed, force) in [("app", false), (id, false), (id, true)] {
        let error = engine.remove_image(typed, force).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Conflict, "{typed} {force}");
        assert!(error.message().contains(container.id.short()));
        assert!(error.message().contains("running"), "{error:?}");
    }
    drop(lock);
    let error = engine.remove_image(id, false).unwrap_err();
    assert!(error.message().contains("stopped"), "{error:?}");
    // Another name may go.
    engine.tag("app", &name("app:2")).unwrap();
    engine.remove_image("app:2", false).unwrap();

    let removals = engine.remove_image(id, true).unwrap();
    assert_eq!(removals[0], untagged("app:latest"));
    assert!(!removals.contains(&Removed::Deleted(record.config.clone())));
    assert!(world.store.has_layer(&record.layers[0]).unwrap());
    let lock = dir.try_hold().unwrap().unwrap();
    world.store.remove_container(&dir, lock).unwrap();
    world.store.collect_orphans().unwrap();
    assert_eq!(world.list("layers"), [""; 0]);
}

#[test]
fn removal_leaves_what_others_share() {
    let world = World::new();
    let lease = world.store.lease().unwrap();
    let (mut blobs, shared_layer, one) = stage_image(&lease, Some("one"), "one");
    let (more, own_layer, mut two) = stage_image(&lease, Some("two"), "two");
    blobs.extend(more);
    two.layers.insert(0, one.layers[0].clone());
    lease
        .commit(
            blobs,
            vec![shared_layer, own_layer],
            &[one.clone(), two.clone()],
        )
        .unwrap();
    drop(lease);
    let removals = engine(&world).remove_image("two", false).unwrap();
    assert!(removals.contains(&Removed::Deleted(two.layers[1].clone())));
    assert!(!removals.contains(&Removed::Deleted(one.layers[0].clone())));
    assert!(world.store.has_layer(&one.layers[0]).unwrap());
}

#[test]
fn inspect_shows_dockers_keys() {
    let world = World::new();
    let config = br#"{"architecture":"arm64","variant":"v8","os":"linux","author":"A",
        "created":"2026-01-02T03:04:05Z","docker_version":"27.0",
        "config":{"Cmd":["sh"],"Env":["A=b"],"OnBuild":["RUN x"],"StopSignal":"SIGINT"},
        "rootfs":{"type":"layers","diff_ids":[]},
        "history":[{"comment":"first"},{"comment":"last"}]}"#;
    let lease = world.store.lease().unwrap();
    let blobs: Vec<_> = [&br#"{"mediaType":"m"}"#[..], config]
        .iter()
        .map(|bytes| lease.stage_document(bytes).unwrap())
        .collect();
    let record = ImageRecord {
        name: Some(name("app:1")),
        manifest: blobs[0].digest().clone(),
        config: blobs[1].digest().clone(),
        index: Some(digest("index")),
        blobs: vec![],
        others: vec![],
        layers: vec![digest("low"), digest("high")],
        size: 42,
        created: None,
        tagged: 1_767_323_045,
    };
    lease
        .commit(blobs, vec![], std::slice::from_ref(&record))
        .unwrap();
    let shown = engine(&world).inspect_image("app:1").unwrap();
    let keys: Vec<&String> = shown.as_object().unwrap().keys().collect();
    assert_eq!(
        keys,
        [
            "Id",
            "RepoTags",
            "RepoDigests",
            "Parent",
            "Comment",
            "Created",
            "DockerVersion",
            "Author",
            "Config",
            "Architecture",
            "Variant",
            "Os",
            "Size",
            "GraphDriver",
            "RootFS",
            "Metadata",
            "Descriptor",
            // Podman's.
            "Digest",
            "ManifestType",
            "Annotations",
            "Labels",
            "User",
            "History"
        ]
    );
    assert_eq!(shown["Id"], record.config.as_str());
    assert_eq!(shown["RepoTags"], serde_json::json!(["app:1"]));
    let with_digest = format!("app@{}", digest("index"));
    assert_eq!(shown["RepoDigests"], serde_json::json!([with_digest]));
    assert_eq!(shown["Comment"], "last");
    assert_eq!(shown["Config"]["User"], "");
    assert_eq!(shown["Config"]["Entrypoint"], serde_json::Value::Null);
    assert_eq!(shown["Config"]["OnBuild"][0], "RUN x");
    assert_eq!(shown["Metadata"]["LastTagTime"], "2026-01-02T03:04:05Z");
    assert_eq!(shown["Descriptor"]["size"], 17);
    let top = world.path(&format!("layers/{}/tree", digest("high").hex()));
    assert_eq!(
        shown["GraphDriver"]["Data"]["UpperDir"],
        top.to_str().unwrap()
    );
}

#[test]
fn a_container_can_be_made_of_an_image_found_by_its_id() {
    let world = World::new();
    let image = world.add_image("app", "one");
    let found = world.store.resolve_image(image.config.short()).unwrap();
    let record = container_record("boat", &found);
    let staged = world.store.stage_container(&record.id).unwrap();
    staged.commit(&record, Durability::Durable).unwrap();
    assert_eq!(world.store.find_container("boat").unwrap().1, record);
}

//! Blobs, layers, leases, the commit of images, garbage collection: also when processes stop
//! between any two steps, which these tests imitate by abandoning what a killed process would
//! have held, or by cutting a file as a power cut does.

mod storage;

use std::{fs, io::Read, os::unix::fs::PermissionsExt, time::Instant};

use coracle::{
    model::{ErrorKind, Reference},
    storage::{
        BlobWriter, Durability, Lease, StagedBlob, Store,
        blobs::{Advance, Download, Follower},
        delete::remove_tree,
        files,
    },
};
use storage::{World, digest, stage_image, stage_layer};

/// Leaves a lease as a killed process leaves it: the directory is there, the lock is free.
fn die_with_lease(world: &World, prepare: impl FnOnce(&coracle::storage::Lease<'_>)) {
    let lease = world.store.lease().unwrap();
    prepare(&lease);
    let from = lease.path();
    let aside = world.path("aside");
    // Moved away before the drop, which then finds nothing, and back after it.
    fs::rename(&from, &aside).unwrap();
    drop(lease);
    fs::rename(&aside, &from).unwrap();
}

#[test]
fn a_store_is_made_once_and_private() {
    let world = World::new();
    let mode = fs::metadata(world.path("")).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o700);
    let format = fs::read_to_string(world.path("format")).unwrap();
    assert_eq!(format, r#"{"version":1,"features":[]}"#);
    world.reopen();
}

#[test]
fn a_newer_store_is_refused_and_not_touched() {
    let world = World::new();
    for newer in [
        r#"{"version":2,"features":[]}"#,
        r#"{"version":1,"features":["sealed-layers"]}"#,
    ] {
        fs::write(world.path("format"), newer).unwrap();
        let error = Store::open(&world.path(""), &world.folder.path().join("run")).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::Store);
        assert!(error.message().contains("newer"), "{error:?}");
        assert_eq!(fs::read_to_string(world.path("format")).unwrap(), newer);
    }
}

#[test]
fn a_store_whose_making_was_cut_is_finished() {
    let world = World::new();
    fs::write(world.path("format"), "").unwrap();
    fs::remove_dir(world.path("tmp")).unwrap();
    world.reopen().lease().unwrap();
}

#[test]
fn a_run_root_that_others_can_write_to_is_refused() {
    let world = World::new();
    let run = world.folder.path().join("run");
    fs::set_permissions(&run, fs::Permissions::from_mode(0o777)).unwrap();
    let error = Store::open(&world.path(""), &run).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Permission);
}

#[test]
fn a_committed_image_is_found_and_its_parts_read_back() {
    let world = World::new();
    let record = world.add_image("alpine", "one");
    let store = world.reopen();
    let name: Reference = "alpine".parse().unwrap();
    assert_eq!(store.image(&name).unwrap().as_ref(), Some(&record));
    assert_eq!(store.read_blob(&record.config, 100).unwrap(), b"config one");
    assert_eq!(store.blob_size(&record.config).unwrap(), 10);
    let tree = store.layer_tree(&record.layers[0]);
    assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), "one");
    assert_eq!(store.layer_facts(&record.layers[0]).unwrap().size, 3);
    assert_eq!(world.list("tmp"), [""; 0]);
    assert_eq!(world.list("partial"), [""; 0]);
}

#[test]
fn documents_are_verified_and_limited_when_read() {
    let world = World::new();
    let record = world.add_image("alpine", "one");
    let read = |limit| world.store.read_blob(&record.config, limit);
    assert_eq!(read(9).unwrap_err().kind(), ErrorKind::InvalidContent);
    let path = world.path(&format!("blobs/sha256/{}", record.config.hex()));
    fs::write(path, "confiG one").unwrap();
    assert_eq!(read(100).unwrap_err().kind(), ErrorKind::DigestMismatch);
    let missing = world.store.read_blob(&digest("other"), 100);
    assert_eq!(missing.unwrap_err().kind(), ErrorKind::NoSuchBlob);
}

#[test]
fn bytes_that_are_not_what_was_promised_are_refused() {
    let world = World::new();
    let lease = world.store.lease().unwrap();
    let right = digest("hello");
    let write = |text: &str, size| -> coracle::model::Result<StagedBlob> {
        let mut writer = lease.write_blob(&right, size)?;
        writer.write(text.as_bytes())?;
        writer.finish()
    };
    for (text, size) in [("jello", 5), ("hello!", 5), ("hell", 4), ("hello", 6)] {
        let error = write(text, size).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::DigestMismatch, "{text}");
        // What arrived may be the right beginning; a wrong one is noticed at the end.
        let mut writer = lease.write_blob(&right, 5).unwrap();
        writer.restart().unwrap();
    }
    let staged = write("hello", 5).unwrap();
    assert_eq!((staged.digest(), staged.size()), (&right, 5));
    assert!(!world.store.has_blob(&right).unwrap());
    let mut text = String::new();
    staged.reader().read_to_string(&mut text).unwrap();
    assert_eq!(text, "hello");
    lease.commit(vec![staged], vec![], &[]).unwrap();
    assert!(world.store.has_blob(&right).unwrap());
}

#[test]
fn sha512_blobs_have_their_own_folder() {
    let world = World::new();
    let lease = world.store.lease().unwrap();
    let right = coracle::model::Digest::sha512(<sha2::Sha512 as sha2::Digest>::digest("hello"));
    let mut writer = lease.write_blob(&right, 5).unwrap();
    writer.write(b"hello").unwrap();
    let staged = writer.finish().unwrap();
    lease.commit(vec![staged], vec![], &[]).unwrap();
    assert_eq!(world.store.read_blob(&right, 9).unwrap(), b"hello");
    drop(lease);
    world.store.collect_garbage().unwrap();
    assert!(!world.store.has_blob(&right).unwrap());
}

#[test]
fn an_interrupted_download_goes_on_where_it_stopped() {
    let world = World::new();
    let right = digest("hello world");
    {
        let lease = world.store.lease().unwrap();
        let mut writer = lease.write_blob(&right, 11).unwrap();
        assert_eq!(writer.offset(), 0);
        writer.write(b"hello").unwrap();
    }
    world.store.collect_garbage().unwrap();
    let lease = world.store.lease().unwrap();
    let mut writer = lease.write_blob(&right, 11).unwrap();
    assert_eq!(writer.offset(), 5);
    writer.write(b" world").unwrap();
    writer.finish().unwrap();
}

#[test]
fn a_beginning_that_a_power_cut_spoilt_costs_one_attempt() {
    let world = World::new();
    let right = digest("hello world");
    fs::write(world.path(&format!("partial/{}-11", right.hex())), [0; 5]).unwrap();
    let lease = world.store.lease().unwrap();
    let attempt = || {
        let mut writer = lease.write_blob(&right, 11)?;
        let from = usize::try_from(writer.offset()).unwrap();
        writer.write(&b"hello world"[from..])?;
        writer.finish()
    };
    assert_eq!(attempt().unwrap_err().kind(), ErrorKind::DigestMismatch);
    attempt().unwrap();
}

#[test]
fn two_downloads_of_one_blob_do_not_wait_for_each_other() {
    let world = World::new();
    let right = digest("hello");
    let (one, two) = (world.store.lease().unwrap(), world.store.lease().unwrap());
    let mut first = one.write_blob(&right, 5).unwrap();
    first.write(b"hel").unwrap();
    let mut second = two.write_blob(&right, 5).unwrap();
    assert_eq!(second.offset(), 0);
    second.write(b"hello").unwrap();
    two.commit(vec![second.finish().unwrap()], vec![], &[])
        .unwrap();
    first.write(b"lo").unwrap();
    one.commit(vec![first.finish().unwrap()], vec![], &[])
        .unwrap();
    assert_eq!(world.store.read_blob(&right, 9).unwrap(), b"hello");
}

fn follow(lease: &Lease<'_>, size: u64) -> Follower {
    let right = digest(&"hello world"[..usize::try_from(size).unwrap()]);
    match lease.download(&right, size).unwrap() {
        Download::Elsewhere(follower) => follower,
        Download::Ours(_) => panic!("nobody else is writing it"),
    }
}

fn write_first(lease: &Lease<'_>, size: u64) -> BlobWriter {
    let right = digest(&"hello world"[..usize::try_from(size).unwrap()]);
    match lease.download(&right, size).unwrap() {
        Download::Ours(writer) => writer,
        Download::Elsewhere(_) => panic!("somebody else is writing it"),
    }
}

const SOON: std::time::Duration = std::time::Duration::from_millis(20);

/// The next thing that is more than silence.
fn next(follower: &mut Follower, lease: &Lease<'_>) -> Advance {
    (0..500)
        .map(|_| {
            (
                follower.offset(),
                follower.advance(lease, SOON).unwrap(),
                follower.offset(),
            )
        })
        .find(|(before, met, after)| match met {
            Advance::Silent => false,
            Advance::More => before != after,
            _ => true,
        })
        .unwrap()
        .1
}

/// Each of the two commits without waiting for the other, and it is one file in the end.
#[test]
fn who_follows_a_download_shares_its_file() {
    for follower_first in [true, false] {
        let world = World::new();
        let right = digest("hello world");
        let (one, two) = (world.store.lease().unwrap(), world.store.lease().unwrap());
        let mut writer = write_first(&one, 11);
        let mut follower = follow(&two, 11);
        assert_eq!(follower.advance(&two, SOON).unwrap(), Advance::More);
        assert_eq!(follower.advance(&two, SOON).unwrap(), Advance::Silent);
        writer.write(b"hello").unwrap();
        assert_eq!(next(&mut follower, &two), Advance::More);
        assert_eq!(follower.offset(), 5);
        writer.write(b" world").unwrap();
        assert_eq!(next(&mut follower, &two), Advance::Complete);
        let shared = follower.share(&two).unwrap().unwrap();
        let own = writer.finish().unwrap();
        if follower_first {
            two.commit(vec![shared], vec![], &[]).unwrap();
            assert_eq!(world.store.read_blob(&right, 99).unwrap(), b"hello world");
            one.commit(vec![own], vec![], &[]).unwrap();
        } else {
            one.commit(vec![own], vec![], &[]).unwrap();
            two.commit(vec![shared], vec![], &[]).unwrap();
        }
        drop((one, two));
        assert_eq!(world.store.read_blob(&right, 99).unwrap(), b"hello world");
        assert_eq!(world.list("partial"), [""; 0]);
        assert_eq!(world.list("tmp"), [""; 0]);
    }
}

#[test]
fn a_follower_goes_on_where_a_dead_writer_stopped() {
    let world = World::new();
    let (one, two) = (world.store.lease().unwrap(), world.store.lease().unwrap());
    let mut writer = write_first(&one, 11);
    let mut follower = follow(&two, 11);
    writer.write(b"hel").unwrap();
    assert_eq!(next(&mut follower, &two), Advance::More);
    writer.write(b"lo").unwrap();
    drop((writer, one));
    assert_eq!(next(&mut follower, &two), Advance::More);
    assert_eq!(next(&mut follower, &two), Advance::Free);
    let mut writer = follower.into_writer(&two).unwrap();
    assert_eq!(writer.offset(), 5);
    writer.write(b" world").unwrap();
    two.commit(vec![writer.finish().unwrap()], vec![], &[])
        .unwrap();
    let bytes = world.store.read_blob(&digest("hello world"), 99).unwrap();
    assert_eq!(bytes, b"hello world");
}

/// What the writer finds to be spoilt keeps its bytes for those who read it; they begin anew, too.
#[test]
fn a_writer_that_begins_anew_leaves_the_old_file_to_its_readers() {
    let world = World::new();
    let (one, two) = (world.store.lease().unwrap(), world.store.lease().unwrap());
    let mut writer = write_first(&one, 11);
    let mut follower = follow(&two, 11);
    writer.write(b"jello").unwrap();
    assert_eq!(next(&mut follower, &two), Advance::More);
    writer.restart().unwrap();
    writer.write(b"hello world").unwrap();
    assert_eq!(next(&mut follower, &two), Advance::Gone);
    let mut follower = follow(&two, 11);
    assert_eq!(next(&mut follower, &two), Advance::Complete);
    assert!(follower.share(&two).unwrap().is_some());
    assert_eq!(world.list("partial").len(), 1);
    writer.finish().unwrap();
}

/// What another manifest says of the size is another download: its writer may go on after our end.
#[test]
fn who_was_promised_another_size_shares_nothing() {
    let world = World::new();
    let (one, two) = (world.store.lease().unwrap(), world.store.lease().unwrap());
    let right = digest("hello world");
    let mut longer = one.write_blob(&right, 20).unwrap();
    longer.write(b"hello world").unwrap();
    let Download::Ours(mut ours) = two.download(&right, 11).unwrap() else {
        panic!("it follows a download of another size");
    };
    assert_eq!(ours.offset(), 0);
    ours.write(b"hello world").unwrap();
    two.commit(vec![ours.finish().unwrap()], vec![], &[])
        .unwrap();
    longer.write(b"and more.").unwrap();
    assert!(longer.finish().is_err());
    let blob = fs::read(world.path(&format!("blobs/sha256/{}", right.hex()))).unwrap();
    assert_eq!(blob, b"hello world");
    assert_eq!(world.list("partial"), [""; 0]);
}

#[test]
fn a_follower_of_wrong_bytes_is_told() {
    let world = World::new();
    let (one, two) = (world.store.lease().unwrap(), world.store.lease().unwrap());
    let mut writer = write_first(&one, 5);
    writer.write(b"jello").unwrap();
    let mut follower = follow(&two, 5);
    assert_eq!(next(&mut follower, &two), Advance::Complete);
    assert!(follower.share(&two).unwrap().is_none());
}

/// The writer stands still: what came from it is not fetched again.
#[test]
fn a_follower_may_go_its_own_way() {
    let world = World::new();
    let (one, two) = (world.store.lease().unwrap(), world.store.lease().unwrap());
    let mut writer = write_first(&one, 11);
    writer.write(b"hello").unwrap();
    let mut follower = follow(&two, 11);
    assert_eq!(next(&mut follower, &two), Advance::More);
    let mut alone = follower.leave(&two).unwrap();
    assert_eq!(alone.offset(), 5);
    alone.write(b" world").unwrap();
    two.commit(vec![alone.finish().unwrap()], vec![], &[])
        .unwrap();
    writer.write(b" world").unwrap();
    one.commit(vec![writer.finish().unwrap()], vec![], &[])
        .unwrap();
    assert_eq!(world.list("partial"), [""; 0]);
}

/// Between "it is not there" and "I fetch it" another command may have finished.
#[test]
fn a_blob_that_came_meanwhile_is_taken_from_the_store() {
    let world = World::new();
    world.add_blob("hello world");
    let lease = world.store.lease().unwrap();
    let mut follower = follow(&lease, 11);
    assert_eq!(next(&mut follower, &lease), Advance::Complete);
    // It is removed at once: its bytes are still there for us.
    world.store.collect_garbage().unwrap();
    assert!(!world.store.has_blob(&digest("hello world")).unwrap());
    let blob = follower.share(&lease).unwrap().unwrap();
    lease.commit(vec![blob], vec![], &[]).unwrap();
    assert!(world.store.has_blob(&digest("hello world")).unwrap());
    assert_eq!(world.list("partial"), [""; 0]);
}

#[test]
fn forgotten_downloads_go_after_a_day() {
    let world = World::new();
    let path = world.path(&format!("partial/{}-1", digest("x").hex()));
    fs::write(&path, "x").unwrap();
    world.store.collect_garbage().unwrap();
    assert!(path.exists());
    let long_ago = std::time::SystemTime::now() - std::time::Duration::from_secs(25 * 3600);
    let file = fs::File::options().write(true).open(&path).unwrap();
    file.set_modified(long_ago).unwrap();
    world.store.collect_garbage().unwrap();
    assert!(!path.exists());
}

#[test]
fn a_layer_that_is_there_already_is_kept() {
    let world = World::new();
    let chain_id = digest("chain");
    for content in ["first", "second"] {
        let lease = world.store.lease().unwrap();
        let layer = stage_layer(&lease, &chain_id, content);
        lease.commit(vec![], vec![layer], &[]).unwrap();
    }
    let file = world.store.layer_tree(&chain_id).join("file");
    assert_eq!(fs::read_to_string(file).unwrap(), "first");
    assert_eq!(world.list("tmp"), [""; 0]);
}

#[test]
fn a_layer_nobody_called_complete_is_refused() {
    let world = World::new();
    let lease = world.store.lease().unwrap();
    let layer = lease.stage_layer(&digest("chain")).unwrap();
    assert!(lease.commit(vec![], vec![layer], &[]).is_err());
    assert!(!world.store.has_layer(&digest("chain")).unwrap());
}

#[test]
fn the_remains_of_a_half_deleted_layer_do_not_count_and_are_replaced() {
    let world = World::new();
    let record = world.add_image("alpine", "one");
    let place = world.path(&format!("layers/{}", record.layers[0].hex()));
    // How a deletion without room for a rename begins.
    fs::remove_file(place.join("layer.json")).unwrap();
    fs::remove_file(place.join("tree/file")).unwrap();
    let lease = world.store.lease().unwrap();
    assert!(!lease.has_layer(&record.layers[0]).unwrap());
    let layer = stage_layer(&lease, &record.layers[0], "one");
    lease.commit(vec![], vec![layer], &[]).unwrap();
    assert!(place.join("tree/file").exists());
    drop(lease);
    assert_eq!(world.list("tmp"), [""; 0]);
}

#[test]
fn what_a_killed_pull_staged_is_swept_and_shows_nothing() {
    let world = World::new();
    die_with_lease(&world, |lease| {
        drop(stage_image(lease, Some("alpine"), "one"));
    });
    assert_eq!(world.list("tmp").len(), 1);
    assert_eq!(world.store.images().unwrap(), []);
    world.reopen().sweep().unwrap();
    assert_eq!(world.list("tmp"), [""; 0]);
}

/// After the renames and before the records: the content is there and nothing names it.
#[test]
fn a_commit_killed_before_its_records_is_completed_by_repeating_it() {
    let world = World::new();
    die_with_lease(&world, |lease| {
        let (blobs, layer, _) = stage_image(lease, Some("alpine"), "one");
        lease.commit(blobs, vec![layer], &[]).unwrap();
    });
    let store = world.reopen();
    assert_eq!(store.images().unwrap(), []);
    let record = world.add_image("alpine", "one");
    store.collect_garbage().unwrap();
    assert!(store.has_layer(&record.layers[0]).unwrap());
    assert_eq!(store.images().unwrap(), [record]);
}

#[test]
fn a_live_lease_is_not_swept() {
    let world = World::new();
    let lease = world.store.lease().unwrap();
    world.reopen().sweep().unwrap();
    assert!(lease.path().is_dir());
    let path = lease.path();
    drop(lease);
    assert!(!path.exists());
}

#[test]
fn sweeping_nothing_takes_less_than_a_millisecond() {
    let world = World::new();
    world.store.sweep().unwrap();
    let fastest = (0..20)
        .map(|_| {
            let begun = Instant::now();
            world.store.sweep().unwrap();
            begun.elapsed()
        })
        .min()
        .unwrap();
    assert!(fastest.as_micros() < 1000, "{fastest:?}");
}

#[test]
fn garbage_goes_and_what_is_named_stays() {
    let world = World::new();
    let kept = world.add_image("alpine", "one");
    let gone = world.add_image("debian", "two");
    let alone = world.store.lock_exclusive().unwrap();
    world.store.remove_image_record(&alone, &gone).unwrap();
    let garbage = world.store.bury_garbage(&alone).unwrap();
    drop(alone);
    assert_eq!(garbage.layers, [gone.layers[0].hex()]);
    assert_eq!(garbage.blobs.len(), 3);
    garbage.delete(&world.store).unwrap();
    assert!(world.store.has_layer(&kept.layers[0]).unwrap());
    assert_eq!(world.list("blobs/sha256").len(), 3);
    assert_eq!(world.list("layers").len(), 1);
    assert_eq!(world.list("tmp"), [""; 0]);
}

#[test]
fn a_collection_killed_before_deleting_is_completed_by_a_sweep() {
    let world = World::new();
    let gone = world.add_image("debian", "two");
    let alone = world.store.lock_exclusive().unwrap();
    world.store.remove_image_record(&alone, &gone).unwrap();
    drop(world.store.bury_garbage(&alone).unwrap());
    drop(alone);
    assert_eq!(world.list("layers"), [""; 0]);
    assert_eq!(world.list("tmp").len(), 4);
    world.reopen().sweep().unwrap();
    assert_eq!(world.list("tmp"), [""; 0]);
}

#[test]
fn garbage_collection_keeps_what_a_lease_was_told_is_there() {
    let world = World::new();
    let record = world.add_image("alpine", "one");
    let lease = world.store.lease().unwrap();
    assert!(lease.has_blob(&record.config).unwrap());
    assert!(lease.has_layer(&record.layers[0]).unwrap());
    assert!(!lease.has_layer(&digest("unknown")).unwrap());
    let alone = world.store.lock_exclusive().unwrap();
    world.store.remove_image_record(&alone, &record).unwrap();
    drop(alone);
    world.store.collect_garbage().unwrap();
    assert!(world.store.has_blob(&record.config).unwrap());
    assert!(world.store.has_layer(&record.layers[0]).unwrap());
    assert!(!world.store.has_blob(&record.manifest).unwrap());
    drop(lease);
    world.store.collect_garbage().unwrap();
    assert!(!world.store.has_layer(&record.layers[0]).unwrap());
}

#[test]
fn nothing_is_collected_while_a_newer_programs_record_is_there() {
    let world = World::new();
    let record = world.add_image("alpine", "one");
    let file = world.path("images/docker.io+library+alpine:latest");
    fs::write(&file, r#"{"name":"alpine","parts":[]}"#).unwrap();
    world.store.collect_garbage().unwrap();
    assert!(world.store.has_layer(&record.layers[0]).unwrap());
    assert!(file.exists());
}

#[test]
fn destroyed_image_records_count_as_never_made() {
    let world = World::new();
    let lost = world.add_image("alpine", "one");
    let kept = world.add_image("debian", "two");
    for damage in ["", "{\"name\":", "\0\0\0\0"] {
        fs::write(world.path("images/docker.io+library+alpine:latest"), damage).unwrap();
        let store = world.reopen();
        assert_eq!(store.images().unwrap(), std::slice::from_ref(&kept));
        let error = store.resolve_image("alpine").unwrap_err();
        assert_eq!(error.kind(), ErrorKind::NoSuchImage);
        store.collect_garbage().unwrap();
        assert_eq!(world.list("images").len(), 1);
        assert!(!store.has_layer(&lost.layers[0]).unwrap());
        world.add_image("alpine", "one");
    }
}

#[test]
fn a_small_file_is_replaced_as_a_whole() {
    let folder = tempfile::tempdir().unwrap();
    let dir = fs::File::open(folder.path()).unwrap();
    // What a writer killed half-way left, longer than what comes.
    fs::write(folder.path().join(".a.new"), "x".repeat(100_000)).unwrap();
    files::put(&dir, "a", b"one", Durability::Durable).unwrap();
    files::put(&dir, "a", b"two", Durability::Volatile).unwrap();
    assert_eq!(files::read(&dir, "a", 3).unwrap().unwrap(), b"two");
    assert_eq!(files::read(&dir, "a", 2), Err(rustix::io::Errno::FBIG));
    assert_eq!(files::read(&dir, "b", 2), Ok(None));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    let large = vec![7; 100_000];
    files::put(&dir, "a", &large, Durability::Volatile).unwrap();
    assert_eq!(files::read(&dir, "a", 100_000).unwrap().unwrap(), large);
}

#[test]
fn trees_are_deleted_however_deep_and_forbidden_without_following_links() {
    let folder = tempfile::tempdir().unwrap();
    let canary = folder.path().join("canary");
    fs::create_dir(&canary).unwrap();
    fs::write(canary.join("bird"), "sings").unwrap();
    let tree = folder.path().join("tree");
    fs::create_dir(&tree).unwrap();
    std::os::unix::fs::symlink(&canary, tree.join("link")).unwrap();
    fs::create_dir_all(tree.join("work").join("work").join("inner")).unwrap();
    fs::write(tree.join("work/file"), "").unwrap();
    for (path, mode) in [("work/work", 0), ("work", 0o500)] {
        fs::set_permissions(tree.join(path), fs::Permissions::from_mode(mode)).unwrap();
    }
    let mut dir: std::os::fd::OwnedFd = fs::File::open(&tree).unwrap().into();
    let flags = rustix::fs::OFlags::RDONLY | rustix::fs::OFlags::DIRECTORY;
    for _ in 0..3000 {
        rustix::fs::mkdirat(&dir, "deep", rustix::fs::Mode::RWXU).unwrap();
        dir = rustix::fs::openat(&dir, "deep", flags, rustix::fs::Mode::empty()).unwrap();
    }
    let parent = fs::File::open(folder.path()).unwrap();
    remove_tree(&parent, "tree").unwrap();
    assert!(!tree.exists());
    assert!(canary.join("bird").exists());
    remove_tree(&parent, "tree").unwrap();
}

#[test]
fn two_sweeps_of_one_tree_do_not_hinder_each_other() {
    let world = World::new();
    for round in 0..10 {
        let grave = world.path(&format!("tmp/dead-{round}"));
        for index in 0..60 {
            fs::create_dir_all(grave.join(format!("{index}/a/b"))).unwrap();
            fs::write(grave.join(format!("{index}/a/file")), "").unwrap();
        }
        std::thread::scope(|scope| {
            let sweeps: Vec<_> = (0..4)
                .map(|_| scope.spawn(|| world.store.sweep()))
                .collect();
            for sweep in sweeps {
                sweep.join().unwrap().unwrap();
            }
        });
        assert_eq!(world.list("tmp"), [""; 0]);
    }
}

#[test]
fn pulls_removals_and_collections_at_the_same_time_lose_nothing() {
    let world = World::new();
    let stable = world.add_image("stable", "stable");
    std::thread::scope(|scope| {
        for worker in 0..4 {
            let world = &world;
            scope.spawn(move || {
                let store = world.reopen();
                for round in 0..12 {
                    // Two workers share each content, so that one's garbage is another's find.
                    let content = format!("{}", (worker / 2 + round) % 3);
                    let name = format!("w{worker}");
                    let lease = store.lease().unwrap();
                    let (blobs, layer, record) = stage_image(&lease, Some(&name), &content);
                    let found = lease.has_layer(&record.layers[0]).unwrap();
                    let layers = if found { vec![] } else { vec![layer] };
                    lease
                        .commit(blobs, layers, std::slice::from_ref(&record))
                        .unwrap();
                    drop(lease);
                    let tree = store.layer_tree(&record.layers[0]);
                    assert_eq!(fs::read_to_string(tree.join("file")).unwrap(), content);
                    let alone = store.lock_exclusive().unwrap();
                    store.remove_image_record(&alone, &record).unwrap();
                    drop(alone);
                    store.collect_garbage().unwrap();
                }
            });
        }
    });
    // Names that moved on left unnamed images; all that is left is theirs.
    assert!(world.store.has_layer(&stable.layers[0]).unwrap());
    let mut layers: Vec<String> = world
        .store
        .images()
        .unwrap()
        .iter()
        .map(|record| record.layers[0].hex().to_owned())
        .collect();
    layers.sort();
    assert_eq!(world.list("layers"), layers);
    assert_eq!(world.list("tmp"), [""; 0]);
}

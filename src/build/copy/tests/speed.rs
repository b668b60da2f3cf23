//! Ten thousand small files, with bounds so wide that only a mistake exceeds them. How many system
//! calls each costs, `strace -fc` says.

use std::{fs, time::Instant};

use super::*;

#[test]
fn ten_thousand_small_files_are_read_once_to_be_known() {
    let place = Place::new(&[]);
    for folder in 0..100 {
        let folder = place.path("context").join(format!("folder-{folder}"));
        fs::create_dir(&folder).unwrap();
        for file in 0..100 {
            let text = format!("{} {file}\n", folder.display()).repeat(20);
            fs::write(folder.join(format!("file-{file}.txt")), text).unwrap();
        }
    }
    std::thread::sleep(std::time::Duration::from_millis(50));
    let root = open(&place.context());
    let tree = Tree::Folder {
        root: root.as_fd(),
        ignore: Some(&place.ignore),
    };
    let request = request(". /app/");
    let mut cache = HashCache::default();
    let begun = Instant::now();
    let selection = select(&tree, &request, &mut cache).unwrap();
    let before = selection.digest(&request).unwrap();
    let selected = begun.elapsed();
    let layer = open(&place.path("layer"));
    let written = write(selection, &request, &place.below(), layer.as_fd()).unwrap();
    let wrote = begun.elapsed() - selected;
    assert_eq!(cache.len(), 10_000);
    let begun = Instant::now();
    let again = select(&tree, &request, &mut cache)
        .unwrap()
        .digest(&request)
        .unwrap();
    let known = begun.elapsed();
    assert_eq!((&before, &before), (&written.digest, &again));
    assert_eq!(written.changes.entries, 10_101);
    assert!(
        known.as_secs() < 20 && selected.as_secs() < 60 && wrote.as_secs() < 60,
        "select {selected:?}, write {wrote:?}, select again {known:?}"
    );
}

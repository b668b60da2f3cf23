//! Downloads that are shared, interrupted, disturbed; counted at the registry.

use std::{collections::BTreeMap, fs, process::Child, thread, time::Duration};

use crate::{
    case::{Case, collect},
    registry::{Delivery, Registry},
};

cases! {
    two_pulls_share_each_download: root ordinary;
    eight_pulls_share_each_download: root ordinary;
    killed_ten_times_and_finished: root ordinary;
    another_goes_on_where_one_was_killed: root ordinary;
    torn_by_a_power_cut: root ordinary;
    while_images_are_removed: root ordinary;
    registry_restarted: root ordinary;
}

const IMAGE: &str = "debian";

fn pull(case: &Case, registry: &Registry) -> Child {
    case.start(&["pull", "-q", &registry.image(IMAGE)])
}

fn ends_well(child: Child) {
    collect("pull".to_owned(), child).ok();
}

/// How often each blob was delivered, however much of it.
fn times(registry: &Registry) -> BTreeMap<String, usize> {
    let mut times = BTreeMap::new();
    for delivery in registry.deliveries() {
        *times.entry(delivery.hex).or_default() += 1;
    }
    times
}

/// The image's layers. Configurations are a few KiB, and each command reads its own.
fn layers(case: &Case, registry: &Registry) -> Vec<String> {
    let image = registry.image(IMAGE);
    let config = case
        .words(&["image", "inspect", "--format", "{{.Id}}", &image])
        .ok();
    let config = config.first().trim_start_matches("sha256:").to_owned();
    let mut all: Vec<String> = times(registry).into_keys().collect();
    all.retain(|hex| *hex != config);
    all
}

fn check(case: &Case, registry: &Registry) {
    let image = registry.image(IMAGE);
    case.words(&[
        "run",
        "--rm",
        "--network",
        "none",
        &image,
        "cat",
        "/etc/debian_version",
    ])
    .ok();
    // Whatever takes things away sweeps what killed commands have left.
    case.engine("image prune -f").ok();
    for folder in ["partial", "tmp"] {
        let left = fs::read_dir(case.root().join(folder)).unwrap();
        assert_eq!(left.count(), 0, "{folder}/ is not empty");
    }
}

fn several_pulls(case: &Case, count: usize) {
    let registry = Registry::http(case);
    let pulls: Vec<Child> = (0..count).map(|_| pull(case, &registry)).collect();
    pulls.into_iter().for_each(ends_well);
    let layers = layers(case, &registry);
    assert_eq!(layers.len(), 7);
    let times = times(&registry);
    for layer in layers {
        assert_eq!(times[&layer], 1, "layer {layer} by {count} pulls");
    }
    check(case, &registry);
}

fn two_pulls_share_each_download(case: &Case) {
    several_pulls(case, 2);
}

fn eight_pulls_share_each_download(case: &Case) {
    several_pulls(case, 8);
}

/// Digests of partial downloads, which are called `HEX-SIZE`, and how much of each is there.
fn partials(case: &Case) -> BTreeMap<String, u64> {
    let Ok(folder) = fs::read_dir(case.root().join("partial")) else {
        return BTreeMap::new();
    };
    folder
        .filter_map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            let (hex, _) = name.split_once('-')?;
            // One that was finished in this moment is gone.
            Some((hex.to_owned(), entry.metadata().ok()?.len()))
        })
        .collect()
}

/// `kill -9` after a while that nobody chose: what is complete is never asked for again, and what is
/// not goes on where it stopped.
fn killed_ten_times_and_finished(case: &Case) {
    let registry = Registry::http(case);
    let mut complete: BTreeMap<String, usize> = BTreeMap::new();
    let mut bits = std::process::id();
    for _ in 0..10 {
        let mut child = pull(case, &registry);
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        thread::sleep(Duration::from_millis(u64::from(bits >> 24)));
        let _ = child.kill();
        let _ = child.wait();
        let asked = settled(&registry);
        for (hex, size) in partials(case) {
            if size == Registry::size_of(&hex) {
                let so_far = asked.iter().filter(|delivery| delivery.hex == hex).count();
                complete.entry(hex).or_insert(so_far.max(1));
            }
        }
    }
    let unfinished = partials(case);
    let before = registry.deliveries().len();
    ends_well(pull(case, &registry));
    let deliveries = registry.deliveries();
    for (hex, asked) in &complete {
        let now = deliveries.iter().filter(|delivery| delivery.hex == *hex);
        assert_eq!(now.count(), *asked, "{hex} was complete\n{deliveries:#?}");
    }
    for delivery in &deliveries[before.min(deliveries.len())..] {
        let there = unfinished.get(&delivery.hex).copied().unwrap_or(0);
        if there > 0 && delivery.status == 206 {
            assert_eq!(delivery.bytes, Registry::size_of(&delivery.hex) - there);
        }
    }
    check(case, &registry);
}

/// What was delivered, once the registry's log has it: it is a moment behind what was sent.
fn settled(registry: &Registry) -> Vec<Delivery> {
    loop {
        let before = registry.deliveries();
        thread::sleep(Duration::from_millis(50));
        if registry.deliveries().len() == before.len() {
            return before;
        }
    }
}

/// What a connection may hold, in bytes: sent as the registry counts, and never read.
const IN_FLIGHT: u64 = 4 << 20;

/// Two pull, one is killed: the other finishes, and no layer that was complete comes twice.
fn another_goes_on_where_one_was_killed(case: &Case) {
    let registry = Registry::http(case);
    let mut one = pull(case, &registry);
    case.eventually("a download has begun", || {
        partials(case).values().any(|size| *size > 0) || one.try_wait().unwrap().is_some()
    });
    let other = pull(case, &registry);
    let _ = one.kill();
    let _ = one.wait();
    ends_well(other);
    for hex in layers(case, &registry) {
        let of_this: Vec<_> = registry
            .deliveries()
            .into_iter()
            .filter(|delivery| delivery.hex == hex)
            .collect();
        let size = Registry::size_of(&hex);
        let whole = of_this
            .iter()
            .filter(|d| d.status == 200 && d.bytes == size);
        // A small one may have been on its way, all of it, to the one that was killed.
        assert!(whole.count() <= 1 || size <= IN_FLIGHT, "{of_this:?}");
        assert!(of_this.len() <= 2, "{of_this:?}");
    }
    check(case, &registry);
}

/// The right length, the wrong bytes: noticed, and only that layer is fetched, once.
fn torn_by_a_power_cut(case: &Case) {
    let registry = Registry::http(case);
    ends_well(pull(case, &registry));
    let layers = layers(case, &registry);
    let torn = layers
        .iter()
        .max_by_key(|hex| Registry::size_of(hex))
        .unwrap();
    let kept: Vec<(String, Vec<u8>)> = layers
        .iter()
        .map(|hex| {
            let blob = case.root().join("blobs/sha256").join(hex);
            (hex.clone(), fs::read(blob).unwrap())
        })
        .collect();
    case.words(&["rmi", &registry.image(IMAGE)]).ok();
    for (hex, mut bytes) in kept {
        if hex == *torn {
            let middle = bytes.len() / 2;
            bytes[middle..middle + 4096].fill(0);
        }
        case.make_file(&format!("root/partial/{hex}-{}", bytes.len()), bytes);
    }
    let before = registry.deliveries().len();
    ends_well(pull(case, &registry));
    let again: Vec<String> = registry.deliveries()[before..]
        .iter()
        .map(|delivery| delivery.hex.clone())
        .filter(|hex| layers.contains(hex))
        .collect();
    assert_eq!(again, [torn.as_str()]);
    check(case, &registry);
}

/// What a pull has found or fetched stays, whatever others remove meanwhile.
fn while_images_are_removed(case: &Case) {
    let registry = Registry::http(case);
    let image = registry.image(IMAGE);
    for _ in 0..2 {
        let (one, two) = (pull(case, &registry), pull(case, &registry));
        for line in ["image prune -a -f", "system prune -f"] {
            case.engine(line).ok();
        }
        case.words(&["rmi", "-f", &image]);
        ends_well(one);
        case.words(&["rmi", "-f", &image]);
        ends_well(two);
    }
    ends_well(pull(case, &registry));
    check(case, &registry);
}

fn registry_restarted(case: &Case) {
    let mut registry = Registry::http(case);
    let mut child = pull(case, &registry);
    case.eventually("a download has begun", || {
        !partials(case).is_empty() || child.try_wait().unwrap().is_some()
    });
    registry.restart();
    ends_well(child);
    check(case, &registry);
}

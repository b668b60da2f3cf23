//! Any bytes as the configuration of a cache of builds, and as the one in an image with two layers.
//! Oracle: no panic; what was understood is understood again when it is written: the same keys, in the
//! same order, with a layer or without one.

#![no_main]

use coracle::model::step_cache::{self, SharedLayer, SharedStep};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let layer = |digit: &str| SharedLayer {
        blob: format!("sha256:{}", digit.repeat(64))
            .parse()
            .expect("a digest"),
        size: 7,
        media_type: "application/vnd.oci.image.layer.v1.tar+gzip".to_owned(),
        diff_id: format!("sha256:{}", digit.repeat(64))
            .parse()
            .expect("a digest"),
    };
    if let Ok(text) = std::str::from_utf8(bytes) {
        let _ = step_cache::parse_inline(text, vec![layer("1"), layer("2")]);
    }
    let Ok(steps) = step_cache::parse(bytes) else {
        return;
    };
    let facts = |steps: &[SharedStep]| -> Vec<_> {
        let fact = |step: &SharedStep| (step.key.clone(), step.layer.is_some(), step.with_root);
        steps.iter().map(fact).collect()
    };
    let written = step_cache::config(&steps).expect("what was read can be written");
    let again = step_cache::parse(&written).expect("and read");
    assert_eq!(facts(&again), facts(&steps));
    let diff_ids = steps.iter().filter_map(|step| step.layer.as_ref());
    let diff_ids: Vec<_> = diff_ids.map(|layer| layer.diff_id.clone()).collect();
    let text = step_cache::inline(&steps, &diff_ids).expect("what was read can be written");
    let layers = steps.iter().filter_map(|step| step.layer.clone());
    let again = step_cache::parse_inline(&text, layers.collect()).expect("and read");
    assert_eq!(facts(&again), facts(&steps));
});

//! Any bytes as an image configuration. Oracle: no panic; no variable without a value (CVE-2026-57231);
//! every layer has a digest, and so many chain ids as layers; written and read back it is the same.

#![no_main]

use coracle::model::image::{ImageConfig, chain_ids};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let Ok(config) = ImageConfig::parse(bytes) else {
        return;
    };
    assert_eq!(config.rootfs.kind, "layers");
    assert_eq!(
        chain_ids(&config.rootfs.diff_ids).len(),
        config.rootfs.diff_ids.len()
    );
    let variables = config.config.iter().flat_map(|config| config.env.iter());
    for variable in variables.flatten() {
        assert!(variable.find('=').is_some_and(|place| place > 0));
    }
    let _ = config.platform().to_string();
    let again = serde_json::to_vec(&config).expect("what was read can be written");
    assert_eq!(ImageConfig::parse(&again).expect("and read"), config);
});

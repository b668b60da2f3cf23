//! Any bytes as policy.json, as a file of registries.d and as a signature's payload. Oracle: no panic; a
//! policy that is accepted has a rule for every image, and a rule has at least one requirement.

#![no_main]

use coracle::model::{
    Reference,
    policy::{Payload, Place, Policy},
    registries_d::RegistriesD,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    let reference: Reference = "r.example:5000/a/b:1".parse().expect("a name");
    let _ = Payload::parse(bytes);
    let mut d = RegistriesD::default();
    if d.add(bytes).is_ok() {
        let _ = d.use_sigstore_attachments(&reference);
    }
    let Ok(policy) = Policy::parse(bytes) else {
        return;
    };
    let rule = policy.rule(&Place::Registry(&reference));
    assert!(!rule.requirements().is_empty());
});

//! Any text as registries.conf. Oracle: no panic; a location that is asked is a whole reference; what is
//! blocked is not asked.

#![no_main]

use std::path::Path;

use coracle::model::{
    Reference,
    registries::{Purpose, Registries},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut registries = Registries::default();
    if registries.add(Path::new("registries.conf"), text).is_err() {
        return;
    }
    for name in ["a", "docker.io/library/a", "r.example:5000/a/b:1", "a.example/b/c/d"] {
        let reference: Reference = name.parse().expect("a name");
        if let Ok(candidates) = registries.candidates(&reference) {
            for candidate in candidates {
                assert_eq!(candidate.to_string().parse::<Reference>().ok(), Some(candidate));
            }
        }
        for purpose in [Purpose::Pull, Purpose::Push] {
            if let Ok(endpoints) = registries.endpoints(&reference, purpose) {
                assert!(!endpoints.is_empty());
                for endpoint in endpoints {
                    let text = endpoint.reference.to_string();
                    assert_eq!(text.parse::<Reference>().ok(), Some(endpoint.reference));
                }
            }
        }
        let _ = registries.is_insecure(reference.registry());
        let _ = registries.is_blocked(reference.registry());
    }
    let _ = registries.searched();
});

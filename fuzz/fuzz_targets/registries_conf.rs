//! Any text as registries.conf. Oracle: no panic, whatever name is looked up; a name that is blocked
//! gets no place, and no place has another tag or digest than was asked for.

#![no_main]

use std::path::Path;

use coracle::model::{
    Reference,
    registries::{Purpose, Registries},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let mut all = Registries::default();
    if let Err(error) = all.add(Path::new("r.conf"), text) {
        assert!(error.message().starts_with("r.conf"));
        return;
    }
    for typed in ["a", "a/b:1", "r.example/a/b:1", "x.r.example:5000/a"] {
        let typed: Reference = typed.parse().unwrap();
        for name in all.candidates(&typed).unwrap_or_default() {
            for place in all.endpoints(&name, Purpose::Pull).unwrap_or_default() {
                assert_eq!(place.reference.tag(), typed.tag());
                assert_eq!(place.reference.digest(), typed.digest());
            }
        }
    }
});

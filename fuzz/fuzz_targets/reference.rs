//! Any text as an image reference. Oracle: no panic; what is accepted is printed and read back as the
//! same, long and familiar; none of its parts could leave a folder or end a line.

#![no_main]

use coracle::model::Reference;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(reference) = text.parse::<Reference>() else {
        return;
    };
    for printed in [reference.to_string(), reference.familiar()] {
        assert!(printed.bytes().all(|byte| byte.is_ascii_graphic()));
        assert_eq!(printed.parse::<Reference>().expect("readable"), reference);
    }
    assert!(!reference.registry().is_empty() && !reference.registry().contains('/'));
    assert!(reference.repository().len() <= 255);
    for part in reference.repository().split('/') {
        assert!(!matches!(part, "" | "." | ".."));
    }
    assert!(reference.tag().is_some() || reference.digest().is_some());
    if let Some(tag) = reference.tag() {
        assert!((1..=128).contains(&tag.len()) && !tag.starts_with(['.', '-']));
    }
});

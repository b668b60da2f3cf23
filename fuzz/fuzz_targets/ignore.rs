//! Any text as a .dockerignore, its last line as a path. Oracle: no panic; what need not be read below a
//! directory is left out; what is surely left out is.

#![no_main]

use coracle::build::ignore::Ignore;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let (patterns, path) = text.rsplit_once('\n').unwrap_or(("", text));
    let Ok(ignore) = Ignore::parse(patterns) else {
        return;
    };
    let names: Vec<&str> = path
        .split('/')
        .filter(|name| !name.is_empty())
        .take(8)
        .collect();
    let path = names.join("/");
    if path.is_empty() {
        return;
    }
    let excluded = ignore.excludes(&path);
    assert!(excluded || !ignore.surely_excludes(&path));
    for depth in 1..names.len() {
        let above = names[..depth].join("/");
        assert!(
            excluded || !ignore.excludes_all_below(&above),
            "{above} {path}"
        );
    }
});

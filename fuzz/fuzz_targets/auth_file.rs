//! Any text as an auth file. Oracle: no panic; looking up, setting and removing a login leave a file that
//! is read back, with that login or without it.

#![no_main]

use coracle::model::{Reference, auth_file::AuthFile};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let Ok(mut file) = AuthFile::parse(text) else {
        return;
    };
    let reference: Reference = "r.example:5000/a/b:1".parse().expect("a name");
    let known = file.login_for(&reference);
    let _ = file.login_at("docker.io");
    let keys: Vec<String> = file.keys().map(str::to_owned).collect();
    for key in &keys {
        let _ = (file.helper(key), file.login_at(key));
    }
    if let Ok(Some(login)) = known {
        file.set("r.example:5000", &login);
        let again = AuthFile::parse(&file.to_text()).expect("what was written is read");
        assert!(matches!(again.login_at("r.example:5000"), Ok(Some(_))));
    }
    file.remove("r.example:5000");
    file.remove_all();
    let empty = AuthFile::parse(&file.to_text()).expect("what was written is read");
    assert_eq!(empty.keys().count(), 0);
});

//! Any text as an auth file. Oracle: no panic; what is accepted survives printing and reading; a login
//! that is put in is found again, beside everything that was there; errors quote nothing of the text.

#![no_main]

use coracle::model::auth_file::{AuthFile, StoredLogin, login_key, normal_key};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let _ = login_key(text);
    let mut file = match AuthFile::parse(text) {
        Ok(file) => file,
        Err(error) => {
            assert!(error.to_string().len() < 2000);
            return;
        }
    };
    assert_eq!(AuthFile::parse(&file.to_text()).as_ref(), Ok(&file));
    let name = "r.example/team/app".parse().unwrap();
    let _ = (file.login_for(&name), file.helper("r.example"), file.store());
    let before = file.keys().filter(|key| normal_key(key) != "r.example").count();
    let login = StoredLogin::Password {
        user: "u".to_owned(),
        password: "p".to_owned(),
    };
    file.set("r.example", &login);
    let mut again = AuthFile::parse(&file.to_text()).unwrap();
    assert_eq!(again.login_at("r.example"), Ok(Some(login)));
    assert!(again.remove("r.example"));
    assert_eq!(again.keys().count(), before);
});

//! Any bytes as a private key of SSH, as they are and in PEM. Oracle: no panic; what is a key has a
//! public half, and signs.

#![no_main]

use coracle::build::ssh::Key;
use libfuzzer_sys::fuzz_target;

const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fuzz_target!(|bytes: &[u8]| {
    let _ = Key::parse(bytes, "name");
    for label in ["OPENSSH PRIVATE KEY", "EC PRIVATE KEY", "PRIVATE KEY"] {
        let text = format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", base64(bytes));
        if let Ok(key) = Key::parse(text.as_bytes(), "name") {
            assert!(key.public().len() > 4);
            let _ = key.sign(b"data", 2);
        }
    }
});

/// Without what does not fill three bytes.
fn base64(bytes: &[u8]) -> String {
    let letters = bytes.chunks_exact(3).flat_map(|three| {
        let number = u32::from(three[0]) << 16 | u32::from(three[1]) << 8 | u32::from(three[2]);
        [18, 12, 6, 0].map(|shift| char::from(LETTERS[(number >> shift & 63) as usize]))
    });
    letters.collect()
}

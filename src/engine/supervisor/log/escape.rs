//! JSON string escapes as Go's encoder writes them (Docker's files are byte for byte like this):
//! HTML characters and line separators too, each byte that is not UTF-8 as U+FFFD.

use crate::sys::json_bytes::{is_special, special_bytes};

/// Appends `text` as the inside of a JSON string.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8]) {
    let mut rest = text;
    loop {
        let plain = plain_length(rest);
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&byte) = rest.first() else { return };
        if byte < 0x80 {
            escape_ascii(out, byte);
            rest = &rest[1..];
        } else {
            let length = rest.iter().position(u8::is_ascii).unwrap_or(rest.len());
            escape_unicode(out, &rest[..length]);
            rest = &rest[length..];
        }
    }
}

/// How many bytes at the beginning are ASCII and stand for themselves.
fn plain_length(text: &[u8]) -> usize {
    let (blocks, rest) = text.as_chunks::<16>();
    for (index, block) in blocks.iter().enumerate() {
        let special = special_bytes(block);
        if special != 0 {
            return index * 16 + special.trailing_zeros() as usize;
        }
    }
    let whole = blocks.len() * 16;
    // The last bytes once more with those before them: a line is seldom a multiple of sixteen.
    if let Some(last) = text.last_chunk::<16>() {
        let special = special_bytes(last) >> (16 - rest.len());
        let unseen = special.trailing_zeros() as usize;
        return whole + unseen.min(rest.len());
    }
    let special = rest.iter().position(|&byte| is_special(byte));
    whole + special.unwrap_or(rest.len())
}

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        _ => out.extend_from_slice(&unicode_escape(u32::from(byte))),
    }
}

fn escape_unicode(out: &mut Vec<u8>, text: &[u8]) {
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '\u{2028}' | '\u{2029}' => {
                    out.extend_from_slice(&unicode_escape(character as u32));
                }
                _ => out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        for _ in chunk.invalid() {
            out.extend_from_slice(b"\\ufffd");
        }
    }
}

fn unicode_escape(code: u32) -> [u8; 6] {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |shift: u32| DIGITS[(code >> shift & 0xf) as usize];
    [b'\\', b'u', digit(12), digit(8), digit(4), digit(0)]
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn escaped(text: &[u8]) -> String {
        let mut out = Vec::new();
        escape(&mut out, text);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn escapes_as_gos_encoder_does() {
        assert_eq!(escaped(b"a\"b\\c\n\t\r"), r#"a\"b\\c\n\t\r"#);
        assert_eq!(
            escaped(b"<a href='x'>&\x01\x7f"),
            "\\u003ca href='x'\\u003e\\u0026\\u0001\x7f"
        );
        assert_eq!(escaped("ä\u{2028}€".as_bytes()), "ä\\u2028€");
        assert_eq!(escaped(b"\xff\xc3"), "\\ufffd\\ufffd");
        assert_eq!(escaped(b"\xe2\x82x"), "\\ufffd\\ufffdx");
    }

    proptest! {
        #[test]
        fn sixteen_at_a_time_are_as_one_by_one(text in prop::collection::vec(any::<u8>(), 0..100)) {
            let one_by_one = text.iter().position(|&byte| is_special(byte));
            prop_assert_eq!(plain_length(&text), one_by_one.unwrap_or(text.len()));
        }

        #[test]
        fn is_a_json_string_of_the_text(text in prop::collection::vec(any::<u8>(), 0..200)) {
            let quoted = format!("\"{}\"", escaped(&text));
            let back: String = serde_json::from_str(&quoted).unwrap();
            // Rust replaces a broken sequence by one character, Go each of its bytes.
            let single = |text: &str| {
                let mut text = text.to_owned();
                while text.contains("\u{fffd}\u{fffd}") {
                    text = text.replace("\u{fffd}\u{fffd}", "\u{fffd}");
                }
                text
            };
            prop_assert_eq!(single(&back), single(&String::from_utf8_lossy(&text)));
        }
    }
}

//! JSON string escapes as Go's encoder writes them (Docker's files are byte for byte like this):
//! HTML characters and line separators too, each byte that is not UTF-8 as U+FFFD.

use crate::sys::json_bytes::copy_plain;

/// Appends `text` as the inside of a JSON string, with `newline` in place of each newline.
pub(super) fn escape(out: &mut Vec<u8>, text: &[u8], newline: &[u8]) {
    let mut rest = text;
    loop {
        let plain = copy_plain(out, rest, newline);
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

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
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
        escape(&mut out, text, b"\\n");
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

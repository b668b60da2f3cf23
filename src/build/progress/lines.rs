//! A program's bytes → lines for people.

/// No end of a line is waited for beyond so many bytes.
const LONGEST: usize = 16 << 10;

/// Gathers the bytes of a stream until there is a line. A carriage return stands for "the line again"
/// on a terminal: what came before it is given up, as a terminal would show.
#[derive(Debug, Default)]
pub struct Lines {
    partial: Vec<u8>,
}

impl Lines {
    /// The lines that are complete now, without escape sequences.
    pub fn push(&mut self, bytes: &[u8]) -> Vec<String> {
        let mut complete = Vec::new();
        for piece in bytes.split_inclusive(|&byte| byte == b'\n') {
            self.partial.extend_from_slice(piece);
            if piece.ends_with(b"\n") || self.partial.len() >= LONGEST {
                complete.extend(self.rest());
            }
        }
        complete
    }

    /// What is left without an end.
    pub fn rest(&mut self) -> Option<String> {
        let bytes = std::mem::take(&mut self.partial);
        if bytes.is_empty() {
            return None;
        }
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end_matches(['\n', '\r']);
        let shown = line.rsplit('\r').next().unwrap_or_default();
        Some(super::printable(&without_escapes(shown)))
    }
}

/// Colours and the like would be cut off from their ends: whole sequences go, ECMA-48 5.4 and 5.6.
fn without_escapes(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    let mut letters = text.chars().peekable();
    while let Some(letter) = letters.next() {
        if letter != '\u{1b}' {
            shown.push(letter);
            continue;
        }
        match letters.next() {
            Some('[') => {
                while letters
                    .next_if(|c| !('\u{40}'..='\u{7e}').contains(c))
                    .is_some()
                {}
                letters.next();
            }
            // A string up to BEL or ST.
            Some(']' | 'P' | 'X' | '^' | '_') => {
                while letters
                    .next_if(|c| !matches!(c, '\u{7}' | '\u{1b}'))
                    .is_some()
                {}
                if letters.next() == Some('\u{1b}') {
                    letters.next_if_eq(&'\\');
                }
            }
            _ => {}
        }
    }
    shown
}

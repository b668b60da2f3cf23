//! `[a-z]`, `[^\]x]`: classes of letters in patterns, as Go's filepath.Match has them.

use std::{iter::Peekable, str::Chars};

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LetterClass {
    is_negated: bool,
    ranges: Vec<(char, char)>,
}

impl LetterClass {
    /// Reads on behind `[`, to the `]` that ends it; None if it is no class.
    pub fn parse(letters: &mut Peekable<Chars<'_>>) -> Option<LetterClass> {
        let is_negated = letters.next_if_eq(&'^').is_some();
        let mut ranges = Vec::new();
        loop {
            if letters.next_if_eq(&']').is_some() {
                return (!ranges.is_empty()).then_some(LetterClass { is_negated, ranges });
            }
            let low = match letters.next()? {
                '\\' => letters.next()?,
                '-' => return None,
                letter => letter,
            };
            let high = match letters.next_if_eq(&'-') {
                None => low,
                Some(_) => match letters.next()? {
                    '\\' => letters.next()?,
                    ']' => return None,
                    letter => letter,
                },
            };
            ranges.push((low, high));
        }
    }

    pub fn holds(&self, letter: char) -> bool {
        let mut ranges = self.ranges.iter();
        ranges.any(|(low, high)| (*low..=*high).contains(&letter)) != self.is_negated
    }

    /// Whether a range ends before it begins (`[z-a]`): filepath.Match takes it for an empty one,
    /// regular expressions do not.
    pub fn has_backward_range(&self) -> bool {
        self.ranges.iter().any(|(low, high)| high < low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn classes() {
        for (text, inside, outside) in [
            ("a-c]", "abc", "dA-"),
            ("^a-c]", "d^]", "ab"),
            (r"\]\-]", "]-", r"\a"),
            ("a^]", "a^", "b"),
            ("z-a]", "", "zma"),
        ] {
            let class = LetterClass::parse(&mut text.chars().peekable()).unwrap();
            assert!(inside.chars().all(|letter| class.holds(letter)), "{text}");
            assert!(!outside.chars().any(|letter| class.holds(letter)), "{text}");
            assert_eq!(class.has_backward_range(), text == "z-a]");
        }
        for text in ["", "]", "^]", "a", "-a]", "a-]", "a-", r"\"] {
            assert_eq!(
                LetterClass::parse(&mut text.chars().peekable()),
                None,
                "{text}"
            );
        }
    }
}

//! Patterns of one name, as Go's filepath.Match has them; a path is a list of such.

use crate::{
    build::letter_class::LetterClass,
    model::{Error, Result},
};

/// A name in a path, or what stands for names.
#[derive(Debug)]
pub(super) struct NamePattern(Vec<Piece>);

#[derive(Debug, PartialEq, Eq)]
enum Piece {
    Any,
    One,
    Letter(char),
    Class(LetterClass),
}

/// The names of a path: cleaned, and nowhere above the root.
pub(super) fn parse(path: &str) -> Result<Vec<NamePattern>> {
    let mut names: Vec<&str> = Vec::new();
    for name in path.split('/') {
        match name {
            "" | "." => {}
            ".." => drop(names.pop()),
            name => names.push(name),
        }
    }
    let pattern = |name: &str| Ok(NamePattern(pieces(name, path)?));
    names.into_iter().map(pattern).collect()
}

impl NamePattern {
    /// The one name that it stands for.
    pub fn only(&self) -> Option<String> {
        let letter = |piece: &Piece| match piece {
            Piece::Letter(letter) => Some(*letter),
            _ => None,
        };
        self.0.iter().map(letter).collect()
    }

    pub fn matches(&self, name: &str) -> bool {
        name_matches(&self.0, name)
    }
}

fn pieces(name: &str, pattern: &str) -> Result<Vec<Piece>> {
    let bad = || Error::invalid(format!("syntax error in pattern {pattern:?}"));
    let mut letters = name.chars().peekable();
    let mut pieces = Vec::new();
    while let Some(letter) = letters.next() {
        pieces.push(match letter {
            '*' => Piece::Any,
            '?' => Piece::One,
            '\\' => Piece::Letter(letters.next().ok_or_else(bad)?),
            '[' => Piece::Class(LetterClass::parse(&mut letters).ok_or_else(bad)?),
            letter => Piece::Letter(letter),
        });
    }
    Ok(pieces)
}

/// With one place to go back to, the last `*`: letters × letters steps at most.
fn name_matches(pieces: &[Piece], name: &str) -> bool {
    let letters: Vec<char> = name.chars().collect();
    let (mut piece, mut letter) = (0, 0);
    let mut back: Option<(usize, usize)> = None;
    while letter < letters.len() {
        match pieces.get(piece) {
            Some(Piece::Any) => {
                piece += 1;
                back = Some((piece, letter));
                continue;
            }
            Some(one) if one.fits(letters[letter]) => {
                piece += 1;
                letter += 1;
                continue;
            }
            _ => {}
        }
        let Some((after, from)) = back else {
            return false;
        };
        back = Some((after, from + 1));
        (piece, letter) = (after, from + 1);
    }
    pieces[piece..].iter().all(|piece| *piece == Piece::Any)
}

impl Piece {
    fn fits(&self, letter: char) -> bool {
        match self {
            Piece::Any | Piece::One => true,
            Piece::Letter(wanted) => *wanted == letter,
            Piece::Class(class) => class.holds(letter),
        }
    }
}

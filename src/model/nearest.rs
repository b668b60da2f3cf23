//! What was probably meant by a word that is none.

/// Two letters are wrong at most, in a short word one: of three letters two are another word.
pub fn nearest<'a>(word: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let lower = word.to_lowercase();
    let wrong_letters = if lower.chars().count() > 3 { 2 } else { 1 };
    known
        .map(|one| (strsim::osa_distance(&one.to_lowercase(), &lower), one))
        .filter(|(distance, one)| *distance <= wrong_letters && *distance < one.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, one)| one)
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn typing_errors_are_seen_through() {
        let nearest = |word| {
            nearest(
                word,
                ["ps", "pull", "push", "run", "rm", "images"].into_iter(),
            )
        };
        assert_eq!(nearest("pss"), Some("ps"));
        assert_eq!(nearest("imgaes"), Some("images"));
        assert_eq!(nearest("Run"), Some("run"));
        assert_eq!(nearest("rnu"), Some("run"));
        assert_eq!(nearest("foo"), None);
        assert_eq!(nearest("x"), None);
        assert_eq!(nearest("frobnicate"), None);
    }
}

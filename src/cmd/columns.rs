//! Aligned columns, as Docker's tables have them: Go's `text/tabwriter` with a minimum width of
//! 10 and a padding of 3.

const MINIMUM: usize = 10;
const PADDING: usize = 3;

/// Replaces the tabs of every line by spaces. The cell behind the last tab has no column.
pub fn align(text: &str) -> String {
    let rows: Vec<Vec<&str>> = text
        .lines()
        .map(|line| line.split('\t').collect())
        .collect();
    let most = rows.iter().map(Vec::len).max().unwrap_or(0);
    let widths: Vec<usize> = (0..most)
        .map(|column| {
            rows.iter()
                .filter(|row| column + 1 < row.len())
                .map(|row| row[column].chars().count() + PADDING)
                .max()
                .map_or(0, |wide| wide.max(MINIMUM))
        })
        .collect();
    let mut aligned = String::with_capacity(text.len() * 2);
    for row in &rows {
        for (column, cell) in row.iter().enumerate() {
            aligned.push_str(cell);
            if column + 1 < row.len() {
                let pad = widths[column].saturating_sub(cell.chars().count());
                aligned.extend(std::iter::repeat_n(' ', pad));
            }
        }
        aligned.push('\n');
    }
    aligned
}

#[cfg(test)]
mod tests {
    use super::align;

    #[test]
    fn columns_are_ten_wide_and_three_apart() {
        assert_eq!(
            align("ID\tNAME\na\tlonger than ten\tx\n…\té\tz\n"),
            "ID        NAME\na         longer than ten   x\n…         é                 z\n"
        );
    }

    #[test]
    fn the_last_cell_does_not_widen_its_column() {
        assert_eq!(
            align("A\tB\tC\n1\tvery very long cell\n"),
            "A         B         C\n1         very very long cell\n"
        );
    }
}

//! `top`: the processes of a container.

use clap::Args;

use super::{
    Session,
    chosen::ChosenFlags,
    parse, process_columns, ui,
    verb::{Arity, Outcome, Verb},
};

#[derive(Args)]
struct Flags {
    #[command(flatten)]
    chosen: ChosenFlags,
}

pub const VERB: Verb = Verb {
    spellings: &["container top", "top"],
    about: "Show the processes of a container",
    usage: "CONTAINER [ps OPTIONS | COLUMN...]",
    arity: Arity::OneUnlessChosen,
    program_after: Some(1),
    flags: Flags::augment_args,
    run: |session, matches, arguments| run(session, &parse::flags(matches)?, arguments),
    ..Verb::PLAIN
};

fn run(session: &Session, flags: &Flags, mut words: Vec<String>) -> Outcome {
    let name = flags.chosen.one(session, "top", &mut words)?;
    let columns = process_columns::parse(&words)?;
    let processes = session.engine()?.processes(&name)?;
    let memory = crate::engine::memory_bytes().unwrap_or(0);
    let header: Vec<String> = columns.iter().map(|column| column.header.clone()).collect();
    let mut rows = vec![header];
    rows.extend(processes.iter().map(|process| {
        let cells = columns.iter().map(|column| column.show(process, memory));
        cells.collect()
    }));
    ui::raw(table(&rows).as_bytes())?;
    Ok(0)
}

/// Docker's columns: at least 20 wide, one apart, the last one as it is.
fn table(rows: &[Vec<String>]) -> String {
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells
            .map(|cell| cell.chars().count() + 1)
            .max()
            .unwrap_or(0)
            .max(20)
    };
    let widths: Vec<usize> = (0..rows[0].len()).map(width).collect();
    let mut text = String::new();
    for row in rows {
        for (column, cell) in row.iter().enumerate() {
            text.push_str(cell);
            if column + 1 < row.len() {
                let pad = widths[column].saturating_sub(cell.chars().count());
                text.extend(std::iter::repeat_n(' ', pad));
            }
        }
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::table;

    #[test]
    fn columns_are_twenty_wide() {
        let row = |cells: [&str; 2]| cells.map(str::to_owned).to_vec();
        assert_eq!(
            table(&[row(["PID", "CMD"]), row(["a longer one than twenty", "b"])]),
            "PID                      CMD\na longer one than twenty b\n"
        );
    }
}

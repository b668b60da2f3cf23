//! What lists of named things have in common (`network ls`, `secret ls`, `volume ls`): the flags that
//! say how they look, and the filters of things that have labels and a user.

use std::collections::BTreeMap;

use clap::Args;

use super::{
    failure::Failure,
    filter::Filters,
    template::{List, Row},
    times, ui,
    verb::Outcome,
};

/// How a list looks.
#[derive(Args)]
pub struct Look {
    /// "table", "table TEMPLATE", "json", or a template in Go's language
    #[arg(long, value_name = "string")]
    format: Option<String>,
    /// Leave the headings out
    #[arg(long, short = 'n')]
    noheading: bool,
}

impl Look {
    /// Prints the rows as the flag says, else as `configured`, else as the list's table. `quiet`
    /// names the one field of which a table then consists, without a heading.
    pub fn print(
        &self,
        list: &List<'_>,
        rows: &[Row],
        configured: Option<&str>,
        quiet: Option<&str>,
    ) -> Outcome {
        let asked = self.format.as_deref().filter(|format| !format.is_empty());
        if let Some(field) = quiet
            && asked.is_none_or(|format| format == "table")
        {
            for row in rows {
                let value = row.fields.iter().find(|(name, _)| *name == field);
                ui::line(value.map_or("", |(_, value)| value))?;
            }
            return Ok(0);
        }
        let format = asked.or(configured);
        let text = list.show(format, rows)?;
        let is_table = format.is_none_or(|format| format.starts_with("table"));
        let shown = match text.split_once('\n') {
            Some((_, rest)) if self.noheading && is_table => rest,
            _ => &text,
        };
        ui::raw(shown.as_bytes())?;
        Ok(0)
    }
}

/// The filters `dangling`, `label`, `label!`, `since` and `until`.
pub struct Marks<'a> {
    filters: &'a Filters,
    dangling: Option<bool>,
    since: Option<i128>,
    until: Option<i128>,
}

impl<'a> Marks<'a> {
    pub fn new(filters: &'a Filters) -> Result<Self, Failure> {
        let moment = |key: &str| {
            let last = filters.values(key).last();
            last.map(times::parse_moment).transpose()
        };
        Ok(Marks {
            filters,
            dangling: filters.boolean("dangling")?,
            since: moment("since")?,
            until: moment("until")?,
        })
    }

    pub fn accept(&self, dangling: bool, created: &str, labels: &BTreeMap<String, String>) -> bool {
        let created = times::nanoseconds(created);
        self.dangling.is_none_or(|wanted| dangling == wanted)
            && self.filters.accepts_labels(labels)
            && self.filters.refuses_no_label(labels)
            && self.since.is_none_or(|moment| created >= moment)
            && self.until.is_none_or(|moment| created < moment)
    }
}

/// The field `Labels`.
pub fn label_text(labels: &BTreeMap<String, String>) -> String {
    let pairs: Vec<String> = labels
        .iter()
        .map(|(key, value)| format!("{key}={value}"))
        .collect();
    pairs.join(",")
}

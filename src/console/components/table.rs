//! Tables that explain their columns, and become cards on a narrow screen.

use maud::{Markup, html};
use serde_json::Value;

use super::time::count;
use crate::console::answer::Members as _;
use crate::console::asked::Asked;

/// A column: its name, and what it says.
pub(in crate::console) struct Column {
    name: &'static str,
    explanation: &'static str,
    is_number: bool,
}

/// Returns a column of text.
pub(in crate::console) const fn column(name: &'static str, explanation: &'static str) -> Column {
    Column { name, explanation, is_number: false }
}

/// Returns a column of numbers.
pub(in crate::console) const fn number_column(
    name: &'static str,
    explanation: &'static str,
) -> Column {
    Column { name, explanation, is_number: true }
}

/// A table. The first cell of a row names it.
pub(in crate::console) struct Table<'t> {
    /// What the rows are, for screen readers.
    pub(in crate::console) label: &'t str,
    pub(in crate::console) columns: &'static [Column],
    pub(in crate::console) rows: Vec<Vec<Markup>>,
}

impl Table<'_> {
    /// Shows the table and, below it, what its columns mean. The roles keep it a table for screen readers where its
    /// cells are blocks.
    pub(in crate::console) fn show(&self) -> Markup {
        html! {
            div.table tabindex="0" role="group" aria-label=(self.label) {
                table role="table" aria-label=(self.label) {
                    thead role="rowgroup" { tr role="row" { @for column in self.columns {
                        th.number[column.is_number] scope="col" role="columnheader" title=(column.explanation) { (column.name) }
                    } } }
                    tbody role="rowgroup" { @for row in &self.rows { tr role="row" {
                        @for (at, (cell, column)) in row.iter().zip(self.columns).enumerate() {
                            @if at == 0 { th scope="row" role="rowheader" { (cell) } }
                            @else { td.number[column.is_number] role="cell" data-label=(column.name) { (cell) } }
                        }
                    } } }
                }
            }
            details.columns {
                summary { "What the columns mean" }
                dl { @for column in self.columns { dt { (column.name) } dd { (column.explanation) } } }
            }
        }
    }
}

/// Shows how many of how many a page of a list has, with links to the first and the next page; `answer` is that of the
/// API, `names` are the parameters that the page of the console takes.
pub(in crate::console) fn pages(
    asked: &Asked,
    page: &str,
    names: &[&str],
    answer: &Value,
) -> Markup {
    let next = answer.text("nextCursor");
    html! {
        nav.pages aria-label="Pages of the list" {
            span {
                (answer.list("items").len()) " shown"
                @if answer.get("total").is_some() { " of " (count(answer.number("total"))) }
            }
            @if !asked.get("cursor").is_empty() {
                a href=(asked.link(page, names, ("cursor", ""))) { "First page" }
            }
            @if !next.is_empty() {
                a href=(asked.link(page, names, ("cursor", next))) rel="next" { "Next page" }
            }
        }
    }
}

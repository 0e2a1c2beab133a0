//! Tables that explain their columns, and become cards on a narrow screen.

use maud::{Markup, html};

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

/// Shows how many of how many are on the page, and the link to the next page.
pub(in crate::console) fn pages(
    shown: usize,
    total: Option<u64>,
    first: &str,
    next: Option<&str>,
) -> Markup {
    html! {
        nav.pages aria-label="Pages of the list" {
            span { (shown) " shown" @if let Some(total) = total { " of " (super::count(total)) } }
            @if !first.is_empty() { a href=(first) { "First page" } }
            @if let Some(next) = next { a href=(next) rel="next" { "Next page" } }
        }
    }
}

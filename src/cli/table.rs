//! Tables for people: aligned, coloured only where the terminal and the user want it, and narrow enough for
//! the terminal; the same lists as JSON or as names. All lists are printed here.

use std::io::{IsTerminal as _, Write as _};

use clap::{Args, ValueEnum};
use comfy_table::{Attribute, Cell, CellAlignment, Color, ColumnConstraint, Table, presets};
use ratatui::crossterm;
use serde_json::{Value, json};

use super::io::{Output, print_error, print_line, print_row};
use crate::telemetry::Escaped;

/// Spaces between two columns.
const GAP: u16 = 2;

/// Output format of a list.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum ListOutput {
    /// A table; columns that do not fit the terminal are left out
    #[default]
    #[value(alias = "text")]
    Table,
    /// A table with all columns
    Wide,
    /// One JSON document
    Json,
    /// One JSON object a line
    Jsonl,
    /// Ids alone, one a line
    Name,
}

impl ListOutput {
    /// Returns the format of what is no list.
    pub(super) fn plain(self) -> Output {
        match self {
            Self::Table | Self::Wide | Self::Name => Output::Text,
            Self::Json => Output::Json,
            Self::Jsonl => Output::Jsonl,
        }
    }
}

/// When output has colours.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, ValueEnum)]
pub(super) enum ColorWhen {
    /// On a terminal, unless NO_COLOR is set
    #[default]
    Auto,
    /// Also in pipes and files
    Always,
    /// Never
    Never,
}

/// Flags of commands that print tables.
#[derive(Clone, Copy, Debug, Default, Args)]
pub(super) struct ListFlags {
    /// Output format
    #[arg(short, long, value_enum, default_value_t, global = true)]
    pub(super) output: ListOutput,
    /// Colours in tables
    #[arg(long, value_enum, default_value_t, global = true, value_name = "WHEN")]
    pub(super) color: ColorWhen,
}

/// How a cell is shown on a terminal with colours; its text says the same without them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(super) enum Tone {
    /// As the rest.
    #[default]
    Plain,
    /// Works.
    Good,
    /// Needs attention.
    Warning,
    /// Fails.
    Bad,
    /// Unimportant.
    Dim,
}

/// A column of a table.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    name: &'static str,
    is_number: bool,
    /// The higher, the sooner it is left out on a narrow terminal; 0 = never.
    rank: u8,
    /// Whether only `-o wide` has it.
    is_wide: bool,
}

impl Column {
    /// Returns a column of text that is left out by its rank, 0 = never.
    pub(super) const fn text(name: &'static str, rank: u8) -> Self {
        Self { name, is_number: false, rank, is_wide: false }
    }

    /// Returns a column of numbers.
    pub(super) const fn number(name: &'static str, rank: u8) -> Self {
        Self { is_number: true, ..Self::text(name, rank) }
    }

    /// Returns its name.
    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    /// Whether it is aligned to the right.
    pub(super) fn is_number(&self) -> bool {
        self.is_number
    }

    /// Returns the column for `-o wide` alone.
    pub(super) const fn wide(self) -> Self {
        Self { is_wide: true, ..self }
    }
}

/// Text with its tone.
pub(super) type Toned = (String, Tone);

/// Returns a cell as the rest of its row.
pub(super) fn plain(text: impl Into<String>) -> Toned {
    (text.into(), Tone::Plain)
}

/// Returns a count, which is bad unless it is 0.
pub(super) fn bad_unless_zero(count: u64) -> Toned {
    (count.to_string(), if count > 0 { Tone::Bad } else { Tone::Dim })
}

/// What a list is of.
#[derive(Clone, Copy, Debug)]
pub(super) struct ListOf<'a> {
    /// The member with the id of an item.
    pub(super) id: &'a str,
    /// What to do next if there is no item.
    pub(super) if_empty: &'a str,
}

/// Prints a list in the format of the flags. An empty table is a hint on stderr.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print_list(
    flags: ListFlags,
    of: ListOf<'_>,
    items: &[Value],
    columns: &[Column],
    row: impl Fn(&Value) -> Vec<Toned>,
) -> anyhow::Result<()> {
    match flags.output {
        ListOutput::Json => print_line(&json!(items).to_string()),
        ListOutput::Jsonl => items.iter().try_for_each(|item| print_line(&item.to_string())),
        ListOutput::Name => items.iter().try_for_each(|item| {
            print_row(item.get(of.id).and_then(Value::as_str).unwrap_or_default())
        }),
        ListOutput::Table | ListOutput::Wide if items.is_empty() => {
            print_error(&format!("nothing to list: {}", of.if_empty));
            Ok(())
        }
        ListOutput::Table | ListOutput::Wide => {
            let is_wide = flags.output == ListOutput::Wide;
            let rows: Vec<_> = items.iter().map(row).collect();
            let look = Look { is_wide, width: width(), is_coloured: flags.color.is_on() };
            let hidden = print_rendered(columns, &rows, look)?;
            if hidden > 0 {
                print_error(&format!("({hidden} columns do not fit: -o wide has all)"));
            }
            Ok(())
        }
    }
}

/// Prints the rows of a table that is part of a longer answer; without a name, columns have no header.
///
/// # Errors
/// Standard output cannot be written.
pub(super) fn print_rows(columns: &[Column], rows: &[Vec<Toned>]) -> anyhow::Result<()> {
    let look = Look { is_wide: true, width: None, is_coloured: ColorWhen::Auto.is_on() };
    print_rendered(columns, rows, look).map(|_| ())
}

/// Prints a table; returns the number of columns that do not fit.
fn print_rendered(columns: &[Column], rows: &[Vec<Toned>], look: Look) -> anyhow::Result<usize> {
    let (text, hidden) = render(columns, rows, look);
    // Cells are escaped, and colours must not be.
    writeln!(std::io::stdout().lock(), "{text}")?;
    Ok(hidden)
}

impl ColorWhen {
    /// Whether standard output has colours.
    pub(super) fn is_on(self) -> bool {
        match self {
            Self::Always => true,
            Self::Never => false,
            Self::Auto => {
                let choice = anstream::AutoStream::choice(&std::io::stdout());
                choice != anstream::ColorChoice::Never
            }
        }
    }
}

/// Returns the width of the terminal; none if standard output is none.
pub(super) fn width() -> Option<u16> {
    let is_terminal = std::io::stdout().is_terminal();
    let (columns, _) = is_terminal.then(crossterm::terminal::size)?.ok()?;
    Some(columns).filter(|columns| *columns > 0)
}

/// How a table looks.
#[derive(Clone, Copy, Debug)]
struct Look {
    is_wide: bool,
    /// Width of the terminal; none for no bound.
    width: Option<u16>,
    is_coloured: bool,
}

/// Renders a table; returns it with the number of columns that do not fit.
fn render(columns: &[Column], rows: &[Vec<Toned>], look: Look) -> (String, usize) {
    // The library would read the environment and the terminal again.
    crossterm::style::force_color_output(look.is_coloured);
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    if look.is_coloured {
        table.enforce_styling();
    } else {
        table.force_no_tty();
    }
    if columns.iter().any(|column| !column.name.is_empty()) {
        table.set_header(columns.iter().map(|column| {
            let cell = Cell::new(column.name);
            if look.is_coloured { cell.add_attribute(Attribute::Bold) } else { cell }
        }));
    }
    for row in rows {
        table.add_row(row.iter().map(|(text, tone)| cell(text, *tone)));
    }
    let shown = shown_columns(columns, &table.column_max_content_widths(), look);
    let mut hidden = 0;
    for (at, column) in columns.iter().enumerate() {
        let Some(settings) = table.column_mut(at) else { continue };
        settings.set_padding((0, GAP));
        if column.is_number {
            settings.set_cell_alignment(CellAlignment::Right);
        }
        if !shown.contains(&at) {
            settings.set_constraint(ColumnConstraint::Hidden);
            hidden += usize::from(!column.is_wide);
        }
    }
    (table.trim_fmt(), hidden)
}

/// Returns the columns that fit `width`, by their place, see [`print_list`].
pub(super) fn fitting(columns: &[Column], widths: &[u16], width: u16) -> Vec<usize> {
    let look = Look { is_wide: false, width: Some(width), is_coloured: false };
    shown_columns(columns, widths, look)
}

/// Returns the columns that fit, by their place. Those with rank 0 are shown in any case: a terminal that is
/// too narrow even for them wraps them, and nothing is lost.
fn shown_columns(columns: &[Column], widths: &[u16], look: Look) -> Vec<usize> {
    let mut shown: Vec<usize> = (0..columns.len())
        .filter(|at| look.is_wide || columns.get(*at).is_some_and(|column| !column.is_wide))
        .collect();
    let Some(width) = look.width.filter(|_| !look.is_wide) else { return shown };
    let rank = |at: &usize| columns.get(*at).map_or(0, |column| column.rank);
    loop {
        let used: u32 = shown
            .iter()
            .map(|at| u32::from(widths.get(*at).copied().unwrap_or(0)) + u32::from(GAP))
            .sum();
        if used <= u32::from(width) + u32::from(GAP) {
            return shown;
        }
        let worst = shown.iter().enumerate().max_by_key(|(place, at)| (rank(at), *place));
        let Some((place, at)) = worst.filter(|(_, at)| rank(at) > 0) else { return shown };
        debug_assert!(rank(at) > 0);
        shown.remove(place);
    }
}

fn cell(text: &str, tone: Tone) -> Cell {
    let cell = Cell::new(Escaped::line(text));
    match tone {
        Tone::Plain => cell,
        Tone::Good => cell.fg(Color::Green),
        Tone::Warning => cell.fg(Color::Yellow),
        Tone::Bad => cell.fg(Color::Red),
        Tone::Dim => cell.add_attribute(Attribute::Dim),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const COLUMNS: [Column; 4] = [
        Column::text("ID", 0),
        Column::text("STATE", 0),
        Column::number("ERRORS", 1),
        Column::text("LAST FAILURE", 2),
    ];

    fn rows() -> Vec<Vec<Toned>> {
        let row = |id: &str, state: Toned, errors: u64, last: &str| {
            vec![plain(id), state, bad_unless_zero(errors), plain(last)]
        };
        vec![
            row("first/a", ("active".into(), Tone::Good), 0, ""),
            row("first/öx", ("failing".into(), Tone::Bad), 1234, "3 s ago: timeout"),
        ]
    }

    fn rendered(width: Option<u16>, is_wide: bool) -> (Vec<String>, usize) {
        let (text, hidden) = render(&COLUMNS, &rows(), Look { is_wide, width, is_coloured: false });
        (text.lines().map(str::to_owned).collect(), hidden)
    }

    #[test]
    fn columns_are_aligned_and_without_colours_in_a_pipe() {
        let (lines, hidden) = rendered(None, false);
        assert_eq!(
            lines,
            [
                "ID        STATE    ERRORS  LAST FAILURE",
                "first/a   active        0",
                "first/öx  failing    1234  3 s ago: timeout",
            ]
        );
        assert_eq!(hidden, 0);
    }

    #[test]
    fn columns_that_do_not_fit_are_left_out_by_their_rank() {
        let (lines, hidden) = rendered(Some(40), false);
        assert_eq!((lines[0].as_str(), hidden), ("ID        STATE    ERRORS", 1));
        let (lines, hidden) = rendered(Some(20), false);
        assert_eq!((lines[0].as_str(), hidden), ("ID        STATE", 2));
        let (lines, hidden) = rendered(Some(3), false);
        assert_eq!((lines[0].as_str(), hidden), ("ID        STATE", 2), "ids are never cut");
        assert_eq!(rendered(Some(3), true).1, 0, "-o wide has all");
    }

    #[test]
    fn colours_change_no_text() {
        let look = Look { is_wide: false, width: None, is_coloured: true };
        let (coloured, _) = render(&COLUMNS, &rows(), look);
        assert!(coloured.contains("\u{1b}["));
        let stripped = anstream::adapter::strip_str(&coloured).to_string();
        let stripped: Vec<_> = stripped.lines().map(str::trim_end).collect();
        assert_eq!(stripped, rendered(None, false).0);
    }

    #[test]
    fn text_of_strangers_controls_no_terminal() {
        let row = vec![plain("\u{1b}[2J"), plain("a\nb"), plain(""), plain("")];
        let look = Look { is_wide: false, width: None, is_coloured: false };
        let (text, _) = render(&COLUMNS, &[row], look);
        assert!(text.contains("\\u001b[2J") && text.contains("a\\u000ab"), "{text}");
    }
}

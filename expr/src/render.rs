//! Diagnostics and their source as text with carets, for terminals and logs.

use std::fmt::Write;

use crate::diagnostic::{Code, Diagnostic, Position, Severity};
use crate::limits::DIAGNOSTICS_SHOWN_MAX;
use crate::span::Span;

/// Draws `diagnostics` over `source`. `origin` names the source, such as `trigger.yaml#filter`.
/// At most [`DIAGNOSTICS_SHOWN_MAX`] are drawn, then the rest is counted.
pub fn render(diagnostics: &[Diagnostic], source: &str, origin: &str) -> String {
    let mut out = String::new();
    for diagnostic in diagnostics.iter().take(DIAGNOSTICS_SHOWN_MAX) {
        if !out.is_empty() {
            out.push('\n');
        }
        draw(&mut out, diagnostic, source, origin);
    }
    let hidden = diagnostics.len().saturating_sub(DIAGNOSTICS_SHOWN_MAX);
    if hidden > 0 {
        push_line(&mut out, &format!("\nand {hidden} more"));
    }
    out
}

fn draw(out: &mut String, diagnostic: &Diagnostic, source: &str, origin: &str) {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let at = diagnostic.position(source);
    let gutter = " ".repeat(at.line.to_string().len());
    push_line(out, &format!("{severity}[{}]: {}", diagnostic.code, diagnostic.message));
    push_line(out, &format!("{gutter}--> {origin}:{}:{}", at.line, at.column));
    push_line(out, &format!("{gutter} |"));
    // A filter may hold a tab or a carriage return; one column each keeps carets in place.
    let text: String = line(source, at.line).chars().map(visible).collect();
    push_line(out, &format!("{} | {text}", at.line));
    for marks in mark_lines(diagnostic, source, at) {
        push_line(out, &format!("{gutter} | {marks}"));
    }
    if diagnostic.help.is_some() || diagnostic.code.stops_reading() {
        push_line(out, &format!("{gutter} |"));
    }
    if let Some(help) = &diagnostic.help {
        push_line(out, &format!("help: {help}"));
    }
    if diagnostic.code.stops_reading() {
        push_line(out, "note: reading stopped here; later errors may be hidden");
    }
}

impl Code {
    /// Whether the parser gives up at the finding, so that later ones stay unseen.
    fn stops_reading(self) -> bool {
        self.number() / 100 == 30 && self != Code::Empty
    }
}

/// One mark under the source line.
struct Mark<'d> {
    column: usize,
    length: usize,
    sign: char,
    text: &'d str,
}

/// The line of signs, its trailing text on the last mark, and one line for each earlier text.
fn mark_lines(diagnostic: &Diagnostic, source: &str, at: Position) -> Vec<String> {
    let mut marks = vec![mark(diagnostic.span, source, '^', &diagnostic.label)];
    let on_line = |span: Span| Position::of(span, source).line == at.line;
    for label in diagnostic.labels.iter().filter(|label| on_line(label.span)) {
        marks.push(mark(label.span, source, '-', &label.text));
    }
    marks.sort_by_key(|mark| mark.column);

    let mut signs = String::new();
    for mark in &marks {
        pad_to(&mut signs, mark.column);
        signs.extend(std::iter::repeat_n(mark.sign, mark.length));
    }
    let mut lines = vec![signs];
    if let (Some(last), Some(first)) = (marks.pop(), lines.first_mut())
        && !last.text.is_empty()
    {
        first.push(' ');
        first.push_str(last.text);
    }
    while let Some(mark) = marks.pop() {
        let mut line = String::new();
        for left in &marks {
            pad_to(&mut line, left.column);
            line.push('|');
        }
        pad_to(&mut line, mark.column);
        line.push_str(mark.text);
        lines.push(line);
    }
    lines
}

fn mark<'d>(span: Span, source: &str, sign: char, text: &'d str) -> Mark<'d> {
    let at = Position::of(span, source);
    let rest_of_line =
        line(source, at.line).chars().count().saturating_sub(at.column.saturating_sub(1));
    Mark { column: at.column, length: at.length.min(rest_of_line).max(1), sign, text }
}

fn pad_to(line: &mut String, column: usize) {
    let missing = column.saturating_sub(1).saturating_sub(line.chars().count());
    line.extend(std::iter::repeat_n(' ', missing));
}

fn line(source: &str, number: usize) -> &str {
    source.split('\n').nth(number.saturating_sub(1)).unwrap_or_default()
}

fn visible(c: char) -> char {
    if c.is_control() { ' ' } else { c }
}

fn push_line(out: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn draws_the_assignment_message_of_the_manual() {
        let source = "if (event.issue.fields.priority.name = 'High') { true }";
        let rejected = crate::compile(source, crate::Profile::Filter).unwrap_err();
        let drawn = render(&rejected.diagnostics, source, "<arg>");
        let expected = "\
error[SY-3002]: expected `==`, found `=`
 --> <arg>:1:38
  |
1 | if (event.issue.fields.priority.name = 'High') { true }
  |                                      ^ assignment is not part of the language
  |
note: reading stopped here; later errors may be hidden
";
        assert_eq!(drawn, expected);
    }

    #[test]
    fn hangs_each_label_under_its_own_mark() {
        let source = "5 > '2'";
        let rejected = crate::compile(source, crate::Profile::Filter).unwrap_err();
        let drawn = render(&rejected.diagnostics, source, "x");
        let expected = "\
error[SY-3201]: cannot compare Number with String
 --> x:1:3
  |
1 | 5 > '2'
  | - ^ --- String
  | | |
  | | `>` needs two values of the same ordered type
  | Number
";
        assert!(drawn.starts_with("error[SY-3201]"), "{drawn}");
        assert_eq!(drawn.lines().nth(4), expected.lines().nth(4), "{drawn}");
    }

    #[test]
    fn counts_what_it_does_not_draw() {
        let one = Diagnostic::error(Code::Expected, Span::new(0, 1), "x");
        let drawn = render(&vec![one; 14], "abc", "x");
        assert!(drawn.ends_with("and 4 more\n"), "{drawn}");
    }
}

//! Renders diagnostics as text with carets, for terminals and logs, and as JSON, for tools.

use std::fmt::Write;

use serde_json::{Value, json};

use crate::diagnostic::{Diagnostic, Position, Severity};
use crate::limits::DIAGNOSTICS_SHOWN_MAX;
use crate::span::Span;

/// Renders `diagnostics` over `source`. `origin` names the source, such as `trigger.yaml#filter`.
/// At most [`DIAGNOSTICS_SHOWN_MAX`] are rendered, followed by the number of the others.
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

/// Returns one diagnostic in the JSON form of the APIs: `code`, `severity`, `message`, `offset`
/// (UTF-8 bytes), `offset16` (UTF-16 units), `length`, `line`, `column` (Unicode scalar values),
/// `labels`, and optionally `help` and `replacement`, which replaces exactly this span.
pub fn as_json(diagnostic: &Diagnostic, source: &str) -> Value {
    let mut value = span_as_json(diagnostic.span, source);
    let Some(object) = value.as_object_mut() else { return value };
    object.insert("code".into(), diagnostic.code.to_string().into());
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    object.insert("severity".into(), severity.into());
    object.insert("message".into(), diagnostic.message.as_str().into());
    let labels = diagnostic.labels.iter().map(|label| {
        let mut shown = span_as_json(label.span, source);
        if let Some(object) = shown.as_object_mut() {
            object.insert("text".into(), label.text.as_str().into());
        }
        shown
    });
    object.insert("labels".into(), labels.collect());
    if let Some(help) = &diagnostic.help {
        object.insert("help".into(), json!(help));
    }
    if let Some(replacement) = &diagnostic.replacement {
        object.insert("replacement".into(), json!(replacement));
    }
    value
}

/// Returns a span in all units.
pub fn span_as_json(span: Span, source: &str) -> Value {
    let at = Position::of(span, source);
    json!({
        "offset": at.offset,
        "offset16": at.offset16,
        "length": at.length,
        "line": at.line,
        "column": at.column,
    })
}

fn draw(out: &mut String, diagnostic: &Diagnostic, source: &str, origin: &str) {
    let severity = match diagnostic.severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    };
    let at = diagnostic.position(source);
    push_line(out, &format!("{severity}[{}]: {}", diagnostic.code, diagnostic.message));
    let marked = marked_lines(diagnostic, source);
    let last = marked.last().map_or(at.line, |(number, _)| *number);
    let gutter = " ".repeat(last.to_string().len());
    push_line(out, &format!("{gutter}--> {origin}:{}:{}", at.line, at.column));
    push_line(out, &format!("{gutter} |"));
    let mut before = None;
    for (number, marks) in marked {
        if before.is_some_and(|before| before + 1 < number) {
            push_line(out, "...");
        }
        before = Some(number);
        let text = line(source, number);
        let window = Window::around(&text, &marks);
        push_source(out, number, &gutter, &window.cut(&text));
        for signs in sign_lines(window.shift(marks)) {
            push_line(out, &format!("{gutter} | {signs}"));
        }
    }
    if diagnostic.help.is_some() || diagnostic.is_fatal {
        push_line(out, &format!("{gutter} |"));
    }
    if let Some(help) = &diagnostic.help {
        push_line(out, &format!("help: {help}"));
        if let Some(replacement) = &diagnostic.replacement {
            draw_replacement(out, diagnostic.span, source, &gutter, replacement);
        }
    }
    if diagnostic.is_fatal {
        push_line(out, "note: parsing stopped here; later errors may be hidden");
    }
}

/// Draws the line with the replacement, with `+` under inserted and `~` under changed characters.
fn draw_replacement(out: &mut String, span: Span, source: &str, gutter: &str, text: &str) {
    let at = Position::of(span, source);
    let old: Vec<char> = span.text(source).chars().collect();
    let new: Vec<char> = text.chars().collect();
    if old.contains(&'\n') || new.contains(&'\n') {
        return;
    }
    let same = |(a, b): &(&char, &char)| a == b;
    let head = old.iter().zip(&new).take_while(same).count();
    let rest = old.len().min(new.len()) - head;
    let tail = old.iter().rev().zip(new.iter().rev()).take(rest).take_while(same).count();
    let sign = if head + tail == old.len() { '+' } else { '~' };
    let changed = new.len() - head - tail;

    let before = line(source, at.line);
    let kept = at.column.saturating_sub(1);
    let mut after: String = before.chars().take(kept).collect();
    after.push_str(text);
    after.extend(before.chars().skip(kept + old.len()));
    let column = at.column + head;
    let mark = Mark { column, length: changed, sign, text: "" };
    let window = Window::around(&after, std::slice::from_ref(&mark));
    push_line(out, &format!("{gutter} |"));
    push_source(out, at.line, gutter, &window.cut(&after));
    for signs in sign_lines(window.shift(vec![mark])) {
        push_line(out, &format!("{gutter} | {signs}"));
    }
}

/// Characters of a source line that are drawn; of a longer line only the part around the marks.
const LINE_CHARS_MAX: usize = 120;
/// Characters that are drawn before the first mark of a truncated line.
const BEFORE_CHARS: usize = 40;

/// The drawn part of a line, in characters from 0.
struct Window {
    start: usize,
    end: usize,
}

impl Window {
    fn around(line: &str, marks: &[Mark<'_>]) -> Window {
        let width = line.chars().count();
        if width <= LINE_CHARS_MAX {
            return Window { start: 0, end: width };
        }
        // The primary mark, if not all marks fit.
        let first = marks.iter().find(|mark| mark.sign != '-').or(marks.first());
        let leftmost = marks.first().map_or(0, |mark| mark.column);
        let last = marks.last().map_or(0, |mark| mark.column + mark.length);
        let column = match last - leftmost < LINE_CHARS_MAX - BEFORE_CHARS {
            true => leftmost,
            false => first.map_or(leftmost, |mark| mark.column),
        };
        let start = column.saturating_sub(BEFORE_CHARS + 1).min(width - LINE_CHARS_MAX);
        Window { start, end: start + LINE_CHARS_MAX }
    }

    /// Returns the part of the line, with `…` where it is truncated.
    fn cut(&self, line: &str) -> String {
        let mut part: String = line.chars().skip(self.start).take(self.end - self.start).collect();
        if self.start > 0 {
            part.insert(0, '…');
        }
        if self.end < line.chars().count() {
            part.push('…');
        }
        part
    }

    /// Returns the marks inside the window, with their columns relative to it.
    fn shift<'d>(&self, marks: Vec<Mark<'d>>) -> Vec<Mark<'d>> {
        let ellipsis = usize::from(self.start > 0);
        // A mark at the end of the line is one column after the last character.
        let columns = self.start + 1..=self.end + 1;
        let inside = marks.into_iter().filter(|mark| columns.contains(&mark.column));
        inside
            .map(|mark| Mark {
                column: mark.column - self.start + ellipsis,
                length: mark.length.min((self.end + 1 - mark.column).max(1)),
                ..mark
            })
            .collect()
    }
}

/// One mark under a source line.
struct Mark<'d> {
    column: usize,
    length: usize,
    sign: char,
    text: &'d str,
}

/// The lines with marks, ascending, each with its marks from left to right.
fn marked_lines<'d>(diagnostic: &'d Diagnostic, source: &str) -> Vec<(usize, Vec<Mark<'d>>)> {
    let primary = (diagnostic.span, '^', diagnostic.label.as_str());
    let others = diagnostic.labels.iter().map(|label| (label.span, '-', label.text.as_str()));
    let mut lines: Vec<(usize, Vec<Mark<'_>>)> = Vec::new();
    for (span, sign, text) in std::iter::once(primary).chain(others) {
        let at = Position::of(span, source);
        let width = line(source, at.line).chars().count();
        let rest_of_line = width.saturating_sub(at.column.saturating_sub(1));
        let length = at.length.min(rest_of_line).max(1);
        let mark = Mark { column: at.column, length, sign, text };
        match lines.iter_mut().find(|(number, _)| *number == at.line) {
            Some((_, marks)) => marks.push(mark),
            None => lines.push((at.line, vec![mark])),
        }
    }
    lines.sort_by_key(|(number, _)| *number);
    for (_, marks) in &mut lines {
        marks.sort_by_key(|mark| mark.column);
    }
    lines
}

/// The line of signs with the text of the last mark, followed by the texts of the other marks.
fn sign_lines(mut marks: Vec<Mark<'_>>) -> Vec<String> {
    let mut signs = String::new();
    for mark in &marks {
        pad_to(&mut signs, mark.column);
        signs.extend(std::iter::repeat_n(mark.sign, mark.length));
    }
    let last = marks.pop().map_or("", |mark| mark.text);
    if !last.is_empty() {
        signs.push(' ');
        signs.push_str(last);
    }
    let mut lines = vec![signs];
    marks.retain(|mark| !mark.text.is_empty());
    if !marks.is_empty() {
        lines.push(bars(&marks));
    }
    while let Some(mark) = marks.pop() {
        let mut line = bars(&marks);
        pad_to(&mut line, mark.column);
        line.push_str(mark.text);
        lines.push(line);
    }
    lines
}

/// A line with a bar under the start of each mark.
fn bars(marks: &[Mark<'_>]) -> String {
    let mut line = String::new();
    for mark in marks {
        pad_to(&mut line, mark.column);
        line.push('|');
    }
    line
}

fn pad_to(line: &mut String, column: usize) {
    let missing = column.saturating_sub(1).saturating_sub(line.chars().count());
    line.extend(std::iter::repeat_n(' ', missing));
}

/// A line of the source. Control characters such as tabs take one column each, so that carets stay
/// aligned.
fn line(source: &str, number: usize) -> String {
    let line = source.split('\n').nth(number.saturating_sub(1)).unwrap_or_default();
    line.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn push_source(out: &mut String, number: usize, gutter: &str, text: &str) {
    push_line(out, &format!("{number:>width$} | {text}", width = gutter.len()));
}

fn push_line(out: &mut String, line: &str) {
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", line.trim_end());
}

#[cfg(test)]
mod tests;

//! Positions of keys in a configuration file, for excerpts in errors.

use std::collections::BTreeMap;
use std::ops::Range;

use toml::de::{DeTable, DeValue};

/// A text with the positions of its keys.
#[derive(Debug)]
pub(super) struct KeyPositions<'t> {
    text: &'t str,
    keys: BTreeMap<String, Range<usize>>,
}

impl<'t> KeyPositions<'t> {
    /// Finds the keys of a text; none if it is not TOML.
    pub(super) fn of(text: &'t str) -> Self {
        let mut keys = BTreeMap::new();
        if let Ok(table) = DeTable::parse(text) {
            collect(table.get_ref(), "", &mut keys);
        }
        Self { text, keys }
    }

    /// Returns the line of a key, from 1.
    pub(super) fn line(&self, path: &str) -> Option<usize> {
        let before = self.text.get(..self.keys.get(path)?.start)?;
        Some(before.matches('\n').count() + 1)
    }

    /// Renders ` --> 3:1` and the line with carets below the key; empty if there is no such key. Texts of the line are
    /// hidden: they may be secrets.
    pub(super) fn excerpt(&self, path: &str) -> String {
        self.try_excerpt(path).unwrap_or_default()
    }

    fn try_excerpt(&self, path: &str) -> Option<String> {
        let span = self.keys.get(path)?;
        let number = self.line(path)?;
        let start = self.text.get(..span.start)?.rfind('\n').map_or(0, |at| at + 1);
        let line = self.text.get(start..)?.lines().next()?;
        let before = self.text.get(start..span.start)?.chars().count();
        let width = self.text.get(span.clone())?.chars().count();
        let gutter = " ".repeat(number.to_string().len());
        let line = without_texts(line);
        let (indent, carets, column) = (" ".repeat(before), "^".repeat(width), before + 1);
        Some(format!(
            "\n{gutter}--> {number}:{column}\n{gutter} |\n{number} | {line}\n{gutter} | {indent}{carets}\n{gutter} |"
        ))
    }
}

/// Recursion is bounded, since the nesting of a TOML text is.
fn collect(table: &DeTable<'_>, path: &str, keys: &mut BTreeMap<String, Range<usize>>) {
    for (key, value) in table {
        let name: &str = key.get_ref();
        let here = if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") };
        if let DeValue::Table(inner) = value.get_ref() {
            collect(inner, &here, keys);
        }
        keys.insert(here, key.span());
    }
}

/// Replaces the texts of a line: they may be secrets.
fn without_texts(line: &str) -> String {
    let (mut shown, mut rest) = (String::with_capacity(line.len()), line);
    while let Some((before, after)) = rest.split_once(['"', '\'']) {
        let quote = rest.get(before.len()..=before.len()).unwrap_or("\"");
        let closed = after.split_once(quote).map_or("", |(_, rest)| rest);
        shown.extend([before, quote, "...", quote]);
        rest = closed;
    }
    shown.push_str(rest);
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_found_in_every_form_and_no_text_is_shown() {
        let text = "[admin]\ntokn = \"hidden\" # 'x'\n[ingest.jira.c1]\nsecret = 's'\n";
        let positions = KeyPositions::of(text);
        let excerpt = positions.excerpt("admin.tokn");
        assert!(!excerpt.contains("hidden") && excerpt.contains("tokn = \"...\""), "{excerpt}");
        assert_eq!(positions.line("admin.tokn"), Some(2));
        assert_eq!(positions.line("ingest.jira.c1.secret"), Some(4));
        assert_eq!(positions.excerpt("no.such"), "");
        let dotted = KeyPositions::of("delivery.allow_htp = true\nlimits = { stepz = 1 }\n");
        assert_eq!(dotted.line("delivery.allow_htp"), Some(1));
        assert!(dotted.excerpt("limits.stepz").contains(" --> 2:12\n"), "{dotted:?}");
        assert_eq!(KeyPositions::of("not TOML").line("not"), None);
        assert_eq!(without_texts("a = \"b"), "a = \"...\"");
        assert_eq!(without_texts("a = 1"), "a = 1");
    }
}

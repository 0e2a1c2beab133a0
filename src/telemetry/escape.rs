//! Text that strangers choose, such as ids, names and event types, made harmless for terminals and logs.
//!
//! Control characters move the cursor, start commands of the terminal or forge lines; marks of the
//! bidirectional algorithm and invisible characters make a text look like another. Each is written as
//! `\uXXXX` in UTF-16 units, which in a JSON document means the same character.

use std::fmt;

/// A text whose harmful characters are escaped.
#[derive(Clone, Copy, Debug)]
pub struct Escaped<'t> {
    text: &'t str,
    keeps_lines: bool,
}

impl<'t> Escaped<'t> {
    /// Escapes a text of one line: line breaks and tabs, too.
    #[must_use]
    pub fn line(text: &'t str) -> Self {
        Self { text, keeps_lines: false }
    }

    /// Escapes a text of several lines.
    #[must_use]
    pub fn lines(text: &'t str) -> Self {
        Self { text, keeps_lines: true }
    }

    fn is_escaped(&self, char: char) -> bool {
        match char {
            '\n' | '\t' => !self.keeps_lines,
            char => char.is_control() || is_deceptive(char),
        }
    }
}

impl fmt::Display for Escaped<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.text;
        while let Some(at) = rest.find(|char| self.is_escaped(char)) {
            let (plain, from) = rest.split_at(at);
            f.write_str(plain)?;
            let mut chars = from.chars();
            if let Some(char) = chars.next() {
                for unit in char.encode_utf16(&mut [0; 2]) {
                    write!(f, "\\u{unit:04x}")?;
                }
            }
            rest = chars.as_str();
        }
        f.write_str(rest)
    }
}

/// Whether a character changes the direction of text, breaks lines in some viewers, or is invisible and
/// has no use in a name. Joiners of scripts and emoji are kept.
///
/// **Source:** Unicode Technical Report 36, sections 2.10 and 3; Unicode Standard Annex 9, table 4.
fn is_deceptive(char: char) -> bool {
    matches!(char,
        '\u{00ad}' | '\u{061c}' | '\u{180e}' | '\u{200b}' | '\u{200e}' | '\u{200f}'
        | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}'
        | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn harmful_characters_are_escaped_and_all_others_are_kept() {
        for (text, escaped) in [
            ("OPS-1", "OPS-1"),
            ("Grüße 😀 👩\u{200d}💻 می\u{200c}خواهم", "Grüße 😀 👩\u{200d}💻 می\u{200c}خواهم"),
            ("\x1b]0;title\x07", r"\u001b]0;title\u0007"),
            ("\x1b[2J\x1b[1;1H", r"\u001b[2J\u001b[1;1H"),
            ("\u{9b}31m\u{7f}", r"\u009b31m\u007f"),
            ("a\r\nb\tc", r"a\u000d\u000ab\u0009c"),
            ("user\u{202e}gpj.exe", r"user\u202egpj.exe"),
            ("\u{2066}x\u{2069}\u{feff}", r"\u2066x\u2069\ufeff"),
            ("\u{e0041}", r"\udb40\udc41"),
            ("", ""),
        ] {
            assert_eq!(Escaped::line(text).to_string(), escaped);
        }
        assert_eq!(Escaped::lines("a\n\tb\r\x1b").to_string(), "a\n\tb\\u000d\\u001b");
    }

    #[test]
    fn escaped_json_is_the_same_json() {
        let value = serde_json::json!({"a\u{202e}": "x\u{e0041}\u{7f}\u{1b}", "b": ["\n", "é"]});
        for text in [value.to_string(), serde_json::to_string_pretty(&value).unwrap()] {
            let escaped = Escaped::lines(&text).to_string();
            assert!(!escaped.contains('\u{202e}'), "{escaped}");
            assert_eq!(serde_json::from_str::<serde_json::Value>(&escaped).unwrap(), value);
        }
    }
}

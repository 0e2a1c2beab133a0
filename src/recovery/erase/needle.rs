//! Finds an id in stored bytes, however JSON or an address spells it. Pure.

use std::borrow::Cow;

use percent_encoding::percent_decode_str;

/// Layers of escapes that are removed one after the other: JSON in a string in a string has three.
const LAYERS_MAX: usize = 5;
/// Rounds of percent-decoding: a header that has an encoded address has two.
const DECODINGS_MAX: usize = 2;
/// What precedes an account id in a mention.
const MENTION: &str = "accountid:";

/// An id to search for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Needle(Box<str>);

impl Needle {
    /// Searches for `id`, which is not empty.
    pub(super) fn new(id: &str) -> Self {
        Self(id.into())
    }

    /// Whether the id is somewhere in `bytes` as a whole: a value, a key, or a word of a text.
    pub(super) fn is_in(&self, bytes: &[u8]) -> bool {
        let mut text = String::from_utf8_lossy(bytes);
        for layer in 1..=LAYERS_MAX {
            let is_last = layer == LAYERS_MAX || !text.contains('\\');
            if self.is_in_decoded(&text, is_last) {
                return true;
            }
            if is_last {
                break;
            }
            text = Cow::Owned(unescaped(&text));
        }
        false
    }

    /// As [`Needle::is_in`], for a text of one layer, and for what it is as a part of an address.
    fn is_in_decoded(&self, text: &str, is_last: bool) -> bool {
        let mut text = Cow::Borrowed(text);
        for _ in 0..DECODINGS_MAX {
            if self.is_whole_in(&text, is_last) {
                return true;
            }
            if !text.contains('%') {
                return false;
            }
            text = Cow::Owned(percent_decode_str(&text).decode_utf8_lossy().into_owned());
        }
        self.is_whole_in(&text, is_last)
    }

    /// Whether the id occurs where no longer id continues. A backslash continues it unless `is_last`:
    /// its meaning is known in the next layer only.
    fn is_whole_in(&self, text: &str, is_last: bool) -> bool {
        let mut from = 0;
        while let Some(found) = text.get(from..).and_then(|rest| rest.find(&*self.0)) {
            let (start, end) = (from + found, from + found + self.0.len());
            let (before, after) = (text.get(..start), text.get(end..));
            let (before, after) = (before.unwrap_or_default(), after.unwrap_or_default());
            if !continues_before(before, is_last) && !continues_after(after, is_last) {
                return true;
            }
            // The next occurrence may overlap this one.
            from = start + self.0.chars().next().map_or(1, char::len_utf8);
        }
        false
    }
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// Characters that join two words to a longer id.
fn is_joint(c: char) -> bool {
    matches!(c, '-' | ':' | '.' | '@' | '+')
}

fn continues_before(before: &str, is_last: bool) -> bool {
    let mut chars = before.chars().rev();
    match (chars.next(), chars.next()) {
        (Some('\\'), _) => !is_last,
        (Some(':'), Some(_)) if ends_with_mention(before) => false,
        (Some(joint), Some(word)) if is_joint(joint) => is_word(word),
        (Some(c), _) => is_word(c),
        (None, _) => false,
    }
}

fn ends_with_mention(text: &str) -> bool {
    let start = text.len().saturating_sub(MENTION.len());
    text.get(start..).is_some_and(|end| end.eq_ignore_ascii_case(MENTION))
}

fn continues_after(after: &str, is_last: bool) -> bool {
    let mut chars = after.chars();
    match (chars.next(), chars.next(), chars.next()) {
        (Some('\\'), ..) => !is_last,
        // Its meaning is known once it is decoded.
        (Some('%'), Some(high), Some(low)) => high.is_ascii_hexdigit() && low.is_ascii_hexdigit(),
        (Some(joint), Some(next), _) if is_joint(joint) => {
            is_word(next) || next == '\\' && !is_last
        }
        (Some(c), ..) => is_word(c),
        (None, ..) => false,
    }
}

/// Removes one layer of JSON escapes; what is no escape stays.
fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\\') {
        let (before, escape) = rest.split_at(at);
        plain.push_str(before);
        let (c, bytes) = unescape(escape);
        plain.push(c);
        rest = escape.get(bytes..).unwrap_or_default();
    }
    plain.push_str(rest);
    plain
}

/// Returns the character of the escape that a text begins with, and its bytes.
fn unescape(escape: &str) -> (char, usize) {
    let c = match escape.as_bytes().get(1) {
        Some(b'n') => '\n',
        Some(b'r') => '\r',
        Some(b't') => '\t',
        Some(b'b') => '\u{8}',
        Some(b'f') => '\u{c}',
        Some(b'"') => '"',
        Some(b'/') => '/',
        Some(b'\\') => '\\',
        Some(b'u') => return unicode_escape(escape).unwrap_or(('\\', 1)),
        _ => return ('\\', 1),
    };
    (c, 2)
}

fn unicode_escape(escape: &str) -> Option<(char, usize)> {
    let unit = |at: usize| {
        let digits = escape.get(at..at + 6)?.strip_prefix("\\u")?;
        let is_hex = digits.bytes().all(|byte| byte.is_ascii_hexdigit());
        u16::from_str_radix(digits, 16).ok().filter(|_| is_hex)
    };
    let first = unit(0)?;
    if let Some(c) = char::from_u32(u32::from(first)) {
        return Some((c, 6));
    }
    let pair = [first, unit(6)?];
    let c = char::decode_utf16(pair).next()?.ok()?;
    Some((c, 12))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "557058:f58131cb-b67d-43c7-b30d-6b58d40bd077";

    fn found(id: &str, text: &str) -> bool {
        Needle::new(id).is_in(text.as_bytes())
    }

    #[test]
    fn id_is_found_as_a_value_a_key_and_a_word() {
        for text in [
            format!(r#"{{"accountId":"{ID}"}}"#),
            format!(r#"{{"{ID}":1}}"#),
            format!(r#"{{"text":"{ID}, hello"}}"#),
            format!("{ID}: hello"),
            format!("{ID}."),
            format!("seen {ID}-"),
            format!("[~accountid:{ID}]"),
            format!("[~ACCOUNTID:{ID}]"),
            format!("ari:cloud:identity::user/{ID}"),
            format!("({ID})"),
            ID.to_owned(),
        ] {
            assert!(found(ID, &text), "{text}");
        }
    }

    #[test]
    fn id_is_not_found_in_a_longer_one() {
        for (id, text) in [
            ("5b10ac8d", r#"{"accountId":"5b10ac8d82e0"}"#),
            ("5b10ac8d", r#"{"accountId":"005b10ac8d"}"#),
            ("557058:f", r#""557058:f58131cb""#),
            ("55705800", r#""55705800:f58131cb""#),
            ("f58131cb", r#""557058:f58131cb""#),
            ("jane.doe", r#""jane.doe.smith""#),
            ("jane.doe", "jane.doe@example.com"),
            ("jane.doe", "mary-jane.doe"),
            ("12345678", "12345678é"),
            ("5b10ac8d", r#""5b10ac8d\u0041""#),
            ("5b10ac8d", r#""5b10ac8d-\u0041""#),
            ("5b10ac8d", r#""\u00415b10ac8d""#),
            ("5b10ac8d", "accountId=5b10ac8d%41"),
            ("5b10ac8d", ""),
        ] {
            assert!(!found(id, text), "{id} in {text}");
        }
    }

    #[test]
    fn escapes_hide_nothing() {
        let id = "5b10ac8d82e0";
        for text in [
            r#"{"accountId":"\u0035b10ac8d82e0"}"#,
            r#"{"text":"line\n5b10ac8d82e0\nline"}"#,
            r#"{"body":"{\"accountId\":\"5b10ac8d82e0\"}"}"#,
            r#"{"body":"{\"accountId\":\"\\u0035b10ac8d82e0\"}"}"#,
            r#"{"body":"{\"b\":\"{\\\"a\\\":\\\"5b10ac8d82e0\\\"}\"}"}"#,
            r"C:\5b10ac8d82e0",
            r"5b10ac8d82e0\",
            r#""\uD83D\uDE005b10ac8d82e0""#,
            r#""\uD83D5b10ac8d82e0 \u00zz 5b10ac8d82e0""#,
        ] {
            assert!(found(id, text), "{text}");
        }
        assert!(found(ID, &format!("accountId={}", ID.replace(':', "%3A"))));
        assert!(found(ID, &format!("accountId={}&x", ID.replace(':', "%253a"))));
        assert!(found("a/b\"c\\d-é1", r#"{"id":"a\/b\"c\\d-\u00e91"}"#));
    }

    #[test]
    fn bytes_that_are_no_text_are_searched() {
        let mut bytes = vec![0xff, 0xfe];
        bytes.extend_from_slice(b"5b10ac8d82e0");
        bytes.push(0xff);
        assert!(Needle::new("5b10ac8d82e0").is_in(&bytes));
    }

    #[test]
    fn occurrences_that_overlap_are_found() {
        assert!(found("a(a(a(a(", "xa(a(a(a(a("));
    }

    #[test]
    fn text_of_backslashes_ends() {
        assert!(!found("5b10ac8d", &"\\".repeat(100_000)));
        assert!(!found("5b10ac8d", &"\\u".repeat(100_000)));
    }
}

//! Half surrogate pairs in JSON: found in texts that a sender cut at UTF-16 units, and replaced.
//!
//! Jira cuts long texts so. Such a text is no Unicode, and parsers reject the whole body for it.

use bytes::Bytes;

/// Length of the escape of a UTF-16 unit, `\uXXXX`.
const ESCAPE_BYTES: usize = 6;
/// The escape of U+FFFD, which replaces half a pair; as long as the escape it replaces.
const REPLACEMENT: &[u8; ESCAPE_BYTES] = b"\\ufffd";

/// Returns a JSON text with U+FFFD in place of each half of a surrogate pair; the same bytes if it has
/// none. Every other byte stays at its offset.
#[must_use]
pub fn repaired(text: &Bytes) -> Bytes {
    let mut repaired: Option<Vec<u8>> = None;
    let mut at = 0;
    // Outside of texts JSON has no backslash, so there is no need to find the texts.
    while let Some(found) = text.get(at..).and_then(|rest| rest.iter().position(is_backslash)) {
        at += found;
        let low = 0xdc00..=0xdfff_u16;
        at += match escaped_unit(text, at) {
            None => 2,
            Some(0xd800..=0xdbff)
                if escaped_unit(text, at + ESCAPE_BYTES)
                    .is_some_and(|unit| low.contains(&unit)) =>
            {
                2 * ESCAPE_BYTES
            }
            Some(0xd800..=0xdfff) => {
                let copy = repaired.get_or_insert_with(|| text.to_vec());
                if let Some(escape) = copy.get_mut(at..at + ESCAPE_BYTES) {
                    escape.copy_from_slice(REPLACEMENT);
                }
                ESCAPE_BYTES
            }
            Some(_) => ESCAPE_BYTES,
        };
    }
    repaired.map_or_else(|| text.clone(), Bytes::from)
}

fn is_backslash(byte: &u8) -> bool {
    *byte == b'\\'
}

/// Returns the UTF-16 unit of the escape at an offset; none if another escape is there.
fn escaped_unit(text: &[u8], at: usize) -> Option<u16> {
    let escape = text.get(at..)?.get(..ESCAPE_BYTES)?;
    let digits = escape.strip_prefix(b"\\u").filter(|hex| hex.iter().all(u8::is_ascii_hexdigit))?;
    u16::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;

    fn fixed(text: &str) -> String {
        String::from_utf8(repaired(&Bytes::copy_from_slice(text.as_bytes())).to_vec()).unwrap()
    }

    #[test]
    fn half_a_pair_is_replaced_and_a_whole_pair_is_not() {
        for (text, expected) in [
            (r#""\ud83d""#, r#""\ufffd""#),
            (r#""\uDD25 x""#, r#""\ufffd x""#),
            (r#""\ud83d\ud83d\udd25\udd25""#, r#""\ufffd\ud83d\udd25\ufffd""#),
            (r#""\ud83d\n\udd25""#, r#""\ufffd\n\ufffd""#),
            (r#"{"\ud800":1}"#, r#"{"\ufffd":1}"#),
        ] {
            assert_eq!(fixed(text), expected);
        }
        for text in
            [r#""\ud83d\udd25""#, r#""\\ud83d""#, r#""\u00e9 \" \\""#, r#""\ud83"#, "\\", ""]
        {
            assert_eq!(fixed(text), text);
        }
    }

    #[test]
    fn bytes_without_half_a_pair_are_not_copied() {
        let text = Bytes::from_static(br#"{"a":"\ud83d\udd25"}"#);
        assert_eq!(repaired(&text).as_ptr(), text.as_ptr());
    }

    proptest! {
        #[test]
        fn any_units_become_the_text_that_a_lenient_decoder_reads(
            units in prop::collection::vec(prop_oneof![0xd7f0_u16..0xe010, any::<u16>()], 0..12),
        ) {
            let escapes: String = units.iter().map(|unit| format!("\\u{unit:04x}")).collect();
            let text: Value = serde_json::from_str(&fixed(&format!("\"{escapes}\""))).unwrap();
            prop_assert_eq!(text.as_str(), Some(&*String::from_utf16_lossy(&units)));
        }
    }
}

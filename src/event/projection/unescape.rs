//! Resolves the escapes of JSON strings.

use crate::event::structural_index::unit;

/// Appends the string between the quotes; its escapes are already validated.
#[cold]
pub(super) fn unescape(mut inside: &[u8], out: &mut Vec<u8>) {
    while let Some(at) = inside.iter().position(|byte| *byte == b'\\') {
        let (plain, escape) = inside.split_at(at);
        out.extend_from_slice(plain);
        let len = match escape.get(1) {
            Some(b'u') => push_unit(escape, out),
            other => {
                out.push(match other {
                    Some(b'b') => 8,
                    Some(b'f') => 12,
                    Some(b'n') => b'\n',
                    Some(b'r') => b'\r',
                    Some(b't') => b'\t',
                    other => other.copied().unwrap_or_default(),
                });
                2
            }
        };
        debug_assert!(len <= escape.len(), "the scan accepted what is not an escape");
        inside = escape.get(len..).unwrap_or_default();
    }
    out.extend_from_slice(inside);
}

/// Appends the character of one `\uXXXX` or of a surrogate pair; returns the length of the escape.
fn push_unit(escape: &[u8], out: &mut Vec<u8>) -> usize {
    let first = unit(escape, 1).unwrap_or_default();
    let (code, len) = match first {
        0xd800..=0xdbff => {
            let second = unit(escape, 7).unwrap_or_default();
            (0x1_0000 + ((first & 0x3ff) << 10 | second & 0x3ff), 12)
        }
        code => (code, 6),
    };
    let character = char::from_u32(code);
    debug_assert!(character.is_some(), "the scan accepted what is not an escape");
    let character = character.unwrap_or(char::REPLACEMENT_CHARACTER);
    out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
    len
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unescapes_as_serde_json_does() {
        let escapes = [
            "",
            "plain",
            r#"\""#,
            r"\\",
            r"\/",
            r"\b\f\n\r\t",
            r"\u0000",
            r"\u0041b",
            r"\u00e4",
            r"\u20AC",
            r"\ud83d\ude00",
            r"\uDBFF\uDFFF",
            r"a\\u0041",
            r"ä\n😀",
        ];
        for first in escapes {
            for second in escapes {
                let inside = format!("{first}{second}");
                let expected: String = serde_json::from_str(&format!("\"{inside}\"")).unwrap();
                let mut out = b"before".to_vec();
                unescape(inside.as_bytes(), &mut out);
                assert_eq!(out, format!("before{expected}").as_bytes());
            }
        }
    }
}

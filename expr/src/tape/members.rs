//! Where the members of the root object stand in a JSON text.

/// A member of the root object as it stands in the text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TopLevelMember<'t> {
    /// The name between its quotes, escapes as written.
    pub raw_name: &'t str,
    /// Bytes of `"name": value`.
    pub range: std::ops::Range<usize>,
    /// Bytes of the value alone.
    pub value: std::ops::Range<usize>,
}

/// Walks over `text`, which is known to be a JSON object or empty.
pub(super) fn top_level(text: &str) -> impl Iterator<Item = TopLevelMember<'_>> {
    let mut at = text.find('{').map_or(text.len(), |at| at + 1);
    std::iter::from_fn(move || {
        let start = at + text.as_bytes().get(at..)?.iter().position(|byte| *byte == b'"')?;
        let name_end = string_end(text, start);
        let colon = name_end + text.get(name_end..)?.find(':')?;
        let value_start = colon + 1 + blank(text.get(colon + 1..)?);
        let value_end = value_end(text, value_start);
        at = value_end;
        Some(TopLevelMember {
            raw_name: text.get(start + 1..name_end.saturating_sub(1))?,
            range: start..value_end,
            value: value_start..value_end,
        })
    })
}

fn blank(text: &str) -> usize {
    text.len() - text.trim_start_matches([' ', '\t', '\n', '\r']).len()
}

/// Offset behind the string that opens at `start`.
fn string_end(text: &str, start: usize) -> usize {
    let mut bytes = text.bytes().enumerate().skip(start + 1);
    while let Some((at, byte)) = bytes.next() {
        match byte {
            b'"' => return at + 1,
            b'\\' => {
                bytes.next();
            }
            _ => {}
        }
    }
    text.len()
}

/// Offset behind the value that starts at `start`.
fn value_end(text: &str, start: usize) -> usize {
    let bytes = text.as_bytes();
    let (mut at, mut depth) = (start, 0_usize);
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => {
                at = string_end(text, at);
                if depth == 0 {
                    return at;
                }
                continue;
            }
            b'{' | b'[' => depth += 1,
            b'}' | b']' if depth <= 1 => return if depth == 1 { at + 1 } else { at },
            b'}' | b']' => depth -= 1,
            b',' | b' ' | b'\t' | b'\n' | b'\r' if depth == 0 => return at,
            _ => {}
        }
        at += 1;
    }
    at
}

//! W3C trace contexts: read from what strangers send, and written.

use std::fmt;
use std::num::{NonZeroU64, NonZeroU128};

/// Bytes of a context of version 00.
const BYTES: usize = 55;
/// Longest context of a later version that is read, in bytes.
const BYTES_MAX: usize = 256;
/// The flags that version 00 and level 2 of the standard define: sampled, and random.
const KNOWN_FLAGS: u8 = 0b11;
const SAMPLED: u8 = 0b01;

/// The context of a span: its trace, its id, and whether its trace is recorded.
///
/// **Source:** W3C Trace Context, level 2, section 3.2 (`traceparent`).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceContext {
    /// The trace.
    pub trace_id: NonZeroU128,
    /// The span.
    pub span_id: NonZeroU64,
    flags: u8,
}

impl TraceContext {
    /// Creates the context of a recorded span of the trace of random id `trace_id`.
    #[must_use]
    pub fn recorded(trace_id: NonZeroU128, span_id: NonZeroU64) -> Self {
        Self { trace_id, span_id, flags: KNOWN_FLAGS }
    }

    /// Parses a `traceparent`; none if it is not valid. Of a later version, the part is read that
    /// version 00 defines.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (head, rest) = text.as_bytes().split_at_checked(BYTES)?;
        let [v0, v1, b'-', trace @ .., b'-', f0, f1] = head else { return None };
        let (trace, span) = trace.split_at_checked(32)?;
        let [b'-', span @ ..] = span else { return None };
        let version = hex(&[*v0, *v1])?;
        let is_known = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => text.len() <= BYTES_MAX && (rest.is_empty() || rest.starts_with(b"-")),
        };
        if !is_known {
            return None;
        }
        let flags = u8::try_from(hex(&[*f0, *f1])?).ok()?;
        Some(Self {
            trace_id: NonZeroU128::new(hex(trace)?)?,
            span_id: NonZeroU64::new(u64::try_from(hex(span)?).ok()?)?,
            flags: flags & KNOWN_FLAGS,
        })
    }

    /// Returns the context of another recorded span of the same trace.
    #[must_use]
    pub fn child(self, span_id: NonZeroU64) -> Self {
        Self { span_id, flags: self.flags | SAMPLED, ..self }
    }

    /// Whether its trace is recorded.
    #[must_use]
    pub fn is_sampled(self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// Returns the flags as the standard numbers them.
    #[must_use]
    pub fn flags(self) -> u8 {
        self.flags
    }
}

/// Reads lower-case hexadecimal digits, the only ones that the standard allows.
fn hex(digits: &[u8]) -> Option<u128> {
    digits.iter().try_fold(0_u128, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u128::from(digit))
    })
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn valid_context_is_written_as_it_was_read() {
        for flags in ["00", "01", "02", "03"] {
            let text = format!("{}{flags}", &VALID[..53]);
            assert_eq!(TraceContext::parse(&text).unwrap().to_string(), text);
        }
        let context = TraceContext::parse(VALID).unwrap();
        assert_eq!(context.trace_id.get(), 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c);
        assert_eq!((context.span_id.get(), context.is_sampled()), (0xb7ad_6b71_6920_3331, true));
    }

    #[test]
    fn later_version_is_read_as_far_as_it_is_known() {
        for (text, is_read) in [
            (format!("01{}", &VALID[2..]), true),
            (format!("cc{}-more-{}", &VALID[2..], "x".repeat(100)), true),
            (format!("cc{}-{}", &VALID[2..], "x".repeat(300)), false),
            (format!("cc{}.more", &VALID[2..]), false),
        ] {
            let read = TraceContext::parse(&text).map(|context| context.to_string());
            assert_eq!(read, is_read.then(|| VALID.to_owned()), "{text}");
        }
        // Flags that no version defines yet say nothing.
        let flagged = TraceContext::parse(&format!("{}fd", &VALID[..53])).unwrap();
        assert_eq!(flagged.to_string(), VALID);
    }

    #[test]
    fn anything_else_is_no_context() {
        for text in [
            "",
            "00",
            "garbage",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-0000000000000000-01",
            "00-0AF7651916CD43DD8448EB211C80319C-b7ad6b7169203331-01",
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01-more",
            "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            "00_0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319c_b7ad6b7169203331-01",
            "00-0af7651916cd43dd8448eb211c80319-cb7ad6b7169203331-01",
            "0é-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-0",
            &"0".repeat(4096),
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}

//! The headers of a received request, and what is wrong with it.

/// Why a signature is not valid.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wrong {
    /// The part of the request: a header, `body` or `qsh`.
    pub(super) part: &'static str,
    pub(super) message: String,
    pub(super) help: String,
}

pub(super) fn wrong(
    part: &'static str,
    message: impl Into<String>,
    help: impl Into<String>,
) -> Wrong {
    Wrong { part, message: message.into(), help: help.into() }
}

/// Headers of a request, one a line.
pub(super) struct Headers<'h>(pub(super) &'h str);

impl<'h> Headers<'h> {
    /// Returns a header that has a value.
    pub(super) fn find(&self, name: &str) -> Option<&'h str> {
        let lines = self.0.lines().filter_map(|line| line.split_once(':'));
        let mut named = lines.filter(|(known, _)| known.trim().eq_ignore_ascii_case(name));
        named.next().map(|(_, value)| value.trim()).filter(|value| !value.is_empty())
    }

    /// As [`Headers::find`]; a missing header is what is wrong.
    pub(super) fn required(&self, name: &'static str) -> Result<String, Wrong> {
        self.find(name).map(str::to_owned).ok_or_else(|| {
            let help = "the file has one `name: value` a line; a proxy may have removed the header";
            wrong(name, "the header is missing", help)
        })
    }
}

//! What an expression is compiled for: the rules of the checker, and the settings of the trigger.

/// The rules by which an expression is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckProfile {
    /// A trigger filter: `event` is the only variable, and an expression that always fails is
    /// rejected.
    Filter,
    /// Any other expression: all variable names are accepted, and type errors are raised when it is
    /// evaluated.
    General,
}

/// The trigger settings that change what the checker reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage<'a> {
    /// The event types that the filter is evaluated on; empty means any.
    pub events: &'a [&'a str],
    /// Whether `onError` delivers the event when the filter fails, instead of dropping it.
    pub delivers_on_error: bool,
}

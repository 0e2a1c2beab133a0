//! States as a shape and a word.

use maud::{Markup, html};

/// How good a state is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in crate::console) enum State {
    Good,
    Warn,
    Bad,
    Info,
    Quiet,
}

impl State {
    /// Returns the class of the style sheet.
    pub(in crate::console) fn class(self) -> &'static str {
        match self {
            Self::Good => "good",
            Self::Warn => "warn",
            Self::Bad => "bad",
            Self::Info => "info",
            Self::Quiet => "idle",
        }
    }

    /// Shows a word with the shape and the color of the state.
    pub(in crate::console) fn word(self, word: &str) -> Markup {
        html! { span.state .(self.class()) { (word) } }
    }
}

/// Shows the state of a subscription; `failing` is why it fails now.
pub(in crate::console) fn subscription_state(state: &str, failing: &str) -> Markup {
    let kind = match state {
        _ if !failing.is_empty() => State::Bad,
        "active" => State::Good,
        "paused" => State::Warn,
        "undelivered" => State::Bad,
        _ => State::Quiet,
    };
    match failing {
        "" => kind.word(state),
        failing => html! { (kind.word(state)) " " small { (failing) } },
    }
}

/// Shows what became of a delivery.
pub(in crate::console) fn outcome(outcome: &str) -> Markup {
    let kind = match outcome.split([':', ' ']).next().unwrap_or_default() {
        "delivered" => State::Good,
        "dead" | "failed" => State::Bad,
        "parked" | "pending" | "waiting" => State::Warn,
        _ => State::Quiet,
    };
    kind.word(outcome)
}

/// Shows the state of an endpoint in words.
pub(in crate::console) fn breaker(state: &str, is_failing: bool) -> Markup {
    match (state, is_failing) {
        ("closed", false) => State::Good.word("delivering"),
        ("closed", true) => State::Warn.word("delivering, some fail"),
        ("half_open", _) => State::Warn.word("trying one delivery"),
        ("open", _) => State::Bad.word("stopped after failures"),
        ("paused", _) => State::Warn.word("paused"),
        ("disabled", _) => State::Bad.word("disabled"),
        ("idle", _) => State::Quiet.word("nothing to deliver"),
        (other, _) => State::Quiet.word(other),
    }
}

/// Returns the state of a severity, such as `critical`.
pub(in crate::console) fn severity(severity: &str) -> State {
    match severity {
        "critical" | "error" => State::Bad,
        "warning" => State::Warn,
        "ok" => State::Good,
        _ => State::Info,
    }
}

//! The progress of long work: one line on standard error with a bar and the time that is left, on a terminal only.

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::clock::in_largest_unit;
use crate::telemetry::Escaped;

/// Steps of the bar.
const STEPS: u64 = 1_000;
/// With a bar, for work whose end is known.
const BAR: &str = "{bar:30} {percent:>3} %  {msg}";
/// Without one.
const SPINNER: &str = "{spinner} {msg}";

/// The line of progress; nothing is shown if standard error is no terminal.
#[derive(Debug)]
pub(super) struct Progress {
    bar: ProgressBar,
    has_bar: bool,
}

impl Progress {
    /// Begins a line of progress.
    pub(super) fn new() -> Self {
        let bar = ProgressBar::with_draw_target(Some(STEPS), ProgressDrawTarget::stderr());
        let mut progress = Self { bar, has_bar: true };
        progress.set_style(false);
        progress
    }

    /// Whether it is not shown.
    pub(super) fn is_hidden(&self) -> bool {
        self.bar.is_hidden()
    }

    /// Shows how far the work is, from 0.0 to 1.0 if that is known, and in how many seconds it ends.
    pub(super) fn show(&mut self, fraction: Option<f64>, eta_s: Option<u64>, text: &str) {
        if self.is_hidden() {
            return;
        }
        self.set_style(fraction.is_some());
        if let Some(fraction) = fraction {
            self.bar.set_position(steps(fraction));
        }
        let left = eta_s.and_then(|eta_s| i64::try_from(eta_s).ok());
        let left =
            left.map(|eta_s| format!("  {} left", in_largest_unit(eta_s))).unwrap_or_default();
        self.bar.set_message(format!("{}{left}", Escaped::line(text)));
        self.bar.tick();
    }

    fn set_style(&mut self, has_bar: bool) {
        if self.has_bar == has_bar {
            return;
        }
        self.has_bar = has_bar;
        let style = ProgressStyle::with_template(if has_bar { BAR } else { SPINNER });
        debug_assert!(style.is_ok(), "the templates are valid");
        if let Ok(style) = style {
            self.bar.set_style(style.progress_chars("=> "));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.bar.finish_and_clear();
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "a number from 0 to 1000"
)]
fn steps(fraction: f64) -> u64 {
    (fraction.clamp(0.0, 1.0) * STEPS as f64) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_valid_and_fractions_are_bounded() {
        assert!(ProgressStyle::with_template(BAR).is_ok());
        assert!(ProgressStyle::with_template(SPINNER).is_ok());
        assert_eq!([-1.0, 0.0, 0.5, 1.0, 7.0].map(steps), [0, 0, 500, 1_000, 1_000]);
        assert_eq!(steps(f64::NAN), 0);
    }

    #[test]
    fn progress_is_hidden_without_a_terminal() {
        use std::io::IsTerminal as _;
        let mut progress = Progress::new();
        assert_eq!(progress.is_hidden(), !std::io::stderr().is_terminal());
        progress.show(Some(0.5), Some(90), "half");
    }
}

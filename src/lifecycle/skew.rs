//! Clock skew: whether the wall clock of this machine differs from the broker's. Pure.

use jiff::SignedDuration;

/// Difference from which on the clock counts as wrong. Tokens and signatures use the wall clock.
const SKEW_MAX: SignedDuration = SignedDuration::from_secs(2);
/// Difference up to which a wrong clock counts as corrected, and by which it must change to be reported again.
const SKEW_STEP: SignedDuration = SignedDuration::from_secs(1);

/// Reports each change of the skew once.
#[derive(Debug, Default)]
pub(super) struct SkewWatch {
    reported: Option<SignedDuration>,
}

/// A change to report.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum SkewChange {
    /// The clock is wrong by this much, or by another amount than before.
    Wrong(SignedDuration),
    /// The clock is right again.
    Corrected,
}

impl SkewWatch {
    /// Records how far the wall clock is ahead of the broker's.
    pub(super) fn step(&mut self, skew: SignedDuration) -> Option<SkewChange> {
        match self.reported {
            Some(_) if skew.abs() <= SKEW_STEP => {
                self.reported = None;
                Some(SkewChange::Corrected)
            }
            Some(known) if (skew - known).abs() <= SKEW_STEP => None,
            _ if skew.abs() <= SKEW_MAX => None,
            _ => {
                self.reported = Some(skew);
                Some(SkewChange::Wrong(skew))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ms(ms: i64) -> SignedDuration {
        SignedDuration::from_millis(ms)
    }

    #[test]
    fn skew_is_reported_once_per_change() {
        for sign in [1, -1] {
            let mut watch = SkewWatch::default();
            let wrong = |skew| Some(SkewChange::Wrong(ms(sign * skew)));
            for (skew, expected) in [
                (0, None),
                (1_900, None),
                (7_200_000, wrong(7_200_000)),
                (7_200_100, None),
                (7_200_900, None),
                (3_600_000, wrong(3_600_000)),
                (1_900, None),
                (1_000, Some(SkewChange::Corrected)),
                (0, None),
                (2_001, wrong(2_001)),
            ] {
                assert_eq!(watch.step(ms(sign * skew)), expected, "{skew}");
            }
        }
    }
}

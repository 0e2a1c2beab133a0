//! Usage of a quota, and the threshold at which the app is warned.

use super::problem::{Problem, code};

/// Share of a quota above which the app is notified, in percent.
const NEAR_LIMIT_PERCENT: usize = 90;

/// Usage of a quota before and after a change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct QuotaUsage {
    pub(crate) before: usize,
    pub(crate) after: usize,
    pub(crate) max: usize,
}

impl QuotaUsage {
    /// Whether the change crossed the threshold.
    pub(crate) fn crossed_threshold(self) -> bool {
        let is_near =
            |used: usize| used.saturating_mul(100) >= self.max.saturating_mul(NEAR_LIMIT_PERCENT);
        self.max > 0 && is_near(self.after) && !is_near(self.before)
    }

    /// Warning for the caller whose change crossed the threshold.
    pub(crate) fn warning(self) -> Option<Problem> {
        let Self { after, max, .. } = self;
        let message = format!("{after} of {max} dynamic modules are used");
        self.crossed_threshold().then(|| Problem::new(code::NEAR_LIMIT, "", message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threshold_is_crossed_once() {
        let near = |before, after| QuotaUsage { before, after, max: 100 }.crossed_threshold();
        assert!(near(89, 90) && near(0, 100));
        assert!(!near(88, 89) && !near(90, 91) && !near(95, 94));
        assert!(!QuotaUsage { before: 0, after: 0, max: 0 }.crossed_threshold());
    }
}

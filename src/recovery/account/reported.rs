//! What the keeper logged, so that it logs only what changed. Pure.

use std::collections::{HashMap, HashSet};

use super::checks::CheckKind;
use super::limits::NAMED_MAX;
use super::numbers::MissingRecords;
use super::sheet::GapDelivery;

/// What an account names.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub(super) enum Finding {
    Gap(GapDelivery),
    Missing(MissingRecords),
}

/// What was logged.
#[derive(Debug, Default)]
pub(super) struct Reported {
    /// What the last check of each kind named.
    findings: HashMap<CheckKind, HashSet<Finding>>,
    errors: HashMap<&'static str, String>,
}

impl Reported {
    /// Notes what a check named, the first [`NAMED_MAX`] of it; returns what the last checks did not name.
    pub(super) fn new_findings(
        &mut self,
        kind: CheckKind,
        findings: impl IntoIterator<Item = Finding>,
    ) -> Vec<Finding> {
        let findings: Vec<Finding> = findings.into_iter().take(NAMED_MAX).collect();
        let is_known = |one: &Finding| self.findings.values().any(|known| known.contains(one));
        let new = findings.iter().filter(|one| !is_known(one)).cloned().collect();
        self.findings.insert(kind, findings.into_iter().collect());
        new
    }

    /// Notes an error of an action; returns whether the action failed in another way before, or not at all.
    pub(super) fn is_new_error(&mut self, action: &'static str, error: String) -> bool {
        self.errors.get(action) != Some(&error) && {
            self.errors.insert(action, error);
            true
        }
    }

    /// Notes that an action succeeded.
    pub(super) fn end_error(&mut self, action: &'static str) {
        self.errors.remove(action);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn missing(first: u64) -> Finding {
        Finding::Missing(MissingRecords { series: "p".into(), first, last: first })
    }

    #[test]
    fn only_what_changed_is_new() {
        let mut reported = Reported::default();
        let [recent, earlier] = [CheckKind::Recent, CheckKind::Earlier];
        assert_eq!(reported.new_findings(recent, [missing(1)]), [missing(1)]);
        assert!(reported.new_findings(recent, [missing(1)]).is_empty());
        assert_eq!(reported.new_findings(recent, [missing(1), missing(2)]), [missing(2)]);
        assert!(reported.new_findings(earlier, [missing(1)]).is_empty(), "it moved");
        assert!(reported.new_findings(recent, []).is_empty());
        assert_eq!(reported.new_findings(recent, [missing(2)]), [missing(2)], "it is named again");
        assert_eq!(reported.new_findings(recent, (10..1_000).map(missing)).len(), NAMED_MAX);

        assert!(reported.is_new_error("recent", "a".into()));
        assert!(!reported.is_new_error("recent", "a".into()));
        assert!(reported.is_new_error("earlier", "a".into()));
        assert!(reported.is_new_error("recent", "b".into()));
        reported.end_error("recent");
        assert!(reported.is_new_error("recent", "b".into()));
    }
}

//! What the records of one change say together, and which entries a question selects.

use super::record::{Action, AuditId, AuditRecord, Content, Step};

/// After which a change without a second record is not running any more, in milliseconds.
const RUNNING_MS_MAX: i64 = 60_000;

/// A change, or a login.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditEntry {
    /// Its id.
    pub id: AuditId,
    /// When it began, milliseconds since the epoch.
    pub at_ms: i64,
    /// Who does what.
    pub action: Action,
    /// The resource before it.
    pub before: Option<Content>,
    /// Its result; of a change that is not known to have ended, why.
    pub result: Result<AuditResult, PendingReason>,
}

/// How a change ended.
#[derive(Clone, PartialEq, Debug)]
pub struct AuditResult {
    /// Status of the answer.
    pub status: u16,
    /// The resource after it.
    pub after: Option<Content>,
    /// When it ended, milliseconds since the epoch.
    pub at_ms: i64,
}

/// Why a change has no result.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum PendingReason {
    /// It began a short time ago.
    Running,
    /// The router stopped, the client left, or the broker was away before it ended: it may be done or not.
    Unknown,
}

impl AuditEntry {
    /// Returns the entry that begins with a record, with the record of its end; none if the record begins no entry.
    #[must_use]
    pub fn of(first: AuditRecord, end: Option<&AuditRecord>, now_ms: i64) -> Option<Self> {
        let AuditRecord { id, at_ms, step, .. } = first;
        let (action, before, result) = match step {
            Step::Started { action, before } => {
                let is_young = now_ms.saturating_sub(at_ms) < RUNNING_MS_MAX;
                let pending =
                    if is_young { PendingReason::Running } else { PendingReason::Unknown };
                (action, before, end.and_then(result_of).ok_or(pending))
            }
            Step::Event { action, status } => {
                (action, None, Ok(AuditResult { status, after: None, at_ms }))
            }
            Step::Done { .. } => return None,
        };
        Some(Self { id, at_ms, action, before, result })
    }
}

fn result_of(end: &AuditRecord) -> Option<AuditResult> {
    match &end.step {
        Step::Done { status, after } => {
            Some(AuditResult { status: *status, after: after.clone(), at_ms: end.at_ms })
        }
        _ => None,
    }
}

/// Which entries are wanted.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct AuditQuery {
    /// Name of the caller.
    pub caller: Option<String>,
    /// Id of the operation.
    pub operation: Option<String>,
    /// Text that the path has.
    pub path: Option<String>,
    /// Not older than this, milliseconds since the epoch.
    pub since_ms: Option<i64>,
    /// Whether entries have what was shown of the resources.
    pub with_content: bool,
}

impl AuditQuery {
    /// Whether an action at a time is wanted.
    #[must_use]
    pub fn selects(&self, action: &Action, at_ms: i64) -> bool {
        let is = |wanted: &Option<String>, found: &str| {
            wanted.as_deref().is_none_or(|wanted| wanted == found)
        };
        is(&self.caller, &action.caller)
            && is(&self.operation, &action.operation)
            && self.path.as_deref().is_none_or(|wanted| action.path.contains(wanted))
            && self.since_ms.is_none_or(|since_ms| at_ms >= since_ms)
    }
}

/// Some entries, newest first.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// The sequence before which the next page begins; none if there are no older entries.
    pub next: Option<u64>,
    /// The time of the oldest record that was read, milliseconds since the epoch.
    pub examined_until_ms: Option<i64>,
    /// Records that this release cannot read.
    pub unreadable: usize,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::Via;

    fn action() -> Action {
        Action {
            caller: "ci".into(),
            scope: None,
            installation: None,
            via: Via::Api,
            address: None,
            operation: "putApp".into(),
            method: "PUT".into(),
            path: "/admin/v1/apps/a".into(),
            request_id: None,
            detail: None,
        }
    }

    #[test]
    fn change_without_a_second_record_is_running_and_then_unknown() {
        let started = |at_ms| {
            let step = Step::Started { action: action(), before: None };
            AuditRecord::new(AuditId::new(at_ms), at_ms, step)
        };
        let result = |now_ms| AuditEntry::of(started(1_000), None, now_ms).unwrap().result;
        assert_eq!(result(2_000), Err(PendingReason::Running));
        assert_eq!(result(61_000), Err(PendingReason::Unknown));
        let first = started(1_000);
        let done =
            AuditRecord::new(first.id.clone(), 1_500, Step::Done { status: 200, after: None });
        let entry = AuditEntry::of(first, Some(&done), 90_000).unwrap();
        assert_eq!(entry.result, Ok(AuditResult { status: 200, after: None, at_ms: 1_500 }));
        assert_eq!(AuditEntry::of(done, None, 90_000), None, "it begins no entry");
    }

    #[test]
    fn query_selects_by_caller_operation_part_of_the_path_and_time() {
        let of = |change: fn(&mut AuditQuery)| {
            let mut query = AuditQuery::default();
            change(&mut query);
            query.selects(&action(), 1_000)
        };
        assert!(of(|_| {}));
        assert!(of(|query| query.caller = Some("ci".into())));
        assert!(!of(|query| query.caller = Some("c".into())));
        assert!(of(|query| query.operation = Some("putApp".into())));
        assert!(!of(|query| query.operation = Some("put".into())));
        assert!(of(|query| query.path = Some("/apps/".into())));
        assert!(!of(|query| query.path = Some("/installations".into())));
        assert!(of(|query| query.since_ms = Some(1_000)));
        assert!(!of(|query| query.since_ms = Some(1_001)));
    }
}

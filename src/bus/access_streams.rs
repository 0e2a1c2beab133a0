//! The streams of who has access and what was done with it: the audit log, and the sessions of the console.

use std::time::Duration;

use async_nats::jetstream::stream::{Config, DiscardPolicy};

use super::subjects::Subjects;
use crate::config;
use crate::sessions::{SESSION_LIFE, SESSIONS_MAX};

/// Returns the stream of the audit log: the broker refuses to delete its messages, and deletes the oldest itself.
pub(super) fn audit_log(subjects: &Subjects, audit: &config::AuditConfig, base: Config) -> Config {
    Config {
        name: subjects.audit_stream(),
        description: Some("Who changed what".into()),
        subjects: vec![subjects.audit_pattern()],
        max_age: Duration::from_secs(audit.max_age_days.saturating_mul(24 * 3600)),
        max_bytes: i64::try_from(audit.max_bytes).unwrap_or(i64::MAX),
        discard: DiscardPolicy::Old,
        deny_delete: true,
        deny_purge: true,
        ..base
    }
}

/// Returns the stream behind the bucket: keys expire, and beyond the most sessions the oldest leaves.
pub(super) fn sessions(subjects: &Subjects, base: Config) -> Config {
    Config {
        name: subjects.sessions_stream(),
        description: Some("Sessions of the console".into()),
        subjects: vec![format!("$KV.{}.>", subjects.sessions_bucket())],
        max_messages_per_subject: 1,
        max_messages: i64::try_from(SESSIONS_MAX).unwrap_or(i64::MAX),
        max_age: SESSION_LIFE,
        discard: DiscardPolicy::Old,
        allow_rollup: true,
        ..base
    }
}

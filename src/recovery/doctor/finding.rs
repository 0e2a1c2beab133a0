//! What the doctor reports: how bad it is, what is wrong, and what to do.

use serde::Serialize;

use super::subject::{Subject, SubjectKind};

/// How bad a finding is.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = FindingSeverity)]
pub enum Severity {
    /// Advice.
    Note,
    /// Something will fail, or fails for some.
    Warning,
    /// Events are not routed, or can be lost.
    Critical,
}

/// One finding.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check: `broker`, `streams`, `storage`, `clock`, `input`, `dead_letters`, `subscriptions`,
    /// `endpoints`, `registry` or `config`.
    pub check: &'static str,
    /// What is wrong, one sentence.
    pub message: String,
    /// What to do, one sentence.
    pub fix: String,
    /// What it speaks of, the culprit first.
    pub subjects: Vec<Subject>,
}

impl Finding {
    /// Creates a finding.
    #[must_use]
    pub fn new(
        severity: Severity,
        check: &'static str,
        message: impl Into<String>,
        fix: impl Into<String>,
    ) -> Self {
        Self { severity, check, message: message.into(), fix: fix.into(), subjects: Vec::new() }
    }

    /// Adds what it speaks of.
    #[must_use]
    pub fn about(mut self, kind: SubjectKind, id: impl Into<String>) -> Self {
        self.subjects.push(Subject::new(kind, id));
        self
    }
}

//! Findings of a check and what they are about.

use switchyard_expr::{Diagnostic, Severity};

use super::input::FilterText;
use crate::registry::Problem;

/// The result of a check: all findings, and the filters they are about.
pub(super) struct Checked {
    pub(super) findings: Vec<Finding>,
    pub(super) filters: Vec<FilterText>,
    /// Number of modules and single filters.
    pub(super) modules: usize,
}

/// One finding and its location.
pub(super) struct Finding {
    /// File, and where in it: `manifest.yml#modules.trigger[0].filter.expression`.
    pub(super) origin: String,
    pub(super) kind: FindingKind,
}

/// What a finding is about.
pub(super) enum FindingKind {
    /// About an expression: index into [`Checked::filters`], and the diagnostic.
    Filter(usize, Box<Diagnostic>),
    /// About a module.
    Module(Severity, Box<Problem>),
}

impl Finding {
    pub(super) fn is_error(&self) -> bool {
        match &self.kind {
            FindingKind::Filter(_, diagnostic) => diagnostic.severity == Severity::Error,
            FindingKind::Module(severity, _) => *severity == Severity::Error,
        }
    }
}

//! What a finding speaks of, so that a page can link it.

use serde::Serialize;

/// One thing that a sentence names.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
#[schema(as = ProblemSubject)]
pub struct Subject {
    /// What it is.
    pub kind: SubjectKind,
    /// Its id, as the operator API has it; of the broker its address.
    pub id: String,
}

/// Kind of a subject.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "lowercase")]
#[schema(as = ProblemSubjectKind)]
pub enum SubjectKind {
    /// An app.
    App,
    /// The broker.
    Broker,
    /// A receiver of deliveries.
    Endpoint,
    /// An installation.
    Installation,
    /// A site.
    Site,
    /// A stream of the broker.
    Stream,
    /// A subscription, `<installation>/<key>`.
    Subscription,
}

impl Subject {
    /// Creates a subject.
    #[must_use]
    pub fn new(kind: SubjectKind, id: impl Into<String>) -> Self {
        Self { kind, id: id.into() }
    }
}

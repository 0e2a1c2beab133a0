//! Revisions: what the filter, the events and the state of each module were, so that the past can be
//! explained and events can be matched again as they were.
//!
//! [`record`] is what is stored, [`changes`] finds it in two documents, [`RevisionRecorder`] writes it after a
//! change is durable. What a crash or an outage kept from being written is found by comparing the document with
//! the last revisions, in the background: [`RevisionChecks`] says which documents. The stream is the trait
//! [`RevisionLog`].
//!
//! Guarantee: a change of the registry never fails because of its revision, and waits for it at most
//! [`recorder::RECORD_TIMEOUT`]. Bounds: [`REVISIONS_OF_MODULE_MAX`] revisions of each module,
//! [`history::DELETED_MAX`] deleted modules of an owner, [`StreamUse::max`] revisions in all. Why it is so:
//! `docs/design/revisions.md`.

mod changes;
mod checks;
mod content;
mod history;
mod log;
mod owner;
mod record;
mod recorder;
mod timeline;

pub(crate) use changes::{Change, changes_of_app, changes_of_installation};
pub(crate) use checks::RevisionChecks;
pub(crate) use content::has_same_content;
pub use content::{RevisedEvent, RevisionDiff};
pub use history::REVISIONS_OF_MODULE_MAX;
pub(crate) use history::{DELETED_KEPT_MS, DELETED_KEPT_SHORT_MS, LiveModule, compare, sorted};
pub use log::{Appended, RevisionLog, RevisionLogError, RevisionWrite, StoredRevision, StreamUse};
pub use owner::RevisionOwner;
pub use record::{ModuleRevision, RevisedState, RevisionId};
pub(crate) use recorder::RevisionRecorder;
pub(crate) use timeline::OwnerTimeline;
pub use timeline::{RevisionError, RevisionHistory, RevisionMoment};

//! The interface to the webhooks that map to no event, which are stored under their own names.

use futures_util::future::BoxFuture;

use crate::domain::CloudId;

/// Begins the event type of a webhook whose name maps to no event.
pub const PREFIX: &str = "webhook:";
/// Event type in the subject of events whose names are beyond the bound of their site. The events keep
/// their types. A webhook that is named so is counted with them.
pub const OTHER: &str = "webhook:other";

/// Counts stored webhooks that map to no event; implemented in `bus`.
pub trait UnmappedWebhooks: Send + Sync {
    /// Lists the names of such webhooks of a site, the most frequent first: at most `max`.
    ///
    /// # Errors
    /// The broker does not answer; one sentence.
    fn list<'a>(
        &'a self,
        site: &'a CloudId,
        max: usize,
    ) -> BoxFuture<'a, Result<UnmappedNames, String>>;
}

/// The webhooks of a site that map to no event.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct UnmappedNames {
    /// Names with the numbers of their events, which the event stream still holds.
    pub names: Vec<(String, u64)>,
    /// Events of further names, which have no subject of their own.
    pub other: u64,
    /// Whether there are more.
    pub is_cut: bool,
}

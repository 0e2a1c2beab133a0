//! The interface to the webhooks that map to no event, which are stored under their own names.

use futures_util::future::BoxFuture;

use crate::domain::CloudId;

/// Begins the event type of a webhook whose name maps to no event.
pub const PREFIX: &str = "webhook:";

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
    /// Whether there are more.
    pub is_cut: bool,
}

//! What counting needs of the registry and of the broker; implemented in `lifecycle` and `bus`.

use std::sync::Arc;

use futures_util::future::BoxFuture;
use thiserror::Error;

use super::compare::Comparison;
use super::tally::Tally;
use crate::domain::SubscriptionId;

/// The shadows that are set.
pub trait ShadowDirectory: Send + Sync {
    /// Returns the subscriptions that have one.
    fn all(&self) -> Vec<SubscriptionId>;

    /// Returns what is compared for a subscription; none if it has no shadow.
    ///
    /// # Errors
    /// A filter cannot be compiled now; one sentence.
    fn find(&self, id: &SubscriptionId) -> Result<Option<Arc<Comparison>>, String>;
}

/// A directory without shadows.
#[derive(Clone, Copy, Debug)]
pub struct NoShadows;

impl ShadowDirectory for NoShadows {
    fn all(&self) -> Vec<SubscriptionId> {
        Vec::new()
    }

    fn find(&self, _: &SubscriptionId) -> Result<Option<Arc<Comparison>>, String> {
        Ok(None)
    }
}

/// Why a tally is not read or replaced.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum TallyStoreError {
    /// Another replica replaced it.
    #[error("another replica counted")]
    Conflict,
    /// The broker does not answer, or a later release wrote it; one sentence.
    #[error("{0}")]
    Unavailable(String),
}

/// Stores one tally for each subscription. One that is not replaced for 7 days is deleted.
pub trait TallyStore: Send + Sync {
    /// Returns the tally of a subscription and its revision; 0 if there is none.
    ///
    /// # Errors
    /// The broker does not answer.
    fn read<'a>(
        &'a self,
        id: &'a SubscriptionId,
    ) -> BoxFuture<'a, Result<(Option<Tally>, u64), TallyStoreError>>;

    /// Replaces the tally of a subscription if it has `revision`.
    ///
    /// # Errors
    /// Another replica replaced it, or the broker does not answer.
    fn replace<'a>(
        &'a self,
        id: &'a SubscriptionId,
        tally: &'a Tally,
        revision: u64,
    ) -> BoxFuture<'a, Result<(), TallyStoreError>>;
}

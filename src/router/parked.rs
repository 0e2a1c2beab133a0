//! Parked deliveries that are due: read, looked up and attempted again.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;

use futures_util::FutureExt;

use crate::delivery::{
    DeadLetter, DeadLetterCause, DeadLetterReason, Delivery, DeliveryOutcome, Dispatcher,
    MalformedRecord, ParkedDelivery, SubscriptionDirectory, parked_owner,
};
use crate::event::Message;

/// Resumes parked deliveries.
pub(super) struct ParkedDeliveries {
    dispatcher: Arc<Dispatcher>,
    directory: Arc<dyn SubscriptionDirectory>,
}

impl ParkedDeliveries {
    /// Creates the resumption of deliveries to the subscriptions of `directory`.
    pub(super) fn new(
        dispatcher: Arc<Dispatcher>,
        directory: Arc<dyn SubscriptionDirectory>,
    ) -> Self {
        Self { dispatcher, directory }
    }

    /// Completes once the delivery of the record `message` is accounted for.
    pub(super) async fn resume<M: Message>(&self, message: &M) {
        let directory = &*self.directory;
        let app = message.address().rsplit('.').next().unwrap_or_default();
        let owner = parked_owner(message.headers(), directory, app);
        let is_parked = match AssertUnwindSafe(self.settle(message)).catch_unwind().await {
            Ok(is_parked) => is_parked,
            // Redelivered, it would panic again for ever.
            Err(_) => {
                let sequence = message.sequence();
                tracing::error!(sequence, "resuming a parked delivery panicked; dead-lettered");
                self.dead_letter(message, "crash", "its resumption panicked").await;
                false
            }
        };
        if let Some(owner) = owner.filter(|_| !is_parked) {
            self.dispatcher.release_parked(&owner, message.payload().len());
        }
    }

    /// As [`ParkedDeliveries::resume`]; returns whether the delivery is parked again.
    async fn settle<M: Message>(&self, message: &M) -> bool {
        match self.restore(message) {
            Ok(Some(delivery)) => {
                let outcome =
                    self.dispatcher.deliver(delivery, self.dispatcher.park_after(), None).await;
                return matches!(outcome, DeliveryOutcome::Parked(_));
            }
            Ok(None) => {
                self.dispatcher.drop_by_policy();
            }
            Err(malformed) => self.dead_letter(message, "schema", &malformed.to_string()).await,
        }
        false
    }

    /// Dead-letters a record that cannot be resumed, with its original bytes.
    async fn dead_letter<M: Message>(&self, message: &M, poison: &'static str, error: &str) {
        let reason = DeadLetterReason::Poison(poison);
        let cause = DeadLetterCause { reason: &reason, stage: "parking", error };
        let letter = DeadLetter::of_record(message.payload(), message.sequence(), &cause);
        self.dispatcher.store_dead_letter(letter, &reason).await;
    }

    /// Reads the delivery of a parked record; none if all of its subscriptions were removed.
    fn restore<M: Message>(&self, message: &M) -> Result<Option<Delivery>, MalformedRecord> {
        let parked = ParkedDelivery::read(message.headers(), message.payload())?;
        let mut live = parked.subscriptions.iter().filter_map(|id| self.directory.find(id));
        match live.next() {
            Some(subscription) => {
                let coalesced_with = live.collect();
                parked.resume(subscription, coalesced_with).map(Some)
            }
            None => Ok(None),
        }
    }
}

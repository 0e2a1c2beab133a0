//! Parked deliveries that are due: read, looked up and attempted again.

use std::sync::Arc;

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
        if !self.settle(message).await
            && let Some(owner) = owner
        {
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
            Err(malformed) => {
                let (reason, error) = (DeadLetterReason::Poison("schema"), malformed.to_string());
                let cause = DeadLetterCause { reason: &reason, stage: "parking", error: &error };
                let letter = DeadLetter::of_record(message.payload(), message.sequence(), &cause);
                self.dispatcher.store_dead_letter(letter, &reason).await;
            }
        }
        false
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

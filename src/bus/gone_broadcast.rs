//! Broadcasts HTTP 410 answers of endpoints to the other replicas, so that all replicas count them
//! together.
//!
//! Not durable: a replica that misses a broadcast counts its own answers only.

use async_nats::{Client, SubscribeError};
use futures_util::{Stream, StreamExt};

use super::subjects::Subjects;
use crate::delivery::EndpointGoneReport;
use crate::domain::SubscriptionId;

/// Publishes the reports of this replica and receives those of the others.
#[derive(Clone, Debug)]
pub struct GoneBroadcast {
    client: Client,
    subject: String,
    /// Identifies the messages of this replica.
    origin: String,
}

impl GoneBroadcast {
    /// Publishes over `client`.
    #[must_use]
    pub fn new(client: Client, subjects: &Subjects) -> Self {
        let origin = client.new_inbox();
        Self { client, subject: subjects.endpoint_gone(), origin }
    }

    /// Publishes a report to the other replicas.
    pub async fn publish(&self, report: &EndpointGoneReport) {
        let state = if report.is_gone { "gone" } else { "here" };
        let text = format!("{} {state} {}", self.origin, report.id);
        if let Err(error) = self.client.publish(self.subject.clone(), text.into()).await {
            tracing::debug!(%error, "endpoint report not published to other replicas");
        }
    }

    /// Subscribes to the reports of the other replicas.
    ///
    /// # Errors
    /// The connection is closed permanently.
    pub async fn subscribe(
        &self,
    ) -> Result<impl Stream<Item = EndpointGoneReport> + use<>, SubscribeError> {
        let origin = self.origin.clone();
        let messages = self.client.subscribe(self.subject.clone()).await?;
        Ok(messages.filter_map(move |message| {
            let text = std::str::from_utf8(&message.payload).ok();
            std::future::ready(text.and_then(|text| read(text, &origin)))
        }))
    }
}

/// Parses the report of another replica than `origin`.
fn read(text: &str, origin: &str) -> Option<EndpointGoneReport> {
    let (_, state) = text.split_once(' ').filter(|(from, _)| *from != origin)?;
    let (state, id) = state.split_once(' ')?;
    let is_gone = match state {
        "gone" => true,
        "here" => false,
        _ => return None,
    };
    Some(EndpointGoneReport { id: SubscriptionId::parse(id)?, is_gone })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn own_and_malformed_reports_are_ignored() {
        let parsed = |text| read(text, "me").map(|report| (report.is_gone, report.id.to_string()));
        assert_eq!(parsed("you gone inst a/key"), Some((true, "inst a/key".into())));
        assert_eq!(parsed("you here i/k"), Some((false, "i/k".into())));
        for text in ["me gone i/k", "you maybe i/k", "you gone ik", "you", ""] {
            assert_eq!(parsed(text), None, "{text}");
        }
    }
}

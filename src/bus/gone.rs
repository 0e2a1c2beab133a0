//! What handlers say of being gone, told to the other replicas, so that all count together.
//!
//! Not durable: a replica that does not hear counts what it hears itself.

use async_nats::{Client, SubscribeError};
use futures_util::{Stream, StreamExt};

use super::subjects::Subjects;
use crate::delivery::EndpointGoneReport;
use crate::domain::SubscriptionId;

/// Tells the other replicas, and hears what they tell.
#[derive(Clone, Debug)]
pub struct GoneBroadcast {
    client: Client,
    subject: String,
    /// Tells our own words from those of others.
    origin: String,
}

impl GoneBroadcast {
    /// Speaks over `client`.
    #[must_use]
    pub fn new(client: Client, subjects: &Subjects) -> Self {
        let origin = client.new_inbox();
        Self { client, subject: subjects.gone(), origin }
    }

    /// Tells the others.
    pub async fn tell(&self, presence: &EndpointGoneReport) {
        let said = if presence.is_gone { "gone" } else { "here" };
        let text = format!("{} {said} {}", self.origin, presence.id);
        if let Err(error) = self.client.publish(self.subject.clone(), text.into()).await {
            tracing::debug!(%error, "other replicas not told of a handler");
        }
    }

    /// What the others tell from now on.
    ///
    /// # Errors
    /// The connection is closed for good.
    pub async fn others(
        &self,
    ) -> Result<impl Stream<Item = EndpointGoneReport> + use<>, SubscribeError> {
        let origin = self.origin.clone();
        let messages = self.client.subscribe(self.subject.clone()).await?;
        Ok(messages.filter_map(move |message| {
            let text = std::str::from_utf8(&message.payload).unwrap_or_default();
            std::future::ready(read(text, &origin))
        }))
    }
}

/// What another replica than `origin` told.
fn read(text: &str, origin: &str) -> Option<EndpointGoneReport> {
    let (_, said) = text.split_once(' ').filter(|(from, _)| *from != origin)?;
    let (said, id) = said.split_once(' ')?;
    let is_gone = match said {
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
    fn own_words_and_odd_ones_are_not_heard() {
        let heard = |text| read(text, "me").map(|heard| (heard.is_gone, heard.id.to_string()));
        assert_eq!(heard("you gone inst a/key"), Some((true, "inst a/key".into())));
        assert_eq!(heard("you here i/k"), Some((false, "i/k".into())));
        for text in ["me gone i/k", "you maybe i/k", "you gone ik", "you", ""] {
            assert_eq!(heard(text), None, "{text}");
        }
    }
}

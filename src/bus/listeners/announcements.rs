//! What replicas announce to each other about listeners, and what each does about it.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Client, Message};
use bytes::Bytes;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;

use crate::bus::subjects::Subjects;
use crate::domain::InstallationId;
use crate::registry::{ListenerRecord, Listeners};

/// Longest announcement, in bytes; longer ones are ignored.
const ANNOUNCEMENT_BYTES_MAX: usize = 256 << 10;

/// What a replica announces to the others.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Announcement {
    /// The replica, which has done so itself.
    origin: String,
    #[serde(flatten)]
    news: News,
}

/// What happened to a listener.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "news")]
pub(super) enum News {
    /// It exists: it is matched from now on, for a lease.
    Begun { record: ListenerRecord },
    /// It has ended.
    Ended { id: InstallationId },
}

/// What the tasks of this replica share.
#[derive(Clone, Debug)]
pub(super) struct Announcer {
    pub(super) client: Client,
    pub(super) subjects: Subjects,
    pub(super) listeners: Arc<Listeners>,
    /// Identifies the announcements of this replica.
    pub(super) origin: Arc<str>,
    /// After which a delivery has no attempt that waits.
    pub(super) timeout: Duration,
    /// Ends all listeners of this replica.
    pub(super) stop: CancellationToken,
}

impl Announcer {
    /// Does what another replica announced.
    pub(super) async fn follow(&self, message: Message) {
        if message.payload.len() > ANNOUNCEMENT_BYTES_MAX {
            return;
        }
        let news = serde_json::from_slice::<Announcement>(&message.payload);
        match news {
            Ok(Announcement { origin, .. }) if *origin == *self.origin => {}
            Ok(Announcement { news: News::Begun { record }, .. }) => {
                let is_matched = self.renew(record).await;
                if let Some(reply) = message.reply.filter(|_| is_matched) {
                    // One that is not confirmed is confirmed by no one: the listener waits a little longer.
                    let _ = self.client.publish(reply, Bytes::new()).await;
                }
            }
            Ok(Announcement { news: News::Ended { id }, .. }) => self.end(id).await,
            Err(error) => tracing::debug!(%error, "announcement of a listener cannot be read"),
        }
    }

    /// Matches a listener at this replica; compiling takes too long for an async worker thread.
    pub(super) async fn renew(&self, record: ListenerRecord) -> bool {
        let (listeners, subject) =
            (Arc::clone(&self.listeners), self.subjects.listener(&record.id));
        let renewed = tokio::task::spawn_blocking(move || listeners.renew(&record, &subject)).await;
        renewed.is_ok_and(|is_matched| is_matched)
    }

    pub(super) async fn end(&self, id: InstallationId) {
        let listeners = Arc::clone(&self.listeners);
        let ended = tokio::task::spawn_blocking(move || listeners.end(&id)).await;
        debug_assert!(ended.is_ok(), "the end of a listener does not panic");
    }

    pub(super) fn announcement(&self, news: News) -> Bytes {
        let origin = self.origin.to_string();
        match serde_json::to_vec(&Announcement { origin, news }) {
            Ok(text) => text.into(),
            Err(error) => {
                debug_assert!(false, "an announcement is JSON: {error}");
                Bytes::new()
            }
        }
    }

    /// Announces something without waiting for the other replicas.
    pub(super) async fn announce(&self, news: News) {
        let announced = self.client.publish(self.subjects.listeners(), self.announcement(news));
        if let Err(error) = announced.await {
            tracing::debug!(%error, "listener is not announced");
        }
    }
}

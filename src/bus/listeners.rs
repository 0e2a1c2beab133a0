//! Listening clients: announced to all replicas again and again, and their deliveries relayed to the
//! replica that each is connected to. Nothing of it is stored.
//!
//! Design: `docs/design/listening.md`.

mod announcements;
mod session;

use std::sync::Arc;
use std::time::Duration;

use async_nats::client::RequestErrorKind;
use async_nats::{Client, HeaderMap, Request};
use bytes::Bytes;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio_util::sync::CancellationToken;

use self::announcements::{Announcer, News};
use self::session::{DELIVERIES_MAX, DELIVERY_NUMBER, Session};
use super::metrics::ConnectedListener;
use super::replica_presence::OtherReplicas;
use super::subjects::Subjects;
use crate::clock;
use crate::domain::InstallationId;
use crate::event::codec::encoded;
use crate::registry::{ListenError, ListenerRecord, ListenerRelay, Listeners, OpenListener};

/// Most listening clients of this replica.
const SESSIONS_MAX: usize = 16;
/// Longest wait for the other replicas to match a new listener.
const CONFIRM_MAX: Duration = Duration::from_secs(2);
/// Shortest such wait, for replicas that are not known yet.
const CONFIRM_MIN: Duration = Duration::from_millis(250);
/// Longest wait for the replica that a listener is connected to.
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// Interval at which listeners that are not renewed are removed.
const CHECK_INTERVAL: Duration = Duration::from_secs(1);

/// Announces the listeners of this replica, follows those of the others, and relays deliveries.
#[derive(Clone, Debug)]
pub struct ListenerBus {
    announcer: Announcer,
    others: watch::Receiver<Option<OtherReplicas>>,
    sessions: Arc<Semaphore>,
}

impl ListenerBus {
    /// Relays over `client`; a delivery is answered within `timeout`, and `stop` ends all listeners.
    /// `others` says how many replicas have to confirm a listener.
    #[must_use]
    pub fn new(
        client: Client,
        subjects: Subjects,
        listeners: Arc<Listeners>,
        others: watch::Receiver<Option<OtherReplicas>>,
        (timeout, stop): (Duration, CancellationToken),
    ) -> Self {
        let origin = client.new_inbox().into();
        let sessions = Arc::new(Semaphore::new(SESSIONS_MAX));
        let announcer = Announcer { client, subjects, listeners, origin, timeout, stop };
        Self { announcer, others, sessions }
    }

    /// Follows the listeners of the other replicas until the future is dropped.
    pub async fn run(self) {
        let mut checks = tokio::time::interval(CHECK_INTERVAL);
        checks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            let mut messages =
                match self.announcer.client.subscribe(self.announcer.subjects.listeners()).await {
                    Ok(messages) => messages,
                    Err(error) => {
                        tracing::debug!(%error, "listeners of other replicas are not followed");
                        checks.tick().await;
                        continue;
                    }
                };
            loop {
                tokio::select! {
                    _ = checks.tick() => self.announcer.listeners.end_overdue(),
                    message = messages.next() => match message {
                        Some(message) => self.announcer.follow(message).await,
                        None => break,
                    },
                }
            }
        }
    }

    /// Announces a new listener and waits for the other replicas to match it; returns how many do.
    async fn introduce(&self, record: &ListenerRecord) -> Result<usize, ListenError> {
        let unavailable = |error: String| ListenError::Unavailable(error);
        let expected = self.others.borrow().as_ref().map_or(0, |others| others.key_ids.len());
        let inbox = self.announcer.client.new_inbox();
        let replies = self.announcer.client.subscribe(inbox.clone()).await;
        let mut replies = replies.map_err(|error| unavailable(error.to_string()))?;
        let news = self.announcer.announcement(News::Begun { record: record.clone() });
        let sent = self
            .announcer
            .client
            .publish_with_reply(self.announcer.subjects.listeners(), inbox, news)
            .await;
        sent.map_err(|error| unavailable(error.to_string()))?;
        let mut confirmed = 0;
        let begun = clock::tick();
        loop {
            // The shortest wait is for replicas that are not known yet.
            let wait = if confirmed < expected { CONFIRM_MAX } else { CONFIRM_MIN };
            let left = wait.saturating_sub(clock::since(begun));
            match tokio::time::timeout(left, replies.next()).await {
                Ok(Some(_)) => confirmed += 1,
                // A replica that has stopped, or does not confirm in time, receives a renewal later.
                Ok(None) | Err(_) => return Ok(confirmed),
            }
        }
    }

    async fn open_session(&self, record: ListenerRecord) -> Result<OpenListener, ListenError> {
        let unavailable = |error: String| ListenError::Unavailable(error);
        let permit = Arc::clone(&self.sessions).try_acquire_owned();
        let permit = permit.map_err(|_| ListenError::TooMany(SESSIONS_MAX))?;
        let subscribe = async |subject| {
            let subscribed = self.announcer.client.subscribe(subject).await;
            subscribed.map_err(|error| unavailable(error.to_string()))
        };
        let deliveries = subscribe(self.announcer.subjects.listener(&record.id)).await?;
        let answers = subscribe(self.announcer.subjects.listener_answers(&record.id)).await?;
        // The broker knows the subscriptions before any replica sends a delivery.
        let flushed = tokio::time::timeout(CONFIRM_MAX, self.announcer.client.flush()).await;
        match flushed {
            Ok(Ok(())) => {}
            Ok(Err(error)) => return Err(unavailable(error.to_string())),
            Err(_) => return Err(unavailable("the broker does not answer".to_owned())),
        }
        if !self.announcer.renew(record.clone()).await {
            return Err(ListenError::TooMany(crate::registry::LISTENERS_MAX));
        }
        let (sender, receiver) = mpsc::channel(DELIVERIES_MAX);
        let session =
            Session::new(self.announcer.clone(), record.clone(), (deliveries, answers), sender);
        // From now on the session ends the listener, also if this future is dropped.
        let connected = ConnectedListener::new();
        tokio::spawn(async move {
            session.run().await;
            drop((permit, connected));
        });
        let replicas = 1 + self.introduce(&record).await?;
        Ok(OpenListener { deliveries: receiver, replicas })
    }

    async fn send_answer(
        &self,
        listener: &InstallationId,
        delivery: &str,
        answer: Bytes,
    ) -> Result<bool, ListenError> {
        let subject = self.announcer.subjects.listener_answers(listener);
        let started = clock::tick();
        let mut headers = HeaderMap::new();
        headers.insert(DELIVERY_NUMBER, encoded(delivery).as_str());
        let request = Request::new().headers(headers).payload(answer).timeout(Some(ANSWER_MAX));
        // With an inbox of its own, as calls of functions.
        let request = request.inbox(self.announcer.client.new_inbox());
        match self.announcer.client.send_request(subject, request).await {
            Ok(reply) => Ok(!reply.payload.is_empty()),
            Err(error) => match error.kind() {
                RequestErrorKind::NoResponders => Ok(false),
                _ => {
                    let waited = clock::since(started);
                    Err(ListenError::Unavailable(format!("{error} after {waited:?}")))
                }
            },
        }
    }
}

impl ListenerRelay for ListenerBus {
    fn open(&self, record: ListenerRecord) -> BoxFuture<'_, Result<OpenListener, ListenError>> {
        Box::pin(self.open_session(record))
    }

    fn answer<'a>(
        &'a self,
        listener: &'a InstallationId,
        delivery: &'a str,
        answer: Bytes,
    ) -> BoxFuture<'a, Result<bool, ListenError>> {
        Box::pin(self.send_answer(listener, delivery, answer))
    }
}

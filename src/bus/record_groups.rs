//! Publishes records of the delivery log in groups: those that come within some milliseconds are sent, stored
//! and confirmed together, with one wake-up of each process instead of one for each record.
//!
//! The broker confirms each record of a group. One that is not confirmed in time may be stored nevertheless: its
//! caller publishes it again under the same message id, as all else is published
//! ([`super::confirmed_publish`]).
//!
//! Design: `docs/design/delivery-log.md`.

use std::time::Duration;

use async_nats::header::NATS_MESSAGE_ID;
use async_nats::{Client, Message, Subscriber};
use futures_util::StreamExt;
use serde::Deserialize;
use serde::de::IgnoredAny;
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::confirmed_publish::PublishRequest;

/// Records that wait for their group; further callers wait for space.
const WAITING_MAX: usize = 4_096;
/// Most records of a group.
const GROUP_MAX: usize = 1_024;
/// From the beginning of one group to that of the next one, for each record of the first: so records collect
/// only while they come faster than that. A single record delays no other.
const PAUSE_PER_RECORD: Duration = Duration::from_millis(4);
/// Longest time between the beginnings of two groups, unless the broker takes longer.
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// How long confirmations are waited for if the client has no time limit.
const TIMEOUT_DEFAULT: Duration = Duration::from_secs(2);

/// A queue of records that are published in groups.
#[derive(Debug)]
pub(super) struct RecordGroups {
    queue: mpsc::Sender<QueuedRecord>,
}

#[derive(Debug)]
struct QueuedRecord {
    request: PublishRequest,
    stored: oneshot::Sender<()>,
}

/// The publishing task.
struct Publisher {
    client: Client,
    timeout: Duration,
    /// Replies to subjects below it are received by this task only.
    inbox: String,
    confirmations: Subscriber,
    /// Number of the next group.
    next: u64,
}

/// The records of a group that are not confirmed yet.
#[derive(Debug)]
struct Group {
    number: u64,
    /// The callers, by the places of their records; none once they are answered.
    callers: Vec<Option<oneshot::Sender<()>>>,
    unanswered: usize,
}

/// The members of a confirmation that matter.
#[derive(Deserialize)]
struct Confirmation {
    error: Option<IgnoredAny>,
    seq: Option<u64>,
}

impl RecordGroups {
    /// Starts the publishing task over `client`; it ends with this queue.
    pub(super) fn over(client: Client) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(async move {
            // Fails only once the client is closed: then nothing can be published.
            if let Ok(publisher) = Publisher::over(client).await {
                publisher.run(waiting).await;
            }
        });
        Self { queue }
    }

    /// Publishes a record once; returns whether the broker confirmed it within the time limit of the client.
    pub(super) async fn publish(&self, request: PublishRequest) -> bool {
        let (stored, answer) = oneshot::channel();
        let queued = QueuedRecord { request, stored };
        self.queue.send(queued).await.is_ok() && answer.await.is_ok()
    }
}

impl Publisher {
    async fn over(client: Client) -> Result<Self, async_nats::SubscribeError> {
        let timeout = client.timeout().unwrap_or(TIMEOUT_DEFAULT);
        let inbox = client.new_inbox();
        let confirmations = client.subscribe(format!("{inbox}.*.*")).await?;
        Ok(Self { client, timeout, inbox, confirmations, next: 0 })
    }

    async fn run(mut self, mut waiting: mpsc::Receiver<QueuedRecord>) {
        let mut queued = Vec::new();
        while waiting.recv_many(&mut queued, GROUP_MAX).await > 0 {
            let started = Instant::now();
            // No caller waits for the record of an event that was released.
            queued.retain(|record| !record.stored.is_closed());
            let (pause, timeout) = (pause_after(queued.len()), self.timeout);
            // What was not confirmed in time is dropped, and with it the answer to its caller.
            let _in_time = tokio::time::timeout(timeout, self.publish(&mut queued)).await;
            queued.clear();
            tokio::time::sleep_until(started + pause).await;
        }
    }

    /// Publishes a group; completes once all of it is answered.
    async fn publish(&mut self, queued: &mut Vec<QueuedRecord>) {
        let mut group = Group::new(self.next);
        self.next += 1;
        for QueuedRecord { request, stored } in queued.drain(..) {
            let PublishRequest { subject, message_id, mut headers, body, .. } = request;
            headers.insert(NATS_MESSAGE_ID, message_id);
            let reply = group.reply(&self.inbox);
            let sent = self.client.publish_with_reply_and_headers(subject, reply, headers, body);
            match sent.await {
                Ok(()) => group.add(stored),
                // Larger than the broker's limit, for instance; its caller finds out why.
                Err(error) => tracing::debug!(%error, "record of the delivery log not sent"),
            }
        }
        while group.unanswered > 0 {
            let Some(message) = self.confirmations.next().await else { return };
            group.take(&message, &self.inbox);
        }
    }
}

/// Returns how long after the beginning of a group of so many records the next one begins.
fn pause_after(records: usize) -> Duration {
    match u32::try_from(records) {
        Ok(0 | 1) => Duration::ZERO,
        Ok(records) => PAUSE_PER_RECORD.saturating_mul(records).min(PAUSE_MAX),
        Err(_) => PAUSE_MAX,
    }
}

impl Group {
    fn new(number: u64) -> Self {
        Self { number, callers: Vec::new(), unanswered: 0 }
    }

    /// Returns the reply subject of the next record.
    fn reply(&self, inbox: &str) -> String {
        format!("{inbox}.{}.{}", self.number, self.callers.len())
    }

    /// Adds the next record.
    fn add(&mut self, caller: oneshot::Sender<()>) {
        self.callers.push(Some(caller));
        self.unanswered += 1;
    }

    /// Takes an answer of the broker, which may be to an earlier group, and notifies the caller: that the record
    /// is stored, or by dropping the sender, that it is not.
    fn take(&mut self, message: &Message, inbox: &str) {
        let Some(caller) = self.caller(message.subject.as_str(), inbox).and_then(Option::take)
        else {
            return;
        };
        self.unanswered -= 1;
        // A status says that no stream has the subject.
        if message.status.is_none() && is_stored(&message.payload) {
            // The caller may have been dropped.
            let _ = caller.send(());
        }
    }

    fn caller(&mut self, subject: &str, inbox: &str) -> Option<&mut Option<oneshot::Sender<()>>> {
        let place = subject.strip_prefix(inbox)?.strip_prefix('.')?;
        let (number, place) = place.split_once('.')?;
        if number.parse() != Ok(self.number) {
            return None;
        }
        self.callers.get_mut(place.parse::<usize>().ok()?)
    }
}

fn is_stored(payload: &[u8]) -> bool {
    let confirmation = serde_json::from_slice::<Confirmation>(payload);
    confirmation
        .is_ok_and(|confirmation| confirmation.error.is_none() && confirmation.seq.is_some())
}

#[cfg(test)]
mod tests {
    use async_nats::StatusCode;
    use tokio::sync::oneshot::error::TryRecvError;

    use super::*;

    const INBOX: &str = "_INBOX.abc";
    const STORED: &str = r#"{"stream":"S","seq":9}"#;

    fn answer(subject: &str, status: Option<StatusCode>, payload: &'static str) -> Message {
        Message {
            subject: subject.into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status,
            description: None,
            length: 0,
        }
    }

    fn group(number: u64, records: usize) -> (Group, Vec<oneshot::Receiver<()>>) {
        let mut group = Group::new(number);
        let callers = (0..records).map(|place| {
            assert_eq!(group.reply(INBOX), format!("{INBOX}.{number}.{place}"));
            let (caller, stored) = oneshot::channel();
            group.add(caller);
            stored
        });
        let callers = callers.collect();
        (group, callers)
    }

    #[test]
    fn each_record_is_confirmed_by_its_own_answer() {
        let (mut group, mut callers) = group(7, 3);
        group.take(&answer("_INBOX.abc.7.2", None, STORED), INBOX);
        assert_eq!(callers[2].try_recv(), Ok(()));
        assert_eq!(callers[0].try_recv(), Err(TryRecvError::Empty));
        let repeated = r#"{"stream":"S","seq":8,"duplicate":true}"#;
        group.take(&answer("_INBOX.abc.7.0", None, repeated), INBOX);
        assert_eq!(callers[0].try_recv(), Ok(()), "stored before");
        assert_eq!(group.unanswered, 1);
        group.take(&answer("_INBOX.abc.7.2", None, STORED), INBOX);
        assert_eq!(group.unanswered, 1, "answered twice");
    }

    #[test]
    fn answer_to_another_group_confirms_nothing() {
        let (mut group, mut callers) = group(7, 1);
        for subject in
            ["_INBOX.abc.6.0", "_INBOX.abc.7.1", "_INBOX.abc.7.x", "_INBOX.abc.7", "_INBOX.b.7.0"]
        {
            group.take(&answer(subject, None, STORED), INBOX);
            assert_eq!(group.unanswered, 1, "{subject}");
        }
        assert_eq!(callers[0].try_recv(), Err(TryRecvError::Empty));
    }

    #[test]
    fn refused_record_is_answered_and_not_stored() {
        let no_responders = Some(StatusCode::NO_RESPONDERS);
        for (status, payload) in [
            (None, r#"{"error":{"code":503,"err_code":10077},"stream":"S","seq":0}"#),
            (None, "{}"),
            (None, "no JSON"),
            (no_responders, ""),
        ] {
            let (mut group, mut callers) = group(7, 1);
            group.take(&answer("_INBOX.abc.7.0", status, payload), INBOX);
            assert_eq!(group.unanswered, 0);
            assert_eq!(callers[0].try_recv(), Err(TryRecvError::Closed), "{payload}");
        }
    }

    #[test]
    fn pause_grows_with_the_group_to_its_bound() {
        assert_eq!([0, 1].map(pause_after), [Duration::ZERO; 2]);
        assert_eq!(pause_after(2), Duration::from_millis(8));
        assert_eq!([5, 6, GROUP_MAX].map(pause_after), [PAUSE_MAX; 3]);
    }
}

//! How far a bucket was followed, and what of it may be missing since.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, RawMessageError, RawMessageErrorKind, Stream};

use super::kv::TOMBSTONE_TTL;
use crate::clock;

/// Messages that are remembered to find a place again, each of another key.
const RECENT_MAX: usize = 64;
/// A place older than this may have missed deletions that the broker forgot, however far the
/// clocks of broker and router are apart.
const AGE_MAX: Duration = Duration::from_secs(TOMBSTONE_TTL.as_secs() / 2);

/// How far a bucket was followed.
pub(super) struct WatchCursor {
    /// When the bucket was made, which tells it from others of its name; nanoseconds.
    pub(super) created_ns: i128,
    /// Everything up to this sequence was sent.
    pub(super) sent_up_to: u64,
    /// A load is not complete.
    pub(super) is_loading: bool,
    /// The last messages that were sent, of each key the last, in their order.
    recent: VecDeque<SentMessage>,
}

/// A message that was sent.
pub(super) struct SentMessage {
    pub(super) subject: Subject,
    pub(super) sequence: u64,
    /// Nanoseconds since the epoch, by the broker's clock.
    pub(super) written_ns: i128,
}

/// Where a watch begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StartPosition {
    /// After a message that was sent and is still there: of those sent after it, each was replaced
    /// by one that comes, and no deletion that comes can have been forgotten.
    Resume(u64),
    /// At the front: something may have left without a trace.
    Reload,
    /// At the front of another bucket, or of this one without writes that it had confirmed.
    Reset,
}

impl WatchCursor {
    /// The front of a bucket.
    pub(super) fn front(created_ns: i128) -> Self {
        Self { created_ns, sent_up_to: 0, is_loading: true, recent: VecDeque::new() }
    }

    /// Goes on behind a message.
    pub(super) fn note(&mut self, sent: SentMessage) {
        self.sent_up_to = self.sent_up_to.max(sent.sequence);
        self.recent.retain(|known| known.subject != sent.subject);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(sent);
    }
    /// Where a watch of the bucket as found begins, so that nothing is missing behind this place.
    ///
    /// The past of a bucket cannot be compared as a whole: of each key the last message is all
    /// there is. So the messages sent last are looked for, back to one that is still there. If
    /// those behind it are gone because later ones replaced them, nothing else can be missing. If
    /// they are gone for another reason, the broker lost what it had confirmed, as one without
    /// replicas may in a power cut.
    pub(super) async fn start(
        &self,
        stream: &Stream,
        found: &Info,
    ) -> Result<StartPosition, RawMessageError> {
        let bucket_last = found.state.last_sequence;
        if found.created.unix_timestamp_nanos() != self.created_ns || bucket_last < self.sent_up_to
        {
            return Ok(StartPosition::Reset);
        }
        for sent in self.recent.iter().rev() {
            let stored = message_or_none(stream.get_raw_message(sent.sequence).await)?;
            match stored.map(|stored| stored.time.unix_timestamp_nanos()) {
                Some(written_ns) if written_ns != sent.written_ns => {
                    return Ok(StartPosition::Reset);
                }
                Some(_) if self.covers_all_deletions(bucket_last) => {
                    return Ok(StartPosition::Resume(sent.sequence));
                }
                Some(_) => break,
                None => {
                    let subject = sent.subject.as_str();
                    let newer =
                        message_or_none(stream.get_last_raw_message_by_subject(subject).await)?;
                    if newer.is_none_or(|newer| newer.sequence <= self.sent_up_to) {
                        break;
                    }
                }
            }
        }
        Ok(StartPosition::Reload)
    }

    /// Whether all deletions behind this place are still there, or were sent.
    fn covers_all_deletions(&self, bucket_last: u64) -> bool {
        let written_ns = self.recent.back().map_or(0, |last| last.written_ns);
        let age_ms = i128::from(clock::now_ms()) - written_ns / 1_000_000;
        let is_recent = age_ms < i128::from(AGE_MAX.as_secs()) * 1000;
        !self.is_loading && (is_recent || bucket_last == self.sent_up_to)
    }
}

/// A message that was asked for, if there is one.
fn message_or_none(
    found: Result<StreamMessage, RawMessageError>,
) -> Result<Option<StreamMessage>, RawMessageError> {
    match found {
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        found => found.map(Some),
    }
}

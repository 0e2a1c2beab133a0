//! The watch cursor: how far a bucket was read, and whether the watch can resume there.
//!
//! Design: `docs/design/registry-watch.md`.

use std::collections::VecDeque;
use std::time::Duration;

use async_nats::Subject;
use async_nats::jetstream::message::StreamMessage;
use async_nats::jetstream::stream::{Info, RawMessageError, RawMessageErrorKind, Stream};

use super::bucket::EXPIRING_MARKER_TTL;
use crate::clock;

/// Number of recent messages that are kept to find the position again, each of another key.
const RECENT_MAX: usize = 64;
/// A position older than this may have missed deletions of an earlier release, which expire. Half of the
/// time-to-live, to be independent of clock skew.
const AGE_MAX: Duration = Duration::from_secs(EXPIRING_MARKER_TTL.as_secs() / 2);

/// How far a bucket was read.
pub(super) struct WatchCursor {
    /// Creation time of the bucket in nanoseconds; distinguishes it from another bucket of the same
    /// name.
    pub(super) created_ns: i128,
    /// All messages up to this sequence were sent to the receiver.
    pub(super) sent_up_to: u64,
    /// The initial load is not complete.
    pub(super) is_loading: bool,
    /// The last messages sent to the receiver, one for each key, in order.
    recent: VecDeque<SentMessage>,
}

/// A message that was sent to the receiver.
pub(super) struct SentMessage {
    pub(super) subject: Subject,
    pub(super) sequence: u64,
    /// Nanoseconds since the epoch by the broker's clock.
    pub(super) written_ns: i128,
}

/// Where a watch starts.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum StartPosition {
    /// After a sent message that still exists: each message sent after it was replaced by a newer
    /// one, and no later deletion can have expired.
    Resume(u64),
    /// At the first message: changes may be missing without a trace.
    Reload,
    /// At the first message of another bucket, or of this one after it lost confirmed writes.
    Reset,
}

impl WatchCursor {
    /// Returns a cursor before the first message of a bucket.
    pub(super) fn front(created_ns: i128) -> Self {
        Self { created_ns, sent_up_to: 0, is_loading: true, recent: VecDeque::new() }
    }

    /// Advances the cursor past a message.
    pub(super) fn note(&mut self, sent: SentMessage) {
        self.sent_up_to = self.sent_up_to.max(sent.sequence);
        self.recent.retain(|known| known.subject != sent.subject);
        if self.recent.len() == RECENT_MAX {
            self.recent.pop_front();
        }
        self.recent.push_back(sent);
    }
    /// Returns where a watch of the bucket `found` must start, so that no change after this cursor
    /// is missed.
    ///
    /// A bucket has only the last message of each key, so its history cannot be compared. Instead
    /// the recently sent messages are looked up, newest first, until one still exists. If the newer
    /// ones are missing because later messages replaced them, no other change can be missing. If
    /// they are missing for another reason, the broker lost confirmed writes, as a broker without
    /// replicas may in a power failure.
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

    /// Whether all deletions after this cursor still exist or were sent.
    fn covers_all_deletions(&self, bucket_last: u64) -> bool {
        let written_ns = self.recent.back().map_or(0, |last| last.written_ns);
        let age_ms = i128::from(clock::broker_now_ms()) - written_ns / 1_000_000;
        let is_recent = age_ms < i128::from(AGE_MAX.as_secs()) * 1000;
        !self.is_loading && (is_recent || bucket_last == self.sent_up_to)
    }
}

/// Maps "no message found" to `None`.
fn message_or_none(
    found: Result<StreamMessage, RawMessageError>,
) -> Result<Option<StreamMessage>, RawMessageError> {
    match found {
        Err(error) if error.kind() == RawMessageErrorKind::NoMessageFound => Ok(None),
        found => found.map(Some),
    }
}

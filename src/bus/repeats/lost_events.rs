//! Makes all replicas forget the ids of events that the event stream lost, so that their sources may
//! send them again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use async_nats::jetstream::ErrorCode;
use async_nats::jetstream::stream::{PurgeError, PurgeErrorKind};

use super::Repeats;
use crate::bus::connect::JetStreamClient;

/// The task of forgetting, which stays until it is done.
#[derive(Debug)]
pub(in crate::bus) struct LostEvents {
    jetstream_client: JetStreamClient,
    /// Name of the stream of blocks.
    blocks: String,
    repeats: Arc<Repeats>,
    is_due: AtomicBool,
    is_failing: AtomicBool,
}

impl LostEvents {
    /// `blocks` is the stream of blocks, `repeats` what this replica remembers.
    pub(in crate::bus) fn new(
        jetstream_client: JetStreamClient,
        blocks: String,
        repeats: Arc<Repeats>,
    ) -> Self {
        let (is_due, is_failing) = (AtomicBool::new(false), AtomicBool::new(false));
        Self { jetstream_client, blocks, repeats, is_due, is_failing }
    }

    /// Notes that events were lost, and forgets their ids; returns whether that is done. From now on
    /// this replica answers nothing from its memory until the recorder has emptied it.
    pub(in crate::bus) async fn record(&self) -> bool {
        self.is_due.store(true, SeqCst);
        self.repeats.has_lost_events.store(true, SeqCst);
        self.retry().await
    }

    /// Empties the stream of ids if that is left to be done; returns whether nothing is left.
    pub(in crate::bus) async fn retry(&self) -> bool {
        if !self.is_due.load(SeqCst) {
            return true;
        }
        let stream = self.jetstream_client.context.get_stream_no_info(&self.blocks).await;
        let purged = match stream {
            Ok(stream) => stream.purge().await.map(drop).or_else(unless_missing),
            Err(error) => Err(PurgeError::with_source(PurgeErrorKind::Request, error)),
        };
        let Err(error) = purged else {
            self.is_due.store(false, SeqCst);
            if self.is_failing.swap(false, SeqCst) {
                tracing::info!("ids of lost events are forgotten");
            }
            return true;
        };
        if !self.is_failing.swap(true, SeqCst) {
            tracing::error!(
                %error,
                stream = self.blocks,
                "ids of lost events are not forgotten yet; retried until the stream of ids can be purged"
            );
        }
        false
    }
}

/// A stream that does not exist has no ids.
fn unless_missing(error: PurgeError) -> Result<(), PurgeError> {
    match error.kind() {
        PurgeErrorKind::JetStream(reason) if reason.error_code() == ErrorCode::STREAM_NOT_FOUND => {
            Ok(())
        }
        _ => Err(error),
    }
}

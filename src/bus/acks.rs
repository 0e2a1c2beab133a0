//! Batched acknowledgements: one packet for each event would cost this process and the broker one
//! wake-up for each event.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Client, Subject};
use tokio::sync::{mpsc, oneshot};

/// Capacity of the queue; senders wait while it is full.
const WAITING_MAX: usize = 4096;
/// Maximum number of acknowledgements in one batch.
const TOGETHER_MAX: usize = 512;
/// Pause between two batches, in which acknowledgements collect.
const PAUSE: Duration = Duration::from_millis(1);

/// A queue of acknowledgements; clones share it.
#[derive(Clone, Debug)]
pub struct AckQueue {
    queue: mpsc::Sender<AckCommand>,
}

#[derive(Debug)]
enum AckCommand {
    Ack(Subject),
    /// Answered once all earlier acknowledgements are sent.
    Flush(oneshot::Sender<()>),
}

impl AckQueue {
    /// Starts the sending task over `client`; the task ends with the last clone.
    #[must_use]
    pub fn over(client: Client) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(send(client, waiting));
        Self { queue }
    }

    /// Queues the acknowledgement of the message with this reply subject. If it is lost with the
    /// process, the broker redelivers the message.
    pub async fn ack(&self, reply: Subject) {
        if self.queue.send(AckCommand::Ack(reply)).await.is_err() {
            tracing::debug!("acknowledgement not sent: the runtime is ending");
        }
    }

    /// Waits until the earlier acknowledgements are passed to the connection.
    pub async fn flush(&self) {
        let (done, left) = oneshot::channel();
        if self.queue.send(AckCommand::Flush(done)).await.is_ok() {
            let _ = left.await;
        }
    }
}

async fn send(client: Client, mut waiting: mpsc::Receiver<AckCommand>) {
    let mut together = Vec::with_capacity(TOGETHER_MAX);
    while waiting.recv_many(&mut together, TOGETHER_MAX).await > 0 {
        for item in together.drain(..) {
            match item {
                AckCommand::Ack(reply) => {
                    if let Err(error) = client.publish(reply, AckKind::Ack.into()).await {
                        tracing::debug!(%error, "acknowledgement not sent");
                    }
                }
                AckCommand::Flush(done) => {
                    let _ = done.send(());
                }
            }
        }
        tokio::time::sleep(PAUSE).await;
    }
}

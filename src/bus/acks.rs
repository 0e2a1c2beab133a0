//! Acknowledgements, which leave together: one a packet would cost this process and the broker a
//! wake-up for each event.

use std::time::Duration;

use async_nats::jetstream::AckKind;
use async_nats::{Client, Subject};
use tokio::sync::{mpsc, oneshot};

/// Acknowledgements that wait to leave; whoever has more waits for room.
const WAITING_MAX: usize = 4096;
/// Most that leave together.
const TOGETHER_MAX: usize = 512;
/// How long those that come next wait for each other.
const PAUSE: Duration = Duration::from_millis(1);

/// The way out for acknowledgements; clones share it.
#[derive(Clone, Debug)]
pub struct AckQueue {
    queue: mpsc::Sender<AckCommand>,
}

#[derive(Debug)]
enum AckCommand {
    Ack(Subject),
    /// To be answered once all before it have left.
    Flush(oneshot::Sender<()>),
}

impl AckQueue {
    /// Sends over `client`, from a task that ends with the last clone.
    #[must_use]
    pub fn over(client: Client) -> Self {
        let (queue, waiting) = mpsc::channel(WAITING_MAX);
        tokio::spawn(send(client, waiting));
        Self { queue }
    }

    /// Acknowledges the message with this reply subject. Ends when the acknowledgement is queued;
    /// one that is lost with the process leaves its message to be handed out again.
    pub async fn ack(&self, reply: Subject) {
        if self.queue.send(AckCommand::Ack(reply)).await.is_err() {
            tracing::debug!("acknowledgement not sent: the runtime is ending");
        }
    }

    /// Ends when what was acknowledged before has been handed to the connection.
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

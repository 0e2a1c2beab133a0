//! Exports spans: takes them from the queue in batches and posts them to the collector.

use std::time::Duration;

use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::collector::Collector;
use super::limits::SpanLimits;
use super::metrics::{dropped, exported};
use super::otlp;
use super::recorder::Traces;
use super::span::Span;
use crate::telemetry::LogBudget;

/// Spans that wait for the collector; some 8 MiB.
const QUEUE_SPANS_MAX: usize = 8192;
/// Spans of one request.
const BATCH_SPANS_MAX: usize = 512;
/// How long a batch is collected.
const BATCH_DELAY: Duration = Duration::from_secs(1);
/// Pauses before a batch is sent again that the collector may take later.
const RETRY_PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];
/// How long the last spans may take when the router stops.
const FINISH_MAX: Duration = Duration::from_secs(2);

/// The task that exports spans.
#[derive(Debug)]
pub struct TraceExport {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

struct Exporter {
    collector: Collector,
    instance: String,
    queue: mpsc::Receiver<Span>,
    failure_log: LogBudget,
}

impl TraceExport {
    /// Starts to export what is recorded within `limits` by the router process `instance`.
    #[must_use]
    pub fn start(collector: Collector, limits: SpanLimits, instance: String) -> (Traces, Self) {
        let (sender, queue) = mpsc::channel(QUEUE_SPANS_MAX);
        let failure_log = LogBudget::one_a_minute();
        let exporter = Exporter { collector, instance, queue, failure_log };
        let stop = CancellationToken::new();
        let task = tokio::spawn(exporter.run(stop.clone()));
        (Traces::new(limits, sender), Self { stop, task })
    }

    /// Exports what is recorded until now, but waits no longer than two seconds for the collector.
    pub async fn finish(mut self) {
        self.stop.cancel();
        if tokio::time::timeout(FINISH_MAX, &mut self.task).await.is_err() {
            tracing::warn!("the last traces are lost: the collector does not answer");
            self.task.abort();
        }
    }
}

impl Exporter {
    async fn run(mut self, stop: CancellationToken) {
        let mut batch = Vec::new();
        loop {
            let running = tokio::select! {
                biased;
                () = stop.cancelled() => false,
                running = self.collect(&mut batch) => running,
            };
            if !running {
                break;
            }
            self.send(std::mem::take(&mut batch)).await;
        }
        self.queue.close();
        loop {
            while batch.len() < BATCH_SPANS_MAX
                && let Ok(span) = self.queue.try_recv()
            {
                batch.push(span);
            }
            if batch.is_empty() {
                return;
            }
            self.send(std::mem::take(&mut batch)).await;
        }
    }

    /// Collects a batch; returns false once nothing records any more. Cancel-safe.
    async fn collect(&mut self, batch: &mut Vec<Span>) -> bool {
        if self.queue.recv_many(batch, BATCH_SPANS_MAX).await == 0 {
            return false;
        }
        let queue = &mut self.queue;
        let more = async {
            while batch.len() < BATCH_SPANS_MAX {
                let room = BATCH_SPANS_MAX.saturating_sub(batch.len());
                if queue.recv_many(batch, room).await == 0 {
                    break;
                }
            }
        };
        // Whether it is full or the time is over, the batch is sent.
        let _ = tokio::time::timeout(BATCH_DELAY, more).await;
        true
    }

    /// Posts a batch, again if the collector may take it later. What it does not take is counted.
    async fn send(&self, batch: Vec<Span>) {
        let spans = batch.len();
        let body = otlp::request(&self.instance, batch);
        let mut pauses = RETRY_PAUSES.iter();
        let mut unsent = Unsent(spans);
        loop {
            match self.collector.post(body.clone()).await {
                Ok(answer) => {
                    unsent.0 = 0;
                    let rejected = otlp::rejected(&answer).min(spans);
                    dropped("rejected", rejected);
                    return exported(spans.saturating_sub(rejected));
                }
                Err(refused) => {
                    if let Some(suppressed) = self.failure_log.take() {
                        let cause = refused.cause;
                        tracing::warn!(cause, spans, suppressed, "the collector takes no traces");
                    }
                    match pauses.next().filter(|_| refused.is_temporary) {
                        Some(pause) => tokio::time::sleep(*pause).await,
                        None => return,
                    }
                }
            }
        }
    }
}

/// Spans that the collector does not have, counted as dropped when their batch ends.
struct Unsent(usize);

impl Drop for Unsent {
    fn drop(&mut self) {
        if self.0 > 0 {
            dropped("export", self.0);
        }
    }
}

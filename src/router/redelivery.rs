//! Examination of redelivered events: marked in the store of crashes, so that an event that crashes
//! the process is found.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use metrics::counter;

use super::poison::{BATCH_MAX, Input, Output, PoisonCheck};
use crate::event::{
    CrashRecord, CrashRecordError, CrashRecords, EventPosition, Message, MessageStream,
};
use crate::telemetry::LogBudget;

/// Messages looked at to find further redelivered ones.
const LOOKED_AT_MAX: usize = 4 * BATCH_MAX;

/// Examines redelivered events.
pub(super) struct Redeliveries {
    records: Arc<dyn CrashRecords>,
    /// Recorded crashes that make an event poison.
    crashes_max: u32,
    failure_log: LogBudget,
}

/// What examining an event came to, as far as poison is concerned.
pub(super) enum Verdict<T> {
    /// It was examined.
    Examined(T),
    /// It panicked.
    Panicked,
    /// It is poison, after this many recorded crashes.
    Poison(u32),
}

/// Messages taken together: redelivered ones, and others that arrived between them.
pub(super) struct Taken<M> {
    pub(super) redelivered: Vec<M>,
    pub(super) others: Vec<M>,
}

impl<M: Message> Taken<M> {
    /// Takes `first` and what is ready in `source`.
    pub(super) fn with<S: MessageStream<Item = M>>(first: M, source: &mut S) -> Self {
        let mut taken = Self { redelivered: vec![first], others: Vec::new() };
        for _ in 0..LOOKED_AT_MAX {
            if taken.redelivered.len() == BATCH_MAX {
                break;
            }
            let Some(message) = source.take_ready() else { break };
            match message.delivery_count() {
                ..=1 => taken.others.push(message),
                _ => taken.redelivered.push(message),
            }
        }
        taken
    }
}

fn position<M: Message>(message: &M) -> EventPosition {
    EventPosition { sequence: message.sequence(), stored_ms: message.stored_ms() }
}

impl Redeliveries {
    /// Creates the examination; an event is poison after `crashes_max` recorded crashes.
    pub(super) fn new(records: Arc<dyn CrashRecords>, crashes_max: i64) -> Self {
        let crashes_max = u32::try_from(crashes_max).unwrap_or(1);
        Self { records, crashes_max, failure_log: LogBudget::default() }
    }

    /// Examines redelivered messages with `examine`, which returns none after a panic. If the store
    /// does not answer, events are examined without a mark: waiting for it would stop the router.
    pub(super) async fn examine<M: Message, T>(
        &self,
        worker: usize,
        messages: Vec<M>,
        mut examine: impl FnMut(&M) -> Option<T>,
    ) -> Vec<(M, Verdict<T>)> {
        let positions: Vec<_> = messages.iter().map(position).collect();
        let mut left: HashMap<_, _> =
            messages.into_iter().map(|one| (position(&one), one)).collect();
        let mut examined = Vec::with_capacity(left.len());
        let mut check = PoisonCheck::new(self.crashes_max);
        let mut outputs = VecDeque::from(check.step(Input::Pulled(positions.clone())));
        while let Some(output) = outputs.pop_front() {
            match output {
                Output::Read => {
                    let records = self.records.read(&positions).await;
                    let records = self.report("read", records).unwrap_or_default();
                    outputs.extend(check.step(Input::Read(&records)));
                }
                Output::Examine(batch) => {
                    self.report("mark", self.records.mark(worker, &batch).await);
                    for record in batch {
                        count_crash("process", record.crashes);
                        let Some(message) = left.remove(&record.event) else { continue };
                        let verdict = match examine(&message) {
                            Some(result) => Verdict::Examined(result),
                            None => {
                                outputs.extend(check.step(Input::Panicked(record.event)));
                                Verdict::Panicked
                            }
                        };
                        examined.push((message, verdict));
                        tokio::task::yield_now().await;
                    }
                    outputs.extend(check.step(Input::Examined));
                }
                Output::Clear => {
                    self.report("clear", self.records.clear(worker).await);
                }
                Output::Record(record) => self.record(record).await,
                Output::DeadLetter(event, crashes) => {
                    let message = left.remove(&event);
                    examined.extend(message.map(|message| (message, Verdict::Poison(crashes))));
                }
            }
        }
        examined
    }

    /// Records a panic of an event that was delivered for the first time.
    pub(super) async fn record_panic<M: Message>(&self, message: &M) {
        let mut check = PoisonCheck::new(self.crashes_max);
        for output in check.step(Input::Panicked(position(message))) {
            if let Output::Record(record) = output {
                self.record(record).await;
            }
        }
    }

    async fn record(&self, record: CrashRecord) {
        counter!("switchyard_events_crashes_total", "kind" => "panic").increment(1);
        self.report("record", self.records.record(record).await);
    }

    fn report<T>(&self, operation: &'static str, result: Result<T, CrashRecordError>) -> Option<T> {
        let error = match result {
            Ok(value) => return Some(value),
            Err(error) => error,
        };
        counter!("switchyard_crash_marker_failures_total", "op" => operation).increment(1);
        if let Some(suppressed) = self.failure_log.take() {
            tracing::warn!(%error, operation, suppressed, "store of recorded crashes not available");
        }
        None
    }
}

/// Counts an event that is examined again after a recorded crash.
fn count_crash(kind: &'static str, crashes_next: u32) {
    if crashes_next > 1 {
        counter!("switchyard_events_crashes_total", "kind" => kind).increment(1);
    }
}

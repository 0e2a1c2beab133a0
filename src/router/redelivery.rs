//! Examination of redelivered events: marked in the store of crashes, so that an event that crashes
//! the process is found.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use metrics::counter;
use tokio_util::sync::CancellationToken;

use super::poison::{BATCH_MAX, Input, Output, PoisonCheck};
use crate::delivery::PauseGate;
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
    pause: Arc<PauseGate>,
    stop: CancellationToken,
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
    /// Creates the examination; an event is poison after `crashes_max` recorded crashes. None starts
    /// while `pause` holds work, until the router is stopped.
    pub(super) fn new(
        records: Arc<dyn CrashRecords>,
        crashes_max: i64,
        pause: Arc<PauseGate>,
        stop: CancellationToken,
    ) -> Self {
        let crashes_max = u32::try_from(crashes_max).unwrap_or(1);
        Self { records, crashes_max, pause, stop, failure_log: LogBudget::default() }
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
                        // The process may have been stopped while the store answered.
                        if !self.pause.is_open() {
                            self.stop.run_until_cancelled(self.pause.opened()).await;
                        }
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

    /// Records a panic of an event in addition to those that are recorded already.
    pub(super) async fn record_panic<M: Message>(&self, message: &M) {
        let event = position(message);
        let records = self.report("read", self.records.read(&[event]).await).unwrap_or_default();
        let known = records.iter().filter(|record| record.event == event);
        let crashes = known.map(|record| record.crashes).max().unwrap_or_default();
        self.record(CrashRecord { event, crashes: crashes.saturating_add(1) }).await;
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

#[cfg(test)]
mod tests {
    use std::collections::{HashMap as Map, VecDeque};
    use std::sync::Mutex;
    use std::time::Duration;

    use bytes::Bytes;
    use futures_util::future::{BoxFuture, ready};

    use super::super::examine::Examiner;
    use super::*;
    use crate::delivery::SubscriptionDirectory;
    use crate::domain::SubscriptionId;
    use crate::event::{Attributes, DecodeError, HeaderLookup};
    use crate::matcher::{Matcher, Subscription};
    use crate::telemetry::LiveFeed;
    use crate::telemetry::traces::Traces;

    struct NoSubscriptions;

    impl SubscriptionDirectory for NoSubscriptions {
        fn find(&self, _id: &SubscriptionId) -> Option<Arc<Subscription>> {
            None
        }
    }

    struct NoHeaders;

    impl HeaderLookup for NoHeaders {
        fn get(&self, _name: &str) -> Option<&str> {
            None
        }
    }

    struct TestMessage {
        sequence: u64,
        delivery_count: i64,
        panics: bool,
    }

    impl Message for TestMessage {
        type Headers = NoHeaders;

        fn attributes(&self) -> Result<Attributes<'_>, DecodeError> {
            assert!(!self.panics, "a panic of the decoder");
            Err(DecodeError::Schema { reason: "no attributes".into() })
        }

        fn address(&self) -> &'static str {
            "sw.in"
        }

        fn headers(&self) -> &NoHeaders {
            &NoHeaders
        }

        fn payload(&self) -> Bytes {
            Bytes::new()
        }

        fn sequence(&self) -> u64 {
            self.sequence
        }

        fn delivery_count(&self) -> i64 {
            self.delivery_count
        }

        fn stored_ms(&self) -> i64 {
            7
        }

        fn ack(&self) -> impl Future<Output = ()> + Send {
            ready(())
        }

        fn in_progress(&self) -> impl Future<Output = ()> + Send {
            ready(())
        }

        fn release(&self) -> impl Future<Output = ()> + Send {
            ready(())
        }
    }

    struct Ready(VecDeque<TestMessage>);

    impl MessageStream for Ready {
        type Item = TestMessage;

        async fn next(&mut self) -> TestMessage {
            std::future::pending().await
        }

        fn take_ready(&mut self) -> Option<TestMessage> {
            self.0.pop_front()
        }

        fn discard(&mut self) {}
    }

    /// Records in memory; `None` if the store does not answer.
    struct MemoryRecords(Option<Mutex<Map<String, Vec<CrashRecord>>>>);

    impl MemoryRecords {
        fn change(
            &self,
            change: impl FnOnce(&mut Map<String, Vec<CrashRecord>>),
        ) -> BoxFuture<'_, Result<(), CrashRecordError>> {
            let Some(keys) = &self.0 else {
                return Box::pin(ready(Err(CrashRecordError("no answer".into()))));
            };
            change(&mut keys.lock().unwrap());
            Box::pin(ready(Ok(())))
        }
    }

    impl CrashRecords for MemoryRecords {
        fn read<'a>(
            &'a self,
            _events: &'a [EventPosition],
        ) -> BoxFuture<'a, Result<Vec<CrashRecord>, CrashRecordError>> {
            let records = self.0.as_ref().ok_or_else(|| CrashRecordError("no answer".into()));
            let all =
                records.map(|keys| keys.lock().unwrap().values().flatten().copied().collect());
            Box::pin(ready(all))
        }

        fn mark<'a>(
            &'a self,
            worker: usize,
            records: &'a [CrashRecord],
        ) -> BoxFuture<'a, Result<(), CrashRecordError>> {
            self.change(|keys| drop(keys.insert(format!("mark-{worker}"), records.to_vec())))
        }

        fn clear(&self, worker: usize) -> BoxFuture<'_, Result<(), CrashRecordError>> {
            self.change(|keys| drop(keys.remove(&format!("mark-{worker}"))))
        }

        fn record(&self, record: CrashRecord) -> BoxFuture<'_, Result<(), CrashRecordError>> {
            self.change(|keys| drop(keys.insert(record.event.sequence.to_string(), vec![record])))
        }
    }

    fn messages(culprit: u64, delivery_count: i64) -> Vec<TestMessage> {
        let message =
            |sequence| TestMessage { sequence, delivery_count, panics: sequence == culprit };
        (1..=5).map(message).collect()
    }

    /// Delivers the events of which the third panics; returns its verdicts by delivery.
    async fn deliver_again_and_again(records: MemoryRecords) -> Vec<String> {
        const CULPRIT: u64 = 3;
        let pause = Arc::new(PauseGate::new(Duration::from_secs(15)));
        let redeliveries = Redeliveries::new(Arc::new(records), 5, pause, CancellationToken::new());
        let live = LiveFeed::default();
        let directory = Arc::new(NoSubscriptions);
        let parts = (live, Traces::default());
        let examiner =
            Examiner::new(Arc::new(Matcher::default()), directory, parts, 1 << 20, false);
        let mut state = examiner.new_worker();
        let mut verdicts = Vec::new();
        for message in messages(CULPRIT, 1) {
            if examiner.examine(&mut state, &message).is_none() {
                redeliveries.record_panic(&message).await;
                verdicts.push("panic".into());
            }
        }
        for delivery_count in 2..=8 {
            let examine = |message: &TestMessage| examiner.examine(&mut state, message);
            let examined =
                redeliveries.examine(0, messages(CULPRIT, delivery_count), examine).await;
            assert_eq!(examined.len(), 5, "every event has a verdict");
            for (message, verdict) in examined {
                match verdict {
                    Verdict::Examined(_) => assert_ne!(message.sequence, CULPRIT),
                    Verdict::Panicked => verdicts.push("panic".into()),
                    Verdict::Poison(crashes) => verdicts.push(format!("poison after {crashes}")),
                }
            }
        }
        verdicts
    }

    #[tokio::test]
    async fn event_that_panics_is_poison_after_five_panics_and_its_neighbours_are_examined() {
        let verdicts = deliver_again_and_again(MemoryRecords(Some(Mutex::default()))).await;
        assert_eq!(verdicts[..5], ["panic"; 5]);
        assert_eq!(verdicts[5..], ["poison after 5"; 3]);
    }

    #[tokio::test]
    async fn events_are_examined_while_the_store_does_not_answer() {
        assert_eq!(deliver_again_and_again(MemoryRecords(None)).await, ["panic"; 8]);
    }

    #[test]
    fn redelivered_messages_are_taken_together_up_to_the_size_of_a_batch() {
        let message =
            |sequence, delivery_count| TestMessage { sequence, delivery_count, panics: false };
        let mut source =
            Ready((0..200).map(|n| message(n, if n % 2 == 0 { 2 } else { 1 })).collect());
        let taken = Taken::with(message(500, 3), &mut source);
        assert_eq!((taken.redelivered.len(), taken.others.len()), (BATCH_MAX, BATCH_MAX - 2));
        assert!(taken.others.iter().all(|one| one.delivery_count == 1));
    }
}

//! Examination of redelivered events, as `router::redelivery` does it: the check is real, the store
//! of crash marks and the time that examining takes are modelled.

use std::collections::{BTreeMap, VecDeque};

use switchyard::event::{CrashRecord, EventPosition};
use switchyard::router::poison::{BATCH_MAX, Input, Output, PoisonCheck};

use crate::broker::Process;
use crate::dice::Ms;
use crate::mutation::Mutation;
use crate::world::{Local, World};

/// Recorded crashes that make an event poison: the default of `events.deliver_max`.
pub(crate) const CRASHES_MAX: u32 = 5;
/// How long a store that does not answer is waited for.
const STORE_TIMEOUT: Ms = 2_000;
/// How long a worker collects redelivered events that are ready.
const COLLECT: Ms = 1;

/// Redelivered events of one replica.
#[derive(Debug, Default)]
pub(crate) struct Examination {
    /// Handle and number of events that wait for the next set.
    waiting: VecDeque<(EventPosition, u64, usize)>,
    current: Option<Current>,
    is_planned: bool,
}

/// The set that is examined.
#[derive(Debug)]
struct Current {
    check: PoisonCheck,
    outputs: VecDeque<Output>,
    /// Handle and number of each event.
    left: BTreeMap<EventPosition, (u64, usize)>,
}

impl World<'_> {
    /// Queues a redelivered event.
    pub(crate) fn examine(&mut self, replica: usize, event: EventPosition, handle: u64, of: usize) {
        let examination = &mut self.replica(replica).examination;
        examination.waiting.push_back((event, handle, of));
        self.plan_examination(replica);
    }

    fn plan_examination(&mut self, replica: usize) {
        let examination = &mut self.replica(replica).examination;
        let is_idle = examination.current.is_none() && !examination.waiting.is_empty();
        if is_idle && !std::mem::replace(&mut examination.is_planned, true) {
            self.local(self.now + COLLECT, replica, Local::Examine);
        }
    }

    /// Takes the redelivered events that are ready, and starts to examine them.
    pub(crate) fn start_examination(&mut self, replica: usize) {
        let examination = &mut self.replica(replica).examination;
        examination.is_planned = false;
        if examination.current.is_some() {
            return;
        }
        let taken = examination.waiting.len().min(BATCH_MAX);
        let mut left = BTreeMap::new();
        for (event, handle, number) in examination.waiting.drain(..taken) {
            left.insert(event, (handle, number));
        }
        let mut check = PoisonCheck::new(CRASHES_MAX);
        let outputs = check.step(Input::Pulled(left.keys().copied().collect())).into();
        examination.current = Some(Current { check, outputs, left });
        self.continue_examination(replica);
    }

    fn next_output(&mut self, replica: usize) -> Option<Output> {
        self.replica(replica).examination.current.as_mut()?.outputs.pop_front()
    }

    /// Carries out what the check asks for, until something takes time.
    fn continue_examination(&mut self, replica: usize) {
        let process: Process = (replica, self.replica(replica).incarnation);
        let is_silent = self.broker.is_silent(self.now);
        let wait = if is_silent { STORE_TIMEOUT } else { 2 * self.latency() };
        while let Some(output) = self.next_output(replica) {
            match output {
                Output::Read => {
                    let marks = self.broker.crash_marks.iter();
                    let others = marks.filter(|(by, _)| **by != process && !is_silent);
                    let records = others.flat_map(|(_, records)| records.clone()).collect();
                    return self.local(self.now + wait, replica, Local::CrashesRead(records));
                }
                Output::Examine(batch) => {
                    if !is_silent && !self.is(Mutation::CrashesNotRecorded) {
                        self.broker.crash_marks.insert(process, batch.clone());
                    }
                    return self.local(self.now + wait, replica, Local::Marked(batch));
                }
                Output::Clear => {
                    if !is_silent {
                        self.broker.crash_marks.remove(&process);
                    }
                }
                Output::DeadLetter(event, crashes) => {
                    let current = self.replica(replica).examination.current.as_mut();
                    if let Some((handle, number)) = current.and_then(|of| of.left.remove(&event)) {
                        self.note(|| format!("event {number} is poison: {crashes} crashes"));
                        self.poison_letter(replica, handle, number, event.sequence);
                    }
                }
                Output::Record(_) => {}
            }
        }
        self.replica(replica).examination.current = None;
        self.plan_examination(replica);
    }

    /// The store answered with the crashes that other processes recorded.
    pub(crate) fn crashes_read(&mut self, replica: usize, records: &[CrashRecord]) {
        self.step_check(replica, Input::Read(records));
        self.continue_examination(replica);
    }

    fn step_check(&mut self, replica: usize, input: Input<'_>) {
        if let Some(current) = &mut self.replica(replica).examination.current {
            let outputs = current.check.step(input);
            current.outputs.extend(outputs);
        }
    }

    /// Examines a batch that is marked.
    pub(crate) fn marked(&mut self, replica: usize, batch: Vec<CrashRecord>) {
        if self.is_held(replica) {
            return self.replica(replica).held.push(Local::Marked(batch));
        }
        for record in batch {
            let current = self.replica(replica).examination.current.as_mut();
            let Some((handle, number)) = current.and_then(|of| of.left.remove(&record.event))
            else {
                continue;
            };
            if self.ledger.events.get(&number).is_some_and(|stored| stored.poison) {
                return self.crash_on_event(replica);
            }
            self.matched(replica, handle, number);
        }
        self.step_check(replica, Input::Examined);
        self.continue_examination(replica);
    }
}

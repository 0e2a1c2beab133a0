//! Computes the account of a window: reads the log, then looks at the streams until nothing is left
//! that only time explains.

mod looks;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::fold::{Fold, Scope};
use super::limits::{INSTANCES_MAX, TooLarge};
use super::numbers::{RecordNumber, RecordNumbers};
use super::port::{AccountStreams, LogBounds, LogRecord, StreamsError};
use super::presence::{IdHash, Suspects};
use super::record::AccountRecord;
use super::sheet::{Account, GapDelivery};
use crate::clock;
use crate::delivery::ERASED_SITE;
use crate::recovery::redrive::{DeadLetters, ReadError};

/// Records of one read.
const BATCH: usize = 1_000;
/// How often a server is asked for the start of the window that does not have it yet.
const REPLICA_ASKED: u32 = 3;
/// Pause in between.
const REPLICA_WAIT: Duration = Duration::from_millis(100);
/// How long a request waits for the account of another one.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Part of the age of a log that deletes its oldest records which is left out: it may be deleted while
/// it is read.
const TRIM_MARGIN_DIVISOR: i64 = 20;

/// Why there is no account.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum AccountError {
    /// The delivery log is off.
    #[error("the delivery log is off (`delivery.log`)")]
    LogOff,
    /// This router computes another one.
    #[error("this router computes an account already")]
    Busy,
    /// It would take too much memory.
    #[error("{0}: narrow the window or name a site")]
    TooLarge(#[from] TooLarge),
    /// Records of the window were deleted while they were read: by age, or by an erasure.
    #[error(
        "records of the window were deleted while they were read: narrow the window, or try again"
    )]
    Trimmed,
    /// The broker does not answer; one sentence.
    #[error("{0}")]
    Unavailable(String),
}

impl From<StreamsError> for AccountError {
    fn from(error: StreamsError) -> Self {
        Self::Unavailable(error.0)
    }
}

impl From<ReadError> for AccountError {
    fn from(error: ReadError) -> Self {
        Self::Unavailable(error.0)
    }
}

/// How far an account is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct AccountProgress {
    /// Records that were read.
    pub records: u64,
    /// Sequences of the log that are left.
    pub left: u64,
    /// Deliveries that are looked at again.
    pub suspects: u64,
}

/// Computes accounts, one at a time.
pub struct Accountant {
    /// None if the log is off.
    streams: Option<Arc<dyn AccountStreams>>,
    letters: Arc<dyn DeadLetters>,
    turn: Semaphore,
}

/// One account that is computed.
struct Computation<'a> {
    streams: &'a dyn AccountStreams,
    letters: &'a dyn DeadLetters,
    progress: &'a (dyn Fn(AccountProgress) + Send + Sync),
    scope: Scope,
    numbers: RecordNumbers,
    /// Records that repeat an earlier one, at most as many as deliveries.
    repeats: HashSet<u64>,
    records: u64,
}

/// What the names of deliveries that seem to be lost show.
#[derive(Clone, Copy, Debug)]
struct Unchecked {
    /// The record of one of them is not there any more.
    is_named_one_deleted: bool,
    /// There are more, whose records are not looked up.
    has_unnamed: bool,
}

/// How often the records of the window are read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Pass {
    First,
    Second,
}

impl Accountant {
    /// Creates an accountant over `streams` and dead letters; without streams the log is off.
    #[must_use]
    pub fn new(streams: Option<Arc<dyn AccountStreams>>, letters: Arc<dyn DeadLetters>) -> Self {
        Self { streams, letters, turn: Semaphore::new(1) }
    }

    /// Computes the account of a scope.
    ///
    /// # Errors
    /// See [`AccountError`].
    pub async fn account(
        &self,
        scope: Scope,
        progress: &(dyn Fn(AccountProgress) + Send + Sync),
    ) -> Result<Account, AccountError> {
        let streams = self.streams.as_deref().ok_or(AccountError::LogOff)?;
        let _turn = self.turn().await?;
        let computation = Computation {
            streams,
            letters: &*self.letters,
            progress,
            scope,
            numbers: RecordNumbers::default(),
            repeats: HashSet::new(),
            records: 0,
        };
        computation.run().await
    }

    async fn turn(&self) -> Result<SemaphorePermit<'_>, AccountError> {
        let turn = tokio::time::timeout(TURN_MAX, self.turn.acquire()).await;
        turn.ok().and_then(Result::ok).ok_or(AccountError::Busy)
    }
}

impl Computation<'_> {
    async fn run(mut self) -> Result<Account, AccountError> {
        let in_flight = self.streams.in_flight().await?;
        // Asked before the log is read: what is below a floor is there then.
        let floors = self.streams.floors().await?;
        let bounds = self.streams.log_bounds().await?;
        self.note_erasures(1, bounds.last).await?;
        self.begin_where_complete(&bounds);
        let mut fold = Fold::new(self.scope.clone());
        let mut first = None;
        if let Some(start) = self.start(&bounds).await? {
            first = self.read(&mut fold, start, bounds.last, Pass::First).await?;
        }
        if let Some(first) = first.filter(|_| fold.needs_second()) {
            fold = fold.second();
            self.read(&mut fold, first, bounds.last, Pass::Second).await?;
        }
        fold.freeze();
        let (presence, suspects) = self.look(&mut fold, bounds.last).await?;
        let gaps = self.name(&fold, &suspects).await?;
        let unchecked = Unchecked {
            is_named_one_deleted: gaps.len() < suspects.named.len(),
            has_unnamed: suspects.has_unnamed(),
        };
        self.check_unchanged(first, &bounds, unchecked).await?;
        for one in floors {
            self.numbers.note_floor(&one.series, one.floor);
        }
        let missing = self.scope.site.is_none().then(|| self.numbers.missing());
        Ok(Account {
            gaps,
            subscriptions: fold.counts(&presence, &suspects.undetermined),
            has_too_many_erased: missing == Some(None),
            missing: missing.flatten(),
            unreadable: fold.unreadable(),
            undetermined: suspects.undetermined_number,
            in_flight,
            since_ms: self.scope.from_ms,
            until_ms: self.scope.until_ms,
            records: self.records,
        })
    }

    /// Lets the window begin where the log is complete. A log that begins after its first record deleted
    /// its oldest records, unless erasures name as many records as it has deleted: then nothing else was. A router
    /// whose log is off records neither what it delivers nor what it removes of earlier events.
    fn begin_where_complete(&mut self, bounds: &LogBounds) {
        self.scope.from_ms = self.scope.from_ms.max(bounds.off_until_ms.unwrap_or(i64::MIN));
        let Some((first_ms, _)) = bounds.times_ms.filter(|_| bounds.first > 1) else { return };
        if self.scope.from_ms < first_ms && !self.numbers.has_erased(bounds.deleted()) {
            let age_ms = clock::broker_now_ms().saturating_sub(first_ms);
            self.scope.from_ms = first_ms.saturating_add(age_ms / TRIM_MARGIN_DIVISOR);
        }
    }

    /// Returns the sequence at which the window begins; none if it has no records.
    async fn start(&self, bounds: &LogBounds) -> Result<Option<u64>, AccountError> {
        let Some((first_ms, last_ms)) = bounds.times_ms else { return Ok(None) };
        let from_ms = self.scope.from_ms;
        if bounds.records == 0 || last_ms < from_ms {
            return Ok(None);
        }
        if from_ms <= first_ms {
            return Ok(Some(bounds.first));
        }
        for asked in 0..REPLICA_ASKED {
            if asked > 0 {
                tokio::time::sleep(REPLICA_WAIT).await;
            }
            if let Some(start) = self.streams.record_at(from_ms).await? {
                return Ok(Some(start));
            }
        }
        let end = self.streams.read_log(bounds.last, None, 1).await?;
        match end.records.first().filter(|record| record.sequence == bounds.last) {
            Some(_) => Err(AccountError::Unavailable(
                "the server that answers does not have the end of the delivery log yet".to_owned(),
            )),
            // The last ones were deleted.
            None => Ok(None),
        }
    }

    /// Notes which records erasures deleted, as records from the sequence `next` to `last` say. They belong
    /// to a site of their own, so these few are read without the others.
    async fn note_erasures(&mut self, mut next: u64, last: u64) -> Result<(), AccountError> {
        while next <= last {
            let batch = self.streams.read_log(next, Some(ERASED_SITE), BATCH).await?;
            for record in &batch.records {
                next = record.sequence.saturating_add(1);
                if let Ok(read) = serde_json::from_slice::<AccountRecord<'_>>(&record.body) {
                    self.note_erased(&read);
                }
            }
            if !batch.has_more || batch.records.is_empty() {
                break;
            }
        }
        Ok(())
    }

    fn note_erased(&mut self, record: &AccountRecord<'_>) {
        let numbers = record.erased.iter().filter_map(|id| RecordNumber::parse(id, None));
        numbers.for_each(|number| self.numbers.note_erased(&number));
    }

    /// Checks that the log did not delete the start of the window while it was read, and that an erasure did
    /// not delete records of deliveries that seem to be lost: of an earlier and a later record, only the
    /// earlier one may have been read. An erasure deletes the earlier one first, so its absence shows that. Of
    /// deliveries that are not looked up because there are too many, any may be one of an erasure.
    async fn check_unchanged(
        &mut self,
        first: Option<u64>,
        before: &LogBounds,
        unchecked: Unchecked,
    ) -> Result<(), AccountError> {
        let now = self.streams.log_bounds().await?;
        let erased_before = self.numbers.erased();
        self.note_erasures(before.last.saturating_add(1), now.last).await?;
        let erased = self.numbers.erased().saturating_sub(erased_before);
        let deleted = now.deleted().saturating_sub(before.deleted());
        let is_trimmed = first.is_some_and(|first| now.first > first) && deleted > erased;
        let is_named_one_erased = unchecked.is_named_one_deleted && deleted > 0;
        // The age of records deletes some all the time, but makes no holes.
        let has_erasure = erased > 0 || now.holes() > before.holes();
        if is_trimmed || is_named_one_erased || unchecked.has_unnamed && has_erasure {
            return Err(AccountError::Trimmed);
        }
        Ok(())
    }

    /// Reads the log from the sequence `next` to the sequence `last`; returns the sequence of the first
    /// record.
    async fn read(
        &mut self,
        fold: &mut Fold,
        mut next: u64,
        last: u64,
        pass: Pass,
    ) -> Result<Option<u64>, AccountError> {
        let mut first = None;
        while next <= last {
            let site = self.scope.site.clone();
            let batch = self.streams.read_log(next, site.as_deref(), BATCH).await?;
            let reached = batch.records.last().map_or(last, |record| record.sequence);
            for record in batch.records.iter().filter(|record| record.sequence <= last) {
                first.get_or_insert(record.sequence);
                self.take(fold, record, pass)?;
            }
            let left = last.saturating_sub(reached);
            (self.progress)(AccountProgress { records: self.records, left, suspects: 0 });
            if !batch.has_more {
                break;
            }
            next = reached.saturating_add(1);
            tokio::task::yield_now().await;
        }
        Ok(first)
    }

    fn take(&mut self, fold: &mut Fold, record: &LogRecord, pass: Pass) -> Result<(), TooLarge> {
        if pass == Pass::First {
            self.records += 1;
            // Those of one site have holes: the numbers are those of all sites.
            if let Some(number) = record.number.as_ref().filter(|_| self.scope.site.is_none())
                && !self.numbers.note(number)?
            {
                if self.repeats.len() >= INSTANCES_MAX {
                    return Err(TooLarge::RecordNumbers);
                }
                // Stored twice: the broker remembers message ids for a time only.
                self.repeats.insert(record.sequence);
            }
        }
        if self.repeats.contains(&record.sequence) {
            return Ok(());
        }
        match serde_json::from_slice::<AccountRecord<'_>>(&record.body) {
            Ok(mut read) => {
                let copy = record.number.as_ref().filter(|number| number.is_of_copy());
                read.copied_by = copy.map(|number| number.series.clone());
                fold.take(record.sequence, &read)
            }
            Err(_) => {
                fold.count_unreadable();
                Ok(())
            }
        }
    }

    /// Reads the records of deliveries that are unaccounted for again, for their names.
    async fn name(
        &self,
        fold: &Fold,
        suspects: &Suspects,
    ) -> Result<Vec<GapDelivery>, AccountError> {
        let mut gaps = Vec::with_capacity(suspects.named.len());
        for (id, at) in &suspects.named {
            let batch = self.streams.read_log(*at, None, 1).await?;
            let record = batch.records.first().filter(|record| record.sequence == *at);
            gaps.extend(record.and_then(|record| name_gap(fold, *id, record)));
        }
        Ok(gaps)
    }
}

fn name_gap(fold: &Fold, id: IdHash, record: &LogRecord) -> Option<GapDelivery> {
    let record: AccountRecord<'_> = serde_json::from_slice(&record.body).ok()?;
    let event = &record.event;
    let mut deliveries = record.deliveries.iter();
    let (delivery, found) = deliveries.find_map(|one| {
        let found = one.delivery_id(event);
        (fold.id_hash(found.as_str()) == id).then_some((one, found))
    })?;
    let subscription = |key: &str| format!("{}/{key}", delivery.installation);
    Some(GapDelivery {
        delivery: found.to_string(),
        site: event.site.to_string(),
        event: event.id.to_string(),
        sequence: event.sequence,
        subscriptions: delivery.keys().map(subscription).collect(),
        replay: delivery.replay.clone(),
        last: delivery.outcome.label(),
    })
}

#[cfg(test)]
mod tests;

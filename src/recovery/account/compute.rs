//! Computes the account of a window: reads the log, then looks at the streams until nothing is left
//! that only time explains.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::fold::{Fold, Scope};
use super::limits::TooLarge;
use super::numbers::{RecordNumber, RecordNumbers};
use super::port::{AccountStreams, LogRecord, LogStart, StreamsError};
use super::presence::{IdHash, Presence, Suspects};
use super::record::AccountRecord;
use super::sheet::{Account, GapDelivery};
use crate::clock;
use crate::event::codec::names;
use crate::recovery::redrive::{DeadLetters, LetterRange, LetterScope, ReadError};

/// Records of one read.
const BATCH: usize = 1_000;
/// Letters of one read.
const LETTERS_BATCH: usize = 5_000;
/// Most deliveries that are parked or dead-lettered.
const STORED_MAX: usize = 4_000_000;
/// Pauses before the looks at the streams. The broker moves a parked delivery in two steps when it is
/// due, and a record is stored after what it says.
const LOOKS_MS: [u64; 7] = [0, 50, 150, 400, 1_000, 2_000, 3_000];
/// How often the end of the log is asked for again, if a server does not have it.
const REPLICA_WAITS: u32 = 3;
/// Pause before that.
const REPLICA_WAIT: Duration = Duration::from_millis(100);
/// How long a request waits for the account of another one.
const TURN_MAX: Duration = Duration::from_secs(5);
/// Part of the age of a log that deletes its oldest records which is left out: it may be deleted while
/// it is read.
const TRIM_MARGIN_DIVISOR: i64 = 20;
/// Age at which dead letters are deleted, in milliseconds.
const LETTER_AGE_MS_MAX: i64 = 30 * 24 * 3_600_000;

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
    /// The log deleted records of the window while they were read.
    #[error("the log deleted records of the window while they were read: narrow the window")]
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
    /// Records that repeat an earlier one.
    repeats: HashSet<u64>,
    records: u64,
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
        if let Some(first_ms) = bounds.first_ms.filter(|_| bounds.first > 1) {
            let age_ms = clock::broker_now_ms().saturating_sub(first_ms);
            let complete_ms = first_ms.saturating_add(age_ms / TRIM_MARGIN_DIVISOR);
            if self.scope.from_ms < first_ms {
                self.scope.from_ms = complete_ms;
            }
        }
        let mut fold = Fold::new(self.scope.clone());
        let start = LogStart::Time(self.scope.from_ms);
        let first = self.read(&mut fold, start, bounds.last, Pass::First).await?;
        if let Some(first) = first.filter(|_| fold.needs_second()) {
            fold = fold.second();
            let start = LogStart::Sequence(first);
            self.read(&mut fold, start, bounds.last, Pass::Second).await?;
        }
        let now_first = self.streams.log_bounds().await?.first;
        if first.is_some_and(|first| now_first > first) {
            return Err(AccountError::Trimmed);
        }
        fold.freeze();
        let (presence, suspects, unread) = self.look(&mut fold, bounds.last).await?;
        for one in floors {
            self.numbers.note_floor(&one.series, one.floor);
        }
        let undetermined = unread.min(suspects.parked);
        let is_undetermined = undetermined > 0;
        let gaps = if is_undetermined { Vec::new() } else { self.name(&fold, &suspects).await? };
        Ok(Account {
            subscriptions: fold.counts(&presence, is_undetermined),
            gaps,
            missing: self.scope.site.is_none().then(|| self.numbers.missing()),
            unreadable: fold.unreadable(),
            undetermined,
            in_flight,
            since_ms: self.scope.from_ms,
            until_ms: self.scope.until_ms,
            records: self.records,
        })
    }

    /// Reads the log from `start` to the sequence `last`; returns the sequence of the first record.
    async fn read(
        &mut self,
        fold: &mut Fold,
        mut start: LogStart,
        last: u64,
        pass: Pass,
    ) -> Result<Option<u64>, AccountError> {
        let (mut first, mut waited) = (None, 0);
        loop {
            let site = self.scope.site.clone();
            let batch = self.streams.read_log(start, site.as_deref(), BATCH).await?;
            let reached = batch.records.last().map_or(last, |record| record.sequence);
            for record in batch.records.iter().filter(|record| record.sequence <= last) {
                first.get_or_insert(record.sequence);
                self.take(fold, record, pass)?;
            }
            let left = last.saturating_sub(reached);
            (self.progress)(AccountProgress { records: self.records, left, suspects: 0 });
            start = match batch.records.is_empty() {
                true => start,
                false => LogStart::Sequence(reached.saturating_add(1)),
            };
            if left == 0 {
                return Ok(first);
            }
            if batch.has_more {
                tokio::task::yield_now().await;
                continue;
            }
            // Another server than the leader answers, and has the last records in a moment. Or they were
            // deleted, or are those of other sites.
            waited += 1;
            if waited > REPLICA_WAITS || self.scope.site.is_some() {
                return Ok(first);
            }
            tokio::time::sleep(REPLICA_WAIT).await;
        }
    }

    fn take(&mut self, fold: &mut Fold, record: &LogRecord, pass: Pass) -> Result<(), TooLarge> {
        if pass == Pass::First {
            self.records += 1;
            // Those of one site have holes: the numbers are those of all sites.
            if let Some(number) = record.number.as_ref().filter(|_| self.scope.site.is_none())
                && !self.numbers.note(number)?
            {
                // Stored twice: the broker remembers message ids for a time only.
                self.repeats.insert(record.sequence);
            }
        }
        if self.repeats.contains(&record.sequence) {
            return Ok(());
        }
        match serde_json::from_slice::<AccountRecord<'_>>(&record.body) {
            Ok(read) => {
                for id in &read.erased {
                    if let Some(number) = RecordNumber::parse(id, None) {
                        self.numbers.note_erased(number)?;
                    }
                }
                fold.take(record.sequence, &read)
            }
            Err(_) => {
                fold.count_unreadable();
                Ok(())
            }
        }
    }

    /// Looks at the streams, and then reads the log on, until each delivery has a trace or the looks are
    /// used up. A delivery leaves the parking stream only after its record is stored, so what is not
    /// there has a record by then.
    async fn look(
        &mut self,
        fold: &mut Fold,
        mut last: u64,
    ) -> Result<(Presence, Suspects, u64), AccountError> {
        let may_have_expired =
            self.scope.from_ms < clock::broker_now_ms().saturating_sub(LETTER_AGE_MS_MAX);
        let mut presence = Presence { may_have_expired, ..Presence::default() };
        let (mut suspects, mut unread) = (Suspects::default(), 0);
        for (look, pause_ms) in LOOKS_MS.into_iter().enumerate() {
            tokio::time::sleep(Duration::from_millis(pause_ms)).await;
            let parked = self.streams.parked().await?;
            unread = parked.unread;
            // What was there at an earlier look stays pending: it had its place then.
            presence.parked.extend(parked.ids.iter().map(|id| fold.id_hash(id)));
            if look == 0 && fold.has_dead() || suspects.has_dead {
                self.read_letters(fold, &mut presence).await?;
            }
            let end = self.streams.log_bounds().await?.last;
            if presence.parked.len() > STORED_MAX || presence.letters.len() > STORED_MAX {
                return Err(TooLarge::Stored.into());
            }
            if end > last {
                let start = LogStart::Sequence(last.saturating_add(1));
                self.read(fold, start, end, Pass::First).await?;
                last = end;
            }
            suspects = fold.suspects(&presence);
            (self.progress)(AccountProgress {
                records: self.records,
                left: 0,
                suspects: suspects.number,
            });
            if suspects.number == 0 {
                break;
            }
        }
        Ok((presence, suspects, unread))
    }

    /// Notes the deliveries that have letters of the window.
    async fn read_letters(&self, fold: &Fold, presence: &mut Presence) -> Result<(), AccountError> {
        let bounds = self.letters.bounds().await?;
        let mut next = Some(self.first_letter(bounds.first.max(1), bounds.last).await?);
        while let Some(from) = next.filter(|from| *from <= bounds.last) {
            let range = LetterRange { from, to: bounds.last };
            let scope = LetterScope::default();
            let batch = self.letters.read(range, &scope, LETTERS_BATCH).await?;
            let ids = batch.letters.iter().filter_map(|letter| letter.text(names::DELIVERY_ID));
            presence.letters.extend(ids.map(|id| fold.id_hash(&id)));
            if presence.letters.len() > STORED_MAX {
                return Err(TooLarge::Stored.into());
            }
            next = batch.next;
        }
        Ok(())
    }

    /// Returns the sequence of the first letter that was stored in the window, or after it.
    async fn first_letter(&self, mut low: u64, last: u64) -> Result<u64, AccountError> {
        let mut high = last.saturating_add(1);
        while low < high {
            let middle = low + (high - low) / 2;
            let range = LetterRange { from: middle, to: last };
            let batch = self.letters.read(range, &LetterScope::default(), 1).await?;
            match batch.letters.first() {
                Some(letter) if letter.id.0.stored_ms < self.scope.from_ms => {
                    low = letter.id.0.sequence.saturating_add(1);
                }
                _ => high = middle,
            }
        }
        Ok(low)
    }

    /// Reads the records of deliveries without a trace again, for their names.
    async fn name(
        &self,
        fold: &Fold,
        suspects: &Suspects,
    ) -> Result<Vec<GapDelivery>, AccountError> {
        let mut gaps = Vec::with_capacity(suspects.some.len());
        for (id, at) in &suspects.some {
            let batch = self.streams.read_log(LogStart::Sequence(*at), None, 1).await?;
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

//! Collects the reports of one event or parked record, and stores them.

use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;

use super::port::{DeliveryLog, LogMessage};
use super::record::{self, LogResult, Origin, bucket};
use super::report::DeliveryReport;
use crate::clock;
use crate::delivery::model::DeliveryOutcome;
use crate::event::Event;

/// Most deliveries of one record.
const ENTRIES_MAX: usize = 200;
/// Size from which on a record takes no further delivery, in bytes.
const BYTES_MAX: usize = 128 * 1024;

/// Collects reports of the deliveries of one event. Reports that fill a record are stored at once, so that
/// an event with many deliveries does not hold all of them.
pub struct LogCollector<'a> {
    /// None if the log is off.
    log: Option<&'a dyn DeliveryLog>,
    event: &'a Event,
    origin: Origin,
    started: Timestamp,
    records: Mutex<[OpenRecord; 2]>,
}

/// A record that is not stored yet; empty before its first delivery.
#[derive(Default)]
struct OpenRecord {
    text: Vec<u8>,
    entries: usize,
}

impl<'a> LogCollector<'a> {
    /// Begins to collect for `log`; without one it collects nothing.
    #[must_use]
    pub fn new(log: Option<&'a dyn DeliveryLog>, event: &'a Event, origin: Origin) -> Self {
        let started = clock::broker_now();
        Self { log, event, origin, started, records: Mutex::default() }
    }

    /// Sets when the work began that the records are about: now, unless an earlier try may have done it.
    #[must_use]
    pub fn began(self, started: Timestamp) -> Self {
        Self { started, ..self }
    }

    /// Adds a report; completes once the record that it fills, if any, is stored.
    pub async fn add(&self, report: DeliveryReport) {
        let Some(log) = self.log else { return };
        let result = match report.outcome {
            DeliveryOutcome::Delivered => LogResult::Ok,
            _ => LogResult::Failed,
        };
        if let Some(full) = self.append(log, &report, result) {
            drop(report);
            log.store(full).await;
        }
    }

    /// Stores what is collected; completes once it is stored.
    pub async fn store(self) {
        let Some(log) = self.log else { return };
        let [ok, failed] = std::mem::take(&mut *self.lock());
        let ok = self.message(ok, LogResult::Ok);
        let failed = self.message(failed, LogResult::Failed);
        match (ok, failed) {
            (Some(ok), Some(failed)) => {
                tokio::join!(log.store(ok), log.store(failed));
            }
            (Some(only), None) | (None, Some(only)) => log.store(only).await,
            (None, None) => {}
        }
    }

    /// Appends a report to its record; returns the record if it is full.
    fn append(
        &self,
        log: &dyn DeliveryLog,
        report: &DeliveryReport,
        result: LogResult,
    ) -> Option<LogMessage> {
        let mut records = self.lock();
        let [ok, failed] = &mut *records;
        let open = match result {
            LogResult::Ok => ok,
            LogResult::Failed => failed,
        };
        if open.entries == 0 {
            open.text = record::begin(self.event, self.origin, log.router(), self.started);
        }
        record::append(&mut open.text, report, self.origin);
        open.entries += 1;
        let is_full = open.entries >= ENTRIES_MAX || open.text.len() >= BYTES_MAX;
        let full = is_full.then(|| std::mem::take(open))?;
        drop(records);
        self.message(full, result)
    }

    /// Returns the message of a record; none if it is empty.
    fn message(&self, record: OpenRecord, result: LogResult) -> Option<LogMessage> {
        let OpenRecord { mut text, entries } = record;
        if entries == 0 {
            return None;
        }
        record::end(&mut text);
        let envelope = &self.event.envelope;
        Some(LogMessage {
            site: envelope.cloud_id.clone(),
            result,
            bucket: bucket(envelope.entity.as_deref(), envelope.event_id.as_str()),
            body: text.into(),
        })
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, [OpenRecord; 2]> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

//! An audit log in memory.

use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

use futures_util::future::BoxFuture;

use super::{
    AuditEntry, AuditError, AuditId, AuditLog, AuditPage, AuditQuery, AuditRecord, AuditResult,
    Step,
};

/// Stores records in memory.
#[derive(Debug, Default)]
pub struct MemoryAuditLog {
    records: Mutex<Vec<AuditRecord>>,
    /// While set, no record is confirmed.
    pub is_down: AtomicBool,
}

impl MemoryAuditLog {
    /// Returns all records, the oldest first.
    pub fn records(&self) -> Vec<AuditRecord> {
        self.records.lock().unwrap().clone()
    }

    /// Returns all entries, the newest first, with the sequences of their first records.
    fn entries(&self) -> Vec<(u64, AuditEntry)> {
        let records = self.records();
        let end_of = |id: &AuditId| {
            records.iter().find(|one| one.id == *id && matches!(one.step, Step::Done { .. }))
        };
        let all = records.iter().enumerate().rev();
        all.filter_map(|(index, one)| {
            let sequence = u64::try_from(index).unwrap_or(u64::MAX).saturating_add(1);
            Some((sequence, AuditEntry::of(one.clone(), end_of(&one.id), one.at_ms)?))
        })
        .collect()
    }
}

impl AuditLog for MemoryAuditLog {
    fn append<'a>(&'a self, record: &'a AuditRecord) -> BoxFuture<'a, Result<(), AuditError>> {
        Box::pin(async {
            if self.is_down.load(SeqCst) {
                return Err(AuditError("timed out".into()));
            }
            self.records.lock().unwrap().push(record.clone());
            Ok(())
        })
    }

    fn page<'a>(
        &'a self,
        query: &'a AuditQuery,
        before: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<AuditPage, AuditError>> {
        Box::pin(async move {
            let is_wanted = |(sequence, entry): &(u64, AuditEntry)| {
                before.is_none_or(|before| *sequence < before)
                    && query.selects(&entry.action, entry.at_ms)
            };
            let mut found: Vec<_> = self.entries().into_iter().filter(is_wanted).collect();
            let has_more = found.len() > limit;
            found.truncate(limit);
            let next = found.last().filter(|_| has_more).map(|(sequence, _)| *sequence);
            let entries = found.into_iter().map(|(_, mut entry)| {
                if !query.with_content {
                    entry.before = None;
                    entry.result = entry.result.map(|result| AuditResult { after: None, ..result });
                }
                entry
            });
            let entries = entries.collect();
            Ok(AuditPage { entries, next, ..AuditPage::default() })
        })
    }

    fn find<'a>(
        &'a self,
        id: &'a AuditId,
    ) -> BoxFuture<'a, Result<Option<AuditEntry>, AuditError>> {
        Box::pin(async move {
            Ok(self.entries().into_iter().map(|(_, entry)| entry).find(|entry| entry.id == *id))
        })
    }
}

//! Test doubles of the dead-letter stream and of the delivery log.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use serde_json::Value;

use super::letter::{LetterId, LetterKind, StoredLetter};
use super::query::LetterScope;
use super::store::{DeadLetters, LetterBatch, LetterRange, ReadError, Republished, StreamBounds};
use crate::delivery::{DeliveryLog, LogMessage, StreamPosition};

/// A stream in memory.
#[derive(Default)]
pub(crate) struct MemoryLetters {
    pub(crate) letters: Mutex<BTreeMap<u64, StoredLetter>>,
    pub(crate) published: Mutex<Vec<(LetterId, String)>>,
    /// How many events the event stream has room for; none for all.
    pub(crate) room: Mutex<Option<usize>>,
    /// Letters that are listed although the leader of the stream does not have them any more.
    pub(crate) hidden: Mutex<BTreeSet<u64>>,
}

/// A delivery log in memory.
#[derive(Default)]
pub(crate) struct MemoryLog {
    records: Mutex<Vec<Value>>,
}

impl MemoryLog {
    /// Returns all records.
    pub(crate) fn records(&self) -> Vec<Value> {
        self.records.lock().unwrap().clone()
    }

    /// Returns the deliveries of all records.
    pub(crate) fn deliveries(&self) -> Vec<Value> {
        let records = self.records.lock().unwrap();
        let deliveries = records.iter().filter_map(|record| record["deliveries"].as_array());
        deliveries.flatten().cloned().collect()
    }
}

impl DeliveryLog for MemoryLog {
    fn router(&self) -> &str {
        "r1"
    }

    fn store(&self, message: LogMessage) -> BoxFuture<'_, ()> {
        self.records.lock().unwrap().push(serde_json::from_slice(&message.body).unwrap());
        Box::pin(async {})
    }
}

/// Creates the letter of a delivery to an installation, with the headers that a redrive needs.
pub(crate) fn delivery_letter(sequence: u64, installation: &str) -> StoredLetter {
    let subscription = format!("{installation}/k1");
    let id = format!("dlv_{sequence}");
    let headers = [
        ("switchyard-delivery-id", &*id),
        ("switchyard-sequence", "7"),
        ("switchyard-dlq-subscription", &*subscription),
        ("ce-cloudid", "site-1"),
        ("ce-id", "e1"),
        ("ce-type", "avi:jira:created:issue"),
    ];
    let kind = LetterKind::Delivery { app: "app".into(), installation: installation.into() };
    letter(sequence, kind, &headers)
}

/// Creates a letter with these headers; it is stored `sequence` seconds after the epoch.
pub(crate) fn letter(sequence: u64, kind: LetterKind, headers: &[(&str, &str)]) -> StoredLetter {
    let stored_ms = i64::try_from(sequence).unwrap() * 1_000;
    StoredLetter {
        id: LetterId(StreamPosition { sequence, stored_ms }),
        kind,
        headers: headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect(),
        body: Bytes::from_static(b"{}"),
        body_bytes: 2,
    }
}

impl MemoryLetters {
    pub(crate) fn of(letters: impl IntoIterator<Item = StoredLetter>) -> Arc<Self> {
        let letters = letters.into_iter().map(|letter| (letter.id.0.sequence, letter)).collect();
        Arc::new(Self { letters: Mutex::new(letters), ..Self::default() })
    }
}

impl DeadLetters for MemoryLetters {
    fn bounds(&self) -> BoxFuture<'_, Result<StreamBounds, ReadError>> {
        let letters = self.letters.lock().unwrap();
        let last = letters.keys().next_back().copied().unwrap_or(0);
        let first = letters.keys().next().copied().unwrap_or(last + 1);
        Box::pin(async move { Ok(StreamBounds { first, last }) })
    }

    fn get(&self, id: LetterId) -> BoxFuture<'_, Result<Option<StoredLetter>, ReadError>> {
        let is_there = !self.hidden.lock().unwrap().contains(&id.0.sequence);
        let found = self.letters.lock().unwrap().get(&id.0.sequence).cloned();
        Box::pin(async move { Ok(found.filter(|letter| is_there && letter.id == id)) })
    }

    fn read<'a>(
        &'a self,
        range: LetterRange,
        scope: &'a LetterScope,
        max: usize,
    ) -> BoxFuture<'a, Result<LetterBatch, ReadError>> {
        let letters = self.letters.lock().unwrap();
        // As `Subjects::dead_letters_within`.
        let within = |letter: &StoredLetter| match (&letter.kind, &scope.installation, &scope.site)
        {
            (LetterKind::Event { site }, _, Some(wanted)) => **site == **wanted,
            (_, None, _) => true,
            (LetterKind::Delivery { installation, .. }, Some(wanted), _) => {
                **installation == **wanted
            }
            _ => false,
        };
        let found = letters.range(range.from..=range.to).map(|(_, letter)| letter);
        let letters: Vec<_> = found.filter(|letter| within(letter)).take(max).cloned().collect();
        let last = letters.last().map_or(range.to, |letter| letter.id.0.sequence);
        let next = (letters.len() == max && last < range.to).then_some(last + 1);
        Box::pin(async move { Ok(LetterBatch { letters, next }) })
    }

    fn delete(&self, id: LetterId) -> BoxFuture<'_, Result<bool, ReadError>> {
        let is_there = !self.hidden.lock().unwrap().contains(&id.0.sequence);
        let removed = self.letters.lock().unwrap().remove(&id.0.sequence);
        Box::pin(async move { Ok(is_there && removed.is_some()) })
    }

    fn republish<'a>(
        &'a self,
        letter: &'a StoredLetter,
        job: &'a str,
    ) -> BoxFuture<'a, Result<Republished, ReadError>> {
        Box::pin(async move {
            if let Some(room) = &mut *self.room.lock().unwrap() {
                if *room == 0 {
                    return Ok(Republished::Full("full".into()));
                }
                *room -= 1;
            }
            self.published.lock().unwrap().push((letter.id, job.to_owned()));
            self.letters.lock().unwrap().remove(&letter.id.0.sequence);
            Ok(Republished::Stored)
        })
    }
}

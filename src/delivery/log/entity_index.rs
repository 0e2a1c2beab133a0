//! The index of the delivery log by entity: which records of a chunk of the log are about an entity. Pure.
//!
//! A message of the index is one of the [`INDEX_BUCKETS`] parts of a chunk: an entry for each record whose
//! entity has that bucket, with 16 bits of a hash, the place of the record, and whether it is of a failure. The
//! hash depends on a random key of the chunk, so that no tenant can choose entities whose records are read
//! for those of others. A bucket with very many records has no index: those are read faster by subject.

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::record::LogResult;
use crate::domain::CloudId;

/// Sequences of a chunk.
pub const CHUNK_RECORDS: u64 = 1 << 15;
/// Parts of a chunk.
pub const INDEX_BUCKETS: u8 = 128;
/// Bytes of an entry: 16 bits of the hash, then 16 bits of which the first says that the record is of a failure,
/// the others its place; both with the high byte first.
const ENTRY_BYTES: usize = 4;
/// The bit of a failure.
const FAILED: u16 = 1 << 15;
/// Most entries of a part, 16 times the average: what is read for a question has a bound, whatever a tenant
/// sends.
const PART_ENTRIES_MAX: usize = 4_096;

/// What records are found by: a site, and an entity or the id of an event without one.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IndexKey {
    site: CloudId,
    text: Box<str>,
}

/// A random key of a chunk.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ChunkKey(pub u64);

impl IndexKey {
    /// Returns the key of the records of an event.
    #[must_use]
    pub fn new(site: &CloudId, entity: Option<&str>, event_id: &str) -> Self {
        Self { site: site.clone(), text: entity.unwrap_or(event_id).into() }
    }

    /// Returns the part of a chunk that has its entries, below [`INDEX_BUCKETS`].
    #[must_use]
    pub fn bucket(&self) -> u8 {
        let [first, ..] = self.digest(&[]);
        first % INDEX_BUCKETS
    }

    fn hash(&self, chunk: ChunkKey) -> [u8; 2] {
        let [first, second, ..] = self.digest(&chunk.0.to_be_bytes());
        [first, second]
    }

    fn digest(&self, key: &[u8]) -> [u8; 32] {
        let site = self.site.as_str();
        let length = u64::try_from(site.len()).unwrap_or(u64::MAX);
        let digest = Sha256::new().chain_update(key).chain_update(length.to_be_bytes());
        digest.chain_update(site).chain_update(self.text.as_bytes()).finalize().into()
    }
}

/// The parts of a chunk, while it is read.
#[derive(Debug)]
pub struct ChunkIndex {
    key: ChunkKey,
    parts: Vec<Vec<[u8; ENTRY_BYTES]>>,
}

impl ChunkIndex {
    /// Begins an index without records.
    #[must_use]
    pub fn new(key: ChunkKey) -> Self {
        Self { key, parts: vec![Vec::new(); usize::from(INDEX_BUCKETS)] }
    }

    /// Adds the record with a sequence of the chunk.
    pub fn add(&mut self, key: &IndexKey, sequence: u64, result: LogResult) {
        let place = u16::try_from(sequence % CHUNK_RECORDS).unwrap_or(u16::MAX);
        let place = if result == LogResult::Failed { place | FAILED } else { place };
        let ([first, second], [high, low]) = (key.hash(self.key), place.to_be_bytes());
        if let Some(part) = self.parts.get_mut(usize::from(key.bucket())) {
            part.push([first, second, high, low]);
        }
    }

    /// Returns the bodies of the messages, by bucket; none for a bucket with more than 4,096 records.
    #[must_use]
    pub fn into_bodies(self) -> Vec<Option<Bytes>> {
        let body = |mut part: Vec<[u8; ENTRY_BYTES]>| {
            part.sort_unstable_by_key(|[first, second, high, low]| {
                ([*first, *second], u16::from_be_bytes([*high, *low]) & !FAILED)
            });
            (part.len() <= PART_ENTRIES_MAX).then(|| Bytes::from(part.concat()))
        };
        self.parts.into_iter().map(body).collect()
    }
}

/// Returns the sequences, in order, of the records of `chunk` that may be about `key`, of a result if one is
/// named, by the body of its part; one in 65,536 others is among them.
#[must_use]
pub fn sequences_in(
    body: &[u8],
    (chunk, chunk_key): (u64, ChunkKey),
    key: &IndexKey,
    result: Option<LogResult>,
) -> Vec<u64> {
    let hash = key.hash(chunk_key);
    let (entries, _) = body.as_chunks::<ENTRY_BYTES>();
    let from = entries.partition_point(|[first, second, ..]| [*first, *second] < hash);
    let found = entries.get(from..).unwrap_or_default().iter();
    found
        .take_while(|[first, second, ..]| [*first, *second] == hash)
        .map(|[_, _, high, low]| u16::from_be_bytes([*high, *low]))
        .filter(|place| match result {
            None => true,
            Some(result) => (result == LogResult::Failed) == (place & FAILED != 0),
        })
        .map(|place| chunk.saturating_mul(CHUNK_RECORDS).saturating_add(u64::from(place & !FAILED)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: ChunkKey = ChunkKey(7);

    fn key(site: &str, entity: &str) -> IndexKey {
        IndexKey::new(&site.into(), Some(entity), "e")
    }

    fn part<'b>(bodies: &'b [Option<Bytes>], key: &IndexKey) -> &'b Option<Bytes> {
        &bodies[usize::from(key.bucket())]
    }

    #[test]
    fn every_record_of_an_entity_is_found_in_order_and_few_others_are() {
        let mut index = ChunkIndex::new(KEY);
        let entity_of = |sequence: u64| key("site-1", &format!("OPS-{}", sequence % 500));
        let result_of = |sequence: u64| match sequence % 3 {
            0 => LogResult::Failed,
            _ => LogResult::Ok,
        };
        let (chunk, first) = (5, 6 * CHUNK_RECORDS - 4_000);
        for sequence in first..first + 4_000 {
            index.add(&entity_of(sequence), sequence, result_of(sequence));
        }
        let bodies = index.into_bodies();
        assert_eq!(bodies.len(), usize::from(INDEX_BUCKETS));
        let mut others = 0;
        for number in 0..500 {
            let wanted = key("site-1", &format!("OPS-{number}"));
            let body = part(&bodies, &wanted).as_ref().unwrap();
            for result in [None, Some(LogResult::Ok), Some(LogResult::Failed)] {
                let found = sequences_in(body, (chunk, KEY), &wanted, result);
                assert!(found.is_sorted(), "{found:?}");
                let all = (first..first + 4_000).filter(|sequence| sequence % 500 == number);
                let all = all.filter(|one| result.is_none_or(|result| result == result_of(*one)));
                assert!(all.clone().all(|sequence| found.contains(&sequence)), "{number}");
                others += found.len() - all.count();
            }
        }
        // Two of the entities share a hash once in a while, and bring 8 records each.
        assert!(others <= 160, "{others}");
    }

    #[test]
    fn bucket_with_very_many_records_has_no_index_and_others_have_theirs() {
        let (busy, quiet) = (key("site-1", "OPS-1"), key("site-1", "OPS-2"));
        assert_ne!(busy.bucket(), quiet.bucket());
        let mut index = ChunkIndex::new(KEY);
        for sequence in 0..=PART_ENTRIES_MAX as u64 {
            index.add(&busy, sequence, LogResult::Ok);
        }
        index.add(&quiet, 9_999, LogResult::Ok);
        let bodies = index.into_bodies();
        assert_eq!(*part(&bodies, &busy), None);
        let body = part(&bodies, &quiet).as_ref().unwrap();
        assert_eq!(sequences_in(body, (0, KEY), &quiet, None), [9_999]);
    }

    #[test]
    fn site_and_entity_are_not_confused_and_the_key_of_a_chunk_changes_what_collides() {
        assert_ne!(key("ab", "c").digest(&[]), key("a", "bc").digest(&[]));
        assert_ne!(key("a", "b").hash(ChunkKey(1)), key("a", "b").hash(ChunkKey(2)));
        assert_eq!(IndexKey::new(&"a".into(), None, "b"), key("a", "b"));
    }

    #[test]
    fn damaged_body_has_no_sequences_beyond_its_chunk() {
        let wanted = key("a", "b");
        let [first, second] = wanted.hash(KEY);
        let body = [first, second, 0xff, 0xff, first, second];
        assert_eq!(sequences_in(&body, (0, KEY), &wanted, None), [CHUNK_RECORDS - 1]);
        assert_eq!(sequences_in(&[], (3, KEY), &wanted, None), [0_u64; 0]);
    }
}

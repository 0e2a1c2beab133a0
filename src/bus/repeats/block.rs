//! A block: which ids the event stream stored at which sequences, as one message of the stream of
//! blocks.
//!
//! Blocks are facts, in any order and any number: a block that two replicas write, or that is read
//! twice, changes nothing. Numbers are big-endian:
//!
//! | bytes | what |
//! |---|---|
//! | 1 | version, 1 |
//! | 8 | creation time of the event stream, in nanoseconds |
//! | 8 | when the newest event was stored, in milliseconds |
//! | 4, then 8 + 8 each | sequences that are covered, from and to |
//! | 8 | lowest sequence of the ids |
//! | 4, then 1 + n + 4 each | sites: length, name, number of ids |
//! | 16 + 4 each | ids in the order of the sites: hash, sequence less the lowest |

use std::collections::BTreeMap;
use std::sync::Arc;

use thiserror::Error;

use super::id::RepeatId;

/// The only version.
const VERSION: u8 = 1;
/// Longest name of a site, in bytes.
const SITE_BYTES_MAX: usize = u8::MAX as usize;

/// One block.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Block {
    /// Creation time of the event stream, in nanoseconds; sequences of another one say nothing.
    pub(super) created_ns: i64,
    /// When the newest event was stored, in milliseconds by the broker's clock.
    pub(super) newest_ms: i64,
    /// Sequences whose ids are in this block, if they have one that is remembered.
    pub(super) covered: Vec<(u64, u64)>,
    /// The ids.
    pub(super) ids: Vec<StoredId>,
}

/// An id of the event stream.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct StoredId {
    pub(super) id: RepeatId,
    pub(super) sequence: u64,
    /// Token of its site.
    pub(super) site: Arc<str>,
}

/// Why a block cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(super) enum BlockError {
    #[error("version {0}")]
    Version(u8),
    #[error("ends too early")]
    Short,
    #[error("name of a site is not UTF-8")]
    Name,
}

impl Block {
    /// Returns the block as bytes.
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut sites: BTreeMap<&str, Vec<&StoredId>> = BTreeMap::new();
        for stored in &self.ids {
            sites.entry(&stored.site).or_default().push(stored);
        }
        let base = self.ids.iter().map(|stored| stored.sequence).min().unwrap_or(0);
        let mut bytes = vec![VERSION];
        bytes.extend(self.created_ns.to_be_bytes());
        bytes.extend(self.newest_ms.to_be_bytes());
        bytes.extend(count(self.covered.len()));
        for (from, to) in &self.covered {
            bytes.extend(from.to_be_bytes());
            bytes.extend(to.to_be_bytes());
        }
        bytes.extend(base.to_be_bytes());
        bytes.extend(count(sites.len()));
        for (site, ids) in &sites {
            let name = site.as_bytes().get(..SITE_BYTES_MAX).unwrap_or(site.as_bytes());
            bytes.push(u8::try_from(name.len()).unwrap_or(u8::MAX));
            bytes.extend(name);
            bytes.extend(count(ids.len()));
        }
        for stored in sites.values().flatten() {
            bytes.extend(stored.id.0.to_be_bytes());
            let offset = u32::try_from(stored.sequence.saturating_sub(base)).unwrap_or(u32::MAX);
            bytes.extend(offset.to_be_bytes());
        }
        bytes
    }

    /// Reads a block.
    ///
    /// # Errors
    /// See [`BlockError`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Self, BlockError> {
        let mut reader = Reader(bytes);
        let [version] = reader.take()?;
        if version != VERSION {
            return Err(BlockError::Version(version));
        }
        let created_ns = i64::from_be_bytes(reader.take()?);
        let newest_ms = i64::from_be_bytes(reader.take()?);
        let mut covered = Vec::new();
        for _ in 0..u32::from_be_bytes(reader.take()?) {
            covered.push((reader.number()?, reader.number()?));
        }
        let base = reader.number()?;
        let mut sites = Vec::new();
        for _ in 0..u32::from_be_bytes(reader.take()?) {
            let [length] = reader.take()?;
            let name = std::str::from_utf8(reader.bytes(usize::from(length))?);
            let name: Arc<str> = name.map_err(|_| BlockError::Name)?.into();
            sites.push((name, u32::from_be_bytes(reader.take()?)));
        }
        let mut ids = Vec::new();
        for (site, count) in sites {
            for _ in 0..count {
                let id = RepeatId(u128::from_be_bytes(reader.take()?));
                let offset = u32::from_be_bytes(reader.take()?);
                let sequence = base.saturating_add(u64::from(offset));
                ids.push(StoredId { id, sequence, site: Arc::clone(&site) });
            }
        }
        Ok(Self { created_ns, newest_ms, covered, ids })
    }
}

fn count(len: usize) -> [u8; 4] {
    u32::try_from(len).unwrap_or(u32::MAX).to_be_bytes()
}

struct Reader<'b>(&'b [u8]);

impl<'b> Reader<'b> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], BlockError> {
        let (first, rest) = self.0.split_first_chunk::<N>().ok_or(BlockError::Short)?;
        self.0 = rest;
        Ok(*first)
    }

    fn number(&mut self) -> Result<u64, BlockError> {
        Ok(u64::from_be_bytes(self.take()?))
    }

    fn bytes(&mut self, count: usize) -> Result<&'b [u8], BlockError> {
        let (first, rest) = self.0.split_at_checked(count).ok_or(BlockError::Short)?;
        self.0 = rest;
        Ok(first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Block {
        let stored = |site: &str, sequence: u64| StoredId {
            id: RepeatId::of(&format!("{site}/{sequence}")).unwrap(),
            sequence,
            site: site.into(),
        };
        Block {
            created_ns: 1_764_000_000_000_000_000,
            newest_ms: 1_764_000_000_123,
            covered: vec![(5, 9), (12, 12)],
            ids: vec![stored("a", 5), stored("a", 9), stored("b", 7), stored("b", 12)],
        }
    }

    #[test]
    fn a_block_is_read_as_it_was_written() {
        let empty = Block { ids: Vec::new(), covered: vec![(1, 4_096)], ..sample() };
        for block in [sample(), empty] {
            assert_eq!(Block::decode(&block.encode()), Ok(block));
        }
    }

    #[test]
    fn written_bytes_are_a_stored_format() {
        let id = RepeatId(0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10);
        let ids = vec![StoredId { id, sequence: 258, site: "ab".into() }];
        let block = Block { created_ns: 1, newest_ms: 2, covered: vec![(257, 258)], ids };
        let expected: Vec<u8> = [
            &[1][..],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 1, 0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 0, 0, 0, 1, 2],
            &[0, 0, 0, 1, 2, b'a', b'b', 0, 0, 0, 1],
            &[1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 0, 0, 0, 0],
        ]
        .concat();
        assert_eq!(block.encode(), expected);
    }

    #[test]
    fn damaged_blocks_are_errors() {
        let bytes = sample().encode();
        for len in 0..bytes.len() {
            assert_eq!(Block::decode(&bytes[..len]), Err(BlockError::Short), "{len}");
        }
        let mut newer = bytes.clone();
        newer[0] = 2;
        assert_eq!(Block::decode(&newer), Err(BlockError::Version(2)));
        let huge = [&bytes[..17], &[255; 4], &bytes[21..]].concat();
        assert_eq!(Block::decode(&huge), Err(BlockError::Short));
    }
}

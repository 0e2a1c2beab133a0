//! Cache of documents this replica is writing, so that applying its own watch events skips parsing.

use bytes::Bytes;
use dashmap::DashMap;

use crate::registry::model::InstallationRecord;

/// Documents by key; at most one per running change.
#[derive(Debug, Default)]
pub(crate) struct OwnWriteCache {
    written: DashMap<String, (Bytes, InstallationRecord)>,
}

/// Entry of the cache; removed on drop.
#[derive(Debug)]
pub(crate) struct CachedWrite<'h> {
    own_writes: &'h OwnWriteCache,
    key: String,
}

impl OwnWriteCache {
    /// Caches a document that is about to be written as `value`.
    pub(crate) fn insert(
        &self,
        key: &str,
        value: &Bytes,
        record: InstallationRecord,
    ) -> CachedWrite<'_> {
        self.written.insert(key.to_owned(), (value.clone(), record));
        CachedWrite { own_writes: self, key: key.to_owned() }
    }

    /// Removes and returns the document under `key` if it was written as exactly these bytes.
    pub(crate) fn take(&self, key: &str, value: &Bytes) -> Option<InstallationRecord> {
        let (_, (_, record)) = self.written.remove_if(key, |_, (written, _)| written == value)?;
        Some(record)
    }
}

impl Drop for CachedWrite<'_> {
    fn drop(&mut self) {
        self.own_writes.written.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::connect_installation;

    #[test]
    fn only_the_written_bytes_hit_and_nothing_remains() {
        let (own_writes, value) = (OwnWriteCache::default(), Bytes::from_static(b"1"));
        let guard = own_writes.insert("inst.a", &value, connect_installation());
        assert!(
            own_writes.take("inst.a", &Bytes::from_static(b"2")).is_none(),
            "of another replica"
        );
        assert!(own_writes.take("inst.b", &value).is_none());
        assert!(own_writes.take("inst.a", &value).is_some());
        drop(guard);
        drop(own_writes.insert("inst.a", &value, connect_installation()));
        assert!(own_writes.take("inst.a", &value).is_none());
    }
}

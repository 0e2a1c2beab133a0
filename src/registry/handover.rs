//! Documents that this replica writes, for when the store tells of them: read already.

use bytes::Bytes;
use dashmap::DashMap;

use super::document::InstallationRecord;

/// Written documents by key. There are never more than changes under way.
#[derive(Debug, Default)]
pub(super) struct Handover {
    written: DashMap<String, (Bytes, InstallationRecord)>,
}

/// A document that was left; taken back when dropped.
#[derive(Debug)]
pub(super) struct Handed<'h> {
    handover: &'h Handover,
    key: String,
}

impl Handover {
    /// Leaves a document that is about to be written as `value`.
    pub(super) fn leave(&self, key: &str, value: &Bytes, record: InstallationRecord) -> Handed<'_> {
        self.written.insert(key.to_owned(), (value.clone(), record));
        Handed { handover: self, key: key.to_owned() }
    }

    /// The document left under `key`, if it was written as these very bytes.
    pub(super) fn take(&self, key: &str, value: &Bytes) -> Option<InstallationRecord> {
        let (_, (_, record)) = self.written.remove_if(key, |_, (written, _)| written == value)?;
        Some(record)
    }
}

impl Drop for Handed<'_> {
    fn drop(&mut self) {
        self.handover.written.remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::registry::testing::connect_installation;

    #[test]
    fn only_what_was_written_is_taken_and_nothing_stays() {
        let (handover, value) = (Handover::default(), Bytes::from_static(b"1"));
        let handed = handover.leave("inst.a", &value, connect_installation());
        assert!(handover.take("inst.a", &Bytes::from_static(b"2")).is_none(), "of another replica");
        assert!(handover.take("inst.b", &value).is_none());
        assert!(handover.take("inst.a", &value).is_some());
        drop(handed);
        drop(handover.leave("inst.a", &value, connect_installation()));
        assert!(handover.take("inst.a", &value).is_none());
    }
}

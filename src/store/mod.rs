//! The registry store: one bucket of the JetStream key-value store.
//!
//! Each document is one key. Its revision is the stream sequence of its last write, so revisions
//! order all changes of the registry. A write returns once the stream has stored it. A deletion is a
//! tombstone that stays.

mod bucket;
mod cursor;
mod kv;
mod tombstones;
mod watch;

pub use bucket::{KvError, KvOptions};
pub use kv::KvStore;

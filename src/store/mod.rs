//! Edge: the durable registry, one bucket of JetStream's key-value store.
//!
//! Each document is one key; its revision is the sequence of the message that wrote it, so
//! revisions order all changes of the registry. A write returns once the stream has it.

mod cursor;
mod kv;
mod watch;

pub use kv::{KvError, KvOptions, KvStore};

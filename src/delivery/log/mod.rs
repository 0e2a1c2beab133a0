//! The delivery log: what became of every delivery, stored before its event is acknowledged.
//!
//! - `report`: what is known of one delivery once it is accounted for.
//! - `record`: the stored format, one JSON document for the deliveries of one event. Pure.
//! - `collector`: collects the reports of an event or a parked record, and stores them in time.
//! - `entity_index`: which records are about an entity, for logs that are large. Pure.
//! - `stored`, `query`: reads records back, and which deliveries answer a question. Pure.
//! - `port`, `reader`: the interfaces to the stream, implemented in `bus`.
//!
//! Design: `docs/design/delivery-log.md`.

mod collector;
mod entity_index;
mod port;
mod query;
mod reader;
mod record;
mod report;
mod stored;

pub use collector::LogCollector;
pub use entity_index::{
    CHUNK_RECORDS, ChunkIndex, ChunkKey, INDEX_BUCKETS, IndexKey, sequences_in,
};
pub use port::{DeliveryLog, ERASED_SITE, LogMessage};
pub use query::{LogPage, LogPosition, LogQuery, LoggedDelivery, OutcomeFilter};
pub use reader::{DeliveryLogReader, EventHistory, EventKey, LogReadError, NoDeliveryLog};
pub use record::{BUCKETS, LogResult, Origin, RecordSource, bucket};
pub use report::{AttemptReport, DeliveryReport};
pub use stored::{StoredDelivery, StoredEventHead, StoredRecord};

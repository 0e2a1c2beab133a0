//! Event decoding: turns the bytes and headers of one message into an [`Envelope`] and an
//! [`Event`].
//!
//! Items: [`codec`] reads and writes the headers of messages, [`Decoder`] reads bodies, [`Envelope`]
//! holds the attributes, [`projection`] extracts the JSON values that the index compares,
//! [`sources`] has what is special to a product, [`webhook`] maps webhooks to events and back.
//!
//! Guarantee: for any bytes, decoding returns an event or a [`DecodeError`] with a reason; it never
//! panics and never recurses past the depth limit. This stage imports neither the broker client nor
//! the subscriptions.

mod archive;
pub mod codec;
pub mod crash_records;
pub mod decode;
mod decode_error;
pub mod envelope;
pub mod identity;
mod listing;
pub mod members;
pub mod message;
pub mod metrics;
mod permissions;
pub mod projection;
pub mod publish;
pub mod sample;
mod scan;
pub mod sources;
mod structural_index;
pub mod surrogates;
pub mod unmapped;
mod unreadable_event;
pub mod view;
pub mod webhook;

pub use archive::{ArchivedEvent, EventArchive, NoEventArchive, StoredEvent};
pub use codec::{Attributes, HeaderLookup};
pub use crash_records::{CrashRecord, CrashRecordError, CrashRecords, EventPosition};
pub use decode::{DecodedMessage, Decoder};
pub use decode_error::DecodeError;
pub use envelope::{Envelope, Event, RoutingKey};
pub use listing::{
    EventListPage, EventListQuery, EventSelector, ListedEvent, ListedMessage, Listing, is_about,
};
pub use message::{Message, MessageStream};
pub use permissions::Permissions;
pub use publish::{InputBacklog, PublishError, Published, Publisher, RepeatStatus, SiteRepeats};
pub use sample::Sample;
pub use unmapped::{UnmappedNames, UnmappedWebhooks};
pub use unreadable_event::UnreadableEvent;
pub use view::{AppValues, EventView};

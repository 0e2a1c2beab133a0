//! The NATS edge: consumes events, publishes parked deliveries and dead letters, calls functions of
//! apps.
//!
//! Items: [`Connections`] to a broker or a [`ManagedServer`]; [`streams`] and [`subjects`] name and
//! configure everything on it. In: [`PullSubscription`] with batched [`acks`]. Out, confirmed by
//! the stream: [`EventPublisher`], [`ParkingStream`], [`DeadLetterStream`], [`DeliveryLogStream`]. Without a stream:
//! [`FunctionClient`], [`GoneBroadcast`], [`ListenerBus`]. [`FailedWebhookStream`] and [`DeadLetterReader`] read dead letters back,
//! [`DeliveryLogStreamReader`] the delivery log, which [`LogIndexer`] indexes, [`EventArchiveStream`] single events;
//! [`JobOutcomeCounter`] deletes dead letters that were redriven;
//! [`UnmappedWebhookCounts`] counts webhooks that map to no event;
//! [`ReplicaPresence`] knows the other replicas; [`StreamMonitor`] sets the [`BackpressureGate`], [`ShareCounter`] the counts of the shares.
//! [`Trimmer`] deletes acknowledged events, by the decisions in [`trim`] and [`floor`].
//! [`Repeats`] remembers the ids of stored events, which [`RepeatRecorder`] records.
//! [`BrokerProbe`] asks whether the broker works. [`JobBucket`] stores the jobs of operators,
//! [`RevisionStream`] the revisions of modules, [`AuditStream`] the audit log, [`SessionsBucket`] the sessions of the console.
//! [`AccountStreamReader`] reads what the account of deliveries is made of, [`AccountDocument`] what its checks found.
//!
//! Guarantee: a confirmed publish is stored; an unconfirmed publish is repeated under the same
//! message id. Connections and pull requests are re-established automatically. Only this module
//! (and `store`) uses subjects, streams, consumers, acks and naks.

mod access_streams;
mod account_document;
mod account_streams;
pub mod acks;
mod audit_stream;
mod batched_get;
mod broker_inspector;
pub mod broker_probe;
mod confirmed_publish;
pub mod connect;
pub mod consume;
pub mod crash_records;
mod credentials;
pub mod dead_letter_reader;
pub mod dead_letters;
pub mod delivery_log;
pub mod delivery_log_reader;
mod direct_get;
mod durable;
pub mod erasable_streams;
pub mod event_archive;
mod event_list;
pub mod event_publisher;
pub mod failed_webhooks;
pub mod floor;
pub mod functions;
pub mod gone_broadcast;
pub mod headers;
pub mod job_bucket;
pub mod job_outcomes;
pub mod listeners;
mod log_index;
mod log_indexer;
mod log_off_mark;
mod log_records;
mod log_windows;
pub mod managed;
pub mod metrics;
mod parked_growth;
pub mod parking;
mod prefetch;
mod publish_gate;
pub mod pull_credit;
mod pulled_message;
mod puller;
mod record_groups;
mod record_numbers;
pub mod repeats;
pub mod replay_streams;
pub mod replica_presence;
mod revision_stream;
pub mod room;
mod sessions_bucket;
mod shadow_tallies;
pub mod share_counts;
mod state_bucket;
pub mod stream_monitor;
mod stream_reader;
pub mod streams;
pub mod subjects;
pub mod trim;
pub mod trimmer;
mod unmapped_subjects;
mod unmapped_webhooks;
mod write_outcomes;

pub use account_document::AccountDocument;
pub use account_streams::AccountStreamReader;
pub use audit_stream::AuditStream;
pub use broker_inspector::StreamInspector;
pub use broker_probe::BrokerProbe;
pub use connect::{BrokerConnectError, Connections, JetStreamClient, shown_urls};
pub use consume::PullSubscription;
pub use crash_records::CrashRecordBucket;
pub use dead_letter_reader::DeadLetterReader;
pub use dead_letters::DeadLetterStream;
pub use delivery_log::DeliveryLogStream;
pub use delivery_log_reader::DeliveryLogStreamReader;
pub use erasable_streams::ErasableStreamsOnBroker;
pub use event_archive::EventArchiveStream;
pub use event_publisher::{BackpressureGate, EventPublisher};
pub use failed_webhooks::FailedWebhookStream;
pub use functions::FunctionClient;
pub use gone_broadcast::GoneBroadcast;
pub use job_bucket::JobBucket;
pub use job_outcomes::JobOutcomeCounter;
pub use listeners::ListenerBus;
pub use log_indexer::LogIndexer;
pub use log_off_mark::LogOffMark;
pub use managed::{ManagedError, ManagedServer, new_client_key, write_private};
pub use parking::ParkingStream;
pub use publish_gate::PublishGates;
pub use repeats::{RepeatRecorder, Repeats};
pub use replay_streams::ReplayStreamReader;
pub use replica_presence::{OtherReplicas, ReplicaPresence};
pub use revision_stream::RevisionStream;
pub use room::RoomRequests;
pub use sessions_bucket::SessionsBucket;
pub use shadow_tallies::ShadowTallies;
pub use share_counts::ShareCounter;
pub use stream_monitor::StreamMonitor;
pub use subjects::Subjects;
pub use trimmer::Trimmer;
pub use unmapped_webhooks::UnmappedWebhookCounts;

//! Traces: spans of the events that are sampled, exported by OTLP over HTTP.
//!
//! ```text
//! Traces::event -> EventSpan -> child spans -> bounded queue -> batches -> collector
//!    |- not sampled, or over a limit: nothing is recorded
//! ```
//!
//! Guarantee: no caller waits for the collector. What does not fit into the queue is dropped and counted,
//! as is what the collector does not accept. While traces are off, each call is one branch.
//!
//! Design: `docs/design/traces.md`.

mod collector;
mod exporter;
mod limits;
mod metrics;
mod otlp;
mod recorder;
mod span;

pub use collector::Collector;
pub use exporter::TraceExport;
pub use limits::SpanLimits;
pub use recorder::{ActiveSpan, Begun, EVENT_SPANS, EventSpan, Traces};
pub use span::{SpanKind, Value};

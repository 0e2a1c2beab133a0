//! Edge: HTTP in. One file a door.

pub mod events;
pub mod ingest;
mod refusal;
#[cfg(test)]
mod testing;

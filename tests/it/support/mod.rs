//! What integration tests share: a broker of their own, and waiting with a deadline.

pub(crate) mod nats;

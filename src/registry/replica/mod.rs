//! Applied state of this replica.

pub(crate) mod load;
pub(crate) mod own_write_cache;
pub(crate) mod read_barrier;
pub(crate) mod state;
pub(crate) mod timer_queue;

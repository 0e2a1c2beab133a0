//! Behaviour of the registry over a store in memory.

//! The router over its public interfaces, against a real broker.

#[cfg(test)]
mod delivery;
#[cfg(test)]
mod managed;
#[cfg(test)]
mod registration;
#[cfg(test)]
mod support;

//! Builds segments: compiles filters to tests, chooses access predicates, writes posting lists.

pub(super) mod planner;
mod segment;

pub(super) use segment::build;

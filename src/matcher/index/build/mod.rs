//! Builds segments: compiles filters to tests, chooses access predicates, writes posting lists.

mod access;
mod columns;
mod filter;
mod groups;
mod planner;
mod postings;
mod segment;

pub(in crate::matcher) use segment::{Projections, build, unindexed};

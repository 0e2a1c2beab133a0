//! The index of one (site, event type): decides which filters hold for an event and which need
//! evaluation.
//!
//! A filter is compiled to a [`conjunction`] of integer tests over *columns*. A [`column`] is one
//! kind of test of one path; the constants of all filters are numbered per column, so that an
//! event's value is looked up once and every test of it compares two integers. A filter is found by
//! its *access predicate*: the rarest test that must hold for the filter to be true. The constant
//! of that test leads to a *posting list*, which holds the conjunctions of all filters with this
//! access predicate.
//!
//! A filter may be skipped only if its access predicate is false and no test before it can have
//! failed, since in `a && b` an error in `a` is the outcome even if `b` is false. So an event that
//! makes a column *undetermined* (a plain `.name` on null, a comparison of text with a number)
//! makes candidates of all filters that test the column up to their access predicate. Events
//! without errors pay nothing for this.
//!
//! The dictionary slot of a constant holds the position of its posting list, so an event's value
//! leads to the tests of all filters in two reads of uncached memory. A filter with several access
//! predicates (`a in [x, y]`) has a copy of its conjunction in each posting list, or its position if
//! the copies would be large.
//!
//! Ids are small integers ([`ids`]). A segment whose tables exceed their range, or do not fit each
//! other, is not built ([`BuildError`]), and its listeners are split or evaluated one by one; a
//! lookup that meets a position outside of a table returns an error, and all filters of the segment
//! are evaluated for that event. So the index never names a candidate too few.
//!
//! **Source:** access predicates are those of Fabret et al., SIGMOD 2001; undetermined columns and
//! ranges are additions.
//!
//! Design: `docs/design/index.md`.

mod bounds;
mod build;
mod build_error;
mod column;
mod conjunction;
mod corrupt;
mod dictionary;
mod ids;
mod key;
mod listener;
mod lookup;
mod path;
mod prefetch;
mod segment;
mod subexpression;
mod values;

pub(super) use bounds::{INSTALLATION_ENTRIES_MAX, entries, exceeds_bounds};
pub(super) use build::{Projections, build, unindexed};
pub(super) use build_error::BuildError;
pub(super) use ids::ListenerId;
pub(super) use listener::Listener;
pub(super) use lookup::LookupScratch;
#[cfg(test)]
pub(super) use segment::Defect;
pub(super) use segment::Segment;

//! The way to a value, through what was picked of an event.

use switchyard_expr::Path;

use crate::event::pick::{Pick, Picks, Place, SelectionBuilder};

/// A path as a place of a selection.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompiledPath {
    end: Place,
    /// Whether what is missing there makes the whole path null: a bit for each step, that of the
    /// last one lowest.
    optional: u64,
}

/// Longest path that is followed here.
pub(super) const STEPS_MAX: usize = u64::BITS as usize;

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Resolved<'e> {
    /// A value; a missing one counts as null.
    Value(Pick<'e>),
    /// Evaluating the path raises an error on this event.
    Error,
}

impl CompiledPath {
    /// The path of a path of at most [`STEPS_MAX`] steps.
    pub(super) fn new(path: &Path, selection: &mut SelectionBuilder) -> Self {
        debug_assert!(path.steps.len() <= STEPS_MAX, "longer ones are not asked for");
        let start = Self { end: Place::ROOT, optional: 0 };
        path.steps.iter().fold(start, |path, step| Self {
            end: selection.member(path.end, &step.name),
            optional: path.optional << 1 | u64::from(step.optional),
        })
    }

    /// Where it leads to.
    pub(super) fn end(self) -> Place {
        self.end
    }

    /// Follows the path as [`Path::resolve`] does.
    #[inline]
    pub(super) fn resolve(self, picks: Picks<'_>) -> Resolved<'_> {
        match picks.at(self.end) {
            Pick::Missing => self.missing(picks),
            // What was picked is in maps all the way.
            value => Resolved::Value(value),
        }
    }

    /// What it means that there is nothing at the end: the first step that is not out of a map
    /// tells.
    fn missing(self, picks: Picks<'_>) -> Resolved<'_> {
        let (mut place, mut optional) = (self.end, self.optional);
        let mut is_error = false;
        while let Some(parent) = picks.parent(place) {
            is_error = match picks.at(parent) {
                Pick::Map => break,
                Pick::Missing => optional & 0b11 == 0,
                _ => optional & 1 == 0,
            };
            (place, optional) = (parent, optional >> 1);
        }
        if is_error { Resolved::Error } else { Resolved::Value(Pick::Missing) }
    }
}

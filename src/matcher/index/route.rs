//! The way to a value, through what was picked of an event.

use switchyard_expr::Path;

use crate::event::pick::{Pick, Picks, Place, SelectionBuilder};

/// A path as places of a selection.
#[derive(Debug)]
pub(super) struct Route {
    /// Each step's place, and whether what is missing there makes the whole path null.
    steps: Box<[(Place, bool)]>,
}

/// What a path leads to.
#[derive(Clone, Copy, Debug)]
pub(super) enum Found<'e> {
    /// A value; a missing one counts as null.
    Value(Pick<'e>),
    /// Evaluating the path raises an error on this event.
    Broken,
}

impl Route {
    pub(super) fn new(path: &Path, selection: &mut SelectionBuilder) -> Self {
        let mut at = Place::ROOT;
        let steps = path.steps.iter().map(|step| {
            at = selection.member(at, &step.name);
            (at, step.optional)
        });
        Self { steps: steps.collect() }
    }

    /// Where it leads to.
    pub(super) fn end(&self) -> Place {
        self.steps.last().map_or(Place::ROOT, |(place, _)| *place)
    }

    /// Follows the path as [`Path::resolve`] does.
    #[inline]
    pub(super) fn follow<'e>(&self, picks: Picks<'e>) -> Found<'e> {
        let mut at = picks.at(Place::ROOT);
        for (place, optional) in &self.steps {
            at = match (at, optional) {
                (Pick::Map, _) => picks.at(*place),
                (_, true) => return Found::Value(Pick::Missing),
                (_, false) => return Found::Broken,
            };
            if *optional && matches!(at, Pick::Missing) {
                return Found::Value(at);
            }
        }
        Found::Value(at)
    }

    pub(super) fn heap_bytes(&self) -> usize {
        size_of_val(&*self.steps)
    }
}

//! Compiled paths: read the value of a path from the projected values of an event.

use switchyard_expr::Path;

use crate::event::projection::{FieldId, JsonValue, ProjectedValues, ProjectionBuilder};

/// A path whose last step is a field of the projection.
#[derive(Clone, Copy, Debug)]
pub(super) struct CompiledPath {
    end: FieldId,
    /// Whether a missing value makes the whole path null: one bit for each step, the last step
    /// lowest.
    optional: u64,
}

/// Longest path that is compiled.
pub(super) const STEPS_MAX: usize = u64::BITS as usize;

/// The result of resolving a path.
#[derive(Clone, Copy, Debug)]
pub(super) enum ResolvedValue<'e> {
    /// A value; a missing one is null.
    Value(JsonValue<'e>),
    /// Evaluating the path raises an error on this event.
    Error,
}

impl CompiledPath {
    /// Compiles a path of at most [`STEPS_MAX`] steps.
    pub(super) fn new(path: &Path, projection: &mut ProjectionBuilder) -> Self {
        debug_assert!(path.steps.len() <= STEPS_MAX, "the planner leaves out longer paths");
        let start = Self { end: FieldId::ROOT, optional: 0 };
        path.steps.iter().fold(start, |path, step| Self {
            end: projection.member(path.end, &step.name),
            optional: path.optional << 1 | u64::from(step.optional),
        })
    }

    /// The field of its last step.
    pub(super) fn end(self) -> FieldId {
        self.end
    }

    /// Resolves the path as [`Path::resolve`] does.
    #[inline]
    pub(super) fn resolve(self, projected: ProjectedValues<'_>) -> ResolvedValue<'_> {
        match projected.at(self.end) {
            JsonValue::Missing => self.missing(projected),
            // A projected value is in maps all the way.
            value => ResolvedValue::Value(value),
        }
    }

    /// Decides between null and error where the last step has no value: the first step whose parent
    /// is not a map decides.
    fn missing(self, projected: ProjectedValues<'_>) -> ResolvedValue<'_> {
        let (mut field, mut optional) = (self.end, self.optional);
        let mut is_error = false;
        while let Some(parent) = projected.parent(field) {
            is_error = match projected.at(parent) {
                JsonValue::Map => break,
                JsonValue::Missing => optional & 0b11 == 0,
                _ => optional & 1 == 0,
            };
            (field, optional) = (parent, optional >> 1);
        }
        if is_error { ResolvedValue::Error } else { ResolvedValue::Value(JsonValue::Missing) }
    }
}

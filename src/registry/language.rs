//! The one place where registration speaks to the filter language.

use std::sync::Arc;

use switchyard_expr::Program;

use super::problem::{Place, Problem};

/// Most characters of a filter. **Source:** Forge trigger module, `filter.expression`.
const EXPRESSION_CHARS_MAX: usize = 10_000;

/// A filter that is accepted, with what is odd about it.
pub(super) struct Compiled {
    pub(super) program: Arc<Program>,
    pub(super) warnings: Vec<Problem>,
}

/// Checks and compiles a filter; `path` is where its text stands in the request.
pub(super) fn compile(source: &str, path: &str) -> Result<Compiled, Vec<Problem>> {
    let count = source.chars().count();
    if count > EXPRESSION_CHARS_MAX {
        let message = format!("the filter has {count} of {EXPRESSION_CHARS_MAX} characters");
        return Err(vec![Problem::new("SY-3301", path, message)]);
    }
    let open = source.matches('(').count() != source.matches(')').count();
    if let Some(offset) = source.find(". ").or_else(|| open.then_some(source.len())) {
        let mut problem = Problem::new("SY-3002", path, "the filter cannot be read here");
        problem.place = Some(place(source, offset, 1));
        return Err(vec![problem]);
    }
    Ok(Compiled { program: Arc::new(Program), warnings: Vec::new() })
}

/// Entity-property paths that a filter reads.
pub(super) fn property_paths(_program: &Program) -> Vec<String> {
    Vec::new()
}

fn place(source: &str, offset: usize, length: usize) -> Place {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Place {
        offset,
        offset16: before.encode_utf16().count(),
        length,
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or("").chars().count() + 1,
    }
}

//! The one place where registration speaks to the filter language.

use std::sync::Arc;

use switchyard_expr::{Diagnostic, Profile, Program, Severity};

use super::problem::{Place, Problem};

/// A filter that is accepted, with what is odd about it.
pub(super) struct Compiled {
    pub(super) program: Arc<Program>,
    pub(super) warnings: Vec<Problem>,
}

/// Checks and compiles a filter; `path` is where its text stands in the request.
pub(super) fn compile(source: &str, path: &str) -> Result<Compiled, Vec<Problem>> {
    let problems = |diagnostics: Vec<Diagnostic>, severity| {
        let of_severity = diagnostics.into_iter().filter(move |d| d.severity == severity);
        of_severity.map(|diagnostic| problem(source, path, diagnostic)).collect()
    };
    match switchyard_expr::compile(source, Profile::Filter) {
        Ok(compiled) => Ok(Compiled {
            program: Arc::new(compiled.program),
            warnings: problems(compiled.warnings, Severity::Warning),
        }),
        Err(rejected) => Err(problems(rejected.diagnostics, Severity::Error)),
    }
}

/// Entity-property paths that a filter reads.
pub(super) fn property_paths(program: &Program) -> Vec<String> {
    program
        .facts()
        .property_paths
        .iter()
        .map(|path| format!("{}.properties.{}.{}", path.entity, path.key, path.path))
        .collect()
}

fn problem(source: &str, path: &str, diagnostic: Diagnostic) -> Problem {
    let at = diagnostic.position(source);
    let place = Place {
        offset: at.offset,
        offset16: at.offset16,
        length: at.length,
        line: at.line,
        column: at.column,
    };
    let mut problem = Problem::new(&diagnostic.code.to_string(), path, diagnostic.message);
    problem.place = Some(place);
    problem.help = diagnostic.help;
    problem
}

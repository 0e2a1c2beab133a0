//! Adapter to the filter language; no other file of the registry calls it.

use std::sync::Arc;

pub(crate) use switchyard_expr::jql::Query;
use switchyard_expr::{
    CheckProfile, CompileError, Complexity, Diagnostic, Program, Severity, TemplateCache, Usage,
};

use crate::domain::PropertyPath;
use crate::registry::model::{Problem, SourceRange};

/// An accepted filter with its warnings.
pub(crate) struct CompiledFilter {
    pub(crate) program: Arc<Program>,
    pub(crate) warnings: Vec<Problem>,
    pub(crate) complexity: Complexity,
}

/// Checks and compiles a filter; `path` is its path in the request.
pub(crate) fn compile(
    templates: &TemplateCache,
    source: &str,
    path: &str,
    usage: &Usage<'_>,
) -> Result<CompiledFilter, Vec<Problem>> {
    let problem = |diagnostic: &Diagnostic| problem(diagnostic, source, path);
    match switchyard_expr::compile_for(source, CheckProfile::Filter, usage) {
        Ok(compiled) => Ok(CompiledFilter {
            program: compile_accepted(templates, source, path)?,
            warnings: compiled.warnings.iter().map(problem).collect(),
            complexity: compiled.complexity,
        }),
        Err(rejected) => {
            let errors = rejected.diagnostics.iter().filter(|d| d.severity == Severity::Error);
            Err(errors.map(problem).collect())
        }
    }
}

/// Checks a filter that is not registered, such as the further condition of a replay; `path` is its path
/// in the request.
///
/// # Errors
/// Its errors, with their positions.
pub fn check_filter(source: &str, path: &str) -> Result<(), Vec<Problem>> {
    let compiled = switchyard_expr::compile_for(source, CheckProfile::Filter, &Usage::default());
    compiled.map(|_| ()).map_err(|rejected| {
        let errors = rejected.diagnostics.iter().filter(|one| one.severity == Severity::Error);
        errors.map(|one| problem(one, source, path)).collect()
    })
}

/// Compiles a filter that was accepted before, without warnings or new checks: a later version that
/// knows more mistakes must not drop an accepted filter.
pub(crate) fn compile_accepted(
    templates: &TemplateCache,
    source: &str,
    path: &str,
) -> Result<Arc<Program>, Vec<Problem>> {
    templates.compile(source, CheckProfile::Filter).map_err(|rejected| {
        rejected.diagnostics.iter().map(|found| problem(found, source, path)).collect()
    })
}

/// Parses JQL.
pub(crate) fn parse_jql(query: &str, path: &str) -> Result<Query, Vec<Problem>> {
    Query::parse(query).map_err(|rejected| problems(&rejected, query, path))
}

/// Translates JQL to an expression; none for blank JQL, which every issue matches.
pub(crate) fn translate_jql(query: &str, path: &str) -> Result<Option<String>, Vec<Problem>> {
    let parsed = parse_jql(query, path)?;
    parsed.expression().map_err(|rejected| problems(&rejected, query, path))
}

/// Returns warnings about the clauses of a query, whose text is `text`.
pub(crate) fn jql_warnings(query: &Query, text: &str, path: &str) -> Vec<Problem> {
    query.warnings().iter().map(|found| problem(found, text, path)).collect()
}

/// Returns JQL in the normal form that Jira lists; unreadable JQL is returned unchanged.
#[must_use]
pub fn normal_jql(query: &str) -> String {
    Query::parse(query).map_or_else(|_| query.to_owned(), |parsed| parsed.normal_form())
}

fn problems(rejected: &CompileError, source: &str, path: &str) -> Vec<Problem> {
    rejected.diagnostics.iter().map(|found| problem(found, source, path)).collect()
}

/// Returns the entity properties that a filter reads, normalised by [`property`].
pub(crate) fn properties(program: &Program) -> impl Iterator<Item = String> {
    let paths = program.facts().property_paths.into_iter();
    paths.map(|path| spell(&path.entity, &path.key, &path.path))
}

/// Normalises an entity property of a payload: `.x.y`, `['x']['y']` and `['x.y']` after the key
/// denote the same path.
///
/// **Source:** Forge trigger filters, entity properties.
pub(crate) fn property(text: &str) -> String {
    let text = text.strip_prefix("event.runtime.").unwrap_or(text);
    let Some(path) = PropertyPath::parse(text) else { return text.to_owned() };
    spell(&path.entity, &path.key, &path.names.join("."))
}

fn spell(entity: &str, key: &str, path: &str) -> String {
    format!("{entity}.properties['{key}'].{path}")
}

fn problem(diagnostic: &Diagnostic, source: &str, path: &str) -> Problem {
    let position = diagnostic.position(source);
    let mut problem = Problem::new(&diagnostic.code.to_string(), path, &*diagnostic.message);
    problem.help = diagnostic.help.as_deref().map(str::to_owned);
    problem.replacement = diagnostic.replacement.as_deref().map(str::to_owned);
    problem.range = Some(SourceRange {
        offset: position.offset,
        offset16: position.offset16,
        length: position.length,
        line: position.line,
        column: position.column,
    });
    problem
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn property_has_one_spelling_in_filters_and_payloads() {
        let filter = "event.runtime.issue.properties['k'].a.b == 1";
        let read: Vec<_> = properties(
            &compile(&TemplateCache::new(), filter, "", &Usage::default()).ok().unwrap().program,
        )
        .collect();
        for text in [
            "issue.properties['k'].a.b",
            "issue.properties[\"k\"]['a']['b']",
            "issue.properties['k']['a.b']",
            "issue.properties.k.a.b",
            "event.runtime.issue.properties['k'].a.b",
        ] {
            assert_eq!([property(text)], *read, "{text}");
        }
        assert_ne!(property("issue.properties['k.a'].b"), read[0]);
    }

    #[test]
    fn property_of_any_text_is_some_spelling() {
        for odd in ["", "x", "a.properties", "a.properties[", "a.properties['", "a.properties['ü"]
        {
            let spelling = property(odd);
            assert!(spelling.starts_with(odd.split('.').next().unwrap()), "{odd}");
        }
    }

    #[test]
    fn rejection_has_code_position_and_help() {
        let problems = compile(
            &TemplateCache::new(),
            "true &&\n ä = 1",
            "data.filter.expression",
            &Usage::default(),
        )
        .err()
        .unwrap();
        let place = problems[0].range.unwrap();
        assert!(problems[0].code.starts_with("SY-3"), "{problems:?}");
        assert_eq!(problems[0].path, "data.filter.expression");
        assert_eq!(place.line, 2);
        assert!(place.offset >= place.offset16);
    }
}

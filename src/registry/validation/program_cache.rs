//! Cache of compiled filters, shared by validation and compilation.

use std::collections::BTreeSet;
use std::sync::Arc;

use switchyard_expr::{Program, TemplateCache, Usage};

use super::language::{self, CompiledFilter};
use super::trigger::Trigger;
use crate::clock;
use crate::registry::metrics;
use crate::registry::model::Problem;

/// Compiled filters, shared: equal filters are one program, and filters that differ only in
/// constants share everything else.
///
/// Holds weak references only; subscriptions own the programs in use.
#[derive(Debug, Default)]
pub struct ProgramCache {
    templates: TemplateCache,
}

impl ProgramCache {
    /// Checks a filter and returns all warnings; reuses an equal program that is in use.
    pub(crate) fn check(
        &self,
        text: &str,
        path: &str,
        usage: &Usage<'_>,
    ) -> Result<CompiledFilter, Vec<Problem>> {
        let start = clock::tick();
        let compiled = language::compile(&self.templates, text, path, usage);
        metrics::filter_compiled(clock::since(start), compiled.as_ref().err().map(Vec::as_slice));
        compiled
    }

    /// Returns the program of a filter that was accepted before.
    pub(crate) fn get(&self, text: &str) -> Result<Arc<Program>, Vec<Problem>> {
        let start = clock::tick();
        let compiled = language::compile_accepted(&self.templates, text, "filter.expression");
        metrics::filter_compiled(clock::since(start), compiled.as_ref().err().map(Vec::as_slice));
        compiled
    }

    /// Returns the normalised entity-property paths that `trigger` reads in its filters and
    /// payload.
    pub(crate) fn property_paths(&self, trigger: &Trigger) -> BTreeSet<String> {
        let expressions = trigger.filters.iter().filter_map(|filter| filter.expression.as_ref());
        let programs = expressions.filter_map(|text| self.get(&text.value).ok());
        let mut paths: BTreeSet<String> =
            trigger.property_paths.iter().map(|one| language::property(&one.path.value)).collect();
        for program in programs {
            paths.extend(language::properties(&program));
        }
        paths
    }
}

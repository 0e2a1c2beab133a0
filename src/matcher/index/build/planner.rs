//! Plans the columns of a segment: equal paths share a column, equal constants an id, equal
//! subexpressions an evaluation.

use std::collections::HashMap;
use std::sync::Arc;

use foldhash::fast::RandomState;
use switchyard_expr::predicate::Constant;
use switchyard_expr::{Path, Program};

use super::columns::{ColumnBuilder, MemberNames};
use crate::matcher::index::build_error::BuildError;
use crate::matcher::index::column::TestKind;
use crate::matcher::index::conjunction::{Test, TestTables};
use crate::matcher::index::corrupt::CorruptSegment;
use crate::matcher::index::ids::{ColumnId, ConstantId};
use crate::matcher::index::subexpression::SharedSubexpression;
use crate::matcher::index::{path, subexpression};

/// Collects what the tests of a segment refer to.
#[derive(Debug, Default)]
pub(super) struct Planner {
    columns: Vec<(Path, ColumnBuilder)>,
    subexpressions: Vec<Arc<Program>>,
    pub(super) tables: TestTables,
    ids: HashMap<ColumnKey, ColumnId, RandomState>,
    /// By text: the number of a shared subexpression; none if it cannot be evaluated on its own.
    subexpression_ids: HashMap<Box<str>, Option<ColumnId>, RandomState>,
}

/// The path, kind and member names of a column.
type ColumnKey = (Path, TestKind, MemberNames);

/// The columns of a segment and the tables of its tests.
#[derive(Debug)]
pub(super) struct Plan {
    /// Sorted by path.
    pub(super) columns: Vec<(Path, ColumnBuilder)>,
    /// Their columns come after all others.
    pub(super) subexpressions: Vec<Arc<Program>>,
    pub(super) tables: TestTables,
}

impl Planner {
    /// Returns the number of a shared subexpression; none if it cannot be evaluated on its own.
    pub(super) fn subexpression_id(&mut self, text: &str) -> Result<Option<ColumnId>, BuildError> {
        if let Some(known) = self.subexpression_ids.get(text) {
            return Ok(*known);
        }
        let id = match subexpression::compiled(text) {
            Some(program) => {
                let id = ColumnId::new(self.subexpressions.len())?;
                self.subexpressions.push(Arc::new(program));
                Some(id)
            }
            None => None,
        };
        self.subexpression_ids.insert(text.into(), id);
        Ok(id)
    }

    /// Sorts columns by path, so that each path is resolved once, and puts those of subexpressions after
    /// them. Changes the tests accordingly.
    pub(super) fn finish(self, tests: &mut [Test]) -> Result<Plan, BuildError> {
        let mut first: HashMap<&Path, usize, RandomState> = HashMap::default();
        for (at, (path, _)) in self.columns.iter().enumerate() {
            first.entry(path).or_insert(at);
        }
        let mut order: Vec<usize> = (0..self.columns.len()).collect();
        order.sort_by_key(|at| self.columns.get(*at).and_then(|(path, _)| first.get(path)));
        let mut new = vec![ColumnId::default(); order.len()];
        for (at, before) in order.iter().enumerate() {
            *new.get_mut(*before).ok_or(CorruptSegment("column"))? = ColumnId::new(at)?;
        }
        drop(first);
        let new_id =
            |old: ColumnId| new.get(old.index()).copied().ok_or(CorruptSegment("column of a test"));
        for test in tests {
            match test {
                Test::Is { column, .. }
                | Test::IsOneOf { column, .. }
                | Test::MayBe { column, .. }
                | Test::Ordered { column, .. } => *column = new_id(*column)?,
                Test::SharedSubexpression { number } => {
                    let column = ColumnId::new(new.len() + number.index())?;
                    *test = Test::Is { column, constant: SharedSubexpression::true_constant() };
                }
                _ => {}
            }
        }
        let mut columns: Vec<_> = new.into_iter().zip(self.columns).collect();
        columns.sort_unstable_by_key(|(id, _)| *id);
        Ok(Plan {
            columns: columns.into_iter().map(|(_, column)| column).collect(),
            subexpressions: self.subexpressions,
            tables: self.tables,
        })
    }

    /// Returns the id of a constant of a column, or of a tuple of constants.
    pub(super) fn constant_id<'c>(
        &mut self,
        column: ColumnId,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> Result<ConstantId, BuildError> {
        let column = self.columns.get_mut(column.index());
        let (_, column) = column.ok_or(CorruptSegment("column of a constant"))?;
        Ok(column.constant_id(constants)?)
    }

    /// Returns the column of a path; none if its values cannot be looked up.
    pub(super) fn column(
        &mut self,
        path: &Path,
        kind: TestKind,
        names: MemberNames,
    ) -> Result<Option<ColumnId>, BuildError> {
        if path.is_app_specific() || path.steps.len() > path::STEPS_MAX {
            return Ok(None);
        }
        let key = (path.clone(), kind, names);
        if let Some(id) = self.ids.get(&key) {
            return Ok(Some(*id));
        }
        let id = ColumnId::new(self.columns.len())?;
        self.columns.push((key.0.clone(), ColumnBuilder::new(kind, key.2.clone())));
        self.ids.insert(key, id);
        Ok(Some(id))
    }
}

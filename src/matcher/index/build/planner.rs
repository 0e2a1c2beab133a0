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
    /// The names of members that are longer than an ending, by length and ending.
    long_names: HashMap<(usize, [u8; ENDING]), Vec<Box<str>>, RandomState>,
}

/// Length of the ending by which a projection finds names.
const ENDING: usize = 8;
/// Most names of one length and ending: a projection compares all of them.
const SAME_ENDING_MAX: usize = 16;

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
        let items = key.2.iter().flatten();
        if !path.steps.iter().map(|step| &step.name).chain(items).all(|name| self.may_read(name)) {
            return Ok(None);
        }
        let id = ColumnId::new(self.columns.len())?;
        self.columns.push((key.0.clone(), ColumnBuilder::new(kind, key.2.clone())));
        self.ids.insert(key, id);
        Ok(Some(id))
    }

    /// Whether few enough names have the length and the ending of this one.
    fn may_read(&mut self, name: &str) -> bool {
        let Some(ending) = name.as_bytes().last_chunk().filter(|_| name.len() > ENDING) else {
            return true;
        };
        let known = self.long_names.entry((name.len(), *ending)).or_default();
        let is_known = known.iter().any(|known| **known == *name);
        if !is_known && known.len() < SAME_ENDING_MAX {
            known.push(name.into());
            return true;
        }
        is_known
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_names_of_one_length_and_ending_are_looked_up() {
        let mut planner = Planner::default();
        let name = |at: usize| format!("{at:03}_same_ending");
        for at in 0..SAME_ENDING_MAX {
            assert!(planner.may_read(&name(at)));
        }
        assert!(!planner.may_read(&name(SAME_ENDING_MAX)) && planner.may_read(&name(3)));
        assert!(planner.may_read("0_same_ending") && planner.may_read("000_other_ending"));
        for at in 0..3 * SAME_ENDING_MAX {
            assert!(planner.may_read(&format!("a{at:07}")), "short names are their endings");
        }
    }
}

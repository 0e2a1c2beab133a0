//! Builds the columns of a segment: numbers their constants and fills their tables.

use std::collections::HashMap;

use aho_corasick::AhoCorasick;
use foldhash::fast::RandomState;
use switchyard_expr::predicate::Constant;

use crate::event::projection::{FieldId, ProjectionBuilder};
use crate::matcher::index::build_error::BuildError;
use crate::matcher::index::column::{Column, ColumnTables, Search, TestKind};
use crate::matcher::index::corrupt::CorruptSegment;
use crate::matcher::index::dictionary::{ConstantEntry, Dictionary};
use crate::matcher::index::ids::{ColumnId, ConstantId, Offset, RowId, SegmentTooLarge};
use crate::matcher::index::key::{begin_key, push_constant};

/// The names of the members that a `Some` column tests; none is the item itself.
pub(super) type MemberNames = Box<[Option<Box<str>>]>;

/// Collects the constants of a column.
#[derive(Debug)]
pub(super) struct ColumnBuilder {
    kind: TestKind,
    names: MemberNames,
    /// In the order of first use.
    ids: HashMap<Box<[u8]>, ConstantId, RandomState>,
    /// The constants of a `Method` column of text.
    texts: Vec<(Box<str>, ConstantId)>,
    key: Vec<u8>,
}

impl ColumnBuilder {
    pub(super) fn new(kind: TestKind, names: MemberNames) -> Self {
        Self { kind, names, ids: HashMap::default(), texts: Vec::new(), key: Vec::new() }
    }

    /// Returns the id of a constant, or of a tuple of constants with one for each name.
    pub(super) fn constant_id<'c>(
        &mut self,
        constants: impl IntoIterator<Item = &'c Constant> + Clone,
    ) -> Result<ConstantId, SegmentTooLarge> {
        self.key.clear();
        for constant in constants.clone() {
            push_constant(&mut self.key, constant);
        }
        if let Some(known) = self.ids.get(&*self.key) {
            return Ok(*known);
        }
        let id = ConstantId::new(self.ids.len())?;
        self.ids.insert(self.key.as_slice().into(), id);
        if let (TestKind::Method { text: true, .. }, Some(Constant::String(text))) =
            (self.kind, constants.into_iter().next())
        {
            self.texts.push((text.clone(), id));
        }
        Ok(id)
    }

    /// The number of constants.
    pub(super) fn constants(&self) -> usize {
        self.ids.len()
    }
}

/// Collects the columns of a segment and their tables.
#[derive(Debug, Default)]
pub(super) struct ColumnsBuilder {
    /// Keys, all different, with their entries.
    entries: Vec<(Box<[u8]>, ConstantEntry)>,
    members: Vec<Offset>,
    searches: Vec<Search>,
}

impl ColumnsBuilder {
    /// Adds column `id`, whose path ends at `field`; `postings` are posting lists by constant.
    pub(super) fn add(
        &mut self,
        id: ColumnId,
        column: ColumnBuilder,
        field: FieldId,
        postings: &[RowId],
        projection: &mut ProjectionBuilder,
    ) -> Result<Column, BuildError> {
        let ColumnBuilder { mut kind, names, ids, texts, .. } = column;
        let mut table_at = Offset::default();
        if let TestKind::Method { text, .. } = &mut kind {
            projection.items(field);
            let search = search(&texts, postings)?;
            *text = search.is_some();
            table_at = Offset::new(self.searches.len())?;
            self.searches.extend(search);
        }
        if kind == TestKind::Some {
            projection.items(field);
            table_at = Offset::new(self.members.len())?;
            for name in &names {
                let member = name.as_ref().map_or(0, |name| projection.item_member(field, name));
                self.members.push(Offset::new(member)?);
            }
        }
        self.add_constants(id, ids, postings)?;
        Ok(Column { kind, id, table_at, members: Offset::new(names.len())? })
    }

    fn add_constants(
        &mut self,
        column: ColumnId,
        ids: HashMap<Box<[u8]>, ConstantId, RandomState>,
        postings: &[RowId],
    ) -> Result<(), CorruptSegment> {
        let mut ids: Vec<(ConstantId, Box<[u8]>)> =
            ids.into_iter().map(|(key, id)| (id, key)).collect();
        ids.sort_unstable_by_key(|(id, _)| *id);
        for (id, constants) in ids {
            let mut key = Vec::with_capacity(constants.len() + size_of::<ColumnId>());
            begin_key(&mut key, column);
            key.extend_from_slice(&constants);
            self.entries.push((key.into(), entry(id, postings)?));
        }
        Ok(())
    }

    /// Builds the tables.
    pub(super) fn finish(self) -> Result<ColumnTables, BuildError> {
        Ok(ColumnTables {
            dictionary: Dictionary::build(&self.entries)?,
            members: self.members.into(),
            searches: self.searches.into(),
        })
    }
}

/// Returns the entry of a constant, which has a posting list, if only an empty one.
fn entry(constant: ConstantId, postings: &[RowId]) -> Result<ConstantEntry, CorruptSegment> {
    let postings = postings.get(constant.index()).ok_or(CorruptSegment("posting list"))?;
    Ok(ConstantEntry { constant, postings: *postings })
}

/// Returns a search for all of `texts`, if there are any. Building it fails only beyond 2^31 bytes;
/// then text columns are undetermined.
fn search(
    texts: &[(Box<str>, ConstantId)],
    postings: &[RowId],
) -> Result<Option<Search>, CorruptSegment> {
    let patterns = texts.iter().map(|(text, _)| &**text);
    let automaton = (!texts.is_empty()).then(|| AhoCorasick::new(patterns).ok()).flatten();
    let Some(automaton) = automaton else { return Ok(None) };
    let entries = texts.iter().map(|(_, id)| entry(*id, postings)).collect::<Result<_, _>>()?;
    Ok(Some(Search { automaton, entries }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(column: ColumnId, constants: &[Constant]) -> Vec<u8> {
        let mut key = Vec::new();
        begin_key(&mut key, column);
        constants.iter().for_each(|constant| push_constant(&mut key, constant));
        key
    }

    #[test]
    fn equal_constants_have_one_id_and_others_have_different_ids() {
        let text = |text: &str| Constant::String(text.into());
        let mut builder = ColumnBuilder::new(TestKind::Some, Box::default());
        let tuples = [
            vec![Constant::Null],
            vec![Constant::Bool(true)],
            vec![Constant::Number(1.0)],
            vec![text("1")],
            vec![text("true")],
            vec![text("")],
            vec![text("ab"), text("c")],
            vec![text("a"), text("bc")],
            vec![Constant::Number(0.0)],
        ];
        for (at, tuple) in tuples.iter().enumerate() {
            assert_eq!(builder.constant_id(tuple), ConstantId::new(at));
        }
        assert_eq!(builder.constant_id(&[Constant::Number(-0.0)]), ConstantId::new(8));
        assert_eq!(builder.constants(), tuples.len());
        let mut other = ColumnBuilder::new(TestKind::Equal, Box::default());
        assert_eq!(other.constant_id(&[text("1")]), ConstantId::new(0));
        let row = |at: usize| RowId::new(at).unwrap();
        let postings: Vec<RowId> = (0..tuples.len()).map(|at| row(at * 10)).collect();
        let (third, fourth) = (ColumnId::new(3).unwrap(), ColumnId::new(4).unwrap());
        let mut columns = ColumnsBuilder::default();
        columns.add_constants(third, builder.ids, &postings).unwrap();
        columns.add_constants(fourth, other.ids, &[row(7)]).unwrap();
        let dictionary = columns.finish().unwrap().dictionary;
        let get = |column, constants: &[Constant]| {
            let entry = dictionary.get(&key(column, constants)).unwrap();
            entry.map(|entry| (entry.constant.index(), entry.postings.index()))
        };
        for (at, tuple) in tuples.iter().enumerate() {
            assert_eq!(get(third, tuple), Some((at, at * 10)), "{tuple:?}");
        }
        assert_eq!(get(fourth, &[text("1")]), Some((0, 7)));
        assert_eq!(get(fourth, &[text("true")]), None);
        assert_eq!(get(third, &[text("abc")]), None);
        assert_eq!(get(third, &[text("a"), text("b")]), None);
        assert_eq!(Dictionary::default().get(b"000"), Ok(None));
    }
}

//! Lookups: decide all filters of a segment for one event.

use std::sync::Arc;

use switchyard_expr::{Env, EvalScratch};

use super::conjunction::{Posting, Row, Truth, all, shared_row, split_posting};
use super::corrupt::{CorruptSegment, part};
use super::ids::{ListenerId, RowId};
use super::segment::{Bound, ColumnPostings, Segment};
use super::values::{EventValues, dedup_from};
use crate::event::Decoder;
use crate::event::projection::ProjectionBuffer;

/// Working memory of one lookup, reused from event to event.
#[derive(Debug, Default)]
pub(in crate::matcher) struct LookupScratch {
    projected: ProjectionBuffer,
    values: EventValues,
    /// Shared rows that the values lead to: each is checked once, however many lead to it.
    shared_rows: Vec<RowId>,
    /// Listeners without conditions whose filter holds, each once.
    pub(in crate::matcher) matched_listeners: Vec<ListenerId>,
    /// Other groups whose filter holds, each once.
    pub(in crate::matcher) matched_groups: Vec<ListenerId>,
    /// Groups whose filter must be evaluated, each once.
    pub(in crate::matcher) groups_to_evaluate: Vec<ListenerId>,
    /// Number of rows that the index could not skip.
    pub(in crate::matcher) candidates: usize,
}

impl LookupScratch {
    fn clear(&mut self) {
        self.values.clear();
        self.shared_rows.clear();
        self.matched_listeners.clear();
        self.matched_groups.clear();
        self.groups_to_evaluate.clear();
        self.candidates = 0;
    }

    /// Makes every filter of a segment one to evaluate.
    fn evaluate_all(&mut self, segment: &Segment) {
        self.clear();
        self.groups_to_evaluate.extend(segment.groups());
        self.candidates = self.groups_to_evaluate.len();
    }
}

impl Segment {
    /// Decides all filters for an event: fills `scratch` with the filters that hold and those that
    /// need evaluation. `previous` is the segment that `scratch` was last used with for the same
    /// event.
    ///
    /// # Errors
    /// The segment is corrupt; `scratch` then holds all of its filters as those that need
    /// evaluation.
    pub(in crate::matcher) fn find(
        &self,
        decoder: &Decoder,
        env: &Env,
        previous: Option<&Self>,
        expression: &mut EvalScratch,
        scratch: &mut LookupScratch,
    ) -> Result<(), CorruptSegment> {
        scratch.clear();
        if !previous.is_some_and(|previous| Arc::ptr_eq(&previous.projection, &self.projection)) {
            decoder.project(&self.projection, &mut scratch.projected);
        }
        let mut values = std::mem::take(&mut scratch.values);
        let outcome = self
            .read_columns(decoder, env, expression, scratch, &mut values)
            .and_then(|()| self.check(&values, scratch));
        scratch.values = values;
        outcome.inspect_err(|error| {
            // The crate's own tests corrupt segments, and look at the number of errors instead.
            if !cfg!(test) {
                debug_assert!(false, "{error}");
            }
            scratch.evaluate_all(self);
        })
    }

    /// Reads the values of all columns.
    fn read_columns(
        &self,
        decoder: &Decoder,
        env: &Env,
        expression: &mut EvalScratch,
        scratch: &LookupScratch,
        values: &mut EventValues,
    ) -> Result<(), CorruptSegment> {
        let projected = decoder.projected(&self.projection, &scratch.projected);
        for (path, columns) in &self.paths {
            let resolved = path.resolve(projected);
            for column in part(&self.columns, columns, "column")? {
                column.read(resolved, &self.column_tables, values)?;
            }
        }
        for subexpression in &self.subexpressions {
            subexpression.read(decoder, env, expression, values);
        }
        Ok(())
    }

    /// Checks the rows that the values lead to.
    fn check(
        &self,
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) -> Result<(), CorruptSegment> {
        if self.postings.len() != values.columns.len() {
            return Err(CorruptSegment("postings of a column"));
        }
        self.check_postings(self.without_access_predicate, values, scratch)?;
        let mut is_any_undetermined = false;
        for (postings, value) in self.postings.iter().zip(&values.columns) {
            if value.undetermined {
                is_any_undetermined = true;
                self.check_all_postings(postings, values, scratch)?;
                continue;
            }
            for entry in values.entries(value) {
                self.check_postings(entry.postings, values, scratch)?;
            }
            for bound in self.bounds_satisfied_by(postings, value.number)? {
                self.check_row(bound.row, values, scratch)?;
            }
        }
        self.check_shared_rows(values, scratch)?;
        // Only an undetermined column leads to a row that is also in a posting list.
        if is_any_undetermined {
            dedup_from(0, &mut scratch.matched_listeners);
        }
        dedup_from(0, &mut scratch.matched_groups);
        dedup_from(0, &mut scratch.groups_to_evaluate);
        Ok(())
    }

    /// Checks the posting list that begins at `start`.
    #[inline]
    fn check_postings(
        &self,
        start: RowId,
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) -> Result<(), CorruptSegment> {
        let mut cells = self.rows.get(start.index()..).ok_or(CorruptSegment("posting list"))?;
        loop {
            let (posting, rest) = split_posting(cells)?;
            match posting {
                Posting::Row(row) => self.check_conjunction(&row, values, scratch)?,
                Posting::Reference(row) => scratch.shared_rows.push(row),
                Posting::End => return Ok(()),
            }
            cells = rest;
        }
    }

    /// Checks each shared row that was found, once.
    #[inline]
    fn check_shared_rows(
        &self,
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) -> Result<(), CorruptSegment> {
        let mut rows = std::mem::take(&mut scratch.shared_rows);
        dedup_from(0, &mut rows);
        let checked = rows.iter().try_for_each(|row| {
            let cells = self.rows.get(row.index()..).ok_or(CorruptSegment("row"))?;
            let row = shared_row(cells)?.ok_or(CorruptSegment("shared row"))?;
            self.check_conjunction(&row, values, scratch)
        });
        scratch.shared_rows = rows;
        checked
    }

    /// Checks all rows that depend on an undetermined column.
    fn check_all_postings(
        &self,
        postings: &ColumnPostings,
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) -> Result<(), CorruptSegment> {
        let mut cells = part(&self.rows, &postings.rows, "posting list")?;
        while !cells.is_empty() {
            let (posting, rest) = split_posting(cells)?;
            match posting {
                Posting::Row(row) => self.check_conjunction(&row, values, scratch)?,
                Posting::Reference(row) => scratch.shared_rows.push(row),
                Posting::End => {}
            }
            cells = rest;
        }
        for row in part(&self.rows_that_may_error, &postings.rows_that_may_error, "row")? {
            self.check_row(*row, values, scratch)?;
        }
        Ok(())
    }

    fn check_row(
        &self,
        row: RowId,
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) -> Result<(), CorruptSegment> {
        let cells = self.rows.get(row.index()..).ok_or(CorruptSegment("row"))?;
        if shared_row(cells)?.is_some() {
            scratch.shared_rows.push(row);
            return Ok(());
        }
        match split_posting(cells)? {
            (Posting::Row(row), _) => self.check_conjunction(&row, values, scratch),
            _ => Err(CorruptSegment("row")),
        }
    }

    /// Returns the bounds that `number` satisfies.
    fn bounds_satisfied_by(
        &self,
        postings: &ColumnPostings,
        number: f64,
    ) -> Result<impl Iterator<Item = &Bound>, CorruptSegment> {
        let below = part(&self.bounds, &postings.below, "bound")?;
        let below = below.iter().take_while(move |bound| {
            if bound.is_excluded { number < bound.number } else { number <= bound.number }
        });
        let above = part(&self.bounds, &postings.above, "bound")?;
        let above = above.iter().take_while(move |bound| {
            if bound.is_excluded { number > bound.number } else { number >= bound.number }
        });
        Ok(below.chain(above))
    }

    #[inline]
    fn check_conjunction(
        &self,
        row: &Row<'_>,
        values: &EventValues,
        scratch: &mut LookupScratch,
    ) -> Result<(), CorruptSegment> {
        scratch.candidates += 1;
        if row.listener.index() >= self.listeners.len() {
            return Err(CorruptSegment("listener"));
        }
        match all(row.tests, values, &self.tables) {
            Truth::True if row.is_single => scratch.matched_listeners.push(row.listener),
            Truth::True => scratch.matched_groups.push(row.listener),
            Truth::False => {}
            Truth::Unknown | Truth::MayError => scratch.groups_to_evaluate.push(row.listener),
            Truth::Corrupt => return Err(CorruptSegment("entry that a test refers to")),
        }
        Ok(())
    }
}

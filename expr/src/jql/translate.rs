//! Translation of a query to an expression.

use super::clause;
use super::query::{QueryField, QueryTree, QueryValue};

/// Constants that all clauses of a query may compare with together. It bounds the expression and the
/// tables of its lists. It does not bound the steps: a list of constants takes the same steps
/// whatever its length, once for each value that an event has in the field.
pub(super) const COMPARISONS_MAX: usize = 10_000;

/// An expression that is equivalent to a query.
pub(super) struct Translation {
    pub(super) expression: String,
    /// Constants that it compares with.
    pub(super) comparisons: usize,
}

/// Translates a query.
pub(super) fn translate_tree(tree: &QueryTree) -> Translation {
    let mut comparisons = 0;
    let expression = written(tree, &mut comparisons);
    Translation { expression, comparisons }
}

fn written(tree: &QueryTree, comparisons: &mut usize) -> String {
    match tree {
        QueryTree::And(trees) => {
            let mut tests: Vec<String> =
                trees.iter().map(|tree| written(tree, comparisons)).collect();
            // No test fails, so their order is free. An index can use the tests before the first
            // one that needs evaluation.
            let needs_evaluation =
                |test: &String| test.contains(clause::LOWER) || test.contains(clause::FLATTEN);
            tests.sort_by_key(needs_evaluation);
            tests.join(" && ")
        }
        QueryTree::Or(trees) => {
            let mut tests = Vec::with_capacity(trees.len());
            let mut rest = trees.as_slice();
            while let Some((first, behind)) = rest.split_first() {
                // `a = 1 OR a = 2` is translated as `a IN (1, 2)`, which is much shorter.
                let (test, joined) = match first {
                    QueryTree::Clause(first) if !first.is_negated => {
                        let (values, joined) = joined_values(&first.field, rest);
                        (clause::written(&first.field, false, &values, comparisons), joined)
                    }
                    _ => (written(first, comparisons), 1),
                };
                tests.push(test);
                rest = rest.get(joined..).unwrap_or(behind);
            }
            match tests.as_slice() {
                [only] => only.clone(),
                _ => format!("({})", tests.join(" || ")),
            }
        }
        QueryTree::Not(tree) => format!("!({})", written(tree, comparisons)),
        QueryTree::Clause(clause) => {
            let values: Vec<&QueryValue> = clause.values.iter().collect();
            clause::written(&clause.field, clause.is_negated, &values, comparisons)
        }
    }
}

/// The values of the clauses on `field` at the start of a disjunction, and the number of clauses.
fn joined_values<'t>(field: &QueryField, trees: &'t [QueryTree]) -> (Vec<&'t QueryValue>, usize) {
    let clauses = trees.iter().map_while(|tree| match tree {
        QueryTree::Clause(clause) if clause.field == *field && !clause.is_negated => Some(clause),
        _ => None,
    });
    let mut values = Vec::new();
    let mut count = 0;
    for clause in clauses {
        values.extend(&clause.values);
        count += 1;
    }
    (values, count)
}

//! The normal form of a query, as Jira lists it: one space between words, `AND` and `OR` in upper
//! case, `in` and `not in` in lower case, `EMPTY` for `null`, quotes only where they are needed.

use std::fmt::{self, Display};

use super::parse::is_word;
use super::query::{Clause, QueryTree, QueryValue};

/// Words that are no values unless they are quoted.
const RESERVED: &[&str] = &["and", "or", "not", "in", "is", "empty", "null", "order", "by"];

impl Display for QueryTree {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            QueryTree::Or(trees) => joined(f, trees, " OR ", |_| false),
            QueryTree::And(trees) => {
                joined(f, trees, " AND ", |tree| matches!(tree, QueryTree::Or(_)))
            }
            QueryTree::Not(tree) => match **tree {
                QueryTree::Or(_) | QueryTree::And(_) => write!(f, "NOT ({tree})"),
                _ => write!(f, "NOT {tree}"),
            },
            QueryTree::Clause(clause) => clause.fmt(f),
        }
    }
}

fn joined(
    f: &mut fmt::Formatter<'_>,
    trees: &[QueryTree],
    word: &str,
    needs_parentheses: impl Fn(&QueryTree) -> bool,
) -> fmt::Result {
    for (at, tree) in trees.iter().enumerate() {
        if at > 0 {
            f.write_str(word)?;
        }
        if needs_parentheses(tree) {
            write!(f, "({tree})")?;
        } else {
            tree.fmt(f)?;
        }
    }
    Ok(())
}

impl Display for Clause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sign = match (self.is_list, self.is_negated) {
            (false, false) => "=",
            (false, true) => "!=",
            (true, false) => "in",
            (true, true) => "not in",
        };
        write!(f, "{} {sign} ", self.name)?;
        if !self.is_list {
            return self.values.iter().try_for_each(|value| value.fmt(f));
        }
        f.write_str("(")?;
        for (at, value) in self.values.iter().enumerate() {
            if at > 0 {
                f.write_str(", ")?;
            }
            value.fmt(f)?;
        }
        f.write_str(")")
    }
}

impl Display for QueryValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let QueryValue::Text(text) = self else { return f.write_str("EMPTY") };
        let is_reserved = RESERVED.iter().any(|word| text.eq_ignore_ascii_case(word));
        if !text.is_empty() && text.chars().all(is_word) && !is_reserved {
            return f.write_str(text);
        }
        f.write_str("\"")?;
        for c in text.chars() {
            if matches!(c, '"' | '\\') {
                f.write_str("\\")?;
            }
            write!(f, "{c}")?;
        }
        f.write_str("\"")
    }
}

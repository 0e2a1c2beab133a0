//! The parts of a filter, from what was seen of them.

use std::collections::HashMap;

use super::{Outcome, Part, Reading, Shown};
use crate::ast::{BinaryOp, UnaryOp};
use crate::span::Span;
use crate::typed::{Applied, Block, Body, Expr, Kind, Link, LinkKind, Typed};

/// Declarations, then the body; the part that settled the verdict is marked.
pub(super) fn parts(typed: &Typed, seen: &HashMap<Span, Outcome>) -> Vec<Part> {
    Tree { seen }.block(&typed.main.body)
}

struct Tree<'s> {
    seen: &'s HashMap<Span, Outcome>,
}

impl Tree<'_> {
    fn outcome(&self, span: Span) -> Outcome {
        self.seen.get(&span).cloned().unwrap_or(Outcome::Skipped)
    }

    fn block(&self, block: &Block) -> Vec<Part> {
        let mut parts: Vec<Part> = block
            .declarations
            .iter()
            .map(|(_, value)| {
                let failed = matches!(self.outcome(value.span), Outcome::Error(_));
                self.part(value, failed)
            })
            .collect();
        match &block.body {
            Body::Expr(expr) => parts.push(self.part(expr, true)),
            Body::If { arms, otherwise } => {
                for (condition, then) in arms {
                    let failed = matches!(self.outcome(condition.span), Outcome::Error(_));
                    parts.push(self.part(condition, failed));
                    parts.extend(self.block(then));
                }
                parts.extend(self.block(otherwise));
            }
            Body::Try { attempt, handler, .. } => {
                parts.extend(self.block(attempt));
                parts.extend(self.block(handler));
            }
        }
        parts
    }

    /// A part; `decides` if the verdict was settled somewhere in it.
    fn part(&self, expr: &Expr, decides: bool) -> Part {
        let outcome = self.outcome(expr.span);
        let decides = decides && !matches!(outcome, Outcome::Skipped);
        let (span, children) = (expr.span, operands(expr));
        if children.is_empty() {
            let mut reads = Vec::new();
            self.reads(expr, &mut reads);
            // What a part yields need not be said twice.
            reads.retain(|reading| reading.span != span);
            return Part { span, outcome, decides, reads, parts: Vec::new() };
        }
        let deciding = if decides { self.deciding(expr, &children) } else { None };
        let parts = children.iter().enumerate();
        let parts = parts.map(|(at, child)| self.part(child, deciding == Some(at))).collect();
        Part { span, outcome, decides: decides && deciding.is_none(), reads: Vec::new(), parts }
    }

    /// Which of its parts settled what `expr` yields; none if all of them did.
    fn deciding(&self, expr: &Expr, children: &[&Expr]) -> Option<usize> {
        let outcomes: Vec<Outcome> =
            children.iter().map(|child| self.outcome(child.span)).collect();
        let last = outcomes.iter().rposition(|outcome| !matches!(outcome, Outcome::Skipped))?;
        let settles = match (&expr.kind, outcomes.get(last)?) {
            (_, Outcome::Error(_)) => true,
            (Kind::Chain { rest, .. }, Outcome::Value(value)) => match rest.first()?.op {
                BinaryOp::And => !is_truthy(value),
                BinaryOp::Or => is_truthy(value),
                _ => true,
            },
            _ => true,
        };
        settles.then_some(last)
    }

    /// The paths that a part without parts of its own reads.
    fn reads(&self, expr: &Expr, out: &mut Vec<Reading>) {
        match &expr.kind {
            Kind::Access { head, links } => self.access(head, links, out),
            Kind::Chain { first, rest } => {
                self.reads(first, out);
                rest.iter().for_each(|applied| self.reads(&applied.operand, out));
            }
            Kind::Unary { operand, .. } | Kind::Throw(operand) => self.reads(operand, out),
            Kind::List(items) | Kind::New { arguments: items, .. } => {
                items.iter().for_each(|item| self.reads(item, out));
            }
            _ => {}
        }
    }

    /// The longest path of plain names that was walked, and the arguments of calls behind it.
    fn access(&self, head: &Expr, links: &[Link], out: &mut Vec<Reading>) {
        let names = links
            .iter()
            .take_while(|link| matches!(link.kind, LinkKind::Member { called: false, .. }));
        let walked = names.filter_map(|link| match self.seen.get(&link.span) {
            Some(Outcome::Value(value)) => Some(Reading { span: link.span, value: value.clone() }),
            _ => None,
        });
        let walked = walked.last();
        if matches!(head.kind, Kind::Variable(_) | Kind::Place(_)) {
            out.extend(walked.or_else(|| match self.seen.get(&head.span) {
                Some(Outcome::Value(value)) if matches!(head.kind, Kind::Place(_)) => {
                    Some(Reading { span: head.span, value: value.clone() })
                }
                _ => None,
            }));
        } else {
            self.reads(head, out);
        }
        for link in links {
            match &link.kind {
                LinkKind::Call { arguments, .. } => {
                    arguments.iter().for_each(|argument| self.reads(argument, out));
                }
                LinkKind::Index { index, .. } => self.reads(index, out),
                LinkKind::Member { .. } => {}
            }
        }
    }
}

/// The conditions and values that an expression is made of; none for what is explained as a whole.
fn operands(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        Kind::Chain { first, rest } if rest.iter().all(|applied| applied.op.is_logical()) => {
            let rest = rest.iter().map(|Applied { operand, .. }| operand);
            std::iter::once(&**first).chain(rest).collect()
        }
        Kind::Conditional { arms, otherwise } => {
            let arms = arms.iter().flat_map(|(condition, value)| [condition, value]);
            arms.chain(std::iter::once(&**otherwise)).collect()
        }
        Kind::Unary { op: UnaryOp::Not, operand } if !operands(operand).is_empty() => {
            vec![operand]
        }
        _ => Vec::new(),
    }
}

fn is_truthy(value: &Shown) -> bool {
    match value {
        Shown::Large(..) => true,
        Shown::Plain(value) => match value {
            serde_json::Value::Null => false,
            serde_json::Value::Bool(value) => *value,
            serde_json::Value::Number(number) => number.as_f64().is_some_and(|n| n != 0.0),
            serde_json::Value::String(text) => !text.is_empty(),
            _ => true,
        },
    }
}

//! Infix operators: which token is one, and grouping by precedence.

use super::input::Input;
use crate::ast::{Applied, BinaryOp, Expr, ExprKind};
use crate::lex::TokenKind;

pub(super) fn operator(input: Input<'_, '_>) -> Option<BinaryOp> {
    let TokenKind::Punct(found) = input.first().kind else { return None };
    // Most operands end with a bracket or comma, which are not operators.
    if matches!(found, ")" | "(" | "," | "]" | "." | ":" | "}" | ";") {
        return None;
    }
    BinaryOp::ALL.iter().find(|(punct, _)| *punct == found).map(|(_, op)| *op)
}

/// Splits the list at its loosest operators and groups each piece. Recurses once for each
/// precedence that occurs, so at most seven deep.
pub(super) fn group(first: Expr, row: Vec<Applied>) -> Expr {
    let Some(loosest) = row.iter().map(|applied| applied.op.precedence()).min() else {
        return first;
    };
    let mut row = row.into_iter().peekable();
    // The operators up to the next loosest one form an operand of the chain.
    let mut tighter = |head: Expr| {
        let piece = std::iter::from_fn(|| row.next_if(|applied| applied.op.precedence() > loosest));
        let operand = group(head, piece.collect());
        (operand, row.next())
    };
    let (first, mut next) = tighter(first);
    let mut rest = Vec::new();
    while let Some(Applied { op, op_span, operand }) = next {
        let (grouped, following) = tighter(operand);
        rest.push(Applied { op, op_span, operand: grouped });
        next = following;
    }
    let end = rest.last().map_or(first.span, |applied| applied.operand.span);
    let span = first.span.to(end);
    Expr::new(ExprKind::Chain { first: Box::new(first), rest }, span)
}

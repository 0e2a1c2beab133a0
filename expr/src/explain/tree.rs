//! Builds the parts of an explanation from a trace.

use super::model::{
    ExplainedPart, FUNCTION, FunctionCall, FunctionCalls, PartOutcome, PathRead, ValueSummary,
};
use super::recorder::Trace;
use crate::ast::{BinaryOp, UnaryOp};
use crate::span::Span;
use crate::typed::{Applied, Block, Body, Expr, ExprKind, Link, LinkKind, Typed};

/// Declarations, then the body; the part that decided the verdict is marked.
pub(super) fn parts(typed: &Typed, trace: &Trace) -> Vec<ExplainedPart> {
    TreeBuilder { typed, trace }.block(&typed.main.body, true)
}

#[derive(Clone, Copy)]
struct TreeBuilder<'s> {
    typed: &'s Typed,
    trace: &'s Trace,
}

impl TreeBuilder<'_> {
    fn outcome(&self, span: Span) -> PartOutcome {
        self.trace.at.get(&span).cloned().unwrap_or(PartOutcome::Skipped)
    }

    /// The parts of a block; `decides` if the verdict was decided inside it.
    fn block(&self, block: &Block, decides: bool) -> Vec<ExplainedPart> {
        let mut parts: Vec<ExplainedPart> = block
            .declarations
            .iter()
            .map(|(_, value)| {
                let failed = matches!(self.outcome(value.span), PartOutcome::Error(_));
                self.part(value, decides && failed)
            })
            .collect();
        match &block.body {
            Body::Expr(expr) => parts.push(self.part(expr, decides)),
            Body::If { arms, otherwise } => {
                for (condition, then) in arms {
                    let failed = matches!(self.outcome(condition.span), PartOutcome::Error(_));
                    parts.push(self.part(condition, decides && failed));
                    parts.extend(self.block(then, decides));
                }
                parts.extend(self.block(otherwise, decides));
            }
            Body::Try { attempt, handler, .. } => {
                parts.extend(self.block(attempt, decides));
                parts.extend(self.block(handler, decides));
            }
        }
        parts
    }

    /// A part; `decides` if the verdict was decided inside it.
    fn part(&self, expr: &Expr, decides: bool) -> ExplainedPart {
        let outcome = self.outcome(expr.span);
        let decides = decides && !matches!(outcome, PartOutcome::Skipped);
        let (span, children) = (expr.span, operands(expr));
        if children.is_empty() {
            let mut reads = Vec::new();
            self.reads(expr, &mut reads);
            // The value of the part itself is already shown.
            reads.retain(|reading| reading.span != span);
            let mut functions = Vec::new();
            let deciding = if decides { self.deciding_call(expr) } else { None };
            self.functions(expr, deciding, &mut functions);
            let decides = decides && deciding.is_none();
            return ExplainedPart { span, outcome, decides, reads, parts: Vec::new(), functions };
        }
        let deciding = if decides { self.deciding(expr, &children) } else { None };
        let parts = children.iter().enumerate();
        let parts = parts.map(|(at, child)| self.part(child, deciding == Some(at))).collect();
        let decides = decides && deciding.is_none();
        ExplainedPart { span, outcome, decides, reads: Vec::new(), parts, functions: Vec::new() }
    }

    /// The caller and the number of the call that alone decided the value of `expr`: the element at
    /// which `some` or `every` stopped, the call that failed, or the only call.
    fn deciding_call(&self, expr: &Expr) -> Option<(Span, usize)> {
        if let ExprKind::Unary { op: UnaryOp::Not, operand } = &expr.kind {
            return self.deciding_call(operand);
        }
        let outcome = self.outcome(expr.span);
        let ExprKind::Access { links, .. } = &expr.kind else { return None };
        let (call, before) = links.split_last()?;
        let stopped = match (&outcome, before.last().map(|link| &link.kind)) {
            (PartOutcome::Error(_), _) => true,
            (PartOutcome::Value(value), Some(LinkKind::Member { name, .. })) => {
                name.member?.stops_at() == Some(value.is_truthy())
            }
            (PartOutcome::Value(_), None) => true,
            _ => false,
        };
        let calls = self.trace.calls.get(&call.span)?;
        let last = calls.kept.last()?;
        let is_last = last.index + 1 == calls.count && last.outcome.is_like(&outcome);
        (stopped && is_last).then_some((call.span, last.index))
    }

    /// Collects the function calls in `expr`, by methods or by name.
    fn functions(
        &self,
        expr: &Expr,
        deciding: Option<(Span, usize)>,
        out: &mut Vec<FunctionCalls>,
    ) {
        match &expr.kind {
            ExprKind::Access { head, links } => {
                self.functions(head, deciding, out);
                for link in links {
                    if let LinkKind::Call { arguments, .. } = &link.kind {
                        arguments.iter().for_each(|part| self.functions(part, deciding, out));
                        out.extend(self.calls(link.span, deciding));
                    }
                }
            }
            ExprKind::Chain { first, rest } => {
                self.functions(first, deciding, out);
                rest.iter().for_each(|applied| self.functions(&applied.operand, deciding, out));
            }
            ExprKind::Unary { operand, .. } => self.functions(operand, deciding, out),
            _ => {}
        }
    }

    fn calls(&self, caller: Span, deciding: Option<(Span, usize)>) -> Option<FunctionCalls> {
        let calls = self.trace.calls.get(&caller)?;
        let frame = self.typed.lambdas.get(calls.lambda as usize)?;
        let shown = calls.kept.iter().map(|call| {
            let tree = TreeBuilder { trace: &call.inside, ..*self };
            let decides = deciding == Some((caller, call.index));
            FunctionCall {
                index: call.index,
                element: call.element.clone(),
                outcome: call.outcome.clone(),
                parts: tree.block(&frame.body, decides),
            }
        });
        Some(FunctionCalls { span: calls.span, count: calls.count, shown: shown.collect() })
    }

    /// The index of the part that decided the value of `expr`; none if all of them did.
    fn deciding(&self, expr: &Expr, children: &[&Expr]) -> Option<usize> {
        let outcomes: Vec<PartOutcome> =
            children.iter().map(|child| self.outcome(child.span)).collect();
        let last = outcomes.iter().rposition(|outcome| !matches!(outcome, PartOutcome::Skipped))?;
        let settles = match (&expr.kind, outcomes.get(last)?) {
            (_, PartOutcome::Error(_)) => true,
            (ExprKind::Chain { rest, .. }, PartOutcome::Value(value)) => match rest.first()?.op {
                BinaryOp::And => !value.is_truthy(),
                BinaryOp::Or => value.is_truthy(),
                _ => true,
            },
            _ => true,
        };
        settles.then_some(last)
    }

    /// Collects the paths that a part without own parts reads.
    fn reads(&self, expr: &Expr, out: &mut Vec<PathRead>) {
        match &expr.kind {
            ExprKind::Access { head, links } => self.access(head, links, out),
            ExprKind::Binding(_) => out.extend(self.reading(expr.span)),
            ExprKind::Chain { first, rest } => {
                self.reads(first, out);
                rest.iter().for_each(|applied| self.reads(&applied.operand, out));
            }
            ExprKind::Unary { operand, .. } | ExprKind::Throw(operand) => self.reads(operand, out),
            ExprKind::List(items) | ExprKind::New { arguments: items, .. } => {
                items.iter().for_each(|item| self.reads(item, out));
            }
            _ => {}
        }
    }

    fn reading(&self, span: Span) -> Option<PathRead> {
        match self.trace.at.get(&span) {
            // The result of a function is shown with its calls.
            Some(PartOutcome::Value(ValueSummary::Large(FUNCTION, _))) => None,
            Some(PartOutcome::Value(value)) => Some(PathRead { span, value: value.clone() }),
            _ => None,
        }
    }

    /// Collects the longest path of plain names that was read, and the paths in arguments of later
    /// calls.
    fn access(&self, head: &Expr, links: &[Link], out: &mut Vec<PathRead>) {
        let names = links
            .iter()
            .take_while(|link| matches!(link.kind, LinkKind::Member { called: false, .. }));
        let walked = names.filter_map(|link| self.reading(link.span)).last();
        match (&head.kind, walked) {
            (ExprKind::Variable(_) | ExprKind::Binding(_), Some(walked)) => out.push(walked),
            _ => self.reads(head, out),
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

/// The conditions and values that an expression consists of; empty if it is explained as a whole.
fn operands(expr: &Expr) -> Vec<&Expr> {
    match &expr.kind {
        ExprKind::Chain { first, rest } if rest.iter().all(|applied| applied.op.is_logical()) => {
            let rest = rest.iter().map(|Applied { operand, .. }| operand);
            std::iter::once(&**first).chain(rest).collect()
        }
        ExprKind::Conditional { arms, otherwise } => {
            let arms = arms.iter().flat_map(|(condition, value)| [condition, value]);
            arms.chain(std::iter::once(&**otherwise)).collect()
        }
        ExprKind::Unary { op: UnaryOp::Not, operand } if !operands(operand).is_empty() => {
            vec![operand]
        }
        _ => Vec::new(),
    }
}

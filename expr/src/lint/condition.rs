//! Checks of conditions: which paths they prove non-null, and which conditions are constant.

use super::{InferredValue, Linter, literal};
use crate::ast::{BinaryOp, UnaryOp};
use crate::diagnostic::{Code, Diagnostic};
use crate::limits::REMEMBERED_MAX;
use crate::typed::{Applied, Expr, ExprKind, Link, LinkKind};
use crate::value::{Literal, Type};

impl Linter<'_> {
    /// `&&`, `||` and `??`: each operand is checked with the facts that the operands before it
    /// prove.
    pub(super) fn logical(
        &mut self,
        first: &Expr,
        rest: &[Applied],
        ty: Option<Type>,
    ) -> InferredValue {
        let mark = self.non_null.len();
        let mut equal: Vec<(Box<str>, &Expr)> = Vec::new();
        let op = rest.first().map_or(BinaryOp::And, |applied| applied.op);
        let operands = std::iter::once(first).chain(rest.iter().map(|applied| &applied.operand));
        let mut not_boolean = None;
        for (at, operand) in operands.enumerate() {
            // The last operand is the value, the others are conditions.
            let known = if op == BinaryOp::Coalesce || at == rest.len() {
                self.expr(operand)
            } else {
                self.condition(operand)
            };
            not_boolean = not_boolean.or_else(|| match at == rest.len() {
                true => self.last_operand(operand, &known),
                false => self.earlier_operand(op, operand, &known),
            });
            self.contradiction(op, operand, &mut equal);
            match op {
                BinaryOp::And => self.assume(operand, true),
                BinaryOp::Or => self.assume(operand, false),
                _ => {}
            }
        }
        self.non_null.truncate(mark);
        InferredValue { not_boolean, ..InferredValue::of_type(ty) }
    }

    /// Checks a value that is used as a condition, and returns it.
    pub(super) fn condition(&mut self, expr: &Expr) -> InferredValue {
        let known = self.expr(expr);
        let constant = truth(expr).or(match known.certain_type() {
            Some(Type::List | Type::Map) if known.path.is_some() => Some(true),
            _ => None,
        });
        let Some(truth) = constant else { return known };
        let message = format!("this condition is always {truth}");
        let finding = Diagnostic::warning(Code::Constant, expr.span, message);
        self.report(match known.ty {
            Some(Type::List) => finding
                .labelled("a List is true, also when it is empty")
                .with_help("test `.length > 0`"),
            Some(Type::Map) => finding.labelled("a Map is always true"),
            _ => finding,
        });
        known
    }

    /// Reports `p == 'a' && p == 'b'`, which is never true, and `p != 'a' || p != 'b'`, which
    /// always is.
    fn contradiction<'e>(
        &mut self,
        op: BinaryOp,
        operand: &'e Expr,
        equal: &mut Vec<(Box<str>, &'e Expr)>,
    ) {
        let wanted = match op {
            BinaryOp::And => BinaryOp::Equal,
            BinaryOp::Or => BinaryOp::NotEqual,
            _ => return,
        };
        let ExprKind::Chain { first, rest } = &operand.kind else { return };
        let [Applied { op: found, operand: value, .. }] = rest.as_slice() else { return };
        let (Some(path), Some(constant)) = (self.path(first), literal(value)) else { return };
        if *found != wanted {
            return;
        }
        let other = equal.iter().find(|(known, value)| {
            *known == path && literal(value).is_some_and(|known| known != constant)
        });
        if let Some((_, other)) = other {
            let (truth, help) = if op == BinaryOp::And {
                ("false: it cannot be equal to both", "for one or the other write `||`")
            } else {
                ("true: it differs from at least one", "for neither of them write `&&`")
            };
            let other = other.span;
            self.report(
                Diagnostic::warning(Code::Constant, value.span, format!("this is always {truth}"))
                    .with_label(other, "the other value")
                    .with_help(help),
            );
        } else if equal.len() < REMEMBERED_MAX {
            equal.push((path, value));
        }
    }

    /// Records that a path is non-null.
    pub(super) fn mark_non_null(&mut self, path: &str) {
        if self.non_null.len() < REMEMBERED_MAX && !self.non_null.iter().any(|p| &**p == path) {
            self.non_null.push(path.into());
        }
    }

    /// Records the paths that are non-null if `condition` is `holds`.
    pub(super) fn assume(&mut self, condition: &Expr, holds: bool) {
        match &condition.kind {
            ExprKind::Unary { op: UnaryOp::Not, operand } => self.assume(operand, !holds),
            ExprKind::Chain { first, rest } => {
                let all = |op| rest.iter().all(|applied| applied.op == op);
                if (holds && all(BinaryOp::And)) || (!holds && all(BinaryOp::Or)) {
                    self.assume(first, holds);
                    rest.iter().for_each(|applied| self.assume(&applied.operand, holds));
                } else if let [Applied { op, operand, .. }] = rest.as_slice() {
                    self.assume_comparison(first, *op, operand, holds);
                }
            }
            ExprKind::Access { .. } if holds => self.assume_path(condition),
            _ => {}
        }
    }

    fn assume_comparison(&mut self, left: &Expr, op: BinaryOp, right: &Expr, holds: bool) {
        let null = |expr| matches!(literal(expr), Some(Literal::Null));
        let (path, is_null) = match (null(left), null(right)) {
            (false, true) => (left, true),
            (true, false) => (right, true),
            _ if literal(left).is_some() => (right, false),
            _ if literal(right).is_some() => (left, false),
            _ => return,
        };
        let there = match op {
            BinaryOp::Equal => holds != is_null,
            BinaryOp::NotEqual => holds == is_null,
            BinaryOp::Less
            | BinaryOp::Greater
            | BinaryOp::LessOrEqual
            | BinaryOp::GreaterOrEqual => true,
            _ => false,
        };
        if there {
            self.assume_path(path);
        }
    }

    /// All steps of a non-null chain are non-null.
    fn assume_path(&mut self, expr: &Expr) {
        let ExprKind::Access { head, links } = &expr.kind else { return };
        let Some(mut path) = self.head_path(head) else { return };
        for name in names(links) {
            path = format!("{path}.{name}");
            self.mark_non_null(&path);
        }
    }

    /// The path of a chain of plain names.
    fn path(&self, expr: &Expr) -> Option<Box<str>> {
        let ExprKind::Access { head, links } = &expr.kind else { return None };
        let mut path = self.head_path(head)?;
        let mut steps = 0;
        for name in names(links) {
            path.push('.');
            path.push_str(name);
            steps += 1;
        }
        (steps == links.len()).then(|| path.into())
    }

    fn head_path(&self, head: &Expr) -> Option<String> {
        match head.kind {
            ExprKind::Variable(at) => self.variable(at).path.map(String::from),
            ExprKind::Binding(binding) => self.load(binding).path.map(String::from),
            _ => None,
        }
    }
}

/// The names up to the first link that is not a plain member.
fn names(links: &[Link]) -> impl Iterator<Item = &str> {
    links.iter().map_while(|link| match &link.kind {
        LinkKind::Member { name, called: false, .. } => Some(&*name.text),
        _ => None,
    })
}

/// The truth of a literal value.
fn truth(expr: &Expr) -> Option<bool> {
    match &expr.kind {
        ExprKind::Literal(literal) => Some(match literal {
            Literal::Null => false,
            Literal::Bool(value) => *value,
            Literal::Number(number) => *number != 0.0 && !number.is_nan(),
            Literal::String(text) => !text.is_empty(),
        }),
        ExprKind::Literals(_)
        | ExprKind::List(_)
        | ExprKind::Map(_)
        | ExprKind::Lambda(_)
        | ExprKind::New { .. } => Some(true),
        ExprKind::Unary { op: UnaryOp::Not, operand } => truth(operand).map(|truth| !truth),
        _ => None,
    }
}

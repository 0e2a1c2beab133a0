//! Checks of the outcome of a filter: a value that may be null, or another type than Boolean, although
//! it looks like a condition.
//!
//! **Source:** Forge, "Atlassian app events": any outcome but a Boolean is an error.

use super::{InferredValue, Linter, NotBoolean, literal};
use crate::ast::BinaryOp;
use crate::diagnostic::{Code, Diagnostic};
use crate::typed::{Body, Expr};
use crate::value::{Literal, Type};

impl Linter<'_> {
    /// Checks the outcome of the filter.
    pub(super) fn top_level(&mut self, known: &InferredValue) {
        if self.findings.iter().any(|finding| finding.code == Code::NotBoolean) {
            return;
        }
        let Body::Expr(expr) = &self.typed.main.body.body else {
            return self.may_not_be_boolean(known.not_boolean);
        };
        if matches!(literal(expr), Some(Literal::Bool(false))) {
            let message = "this filter is always false: no event is delivered";
            return self.report(Diagnostic::warning(Code::Constant, expr.span, message));
        }
        let Some(ty) = known.ty.filter(|ty| *ty != Type::Boolean) else {
            let not_boolean = self.last_operand(expr, known);
            return self.may_not_be_boolean(not_boolean);
        };
        let message = format!("this filter is never true or false: it yields a {}", ty.name());
        self.report(
            Diagnostic::warning(Code::NotBoolean, expr.span, message)
                .with_help("compare the value: there is no truthiness at the top of a filter"),
        );
    }

    fn may_not_be_boolean(&mut self, found: Option<NotBoolean>) {
        let Some(NotBoolean { span, ty }) = found.filter(|_| self.try_depth == 0) else { return };
        let action = self.on_error_action();
        let (message, help) = if ty == Type::Null {
            let message = format!(
                "the filter may be null, neither true nor false, and onError {action} the event"
            );
            let text = self.text(span);
            // A chain that may end early is a test, other values are looked for.
            let help = match text.contains("?.") {
                true => format!("write `{text} == true`"),
                false => format!("write `{text} != null`"),
            };
            (message, help)
        } else {
            let message = format!(
                "the filter may be a {}, neither true nor false, and onError {action} the event",
                ty.name()
            );
            (message, format!("compare it: `{} == ...`", self.text(span)))
        };
        let finding = Diagnostic::warning(Code::NotBoolean, span, message);
        self.report(finding.labelled("may be the value of the filter").with_help(help));
    }

    /// Why a value may be null, if the schemas say so.
    pub(super) fn may_be_null(&self, expr: &Expr, known: &InferredValue) -> Option<NotBoolean> {
        let is_proven = known.path.as_ref().is_some_and(|path| self.non_null.contains(path));
        (known.null_reason.is_some() && known.path.is_some() && !is_proven)
            .then_some(NotBoolean { span: expr.span, ty: Type::Null })
    }

    /// Why the last operand of a condition, which is its value, may be no Boolean.
    pub(super) fn last_operand(&self, expr: &Expr, known: &InferredValue) -> Option<NotBoolean> {
        let other_type = known.ty.filter(|ty| !matches!(ty, Type::Boolean | Type::Null));
        known
            .not_boolean
            .or_else(|| self.may_be_null(expr, known))
            .or_else(|| other_type.map(|ty| NotBoolean { span: expr.span, ty }))
    }

    /// Why an operand before the last may be the value of `&&`, `||` or `??`, and no Boolean then.
    pub(super) fn earlier_operand(
        &self,
        op: BinaryOp,
        expr: &Expr,
        known: &InferredValue,
    ) -> Option<NotBoolean> {
        let is_null = |found: &NotBoolean| found.ty == Type::Null;
        let other_type = known.ty.filter(|ty| !matches!(ty, Type::Boolean | Type::Null));
        match op {
            // The value of `a && b` is `a` if that is null.
            BinaryOp::And => {
                known.not_boolean.filter(is_null).or_else(|| self.may_be_null(expr, known))
            }
            // The value of `a || b` and `a ?? b` is `a` if that is there.
            _ => known
                .not_boolean
                .filter(|found| !is_null(found))
                .or_else(|| other_type.map(|ty| NotBoolean { span: expr.span, ty })),
        }
    }
}

//! Checks of operators: comparisons that no event satisfies, and operands that always fail.

use super::{InferredValue, Linter, fails_always, literal};
use crate::ast::{BinaryOp, UnaryOp};
use crate::diagnostic::{Code, Diagnostic};
use crate::schema::Shape;
use crate::typed::{Applied, Expr, ExprKind};
use crate::value::{Literal, Type};

impl Linter<'_> {
    /// Checks a chain of operators of one precedence.
    pub(super) fn chain(
        &mut self,
        first: &Expr,
        rest: &[Applied],
        ty: Option<Type>,
    ) -> InferredValue {
        if rest.iter().all(|applied| applied.op.is_logical()) {
            return self.logical(first, rest, ty);
        }
        let mut left = self.expr(first);
        let mut left_expr = Some(first);
        for applied in rest {
            let right = self.expr(&applied.operand);
            if let Some(left_expr) = left_expr {
                self.comparison(applied, (left_expr, &left), (&applied.operand, &right));
            }
            // The left operand of the next operator is the chain so far.
            left_expr = None;
            left = InferredValue::default();
        }
        InferredValue::of_type(ty)
    }

    fn comparison(
        &mut self,
        applied: &Applied,
        left: (&Expr, &InferredValue),
        right: (&Expr, &InferredValue),
    ) {
        match applied.op {
            BinaryOp::Equal | BinaryOp::NotEqual => {
                self.spelling(left, right);
                self.spelling(right, left);
                self.document_equality(left, right.1);
                self.document_equality(right, left.1);
                self.never_equal(applied, left, right);
            }
            BinaryOp::Subtract | BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder => {
                self.never_number(applied, left, right)
            }
            BinaryOp::Less
            | BinaryOp::Greater
            | BinaryOp::LessOrEqual
            | BinaryOp::GreaterOrEqual => {
                self.never_ordered(applied, left, right);
                self.null_order(left);
                self.null_order(right);
            }
            _ => {}
        }
    }

    /// Reports equality of values whose types differ.
    fn never_equal(
        &mut self,
        applied: &Applied,
        left: (&Expr, &InferredValue),
        right: (&Expr, &InferredValue),
    ) {
        let (Some(left_ty), Some(right_ty)) = (left.1.ty, right.1.ty) else { return };
        if let (ExprKind::Unary { op: UnaryOp::Not, operand }, Type::Null) =
            (&left.0.kind, right_ty)
        {
            let (value, sign) = (self.text(operand.span), applied.op.symbol());
            let help = format!("`!` binds tighter than `{sign}`: write `{value} != null`");
            let message = "what `!` yields is true or false, never null";
            let finding = Diagnostic::warning(Code::NeverEqual, left.0.span, message);
            return self.report(finding.with_help(help));
        }
        let typed = left.0.ty.is_some() && right.0.ty.is_some();
        if typed || left_ty == right_ty || left_ty == Type::Null || right_ty == Type::Null {
            return;
        }
        let (left_name, right_name) = (left_ty.name(), right_ty.name());
        let message = format!("{left_name} and {right_name} are never equal");
        let verdict = if applied.op == BinaryOp::Equal { "always false" } else { "always true" };
        let finding = match written_as(right.0, left_ty).map(|text| (right.0, text)) {
            found @ Some(_) => found,
            None => written_as(left.0, right_ty).map(|text| (left.0, text)),
        };
        let (primary, other) = match finding {
            Some((expr, _)) if std::ptr::eq(expr, left.0) => (left, right),
            _ => (right, left),
        };
        let mut diagnostic = Diagnostic::warning(Code::NeverEqual, primary.0.span, message)
            .labelled(format!("{}: {verdict}", primary.1.ty.map_or("", Type::name)))
            .with_label(other.0.span, other.1.ty.map_or("", Type::name));
        if let Some((_, text)) = finding {
            diagnostic =
                diagnostic.with_help("payloads contain it as another type").replaced_by(text);
        } else if other.1.ty == Some(Type::Map) {
            let path = crate::suggestions::member_to_compare(self.text(other.0.span));
            diagnostic = diagnostic.with_help(format!("compare a member of it: `{path}`"));
        } else if other.1.ty == Some(Type::List) {
            let (list, value) = (self.text(other.0.span), self.text(primary.0.span));
            diagnostic =
                diagnostic.with_help(format!("test its elements: `{list}.includes({value})`"));
        }
        self.report(diagnostic);
    }

    /// Reports ordering of values whose types differ.
    fn never_ordered(
        &mut self,
        applied: &Applied,
        left: (&Expr, &InferredValue),
        right: (&Expr, &InferredValue),
    ) {
        let (Some(left_ty), Some(right_ty)) = (left.1.ty, right.1.ty) else { return };
        let typed = left.0.ty.is_some() && right.0.ty.is_some();
        let ordered =
            |ty| matches!(ty, Type::Number | Type::String | Type::Date | Type::CalendarDate);
        if typed || (left_ty == right_ty && ordered(left_ty)) {
            return;
        }
        let sign = applied.op.symbol();
        let message = format!("cannot compare {} with {}", left_ty.name(), right_ty.name());
        let mut finding =
            Diagnostic::warning(Code::NotComparable, self.between(left.0, right.0, sign), message)
                .labelled(format!("`{sign}` needs two values of the same ordered type"))
                .with_label(left.0.span, left_ty.name())
                .with_label(right.0.span, right_ty.name());
        if let Some(text) = written_as(right.0, left_ty) {
            let what = if left_ty == Type::Number { "number without" } else { "text with" };
            finding = finding.with_help(format!("write the {what} quotes: `{sign} {text}`"));
        }
        if (left_ty, right_ty) == (Type::String, Type::Date) {
            let text = self.text(left.0.span);
            finding = finding.with_help(format!("make it a Date: `new Date({text})`"));
        }
        // The length of a documented list or text is always a Number.
        let length =
            |side: (&Expr, &InferredValue)| side.1.path.is_none() && side.1.shapes.is_empty();
        if length(left) && length(right) {
            finding = fails_always(finding, self.try_depth > 0);
        }
        self.report(finding);
    }

    /// The span of the operator between two operands.
    fn between(&self, left: &Expr, right: &Expr, sign: &str) -> crate::span::Span {
        let gap = crate::span::Span { start: left.span.end, end: right.span.start };
        let at = self.text(gap).find(sign).map_or(gap.start as usize, |at| gap.start as usize + at);
        crate::span::Span::new(at, at + sign.len())
    }

    /// Warns about ordering a value that may be null.
    fn null_order(&mut self, (expr, known): (&Expr, &InferredValue)) {
        let (Some(_), Some(path)) = (&known.null_reason, &known.path) else { return };
        if self.try_depth > 0 || self.non_null.contains(path) {
            return;
        }
        let last = path.rsplit('.').next().unwrap_or(path);
        let on_error_action = self.on_error_action();
        let message = format!(
            "an error when `{last}` is null, which has no order, and onError {on_error_action} the event"
        );
        let help = format!("test it first: `{} != null && ...`", self.text(expr.span));
        let path = path.clone();
        self.report(Diagnostic::warning(Code::MayBeMissing, expr.span, message).with_help(help));
        self.mark_non_null(&path);
    }

    /// Reports arithmetic with values that are no numbers.
    fn never_number(
        &mut self,
        applied: &Applied,
        left: (&Expr, &InferredValue),
        right: (&Expr, &InferredValue),
    ) {
        let is_other = |ty: Type| !matches!(ty, Type::Number | Type::Null);
        let typed = left.0.ty.is_some() && right.0.ty.is_some();
        let wrong = [left, right].into_iter().find_map(|side| {
            // The checker reports what is certain without a schema.
            side.1.ty.filter(|ty| is_other(*ty) && !typed).map(|ty| (side, ty))
        });
        let Some(((expr, known), ty)) = wrong else { return };
        let sign = applied.op.symbol();
        let message = format!("`{sign}` needs Numbers, and this is a {}", ty.name());
        let finding = Diagnostic::warning(Code::BadOperand, expr.span, message);
        let text = self.text(expr.span);
        let help = match ty {
            Type::String if is_date(known) => {
                format!(
                    "make it a Date, and a number of milliseconds: `new Date({text}).getTime()`"
                )
            }
            Type::String => format!("read a number: `Number({text})`"),
            Type::Date => format!("take its milliseconds: `{text}.getTime()`"),
            Type::List => format!("count its elements: `{text}.length`"),
            _ => return self.report(finding),
        };
        self.report(finding.with_help(help));
    }

    /// Reports text compared with what may be a document.
    fn document_equality(&mut self, (expr, known): (&Expr, &InferredValue), other: &InferredValue) {
        if other.ty != Some(Type::String) || !is_document(known) {
            return;
        }
        let text = self.text(expr.span).to_owned();
        let message = "this may be a document, which equals no text";
        let finding = Diagnostic::warning(Code::NeverEqual, expr.span, message);
        self.report(finding.with_help(document_help(&text)));
    }
}

/// Whether all schemas have a document there.
pub(super) fn is_document(known: &InferredValue) -> bool {
    !known.shapes.is_empty() && known.shapes.iter().all(|shape| matches!(shape, Shape::Document))
}

/// What to write instead of reading a document as text.
pub(super) fn document_help(path: &str) -> String {
    format!(
        "take the text of the document: `new RichText({path}).plainText`; in events that came as \
         webhooks it is text already"
    )
}

/// Whether a text of the payload is a date.
fn is_date(known: &InferredValue) -> bool {
    const DATES: &[&str] = &[
        "created",
        "updated",
        "duedate",
        "resolutiondate",
        "started",
        "timestamp",
        "lastViewed",
        "statuscategorychangedate",
        "createDate",
        "startDate",
        "endDate",
        "completeDate",
        "releaseDate",
    ];
    let name = known.path.as_deref().and_then(|path| path.rsplit('.').next());
    name.is_some_and(|name| DATES.contains(&name))
}

/// The literal written as a value of type `ty`.
fn written_as(expr: &Expr, ty: Type) -> Option<String> {
    match (literal(expr)?, ty) {
        (Literal::String(text), Type::Number) => {
            text.parse::<f64>().ok().filter(|n| n.is_finite()).map(|_| text.to_string())
        }
        (Literal::String(text), Type::Boolean) => {
            matches!(&**text, "true" | "false").then(|| text.to_string())
        }
        (Literal::Number(number), Type::String) => Some(format!("'{number}'")),
        (Literal::Bool(value), Type::String) => Some(format!("'{value}'")),
        _ => None,
    }
}

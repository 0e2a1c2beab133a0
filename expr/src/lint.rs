//! Warnings about legal but probably unintended code, by the payload schemas of the event types.
//!
//! The linter walks the typed tree with the schema of each value. Its findings are warnings,
//! because a payload may differ from its documentation. The one exception is the length of a
//! documented list or text: it is a Number whenever it has a value.

mod access;
mod condition;
mod operator;
mod outcome;
mod spelling;

use std::collections::HashMap;

use crate::ast::UnaryOp;
use crate::diagnostic::{Diagnostic, Severity};
use crate::limits::{BODIES_MAX, WARNINGS_MAX};
use crate::profile::Usage;
use crate::schema::{FieldLookup, MapShape, Shape, body_of};
use crate::span::Span;
use crate::typed::{Binding, Block, Body, Expr, ExprKind, Part, Typed};
use crate::value::{Literal, Type};

/// Adds warnings about a checked filter to `findings`.
pub(crate) fn lint(typed: &Typed, usage: &Usage<'_>, findings: &mut Vec<Diagnostic>) {
    let mut linter = Linter {
        typed,
        usage,
        bodies: bodies(usage.events),
        frames: vec![Locals::default()],
        non_null: Vec::new(),
        try_depth: 0,
        findings,
        lookup_cache: HashMap::new(),
    };
    let known = linter.block(&typed.main.body);
    linter.top_level(&known);
}

/// The distinct schemas of the events; too many are replaced by the schema of any event.
fn bodies<'u>(events: &'u [&'u str]) -> Vec<(&'u str, Shape)> {
    let mut bodies: Vec<(&str, &'static MapShape)> = Vec::new();
    for event in events {
        let body = body_of(event);
        if !bodies.iter().any(|(_, known)| std::ptr::eq(*known, body)) {
            bodies.push((event, body));
        }
    }
    if bodies.is_empty() || bodies.len() > BODIES_MAX {
        bodies = vec![("", body_of(""))];
    }
    bodies.into_iter().map(|(event, body)| (event, Shape::Map(body))).collect()
}

struct Linter<'t> {
    typed: &'t Typed,
    usage: &'t Usage<'t>,
    /// The distinct schemas, each with the first event type that has it.
    bodies: Vec<(&'t str, Shape)>,
    /// The inferred values of the names of each enclosing function, innermost last.
    frames: Vec<Locals>,
    /// Paths known to be non-null at the current position.
    non_null: Vec<Box<str>>,
    /// Number of open `try` blocks: an error inside may be intended.
    try_depth: u32,
    findings: &'t mut Vec<Diagnostic>,
    /// Results of schema lookups: searching for a similar name is expensive. Bounded by the source.
    lookup_cache: HashMap<Box<str>, Vec<(&'static MapShape, FieldLookup)>>,
}

#[derive(Default)]
struct Locals {
    slots: Vec<InferredValue>,
    captured: Vec<InferredValue>,
}

/// What the schemas imply about a value.
#[derive(Clone, Debug, Default)]
struct InferredValue {
    /// One shape for each schema; empty if nothing is known.
    shapes: Vec<Shape>,
    /// The type in all schemas, unless the value is missing.
    ty: Option<Type>,
    /// The path in the event, without `?`.
    path: Option<Box<str>>,
    /// The reason why it may be null, if it may.
    null_reason: Option<NullReason>,
    /// The member of a changelog item that it is.
    changelog_field: Option<&'static str>,
    /// Why the value may be no Boolean, although it looks like a condition.
    not_boolean: Option<NotBoolean>,
}

/// A part of a condition that may be its value, and is no Boolean then.
#[derive(Clone, Copy, Debug)]
struct NotBoolean {
    span: Span,
    /// The type of the value; null if it may be missing.
    ty: Type,
}

/// The reason why a value may be null.
#[derive(Clone, Debug)]
enum NullReason {
    /// It is optional in some payloads.
    Optional,
    /// Events of this type do not have it.
    AbsentOn(Box<str>),
}

impl InferredValue {
    fn of_type(ty: Option<Type>) -> InferredValue {
        InferredValue { ty, ..InferredValue::default() }
    }

    /// An inferred value of these shapes, with their common type.
    fn of_shapes(shapes: Vec<Shape>) -> InferredValue {
        let mut types = shapes.iter().map(|shape| shape.ty());
        let first = types.next().flatten();
        let ty = first.filter(|_| types.all(|ty| ty == first));
        InferredValue { shapes, ty, ..InferredValue::default() }
    }

    /// The type of every value, including null.
    fn certain_type(&self) -> Option<Type> {
        self.ty.filter(|_| self.null_reason.is_none())
    }
}

impl Linter<'_> {
    fn report(&mut self, finding: Diagnostic) {
        let known = |seen: &Diagnostic| seen.code == finding.code && seen.span == finding.span;
        if !self.is_full() && !self.findings.iter().any(known) {
            self.findings.push(finding);
        }
    }

    /// Looks up `name` in `members`, with the result cached.
    fn find(&mut self, members: &'static MapShape, name: &str) -> FieldLookup {
        let lookup_cache = self.lookup_cache.get(name).map_or(&[][..], Vec::as_slice);
        if let Some((_, found)) =
            lookup_cache.iter().find(|(known, _)| std::ptr::eq(*known, members))
        {
            return *found;
        }
        let found = members.find(name);
        self.lookup_cache.entry(name.into()).or_default().push((members, found));
        found
    }

    /// Whether the limit of findings is reached.
    fn is_full(&self) -> bool {
        self.findings.len() >= WARNINGS_MAX
    }

    fn text(&self, span: Span) -> &str {
        span.text(&self.typed.source)
    }

    fn block(&mut self, block: &Block) -> InferredValue {
        for (slot, value) in &block.declarations {
            let known = self.expr(value);
            self.store(*slot, known);
        }
        match &block.body {
            Body::Expr(expr) => self.expr(expr),
            Body::If { arms, otherwise } => {
                let mark = self.non_null.len();
                let mut not_boolean = None;
                for (condition, then) in arms {
                    self.condition(condition);
                    let inside = self.non_null.len();
                    self.assume(condition, true);
                    not_boolean = not_boolean.or(self.block(then).not_boolean);
                    self.non_null.truncate(inside);
                    self.assume(condition, false);
                }
                not_boolean = not_boolean.or(self.block(otherwise).not_boolean);
                self.non_null.truncate(mark);
                InferredValue { not_boolean, ..InferredValue::default() }
            }
            Body::Try { attempt, handler, .. } => {
                self.try_depth += 1;
                self.block(attempt);
                self.try_depth -= 1;
                self.block(handler);
                InferredValue::default()
            }
        }
    }

    fn store(&mut self, slot: u32, known: InferredValue) {
        let Some(locals) = self.frames.last_mut() else { return };
        let slot = slot as usize;
        if locals.slots.len() <= slot {
            locals.slots.resize(slot + 1, InferredValue::default());
        }
        if let Some(local) = locals.slots.get_mut(slot) {
            *local = known;
        }
    }

    fn load(&self, binding: Binding) -> InferredValue {
        let Some(locals) = self.frames.last() else { return InferredValue::default() };
        let known = match binding {
            Binding::Local(slot) => locals.slots.get(slot as usize),
            Binding::Captured(at) => locals.captured.get(at as usize),
        };
        known.cloned().unwrap_or_default()
    }

    /// Checks a function that is called with `arguments`.
    fn lambda(&mut self, id: u32, arguments: Vec<InferredValue>) {
        let Some(frame) = self.typed.lambdas.get(id as usize) else { return };
        let captured = frame.captures.iter().map(|binding| self.load(*binding)).collect();
        let slots = arguments.into_iter().take(frame.parameters as usize).collect();
        self.frames.push(Locals { slots, captured });
        let mark = self.non_null.len();
        self.block(&frame.body);
        self.non_null.truncate(mark);
        self.frames.pop();
    }

    fn expr(&mut self, expr: &Expr) -> InferredValue {
        // Searching for similar names is expensive, and a source may be full of errors.
        if self.findings.len() >= WARNINGS_MAX {
            return InferredValue::of_type(expr.ty);
        }
        match &expr.kind {
            ExprKind::Variable(at) => return self.variable(*at),
            ExprKind::Binding(binding) => return self.load(*binding),
            ExprKind::Access { head, links } => return self.access(head, links),
            ExprKind::Chain { first, rest } => return self.chain(first, rest, expr.ty),
            ExprKind::Lambda(id) => self.lambda(*id, Vec::new()),
            ExprKind::Template(parts) => {
                for part in parts {
                    if let Part::Placeholder(expr) = part {
                        self.expr(expr);
                    }
                }
            }
            ExprKind::List(items) | ExprKind::New { arguments: items, .. } => {
                items.iter().for_each(|item| drop(self.expr(item)));
            }
            ExprKind::Map(entries) => entries.iter().for_each(|(_, value)| drop(self.expr(value))),
            ExprKind::Unary { op: UnaryOp::Not, operand } => drop(self.condition(operand)),
            ExprKind::Unary { operand, .. } | ExprKind::Throw(operand) => drop(self.expr(operand)),
            ExprKind::Conditional { arms, otherwise } => {
                let not_boolean = self.conditional(arms, otherwise);
                return InferredValue { not_boolean, ..InferredValue::of_type(expr.ty) };
            }
            ExprKind::Literal(_)
            | ExprKind::Literals(_)
            | ExprKind::TypeOfVariable(_)
            | ExprKind::Native(_) => {}
        }
        InferredValue::of_type(expr.ty)
    }

    /// Returns why a branch may be no Boolean.
    fn conditional(&mut self, arms: &[(Expr, Expr)], otherwise: &Expr) -> Option<NotBoolean> {
        let mark = self.non_null.len();
        let mut not_boolean = None;
        for (condition, value) in arms {
            self.condition(condition);
            let inside = self.non_null.len();
            self.assume(condition, true);
            let known = self.expr(value);
            not_boolean = not_boolean.or_else(|| self.last_operand(value, &known));
            self.non_null.truncate(inside);
            self.assume(condition, false);
        }
        let known = self.expr(otherwise);
        not_boolean = not_boolean.or_else(|| self.last_operand(otherwise, &known));
        self.non_null.truncate(mark);
        not_boolean
    }

    fn variable(&self, at: u32) -> InferredValue {
        match self.typed.variables.get(at as usize) {
            Some(name) if &**name == "event" => InferredValue {
                path: Some("event".into()),
                ..InferredValue::of_shapes(self.bodies.iter().map(|(_, shape)| *shape).collect())
            },
            _ => InferredValue::default(),
        }
    }

    /// What `onError` does with the event if the filter fails.
    fn on_error_action(&self) -> &'static str {
        if self.usage.delivers_on_error { "delivers" } else { "drops" }
    }
}

/// The literal of an expression, if it is one.
fn literal(expr: &Expr) -> Option<&Literal> {
    match &expr.kind {
        ExprKind::Literal(literal) => Some(literal),
        _ => None,
    }
}

/// A finding that fails on every event is an error, except inside `try`.
fn fails_always(finding: Diagnostic, try_depth: bool) -> Diagnostic {
    if try_depth { finding } else { Diagnostic { severity: Severity::Error, ..finding } }
}

#[cfg(test)]
mod tests;

//! The oracle: evaluates the typed tree as the language is described, node by node.
//!
//! A step is charged for every node that is evaluated and one more for every member access or
//! call. The compiled form must agree with this file in value, error and steps.

use std::rc::Rc;
use std::sync::Arc;

use crate::Env;
use crate::ast::UnaryOp;
use crate::builtin::pattern::Pattern;
use crate::builtin::{self, Found, Machine, Outcome};
use crate::diagnostic::Code;
use crate::fault::{EvalError, Fault};
use crate::limits::STEPS_PER_CONSTANT;
use crate::meter::Meter;
use crate::operator::{self, build_list, build_map};
use crate::span::Span;
use crate::text::TextBuilder;
use crate::typed::{Block, Body, Expr, Frame, Kind, Link, LinkKind, Part, Place, Typed};
use crate::value::{Captured, Class, Function, List, Text, Value};
use crate::view::View;

/// Evaluates `program` and counts its steps.
pub(crate) fn eval<'v, V: View>(
    program: &'v Typed,
    view: &'v V,
    env: &Env,
) -> (Result<Value<'v>, EvalError>, u32) {
    eval_watched(program, view, env, &mut ())
}

/// What is told of an evaluation while it runs.
pub(crate) trait Watch<'v> {
    /// The part of the source at `span` yields `outcome`.
    fn seen(&mut self, span: Span, outcome: Result<&Value<'v>, &Fault<'v>>);

    /// What stands at `span` is called next: a function, or a method that may call some.
    fn calls(&mut self, span: Span);

    /// The function that stands at this place in [`Typed::lambdas`] starts.
    fn enters(&mut self, lambda: u32, arguments: &[Value<'v>]);

    /// The function that started last yields `outcome`.
    fn leaves(&mut self, outcome: Result<&Value<'v>, &Fault<'v>>);
}

impl<'v> Watch<'v> for () {
    fn seen(&mut self, _: Span, _: Result<&Value<'v>, &Fault<'v>>) {}

    fn calls(&mut self, _: Span) {}

    fn enters(&mut self, _: u32, _: &[Value<'v>]) {}

    fn leaves(&mut self, _: Result<&Value<'v>, &Fault<'v>>) {}
}

/// Evaluates `program` and tells `watch` about it.
pub(crate) fn eval_watched<'v, V: View, W: Watch<'v>>(
    program: &'v Typed,
    view: &'v V,
    env: &Env,
    watch: &mut W,
) -> (Result<Value<'v>, EvalError>, u32) {
    let meter = Meter::new(env.steps_max);
    let now_ms = env.now_ms;
    let mut naive =
        Naive { program, view, now_ms, meter, locals: Vec::new(), captured: None, watch };
    let outcome = naive.frame(&program.main, &[], None);
    (outcome.map_err(EvalError::from), naive.meter.steps())
}

struct Naive<'v, 'w, V, W> {
    program: &'v Typed,
    view: &'v V,
    now_ms: i64,
    meter: Meter,
    /// Slots of the running function.
    locals: Vec<Value<'v>>,
    captured: Option<Rc<Captured<'v>>>,
    watch: &'w mut W,
}

impl<'v, V: View, W: Watch<'v>> Machine<'v> for Naive<'v, '_, V, W> {
    type View = V;

    fn view(&self) -> &'v V {
        self.view
    }

    fn meter(&mut self) -> &mut Meter {
        &mut self.meter
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn patterns(&self) -> &'v [(Box<str>, Arc<Pattern>)] {
        &self.program.patterns
    }

    fn call_lambda(&mut self, function: &Function<'v>, arguments: &[Value<'v>]) -> Outcome<'v> {
        let Function::Lambda { id, captured } = function else { return Ok(Value::Null) };
        match self.program.lambdas.get(*id as usize) {
            Some(frame) => {
                self.watch.enters(*id, arguments);
                let outcome = self.frame(frame, arguments, captured.clone());
                self.watch.leaves(outcome.as_ref());
                outcome
            }
            None => Ok(Value::Null),
        }
    }
}

/// What a member chain holds while it is walked.
struct Walk<'v> {
    value: Value<'v>,
    /// What stood before `value`, for methods.
    receiver: Value<'v>,
}

impl<'v, V: View, W: Watch<'v>> Naive<'v, '_, V, W> {
    fn frame(
        &mut self,
        frame: &'v Frame,
        arguments: &[Value<'v>],
        captured: Option<Rc<Captured<'v>>>,
    ) -> Outcome<'v> {
        self.meter.enter(frame.size)?;
        let mut locals: Vec<Value<'v>> =
            arguments.iter().take(frame.parameters as usize).cloned().collect();
        locals.resize(frame.size.slots as usize, Value::Null);
        let outer = std::mem::replace(&mut self.locals, locals);
        let outer_captured = std::mem::replace(&mut self.captured, captured);
        let outcome = self.block(&frame.body);
        self.locals = outer;
        self.captured = outer_captured;
        self.meter.leave(frame.size);
        outcome
    }

    fn store(&mut self, slot: u32, value: Value<'v>) {
        if let Some(local) = self.locals.get_mut(slot as usize) {
            *local = value;
        }
    }

    fn load(&self, place: Place) -> Value<'v> {
        let value = match place {
            Place::Local(slot) => self.locals.get(slot as usize),
            Place::Captured(at) => {
                self.captured.as_ref().and_then(|captured| captured.values.get(at as usize))
            }
        };
        value.cloned().unwrap_or(Value::Null)
    }

    fn block(&mut self, block: &'v Block) -> Outcome<'v> {
        for (slot, value) in &block.declarations {
            let span = value.span;
            let value = self.eval(value)?;
            self.charge(1, span)?;
            self.store(*slot, value);
        }
        match &block.body {
            Body::Expr(expr) => self.eval(expr),
            Body::If { arms, otherwise } => {
                for (condition, then) in arms {
                    let holds = self.eval(condition)?.is_truthy();
                    self.charge(1, condition.span)?;
                    if holds {
                        return self.block(then);
                    }
                }
                self.block(otherwise)
            }
            Body::Try { attempt, error, handler, span } => {
                self.charge(2, *span)?;
                match self.block(attempt) {
                    Err(fault) if fault.is_catchable() => {
                        let source = &self.program.source;
                        let caught = builtin::caught(fault, source, &mut self.meter)
                            .map_err(|fault| fault.at(*span))?;
                        if let Some(slot) = error {
                            self.store(*slot, caught);
                        }
                        self.block(handler)
                    }
                    outcome => outcome,
                }
            }
        }
    }

    fn charge(&mut self, steps: u32, span: Span) -> Result<(), Fault<'v>> {
        self.meter.step(steps).map_err(|fault| fault.at(span))
    }

    fn eval_all(&mut self, exprs: &'v [Expr]) -> Result<Vec<Value<'v>>, Fault<'v>> {
        // As many as there are: what grew would keep room that nobody pays for.
        let mut values = Vec::with_capacity(exprs.len());
        for expr in exprs {
            values.push(self.eval(expr)?);
        }
        Ok(values)
    }

    fn eval(&mut self, expr: &'v Expr) -> Outcome<'v> {
        let outcome = self.node(expr).map_err(|fault| fault.at(expr.span));
        self.watch.seen(expr.span, outcome.as_ref());
        outcome
    }

    fn node(&mut self, expr: &'v Expr) -> Outcome<'v> {
        match &expr.kind {
            Kind::Literal(literal) => {
                self.meter.step(1)?;
                Ok(Value::of_literal(literal))
            }
            Kind::Literals(literals) => {
                self.meter.constants(literals.len())?;
                Ok(Value::List(List::Literal(literals)))
            }
            Kind::Place(place) => {
                self.meter.step(1)?;
                Ok(self.load(*place))
            }
            Kind::Variable(at) => self.variable(*at),
            Kind::TypeOfVariable(at) => self.type_of_variable(*at),
            Kind::Native(native) => {
                self.meter.step(STEPS_PER_CONSTANT)?;
                Ok(Value::Function(Function::Native(*native)))
            }
            Kind::Template(parts) => self.template(parts),
            Kind::List(items) => self.list(items),
            Kind::Map(entries) => self.map(entries),
            Kind::New { class, arguments } => self.construct(*class, arguments),
            Kind::Unary { op, operand } => self.unary(*op, operand),
            Kind::Chain { first, rest } => self.chain(first, rest),
            Kind::Conditional { arms, otherwise } => self.conditional(arms, otherwise),
            Kind::Throw(operand) => self.throw(operand),
            Kind::Lambda(id) => self.lambda(*id),
            Kind::Access { head, links } => self.access(head, links),
        }
    }

    fn unary(&mut self, op: UnaryOp, operand: &'v Expr) -> Outcome<'v> {
        let operand = self.eval(operand)?;
        self.meter.step(1)?;
        match op {
            UnaryOp::Not => Ok(Value::Bool(!operand.is_truthy())),
            UnaryOp::Negate => operator::negate(&operand),
            UnaryOp::TypeOf => Ok(Value::String(Text::Borrowed(operand.type_of().name()))),
        }
    }

    fn list(&mut self, items: &'v [Expr]) -> Outcome<'v> {
        let values = self.eval_all(items)?;
        self.meter.step(1)?;
        build_list(values, &mut self.meter)
    }

    fn map(&mut self, entries: &'v [(Box<str>, Expr)]) -> Outcome<'v> {
        let mut values = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            values.push((Text::Borrowed(name), self.eval(value)?));
        }
        self.meter.step(1)?;
        build_map(values, &mut self.meter)
    }

    fn construct(&mut self, class: Class, arguments: &'v [Expr]) -> Outcome<'v> {
        let arguments = self.eval_all(arguments)?;
        self.meter.step(2)?;
        builtin::construct(self, class, &arguments)
    }

    fn conditional(&mut self, arms: &'v [(Expr, Expr)], otherwise: &'v Expr) -> Outcome<'v> {
        for (condition, value) in arms {
            let holds = self.eval(condition)?.is_truthy();
            self.charge(1, condition.span)?;
            if holds {
                return self.eval(value);
            }
        }
        self.eval(otherwise)
    }

    fn throw(&mut self, operand: &'v Expr) -> Outcome<'v> {
        let value = self.eval(operand)?;
        self.meter.step(1)?;
        Err(builtin::throw(value, self.view, &mut self.meter))
    }

    fn type_of_variable(&mut self, at: u32) -> Outcome<'v> {
        self.meter.step(2)?;
        let node = self.view.variable(self.variable_name(at));
        let name =
            node.map_or("undefined", |node| Value::of_node(self.view, node).type_of().name());
        Ok(Value::String(Text::Borrowed(name)))
    }

    fn variable_name(&self, at: u32) -> &'v str {
        self.program.variables.get(at as usize).map_or("", |name| name)
    }

    fn variable(&mut self, at: u32) -> Outcome<'v> {
        self.meter.step(1)?;
        let name = self.variable_name(at);
        match self.view.variable(name) {
            Some(node) => Ok(Value::of_node(self.view, node)),
            None => Err(Fault::new(Code::UnknownName, format!("{name} is not defined"))),
        }
    }

    fn template(&mut self, parts: &'v [Part]) -> Outcome<'v> {
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            values.push(match part {
                Part::Text(text) => Value::String(Text::Borrowed(text)),
                Part::Placeholder(expr) => self.eval(expr)?,
            });
        }
        self.meter.step(1)?;
        let mut text = TextBuilder::new(&mut self.meter)?;
        for value in &values {
            text.push_value(value, self.view, &mut self.meter)?;
        }
        Ok(text.finish())
    }

    fn chain(&mut self, first: &'v Expr, rest: &'v [crate::typed::Applied]) -> Outcome<'v> {
        let mut left = self.eval(first)?;
        for applied in rest {
            match operator::settles(applied.op, &left) {
                Some(settled) => {
                    self.charge(1, applied.span)?;
                    // Logical operators of one precedence are all the same, so the rest of the
                    // chain leaves the value alone too.
                    if settled {
                        return Ok(left);
                    }
                    left = self.eval(&applied.operand)?;
                }
                None => {
                    let right = self.eval(&applied.operand)?;
                    self.charge(1, applied.span)?;
                    left = operator::binary(applied.op, &left, &right, self.view, &mut self.meter)
                        .map_err(|fault| fault.at(applied.span))?;
                }
            }
        }
        Ok(left)
    }

    fn lambda(&mut self, id: u32) -> Outcome<'v> {
        self.meter.step(2)?;
        let Some(frame) = self.program.lambdas.get(id as usize) else { return Ok(Value::Null) };
        let values: Vec<Value<'v>> = frame.captures.iter().map(|place| self.load(*place)).collect();
        builtin::close_over(id, values, &mut self.meter)
    }

    fn access(&mut self, head: &'v Expr, links: &'v [Link]) -> Outcome<'v> {
        let mut walk = Walk { value: self.eval(head)?, receiver: Value::Null };
        for link in links {
            let next = self.link(&walk, link).map_err(|fault| fault.at(link.span))?;
            match next {
                Some(next) => {
                    self.watch.seen(link.span, Ok(&next.value));
                    walk = next;
                }
                // `?.` gives up on the whole chain.
                None => return Ok(Value::Null),
            }
        }
        Ok(walk.value)
    }

    /// One step of a chain; none if `?.` found nothing.
    fn link(&mut self, walk: &Walk<'v>, link: &'v Link) -> Result<Option<Walk<'v>>, Fault<'v>> {
        let receiver = &walk.value;
        let (found, optional, called) = match &link.kind {
            LinkKind::Call { arguments, .. } => {
                let arguments = self.eval_all(arguments)?;
                self.meter.step(2)?;
                self.watch.calls(link.span);
                let value = builtin::call(self, receiver, &walk.receiver, &arguments)?;
                return Ok(Some(Walk { value, receiver: Value::Null }));
            }
            LinkKind::Member { name, optional, called } => {
                self.meter.step(2)?;
                if *optional && matches!(receiver, Value::Null) {
                    return Ok(None);
                }
                let meter = &mut self.meter;
                let found = builtin::lookup(receiver, &name.text, name.member, self.view, meter)?;
                (found, *optional, *called)
            }
            LinkKind::Index { index, optional, called } => {
                if *optional && matches!(receiver, Value::Null) {
                    self.meter.step(2)?;
                    return Ok(None);
                }
                let index = self.eval(index)?;
                self.meter.step(2)?;
                let found = builtin::lookup_index(receiver, &index, self.view, &mut self.meter)?;
                (found, *optional, *called)
            }
        };
        let value = match found {
            Found::Missing(_) if optional => return Ok(None),
            Found::Method(member) if called => Value::Function(Function::Method(member)),
            found => builtin::read_member(found, receiver, &mut self.meter)?,
        };
        Ok(Some(Walk { value, receiver: receiver.clone() }))
    }
}

//! The reference evaluator: evaluates the typed tree as the language is defined, node by node.
//!
//! It charges a step for every evaluated node and one more for every member access or call. The
//! compiled form must agree with it in value, error and steps.

use std::rc::Rc;
use std::sync::Arc;

use crate::ast::UnaryOp;
use crate::budget::Budget;
use crate::builtin::regexp::Pattern;
use crate::builtin::{self, EvalResult, Machine, MemberLookup};
use crate::diagnostic::Code;
use crate::env::Env;
use crate::fault::{EvalError, Fault, entry};
use crate::limits::STEPS_PER_CONSTANT;
use crate::operator::{self, build_list, build_map};
use crate::span::Span;
use crate::text::TextBuilder;
use crate::typed::{Binding, Block, Body, Expr, ExprKind, Frame, Link, LinkKind, Part, Typed};
use crate::value::{Captured, Constructor, Function, List, Text, Value};
use crate::view::View;

/// Evaluates `program` and returns the number of steps as the second value.
pub(crate) fn eval<'v, V: View>(
    program: &'v Typed,
    view: &'v V,
    env: &Env,
) -> (Result<Value<'v>, EvalError>, u32) {
    eval_observed(program, view, env, &mut ())
}

/// Receives the intermediate results of an evaluation.
pub(crate) trait EvalObserver<'v> {
    /// The part of the source at `span` has evaluated to `outcome`.
    fn on_value(&mut self, span: Span, outcome: Result<&Value<'v>, &Fault<'v>>);

    /// The callee at `span` is called next: a function, or a method that may call functions.
    fn on_call(&mut self, span: Span);

    /// The function at index `lambda` of [`Typed::lambdas`] starts.
    fn on_enter(&mut self, lambda: u32, arguments: &[Value<'v>]);

    /// The innermost running function has returned `outcome`.
    fn on_leave(&mut self, outcome: Result<&Value<'v>, &Fault<'v>>);
}

impl<'v> EvalObserver<'v> for () {
    fn on_value(&mut self, _: Span, _: Result<&Value<'v>, &Fault<'v>>) {}

    fn on_call(&mut self, _: Span) {}

    fn on_enter(&mut self, _: u32, _: &[Value<'v>]) {}

    fn on_leave(&mut self, _: Result<&Value<'v>, &Fault<'v>>) {}
}

/// Evaluates `program` and reports intermediate results to `observer`.
pub(crate) fn eval_observed<'v, V: View, W: EvalObserver<'v>>(
    program: &'v Typed,
    view: &'v V,
    env: &Env,
    observer: &mut W,
) -> (Result<Value<'v>, EvalError>, u32) {
    let budget = Budget::new(env.steps_max);
    let now_ms = env.now_ms;
    let mut evaluator = TreeEvaluator {
        program,
        view,
        now_ms,
        budget,
        locals: Vec::new(),
        captured: None,
        observer,
    };
    let outcome = evaluator.frame(&program.main, &[], None);
    (outcome.map_err(EvalError::from), evaluator.budget.steps_used())
}

struct TreeEvaluator<'v, 'w, V, W> {
    program: &'v Typed,
    view: &'v V,
    now_ms: i64,
    budget: Budget,
    /// Slots of the running function.
    locals: Vec<Value<'v>>,
    captured: Option<Rc<Captured<'v>>>,
    observer: &'w mut W,
}

impl<'v, V: View, W: EvalObserver<'v>> Machine<'v> for TreeEvaluator<'v, '_, V, W> {
    type View = V;

    fn view(&self) -> &'v V {
        self.view
    }

    fn budget(&mut self) -> &mut Budget {
        &mut self.budget
    }

    fn now_ms(&self) -> i64 {
        self.now_ms
    }

    fn patterns(&self) -> &'v [(Box<str>, Arc<Pattern>)] {
        &self.program.patterns
    }

    fn call_builtin(&mut self, function: &Function<'v>, arguments: &[Value<'v>]) -> EvalResult<'v> {
        builtin::call(self, &Value::Function(function.clone()), &Value::Null, arguments)
    }

    fn call_lambda(&mut self, function: &Function<'v>, arguments: &[Value<'v>]) -> EvalResult<'v> {
        let Function::Lambda { id, captured } = function else {
            return Err(Fault::internal("a builtin is entered as an arrow function"));
        };
        let frame = entry(&self.program.lambdas, *id)?;
        self.observer.on_enter(*id, arguments);
        let outcome = self.frame(frame, arguments, captured.clone());
        self.observer.on_leave(outcome.as_ref());
        outcome
    }
}

/// The state of a member chain during its evaluation.
struct ChainState<'v> {
    value: Value<'v>,
    /// The value before `value`, the receiver of a method.
    receiver: Value<'v>,
}

impl<'v, V: View, W: EvalObserver<'v>> TreeEvaluator<'v, '_, V, W> {
    fn frame(
        &mut self,
        frame: &'v Frame,
        arguments: &[Value<'v>],
        captured: Option<Rc<Captured<'v>>>,
    ) -> EvalResult<'v> {
        self.budget.enter_function(frame.size)?;
        let mut locals: Vec<Value<'v>> =
            arguments.iter().take(frame.parameters as usize).cloned().collect();
        locals.resize(frame.size.slots as usize, Value::Null);
        let outer = std::mem::replace(&mut self.locals, locals);
        let outer_captured = std::mem::replace(&mut self.captured, captured);
        let outcome = self.block(&frame.body);
        self.locals = outer;
        self.captured = outer_captured;
        self.budget.leave_function(frame.size);
        outcome
    }

    fn store(&mut self, slot: u32, value: Value<'v>) -> Result<(), Fault<'v>> {
        let Some(local) = self.locals.get_mut(slot as usize) else {
            return Err(Fault::internal("a slot is outside of its frame"));
        };
        *local = value;
        Ok(())
    }

    fn load(&self, binding: Binding) -> EvalResult<'v> {
        let value = match binding {
            Binding::Local(slot) => self.locals.get(slot as usize),
            Binding::Captured(at) => {
                self.captured.as_ref().and_then(|captured| captured.values.get(at as usize))
            }
        };
        value.cloned().ok_or_else(|| Fault::internal("a slot is outside of its frame"))
    }

    fn block(&mut self, block: &'v Block) -> EvalResult<'v> {
        for (slot, value) in &block.declarations {
            let span = value.span;
            let value = self.eval(value)?;
            self.charge_at(1, span)?;
            self.store(*slot, value)?;
        }
        match &block.body {
            Body::Expr(expr) => self.eval(expr),
            Body::If { arms, otherwise } => {
                for (condition, then) in arms {
                    let holds = self.eval(condition)?.is_truthy();
                    self.charge_at(1, condition.span)?;
                    if holds {
                        return self.block(then);
                    }
                }
                self.block(otherwise)
            }
            Body::Try { attempt, error, handler, span } => {
                self.charge_at(2, *span)?;
                match self.block(attempt) {
                    Err(fault) if fault.is_catchable() => {
                        let source = &self.program.source;
                        let caught = builtin::caught(fault, source, &mut self.budget)
                            .map_err(|fault| fault.at(*span))?;
                        if let Some(slot) = error {
                            self.store(*slot, caught)?;
                        }
                        self.block(handler)
                    }
                    outcome => outcome,
                }
            }
        }
    }

    fn charge_at(&mut self, steps: u32, span: Span) -> Result<(), Fault<'v>> {
        self.budget.charge(steps).map_err(|fault| fault.at(span))
    }

    fn eval_all(&mut self, exprs: &'v [Expr]) -> Result<Vec<Value<'v>>, Fault<'v>> {
        // Exact capacity: a growing vector would use memory that is not charged.
        let mut values = Vec::with_capacity(exprs.len());
        for expr in exprs {
            values.push(self.eval(expr)?);
        }
        Ok(values)
    }

    fn eval(&mut self, expr: &'v Expr) -> EvalResult<'v> {
        let outcome = self.node(expr).map_err(|fault| fault.at(expr.span));
        self.observer.on_value(expr.span, outcome.as_ref());
        outcome
    }

    fn node(&mut self, expr: &'v Expr) -> EvalResult<'v> {
        match &expr.kind {
            ExprKind::Literal(literal) => {
                self.budget.charge(1)?;
                Ok(Value::of_literal(literal))
            }
            ExprKind::Literals(literals) => {
                self.budget.charge(STEPS_PER_CONSTANT)?;
                Ok(Value::List(List::Literal(literals)))
            }
            ExprKind::Binding(binding) => {
                self.budget.charge(1)?;
                self.load(*binding)
            }
            ExprKind::Variable(at) => self.variable(*at),
            ExprKind::TypeOfVariable(at) => self.type_of_variable(*at),
            ExprKind::Native(native) => {
                self.budget.charge(STEPS_PER_CONSTANT)?;
                Ok(Value::Function(Function::Native(*native)))
            }
            ExprKind::Template(parts) => self.template(parts),
            ExprKind::List(items) => self.list(items),
            ExprKind::Map(entries) => self.map(entries),
            ExprKind::New { class, arguments } => self.construct(*class, arguments),
            ExprKind::Unary { op, operand } => self.unary(*op, operand),
            ExprKind::Chain { first, rest } => self.chain(first, rest),
            ExprKind::Conditional { arms, otherwise } => self.conditional(arms, otherwise),
            ExprKind::Throw(operand) => self.throw(operand),
            ExprKind::Lambda(id) => self.lambda(*id),
            ExprKind::Access { head, links } => self.access(head, links),
        }
    }

    fn unary(&mut self, op: UnaryOp, operand: &'v Expr) -> EvalResult<'v> {
        let operand = self.eval(operand)?;
        self.budget.charge(1)?;
        match op {
            UnaryOp::Not => Ok(Value::Bool(!operand.is_truthy())),
            UnaryOp::Negate => operator::negate(&operand),
            UnaryOp::TypeOf => Ok(Value::String(Text::Borrowed(operand.type_of().name()))),
        }
    }

    fn list(&mut self, items: &'v [Expr]) -> EvalResult<'v> {
        let values = self.eval_all(items)?;
        self.budget.charge(1)?;
        build_list(values, &mut self.budget)
    }

    fn map(&mut self, entries: &'v [(Box<str>, Expr)]) -> EvalResult<'v> {
        let mut values = Vec::with_capacity(entries.len());
        for (name, value) in entries {
            values.push((Text::Borrowed(name), self.eval(value)?));
        }
        self.budget.charge(1)?;
        build_map(values, &mut self.budget)
    }

    fn construct(&mut self, class: Constructor, arguments: &'v [Expr]) -> EvalResult<'v> {
        let arguments = self.eval_all(arguments)?;
        self.budget.charge(2)?;
        builtin::construct(self, class, &arguments)
    }

    fn conditional(&mut self, arms: &'v [(Expr, Expr)], otherwise: &'v Expr) -> EvalResult<'v> {
        for (condition, value) in arms {
            let holds = self.eval(condition)?.is_truthy();
            self.charge_at(1, condition.span)?;
            if holds {
                return self.eval(value);
            }
        }
        self.eval(otherwise)
    }

    fn throw(&mut self, operand: &'v Expr) -> EvalResult<'v> {
        let value = self.eval(operand)?;
        self.budget.charge(1)?;
        Err(builtin::throw(value, self.view, &mut self.budget))
    }

    fn type_of_variable(&mut self, at: u32) -> EvalResult<'v> {
        self.budget.charge(2)?;
        let node = self.view.variable(self.variable_name(at)?);
        let name =
            node.map_or("undefined", |node| Value::of_node(self.view, node).type_of().name());
        Ok(Value::String(Text::Borrowed(name)))
    }

    fn variable_name(&self, at: u32) -> Result<&'v str, Fault<'v>> {
        entry(&self.program.variables, at).map(|name| &**name)
    }

    fn variable(&mut self, at: u32) -> EvalResult<'v> {
        self.budget.charge(1)?;
        let name = self.variable_name(at)?;
        match self.view.variable(name) {
            Some(node) => Ok(Value::of_node(self.view, node)),
            None => Err(Fault::new(Code::UnknownName, format!("{name} is not defined"))),
        }
    }

    fn template(&mut self, parts: &'v [Part]) -> EvalResult<'v> {
        let mut values = Vec::with_capacity(parts.len());
        for part in parts {
            values.push(match part {
                Part::Text(text) => Value::String(Text::Borrowed(text)),
                Part::Placeholder(expr) => self.eval(expr)?,
            });
        }
        self.budget.charge(1)?;
        let mut text = TextBuilder::new(&mut self.budget)?;
        for value in &values {
            text.push_value(value, self.view, &mut self.budget)?;
        }
        Ok(text.finish())
    }

    fn chain(&mut self, first: &'v Expr, rest: &'v [crate::typed::Applied]) -> EvalResult<'v> {
        let mut left = self.eval(first)?;
        for applied in rest {
            match operator::settles(applied.op, &left) {
                Some(settled) => {
                    self.charge_at(1, applied.span)?;
                    // All logical operators of a chain have one precedence and are equal, so the
                    // rest of the chain returns the value unchanged too.
                    if settled {
                        return Ok(left);
                    }
                    left = self.eval(&applied.operand)?;
                }
                None => {
                    let right = self.eval(&applied.operand)?;
                    self.charge_at(1, applied.span)?;
                    left = operator::binary(applied.op, &left, &right, self.view, &mut self.budget)
                        .map_err(|fault| fault.at(applied.span))?;
                }
            }
        }
        Ok(left)
    }

    fn lambda(&mut self, id: u32) -> EvalResult<'v> {
        self.budget.charge(2)?;
        let frame = entry(&self.program.lambdas, id)?;
        let values = frame.captures.iter().map(|binding| self.load(*binding));
        let values = values.collect::<Result<_, _>>()?;
        builtin::close_over(id, values, &mut self.budget)
    }

    fn access(&mut self, head: &'v Expr, links: &'v [Link]) -> EvalResult<'v> {
        let mut walk = ChainState { value: self.eval(head)?, receiver: Value::Null };
        for link in links {
            let next = self.link(&walk, link).map_err(|fault| fault.at(link.span))?;
            match next {
                Some(next) => {
                    self.observer.on_value(link.span, Ok(&next.value));
                    walk = next;
                }
                // `?.` ends the whole chain.
                None => return Ok(Value::Null),
            }
        }
        Ok(walk.value)
    }

    /// Evaluates one link of a chain; none if `?.` ends the chain.
    fn link(
        &mut self,
        walk: &ChainState<'v>,
        link: &'v Link,
    ) -> Result<Option<ChainState<'v>>, Fault<'v>> {
        let receiver = &walk.value;
        let (found, optional, called) = match &link.kind {
            LinkKind::Call { arguments, .. } => {
                let arguments = self.eval_all(arguments)?;
                self.budget.charge(2)?;
                self.observer.on_call(link.span);
                let value = builtin::call(self, receiver, &walk.receiver, &arguments)?;
                return Ok(Some(ChainState { value, receiver: Value::Null }));
            }
            LinkKind::Member { name, optional, called } => {
                self.budget.charge(2)?;
                if *optional && matches!(receiver, Value::Null) {
                    return Ok(None);
                }
                let found = builtin::lookup(self, receiver, &name.text, name.member)?;
                (found, *optional, *called)
            }
            LinkKind::Index { index, optional, called } => {
                if *optional && matches!(receiver, Value::Null) {
                    self.budget.charge(2)?;
                    return Ok(None);
                }
                let index = self.eval(index)?;
                self.budget.charge(2)?;
                let found = builtin::lookup_index(self, receiver, &index)?;
                (found, *optional, *called)
            }
        };
        let value = match found {
            MemberLookup::Missing(_) if optional => return Ok(None),
            MemberLookup::Method(member) if called => Value::Function(Function::Method(member)),
            found => builtin::read_member(found, receiver, &mut self.budget)?,
        };
        Ok(Some(ChainState { value, receiver: receiver.clone() }))
    }
}

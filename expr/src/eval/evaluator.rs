//! The stack machine.

use std::rc::Rc;
use std::sync::Arc;

use super::scratch::EvalScratch;
use super::stack::{push_bool, push_map, push_number, push_text, push_with};
use super::verdict::{Verdict, not_boolean};
use crate::ast::{BinaryOp, UnaryOp};
use crate::budget::Budget;
use crate::builtin::regexp::Pattern;
use crate::builtin::{self, EvalResult, Machine, MemberLookup};
use crate::diagnostic::Code;
use crate::env::Env;
use crate::fault::{EvalError, Fault, entry};
use crate::limits::STEPS_PER_CONSTANT;
use crate::operator::{self, build_list, build_map};
use crate::parameters::{Parameter, ParameterList, Parameters};
use crate::program::{MemberOp, Op, Program, ProgramTemplate, Routine};
use crate::span::{Span, to_u32};
use crate::text::TextBuilder;
use crate::typed::Binding;
use crate::value::{Captured, Function, List, Literal, Map, Text, Value};
use crate::view::{NodeId, NodeValue, View};

impl Program {
    /// Evaluates the expression.
    ///
    /// # Errors
    /// Errors raised by the expression, and exceeded limits of [`crate::limits`].
    pub fn eval<'v, V: View>(
        &'v self,
        view: &'v V,
        env: &Env,
        scratch: &mut EvalScratch,
    ) -> Result<Value<'v>, EvalError> {
        let mut machine = Evaluator {
            program: &self.template,
            parameters: &self.parameters,
            view,
            now_ms: env.now_ms,
            budget: Budget::new(env.steps_max),
            stack: scratch.take_stack(),
            handlers: Vec::new(),
            source: None,
            offset_shifts: None,
        };
        let outcome = machine.routine(&self.template.main, None);
        scratch.keep(machine.stack, machine.budget.steps_used());
        outcome.map_err(EvalError::from)
    }

    /// Evaluates a filter.
    pub fn verdict<V: View>(&self, view: &V, env: &Env, scratch: &mut EvalScratch) -> Verdict {
        match self.eval(view, env, scratch) {
            Ok(Value::Bool(true)) => Verdict::Match,
            Ok(Value::Bool(false)) => Verdict::NoMatch,
            Ok(other) => Verdict::Failed(not_boolean(&other, self.source_len())),
            Err(error) => Verdict::Failed(error),
        }
    }
}

struct Evaluator<'v, V> {
    program: &'v ProgramTemplate,
    parameters: &'v Parameters,
    view: &'v V,
    now_ms: i64,
    budget: Budget,
    /// Slots and operands of all active functions, innermost last.
    stack: Vec<Value<'v>>,
    handlers: Vec<Handler>,
    /// The source of this filter and the offset shifts of its parameters. Both are built at the
    /// first error, since a filter may catch thousands.
    source: Option<String>,
    offset_shifts: Option<Box<[i32]>>,
}

/// The handler of a `try` block.
struct Handler {
    target: u32,
    stack: usize,
}

/// The active function.
struct ActiveFrame<'v> {
    /// Index of its first slot on the stack.
    base: usize,
    captured: Option<Rc<Captured<'v>>>,
    /// The next instruction.
    at: usize,
}

/// Whether execution continues after an instruction.
enum ControlFlow {
    Next,
    Return,
}

impl<'v, V: View> Machine<'v> for Evaluator<'v, V> {
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
        let routine = entry(&self.program.lambdas, *id)?;
        let taken = arguments.iter().take(routine.parameters as usize);
        self.stack.extend(taken.cloned());
        let missing = (routine.parameters as usize).saturating_sub(arguments.len());
        self.stack.extend(std::iter::repeat_n(Value::Null, missing));
        self.routine(routine, captured.clone())
    }
}

impl<'v, V: View> Evaluator<'v, V> {
    /// Runs a function whose arguments are on the stack, and removes them.
    fn routine(
        &mut self,
        routine: &'v Routine,
        captured: Option<Rc<Captured<'v>>>,
    ) -> EvalResult<'v> {
        let base = self.stack.len().saturating_sub(routine.parameters as usize);
        if let Err(fault) = self.budget.enter_function(routine.size) {
            self.stack.truncate(base);
            return Err(fault);
        }
        self.stack.resize(base + routine.size.slots as usize, Value::Null);
        let handlers = self.handlers.len();
        let outcome =
            self.run(ActiveFrame { base, captured, at: routine.start as usize }, handlers);
        self.stack.truncate(base);
        self.handlers.truncate(handlers);
        self.budget.leave_function(routine.size);
        outcome
    }

    /// Executes until the function returns or an error has no handler in it.
    fn run(&mut self, mut running: ActiveFrame<'v>, handlers: usize) -> EvalResult<'v> {
        let program = self.program;
        loop {
            let Some(op) = program.ops.get(running.at) else {
                return Err(Fault::internal("a function ends without a return"));
            };
            let at = running.at;
            running.at += 1;
            match self.execute(*op, &mut running) {
                Ok(ControlFlow::Next) => {}
                Ok(ControlFlow::Return) => return Ok(self.pop()),
                Err(fault) => {
                    let fault = fault.at(self.span(at));
                    self.recover(fault, &mut running, handlers)?;
                }
            }
        }
    }

    /// Continues at the innermost handler of this function, if the error can be caught.
    fn recover(
        &mut self,
        fault: Fault<'v>,
        running: &mut ActiveFrame<'v>,
        handlers: usize,
    ) -> Result<(), Fault<'v>> {
        if !fault.is_catchable() || self.handlers.len() <= handlers {
            return Err(fault);
        }
        let Some(handler) = self.handlers.pop() else { return Err(fault) };
        self.stack.truncate(handler.stack);
        let program = self.program;
        let source = self.source.get_or_insert_with(|| program.source_with(self.parameters));
        let caught = builtin::caught(fault, source, &mut self.budget);
        // The handler's first instruction has the span of the whole `try`.
        let caught = caught.map_err(|fault| fault.at(self.span(handler.target as usize)))?;
        self.stack.push(caught);
        running.at = handler.target as usize;
        Ok(())
    }

    /// The span of an instruction in the source of this filter.
    fn span(&mut self, at: usize) -> Span {
        let slots = &self.program.slots;
        let span = self.program.spans.get(at).copied();
        debug_assert!(span.is_some(), "each instruction has a span");
        let span = span.unwrap_or(Span::NONE);
        slots.relocate(
            span,
            self.offset_shifts.get_or_insert_with(|| slots.offset_shifts(self.parameters)),
        )
    }

    fn pop(&mut self) -> Value<'v> {
        let value = self.stack.pop();
        debug_assert!(value.is_some(), "operands are pushed before they are popped");
        value.unwrap_or(Value::Null)
    }

    /// Pops the last `count` values.
    fn pop_many(&mut self, count: u32) -> Vec<Value<'v>> {
        debug_assert!(
            self.stack.len() >= count as usize,
            "operands are pushed before they are popped"
        );
        self.stack.split_off(self.stack.len().saturating_sub(count as usize))
    }

    #[inline]
    fn execute(&mut self, op: Op, running: &mut ActiveFrame<'v>) -> Result<ControlFlow, Fault<'v>> {
        match op {
            Op::Literal(at) => {
                self.budget.charge(1)?;
                self.push_literal(at)?;
            }
            Op::Text(at) => self.push_literal(at)?,
            Op::Literals(at) => self.push_literals(at)?,
            Op::Parameter(at) => {
                self.budget.charge(1)?;
                self.push_parameter(at);
            }
            Op::Parameters { start, len } => {
                self.budget.charge(STEPS_PER_CONSTANT)?;
                let list = ParameterList::new(self.parameters, start, len);
                push_with(&mut self.stack, || Value::List(List::Parameters(list)));
            }
            Op::Load(binding) => self.load(binding, running)?,
            Op::Variable(at) => self.variable(at)?,
            Op::Member(member) => self.member(member, running)?,
            Op::Binary(op) => self.binary(op)?,
            Op::Unary(op) => self.unary(op)?,
            Op::Logical { op, end } => {
                self.budget.charge(1)?;
                let left = self.top()?;
                if operator::settles(op, left) == Some(true) {
                    running.at = end as usize;
                } else {
                    self.drop_top();
                }
            }
            Op::Branch { target } => {
                self.budget.charge(1)?;
                let holds = self.stack.last().is_some_and(Value::is_truthy);
                self.drop_top();
                if !holds {
                    running.at = target as usize;
                }
            }
            Op::Jump { target } => running.at = target as usize,
            Op::Call { arguments, method } => self.call(arguments, method)?,
            Op::SkipNull { end } => {
                if matches!(self.stack.last(), Some(Value::Null)) {
                    self.budget.charge(2)?;
                    running.at = end as usize;
                }
            }
            Op::Index { called, optional, end } => self.index(called, optional, end, running)?,
            Op::Store(slot) => {
                self.budget.charge(1)?;
                self.bind(slot, running)?;
            }
            Op::Bind(slot) => self.bind(slot, running)?,
            Op::Lambda(id) => self.lambda(id, running)?,
            Op::Try { handler } => {
                self.budget.charge(2)?;
                self.handlers.push(Handler { target: handler, stack: self.stack.len() });
            }
            Op::EndTry => {
                self.handlers.pop();
            }
            Op::Drop => self.drop_top(),
            Op::Return => return Ok(ControlFlow::Return),
            _ => self.build(op)?,
        }
        Ok(ControlFlow::Next)
    }

    /// Executes the less frequent instructions, each of which pushes a new value.
    fn build(&mut self, op: Op) -> Result<(), Fault<'v>> {
        let value = match op {
            Op::TypeOfVariable(at) => {
                self.budget.charge(2)?;
                let node = self.view.variable(self.variable_name(at)?);
                let name = node
                    .map_or("undefined", |node| Value::of_node(self.view, node).type_of().name());
                Value::String(Text::Borrowed(name))
            }
            Op::Native(native) => {
                self.budget.charge(STEPS_PER_CONSTANT)?;
                Value::Function(Function::Native(native))
            }
            Op::New { class, arguments } => {
                let arguments = self.pop_many(arguments);
                self.budget.charge(2)?;
                builtin::construct(self, class, &arguments)?
            }
            Op::Template(parts) => {
                let parts = self.pop_many(parts);
                self.budget.charge(1)?;
                let mut text = TextBuilder::new(&mut self.budget)?;
                for part in &parts {
                    text.push_value(part, self.view, &mut self.budget)?;
                }
                text.finish()
            }
            Op::List(items) => {
                let items = self.pop_many(items);
                self.budget.charge(1)?;
                build_list(items, &mut self.budget)?
            }
            Op::Map(at) => {
                let keys = entry(&self.program.keys, at)?;
                let values = self.pop_many(to_u32(keys.len()));
                self.budget.charge(1)?;
                let names = keys.iter().map(|key| Text::Borrowed(key));
                build_map(names.zip(values), &mut self.budget)?
            }
            Op::Throw => {
                let value = self.pop();
                self.budget.charge(1)?;
                return Err(builtin::throw(value, self.view, &mut self.budget));
            }
            _ => return Err(Fault::internal("an instruction has no meaning")),
        };
        self.stack.push(value);
        Ok(())
    }

    fn push_literal(&mut self, at: u32) -> Result<(), Fault<'v>> {
        let program = self.program;
        match entry(&program.literals, at)? {
            Literal::Number(number) => push_number(&mut self.stack, *number),
            Literal::String(text) => push_text(&mut self.stack, text),
            Literal::Bool(truth) => push_bool(&mut self.stack, *truth),
            Literal::Null => push_with(&mut self.stack, || Value::Null),
        }
        Ok(())
    }

    #[inline]
    fn push_parameter(&mut self, at: u32) {
        match self.parameters.get(at as usize) {
            Parameter::Text(text) => push_text(&mut self.stack, text),
            Parameter::Number(number) => push_number(&mut self.stack, number),
        }
    }

    fn push_literals(&mut self, at: u32) -> Result<(), Fault<'v>> {
        let program = self.program;
        let literals = entry(&program.lists, at)?;
        self.budget.charge(STEPS_PER_CONSTANT)?;
        self.stack.push(Value::List(List::Constants(literals)));
        Ok(())
    }

    fn load(&mut self, binding: Binding, running: &ActiveFrame<'v>) -> Result<(), Fault<'v>> {
        self.budget.charge(1)?;
        match binding {
            Binding::Local(slot) => match self.stack.get(running.base + slot as usize) {
                Some(Value::Number(number)) => {
                    let number = *number;
                    push_number(&mut self.stack, number);
                }
                Some(Value::Bool(truth)) => {
                    let truth = *truth;
                    push_bool(&mut self.stack, truth);
                }
                Some(Value::String(Text::Borrowed(text))) => {
                    let text = *text;
                    push_text(&mut self.stack, text);
                }
                Some(value) => {
                    let value = value.clone();
                    self.stack.push(value);
                }
                None => return Err(Fault::internal("a slot is outside of its frame")),
            },
            Binding::Captured(_) => {
                let value = self.value_of(binding, running)?;
                self.stack.push(value);
            }
        }
        Ok(())
    }

    #[inline]
    fn push_node(&mut self, node: NodeId) {
        match self.view.read(node) {
            NodeValue::Number(number) => push_number(&mut self.stack, number),
            NodeValue::Bool(truth) => push_bool(&mut self.stack, truth),
            NodeValue::String(text) => push_text(&mut self.stack, text),
            NodeValue::Map { len } => push_map(&mut self.stack, node, len),
            NodeValue::Null => push_with(&mut self.stack, || Value::Null),
            NodeValue::List { len } => {
                push_with(&mut self.stack, || Value::List(List::Node { node, len }));
            }
        }
    }

    fn value_of(&self, binding: Binding, running: &ActiveFrame<'v>) -> EvalResult<'v> {
        let value = match binding {
            Binding::Local(slot) => self.stack.get(running.base + slot as usize),
            Binding::Captured(at) => {
                running.captured.as_ref().and_then(|captured| captured.values.get(at as usize))
            }
        };
        value.cloned().ok_or_else(|| Fault::internal("a slot is outside of its frame"))
    }

    fn bind(&mut self, slot: u32, running: &ActiveFrame<'v>) -> Result<(), Fault<'v>> {
        let value = self.pop();
        let Some(local) = self.stack.get_mut(running.base + slot as usize) else {
            return Err(Fault::internal("a slot is outside of its frame"));
        };
        *local = value;
        Ok(())
    }

    fn variable_name(&self, at: u32) -> Result<&'v str, Fault<'v>> {
        entry(&self.program.variables, at).map(|name| &**name)
    }

    fn variable(&mut self, at: u32) -> Result<(), Fault<'v>> {
        self.budget.charge(1)?;
        let name = self.variable_name(at)?;
        match self.view.variable(name) {
            Some(node) => {
                self.push_node(node);
                Ok(())
            }
            None => Err(Fault::new(Code::UnknownName, format!("{name} is not defined"))),
        }
    }

    fn lambda(&mut self, id: u32, running: &ActiveFrame<'v>) -> Result<(), Fault<'v>> {
        self.budget.charge(2)?;
        let captures = &entry(&self.program.lambdas, id)?.captures;
        if captures.is_empty() {
            let function = || Value::Function(Function::Lambda { id, captured: None });
            push_with(&mut self.stack, function);
            return Ok(());
        }
        let values = captures.iter().map(|binding| self.value_of(*binding, running));
        let values = values.collect::<Result<_, _>>()?;
        let function = builtin::close_over(id, values, &mut self.budget)?;
        self.stack.push(function);
        Ok(())
    }

    fn unary(&mut self, op: UnaryOp) -> Result<(), Fault<'v>> {
        self.budget.charge(1)?;
        let operand = self.top()?;
        match op {
            UnaryOp::Not => {
                let truth = !operand.is_truthy();
                self.drop_top();
                push_bool(&mut self.stack, truth);
            }
            UnaryOp::Negate => {
                let negated = operator::negate(operand)?;
                self.replace_top(negated);
            }
            UnaryOp::TypeOf => {
                let name = operand.type_of().name();
                self.replace_top(Value::String(Text::Borrowed(name)));
            }
        }
        Ok(())
    }

    fn binary(&mut self, op: BinaryOp) -> Result<(), Fault<'v>> {
        self.budget.charge(1)?;
        // Operands are read in place: see `push_with`.
        let [.., left, right] = self.stack.as_slice() else {
            return Err(Fault::internal("an operator has no operands"));
        };
        if let Some(truth) = operator::compare(op, left, right, self.view, &mut self.budget)? {
            self.drop_top();
            self.drop_top();
            push_bool(&mut self.stack, truth);
            return Ok(());
        }
        if let Some(number) = operator::calculate(op, left, right, &mut self.budget)? {
            self.drop_top();
            self.drop_top();
            push_number(&mut self.stack, number);
            return Ok(());
        }
        let value = operator::binary(op, left, right, self.view, &mut self.budget)?;
        self.drop_top();
        self.replace_top(value);
        Ok(())
    }

    #[inline]
    fn top(&self) -> Result<&Value<'v>, Fault<'v>> {
        self.stack.last().ok_or_else(|| Fault::internal("an operator has no operands"))
    }

    /// Pops without moving the value.
    #[inline]
    fn drop_top(&mut self) {
        let left = self.stack.len().saturating_sub(1);
        self.stack.truncate(left);
    }

    #[inline]
    fn replace_top(&mut self, value: Value<'v>) {
        if let Some(top) = self.stack.last_mut() {
            *top = value;
        }
    }

    fn member(&mut self, op: MemberOp, running: &mut ActiveFrame<'v>) -> Result<(), Fault<'v>> {
        self.budget.charge(2)?;
        if let Some(Value::Map(Map::Node { node, len })) = self.stack.last()
            && !op.called
            && self.own_key(*node, *len, op, running)?
        {
            return Ok(());
        }
        let receiver = self.pop();
        if op.optional && matches!(receiver, Value::Null) {
            self.yield_null(op.end, running);
            return Ok(());
        }
        let program = self.program;
        let name = entry(&program.names, op.name)?;
        let found = builtin::lookup(self, &receiver, &name.text, name.member)?;
        self.push_lookup(found, receiver, (op.optional, op.called, op.end), running)
    }

    /// The fast path of most member accesses: replaces an event map by its own key, or by null.
    /// Returns false if the name may be a builtin.
    #[inline]
    fn own_key(
        &mut self,
        node: NodeId,
        len: u32,
        op: MemberOp,
        running: &mut ActiveFrame<'v>,
    ) -> Result<bool, Fault<'v>> {
        let program = self.program;
        let name = entry(&program.names, op.name)?;
        let child = self.view.member(node, &name.text);
        if child.is_none() && name.member.is_some() {
            return Ok(false);
        }
        self.budget.charge_text(name.text.len())?;
        self.budget.charge_lookup(len)?;
        self.drop_top();
        match child {
            Some(child) => self.push_node(child),
            None if op.optional => self.yield_null(op.end, running),
            None => push_with(&mut self.stack, || Value::Null),
        }
        Ok(true)
    }

    fn index(
        &mut self,
        called: bool,
        optional: bool,
        end: u32,
        running: &mut ActiveFrame<'v>,
    ) -> Result<(), Fault<'v>> {
        let index = self.pop();
        let receiver = self.pop();
        self.budget.charge(2)?;
        let found = builtin::lookup_index(self, &receiver, &index)?;
        self.push_lookup(found, receiver, (optional, called, end), running)
    }

    /// Pushes the result of a lookup, above its receiver if a call follows.
    fn push_lookup(
        &mut self,
        found: MemberLookup<'v>,
        receiver: Value<'v>,
        (optional, called, end): (bool, bool, u32),
        running: &mut ActiveFrame<'v>,
    ) -> Result<(), Fault<'v>> {
        let value = match found {
            MemberLookup::Missing(_) if optional => {
                self.yield_null(end, running);
                return Ok(());
            }
            MemberLookup::Method(member) if called => Value::Function(Function::Method(member)),
            found => builtin::read_member(found, &receiver, &mut self.budget)?,
        };
        if called {
            self.stack.push(receiver);
        }
        self.stack.push(value);
        Ok(())
    }

    /// Ends an optional chain with null.
    fn yield_null(&mut self, end: u32, running: &mut ActiveFrame<'v>) {
        self.stack.push(Value::Null);
        running.at = end as usize;
    }

    fn call(&mut self, count: u32, method: bool) -> Result<(), Fault<'v>> {
        self.budget.charge(2)?;
        // Most calls have few arguments and need no vector.
        let value = match count {
            0 => self.call_with(&[], method)?,
            1 => {
                let argument = self.pop();
                self.call_with(&[argument], method)?
            }
            2 => {
                let second = self.pop();
                let first = self.pop();
                self.call_with(&[first, second], method)?
            }
            _ => {
                let arguments = self.pop_many(count);
                self.call_with(&arguments, method)?
            }
        };
        self.stack.push(value);
        Ok(())
    }

    fn call_with(&mut self, arguments: &[Value<'v>], method: bool) -> EvalResult<'v> {
        let callee = self.pop();
        let receiver = if method { self.pop() } else { Value::Null };
        builtin::call(self, &callee, &receiver, arguments)
    }
}

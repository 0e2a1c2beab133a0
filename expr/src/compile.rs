//! Compiles the typed tree to a program.

use std::sync::Arc;

use crate::builtin::regexp::Patterns;
use crate::parameter_slots::ParameterSlots;
use crate::parameters::{Parameter, Parameters};
use crate::predicate::Facts;
use crate::program::{MemberOp, Op, Program, ProgramTemplate, Routine};
use crate::span::{Span, to_u32};
use crate::typed::{Block, Body, Expr, ExprKind, Frame, Link, LinkKind, MemberName, Part, Typed};
use crate::value::{Literal, LiteralList};

/// Compiles a checked tree. This cannot fail: the checker has reported all errors.
///
/// The second value is whether the template is valid for all sources that differ only in
/// parameters.
pub(crate) fn generate(typed: &Typed) -> (Program, bool) {
    let slots = ParameterSlots::of(&typed.source);
    let parameters = slots.parameters(&typed.source);
    let (found, slots_confirmed) = compile_template(typed, slots);
    match parameters {
        Some(parameters) if slots_confirmed => (Program::new(Arc::new(found), parameters), true),
        _ => {
            let (alone, _) = compile_template(typed, ParameterSlots::default());
            (Program::new(Arc::new(alone), Parameters::default()), false)
        }
    }
}

/// Compiles with these slots and returns whether only evaluation reads each of them.
fn compile_template(typed: &Typed, slots: ParameterSlots) -> (ProgramTemplate, bool) {
    let mut compiler = Compiler::new(typed, &slots);
    let main = compiler.routine(&typed.main);
    let lambdas = typed.lambdas.iter().map(|lambda| compiler.routine(lambda)).collect();
    let slots_confirmed = compiler.slot_used.iter().all(|slot_used| *slot_used);
    let facts = Facts::of(typed, &slots);
    let template = ProgramTemplate {
        source: typed.source.clone(),
        ops: compiler.ops.into(),
        spans: compiler.spans.into(),
        literals: compiler.literals.into(),
        lists: compiler.lists.into(),
        names: compiler.names.into(),
        keys: compiler.keys.into(),
        variables: typed.variables.clone().into(),
        main,
        lambdas,
        patterns: typed.patterns.clone().into(),
        facts,
        slots,
    };
    (template, slots_confirmed)
}

struct Compiler<'t> {
    source: &'t str,
    slots: &'t ParameterSlots,
    /// Strings that the checker compiled as patterns.
    patterns: &'t Patterns,
    /// The slots that became parameters.
    slot_used: Vec<bool>,
    ops: Vec<Op>,
    spans: Vec<Span>,
    literals: Vec<Literal>,
    lists: Vec<LiteralList>,
    names: Vec<MemberName>,
    keys: Vec<Box<[Box<str>]>>,
}

impl<'t> Compiler<'t> {
    fn new(typed: &'t Typed, slots: &'t ParameterSlots) -> Self {
        Compiler {
            source: &typed.source,
            slots,
            patterns: &typed.patterns,
            slot_used: vec![false; slots.len()],
            ops: Vec::new(),
            spans: Vec::new(),
            literals: Vec::new(),
            lists: Vec::new(),
            names: Vec::new(),
            keys: Vec::new(),
        }
    }

    fn routine(&mut self, frame: &Frame) -> Routine {
        let start = self.here();
        self.block(&frame.body);
        self.push(Op::Return, Span::NONE);
        let captures = frame.captures.clone().into();
        Routine { start, parameters: frame.parameters, captures, size: frame.size }
    }

    fn here(&self) -> u32 {
        to_u32(self.ops.len())
    }

    fn push(&mut self, op: Op, span: Span) {
        self.ops.push(op);
        self.spans.push(span);
    }

    /// Pushes a jump whose target [`Compiler::patch_jump`] sets.
    fn jump(&mut self, op: Op, span: Span) -> usize {
        self.push(op, span);
        self.ops.len() - 1
    }

    /// Sets the target of the jump at `at` to the next instruction.
    fn patch_jump(&mut self, at: usize) {
        let here = self.here();
        match self.ops.get_mut(at) {
            Some(
                Op::Jump { target }
                | Op::Branch { target }
                | Op::Logical { end: target, .. }
                | Op::Try { handler: target }
                | Op::SkipNull { end: target }
                | Op::Index { end: target, .. }
                | Op::Member(MemberOp { end: target, .. }),
            ) => *target = here,
            _ => debug_assert!(false, "only jumps are patched"),
        }
    }

    fn block(&mut self, block: &Block) {
        for (slot, value) in &block.declarations {
            self.expr(value);
            self.push(Op::Store(*slot), value.span);
        }
        match &block.body {
            Body::Expr(expr) => self.expr(expr),
            Body::If { arms, otherwise } => {
                let ends = self.arms(arms, Self::block);
                self.block(otherwise);
                self.patch_jumps(ends);
            }
            Body::Try { attempt, error, handler, span } => {
                let guard = self.jump(Op::Try { handler: 0 }, *span);
                self.block(attempt);
                self.push(Op::EndTry, *span);
                let done = self.jump(Op::Jump { target: 0 }, *span);
                self.patch_jump(guard);
                match error {
                    Some(slot) => self.push(Op::Bind(*slot), *span),
                    None => self.push(Op::Drop, *span),
                }
                self.block(handler);
                self.patch_jump(done);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        let span = expr.span;
        match &expr.kind {
            ExprKind::Literal(literal) => {
                let op = match self.parameters_at(std::slice::from_ref(literal), span) {
                    Some(at) => Op::Parameter(to_u32(at)),
                    None => Op::Literal(self.literal(literal.clone())),
                };
                self.push(op, span);
            }
            ExprKind::Literals(literals) => {
                let op = match self.parameters_at(literals, span) {
                    Some(start) => {
                        Op::Parameters { start: to_u32(start), len: to_u32(literals.len()) }
                    }
                    None => {
                        self.lists.push(LiteralList::new(literals.clone().into()));
                        Op::Literals(to_u32(self.lists.len() - 1))
                    }
                };
                self.push(op, span);
            }
            ExprKind::Binding(binding) => self.push(Op::Load(*binding), span),
            ExprKind::Variable(at) => self.push(Op::Variable(*at), span),
            ExprKind::TypeOfVariable(at) => self.push(Op::TypeOfVariable(*at), span),
            ExprKind::Native(native) => self.push(Op::Native(*native), span),
            ExprKind::Template(parts) => self.template(parts, span),
            ExprKind::List(items) => {
                self.exprs(items);
                self.push(Op::List(to_u32(items.len())), span);
            }
            ExprKind::Map(entries) => {
                for (_, value) in entries {
                    self.expr(value);
                }
                self.keys.push(entries.iter().map(|(key, _)| key.clone()).collect());
                self.push(Op::Map(to_u32(self.keys.len() - 1)), span);
            }
            ExprKind::New { class, arguments } => {
                self.exprs(arguments);
                let arguments = to_u32(arguments.len());
                self.push(Op::New { class: *class, arguments }, span);
            }
            ExprKind::Unary { op, operand } => {
                self.expr(operand);
                self.push(Op::Unary(*op), span);
            }
            ExprKind::Chain { first, rest } => self.chain(first, rest),
            ExprKind::Conditional { arms, otherwise } => {
                let ends = self.arms(arms, Self::expr);
                self.expr(otherwise);
                self.patch_jumps(ends);
            }
            ExprKind::Throw(operand) => {
                self.expr(operand);
                self.push(Op::Throw, span);
            }
            ExprKind::Lambda(id) => self.push(Op::Lambda(*id), span),
            ExprKind::Access { head, links } => self.access(head, links),
        }
    }

    fn exprs(&mut self, exprs: &[Expr]) {
        for expr in exprs {
            self.expr(expr);
        }
    }

    /// The first slot of these literals, if each of them has a slot and none is a pattern.
    fn parameters_at(&mut self, literals: &[Literal], span: Span) -> Option<usize> {
        let slots = self.slots.slots_in_span(literals.len(), span)?;
        let mut pairs = slots.clone().zip(literals);
        if !pairs.all(|(at, literal)| self.is_in_slot(at, literal)) {
            debug_assert!(false, "a slot has a constant of the source");
            return None;
        }
        let is_pattern = |literal: &Literal| match literal {
            Literal::String(text) => self.patterns.iter().any(|(pattern, _)| pattern == text),
            _ => false,
        };
        if literals.iter().any(is_pattern) {
            return None;
        }
        let start = slots.start;
        self.slot_used.get_mut(slots)?.fill(true);
        Some(start)
    }

    fn is_in_slot(&self, at: usize, literal: &Literal) -> bool {
        match (self.slots.parameter(at, self.source), literal) {
            (Some(Parameter::Number(number)), Literal::Number(expected)) => {
                number.to_bits() == expected.to_bits()
            }
            (Some(Parameter::Text(text)), Literal::String(expected)) => text == &**expected,
            _ => false,
        }
    }

    /// The index of a literal in the table; equal literals share it.
    fn literal(&mut self, literal: Literal) -> u32 {
        let known = self.literals.iter().position(|known| *known == literal);
        to_u32(known.unwrap_or_else(|| {
            self.literals.push(literal);
            self.literals.len() - 1
        }))
    }

    fn name(&mut self, name: &MemberName) -> u32 {
        let known = self.names.iter().position(|known| known.text == name.text);
        to_u32(known.unwrap_or_else(|| {
            self.names.push(name.clone());
            self.names.len() - 1
        }))
    }

    fn template(&mut self, parts: &[Part], span: Span) {
        for part in parts {
            match part {
                Part::Text(text) => {
                    let at = self.literal(Literal::String(text.clone()));
                    self.push(Op::Text(at), span);
                }
                Part::Placeholder(expr) => self.expr(expr),
            }
        }
        self.push(Op::Template(to_u32(parts.len())), span);
    }

    /// Compiles conditions and their values; returns the jumps to the end.
    fn arms<T>(&mut self, arms: &[(Expr, T)], value: fn(&mut Self, &T)) -> Vec<usize> {
        let mut ends = Vec::with_capacity(arms.len());
        for (condition, then) in arms {
            self.expr(condition);
            let next = self.jump(Op::Branch { target: 0 }, condition.span);
            value(self, then);
            ends.push(self.jump(Op::Jump { target: 0 }, condition.span));
            self.patch_jump(next);
        }
        ends
    }

    fn patch_jumps(&mut self, jumps: Vec<usize>) {
        for jump in jumps {
            self.patch_jump(jump);
        }
    }

    fn chain(&mut self, first: &Expr, rest: &[crate::typed::Applied]) {
        self.expr(first);
        let mut ends = Vec::new();
        for applied in rest {
            let logical = applied.op.is_logical();
            if logical {
                ends.push(self.jump(Op::Logical { op: applied.op, end: 0 }, applied.span));
            }
            self.expr(&applied.operand);
            if !logical {
                self.push(Op::Binary(applied.op), applied.span);
            }
        }
        self.patch_jumps(ends);
    }

    fn access(&mut self, head: &Expr, links: &[Link]) {
        self.expr(head);
        let mut ends = Vec::new();
        for link in links {
            match &link.kind {
                LinkKind::Member { name, optional, called } => {
                    let (name, optional, called) = (self.name(name), *optional, *called);
                    let op = Op::Member(MemberOp { name, optional, called, end: 0 });
                    let jump = self.jump(op, link.span);
                    ends.extend(optional.then_some(jump));
                }
                LinkKind::Index { index, optional, called } => {
                    if *optional {
                        ends.push(self.jump(Op::SkipNull { end: 0 }, link.span));
                    }
                    self.expr(index);
                    let op = Op::Index { called: *called, optional: *optional, end: 0 };
                    let jump = self.jump(op, link.span);
                    ends.extend(optional.then_some(jump));
                }
                LinkKind::Call { arguments, method } => {
                    self.exprs(arguments);
                    let arguments = to_u32(arguments.len());
                    self.push(Op::Call { arguments, method: *method }, link.span);
                }
            }
        }
        self.patch_jumps(ends);
    }
}

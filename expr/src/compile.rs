//! Typed tree to program.

use std::sync::Arc;

use crate::builtin::regex::Patterns;
use crate::check::index;
use crate::constants::Constants;
use crate::predicate::Facts;
use crate::program::{MemberOp, Op, Program, Routine, Shape};
use crate::slots::Slots;
use crate::span::Span;
use crate::typed::{Block, Body, Expr, Frame, Kind, Link, LinkKind, MemberName, Part, Typed};
use crate::value::Literal;

/// Compiles a checked tree. Cannot fail: whatever is wrong with it was found before.
///
/// The second part tells whether any source of the same shape means the same, its constants apart.
pub(crate) fn compile(typed: &Typed) -> (Program, bool) {
    let slots = Slots::of(&typed.source);
    let constants = slots.constants(&typed.source);
    let (found, is_confirmed) = shape(typed, slots);
    match constants {
        Some(constants) if is_confirmed => (Program { shape: Arc::new(found), constants }, true),
        _ => {
            let (alone, _) = shape(typed, Slots::default());
            (Program { shape: Arc::new(alone), constants: Constants::default() }, false)
        }
    }
}

/// The shape with these slots, and whether each of them is a constant that only evaluation reads.
fn shape(typed: &Typed, slots: Slots) -> (Shape, bool) {
    let mut compiler = Compiler::new(typed, &slots);
    let main = compiler.routine(&typed.main);
    let lambdas = typed.lambdas.iter().map(|lambda| compiler.routine(lambda)).collect();
    let is_confirmed = compiler.taken.iter().all(|taken| *taken);
    let facts = Facts::of(typed, &slots);
    let shape = Shape {
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
    (shape, is_confirmed)
}

struct Compiler<'t> {
    slots: &'t Slots,
    /// Texts that the checker compiled as patterns.
    patterns: &'t Patterns,
    /// Which slots became constants.
    taken: Vec<bool>,
    ops: Vec<Op>,
    spans: Vec<Span>,
    literals: Vec<Literal>,
    lists: Vec<Box<[Literal]>>,
    names: Vec<MemberName>,
    keys: Vec<Box<[Box<str>]>>,
}

impl<'t> Compiler<'t> {
    fn new(typed: &'t Typed, slots: &'t Slots) -> Self {
        Compiler {
            slots,
            patterns: &typed.patterns,
            taken: vec![false; slots.len()],
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
        index(self.ops.len())
    }

    fn push(&mut self, op: Op, span: Span) {
        self.ops.push(op);
        self.spans.push(span);
    }

    /// Pushes an instruction whose target [`Compiler::land`] fills in.
    fn jump(&mut self, op: Op, span: Span) -> usize {
        self.push(op, span);
        self.ops.len() - 1
    }

    /// Lets the jump at `at` lead here.
    fn land(&mut self, at: usize) {
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
            _ => debug_assert!(false, "only jumps land"),
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
                self.land_all(ends);
            }
            Body::Try { attempt, error, handler, span } => {
                let guard = self.jump(Op::Try { handler: 0 }, *span);
                self.block(attempt);
                self.push(Op::EndTry, *span);
                let done = self.jump(Op::Jump { target: 0 }, *span);
                self.land(guard);
                match error {
                    Some(slot) => self.push(Op::Bind(*slot), *span),
                    None => self.push(Op::Drop, *span),
                }
                self.block(handler);
                self.land(done);
            }
        }
    }

    fn expr(&mut self, expr: &Expr) {
        let span = expr.span;
        match &expr.kind {
            Kind::Literal(literal) => {
                let op = match self.constants(std::slice::from_ref(literal), span) {
                    Some(at) => Op::Constant(index(at)),
                    None => Op::Literal(self.literal(literal.clone())),
                };
                self.push(op, span);
            }
            Kind::Literals(literals) => {
                let op = match self.constants(literals, span) {
                    Some(start) => {
                        Op::Constants { start: index(start), len: index(literals.len()) }
                    }
                    None => {
                        self.lists.push(literals.clone().into());
                        Op::Literals(index(self.lists.len() - 1))
                    }
                };
                self.push(op, span);
            }
            Kind::Place(place) => self.push(Op::Load(*place), span),
            Kind::Variable(at) => self.push(Op::Variable(*at), span),
            Kind::TypeOfVariable(at) => self.push(Op::TypeOfVariable(*at), span),
            Kind::Native(native) => self.push(Op::Native(*native), span),
            Kind::Template(parts) => self.template(parts, span),
            Kind::List(items) => {
                self.exprs(items);
                self.push(Op::List(index(items.len())), span);
            }
            Kind::Map(entries) => {
                for (_, value) in entries {
                    self.expr(value);
                }
                self.keys.push(entries.iter().map(|(key, _)| key.clone()).collect());
                self.push(Op::Map(index(self.keys.len() - 1)), span);
            }
            Kind::New { class, arguments } => {
                self.exprs(arguments);
                let arguments = index(arguments.len());
                self.push(Op::New { class: *class, arguments }, span);
            }
            Kind::Unary { op, operand } => {
                self.expr(operand);
                self.push(Op::Unary(*op), span);
            }
            Kind::Chain { first, rest } => self.chain(first, rest),
            Kind::Conditional { arms, otherwise } => {
                let ends = self.arms(arms, Self::expr);
                self.expr(otherwise);
                self.land_all(ends);
            }
            Kind::Throw(operand) => {
                self.expr(operand);
                self.push(Op::Throw, span);
            }
            Kind::Lambda(id) => self.push(Op::Lambda(*id), span),
            Kind::Access { head, links } => self.access(head, links),
        }
    }

    fn exprs(&mut self, exprs: &[Expr]) {
        for expr in exprs {
            self.expr(expr);
        }
    }

    /// The first of the slots that these literals stand in, if they do, and none is a pattern.
    fn constants(&mut self, literals: &[Literal], span: Span) -> Option<usize> {
        let slots = self.slots.holding(literals.len(), span)?;
        let is_pattern = |literal: &Literal| match literal {
            Literal::String(text) => self.patterns.iter().any(|(pattern, _)| pattern == text),
            _ => false,
        };
        if literals.iter().any(is_pattern) {
            return None;
        }
        let start = slots.start;
        self.taken.get_mut(slots)?.fill(true);
        Some(start)
    }

    /// The place of a literal in the table; equal ones share it.
    fn literal(&mut self, literal: Literal) -> u32 {
        let known = self.literals.iter().position(|known| *known == literal);
        index(known.unwrap_or_else(|| {
            self.literals.push(literal);
            self.literals.len() - 1
        }))
    }

    fn name(&mut self, name: &MemberName) -> u32 {
        let known = self.names.iter().position(|known| known.text == name.text);
        index(known.unwrap_or_else(|| {
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
        self.push(Op::Template(index(parts.len())), span);
    }

    /// Conditions and what they lead to.
    fn arms<T>(&mut self, arms: &[(Expr, T)], value: fn(&mut Self, &T)) -> Vec<usize> {
        let mut ends = Vec::with_capacity(arms.len());
        for (condition, then) in arms {
            self.expr(condition);
            let next = self.jump(Op::Branch { target: 0 }, condition.span);
            value(self, then);
            ends.push(self.jump(Op::Jump { target: 0 }, condition.span));
            self.land(next);
        }
        ends
    }

    fn land_all(&mut self, jumps: Vec<usize>) {
        for jump in jumps {
            self.land(jump);
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
        self.land_all(ends);
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
                    let arguments = index(arguments.len());
                    self.push(Op::Call { arguments, method: *method }, link.span);
                }
            }
        }
        self.land_all(ends);
    }
}

//! The compiled form: one flat row of instructions for a stack machine, the tables they refer to,
//! and the parameters of one filter. Immutable, and shared between threads.

use std::sync::Arc;

use crate::ast::{BinaryOp, UnaryOp};
use crate::budget::FrameSize;
use crate::builtin::pattern::Pattern;
use crate::parameter_slots::ParameterSlots;
use crate::parameters::Parameters;
use crate::predicate::{Facts, TemplateOperand};
use crate::span::Span;
use crate::typed::{Binding, MemberName};
use crate::value::{Constructor, Literal, Native};

/// A compiled expression: what it has in common with those that differ from it only in parameters,
/// and its own.
#[derive(Debug)]
pub struct Program {
    pub(crate) template: Arc<ProgramTemplate>,
    pub(crate) parameters: Parameters,
}

/// What expressions that differ only in parameters have in common.
#[derive(Debug)]
pub(crate) struct ProgramTemplate {
    /// The expression that was compiled, with its own parameters.
    pub(crate) source: Box<str>,
    /// Where the parameters stand in it.
    pub(crate) slots: ParameterSlots,
    pub(crate) ops: Box<[Op]>,
    /// Where each instruction comes from.
    pub(crate) spans: Box<[Span]>,
    pub(crate) literals: Box<[Literal]>,
    pub(crate) lists: Box<[Box<[Literal]>]>,
    pub(crate) names: Box<[MemberName]>,
    /// Keys of map literals.
    pub(crate) keys: Box<[Box<[Box<str>]>]>,
    pub(crate) variables: Box<[Box<str>]>,
    pub(crate) main: Routine,
    pub(crate) lambdas: Box<[Routine]>,
    /// Patterns written in the source, compiled once.
    pub(crate) patterns: Box<[(Box<str>, Arc<Pattern>)]>,
    pub(crate) facts: Facts<TemplateOperand, TemplateOperand>,
}

/// A function body among the instructions.
#[derive(Debug)]
pub(crate) struct Routine {
    pub(crate) start: u32,
    pub(crate) parameters: u32,
    pub(crate) captures: Box<[Binding]>,
    pub(crate) size: FrameSize,
}

/// An instruction. Operands are taken from the stack, results pushed on it.
///
/// Each charges the steps of the nodes it stands for, after its operands, exactly as
/// [`crate::naive`] does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Pushes a literal.
    Literal(u32),
    /// Pushes a piece of template text, which is no node of its own.
    Text(u32),
    /// Pushes a list of literals.
    Literals(u32),
    /// Pushes a parameter of the filter.
    Parameter(u32),
    /// Pushes a list of them.
    Parameters {
        start: u32,
        len: u32,
    },
    Load(Binding),
    /// Pops into a slot.
    Store(u32),
    Variable(u32),
    TypeOfVariable(u32),
    Native(Native),
    Lambda(u32),
    /// Replaces a receiver by its member.
    Member(MemberOp),
    /// Goes on to `end` with null if the receiver is null, for `?.[`.
    SkipNull {
        end: u32,
    },
    /// Replaces a receiver and an index by the element.
    Index {
        called: bool,
        optional: bool,
        end: u32,
    },
    /// Replaces a callee and its arguments by the result; beneath a method's callee stands its
    /// receiver.
    Call {
        arguments: u32,
        method: bool,
    },
    New {
        class: Constructor,
        arguments: u32,
    },
    Unary(UnaryOp),
    Binary(BinaryOp),
    /// Goes on to `end` if the value on the stack settles the operator, else drops it.
    Logical {
        op: BinaryOp,
        end: u32,
    },
    Template(u32),
    List(u32),
    Map(u32),
    /// Pops; goes on to `target` unless it was truthy.
    Branch {
        target: u32,
    },
    Jump {
        target: u32,
    },
    Throw,
    /// Sends faults to `handler` from here on.
    Try {
        handler: u32,
    },
    /// Ends the innermost `Try`.
    EndTry,
    /// Pops the error a handler names, which is no declaration and costs nothing.
    Bind(u32),
    /// Drops the error that a handler does not name.
    Drop,
    Return,
}

/// How a member is read.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberOp {
    pub(crate) name: u32,
    pub(crate) optional: bool,
    /// A call follows: the receiver stays beneath the callee.
    pub(crate) called: bool,
    /// Where an optional chain goes on when it gives up.
    pub(crate) end: u32,
}

impl Program {
    /// The source it was compiled from, put together anew.
    pub fn source(&self) -> String {
        self.template.source_with(&self.parameters)
    }

    /// Length of the source in UTF-8 bytes.
    pub fn source_len(&self) -> usize {
        let whole = Span::new(0, self.template.source.len());
        self.template
            .slots
            .relocate(whole, &self.template.slots.offset_shifts(&self.parameters))
            .end as usize
    }

    /// Whether it was compiled from `source`.
    pub fn is_of(&self, source: &str) -> bool {
        self.template.slots.matches_source(&self.template.source, &self.parameters, source)
    }

    /// Whether both differ at most in their parameters, and hold everything else in common.
    pub fn shares_template(&self, other: &Program) -> bool {
        Arc::ptr_eq(&self.template, &other.template)
    }

    /// What a matcher can know about the expression without running it. Made anew.
    pub fn facts(&self) -> Facts {
        self.template.facts.with_parameters(&self.parameters)
    }

    /// Whether the outcome may depend on `event.selfGenerated`, see [`Facts`].
    pub fn reads_self_generated(&self) -> bool {
        self.template.facts.reads_self_generated
    }

    /// Bytes on the heap that no other program shares.
    pub fn own_heap_bytes(&self) -> usize {
        self.parameters.heap_bytes()
    }

    /// Bytes on the heap, the template included.
    pub fn heap_bytes(&self) -> usize {
        self.own_heap_bytes() + size_of::<ProgramTemplate>() + self.template.heap_bytes()
    }
}

impl ProgramTemplate {
    /// The source of the program with these parameters.
    pub(crate) fn source_with(&self, parameters: &Parameters) -> String {
        self.slots.fill(&self.source, parameters)
    }

    fn heap_bytes(&self) -> usize {
        let literal = |literal: &Literal| {
            size_of::<Literal>() + if let Literal::String(text) = literal { text.len() } else { 0 }
        };
        let text = |text: &str| size_of::<Box<str>>() + text.len();
        let lists = self.lists.iter().flat_map(|list| list.iter());
        let keys = self.keys.iter().flat_map(|keys| keys.iter());
        self.source.len()
            + self.slots.heap_bytes()
            + size_of_val(&*self.ops)
            + size_of_val(&*self.spans)
            + self.literals.iter().chain(lists).map(literal).sum::<usize>()
            + self.names.iter().map(|n| size_of::<MemberName>() + n.text.len()).sum::<usize>()
            + keys.chain(&self.variables).map(|name| text(name)).sum::<usize>()
            + size_of_val(&*self.lambdas)
            + self.patterns.iter().map(|(_, pattern)| pattern.heap_bytes()).sum::<usize>()
            + self.facts.heap_bytes()
    }
}

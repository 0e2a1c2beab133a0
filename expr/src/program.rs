//! The compiled form: one flat row of instructions for a stack machine, the tables they refer to,
//! and the constants of one filter. Immutable, and shared between threads.

use std::sync::Arc;

use crate::ast::{BinaryOp, UnaryOp};
use crate::builtin::pattern::Pattern;
use crate::constants::Constants;
use crate::meter::FrameSize;
use crate::predicate::{Facts, Operand};
use crate::slots::Slots;
use crate::span::Span;
use crate::typed::{MemberName, Place};
use crate::value::{Class, Literal, Native};

/// A compiled expression: what it has in common with those that differ from it only in constants,
/// and its own.
#[derive(Debug)]
pub struct Program {
    pub(crate) shape: Arc<Shape>,
    pub(crate) constants: Constants,
}

/// What expressions that differ only in constants have in common.
#[derive(Debug)]
pub(crate) struct Shape {
    /// The expression that was compiled, with its own constants.
    pub(crate) source: Box<str>,
    /// Where the constants stand in it.
    pub(crate) slots: Slots,
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
    pub(crate) facts: Facts<Operand, Operand>,
}

/// A function body among the instructions.
#[derive(Debug)]
pub(crate) struct Routine {
    pub(crate) start: u32,
    pub(crate) parameters: u32,
    pub(crate) captures: Box<[Place]>,
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
    /// Pushes a constant of the filter.
    Constant(u32),
    /// Pushes a list of them.
    Constants {
        start: u32,
        len: u32,
    },
    Load(Place),
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
        class: Class,
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
        self.shape.source_with(&self.constants)
    }

    /// Length of the source in UTF-8 bytes.
    pub fn source_len(&self) -> usize {
        let whole = Span::new(0, self.shape.source.len());
        self.shape.slots.moved(whole, &self.shape.slots.shifts(&self.constants)).end as usize
    }

    /// Whether it was compiled from `source`.
    pub fn is_of(&self, source: &str) -> bool {
        self.shape.slots.is_filled(&self.shape.source, &self.constants, source)
    }

    /// Whether both differ at most in their constants, and hold everything else in common.
    pub fn shares_shape(&self, other: &Program) -> bool {
        Arc::ptr_eq(&self.shape, &other.shape)
    }

    /// What a matcher can know about the expression without running it. Made anew.
    pub fn facts(&self) -> Facts {
        self.shape.facts.filled(&self.constants)
    }

    /// Whether the outcome may depend on `event.selfGenerated`, see [`Facts`].
    pub fn reads_self_generated(&self) -> bool {
        self.shape.facts.reads_self_generated
    }

    /// Bytes on the heap that no other program shares.
    pub fn own_heap_bytes(&self) -> usize {
        self.constants.heap_bytes()
    }

    /// Bytes on the heap, the shape included.
    pub fn heap_bytes(&self) -> usize {
        self.own_heap_bytes() + size_of::<Shape>() + self.shape.heap_bytes()
    }
}

impl Shape {
    /// The source of the program with these constants.
    pub(crate) fn source_with(&self, constants: &Constants) -> String {
        self.slots.filled(&self.source, constants)
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

//! The compiled form: a flat instruction sequence for a stack machine, its tables, and the
//! parameters of one filter. Immutable, and shared between threads.

use std::sync::Arc;

use crate::ast::{BinaryOp, UnaryOp};
use crate::budget::FrameSize;
use crate::builtin::regexp::Pattern;
use crate::lex::{TokenKind, lex};
use crate::parameter_slots::ParameterSlots;
use crate::parameters::Parameters;
use crate::parse::parse;
use crate::predicate::{Conjunct, Facts, IndexSize, TemplateOperand};
use crate::span::Span;
use crate::typed::{Binding, MemberName};
use crate::value::{Constructor, Literal, LiteralList, Native};

/// A compiled expression: a template, which it shares with expressions that differ only in
/// parameters, and its own parameters.
#[derive(Debug)]
pub struct Program {
    pub(crate) template: Arc<ProgramTemplate>,
    pub(crate) parameters: Parameters,
}

/// The shared part of expressions that differ only in parameters.
#[derive(Debug)]
pub(crate) struct ProgramTemplate {
    /// The source that was compiled, with its own parameters.
    pub(crate) source: Box<str>,
    /// The positions of the parameters in the source.
    pub(crate) slots: ParameterSlots,
    pub(crate) ops: Box<[Op]>,
    /// The source span of each instruction.
    pub(crate) spans: Box<[Span]>,
    pub(crate) literals: Box<[Literal]>,
    pub(crate) lists: Box<[LiteralList]>,
    pub(crate) names: Box<[MemberName]>,
    /// Keys of map literals.
    pub(crate) keys: Box<[Box<[Box<str>]>]>,
    pub(crate) variables: Box<[Box<str>]>,
    pub(crate) main: Routine,
    pub(crate) lambdas: Box<[Routine]>,
    /// Regular expression literals of the source, compiled once.
    pub(crate) patterns: Box<[(Box<str>, Arc<Pattern>)]>,
    pub(crate) facts: Facts<TemplateOperand, TemplateOperand>,
}

/// A function body in the instruction sequence.
#[derive(Debug)]
pub(crate) struct Routine {
    pub(crate) start: u32,
    pub(crate) parameters: u32,
    pub(crate) captures: Box<[Binding]>,
    pub(crate) size: FrameSize,
}

/// An instruction. It pops its operands from the stack and pushes its result.
///
/// Each instruction charges the steps of the nodes it implements after its operands, exactly as
/// [`crate::naive`] does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Op {
    /// Pushes a literal.
    Literal(u32),
    /// Pushes a text part of a template, which is not a node.
    Text(u32),
    /// Pushes a list of literals.
    Literals(u32),
    /// Pushes a parameter of the filter.
    Parameter(u32),
    /// Pushes a list of `len` parameters.
    Parameters {
        start: u32,
        len: u32,
    },
    Load(Binding),
    /// Pops a value into a slot.
    Store(u32),
    Variable(u32),
    TypeOfVariable(u32),
    Native(Native),
    Lambda(u32),
    /// Replaces a receiver by its member.
    Member(MemberOp),
    /// Jumps to `end` with null if the receiver is null, for `?.[`.
    SkipNull {
        end: u32,
    },
    /// Replaces a receiver and an index by the element.
    Index {
        called: bool,
        optional: bool,
        end: u32,
    },
    /// Replaces a callee and its arguments by the result. The receiver of a method is below its
    /// callee on the stack.
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
    /// Jumps to `end` if the value on the stack decides the operator, otherwise pops it.
    Logical {
        op: BinaryOp,
        end: u32,
    },
    Template(u32),
    List(u32),
    Map(u32),
    /// Pops a value and jumps to `target` if it is falsy.
    Branch {
        target: u32,
    },
    Jump {
        target: u32,
    },
    Throw,
    /// Installs `handler` for errors.
    Try {
        handler: u32,
    },
    /// Removes the innermost handler.
    EndTry,
    /// Pops the caught error into a slot, without the step of a declaration.
    Bind(u32),
    /// Pops a caught error that the handler does not name.
    Drop,
    Return,
}

/// The operands of a member access.
#[derive(Clone, Copy, Debug)]
pub(crate) struct MemberOp {
    pub(crate) name: u32,
    pub(crate) optional: bool,
    /// Whether a call follows; the receiver then stays below the callee.
    pub(crate) called: bool,
    /// The jump target if `?.` ends the chain.
    pub(crate) end: u32,
}

impl Program {
    /// The program of a template with these parameters.
    pub(crate) fn new(template: Arc<ProgramTemplate>, parameters: Parameters) -> Program {
        let lists = template.ops.iter().filter_map(|op| match op {
            Op::Parameters { start, len } => Some((*start, *len)),
            _ => None,
        });
        // Functions follow the main routine, but may be in front of its lists in the source.
        let mut lists: Vec<(u32, u32)> = lists.collect();
        lists.sort_unstable();
        let parameters = parameters.with_tables(lists.into_iter());
        Program { template, parameters }
    }

    /// Returns the source. It is built on each call.
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

    /// Whether the program was compiled from `source`.
    pub fn is_of(&self, source: &str) -> bool {
        self.template.slots.matches_source(&self.template.source, &self.parameters, source)
    }

    /// Whether both programs share one template, that is, differ at most in their parameters.
    pub fn shares_template(&self, other: &Program) -> bool {
        Arc::ptr_eq(&self.template, &other.template)
    }

    /// Returns the facts that a matcher can use without evaluating. They are built on each call.
    pub fn facts(&self) -> Facts {
        self.template.facts.with_parameters(&self.parameters)
    }

    /// What an index of the condition would hold.
    pub fn index_size(&self) -> IndexSize {
        self.template.facts.index_size
    }

    /// Returns the conjuncts in the order of [`crate::Condition::operands`] of its condition: the
    /// whole expression if it has no top-level `&&`, none if it starts with declarations. They are
    /// built on each call.
    pub fn conjuncts(&self) -> Vec<Conjunct> {
        let tree = parse(&self.source());
        debug_assert!(tree.is_ok(), "the source of a program is an expression");
        let tree = tree.ok();
        let conjuncts = tree.iter().flat_map(|tree| tree.conjuncts());
        conjuncts.map(|expr| conjunct(expr.to_string())).collect()
    }

    /// Whether the result may depend on the app that registered it, see [`Facts`].
    pub fn is_app_specific(&self) -> bool {
        self.template.facts.is_app_specific
    }

    /// Heap bytes that the program does not share.
    pub fn own_heap_bytes(&self) -> usize {
        self.parameters.heap_bytes()
    }

    /// Heap bytes, including the shared template.
    pub fn heap_bytes(&self) -> usize {
        self.own_heap_bytes() + size_of::<ProgramTemplate>() + self.template.heap_bytes()
    }
}

fn conjunct(source: String) -> Conjunct {
    let tokens = lex(&source).tokens;
    let functions = tokens.iter().filter(|token| token.kind == TokenKind::Punct("=>")).count();
    Conjunct { source, functions }
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
        let lists = self.lists.iter().flat_map(|list| list.literals.iter());
        let keys = self.keys.iter().flat_map(|keys| keys.iter());
        self.source.len()
            + self.slots.heap_bytes()
            + size_of_val(&*self.ops)
            + size_of_val(&*self.spans)
            + self.literals.iter().chain(lists).map(literal).sum::<usize>()
            + self.names.iter().map(|n| size_of::<MemberName>() + n.text.len()).sum::<usize>()
            + keys.chain(&self.variables).map(|name| text(name)).sum::<usize>()
            + self.lists.iter().map(LiteralList::table_bytes).sum::<usize>()
            + size_of_val(&*self.lambdas)
            + self.patterns.iter().map(|(_, pattern)| pattern.heap_bytes()).sum::<usize>()
            + self.facts.heap_bytes()
    }
}

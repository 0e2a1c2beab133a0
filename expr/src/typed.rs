//! The typed tree: names resolved to slots, member names to builtins, static types inferred.

use crate::ast::{BinaryOp, UnaryOp};
use crate::budget::FrameSize;
use crate::builtin::Member;
use crate::builtin::regexp::Patterns;
use crate::span::Span;
use crate::value::{Constructor, Literal, Native, Type};

/// A checked program.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) source: Box<str>,
    pub(crate) main: Frame,
    /// Arrow functions, by index.
    pub(crate) lambdas: Vec<Frame>,
    /// Free names, each once.
    pub(crate) variables: Vec<Box<str>>,
    /// Regular expression literals, compiled, each once.
    pub(crate) patterns: Patterns,
}

/// A function body, or the program itself, with its number of slots.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The first slots hold the parameters.
    pub(crate) parameters: u32,
    /// Where the values of captured names are when the function is created.
    pub(crate) captures: Vec<Binding>,
    pub(crate) body: Block,
    pub(crate) size: FrameSize,
}

/// The location of a declared name.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Binding {
    /// A slot of the running function.
    Local(u32),
    /// A captured value of the running function.
    Captured(u32),
}

/// Declarations, each with its slot, and a body.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) declarations: Vec<(u32, Expr)>,
    pub(crate) body: Body,
}

/// The body of a block.
#[derive(Debug)]
pub(crate) enum Body {
    Expr(Expr),
    If { arms: Vec<(Expr, Block)>, otherwise: Box<Block> },
    Try { attempt: Box<Block>, error: Option<u32>, handler: Box<Block>, span: Span },
}

/// An expression.
#[derive(Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
    /// The type of all values of the expression, if it is known.
    pub(crate) ty: Option<Type>,
}

/// The kind of an expression, with its parts.
#[derive(Debug)]
pub(crate) enum ExprKind {
    Literal(Literal),
    /// A list of literals only.
    Literals(Vec<Literal>),
    Binding(Binding),
    /// A free name.
    Variable(u32),
    /// `typeof` of a free name, which may be undefined.
    TypeOfVariable(u32),
    Native(Native),
    Template(Vec<Part>),
    List(Vec<Expr>),
    Map(Vec<(Box<str>, Expr)>),
    New {
        class: Constructor,
        arguments: Vec<Expr>,
    },
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    Chain {
        first: Box<Expr>,
        rest: Vec<Applied>,
    },
    Conditional {
        arms: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Throw(Box<Expr>),
    Lambda(u32),
    Access {
        head: Box<Expr>,
        links: Vec<Link>,
    },
}

/// A part of a template.
#[derive(Debug)]
pub(crate) enum Part {
    Text(Box<str>),
    Placeholder(Expr),
}

/// An operator with its right operand. The span covers both operands.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) op: BinaryOp,
    pub(crate) operand: Expr,
    pub(crate) span: Span,
}

/// A link of a member chain. The span covers the chain from its head to this link.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    pub(crate) span: Span,
    /// The link alone, from its `.`, bracket or parenthesis on.
    pub(crate) at: Span,
}

/// The kind of a link.
#[derive(Debug)]
pub(crate) enum LinkKind {
    /// `.name`, `?.name`, `['name']`
    Member { name: MemberName, optional: bool, called: bool },
    /// `[index]`, `?.[index]`
    Index { index: Box<Expr>, optional: bool, called: bool },
    /// `(arguments)`; `method` if it follows a member or index.
    Call { arguments: Vec<Expr>, method: bool },
}

/// A member name and the builtin of that name, if there is one.
#[derive(Clone, Debug)]
pub(crate) struct MemberName {
    pub(crate) text: Box<str>,
    pub(crate) member: Option<Member>,
}

//! What an expression means: names resolved to slots, member names to builtins, static types.

use crate::ast::{BinaryOp, UnaryOp};
use crate::budget::FrameSize;
use crate::builtin::regex::Patterns;
use crate::span::Span;
use crate::value::{Constructor, Literal, Member, Native, Type};

/// A checked program.
#[derive(Debug)]
pub(crate) struct Typed {
    pub(crate) source: Box<str>,
    pub(crate) main: Frame,
    /// Arrow functions, referred to by their place here.
    pub(crate) lambdas: Vec<Frame>,
    /// Free names, each once.
    pub(crate) variables: Vec<Box<str>>,
    /// Patterns that stand in the source, compiled, each once.
    pub(crate) patterns: Patterns,
}

/// A function body, or the program itself, with the slots its names live in.
#[derive(Debug)]
pub(crate) struct Frame {
    /// The first slots hold the parameters.
    pub(crate) parameters: u32,
    /// Where the values of outer names are found when the function is made.
    pub(crate) captures: Vec<Binding>,
    pub(crate) body: Block,
    pub(crate) size: FrameSize,
}

/// Where a declared name lives.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Binding {
    /// A slot of the running function.
    Local(u32),
    /// A value that the running function closes over.
    Captured(u32),
}

/// Declarations, each with its slot, and what they are for.
#[derive(Debug)]
pub(crate) struct Block {
    pub(crate) declarations: Vec<(u32, Expr)>,
    pub(crate) body: Body,
}

/// What a block yields.
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
    /// The type of every value this can yield, where that is certain.
    pub(crate) ty: Option<Type>,
}

/// What an expression is.
#[derive(Debug)]
pub(crate) enum ExprKind {
    Literal(Literal),
    /// A list of literals only.
    Literals(Vec<Literal>),
    Binding(Binding),
    /// A free name.
    Variable(u32),
    /// `typeof` of a free name, which need not exist.
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

/// A piece of a template.
#[derive(Debug)]
pub(crate) enum Part {
    Text(Box<str>),
    Placeholder(Expr),
}

/// An operator with its right operand. The span covers all that it is applied to.
#[derive(Debug)]
pub(crate) struct Applied {
    pub(crate) op: BinaryOp,
    pub(crate) operand: Expr,
    pub(crate) span: Span,
}

/// A step of a member chain. The span covers the chain from its head up to here.
#[derive(Debug)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    pub(crate) span: Span,
    /// The step alone, from its `.`, bracket or parenthesis on.
    pub(crate) at: Span,
}

/// What a step of a member chain does.
#[derive(Debug)]
pub(crate) enum LinkKind {
    /// `.name`, `?.name`, `['name']`
    Member { name: MemberName, optional: bool, called: bool },
    /// `[index]`, `?.[index]`
    Index { index: Box<Expr>, optional: bool, called: bool },
    /// `(arguments)`; `method` if a member or index stands before it.
    Call { arguments: Vec<Expr>, method: bool },
}

/// A member name and the builtin it may mean.
#[derive(Clone, Debug)]
pub(crate) struct MemberName {
    pub(crate) text: Box<str>,
    pub(crate) member: Option<Member>,
}

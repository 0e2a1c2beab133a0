//! The syntax tree: nodes with spans.
//!
//! Operators of one precedence, links of one member chain and branches of one conditional are flat
//! lists. A source of 10,000 characters may hold thousands of them; visitors and `drop` recurse
//! only as deep as brackets and precedence nest.

mod display;

pub use display::quoted;

use crate::span::Span;

/// An expression.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Expr {
    pub(crate) kind: ExprKind,
    pub(crate) span: Span,
    /// Number of nodes on the longest path to a leaf.
    pub(crate) height: u16,
}

/// The kind of an expression, with its parts.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum ExprKind {
    Null,
    Bool(bool),
    Number(f64),
    String(Box<str>),
    Template(Vec<TemplatePart>),
    Name(Box<str>),
    List(Vec<Expr>),
    Map(Vec<(Box<str>, Expr)>),
    New {
        class: Name,
        arguments: Vec<Expr>,
    },
    Unary {
        op: UnaryOp,
        operand: Box<Expr>,
    },
    /// Operators of one precedence, applied from the left.
    Chain {
        first: Box<Expr>,
        rest: Vec<Applied>,
    },
    /// `a ? b : c ? d : e` has two arms.
    Conditional {
        arms: Vec<(Expr, Expr)>,
        otherwise: Box<Expr>,
    },
    Throw(Box<Expr>),
    Lambda {
        parameters: Vec<Name>,
        body: Box<Sequence>,
    },
    /// A head followed by members and calls. Parentheses end it.
    Access {
        head: Box<Expr>,
        links: Vec<Link>,
    },
}

/// A name and its span.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Name {
    pub(crate) text: Box<str>,
    pub(crate) span: Span,
}

/// A part of a template.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum TemplatePart {
    Text(Box<str>),
    Placeholder(Expr),
}

/// An operator and its right operand.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Applied {
    pub(crate) op: BinaryOp,
    pub(crate) op_span: Span,
    pub(crate) operand: Expr,
}

/// A link of a member chain.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Link {
    pub(crate) kind: LinkKind,
    /// From the `.`, bracket or parenthesis on.
    pub(crate) span: Span,
}

/// The kind of a link.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum LinkKind {
    /// `.name`, `?.name`
    Member { name: Name, optional: bool },
    /// `[index]`, `?.[index]`
    Index { index: Box<Expr>, optional: bool },
    /// `(arguments)`
    Call(Vec<Expr>),
}

/// Declarations and a body.
#[derive(Clone, PartialEq, Debug)]
pub(crate) struct Sequence {
    pub(crate) declarations: Vec<(Name, Expr)>,
    pub(crate) body: Body,
    pub(crate) height: u16,
}

impl Sequence {
    /// The operands of the top-level `&&`, from left to right; empty if there are declarations.
    pub(crate) fn conjuncts(&self) -> Vec<&Expr> {
        fn collect<'t>(expr: &'t Expr, out: &mut Vec<&'t Expr>) {
            match &expr.kind {
                ExprKind::Chain { first, rest }
                    if rest.iter().all(|applied| applied.op == BinaryOp::And) =>
                {
                    collect(first, out);
                    rest.iter().for_each(|applied| collect(&applied.operand, out));
                }
                _ => out.push(expr),
            }
        }
        let mut out = Vec::new();
        if let (Body::Expr(expr), []) = (&self.body, &*self.declarations) {
            collect(expr, &mut out);
        }
        out
    }
}

/// The body of a sequence.
#[derive(Clone, PartialEq, Debug)]
pub(crate) enum Body {
    Expr(Expr),
    If { arms: Vec<(Expr, Sequence)>, otherwise: Box<Sequence> },
    Try { attempt: Box<Sequence>, error: Option<Name>, handler: Box<Sequence>, span: Span },
}

/// A prefix operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum UnaryOp {
    /// `!`
    Not,
    /// `-`
    Negate,
    /// `typeof`
    TypeOf,
}

/// An infix operator.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum BinaryOp {
    /// `??`
    Coalesce,
    /// `||`
    Or,
    /// `&&`
    And,
    /// `==`
    Equal,
    /// `!=`
    NotEqual,
    /// `<`
    Less,
    /// `>`
    Greater,
    /// `<=`
    LessOrEqual,
    /// `>=`
    GreaterOrEqual,
    /// `+`
    Add,
    /// `-`
    Subtract,
    /// `*`
    Multiply,
    /// `/`
    Divide,
    /// `%`
    Remainder,
}

impl BinaryOp {
    /// All operators with their symbols.
    pub(crate) const ALL: [(&'static str, BinaryOp); 14] = [
        ("??", BinaryOp::Coalesce),
        ("||", BinaryOp::Or),
        ("&&", BinaryOp::And),
        ("==", BinaryOp::Equal),
        ("!=", BinaryOp::NotEqual),
        ("<", BinaryOp::Less),
        (">", BinaryOp::Greater),
        ("<=", BinaryOp::LessOrEqual),
        (">=", BinaryOp::GreaterOrEqual),
        ("+", BinaryOp::Add),
        ("-", BinaryOp::Subtract),
        ("*", BinaryOp::Multiply),
        ("/", BinaryOp::Divide),
        ("%", BinaryOp::Remainder),
    ];

    /// The symbol in the source.
    pub(crate) fn symbol(self) -> &'static str {
        BinaryOp::ALL.iter().find(|(_, op)| *op == self).map_or("", |(sign, _)| sign)
    }

    /// Whether it may skip its right operand.
    pub(crate) fn is_logical(self) -> bool {
        matches!(self, BinaryOp::And | BinaryOp::Or | BinaryOp::Coalesce)
    }

    /// Binding strength; `??` binds least.
    pub(crate) fn precedence(self) -> u8 {
        match self {
            BinaryOp::Coalesce => 0,
            BinaryOp::Or => 1,
            BinaryOp::And => 2,
            BinaryOp::Equal | BinaryOp::NotEqual => 3,
            BinaryOp::Less
            | BinaryOp::Greater
            | BinaryOp::LessOrEqual
            | BinaryOp::GreaterOrEqual => 4,
            BinaryOp::Add | BinaryOp::Subtract => 5,
            BinaryOp::Multiply | BinaryOp::Divide | BinaryOp::Remainder => 6,
        }
    }
}

impl Expr {
    /// Creates a node; its height follows from the parts of `kind`.
    pub(crate) fn new(kind: ExprKind, span: Span) -> Expr {
        let height = kind.height().saturating_add(1);
        Expr { kind, span, height }
    }
}

fn highest<'e>(expressions: impl IntoIterator<Item = &'e Expr>) -> u16 {
    expressions.into_iter().map(|expr| expr.height).max().unwrap_or(0)
}

impl ExprKind {
    fn height(&self) -> u16 {
        match self {
            ExprKind::Null
            | ExprKind::Bool(_)
            | ExprKind::Number(_)
            | ExprKind::String(_)
            | ExprKind::Name(_) => 0,
            ExprKind::Template(parts) => highest(parts.iter().filter_map(|part| match part {
                TemplatePart::Text(_) => None,
                TemplatePart::Placeholder(expr) => Some(expr),
            })),
            ExprKind::List(items) | ExprKind::New { arguments: items, .. } => highest(items),
            ExprKind::Map(entries) => highest(entries.iter().map(|(_, value)| value)),
            ExprKind::Unary { operand, .. } | ExprKind::Throw(operand) => operand.height,
            ExprKind::Chain { first, rest } => {
                first.height.max(highest(rest.iter().map(|applied| &applied.operand)))
            }
            ExprKind::Conditional { arms, otherwise } => arms
                .iter()
                .map(|(condition, value)| condition.height.max(value.height))
                .fold(otherwise.height, u16::max),
            ExprKind::Lambda { body, .. } => body.height,
            ExprKind::Access { head, links } => {
                links.iter().map(Link::height).fold(head.height, u16::max)
            }
        }
    }
}

impl Link {
    fn height(&self) -> u16 {
        match &self.kind {
            LinkKind::Member { .. } => 0,
            LinkKind::Index { index, .. } => index.height,
            LinkKind::Call(arguments) => highest(arguments),
        }
    }
}

impl Sequence {
    /// Creates a sequence; its height follows from its parts.
    pub(crate) fn new(declarations: Vec<(Name, Expr)>, body: Body) -> Sequence {
        let body_height = match &body {
            Body::Expr(expr) => expr.height,
            Body::If { arms, otherwise } => arms
                .iter()
                .map(|(condition, block)| condition.height.max(block.height))
                .fold(otherwise.height, u16::max)
                .saturating_add(1),
            Body::Try { attempt, handler, .. } => {
                attempt.height.max(handler.height).saturating_add(1)
            }
        };
        let height = body_height.max(highest(declarations.iter().map(|(_, value)| value)));
        Sequence { declarations, body, height }
    }
}

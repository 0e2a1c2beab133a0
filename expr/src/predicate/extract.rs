//! Reads the facts off a typed tree.

use crate::ast::{BinaryOp, UnaryOp};
use crate::builtin::members_of;
use crate::predicate::{Conjunct, Constant, Facts, Path, PropertyPath, Step};
use crate::typed::{Applied, Block, Body, Expr, Kind, Link, LinkKind, MemberName, Part, Typed};
use crate::value::{Literal, Member, Type};

/// The operands of the top-level `&&`, in the order of [`Facts::conjuncts`].
pub(crate) fn conjuncts_of(typed: &Typed) -> Vec<&Expr> {
    fn collect<'t>(expr: &'t Expr, out: &mut Vec<&'t Expr>) {
        match &expr.kind {
            Kind::Chain { first, rest } if is_all(rest, BinaryOp::And) => {
                collect(first, out);
                rest.iter().for_each(|applied| collect(&applied.operand, out));
            }
            _ => out.push(expr),
        }
    }
    let mut out = Vec::new();
    match &typed.main.body.body {
        Body::Expr(expr) if typed.main.body.declarations.is_empty() => collect(expr, &mut out),
        _ => {}
    }
    out
}

impl Facts {
    /// The facts of a checked program.
    pub(crate) fn of(typed: &Typed) -> Facts {
        let extractor = Extractor { typed };
        let mut facts = Facts::default();
        let body = &typed.main.body;
        match &body.body {
            Body::Expr(expr) if body.declarations.is_empty() => {
                extractor.conjuncts(expr, &mut facts.conjuncts);
            }
            _ => facts.conjuncts.push(Conjunct::Opaque { can_fail: true }),
        }
        extractor.block(body, &mut facts);
        for lambda in &typed.lambdas {
            extractor.block(&lambda.body, &mut facts);
        }
        facts
    }
}

struct Extractor<'t> {
    typed: &'t Typed,
}

impl Extractor<'_> {
    /// `a && (b && c)` and `(a && b) && c` mean the same as `a && b && c`.
    fn conjuncts(&self, expr: &Expr, out: &mut Vec<Conjunct>) {
        match &expr.kind {
            Kind::Chain { first, rest } if is_all(rest, BinaryOp::And) => {
                self.conjuncts(first, out);
                for applied in rest {
                    self.conjuncts(&applied.operand, out);
                }
            }
            _ => out.push(match self.one_of(expr) {
                Some((path, constants)) => Conjunct::OneOf { path, constants: constants.into() },
                None => {
                    let boolean = expr.ty == Some(Type::Boolean);
                    Conjunct::Opaque { can_fail: !(boolean && self.is_total(expr)) }
                }
            }),
        }
    }

    /// Reads `expr` as a test of one path against constants.
    fn one_of(&self, expr: &Expr) -> Option<(Path, Vec<Constant>)> {
        match &expr.kind {
            Kind::Chain { first, rest } if is_all(rest, BinaryOp::Or) => {
                let (path, mut constants) = self.one_of(first)?;
                for applied in rest {
                    let (other, more) = self.one_of(&applied.operand)?;
                    if other != path {
                        return None;
                    }
                    add_new(&mut constants, more);
                }
                Some((path, constants))
            }
            Kind::Chain { first, rest } => match rest.as_slice() {
                [Applied { op: BinaryOp::Equal, operand, .. }] => {
                    let sides = self.path(first).zip(constant(operand));
                    let (path, constant) =
                        sides.or_else(|| self.path(operand).zip(constant(first)))?;
                    Some((path, vec![constant]))
                }
                _ => None,
            },
            Kind::Access { head, links } => {
                let Kind::Literals(literals) = &head.kind else { return None };
                let [Link { kind: LinkKind::Member { name, .. }, .. }, call] = links.as_slice()
                else {
                    return None;
                };
                let LinkKind::Call { arguments, .. } = &call.kind else { return None };
                let [argument] = arguments.as_slice() else { return None };
                if name.member != Some(Member::Includes) {
                    return None;
                }
                let mut constants = Vec::new();
                add_new(&mut constants, literals.clone());
                Some((self.path(argument)?, constants))
            }
            _ => None,
        }
    }

    fn path(&self, expr: &Expr) -> Option<Path> {
        let mut steps = Vec::new();
        self.steps(expr, &mut steps)?;
        (!steps.is_empty()).then(|| Path { steps: steps.into() })
    }

    /// Collects the steps of a chain of plain members from `event`.
    fn steps(&self, expr: &Expr, steps: &mut Vec<Step>) -> Option<()> {
        if self.is_event(expr) {
            return Some(());
        }
        let Kind::Access { head, links } = &expr.kind else { return None };
        self.steps(head, steps)?;
        // Parentheses end an optional chain, so `(event?.a).b` is no single path.
        if steps.iter().any(|step| step.optional) {
            return None;
        }
        for link in links {
            let LinkKind::Member { name, optional, called: false } = &link.kind else {
                return None;
            };
            if is_data_member(name) {
                return None;
            }
            steps.push(Step { name: name.text.clone(), optional: *optional });
        }
        Some(())
    }

    fn is_event(&self, expr: &Expr) -> bool {
        match expr.kind {
            Kind::Variable(at) => {
                self.typed.variables.get(at as usize).is_some_and(|name| &**name == "event")
            }
            _ => false,
        }
    }

    /// Whether evaluation never raises an error, given that `event` is a Map.
    fn is_total(&self, expr: &Expr) -> bool {
        match &expr.kind {
            Kind::Literal(_) | Kind::Literals(_) | Kind::TypeOfVariable(_) => true,
            Kind::Unary { op: UnaryOp::Not | UnaryOp::TypeOf, operand } => self.is_total(operand),
            Kind::Chain { first, rest } => {
                self.is_total(first)
                    && rest.iter().all(|applied| {
                        let equality = matches!(applied.op, BinaryOp::Equal | BinaryOp::NotEqual);
                        // Comparing two large values could run into the step limit.
                        let cheap = rest.len() == 1
                            && (constant(first).is_some() || constant(&applied.operand).is_some());
                        (applied.op.is_logical() || (equality && cheap))
                            && self.is_total(&applied.operand)
                    })
            }
            Kind::Access { .. } => self.path(expr).is_some_and(|path| {
                // The first step leaves a Map; behind it anything may be missing.
                path.steps.iter().skip(1).all(|step| step.optional)
            }),
            _ => self.is_event(expr),
        }
    }

    fn block(&self, block: &Block, facts: &mut Facts) {
        for (_, value) in &block.declarations {
            self.expr(value, facts);
        }
        match &block.body {
            Body::Expr(expr) => self.expr(expr, facts),
            Body::If { arms, otherwise } => {
                for (condition, then) in arms {
                    self.expr(condition, facts);
                    self.block(then, facts);
                }
                self.block(otherwise, facts);
            }
            Body::Try { attempt, handler, .. } => {
                self.block(attempt, facts);
                self.block(handler, facts);
            }
        }
    }

    /// Notes what an expression reads. Bodies of functions are visited on their own.
    fn expr(&self, expr: &Expr, facts: &mut Facts) {
        match &expr.kind {
            // `event` as a value may end up anywhere.
            Kind::Variable(_) => facts.reads_self_generated |= self.is_event(expr),
            Kind::Template(parts) => {
                for part in parts {
                    if let Part::Placeholder(expr) = part {
                        self.expr(expr, facts);
                    }
                }
            }
            Kind::List(items) | Kind::New { arguments: items, .. } => {
                items.iter().for_each(|item| self.expr(item, facts));
            }
            Kind::Map(entries) => entries.iter().for_each(|(_, value)| self.expr(value, facts)),
            Kind::Unary { operand, .. } | Kind::Throw(operand) => self.expr(operand, facts),
            Kind::Chain { first, rest } => {
                self.expr(first, facts);
                rest.iter().for_each(|applied| self.expr(&applied.operand, facts));
            }
            Kind::Conditional { arms, otherwise } => {
                for (condition, value) in arms {
                    self.expr(condition, facts);
                    self.expr(value, facts);
                }
                self.expr(otherwise, facts);
            }
            Kind::Access { head, links } => self.access(head, links, facts),
            Kind::Literal(_)
            | Kind::Literals(_)
            | Kind::Place(_)
            | Kind::TypeOfVariable(_)
            | Kind::Native(_)
            | Kind::Lambda(_) => {}
        }
    }

    fn access(&self, head: &Expr, links: &[Link], facts: &mut Facts) {
        if self.is_event(head) {
            facts.reads_self_generated |= match links.first().map(|link| &link.kind) {
                Some(LinkKind::Member { name, .. }) => {
                    &*name.text == "selfGenerated" || is_data_member(name)
                }
                _ => true,
            };
            if let Some(path) = property_path(links)
                && !facts.property_paths.contains(&path)
            {
                facts.property_paths.push(path);
            }
        } else {
            self.expr(head, facts);
        }
        for link in links {
            match &link.kind {
                LinkKind::Member { .. } => {}
                LinkKind::Index { index, .. } => self.expr(index, facts),
                LinkKind::Call { arguments, .. } => {
                    arguments.iter().for_each(|argument| self.expr(argument, facts));
                }
            }
        }
    }
}

fn is_all(rest: &[Applied], op: BinaryOp) -> bool {
    rest.iter().all(|applied| applied.op == op)
}

/// Whether the name is a member of a type that events consist of, so that it may mean something
/// where the event has no such member.
fn is_data_member(name: &MemberName) -> bool {
    name.member.is_some_and(|member| {
        [Type::Map, Type::List, Type::String].iter().any(|ty| members_of(*ty).contains(&member))
    })
}

/// A literal, or a negative number.
fn constant(expr: &Expr) -> Option<Constant> {
    match &expr.kind {
        Kind::Literal(literal) => Some(literal.clone()),
        Kind::Unary { op: UnaryOp::Negate, operand } => match operand.kind {
            Kind::Literal(Literal::Number(number)) => Some(Literal::Number(-number)),
            _ => None,
        },
        _ => None,
    }
}

fn add_new(constants: &mut Vec<Constant>, more: Vec<Constant>) {
    for constant in more {
        if !constants.contains(&constant) {
            constants.push(constant);
        }
    }
}

/// `runtime.<entity>.properties.<key>` and what follows up to the first builtin member.
fn property_path(links: &[Link]) -> Option<PropertyPath> {
    let names: Vec<&str> = links
        .iter()
        .map_while(|link| match &link.kind {
            LinkKind::Member { name, .. } if !is_data_member(name) => Some(&*name.text),
            _ => None,
        })
        .collect();
    match names.as_slice() {
        ["runtime", entity, "properties", key, path @ ..] => Some(PropertyPath {
            entity: (*entity).into(),
            key: (*key).into(),
            path: path.join(".").into(),
        }),
        _ => None,
    }
}

//! Extracts facts from the typed tree.

use crate::ast::{BinaryOp, UnaryOp};
use crate::builtin::{IndexTest, Member, MethodTest};
use crate::limits::{STEPS_PER_ERROR, STEPS_PER_REMAINDER};
use crate::parameter_slots::ParameterSlots;
use crate::predicate::{
    APP_SPECIFIC_MEMBERS, Condition, Constant, Facts, IndexSize, ItemTest, Order, Path,
    PropertyPath, Step, TemplateOperand,
};
use crate::span::to_u32;
use crate::typed::{
    Applied, Binding, Block, Body, Expr, ExprKind, Link, LinkKind, MemberName, Part, Typed,
};
use crate::value::{Literal, Type};

/// The operands of the top-level `&&`, in the order of [`Condition::operands`].
pub(crate) fn conjuncts_of(typed: &Typed) -> Vec<&Expr> {
    fn collect<'t>(expr: &'t Expr, out: &mut Vec<&'t Expr>) {
        match &expr.kind {
            ExprKind::Chain { first, rest } if is_all(rest, BinaryOp::And) => {
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

/// The condition of a template.
type TemplateCondition = Condition<TemplateOperand, TemplateOperand>;

impl Facts<TemplateOperand, TemplateOperand> {
    /// The facts of a checked program with parameters in `slots`.
    pub(crate) fn of(typed: &Typed, slots: &ParameterSlots) -> Self {
        let extractor = Extractor { typed, slots };
        let mut facts = Facts {
            condition: Condition::default(),
            is_app_specific: false,
            property_paths: Vec::new(),
            extra_steps: 0,
            index_size: IndexSize::default(),
        };
        let body = &typed.main.body;
        if let Body::Expr(expr) = &body.body
            && body.declarations.is_empty()
        {
            facts.condition = extractor.condition(expr);
            facts.index_size = IndexSize::of(&facts.condition);
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
    slots: &'t ParameterSlots,
}

impl Extractor<'_> {
    fn condition(&self, expr: &Expr) -> TemplateCondition {
        if let Some(test) = self.test(expr).or_else(|| self.some_path(expr)) {
            return test;
        }
        match &expr.kind {
            ExprKind::Chain { first, rest } if is_all(rest, BinaryOp::And) => {
                let mut operands = Vec::new();
                for operand in operands_of(first, rest) {
                    // `a && (b && c)` is equivalent to `a && b && c`.
                    match self.condition(operand) {
                        Condition::All(inner) => operands.extend(inner),
                        other => operands.push(other),
                    }
                }
                Condition::All(operands.into())
            }
            ExprKind::Chain { first, rest } if is_all(rest, BinaryOp::Or) => Condition::Any(
                operands_of(first, rest).map(|operand| self.condition(operand)).collect(),
            ),
            ExprKind::Unary { op: UnaryOp::Not, operand } => {
                Condition::Not(Box::new(self.condition(operand)))
            }
            _ => {
                let boolean = expr.ty == Some(Type::Boolean);
                Condition::Opaque { can_fail: !(boolean && self.is_total(expr)) }
            }
        }
    }

    /// Reads `expr` as one test.
    fn test(&self, expr: &Expr) -> Option<TemplateCondition> {
        if let Some((path, constants)) = self.one_of(expr) {
            return Some(Condition::OneOf { path, constants: constants.into() });
        }
        match &expr.kind {
            ExprKind::Chain { first, rest } => match rest.as_slice() {
                [Applied { op: BinaryOp::NotEqual, operand, .. }] => {
                    let (path, constant) = self.path_and_constant(first, operand)?;
                    let equal = Condition::OneOf { path, constants: Box::new([constant]) };
                    Some(Condition::Not(Box::new(equal)))
                }
                [Applied { op, operand, .. }] => self.ordered(order(*op)?, first, operand),
                _ => None,
            },
            ExprKind::Access { head, links } => self.method(head, links),
            _ => None,
        }
    }

    fn ordered(&self, order: Order, left: &Expr, right: &Expr) -> Option<TemplateCondition> {
        let test = |path: &Expr, bound: &Expr, order| match constant(bound)? {
            Literal::Number(_) => Some(Condition::Ordered {
                path: self.path(path)?,
                order,
                bound: self.operand(bound)?,
            }),
            _ => None,
        };
        test(left, right, order).or_else(|| test(right, left, order.mirrored()))
    }

    /// Reads `path.method(constant)` and `path.some(item => ...)`.
    fn method(&self, head: &Expr, links: &[Link]) -> Option<TemplateCondition> {
        let [steps @ .., Link { kind: LinkKind::Member { name, optional: false, .. }, .. }, call] =
            links
        else {
            return None;
        };
        let LinkKind::Call { arguments, .. } = &call.kind else { return None };
        let [argument] = arguments.as_slice() else { return None };
        let mut found = Vec::new();
        self.steps(head, &mut found)?;
        if found.iter().any(|step| step.optional) {
            return None;
        }
        members(steps, &mut found)?;
        if found.is_empty() {
            return None;
        }
        let path = Path { steps: found.into() };
        match (name.member?.index_test()?, &argument.kind) {
            (IndexTest::Method(test), _) => {
                Some(Condition::Method { path, test, constant: self.operand(argument)? })
            }
            (IndexTest::Some, ExprKind::Lambda(lambda)) => {
                let mut tests = Vec::new();
                let exact = self.item_tests(*lambda, &mut tests)?;
                let is_test = !tests.is_empty();
                is_test.then(|| Condition::Some { path, tests: tests.into(), exact })
            }
            _ => None,
        }
    }

    /// Reads `item => item.a == c && item.b == d` and returns whether the tests are the whole
    /// function.
    fn item_tests(&self, lambda: u32, tests: &mut Vec<ItemTest<TemplateOperand>>) -> Option<bool> {
        let frame = self.typed.lambdas.get(lambda as usize)?;
        let Body::Expr(expr) = &frame.body.body else { return None };
        if frame.parameters == 0 || !frame.body.declarations.is_empty() {
            return None;
        }
        let mut exact = true;
        let mut add = |expr: &Expr| -> Option<()> {
            let ExprKind::Chain { first, rest } = &expr.kind else { return None };
            let [Applied { op, operand, .. }] = rest.as_slice() else { return None };
            let (left, right) = (item_member(first), item_member(operand));
            let (name, constant) =
                left.zip(self.operand(operand)).or_else(|| right.zip(self.operand(first)))?;
            match op {
                BinaryOp::Equal => tests.push(ItemTest { name: name.map(Box::from), constant }),
                // Cannot fail on a map, but fails on other items.
                BinaryOp::NotEqual if name.is_some() => exact = false,
                _ => return None,
            }
            Some(())
        };
        match &expr.kind {
            ExprKind::Chain { first, rest } if is_all(rest, BinaryOp::And) => {
                operands_of(first, rest).try_for_each(&mut add)?;
            }
            _ => add(expr)?,
        }
        // A test of the item itself cannot be combined with tests of its members.
        let whole = tests.iter().filter(|test| test.name.is_none()).count();
        (whole == 0 || (tests.len() == 1 && exact)).then_some(exact)
    }

    /// The path and the constant of a comparison, in any order.
    fn path_and_constant(&self, left: &Expr, right: &Expr) -> Option<(Path, TemplateOperand)> {
        let sides = self.path(left).zip(self.operand(right));
        sides.or_else(|| self.path(right).zip(self.operand(left)))
    }

    /// Reads `[path, path].some(x => [c, d].includes(x))`, if no path can fail: one of the paths is
    /// one of the constants.
    fn some_path(&self, expr: &Expr) -> Option<TemplateCondition> {
        let ExprKind::Access { head, links } = &expr.kind else { return None };
        let ExprKind::List(items) = &head.kind else { return None };
        let [Link { kind: LinkKind::Member { name, optional: false, .. }, .. }, call] =
            links.as_slice()
        else {
            return None;
        };
        let LinkKind::Call { arguments, .. } = &call.kind else { return None };
        let [Expr { kind: ExprKind::Lambda(lambda), .. }] = arguments.as_slice() else {
            return None;
        };
        let frame = self.typed.lambdas.get(*lambda as usize)?;
        let Body::Expr(test) = &frame.body.body else { return None };
        if name.member?.index_test()? != IndexTest::Some
            || frame.parameters == 0
            || !frame.body.declarations.is_empty()
        {
            return None;
        }
        let (item, constants) = self.included(test)?;
        if !matches!(item.kind, ExprKind::Binding(Binding::Local(0))) {
            return None;
        }
        let tests = items.iter().map(|item| {
            let path = self.path(item).filter(|_| self.is_total(item))?;
            Some(Condition::OneOf { path, constants: constants.clone().into() })
        });
        Some(Condition::Any(tests.collect::<Option<Vec<_>>>()?.into()))
    }

    /// Reads `[c, d].includes(value)` and returns the value and the constants.
    fn included<'e>(&self, expr: &'e Expr) -> Option<(&'e Expr, Vec<TemplateOperand>)> {
        let ExprKind::Access { head, links } = &expr.kind else { return None };
        let ExprKind::Literals(literals) = &head.kind else { return None };
        let [Link { kind: LinkKind::Member { name, .. }, .. }, call] = links.as_slice() else {
            return None;
        };
        let LinkKind::Call { arguments, .. } = &call.kind else { return None };
        let [argument] = arguments.as_slice() else { return None };
        if name.member.and_then(Member::index_test) != Some(IndexTest::Method(MethodTest::Includes))
        {
            return None;
        }
        let constants = match self.slots.slots_in_span(literals.len(), head.span) {
            Some(slots) => slots.map(|at| TemplateOperand::Slot(to_u32(at))).collect(),
            None => literals.iter().cloned().map(TemplateOperand::Fixed).collect(),
        };
        Some((argument, constants))
    }

    /// Reads `expr` as a test of one path against constants.
    fn one_of(&self, expr: &Expr) -> Option<(Path, Vec<TemplateOperand>)> {
        match &expr.kind {
            ExprKind::Chain { first, rest } if is_all(rest, BinaryOp::Or) => {
                let (path, mut constants) = self.one_of(first)?;
                for applied in rest {
                    let (other, more) = self.one_of(&applied.operand)?;
                    if other != path {
                        return None;
                    }
                    constants.extend(more);
                }
                Some((path, constants))
            }
            ExprKind::Chain { first, rest } => match rest.as_slice() {
                [Applied { op: BinaryOp::Equal, operand, .. }] => {
                    let (path, constant) = self.path_and_constant(first, operand)?;
                    Some((path, vec![constant]))
                }
                _ => None,
            },
            ExprKind::Access { .. } => {
                let (value, constants) = self.included(expr)?;
                Some((self.path(value)?, constants))
            }
            _ => None,
        }
    }

    /// The constant of an expression, as a value or parameter of the template.
    fn operand(&self, expr: &Expr) -> Option<TemplateOperand> {
        let constant = constant(expr)?.clone();
        Some(match self.slots.slots_in_span(1, expr.span) {
            Some(slots) => TemplateOperand::Slot(to_u32(slots.start)),
            None => TemplateOperand::Fixed(constant),
        })
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
        let ExprKind::Access { head, links } = &expr.kind else { return None };
        self.steps(head, steps)?;
        // Parentheses end an optional chain, so `(event?.a).b` is not one path.
        if steps.iter().any(|step| step.optional) {
            return None;
        }
        members(links, steps)
    }

    fn is_event(&self, expr: &Expr) -> bool {
        match expr.kind {
            ExprKind::Variable(at) => {
                self.typed.variables.get(at as usize).is_some_and(|name| &**name == "event")
            }
            _ => false,
        }
    }

    /// Whether evaluation never raises an error, given that `event` is a Map.
    fn is_total(&self, expr: &Expr) -> bool {
        match &expr.kind {
            ExprKind::Literal(_) | ExprKind::Literals(_) | ExprKind::TypeOfVariable(_) => true,
            ExprKind::Unary { op: UnaryOp::Not | UnaryOp::TypeOf, operand } => {
                self.is_total(operand)
            }
            ExprKind::Chain { first, rest } => {
                self.is_total(first)
                    && rest.iter().all(|applied| {
                        let equality = matches!(applied.op, BinaryOp::Equal | BinaryOp::NotEqual);
                        // Comparing two large values could exceed the step limit.
                        let cheap = rest.len() == 1
                            && (constant(first).is_some() || constant(&applied.operand).is_some());
                        (applied.op.is_logical() || (equality && cheap))
                            && self.is_total(&applied.operand)
                    })
            }
            ExprKind::Access { .. } => self.path(expr).is_some_and(|path| {
                // The receiver of the first step is a Map; later receivers may be missing.
                path.steps.iter().skip(1).all(|step| step.optional)
            }),
            _ => self.is_event(expr),
        }
    }

    fn block(&self, block: &Block, facts: &mut Facts<TemplateOperand, TemplateOperand>) {
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

    /// Records what an expression reads. Function bodies are visited separately.
    fn expr(&self, expr: &Expr, facts: &mut Facts<TemplateOperand, TemplateOperand>) {
        match &expr.kind {
            // `event` as a value may be read anywhere.
            ExprKind::Variable(_) => facts.is_app_specific |= self.is_event(expr),
            ExprKind::Template(parts) => {
                for part in parts {
                    if let Part::Placeholder(expr) = part {
                        self.expr(expr, facts);
                    }
                }
            }
            ExprKind::List(items) | ExprKind::New { arguments: items, .. } => {
                items.iter().for_each(|item| self.expr(item, facts));
            }
            ExprKind::Map(entries) => entries.iter().for_each(|(_, value)| self.expr(value, facts)),
            ExprKind::Unary { operand, .. } | ExprKind::Throw(operand) => self.expr(operand, facts),
            ExprKind::Chain { first, rest } => {
                self.expr(first, facts);
                for applied in rest {
                    if applied.op == BinaryOp::Remainder {
                        add_steps(facts, STEPS_PER_REMAINDER);
                    }
                    self.expr(&applied.operand, facts);
                }
            }
            ExprKind::Conditional { arms, otherwise } => {
                for (condition, value) in arms {
                    self.expr(condition, facts);
                    self.expr(value, facts);
                }
                self.expr(otherwise, facts);
            }
            ExprKind::Access { head, links } => self.access(head, links, facts),
            ExprKind::Literal(_)
            | ExprKind::Literals(_)
            | ExprKind::Binding(_)
            | ExprKind::TypeOfVariable(_)
            | ExprKind::Native(_)
            | ExprKind::Lambda(_) => {}
        }
    }

    fn access(
        &self,
        head: &Expr,
        links: &[Link],
        facts: &mut Facts<TemplateOperand, TemplateOperand>,
    ) {
        if self.is_event(head) {
            facts.is_app_specific |= match links.first().map(|link| &link.kind) {
                Some(LinkKind::Member { name, .. }) => {
                    APP_SPECIFIC_MEMBERS.contains(&&*name.text) || is_data_member(name)
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
            if let LinkKind::Member { optional: true, .. }
            | LinkKind::Index { optional: true, .. } = &link.kind
            {
                add_steps(facts, STEPS_PER_ERROR);
            }
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

fn add_steps(facts: &mut Facts<TemplateOperand, TemplateOperand>, steps: u32) {
    facts.extra_steps = facts.extra_steps.saturating_add(steps);
}

/// Appends the steps of `.a?.b['c']`.
fn members(links: &[Link], steps: &mut Vec<Step>) -> Option<()> {
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

/// Reads `item` or `item.name` of the first parameter.
fn item_member(expr: &Expr) -> Option<Option<&str>> {
    let is_item = |expr: &Expr| matches!(expr.kind, ExprKind::Binding(Binding::Local(0)));
    if is_item(expr) {
        return Some(None);
    }
    let ExprKind::Access { head, links } = &expr.kind else { return None };
    match links.as_slice() {
        [Link { kind: LinkKind::Member { name, optional: false, called: false }, .. }]
            if is_item(head) && !is_data_member(name) =>
        {
            Some(Some(&name.text))
        }
        _ => None,
    }
}

fn order(op: BinaryOp) -> Option<Order> {
    match op {
        BinaryOp::Less => Some(Order::Less),
        BinaryOp::LessOrEqual => Some(Order::LessOrEqual),
        BinaryOp::Greater => Some(Order::Greater),
        BinaryOp::GreaterOrEqual => Some(Order::GreaterOrEqual),
        _ => None,
    }
}

fn operands_of<'e>(first: &'e Expr, rest: &'e [Applied]) -> impl Iterator<Item = &'e Expr> {
    std::iter::once(first).chain(rest.iter().map(|applied| &applied.operand))
}

fn is_all(rest: &[Applied], op: BinaryOp) -> bool {
    rest.iter().all(|applied| applied.op == op)
}

/// Whether the name is a builtin member of a type of JSON values, so that it is defined even if the
/// event has no such member.
fn is_data_member(name: &MemberName) -> bool {
    name.member.is_some_and(|member| {
        [Type::Map, Type::List, Type::String].into_iter().any(|ty| member.on(ty).is_some())
    })
}

fn constant(expr: &Expr) -> Option<&Constant> {
    match &expr.kind {
        ExprKind::Literal(literal) => Some(literal),
        _ => None,
    }
}

/// `runtime.<entity>.properties.<key>` and the names after it, up to the first builtin member.
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

//! The indexable form of a filter: tests of paths against constants, and facts that are known
//! without evaluation.
//!
//! A matcher may skip a filter only if its result is certainly false. Each test of [`Condition`]
//! states exactly when it is true, false or an error. [`Condition::Opaque`] states at least whether
//! an error is possible, because an error in an earlier operand takes precedence over a false
//! operand after it.

mod extract;

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;

use crate::parameters::{self, Parameters};
use crate::span::to_u32;
use crate::view::{NodeId, NodeValue, View};

pub(crate) use extract::conjuncts_of;

pub use crate::builtin::MethodTest;
pub use crate::value::Literal as Constant;

/// Members of `event` whose values depend on the app, or on its installation.
pub const APP_SPECIFIC_MEMBERS: [&str; 2] = ["selfGenerated", "permissions"];

/// What is known about an expression without evaluating it. `C` and `N` are as in [`Condition`].
#[derive(Clone, Debug)]
pub struct Facts<C = Constant, N = f64> {
    /// The filter as far as an index can use it.
    pub condition: Condition<C, N>,
    /// Whether the result may depend on the app that registered it: it reads one of
    /// [`APP_SPECIFIC_MEMBERS`], or `event` in a way that cannot be analysed.
    pub is_app_specific: bool,
    /// Distinct entity properties, in order of first use.
    pub property_paths: Vec<PropertyPath>,
    /// Steps that an evaluation may use in addition to those that the length of the source bounds,
    /// if it evaluates nothing twice: for errors that `?.` turns into null, and for remainders.
    pub extra_steps: u32,
    /// What an index of the condition would hold.
    pub index_size: IndexSize,
}

/// What an index of a condition would hold. Filters that differ only in parameters have the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct IndexSize {
    /// Tests and the constants they compare with.
    pub entries: u32,
    /// Different paths that are tested.
    pub paths: u32,
}

impl IndexSize {
    /// Measures a condition.
    fn of<C, N>(condition: &Condition<C, N>) -> IndexSize {
        let mut paths = HashSet::new();
        let entries = condition.measure(&mut paths);
        IndexSize { entries, paths: to_u32(paths.len()) }
    }
}

/// A conjunct of a filter: an operand of its top-level `&&`, as an expression of its own.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Conjunct {
    /// The expression in canonical form.
    pub source: String,
    /// Number of functions in it.
    pub functions: usize,
}

/// A filter, or an operand of one, as tests of paths. Operands are in evaluation order.
///
/// Statements about errors are valid for events whose lists and texts are so small that no test
/// exceeds the step limit. A caller that decides a test without evaluating it must keep to such
/// events.
///
/// `C` and `N` are the types of constants and numbers: values, or references to parameters of a
/// template.
#[derive(Clone, PartialEq, Debug)]
pub enum Condition<C = Constant, N = f64> {
    /// `path == c`, `[c, d].includes(path)`, and `||` of these over one path: true if the value is
    /// one of the constants, an error if resolving the path is an error, otherwise false.
    OneOf {
        /// The compared path.
        path: Path,
        /// The constants, without duplicates.
        constants: Box<[C]>,
    },
    /// `path < bound` and the other order comparisons: an error unless the value is a number.
    Ordered {
        /// The compared path.
        path: Path,
        /// The comparison.
        order: Order,
        /// The number it is compared with.
        bound: N,
    },
    /// `path.method(constant)`. Null is null after `?.`; a value that the method does not take is an
    /// error.
    Method {
        /// The path of the receiver.
        path: Path,
        /// The method.
        test: MethodTest,
        /// Its argument.
        constant: C,
    },
    /// `path.some(item => item.a == c && item.b == d)`: decidable only if the value is a list and,
    /// where members are compared, all of its items are maps. Null is null after `?.`; any other
    /// value is an error.
    Some {
        /// The path of the list.
        path: Path,
        /// The tests of one item; at least one.
        tests: Box<[ItemTest<C>]>,
        /// Whether the tests are the whole function. Otherwise the function has further tests of
        /// the same item, which cannot fail where these do not.
        exact: bool,
    },
    /// `a && b`
    All(Box<[Condition<C, N>]>),
    /// `a || b`
    Any(Box<[Condition<C, N>]>),
    /// `!a`
    Not(Box<Condition<C, N>>),
    /// Any other expression.
    Opaque {
        /// Whether it may raise an error or have a value that is not a Boolean.
        can_fail: bool,
    },
}

impl<C, N> Default for Condition<C, N> {
    fn default() -> Self {
        Condition::Opaque { can_fail: true }
    }
}

/// An order comparison of two numbers.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Order {
    /// `<`
    Less,
    /// `<=`
    LessOrEqual,
    /// `>`
    Greater,
    /// `>=`
    GreaterOrEqual,
}

impl Order {
    /// Whether `value` compares to `bound` as stated.
    pub fn holds(self, value: f64, bound: f64) -> bool {
        match self {
            Order::Less => value < bound,
            Order::LessOrEqual => value <= bound,
            Order::Greater => value > bound,
            Order::GreaterOrEqual => value >= bound,
        }
    }

    /// The comparison with exchanged operands.
    fn mirrored(self) -> Order {
        match self {
            Order::Less => Order::Greater,
            Order::LessOrEqual => Order::GreaterOrEqual,
            Order::Greater => Order::Less,
            Order::GreaterOrEqual => Order::LessOrEqual,
        }
    }
}

/// `item.name == constant`, or `item == constant` without a name.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct ItemTest<C = Constant> {
    /// The member; a missing one is null. Never the name of a builtin member of Map.
    pub name: Option<Box<str>>,
    /// The constant it equals.
    pub constant: C,
}

/// A chain of member names from `event`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Path {
    /// The steps; at least one.
    pub steps: Arc<[Step]>,
}

/// One step of a path: `.name`, `?.name` or `['name']`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Step {
    /// The member. Never the name of a builtin member of Map, List or String.
    pub name: Box<str>,
    /// Whether a missing member or receiver makes the whole path null.
    pub optional: bool,
}

/// The result of resolving a path.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Resolved {
    /// A value that is not null.
    Value(NodeId),
    /// Null, or a member that is missing at the end or after `?.`.
    Null,
    /// Evaluating the path raises an error on this event.
    Error,
}

impl Path {
    /// Whether it reads one of [`APP_SPECIFIC_MEMBERS`]. An index shared by apps cannot use it.
    pub fn is_app_specific(&self) -> bool {
        self.steps.first().is_some_and(|step| APP_SPECIFIC_MEMBERS.contains(&&*step.name))
    }

    /// Resolves the path exactly as evaluation does.
    pub fn resolve<V: View>(&self, view: &V) -> Resolved {
        let Some(event) = view.variable("event") else { return Resolved::Error };
        let mut at = Some(event);
        for step in self.steps.iter() {
            let read = at.map_or(NodeValue::Null, |node| view.read(node));
            let found = match (at, read) {
                (Some(node), NodeValue::Map { .. }) => view.member(node, &step.name),
                _ if step.optional => None,
                _ => return Resolved::Error,
            };
            if found.is_none() && step.optional {
                return Resolved::Null;
            }
            at = found;
        }
        match at {
            Some(node) if view.read(node) != NodeValue::Null => Resolved::Value(node),
            _ => Resolved::Null,
        }
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.steps.iter().enumerate() {
            match (at, step.optional) {
                (0, _) => {}
                (_, true) => f.write_str("?.")?,
                (_, false) => f.write_str(".")?,
            }
            f.write_str(&step.name)?;
        }
        Ok(())
    }
}

impl<C, N> Condition<C, N> {
    /// Collects the paths that are tested, and returns the number of tests and constants.
    pub fn measure<'c>(&'c self, paths: &mut HashSet<&'c Path>) -> u32 {
        match self {
            Condition::OneOf { path, constants } => {
                paths.insert(path);
                to_u32(constants.len()).saturating_add(1)
            }
            Condition::Some { path, tests, .. } => {
                paths.insert(path);
                to_u32(tests.len()).saturating_add(1)
            }
            Condition::Ordered { path, .. } | Condition::Method { path, .. } => {
                paths.insert(path);
                2
            }
            Condition::All(inner) | Condition::Any(inner) => {
                let inner = inner.iter().map(|operand| operand.measure(paths));
                inner.fold(1, u32::saturating_add)
            }
            Condition::Not(inner) => inner.measure(paths).saturating_add(1),
            Condition::Opaque { .. } => 1,
        }
    }
}

impl Condition {
    /// The operands of the top-level `&&`, in order; any other condition is its only operand.
    pub fn operands(&self) -> &[Condition] {
        match self {
            Condition::All(operands) => operands,
            other => std::slice::from_ref(other),
        }
    }

    /// Whether an index can find the filter by it: if it is false, the filter is false.
    fn is_key(&self) -> bool {
        match self {
            Condition::Opaque { .. } | Condition::Not(_) => false,
            Condition::All(inner) => inner.iter().any(Condition::is_key),
            Condition::Any(inner) => inner.iter().all(Condition::is_key),
            Condition::OneOf { path, .. }
            | Condition::Ordered { path, .. }
            | Condition::Method { path, .. }
            | Condition::Some { path, .. } => !path.is_app_specific(),
        }
    }

    /// Whether it may fail in a way that only evaluation detects.
    fn may_fail_when_evaluated(&self) -> bool {
        match self {
            Condition::Opaque { can_fail } => *can_fail,
            Condition::Not(inner) => inner.may_fail_when_evaluated(),
            Condition::All(inner) | Condition::Any(inner) => {
                inner.iter().any(Condition::may_fail_when_evaluated)
            }
            _ => false,
        }
    }

    /// Whether the index decides it completely, so that nothing is left to evaluate.
    pub(crate) fn is_settled_as_key(&self) -> bool {
        match self {
            Condition::Opaque { .. } | Condition::Not(_) => false,
            Condition::All(inner) | Condition::Any(inner) => {
                inner.iter().all(Condition::is_settled_as_key)
            }
            Condition::OneOf { path, .. }
            | Condition::Ordered { path, .. }
            | Condition::Method { path, .. } => !path.is_app_specific(),
            Condition::Some { path, exact, .. } => *exact && !path.is_app_specific(),
        }
    }
}

/// Formats as operators read it: what an index looks up for an event.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Condition::OneOf { path, constants } => match &**constants {
                [constant] => write!(f, "{path} = {constant}"),
                constants => write!(f, "{path} in {}", Joined(constants, ", ")),
            },
            Condition::Ordered { path, order, bound } => write!(f, "{path} {order} {bound}"),
            Condition::Method { path, test, constant } => write!(f, "{path} {test} {constant}"),
            Condition::Some { path, tests, .. } => {
                write!(f, "some of {path} has {}", Joined(tests, " and "))
            }
            Condition::All(inner) => write!(f, "({})", Joined(inner, " and ")),
            Condition::Any(inner) => write!(f, "({})", Joined(inner, " or ")),
            Condition::Not(inner) => write!(f, "not {inner}"),
            Condition::Opaque { .. } => f.write_str("evaluated"),
        }
    }
}

impl fmt::Display for Order {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Order::Less => "<",
            Order::LessOrEqual => "<=",
            Order::Greater => ">",
            Order::GreaterOrEqual => ">=",
        })
    }
}

impl fmt::Display for ItemTest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, "{name} = {}", self.constant),
            None => self.constant.fmt(f),
        }
    }
}

/// Items joined by a separator.
struct Joined<'a, T>(&'a [T], &'static str);

impl<T: fmt::Display> fmt::Display for Joined<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, item) in self.0.iter().enumerate() {
            if at > 0 {
                f.write_str(self.1)?;
            }
            item.fmt(f)?;
        }
        Ok(())
    }
}

/// A constant of a template: a value, or a reference to a parameter.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum TemplateOperand {
    /// A constant that all filters of the template share.
    Fixed(Constant),
    /// A parameter of the filter, by its position.
    Slot(u32),
}

impl TemplateOperand {
    fn constant(&self, parameters: &Parameters) -> Constant {
        match self {
            TemplateOperand::Fixed(constant) => constant.clone(),
            TemplateOperand::Slot(at) => match parameters.get(*at as usize) {
                parameters::Parameter::Text(text) => Constant::String(text.into()),
                parameters::Parameter::Number(number) => Constant::Number(number),
            },
        }
    }

    fn number(&self, parameters: &Parameters) -> f64 {
        match self.constant(parameters) {
            Constant::Number(number) => number,
            _ => f64::NAN,
        }
    }
}

impl Facts<TemplateOperand, TemplateOperand> {
    /// The facts of the filter with these parameters.
    pub(crate) fn with_parameters(&self, parameters: &Parameters) -> Facts {
        Facts {
            condition: self.condition.with_parameters(parameters),
            is_app_specific: self.is_app_specific,
            property_paths: self.property_paths.clone(),
            extra_steps: self.extra_steps,
            index_size: self.index_size,
        }
    }
}

impl Condition<TemplateOperand, TemplateOperand> {
    fn with_parameters(&self, with: &Parameters) -> Condition {
        let all = |operands: &[Self]| {
            operands.iter().map(|operand| operand.with_parameters(with)).collect()
        };
        match self {
            Condition::OneOf { path, constants } => {
                if let [only] = &**constants {
                    let constants = Box::new([only.constant(with)]);
                    return Condition::OneOf { path: path.clone(), constants };
                }
                let mut seen = HashSet::with_capacity(constants.len());
                let filled = constants.iter().map(|constant| constant.constant(with));
                let constants = filled.filter(|constant| seen.insert(constant.clone())).collect();
                Condition::OneOf { path: path.clone(), constants }
            }
            Condition::Ordered { path, order, bound } => {
                Condition::Ordered { path: path.clone(), order: *order, bound: bound.number(with) }
            }
            Condition::Method { path, test, constant } => Condition::Method {
                path: path.clone(),
                test: *test,
                constant: constant.constant(with),
            },
            Condition::Some { path, tests, exact } => {
                let test = |test: &ItemTest<TemplateOperand>| ItemTest {
                    name: test.name.clone(),
                    constant: test.constant.constant(with),
                };
                let tests = tests.iter().map(test).collect();
                Condition::Some { path: path.clone(), tests, exact: *exact }
            }
            Condition::All(operands) => Condition::All(all(operands)),
            Condition::Any(operands) => Condition::Any(all(operands)),
            Condition::Not(operand) => Condition::Not(Box::new(operand.with_parameters(with))),
            Condition::Opaque { can_fail } => Condition::Opaque { can_fail: *can_fail },
        }
    }
}

/// An entity property that a filter reads: `event.runtime.<entity>.properties['key'].path`.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct PropertyPath {
    /// `issue`, `project`, `user` or `issuetype`.
    pub entity: Box<str>,
    /// The property key.
    pub key: Box<str>,
    /// The path inside the property, joined by dots; empty for the whole property.
    pub path: Box<str>,
}

impl Facts {
    /// The operands of the top-level `&&` that an index can find the filter by. Operands after one
    /// that may fail are excluded: its error is the result whatever they are.
    pub fn indexed(&self) -> impl Iterator<Item = &Condition> {
        let operands = self.condition.operands();
        let reached = operands.iter().position(Condition::may_fail_when_evaluated);
        let reached = reached.map_or(operands.len(), |at| at + 1);
        operands.iter().take(reached).filter(|operand| operand.is_key())
    }
}

impl<C, N> Facts<C, N> {
    /// Bytes on the heap.
    pub(crate) fn heap_bytes(&self) -> usize {
        let paths = self.property_paths.iter().map(|property| {
            size_of::<PropertyPath>()
                + property.entity.len()
                + property.key.len()
                + property.path.len()
        });
        self.condition.heap_bytes() + paths.sum::<usize>()
    }
}

impl<C, N> Condition<C, N> {
    fn heap_bytes(&self) -> usize {
        match self {
            Condition::OneOf { path, constants } => path.heap_bytes() + size_of_val(&**constants),
            Condition::Ordered { path, .. } | Condition::Method { path, .. } => path.heap_bytes(),
            Condition::Some { path, tests, .. } => path.heap_bytes() + size_of_val(&**tests),
            Condition::All(operands) | Condition::Any(operands) => {
                let inner: usize = operands.iter().map(Condition::heap_bytes).sum();
                size_of_val(&**operands) + inner
            }
            Condition::Not(operand) => size_of::<Self>() + operand.heap_bytes(),
            Condition::Opaque { .. } => 0,
        }
    }
}

impl Path {
    fn heap_bytes(&self) -> usize {
        size_of_val(&*self.steps) + self.steps.iter().map(|step| step.name.len()).sum::<usize>()
    }
}

#[cfg(test)]
mod tests;

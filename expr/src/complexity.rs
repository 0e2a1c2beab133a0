//! A cost formula of a filter over the lengths of the lists it iterates over, known before
//! evaluation.
//!
//! The formula counts one operation for each node and one more for each member and call. A list
//! that a method iterates over is a variable named after its path, and nested iterations multiply.
//! The vendor rejects filters by this measure. It is not a forecast of steps: steps also depend on
//! the size of the operands, and only [`crate::limits::STEPS_MAX`] bounds them.
//!
//! **Source:** Forge events page, "Filter out events": a formula such as `N*M + 5*N + 20`, rejected
//! above 3 variables, 3 combinations, 3 variables in one combination or a constant over 10,000.

use std::collections::{BTreeMap, HashMap};
use std::fmt;

use crate::builtin::Member;
use crate::span::Span;
use crate::typed::{Binding, Block, Body, Expr, ExprKind, Link, LinkKind, Part, Typed};

/// The vendor's limit of variables, of combinations, and of variables in a combination.
const VARIABLES_MAX: usize = 3;
/// The vendor's limit of the constant term.
const CONSTANT_MAX: u64 = 10_000;
/// Terms that are kept apart; a filter with more is far beyond the vendor's limits.
const TERMS_MAX: usize = 32;
/// Names of the first variables; further ones are numbered.
const NAMES: [&str; 6] = ["N", "M", "L", "K", "J", "I"];

/// The cost of a filter as a sum of products of list lengths.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Complexity {
    /// The lists that are iterated over, each once, as written in the source.
    pub lists: Vec<String>,
    /// Number of operations by the lists that multiply it, as indices into [`Complexity::lists`].
    pub terms: BTreeMap<Vec<usize>, u64>,
}

impl Complexity {
    pub(crate) fn of(typed: &Typed) -> Complexity {
        let mut counter = Counter {
            typed,
            lists: Vec::new(),
            frames: vec![NamedFunctions::default()],
            counted: HashMap::new(),
        };
        let terms = counter.block(&typed.main.body);
        Complexity { lists: counter.lists, terms: terms.0 }
    }

    /// The reason why the filter is rejected, if it is: it may exceed the vendor's limits of lists.
    pub fn refusal(&self) -> Option<String> {
        let variables = self.lists.len();
        let combined: Vec<usize> = self.terms.keys().map(Vec::len).filter(|n| *n > 1).collect();
        let deepest = combined.iter().copied().max().unwrap_or(0);
        if variables > VARIABLES_MAX {
            Some(format!("it walks {variables} lists, the vendor allows {VARIABLES_MAX}"))
        } else if deepest > VARIABLES_MAX {
            Some(format!("{deepest} lists are walked inside of each other, the vendor allows 3"))
        } else if combined.len() > VARIABLES_MAX {
            let found = combined.len();
            Some(format!("it combines lists in {found} ways, the vendor allows {VARIABLES_MAX}"))
        } else {
            None
        }
    }

    /// The reason why the vendor may reject the filter although it is accepted here: a large constant
    /// part. The vendor does not document what it counts as one operation, so that the constant may be
    /// smaller there; here the steps of an evaluation bound what it costs.
    pub fn doubt(&self) -> Option<String> {
        let constant = self.terms.get(&Vec::new()).copied().unwrap_or(0);
        (constant > CONSTANT_MAX)
            .then(|| format!("its constant part is {constant}, the vendor allows {CONSTANT_MAX}"))
    }

    /// The variables of the formula, each with its list.
    pub fn variables(&self) -> impl Iterator<Item = (String, &str)> {
        self.lists.iter().enumerate().map(|(at, list)| (Complexity::name(at), list.as_str()))
    }

    fn name(at: usize) -> String {
        NAMES.get(at).map_or_else(|| format!("X{at}"), |name| (*name).to_owned())
    }

    /// `{"expression": "5*N + 20", "variables": {"N": "event.changelog.items"}}`
    pub fn as_json(&self) -> serde_json::Value {
        let variables: serde_json::Map<String, serde_json::Value> =
            self.variables().map(|(name, list)| (name, list.into())).collect();
        serde_json::json!({ "expression": self.to_string(), "variables": variables })
    }
}

/// Formats the terms with most lists first: `N*M + 5*N + 20`.
impl fmt::Display for Complexity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut terms: Vec<(&Vec<usize>, &u64)> = self.terms.iter().collect();
        terms.sort_by_key(|(lists, _)| std::cmp::Reverse(lists.len()));
        for (at, (lists, steps)) in terms.into_iter().enumerate() {
            if at > 0 {
                f.write_str(" + ")?;
            }
            if *steps != 1 || lists.is_empty() {
                write!(f, "{steps}")?;
            }
            for (nth, list) in lists.iter().enumerate() {
                let times = if nth > 0 || *steps != 1 { "*" } else { "" };
                write!(f, "{times}{}", Complexity::name(*list))?;
            }
        }
        Ok(())
    }
}

/// A sum of products.
#[derive(Clone, Default)]
struct Sum(BTreeMap<Vec<usize>, u64>);

impl Sum {
    fn constant(steps: u64) -> Sum {
        Sum(BTreeMap::from([(Vec::new(), steps)]))
    }

    fn add(&mut self, other: Sum) {
        for (lists, steps) in other.0 {
            // A term beyond the limit is added to the last term, so that a large sum stays large.
            if self.0.len() >= TERMS_MAX && !self.0.contains_key(&lists) {
                if let Some(mut last) = self.0.last_entry() {
                    *last.get_mut() = last.get().saturating_add(steps);
                }
                continue;
            }
            let sum = self.0.entry(lists).or_default();
            *sum = sum.saturating_add(steps);
        }
    }

    fn times_list(self, list: usize) -> Sum {
        let terms = self.0.into_iter().map(|(mut lists, steps)| {
            let at = lists.partition_point(|known| *known <= list);
            lists.insert(at, list);
            (lists, steps)
        });
        Sum(terms.collect())
    }

    fn times(self, factor: u64) -> Sum {
        let terms = self.0.into_iter();
        Sum(terms.map(|(lists, steps)| (lists, steps.saturating_mul(factor))).collect())
    }
}

struct Counter<'t> {
    typed: &'t Typed,
    lists: Vec<String>,
    /// The functions that have a name, for each enclosing function, innermost last.
    frames: Vec<NamedFunctions>,
    /// Cost of each function that was counted: a named one may be called many times.
    counted: HashMap<u32, Sum>,
}

/// The functions that the names in a function refer to.
#[derive(Default)]
struct NamedFunctions {
    locals: HashMap<u32, u32>,
    captured: Vec<Option<u32>>,
}

impl Counter<'_> {
    fn block(&mut self, block: &Block) -> Sum {
        let mut sum = Sum::default();
        for (slot, value) in &block.declarations {
            sum.add(self.expr(value));
            sum.add(Sum::constant(1));
            if let (Some(id), Some(frame)) = (self.function_of(value), self.frames.last_mut()) {
                frame.locals.insert(*slot, id);
            }
        }
        match &block.body {
            Body::Expr(expr) => sum.add(self.expr(expr)),
            Body::If { arms, otherwise } => {
                for (condition, then) in arms {
                    sum.add(self.expr(condition));
                    sum.add(Sum::constant(1));
                    sum.add(self.block(then));
                }
                sum.add(self.block(otherwise));
            }
            Body::Try { attempt, handler, .. } => {
                sum.add(Sum::constant(1));
                sum.add(self.block(attempt));
                sum.add(self.block(handler));
            }
        }
        sum
    }

    fn all<'e>(&mut self, exprs: impl IntoIterator<Item = &'e Expr>) -> Sum {
        let mut sum = Sum::default();
        for expr in exprs {
            sum.add(self.expr(expr));
        }
        sum
    }

    fn expr(&mut self, expr: &Expr) -> Sum {
        let mut sum = match &expr.kind {
            ExprKind::Literals(literals) => Sum::constant(literals.len() as u64),
            ExprKind::Template(parts) => self.all(parts.iter().filter_map(|part| match part {
                Part::Placeholder(expr) => Some(expr),
                Part::Text(_) => None,
            })),
            ExprKind::List(items) | ExprKind::New { arguments: items, .. } => self.all(items),
            ExprKind::Map(entries) => self.all(entries.iter().map(|(_, value)| value)),
            ExprKind::Unary { operand, .. } | ExprKind::Throw(operand) => self.expr(operand),
            ExprKind::Chain { first, rest } => {
                let mut sum = self.expr(first);
                for applied in rest {
                    sum.add(self.expr(&applied.operand));
                    sum.add(Sum::constant(1));
                }
                return sum;
            }
            ExprKind::Conditional { arms, otherwise } => {
                let arms = arms.iter().flat_map(|(condition, value)| [condition, value]);
                self.all(arms.chain(std::iter::once(&**otherwise)))
            }
            ExprKind::Lambda(id) => self.function(*id),
            ExprKind::Access { head, links } => return self.access(head, links),
            _ => Sum::default(),
        };
        sum.add(Sum::constant(1));
        sum
    }

    fn function(&mut self, id: u32) -> Sum {
        if let Some(known) = self.counted.get(&id) {
            return known.clone();
        }
        let Some(frame) = self.typed.lambdas.get(id as usize) else { return Sum::default() };
        let captured = frame.captures.iter().map(|binding| self.resolve(*binding)).collect();
        self.frames.push(NamedFunctions { captured, ..NamedFunctions::default() });
        let sum = self.block(&frame.body);
        self.frames.pop();
        self.counted.insert(id, sum.clone());
        sum
    }

    /// The function that an expression is or names, if that is known.
    fn function_of(&self, expr: &Expr) -> Option<u32> {
        match expr.kind {
            ExprKind::Lambda(id) => Some(id),
            ExprKind::Binding(binding) => self.resolve(binding),
            _ => None,
        }
    }

    fn resolve(&self, binding: Binding) -> Option<u32> {
        let frame = self.frames.last()?;
        match binding {
            Binding::Local(slot) => frame.locals.get(&slot).copied(),
            Binding::Captured(at) => frame.captured.get(at as usize).copied().flatten(),
        }
    }

    fn access(&mut self, head: &Expr, links: &[Link]) -> Sum {
        let mut sum = self.expr(head);
        // A list that is made of another one and is not longer has the same variable.
        let mut base: Option<Span> = None;
        for (at, link) in links.iter().enumerate() {
            sum.add(Sum::constant(2));
            match &link.kind {
                LinkKind::Member { called: true, .. } => {}
                LinkKind::Member { .. } => base = None,
                LinkKind::Index { index, .. } => {
                    base = None;
                    sum.add(self.expr(index));
                }
                LinkKind::Call { arguments, .. } => {
                    let method = at.checked_sub(1).and_then(|at| links.get(at));
                    let receiver = match at.checked_sub(2).and_then(|at| links.get(at)) {
                        Some(link) => base.unwrap_or(link.span),
                        None => head.span,
                    };
                    base = keeps_length(method).then_some(receiver);
                    if let Some(id) = self.function_of(head).filter(|_| at == 0) {
                        sum.add(self.function(id));
                    }
                    for argument in arguments {
                        let walks = self.function_of(argument).filter(|_| walks_list(method));
                        match walks {
                            Some(id) => sum.add(self.for_each(head, receiver, id)),
                            None => sum.add(self.expr(argument)),
                        }
                    }
                }
            }
        }
        sum
    }

    /// The cost of a function for every element of the list at `receiver`.
    fn for_each(&mut self, head: &Expr, receiver: Span, id: u32) -> Sum {
        if let ExprKind::Literals(literals) = &head.kind
            && receiver == head.span
        {
            return self.each(id).times(literals.len() as u64);
        }
        let list = receiver.text(&self.typed.source).replace("?.", ".");
        let at = self.lists.iter().position(|known| *known == list).unwrap_or_else(|| {
            self.lists.push(list);
            self.lists.len() - 1
        });
        self.each(id).times_list(at)
    }

    fn each(&mut self, id: u32) -> Sum {
        let mut each = self.function(id);
        each.add(Sum::constant(1));
        each
    }
}

/// Whether the result is a list that is not longer than the receiver.
fn keeps_length(method: Option<&Link>) -> bool {
    let Some(LinkKind::Member { name, .. }) = method.map(|link| &link.kind) else { return false };
    matches!(&*name.text, "map" | "filter" | "slice" | "sort")
}

/// Whether the method calls its argument for each element.
fn walks_list(method: Option<&Link>) -> bool {
    let Some(LinkKind::Member { name, .. }) = method.map(|link| &link.kind) else { return false };
    name.member.is_some_and(Member::iterates)
}

#[cfg(test)]
mod tests {
    use crate::{CheckProfile, Code, Usage, compile, compile_for};

    fn complexity(source: &str) -> super::Complexity {
        compile(source, CheckProfile::Filter).unwrap().complexity
    }

    #[test]
    fn large_constant_is_a_warning() {
        let list = (0..30).map(|n| n.to_string()).collect::<Vec<_>>().join(",");
        let source = format!("[{list}].some(a => [{list}].some(b => a + b < -event.x + a * b))");
        assert!(!refused(&source));
        let usage = Usage::default();
        let warnings = compile_for(&source, CheckProfile::Filter, &usage).unwrap().warnings;
        assert!(warnings.iter().any(|warning| warning.code == Code::TooComplex), "{warnings:?}");
    }

    fn refused(source: &str) -> bool {
        let found = compile_for(source, CheckProfile::Filter, &Usage::default());
        found.is_err_and(|e| e.diagnostics.iter().any(|found| found.code == Code::TooComplex))
    }

    #[test]
    fn lists_are_variables_and_walks_inside_of_walks_multiply() {
        for (source, expected) in [
            ("event.a == 1", "5"),
            ("event.xs.some(x => x == 1)", "4*N + 7"),
            ("[1, 2].some(x => x == event.a)", "19"),
            ("event.xs.some(x => event.ys.some(y => x == y))", "4*N*M + 8*N + 7"),
            ("event.xs.some(x => x == 1) && event.xs?.every(x => x == 1)", "8*N + 15"),
        ] {
            assert_eq!(complexity(source).to_string(), expected, "{source}");
        }
        let json = complexity("event.xs.some(x => x == 1)").as_json();
        assert_eq!(json["variables"]["N"], "event.xs");
    }

    #[test]
    fn reports_which_vendor_limit_is_exceeded() {
        assert_eq!(complexity("event.a.some(x => x) && event.b.some(x => x)").refusal(), None);
        let four = "event.a.some(x => x) && event.b.some(x => x) \
            && event.c.some(x => x) && event.d.some(x => x)";
        assert!(complexity(four).refusal().unwrap().contains("4 lists"));
        let nested = "event.a.some(a => a.b.some(b => b.c.some(c => c == 1)))";
        assert_eq!(complexity(nested).refusal(), None);
        assert!(refused(four) && !refused(nested));
    }

    #[test]
    fn four_walks_inside_of_each_other_are_refused_whatever_list_they_walk() {
        let walks = |lists: [&str; 4]| {
            let [a, b, c, d] = lists;
            format!("{a}.map(w => {b}.map(x => {c}.map(y => {d}.map(z => 1)))).length > 0")
        };
        let items = "event.changelog.items";
        assert!(refused(&walks([items; 4])));
        assert!(refused(&walks(["event.a", "event.b", "event.c", "event.d"])));
        assert!(refused(&walks(["event.a", "w", "x", "y"])));
        assert!(!refused(&walks([items, items, items, "[1, 2]"])));
        assert!(compile(&walks([items; 4]), CheckProfile::Filter).is_ok());
    }

    #[test]
    fn functions_with_names_are_counted_where_they_are_called() {
        let named = complexity("let f = x => x == 1; event.xs.some(f)");
        assert_eq!(named.to_string(), "4*N + 12");
        let nested = "let d = w => event.d.map(z => 1); let c = w => event.c.map(d); \
            let b = w => event.b.map(y => c(y)); event.a.map(b).length > 0";
        assert!(refused(nested));
        let captured = "let d = w => event.items.map(z => 1); \
            event.items.map(a => event.items.map(b => event.items.map(c => d(c)))).length > 0";
        assert!(refused(captured));
        // Each function calls the one before twice.
        let doubled: String =
            (1..60).map(|n| format!("let f{n} = x => f{}(x) == f{}(x); ", n - 1, n - 1)).collect();
        let doubled = format!("let f0 = x => x == 1; {doubled} f59(1)");
        assert!(complexity(&doubled).doubt().is_some());
    }

    #[test]
    fn a_list_made_of_another_has_the_same_variable() {
        let chained = "event.xs.filter(x => x > 1).map(x => x + 1).sort((a, b) => a - b)\
            .slice(1).some(x => x == 2)";
        let found = complexity(chained);
        assert_eq!(found.lists, ["event.xs"]);
        assert!(!refused(chained));
        assert_eq!(complexity("event.xs.flatMap(x => x).some(x => x)").lists.len(), 2);
        assert_eq!(complexity("event.xs.filter(x => x)[0].ys.some(x => x)").lists.len(), 2);
    }

    #[test]
    fn a_filter_of_nothing_but_walks_has_a_bounded_formula() {
        let source = (0..600).map(|i| format!("event.x{i}.some(x=>x)")).collect::<Vec<_>>();
        let source = source.get(..400).unwrap().join("&&");
        assert!(complexity(&source).terms.len() <= super::TERMS_MAX);
    }
}

//! Operators on values, shared by both evaluators.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::ast::BinaryOp;
use crate::budget::{Budget, VALUE_BYTES};
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::limits::{STEPS_PER_ELEMENT, STEPS_PER_REMAINDER};
use crate::text::TextBuilder;
use crate::value::{BuiltList, BuiltMap, List, Map, Text, Type, Value};
use crate::view::View;

/// Applies an operator that evaluates both operands.
pub(crate) fn binary<'v, V: View>(
    op: BinaryOp,
    left: &Value<'v>,
    right: &Value<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<Value<'v>, Fault<'v>> {
    if let Some(truth) = compare(op, left, right, view, budget)? {
        return Ok(Value::Bool(truth));
    }
    if let Some(number) = calculate(op, left, right, budget)? {
        return Ok(Value::Number(number));
    }
    match op {
        BinaryOp::Add => add(left, right, view, budget),
        // Logical operators evaluate their right operand only if it is their result.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Coalesce => Ok(right.clone()),
        _ => Err(bad_operands(op, left.type_of(), right.type_of())),
    }
}

/// Applies a comparison; returns none for other operators.
#[inline]
pub(crate) fn compare<'v, V: View>(
    op: BinaryOp,
    left: &Value<'v>,
    right: &Value<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<Option<bool>, Fault<'v>> {
    Ok(Some(match op {
        BinaryOp::Equal => equal(left, right, view, budget)?,
        BinaryOp::NotEqual => !equal(left, right, view, budget)?,
        BinaryOp::Less => ordered(left, right, budget, Ordering::is_lt)?,
        BinaryOp::Greater => ordered(left, right, budget, Ordering::is_gt)?,
        BinaryOp::LessOrEqual => ordered(left, right, budget, Ordering::is_le)?,
        BinaryOp::GreaterOrEqual => ordered(left, right, budget, Ordering::is_ge)?,
        _ => return Ok(None),
    }))
}

/// Applies an arithmetic operator to two numbers; returns none for other operators and operands.
#[inline]
pub(crate) fn calculate<'v>(
    op: BinaryOp,
    left: &Value<'v>,
    right: &Value<'v>,
    budget: &mut Budget,
) -> Result<Option<f64>, Fault<'v>> {
    let (Value::Number(a), Value::Number(b)) = (left, right) else { return Ok(None) };
    Ok(Some(match op {
        BinaryOp::Add => a + b,
        BinaryOp::Subtract => a - b,
        BinaryOp::Multiply => a * b,
        BinaryOp::Divide => a / b,
        BinaryOp::Remainder => {
            budget.charge(STEPS_PER_REMAINDER)?;
            a % b
        }
        _ => return Ok(None),
    }))
}

/// Whether a logical operator returns its left operand without evaluating the right one; none for
/// other operators.
pub(crate) fn settles(op: BinaryOp, left: &Value<'_>) -> Option<bool> {
    match op {
        BinaryOp::And => Some(!left.is_truthy()),
        BinaryOp::Or => Some(left.is_truthy()),
        BinaryOp::Coalesce => Some(!matches!(left, Value::Null)),
        _ => None,
    }
}

/// `-x`
pub(crate) fn negate<'v>(operand: &Value<'v>) -> Result<Value<'v>, Fault<'v>> {
    match operand {
        Value::Number(number) => Ok(Value::Number(-number)),
        other => {
            let found = other.type_of().name();
            Err(Fault::new(Code::BadOperand, format!("`-` needs a Number, found {found}")))
        }
    }
}

/// Equality: by value inside a type, false between types, never an error.
pub(crate) fn equal<'v, V: View>(
    left: &Value<'v>,
    right: &Value<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<bool, Fault<'v>> {
    Ok(match (left, right) {
        (Value::Null, Value::Null) => true,
        (Value::Bool(a), Value::Bool(b)) => a == b,
        (Value::Number(a), Value::Number(b)) => a == b,
        (Value::String(a), Value::String(b)) | (Value::RichText(a), Value::RichText(b)) => {
            let (a, b) = (a.as_str(), b.as_str());
            if a.len() != b.len() {
                return Ok(false);
            }
            budget.charge_text(a.len())?;
            // The address of an empty text is dangling; `memcmp` at such an address was measured to
            // be a hundred times slower.
            a.is_empty() || a == b
        }
        (Value::List(a), Value::List(b)) => lists_equal(a, b, view, budget)?,
        (Value::Map(a), Value::Map(b)) => maps_equal(a, b, view, budget)?,
        (Value::Date(a), Value::Date(b)) => a == b,
        (Value::CalendarDate(a), Value::CalendarDate(b)) => a == b,
        (Value::Error(a), Value::Error(b)) => Rc::ptr_eq(a, b),
        // Functions have no identity: no function equals another.
        _ => false,
    })
}

fn lists_equal<'v, V: View>(
    left: &List<'v>,
    right: &List<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<bool, Fault<'v>> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (a, b) in left.iter(view).zip(right.iter(view)) {
        // One element of each list.
        budget.charge(2 * STEPS_PER_ELEMENT)?;
        if !equal(&a, &b, view, budget)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal<'v, V: View>(
    left: &Map<'v>,
    right: &Map<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<bool, Fault<'v>> {
    if left.len() != right.len() {
        return Ok(false);
    }
    for (name, a) in entries(left, view, budget)? {
        budget.charge(2 * STEPS_PER_ELEMENT)?;
        charge_map_lookup(right, name.as_str(), budget)?;
        match right.get(view, name.as_str()) {
            Some(b) if equal(&a, &b, view, budget)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// Copies the names and values of a map in order, and charges for it.
pub(crate) fn entries<'v, V: View>(
    map: &Map<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<Vec<(Text<'v>, Value<'v>)>, Fault<'v>> {
    budget.charge_entries(map.len())?;
    Ok(map.entries(view))
}

/// Charges for a lookup by the names it compares: all names of a built map, the first names of an
/// event map.
pub(crate) fn charge_map_lookup<'v>(
    map: &Map<'v>,
    name: &str,
    budget: &mut Budget,
) -> Result<(), Fault<'v>> {
    budget.charge_text(name.len())?;
    match map {
        Map::Node { len, .. } => budget.charge_lookup(*len),
        Map::Built(map) => budget.charge_each(map.entries.len()),
    }
}

fn ordered<'v>(
    left: &Value<'v>,
    right: &Value<'v>,
    budget: &mut Budget,
    holds: fn(Ordering) -> bool,
) -> Result<bool, Fault<'v>> {
    let order = match (left, right) {
        // NaN has no order.
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => {
            budget.charge_search(a.as_str().len().min(b.as_str().len()))?;
            Some(compare_text(a.as_str(), b.as_str()))
        }
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::CalendarDate(a), Value::CalendarDate(b)) => Some(a.cmp(b)),
        _ => return Err(not_comparable(left.type_of(), right.type_of())),
    };
    Ok(order.is_some_and(holds))
}

/// The vendor's message. **Source:** REST v3, Jira expressions, evaluation errors.
fn not_comparable<'v>(left: Type, right: Type) -> Fault<'v> {
    let message = format!("Can't compare {} to {}.", left.name(), right.name());
    Fault::new(Code::NotComparable, message)
}

/// Compares by UTF-16 units, which differs from byte order only above U+FFFF.
fn compare_text(left: &str, right: &str) -> Ordering {
    let same = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
    // The first differing byte may be inside a character.
    let start = (0..=same).rev().find(|at| left.is_char_boundary(*at)).unwrap_or(0);
    let rest = |text: &str| text.get(start..).and_then(|rest| rest.chars().next());
    match (rest(left), rest(right)) {
        (Some(a), Some(b)) => (*a.encode_utf16(&mut [0; 2])).cmp(b.encode_utf16(&mut [0; 2])),
        (a, b) => a.is_some().cmp(&b.is_some()),
    }
}

fn bad_operands<'v>(op: BinaryOp, left: Type, right: Type) -> Fault<'v> {
    let (op, left, right) = (op.symbol(), left.name(), right.name());
    Fault::new(Code::BadOperand, format!("`{op}` cannot be applied to {left} and {right}"))
}

fn add<'v, V: View>(
    left: &Value<'v>,
    right: &Value<'v>,
    view: &'v V,
    budget: &mut Budget,
) -> Result<Value<'v>, Fault<'v>> {
    match (left, right) {
        (Value::String(_), other) | (other, Value::String(_)) if has_text(other) => {
            let mut text = TextBuilder::new(budget)?;
            text.push_value(left, view, budget)?;
            text.push_value(right, view, budget)?;
            Ok(text.finish())
        }
        _ => Err(bad_operands(BinaryOp::Add, left.type_of(), right.type_of())),
    }
}

fn has_text(value: &Value<'_>) -> bool {
    !matches!(value, Value::Function(_))
}

/// Builds a list, with its memory charged and its depth checked.
pub(crate) fn build_list<'v>(
    values: Vec<Value<'v>>,
    budget: &mut Budget,
) -> Result<Value<'v>, Fault<'v>> {
    budget.charge_allocation(values.len() * VALUE_BYTES)?;
    shared_list(values, budget)
}

/// A list under construction that charges the budget.
#[derive(Default)]
pub(crate) struct ListBuilder<'v> {
    values: Vec<Value<'v>>,
}

impl<'v> ListBuilder<'v> {
    pub(crate) fn push(&mut self, value: Value<'v>, budget: &mut Budget) -> Result<(), Fault<'v>> {
        budget.charge_growth(1)?;
        self.values.push(value);
        Ok(())
    }

    /// Completes the list.
    pub(crate) fn finish(self, budget: &mut Budget) -> Result<Value<'v>, Fault<'v>> {
        let values = self.values;
        budget.charge_allocation(0)?;
        shared_list(values, budget)
    }
}

/// Builds a list whose memory is already charged.
pub(crate) fn shared_list<'v>(
    values: Vec<Value<'v>>,
    budget: &Budget,
) -> Result<Value<'v>, Fault<'v>> {
    let deepest = values.iter().map(Value::depth).max().unwrap_or(0);
    let depth = budget.check_depth(deepest.saturating_add(1))?;
    Ok(Value::List(List::Built(Rc::new(BuiltList { values, depth }))))
}

/// Builds a map, with its memory charged and its depth checked. Of a repeated name the last value
/// counts.
pub(crate) fn build_map<'v>(
    entries: impl IntoIterator<Item = (Text<'v>, Value<'v>)>,
    budget: &mut Budget,
) -> Result<Value<'v>, Fault<'v>> {
    let mut map = BuiltMap { entries: Vec::new(), depth: 0 };
    let mut deepest = 0;
    for (name, value) in entries {
        budget.charge_growth(2)?;
        budget.charge_each(map.entries.len())?;
        budget.charge_text(name.as_str().len() * map.entries.len())?;
        deepest = deepest.max(value.depth());
        map.set(name, value);
    }
    budget.charge_allocation(0)?;
    map.depth = budget.check_depth(deepest.saturating_add(1))?;
    Ok(Value::Map(Map::Built(Rc::new(map))))
}

//! What operators mean on values: one meaning for every evaluator.

use std::cmp::Ordering;
use std::rc::Rc;

use crate::ast::BinaryOp;
use crate::diagnostic::Code;
use crate::fault::Fault;
use crate::meter::Meter;
use crate::text::TextBuilder;
use crate::value::{BuiltList, BuiltMap, List, Map, Text, Type, Value};
use crate::view::View;

/// Rough size of a value inside a list, for the memory bound.
pub(crate) const VALUE_BYTES: usize = 32;

/// Applies an operator that needs both operands.
pub(crate) fn binary<'v, V: View>(
    op: BinaryOp,
    left: &Value<'v>,
    right: &Value<'v>,
    view: &'v V,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    match op {
        BinaryOp::Equal => equal(left, right, view, meter).map(Value::Bool),
        BinaryOp::NotEqual => equal(left, right, view, meter).map(|same| Value::Bool(!same)),
        BinaryOp::Less => ordered(left, right, meter, Ordering::is_lt),
        BinaryOp::Greater => ordered(left, right, meter, Ordering::is_gt),
        BinaryOp::LessOrEqual => ordered(left, right, meter, Ordering::is_le),
        BinaryOp::GreaterOrEqual => ordered(left, right, meter, Ordering::is_ge),
        BinaryOp::Add => add(left, right, view, meter),
        BinaryOp::Subtract => arithmetic(op, left, right, |a, b| a - b),
        BinaryOp::Multiply => arithmetic(op, left, right, |a, b| a * b),
        BinaryOp::Divide => arithmetic(op, left, right, |a, b| a / b),
        BinaryOp::Remainder => arithmetic(op, left, right, |a, b| a % b),
        // The logical operators never see their right operand unless they yield it.
        BinaryOp::And | BinaryOp::Or | BinaryOp::Coalesce => Ok(right.clone()),
    }
}

/// Whether a logical operator yields its left operand without looking at the right one; none for
/// operators that need both.
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
    meter: &mut Meter,
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
            meter.read_text(a.len())?;
            a == b
        }
        (Value::List(a), Value::List(b)) => lists_equal(a, b, view, meter)?,
        (Value::Map(a), Value::Map(b)) => maps_equal(a, b, view, meter)?,
        (Value::Date(a), Value::Date(b)) => a == b,
        (Value::CalendarDate(a), Value::CalendarDate(b)) => a == b,
        (Value::Error(a), Value::Error(b)) => Rc::ptr_eq(a, b),
        // Functions have no identity: none equals any.
        _ => false,
    })
}

fn lists_equal<'v, V: View>(
    left: &List<'v>,
    right: &List<'v>,
    view: &'v V,
    meter: &mut Meter,
) -> Result<bool, Fault<'v>> {
    if left.len() != right.len() {
        return Ok(false);
    }
    meter.read_elements(left.len())?;
    for (a, b) in left.iter(view).zip(right.iter(view)) {
        if !equal(&a, &b, view, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}

fn maps_equal<'v, V: View>(
    left: &Map<'v>,
    right: &Map<'v>,
    view: &'v V,
    meter: &mut Meter,
) -> Result<bool, Fault<'v>> {
    if left.len() != right.len() {
        return Ok(false);
    }
    meter.read_elements(left.len())?;
    for (name, a) in left.entries(view) {
        charge_lookup(right, meter)?;
        match right.get(view, name.as_str()) {
            Some(b) if equal(&a, &b, view, meter)? => {}
            _ => return Ok(false),
        }
    }
    Ok(true)
}

/// A built map is searched from its start, so a lookup costs by its size.
pub(crate) fn charge_lookup<'v>(map: &Map<'v>, meter: &mut Meter) -> Result<(), Fault<'v>> {
    match map {
        Map::Node { .. } => Ok(()),
        Map::Built(map) => meter.read_elements(map.entries.len()),
    }
}

fn ordered<'v>(
    left: &Value<'v>,
    right: &Value<'v>,
    meter: &mut Meter,
    holds: fn(Ordering) -> bool,
) -> Result<Value<'v>, Fault<'v>> {
    let order = match (left, right) {
        // Nothing holds between NaN and a number.
        (Value::Number(a), Value::Number(b)) => a.partial_cmp(b),
        (Value::String(a), Value::String(b)) => {
            meter.read_text(a.as_str().len().min(b.as_str().len()))?;
            Some(compare_text(a.as_str(), b.as_str()))
        }
        (Value::Date(a), Value::Date(b)) => Some(a.cmp(b)),
        (Value::CalendarDate(a), Value::CalendarDate(b)) => Some(a.cmp(b)),
        _ => return Err(not_comparable(left.type_of(), right.type_of())),
    };
    Ok(Value::Bool(order.is_some_and(holds)))
}

/// Wording of the vendor. **Source:** REST v3, Jira expressions, evaluation errors.
fn not_comparable<'v>(left: Type, right: Type) -> Fault<'v> {
    let message = format!("Can't compare {} to {}.", left.name(), right.name());
    Fault::new(Code::NotComparable, message)
}

/// By UTF-16 units, which differs from the order of bytes only beyond U+FFFF.
fn compare_text(left: &str, right: &str) -> Ordering {
    left.encode_utf16().cmp(right.encode_utf16())
}

fn arithmetic<'v>(
    op: BinaryOp,
    left: &Value<'v>,
    right: &Value<'v>,
    apply: fn(f64, f64) -> f64,
) -> Result<Value<'v>, Fault<'v>> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => Ok(Value::Number(apply(*a, *b))),
        _ => Err(bad_operands(op, left.type_of(), right.type_of())),
    }
}

fn bad_operands<'v>(op: BinaryOp, left: Type, right: Type) -> Fault<'v> {
    let (op, left, right) = (op.sign(), left.name(), right.name());
    Fault::new(Code::BadOperand, format!("`{op}` cannot be applied to {left} and {right}"))
}

fn add<'v, V: View>(
    left: &Value<'v>,
    right: &Value<'v>,
    view: &'v V,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    match (left, right) {
        (Value::Number(a), Value::Number(b)) => Ok(Value::Number(a + b)),
        (Value::String(_), other) | (other, Value::String(_)) if has_text(other) => {
            let mut text = TextBuilder::new();
            text.push_value(left, view, meter)?;
            text.push_value(right, view, meter)?;
            Ok(text.finish())
        }
        _ => Err(bad_operands(BinaryOp::Add, left.type_of(), right.type_of())),
    }
}

fn has_text(value: &Value<'_>) -> bool {
    !matches!(value, Value::Function(_))
}

/// A list of values, charged and bounded.
pub(crate) fn build_list<'v>(
    values: Vec<Value<'v>>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    meter.memory(values.len() * VALUE_BYTES + VALUE_BYTES)?;
    let deepest = values.iter().map(Value::depth).max().unwrap_or(0);
    let depth = meter.depth(deepest.saturating_add(1))?;
    Ok(Value::List(List::Built(Rc::new(BuiltList { values, depth }))))
}

/// A map of entries, charged and bounded. Names may repeat; the last one counts.
pub(crate) fn build_map<'v>(
    entries: impl IntoIterator<Item = (Text<'v>, Value<'v>)>,
    meter: &mut Meter,
) -> Result<Value<'v>, Fault<'v>> {
    let mut map = BuiltMap { entries: Vec::new(), depth: 0 };
    let mut deepest = 0;
    for (name, value) in entries {
        meter.memory(2 * VALUE_BYTES)?;
        meter.read_elements(map.entries.len())?;
        deepest = deepest.max(value.depth());
        map.set(name, value);
    }
    meter.memory(VALUE_BYTES)?;
    map.depth = meter.depth(deepest.saturating_add(1))?;
    Ok(Value::Map(Map::Built(Rc::new(map))))
}

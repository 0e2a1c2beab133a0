//! Pushing values on the stack.

use crate::value::{Map, Text, Value};
use crate::view::NodeId;

/// Pushes the value of `make`. `Vec::push` would keep the value on the call stack while the vector
/// may grow, written in parts, and the load that follows waits for these stores, which takes longer
/// than most operators. Here the vector grows first and the value is built in place.
#[inline]
pub(super) fn push_with<'v>(stack: &mut Vec<Value<'v>>, make: impl FnOnce() -> Value<'v>) {
    stack.extend(std::iter::once_with(make));
}

#[inline]
pub(super) fn push_number(stack: &mut Vec<Value<'_>>, number: f64) {
    push_with(stack, || Value::Number(number));
}

#[inline]
pub(super) fn push_bool(stack: &mut Vec<Value<'_>>, truth: bool) {
    push_with(stack, || Value::Bool(truth));
}

#[inline]
pub(super) fn push_text<'v>(stack: &mut Vec<Value<'v>>, text: &'v str) {
    push_with(stack, || Value::String(Text::Borrowed(text)));
}

#[inline]
pub(super) fn push_map(stack: &mut Vec<Value<'_>>, node: NodeId, len: u32) {
    push_with(stack, || Value::Map(Map::Node { node, len }));
}

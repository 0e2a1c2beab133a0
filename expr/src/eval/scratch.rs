//! The memory that evaluations reuse.

use crate::value::Value;

/// Reusable memory of evaluations, and the steps of the last one.
#[derive(Debug, Default)]
pub struct EvalScratch {
    /// Empty. Only its capacity is kept: it holds no value and can move to another thread.
    stack: Vec<ValueSized>,
    steps: u32,
}

/// A placeholder of the size of one [`Value`].
#[derive(Debug)]
struct ValueSized {
    _space: [usize; size_of::<Value<'static>>() / size_of::<usize>()],
}

impl EvalScratch {
    /// Scratch without capacity; it grows to the needs of the filters.
    pub fn new() -> EvalScratch {
        EvalScratch::default()
    }

    /// Steps of the last evaluation; its whole budget if that was exhausted.
    pub fn steps(&self) -> u32 {
        self.steps
    }

    /// An empty stack with the kept capacity.
    pub(super) fn take_stack<'v>(&mut self) -> Vec<Value<'v>> {
        with_capacity_of(std::mem::take(&mut self.stack), |_| Value::Null)
    }

    /// Keeps the capacity of a stack, and the steps of the evaluation that used it.
    pub(super) fn keep(&mut self, stack: Vec<Value<'_>>, steps: u32) {
        self.stack = with_capacity_of(stack, |_| ValueSized { _space: Default::default() });
        self.steps = steps;
    }
}

/// Returns an empty vector with the memory of `stack`. Collecting an emptied vector into a vector
/// of the same layout reuses its allocation, and changes the type without unsafe code.
fn with_capacity_of<A, B>(mut stack: Vec<A>, never_called: impl FnMut(A) -> B) -> Vec<B> {
    stack.clear();
    stack.into_iter().map(never_called).collect()
}

//! Evaluates a program on an event in bounded steps. Typical filters allocate nothing: values
//! borrow from the event and the program, and the caller provides a reusable stack.

mod evaluator;
mod scratch;
mod stack;
mod verdict;

pub use scratch::EvalScratch;
pub use verdict::Verdict;
pub(crate) use verdict::not_boolean;

#[cfg(test)]
mod tests;

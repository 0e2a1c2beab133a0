//! Explanations: why a filter has its verdict on an event.
//!
//! The reference evaluator runs with a recorder. The explanation contains each part of the source
//! with its value, the part that decided the verdict, the paths that were read, and the index keys
//! of the filter. It is slow and meant for people; its verdict is that of the program.

mod deciding;
mod model;
mod recorder;
mod render;
mod run;
mod tree;

pub use model::{
    ExplainedPart, Explanation, FunctionCall, FunctionCalls, PartOutcome, PathRead, ValueSummary,
};
pub use run::explain;

#[cfg(test)]
mod tests;

//! A compiler and evaluator of Jira expressions. It does no I/O, reads no clock and is synchronous.
//!
//! An expression is parsed, checked and compiled once, then evaluated on many events:
//!
//! ```
//! use switchyard_expr::{CheckProfile, Env, EvalScratch, Tape, TapeLimits, Verdict, compile};
//!
//! let filter = "event.issue.fields.project.key == 'ABC' && event.labels.includes('urgent')";
//! let compiled = compile(filter, CheckProfile::Filter).expect("a filter without mistakes");
//!
//! let mut event = Tape::new();
//! let json = br#"{"issue": {"fields": {"project": {"key": "ABC"}}}, "labels": ["urgent"]}"#;
//! event.parse(json, &TapeLimits::default()).expect("JSON");
//!
//! let mut scratch = EvalScratch::new();
//! let verdict = compiled.program.verdict(&event, &Env::at(0), &mut scratch);
//! assert_eq!(verdict, Verdict::Match);
//! assert_eq!(scratch.steps(), 23);
//!
//! let rejected = compile("event.issue.key = 'ABC-1'", CheckProfile::Filter).unwrap_err();
//! assert_eq!(rejected.diagnostics[0].message, "expected `==`, found `=`");
//! ```
//!
//! In reading order: [`mod@span`], [`limits`], [`diagnostic`], `lex`, `ast`, `parse`, `check`,
//! `typed`, `frontend`, then `constant_table`, [`value`], `text`, `operator`, `builtin`, the reference evaluator
//! `naive`, and the compiled form `parameter_slots`, `parameters`, `compile`, `program`,
//! `template_cache`, `eval`. A matcher reads [`predicate`]; events are read through [`view`].

mod ast;
mod budget;
mod builtin;
pub mod cases;
mod check;
mod compile;
mod complexity;
mod constant_table;
pub mod diagnostic;
mod env;
mod eval;
pub mod explain;
mod fault;
pub mod fields;
mod frontend;
pub mod highlight;
pub mod jql;
mod lex;
pub mod limits;
mod lint;
pub mod manual;
mod naive;
mod operator;
mod parameter_slots;
mod parameters;
mod parse;
pub mod predicate;
mod profile;
mod program;
pub mod reference;
pub mod render;
mod schema;
pub mod span;
mod suggestions;
mod tape;
mod template_cache;
mod text;
mod typed;
pub mod value;
pub mod view;

pub use crate::ast::quoted;
pub use crate::complexity::Complexity;
pub use crate::diagnostic::{Code, CompileError, Diagnostic, ErrorKind, Severity};
pub use crate::env::Env;
pub use crate::eval::{EvalScratch, Verdict};
pub use crate::fault::EvalError;
pub use crate::frontend::{Compiled, canonical, compile, compile_for, declared_names, token_count};
pub use crate::predicate::{Condition, Facts, Path, Resolved};
pub use crate::profile::{CheckProfile, Usage};
pub use crate::program::Program;
pub use crate::schema::nearest;
pub use crate::span::Span;
pub use crate::tape::{Tape, TapeError, TapeLimits};
pub use crate::template_cache::TemplateCache;
pub use crate::value::Value;
pub use crate::view::View;

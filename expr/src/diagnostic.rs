//! Diagnostics: stable codes, severities, messages, spans and suggestions.

mod code;
mod finding;
mod position;

pub use code::{Code, ErrorKind, Page};
pub use finding::{CompileError, Diagnostic, Label, Severity};
pub use position::Position;

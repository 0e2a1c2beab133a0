//! Diagnostics: stable codes, severities, messages, spans and suggestions.

mod code;
mod finding;
mod pages;
mod position;

pub use code::{Code, ErrorKind};
pub use finding::{CompileError, Diagnostic, Label, Severity};
pub use pages::Page;
pub use position::Position;

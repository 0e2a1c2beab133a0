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
//! `typed`, then [`value`], `text`, `operator`, `builtin`, the reference evaluator `naive`, and the
//! compiled form `parameter_slots`, `parameters`, `compile`, `program`, `template_cache`, `eval`. A
//! matcher reads [`predicate`]; events are read through [`view`].

mod ast;
mod budget;
mod builtin;
pub mod cases;
mod check;
mod compile;
mod complexity;
pub mod diagnostic;
mod eval;
pub mod explain;
mod fault;
pub mod jql;
mod lex;
pub mod limits;
mod lint;
mod naive;
mod operator;
mod parameter_slots;
mod parameters;
mod parse;
pub mod predicate;
mod program;
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
pub use crate::diagnostic::{Code, Diagnostic, ErrorKind, Severity};
pub use crate::eval::{EvalScratch, Verdict};
pub use crate::fault::EvalError;
pub use crate::predicate::{Condition, Facts, Path, Resolved};
pub use crate::program::Program;
pub use crate::schema::nearest;
pub use crate::span::Span;
pub use crate::tape::{Tape, TapeError, TapeLimits};
pub use crate::template_cache::TemplateCache;
pub use crate::value::Value;
pub use crate::view::View;

/// The rules by which an expression is checked.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckProfile {
    /// A trigger filter: `event` is the only variable, and an expression that always fails is
    /// rejected.
    Filter,
    /// Any other expression: all variable names are accepted, and type errors are raised when it is
    /// evaluated.
    General,
}

/// The inputs of an evaluation other than the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Env {
    /// The value of `new Date()`, in milliseconds since 1970-01-01T00:00Z.
    pub now_ms: i64,
    /// The largest number of steps an evaluation may use.
    pub steps_max: u32,
}

impl Env {
    /// The documented limits, with `new Date()` set to `now_ms`.
    pub fn at(now_ms: i64) -> Env {
        Env { now_ms, steps_max: limits::STEPS_MAX }
    }
}

/// The result of compiling an expression.
#[derive(Debug)]
pub struct Compiled {
    /// The executable form of the expression.
    pub program: Program,
    /// Warnings about legal but probably unintended code, in source order.
    pub warnings: Vec<Diagnostic>,
    /// How the cost of the expression grows with the lists it iterates over.
    pub complexity: Complexity,
}

/// The error of an expression that does not compile.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.summary())]
pub struct CompileError {
    /// All errors and warnings, in source order; at least one is an error.
    pub diagnostics: Vec<Diagnostic>,
}

impl CompileError {
    /// The first error.
    pub fn first_error(&self) -> Option<&Diagnostic> {
        self.diagnostics.iter().find(|diagnostic| diagnostic.severity == Severity::Error)
    }

    fn summary(&self) -> &str {
        self.first_error().map_or("the expression is refused", |first| &first.message)
    }
}

/// Parses, checks and compiles an expression.
///
/// # Errors
/// The syntax errors of `source`, or all findings of the checker if one of them is an error.
pub fn compile(source: &str, profile: CheckProfile) -> Result<Compiled, CompileError> {
    let (typed, warnings) = parse_and_check(source, profile)?;
    let complexity = Complexity::of(&typed);
    Ok(Compiled { program: compile::compile(&typed).0, warnings, complexity })
}

/// Returns the expression in canonical form: the same syntax tree, without layout, comments and
/// redundant parentheses.
///
/// # Errors
/// The syntax errors of `source`.
pub fn canonical(source: &str) -> Result<String, CompileError> {
    let tree = parse::parse(source).map_err(|diagnostics| CompileError { diagnostics })?;
    Ok(tree.to_string())
}

/// Returns the operands of the top-level `&&`, each as an expression in canonical form, in the
/// order of [`predicate::Condition::operands`]. The result is the whole expression if it has no
/// such operator, and empty if it starts with declarations.
///
/// # Errors
/// The syntax errors of `source`.
pub fn operands(source: &str) -> Result<Vec<String>, CompileError> {
    let tree = parse::parse(source).map_err(|diagnostics| CompileError { diagnostics })?;
    Ok(tree.conjuncts().into_iter().map(ToString::to_string).collect())
}

/// Returns the number of tokens, including the end token.
///
/// # Errors
/// The characters that belong to no token.
pub fn token_count(source: &str) -> Result<usize, CompileError> {
    let lexed = lex::lex(source);
    if lexed.errors.is_empty() {
        Ok(lexed.tokens.len())
    } else {
        Err(CompileError { diagnostics: lexed.errors })
    }
}

/// The trigger settings that change what the checker reports.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage<'a> {
    /// The event types that the filter is evaluated on; empty means any.
    pub events: &'a [&'a str],
    /// Whether `onError` delivers the event when the filter fails, instead of dropping it.
    pub delivers_on_error: bool,
}

/// Compiles a filter and checks it against the payload schemas of its event types.
///
/// # Errors
/// As [`compile`]; in addition, comparisons that fail on every event of these types.
pub fn compile_for(
    source: &str,
    profile: CheckProfile,
    usage: &Usage<'_>,
) -> Result<Compiled, CompileError> {
    let (typed, mut findings) = parse_and_check(source, profile)?;
    let complexity = Complexity::of(&typed);
    if profile == CheckProfile::Filter {
        findings.extend(complexity.refusal().map(|why| too_complex(source, &why)));
        lint::lint(&typed, usage, &mut findings);
        findings.sort_by_key(|finding| (finding.span.start, finding.code));
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        // A possible null access matters little while the filter has errors.
        findings.retain(|finding| finding.code != Code::MayBeMissing);
        return Err(CompileError { diagnostics: findings });
    }
    Ok(Compiled { program: compile::compile(&typed).0, warnings: findings, complexity })
}

fn too_complex(source: &str, why: &str) -> Diagnostic {
    let span = Span::new(0, source.len());
    Diagnostic::warning(
        Code::TooComplex,
        span,
        format!("the vendor would refuse this filter: {why}"),
    )
    .with_help("it works here, within 50,000 steps an event; walk fewer lists to be portable")
}

/// Parses and checks.
fn parse_and_check(
    source: &str,
    profile: CheckProfile,
) -> Result<(typed::Typed, Vec<Diagnostic>), CompileError> {
    let tree = parse::parse(source).map_err(|diagnostics| CompileError { diagnostics })?;
    check::check(&tree, source, profile).map_err(|diagnostics| CompileError { diagnostics })
}

/// The reference evaluator: slow, and the definition of the result of [`Program::eval`].
pub mod reference {
    use crate::typed::Typed;
    use crate::{CheckProfile, CompileError, Env, EvalError, Value, View};

    /// A checked expression as a typed tree.
    #[derive(Debug)]
    pub struct Tree(Typed);

    impl Tree {
        /// Parses and checks an expression.
        ///
        /// # Errors
        /// As [`crate::compile`].
        pub fn parse(source: &str, profile: CheckProfile) -> Result<Tree, CompileError> {
            crate::parse_and_check(source, profile).map(|(typed, _)| Tree(typed))
        }

        /// Evaluates the tree and returns the number of steps as the second value.
        pub fn eval<'v, V: View>(
            &'v self,
            view: &'v V,
            env: &Env,
        ) -> (Result<Value<'v>, EvalError>, u32) {
            crate::naive::eval(&self.0, view, env)
        }
    }
}

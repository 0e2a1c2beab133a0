//! The Jira expressions language: text in, verdict out. No I/O, no clock, no async.
//!
//! An expression is parsed, checked and compiled once, then evaluated on many events:
//!
//! ```
//! use switchyard_expr::{Env, CheckProfile, EvalScratch, Tape, TapeLimits, Verdict, compile};
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
//! `typed`, then [`value`], `text`, `operator`, `builtin`, and the evaluators `naive` and
//! `parameter_slots`, `parameters`, `compile`, `program`, `template_cache`, `eval`. A matcher reads
//! [`predicate`]; events come in through [`view`].

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

/// Where an expression is used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum CheckProfile {
    /// A filter of a trigger: only `event` exists, and what can only fail is refused.
    Filter,
    /// Any other use: all names may exist, and mistakes surface when they are evaluated.
    General,
}

/// What an evaluation depends on besides the event.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Env {
    /// What `new Date()` yields, in milliseconds since 1970-01-01T00:00Z.
    pub now_ms: i64,
    /// Steps before the evaluation is given up.
    pub steps_max: u32,
}

impl Env {
    /// The documented limits at an instant.
    pub fn at(now_ms: i64) -> Env {
        Env { now_ms, steps_max: limits::STEPS_MAX }
    }
}

/// An accepted expression.
#[derive(Debug)]
pub struct Compiled {
    /// What evaluates it.
    pub program: Program,
    /// What is legal but probably not meant, ordered by place.
    pub warnings: Vec<Diagnostic>,
    /// How its cost grows with the lists it walks.
    pub complexity: Complexity,
}

/// A refused expression.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{}", self.summary())]
pub struct CompileError {
    /// All findings, ordered by place; at least one is an error.
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
/// What is wrong with it: the errors of its syntax, or all findings of the checker.
pub fn compile(source: &str, profile: CheckProfile) -> Result<Compiled, CompileError> {
    let (typed, warnings) = parse_and_check(source, profile)?;
    let complexity = Complexity::of(&typed);
    Ok(Compiled { program: compile::compile(&typed).0, warnings, complexity })
}

/// The expression in its canonical spelling: the same tree, without layout, comments and
/// parentheses that change nothing.
///
/// # Errors
/// The errors of its syntax.
pub fn canonical(source: &str) -> Result<String, CompileError> {
    let tree = parse::parse(source).map_err(|diagnostics| CompileError { diagnostics })?;
    Ok(tree.to_string())
}

/// The operands of the top-level `&&` of an expression, each an expression of its own in canonical
/// spelling, in the order of [`predicate::Condition::operands`]; all of it if there is no such
/// operator, and nothing behind declarations.
///
/// # Errors
/// The errors of its syntax.
pub fn operands(source: &str) -> Result<Vec<String>, CompileError> {
    let tree = parse::parse(source).map_err(|diagnostics| CompileError { diagnostics })?;
    Ok(tree.conjuncts().into_iter().map(ToString::to_string).collect())
}

/// How many tokens an expression consists of, its end included.
///
/// # Errors
/// What in it is no token.
pub fn token_count(source: &str) -> Result<usize, CompileError> {
    let lexed = lex::lex(source);
    if lexed.errors.is_empty() {
        Ok(lexed.tokens.len())
    } else {
        Err(CompileError { diagnostics: lexed.errors })
    }
}

/// Where a filter is used: what its trigger says beside it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage<'a> {
    /// The event types that the filter is for; none = any.
    pub events: &'a [&'a str],
    /// Whether onError delivers the event when the filter fails, instead of dropping it.
    pub delivers_on_error: bool,
}

/// Compiles a filter and looks for what is legal but not meant, given the events it is for.
///
/// # Errors
/// As [`compile`]; also comparisons that fail on every event of these types.
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
        // What may be missing is small beside what is wrong.
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

/// The reference evaluator: slow, and the definition of what [`Program::eval`] yields.
pub mod reference {
    use crate::typed::Typed;
    use crate::{CheckProfile, CompileError, Env, EvalError, Value, View};

    /// A checked expression in the form the reference evaluator walks.
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

        /// Evaluates the tree; the second part is the number of steps.
        pub fn eval<'v, V: View>(
            &'v self,
            view: &'v V,
            env: &Env,
        ) -> (Result<Value<'v>, EvalError>, u32) {
            crate::naive::eval(&self.0, view, env)
        }
    }
}

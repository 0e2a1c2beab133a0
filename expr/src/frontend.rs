//! The stages from source to program: parse, check, lint, compile.

use crate::compile::generate;
use crate::complexity::Complexity;
use crate::diagnostic::{Code, CompileError, Diagnostic, Severity};
use crate::lex::TokenKind;
use crate::profile::{CheckProfile, Usage};
use crate::program::Program;
use crate::span::Span;
use crate::typed::Typed;
use crate::{check, lex, lint, parse};

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

/// Parses, checks and compiles an expression.
///
/// # Errors
/// The syntax errors of `source`, or all findings of the checker if one of them is an error.
pub fn compile(source: &str, profile: CheckProfile) -> Result<Compiled, CompileError> {
    let (typed, warnings) = parse_and_check(source, profile)?;
    let complexity = Complexity::of(&typed);
    Ok(Compiled { program: generate(&typed).0, warnings, complexity })
}

/// Returns the expression in canonical form: the same syntax tree, without layout, comments and
/// redundant parentheses.
///
/// # Errors
/// The syntax errors of `source`.
pub fn canonical(source: &str) -> Result<String, CompileError> {
    check_length(source)?;
    let tree = parse::parse(source).map_err(|diagnostics| CompileError { diagnostics })?;
    Ok(tree.to_string())
}

/// Returns the number of tokens, including the end token.
///
/// # Errors
/// The characters that belong to no token.
pub fn token_count(source: &str) -> Result<usize, CompileError> {
    check_length(source)?;
    let lexed = lex::lex(source);
    if lexed.errors.is_empty() {
        Ok(lexed.tokens.len())
    } else {
        Err(CompileError { diagnostics: lexed.errors })
    }
}

/// Returns the names that an expression declares, by `let`, as parameters or in `catch`, also of a
/// source with errors.
pub fn declared_names(source: &str) -> Vec<String> {
    let tokens = lex::lex(source).tokens;
    let kind = |at: usize| tokens.get(at).map(|token| &token.kind);
    let mut names = Vec::new();
    // Words since the last opening bracket, which may be parameters.
    let mut bracketed: Vec<&str> = Vec::new();
    for (at, token) in tokens.iter().enumerate() {
        match token.kind {
            TokenKind::Punct("(") => bracketed.clear(),
            TokenKind::Punct(")") if kind(at + 1) == Some(&TokenKind::Punct("=>")) => {
                names.extend(bracketed.drain(..).map(str::to_owned));
            }
            TokenKind::Word(word) => {
                bracketed.push(word);
                let is_caught = at >= 2
                    && kind(at - 1) == Some(&TokenKind::Punct("("))
                    && kind(at - 2) == Some(&TokenKind::Word("catch"));
                if is_caught || matches!(kind(at + 1), Some(TokenKind::Punct("=" | "=>"))) {
                    names.push(word.to_owned());
                }
            }
            _ => {}
        }
    }
    names
}

/// Compiles a filter and checks it against the payload schemas of its event types.
///
/// # Errors
/// As [`compile`]; in addition, comparisons that fail on every event of these types, and a cost
/// beyond the limits of the vendor.
pub fn compile_for(
    source: &str,
    profile: CheckProfile,
    usage: &Usage<'_>,
) -> Result<Compiled, CompileError> {
    let (typed, mut findings) = parse_and_check(source, profile)?;
    let complexity = Complexity::of(&typed);
    if profile == CheckProfile::Filter {
        findings.extend(too_complex(source, &complexity));
        lint::lint(&typed, usage, &mut findings);
        findings.sort_by_key(|finding| (finding.span.start, finding.code));
    }
    if findings.iter().any(|finding| finding.severity == Severity::Error) {
        // A possible null access matters little while the filter has errors.
        findings.retain(|finding| finding.code != Code::MayBeMissing);
        return Err(CompileError { diagnostics: findings });
    }
    Ok(Compiled { program: generate(&typed).0, warnings: findings, complexity })
}

/// The finding about a filter whose estimated cost exceeds the limits of the vendor.
///
/// **Source:** Forge events page, "Filter out events": the cost is estimated at deployment, and
/// what may exceed the limit is refused.
fn too_complex(source: &str, complexity: &Complexity) -> Option<Diagnostic> {
    let span = Span::new(0, source.len());
    if let Some(why) = complexity.refusal() {
        let message = format!("the filter may cost too much: {why}");
        return Some(Diagnostic::error(Code::TooComplex, span, message).with_help(
            "walk fewer lists, or walk them one after the other instead of inside each other",
        ));
    }
    let message = format!("the vendor may refuse this filter: {}", complexity.doubt()?);
    let help = "it works here, within 50,000 steps an event; list fewer constants to be portable";
    Some(Diagnostic::warning(Code::TooComplex, span, message).with_help(help))
}

/// Parses and checks what an author wrote.
pub(crate) fn parse_and_check(
    source: &str,
    profile: CheckProfile,
) -> Result<(Typed, Vec<Diagnostic>), CompileError> {
    check_length(source)?;
    parse_and_check_translated(source, profile)
}

/// Parses and checks an expression of which the author may have written another form, which is
/// shorter.
pub(crate) fn parse_and_check_translated(
    source: &str,
    profile: CheckProfile,
) -> Result<(Typed, Vec<Diagnostic>), CompileError> {
    let tree = parse::parse(source).map_err(|diagnostics| CompileError { diagnostics })?;
    check::check(&tree, source, profile).map_err(|diagnostics| CompileError { diagnostics })
}

fn check_length(source: &str) -> Result<(), CompileError> {
    lex::check_length(source).map_err(|found| CompileError { diagnostics: vec![found] })
}

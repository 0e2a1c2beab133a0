//! Properties of any input: the bodies of the fuzz targets, also run on the committed corpus.

use switchyard_expr::cases::{compiled, reference};
use switchyard_expr::{
    CheckProfile, Env, EvalScratch, Tape, TapeLimits, Usage, canonical, compile, compile_for,
    explain, render, token_count,
};

/// Any text has tokens or lexical errors.
pub(crate) fn lex(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    match token_count(source) {
        Ok(count) => assert!(count <= source.len() + 1),
        Err(rejected) => draw(&rejected.diagnostics, source),
    }
}

/// The canonical form of a valid expression parses to the same canonical form.
pub(crate) fn parse(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    match canonical(source) {
        Ok(printed) => {
            // Printing may add parentheses and thereby exceed a limit of length or depth.
            if let Ok(again) = canonical(&printed) {
                assert_eq!(again, printed);
            }
        }
        Err(rejected) => draw(&rejected.diagnostics, source),
    }
}

/// Findings on any text can be rendered, for several event types.
pub(crate) fn check(data: &[u8]) {
    let Ok(source) = std::str::from_utf8(data) else { return };
    let events: [&[&str]; 3] = [
        &[],
        &["avi:jira:created:issue", "avi:jira:updated:issue"],
        &["avi:confluence:updated:page"],
    ];
    for events in events {
        let usage = Usage { events, delivers_on_error: false };
        match compile_for(source, CheckProfile::Filter, &usage) {
            Ok(compiled) => {
                draw(&compiled.warnings, source);
                assert!(!compiled.complexity.to_string().is_empty());
            }
            Err(rejected) => {
                assert!(rejected.first_error().is_some());
                draw(&rejected.diagnostics, source);
            }
        }
    }
}

/// Input: an expression, a zero byte and an event. All evaluators agree in result and steps.
pub(crate) fn eval_diff(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (Some(source), event) = (parts.next(), parts.next().unwrap_or(b"{}")) else { return };
    let Ok(source) = std::str::from_utf8(source) else { return };
    let mut tape = Tape::new();
    if tape.parse(event, &TapeLimits::default()).is_err() {
        return;
    }
    let env = Env { now_ms: 0, steps_max: 5_000 };
    assert_eq!(compiled(source, &tape, &env), reference(source, &tape, &env));
    let Ok(compiled) = compile(source, CheckProfile::Filter) else { return };
    let verdict = compiled.program.verdict(&tape, &env, &mut EvalScratch::new());
    let explained = explain::explain(source, &tape, &env).map(|explained| explained.verdict);
    assert_eq!(explained, Ok(verdict), "accepted, but explained otherwise");
}

fn draw(diagnostics: &[switchyard_expr::Diagnostic], source: &str) {
    let _ = render::render(diagnostics, source, "x");
    for diagnostic in diagnostics {
        let _ = render::as_json(diagnostic, source);
    }
}

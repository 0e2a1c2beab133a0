//! Prints findings as text, JSON, GitHub annotations or SARIF.

use serde_json::{Value, json};
use switchyard_expr::{CheckProfile, Severity, render};

use super::finding::{Checked, Finding, FindingKind};
use super::input::FilterText;
use crate::cli::explain_code::every_code;
use crate::cli::io::print_line;

/// Prints text: findings with carets, and a summary of valid filters.
pub(super) fn text(checked: &Checked, valid: bool) -> anyhow::Result<()> {
    let mut shown = 0;
    for finding in checked.findings.iter().filter(|f| matches!(f.kind, FindingKind::Module(..))) {
        print_line(&sentence(finding))?;
        shown += 1;
    }
    for (at, filter) in checked.filters.iter().enumerate() {
        let of_filter = checked.findings.iter().filter_map(|finding| match &finding.kind {
            FindingKind::Filter(of, diagnostic) if *of == at => Some((**diagnostic).clone()),
            _ => None,
        });
        let diagnostics: Vec<_> = of_filter.collect();
        if !diagnostics.is_empty() {
            print_line(&render::render(&diagnostics, &filter.source, &filter.origin))?;
            shown += diagnostics.len();
        }
    }
    if !valid {
        return Ok(());
    }
    let warnings = match shown {
        0 => String::new(),
        1 => ", with a warning".to_owned(),
        more => format!(", with {more} warnings"),
    };
    match checked.filters.as_slice() {
        [] if checked.modules == 0 => {
            print_line(&format!("no triggers: there is nothing to check{warnings}"))
        }
        [only] => {
            print_line(&format!("the filter is valid{warnings}"))?;
            summary(only).map_or(Ok(()), |summary| print_line(&summary))
        }
        filters => print_line(&format!("{} filters are valid{warnings}", filters.len())),
    }
}

/// Describes a valid filter: complexity and index keys.
fn summary(filter: &FilterText) -> Option<String> {
    let compiled = switchyard_expr::compile(&filter.source, CheckProfile::Filter).ok()?;
    let keys: Vec<String> = compiled.program.facts().indexed().map(ToString::to_string).collect();
    let index = match keys.as_slice() {
        [] => "no index key".to_owned(),
        keys => format!("index key: {}", keys.join(", ")),
    };
    let complexity = compiled.complexity;
    let lists =
        complexity.variables().map(|(name, list)| format!("{name} is the length of {list}"));
    let lists: Vec<String> = lists.collect();
    let walks = if lists.is_empty() { String::new() } else { format!(", {}", lists.join(", ")) };
    Some(format!("complexity {complexity}{walks} · {index}"))
}

/// Renders a problem of a module, which has no source text for carets.
fn sentence(finding: &Finding) -> String {
    let FindingKind::Module(severity, problem) = &finding.kind else { return String::new() };
    let mut text = format!(
        "{}[{}]: {}\n --> {}#{}\n",
        severity_name(*severity),
        problem.code,
        problem.message,
        finding.origin,
        problem.path
    );
    if let Some(help) = &problem.help {
        text.push_str(&format!("help: {help}\n"));
    }
    text
}

fn severity_name(severity: Severity) -> &'static str {
    match severity {
        Severity::Error => "error",
        Severity::Warning => "warning",
    }
}

/// Prints one document: `valid`, and `diagnostics` with their origins.
pub(super) fn json(checked: &Checked, valid: bool) -> anyhow::Result<()> {
    let diagnostics: Vec<Value> = checked.findings.iter().map(|f| as_json(checked, f)).collect();
    print_line(&json!({ "valid": valid, "diagnostics": diagnostics }).to_string())
}

fn as_json(checked: &Checked, finding: &Finding) -> Value {
    let mut value = match &finding.kind {
        FindingKind::Filter(at, diagnostic) => {
            let source = checked.filters.get(*at).map_or("", |filter| &filter.source);
            render::as_json(diagnostic, source)
        }
        FindingKind::Module(severity, problem) => {
            let mut value = json!(problem);
            if let Some(object) = value.as_object_mut() {
                object.insert("severity".into(), severity_name(*severity).into());
            }
            value
        }
    };
    if let Some(object) = value.as_object_mut() {
        object.insert("origin".into(), finding.origin.as_str().into());
    }
    value
}

/// A finding with its position in a file.
struct Annotation<'c> {
    file: &'c str,
    line: usize,
    column: usize,
    end_column: usize,
    severity: Severity,
    code: String,
    message: String,
}

fn annotation<'c>(checked: &'c Checked, finding: &'c Finding) -> Annotation<'c> {
    let with_help = |message: &str, help: Option<&str>| match help {
        Some(help) => format!("{message}; {help}"),
        None => message.to_owned(),
    };
    match &finding.kind {
        FindingKind::Filter(at, diagnostic) => {
            let filter = checked.filters.get(*at);
            let at = diagnostic.position(filter.map_or("", |filter| &filter.source));
            let (line, column) = filter.map_or((1, 1), |filter| filter.position(at.offset));
            Annotation {
                file: filter.map_or("", |filter| &filter.file),
                line,
                column,
                end_column: column + at.length,
                severity: diagnostic.severity,
                code: diagnostic.code.to_string(),
                message: with_help(&diagnostic.message, diagnostic.help.as_deref()),
            }
        }
        FindingKind::Module(severity, problem) => Annotation {
            file: &finding.origin,
            line: 1,
            column: 1,
            end_column: 1,
            severity: *severity,
            code: problem.code.clone(),
            message: format!(
                "{}: {}",
                problem.path,
                with_help(&problem.message, problem.help.as_deref())
            ),
        },
    }
}

/// Prints GitHub annotations: `::error file=..,line=..,col=..,title=SY-3103::message`.
pub(super) fn github(checked: &Checked) -> anyhow::Result<()> {
    for finding in &checked.findings {
        let at = annotation(checked, finding);
        // A property ends at a comma or colon, a message at the end of its line.
        let message = escape(&at.message);
        let file = escape(at.file).replace(',', "%2C").replace(':', "%3A");
        print_line(&format!(
            "::{} file={file},line={},col={},endColumn={},title={}::{message}",
            severity_name(at.severity),
            at.line,
            at.column,
            at.end_column,
            at.code
        ))?;
    }
    Ok(())
}

fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// Prints a SARIF run, with every code as a rule.
pub(super) fn sarif(checked: &Checked) -> anyhow::Result<()> {
    let rules: Vec<Value> = every_code()
        .iter()
        .map(|(code, title, page)| {
            json!({
                "id": code,
                "shortDescription": { "text": title },
                "fullDescription": { "text": page.cause },
            })
        })
        .collect();
    let results: Vec<Value> = checked
        .findings
        .iter()
        .map(|finding| {
            let at = annotation(checked, finding);
            json!({
                "ruleId": at.code,
                "level": severity_name(at.severity),
                "message": { "text": at.message },
                "locations": [{ "physicalLocation": {
                    "artifactLocation": { "uri": at.file },
                    "region": {
                        "startLine": at.line, "startColumn": at.column,
                        "endColumn": at.end_column.max(at.column),
                    },
                }}],
            })
        })
        .collect();
    print_line(
        &json!({
            "$schema": "https://json.schemastore.org/sarif-2.1.0.json",
            "version": "2.1.0",
            "runs": [{
                "tool": { "driver": {
                    "name": "switchyard", "version": env!("CARGO_PKG_VERSION"), "rules": rules,
                }},
                "columnKind": "unicodeCodePoints",
                "results": results,
            }],
        })
        .to_string(),
    )
}

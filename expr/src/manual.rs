//! The manual's reference of builtins, generated from their signatures.

use std::fmt::Write;

use crate::builtin::{Callback, Form, Returns, Signature, families};

/// The documentation of a builtin.
#[derive(Clone, Copy, Debug)]
pub struct BuiltinDoc {
    /// The type of a member; `functions` or `constructors` for others.
    pub family: &'static str,
    /// The name in the source: `trim`, `JSON.parse`, `new Date`.
    pub name: &'static str,
    /// The case of the corpus that shows it; empty if there is none.
    pub case: &'static str,
    /// Expressions with their values as JSON.
    pub examples: &'static [(&'static str, &'static str)],
}

/// All builtins, in the order of the manual.
pub fn builtins() -> impl Iterator<Item = BuiltinDoc> {
    families().into_iter().flat_map(|(family, signatures)| {
        signatures.iter().map(move |signature| BuiltinDoc {
            family,
            name: signature.name,
            case: signature.case,
            examples: signature.examples,
        })
    })
}

/// The tables of the manual: one for each family, with a row for each builtin.
pub fn builtin_tables() -> String {
    let mut out = String::new();
    for (family, signatures) in families() {
        let _ = writeln!(out, "### {family}\n");
        out.push_str("| builtin | result | meaning | steps | example | case |\n");
        out.push_str("|---|---|---|---|---|---|\n");
        signatures.iter().for_each(|signature| row(&mut out, signature));
        out.push('\n');
    }
    out
}

/// Writing to a string cannot fail.
fn row(out: &mut String, signature: &Signature) {
    let Signature { name, parameters, doc, steps, case, .. } = signature;
    let call = match signature.form {
        Form::Property => name.to_string(),
        Form::Call => format!("{name}({parameters})"),
    };
    let result = match signature.returns {
        Returns::Always(ty) => ty.name().to_owned(),
        Returns::Nullable(ty) => format!("{} or null", ty.name()),
        Returns::Uninferred(shown) => shown.to_owned(),
    };
    let example = signature.examples.first();
    let example =
        example.map_or(String::new(), |(source, value)| format!("`{source}` = `{value}`"));
    let steps = match signature.callback {
        Callback::None if steps.is_empty() => "none",
        _ => *steps,
    };
    let case = if case.is_empty() { "its examples" } else { case };
    let _ = writeln!(out, "| `{call}` | {result} | {doc} | {steps} | {example} | {case} |");
}

//! Variables of a Forge manifest: `${NAME}` is replaced anywhere before anything is checked.
//!
//! **Source:** Forge, manifest reference, "Variables".

use std::collections::BTreeMap;

use serde_json::Value;
use switchyard_expr::{Severity, declared_names};

use crate::registry::{Problem, code};

/// Values of variables, in order of precedence: those of the command line, then the environment.
pub(super) struct Values<'v> {
    /// `--var NAME=VALUE`
    pub(super) given: &'v BTreeMap<String, String>,
    /// Reads a variable of the environment.
    pub(super) environment: fn(&str) -> Option<String>,
}

/// Replaces the variables of a manifest, and returns what is wrong with them.
pub(super) fn replace(manifest: &mut Value, values: &Values<'_>) -> Vec<(Severity, Problem)> {
    let mut problems = Vec::new();
    let declared = declared(manifest, values, &mut problems);
    let mut replacer = Replacer { declared, undeclared: BTreeMap::new() };
    if let Value::Object(members) = manifest {
        for (name, value) in members.iter_mut().filter(|(name, _)| *name != "environment") {
            replacer.value(value, name);
        }
    }
    let known = replacer.declared.keys().cloned().collect::<Vec<_>>().join(", ");
    for (name, path) in replacer.undeclared {
        let message = format!("the manifest declares no variable `{name}`, so nothing replaces it");
        let help = match known.as_str() {
            "" => format!("list it: `environment: {{variables: [{name}]}}`"),
            known => format!("it declares {known}"),
        };
        let problem = Problem::new(code::UNDECLARED_VARIABLE, path, message).with_help(help);
        problems.push((Severity::Warning, problem));
    }
    problems
}

/// The declared variables with their values; a variable without one is kept as it is written.
fn declared(
    manifest: &Value,
    values: &Values<'_>,
    problems: &mut Vec<(Severity, Problem)>,
) -> BTreeMap<String, Option<String>> {
    const PATH: &str = "environment.variables";
    let mut declared = BTreeMap::new();
    let items = match manifest.pointer("/environment/variables") {
        None => return declared,
        Some(Value::Array(items)) => items,
        Some(_) => {
            let problem = Problem::new(code::FORM, PATH, "this is a list of variables");
            problems.push((Severity::Error, problem));
            return declared;
        }
    };
    for (index, item) in items.iter().enumerate() {
        let path = format!("{PATH}[{index}]");
        let name = item.as_str().or_else(|| item.get("key")?.as_str());
        let Some(name) = name.filter(|name| is_name(name)) else {
            let message = "a variable is a name, or an object with `key` and `default`";
            problems.push((Severity::Error, Problem::new(code::FORM, path, message)));
            continue;
        };
        let default = item.get("default").and_then(|default| match default {
            Value::String(text) => Some(text.clone()),
            Value::Bool(_) | Value::Number(_) => Some(default.to_string()),
            _ => None,
        });
        let value = values.given.get(name).cloned();
        let value = value.or_else(|| (values.environment)(name)).or(default);
        if value.is_none() {
            let message = format!("the variable `{name}` has no value");
            let help = format!("check with `--var {name}=VALUE`, or set it in the environment");
            let problem = Problem::new(code::NO_VALUE, path, message).with_help(help);
            problems.push((Severity::Error, problem));
        }
        declared.insert(name.to_owned(), value);
    }
    declared
}

struct Replacer {
    declared: BTreeMap<String, Option<String>>,
    /// Undeclared variables, each with the first path that uses it.
    undeclared: BTreeMap<String, String>,
}

impl Replacer {
    /// Recursion is bounded by the nesting that the YAML parser accepts.
    fn value(&mut self, value: &mut Value, path: &str) {
        match value {
            Value::String(text) => {
                if let Some(replaced) = self.text(text, path) {
                    *text = replaced;
                }
            }
            Value::Array(items) => {
                for (index, item) in items.iter_mut().enumerate() {
                    self.value(item, &format!("{path}[{index}]"));
                }
            }
            Value::Object(members) => {
                for (name, member) in members {
                    self.value(member, &format!("{path}.{name}"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) => {}
        }
    }

    /// Returns the text with its variables replaced; none without variables.
    fn text(&mut self, text: &str, path: &str) -> Option<String> {
        let mut replaced = String::with_capacity(text.len());
        let mut rest = text;
        let mut local: Option<Vec<String>> = None;
        while let Some((before, behind)) = rest.split_once("${") {
            replaced.push_str(before);
            let name = behind.split_once('}').filter(|(name, _)| is_name(name));
            let Some((name, after)) = name else {
                replaced.push_str("${");
                rest = behind;
                continue;
            };
            match self.declared.get(name) {
                Some(Some(value)) => replaced.push_str(value),
                Some(None) => replaced.push_str(&format!("${{{name}}}")),
                None => {
                    replaced.push_str(&format!("${{{name}}}"));
                    // A template of an expression names what the expression declares.
                    let local = local.get_or_insert_with(|| match path.ends_with(".expression") {
                        true => declared_names(text),
                        false => Vec::new(),
                    });
                    if !local.iter().any(|known| known == name) {
                        let first = self.undeclared.entry(name.to_owned());
                        first.or_insert_with(|| path.to_owned());
                    }
                }
            }
            rest = after;
        }
        (rest.len() < text.len()).then(|| replaced + rest)
    }
}

/// Whether the text is a name of a variable: a letter or `_`, then letters, digits or `_`.
fn is_name(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_')
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn replaced(manifest: &mut Value, given: &[(&str, &str)]) -> Vec<(String, String)> {
        let given = given.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
        let environment = |name: &str| (name == "FROM_ENV").then(|| "env".to_owned());
        let problems = replace(manifest, &Values { given: &given, environment });
        problems.into_iter().map(|(_, problem)| (problem.code, problem.path)).collect()
    }

    #[test]
    fn command_line_comes_before_environment_before_default() {
        let variables = json!([
            "FROM_ENV", {"key": "A", "default": "a"}, {"key": "B", "default": 5}, "_c1"
        ]);
        let mut manifest = json!({
            "environment": {"variables": variables},
            "modules": {"trigger": [{"events": ["${A}:${B}", "${FROM_ENV}${_c1}", "$A ${ A } ${a.b}"]}]},
        });
        assert_eq!(replaced(&mut manifest, &[("_c1", "${A}"), ("A", "z")]), []);
        let events = &manifest["modules"]["trigger"][0]["events"];
        assert_eq!(*events, json!(["z:5", "env${A}", "$A ${ A } ${a.b}"]));
    }

    #[test]
    fn missing_values_and_undeclared_variables_are_reported_once() {
        let mut manifest = json!({
            "environment": {"variables": ["NONE", {"key": "1x"}, 3]},
            "app": {"id": "${X}-${X}", "name": "${NONE}"},
        });
        let expected = [
            (code::NO_VALUE, "environment.variables[0]"),
            (code::FORM, "environment.variables[1]"),
            (code::FORM, "environment.variables[2]"),
            (code::UNDECLARED_VARIABLE, "app.id"),
        ];
        let found = replaced(&mut manifest, &[]);
        assert_eq!(found, expected.map(|(c, p)| (c.to_owned(), p.to_owned())));
        assert_eq!(manifest["app"]["id"], "${X}-${X}");
    }

    #[test]
    fn names_that_an_expression_declares_are_no_variables() {
        for (expression, count) in [
            ("let who = event.a; `${who}` == 'x'", 0),
            ("who = event.a; `${who}` == 'x'", 0),
            ("event.xs.some(i => `${i}` == 'x')", 0),
            ("event.xs.some((a, b) => `${a}${b}` == 'x')", 0),
            ("try { event.a } catch (e) { `${e}` == 'x' }", 0),
            ("`${event.issue.key}` == 'x'", 0),
            ("`${TEAM}` == event.issue.key", 1),
            ("event.issue.fields.project.key == '${TEAM}'", 1),
        ] {
            let mut manifest =
                json!({"modules": {"trigger": [{"filter": {"expression": expression}}]}});
            assert_eq!(replaced(&mut manifest, &[]).len(), count, "{expression}");
        }
    }
}

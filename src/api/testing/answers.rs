//! Holds answers to the OpenAPI document: status, and body without members that its schema does not have.

use serde_json::{Map, Value, json};

/// The document, with schemas that allow no further members.
pub(super) struct Answers {
    document: Value,
}

impl Answers {
    pub(super) fn of(document: &Value) -> Self {
        let mut document = document.clone();
        let schemas = document.pointer_mut("/components/schemas").and_then(Value::as_object_mut);
        schemas.into_iter().flat_map(Map::values_mut).for_each(forbid_others);
        Self { document }
    }

    /// Checks an answer. A request that no operation answers is not checked.
    ///
    /// # Errors
    /// The answer is not as documented, and why.
    pub(super) fn check(
        &self,
        method: &str,
        path: &str,
        status: u16,
        body: &Value,
    ) -> Result<(), String> {
        let Some((template, item)) = self.item(path) else { return Ok(()) };
        let Some(operation) = item.get(method.to_ascii_lowercase()) else { return Ok(()) };
        let what = format!("{method} {template} answers {status}");
        let responses = &operation["responses"];
        let response = responses.get(status.to_string());
        let response = response.ok_or_else(|| {
            format!("{what}, which its operation does not have; the body is {body}")
        })?;
        let response = match response["$ref"].as_str() {
            Some(reference) => self.document.pointer(&reference[1..]).ok_or("no such response")?,
            None => response,
        };
        let Some(schema) = response.pointer("/content/application~1json/schema") else {
            let is_text = response.get("content").is_some();
            return match body.is_null() || is_text {
                true => Ok(()),
                false => Err(format!("{what} without a body, as documented; the body is {body}")),
            };
        };
        let mut root = schema.clone();
        root["components"] = json!({ "schemas": self.document["components"]["schemas"] });
        let validator = jsonschema::validator_for(&root).map_err(|error| error.to_string())?;
        let problems: Vec<String> = validator
            .iter_errors(body)
            .map(|error| format!("{}: {error}", error.instance_path()))
            .collect();
        match problems.is_empty() {
            true => Ok(()),
            false => Err(format!(
                "{what} with a body that is not as documented: {}; the body is {body}",
                problems.join("; ")
            )),
        }
    }

    /// Returns the operations of a path, those of the template with most literal parts.
    fn item(&self, path: &str) -> Option<(&str, &Value)> {
        let path = path.strip_suffix('/').unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        let literals = |template: &str| -> Option<usize> {
            let pattern: Vec<&str> = template.split('/').collect();
            let fits = pattern.len() == parts.len()
                && pattern
                    .iter()
                    .zip(&parts)
                    .all(|(one, part)| one.starts_with('{') || one == part);
            fits.then(|| pattern.iter().filter(|one| !one.starts_with('{')).count())
        };
        let all = self.document["paths"].as_object()?;
        let found = all.iter().filter_map(|(name, item)| Some((literals(name)?, name, item)));
        found.max_by_key(|(count, ..)| *count).map(|(_, name, item)| (name.as_str(), item))
    }
}

/// Forbids members that a schema does not name.
fn forbid_others(schema: &mut Value) {
    let Some(members) = schema.as_object_mut() else { return };
    if members.contains_key("properties") && !members.contains_key("additionalProperties") {
        members.insert("additionalProperties".to_owned(), Value::Bool(false));
    }
    for (name, part) in members.iter_mut() {
        match (name.as_str(), part) {
            ("properties", Value::Object(all)) => all.values_mut().for_each(forbid_others),
            (_, part @ Value::Object(_)) => forbid_others(part),
            (_, Value::Array(parts)) => parts.iter_mut().for_each(forbid_others),
            _ => {}
        }
    }
}

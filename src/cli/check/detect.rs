//! Detects the form of an input of `check`: an expression, a module, a request to an API, a file of
//! registrations, a Forge manifest.

use anyhow::Context;
use serde_json::Value;

use super::input::{CheckInput, Source, expression, trigger};
use super::manifest;
use super::requests::{self, RequestApi};
use super::variables::Values;
use crate::cli::exit::UsageError;
use crate::registry::review::Reviewer;

/// What the command line says about an input.
pub(super) struct Options<'o> {
    /// Event types of an expression.
    pub(super) events: &'o [String],
    /// The API of a request.
    pub(super) api: Option<RequestApi>,
    /// Values of variables.
    pub(super) values: &'o Values<'o>,
}

/// Parses a file. A manifest has `modules:`, a module or request is a JSON object, a registration file
/// has one JSON object a line; anything else is an expression. Also returns the reviewer of what is
/// found.
pub(super) fn read(
    file: &str,
    text: &str,
    reviewer: Reviewer,
    options: &Options<'_>,
) -> anyhow::Result<(Vec<CheckInput>, Reviewer)> {
    if options.api.is_none() {
        let is_yaml = file.ends_with(".yml") || file.ends_with(".yaml");
        if is_yaml || text.lines().any(|line| line.trim_end() == "modules:") {
            return manifest::read(file, text, reviewer, options.values);
        }
        if !text.trim_start().starts_with('{') {
            let source = text.trim_end().to_owned();
            return Ok((vec![expression(file, source, options.events)], reviewer));
        }
    }
    match serde_json::from_str::<Value>(text) {
        Ok(Value::Object(body)) => {
            let source = Source::new(file, text);
            match options.api.or_else(|| RequestApi::of(&body)) {
                Some(api) => Ok(requests::read(reviewer, api, &source, body)),
                None => Ok((vec![trigger(&reviewer, &source, &body)], reviewer)),
            }
        }
        Ok(_) => anyhow::bail!(UsageError(format!("{file} is not a JSON object"))),
        Err(_) if options.api.is_some() => {
            anyhow::bail!(UsageError(format!("{file} is not a JSON object")))
        }
        Err(_) => registrations(file, text, &reviewer).map(|inputs| (inputs, reviewer)),
    }
}

/// Parses a file with one JSON object a line.
fn registrations(file: &str, text: &str, reviewer: &Reviewer) -> anyhow::Result<Vec<CheckInput>> {
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let inputs = lines.map(|(at, line)| {
        let number = at + 1;
        let usage = || UsageError(format!("{file}:{number} is not a JSON object"));
        match serde_json::from_str::<Value>(line).with_context(usage)? {
            Value::Object(module) => {
                Ok(trigger(reviewer, &Source::line(file, number, line), &module))
            }
            _ => anyhow::bail!(usage()),
        }
    });
    inputs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::check::input::FilterText;
    use crate::config::Config;
    use crate::registry::Settings;
    use std::collections::BTreeMap;

    fn inputs(file: &str, text: &str) -> anyhow::Result<Vec<CheckInput>> {
        let given = BTreeMap::new();
        let values = Values { given: &given, environment: |_| None };
        let settings = Settings::new(&Config::defaults().unwrap(), "");
        let options = Options { events: &[], api: None, values: &values };
        Ok(read(file, text, Reviewer::new(settings), &options)?.0)
    }

    fn filters(file: &str, text: &str) -> Vec<FilterText> {
        inputs(file, text).unwrap().into_iter().flat_map(|input| input.filters).collect()
    }

    const MANIFEST: &str = "\
modules:
  trigger:
    - key: a
      function: main
      events: [avi:jira:created:issue]
      filter:
        expression: >-
          event.issue.key == 'A-1'
            && event.issue.kex == 'ü'
    - key: b
      function: main
      events: [avi:jira:updated:issue]
      filter:
        expression: event.issue.kex == 'A-2'
        onError: RECEIVE
";

    #[test]
    fn every_trigger_of_a_manifest_is_found_with_its_events() {
        let found = filters("manifest.yml", MANIFEST);
        assert_eq!(found.len(), 2);
        assert_eq!(found[0].origin, "manifest.yml#modules.trigger[0].filter.expression");
        assert_eq!(found[0].events, ["avi:jira:created:issue"]);
        assert!(found[1].delivers_on_error && !found[0].delivers_on_error);
    }

    #[test]
    fn positions_are_those_of_the_file_also_in_folded_blocks() {
        for filter in filters("manifest.yml", MANIFEST) {
            let (line, column) = filter.position(filter.source.find("kex").unwrap());
            let there: String =
                MANIFEST.lines().nth(line - 1).unwrap().chars().skip(column - 1).take(3).collect();
            assert_eq!(there, "kex", "{}", filter.source);
        }
    }

    #[test]
    fn keys_are_read_with_their_installations() {
        let keys = |file: &str, text: &str| -> Vec<(String, String, String)> {
            let keys = inputs(file, text).unwrap().into_iter().filter_map(|found| found.key);
            keys.map(|key| (key.owner, key.text, key.path)).collect()
        };
        let found = keys("manifest.yml", MANIFEST);
        assert_eq!(found[1], (String::new(), "b".into(), "modules.trigger[1].key".into()));
        let line = r#"{"installationId":"i","key":"k","data":{"events":["a"],"function":"f"}}"#;
        assert_eq!(keys("x.json", line), [("i".into(), "k".into(), "key".into())]);
    }

    #[test]
    fn modules_and_registration_lines_are_distinguished_from_expressions() {
        let data = r#"{"events":["avi:jira:created:issue"],"function":"f","filter":{"expression":"true"}}"#;
        let module = format!(r#"{{"key":"k","type":"trigger","data":{data}}}"#);
        assert_eq!(filters("x.json", data)[0].origin, "x.json#trigger.filter.expression");
        assert_eq!(filters("x.json", &module)[0].origin, "x.json#data.filter.expression");
        let two = filters("x.ndjson", &format!("{module}\n\n{module}\n"));
        assert_eq!(two[1].origin, "x.ndjson:3#data.filter.expression");
        assert_eq!(two[1].position(0).0, 3);
        assert_eq!(filters("x.txt", "event.a == 1\n")[0].source, "event.a == 1");
        assert!(inputs("x.yml", "a: 1").is_err());
        assert!(inputs("x.ndjson", "{}\n{").is_err());
    }
}

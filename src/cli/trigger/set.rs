//! Assignments of members of an event: `issue.fields.project.key=XXX`.

use anyhow::bail;
use serde_json::{Map, Value};

use crate::cli::exit::UsageError;

/// Most members of a path.
const DEPTH_MAX: usize = 32;

/// A member of an event and its value.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Assignment {
    path: Vec<String>,
    value: Value,
}

impl Assignment {
    /// Parses `PATH=VALUE`. The path has members joined by dots; a number is the position in a list, also
    /// in brackets. The value is JSON, or else a text.
    ///
    /// # Errors
    /// There is no `=`, or the path is empty or too deep.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let (path, value) = text.split_once('=').ok_or("it has the form PATH=VALUE")?;
        let path = path.strip_prefix("event.").unwrap_or(path);
        let path = path.replace('[', ".").replace(']', "");
        let path: Vec<String> = path.split('.').map(str::to_owned).collect();
        if path.iter().any(String::is_empty) {
            return Err("the path has members joined by dots, such as issue.fields.summary".into());
        }
        if path.len() > DEPTH_MAX {
            return Err(format!("the path has more than {DEPTH_MAX} members"));
        }
        let value = serde_json::from_str(value).unwrap_or_else(|_| Value::from(value));
        Ok(Self { path, value })
    }

    /// Sets the member; creates the objects around it.
    ///
    /// # Errors
    /// A value on the path is neither an object nor a list, or a list has no such position.
    pub(super) fn apply(&self, event: &mut Value) -> anyhow::Result<()> {
        let mut at = event;
        for (depth, name) in self.path.iter().enumerate() {
            if at.is_null() {
                *at = Value::Object(Map::new());
            }
            at = match at {
                Value::Object(members) => members.entry(name.as_str()).or_insert(Value::Null),
                Value::Array(items) => {
                    let count = items.len();
                    let position = name.parse::<usize>().ok().filter(|at| *at <= count);
                    let Some(position) = position else {
                        bail!(UsageError(format!(
                            "--set {}: `{}` is a list of {count}, and has no position `{name}`",
                            self.path.join("."),
                            self.before(depth)
                        )));
                    };
                    if position == count {
                        items.push(Value::Null);
                    }
                    match items.get_mut(position) {
                        Some(item) => item,
                        None => bail!("no position {position}"),
                    }
                }
                _ => bail!(UsageError(format!(
                    "--set {}: `{}` is no object; set it as a whole, as JSON",
                    self.path.join("."),
                    self.before(depth)
                ))),
            };
        }
        *at = self.value.clone();
        Ok(())
    }

    /// The path up to a depth.
    fn before(&self, depth: usize) -> String {
        self.path.get(..depth).unwrap_or_default().join(".")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn set(event: &mut Value, text: &str) -> Result<(), String> {
        Assignment::parse(text)?.apply(event).map_err(|error| error.to_string())
    }

    #[test]
    fn members_are_set_nested_as_json_or_text() {
        let mut event = json!({"issue": {"fields": {"labels": ["a"], "assignee": null}}});
        for text in [
            "issue.fields.project.key=XXX",
            "event.issue.key=XXX-1=",
            "issue.fields.labels[1]=b",
            "issue.fields.labels.0=\"c\"",
            "issue.fields.assignee.accountId=ada",
            "issue.fields.votes={\"votes\": 3}",
            "issue.fields.number=3",
            "issue.fields.empty=",
        ] {
            set(&mut event, text).unwrap();
        }
        assert_eq!(
            event,
            json!({"issue": {"key": "XXX-1=", "fields": {"labels": ["c", "b"], "empty": "",
                "project": {"key": "XXX"}, "assignee": {"accountId": "ada"}, "number": 3,
                "votes": {"votes": 3}}}})
        );
    }

    #[test]
    fn wrong_assignments_say_what_is_there() {
        let mut event = json!({"issue": {"key": "A-1", "list": []}});
        assert!(set(&mut event, "issue.key.x=1").unwrap_err().contains("`issue.key` is no object"));
        assert!(set(&mut event, "issue.list.2=1").unwrap_err().contains("list of 0"));
        for text in ["issue", "=1", "a..b=1", &format!("{}=1", ["a"; 40].join("."))] {
            assert!(set(&mut event, text).is_err(), "{text}");
        }
    }
}

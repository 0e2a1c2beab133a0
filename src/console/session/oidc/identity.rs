//! Who a token is about, and what that person may do.

use serde_json::{Map, Value};

use super::settings::OidcSettings;
use crate::domain::Scope;

/// Longest name of a person, in characters.
const NAME_CHARS_MAX: usize = 128;
/// Claims with the name of a person, the best first.
const NAMES: [&str; 3] = ["preferred_username", "email", "name"];

/// A person.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Identity {
    pub(super) subject: String,
    pub(super) name: String,
    /// None for somebody who has no group of the settings.
    pub(super) scope: Option<Scope>,
}

impl Identity {
    /// Reads the claims of a verified token.
    pub(super) fn of(claims: &Map<String, Value>, settings: &OidcSettings) -> Self {
        let text = |name: &str| claims.get(name).and_then(Value::as_str);
        let subject = text("sub").unwrap_or_default().to_owned();
        let named = NAMES.iter().find_map(|name| text(name).filter(|name| !name.trim().is_empty()));
        let is_shown = |letter: &char| !letter.is_control();
        let name: String =
            named.unwrap_or(&subject).chars().filter(is_shown).take(NAME_CHARS_MAX).collect();
        let values: Vec<&str> = match claims.get(&settings.scope_claim) {
            Some(Value::String(one)) => vec![one],
            Some(Value::Array(all)) => all.iter().filter_map(Value::as_str).collect(),
            _ => Vec::new(),
        };
        Self { scope: settings.scope_of(&values), subject, name }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::settings::testing::settings;
    use super::*;

    #[test]
    fn person_has_the_first_name_and_the_scope_of_the_groups() {
        let of = |claims: Value| Identity::of(claims.as_object().unwrap(), &settings());
        let person = of(
            json!({"sub": "1", "email": "ada@example.com", "name": "Ada", "groups": ["operators", 7]}),
        );
        assert_eq!((&*person.name, person.scope), ("ada@example.com", Some(Scope::Operate)));
        let person = of(json!({"sub": "1", "preferred_username": " ", "groups": "readers"}));
        assert_eq!((&*person.name, person.scope), ("1", Some(Scope::Read)));
        let long = format!("a\u{1b}[31m\n{}", "x".repeat(200));
        let person = of(json!({"sub": "1", "name": long, "groups": {"admins": true}}));
        assert!(person.name.starts_with("a[31mx"), "{}", person.name);
        assert_eq!((person.name.len(), person.scope), (NAME_CHARS_MAX, None));
    }
}

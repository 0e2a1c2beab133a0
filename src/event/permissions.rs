//! `event.permissions`: the permissions that an installation granted to its app, as filters read
//! them.
//!
//! A constant of the installation, whatever its events are: `{"scopes": [..], "external": {..}}`.
//!
//! **Source:** Forge, "App-managed permissions": filters of product events.

use std::fmt;
use std::hash::{Hash, Hasher};

use serde_json::{Map, Value, json};
use switchyard_expr::{Tape, TapeLimits};

/// Limits of the value, far above what a record may have.
const LIMITS: TapeLimits = TapeLimits { depth: 512, nodes: 200_000 };

/// The permissions of an app in an installation, in the form that filters read.
pub struct Permissions(Tape);

impl Permissions {
    /// Returns the value with these scopes and external permissions.
    #[must_use]
    pub fn new(scopes: &[String], external: Option<&Map<String, Value>>) -> Self {
        let mut value = json!({"scopes": scopes});
        if let (Some(members), Some(external)) = (value.as_object_mut(), external) {
            members.insert("external".to_owned(), Value::Object(external.clone()));
        }
        let mut tape = Tape::new();
        // A record within the limit of a request fits; otherwise filters would read null.
        let parsed = tape.parse(value.to_string().as_bytes(), &LIMITS);
        debug_assert!(parsed.is_ok(), "validated permissions are a small JSON value");
        Self(tape)
    }

    pub(super) fn tape(&self) -> &Tape {
        &self.0
    }

    fn text(&self) -> &str {
        self.0.text()
    }
}

impl fmt::Debug for Permissions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text())
    }
}

impl PartialEq for Permissions {
    fn eq(&self, other: &Self) -> bool {
        std::ptr::eq(self, other) || self.text() == other.text()
    }
}

impl Eq for Permissions {}

impl Hash for Permissions {
    /// Few are compared with each other, and most of these are one instance.
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.text().len().hash(state);
    }
}

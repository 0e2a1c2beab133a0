//! What a handler shows to the caller of a request: everything, or what belongs to one installation.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use serde_json::Value;

use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::api::token_kind::OperatorFault;
use crate::domain::{Caller, InstallationId};

/// Members of answers about the router and about all events of all sites: one could see how much others send.
const OF_OPERATORS: [&str; 8] = [
    "after",
    "countedTo",
    "examinedUntil",
    "replica",
    "router",
    "scanned",
    "sequence",
    "unreadable",
];
/// Members whose own members may be such.
const PARTS: [&str; 7] =
    ["attempts", "differences", "event", "gained", "items", "lost", "deliveries"];

/// Who sees an answer.
#[derive(Clone, Debug)]
pub(in crate::api) struct Viewer(Option<InstallationId>);

impl FromRequestParts<Shared> for Viewer {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &Shared) -> Result<Self, ApiError> {
        let caller = parts.extensions.get::<Caller>();
        // Without a caller, nothing is shown.
        let caller = caller.ok_or(ApiError::NotAnOperator(OperatorFault::Missing))?;
        Ok(Self(caller.installation.clone()))
    }
}

impl Viewer {
    /// Whether everything is shown.
    pub(in crate::api) fn is_operator(&self) -> bool {
        self.0.is_none()
    }

    /// Returns the only installation that is shown; none = all.
    pub(in crate::api) fn own(&self) -> Option<&InstallationId> {
        self.0.as_ref()
    }

    /// Whether what belongs to an installation is shown.
    pub(in crate::api) fn sees(&self, installation: &InstallationId) -> bool {
        self.0.as_ref().is_none_or(|own| own == installation)
    }

    /// Returns a view without what is for operators.
    pub(in crate::api) fn trimmed(&self, mut view: Value) -> Value {
        if !self.is_operator() {
            trim(&mut view);
        }
        view
    }
}

/// Recursion is bounded, since the parts of our answers are.
fn trim(view: &mut Value) {
    match view {
        Value::Object(members) => {
            for name in OF_OPERATORS {
                members.remove(name);
            }
            for (_, part) in members.iter_mut().filter(|(name, _)| PARTS.contains(&name.as_str())) {
                trim(part);
            }
        }
        Value::Array(items) => items.iter_mut().for_each(trim),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_is_for_operators_is_left_out_and_data_of_apps_is_not_looked_at() {
        let view = json!({
            "scanned": 9, "nextCursor": "c",
            "items": [{"id": "d", "router": "r", "event": {"id": "e", "sequence": 7}}],
            "data": {"sequence": "of the app"},
        });
        let all = Viewer(None).trimmed(view.clone());
        assert_eq!(all, view);
        let own = Viewer(Some("i".into())).trimmed(view);
        assert_eq!(
            own,
            json!({
                "nextCursor": "c", "items": [{"id": "d", "event": {"id": "e"}}],
                "data": {"sequence": "of the app"},
            })
        );
    }

    #[test]
    fn only_the_own_installation_is_seen() {
        let own = Viewer(Some("a".into()));
        assert!(own.sees(&"a".into()) && !own.sees(&"A".into()) && !own.is_operator());
        assert!(Viewer(None).sees(&"a".into()) && Viewer(None).is_operator());
    }
}

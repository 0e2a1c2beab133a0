//! Operator endpoint for the remembered ids of stored events.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::openapi::route;
use crate::api::schema::Repeats;
use crate::event::{Publisher, RepeatStatus, SiteRepeats};

/// Milliseconds of an hour.
const HOUR_MS: i64 = 3_600_000;

/// Returns the route `GET /admin/v1/repeats`, without authentication: the caller adds it.
pub(super) fn repeat_routes(publisher: Arc<dyn Publisher>) -> OpenApiRouter {
    route(OpenApiRouter::default(), routes!(show)).with_state(publisher)
}

/// Shows the remembered ids of stored events.
#[utoipa::path(
    get, path = "/admin/v1/repeats", operation_id = "getRepeats",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "What is remembered.", body = Repeats))
)]
async fn show(State(publisher): State<Arc<dyn Publisher>>) -> Json<Value> {
    Json(view(publisher.repeats()))
}

fn view(status: Option<RepeatStatus>) -> Value {
    let Some(status) = status else { return json!({ "memoryHours": 0 }) };
    let site = |one: &SiteRepeats| json!({ "site": *one.site, "ids": one.ids });
    json!({
        "memoryHours": status.memory_ms / HOUR_MS,
        "ids": status.ids,
        "idsMax": status.ids_max,
        "forgotten": status.forgotten,
        "behindMs": status.behind_ms,
        "isBehind": status.is_behind,
        "coveredTo": status.covered_to,
        "sites": status.sites.iter().map(site).collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operators_see_how_much_is_remembered_and_of_which_sites() {
        let sites = vec![SiteRepeats { site: "c1".into(), ids: 7 }];
        let status = RepeatStatus {
            ids: 9,
            ids_max: 100,
            memory_ms: 24 * HOUR_MS,
            covered_to: Some(40),
            sites,
            ..RepeatStatus::default()
        };
        let expected = json!({
            "memoryHours": 24, "ids": 9, "idsMax": 100, "forgotten": 0, "behindMs": 0,
            "isBehind": false, "coveredTo": 40, "sites": [{ "site": "c1", "ids": 7 }],
        });
        assert_eq!(view(Some(status)), expected);
        assert_eq!(view(None), json!({ "memoryHours": 0 }));
    }
}

//! Operator endpoint that lists installations, searched and page by page.

use std::sync::Arc;

use axum::Json;
use axum::extract::{RawQuery, State};
use serde_json::{Value, json};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::installations::{expires_ms, installation_view};
use super::list::{LIMIT_DEFAULT, LIMIT_MAX, page_view};
use super::unknown_names::with_hints;
use crate::api::access::Viewer;
use crate::api::error::ApiError;
use crate::api::json::insert_some;
use crate::api::openapi::route;
use crate::api::query_params::{QueryParams, encode_cursor};
use crate::api::schema::{InstallationPage, InstallationParams, PageParams};
use crate::api::state::Shared;
use crate::clock;
use crate::registry::{AppliedInstallation, InstallationState, Problem, code};

/// A module that expires within this time expires soon, in milliseconds: a week.
const SOON_MS: i64 = 7 * 24 * 3_600_000;
/// Installations that are read before other tasks run.
const INSTALLATIONS_A_TURN: usize = 500;

pub(super) fn routes() -> OpenApiRouter<Shared> {
    route(OpenApiRouter::default(), routes!(list_installations))
}

/// Lists the installations in the order of their ids.
#[utoipa::path(
    get, path = "/installations", operation_id = "listInstallations", params(PageParams, InstallationParams),
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "A page of installations.", body = InstallationPage))
)]
async fn list_installations(
    State(state): State<Shared>,
    viewer: Viewer,
    RawQuery(query): RawQuery,
) -> Result<Json<Value>, ApiError> {
    let params = QueryParams::parse(query.as_deref());
    let limit = params.limit(LIMIT_DEFAULT, LIMIT_MAX)?;
    let after = params.cursor("cursor")?;
    let query = InstallationQuery::read(&params)?;
    let (mut total, mut page) = (0_u64, Vec::<Arc<AppliedInstallation>>::new());
    for (number, id) in state.registry.installation_ids(None, usize::MAX).iter().enumerate() {
        if number.is_multiple_of(INSTALLATIONS_A_TURN) {
            tokio::task::yield_now().await;
        }
        let Some(installation) = state.registry.installation(id.as_str()) else { continue };
        if !query.selects(&installation) {
            continue;
        }
        total += 1;
        let is_later = after.as_deref().is_none_or(|after| id.as_str() > after);
        if is_later && page.len() <= limit {
            page.push(installation);
        }
    }
    let has_more = page.len() > limit;
    page.truncate(limit);
    let next = page.last().filter(|_| has_more).map(|last| encode_cursor(last.record.id.as_str()));
    let items = page.iter().map(|installation| installation_view(&state, installation)).collect();
    let mut view = page_view(items, next);
    insert_some(&mut view, "total", Some(total));
    Ok(Json(with_hints(&state, &viewer, &params, view)))
}

/// The query parameters that select installations.
struct InstallationQuery<'q> {
    text: Option<&'q str>,
    site: Option<&'q str>,
    app: Option<&'q str>,
    state: Option<InstallationState>,
    /// Time before which a module expires, milliseconds since the epoch; none if it need not.
    expires_before_ms: Option<i64>,
}

impl<'q> InstallationQuery<'q> {
    fn read(params: &'q QueryParams) -> Result<Self, ApiError> {
        let state = params.get("state").map(|text| {
            serde_json::from_value(json!(text)).map_err(|_| {
                let message = format!("`{text}` is not one of enabled, disabled, uninstalled");
                ApiError::from(Problem::new(code::FORM, "state", message))
            })
        });
        let is_expiring = params.flag("expiring")?;
        Ok(Self {
            text: params.get("q"),
            site: params.get("site"),
            app: params.get("app"),
            state: state.transpose()?,
            expires_before_ms: is_expiring.then(|| clock::now_ms().saturating_add(SOON_MS)),
        })
    }

    fn selects(&self, installation: &AppliedInstallation) -> bool {
        let record = &installation.record;
        let texts = || [record.id.as_str(), record.app.as_str(), record.cloud_id.as_str()];
        self.site.is_none_or(|site| record.cloud_id.as_str() == site)
            && self.app.is_none_or(|app| record.app.as_str() == app)
            && self.state.is_none_or(|state| record.state == state)
            && self.text.is_none_or(|text| texts().iter().any(|found| found.contains(text)))
            && self.expires_before_ms.is_none_or(|before_ms| {
                expires_ms(installation).is_some_and(|expires_ms| expires_ms < before_ms)
            })
    }
}

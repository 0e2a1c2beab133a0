//! What of a site did not become an event: webhooks and events that this router refused, and webhooks that
//! map to no event type.

use crate::api::ingest::RefusedSite;
use crate::api::json::rfc3339;
use crate::api::state::Shared;
use crate::domain::CloudId;
use crate::recovery::replay::EventBounds;

/// Names of webhooks without an event type that are said.
const NAMES_MAX: usize = 3;

/// Returns hints about what was refused at `since_ms` or later, milliseconds since the epoch.
pub(super) async fn of_site(
    state: &Shared,
    site: &CloudId,
    since_ms: i64,
    bounds: &EventBounds,
) -> Vec<String> {
    let apis = [
        ("ingest API", state.refusals.webhooks_of(site)),
        ("event API", state.refusals.events_of(site)),
    ];
    let recent = |refused: &RefusedSite| refused.last_ms >= since_ms;
    let refused = apis
        .into_iter()
        .filter_map(|(api, refused)| refused.filter(recent).map(|refused| text(api, &refused)));
    let mut hints: Vec<String> = refused.collect();
    hints.extend(unmapped(state, site, bounds).await);
    hints
}

/// Such as "refused at the ingest API: wrong_signature 12 times since T, the last one at T".
fn text(api: &str, refused: &RefusedSite) -> String {
    let reasons = refused.reasons.iter().map(|(reason, count)| match count {
        1 => format!("{reason} once"),
        _ => format!("{reason} {count} times"),
    });
    let reasons: Vec<String> = reasons.collect();
    let [since, last] =
        [refused.since_ms, refused.last_ms].map(|ms| rfc3339(ms).unwrap_or_default());
    format!(
        "refused at the {api} of this router: {} since {since}, the last one at {last}",
        reasons.join(", ")
    )
}

/// Says which webhooks of the site are stored under their own names, since they map to no event type.
async fn unmapped(state: &Shared, site: &CloudId, bounds: &EventBounds) -> Option<String> {
    let found = match state.unmapped_webhooks.list(site, NAMES_MAX).await {
        Ok(found) => found,
        Err(error) => {
            tracing::warn!(%site, error, "webhooks without an event type cannot be counted");
            return Some("webhooks without an event type cannot be counted now".to_owned());
        }
    };
    if found.names.is_empty() && found.other == 0 {
        return None;
    }
    let named = found.names.iter().map(|(name, count)| format!("{name} ({count})"));
    let mut names: Vec<String> = named.collect();
    if found.other > 0 {
        names.push(format!("others ({})", found.other));
    }
    let more = if found.is_cut { " and more" } else { "" };
    let since = bounds.first_ms.and_then(rfc3339).unwrap_or_default();
    Some(format!(
        "webhooks of site {site} since {since} map to no event type: {}{more}; see \
        `GET /admin/v1/sites/{site}/unmapped`",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_have_their_reasons_and_times() {
        let refused = RefusedSite {
            site: "s".into(),
            since_ms: 0,
            last_ms: 60_000,
            reasons: vec![("closed", 1), ("wrong_signature", 12)],
        };
        assert_eq!(
            text("ingest API", &refused),
            "refused at the ingest API of this router: closed once, wrong_signature 12 times since \
            1970-01-01T00:00:00Z, the last one at 1970-01-01T00:01:00Z"
        );
    }
}

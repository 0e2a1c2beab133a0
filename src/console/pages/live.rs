//! `/live`: events and deliveries as they happen; the only page that needs scripts.

use axum::body::Body;
use axum::extract::{Query, RawQuery, State};
use axum::http::{HeaderMap, Method};
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use axum::{Extension, Router};
use futures_util::StreamExt as _;
use maud::html;

use crate::console::asked::Asked;
use crate::console::components::{field, select};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::ApiPath;
use crate::console::state::Console;
use crate::console::visitor::Visitor;

const ASKED: [&str; 5] = ["type", "decision", "subscription", "site", "app"];

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/live", get(show)).route("/live/stream", get(stream))
}

async fn show(Extension(visitor): Extension<Visitor>, Query(asked): Query<Asked>) -> Response {
    let decisions = [
        ("", "all"),
        ("matched", "matched"),
        ("unmatched", "not matched"),
        ("failed", "filter failed"),
        ("delivered", "delivered"),
        ("parked", "parked"),
        ("dead", "dead-lettered"),
    ];
    let command = format!("switchyard tail{}", asked.flags(&ASKED));
    let page = Page::new("Live", Part::Live).from(&ApiPath::of("top"), command);
    let stream = asked.link("/live/stream", &ASKED, ("", ""));
    let content = html! {
        form.filters action="/live" method="get" {
            (field("type", "Event type", asked.get("type"), "avi:jira:created:issue"))
            (select("decision", "Shows", asked.get("decision"), &decisions))
            (field("subscription", "Subscription", asked.get("subscription"), "installation/key"))
            (field("site", "Site", asked.get("site"), ""))
            div.field { button.main { "Show" } }
        }
        noscript { div.notice.warn { p { "Live views need scripts. Without them: " code { (command_line(&asked)) } } } }
        div.actions {
            span id="live-state" role="status" { "not connected" }
            button id="live-pause" type="button" hidden { "Pause" }
        }
        ol.feed id="feed" data-stream=(stream) aria-label="Events and deliveries, newest first" tabindex="0" {}
    };
    page.show(&visitor, &content).into_response()
}

fn command_line(asked: &Asked) -> String {
    format!("switchyard tail{}", asked.flags(&ASKED))
}

/// Relays the feed of the API, a line for each event.
async fn stream(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Response {
    let query = query.map(|query| format!("?{query}")).unwrap_or_default();
    let uri = format!("/admin/v1/live{query}");
    match console.operator_api.response(&visitor, Method::GET, &uri, None).await {
        Ok(response) => match &console.sessions {
            None => response,
            Some(sessions) => {
                let ended = sessions.clone().until_ended(headers);
                let (head, body) = response.into_parts();
                let body = body.into_data_stream().take_until(Box::pin(ended));
                Response::from_parts(head, Body::from_stream(body))
            }
        },
        Err(refused) => (refused.status, Body::from(refused.message)).into_response(),
    }
}

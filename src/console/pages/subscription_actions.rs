//! What a visitor changes about a subscription: pause, resume, disable, promote, roll back.

use axum::extract::{Path, State};
use axum::http::Method;
use axum::response::Response;
use axum::routing::post;
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::{Value, json};

use super::posted::posted;
use crate::console::answer::Members as _;
use crate::console::asked::Asked;
use crate::console::components::Action;
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::Console;
use crate::console::visitor::Visitor;
use crate::domain::Scope;

pub(super) fn routes() -> Router<Console> {
    Router::new().route("/subscriptions/{id}/{action}", post(act))
}

/// Actions of the API, with what the page says afterwards.
const ACTIONS: [(&str, &str); 5] = [
    ("pause", "paused"),
    ("resume", "resumed"),
    ("disable", "disabled"),
    ("promote", "promoted"),
    ("rollback", "rolled-back"),
];

async fn act(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Asked>,
    Path((id, action)): Path<(String, String)>,
) -> Response {
    let page = Page::new(&id, Part::Subscriptions).below("Subscriptions", "/subscriptions");
    let path = ApiPath::of("subscriptions").id(&id);
    let back = format!("/subscriptions/{}", encoded(&id));
    if action == "shadow" {
        let members = json!({"filter": {"expression": form.raw("expression")}});
        let path = path.part("shadow");
        let set = console.operator_api.send(&visitor, Method::PUT, &path, Some(&members));
        return posted(&visitor, page, set.await, &format!("{back}?tab=shadow&done=shadow-set"));
    }
    if action == "remove-shadow" {
        let path = path.part("shadow");
        let removed = console.operator_api.send(&visitor, Method::DELETE, &path, None);
        return posted(
            &visitor,
            page,
            removed.await,
            &format!("{back}?tab=shadow&done=shadow-removed"),
        );
    }
    let known = ACTIONS.iter().find(|(known, _)| *known == action);
    let (action, done) = known.copied().unwrap_or(("unknown", ""));
    let path = path.part(action).with("shadow", form.get("shadow"));
    let answer = console.post(&visitor, &path, None).await;
    posted(&visitor, page, answer, &format!("{back}?done={done}"))
}

/// Shows the buttons that change the state of a subscription.
pub(super) fn actions(visitor: &Visitor, id: &str, answer: &Value) -> Markup {
    if !visitor.may(Scope::Operate) || answer.flag("static") {
        return html! {};
    }
    let button = |action: &str, label, effect, is_dangerous| {
        let path = format!("/subscriptions/{}/{action}", encoded(id));
        Action { path, label, effect, is_dangerous, values: Vec::new() }.show(visitor)
    };
    html! {
        div.actions { @match answer.text("state") {
            "active" => {
                (button("pause", "Pause", "Matches are kept and wait.", false))
                (button("disable", "Disable", "Its events are matched no longer; those that wait are dropped.", true))
            }
            "paused" => {
                (button("resume", "Resume", "What waits is delivered at the pace of its endpoint.", false))
                (button("disable", "Disable", "Its events are matched no longer; those that wait are dropped.", true))
            }
            "inactive" | "expired" => { (button("resume", "Resume", "It is matched from the next event on.", false)) }
            _ => {}
        } }
    }
}

/// Shows what can be done with a shadow filter: set, promote, remove, roll back.
pub(super) fn shadow_actions(
    visitor: &Visitor,
    id: &str,
    answer: &Value,
    shadow: Option<&Value>,
) -> Markup {
    if !visitor.may(Scope::Operate) || answer.flag("static") {
        return html! {};
    }
    let action = |action: &str, label, effect, is_dangerous, values| {
        let path = format!("/subscriptions/{}/{action}", encoded(id));
        Action { path, label, effect, is_dangerous, values }.show(visitor)
    };
    html! {
        @match shadow {
            None => form.card action={ "/subscriptions/" (encoded(id)) "/shadow" } method="post" {
                (visitor.csrf_field())
                div.field {
                    label for="shadow-expression" { "Shadow filter" }
                    textarea id="shadow-expression" name="expression" rows="5" spellcheck="false" required {}
                }
                div { button { "Set the shadow filter" } }
            },
            Some(shadow) => div.actions {
                (action("promote", "Promote", "The shadow filter delivers from now on; the present one is kept for a rollback.", true,
                    vec![("shadow", shadow.text("name").to_owned())]))
                (action("remove-shadow", "Remove", "Nothing that is delivered changes.", false, Vec::new()))
            },
        }
        @if !answer.text("promotedAt").is_empty() {
            (action("rollback", "Roll back", "The filter before the promotion delivers again.", true, Vec::new()))
        }
    }
}

//! `/access`: who has access: tokens with their scopes, last use and expiry.

use axum::extract::{Path, Query, State};
use axum::http::Method;
use axum::response::{IntoResponse as _, Response};
use axum::routing::{get, post};
use axum::{Extension, Router};
use maud::{Markup, html};
use serde_json::{Map, Value};

use super::posted::posted;
use crate::console::answer::Members as _;
use crate::console::asked::Asked;
use crate::console::components::{
    Action, Column, State as Shape, Table, ago, column, done, empty, field, notice, number_column,
    select,
};
use crate::console::layout::{Page, Part};
use crate::console::operator_api::{ApiPath, encoded};
use crate::console::state::{Console, refused_page, shown};
use crate::console::visitor::Visitor;

const COLUMNS: &[Column] = &[
    column("Token", "The name that the audit log has."),
    column(
        "May",
        "read: look at everything; operate: also pause, redeliver, redrive; admin: also register and give access.",
    ),
    column("Sees", "All installations, or only one, as an app developer does."),
    number_column("Rate", "Requests a second that it may send."),
    column("Last used", "On this router since it started."),
    column("Expires", "After which it is refused."),
    column("Change", "A new value, or none."),
];
const SCOPES: [(&str, &str); 3] = [
    ("read", "read: look"),
    ("operate", "operate: also act on deliveries"),
    ("admin", "admin: also register and give access"),
];

pub(super) fn routes() -> Router<Console> {
    Router::new()
        .route("/access", get(list).post(create))
        .route("/access/{id}/delete", post(delete))
        .route("/access/{id}/rotate", post(rotate))
}

async fn list(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Query(asked): Query<Asked>,
) -> Response {
    let path = ApiPath::of("tokens");
    let page = Page::new("Access", Part::Access).from(&path, "switchyard tokens ls");
    let answer = console.get(&visitor, &path).await;
    shown(&visitor, page, answer.map(|answer| content(&visitor, &asked, &answer)))
}

fn content(visitor: &Visitor, asked: &Asked, answer: &Value) -> Markup {
    let items = answer.list("items");
    html! {
        (done(asked.get("done")))
        @if items.is_empty() { (empty("No tokens yet.", &html! { p { "The admin token of the settings opens everything. Give people and programs tokens of their own, with what they need." } })) }
        @else { (Table { label: "Tokens", columns: COLUMNS, rows: items.iter().map(|one| row(visitor, one)).collect() }.show()) }
        section aria-labelledby="new" {
            h2 id="new" { "New token" }
            form.card action="/access" method="post" {
                (visitor.csrf_field())
                div.filters {
                    (field("id", "Name", "", "ana, or ci-deploy"))
                    (select("scope", "May", "read", &SCOPES))
                    (field("installation", "Only this installation", "", "empty: all"))
                    (field("expiresAt", "Expires", "", "2027-01-31T00:00:00Z"))
                    div.field { button.main { "Create the token" } }
                }
                p.hint { "The token is shown once, on the next page." }
            }
        }
    }
}

fn row(visitor: &Visitor, one: &Value) -> Vec<Markup> {
    let id = one.text("id");
    let button = |action: &str, label, is_dangerous| {
        let path = format!("/access/{}/{action}", encoded(id));
        Action { path, label, effect: "", is_dangerous, values: Vec::new() }.show(visitor)
    };
    let rotate = format!("Rotate {id}");
    let remove = format!("Remove {id}");
    vec![
        html! { (id) @if !one.text("description").is_empty() { small { (one.text("description")) } } },
        html! { (one.text("scope")) },
        html! { @if one.text("installation").is_empty() { "all installations" } @else { (one.text("installation")) } },
        html! { (one.number("requestsPerSecond")) },
        ago(one.text("lastUsedAt")),
        html! { @if one.text("expiresAt").is_empty() { "never" } @else { (ago(one.text("expiresAt"))) } },
        html! { div.actions { (button("rotate", &rotate, false)) (button("delete", &remove, true)) } },
    ]
}

async fn create(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Extension(form): Extension<Asked>,
) -> Response {
    let page = Page::new("New token", Part::Access).below("Access", "/access");
    let members = ["scope", "installation", "expiresAt", "description"];
    let given =
        members.iter().map(|name| (*name, form.get(name))).filter(|(_, value)| !value.is_empty());
    let body: Map<String, Value> =
        given.map(|(name, value)| (name.to_owned(), value.into())).collect();
    let body = Value::from(body);
    let path = ApiPath::of("tokens").id(form.get("id"));
    let answer = console.operator_api.send(&visitor, Method::PUT, &path, Some(&body)).await;
    with_token(&visitor, page, answer)
}

async fn rotate(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let page = Page::new("New value of a token", Part::Access).below("Access", "/access");
    let answer = console.post(&visitor, &ApiPath::of("tokens").id(&id).part("rotate"), None).await;
    with_token(&visitor, page, answer)
}

/// Shows a token once; nothing keeps it.
fn with_token(
    visitor: &Visitor,
    page: Page<'_>,
    answer: Result<Value, crate::console::operator_api::ApiRefusal>,
) -> Response {
    let answer = match answer {
        Ok(answer) if answer.text("token").is_empty() => {
            return posted(visitor, page, Ok(answer), "/access?done=token-changed");
        }
        Ok(answer) => answer,
        Err(refused) => return refused_page(visitor, page, &refused),
    };
    let content = html! {
        (notice(Shape::Good, &html! {
            p { strong { "Copy the token of " (answer.text("id")) " now. It is not shown again." } }
        }))
        pre tabindex="0" { code { (answer.text("token")) } }
        p { "Its owner logs in here with it, or sends it as " code { "Authorization: Bearer" } "." }
        p { a href="/access" { "All tokens" } }
    };
    page.show(visitor, &content).into_response()
}

async fn delete(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    Path(id): Path<String>,
) -> Response {
    let page = Page::new("Remove a token", Part::Access).below("Access", "/access");
    let path = ApiPath::of("tokens").id(&id);
    let answer = console.operator_api.send(&visitor, Method::DELETE, &path, None).await;
    posted(&visitor, page, answer, "/access?done=token-removed")
}

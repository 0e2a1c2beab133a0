//! The demo: the scenario of the Forge RFC, run through the public APIs of a running router.
//!
//! An app registers a trigger on created and updated issues of project XXX. Its handler selects the
//! assignee by the issue's priority and publishes an `updated:issue` event, which `ignoreSelf` does
//! not deliver to the app again. A task publishes synthetic events.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::extract::State;
use axum::http::StatusCode;
use axum::routing::post;
use axum::{Json, Router};
use hyper::Method;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::client::ApiClient;
use super::io::print_row;
use super::live_lines;
use crate::clock;
use crate::telemetry::LiveFeed;

const APP: &str = "auto-assign";
const INSTALLATION: &str = "demo";
/// Site of the demo.
pub(super) const SITE: &str = "demo-site";
const ADMIN: &str = "/admin/v1";
/// Interval between synthetic events.
const EVENT_PAUSE: Duration = Duration::from_millis(1500);
const PROJECTS: [&str; 3] = ["XXX", "OPS", "WEB"];
const PRIORITIES: [(&str, &str); 4] =
    [("Highest", "ada"), ("High", "grace"), ("Medium", "edsger"), ("Low", "barbara")];
const SUMMARIES: [&str; 5] = [
    "Login page crashes",
    "Invoice shows last year",
    "Search finds nothing",
    "Slow on Mondays",
    "Typo in the footer",
];

/// Sets up the scenario and runs it until `stop`, with its tasks under `tasks`. Returns the bearer
/// token of the demo installation.
///
/// # Errors
/// The router rejected a request of the set-up.
pub(super) async fn start(
    client: &ApiClient,
    live: &LiveFeed,
    tasks: &TaskTracker,
    stop: &CancellationToken,
) -> anyhow::Result<String> {
    let listener =
        TcpListener::bind("127.0.0.1:0").await.context("no port for the demo handler")?;
    let handler = listener.local_addr()?;
    let serve = axum::serve(listener, routes(client.clone()));
    let stopped = stop.clone();
    tasks.spawn(async move {
        let ended = serve.with_graceful_shutdown(stopped.cancelled_owned()).await;
        if let Err(error) = ended {
            tracing::warn!(%error, "the demo handler ended");
        }
    });
    let token = provision(client, handler).await?;
    tasks.spawn(print_live_feed(live.clone(), stop.clone()));
    tasks.spawn(play(client.clone(), stop.clone()));
    Ok(token)
}

async fn provision(client: &ApiClient, handler: SocketAddr) -> anyhow::Result<String> {
    let app = json!({
        "kind": "forge", "name": "Auto assign", "version": "1.0.0",
        "endpoints": [
            { "key": "assign", "url": format!("http://{handler}/assign") },
            { "key": "page", "url": format!("http://{handler}/page") },
        ],
    });
    let no_body = Value::Null;
    // The data folder may hold the app of an earlier run, with a handler that no longer runs.
    let _ = client.send(Method::DELETE, &format!("{ADMIN}/apps/{APP}"), &[], &no_body).await;
    client.send(Method::PUT, &format!("{ADMIN}/apps/{APP}"), &[], &app).await?;
    let installation = json!({ "app": APP, "cloudId": SITE, "product": "jira", "licensed": true,
        "environment": "PRODUCTION", "state": "enabled" });
    let path = format!("{ADMIN}/installations/{INSTALLATION}");
    let answer = client.send(Method::PUT, &path, &[], &installation).await?;
    let token = answer.get("token").and_then(Value::as_str).context("no installation token")?;
    let triggers = [
        json!({ "endpoint": "assign",
            "events": ["avi:jira:created:issue", "avi:jira:updated:issue"],
            "filter": { "expression": "event.issue.fields.project.key == 'XXX'", "ignoreSelf": true } }),
        json!({ "endpoint": "page", "events": ["avi:jira:created:issue"],
            "filter": { "expression": "event.issue.fields.priority?.name == 'Highest'" } }),
    ];
    let app_client = client.with_token(token);
    for data in triggers {
        let module = json!({ "type": "trigger", "data": data });
        let path = "/forge/installation/v2/dynamic/module";
        app_client.send(Method::POST, path, &[], &module).await?;
    }
    Ok(token.to_owned())
}

/// The demo app's handlers.
fn routes(client: ApiClient) -> Router {
    Router::new()
        .route("/assign", post(assign))
        .route("/page", post(|| async { StatusCode::NO_CONTENT }))
        .with_state(Arc::new(client))
}

/// Selects the assignee by priority and publishes the event that Jira would send for the change.
async fn assign(State(client): State<Arc<ApiClient>>, Json(event): Json<Value>) -> StatusCode {
    let priority = event.pointer("/issue/fields/priority/name").and_then(Value::as_str);
    let picked = PRIORITIES.iter().find(|(name, _)| Some(*name) == priority);
    let Some((_, assignee)) = picked else { return StatusCode::NO_CONTENT };
    let current = event.pointer("/issue/fields/assignee/accountId").and_then(Value::as_str);
    if current == Some(assignee) {
        return StatusCode::NO_CONTENT;
    }
    let mut issue = event.get("issue").cloned().unwrap_or_default();
    if let Some(fields) = issue.get_mut("fields").and_then(Value::as_object_mut) {
        fields.insert("assignee".into(), json!({ "accountId": assignee }));
    }
    let item = json!({ "field": "assignee", "fieldId": "assignee", "fieldtype": "jira",
        "from": current, "to": assignee });
    let update = json!({ "eventType": "avi:jira:updated:issue", "issue": issue,
        "changelog": { "id": "1", "items": [item] } });
    match publish(&client, "avi:jira:updated:issue", Some(APP), &update).await {
        Ok(()) => StatusCode::NO_CONTENT,
        Err(error) => {
            tracing::warn!(%error, "the demo handler could not report its change");
            StatusCode::SERVICE_UNAVAILABLE
        }
    }
}

async fn publish(
    client: &ApiClient,
    event_type: &str,
    origin_app: Option<&str>,
    event: &Value,
) -> anyhow::Result<()> {
    let key = event.pointer("/issue/key").and_then(Value::as_str).unwrap_or("-");
    let id = uuid::Uuid::new_v4().to_string();
    let mut headers = vec![("ce-id", id.as_str()), ("ce-subject", key)];
    headers.extend(origin_app.map(|app| ("ce-originapp", app)));
    let path = format!("{ADMIN}/events?cloudId={SITE}&type={event_type}");
    client.send(Method::POST, &path, &headers, event).await.map(drop)
}

/// Publishes synthetic issues, one after the other.
async fn play(client: ApiClient, stop: CancellationToken) {
    let mut number = 0_usize;
    while stop.run_until_cancelled(tokio::time::sleep(EVENT_PAUSE)).await.is_some() {
        let event = synthetic_issue(number);
        if let Err(error) = publish(&client, "avi:jira:created:issue", None, &event).await {
            tracing::warn!(%error, "the demo could not publish an event");
        }
        number += 1;
    }
}

fn synthetic_issue(number: usize) -> Value {
    let pick = |of: &[&'static str], at: usize| of.get(at % of.len()).copied().unwrap_or_default();
    let project = pick(&PROJECTS, number);
    let (priority, _) =
        PRIORITIES.get((number / 2) % PRIORITIES.len()).copied().unwrap_or_default();
    json!({
        "eventType": "avi:jira:created:issue",
        "timestamp": clock::now_ms().to_string(),
        "issue": {
            "id": (10_000 + number).to_string(),
            "key": format!("{project}-{}", number + 1),
            "fields": {
                "summary": pick(&SUMMARIES, number),
                "project": { "key": project },
                "issuetype": { "name": "Bug" },
                "priority": { "name": priority },
                "status": { "name": "To Do" },
                "assignee": null,
            },
        },
    })
}

/// Prints one line for each live event.
async fn print_live_feed(live: LiveFeed, stop: CancellationToken) {
    let mut subscriber = live.subscribe();
    while let Some(received) = stop.run_until_cancelled(subscriber.recv()).await {
        let printed = match received {
            Ok(notice) => {
                let time = clock::now().strftime("%H:%M:%S").to_string();
                let lines = live_lines::lines(&time, &json!(*notice));
                lines.iter().try_for_each(|line| print_row(line))
            }
            Err(RecvError::Lagged(missed)) => print_row(&format!("({missed} lines skipped)")),
            Err(RecvError::Closed) => break,
        };
        if let Err(error) = printed {
            tracing::warn!(%error, "standard output is closed; the demo runs on without it");
            break;
        }
    }
}

//! The answer to a question, within a turn of the one who asks.

use std::time::Duration;

use serde_json::{Value, json};

use super::decisions::Decisions;
use super::request::{Asked, Asker, Scope, no_subscription};
use super::{find, hints, subscriptions};
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::state::Shared;
use crate::recovery::explain::{Deadline, SearchReport};

/// How long decisions take for an operator, and what is read for them.
const DECIDE_MAX: Duration = Duration::from_secs(5);
/// How long they take for an app.
const APP_DECIDE_MAX: Duration = Duration::from_secs(2);

/// Explains events: `{"events", "hints", "retained"?, "searched"?}`; both of the latter for operators only.
/// Calls `progress` while events are searched.
///
/// # Errors
/// Another request has the turn, the broker does not answer, or there is no such subscription.
pub(in crate::api) async fn answer(
    state: &Shared,
    asked: &Asked,
    progress: &(dyn Fn(&SearchReport) + Send + Sync),
) -> Result<Value, ApiError> {
    let turns = &state.recovery.explain_turns;
    let (_turn, decide_max) = match &asked.asker {
        Asker::Operator => (turns.of_operator().await?, DECIDE_MAX),
        Asker::App { app, installation, .. } => {
            (turns.of_app(app, installation).await?, APP_DECIDE_MAX)
        }
    };
    // Without an event, a mistyped name would look like an answer.
    let mut unknown = None;
    if let Scope::Subscription(id) = &asked.scope {
        match (subscriptions::was_registered(state, id).await, asked.asker.is_operator()) {
            (Ok(true), _) => {}
            (Ok(false), true) => return Err(no_subscription(state, id)),
            (Ok(false), false) => return Err(ApiError::NotFound),
            (Err(error), true) => {
                unknown =
                    Some(format!("whether there was a subscription {id} is not known: {error}"));
            }
            (Err(error), false) => return Err(error.into()),
        }
    }
    let found = find::find(state, asked, progress).await?;
    let mut hints = hints::of_events(state, asked, &found).await?;
    let mut decisions = Decisions::new(state, asked, Deadline::after(decide_max), found.bounds);
    let mut events = Vec::new();
    for event in &found.events {
        events.push(decisions.on(event).await?);
    }
    hints.extend(decisions.hints());
    hints.extend(unknown);
    let mut view = json!({ "events": events, "hints": hints });
    // How many events there are, and when those of others were stored, is not shown to apps.
    if asked.asker.is_operator() {
        let (first, since) = (found.bounds.first, found.bounds.first_ms.and_then(rfc3339));
        let begins = json!({ "since": since, "firstSequence": first });
        insert_some(&mut view, "retained", Some(begins));
        insert_some(&mut view, "searched", found.search.as_ref().map(searched_view));
    }
    Ok(view)
}

/// Returns a line of progress.
pub(in crate::api) fn progress_view(report: &SearchReport) -> Value {
    json!({ "progress": { "events": report.read, "found": report.matched } })
}

fn searched_view(report: &SearchReport) -> Value {
    let mut view = json!({ "events": report.read, "found": report.matched });
    insert_some(&mut view, "until", report.cut_at_ms.and_then(rfc3339));
    view
}

//! Operator endpoints of listening clients: a stream of deliveries, and the answers to them.
//!
//! Design: `docs/design/listening.md`.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{FromRequest as _, Request, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use serde_json::{Map, Value, json};
use tokio::sync::mpsc::Receiver;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::api::access::Admitted;
use crate::api::error::ApiError;
use crate::api::extract::{JsonObject, PathIds};
use crate::api::json::{insert_some, rfc3339};
use crate::api::openapi::{Unavailable, route};
use crate::api::schema::{Items, ListenerReply, ListenerView, NewListener};
use crate::api::state::Shared;
use crate::delivery::{ListenerAnswer, sign_with_all};
use crate::domain::{Handler, InstallationId, SigningSecrets, SubscriptionId};
use crate::registry::{
    ListenError, ListenerDelivery, ListenerRecord, ListenerSpec, OpenListener, Problem, code,
    new_signing_secret,
};

/// Interval of the lines that show both sides that the other one is there.
const PING: Duration = Duration::from_secs(5);
const NDJSON: &str = "application/x-ndjson";

pub(super) fn routes() -> OpenApiRouter<Shared> {
    let router = route(OpenApiRouter::default(), routes!(list_listeners, listen));
    route(router, routes!(answer))
}

/// Lists the listening clients of all replicas.
#[utoipa::path(
    get, path = "/listeners", operation_id = "listListeners",
    security(("operatorToken" = ["read"])),
    responses((status = 200, description = "The listeners.", body = Items<ListenerView>))
)]
async fn list_listeners(State(state): State<Shared>) -> Json<Value> {
    let all = state.listening.listeners.all();
    Json(json!({ "items": all.iter().map(view).collect::<Vec<_>>() }))
}

/// Begins a listener and answers with its lines: `{"listener"}` first, `{"delivery"}` for each delivery,
/// `{"ping"}` now and then. The listener ends with the connection.
#[utoipa::path(
    post, path = "/listeners", operation_id = "listen", request_body = NewListener,
    security(("operatorToken" = ["operate"])),
    responses((status = 200, description = "Lines, without an end.",
        content_type = "application/x-ndjson", body = String, example = "{\"ping\":true}\n"), Unavailable)
)]
async fn listen(State(state): State<Shared>, request: Request) -> Result<Response, ApiError> {
    let admitted = Admitted::of(request.extensions());
    let body = JsonObject::from_request(request, &state).await?;
    let spec: ListenerSpec = body.read()?;
    let secrets = Secrets::of(&state, &spec)?;
    let listeners = Arc::clone(&state.listening.listeners);
    // Finds the events that a filter can be meant for, which takes too long for an async worker thread.
    let record = tokio::task::spawn_blocking(move || listeners.record(&spec)).await;
    let record = record.map_err(|error| ApiError::Unavailable(error.to_string()))?;
    let record = record.map_err(ApiError::Invalid)?;
    let opened = state.listening.relay.open(record.clone()).await.map_err(refused)?;
    let OpenListener { deliveries, replicas } = opened;
    let mut listener = view(&record);
    insert_some(&mut listener, "replicas", Some(replicas));
    insert_some(
        &mut listener,
        "timeoutMs",
        u64::try_from(state.listening.timeout.as_millis()).ok(),
    );
    insert_some(&mut listener, "secret", secrets.shown.as_deref());
    let first = Some(line(&json!({ "listener": listener })));
    let client = Client { state, admitted, deliveries, secrets };
    let lines = stream::unfold((first, client), async |(first, mut client)| {
        let line = match first {
            Some(line) => line,
            None => client.next().await?,
        };
        Some((Ok::<_, Infallible>(line), (None, client)))
    });
    Ok(([(header::CONTENT_TYPE, NDJSON)], Body::from_stream(lines)).into_response())
}

/// The client of a listener.
struct Client {
    state: Shared,
    /// It gets no delivery after its token has ended.
    admitted: Option<Admitted>,
    deliveries: Receiver<ListenerDelivery>,
    secrets: Secrets,
}

impl Client {
    /// Returns its next line; none if the listener or its token has ended.
    async fn next(&mut self) -> Option<Bytes> {
        let next = tokio::time::timeout(PING, self.deliveries.recv()).await;
        self.admitted.as_ref().filter(|admitted| admitted.holds(&self.state))?;
        Some(match next {
            Ok(delivery) => line(&json!({ "delivery": delivery_view(delivery?, &self.secrets) })),
            Err(_) => line(&json!({ "ping": true })),
        })
    }
}

/// The answer of a handler to one delivery.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct AnswerRequest {
    /// Status of its response.
    status: Option<u16>,
    /// Begin of its body.
    #[serde(default)]
    body: String,
    /// Why there is no response.
    error: Option<String>,
}

/// Returns the answer to a delivery; 404 if it waits for none any more.
#[utoipa::path(
    post, path = "/listeners/{id}/answers/{delivery}", operation_id = "answerDelivery",
    security(("operatorToken" = ["operate"])),
    request_body = ListenerReply,
    responses((status = 204, description = "The answer is the response to the delivery."), Unavailable)
)]
async fn answer(
    State(state): State<Shared>,
    PathIds(listener, delivery): PathIds,
    body: JsonObject,
) -> Result<StatusCode, ApiError> {
    let request: AnswerRequest = body.read()?;
    let answer = match request {
        AnswerRequest { status: Some(status @ 100..=999), body, error: None } => {
            ListenerAnswer::Response { status, body: beginning(body) }
        }
        AnswerRequest { status: None, error: Some(reason), .. } => {
            ListenerAnswer::NoResponse { reason: beginning(reason) }
        }
        _ => {
            let message = "an answer has either the status of a response, or an error";
            return Err(Problem::new(code::FORM, "status", message).into());
        }
    };
    let id = InstallationId::from(listener);
    match state.listening.relay.answer(&id, &delivery, answer.write()).await.map_err(refused)? {
        true => Ok(StatusCode::NO_CONTENT),
        false => Err(ApiError::NotFound),
    }
}

/// Returns the first [`ListenerAnswer::BYTES_MAX`] bytes of a text, to the last whole character.
fn beginning(mut text: String) -> String {
    text.truncate(text.floor_char_boundary(ListenerAnswer::BYTES_MAX));
    text
}

fn refused(error: ListenError) -> ApiError {
    match error {
        ListenError::TooMany(max) => ApiError::TooManyListeners { max },
        ListenError::Unavailable(reason) => ApiError::Unavailable(reason),
    }
}

/// What signs the deliveries to a listener.
struct Secrets {
    signing: SigningSecrets,
    /// The secret, unless it is that of the app.
    shown: Option<String>,
}

impl Secrets {
    /// Returns the secrets of the handler of the trigger that is followed, else a new one.
    fn of(state: &Shared, spec: &ListenerSpec) -> Result<Self, ApiError> {
        let followed = spec.subscription.as_deref().and_then(SubscriptionId::parse);
        let followed = followed.and_then(|id| state.registry.subscription(&id));
        let of_app = followed.and_then(|followed| match &*followed.owner.settings.handler {
            Handler::Http(endpoint) => endpoint.secrets.clone(),
            Handler::ForgeRemote(remote) => Some(remote.secrets.clone()),
            Handler::Function(_) | Handler::Webhook(_) | Handler::Listener(_) => None,
        });
        if let Some(signing) = of_app {
            return Ok(Self { signing, shown: None });
        }
        let new = new_signing_secret().map_err(|error| ApiError::Unavailable(error.to_string()))?;
        let shown = Some(new.reveal().to_owned());
        Ok(Self { signing: new.into(), shown })
    }
}

/// A delivery as the client gets it: signed, as a handler does.
fn delivery_view(delivery: ListenerDelivery, secrets: &Secrets) -> Value {
    let ListenerDelivery { number, headers, body } = delivery;
    let mut headers: Map<String, Value> =
        headers.into_iter().map(|(name, value)| (name, Value::from(value))).collect();
    let text = |name: &str| headers.get(name).and_then(Value::as_str);
    let signed = text("webhook-id")
        .zip(text("webhook-timestamp"))
        .and_then(|(id, time)| sign_with_all(&secrets.signing, id, time.parse().ok()?, &body).ok());
    if let Some(signature) = signed {
        headers.insert("webhook-signature".to_owned(), signature.into());
    }
    json!({ "number": number, "headers": headers, "body": String::from_utf8_lossy(&body) })
}

fn view(record: &ListenerRecord) -> Value {
    let mut view = json!({
        "id": record.id,
        "site": record.site,
        "since": rfc3339(record.since_ms),
        "events": record.data.get("events"),
    });
    insert_some(&mut view, "installation", record.installation.as_ref());
    insert_some(&mut view, "filter", record.data.get("filter"));
    view
}

fn line(value: &Value) -> Bytes {
    let mut text = value.to_string();
    text.push('\n');
    text.into()
}

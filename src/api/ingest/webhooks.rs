//! Webhook ingestion: stores the events of webhooks that Jira and Confluence sites post.
//!
//! A webhook is accepted only from a site with an installation, and only as the settings of the site
//! say. Everything that does not depend on the body is checked before the body is read.
//!
//! 202 means that the broker stored every event of the webhook. After any other status the site may
//! send the webhook again: event ids are derived from it, so no event is stored twice.

use std::sync::Arc;

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use futures_util::future::try_join_all;
use serde_json::json;
use utoipa::openapi::content::Content;
use utoipa::openapi::path::{Operation, OperationBuilder, ParameterBuilder, ParameterIn};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, Required, ResponseBuilder, ResponsesBuilder};
use utoipa_axum::router::OpenApiRouter;

use super::body::{bad_request, is_packed, read_body};
use super::parsing;
use super::refusals::{IngestRefusals, Reason};
use super::sites::{SiteDirectory, SiteRules, Verification};
use crate::api::admit::{client_of, discard};
use crate::api::content_type::is_json;
use crate::api::error::{ApiError, ClientRefusal, WebhookRefusal};
use crate::api::openapi::{Forbidden, NotFound, described_post, route};
use crate::api::query_params::QueryParams;
use crate::api::schema::IngestedWebhook;
use crate::domain::{CloudId, Product};
use crate::event::sources::SOURCES;
use crate::event::webhook::{IncomingWebhook, WebhookLimits, WebhookMappingError, map_webhook};
use crate::event::{DecodeError, Envelope, HeaderLookup, Publisher};
use crate::listener::{AuthFailures, BodyIntake, Client};

#[cfg(test)]
mod tests;

/// Longest site id, in bytes.
const CLOUD_ID_BYTES_MAX: usize = 128;

/// State of webhook ingestion.
#[derive(Clone)]
pub struct IngestState {
    /// Stores the events.
    pub publisher: Arc<dyn Publisher>,
    /// Knows which sites are provisioned.
    pub directory: Arc<dyn SiteDirectory>,
    /// What authenticates the webhooks of each site.
    pub rules: Arc<SiteRules>,
    /// Reads the bodies.
    pub bodies: Arc<BodyIntake>,
    /// Clients that fail too often: what they ask for is not looked for at other replicas.
    pub failures: Arc<AuthFailures>,
    /// Counts refused webhooks.
    pub refusals: Arc<IngestRefusals>,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
    /// Largest event, in bytes.
    pub event_bytes_max: usize,
}

/// Returns the routes `POST /ingest/jira/{cloudId}` and
/// `POST /ingest/confluence/{cloudId}?event=NAME`, each also with a token as last part of the path.
pub fn webhook_routes(state: IngestState) -> OpenApiRouter {
    let mut router = OpenApiRouter::default();
    for source in SOURCES {
        let (path, product) = (format!("/ingest/{}/{{cloudId}}", source.name()), source.product());
        let by_site = move |state, Path(site): Path<String>, query, request| {
            receive_webhook(state, product, (site, None), query, request)
        };
        let by_token = move |state, Path((site, token)): Path<(String, String)>, query, request| {
            receive_webhook(state, product, (site, Some(token)), query, request)
        };
        for (path, suffix, methods) in [
            (path.clone(), "", post(by_site)),
            (format!("{path}/{{token}}"), "WithToken", post(by_token)),
        ] {
            let operation = webhook_operation(source.name(), suffix);
            router = route(router, described_post::<IngestedWebhook, _>(&path, operation, methods));
        }
    }
    router.with_state(state)
}

/// Describes the route for webhooks of a source; `suffix` ends its id.
fn webhook_operation(source: &str, suffix: &str) -> Operation {
    let body = Content::new(Some(ObjectBuilder::new().build()));
    let body =
        RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True));
    let answer = Content::new(Some(Ref::from_schema_name("IngestedWebhook")));
    let answer = ResponseBuilder::new()
        .description("The broker stored every event of the webhook.")
        .content("application/json", answer);
    let event = ParameterBuilder::new()
        .name("event")
        .parameter_in(ParameterIn::Query)
        .schema(Some(ObjectBuilder::new().schema_type(Type::String).build()))
        .description(Some("Name of the webhook, if its body does not have it."));
    let responses = ResponsesBuilder::new()
        .response("202", answer)
        .responses_from_into_responses::<Forbidden>()
        .responses_from_into_responses::<NotFound>();
    OperationBuilder::new()
        .operation_id(Some(format!("receive_{source}_webhook{suffix}")))
        .summary(Some(format!("Stores the events of a webhook of a site of {source}.")))
        .description(Some("After another status than 202 the site may send the webhook again: no event is stored twice."))
        .parameter(event)
        .request_body(Some(body.build()))
        .responses(responses)
        .build()
}

async fn receive_webhook(
    State(state): State<IngestState>,
    product: Product,
    (site, token): (String, Option<String>),
    RawQuery(query): RawQuery,
    request: Request,
) -> Result<Response, ApiError> {
    let (Parts { headers, extensions, .. }, body) = request.into_parts();
    let client = client_of(&extensions);
    let cloud_id = CloudId::from(site);
    let refuse = |is_provisioned, reason, error| {
        state.refusals.count(&cloud_id, is_provisioned, reason, &error);
        error
    };
    if !(1..=CLOUD_ID_BYTES_MAX).contains(&cloud_id.as_str().len()) {
        let message = "the path must name a site: /ingest/jira/{cloudId}";
        return Err(refuse(false, Reason::NoSite, bad_request("SY-1021", message)));
    }
    let is_provisioned = state.knows_site(product, &cloud_id, client).await;
    let admitted = if is_provisioned || state.rules.is_open {
        state.rules.admit(product, &cloud_id, token.as_deref(), &headers)
    } else {
        Err(Reason::UnknownSite)
    };
    let admitted = admitted.and_then(|verification| match is_json(&headers) {
        _ if is_packed(&headers) => Err(Reason::Packed),
        true => Ok(verification),
        false => Err(Reason::MediaType),
    });
    let verification = match admitted {
        Ok(verification) => verification,
        Err(reason) => {
            discard(&headers, body).await;
            return Err(refuse(is_provisioned, reason, error_of(reason)));
        }
    };
    if let Some(retry_after_s) = state.publisher.refuse_for_s() {
        let error = ApiError::Backlog { retry_after_s };
        return Err(refuse(is_provisioned, Reason::NotStored, error));
    }
    let (max, site) = (state.body_bytes_max, Some(cloud_id.as_str()));
    let received = read_body(&state.bodies, body, max, client, site).await;
    let received = received.map_err(|error| {
        let (reason, error) = unread(error, max);
        refuse(is_provisioned, reason, error)
    })?;
    let (body, body_bytes) = (received.bytes.clone(), received.bytes.len());
    let message = state.publisher.message_bytes_max();
    let limits = WebhookLimits { event: state.event_bytes_max, message };
    let webhook =
        ReceivedWebhook { product, cloud_id: cloud_id.clone(), query, headers, body, limits };
    let events = parsing::run(body_bytes, move || webhook.verified_events(&verification)).await?;
    let events = events.map_err(|(reason, error)| refuse(is_provisioned, reason, error))?;
    let ids: Vec<String> =
        events.iter().map(|(envelope, _)| envelope.event_id.to_string()).collect();
    let publishes =
        events.into_iter().map(|(envelope, body)| state.publisher.publish(envelope, body));
    let published = try_join_all(publishes).await.map_err(ApiError::Unpublished);
    published.map_err(|error| refuse(is_provisioned, Reason::NotStored, error))?;
    Ok((StatusCode::ACCEPTED, Json(json!({"ids": ids}))).into_response())
}

impl IngestState {
    /// Whether a site has an installation, on any replica.
    async fn knows_site(&self, product: Product, site: &CloudId, client: Client) -> bool {
        if self.directory.is_provisioned(product, site) {
            return true;
        }
        if self.failures.record(client).is_some() {
            return false;
        }
        // It may have been installed at another replica just now, and the sender of a webhook does not
        // repeat it after 404.
        self.directory.catch_up().await;
        self.directory.is_provisioned(product, site)
    }
}

/// Returns the response to a webhook that is refused before its body is read.
fn error_of(reason: Reason) -> ApiError {
    match reason {
        Reason::UnknownSite => WebhookRefusal::UnknownSite.into(),
        Reason::Closed => WebhookRefusal::IngestClosed.into(),
        Reason::WrongToken => WebhookRefusal::WrongPathToken.into(),
        Reason::MediaType => WebhookRefusal::NotJson.into(),
        Reason::Packed => WebhookRefusal::Packed.into(),
        Reason::WebPage => ClientRefusal::ForeignOrigin.into(),
        _ => ApiError::BadSignature,
    }
}

/// Returns the label of a body that cannot be read, and the response to it.
fn unread(error: ApiError, max: usize) -> (Reason, ApiError) {
    match error {
        ApiError::NoEvent(DecodeError::Size { .. }) => {
            (Reason::TooLarge, WebhookRefusal::TooLarge { max }.into())
        }
        ApiError::Client(ClientRefusal::NoBodyCapacity(_)) => (Reason::Busy, error),
        error => (Reason::Incomplete, error),
    }
}

/// Returns the label of a body that is not a webhook, and the response to it.
fn unmapped(error: &WebhookMappingError) -> (Reason, ApiError) {
    let refused = |reason| (reason, bad_request("SY-1023", &error.to_string()));
    match error {
        WebhookMappingError::Empty => refused(Reason::EmptyBody),
        WebhookMappingError::Name(_) => refused(Reason::BadName),
        WebhookMappingError::Unstorable { bytes, max } => {
            let (bytes, max) = (*bytes, *max);
            (Reason::TooLarge, WebhookRefusal::Unstorable { bytes, max }.into())
        }
        WebhookMappingError::Body(error) => match error {
            DecodeError::Utf8 { .. } | DecodeError::Json { .. } => refused(Reason::NotJson),
            DecodeError::Depth { .. } => refused(Reason::TooDeep),
            DecodeError::Size { .. } => refused(Reason::TooLarge),
            DecodeError::Schema { .. } => refused(Reason::NotAWebhook),
        },
    }
}

/// A webhook as it arrived.
struct ReceivedWebhook {
    product: Product,
    cloud_id: CloudId,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
    limits: WebhookLimits,
}

impl ReceivedWebhook {
    /// Returns its events, if its body is what the sender signed.
    fn verified_events(
        &self,
        verification: &Verification,
    ) -> Result<Vec<(Envelope, Bytes)>, (Reason, ApiError)> {
        verification.verify(&self.body).map_err(|reason| (reason, error_of(reason)))?;
        let query = QueryParams::parse(self.query.as_deref());
        let incoming = IncomingWebhook {
            product: self.product,
            cloud_id: &self.cloud_id,
            headers: &RequestHeaders(&self.headers),
            url_name: query.get("event"),
            body: self.body.clone(),
        };
        map_webhook(&incoming, self.limits).map_err(|error| unmapped(&error))
    }
}

/// Adapts request headers to [`HeaderLookup`].
struct RequestHeaders<'r>(&'r HeaderMap);

impl HeaderLookup for RequestHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }
}

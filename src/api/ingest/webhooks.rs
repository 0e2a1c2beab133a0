//! Webhook ingestion: stores the events of webhooks that Jira and Confluence sites post.
//!
//! 202 means that the broker stored every event of the webhook. After any other status the site may
//! send the webhook again: event ids are derived from it, so no event is stored twice.

use std::collections::HashMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use axum::{Json, Router};
use data_encoding::HEXLOWER_PERMISSIVE;
use futures_util::future::try_join_all;
use hmac::{Hmac, KeyInit, Mac};
use serde_json::json;
use sha2::Sha256;

use super::body::{bad_request, read_body};
use super::parsing;
use crate::api::error::ApiError;
use crate::api::query_params::QueryParams;
use crate::domain::{CloudId, Product, Secret};
use crate::event::sources::SOURCES;
use crate::event::webhook::map_webhook;
use crate::event::{Envelope, HeaderLookup, Publisher};

#[cfg(test)]
mod tests;

/// Signature of the raw body, `sha256=<hex>`.
///
/// **Source:** WebSub, section 7; Atlassian, "Securing webhooks".
const SIGNATURE: &str = "x-hub-signature";
/// Longest site id, in bytes.
const CLOUD_ID_BYTES_MAX: usize = 128;

/// State of webhook ingestion.
#[derive(Clone)]
pub struct IngestState {
    /// Stores the events.
    pub publisher: Arc<dyn Publisher>,
    /// Webhook secrets by product and site; signatures are verified only for these sites.
    pub secrets: Arc<HashMap<(Product, CloudId), Secret>>,
    /// Largest body, in bytes.
    pub body_bytes_max: usize,
}

/// Returns the routes `POST /ingest/jira/{cloudId}` and
/// `POST /ingest/confluence/{cloudId}?event=NAME`.
pub fn webhook_routes(state: IngestState) -> Router {
    let mut router = Router::new();
    for source in SOURCES {
        let (path, product) = (format!("/ingest/{}/{{cloudId}}", source.name()), source.product());
        let handle = move |state, cloud_id, query, headers, body| {
            receive_webhook(state, product, cloud_id, query, headers, body)
        };
        router = router.route(&path, post(handle)).route(&format!("{path}/"), post(handle));
    }
    router.with_state(state)
}

async fn receive_webhook(
    State(state): State<IngestState>,
    product: Product,
    Path(cloud_id): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    if !(1..=CLOUD_ID_BYTES_MAX).contains(&cloud_id.len()) {
        let message = "the path must name a site: /ingest/jira/{cloudId}";
        return Err(bad_request("SY-1021", message));
    }
    if let Some(retry_after_s) = state.publisher.refuse_for_s() {
        return Err(ApiError::Backlog { retry_after_s });
    }
    let cloud_id = CloudId::from(cloud_id);
    let body = read_body(body, state.body_bytes_max).await?;
    let body_bytes = body.len();
    let secret = site_secret(&state.secrets, product, &cloud_id).cloned();
    let parse = move || {
        let webhook = ReceivedWebhook { product, cloud_id, query, headers, body };
        webhook.verify(secret.as_ref()).and_then(|()| webhook.events())
    };
    let events = parsing::run(body_bytes, parse).await??;
    let ids: Vec<String> =
        events.iter().map(|(envelope, _)| envelope.event_id.to_string()).collect();
    let publishes =
        events.into_iter().map(|(envelope, body)| state.publisher.publish(envelope, body));
    try_join_all(publishes).await.map_err(ApiError::Unpublished)?;
    Ok((StatusCode::ACCEPTED, Json(json!({"ids": ids}))).into_response())
}

/// A webhook as it arrived.
struct ReceivedWebhook {
    product: Product,
    cloud_id: CloudId,
    query: Option<String>,
    headers: HeaderMap,
    body: Bytes,
}

impl ReceivedWebhook {
    /// Verifies its signature, if its site has a secret.
    fn verify(&self, secret: Option<&Secret>) -> Result<(), ApiError> {
        let Some(secret) = secret else { return Ok(()) };
        let signature = self.headers.get(SIGNATURE).and_then(|value| value.to_str().ok());
        let valid = is_signed(secret, signature.unwrap_or_default(), &self.body);
        if valid { Ok(()) } else { Err(ApiError::BadSignature) }
    }

    /// Returns its events.
    fn events(&self) -> Result<Vec<(Envelope, Bytes)>, ApiError> {
        let headers = RequestHeaders(&self.headers);
        let query = QueryParams::parse(self.query.as_deref());
        let name = query.get("event");
        map_webhook(self.product, &self.cloud_id, &headers, &self.body, name)
            .map_err(|error| bad_request("SY-1023", &error.to_string()))
    }
}

/// Returns the secret of a site; secrets from the environment are stored under the lower-case site.
fn site_secret<'s>(
    secrets: &'s HashMap<(Product, CloudId), Secret>,
    product: Product,
    cloud_id: &CloudId,
) -> Option<&'s Secret> {
    let lower = CloudId::from(cloud_id.as_str().to_lowercase());
    secrets.get(&(product, cloud_id.clone())).or_else(|| secrets.get(&(product, lower)))
}

/// Verifies `signature` over `body` in constant time.
fn is_signed(secret: &Secret, signature: &str, body: &[u8]) -> bool {
    let Some(hex) = signature.strip_prefix("sha256=") else { return false };
    let Ok(claimed) = HEXLOWER_PERMISSIVE.decode(hex.as_bytes()) else { return false };
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(&claimed).is_ok()
}

/// Adapts request headers to [`Headers`].
struct RequestHeaders<'r>(&'r HeaderMap);

impl HeaderLookup for RequestHeaders<'_> {
    fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).and_then(|value| value.to_str().ok())
    }
}

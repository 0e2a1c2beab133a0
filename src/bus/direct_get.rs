//! Direct gets of many messages with one request, without a consumer.
//!
//! **Source:** NATS ADR-31, direct get of several subjects.

use std::time::Duration;

use async_nats::jetstream::message::StreamMessage;
use futures_util::StreamExt;
use serde_json::{Value, json};

use super::connect::JetStreamClient;

/// Longest wait for an answer.
const TIMEOUT: Duration = Duration::from_secs(2);
/// Status that ends the messages of an answer.
const END_OF_BATCH: u16 = 204;
const NOT_FOUND: u16 = 404;
/// Status when more subjects match than the broker returns at once (1,024).
const TOO_MANY: u16 = 413;

/// Answer of the broker.
#[derive(Debug)]
pub(super) enum LastMessages {
    /// The last message of each subject.
    All(Vec<StreamMessage>),
    /// More subjects match than the broker returns at once.
    TooMany,
}

/// Returns the last message of each subject that matches one of `subjects`.
///
/// # Errors
/// The broker does not answer, or not as expected; one sentence.
pub(super) async fn last_of(
    jetstream_client: &JetStreamClient,
    stream: &str,
    subjects: &[String],
) -> Result<LastMessages, String> {
    let answer = request(jetstream_client, stream, json!({ "multi_last": subjects }));
    tokio::time::timeout(TIMEOUT, answer).await.map_err(|_| "no answer".to_owned())?
}

async fn request(
    jetstream_client: &JetStreamClient,
    stream: &str,
    request: Value,
) -> Result<LastMessages, String> {
    let client = &jetstream_client.client;
    let inbox = client.new_inbox();
    let mut answers = client.subscribe(inbox.clone()).await.map_err(|e| e.to_string())?;
    let api = format!("$JS.API.DIRECT.GET.{stream}");
    let body = request.to_string().into();
    client.publish_with_reply(api, inbox, body).await.map_err(|e| e.to_string())?;
    let mut messages: Vec<StreamMessage> = Vec::new();
    while let Some(message) = answers.next().await {
        match message.status.map(|status| status.as_u16()) {
            None => messages.push(StreamMessage::try_from(message).map_err(|e| e.to_string())?),
            Some(END_OF_BATCH | NOT_FOUND) => return Ok(LastMessages::All(messages)),
            Some(TOO_MANY) => return Ok(LastMessages::TooMany),
            Some(status) => return Err(format!("status {status}")),
        }
    }
    Err("the connection ended".to_owned())
}

//! Calls functions of apps by NATS request and reply.

use std::time::Duration;

use async_nats::client::{RequestError, RequestErrorKind};
use async_nats::{Client, HeaderMap, Message, Request};
use bytes::Bytes;
use futures_util::future::BoxFuture;

use super::headers::{self, MessageHeaders};
use crate::delivery::{FunctionCaller, FunctionError, FunctionReply};
use crate::event::HeaderLookup;
use crate::event::codec::HeaderList;

/// Header with the error code of a service reply.
///
/// **Source:** NATS ADR-32, service API.
const ERROR_CODE: &str = "nats-service-error-code";

/// Calls functions over one connection.
#[derive(Clone, Debug)]
pub struct FunctionClient {
    client: Client,
}

impl FunctionClient {
    /// Calls over `client`.
    #[must_use]
    pub fn new(client: Client) -> Self {
        Self { client }
    }

    async fn request(
        &self,
        subject: String,
        headers: HeaderMap,
        body: Bytes,
        timeout: Duration,
    ) -> Result<FunctionReply, FunctionError> {
        // With an inbox of its own: the client keeps an entry for each request to its shared inbox
        // that is never answered, so functions that do not reply would fill the memory.
        let inbox = self.client.new_inbox();
        let request = Request::new().headers(headers).payload(body).inbox(inbox);
        let request = request.timeout(Some(timeout));
        self.client.send_request(subject, request).await.map(reply).map_err(|e| call_error(&e))
    }
}

impl FunctionCaller for FunctionClient {
    fn call(
        &self,
        subject: &str,
        fields: HeaderList,
        body: Bytes,
        timeout: Duration,
    ) -> BoxFuture<'_, Result<FunctionReply, FunctionError>> {
        Box::pin(self.request(subject.to_owned(), headers::write(&fields), body, timeout))
    }
}

fn reply(message: Message) -> FunctionReply {
    let headers = MessageHeaders::new(message.headers);
    // An unreadable error code is still an error.
    let error_code = headers.get(ERROR_CODE).map(|code| code.parse().unwrap_or(500));
    FunctionReply { body: message.payload, error_code }
}

fn call_error(error: &RequestError) -> FunctionError {
    match error.kind() {
        RequestErrorKind::NoResponders => FunctionError::NoSubscriber,
        RequestErrorKind::TimedOut => FunctionError::Timeout,
        RequestErrorKind::MaxPayloadExceeded => FunctionError::TooLarge,
        _ => FunctionError::Broker(error.to_string()),
    }
}

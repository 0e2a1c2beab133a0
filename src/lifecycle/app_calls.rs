//! Calls apps for the registry, over the same guarded HTTP as deliveries.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::clock;
use crate::delivery::{HttpSender, sign};
use crate::event::codec::HeaderList;
use crate::registry::{AppCall, AppCaller, CallAuth, CallError};

/// HTTP implementation of [`AppCaller`].
#[derive(Debug)]
pub(super) struct AppCalls {
    sender: HttpSender,
    response_bytes_max: usize,
}

impl AppCalls {
    /// Creates a caller that reads at most `response_bytes_max` of a response.
    pub(super) fn new(sender: HttpSender, response_bytes_max: usize) -> Self {
        Self { sender, response_bytes_max }
    }

    async fn post(&self, call: AppCall) -> Result<Bytes, CallError> {
        let now_s = clock::now().as_second();
        let mut headers: HeaderList = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", concat!("switchyard/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        match &call.auth {
            CallAuth::Token(value) => headers.push(("authorization", value.reveal().to_owned())),
            CallAuth::Signature(secret) => {
                let signature = sign(secret, &call.id, now_s, &call.body)
                    .map_err(|error| CallError(error.to_string()))?;
                headers.extend([
                    ("webhook-id", call.id.clone()),
                    ("webhook-timestamp", now_s.to_string()),
                    ("webhook-signature", signature),
                ]);
            }
        }
        // These calls are few, and no two installations share a connection.
        let client = self.sender.client(0);
        client
            .post_for_body(&call.url, headers, call.body, self.response_bytes_max)
            .await
            .map_err(CallError)
    }
}

impl AppCaller for AppCalls {
    fn call(&self, call: AppCall) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(self.post(call))
    }
}

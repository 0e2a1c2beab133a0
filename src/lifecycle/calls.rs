//! Calls to apps that are no deliveries, over the same guarded HTTP.

use bytes::Bytes;
use futures_util::future::BoxFuture;

use crate::clock;
use crate::delivery::Fields;
use crate::delivery::http::Sender;
use crate::delivery::signature::sign;
use crate::registry::{AppCall, AppCaller, CallAuth, CallError};

/// Calls apps for the registry.
#[derive(Debug)]
pub(super) struct AppCalls {
    sender: Sender,
    answer_bytes_max: usize,
}

impl AppCalls {
    /// Reads answers of at most `answer_bytes_max`.
    pub(super) fn new(sender: Sender, answer_bytes_max: usize) -> Self {
        Self { sender, answer_bytes_max }
    }

    async fn post(&self, call: AppCall) -> Result<Bytes, CallError> {
        let now_s = clock::now().as_second();
        let mut fields: Fields = vec![
            ("content-type", "application/json".to_owned()),
            ("user-agent", concat!("switchyard/", env!("CARGO_PKG_VERSION")).to_owned()),
        ];
        match &call.proof {
            CallAuth::Token(value) => fields.push(("authorization", value.reveal().to_owned())),
            CallAuth::Signature(secret) => {
                let signature = sign(secret, &call.id, now_s, &call.body)
                    .map_err(|error| CallError(error.to_string()))?;
                fields.extend([
                    ("webhook-id", call.id.clone()),
                    ("webhook-timestamp", now_s.to_string()),
                    ("webhook-signature", signature),
                ]);
            }
        }
        // These calls are few, and no two installations share a connection.
        let client = self.sender.client(0);
        client.ask(&call.url, fields, call.body, self.answer_bytes_max).await.map_err(CallError)
    }
}

impl AppCaller for AppCalls {
    fn call(&self, call: AppCall) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(self.post(call))
    }
}

//! Calls to apps other than deliveries: install callbacks, discovery requests, notices.

use std::fmt;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use url::Url;

use super::metrics;
use crate::domain::Secret;

/// Calls apps over HTTP; implemented outside of the registry.
pub trait AppCaller: Send + Sync {
    /// Posts `call.body` as JSON and returns the body of the response.
    ///
    /// # Errors
    /// There is no response in time, it is too long, or its status is not a success.
    fn call(&self, call: AppCall) -> BoxFuture<'_, Result<Bytes, CallError>>;
}

/// One call to an app. Its `Debug` form has no body, which may have a secret for the app.
#[derive(Clone)]
pub struct AppCall {
    /// Kind of call, as metric label.
    pub kind: &'static str,
    /// Id of the call; retries keep it.
    pub id: String,
    /// Address to post to.
    pub url: Url,
    /// How the app authenticates the call.
    pub auth: CallAuth,
    /// JSON body.
    pub body: Bytes,
}

impl fmt::Debug for AppCall {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppCall")
            .field("kind", &self.kind)
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// How an app authenticates a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallAuth {
    /// The value of `Authorization`.
    Token(Secret),
    /// A signature like that of a delivery, made with this secret.
    Signature(Secret),
}

/// Why a call failed, in one sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct CallError(pub String);

/// The caller of apps.
#[derive(Default)]
pub(crate) struct OutboundCalls {
    caller: OnceLock<Arc<dyn AppCaller>>,
}

impl OutboundCalls {
    /// Sets the caller; only the first call has an effect.
    pub(super) fn set_caller(&self, caller: Arc<dyn AppCaller>) {
        let _ = self.caller.set(caller);
    }

    /// Calls an app and returns its response.
    pub(super) async fn call(&self, call: AppCall) -> Result<Bytes, CallError> {
        let Some(caller) = self.caller.get() else {
            return Err(CallError("no caller of apps is configured".into()));
        };
        let kind = call.kind;
        let answer = caller.call(call).await;
        metrics::app_called(kind, answer.is_ok());
        answer
    }
}

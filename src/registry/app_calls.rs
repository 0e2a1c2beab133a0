//! Calls to apps other than deliveries: install callbacks, discovery requests, notices.
//!
//! Notices wait in a bounded queue in memory. An app can query everything a notice says, so no
//! registration waits for one.

use std::fmt;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc};
use tokio::task::JoinSet;
use tracing::{info, warn};
use url::Url;

use super::metrics;
use crate::domain::Secret;

/// Queue capacity; a further notice is dropped and counted.
const NOTICES_MAX: usize = 1024;
/// Concurrent notices.
const SENDING_MAX: usize = 8;
/// Pauses between the attempts of a notice; after the last attempt it is dropped.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

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

/// The caller and the queue of notices.
pub(crate) struct OutboundCalls {
    caller: OnceLock<Arc<dyn AppCaller>>,
    notices: mpsc::Sender<AppCall>,
    waiting: Mutex<mpsc::Receiver<AppCall>>,
}

impl Default for OutboundCalls {
    fn default() -> Self {
        let (notices, waiting) = mpsc::channel(NOTICES_MAX);
        Self { caller: OnceLock::new(), notices, waiting: Mutex::new(waiting) }
    }
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

    /// Queues a notice.
    pub(super) fn notify(&self, call: AppCall) {
        let kind = call.kind;
        if self.notices.try_send(call).is_err() {
            metrics::app_called(kind, false);
            warn!(kind, "notice dropped: the queue holds {NOTICES_MAX}");
        }
    }

    /// Sends queued notices until the future is dropped.
    pub(super) async fn send_notices(&self) {
        let mut waiting = self.waiting.lock().await;
        let mut sending = JoinSet::new();
        while let Some(notice) = waiting.recv().await {
            if sending.len() >= SENDING_MAX {
                sending.join_next().await;
            }
            while sending.try_join_next().is_some() {}
            if let Some(caller) = self.caller.get() {
                sending.spawn(send(Arc::clone(caller), notice));
            }
        }
    }
}

async fn send(caller: Arc<dyn AppCaller>, notice: AppCall) {
    let (kind, id) = (notice.kind, notice.id.clone());
    let mut pauses = PAUSES.iter();
    loop {
        let answer = caller.call(notice.clone()).await;
        metrics::app_called(kind, answer.is_ok());
        match (answer, pauses.next()) {
            (Ok(_), _) => return,
            (Err(_), Some(pause)) => tokio::time::sleep(*pause).await,
            (Err(error), None) => {
                info!(kind, id, %error, "notice dropped after its last attempt");
                return;
            }
        }
    }
}

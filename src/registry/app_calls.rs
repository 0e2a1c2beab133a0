//! Calls to apps that are no deliveries: installs, discovery, notices.
//!
//! Notices wait in memory, in a bounded queue: they tell an app what it can also ask for, so none is
//! worth holding up a registration.

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

/// Notices that wait; a further one is dropped and counted.
const NOTICES_MAX: usize = 1024;
/// Notices that are on their way at once.
const SENDING_MAX: usize = 8;
/// Pauses before a notice is sent again; then it is given up.
const PAUSES: [Duration; 2] = [Duration::from_secs(2), Duration::from_secs(10)];

/// Calls apps; implemented at the HTTP edge.
pub trait AppCaller: Send + Sync {
    /// Posts `call.body` as JSON and returns the body of the answer.
    ///
    /// # Errors
    /// There is no answer in time, it is too long, or its status is no success.
    fn call(&self, call: AppCall) -> BoxFuture<'_, Result<Bytes, CallError>>;
}

/// One call.
#[derive(Clone, Debug)]
pub struct AppCall {
    /// What it is about, as metric label.
    pub kind: &'static str,
    /// Same over repeats.
    pub id: String,
    /// Where to post.
    pub url: Url,
    /// How the app knows that it is us.
    pub proof: CallAuth,
    /// JSON.
    pub body: Bytes,
}

/// How an app knows who calls.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum CallAuth {
    /// The value of `Authorization`.
    Token(Secret),
    /// Signed like a delivery, with this secret.
    Signature(Secret),
}

/// Why a call brought nothing, in one sentence.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct CallError(pub String);

/// The way to the apps, and the notices that wait for it.
pub(super) struct AppCalls {
    caller: OnceLock<Arc<dyn AppCaller>>,
    notices: mpsc::Sender<AppCall>,
    waiting: Mutex<mpsc::Receiver<AppCall>>,
}

impl Default for AppCalls {
    fn default() -> Self {
        let (notices, waiting) = mpsc::channel(NOTICES_MAX);
        Self { caller: OnceLock::new(), notices, waiting: Mutex::new(waiting) }
    }
}

impl AppCalls {
    /// Opens the way; the first caller stays.
    pub(super) fn open(&self, caller: Arc<dyn AppCaller>) {
        let _ = self.caller.set(caller);
    }

    /// Calls an app and waits for its answer.
    pub(super) async fn call(&self, call: AppCall) -> Result<Bytes, CallError> {
        let Some(caller) = self.caller.get() else {
            return Err(CallError("this program cannot call apps".into()));
        };
        let kind = call.kind;
        let answer = caller.call(call).await;
        metrics::app_called(kind, answer.is_ok());
        answer
    }

    /// Leaves a notice to be sent.
    pub(super) fn notify(&self, call: AppCall) {
        let kind = call.kind;
        if self.notices.try_send(call).is_err() {
            metrics::app_called(kind, false);
            warn!(kind, "notice dropped: {NOTICES_MAX} wait already");
        }
    }

    /// Sends notices until the future is dropped.
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
                info!(kind, id, %error, "notice given up");
                return;
            }
        }
    }
}

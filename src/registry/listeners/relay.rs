//! The interface between the API, which listening clients are connected to, and the broker, over which
//! deliveries of all replicas reach them.

use bytes::Bytes;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::mpsc;

use super::record::ListenerRecord;
use crate::domain::InstallationId;

/// Connects listening clients with all replicas; implemented in `bus`.
pub trait ListenerRelay: Send + Sync {
    /// Begins a listener: all replicas match it when this returns. It ends when the receiver of its
    /// deliveries is dropped, or with this replica.
    fn open(&self, record: ListenerRecord) -> BoxFuture<'_, Result<OpenListener, ListenError>>;

    /// Returns the answer to a delivery, at any replica; false if nothing waits for it.
    fn answer<'a>(
        &'a self,
        listener: &'a InstallationId,
        delivery: &'a str,
        answer: Bytes,
    ) -> BoxFuture<'a, Result<bool, ListenError>>;
}

/// A listener that is matched.
#[derive(Debug)]
pub struct OpenListener {
    /// Its deliveries; each is to be answered.
    pub deliveries: mpsc::Receiver<ListenerDelivery>,
    /// Replicas that match it, this one included.
    pub replicas: usize,
}

/// A delivery to a listener.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ListenerDelivery {
    /// Names it in the answer.
    pub number: String,
    /// Headers of the request, not signed.
    pub headers: Vec<(String, String)>,
    /// Body of the request.
    pub body: Bytes,
}

/// Why a listener is not begun, or an answer not returned.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ListenError {
    /// There are as many as may be.
    #[error("there are {0} listeners, as many as may be")]
    TooMany(usize),
    /// The broker does not answer.
    #[error("{0}")]
    Unavailable(String),
}

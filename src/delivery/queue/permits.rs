//! Permits for attempts: the asynchronous front of the fair queue.

use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::oneshot;

use super::fair::{
    EndpointId, EndpointOwners, EventShareId, FairLimits, FairQueue, Patience, PermitUse,
    RequestId, Response, WaitingLimit,
};
use super::latency::micros;
use crate::clock;

/// Permits of one router. A short lock is taken when one is requested and when one is returned.
#[derive(Debug)]
pub(super) struct Permits {
    state: Mutex<State>,
    created: Instant,
}

#[derive(Debug)]
struct State {
    queue: FairQueue,
    /// Wakes the request with this number.
    wakers: Vec<Option<oneshot::Sender<()>>>,
    granted: Vec<RequestId>,
}

/// Permit for one attempt; returned on drop.
#[derive(Debug)]
pub(crate) struct Permit<'a> {
    permits: &'a Permits,
    id: RequestId,
    is_measured: AtomicBool,
}

/// Share of the permits that the deliveries of one event, or those of all replays, have together;
/// returned on drop, unless it is that of replays.
#[derive(Debug)]
pub struct EventShare<'a> {
    permits: &'a Permits,
    id: EventShareId,
}

/// Why a delivery got no permit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum AdmissionError {
    /// Its owner may have no more deliveries waiting.
    Full(WaitingLimit),
    /// The permit was not available in time.
    Late,
}

impl Permits {
    pub(super) fn new(limits: FairLimits) -> Self {
        let (wakers, granted) = (Vec::new(), Vec::new());
        let state = State { queue: FairQueue::new(limits), wakers, granted };
        Self { state: Mutex::new(state), created: clock::tick() }
    }

    pub(super) fn add_endpoint(&self, owners: &EndpointOwners<'_>) -> EndpointId {
        self.lock().queue.add_endpoint(owners)
    }

    pub(super) fn remove_endpoint(&self, endpoint: EndpointId) {
        self.lock().queue.remove_endpoint(endpoint);
    }

    pub(super) fn add_event(&self) -> EventShare<'_> {
        EventShare { permits: self, id: self.lock().queue.add_event() }
    }

    pub(super) fn replays(&self) -> EventShare<'_> {
        EventShare { permits: self, id: EventShareId::REPLAYS }
    }

    pub(super) fn permit_use(&self) -> PermitUse {
        self.lock().queue.permit_use()
    }

    /// Waits at most `timeout` for a permit; `attempt_us` is the shortest recent attempt.
    ///
    /// # Errors
    /// The owner may have no more deliveries waiting, or no permit was available in time.
    pub(super) async fn acquire(
        &self,
        endpoint: EndpointId,
        event: Option<&EventShare<'_>>,
        attempt_us: u64,
        timeout: Duration,
    ) -> Result<Permit<'_>, AdmissionError> {
        let patience = Patience { timeout_us: micros(timeout), attempt_us };
        let (id, granted) = {
            let (mut state, now_us) = (self.lock(), self.now_us());
            match state.queue.request(endpoint, event.map(|event| event.id), patience, now_us) {
                Response::Granted(id) => (id, None),
                Response::Waiting(id) => (id, Some(state.add_waker(id))),
                Response::Refused(limit) => return Err(AdmissionError::Full(limit)),
            }
        };
        let permit = Permit { permits: self, id, is_measured: AtomicBool::new(false) };
        match granted {
            None => Ok(permit),
            // A permit that is granted at this moment is returned by the drop.
            Some(granted) => match tokio::time::timeout(timeout, granted).await {
                Ok(Ok(())) => Ok(permit),
                _ => Err(AdmissionError::Late),
            },
        }
    }

    fn finish(&self, id: RequestId, is_measured: bool) {
        let (mut state, now_us) = (self.lock(), self.now_us());
        let state = &mut *state;
        state.remove_waker(id);
        state.queue.finish(id, is_measured, now_us, &mut state.granted);
        while let Some(granted) = state.granted.pop() {
            if let Some(waker) = state.remove_waker(granted) {
                let _ = waker.send(());
            }
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now_us(&self) -> u64 {
        micros(clock::since(self.created))
    }
}

impl State {
    fn add_waker(&mut self, id: RequestId) -> oneshot::Receiver<()> {
        let (waker, granted) = oneshot::channel();
        if self.wakers.len() <= id.0 {
            self.wakers.resize_with(id.0 + 1, || None);
        }
        if let Some(place) = self.wakers.get_mut(id.0) {
            *place = Some(waker);
        }
        granted
    }

    fn remove_waker(&mut self, id: RequestId) -> Option<oneshot::Sender<()>> {
        self.wakers.get_mut(id.0)?.take()
    }
}

impl Permit<'_> {
    /// Records that an attempt was made, whose duration shows whether the endpoint is quick.
    pub(crate) fn measured(&self) {
        self.is_measured.store(true, Relaxed);
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        self.permits.finish(self.id, self.is_measured.load(Relaxed));
    }
}

impl Drop for EventShare<'_> {
    fn drop(&mut self) {
        self.permits.lock().queue.remove_event(self.id);
    }
}

//! Turns of explanations: operators have one place, and all apps together have another one, of which each
//! installation gets a share.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock;
use crate::domain::InstallationId;

/// How long a request waits for another one.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// After a request of an app, its installation asks nothing for so many times as long: it uses at most a
/// quarter of the place of the apps.
const REST_FACTOR: u32 = 3;
/// Shortest such rest.
const REST_MIN: Duration = Duration::from_secs(1);
/// Installations that are remembered before those whose rest is over are forgotten.
const REMEMBERED_MAX: usize = 1_000;

/// Why a request gets no turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TurnError {
    /// Another request has the place.
    #[error("this router explains events for another request")]
    Busy,
    /// The installation has its share: it asks already, or asked just before.
    #[error("the installation has used its share of explanations; it asks one question at a time")]
    ShareUsed {
        /// When it may ask again.
        retry_after: Duration,
    },
}

/// The turns of one router.
#[derive(Debug)]
pub struct ExplainTurns {
    operators: Semaphore,
    apps: Semaphore,
    installations: Mutex<HashMap<InstallationId, Share>>,
}

/// What an installation does.
#[derive(Clone, Copy, Debug)]
enum Share {
    /// It waits for its turn or has it.
    Asks,
    /// It may not ask for `pause` from `since` on.
    Rests { since: Instant, pause: Duration },
}

impl Share {
    /// Returns how long it may not ask; none if it may.
    fn remaining(self) -> Option<Duration> {
        match self {
            Self::Asks => Some(WAIT_MAX),
            Self::Rests { since, pause } => {
                pause.checked_sub(clock::since(since)).filter(|left| !left.is_zero())
            }
        }
    }
}

/// The turn of a request; it ends when this is dropped.
#[derive(Debug)]
pub struct ExplainTurn<'t> {
    /// None before the turn.
    place: Option<SemaphorePermit<'t>>,
    app: Option<AppTurn<'t>>,
}

#[derive(Debug)]
struct AppTurn<'t> {
    turns: &'t ExplainTurns,
    installation: InstallationId,
    started: Instant,
}

impl Default for ExplainTurns {
    fn default() -> Self {
        Self {
            operators: Semaphore::new(1),
            apps: Semaphore::new(1),
            installations: Mutex::default(),
        }
    }
}

impl ExplainTurns {
    /// Waits until this is the only request of an operator.
    ///
    /// # Errors
    /// Another request takes longer than 5 s.
    pub async fn of_operator(&self) -> Result<ExplainTurn<'_>, TurnError> {
        Ok(ExplainTurn { place: Some(place(&self.operators).await?), app: None })
    }

    /// Waits until this is the only request of an app.
    ///
    /// # Errors
    /// Another request takes longer than 5 s, or the installation has used its share.
    pub async fn of_app(
        &self,
        installation: &InstallationId,
    ) -> Result<ExplainTurn<'_>, TurnError> {
        self.take_share(installation)?;
        let started = clock::tick();
        let mut app = AppTurn { turns: self, installation: installation.clone(), started };
        // Dropped on the way, `app` lets the installation ask again.
        let place = place(&self.apps).await?;
        app.started = clock::tick();
        Ok(ExplainTurn { place: Some(place), app: Some(app) })
    }

    fn take_share(&self, installation: &InstallationId) -> Result<(), TurnError> {
        let mut installations = self.lock();
        if let Some(left) = installations.get(installation).and_then(|share| share.remaining()) {
            return Err(TurnError::ShareUsed { retry_after: left });
        }
        if installations.len() >= REMEMBERED_MAX {
            installations.retain(|_, share| share.remaining().is_some());
        }
        installations.insert(installation.clone(), Share::Asks);
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<InstallationId, Share>> {
        self.installations.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, TurnError> {
    let place = tokio::time::timeout(WAIT_MAX, places.acquire()).await;
    place.ok().and_then(Result::ok).ok_or(TurnError::Busy)
}

impl Drop for AppTurn<'_> {
    fn drop(&mut self) {
        let since = clock::tick();
        let took = since.saturating_duration_since(self.started);
        let pause = took.saturating_mul(REST_FACTOR).max(REST_MIN);
        self.turns.lock().insert(self.installation.clone(), Share::Rests { since, pause });
    }
}

impl Drop for ExplainTurn<'_> {
    fn drop(&mut self) {
        // The share of the installation is counted before another one has the place.
        drop(self.app.take());
        drop(self.place.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn apps_take_no_turn_of_operators() {
        let turns = ExplainTurns::default();
        let app = turns.of_app(&"a".into()).await.unwrap();
        let operator = turns.of_operator().await.unwrap();
        assert_eq!(turns.of_operator().await.unwrap_err(), TurnError::Busy);
        assert_eq!(turns.of_app(&"b".into()).await.unwrap_err(), TurnError::Busy);
        drop(operator);
        assert!(turns.of_operator().await.is_ok());
        drop(app);
        assert!(turns.of_app(&"c".into()).await.is_ok());
    }

    #[tokio::test]
    async fn installation_that_asked_rests_while_others_ask() {
        let turns = ExplainTurns::default();
        let first = turns.of_app(&"a".into()).await.unwrap();
        let again = turns.of_app(&"a".into()).await.unwrap_err();
        assert!(matches!(again, TurnError::ShareUsed { .. }), "one question at a time: {again:?}");
        drop(first);
        let found = turns.lock().get("a").copied();
        let Some(Share::Rests { pause, since }) = found else { panic!("{found:?}") };
        assert!(pause >= REST_MIN);
        let long = Share::Rests { since, pause: Duration::from_secs(3600) };
        turns.lock().insert("a".into(), long);
        let again = turns.of_app(&"a".into()).await.unwrap_err();
        assert!(matches!(again, TurnError::ShareUsed { .. }), "it rests: {again:?}");
        drop(turns.of_app(&"b".into()).await.unwrap());
    }

    #[tokio::test]
    async fn rest_ends_and_its_memory_is_bounded() {
        let turns = ExplainTurns::default();
        for number in 0..REMEMBERED_MAX {
            let over = Share::Rests { since: clock::tick(), pause: Duration::ZERO };
            turns.lock().insert(format!("old-{number}").as_str().into(), over);
        }
        drop(turns.of_app(&"old-1".into()).await.unwrap());
        assert_eq!(turns.lock().len(), 1, "installations whose rest is over are forgotten");
    }
}

//! Turns of explanations: operators have one place, and all apps together have another one, of which each
//! app and each installation gets a share.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::{Semaphore, SemaphorePermit};

use crate::clock;
use crate::domain::{AppId, InstallationId};

/// How long a request waits for another one.
const WAIT_MAX: Duration = Duration::from_secs(5);
/// After a turn of an app, its installation asks nothing for so many times as long: it uses at most a
/// quarter of the place of the apps.
const REST_FACTOR: u32 = 3;
/// Shortest such rest.
const REST_MIN: Duration = Duration::from_secs(1);
/// So many times as long the other installations of the app ask nothing: all together use at most half of it.
const APP_REST_FACTOR: u32 = 1;
/// Apps and installations that are remembered before those whose rest is over are forgotten.
const REMEMBERED_MAX: usize = 1_000;

/// Why a request gets no turn.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum TurnError {
    /// Another request has the place.
    #[error("this router explains events for another request")]
    Busy,
    /// The installation or its app has its share: it asks already, or asked just before.
    #[error("the app has used its share of explanations; it asks one question at a time")]
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
    shares: Mutex<HashMap<Asker, Share>>,
}

/// Who has a share.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
enum Asker {
    App(AppId),
    Installation(InstallationId),
}

/// What it does.
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
    /// The app and the installation.
    askers: [Asker; 2],
    /// None before it has the place.
    started: Option<Instant>,
}

impl Default for ExplainTurns {
    fn default() -> Self {
        Self { operators: Semaphore::new(1), apps: Semaphore::new(1), shares: Mutex::default() }
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
    /// Another request takes longer than 5 s, or the app or the installation has used its share.
    pub async fn of_app(
        &self,
        app: &AppId,
        installation: &InstallationId,
    ) -> Result<ExplainTurn<'_>, TurnError> {
        let askers = [Asker::App(app.clone()), Asker::Installation(installation.clone())];
        self.take_shares(&askers)?;
        // Dropped on the way, it gives the shares back: who had no turn does not rest.
        let mut app = AppTurn { turns: self, askers, started: None };
        let place = place(&self.apps).await?;
        app.started = Some(clock::tick());
        Ok(ExplainTurn { place: Some(place), app: Some(app) })
    }

    /// Takes the shares of an app and its installation, or none of both.
    fn take_shares(&self, askers: &[Asker; 2]) -> Result<(), TurnError> {
        let mut shares = self.lock();
        let left = askers.iter().filter_map(|asker| shares.get(asker)?.remaining()).max();
        if let Some(retry_after) = left {
            return Err(TurnError::ShareUsed { retry_after });
        }
        if shares.len() >= REMEMBERED_MAX {
            shares.retain(|_, share| share.remaining().is_some());
        }
        shares.extend(askers.iter().map(|asker| (asker.clone(), Share::Asks)));
        Ok(())
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Asker, Share>> {
        self.shares.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn place(places: &Semaphore) -> Result<SemaphorePermit<'_>, TurnError> {
    let place = tokio::time::timeout(WAIT_MAX, places.acquire()).await;
    place.ok().and_then(Result::ok).ok_or(TurnError::Busy)
}

impl Drop for AppTurn<'_> {
    fn drop(&mut self) {
        let mut shares = self.turns.lock();
        let Some(started) = self.started else {
            for asker in &self.askers {
                shares.remove(asker);
            }
            return;
        };
        let since = clock::tick();
        let took = since.saturating_duration_since(started);
        for asker in &self.askers {
            let pause = match asker {
                Asker::App(_) => took.saturating_mul(APP_REST_FACTOR),
                Asker::Installation(_) => took.saturating_mul(REST_FACTOR).max(REST_MIN),
            };
            shares.insert(asker.clone(), Share::Rests { since, pause });
        }
    }
}

impl Drop for ExplainTurn<'_> {
    fn drop(&mut self) {
        // The shares are counted before another one has the place.
        drop(self.app.take());
        drop(self.place.take());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn share_of(turns: &ExplainTurns, asker: Asker) -> Option<Share> {
        turns.lock().get(&asker).copied()
    }

    fn installation(id: &str) -> Asker {
        Asker::Installation(id.into())
    }

    fn set_long_rest(turns: &ExplainTurns, asker: Asker) {
        let long = Share::Rests { since: clock::tick(), pause: Duration::from_secs(3600) };
        turns.lock().insert(asker, long);
    }

    #[tokio::test(start_paused = true)]
    async fn apps_take_no_turn_of_operators() {
        let turns = ExplainTurns::default();
        let app = turns.of_app(&"x".into(), &"a".into()).await.unwrap();
        let operator = turns.of_operator().await.unwrap();
        assert_eq!(turns.of_operator().await.unwrap_err(), TurnError::Busy);
        assert_eq!(turns.of_app(&"y".into(), &"b".into()).await.unwrap_err(), TurnError::Busy);
        drop(operator);
        assert!(turns.of_operator().await.is_ok());
        drop(app);
        assert!(turns.of_app(&"z".into(), &"c".into()).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn who_waited_in_vain_does_not_rest() {
        let turns = ExplainTurns::default();
        let first = turns.of_app(&"x".into(), &"a".into()).await.unwrap();
        assert_eq!(turns.of_app(&"y".into(), &"b".into()).await.unwrap_err(), TurnError::Busy);
        drop(first);
        assert!(share_of(&turns, installation("b")).is_none());
        assert!(turns.of_app(&"y".into(), &"b".into()).await.is_ok());
    }

    #[tokio::test]
    async fn installation_that_asked_rests_while_others_ask() {
        let turns = ExplainTurns::default();
        let first = turns.of_app(&"x".into(), &"a".into()).await.unwrap();
        let again = turns.of_app(&"x".into(), &"a".into()).await.unwrap_err();
        assert!(matches!(again, TurnError::ShareUsed { .. }), "one question at a time: {again:?}");
        drop(first);
        let found = share_of(&turns, installation("a"));
        let Some(Share::Rests { pause, .. }) = found else { panic!("{found:?}") };
        assert!(pause >= REST_MIN);
        set_long_rest(&turns, installation("a"));
        let again = turns.of_app(&"x".into(), &"a".into()).await.unwrap_err();
        assert!(matches!(again, TurnError::ShareUsed { .. }), "it rests: {again:?}");
        drop(turns.of_app(&"y".into(), &"b".into()).await.unwrap());
    }

    #[tokio::test]
    async fn installations_of_one_app_share_its_turns() {
        let turns = ExplainTurns::default();
        let first = turns.of_app(&"x".into(), &"a".into()).await.unwrap();
        let other = turns.of_app(&"x".into(), &"b".into()).await.unwrap_err();
        assert!(matches!(other, TurnError::ShareUsed { .. }), "one question at a time: {other:?}");
        assert!(share_of(&turns, installation("b")).is_none(), "the refused one has no share");
        drop(first);
        let found = share_of(&turns, Asker::App("x".into()));
        assert!(matches!(found, Some(Share::Rests { .. })), "{found:?}");
        set_long_rest(&turns, Asker::App("x".into()));
        let other = turns.of_app(&"x".into(), &"b".into()).await.unwrap_err();
        assert!(matches!(other, TurnError::ShareUsed { .. }), "the app rests: {other:?}");
        drop(turns.of_app(&"y".into(), &"b".into()).await.unwrap());
    }

    #[tokio::test]
    async fn rest_ends_and_its_memory_is_bounded() {
        let turns = ExplainTurns::default();
        for number in 0..REMEMBERED_MAX {
            let over = Share::Rests { since: clock::tick(), pause: Duration::ZERO };
            turns.lock().insert(installation(&format!("old-{number}")), over);
        }
        drop(turns.of_app(&"x".into(), &"old-1".into()).await.unwrap());
        assert_eq!(turns.lock().len(), 2, "those whose rest is over are forgotten");
    }
}

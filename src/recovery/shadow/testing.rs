//! Test doubles: tallies in memory, and shadows that are given.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;

use super::{Comparison, ShadowDirectory, ShadowFollower, Tally, TallyStore, TallyStoreError};
use crate::domain::SubscriptionId;
use crate::matcher::Matcher;
use crate::recovery::replay::EventReader;
use crate::recovery::replay::testing::MemoryStreams;

/// Tallies in memory, as they are stored.
#[derive(Default)]
pub(crate) struct MemoryTallies {
    pub(crate) stored: Mutex<BTreeMap<String, (Vec<u8>, u64)>>,
}

impl TallyStore for MemoryTallies {
    fn read<'a>(
        &'a self,
        id: &'a SubscriptionId,
    ) -> BoxFuture<'a, Result<(Option<Tally>, u64), TallyStoreError>> {
        let found = self.stored.lock().unwrap().get(&id.to_string()).cloned();
        let found = found
            .map_or((None, 0), |(bytes, revision)| (Some(Tally::read(&bytes).unwrap()), revision));
        Box::pin(async move { Ok(found) })
    }

    fn replace<'a>(
        &'a self,
        id: &'a SubscriptionId,
        tally: &'a Tally,
        revision: u64,
    ) -> BoxFuture<'a, Result<(), TallyStoreError>> {
        Box::pin(async move {
            // Lets other tasks run between reading and writing, as a real store would.
            tokio::task::yield_now().await;
            let mut stored = self.stored.lock().unwrap();
            let known = stored.get(&id.to_string()).map_or(0, |(_, revision)| *revision);
            if known != revision {
                return Err(TallyStoreError::Conflict);
            }
            let bytes = serde_json::to_vec(tally).unwrap();
            stored.insert(id.to_string(), (bytes, revision + 1));
            Ok(())
        })
    }
}

/// The shadows of a test.
#[derive(Default)]
pub(crate) struct GivenShadows(pub(crate) Mutex<Vec<Comparison>>);

impl ShadowDirectory for GivenShadows {
    fn all(&self) -> Vec<SubscriptionId> {
        self.0.lock().unwrap().iter().map(|one| one.id.clone()).collect()
    }

    fn find(&self, id: &SubscriptionId) -> Result<Option<Arc<Comparison>>, String> {
        Ok(self.0.lock().unwrap().iter().find(|one| one.id == *id).cloned().map(Arc::new))
    }
}

/// A follower of given shadows over streams and tallies in memory.
pub(crate) fn follower(
    streams: &Arc<MemoryStreams>,
    store: &Arc<MemoryTallies>,
    shadows: &Arc<GivenShadows>,
) -> ShadowFollower {
    follower_over(streams, &(Arc::clone(store) as _), shadows)
}

/// As [`follower`], over any store.
pub(crate) fn follower_over(
    streams: &Arc<MemoryStreams>,
    store: &Arc<dyn TallyStore>,
    shadows: &Arc<GivenShadows>,
) -> ShadowFollower {
    let reader = EventReader::new(Arc::new(Matcher::default()), 1 << 20, false);
    ShadowFollower::new(
        Arc::clone(streams) as _,
        reader,
        Arc::clone(store),
        Arc::clone(shadows) as _,
    )
}

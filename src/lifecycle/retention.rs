//! For how long bodies of installations are kept, as the registry says.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::InstallationId;
use crate::recovery::redrive::StoredLetter;
use crate::recovery::retention::{BodyRetention, STREAM_DAYS};
use crate::registry::Registry;

/// Looks up in the registry for how long bodies are kept.
pub(super) struct InstallationRetention(pub(super) Arc<Registry>);

impl BodyRetention for InstallationRetention {
    fn wait_until_known(&self) -> BoxFuture<'_, ()> {
        Box::pin(self.0.wait_until_ready())
    }

    fn changes(&self) -> u64 {
        self.0.retention_changes()
    }

    fn is_limited(&self) -> bool {
        let settings = self.0.settings();
        let is_limited = |days: u32| days < STREAM_DAYS;
        let of = |id: &InstallationId| self.0.installation(id.as_str());
        is_limited(settings.bodies_days)
            || self
                .0
                .installation_ids(None, usize::MAX)
                .iter()
                .filter_map(of)
                .any(|installation| is_limited(settings.bodies_days_of(&installation.record)))
    }

    fn days_of(&self, letter: &StoredLetter) -> Option<u32> {
        let settings = self.0.settings();
        let known = match (letter.installation_id(), letter.installation()) {
            (Some(id), _) => self.0.installation(&id),
            (None, Some(token)) => self.0.installation_by_id_or_token(&token),
            (None, None) => None,
        };
        if let Some(known) = known {
            return Some(settings.bodies_days_of(&known.record));
        }
        // An installation whose document cannot be read may keep bodies for longer.
        let is_waiting = letter.installation().is_some_and(|id| self.0.is_waiting(&(*id).into()));
        (!is_waiting).then_some(settings.bodies_days)
    }
}

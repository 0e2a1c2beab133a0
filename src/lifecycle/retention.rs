//! For how long bodies of installations are kept, as the registry says.

use std::sync::Arc;

use futures_util::future::BoxFuture;

use crate::domain::InstallationId;
use crate::recovery::redrive::StoredLetter;
use crate::recovery::retention::{BodyRetention, STREAM_DAYS};
use crate::registry::{AppliedInstallation, Registry};

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
        // What is applied of an installation whose document cannot be read is an earlier version, or nothing: it may
        // keep bodies for longer now.
        if letter.installation().is_some_and(|id| self.0.is_installation_unread(&id)) {
            return None;
        }
        let settings = self.0.settings();
        let known = match (letter.installation_id(), letter.installation()) {
            (Some(id), _) => self.0.installation(&id),
            (None, Some(token)) => self.0.installation_by_id_or_token(&token),
            (None, None) => None,
        };
        let days_of = |known: Arc<AppliedInstallation>| settings.bodies_days_of(&known.record);
        Some(known.map_or(settings.bodies_days, days_of))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use tokio::task::JoinSet;

    use super::*;
    use crate::domain::AppId;
    use crate::matcher::Matcher;
    use crate::recovery::redrive::LetterKind;
    use crate::recovery::redrive::testing::{delivery_letter, letter};
    use crate::registry::Store;
    use crate::registry::testing::{MemoryStore, settings};

    /// An id whose token is another text.
    const INSTALLATION: &str = "ari:cloud:ecosystem::installation/1";

    /// Days of letters that have the id of the installation, and its token only.
    fn days(retention: &InstallationRetention) -> [Option<u32>; 2] {
        let installation = InstallationId::from(INSTALLATION).token().into();
        let by_token = LetterKind::Delivery { app: "app".into(), installation };
        let letters = [delivery_letter(1, INSTALLATION), letter(2, by_token, &[])];
        letters.each_ref().map(|letter| retention.days_of(letter))
    }

    #[tokio::test]
    async fn retention_of_an_installation_whose_document_cannot_be_read_is_not_known() {
        let store = MemoryStore::new();
        let port = Arc::clone(&store) as Arc<dyn Store>;
        let registry = Arc::new(Registry::new(port, Arc::new(Matcher::default()), settings()));
        let mut run = JoinSet::new();
        run.spawn(Arc::clone(&registry).run());
        registry.wait_until_ready().await;
        let app = AppId::from("app-1");
        let spec = json!({"kind": "forge", "scopes": ["read:jira-work"], "functions": ["main"]});
        registry
            .apps()
            .put(&app, serde_json::from_value(spec).unwrap(), &|_| Ok(()))
            .await
            .unwrap();
        let spec = json!({"app": app, "cloudId": "cloud-1", "product": "jira",
            "retention": {"bodiesDays": 3}});
        let spec = serde_json::from_value(spec).unwrap();
        registry.installations().put(&INSTALLATION.into(), spec).await.unwrap();
        let retention = InstallationRetention(Arc::clone(&registry));
        assert_eq!(days(&retention), [Some(3); 2]);

        // The earlier version stays applied.
        let key = format!("inst.{}", InstallationId::from(INSTALLATION).token());
        let stored = store.get(&key).await.unwrap().unwrap();
        store.put(&key, "{".into(), Some(stored.revision)).await.unwrap();
        while registry.unreadable_documents().is_empty() {
            tokio::task::yield_now().await;
        }
        assert!(registry.installation(INSTALLATION).is_some());
        assert_eq!(days(&retention), [None; 2]);
        assert_eq!(
            retention.days_of(&delivery_letter(3, "unknown")),
            Some(registry.settings().bodies_days)
        );
    }
}

//! Index of installations by something they share, such as their app.

use std::collections::BTreeSet;
use std::hash::Hash;

use dashmap::DashMap;

use crate::domain::InstallationId;

/// Sets of installations by key; empty sets are removed.
#[derive(Debug)]
pub(super) struct InstallationSets<K: Eq + Hash>(DashMap<K, BTreeSet<InstallationId>>);

impl<K: Eq + Hash> Default for InstallationSets<K> {
    fn default() -> Self {
        Self(DashMap::new())
    }
}

impl<K: Eq + Hash + Clone> InstallationSets<K> {
    /// Returns the installations under `key`, sorted.
    pub(super) fn of<Q>(&self, key: &Q) -> Vec<InstallationId>
    where
        K: std::borrow::Borrow<Q>,
        Q: Eq + Hash + ?Sized,
    {
        self.0.get(key).map(|ids| ids.iter().cloned().collect()).unwrap_or_default()
    }

    /// Whether there is an installation under `key`.
    pub(super) fn has(&self, key: &K) -> bool {
        self.0.contains_key(key)
    }

    /// Returns the keys of all sets.
    pub(super) fn keys(&self) -> Vec<K> {
        self.0.iter().map(|set| set.key().clone()).collect()
    }

    /// Adds an installation.
    pub(super) fn insert(&self, key: &K, id: &InstallationId) {
        self.0.entry(key.clone()).or_default().insert(id.clone());
    }

    /// Removes an installation.
    pub(super) fn remove(&self, key: &K, id: &InstallationId) {
        if let Some(mut ids) = self.0.get_mut(key) {
            ids.remove(id);
        }
        self.0.remove_if(key, |_, ids| ids.is_empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_sets_are_removed() {
        let members: InstallationSets<String> = InstallationSets::default();
        let (key, a, b) = ("k".to_owned(), InstallationId::from("a"), InstallationId::from("b"));
        members.insert(&key, &b);
        members.insert(&key, &a);
        assert!(members.has(&key));
        assert_eq!(members.of("k"), [a.clone(), b.clone()]);
        members.remove(&key, &a);
        members.remove(&key, &b);
        members.remove(&key, &b);
        assert!(!members.has(&key));
        assert!(members.of("k").is_empty() && members.0.is_empty());
    }
}

//! Caches the projection of each event type, so that sites share it.
//!
//! The index of one of many sites is in no CPU cache when an event arrives. Projections differ
//! little between sites, and a shared one stays in the cache: with 10,000 sites, matching an event
//! takes a fifth less time.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

use crate::domain::EventType;
use crate::event::pick::Selection;

/// A projection with more fields is not shared: one unusual site must not slow down all others.
const PLACES_MAX: usize = 64;

/// The widest projection of each event type, as long as an index uses it.
#[derive(Debug, Default)]
pub(super) struct ProjectionCache(HashMap<EventType, Weak<Selection>, RandomState>);

impl ProjectionCache {
    /// Returns the projection to share.
    pub(super) fn get(&self, event_type: &EventType) -> Option<Arc<Selection>> {
        self.0.get(event_type)?.upgrade()
    }

    /// Returns the event type with its text shared by all sites.
    pub(super) fn intern(&self, event_type: &EventType) -> EventType {
        match self.0.get_key_value(event_type) {
            Some((known, _)) => known.clone(),
            None => event_type.clone(),
        }
    }

    /// Shares `selection` from now on if it has more fields than the one shared so far.
    pub(super) fn offer(&mut self, event_type: &EventType, selection: &Arc<Selection>) {
        let shared = self.get(event_type);
        let is_wider = shared.is_none_or(|shared| selection.places() > shared.places());
        if is_wider && selection.places() <= PLACES_MAX {
            self.0.retain(|_, selection| selection.strong_count() > 0);
            self.0.insert(event_type.clone(), Arc::downgrade(selection));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::pick::{Place, SelectionBuilder};

    fn asking(names: usize) -> Arc<Selection> {
        let mut builder = SelectionBuilder::default();
        for at in 0..names {
            builder.member(Place::ROOT, &at.to_string());
        }
        builder.finish()
    }

    #[test]
    fn shares_widest_projection_in_use_within_bounds() {
        let (one, other) = (EventType::from("avi:jira:a"), EventType::from("avi:jira:b"));
        let mut projections = ProjectionCache::default();
        assert!(projections.get(&one).is_none());
        let (narrow, wide, odd) = (asking(2), asking(5), asking(PLACES_MAX));
        for selection in [&narrow, &wide, &narrow, &odd] {
            projections.offer(&one, selection);
        }
        assert!(projections.get(&one).is_some_and(|shared| Arc::ptr_eq(&shared, &wide)));
        assert!(projections.get(&other).is_none());
        drop(wide);
        assert!(projections.get(&one).is_none());
        projections.offer(&other, &narrow);
        assert_eq!(projections.0.len(), 1, "entries without a user are removed");
    }
}

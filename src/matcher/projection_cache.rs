//! Caches the projection of each event type, so that sites share it.
//!
//! The index of one of many sites is in no CPU cache when an event arrives. Projections differ
//! little between sites, and a shared one stays in the cache: with 10,000 sites, matching an event
//! takes a fifth less time.

use std::collections::HashMap;
use std::sync::{Arc, Weak};

use foldhash::fast::RandomState;

use crate::domain::EventType;
use crate::event::projection::Projection;

/// A projection with more fields is not shared: one unusual site must not slow down all others.
const FIELDS_MAX: usize = 64;

/// The widest projection of each event type, as long as an index uses it.
#[derive(Debug, Default)]
pub(super) struct ProjectionCache(HashMap<EventType, Weak<Projection>, RandomState>);

impl ProjectionCache {
    /// Returns the projection to share.
    pub(super) fn get(&self, event_type: &EventType) -> Option<Arc<Projection>> {
        self.0.get(event_type)?.upgrade()
    }

    /// Returns the event type with its text shared by all sites.
    pub(super) fn intern(&self, event_type: &EventType) -> EventType {
        match self.0.get_key_value(event_type) {
            Some((known, _)) => known.clone(),
            None => event_type.clone(),
        }
    }

    /// Shares `projection` from now on if it has more fields than the one shared so far.
    pub(super) fn offer(&mut self, event_type: &EventType, projection: &Arc<Projection>) {
        let shared = self.get(event_type);
        let is_wider = shared.is_none_or(|shared| projection.field_count() > shared.field_count());
        if is_wider && projection.field_count() <= FIELDS_MAX {
            self.0.retain(|_, projection| projection.strong_count() > 0);
            self.0.insert(event_type.clone(), Arc::downgrade(projection));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::projection::{FieldId, ProjectionBuilder};

    fn asking(names: usize) -> Arc<Projection> {
        let mut builder = ProjectionBuilder::default();
        for at in 0..names {
            builder.member(FieldId::ROOT, &at.to_string());
        }
        builder.finish()
    }

    #[test]
    fn shares_widest_projection_in_use_within_bounds() {
        let (one, other) = (EventType::from("avi:jira:a"), EventType::from("avi:jira:b"));
        let mut projections = ProjectionCache::default();
        assert!(projections.get(&one).is_none());
        let (narrow, wide, odd) = (asking(2), asking(5), asking(FIELDS_MAX));
        for projection in [&narrow, &wide, &narrow, &odd] {
            projections.offer(&one, projection);
        }
        assert!(projections.get(&one).is_some_and(|shared| Arc::ptr_eq(&shared, &wide)));
        assert!(projections.get(&other).is_none());
        drop(wide);
        assert!(projections.get(&one).is_none());
        projections.offer(&other, &narrow);
        assert_eq!(projections.0.len(), 1, "entries without a user are removed");
    }
}

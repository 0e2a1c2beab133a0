//! Places of background work, shared by all apps: an app holds few of them, and apps take turns. So an
//! app whose installations do not answer delays its own work, not that of others.

use std::collections::{HashMap, HashSet, VecDeque};

use crate::domain::{AppId, InstallationId};

/// Installations processed at once.
pub(super) const PLACES: usize = 8;
/// Installations of one app processed at once.
pub(super) const PLACES_PER_APP: usize = 2;

/// Installations whose work is due, by app, and the places in use. Each installation waits once, so
/// their number is the bound.
#[derive(Debug, Default)]
pub(super) struct Places {
    apps: HashMap<AppId, Lane>,
    /// Apps with waiting work and a free place, each once, in turns.
    ready: VecDeque<AppId>,
    waiting: HashSet<InstallationId>,
    used: usize,
}

#[derive(Debug, Default)]
struct Lane {
    waiting: VecDeque<InstallationId>,
    used: usize,
}

impl Lane {
    fn is_ready(&self) -> bool {
        !self.waiting.is_empty() && self.used < PLACES_PER_APP
    }
}

impl Places {
    /// Adds an installation whose work is due; one that waits already waits once.
    pub(super) fn push(&mut self, app: AppId, id: InstallationId) {
        if !self.waiting.insert(id.clone()) {
            return;
        }
        let lane = self.apps.entry(app.clone()).or_default();
        let was_ready = lane.is_ready();
        lane.waiting.push_back(id);
        if !was_ready && lane.is_ready() {
            self.ready.push_back(app);
        }
    }

    /// Gives a place to the next installation; it is held until [`Places::free`].
    pub(super) fn take(&mut self) -> Option<(AppId, InstallationId)> {
        if self.used >= PLACES {
            return None;
        }
        let app = self.ready.pop_front()?;
        let lane = self.apps.get_mut(&app)?;
        let id = lane.waiting.pop_front()?;
        lane.used += 1;
        self.used += 1;
        self.waiting.remove(&id);
        if lane.is_ready() {
            self.ready.push_back(app.clone());
        }
        Some((app, id))
    }

    /// Returns the number of installations that wait for a place.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// Frees a place of an app.
    pub(super) fn free(&mut self, app: AppId) {
        let Some(lane) = self.apps.get_mut(&app) else { return };
        let was_ready = lane.is_ready();
        lane.used = lane.used.saturating_sub(1);
        self.used = self.used.saturating_sub(1);
        if !was_ready && lane.is_ready() {
            self.ready.push_back(app);
        } else if lane.waiting.is_empty() && lane.used == 0 {
            self.apps.remove(&app);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(works: &[(&str, &str)]) -> Places {
        let mut places = Places::default();
        for (app, id) in works {
            places.push((*app).into(), (*id).into());
        }
        places
    }

    fn taken(places: &mut Places) -> Vec<String> {
        std::iter::from_fn(|| places.take()).map(|(_, id)| id.to_string()).collect()
    }

    #[test]
    fn an_app_holds_its_places_and_others_the_rest() {
        let mut places = places(&[("a", "a1"), ("a", "a2"), ("a", "a3"), ("a", "a1"), ("b", "b1")]);
        assert_eq!(places.waiting(), 4, "each installation waits once");
        assert_eq!(taken(&mut places), ["a1", "b1", "a2"]);
        assert_eq!(places.waiting(), 1);
        places.push("c".into(), "c1".into());
        assert_eq!(taken(&mut places), ["c1"], "a3 waits for its own app");
        places.free("b".into());
        assert!(taken(&mut places).is_empty());
        // An installation that runs may wait for its next turn.
        places.push("a".into(), "a1".into());
        places.free("a".into());
        assert_eq!(taken(&mut places), ["a3"]);
        for app in ["a", "a", "c"] {
            places.free(app.into());
        }
        assert_eq!(taken(&mut places), ["a1"]);
        places.free("a".into());
        assert!(places.apps.is_empty() && places.waiting.is_empty() && places.used == 0);
    }

    #[test]
    fn all_apps_together_hold_the_places_there_are() {
        let mut places = Places::default();
        for app in 0..PLACES {
            for id in 0..PLACES_PER_APP {
                places.push(app.to_string().as_str().into(), format!("{app}-{id}").as_str().into());
            }
        }
        let first = taken(&mut places);
        assert_eq!(first.len(), PLACES);
        assert!(first.iter().all(|id| id.ends_with("-0")), "apps take turns: {first:?}");
        places.free("3".into());
        assert_eq!(taken(&mut places), ["0-1"]);
    }
}

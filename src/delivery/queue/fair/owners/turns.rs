//! Whose turn it is: the waiting request that gets the next permit.

use super::{AttemptKind, Owners, Waiting};

impl Owners {
    /// Removes and returns the waiting request that is next in turn among those within all shares.
    /// `admits` decides on the shares that are not of these owners.
    pub(in super::super) fn next(
        &mut self,
        generation: u64,
        admits: impl Fn(AttemptKind, Option<usize>) -> bool,
    ) -> Option<Waiting> {
        for _ in 0..self.ring.len() {
            let index = self.ring.rotate()?;
            let Some(app) = self.apps.get_mut(index) else { continue };
            if app.waiting == 0 {
                app.is_in_ring = false;
                self.ring.drop_last();
                continue;
            }
            if app.stuck_at == Some(generation) || !app.permits.admits(AttemptKind::QUICK) {
                continue;
            }
            if let Some(found) = self.next_of_app(index, &admits) {
                return Some(found);
            }
            if let Some(app) = self.apps.get_mut(index) {
                app.stuck_at = Some(generation);
            }
        }
        None
    }

    fn next_of_app(
        &mut self,
        app: usize,
        admits: &impl Fn(AttemptKind, Option<usize>) -> bool,
    ) -> Option<Waiting> {
        for _ in 0..self.apps.get(app)?.installations.len() {
            let ring = &mut self.apps.get_mut(app)?.installations;
            let index = ring.rotate()?;
            let Some(installation) = self.installations.get_mut(index) else { continue };
            if installation.waiting == 0 {
                installation.is_in_ring = false;
                ring.drop_last();
            } else if installation.permits.admits(AttemptKind::QUICK)
                && let Some(found) = self.next_of_installation(index, admits)
            {
                return Some(found);
            }
        }
        None
    }

    fn next_of_installation(
        &mut self,
        installation: usize,
        admits: &impl Fn(AttemptKind, Option<usize>) -> bool,
    ) -> Option<Waiting> {
        for _ in 0..self.installations.get(installation)?.ring.len() {
            let ring = &mut self.installations.get_mut(installation)?.ring;
            let index = ring.rotate()?;
            let Some(endpoint) = self.endpoints.get_mut(index) else { continue };
            if endpoint.waiting.is_empty() && endpoint.replays.is_empty() {
                endpoint.is_in_ring = false;
                ring.drop_last();
                continue;
            }
            let found = self.next_at(index, false, admits);
            if let Some(found) = found.or_else(|| self.next_at(index, true, admits)) {
                return Some(found);
            }
        }
        None
    }

    /// As [`Owners::next`], among the live deliveries at an endpoint or among those of replays. First come,
    /// except that a delivery of an event over its share lets others pass.
    fn next_at(
        &mut self,
        index: usize,
        is_replay: bool,
        admits: &impl Fn(AttemptKind, Option<usize>) -> bool,
    ) -> Option<Waiting> {
        let kind = AttemptKind { is_slow: self.is_slow(index), is_replay };
        if !self.admits(index, kind) {
            return None;
        }
        let queue = self.endpoints.get_mut(index)?.queue_mut(is_replay);
        let place = queue.iter().position(|waiting| admits(kind, waiting.event))?;
        let found = queue.remove(place)?;
        self.count_waiting(index, is_replay);
        Some(found)
    }
}

//! Stops of a process (SIGSTOP) and what follows when it continues, as `router.rs` does it: the
//! detector of gaps is real, the watch of the registry and the read barrier are modelled.

use switchyard::delivery::{Gap, Gaps};

use crate::dice::{Ms, Topic};
use crate::mutation::Mutation;
use crate::replica::{RegistryChange, beat_interval};
use crate::scenario::REGISTRY_LAG_MAX;
use crate::world::{Action, Local, World};

/// Pause before the broker is asked again for the registry's revision.
const BARRIER_PAUSE: Ms = 1_000;

impl World<'_> {
    /// Stops a replica for a time.
    pub(crate) fn stall(&mut self, replica: usize, length: Ms) {
        let now = self.now;
        let Some(of) = self.replicas.get_mut(replica) else { return };
        if !of.is_up || of.stalled.is_some() {
            return;
        }
        of.stalled = Some(now);
        let incarnation = of.incarnation;
        self.at(now + length, Action::Wake { replica, incarnation });
    }

    /// Continues a replica.
    pub(crate) fn wake(&mut self, replica: usize, incarnation: u64) {
        let now = self.now;
        let offset = self.dice.between((Topic::Replica, self.order, 2), 0, beat_interval());
        let Some(of) = self.replicas.get_mut(replica) else { return };
        let Some(since) = of.stalled.filter(|_| of.incarnation == incarnation) else { return };
        of.stalled = None;
        let deferred = std::mem::take(&mut of.deferred);
        let mut gap = of.beat_after_stop(since, offset, now);
        if self.is(Mutation::ZombieDeliversAfterRemoval)
            || gap == Gap::Short && self.is(Mutation::ShortStopIgnored)
        {
            let of = self.replica(replica);
            let gaps = of.pauses().gaps();
            of.pauses().caught_up(gaps);
            gap = Gap::None;
        }
        self.note(|| format!("replica {replica} continues after {} ms: {gap:?}", now - since));
        if gap == Gap::Pause {
            for place in self.replica(replica).drop_held(now) {
                self.uncounted(&place);
            }
        }
        for action in deferred {
            let Action::Local { local, .. } = action else { continue };
            match local {
                Local::Apply => self.watch(replica),
                // The tasks that are not work of messages continue.
                Local::Trim | Local::Count | Local::AskRevision | Local::Revision(..) => {
                    self.local(now, replica, local);
                }
                _ if gap == Gap::Pause => {}
                local => self.local(now, replica, local),
            }
        }
        if gap != Gap::None {
            self.ask_revision(replica);
        }
    }

    /// Whether work of a replica waits for the registry.
    pub(crate) fn is_held(&self, replica: usize) -> bool {
        self.replicas.get(replica).is_some_and(crate::replica::Replica::is_behind)
    }

    /// The read barrier: asks for the revision that the registry must reach.
    pub(crate) fn ask_revision(&mut self, replica: usize) {
        if !self.is_held(replica) {
            return;
        }
        if self.broker.is_silent(self.now) {
            return self.local(self.now + BARRIER_PAUSE, replica, Local::AskRevision);
        }
        let gaps = self.replica(replica).pauses().gaps();
        let revision = match self.is(Mutation::ResumedBeforeRegistry) {
            true => 0,
            false => self.broker.registry_revision,
        };
        let at = self.now + 2 * self.latency();
        self.local(at, replica, Local::Revision(gaps, revision));
    }

    /// The answer of the barrier: waits until the registry has reached the revision, then lets work
    /// start again, unless there was another gap.
    pub(crate) fn revision_known(&mut self, replica: usize, gaps: Gaps, revision: u64) {
        let of = self.replica(replica);
        if of.revision < revision {
            // Looked at again when a change arrives.
            return self.local(self.now + 1, replica, Local::Revision(gaps, revision));
        }
        if !of.pauses().caught_up(gaps) {
            return self.ask_revision(replica);
        }
        let held = std::mem::take(&mut of.held);
        self.note(|| format!("replica {replica} has revision {revision}, resumes {}", held.len()));
        for local in held {
            self.local_step(replica, local);
        }
    }

    pub(crate) fn registry_changed(&mut self, trigger: usize) {
        let is_live = self.registry().get(trigger).copied().unwrap_or(false);
        self.note(|| {
            format!("subscription {trigger} is {}", if is_live { "live" } else { "removed" })
        });
        self.broker.registry_revision += 1;
        let revision = self.broker.registry_revision;
        for replica in 0..self.replicas.len() {
            self.replica(replica).watch.push_back(RegistryChange { trigger, is_live, revision });
            self.watch(replica);
        }
    }

    /// Plans when a change of the registry reaches a replica, after the changes before it.
    fn watch(&mut self, replica: usize) {
        let at = (Topic::Replica, self.order, 1);
        let at = self.now + self.dice.between(at, 0, REGISTRY_LAG_MAX);
        let of = self.replica(replica);
        of.watched = of.watched.max(at);
        let at = of.watched;
        self.local(at, replica, Local::Apply);
    }

    /// Applies the next change of the registry.
    pub(crate) fn apply(&mut self, replica: usize) {
        let of = self.replica(replica);
        let Some(change) = of.watch.pop_front() else { return };
        of.revision = change.revision;
        if let Some(live) = of.live.get_mut(change.trigger) {
            *live = change.is_live;
        }
    }
}

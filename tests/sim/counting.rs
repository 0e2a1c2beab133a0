//! Counts of the shares: each replica writes what it changed, reads what the others changed, and
//! counts the streams. The ledger is real, the bucket is modelled.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

use switchyard::delivery::{Amount, Changes, PoolLimits, ShareOwner, parked_owner};

use crate::broker::{Pair, Process};
use crate::dice::Ms;
use crate::fixture::{Directory, StoredHeaders};
use crate::mutation::Mutation;
use crate::replica::Place;
use crate::scenario::Scenario;
use crate::world::{Local, World};

/// Interval of the checks.
const INTERVAL: Ms = 5_000;
/// Age at which the document of a process that ended is deleted.
const DOCUMENT_AGE_MAX: Ms = 3_600_000;
/// Installations that may use their whole share at the same time.
const FULL_SHARES: u64 = 2;
/// Messages that each installation may store, whatever the others use.
pub(crate) const GUARANTEED: u64 = 1;

/// Returns what a stored message uses. Only numbers of messages are bounded here.
pub(crate) fn one() -> Amount {
    Amount::one(1)
}

fn messages(messages: u64) -> Amount {
    Amount { messages, bytes: u64::MAX }
}

pub(crate) fn parking_limits(scenario: &Scenario) -> PoolLimits {
    limits(scenario, scenario.parking_share)
}

pub(crate) fn dead_letter_limits(scenario: &Scenario) -> PoolLimits {
    limits(scenario, scenario.letter_share)
}

fn limits(scenario: &Scenario, share: usize) -> PoolLimits {
    let share = u64::try_from(share).unwrap_or(u64::MAX);
    let reserve = GUARANTEED * u64::try_from(scenario.installations).unwrap_or(u64::MAX);
    PoolLimits {
        max: messages(FULL_SHARES * share + reserve),
        app: messages(FULL_SHARES * share + reserve),
        installation: messages(share),
        endpoint: messages(share),
        reserve: messages(reserve),
        app_reserve: messages(reserve),
        guaranteed: messages(GUARANTEED),
    }
}

/// Additions to a stream, for the bounds that the invariants allow.
#[derive(Debug)]
pub(crate) struct Additions {
    /// Owner, process and time of each place that was taken.
    parked: Vec<(usize, Process, Ms)>,
    letters: Vec<(usize, Process, Ms)>,
    /// Places by owner that were given back although the message is stored, or given back twice.
    pub(crate) uncounted: Vec<usize>,
}

/// Up to when a process knows what the others added.
#[derive(Clone, Debug)]
pub(crate) struct Known {
    /// When it counted the parked records; none before.
    parked_counted: Option<Ms>,
    /// When each process wrote the changes that were read last.
    changes: BTreeMap<Process, Ms>,
    /// When it counted the dead letters.
    letters_counted: Ms,
}

impl Default for Known {
    fn default() -> Self {
        Self { parked_counted: None, changes: BTreeMap::new(), letters_counted: Ms::MIN }
    }
}

impl Additions {
    pub(crate) fn new(scenario: &Scenario) -> Self {
        Self { parked: Vec::new(), letters: Vec::new(), uncounted: vec![0; scenario.installations] }
    }
}

impl World<'_> {
    /// Plans a round of every replica's counter.
    pub(crate) fn plan_count(&mut self, delay: Ms) {
        for replica in 0..self.replicas.len() {
            self.plan_count_of(replica, delay);
        }
    }

    pub(crate) fn plan_count_of(&mut self, replica: usize, delay: Ms) {
        let at = self.now + delay;
        let of = self.replica(replica);
        if of.is_up && !std::mem::replace(&mut of.is_count_planned, true) {
            self.local(at, replica, Local::Count);
        }
    }

    /// One round of the counter, as `bus::share_counts` does it.
    pub(crate) fn count(&mut self, replica: usize) {
        self.replica(replica).is_count_planned = false;
        if self.broker.is_silent(self.now) {
            return self.plan_count_of(replica, INTERVAL);
        }
        let stored = |len: usize| messages_of(u64::try_from(len).unwrap_or(u64::MAX));
        let parked = stored(self.broker.parked.messages.len());
        let dead = stored(self.broker.dead.messages.len());
        let letters = self.letters_by_owner();
        let now = self.now;
        let of = self.replica(replica);
        of.shares.set_stored(parked, dead);
        of.shares.replace_dead_letters(letters, 1);
        Arc::make_mut(&mut of.known).letters_counted = now;
        let others = self.exchange(replica);
        let of = self.replica(replica);
        of.shares.apply(&others);
        let attributed = of.shares.parking().attributed().messages;
        self.note(|| {
            format!("replica {replica} counts {attributed} parked of {}", parked.messages)
        });
        let of = self.replica(replica);
        let differs = of.drift.step(attributed, parked.messages);
        if of.known.parked_counted.is_none() || differs {
            let own_before = of.shares.own_changes().clone();
            let counts = self.count_parked(replica);
            let of = self.replica(replica);
            of.shares.replace_parked(&counts, &own_before, &Changes::new());
            Arc::make_mut(&mut of.known).parked_counted = Some(now);
        }
    }

    fn letters_by_owner(&self) -> Vec<(ShareOwner, u64)> {
        let mut counts: HashMap<ShareOwner, u64> = HashMap::new();
        for letter in self.broker.dead.messages.values() {
            if let Some(owner) = letter.owner {
                *counts.entry(self.letter_owner(owner)).or_default() += 1;
            }
        }
        counts.into_iter().collect()
    }

    /// Returns who pays for the dead letters of an installation.
    pub(crate) fn letter_owner(&self, installation: usize) -> ShareOwner {
        let app = crate::fixture::app(self.scenario, installation);
        ShareOwner::installation(&app, &crate::fixture::installation(installation))
    }

    pub(crate) fn installation_of(&self, owner: &ShareOwner) -> Option<usize> {
        let is_it = |at: &usize| self.letter_owner(*at).installation == owner.installation;
        (0..self.scenario.installations).find(is_it)
    }

    /// A place was given back, or will be, although its message may be stored.
    pub(crate) fn uncounted(&mut self, place: &Place) {
        let (Place::Parking(owner) | Place::DeadLetters(owner)) = place;
        if let Some(owner) = self.installation_of(owner) {
            self.additions.uncounted[owner] += 1;
        }
    }

    /// Writes what a replica changed; returns what the others changed since the last time.
    fn exchange(&mut self, replica: usize) -> Changes {
        let now = self.now;
        let of = &mut self.replicas[replica];
        let process = (replica, of.incarnation);
        let own = of.shares.own_changes().clone();
        let before = self.broker.share_documents.insert(process, (own, now));
        of.given_back.fill(0);
        self.delete_old_documents();
        let of = &mut self.replicas[replica];
        let mut sum = Changes::new();
        for (other, (changes, at)) in &self.broker.share_documents {
            if *other == process {
                continue;
            }
            Arc::make_mut(&mut of.known).changes.insert(*other, *at);
            if self.mutation == Some(Mutation::SharesOfOthersIgnored) {
                continue;
            }
            let key = format!("parked.{}-{}", other.0, other.1);
            for (owner, change) in of.others.update(&key, changes.clone()) {
                let total = sum.entry(owner).or_default();
                *total = total.plus(change);
            }
        }
        let has_changed =
            before.map(|(changes, _)| changes).unwrap_or_default() != *of.shares.own_changes();
        if has_changed {
            self.plan_count(INTERVAL);
        }
        sum
    }

    fn delete_old_documents(&mut self) {
        let (now, replicas) = (self.now, &self.replicas);
        self.broker.share_documents.retain(|(replica, incarnation), (_, at)| {
            // A replica that runs writes its document again before it is old.
            let is_running = replicas[*replica].incarnation == *incarnation;
            is_running || now - *at < DOCUMENT_AGE_MAX
        });
    }

    /// Reads the owners of all parked records.
    fn count_parked(&mut self, replica: usize) -> HashMap<ShareOwner, Amount> {
        // What the others gave back since they wrote their changes is subtracted again later.
        for other in (0..self.replicas.len()).filter(|other| *other != replica) {
            let given_back = self.replicas[other].given_back.iter();
            for (uncounted, given_back) in self.additions.uncounted.iter_mut().zip(given_back) {
                *uncounted += given_back;
            }
        }
        let live = &self.replicas[replica].live;
        let directory = Directory { subscriptions: &self.subscriptions, live };
        let mut counts: HashMap<ShareOwner, Amount> = HashMap::new();
        for message in self.broker.parked.messages.values() {
            // A record that fired has another subject.
            if message.is_due {
                let owner = self.scenario.triggers[message.pair.subscription].installation;
                self.additions.uncounted[owner] += 1;
                continue;
            }
            let headers = StoredHeaders(&message.record.headers);
            if let Some(owner) = parked_owner(&headers, &directory, &message.record.owner.app) {
                let count = counts.entry(owner).or_default();
                *count = count.plus(one());
            }
        }
        counts
    }

    /// Records a place that was taken in the parking stream by a process that knew `known`; checks
    /// the bound of its owner.
    pub(crate) fn added_parked(&mut self, pair: Pair, process: Process, known: &Known) {
        let owner = self.owner(pair);
        self.additions.parked.push((owner, process, self.now));
        let since = known.parked_counted.unwrap_or(Ms::MIN);
        let is_unknown = |at: &&(usize, Process, Ms)| {
            let (by, other, added) = **at;
            let until = known.changes.get(&other).copied().unwrap_or(Ms::MIN).max(since);
            by == owner && other != process && added > until
        };
        let unknown = self.additions.parked.iter().filter(is_unknown).count();
        let count = self.parked[owner].len();
        let allowed = self.scenario.parking_share + unknown + self.additions.uncounted[owner];
        if count > allowed {
            let detail = format!(
                "installation {owner} has {count} parked deliveries with {pair:?}, {unknown} unknown"
            );
            self.ledger.violation("bounds", detail);
        }
        self.plan_count(INTERVAL);
    }

    /// Records a stored dead letter of a process that knew `known`; checks the bound of its owner.
    pub(crate) fn added_letter(&mut self, owner: usize, process: Process, known: &Known) {
        self.additions.letters.push((owner, process, self.now));
        let letters = self.additions.letters.iter().filter(|(by, ..)| *by == owner);
        let count = letters.clone().count();
        let unknown = letters
            .filter(|(_, other, at)| *other != process && *at >= known.letters_counted)
            .count();
        let allowed = self.scenario.letter_share + unknown + self.additions.uncounted[owner];
        if count > allowed {
            let detail = format!("installation {owner} has {count} letters, {unknown} unknown");
            self.ledger.violation("bounds", detail);
        }
        self.plan_count(INTERVAL);
    }
}

fn messages_of(count: u64) -> Amount {
    Amount { messages: count, bytes: count }
}

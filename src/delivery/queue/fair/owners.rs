//! Owners of requests: the tree of apps, installations and endpoints, and the hosts.

mod turns;

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use super::limits::{FairLimits, is_replay};
use super::share::{AttemptKind, Share};
use crate::domain::{AppId, InstallationId};

/// Identifies an endpoint in the queue.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct EndpointId(pub(super) usize);

/// The owners of an endpoint.
#[derive(Clone, Copy, Debug)]
pub struct EndpointOwners<'a> {
    /// App of the installation.
    pub app: &'a AppId,
    /// Installation of the endpoint.
    pub installation: &'a InstallationId,
    /// Host that the endpoint is at.
    pub host: &'a str,
}

/// A request that waits.
#[derive(Clone, Copy, Debug)]
pub(super) struct Waiting {
    pub(super) request: usize,
    pub(super) event: Option<usize>,
    pub(super) since_us: u64,
}

/// What waits at an endpoint and in its app as a request sees it: of live deliveries for a live one, of
/// replays for a replay.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueState {
    pub(super) endpoint_waiting: usize,
    /// Those that get a permit at the endpoint before the request: a replay lets all others pass.
    pub(super) ahead: usize,
    pub(super) app_waiting: usize,
    last_start_us: u64,
    oldest_us: Option<u64>,
}

impl QueueState {
    /// Returns for how long deliveries wait and no attempt started.
    pub(super) fn stalled_us(&self, now_us: u64) -> u64 {
        self.oldest_us
            .map_or(0, |oldest_us| now_us.saturating_sub(oldest_us.max(self.last_start_us)))
    }
}

/// Members that take turns. A member whose requests all ended is removed when its turn comes.
#[derive(Debug, Default)]
struct Ring(VecDeque<usize>);

#[derive(Debug)]
struct App {
    id: AppId,
    permits: Share,
    installations: Ring,
    is_in_ring: bool,
    waiting: usize,
    /// Those of `waiting` that are of replays.
    replays_waiting: usize,
    endpoints: usize,
    /// Generation in which none of its waiting requests was within all shares.
    stuck_at: Option<u64>,
}

#[derive(Debug)]
struct Installation {
    key: (usize, InstallationId),
    permits: Share,
    ring: Ring,
    is_in_ring: bool,
    waiting: usize,
    endpoints: usize,
}

#[derive(Debug)]
struct Host<K> {
    key: K,
    permits: Share,
    endpoints: usize,
}

#[derive(Debug)]
struct Endpoint {
    app: usize,
    installation: usize,
    host: usize,
    app_host: usize,
    permits: Share,
    /// Whether the last attempt was quick.
    is_quick: bool,
    is_in_ring: bool,
    last_start_us: u64,
    /// Live deliveries.
    waiting: VecDeque<Waiting>,
    /// Deliveries of replays.
    replays: VecDeque<Waiting>,
}

impl Endpoint {
    fn queue_mut(&mut self, is_replay: bool) -> &mut VecDeque<Waiting> {
        if is_replay { &mut self.replays } else { &mut self.waiting }
    }
}

/// All owners.
#[derive(Debug, Default)]
pub(super) struct Owners {
    ring: Ring,
    apps: Slab<App>,
    installations: Slab<Installation>,
    hosts: Slab<Host<Box<str>>>,
    app_hosts: Slab<Host<(usize, usize)>>,
    endpoints: Slab<Endpoint>,
    app_ids: HashMap<AppId, usize>,
    installation_ids: HashMap<(usize, InstallationId), usize>,
    host_ids: HashMap<Box<str>, usize>,
    app_host_ids: HashMap<(usize, usize), usize>,
}

impl Owners {
    pub(super) fn add_endpoint(
        &mut self,
        owners: &EndpointOwners<'_>,
        limits: &FairLimits,
    ) -> EndpointId {
        let apps = &mut self.apps;
        let app = *self.app_ids.entry(owners.app.clone()).or_insert_with_key(|id| {
            apps.insert(App {
                id: id.clone(),
                permits: limits.reserving(limits.app),
                installations: Ring::default(),
                is_in_ring: false,
                waiting: 0,
                replays_waiting: 0,
                endpoints: 0,
                stuck_at: None,
            })
        });
        let (installations, key) = (&mut self.installations, (app, owners.installation.clone()));
        let installation = *self.installation_ids.entry(key).or_insert_with_key(|key| {
            installations.insert(Installation {
                key: key.clone(),
                permits: FairLimits::plain(limits.installation),
                ring: Ring::default(),
                is_in_ring: false,
                waiting: 0,
                endpoints: 0,
            })
        });
        let (hosts, permits) = (&mut self.hosts, || limits.reserving(limits.host));
        let host = *self.host_ids.entry(owners.host.into()).or_insert_with_key(|key| {
            hosts.insert(Host { key: key.clone(), permits: permits(), endpoints: 0 })
        });
        let (app_hosts, permits) = (&mut self.app_hosts, || limits.reserving(limits.app_host));
        let app_host = *self.app_host_ids.entry((app, host)).or_insert_with_key(|key| {
            app_hosts.insert(Host { key: *key, permits: permits(), endpoints: 0 })
        });
        let endpoint = self.endpoints.insert(Endpoint {
            app,
            installation,
            host,
            app_host,
            permits: FairLimits::plain(limits.endpoint),
            is_quick: false,
            is_in_ring: false,
            last_start_us: 0,
            waiting: VecDeque::new(),
            replays: VecDeque::new(),
        });
        self.count_endpoint(endpoint, 1);
        EndpointId(endpoint)
    }

    pub(super) fn remove_endpoint(&mut self, endpoint: usize) {
        self.count_endpoint(endpoint, -1);
        let Some(removed) = self.endpoints.try_remove(endpoint) else { return };
        if let Some(installation) = self.installations.get_mut(removed.installation) {
            installation.ring.remove(endpoint);
            if installation.endpoints == 0 {
                self.installation_ids.remove(&installation.key);
                self.installations.remove(removed.installation);
                if let Some(app) = self.apps.get_mut(removed.app) {
                    app.installations.remove(removed.installation);
                }
            }
        }
        if let Some(host) = self.app_hosts.get(removed.app_host).filter(|host| host.endpoints == 0)
        {
            self.app_host_ids.remove(&host.key);
            self.app_hosts.remove(removed.app_host);
        }
        if let Some(host) = self.hosts.get(removed.host).filter(|host| host.endpoints == 0) {
            self.host_ids.remove(&host.key);
            self.hosts.remove(removed.host);
        }
        if let Some(app) = self.apps.get(removed.app).filter(|app| app.endpoints == 0) {
            self.app_ids.remove(&app.id);
            self.apps.remove(removed.app);
            self.ring.remove(removed.app);
        }
    }

    fn count_endpoint(&mut self, endpoint: usize, change: isize) {
        let Some(endpoint) = self.endpoints.get(endpoint) else { return };
        let counts = [
            self.apps.get_mut(endpoint.app).map(|owner| &mut owner.endpoints),
            self.installations.get_mut(endpoint.installation).map(|owner| &mut owner.endpoints),
            self.hosts.get_mut(endpoint.host).map(|owner| &mut owner.endpoints),
            self.app_hosts.get_mut(endpoint.app_host).map(|owner| &mut owner.endpoints),
        ];
        for count in counts.into_iter().flatten() {
            *count = count.saturating_add_signed(change);
        }
    }

    /// Returns whether attempts at the endpoint count as slow: none was measured, the last one was
    /// slow, or one is running for too long.
    pub(super) fn is_slow(&self, endpoint: usize) -> bool {
        self.endpoints
            .get(endpoint)
            .is_none_or(|endpoint| !endpoint.is_quick || endpoint.permits.slow() > 0)
    }

    /// Returns whether all owners of the endpoint may hold one more permit.
    pub(super) fn admits(&self, endpoint: usize, kind: AttemptKind) -> bool {
        let Some(endpoint) = self.endpoints.get(endpoint) else { return true };
        let (installation, app) =
            (self.installations.get(endpoint.installation), self.apps.get(endpoint.app));
        let (host, app_host) =
            (self.hosts.get(endpoint.host), self.app_hosts.get(endpoint.app_host));
        app.is_none_or(|owner| owner.permits.admits(kind))
            && installation.is_none_or(|owner| owner.permits.admits(kind))
            && endpoint.permits.admits(kind)
            && app_host.is_none_or(|host| host.permits.admits(kind))
            && host.is_none_or(|host| host.permits.admits(kind))
    }

    /// Changes the shares of all owners of an endpoint.
    pub(super) fn shares_of(&mut self, endpoint: usize, change: impl Fn(&mut Share)) {
        let Some(endpoint) = self.endpoints.get_mut(endpoint) else { return };
        change(&mut endpoint.permits);
        let shares = [
            self.apps.get_mut(endpoint.app).map(|owner| &mut owner.permits),
            self.installations.get_mut(endpoint.installation).map(|owner| &mut owner.permits),
            self.hosts.get_mut(endpoint.host).map(|owner| &mut owner.permits),
            self.app_hosts.get_mut(endpoint.app_host).map(|owner| &mut owner.permits),
        ];
        shares.into_iter().flatten().for_each(change);
    }

    /// Returns whether the host's share is used up, which other apps may wait for.
    pub(super) fn host_is_limiting(&self, endpoint: usize) -> bool {
        let host = self.endpoints.get(endpoint).and_then(|found| self.hosts.get(found.host));
        host.is_some_and(|host| host.permits.is_limiting())
    }

    /// Records that an attempt started.
    pub(super) fn started(&mut self, endpoint: usize, now_us: u64) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.last_start_us = now_us;
        }
    }

    /// Records that a permit of the endpoint was returned.
    pub(super) fn released(&mut self, endpoint: usize) {
        if let Some(app) = self.app_of(endpoint) {
            app.stuck_at = None;
        }
    }

    /// Records whether the last attempt at the endpoint was quick.
    pub(super) fn measured(&mut self, endpoint: usize, is_quick: bool) {
        if let Some(endpoint) = self.endpoints.get_mut(endpoint) {
            endpoint.is_quick = is_quick;
        }
    }

    /// Returns what waits at an endpoint, as a request sees it that is one of a replay or not.
    pub(super) fn queue_of(&self, endpoint: usize, is_replay: bool) -> Option<QueueState> {
        let endpoint = self.endpoints.get(endpoint)?;
        let app = self.apps.get(endpoint.app)?;
        let (live, replays) = (endpoint.waiting.len(), endpoint.replays.len());
        let (queue, ahead, app_waiting) = match is_replay {
            true => (&endpoint.replays, live + replays, app.replays_waiting),
            false => (&endpoint.waiting, live, app.waiting.saturating_sub(app.replays_waiting)),
        };
        Some(QueueState {
            endpoint_waiting: queue.len(),
            ahead,
            app_waiting,
            last_start_us: endpoint.last_start_us,
            oldest_us: queue.front().map(|oldest| oldest.since_us),
        })
    }

    /// Appends a request to the queue of an endpoint.
    pub(super) fn enqueue(&mut self, index: usize, waiting: Waiting) {
        let is_replay = is_replay(waiting.event);
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        endpoint.queue_mut(is_replay).push_back(waiting);
        let is_new = !std::mem::replace(&mut endpoint.is_in_ring, true);
        let Some(installation) = self.installations.get_mut(endpoint.installation) else { return };
        installation.waiting += 1;
        installation.ring.add(index, is_new);
        let is_new = !std::mem::replace(&mut installation.is_in_ring, true);
        let Some(app) = self.apps.get_mut(endpoint.app) else { return };
        (app.waiting, app.stuck_at) = (app.waiting + 1, None);
        app.replays_waiting += usize::from(is_replay);
        app.installations.add(endpoint.installation, is_new);
        let is_new = !std::mem::replace(&mut app.is_in_ring, true);
        self.ring.add(endpoint.app, is_new);
    }

    /// Removes a waiting request. Those that wait longest time out first, so the search is short.
    pub(super) fn dequeue(&mut self, index: usize, request: usize, event: Option<usize>) {
        let is_replay = is_replay(event);
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        let queue = endpoint.queue_mut(is_replay);
        let place = queue.iter().position(|waiting| waiting.request == request);
        if place.and_then(|place| queue.remove(place)).is_some() {
            self.count_waiting(index, is_replay);
        }
    }

    /// Counts one waiting request less at the owners of an endpoint.
    fn count_waiting(&mut self, endpoint: usize, is_replay: bool) {
        let Some(endpoint) = self.endpoints.get(endpoint) else { return };
        if let Some(installation) = self.installations.get_mut(endpoint.installation) {
            installation.waiting = installation.waiting.saturating_sub(1);
        }
        if let Some(app) = self.apps.get_mut(endpoint.app) {
            app.waiting = app.waiting.saturating_sub(1);
            app.replays_waiting = app.replays_waiting.saturating_sub(usize::from(is_replay));
        }
    }

    /// Returns app, installation, host, and app at the host.
    #[cfg(test)]
    pub(super) fn owners_of(&self, endpoint: usize) -> (usize, usize, usize, usize) {
        let endpoint = &self.endpoints[endpoint];
        (endpoint.app, endpoint.installation, endpoint.host, endpoint.app_host)
    }

    #[cfg(test)]
    pub(super) fn is_empty(&self) -> bool {
        let maps = self.app_ids.is_empty() && self.installation_ids.is_empty();
        maps && self.apps.is_empty()
            && self.installations.is_empty()
            && self.hosts.is_empty()
            && self.app_hosts.is_empty()
            && self.ring.0.is_empty()
    }

    fn app_of(&mut self, endpoint: usize) -> Option<&mut App> {
        self.apps.get_mut(self.endpoints.get(endpoint)?.app)
    }
}

impl Ring {
    fn len(&self) -> usize {
        self.0.len()
    }

    fn add(&mut self, member: usize, is_new: bool) {
        if is_new {
            self.0.push_back(member);
        }
    }

    /// Moves the first member to the end and returns it.
    fn rotate(&mut self) -> Option<usize> {
        let first = self.0.pop_front()?;
        self.0.push_back(first);
        Some(first)
    }

    /// Removes the member that was moved to the end last.
    fn drop_last(&mut self) {
        self.0.pop_back();
    }

    fn remove(&mut self, member: usize) {
        self.0.retain(|other| *other != member);
    }
}

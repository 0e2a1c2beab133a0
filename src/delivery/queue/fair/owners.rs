//! Owners of requests: the tree of apps, installations and endpoints, and the hosts.

use std::collections::{HashMap, VecDeque};

use slab::Slab;

use super::limits::{FairLimits, REPLAYS};
use super::share::Share;
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

/// What waits at an endpoint and in its app.
#[derive(Clone, Copy, Debug)]
pub(super) struct QueueState {
    pub(super) endpoint_waiting: usize,
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
    waiting: VecDeque<Waiting>,
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
    pub(super) fn admits(&self, endpoint: usize, is_slow: bool) -> bool {
        let Some(endpoint) = self.endpoints.get(endpoint) else { return true };
        let installation = self.installations.get(endpoint.installation);
        let app = self.apps.get(endpoint.app);
        app.is_none_or(|owner| owner.permits.admits(is_slow))
            && installation.is_none_or(|owner| owner.permits.admits(is_slow))
            && self.endpoint_admits(endpoint, is_slow)
    }

    /// Returns whether an endpoint, its host and its app at that host may hold one more permit.
    fn endpoint_admits(&self, endpoint: &Endpoint, is_slow: bool) -> bool {
        let (host, app_host) =
            (self.hosts.get(endpoint.host), self.app_hosts.get(endpoint.app_host));
        endpoint.permits.admits(is_slow)
            && app_host.is_none_or(|host| host.permits.admits(is_slow))
            && host.is_none_or(|host| host.permits.admits(is_slow))
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

    /// Returns what waits at an endpoint.
    pub(super) fn queue_of(&self, endpoint: usize) -> Option<QueueState> {
        let endpoint = self.endpoints.get(endpoint)?;
        Some(QueueState {
            endpoint_waiting: endpoint.waiting.len(),
            app_waiting: self.apps.get(endpoint.app)?.waiting,
            last_start_us: endpoint.last_start_us,
            oldest_us: endpoint.waiting.front().map(|oldest| oldest.since_us),
        })
    }

    /// Appends a request to the queue of an endpoint.
    pub(super) fn enqueue(&mut self, index: usize, waiting: Waiting) {
        let Some(endpoint) = self.endpoints.get_mut(index) else { return };
        endpoint.waiting.push_back(waiting);
        let is_new = !std::mem::replace(&mut endpoint.is_in_ring, true);
        let Some(installation) = self.installations.get_mut(endpoint.installation) else { return };
        installation.waiting += 1;
        installation.ring.add(index, is_new);
        let is_new = !std::mem::replace(&mut installation.is_in_ring, true);
        let Some(app) = self.apps.get_mut(endpoint.app) else { return };
        (app.waiting, app.stuck_at) = (app.waiting + 1, None);
        app.installations.add(endpoint.installation, is_new);
        let is_new = !std::mem::replace(&mut app.is_in_ring, true);
        self.ring.add(endpoint.app, is_new);
    }

    /// Removes a waiting request. Those that wait longest time out first, so the search is short.
    pub(super) fn dequeue(&mut self, endpoint: usize, request: usize) {
        let Some(found) = self.endpoints.get_mut(endpoint) else { return };
        let place = found.waiting.iter().position(|waiting| waiting.request == request);
        if place.and_then(|place| found.waiting.remove(place)).is_some() {
            self.count_waiting(endpoint);
        }
    }

    /// Removes and returns the waiting request that is next in turn among those within all shares.
    /// `admits` decides on the shares that are not of these owners.
    pub(super) fn next(
        &mut self,
        generation: u64,
        admits: impl Fn(bool, Option<usize>) -> bool,
    ) -> Option<Waiting> {
        for _ in 0..self.ring.len() {
            let index = self.ring.rotate()?;
            let Some(app) = self.apps.get_mut(index) else { continue };
            if app.waiting == 0 {
                app.is_in_ring = false;
                self.ring.drop_last();
                continue;
            }
            if app.stuck_at == Some(generation) || !app.permits.admits(false) {
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
        admits: &impl Fn(bool, Option<usize>) -> bool,
    ) -> Option<Waiting> {
        for _ in 0..self.apps.get(app)?.installations.len() {
            let ring = &mut self.apps.get_mut(app)?.installations;
            let index = ring.rotate()?;
            let Some(installation) = self.installations.get_mut(index) else { continue };
            if installation.waiting == 0 {
                installation.is_in_ring = false;
                ring.drop_last();
            } else if installation.permits.admits(false)
                && let Some(found) = self.next_of_installation(index, app, admits)
            {
                return Some(found);
            }
        }
        None
    }

    fn next_of_installation(
        &mut self,
        installation: usize,
        app: usize,
        admits: &impl Fn(bool, Option<usize>) -> bool,
    ) -> Option<Waiting> {
        for _ in 0..self.installations.get(installation)?.ring.len() {
            let ring = &mut self.installations.get_mut(installation)?.ring;
            let index = ring.rotate()?;
            let Some(endpoint) = self.endpoints.get_mut(index) else { continue };
            if endpoint.waiting.is_empty() {
                endpoint.is_in_ring = false;
                ring.drop_last();
                continue;
            }
            let is_slow = self.is_slow(index);
            let endpoint = self.endpoints.get(index)?;
            if !self.apps.get(app)?.permits.admits(is_slow)
                || !self.endpoint_admits(endpoint, is_slow)
            {
                continue;
            }
            // First come, except that a delivery of an event over its share lets others pass, and
            // that of a replay lets all others pass.
            let is_next = |waiting: &Waiting, is_replay: bool| {
                (waiting.event == Some(REPLAYS)) == is_replay && admits(is_slow, waiting.event)
            };
            let place = |is_replay| endpoint.waiting.iter().position(|w| is_next(w, is_replay));
            let place = place(false).or_else(|| place(true));
            let queue = &mut self.endpoints.get_mut(index)?.waiting;
            if let Some(found) = place.and_then(|place| queue.remove(place)) {
                self.count_waiting(index);
                return Some(found);
            }
        }
        None
    }

    /// Counts one waiting request less at the owners of an endpoint.
    fn count_waiting(&mut self, endpoint: usize) {
        let Some(endpoint) = self.endpoints.get(endpoint) else { return };
        if let Some(installation) = self.installations.get_mut(endpoint.installation) {
            installation.waiting = installation.waiting.saturating_sub(1);
        }
        if let Some(app) = self.apps.get_mut(endpoint.app) {
            app.waiting = app.waiting.saturating_sub(1);
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

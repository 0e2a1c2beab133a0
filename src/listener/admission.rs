//! Admits connections: a bound in all, one for each address, and a reserve for this machine.

use std::net::IpAddr;
use std::sync::Arc;

use super::client::{TrustedProxies, limited_address};
use super::metrics;
use super::shares::{Bounds, Owner, Part, ShareLevel, Shares};

/// Connections from this machine beyond the bound of all, so that probes and operators on it are
/// answered while strangers hold all others.
const LOCAL_RESERVE: usize = 16;

/// Counts open connections.
#[derive(Debug)]
pub(super) struct Admission {
    listener: &'static str,
    shares: Arc<Shares>,
    /// Number of connections from which on the listener is crowded.
    crowded: usize,
    trusted: TrustedProxies,
}

/// An admitted connection, until it is dropped.
#[derive(Debug)]
pub(super) struct Admitted {
    listener: &'static str,
    part: Option<Part>,
    shares: Arc<Shares>,
}

impl Admission {
    /// Admits connections to `listener`, a label of the metrics.
    pub(super) fn new(
        listener: &'static str,
        all: usize,
        by_address: usize,
        trusted: TrustedProxies,
    ) -> Self {
        metrics::connections_max(listener, all);
        metrics::connections_open(listener, 0);
        let shares = Shares::new(Bounds { all, address: by_address, site: usize::MAX });
        Self { listener, shares, crowded: all - all / 4, trusted }
    }

    /// Whether most connections are in use.
    pub(super) fn is_crowded(&self) -> bool {
        self.shares.used() >= self.crowded
    }

    /// Admits a connection from `peer`.
    ///
    /// # Errors
    /// The bound that is reached.
    pub(super) fn admit(&self, peer: IpAddr) -> Result<Admitted, ShareLevel> {
        let is_limited = !self.trusted.contains(peer);
        let owners = is_limited.then(|| Owner::Address(limited_address(peer)));
        let mut part = self.shares.part(owners.into_iter().collect());
        // What a trusted proxy on this machine forwards is not of this machine.
        let is_local = is_limited && peer.to_canonical().is_loopback();
        part.raise_to(1, if is_local { LOCAL_RESERVE } else { 0 })?;
        metrics::connections_open(self.listener, self.shares.used());
        let shares = Arc::clone(&self.shares);
        Ok(Admitted { listener: self.listener, part: Some(part), shares })
    }
}

impl Drop for Admitted {
    fn drop(&mut self) {
        self.part = None;
        metrics::connections_open(self.listener, self.shares.used());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admission(all: usize, by_address: usize, trusted: &str) -> Admission {
        let ranges: Vec<_> = trusted.parse().into_iter().collect();
        Admission::new("main", all, by_address, TrustedProxies::new(&ranges))
    }

    #[test]
    fn connections_of_one_address_are_bounded_and_of_a_proxy_are_not() {
        let admission = admission(10, 2, "10.0.0.1/32");
        let peer = |text: &str| admission.admit(text.parse().unwrap());
        let (one, _two) = (peer("9.9.9.9").unwrap(), peer("9.9.9.9").unwrap());
        assert_eq!(peer("9.9.9.9").err(), Some(ShareLevel::Address));
        let _other = peer("9.9.9.8").unwrap();
        drop(one);
        let _three = peer("9.9.9.9").unwrap();
        let _proxied: Vec<_> = (0..5).map(|_| peer("10.0.0.1").unwrap()).collect();
    }

    #[test]
    fn this_machine_has_a_reserve() {
        let admission = admission(2, 100, "");
        let peer = |text: &str| admission.admit(text.parse().unwrap());
        assert!(!admission.is_crowded());
        let _held = [peer("9.9.9.9").unwrap(), peer("9.9.9.8").unwrap()];
        assert!(admission.is_crowded());
        assert_eq!(peer("9.9.9.7").err(), Some(ShareLevel::All));
        let local: Vec<_> = (0..LOCAL_RESERVE).map(|_| peer("127.0.0.1").unwrap()).collect();
        assert_eq!(peer("::1").err(), Some(ShareLevel::All));
        drop(local);
    }

    #[test]
    fn clients_of_a_proxy_on_this_machine_have_no_reserve() {
        let admission = admission(2, 100, "127.0.0.1/32");
        let peer = |text: &str| admission.admit(text.parse().unwrap());
        let _proxied = [peer("127.0.0.1").unwrap(), peer("127.0.0.1").unwrap()];
        assert_eq!(peer("127.0.0.1").err(), Some(ShareLevel::All));
        assert!(peer("127.0.0.2").is_ok(), "a probe of this machine");
    }
}

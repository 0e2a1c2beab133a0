//! Parked records whose body was erased: the router accounts for their deliveries and attempts nothing.

use crate::event::codec::HeaderLookup;
use crate::event::codec::names::{self, parked};

/// Headers that such a record keeps: those by which its delivery is accounted for.
const KEPT: [&str; 17] = [
    names::DELIVERY_ID,
    names::SEQUENCE,
    names::JOB,
    parked::DEAD_LETTERS,
    parked::INSTALLATION,
    parked::MODULE_KEY,
    parked::COALESCED_WITH,
    parked::SITE,
    parked::EVENT_ID,
    parked::EVENT_TYPE,
    parked::ENTITY,
    parked::ATTEMPT,
    parked::PARKS,
    parked::FIRST_SEEN,
    parked::PARK_REASON,
    parked::SELF_GENERATED,
    parked::UNMATCHED_APP,
];

/// Whether a parked record keeps a header when its body is erased.
#[must_use]
pub fn is_kept_when_erased(name: &str) -> bool {
    KEPT.iter().any(|kept| kept.eq_ignore_ascii_case(name))
}

/// Returns the size of the body that was erased from a parked record; none if it has its body.
#[must_use]
pub fn erased_bytes(headers: &impl HeaderLookup) -> Option<usize> {
    // A size that cannot be read changes a share, not what becomes of the record.
    headers.get(parked::ERASED).map(|bytes| bytes.parse().unwrap_or(0))
}

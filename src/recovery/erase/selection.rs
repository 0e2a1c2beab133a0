//! Which stored messages belong to an erasure. Pure.

use serde_json::Value;

use super::needle::Needle;
use super::request::EraseSubject;
use super::store::{ErasedStore, StoredMessage};
use crate::domain::token;
use crate::event::codec::decoded;
use crate::event::codec::names::{self, parked};

/// What an erasure looks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    site: Option<(String, Needle)>,
    account: Option<Needle>,
}

impl Wanted {
    pub(super) fn new(subject: &EraseSubject) -> Self {
        let site = subject.site().map(|site| (site.to_owned(), Needle::new(site)));
        Self { site, account: subject.account().map(Needle::new) }
    }

    /// The site, if only what belongs to one is removed.
    pub(super) fn site(&self) -> Option<&str> {
        self.site.as_ref().map(|(site, _)| site.as_str())
    }

    /// The account; none if everything of a site is removed.
    pub(super) fn account(&self) -> Option<&Needle> {
        self.account.as_ref()
    }

    /// Whether a message belongs to the erasure. Messages of stores whose subjects name sites were read
    /// by site.
    pub(super) fn selects(&self, store: ErasedStore, message: &StoredMessage) -> bool {
        // The router removes it without further help.
        if message.headers.iter().any(|(name, _)| name.eq_ignore_ascii_case(parked::ERASED)) {
            return false;
        }
        self.has_site(store, message)
            && self.account.as_ref().is_none_or(|account| is_named(account, message))
    }

    fn has_site(&self, store: ErasedStore, message: &StoredMessage) -> bool {
        let Some((site, needle)) = &self.site else { return true };
        let is_it = |found: &str| found == site || *found == *token(site);
        match store {
            ErasedStore::Events | ErasedStore::Log => true,
            ErasedStore::Parked => header(message, parked::SITE).is_some_and(|found| is_it(&found)),
            ErasedStore::DeadLetters => match header(message, names::EVENT_SITE) {
                Some(found) => is_it(&found),
                // A letter of an event, or of a record that cannot be read.
                None => {
                    message.subject.split('.').any(|part| *part == *token(site))
                        || is_named(needle, message)
                }
            },
            ErasedStore::Registry => is_named(needle, message),
        }
    }
}

/// Whether an id occurs in the body of a message or in one of its headers.
pub(super) fn is_named(needle: &Needle, message: &StoredMessage) -> bool {
    needle.is_in(&message.body)
        || message.headers.iter().any(|(_, value)| needle.is_in(value.as_bytes()))
}

/// Returns the sequence of the event that a message is about; none if that is not known.
pub(super) fn event_sequence(store: ErasedStore, message: &StoredMessage) -> Option<u64> {
    match store {
        ErasedStore::Parked | ErasedStore::DeadLetters => {
            header(message, names::SEQUENCE)?.parse().ok()
        }
        ErasedStore::Log => {
            let record: Value = serde_json::from_slice(&message.body).ok()?;
            record.get("event")?.get("sequence")?.as_u64()
        }
        ErasedStore::Events | ErasedStore::Registry => None,
    }
}

fn header(message: &StoredMessage, name: &'static str) -> Option<String> {
    decoded(message, name).ok().flatten().map(Into::into)
}

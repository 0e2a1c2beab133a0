//! Which stored messages belong to an erasure. Pure.
//!
//! The site of a message is the full id that the message itself has. Tokens of subjects do not decide: an
//! id may be the token of another one.

use std::borrow::Cow;

use serde_json::Value;

use super::needle::Needle;
use super::request::EraseSubject;
use super::store::{ErasedStore, StoredMessage};
use crate::domain::token;
use crate::event::codec::names::{self, dead_letter, parked};
use crate::event::codec::{decoded, is_structured};
use crate::recovery::redrive::{LetterId, REPUBLISHED_PREFIX};

/// Level of the site in the subject of an event, and in that of the letter of an event.
const SITE_LEVEL: usize = 3;
/// Level that says what a letter holds in the subject of a letter.
const LETTER_KIND_LEVEL: usize = 2;

/// What an erasure looks for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Wanted {
    site: Option<(String, Needle)>,
    account: Option<Needle>,
}

/// Whether a message belongs to an erasure.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Belongs {
    Yes,
    No,
    /// The message does not say of which site it is.
    Unknown,
    /// It does, but there are too many events that redrives published again.
    TooMany,
}

/// What a message says of its site.
enum Site {
    Id(String),
    /// Only the token that its subject has. The router takes it for the id.
    Token(String),
    Unknown,
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

    /// Whether a message belongs to the erasure.
    pub(super) fn selects(&self, store: ErasedStore, message: &StoredMessage) -> Belongs {
        // The router accounts for it and removes it. Only records of the parking stream have this header
        // from routers; publishers may send it with events.
        if store == ErasedStore::Parked && header(message, parked::ERASED).is_some() {
            return Belongs::No;
        }
        if self.account.as_ref().is_some_and(|account| !is_named(account, message)) {
            return Belongs::No;
        }
        self.at_site(store, message)
    }

    fn at_site(&self, store: ErasedStore, message: &StoredMessage) -> Belongs {
        let Some((site, needle)) = &self.site else { return Belongs::Yes };
        let found = match store {
            ErasedStore::Events => site_of_event(message, &message.subject),
            ErasedStore::Parked => id_in(message, parked::SITE),
            ErasedStore::DeadLetters => site_of_letter(message),
            ErasedStore::Log => site_of_record(message),
            // They are only counted, and are not of one event.
            ErasedStore::Registry | ErasedStore::Revisions => {
                return if is_named(needle, message) { Belongs::Yes } else { Belongs::No };
            }
        };
        match found {
            Site::Id(id) if id == *site => Belongs::Yes,
            Site::Token(found) if found == *site => Belongs::Yes,
            Site::Token(found) if found == token(site) => Belongs::Unknown,
            Site::Unknown => Belongs::Unknown,
            Site::Id(_) | Site::Token(_) => Belongs::No,
        }
    }
}

/// Whether an id occurs in the body of a message or in one of its headers.
fn is_named(needle: &Needle, message: &StoredMessage) -> bool {
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
        ErasedStore::Events => Some(message.position.sequence),
        ErasedStore::Registry | ErasedStore::Revisions => None,
    }
}

/// Returns the id of the redrive that published an event again, if its message id says so: its dead letter is of an
/// earlier event. Publishers may send such an id, too.
pub(super) fn republished_by(message: &StoredMessage) -> Option<String> {
    let id = header(message, names::MESSAGE_ID)?;
    let (job, letter) = id.strip_prefix(REPUBLISHED_PREFIX)?.split_once('/')?;
    LetterId::parse(letter).map(|_| job.to_owned())
}

/// Returns the site of an event with `subject`, as the router reads it: from the document, the header, or the
/// subject.
fn site_of_event(message: &StoredMessage, subject: &str) -> Site {
    let from_header = || header(message, names::EVENT_SITE).map(Cow::into_owned);
    if let Some(id) = site_of_document(message).or_else(from_header) {
        return Site::Id(id);
    }
    let token = subject.split('.').nth(SITE_LEVEL);
    token.map_or(Site::Unknown, |token| Site::Token(token.to_owned()))
}

/// Returns the site that a structured CloudEvents document names.
fn site_of_document(message: &StoredMessage) -> Option<String> {
    header(message, names::CONTENT_TYPE).filter(|media_type| is_structured(media_type))?;
    let document: Value = serde_json::from_slice(&message.body).ok()?;
    let text = |name: &str| document.get(name).and_then(Value::as_str);
    let from_source = || Some(text("source")?.rsplit_once("::site/")?.1);
    text("cloudid").or_else(from_source).map(str::to_owned)
}

fn site_of_letter(letter: &StoredMessage) -> Site {
    if letter.subject.split('.').nth(LETTER_KIND_LEVEL) != Some("event") {
        return id_in(letter, names::EVENT_SITE);
    }
    // The subject of the event has the token that the event was published with.
    let subject = header(letter, dead_letter::SUBJECT);
    site_of_event(letter, subject.as_deref().unwrap_or(&letter.subject))
}

fn site_of_record(record: &StoredMessage) -> Site {
    let record: Option<Value> = serde_json::from_slice(&record.body).ok();
    let site = record.as_ref().and_then(|record| record.get("event")?.get("site")?.as_str());
    site.map_or(Site::Unknown, |site| Site::Id(site.to_owned()))
}

fn id_in(message: &StoredMessage, name: &'static str) -> Site {
    header(message, name).map_or(Site::Unknown, |id| Site::Id(id.into_owned()))
}

fn header<'m>(message: &'m StoredMessage, name: &'static str) -> Option<Cow<'m, str>> {
    decoded(message, name).ok().flatten()
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use serde_json::json;

    use super::*;
    use crate::delivery::StreamPosition;

    const SITE: &str = "ari:cloud:jira::site/1";

    fn message(subject: &str, headers: &[(&str, &str)], body: &Value) -> StoredMessage {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into()));
        StoredMessage {
            position: StreamPosition { sequence: 1, stored_ms: 1 },
            subject: subject.into(),
            headers: headers.collect(),
            body: Bytes::from(body.to_string()),
        }
    }

    fn at(site: &str, store: ErasedStore, message: &StoredMessage) -> Belongs {
        let subject = EraseSubject::new(Some(site.to_owned()), None).unwrap();
        Wanted::new(&subject).selects(store, message)
    }

    #[test]
    fn letter_of_another_site_is_not_selected_by_tokens_of_its_subject_or_ids_in_its_text() {
        let letters = ErasedStore::DeadLetters;
        // The installation has the name of a site.
        let delivery = |site: &str| {
            message("sw.dlq.delivery.app.site-1", &[("ce-cloudid", site)], &json!({"of": "site-1"}))
        };
        assert_eq!(at("site-1", letters, &delivery("site-2")), Belongs::No);
        assert_eq!(at("site-1", letters, &delivery("site-1")), Belongs::Yes);
        // The id of one site is the token of the other one.
        let other = token(SITE);
        let subject = format!("sw.dlq.event.{other}");
        let of_other = message(&subject, &[("ce-cloudid", &other)], &json!({}));
        assert_eq!(at(SITE, letters, &of_other), Belongs::No);
        assert_eq!(at(&other, letters, &of_other), Belongs::Yes);
        let encoded = SITE.replace('/', "%2F");
        let of_site = message(&subject, &[("ce-cloudid", &encoded)], &json!({}));
        assert_eq!(at(SITE, letters, &of_site), Belongs::Yes);
        assert_eq!(at(&other, letters, &of_site), Belongs::No);
    }

    #[test]
    fn message_that_does_not_name_its_site_is_not_attributed_to_one() {
        let named = json!({"cloudId": "site-1"});
        for subject in ["sw.dlq.record", "sw.dlq.delivery.app.site-1"] {
            let letter = message(subject, &[], &named);
            assert_eq!(at("site-1", ErasedStore::DeadLetters, &letter), Belongs::Unknown);
        }
        let parked = message("sw.retry.dlv_a", &[], &named);
        assert_eq!(at("site-1", ErasedStore::Parked, &parked), Belongs::Unknown);
        let record = message("sw.att.ok.site-1.00", &[], &json!({"deliveries": []}));
        assert_eq!(at("site-1", ErasedStore::Log, &record), Belongs::Unknown);
        let token = token(SITE);
        let event = message(&format!("sw.ev.0.{token}.t"), &[], &json!({}));
        assert_eq!(at(SITE, ErasedStore::Events, &event), Belongs::Unknown);
        assert_eq!(at(&token, ErasedStore::Events, &event), Belongs::Yes, "as the router reads it");
        assert_eq!(at("other", ErasedStore::Events, &event), Belongs::No);
    }

    #[test]
    fn site_of_a_record_of_the_log_is_the_one_in_the_record() {
        let record = |site: &str| {
            let body = json!({"event": {"id": "e", "site": site}, "deliveries": []});
            message(&format!("sw.att.ok.{}.00", token(SITE)), &[], &body)
        };
        assert_eq!(at(SITE, ErasedStore::Log, &record(SITE)), Belongs::Yes);
        assert_eq!(at(SITE, ErasedStore::Log, &record(&token(SITE))), Belongs::No);
    }

    #[test]
    fn site_of_a_structured_document_is_the_one_that_it_names() {
        let structured = [("content-type", "application/cloudevents+json")];
        let source = json!({"source": "ari:cloud:jira::site/site-1"});
        let by_source = message("sw.ev.0.site-2.t", &structured, &source);
        assert_eq!(at("site-1", ErasedStore::Events, &by_source), Belongs::Yes);
        assert_eq!(at("site-2", ErasedStore::Events, &by_source), Belongs::No);
        let headers = [structured[0], ("switchyard-dlq-subject", "sw.ev.0.site-2.t")];
        let letter = message("sw.dlq.event.site-2", &headers, &json!({"cloudid": "site-1"}));
        assert_eq!(at("site-1", ErasedStore::DeadLetters, &letter), Belongs::Yes);
        assert_eq!(at("site-2", ErasedStore::DeadLetters, &letter), Belongs::No);
        let unreadable = message("sw.dlq.event.site-2", &headers, &json!(1));
        assert_eq!(at("site-2", ErasedStore::DeadLetters, &unreadable), Belongs::Yes);
    }

    #[test]
    fn header_of_erased_records_hides_nothing_outside_of_the_parking_stream() {
        let headers = [
            ("switchyard-erased", "1"),
            ("ce-cloudid", "site-1"),
            ("switchyard-cloud-id", "site-1"),
        ];
        let one = message("sw.ev.0.site-1.t", &headers, &json!({"event": {"site": "site-1"}}));
        for store in [ErasedStore::Events, ErasedStore::DeadLetters, ErasedStore::Log] {
            assert_eq!(at("site-1", store, &one), Belongs::Yes, "{store:?}");
        }
        assert_eq!(at("site-1", ErasedStore::Parked, &one), Belongs::No);
    }
}

//! Names of all subjects, streams and consumers.

use std::borrow::Cow;

use crate::delivery::{LogResult, ShareOwner};
use crate::domain::{AppId, CloudId, EventType, InstallationId, token};
use crate::event::Envelope;
use crate::event::codec::AddressAttributes;
use crate::recovery::redrive::{LetterKind, LetterScope};
use crate::registry::RevisionOwner;

/// Durable consumer of the event stream, shared by all replicas.
pub const ROUTER_CONSUMER: &str = "router";
/// Durable consumer of due parked records, shared by all replicas.
pub const DUE_CONSUMER: &str = "due";
/// Marks the owner of the revisions of static modules, an app: no token begins with it.
const APP_MARK: char = '~';
/// Maximum length of a token made from external text, in characters.
const TOKEN_CHARS_MAX: usize = 100;

/// The names under one prefix, so that several routers can share a broker.
#[derive(Clone, Debug)]
pub struct Subjects {
    prefix: String,
}

impl Subjects {
    /// Returns the names that start with `prefix`.
    #[must_use]
    pub fn new(prefix: &str) -> Self {
        Self { prefix: prefix.to_owned() }
    }

    /// Name of the event stream.
    #[must_use]
    pub fn events_stream(&self) -> String {
        self.stream("EVENTS")
    }

    /// Name of the stream of parked deliveries.
    #[must_use]
    pub fn parked_stream(&self) -> String {
        self.stream("PARKED")
    }

    /// Name of the dead-letter stream.
    #[must_use]
    pub fn dead_letter_stream(&self) -> String {
        self.stream("DLQ")
    }

    /// Name of the stream of the delivery log.
    #[must_use]
    pub fn log_stream(&self) -> String {
        self.stream("ATTEMPTS")
    }

    /// Subjects of all records of the delivery log.
    #[must_use]
    pub fn log_pattern(&self) -> String {
        format!("{}.att.*.*.*", self.prefix)
    }

    /// Subject of a record of the delivery log: whether its deliveries were delivered, the site, the bucket
    /// of the entity.
    #[must_use]
    pub fn log_record(&self, result: LogResult, site: &CloudId, bucket: u8) -> String {
        format!("{}.att.{}.{}.{bucket:02}", self.prefix, result.token(), site.token())
    }

    /// Returns the result that the subject of a record has.
    #[must_use]
    pub fn result_of_record(&self, subject: &str) -> LogResult {
        let rest = subject.strip_prefix(&*self.prefix).and_then(|rest| rest.strip_prefix(".att."));
        let is_ok = rest.and_then(|rest| rest.split('.').next()) == Some(LogResult::Ok.token());
        if is_ok { LogResult::Ok } else { LogResult::Failed }
    }

    /// Subjects of the records with a result, of a site, in a bucket; of all if it is none.
    #[must_use]
    pub fn log_filter(
        &self,
        result: Option<LogResult>,
        site: Option<&CloudId>,
        bucket: Option<u8>,
    ) -> String {
        if (result, site, bucket) == (None, None, None) {
            // The stream has no other subjects; the broker need not compare each one.
            return ">".to_owned();
        }
        let result = result.map_or("*", LogResult::token);
        let site = site.map_or("*".into(), CloudId::token);
        let bucket = bucket.map_or("*".to_owned(), |bucket| format!("{bucket:02}"));
        format!("{}.att.{result}.{site}.{bucket}", self.prefix)
    }

    /// Name of the stream of the index of the delivery log.
    #[must_use]
    pub fn log_index_stream(&self) -> String {
        self.stream("ATTEMPTS_INDEX")
    }

    /// Subjects of all messages of the index of the delivery log.
    #[must_use]
    pub fn log_index_pattern(&self) -> String {
        format!("{}.atx.*", self.prefix)
    }

    /// Subject of a part of the chunks of the index of the delivery log.
    #[must_use]
    pub fn log_index(&self, bucket: u8) -> String {
        format!("{}.atx.{bucket:03}", self.prefix)
    }

    /// Name of the stream of the revisions of modules.
    #[must_use]
    pub fn revisions_stream(&self) -> String {
        self.stream("REV")
    }

    /// Subjects of the revisions of all modules: whose module, its key.
    #[must_use]
    pub fn revisions_pattern(&self) -> String {
        format!("{}.rev.*.*", self.prefix)
    }

    /// Subject of the revisions of a module, by the token of its key.
    #[must_use]
    pub fn revisions_of_module(&self, owner: &RevisionOwner, module: &str) -> String {
        format!("{}.rev.{}.{module}", self.prefix, owner_token(owner))
    }

    /// Subjects of the revisions of all modules of an owner.
    #[must_use]
    pub fn revisions_of(&self, owner: &RevisionOwner) -> String {
        self.revisions_of_module(owner, "*")
    }

    /// Returns whose module a subject of revisions is about, and the token of its key.
    #[must_use]
    pub fn module_of_revisions<'s>(&self, subject: &'s str) -> Option<(RevisionOwner, &'s str)> {
        let rest = subject.strip_prefix(&*self.prefix)?.strip_prefix(".rev.")?;
        let (owner, module) = rest.split_once('.')?;
        let owner = match owner.strip_prefix(APP_MARK) {
            Some(app) => RevisionOwner::App(app.into()),
            None => RevisionOwner::Installation(owner.into()),
        };
        Some((owner, module))
    }

    /// Name of the stream of the audit log.
    #[must_use]
    pub fn audit_stream(&self) -> String {
        self.stream("AUDIT")
    }

    /// Subjects of all records of the audit log: which kind of record, the bucket of its entry.
    #[must_use]
    pub fn audit_pattern(&self) -> String {
        self.audit_record("*", "*")
    }

    /// Subject of a record of the audit log.
    #[must_use]
    pub fn audit_record(&self, kind: &str, bucket: &str) -> String {
        format!("{}.audit.{kind}.{bucket}", self.prefix)
    }

    /// Name of the key-value bucket of the sessions of the console.
    #[must_use]
    pub fn sessions_bucket(&self) -> String {
        self.stream("SESSIONS")
    }

    /// Name of the stream behind [`Subjects::sessions_bucket`].
    #[must_use]
    pub fn sessions_stream(&self) -> String {
        format!("KV_{}", self.sessions_bucket())
    }

    /// Name of the stream of the blocks of ids, see [`super::repeats`].
    #[must_use]
    pub fn repeats_stream(&self) -> String {
        self.stream("REPEATS")
    }

    /// Subject of the blocks of ids.
    #[must_use]
    pub fn repeats(&self) -> String {
        format!("{}.repeats", self.prefix)
    }

    /// Name of the key-value bucket with the state that replicas share apart from the registry.
    #[must_use]
    pub fn state_bucket(&self) -> String {
        self.stream("STATE")
    }

    /// Name of the stream behind [`Subjects::state_bucket`].
    #[must_use]
    pub fn state_stream(&self) -> String {
        format!("KV_{}", self.state_bucket())
    }

    /// Name of the stream behind the bucket of the registry, which `store` opens.
    #[must_use]
    pub fn registry_stream(&self) -> String {
        format!("KV_{}", self.stream("REG"))
    }

    /// Subjects that the event stream accepts: site, event type, entity.
    #[must_use]
    pub fn intake_pattern(&self) -> String {
        format!("{}.in.*.*.*", self.prefix)
    }

    /// Stored form of [`Subjects::intake_pattern`]: the entity selects the partition and is
    /// dropped, because each distinct subject costs server memory.
    #[must_use]
    pub fn stored_pattern(&self) -> String {
        format!(
            "{}.ev.{{{{partition(8,1,3)}}}}.{{{{wildcard(1)}}}}.{{{{wildcard(2)}}}}",
            self.prefix
        )
    }

    /// Subject to publish an event to. `event_type` is that of the subject, one token: mostly
    /// [`event_type_token`] of its own.
    #[must_use]
    pub fn intake(&self, envelope: &Envelope, event_type: &str) -> String {
        let site = envelope.cloud_id.token();
        let entity = sanitized_token(envelope.entity.as_deref().unwrap_or_default());
        format!("{}.in.{site}.{event_type}.{entity}", self.prefix)
    }

    /// Returns the site token of a stored event's subject, `sw.ev.<partition>.<site>.<type>`.
    #[must_use]
    pub fn site_of<'a>(&self, stored: &'a str) -> &'a str {
        let rest = stored.strip_prefix(&*self.prefix).unwrap_or_default();
        rest.split('.').nth(3).filter(|site| !site.is_empty()).unwrap_or("_")
    }

    /// Subjects of the parking stream: schedules and due records.
    #[must_use]
    pub fn parked_patterns(&self) -> Vec<String> {
        vec![self.retry_pattern(), self.due_pattern()]
    }

    /// Subject of a delivery's schedule.
    #[must_use]
    pub fn retry(&self, delivery_id: &str) -> String {
        format!("{}.retry.{}", self.prefix, token(delivery_id))
    }

    /// Schedules of all deliveries.
    #[must_use]
    pub fn retry_pattern(&self) -> String {
        format!("{}.retry.*", self.prefix)
    }

    /// Due records of all apps.
    #[must_use]
    pub fn due_pattern(&self) -> String {
        format!("{}.due.>", self.prefix)
    }

    /// Whether a subject is that of a due record.
    #[must_use]
    pub fn is_due(&self, subject: &str) -> bool {
        subject.strip_prefix(&*self.prefix).is_some_and(|rest| rest.starts_with(".due."))
    }

    /// Target subject of an app's schedules.
    #[must_use]
    pub fn due(&self, app: &AppId) -> String {
        format!("{}.due.{}", self.prefix, app.token())
    }

    /// All dead letters.
    #[must_use]
    pub fn dead_letter_pattern(&self) -> String {
        format!("{}.dlq.>", self.prefix)
    }

    /// Dead letters of events of a site, by its token.
    #[must_use]
    pub fn dead_letter_of_event(&self, site: &str) -> String {
        format!("{}.dlq.event.{}", self.prefix, token(site))
    }

    /// Dead letters of deliveries of an app to one of its installations.
    #[must_use]
    pub fn dead_letter_of_delivery(&self, app: &AppId, installation: &InstallationId) -> String {
        format!("{}.dlq.delivery.{}.{}", self.prefix, app.token(), installation.token())
    }

    /// Dead letters of unreadable parked records.
    #[must_use]
    pub fn dead_letter_of_record(&self) -> String {
        format!("{}.dlq.record", self.prefix)
    }

    /// Returns the owner of the dead letters of a subject; none of a subject of another form.
    #[must_use]
    pub fn owner_of_dead_letter(&self, subject: &str) -> Option<ShareOwner> {
        let rest = subject.strip_prefix(&*self.prefix)?.strip_prefix(".dlq.")?;
        let mut tokens = rest.split('.');
        match (tokens.next()?, tokens.next(), tokens.next()) {
            ("delivery", Some(app), Some(installation)) => Some(ShareOwner {
                app: app.into(),
                installation: installation.into(),
                endpoint: "".into(),
            }),
            ("event", Some(site), None) => Some(ShareOwner::events_of(site)),
            ("record", None, None) => Some(ShareOwner::records()),
            _ => None,
        }
    }

    /// Returns what a dead letter of a subject holds; none of a subject of another form.
    #[must_use]
    pub fn kind_of_dead_letter(&self, subject: &str) -> Option<LetterKind> {
        let rest = subject.strip_prefix(&*self.prefix)?.strip_prefix(".dlq.")?;
        let mut tokens = rest.split('.');
        match (tokens.next()?, tokens.next(), tokens.next()) {
            ("delivery", Some(app), Some(installation)) => {
                Some(LetterKind::Delivery { app: app.into(), installation: installation.into() })
            }
            ("event", Some(site), None) => Some(LetterKind::Event { site: site.into() }),
            ("record", None, None) => Some(LetterKind::Record),
            _ => None,
        }
    }

    /// Returns the subjects of the dead letters within a scope.
    #[must_use]
    pub fn dead_letters_within(&self, scope: &LetterScope) -> Vec<String> {
        let prefix = &self.prefix;
        match (&scope.installation, &scope.site) {
            (Some(installation), None) => vec![format!("{prefix}.dlq.delivery.*.{installation}")],
            (Some(installation), Some(site)) => vec![
                format!("{prefix}.dlq.event.{site}"),
                format!("{prefix}.dlq.delivery.*.{installation}"),
            ],
            // Letters of deliveries have their site in a header.
            (None, Some(site)) => {
                vec![format!("{prefix}.dlq.event.{site}"), format!("{prefix}.dlq.delivery.>")]
            }
            (None, None) => vec![self.dead_letter_pattern()],
        }
    }

    /// Returns the subject to publish an event to again, by the tokens of its site and of its type.
    #[must_use]
    pub fn intake_again(&self, site: &str, event_type: &str, entity: &str) -> String {
        let site = if site.is_empty() { "_" } else { site };
        let (event_type, entity) = (sanitized_token(event_type), sanitized_token(entity));
        format!("{}.in.{site}.{event_type}.{entity}", self.prefix)
    }

    /// Subject of a function of an installation.
    #[must_use]
    pub fn function(&self, installation: &InstallationId, function: &str) -> String {
        format!("{}.fn.{}.{}", self.prefix, installation.token(), sanitized_token(function))
    }

    /// Subject on which replicas broadcast HTTP 410 answers of endpoints.
    #[must_use]
    pub fn endpoint_gone(&self) -> String {
        format!("{}.gone", self.prefix)
    }

    /// Subject on which replicas announce listening clients.
    #[must_use]
    pub fn listeners(&self) -> String {
        format!("{}.listeners", self.prefix)
    }

    /// Subject of the deliveries to a listening client, whose id is that of an installation.
    #[must_use]
    pub fn listener(&self, id: &InstallationId) -> String {
        format!("{}.listen.{}", self.prefix, id.token())
    }

    /// Subject of the answers of a listening client.
    #[must_use]
    pub fn listener_answers(&self, id: &InstallationId) -> String {
        format!("{}.answer.{}", self.prefix, id.token())
    }

    /// Subjects of a site's stored events, to subscribe to.
    #[must_use]
    pub fn stored_events_of(&self, cloud_id: &CloudId) -> String {
        format!("{}.ev.*.{}.*", self.prefix, cloud_id.token())
    }

    /// Subjects of the stored events of all sites, to read.
    #[must_use]
    pub fn stored_events(&self) -> String {
        format!("{}.ev.>", self.prefix)
    }

    fn stream(&self, name: &str) -> String {
        format!("{}_{name}", self.prefix.to_ascii_uppercase())
    }
}

/// Returns site and event type of an intake subject (`<prefix>.in.<site>.<type>.<entity>`) or a
/// stored one (`<prefix>.ev.<partition>.<site>.<type>`), whatever the prefix.
#[must_use]
pub fn subject_attributes(subject: &str) -> AddressAttributes<'_> {
    let mut tokens = subject.split('.').skip(1);
    match tokens.next() {
        Some("ev") => {
            tokens.next();
        }
        Some("in") => {}
        _ => return AddressAttributes::default(),
    }
    AddressAttributes { cloud_id: tokens.next(), event_type: tokens.next() }
}

fn owner_token(owner: &RevisionOwner) -> Cow<'_, str> {
    match owner {
        RevisionOwner::Installation(token) => Cow::Borrowed(&**token),
        RevisionOwner::App(token) => format!("{APP_MARK}{token}").into(),
    }
}

/// Returns the app token of the subject of a due record (`<prefix>.due.<app>`), whatever the prefix.
#[must_use]
pub fn app_of_due(subject: &str) -> &str {
    subject.rsplit('.').next().unwrap_or_default()
}

/// Returns an event type as one token of a subject.
#[must_use]
pub fn event_type_token(event_type: &EventType) -> Cow<'_, str> {
    sanitized_token(event_type.as_str())
}

/// Converts text to one subject token: replaces characters that NATS does not allow by `_` and
/// truncates it.
fn sanitized_token(text: &str) -> Cow<'_, str> {
    if (1..=TOKEN_CHARS_MAX).contains(&text.len()) && text.bytes().all(is_token_byte) {
        return Cow::Borrowed(text);
    }
    let fit = |c: char| u8::try_from(c).ok().filter(|byte| is_token_byte(*byte)).map_or('_', |_| c);
    let token: String = text.chars().take(TOKEN_CHARS_MAX).map(fit).collect();
    if token.is_empty() { "_".into() } else { token.into() }
}

fn is_token_byte(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b".*>".contains(&byte)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_of_revisions_keep_apps_and_installations_apart() {
        let subjects = Subjects::new("sw");
        let owners = [RevisionOwner::Installation("one".into()), RevisionOwner::App("one".into())];
        let texts = owners.each_ref().map(|owner| subjects.revisions_of_module(owner, "key"));
        assert_eq!(texts, ["sw.rev.one.key", "sw.rev.~one.key"]);
        for (owner, text) in owners.into_iter().zip(&texts) {
            assert_eq!(subjects.module_of_revisions(text), Some((owner, "key")));
        }
        assert_eq!(subjects.module_of_revisions("sw.dlq.record"), None);
    }

    fn envelope(event_type: &str, entity: Option<&str>) -> Envelope {
        Envelope {
            cloud_id: "c-1".into(),
            event_id: "e".into(),
            event_type: event_type.into(),
            time: None,
            origin_app: None,
            entity: entity.map(Into::into),
            traceparent: None,
            trace: None,
            webhook: None,
        }
    }

    fn intake(subjects: &Subjects, envelope: &Envelope) -> String {
        subjects.intake(envelope, &event_type_token(&envelope.event_type))
    }

    #[test]
    fn event_type_is_one_token() {
        let subjects = Subjects::new("sw");
        let envelope = envelope("avi:jira:created:issue", Some("ABC-1"));
        assert_eq!(intake(&subjects, &envelope), "sw.in.c-1.avi:jira:created:issue.ABC-1");
        assert_eq!(subjects.intake(&envelope, "webhook:other"), "sw.in.c-1.webhook:other.ABC-1");
    }

    #[test]
    fn characters_that_nats_forbids_are_replaced() {
        let subjects = Subjects::new("sw");
        assert_eq!(intake(&subjects, &envelope("a.b *>", Some("é x"))), "sw.in.c-1.a_b___.__x");
        assert_eq!(intake(&subjects, &envelope("", None)), "sw.in.c-1._._");
        let long = "t".repeat(TOKEN_CHARS_MAX + 1);
        let token = &long[..TOKEN_CHARS_MAX];
        assert_eq!(intake(&subjects, &envelope(&long, None)), format!("sw.in.c-1.{token}._"));
    }

    #[test]
    fn stream_names_carry_the_prefix() {
        assert_eq!(Subjects::new("acme").events_stream(), "ACME_EVENTS");
        assert_eq!(Subjects::new("acme").retry("dlv_a"), "acme.retry.dlv_a");
    }

    #[test]
    fn site_and_type_are_parsed_from_intake_and_stored_subjects() {
        let attributes = |subject| {
            let AddressAttributes { cloud_id, event_type } = subject_attributes(subject);
            (cloud_id, event_type)
        };
        let both = (Some("c-1"), Some("avi:jira:created:issue"));
        assert_eq!(attributes("sw.in.c-1.avi:jira:created:issue.ABC-1"), both);
        assert_eq!(attributes("acme.ev.3.c-1.avi:jira:created:issue"), both);
        assert_eq!(attributes("sw.ev.3.c-1"), (Some("c-1"), None));
        for subject in ["", "sw", "sw.due.app", "in.c-1.t"] {
            assert_eq!(attributes(subject), (None, None), "{subject}");
        }
    }

    #[test]
    fn site_is_parsed_from_a_stored_subject() {
        let subjects = Subjects::new("sw");
        assert_eq!(subjects.site_of("sw.ev.3.c-1.avi:jira:created:issue"), "c-1");
        assert_eq!(subjects.site_of("elsewhere"), "_");
    }

    #[test]
    fn app_is_parsed_from_the_subject_of_a_due_record() {
        let (subjects, app) = (Subjects::new("sw"), "ari:app/1".into());
        assert_eq!(app_of_due(&subjects.due(&app)), app.token());
        assert!(subjects.is_due(&subjects.due(&app)));
        assert!(!subjects.is_due(&subjects.retry("dlv_due")) && !subjects.is_due("sw2.due.a"));
        assert_eq!(app_of_due(""), "");
    }

    #[test]
    fn event_of_a_dead_letter_has_the_subject_it_was_published_with() {
        let subjects = Subjects::new("sw");
        let stored = subject_attributes("sw.ev.3.c-1.avi:jira:created:issue");
        let (site, event_type) = (stored.cloud_id.unwrap(), stored.event_type.unwrap());
        let envelope = envelope("avi:jira:created:issue", Some("ABC-1"));
        assert_eq!(subjects.intake_again(site, event_type, "ABC-1"), intake(&subjects, &envelope));
        assert_eq!(subjects.intake_again("", "", ""), "sw.in._._._");
    }

    #[test]
    fn subjects_within_a_scope_are_those_of_its_letters() {
        let subjects = Subjects::new("sw");
        let scope = |installation: Option<&str>, site: Option<&str>| {
            let (installation, site) = (installation.map(Into::into), site.map(Into::into));
            subjects.dead_letters_within(&LetterScope { installation, site })
        };
        assert_eq!(scope(None, None), ["sw.dlq.>"]);
        assert_eq!(scope(Some("i"), Some("s")), ["sw.dlq.event.s", "sw.dlq.delivery.*.i"]);
        assert_eq!(scope(Some("i"), None), ["sw.dlq.delivery.*.i"]);
        assert_eq!(scope(None, Some("s")), ["sw.dlq.event.s", "sw.dlq.delivery.>"]);
        let subject = subjects.dead_letter_of_delivery(&"a".into(), &"i".into());
        let kind = LetterKind::Delivery { app: "a".into(), installation: "i".into() };
        assert_eq!(subjects.kind_of_dead_letter(&subject), Some(kind));
        assert_eq!(subjects.kind_of_dead_letter("sw.dlq"), None);
    }

    #[test]
    fn subject_of_a_dead_letter_names_its_owner() {
        let subjects = Subjects::new("sw");
        let (app, installation) = ("ari:app/1".into(), "inst-1".into());
        let subject = subjects.dead_letter_of_delivery(&app, &installation);
        let owner = ShareOwner::installation(&app, &installation);
        assert_eq!(subjects.owner_of_dead_letter(&subject), Some(owner));
        let subject = subjects.dead_letter_of_event("site-1");
        let owner = ShareOwner::events_of("site-1");
        assert_eq!(subjects.owner_of_dead_letter(&subject), Some(owner));
        let subject = subjects.dead_letter_of_record();
        assert_eq!(subjects.owner_of_dead_letter(&subject), Some(ShareOwner::records()));
        for other in ["sw.dlq", "sw.dlq.delivery.a", "sw.due.a", "other.dlq.record"] {
            assert_eq!(subjects.owner_of_dead_letter(other), None, "{other}");
        }
    }
}

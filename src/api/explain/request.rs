//! What a request asks: which events, and for which subscriptions.

use jiff::Timestamp;
use serde::Deserialize;
use utoipa::ToSchema;

use crate::api::error::ApiError;
use crate::api::state::Shared;
use crate::api::unknown_names::{self, no_installation, no_such, wrong_member};
use crate::clock;
use crate::domain::{AppId, CloudId, EventId, InstallationId, ModuleKey, SubscriptionId};
use crate::event::identity;
use crate::recovery::redrive::time_of;
use crate::registry::{InstallationRecord, Problem, code};

/// Events of one answer, unless the request says another number.
const LIMIT_DEFAULT: usize = 20;
/// Most events of one answer.
const LIMIT_MAX: usize = 50;
/// How far back events are searched by default, in milliseconds.
const SINCE_DEFAULT_MS: i64 = 24 * 3600 * 1000;

/// A question, as it is asked.
#[derive(Debug, Default, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({"subscription": "inst-a/key", "entity": "A-1", "since": "2h"}))]
pub(in crate::api) struct Question {
    /// For all subscriptions at a site; or of the events of a site for
    pub(in crate::api) site: Option<String>,
    /// all subscriptions of an installation; or
    pub(in crate::api) installation: Option<String>,
    /// one, `<installation>/<key>`.
    pub(in crate::api) subscription: Option<String>,
    /// Events about an entity; or
    pub(in crate::api) entity: Option<String>,
    /// one event, its id or `<site>/<id>`; or
    pub(in crate::api) event: Option<String>,
    /// the one with a sequence.
    pub(in crate::api) sequence: Option<u64>,
    /// Stored from then on: RFC 3339, or an age such as `15m`.
    pub(in crate::api) since: Option<String>,
    /// Most events, the newest ones.
    pub(in crate::api) limit: Option<usize>,
}

/// For which subscriptions decisions are explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Scope {
    Subscription(SubscriptionId),
    Installation(InstallationId),
    /// All at the site of each event.
    Site,
}

/// Which events are explained.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum EventsAsked {
    Sequence(u64),
    Id(EventId),
    /// Those about an entity, or all.
    Entity(Option<Box<str>>),
}

/// Who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Asker {
    /// May see everything.
    Operator,
    /// Sees events of the site of its installation that were stored since that exists, and nothing about
    /// other sites, other installations and other events.
    App { app: AppId, installation: InstallationId, site: CloudId, since_ms: i64 },
}

impl Asker {
    pub(super) fn is_operator(&self) -> bool {
        matches!(self, Self::Operator)
    }

    /// Whether an event exists for who asks.
    pub(super) fn sees(&self, of: &CloudId, stored_ms: i64) -> bool {
        match self {
            Self::Operator => true,
            Self::App { site, since_ms, .. } => of == site && stored_ms >= *since_ms,
        }
    }
}

/// What a request asks.
#[derive(Clone, Debug)]
pub(in crate::api) struct Asked {
    pub(super) asker: Asker,
    pub(super) scope: Scope,
    pub(super) events: EventsAsked,
    /// The site whose events are searched; none only for a sequence.
    pub(super) site: Option<CloudId>,
    /// Events that were stored from then on, milliseconds since the epoch.
    pub(super) since_ms: i64,
    pub(super) limit: usize,
}

impl Asked {
    /// Reads a question of an operator.
    pub(in crate::api) fn by_operator(state: &Shared, body: &Question) -> Result<Self, ApiError> {
        let scope = scope(body)?;
        let (mut site, mut events) = (body.site.as_deref().map(CloudId::from), events(body)?);
        if let (None, Some((of, id))) = (&site, body.event.as_deref().and_then(identity::split)) {
            (site, events) = (Some(CloudId::from(&*of)), EventsAsked::Id(id.into()));
        }
        let (named, missing) = match &scope {
            Scope::Subscription(id) => (
                Some(&id.installation),
                site.is_none().then_some("if it was deleted, name the site of the events as well"),
            ),
            Scope::Installation(id) => {
                (Some(id), Some("if it was deleted, name one of its subscriptions"))
            }
            Scope::Site => (None, None),
        };
        if let Some(id) = named {
            let known = state.registry.installation(id.as_str());
            if let (None, Some(deleted)) = (&known, missing) {
                let unknown = no_installation(state, id.as_str()).unwrap_or_else(|| {
                    no_such(format!("there is no installation `{id}`"), String::new())
                });
                let help = [unknown.help.clone(), Some(deleted.to_owned())];
                let help: Vec<String> = help.into_iter().flatten().collect();
                return Err(wrong_member("installation", unknown.with_help(help.join("; "))));
            }
            site = site.or_else(|| known.map(|known| known.record.cloud_id.clone()));
        }
        if site.is_none() && !matches!(events, EventsAsked::Sequence(_)) {
            let message = "name a subscription, an installation or a site";
            return Err(form("site", message));
        }
        let (limit, since_ms) = (limit(body)?, since_ms(body, &events)?);
        Ok(Self { asker: Asker::Operator, scope, events, site, since_ms, limit })
    }

    /// Reads a question of a caller of one installation, answered as one of its app. What it names of others does not
    /// exist.
    pub(in crate::api) fn by_installation(
        installation: &InstallationRecord,
        question: &Question,
    ) -> Result<Self, ApiError> {
        let (id, site) = (&installation.id, installation.cloud_id.as_str());
        let scope = match scope(question)? {
            Scope::Subscription(of) if of.installation == *id => Scope::Subscription(of),
            Scope::Installation(of) if of == *id => Scope::Installation(of),
            Scope::Site => Scope::Installation(id.clone()),
            Scope::Subscription(_) | Scope::Installation(_) => return Err(ApiError::NotFound),
        };
        if question.site.as_deref().is_some_and(|named| named != site) {
            return Err(ApiError::NotFound);
        }
        Self::of_app(installation, scope, question)
    }

    /// Reads a question of an app about one of its modules. The question names no subscriptions.
    pub(in crate::api) fn by_app(
        installation: &InstallationRecord,
        key: ModuleKey,
        question: &Question,
    ) -> Result<Self, ApiError> {
        let id = SubscriptionId { installation: installation.id.clone(), key };
        Self::of_app(installation, Scope::Subscription(id), question)
    }

    fn of_app(
        installation: &InstallationRecord,
        scope: Scope,
        question: &Question,
    ) -> Result<Self, ApiError> {
        let (site, created_ms) = (installation.cloud_id.clone(), installation.created_ms);
        let mut events = events(question)?;
        // An id with a site: its own, or one that has no events for this app.
        if let Some((of, id)) = question.event.as_deref().and_then(identity::split)
            && *of == *site.as_str()
        {
            events = EventsAsked::Id(id.into());
        }
        let (limit, since_ms) = (limit(question)?, since_ms(question, &events)?);
        let asker = Asker::App {
            app: installation.app.clone(),
            installation: installation.id.clone(),
            site: site.clone(),
            since_ms: created_ms,
        };
        let site = Some(site);
        Ok(Self { asker, scope, events, site, since_ms: since_ms.max(created_ms), limit })
    }
}

/// There is no subscription with this id, and none is remembered.
pub(super) fn no_subscription(state: &Shared, id: &SubscriptionId) -> ApiError {
    let message = format!("there is no subscription {id}, and none is remembered");
    let near = unknown_names::no_subscription(state, &id.to_string()).and_then(|one| one.help);
    let list = format!("`switchyard modules -i {} ls` lists those that there are", id.installation);
    let problem = Problem::new(code::FORM, "subscription", message);
    problem.with_help(near.unwrap_or(list)).into()
}

fn limit(question: &Question) -> Result<usize, ApiError> {
    let limit = question.limit.unwrap_or(LIMIT_DEFAULT);
    match (1..=LIMIT_MAX).contains(&limit) {
        true => Ok(limit),
        false => Err(form("limit", &format!("1 to {LIMIT_MAX}"))),
    }
}

fn scope(body: &Question) -> Result<Scope, ApiError> {
    match (&body.subscription, &body.installation) {
        (Some(_), Some(_)) => Err(form("", "either `subscription` or `installation`")),
        (Some(text), None) => SubscriptionId::parse(text)
            .map(Scope::Subscription)
            .ok_or_else(|| form("subscription", "a subscription is <installation>/<key>")),
        (None, Some(id)) => Ok(Scope::Installation(id.as_str().into())),
        (None, None) => Ok(Scope::Site),
    }
}

fn events(body: &Question) -> Result<EventsAsked, ApiError> {
    let has_since = body.since.is_some();
    match (body.sequence, &body.event, &body.entity) {
        (Some(0), None, None) => Err(form("sequence", "sequences begin at 1")),
        (Some(sequence), None, None) if !has_since => Ok(EventsAsked::Sequence(sequence)),
        (None, Some(id), None) => Ok(EventsAsked::Id(id.as_str().into())),
        (None, None, Some(entity)) => Ok(EventsAsked::Entity(Some(entity.as_str().into()))),
        (None, None, None) if has_since => Ok(EventsAsked::Entity(None)),
        _ => Err(form("", "one of `entity`, `event`, `sequence`, or only `since`")),
    }
}

/// Without a time, an id is searched in all that is stored.
fn since_ms(body: &Question, events: &EventsAsked) -> Result<i64, ApiError> {
    let now_ms = clock::broker_now_ms();
    match &body.since {
        Some(text) => {
            let now = Timestamp::from_millisecond(now_ms).ok();
            let since = now.and_then(|now| time_of(text, now));
            let message = "a time is RFC 3339, or an age such as 15m, 2h or 7d";
            since.map(Timestamp::as_millisecond).ok_or_else(|| form("since", message))
        }
        None if matches!(events, EventsAsked::Id(_)) => Ok(0),
        None => Ok(now_ms.saturating_sub(SINCE_DEFAULT_MS)),
    }
}

fn form(path: &str, message: &str) -> ApiError {
    Problem::new(code::FORM, path, message).into()
}

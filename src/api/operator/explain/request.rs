//! What a request asks: which events, and for which subscriptions.

use jiff::Timestamp;
use serde::Deserialize;

use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::state::Shared;
use crate::clock;
use crate::domain::{CloudId, EventId, InstallationId, SubscriptionId};
use crate::event::identity;
use crate::recovery::redrive::time_of;
use crate::registry::{Problem, code};

/// Events of one answer, unless the request says another number.
const LIMIT_DEFAULT: usize = 20;
/// Most events of one answer.
const LIMIT_MAX: usize = 50;
/// How far back events are searched by default, in milliseconds.
const SINCE_DEFAULT_MS: i64 = 24 * 3600 * 1000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
struct ExplainBody {
    /// For all subscriptions at a site; or of the events of a site for
    site: Option<String>,
    /// all subscriptions of an installation; or
    installation: Option<String>,
    /// one, `<installation>/<key>`.
    subscription: Option<String>,
    /// Events about an entity; or
    entity: Option<String>,
    /// one event, its id or `<site>/<id>`; or
    event: Option<String>,
    /// the one with a sequence.
    sequence: Option<u64>,
    /// Stored from then on: RFC 3339, or an age such as `15m`.
    since: Option<String>,
    limit: Option<usize>,
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

/// What a request asks.
#[derive(Clone, Debug)]
pub(super) struct Asked {
    pub(super) scope: Scope,
    pub(super) events: EventsAsked,
    /// The site whose events are searched; none only for a sequence.
    pub(super) site: Option<CloudId>,
    /// Events that were stored from then on, milliseconds since the epoch.
    pub(super) since_ms: i64,
    pub(super) limit: usize,
}

impl Asked {
    /// Reads the body of a request.
    pub(super) fn read(state: &Shared, body: JsonObject) -> Result<Self, ApiError> {
        let body: ExplainBody = body.read()?;
        let scope = scope(&body)?;
        let (mut site, mut events) = (body.site.as_deref().map(CloudId::from), events(&body)?);
        if let (None, Some((of, id))) = (&site, body.event.as_deref().and_then(identity::split)) {
            (site, events) = (Some(CloudId::from(&*of)), EventsAsked::Id(id.into()));
        }
        let installation = match &scope {
            Scope::Subscription(id) => Some(&id.installation),
            Scope::Installation(id) => Some(id),
            Scope::Site => None,
        };
        if let (None, Some(id)) = (&site, installation) {
            let known = state.registry.installation(id.as_str());
            let missing = "there is no such installation; name the site of the events as well";
            let known = known.ok_or_else(|| form("installation", missing))?;
            site = Some(known.record.cloud_id.clone());
        }
        if site.is_none() && !matches!(events, EventsAsked::Sequence(_)) {
            let message = "name a subscription, an installation or a site";
            return Err(form("site", message));
        }
        let limit = body.limit.unwrap_or(LIMIT_DEFAULT);
        if !(1..=LIMIT_MAX).contains(&limit) {
            return Err(form("limit", &format!("1 to {LIMIT_MAX}")));
        }
        let since_ms = since_ms(&body, &events)?;
        Ok(Self { scope, events, site, since_ms, limit })
    }
}

fn scope(body: &ExplainBody) -> Result<Scope, ApiError> {
    match (&body.subscription, &body.installation) {
        (Some(_), Some(_)) => Err(form("", "either `subscription` or `installation`")),
        (Some(text), None) => SubscriptionId::parse(text)
            .map(Scope::Subscription)
            .ok_or_else(|| form("subscription", "a subscription is <installation>/<key>")),
        (None, Some(id)) => Ok(Scope::Installation(id.as_str().into())),
        (None, None) => Ok(Scope::Site),
    }
}

fn events(body: &ExplainBody) -> Result<EventsAsked, ApiError> {
    let has_since = body.since.is_some();
    match (body.sequence, &body.event, &body.entity) {
        (Some(sequence), None, None) if !has_since => Ok(EventsAsked::Sequence(sequence)),
        (None, Some(id), None) => Ok(EventsAsked::Id(id.as_str().into())),
        (None, None, Some(entity)) => Ok(EventsAsked::Entity(Some(entity.as_str().into()))),
        (None, None, None) if has_since => Ok(EventsAsked::Entity(None)),
        _ => Err(form("", "one of `entity`, `event`, `sequence`, or only `since`")),
    }
}

/// Without a time, an id is searched in all that is stored.
fn since_ms(body: &ExplainBody, events: &EventsAsked) -> Result<i64, ApiError> {
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

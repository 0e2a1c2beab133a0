//! What a request asks: which filter is tried, on which events, and what it is compared with.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;
use switchyard_expr::{CheckProfile, Program, Usage, compile_for};
use utoipa::ToSchema;

use crate::api::dry_run::subscriber;
use crate::api::error::ApiError;
use crate::api::extract::JsonObject;
use crate::api::operator::filters::{diagnostics, no_app};
use crate::api::state::Shared;
use crate::api::unknown_names::{no_installation, no_module};
use crate::clock;
use crate::domain::{CloudId, EventType, OnError, SubscriptionId};
use crate::matcher::{EventConditions, EventSubscription};
use crate::recovery::backtest::{BacktestQuery, TestedFilter};
use crate::recovery::explain::OwnedSubscriber;
use crate::recovery::redrive::time_of;
use crate::recovery::replay::StartAt;
use crate::registry::{AppliedInstallation, Problem, code};

/// How far back events are read by default, in milliseconds.
const SINCE_DEFAULT_MS: i64 = 24 * 3600 * 1000;
/// Events that are read, unless the request says another number.
const EVENTS_DEFAULT: u64 = 1_000_000;
/// Most events that a request may read.
const EVENTS_MAX: u64 = 10_000_000;
/// How long a backtest takes at most, unless the request says another time, in seconds.
const SECONDS_DEFAULT: u64 = 60;
/// Longest time that a request may allow, in seconds.
const SECONDS_MAX: u64 = 600;
/// Event types of one request.
const TYPES_MAX: usize = 100;

/// Which filter is tried, on which events.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
#[schema(example = json!({"expression": "event.issue.key == 'A-1'", "installation": "inst-a", "since": "24h"}))]
pub(super) struct BacktestBody {
    /// The filter; without it, that of the subscription.
    expression: Option<String>,
    /// In place of the filter of this subscription, `<installation>/<key>`; or
    subscription: Option<String>,
    /// as a new trigger of an installation; or
    installation: Option<String>,
    /// of no app, at a site; without a site, at all.
    site: Option<String>,
    /// For these event types; without them, those of the subscription, or all.
    #[serde(default)]
    events: Vec<String>,
    on_error: Option<OnError>,
    ignore_self: Option<bool>,
    /// Events stored from then on: RFC 3339, or an age such as `24h`; or
    since: Option<String>,
    /// from a sequence on.
    from_sequence: Option<u64>,
    /// Events stored before then.
    until: Option<String>,
    /// 1,000,000 by default.
    #[schema(minimum = 1, maximum = 10_000_000)]
    max_events: Option<u64>,
    /// 60 by default.
    #[schema(minimum = 1, maximum = 600)]
    max_seconds: Option<u64>,
}

/// A request.
pub(super) enum Request {
    Backtest(Box<Asked>),
    /// The filter is invalid, with its diagnostics.
    Invalid(Vec<Value>),
}

/// What a request asks.
pub(super) struct Asked {
    pub(super) query: BacktestQuery,
    /// The subscription that it is compared with.
    pub(super) subscription: Option<SubscriptionId>,
    /// How long it may take.
    pub(super) max: Duration,
    /// Since when events are read, milliseconds since the epoch; none from a sequence on.
    pub(super) since_ms: Option<i64>,
    /// Warnings about the filter.
    pub(super) warnings: Vec<Value>,
}

impl Request {
    /// Reads the body of a request.
    pub(super) fn read(state: &Shared, body: JsonObject) -> Result<Self, ApiError> {
        let body: BacktestBody = body.read()?;
        if body.events.len() > TYPES_MAX {
            return Err(form("events", &format!("at most {TYPES_MAX}")));
        }
        let of = Subject::find(state, &body)?;
        let (program, warnings) = match compiled(&body, &of) {
            Ok(compiled) => compiled,
            Err(diagnostics) => return Ok(Self::Invalid(diagnostics)),
        };
        let times = Times::read(&body)?;
        let events_max = bounded(body.max_events, EVENTS_DEFAULT, EVENTS_MAX, "maxEvents")?;
        let seconds = bounded(body.max_seconds, SECONDS_DEFAULT, SECONDS_MAX, "maxSeconds")?;
        let tried = tried(&body, &of, program.as_ref());
        let query = BacktestQuery {
            site: of.site,
            from: times.from,
            until_ms: times.until_ms,
            events_max,
            tried,
            // A subscription as it is does not differ from itself.
            current: of.current.filter(|_| is_change(&body)),
            subscriber: Arc::new(of.subscriber),
        };
        Ok(Self::Backtest(Box::new(Asked {
            query,
            subscription: of.subscription,
            max: Duration::from_secs(seconds),
            since_ms: times.since_ms,
            warnings,
        })))
    }
}

/// Whether a request changes anything of the subscription.
fn is_change(body: &BacktestBody) -> bool {
    let has_conditions = body.on_error.is_some() || body.ignore_self.is_some();
    body.expression.is_some() || has_conditions || !body.events.is_empty()
}

/// Where the filter would be.
struct Subject {
    subscription: Option<SubscriptionId>,
    site: Option<CloudId>,
    subscriber: OwnedSubscriber,
    current: Option<Vec<EventSubscription>>,
}

impl Subject {
    fn find(state: &Shared, body: &BacktestBody) -> Result<Self, ApiError> {
        let site = body.site.as_deref().map(CloudId::from);
        match (&body.subscription, &body.installation) {
            (Some(_), Some(_)) => Err(form("", "either `subscription` or `installation`")),
            (Some(text), None) => {
                let id = SubscriptionId::parse(text);
                let wrong = || form("subscription", "a subscription is <installation>/<key>");
                let id = id.ok_or_else(wrong)?;
                let installation = installation(state, id.installation.as_str(), site.as_ref())?;
                let unknown = || no_module(&installation, id.key.as_str());
                let unknown = || unknown().map_or(ApiError::NotFound, ApiError::no_such_name);
                let module = installation.module(id.key.as_str()).ok_or_else(unknown)?;
                let live = module.subscription.as_ref().ok_or_else(|| {
                    let reason = module.reason.as_deref().unwrap_or("it receives no events");
                    let message = format!(
                        "it has no filter in force: {reason}; name its installation instead"
                    );
                    form("subscription", &message)
                })?;
                Ok(Self {
                    site: Some(installation.record.cloud_id.clone()),
                    subscriber: subscriber(state, &installation.record),
                    current: Some(live.event_subscriptions.to_vec()),
                    subscription: Some(id),
                })
            }
            (None, _) if body.expression.is_none() => {
                let message = "a backtest has an expression or a subscription";
                Err(Problem::new(code::MISSING, "expression", message).into())
            }
            (None, Some(id)) => {
                let installation = installation(state, id, site.as_ref())?;
                Ok(Self {
                    subscription: None,
                    site: Some(installation.record.cloud_id.clone()),
                    subscriber: subscriber(state, &installation.record),
                    current: None,
                })
            }
            (None, None) => {
                Ok(Self { subscription: None, site, subscriber: no_app(), current: None })
            }
        }
    }

    /// The conditions of a new trigger, or else those of the subscription for an event type.
    fn conditions(&self, body: &BacktestBody, event_type: &str) -> EventConditions {
        let known = self.current.iter().flatten();
        let own = known.clone().find(|one| one.conditions.event_type.as_str() == event_type);
        let own = own.or_else(|| known.clone().next());
        let own = own.map(|one| EventConditions::clone(&one.conditions));
        let event_type = EventType::from(event_type);
        let any = || EventConditions::unconditional(event_type.clone());
        let conditions = own.unwrap_or_else(any);
        EventConditions {
            on_error: body.on_error.unwrap_or(conditions.on_error),
            ignore_self: body.ignore_self.unwrap_or(conditions.ignore_self),
            event_type,
            ..conditions
        }
    }
}

/// Returns an installation, which is at `site` if there is one.
fn installation(
    state: &Shared,
    id: &str,
    site: Option<&CloudId>,
) -> Result<Arc<AppliedInstallation>, ApiError> {
    if let Some(unknown) = no_installation(state, id) {
        return Err(ApiError::no_such_name(unknown));
    }
    let found = state.registry.installation(id).ok_or(ApiError::NotFound)?;
    let own = &found.record.cloud_id;
    if site.is_some_and(|site| site != own) {
        return Err(form("site", &format!("the installation is at site {own}")));
    }
    Ok(found)
}

/// A filter, if the request has one, with the warnings about it.
type CompiledFilter = (Option<Arc<Program>>, Vec<Value>);

/// Compiles the filter, as `filters:check` does; returns its diagnostics if it is invalid.
fn compiled(body: &BacktestBody, of: &Subject) -> Result<CompiledFilter, Vec<Value>> {
    let Some(source) = &body.expression else { return Ok((None, Vec::new())) };
    let current = of.current.iter().flatten();
    let own = current.clone().map(|one| one.conditions.event_type.as_str());
    let asked = body.events.iter().map(String::as_str);
    let types: Vec<&str> = if body.events.is_empty() { own.collect() } else { asked.collect() };
    let mut on_error = current.map(|one| one.conditions.on_error);
    let on_error = body.on_error.or_else(|| on_error.next());
    let delivers_on_error = on_error.is_some_and(OnError::delivers);
    let usage = Usage { events: &types, delivers_on_error };
    match compile_for(source, CheckProfile::Filter, &usage) {
        Ok(found) => Ok((Some(Arc::new(found.program)), diagnostics(&found.warnings, source))),
        Err(rejected) => Err(diagnostics(&rejected.diagnostics, source)),
    }
}

/// Returns the filter that is tried, with its event types and conditions.
fn tried(body: &BacktestBody, of: &Subject, program: Option<&Arc<Program>>) -> TestedFilter {
    let current = of.current.iter().flatten();
    let one = |event_type: &str| {
        let mut same =
            current.clone().filter(|one| one.conditions.event_type.as_str() == event_type);
        let own = || same.next().or_else(|| current.clone().next())?.program.clone();
        EventSubscription {
            conditions: Arc::new(of.conditions(body, event_type)),
            program: program.cloned().or_else(own),
        }
    };
    if body.events.is_empty() && of.current.is_none() {
        return TestedFilter::OfAll(one(""));
    }
    let own = || current.clone().map(|one| one.conditions.event_type.as_str());
    let asked = || body.events.iter().map(String::as_str);
    let is_own = body.events.is_empty();
    TestedFilter::OfTypes(if is_own {
        own().map(one).collect()
    } else {
        asked().map(one).collect()
    })
}

/// From when to when events are read.
struct Times {
    from: StartAt,
    since_ms: Option<i64>,
    until_ms: Option<i64>,
}

impl Times {
    fn read(body: &BacktestBody) -> Result<Self, ApiError> {
        let now_ms = clock::broker_now_ms();
        let until_ms = body.until.as_deref().map(|text| time(text, "until", now_ms)).transpose()?;
        let (from, since_ms) = match (body.from_sequence, &body.since) {
            (Some(_), Some(_)) => return Err(form("", "either `since` or `fromSequence`")),
            (Some(sequence), None) => (StartAt::Sequence(sequence), None),
            (None, since) => {
                let since = since.as_deref().map(|text| time(text, "since", now_ms)).transpose()?;
                let ms = since.unwrap_or_else(|| now_ms.saturating_sub(SINCE_DEFAULT_MS));
                (StartAt::Time(ms), Some(ms))
            }
        };
        if until_ms.zip(since_ms).is_some_and(|(until_ms, since_ms)| until_ms <= since_ms) {
            let since =
                if body.since.is_some() { "`since`" } else { "`since`, by default 24h ago" };
            return Err(form("until", &format!("it is not after {since}")));
        }
        Ok(Self { from, since_ms, until_ms })
    }
}

fn time(text: &str, name: &str, now_ms: i64) -> Result<i64, ApiError> {
    let now = Timestamp::from_millisecond(now_ms).ok();
    let time = now.and_then(|now| time_of(text, now)).map(Timestamp::as_millisecond);
    let message = "a time is RFC 3339, or an age such as 15m, 24h or 7d";
    time.ok_or_else(|| form(name, message))
}

fn bounded(asked: Option<u64>, default: u64, max: u64, name: &str) -> Result<u64, ApiError> {
    let number = asked.unwrap_or(default);
    let is_allowed = (1..=max).contains(&number);
    is_allowed.then_some(number).ok_or_else(|| form(name, &format!("1 to {max}")))
}

fn form(path: &str, message: &str) -> ApiError {
    Problem::new(code::FORM, path, message).into()
}

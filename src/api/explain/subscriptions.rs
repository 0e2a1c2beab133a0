//! The subscriptions that are asked about, and what they were at the time of an event.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::{Value, json};

use super::request::{Asked, Scope};
use crate::api::dry_run::subscriber;
use crate::api::error::ApiError;
use crate::api::json::{insert_some, rfc3339};
use crate::api::state::Shared;
use crate::domain::{CloudId, SubscriptionId};
use crate::event::Event;
use crate::matcher::EventSubscription;
use crate::recovery::explain::DecisionQuery;
use crate::recovery::replay::EventBounds;
use crate::registry::{
    AppliedInstallation, AppliedModule, DYNAMIC_WEBHOOK, ModuleRevision, RevisedState,
    RevisionError, RevisionHistory, RevisionMoment, TRIGGER, WEBHOOKS,
};

/// A subscription that is asked about.
#[derive(Clone)]
pub(super) struct AskedSubscription {
    pub(super) id: SubscriptionId,
    /// Its installation; none if that is not registered any more.
    pub(super) installation: Option<Arc<AppliedInstallation>>,
}

impl AskedSubscription {
    /// Returns the module as it is now; none if it is not registered any more.
    pub(super) fn module(&self) -> Option<&AppliedModule> {
        self.installation.as_ref()?.module(self.id.key.as_str())
    }

    /// Returns what is evaluated for these event subscriptions of it.
    fn query(&self, state: &Shared, events: Vec<EventSubscription>) -> Option<DecisionQuery> {
        let subscriber = subscriber(state, &self.installation.as_ref()?.record);
        Some(DecisionQuery { events, subscriber: Arc::new(subscriber) })
    }

    /// Returns what is evaluated for it as it is now; none if it receives no events.
    fn current(&self, state: &Shared) -> Option<DecisionQuery> {
        let subscription = self.module()?.subscription.as_ref()?;
        self.query(state, subscription.event_subscriptions.to_vec())
    }

    /// Returns what is evaluated for its shadow, if the event is one of those that are compared.
    pub(super) fn shadow(
        &self,
        state: &Shared,
        event: &Event,
        bounds: &EventBounds,
    ) -> Option<DecisionQuery> {
        let comparison = state.recovery.shadows.comparison(&self.id).ok()??;
        let is_of_site = event.envelope.cloud_id == comparison.site;
        let is_after = comparison.is_after(event.sequence, bounds.created_ms);
        let events = comparison.shadow.event_subscriptions.to_vec();
        self.query(state, events).filter(|_| is_of_site && is_after)
    }

    /// Whether it receives events, and neither it, its installation nor its app changed since a time,
    /// milliseconds since the epoch.
    fn is_unchanged_since(&self, state: &Shared, ms: i64) -> bool {
        let Some(installation) = &self.installation else { return false };
        let record = &installation.record;
        let app = state.registry.app(record.app.as_str());
        let module = installation.registered().find(|(record, _)| record.key == self.id.key);
        let module = module.map(|(record, _)| record.updated_ms);
        let mut changed = [Some(record.updated_ms), app.map(|app| app.record.updated_ms), module]
            .into_iter()
            .flatten();
        // An expiry writes nothing.
        self.module().is_some_and(|module| module.subscription.is_some())
            && changed.all(|changed_ms| changed_ms < ms)
    }
}

/// The subscriptions that are asked about.
pub(super) struct AskedAbout {
    /// The first ones, in the order of their ids.
    pub(super) first: Vec<AskedSubscription>,
    /// How many there are.
    pub(super) count: usize,
}

/// Returns the subscriptions that are asked about for events of a site, at most `max` of them.
pub(super) fn of_events_at(
    state: &Shared,
    asked: &Asked,
    site: &CloudId,
    max: usize,
) -> AskedAbout {
    let installations = match &asked.scope {
        Scope::Subscription(id) => {
            let installation = state.registry.installation(id.installation.as_str());
            let first = vec![AskedSubscription { id: id.clone(), installation }];
            return AskedAbout { first, count: 1 };
        }
        Scope::Installation(id) => vec![id.clone()],
        Scope::Site => state.registry.installations_at(site),
    };
    let mut all = AskedAbout { first: Vec::new(), count: 0 };
    for id in installations {
        let Some(known) = state.registry.installation(id.as_str()) else { continue };
        let modules = known.modules.iter().filter(|module| is_of_events(&module.module_type));
        // A static module shadows a registered one with its key.
        let ids: BTreeSet<&SubscriptionId> = modules.map(|module| &module.id).collect();
        all.count += ids.len();
        let room = max.saturating_sub(all.first.len());
        all.first.extend(ids.into_iter().take(room).map(|id| AskedSubscription {
            id: id.clone(),
            installation: Some(Arc::clone(&known)),
        }));
    }
    all
}

/// Whether a module is registered, or was one.
///
/// # Errors
/// The broker does not answer, or no revisions are kept.
pub(super) async fn was_registered(
    state: &Shared,
    id: &SubscriptionId,
) -> Result<bool, RevisionError> {
    let installation = state.registry.installation(id.installation.as_str());
    if installation.is_some_and(|known| known.module(id.key.as_str()).is_some()) {
        return Ok(true);
    }
    Ok(!state.registry.revisions().history(id).await?.is_empty())
}

fn is_of_events(module_type: &str) -> bool {
    [TRIGGER, WEBHOOKS, DYNAMIC_WEBHOOK].contains(&module_type)
}

/// What a subscription was when an event was routed, and what is evaluated.
#[derive(Default)]
pub(super) struct Then {
    /// Stage and reason, if it received no events then.
    pub(super) decided: Option<(&'static str, String)>,
    /// What it was.
    pub(super) query: Option<DecisionQuery>,
    /// What it is now, if that is another revision.
    pub(super) now: Option<DecisionQuery>,
    /// What its shadow is, if the event is compared.
    pub(super) shadow: Option<DecisionQuery>,
    /// The revisions, or why they are not known.
    pub(super) revision: Option<Value>,
    /// When it was changed last, milliseconds since the epoch, if that is after the event.
    pub(super) changed_ms: Option<i64>,
    /// Whether its events were parked.
    pub(super) is_paused: bool,
}

/// The histories that an answer has read.
pub(super) type Histories = HashMap<SubscriptionId, Result<Arc<RevisionHistory>, RevisionError>>;

/// Returns what a subscription was at a time.
pub(super) async fn then(
    state: &Shared,
    asked: &AskedSubscription,
    moment: RevisionMoment,
    stored_ms: i64,
    histories: &mut Histories,
) -> Result<Then, ApiError> {
    if asked.is_unchanged_since(state, stored_ms) {
        return Ok(as_now(state, asked, None));
    }
    if !histories.contains_key(&asked.id) {
        let read = state.registry.revisions().history(&asked.id).await;
        histories.insert(asked.id.clone(), read.map(Arc::new));
    }
    let history = match histories.get(&asked.id) {
        Some(Ok(history)) => Arc::clone(history),
        Some(Err(error)) => return Ok(as_now(state, asked, Some(&error.to_string()))),
        None => return Ok(as_now(state, asked, None)),
    };
    if history.is_empty() && asked.module().is_none() {
        return Err(ApiError::NotFound);
    }
    let registered = registered_after(&history, stored_ms);
    Ok(match history.as_of(moment) {
        // Of an earlier module with this key nothing is kept, if there was one.
        Err(_) if registered.is_some() => Then {
            decided: registered.map(|reason| ("registration", reason)),
            now: asked.current(state),
            ..Then::default()
        },
        Err(error) => as_now(state, asked, Some(&error.to_string())),
        Ok(None) => Then {
            decided: Some((
                "registration",
                registered.unwrap_or_else(|| "it was not registered then".to_owned()),
            )),
            now: asked.current(state),
            ..Then::default()
        },
        Ok(Some(found))
            if history.revisions.first().map(ModuleRevision::id) == Some(found.id()) =>
        {
            as_now(state, asked, None)
        }
        Ok(Some(found)) => as_then(state, asked, found, &history),
    })
}

/// Says that the first revision which is known is a registration after an event; none if it is not.
fn registered_after(history: &RevisionHistory, stored_ms: i64) -> Option<String> {
    let first = history.revisions.last().filter(|first| first.at_ms > stored_ms);
    let at = first.filter(|_| history.is_complete()).and_then(|first| rfc3339(first.at_ms));
    at.map(|at| format!("it was registered at {at}, after the event"))
}

/// The subscription as it is now; `unknown` says why its revision is not known.
fn as_now(state: &Shared, asked: &AskedSubscription, unknown: Option<&str>) -> Then {
    let query = asked.current(state);
    let decided = match (asked.module(), &query) {
        (None, _) => Some(("registration", "it is not registered any more".to_owned())),
        (Some(module), None) => {
            let reason = module.reason.clone();
            Some(("state", reason.unwrap_or_else(|| "it receives no events".to_owned())))
        }
        (Some(_), Some(_)) => None,
    };
    let live = asked.module().and_then(|module| module.subscription.as_ref());
    Then {
        decided,
        query,
        now: None,
        shadow: None,
        revision: unknown.map(|reason| json!({ "unknown": reason })),
        changed_ms: None,
        is_paused: live.is_some_and(|one| one.owner.settings.is_paused),
    }
}

/// The subscription as an earlier revision.
fn as_then(
    state: &Shared,
    asked: &AskedSubscription,
    found: &ModuleRevision,
    history: &RevisionHistory,
) -> Then {
    let current = history.revisions.first();
    let mut revision = json!({ "then": revision_view(found), "now": current.map(revision_view) });
    let is_paused = found.state == RevisedState::Paused;
    let decided = found.state.reason().filter(|_| !is_paused);
    let decided = decided.map(|reason| ("state", reason.to_owned()));
    let now = asked.current(state);
    let (query, now) = match (compiled(state, asked, found), now) {
        (Ok(query), now) => (query, now),
        // The current filter decides, and the answer says why.
        (Err(reason), now) => {
            insert_some(&mut revision, "unknown", decided.is_none().then_some(reason));
            (now, None)
        }
    };
    let decided = decided.or_else(|| match &query {
        Some(_) => None,
        None => Some(("registration", "its filter of then cannot be evaluated".to_owned())),
    });
    let changed_ms = current.map(|current| current.at_ms);
    Then { decided, query, now, shadow: None, revision: Some(revision), changed_ms, is_paused }
}

/// Returns what is evaluated for a revision.
fn compiled(
    state: &Shared,
    asked: &AskedSubscription,
    revision: &ModuleRevision,
) -> Result<Option<DecisionQuery>, String> {
    let compiled = state.registry.revisions().compile(&asked.id.installation, revision);
    let compiled = compiled.map_err(|error| error.to_string())?;
    Ok(asked.query(state, compiled.event_subscriptions.to_vec()))
}

fn revision_view(revision: &ModuleRevision) -> Value {
    let mut view = json!({
        "id": revision.id().to_string(),
        "state": revision.state,
        "events": revision.events(),
    });
    insert_some(&mut view, "since", rfc3339(revision.at_ms));
    view
}

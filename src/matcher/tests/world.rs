//! Compares a matcher with the simplest possible model of it.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

use bytes::Bytes;
use proptest::prelude::*;
use switchyard_expr::reference::Tree;
use switchyard_expr::{CheckProfile, Env, Program, Value, compile};

use super::generate::Act;
use crate::clock;
use crate::domain::{Handler, OnError, SubscriptionId};
use crate::event::{AppValues, Attributes, DecodeError, Decoder, Event, HeaderLookup, Permissions};
use crate::matcher::index::Defect;
use crate::matcher::indexer::BuildSegment;
use crate::matcher::{
    DeliverySettings, EventConditions, EventSubscription, LeftOut, Match, MatchAgain, MatchLimits,
    Matcher, Matches, Owner, Scratch, Subscriber, Subscription,
};
use crate::telemetry::SubscriptionStats;

/// Subscriptions whose decision is explained for each event.
const EXPLAINED_MAX: usize = 20;
const SITE: &str = "site";
const FIRST_TYPE: &str = "avi:jira:updated:issue";
const SECOND_TYPE: &str = "avi:jira:created:issue";

/// A module as a test registers it.
#[derive(Clone, Debug)]
pub(super) struct Registered {
    pub(super) text: Option<String>,
    pub(super) ignore_self: bool,
    pub(super) requires_licence: bool,
    /// It also subscribes to a second event type,
    pub(super) second_type: bool,
    /// without a filter there.
    pub(super) filter_of_second_type: bool,
    pub(super) on_error: OnError,
}

impl Registered {
    pub(super) fn plain(text: String) -> Self {
        Self {
            text: Some(text),
            ignore_self: false,
            requires_licence: false,
            second_type: false,
            filter_of_second_type: false,
            on_error: OnError::default(),
        }
    }
}

struct NoHeaders;

impl HeaderLookup for NoHeaders {
    fn get(&self, name: &str) -> Option<&str> {
        match name {
            "ce-cloudid" => Some(SITE),
            "ce-type" => Some(FIRST_TYPE),
            "ce-id" => Some("event"),
            _ => None,
        }
    }
}

/// The outcome of one filter: matched, matched with an error, or failed.
type Outcome = (SubscriptionId, &'static str, String);

/// A subscription, and for each of its event types the text of the filter.
type Live = (Arc<Subscription>, Vec<Option<String>>);

pub(super) struct World {
    matcher: Matcher,
    decoder: Decoder,
    scratch: Scratch,
    /// Whether segments have a defect.
    may_be_corrupt: bool,
    /// Number of lookups that met a defect.
    index_errors: usize,
    steps_max: u32,
    /// Steps of an event after which its matching is resumed.
    steps_at_once: u64,
    /// Installations for which events are matched later.
    left_out: LeftOut,
    programs: HashMap<String, Option<Arc<Program>>>,
    trees: HashMap<String, Arc<Tree>>,
    live: HashMap<usize, Vec<Live>>,
    /// How often each subscription neither matched nor failed.
    undecided: HashMap<SubscriptionId, u64>,
    stats: HashMap<SubscriptionId, SubscriptionStats>,
    texts: HashMap<SubscriptionId, Vec<Option<String>>>,
}

impl World {
    pub(super) fn new(steps_max: u32) -> Self {
        Self {
            matcher: Matcher::new(steps_max),
            decoder: Decoder::new(1 << 20, false),
            scratch: Scratch::default(),
            may_be_corrupt: false,
            index_errors: 0,
            steps_max,
            steps_at_once: u64::MAX,
            left_out: LeftOut::default(),
            programs: HashMap::new(),
            trees: HashMap::new(),
            live: HashMap::new(),
            undecided: HashMap::new(),
            stats: HashMap::new(),
            texts: HashMap::new(),
        }
    }

    pub(super) fn decoder(&self) -> &Decoder {
        &self.decoder
    }

    /// Gives all segments a defect.
    pub(super) fn corrupt(&mut self, defect: Defect) {
        self.matcher.corrupt(defect);
        self.may_be_corrupt = true;
    }

    /// Builds segments with `build` from now on.
    pub(super) fn build_with(&mut self, build: BuildSegment) {
        self.matcher.build_with(build);
    }

    /// Returns how many lookups met a defect.
    pub(super) fn index_errors(&self) -> usize {
        self.index_errors
    }

    /// Returns the number of segments.
    pub(super) fn segments(&self) -> usize {
        self.matcher.segments()
    }

    pub(super) fn decode(&mut self, text: &str) -> Result<Event, DecodeError> {
        let attributes = Attributes::from_headers(&NoHeaders)?;
        self.decoder.decode(attributes, Bytes::copy_from_slice(text.as_bytes()), 0)
    }

    /// Matches events in parts from now on, and for these installations later.
    pub(super) fn limit(&mut self, steps_at_once: u64, left_out: &[usize]) {
        self.steps_at_once = steps_at_once;
        self.left_out = left_out.iter().map(|at| format!("i{at}").as_str().into()).collect();
    }

    /// Returns the matches and the rest of the outcome.
    pub(super) fn matches(&mut self, event: &Event) -> (Vec<Match>, Matches) {
        let (routing_key, decoder) = (event.envelope.routing_key(), &self.decoder);
        let left_out = Some(&self.left_out).filter(|all| !all.is_empty());
        let limits = MatchLimits { steps: self.steps_at_once, left_out };
        let scratch = &mut self.scratch;
        let outcome = self.matcher.matches_within(limits, routing_key, decoder, scratch);
        let _ = outcome.take_charges(left_out);
        if outcome.unfinished > 0 {
            self.matcher.resume(routing_key, decoder, scratch);
        }
        let outcome = &mut scratch.outcome;
        let mut matches = outcome.take_matches(routing_key, decoder);
        let found = matches.iter().map(|found| &found.subscription);
        let all = found.chain(outcome.failures.iter().map(|failure| &failure.subscription));
        let owners: Vec<_> = all.map(|subscription| subscription.owner.id.clone()).collect();
        for owner in std::mem::take(&mut outcome.postponed) {
            assert!(self.left_out.contains(&owner.id) && !owners.contains(&owner.id));
            let live = self.live.values().flatten().map(|(subscription, _)| subscription);
            let own: Vec<_> = live.filter(|one| one.owner.id == owner.id).cloned().collect();
            let late = self.matcher.match_one_by_one(&own, routing_key, decoder);
            matches.extend(late.matches);
            outcome.failures.extend(late.failures);
        }
        let live: Vec<_> = self.live.values().flatten().map(|(one, _)| Arc::clone(one)).collect();
        let again = MatchAgain { now_ms: clock::broker_now_ms(), condition: None };
        let again = self.matcher.match_again(&live, (routing_key, decoder), again);
        let ids = |matches: &[Match]| {
            let ids = matches.iter().map(|one| (one.subscription.id(), one.filter_error.is_some()));
            ids.collect::<BTreeSet<_>>()
        };
        assert_eq!(ids(&again.matches), ids(&matches), "it matches again as it matched");
        let decided = live.iter().filter_map(|one| {
            let now_ms = clock::broker_now_ms();
            let decided = self.matcher.decide_again(one, (routing_key, decoder), now_ms);
            decided.is_delivered.then(|| (one.id(), decided.is_failed))
        });
        assert_eq!(decided.collect::<BTreeSet<_>>(), ids(&matches), "each is decided on alone");
        // An explanation takes many times as long as a decision.
        let some = live.len().div_ceil(EXPLAINED_MAX).max(1);
        let (now_ms, mut expected) = (clock::broker_now_ms(), ids(&matches));
        let mut explained = BTreeSet::new();
        expected.retain(|(id, _)| live.iter().step_by(some).any(|one| one.id() == *id));
        for one in live.iter().step_by(some) {
            let (events, subscriber) = (&one.event_subscriptions, Subscriber::from(&**one));
            let decision = self.matcher.dry_run(events, subscriber, (routing_key, decoder), now_ms);
            if decision.is_delivered() {
                explained.insert((one.id(), decision.is_failed()));
            }
        }
        assert_eq!(explained, expected, "what is explained is what is routed");
        (matches, outcome.clone())
    }

    pub(super) fn perform(&mut self, act: &Act) -> Result<(), TestCaseError> {
        match act {
            Act::Register(installation, modules) => {
                self.register(*installation, modules);
                Ok(())
            }
            Act::Event(text) => self.compare(text),
        }
    }

    fn register(&mut self, installation: usize, modules: &[Registered]) {
        let subscriptions = self.subscriptions(installation, modules);
        for (old, _) in self.live.remove(&installation).unwrap_or_default() {
            if !subscriptions.iter().any(|new| new.id() == old.id()) {
                self.undecided.remove(&old.id());
                self.stats.remove(&old.id());
            }
        }
        let id = format!("i{installation}").as_str().into();
        let with_texts = subscriptions
            .iter()
            .map(|s| (Arc::clone(s), self.texts.get(&s.id()).cloned().unwrap_or_default()));
        self.live.insert(installation, with_texts.collect());
        self.matcher.replace_installation(&id, subscriptions);
    }

    /// Returns the modules that the language accepts, as the registry passes them to the matcher.
    pub(super) fn subscriptions(
        &mut self,
        installation: usize,
        modules: &[Registered],
    ) -> Vec<Arc<Subscription>> {
        modules
            .iter()
            .enumerate()
            .filter_map(|(at, module)| self.subscription(installation, at, module))
            .map(Arc::new)
            .collect()
    }

    fn subscription(
        &mut self,
        installation: usize,
        at: usize,
        module: &Registered,
    ) -> Option<Subscription> {
        let program = match &module.text {
            Some(text) => Some(self.program(text)?),
            None => None,
        };
        let conditions = |event_type: &str| EventConditions {
            event_type: event_type.into(),
            ignore_self: module.ignore_self,
            requires_licence: module.requires_licence,
            on_error: module.on_error,
        };
        let first = Arc::new(conditions(FIRST_TYPE));
        let mut events = vec![EventSubscription { conditions: first, program: program.clone() }];
        let mut texts = vec![module.text.clone()];
        if module.second_type {
            let bare = module.filter_of_second_type;
            texts.insert(0, module.text.clone().filter(|_| !bare));
            let (conditions, program) = match bare {
                true => (EventConditions::unconditional(SECOND_TYPE.into()), None),
                false => (conditions(SECOND_TYPE), program),
            };
            events.insert(0, EventSubscription { conditions: Arc::new(conditions), program });
        }
        let id = SubscriptionId {
            installation: format!("i{installation}").as_str().into(),
            // The key depends only on the position, so that counters survive a new registration.
            key: format!("k{at}").as_str().into(),
        };
        self.texts.insert(id.clone(), texts);
        let stats = self.stats.entry(id.clone()).or_default().clone();
        Some(Subscription {
            owner: Arc::new(Owner {
                id: id.installation,
                app: format!("app-{}", installation % 2).as_str().into(),
                app_account_id: (!installation.is_multiple_of(3))
                    .then(|| format!("acc-{}", installation % 2).into()),
                cloud_id: SITE.into(),
                licensed: installation.is_multiple_of(2),
                permissions: Some(permissions(installation)),
                settings: DeliverySettings::new(Arc::new(Handler::function("f"))),
            }),
            key: id.key,
            event_subscriptions: events.into(),
            revision: 0,
            stats,
        })
    }

    /// Returns one program for each text, as the registry does.
    fn program(&mut self, text: &str) -> Option<Arc<Program>> {
        if !self.programs.contains_key(text) {
            let compiled = compile(text, CheckProfile::Filter).ok();
            if let Ok(tree) = Tree::parse(text, CheckProfile::Filter) {
                self.trees.insert(text.to_owned(), Arc::new(tree));
            }
            self.programs.insert(text.to_owned(), compiled.map(|c| Arc::new(c.program)));
        }
        self.programs.get(text).cloned().flatten()
    }

    fn compare(&mut self, text: &str) -> Result<(), TestCaseError> {
        let event = self.decode(text).map_err(|e| TestCaseError::fail(format!("{text}: {e}")))?;
        let (matches, found) = self.matches(&event);
        self.index_errors += found.index_errors;
        prop_assert!(self.may_be_corrupt || found.index_errors == 0, "the index is consistent");
        let mut got: BTreeSet<Outcome> = BTreeSet::new();
        for m in &matches {
            let subscription = &m.subscription;
            let own = self.decoder.is_self_generated(
                event.envelope.routing_key(),
                &subscription.owner.app,
                subscription.owner.app_account_id.as_deref(),
            );
            prop_assert_eq!(m.self_generated, own);
            let error = m.filter_error.as_ref().map_or("", |_| "despite an error");
            let new = got.insert((m.subscription.id(), "match", error.to_owned()));
            prop_assert!(new, "twice: {}", m.subscription.id());
        }
        for failure in &found.failures {
            let error = format!(
                "{} {} {}",
                failure.error.kind, failure.error.message, failure.error.offset
            );
            let new = got.insert((failure.subscription.id(), "error", error));
            prop_assert!(new, "failed twice: {}", failure.subscription.id());
        }
        let expected = self.expected(&event);
        let sources: Vec<_> = self.texts.iter().collect();
        prop_assert_eq!(got, expected, "event {} filters {:?}", text, sources);
        Ok(())
    }

    /// Returns the outcome of every filter evaluated alone.
    fn expected(&mut self, event: &Event) -> BTreeSet<Outcome> {
        let mut outcomes = BTreeSet::new();
        for (subscription, texts) in self.live.values().flatten() {
            let subscribed = subscription.event_subscriptions.iter().zip(texts);
            for (event_subscription, text) in
                subscribed.filter(|(l, _)| l.conditions.event_type == event.envelope.event_type)
            {
                let conditions = &event_subscription.conditions;
                let own = self.decoder.is_self_generated(
                    event.envelope.routing_key(),
                    &subscription.owner.app,
                    subscription.owner.app_account_id.as_deref(),
                );
                let id = subscription.id();
                let unlicensed = conditions.requires_licence && !subscription.owner.licensed;
                if (conditions.ignore_self && own) || unlicensed {
                    *self.undecided.entry(id).or_default() += 1;
                    continue;
                }
                match text.as_deref().map_or(Ok(true), |text| self.alone(text, own, subscription)) {
                    Ok(true) => {
                        outcomes.insert((id, "match", String::new()));
                    }
                    Ok(false) => *self.undecided.entry(id).or_default() += 1,
                    Err(error) => {
                        if conditions.on_error.delivers() {
                            outcomes.insert((id.clone(), "match", "despite an error".to_owned()));
                        }
                        outcomes.insert((id, "error", error));
                    }
                }
            }
        }
        outcomes
    }

    fn alone(
        &self,
        text: &str,
        self_generated: bool,
        subscription: &Subscription,
    ) -> Result<bool, String> {
        let tree = Arc::clone(&self.trees[text]);
        let env = Env { now_ms: 0, steps_max: self.steps_max };
        let permissions = subscription.owner.permissions.as_deref();
        let view = self.decoder.view_of(AppValues { self_generated, permissions });
        match tree.eval(&view, &env).0 {
            Ok(Value::Bool(truth)) => Ok(truth),
            Ok(_) => {
                // The message is that of the compiled form; what matters here is that there is an
                // error.
                let program = self.programs[text].as_ref().unwrap();
                match program.verdict(&view, &env, &mut switchyard_expr::EvalScratch::new()) {
                    switchyard_expr::Verdict::Failed(error) => Err(worded(&error)),
                    verdict => Err(format!("compiled and reference differ: {verdict:?}")),
                }
            }
            Err(error) => Err(worded(&error)),
        }
    }

    /// Every event is accounted for: matched, failed, ignored or not matched.
    pub(super) fn check_accounts(&self) -> Result<(), TestCaseError> {
        for (subscription, _) in self.live.values().flatten() {
            let id = &subscription.id();
            let expected = self.undecided.get(id).copied().unwrap_or_default();
            let ignored = subscription.stats.ignored.load(Relaxed);
            // For a filter that the index rules out, the conditions are not checked.
            let found = self.matcher.not_matched(id).map(|not_matched| not_matched + ignored);
            prop_assert_eq!(found, Some(expected), "{}", id);
        }
        Ok(())
    }
}

/// Different ones for installations of one app, and equal ones for installations of two.
fn permissions(installation: usize) -> Arc<Permissions> {
    let scopes: Vec<String> = (0..installation % 3).map(|at| format!("scope-{at}")).collect();
    Arc::new(Permissions::new(&scopes, None))
}

fn worded(error: &switchyard_expr::EvalError) -> String {
    format!("{} {} {}", error.kind().as_str(), error.message, error.span.start)
}

//! What runs next to the healthy installations.

use std::convert::Infallible;
use std::time::Duration;

use anyhow::ensure;
use serde_json::{Value, json};
use switchyard::clock;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

use crate::rig::Rig;

/// The site of the culprit's installations: each of its events matches all of them.
pub(crate) const SITE: &str = "site-culprit";
/// Longest time until a tenant has filled the streams.
const FILL_MAX: Duration = Duration::from_secs(120);
/// Part of the capacity that one app may use in the scenario *full*.
const FULL_SHARE: f64 = 0.9;
/// Part of the capacity in use from which the streams count as full.
const FULL_MIN: f64 = 0.85;
/// Messages that each stream may have in the scenario *full*.
const FULL_MESSAGES: usize = 2_000;

/// Events on which a filter is tried.
const TRIED: usize = 1_000_000;
/// Events that are replayed.
const REPLAYED: usize = 1_000_000;
/// Deliveries per second of a replay that names no rate.
const REPLAY_RATE: u64 = 50;
/// The most that a job may have.
const REPLAY_RATE_MAX: u64 = 1_000;
/// Costly filters of an installation, as many as it may have.
const COSTLY_FILTERS: usize = 100;
/// Numbers in each of the two lists that a costly filter combines: it takes some 50,000 steps.
const COSTLY_LIST: usize = 50;
/// Pause between the batches of a flood.
const FLOOD_TICK: Duration = Duration::from_millis(10);
/// Events of a flood that the broker has not confirmed yet; then the flood waits for the broker.
const UNCONFIRMED_MAX: usize = 2_000;

/// Apps, their installations, and events that match all of them.
pub(crate) struct Culprit {
    pub(crate) name: &'static str,
    pub(crate) apps: usize,
    pub(crate) installations_per_app: usize,
    /// Path of the handlers, which decides what they do.
    pub(crate) path: &'static str,
    /// Settings of the router.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Events at once at the start.
    burst: usize,
    /// Pause between the events that follow.
    pause: Option<Duration>,
    /// Events a second, published without waiting for each other.
    flood: Option<usize>,
    /// Whether a filter is tried on what is stored, again and again.
    is_backtest: bool,
    /// The filters of the culprit's triggers.
    filters: Filters,
    /// What is done before the measurement.
    preparation: Preparation,
}

/// What a culprit does before the measurement.
#[derive(Clone, Copy)]
enum Preparation {
    Nothing,
    /// Fills the streams of parked deliveries and dead letters.
    FillStreams,
    /// Stores so many events that match no filter; then the filters match all of them, and what is missing
    /// is replayed at so many deliveries a second.
    Replay(usize, u64),
    /// Stores so many events that match no filter.
    Store(usize),
}

/// Filters of triggers.
#[derive(Clone, Copy)]
enum Filters {
    /// One that holds for every event.
    Any,
    /// One that holds for no event, which the index decides.
    Other,
    /// As many as there may be, each of which costs all that it may.
    Costly,
}

impl Culprit {
    /// The culprits of all scenarios, with `divisor` times fewer installations.
    pub(crate) fn all(divisor: usize) -> Vec<Self> {
        let culprit = |name, apps, installations: usize, path| Self {
            name,
            apps,
            installations_per_app: installations.div_ceil(divisor),
            path,
            settings: Vec::new(),
            burst: 0,
            pause: None,
            flood: None,
            is_backtest: false,
            filters: Filters::Any,
            preparation: Preparation::Nothing,
        };
        let (share, messages) = (FULL_SHARE.to_string(), (FULL_MESSAGES / divisor).to_string());
        vec![
            Self { pause: Some(Duration::from_millis(500)), ..culprit("hanging", 1, 100, "/hang") },
            Self { burst: 5, ..culprit("wide-slow", 100, 20, "/slow") },
            Self {
                pause: Some(Duration::from_millis(20)),
                preparation: Preparation::FillStreams,
                settings: vec![
                    ("SWITCHYARD_DELIVERY__PARKED_MAX", messages.clone()),
                    ("SWITCHYARD_DELIVERY__DEAD_LETTERS_MAX", messages),
                    ("SWITCHYARD_DELIVERY__SHARE_APP", share.clone()),
                    ("SWITCHYARD_DELIVERY__SHARE_INSTALLATION", share),
                ],
                ..culprit("full", 1, 5, "/refuse")
            },
            Self { pause: Some(Duration::from_secs(6)), ..culprit("wider", 100, 100, "/quick") },
            Self {
                burst: 800 / divisor,
                pause: Some(Duration::from_millis(20)),
                filters: Filters::Costly,
                ..culprit("costly", 1, 1, "/quick")
            },
            Self {
                flood: Some(10_000 / divisor),
                filters: Filters::Other,
                ..culprit("flood", 1, 1, "/quick")
            },
            Self { flood: Some(10_000 / divisor), ..culprit("flood-matched", 1, 1, "/quick") },
            Self {
                filters: Filters::Other,
                preparation: Preparation::Replay(REPLAYED / divisor, REPLAY_RATE),
                ..culprit("replay", 1, 1, "/quick")
            },
            Self {
                filters: Filters::Other,
                preparation: Preparation::Replay(REPLAYED / divisor, REPLAY_RATE_MAX),
                ..culprit("replay-fast", 1, 1, "/quick")
            },
            Self {
                is_backtest: true,
                filters: Filters::Other,
                preparation: Preparation::Store(TRIED / divisor),
                ..culprit("backtest", 1, 1, "/quick")
            },
            culprit("nothing", 0, 0, "/quick"),
        ]
    }

    /// The filters of the culprit's triggers.
    pub(crate) fn filters(&self) -> Vec<String> {
        match self.filters {
            Filters::Any => vec![ANY_ISSUE.to_owned()],
            Filters::Other => vec!["event.issue.key == 'OPS-2'".to_owned()],
            Filters::Costly => (0..COSTLY_FILTERS).map(costly_filter).collect(),
        }
    }

    /// Brings the router into the state in which the measurement starts.
    pub(crate) async fn prepare(&self, rig: &Rig) -> anyhow::Result<()> {
        match self.preparation {
            Preparation::Nothing => Ok(()),
            Preparation::FillStreams => Self::fill_streams(rig).await,
            Preparation::Replay(events, rate) => self.start_replay(rig, events, rate).await,
            Preparation::Store(events) => Self::store(rig, events).await,
        }
    }

    /// Stores events that match nothing, and has them replayed for filters that match them.
    async fn start_replay(&self, rig: &Rig, events: usize, rate: u64) -> anyhow::Result<()> {
        Self::store(rig, events).await?;
        rig.put_culprit_apps(self, &[ANY_ISSUE.to_owned()]).await?;
        rig.replay_missing("culprit-0-0", rate).await
    }

    /// Stores events, and waits until they are acknowledged.
    async fn store(rig: &Rig, events: usize) -> anyhow::Result<()> {
        let mut unconfirmed = JoinSet::new();
        for number in 0..events {
            unconfirmed.spawn(rig.publish(SITE, &format!("stored-{number}"), 0));
            while unconfirmed.len() > UNCONFIRMED_MAX {
                if let Some(stored) = unconfirmed.join_next().await {
                    stored??;
                }
            }
        }
        while let Some(stored) = unconfirmed.join_next().await {
            stored??;
        }
        rig.until_acknowledged().await?;
        rig.until_ids_are_read(u32::try_from(events)?).await
    }

    async fn fill_streams(rig: &Rig) -> anyhow::Result<()> {
        let started = clock::tick();
        let mut number = 0;
        while !Self::is_full(rig).await? {
            ensure!(
                clock::since(started) < FILL_MAX,
                "the streams are not full after {FILL_MAX:?}"
            );
            for _ in 0..50 {
                rig.publish(SITE, &format!("fill-{number}"), 0).await?;
                number += 1;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        Ok(())
    }

    /// Whether one tenant holds about all that it may of both streams.
    async fn is_full(rig: &Rig) -> anyhow::Result<bool> {
        let metrics = rig.metrics().await?;
        let used = ["parking", "dead_letters"]
            .map(|pool| metrics.value(&format!("switchyard_share_used_ratio{{pool=\"{pool}\"}}")));
        Ok(used.into_iter().all(|used| used >= FULL_MIN))
    }

    /// Publishes the culprit's events until the future is dropped.
    pub(crate) async fn run(&self, rig: &Rig) -> anyhow::Result<Infallible> {
        let mut number = 0;
        while number < self.burst {
            rig.publish(SITE, &format!("burst-{number}"), 0).await?;
            number += 1;
        }
        if let Some(rate) = self.flood {
            return flood(rig, rate).await;
        }
        if self.is_backtest {
            loop {
                rig.backtest(SITE, TRIED_FILTER).await?;
            }
        }
        let Some(pause) = self.pause else { return std::future::pending().await };
        let mut ticks = tokio::time::interval(pause);
        loop {
            ticks.tick().await;
            rig.publish(SITE, &format!("event-{number}"), 0).await?;
            number += 1;
        }
    }
}

/// A filter that is tried.
const TRIED_FILTER: &str =
    "event.issue.fields.priority.name == 'High' && event.issue.fields.project.key != 'OPS'";

/// The filter of a trigger on every event.
pub(crate) const ANY_ISSUE: &str = "event.issue.id != null";

/// A filter that holds for no event and takes nearly as many steps as it may. Each number gives another
/// one.
fn costly_filter(number: usize) -> String {
    let list: Vec<String> = (0..COSTLY_LIST).map(|at| at.to_string()).collect();
    let list = list.join(",");
    format!("[{list}].some(a => [{list}].some(b => a + b + event.issue.id.length < -{number}))")
}

/// Publishes events at a rate until the future is dropped.
async fn flood(rig: &Rig, rate: usize) -> anyhow::Result<Infallible> {
    let batch = (rate / 100).max(1);
    let mut ticks = tokio::time::interval(FLOOD_TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Burst);
    let (mut number, mut unconfirmed) = (0_u64, JoinSet::new());
    loop {
        ticks.tick().await;
        for _ in 0..batch {
            unconfirmed.spawn(rig.publish(SITE, &format!("flood-{number}"), 0));
            number += 1;
        }
        while let Some(stored) = unconfirmed.try_join_next() {
            stored??;
        }
        while unconfirmed.len() > UNCONFIRMED_MAX {
            if let Some(stored) = unconfirmed.join_next().await {
                stored??;
            }
        }
    }
}

/// The static triggers with these filters.
pub(crate) fn triggers(filters: &[String], event_type: &str) -> Value {
    let trigger = |(number, filter): (usize, &String)| {
        json!({"key": format!("all-{number}"), "endpoint": "hook", "events": [event_type],
            "filter": {"expression": filter}})
    };
    filters.iter().enumerate().map(trigger).collect()
}

//! Checks the delivery log against the event stream: events are matched again, and each delivery that
//! matches and that the log does not know is a gap.

use std::sync::Arc;

use super::decide::Fate;
use super::examine::{EventQuery, Examined, Found};
use super::handed_over::HandedOver;
use super::parts::ReplayParts;
use super::request::Window;
use super::streams;
use super::walk::{Advanced, Walk};
use crate::delivery::{ParkedDelivery, PlannedDelivery};
use crate::domain::{CloudId, DeliveryId, EventId, InstallationId, SubscriptionId};
use crate::event::Envelope;
use crate::matcher::Subscription;
use crate::recovery::redrive::ReadError;

/// Gaps that are listed.
const GAPS_MAX: usize = 1_000;
/// Deliveries that are examined at once.
const DELIVERIES_MAX: usize = 2_000;

/// What is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerQuery {
    /// The site whose events are matched again.
    pub site: CloudId,
    /// The only installation that they are matched for; none for all of the site.
    pub installation: Option<InstallationId>,
    /// The events.
    pub window: Window,
    /// Since when the log knows everything, see [`super::LogBounds::complete_from_ms`].
    pub log_from_ms: i64,
}

/// A delivery that matches again and that the log does not know.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Gap {
    /// The site.
    pub site: CloudId,
    /// Sequence of the event.
    pub sequence: u64,
    /// Its id.
    pub event: EventId,
    /// When it was stored, milliseconds since the epoch.
    pub stored_ms: i64,
    /// The subscription.
    pub subscription: SubscriptionId,
    /// The delivery that should be.
    pub delivery: DeliveryId,
}

/// What a check found.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct LedgerReport {
    /// The first gaps, in the order of the events of each site.
    pub gaps: Vec<Gap>,
    /// How many gaps there are.
    pub gap: u64,
    /// Events that were read.
    pub events: u64,
    /// Deliveries that match again.
    pub matched: u64,
    /// Those of them that the log knows, or that wait to be matched.
    pub recorded: u64,
    /// Those whose module was registered or changed after the event, and those of events that are older
    /// than the log: nothing says what should be.
    pub not_verifiable: u64,
    /// Events that cannot be read.
    pub unreadable: u64,
    /// The first event of each site that is not acknowledged yet: what becomes of the deliveries of this
    /// one and of later ones is open, so they were not checked.
    pub open: Vec<(CloudId, u64)>,
}

/// Checks the events of a window of one site, and adds to `report`; calls `progress` after each step.
///
/// # Errors
/// The broker does not answer.
pub async fn check_ledger(
    parts: &ReplayParts,
    query: &LedgerQuery,
    report: &mut LedgerReport,
    progress: &(dyn Fn(&LedgerReport) + Send + Sync),
) -> Result<(), ReadError> {
    let directory = &*parts.directory;
    let subscriptions = match &query.installation {
        Some(installation) => directory.subscriptions_of(installation),
        None => directory.subscriptions_at(&query.site),
    };
    let event_query = EventQuery {
        subscriptions: subscriptions.into(),
        condition: None,
        deliveries_max: DELIVERIES_MAX,
    };
    let window = (query.window.first_sequence, query.window.last_sequence);
    let (site, installation) = (query.site.clone(), query.installation.clone());
    let mut walk = Walk::new(site, installation, window, HandedOver::new(None), true);
    loop {
        let advanced = walk.advance(&*parts.streams, &parts.reader, &event_query).await?;
        walk.take_expired();
        match advanced {
            Advanced::Done => return Ok(()),
            Advanced::Unsettled(sequence) => {
                report.open.push((query.site.clone(), sequence));
                return Ok(());
            }
            Advanced::Busy => {}
            Advanced::Examined(examined) => {
                for one in examined {
                    let sequence = one.sequence;
                    report.check(parts, query, one, &mut walk).await?;
                    walk.pass(sequence);
                }
            }
        }
        progress(report);
    }
}

impl LedgerReport {
    async fn check(
        &mut self,
        parts: &ReplayParts,
        query: &LedgerQuery,
        examined: Examined,
        walk: &mut Walk,
    ) -> Result<(), ReadError> {
        self.events += 1;
        let (prepared, planned) = match examined.found {
            Found::Nothing => return Ok(()),
            Found::Unreadable => {
                self.unreadable += 1;
                return Ok(());
            }
            Found::Matched(prepared, planned) => (prepared, planned),
        };
        self.matched += planned.len() as u64;
        let envelope = &prepared.event.envelope;
        let fate = |id: &DeliveryId, walk: &mut Walk| {
            walk.view().map_or(Fate::Unknown, |view| view.fate(id))
        };
        // The log may have deleted records since the query was made.
        let is_logged = examined.stored_ms >= query.log_from_ms
            && walk.view().is_some_and(|view| view.is_complete_for(examined.stored_ms));
        let mut open = Vec::new();
        for one in planned {
            let subscription = &one.matched.subscription;
            if fate(&one.id(envelope), walk) != Fate::Unknown {
                self.recorded += 1;
            } else if !is_logged || !is_unchanged_since(examined.stored_ms, subscription, parts) {
                self.not_verifiable += 1;
            } else {
                open.push(one);
            }
        }
        let waiting = waiting(parts, envelope, &open).await?;
        for (one, waits) in open.into_iter().zip(waiting) {
            if waits {
                self.recorded += 1;
                continue;
            }
            self.gap += 1;
            if self.gaps.len() >= GAPS_MAX {
                continue;
            }
            self.gaps.push(Gap {
                site: query.site.clone(),
                sequence: examined.sequence,
                event: envelope.event_id.clone(),
                stored_ms: examined.stored_ms,
                subscription: one.matched.subscription.id(),
                delivery: one.id(envelope),
            });
        }
        Ok(())
    }
}

/// Returns for each delivery whether it is parked, or its event waits to be matched for its installation.
async fn waiting(
    parts: &ReplayParts,
    envelope: &Envelope,
    open: &[PlannedDelivery],
) -> Result<Vec<bool>, ReadError> {
    let ids: Vec<DeliveryId> = open
        .iter()
        .flat_map(|one| {
            let installation = &one.matched.subscription.owner.id;
            [one.id(envelope), ParkedDelivery::unmatched_id(envelope, installation)]
        })
        .collect();
    let parked = streams::parked(&*parts.streams, &ids).await?;
    Ok(parked.chunks(2).map(|both| both.iter().any(Option::is_some)).collect())
}

/// Whether the module of a subscription is what it was at a time.
fn is_unchanged_since(ms: i64, subscription: &Arc<Subscription>, parts: &ReplayParts) -> bool {
    parts.directory.changed_ms(&subscription.id()).is_some_and(|changed_ms| changed_ms < ms)
}

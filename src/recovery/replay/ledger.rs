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
/// How much the clocks of routers and of the broker may differ, in milliseconds. An event that was stored so
/// shortly after a change may have been matched before it.
const SKEW_MS: i64 = 5_000;

/// What is checked.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LedgerQuery {
    /// The site whose events are matched again.
    pub site: CloudId,
    /// The only installation that they are matched for; none for all of the site.
    pub installation: Option<InstallationId>,
    /// The installations that they are matched for.
    pub installations: Vec<InstallationId>,
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
    /// Those of them that the log or a dead letter knows, or that wait to be matched.
    pub recorded: u64,
    /// Those whose module, installation or app was registered or changed after the event, and those of events
    /// that are older than the log: nothing says what should be.
    pub not_verifiable: u64,
    /// Events that cannot be read.
    pub unreadable: u64,
    /// Sequences of the event stream that were deleted before they were checked.
    pub expired: u64,
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
    let installations = query.installations.iter();
    let subscriptions: Vec<_> =
        installations.flat_map(|installation| directory.subscriptions_of(installation)).collect();
    let event_query = EventQuery {
        subscriptions: subscriptions.into(),
        key: None,
        condition: None,
        deliveries_max: DELIVERIES_MAX,
    };
    let window = (query.window.first_sequence, query.window.last_sequence);
    let (site, installation) = (query.site.clone(), query.installation.clone());
    let mut walk = Walk::new(site, installation, window, HandedOver::new(None), true);
    loop {
        let advanced = walk.advance(&*parts.streams, &parts.reader, &event_query).await?;
        report.expired += walk.take_expired();
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
        // The log may have deleted records since the query was made.
        let is_logged = examined.stored_ms >= query.log_from_ms
            && walk.view().is_some_and(|view| view.is_complete_for(examined.stored_ms));
        let mut open = Vec::new();
        for one in planned {
            let unknown = unknown(&one, envelope, walk);
            let is_unchanged =
                |one: &Arc<Subscription>| is_unchanged_since(examined.stored_ms, one, parts);
            match unknown.iter().find(|one| is_unchanged(one)) {
                _ if unknown.is_empty() => self.recorded += 1,
                Some(unchanged) if is_logged => open.push((one, Arc::clone(unchanged))),
                _ => self.not_verifiable += 1,
            }
        }
        let open = self.leave_out_known(parts, examined.sequence, (envelope, open), walk).await?;
        for (one, subscription) in open {
            self.gap += 1;
            if self.gaps.len() >= GAPS_MAX {
                continue;
            }
            self.gaps.push(Gap {
                site: query.site.clone(),
                sequence: examined.sequence,
                event: envelope.event_id.clone(),
                stored_ms: examined.stored_ms,
                subscription: subscription.id(),
                delivery: one.id(envelope),
            });
        }
        Ok(())
    }

    /// Counts deliveries that wait, and those that a dead letter accounts for; returns the others.
    async fn leave_out_known(
        &mut self,
        parts: &ReplayParts,
        sequence: u64,
        (envelope, mut open): (&Envelope, Vec<(PlannedDelivery, Arc<Subscription>)>),
        walk: &mut Walk,
    ) -> Result<Vec<(PlannedDelivery, Arc<Subscription>)>, ReadError> {
        let all = open.len();
        let mut waiting = waiting(parts, envelope, &open).await?.into_iter();
        open.retain(|_| !waiting.next().unwrap_or(false));
        if !open.is_empty() {
            let letters = walk.letters(sequence, &*parts.letters).await?;
            if letters.has_event(sequence) {
                open.clear();
            }
            open.retain(|(one, subscription)| {
                let own = letters.of(&one.id(envelope)).iter();
                let unmatched = ParkedDelivery::unmatched_id(envelope, &subscription.owner.id);
                own.flat_map(|letter| &letter.keys).all(|key| *key != subscription.key)
                    && letters.of(&unmatched).is_empty()
            });
        }
        self.recorded += (all - open.len()) as u64;
        Ok(open)
    }
}

/// Returns the subscriptions of a delivery that the log does not know it for.
fn unknown(one: &PlannedDelivery, envelope: &Envelope, walk: &mut Walk) -> Vec<Arc<Subscription>> {
    let (id, view) = (one.id(envelope), walk.view());
    let is_unknown = |one: &&Arc<Subscription>| {
        view.as_ref().is_none_or(|view| view.fate(&id, &one.key) == Fate::Unknown)
    };
    one.subscriptions().filter(is_unknown).cloned().collect()
}

/// Returns for each delivery whether it is parked, or its event waits to be matched for its installation.
async fn waiting(
    parts: &ReplayParts,
    envelope: &Envelope,
    open: &[(PlannedDelivery, Arc<Subscription>)],
) -> Result<Vec<bool>, ReadError> {
    let ids: Vec<DeliveryId> = open
        .iter()
        .flat_map(|(one, _)| {
            let installation = &one.matched.subscription.owner.id;
            [one.id(envelope), ParkedDelivery::unmatched_id(envelope, installation)]
        })
        .collect();
    let parked = streams::parked(&*parts.streams, &ids).await?;
    Ok(parked.chunks(2).map(|both| both.iter().any(Option::is_some)).collect())
}

/// Whether a subscription is what it was at a time.
fn is_unchanged_since(ms: i64, subscription: &Subscription, parts: &ReplayParts) -> bool {
    let changed_ms = parts.directory.changed_ms(&subscription.id());
    changed_ms.is_some_and(|changed_ms| changed_ms.saturating_add(SKEW_MS) < ms)
}

//! Tests of the ledger in virtual time, and of matching without installations that are left out.

use std::sync::Arc;

use super::ledger::EventPart::First;
use super::ledger::Ledger;
use crate::domain::{Handler, InstallationId};
use crate::matcher::{DeliverySettings, Owner};

/// Steps of an evaluation that costs all that it may.
const COSTLY: u64 = 50_000;
/// What one processor evaluates in a second until its speed was measured.
const SECOND: u64 = 100_000_000;

fn owner(id: &str) -> Arc<Owner> {
    Arc::new(Owner {
        id: id.into(),
        app: "app".into(),
        app_account_id: None,
        cloud_id: "site".into(),
        licensed: true,
        permissions: None,
        settings: DeliverySettings::new(Arc::new(Handler::function("main"))),
    })
}

fn contended(share: f64) -> Ledger {
    let mut ledger = Ledger::new(share);
    ledger.set_contended(true);
    ledger
}

fn left_out(ledger: &Ledger) -> Vec<InstallationId> {
    let mut all: Vec<_> = ledger.left_out().cloned().collect();
    all.sort_unstable();
    all
}

#[test]
fn installation_is_left_out_at_the_first_event_beyond_its_share() {
    let (mut ledger, owner) = (contended(0.1), owner("costly"));
    let share = SECOND / 10;
    let events = (1..).find(|_| ledger.charge(&owner, (COSTLY, First), 0)).unwrap();
    assert_eq!(events, share / COSTLY + 1);
    assert_eq!(left_out(&ledger), ["costly".into()]);
    assert!(!ledger.charge(&owner, (COSTLY, First), 0), "it is left out already");
}

#[test]
fn no_installation_is_left_out_while_no_others_wait_or_without_a_limit() {
    for mut ledger in [Ledger::new(0.1), contended(1.0)] {
        let owner = owner("costly");
        assert!((0..10_000).all(|_| !ledger.charge(&owner, (COSTLY, First), 0)));
        assert!(left_out(&ledger).is_empty());
    }
}

/// Parking them would cost more than evaluating them.
#[test]
fn cheap_events_are_never_postponed() {
    let (mut ledger, owner) = (contended(0.1), owner("busy"));
    assert!((0..1_000_000).all(|_| !ledger.charge(&owner, (10_000, First), 0)));
}

#[test]
fn evaluation_that_has_not_ended_counts() {
    let (mut ledger, owner) = (contended(0.1), owner("costly"));
    assert!(!ledger.reserve(&owner, SECOND / 10, 0));
    assert!(ledger.reserve(&owner, COSTLY, 0));
    ledger.release(&owner.id, SECOND / 10 + COSTLY);
    assert_eq!(ledger.tick(0), ["costly".into()], "nothing was used in the end");
}

#[test]
fn postponed_events_are_due_in_order_at_the_pace_of_the_share() {
    const EVENTS: i64 = 100;
    let (mut ledger, owner) = (contended(0.1), owner("costly"));
    while !ledger.charge(&owner, (5_000_000, First), 0) {}
    let due: Vec<i64> = (0..EVENTS).map(|_| ledger.postpone(&owner.id, false, 0)).collect();
    assert!(due.is_sorted(), "{due:?}");
    assert!(due[0] >= 1_000, "{due:?}");
    // 5 million steps of 10 million a second.
    let pace = (due[99] - due[0]) / (EVENTS - 1);
    assert!((450..=550).contains(&pace), "{pace} ms");
    // While no others wait, half of a processor is used.
    ledger.set_contended(false);
    let idle = ledger.postpone(&owner.id, false, 0) - due[99];
    assert!((90..=110).contains(&idle), "{idle} ms");
    // A backlog of days is looked at every 15 minutes.
    ledger.set_contended(true);
    let longest = (0..10_000).map(|_| ledger.postpone(&owner.id, false, 0)).max().unwrap();
    assert_eq!(longest, 15 * 60 * 1_000);
}

#[test]
fn installation_returns_once_its_backlog_is_short_and_it_uses_little() {
    let (mut ledger, owner) = (contended(0.1), owner("costly"));
    while !ledger.charge(&owner, (5_000_000, First), 0) {}
    let backlog_ms = (0..20).map(|_| ledger.postpone(&owner.id, false, 0)).max().unwrap();
    assert!(ledger.tick(backlog_ms - 1_001).is_empty(), "its backlog is not short");
    assert_eq!(ledger.tick(backlog_ms), ["costly".into()]);
    assert!(left_out(&ledger).is_empty());
    // The same again, and now it goes on to use its share.
    while !ledger.charge(&owner, (5_000_000, First), backlog_ms) {}
    assert!(ledger.tick(backlog_ms + 500).is_empty(), "it used its share half a second ago");
}

/// Many owners within their share, who together use all, leave half to those who use little.
#[test]
fn shares_shrink_while_all_together_use_more_than_half() {
    let mut ledger = contended(0.1);
    let owners: Vec<_> = (0..50).map(|at| owner(&format!("many-{at:02}"))).collect();
    let modest = owner("modest");
    let mut used = 0;
    for now_ms in (0..20_000).step_by(100) {
        for owner in &owners {
            let is_left_out = ledger.left_out().any(|id| *id == owner.id);
            // Each would use 9 % of the time.
            let steps = SECOND / 10 * 9 / 100;
            if is_left_out {
                ledger.postpone(&owner.id, false, now_ms);
            } else {
                ledger.charge(owner, (steps, First), now_ms);
                used += if now_ms >= 10_000 { steps } else { 0 };
            }
        }
        ledger.charge(&modest, (30_000, First), now_ms);
        ledger.tick(now_ms);
        assert!(!left_out(&ledger).contains(&modest.id), "after {now_ms} ms");
    }
    assert!(used < 5 * SECOND, "{used} steps in ten seconds");
    assert!(left_out(&ledger).len() > 40);
}

#[test]
fn due_event_waits_while_its_installation_uses_far_more_than_its_share() {
    let (mut ledger, owner) = (contended(0.1), owner("costly"));
    assert!(ledger.may_evaluate(&owner.id, 0));
    for _ in 0..6 {
        ledger.charge(&owner, (5_000_000, First), 0);
    }
    assert!(!ledger.may_evaluate(&owner.id, 0));
    assert!(ledger.may_evaluate(&owner.id, 1_000));
    ledger.set_contended(false);
    assert!(ledger.may_evaluate(&owner.id, 0));
}

#[test]
fn accounts_are_forgotten_when_idle_and_bounded() {
    let mut ledger = contended(0.1);
    for at in 0..2 * super::ACCOUNTS_MAX {
        ledger.charge(&owner(&format!("owner-{at}")), (COSTLY, First), 0);
    }
    let last = owner(&format!("owner-{}", 2 * super::ACCOUNTS_MAX - 1));
    assert_eq!(ledger.cost(&last.id), 0, "it has no account");
    for hour in 1..=2 {
        ledger.tick(hour * 3_600_000);
    }
    ledger.charge(&last, (COSTLY, First), 7_200_000);
    assert_eq!(ledger.cost(&last.id), COSTLY);
}

//! Tests of the ledger.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::config::Config;

fn owner(app: &str, installation: &str, endpoint: &str) -> ShareOwner {
    ShareOwner { app: app.into(), installation: installation.into(), endpoint: endpoint.into() }
}

fn messages(messages: u64) -> Amount {
    Amount { messages, bytes: messages * 10 }
}

/// 1,000 messages of 10 bytes: 400 of an app, 200 of an installation, 100 of an endpoint. The
/// reserve of 200 guarantees 10 to each of 20 installations, 8 of one app.
fn limits() -> PoolLimits {
    let fractions = Fractions { app: 0.4, installation: 0.2, reserve: 0.2 };
    let endpoint = Amount { messages: 100, bytes: u64::MAX };
    PoolLimits::new(messages(1_000), endpoint, fractions, 10)
}

/// Admits one message after the other; returns how many were admitted, and the refusal.
fn fill(pool: &mut Pool, owner: &ShareOwner, count: u64) -> (u64, Option<ShareLevel>) {
    for admitted in 0..count {
        if let Err(level) = pool.admit(owner, messages(1)) {
            return (admitted, Some(level));
        }
    }
    (count, None)
}

#[test]
fn each_level_of_the_hierarchy_has_its_bound() {
    let mut pool = Pool::new(limits());
    let level = |pool: &mut Pool, owner: &ShareOwner| fill(pool, owner, 1_000);
    assert_eq!(level(&mut pool, &owner("a", "i1", "e1")), (100, Some(ShareLevel::Endpoint)));
    assert_eq!(level(&mut pool, &owner("a", "i1", "e2")), (100, Some(ShareLevel::Endpoint)));
    assert_eq!(level(&mut pool, &owner("a", "i1", "e3")), (0, Some(ShareLevel::Installation)));
    // The app's own reserve of 80 is used for 10 of each of its first two installations.
    assert_eq!(level(&mut pool, &owner("a", "i2", "e1")), (100, Some(ShareLevel::Endpoint)));
    assert_eq!(level(&mut pool, &owner("a", "i2", "e2")), (40, Some(ShareLevel::App)));
    assert_eq!(level(&mut pool, &owner("a", "i3", "e1")), (10, Some(ShareLevel::App)));
}

#[test]
fn jobs_leave_half_of_each_share_to_live_deliveries() {
    let mut pool = Pool::new(limits());
    let one = owner("a", "i1", "e1");
    let by_job = |pool: &mut Pool, owner: &ShareOwner| {
        (0..1_000).find_map(|_| pool.admit_for_job(owner, messages(1)).err())
    };
    assert_eq!(by_job(&mut pool, &one), Some(ShareLevel::Endpoint));
    assert_eq!(pool.used(), messages(50), "half of the 100 of an endpoint");
    assert_eq!(by_job(&mut pool, &owner("a", "i1", "e2")), Some(ShareLevel::Endpoint));
    assert_eq!(by_job(&mut pool, &owner("a", "i1", "e3")), Some(ShareLevel::Installation));
    assert_eq!(pool.used(), messages(100), "half of the 200 of an installation");
    assert_eq!(fill(&mut pool, &one, 1_000), (50, Some(ShareLevel::Endpoint)), "live ones fit");
}

#[test]
fn full_pool_refuses_what_is_beyond_the_guaranteed_amount() {
    let mut pool = Pool::new(limits());
    for app in ["a", "b", "c", "d"] {
        for installation in ["i1", "i2", "i3"] {
            for endpoint in ["e1", "e2"] {
                fill(&mut pool, &owner(app, installation, endpoint), 1_000);
            }
        }
    }
    let (admitted, level) = fill(&mut pool, &owner("new", "i", "e"), 1_000);
    assert_eq!((admitted, level), (10, Some(ShareLevel::Total)));
}

#[test]
fn one_app_takes_at_most_its_share_of_the_reserve() {
    let mut pool = Pool::new(limits());
    for installation in 0..1_000 {
        fill(&mut pool, &owner("many", &format!("i{installation}"), "e"), 10);
    }
    assert_eq!(pool.used().messages, 400, "the app has its share and no more");
    let (admitted, _) = fill(&mut pool, &owner("b", "i", "e"), 1_000);
    assert_eq!(admitted, 100, "another app is not affected");
}

#[test]
fn stored_messages_without_an_owner_leave_the_reserve_to_others() {
    let mut pool = Pool::new(limits());
    pool.set_stored(messages(5_000));
    assert_eq!(fill(&mut pool, &owner("a", "i", "e"), 50), (10, Some(ShareLevel::Total)));
    pool.set_stored(messages(0));
    pool.set_full();
    assert_eq!(fill(&mut pool, &owner("b", "i", "e"), 50), (10, Some(ShareLevel::Total)));
    pool.set_stored(messages(20));
    assert_eq!(fill(&mut pool, &owner("b", "i", "e"), 50), (50, None));
}

#[test]
fn bytes_are_bounded_as_messages_are() {
    let mut pool = Pool::new(limits());
    let large = Amount { messages: 1, bytes: 1_500 };
    assert_eq!(pool.admit(&owner("a", "i", "e"), large), Ok(()));
    let more = Amount { messages: 1, bytes: 600 };
    assert_eq!(pool.admit(&owner("a", "i", "e"), more), Err(ShareLevel::Installation));
    assert_eq!(pool.admit(&owner("a", "j", "e"), more), Ok(()));
}

#[derive(Clone, Debug)]
enum Step {
    Admit(ShareOwner, Amount),
    Release(ShareOwner, Amount),
}

/// Up to 3 apps with 6 installations of 2 endpoints: 18 guaranteed amounts of 10 fit the reserve.
fn any_step() -> impl Strategy<Value = Step> {
    let owner = (0..3_u8, 0..6_u8, 0..2_u8)
        .prop_map(|(a, i, e)| owner(&format!("a{a}"), &format!("i{i}"), &format!("e{e}")));
    let amount = (1..30_u64, 1..20_u64)
        .prop_map(|(count, size)| Amount { messages: count, bytes: count * size });
    (owner, amount, prop::bool::weighted(0.75)).prop_map(|(owner, amount, admits)| {
        if admits { Step::Admit(owner, amount) } else { Step::Release(owner, amount) }
    })
}

proptest! {
    #[test]
    fn bounds_hold_and_the_guaranteed_amount_is_always_admitted(
        steps in prop::collection::vec(any_step(), 1..400)
    ) {
        let limits = limits();
        let mut pool = Pool::new(limits);
        let mut endpoints: HashMap<ShareOwner, Amount> = HashMap::new();
        for step in steps {
            match step {
                Step::Admit(owner, amount) => {
                    let used = pool.used_by(&owner).plus(amount);
                    let admitted = pool.admit(&owner, amount);
                    if used.fits(limits.guaranteed) {
                        prop_assert_eq!(admitted, Ok(()), "below the guaranteed amount");
                    }
                    if admitted.is_ok() {
                        let used = endpoints.entry(owner).or_default();
                        *used = used.plus(amount);
                    }
                }
                Step::Release(owner, amount) => {
                    let used = endpoints.entry(owner.clone()).or_default();
                    // A message is released with all of its bytes.
                    let is_all = amount.messages >= used.messages;
                    let amount = if is_all { *used } else { amount.least(*used) };
                    *used = used.minus(amount);
                    pool.release(&owner, amount);
                }
            }
            prop_assert!(pool.used().fits(limits.max), "{:?}", pool.used());
            for app in 0..3_u8 {
                let of_app = endpoints.iter().filter(|(o, _)| *o.app == *format!("a{app}"));
                let used = of_app.fold(Amount::default(), |sum, (_, used)| sum.plus(*used));
                prop_assert!(used.fits(limits.app), "{:?}", used);
            }
            for (owner, used) in &endpoints {
                prop_assert!(pool.used_by(owner).fits(limits.installation));
                prop_assert!(used.messages <= limits.endpoint.messages);
            }
        }
        for (owner, used) in endpoints {
            pool.release(&owner, used);
        }
        prop_assert_eq!(pool.used().messages, 0, "what is released is free again");
    }
}

#[test]
fn place_that_is_not_kept_is_given_back() {
    let shares = Shares::new(&Config::defaults().unwrap().delivery);
    let owner = owner("a", "i", "e");
    drop(shares.park(&owner, 100).unwrap());
    assert_eq!((shares.attributed_parked(), shares.own_changes()), (0, Changes::new()));
    shares.park(&owner, 100).unwrap().keep();
    assert_eq!(shares.attributed_parked(), 1);
    shares.release_parked(&owner, 100);
    assert_eq!((shares.attributed_parked(), shares.own_changes()), (0, Changes::new()));
}

#[test]
fn recount_keeps_what_happened_while_the_stream_was_read() {
    let shares = Shares::new(&Config::defaults().unwrap().delivery);
    let (before, during) = (owner("a", "i", "e"), owner("b", "i", "e"));
    shares.park(&before, 100).unwrap().keep();
    let own_before = shares.own_changes();
    shares.park(&during, 100).unwrap().keep();
    let others = Changes::from([(during.clone(), Change::added(Shares::amount_of(100)))]);
    let counts = HashMap::from([(before.clone(), Amount { messages: 7, bytes: 700 })]);
    shares.replace_parked(&counts, &own_before, &others);
    let ledger = shares.ledger();
    assert_eq!(ledger.parking().used_by(&before).messages, 7);
    assert_eq!(ledger.parking().used_by(&during).messages, 2);
}

#[test]
fn letters_that_are_being_published_survive_a_count() {
    let shares = Shares::new(&Config::defaults().unwrap().delivery);
    let owner = owner("a", "i", "");
    let place = shares.dead_letter(&owner, 100).unwrap();
    shares.replace_dead_letters(vec![(owner.clone(), 3)], 50);
    assert_eq!(shares.ledger().dead_letters().used_by(&owner).messages, 4);
    place.keep();
    // The mean size of the owner's own letters counts, not that of all.
    shares.replace_dead_letters(vec![(owner.clone(), 4)], 50);
    let used = shares.ledger().dead_letters().used_by(&owner);
    assert_eq!(used, Amount { messages: 4, bytes: 4 * Shares::amount_of(100).bytes });
}

#[test]
fn totals_of_replicas_become_changes_once() {
    let mut others = ReplicaChanges::default();
    let (a, b) = (owner("a", "i", "e"), owner("b", "i", "e"));
    let change = |messages: i64| Change { messages, bytes: messages * 10 };
    let first = Changes::from([(a.clone(), change(3))]);
    assert_eq!(others.update("r1", first.clone()), first);
    assert_eq!(others.update("r1", first), Changes::new(), "a repeated document changes nothing");
    let second = Changes::from([(b.clone(), change(-2))]);
    let expected = Changes::from([(a, change(-3)), (b, change(-2))]);
    assert_eq!(others.update("r1", second), expected);
}

#[test]
fn document_of_changes_is_a_stored_format() {
    let changes = Changes::from([(owner("a", "i", "e"), Change { messages: -1, bytes: -10 })]);
    let document = ChangesDocument::new(&changes, 7);
    let text = serde_json::to_string(&document).unwrap();
    let expected = r#"{"format":1,"atMs":7,"hasPresence":true,"changes":[[{"app":"a","installation":"i","endpoint":"e"},{"messages":-1,"bytes":-10}]]}"#;
    assert_eq!(text, expected);
    let read: ChangesDocument = serde_json::from_str(&text).unwrap();
    assert_eq!(read.into_changes(), Some(changes.clone()));
    let earlier = text.replace(r#""hasPresence":true,"#, "");
    let earlier: ChangesDocument = serde_json::from_str(&earlier).unwrap();
    assert!(!earlier.has_presence, "a release before presence");
    assert_eq!(earlier.into_changes(), Some(changes));
    let later = text.replace(r#""format":1"#, r#""format":2"#);
    let later: ChangesDocument = serde_json::from_str(&later).unwrap();
    assert_eq!(later.into_changes(), None, "a later format counts as unknown");
}

#[test]
fn lasting_difference_causes_a_recount() {
    let mut drift = DriftDetector::default();
    assert!(![(0, 50), (1_000, 1_050)].iter().any(|(a, s)| drift.step(*a, *s)));
    assert_eq!([0, 0, 0].map(|attributed| drift.step(attributed, 500)), [false, false, true]);
    assert_eq!([0, 500, 0].map(|attributed| drift.step(attributed, 500)), [false; 3]);
}

#[test]
fn document_of_the_longest_names_fits_the_default_message_size() {
    let name = |number: usize| format!("{number:0>64}").into();
    let owner = |number| ShareOwner {
        app: name(number),
        installation: name(number),
        endpoint: name(number),
    };
    let change = Change { messages: -1_000_000, bytes: -8_589_934_592 };
    let changes = (0..10_000).map(|number| (owner(number), change)).collect();
    let bytes = serde_json::to_vec(&ChangesDocument::new(&changes, i64::MAX)).unwrap().len();
    assert!(bytes < 1 << 20, "{bytes} bytes");
}

//! Tests of lists, queries and redrives over streams in memory.

mod hand_over;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use futures_util::future::BoxFuture;
use jiff::Timestamp;
use serde_json::json;

use super::testing::{MemoryLetters, MemoryLog, delivery_letter, letter};
use super::*;
use crate::delivery::{
    HandOver, JobOrigin, ParkError, ParkedRecord, ParkingLot, RemovalReason, ShareLevel,
    ShareOwner, SubscriptionDirectory, job_origin,
};
use crate::domain::{Handler, InstallationId, SubscriptionId};
use crate::matcher::{DeliverySettings, Owner, Subscription};
use crate::recovery::jobs::testing::MemoryJobs;
use crate::recovery::jobs::{Job, JobFailure, JobKind, JobRate, JobWork, Jobs, NewJob};
use crate::telemetry::SubscriptionStats;

fn kind(installation: &str) -> LetterKind {
    LetterKind::Delivery { app: "app-1".into(), installation: installation.into() }
}

/// The letter of a delivery to `<installation>/k1`.
fn delivery(sequence: u64, installation: &str, reason: &str) -> StoredLetter {
    let subscription = format!("{installation}/k1");
    let id = format!("dlv_{sequence}");
    letter(
        sequence,
        kind(installation),
        &[
            ("switchyard-delivery-id", id.as_str()),
            ("switchyard-dlq-reason", reason),
            ("switchyard-dlq-subscription", subscription.as_str()),
            ("switchyard-sequence", "9"),
            ("ce-id", "e1"),
            ("ce-type", "avi:jira:created:issue"),
            ("ce-cloudid", "site-1"),
        ],
    )
}

fn event(sequence: u64) -> StoredLetter {
    let reason = [("switchyard-dlq-reason", "poison_json")];
    letter(sequence, LetterKind::Event { site: "site-2".into() }, &reason)
}

fn query(json: serde_json::Value) -> LetterQuery {
    serde_json::from_value::<LetterQuery>(json).unwrap().fix(now()).unwrap()
}

fn now() -> Timestamp {
    Timestamp::from_second(10_000).unwrap()
}

fn sequences(letters: &[StoredLetter]) -> Vec<u64> {
    letters.iter().map(|letter| letter.id.0.sequence).collect()
}

#[test]
fn id_of_a_letter_reads_back_and_nothing_else_does() {
    let id = letter(7, LetterKind::Record, &[]).id;
    assert_eq!((id.to_string(), LetterId::parse("7-7000")), ("7-7000".to_owned(), Some(id)));
    for bad in ["", "7", "7-", "-7", "7-7-7", "a-1", "+7-1", "0-1", "7-99999999999999999999"] {
        assert_eq!(LetterId::parse(bad), None, "{bad}");
    }
}

#[test]
fn query_compares_ids_of_a_letter_and_not_their_tokens() {
    let long = "ari:cloud:jira::site/1";
    let token = crate::domain::token(long);
    // The installation, and the site, of the first letter have the token of those of the second one as ids.
    let letter = |id: &str| {
        let subscription = format!("{id}/k1");
        let headers = [("switchyard-dlq-subscription", &*subscription), ("ce-cloudid", id)];
        letter(1, kind(&token), &headers)
    };
    for member in ["site", "installation"] {
        let of_long = query(json!({ member: long }));
        assert!(of_long.selects(&letter(long)) && !of_long.selects(&letter(&token)), "{member}");
    }
    // Letters of earlier releases have the tokens of their subject only.
    let without_id = super::testing::letter(1, kind(&token), &[]);
    assert!(query(json!({ "installation": long })).selects(&without_id));
}

#[tokio::test]
async fn removal_is_recorded_with_its_reason_if_the_letter_is_there() {
    let letters = MemoryLetters::of([1, 2, 3].map(|sequence| delivery_letter(sequence, "i1")));
    letters.hidden.lock().unwrap().insert(2);
    let log = MemoryLog::default();
    let id = |sequence| delivery_letter(sequence, "i1").id;
    let reasons = [RemovalReason::Operator, RemovalReason::Erased, RemovalReason::Expired];
    for (sequence, reason) in (1..).zip(reasons) {
        let removed = remove(&*letters, Some(&log), id(sequence), reason).await;
        assert_eq!(removed, Ok(sequence != 2));
    }
    let recorded: Vec<_> = log
        .deliveries()
        .into_iter()
        .map(|one| (one["from"].clone(), one["outcome"].clone(), one["why"].clone()))
        .collect();
    let expected = ["rm", "expired"].map(|why| (json!("dead"), json!("removed"), json!(why)));
    assert_eq!(recorded, expected);
}

#[tokio::test]
async fn letters_are_listed_newest_first_in_pages_without_gaps() {
    // With gaps, as deletions leave them, and more than one window.
    let stored = (1..3_000).filter(|sequence| sequence % 3 != 0);
    let letters = MemoryLetters::of(stored.map(|sequence| {
        delivery(sequence, if sequence % 100 == 0 { "rare" } else { "inst" }, "exhausted")
    }));
    for (wanted, limit) in [(json!({}), 500), (json!({"installation": "rare"}), 7)] {
        let query = query(wanted);
        let (mut listed, mut before) = (Vec::new(), None);
        loop {
            let page = newest_first(&*letters, &query, before, limit).await.unwrap();
            assert!(page.letters.len() <= limit);
            listed.extend(sequences(&page.letters));
            before = page.before;
            if before.is_none() {
                break;
            }
            assert_eq!(page.letters.len(), limit);
        }
        let all = letters.letters.lock().unwrap();
        let expected: Vec<u64> = all
            .values()
            .rev()
            .filter(|one| query.selects(one))
            .map(|one| one.id.0.sequence)
            .collect();
        assert_eq!(listed, expected);
    }
}

#[tokio::test]
async fn list_ends_at_the_time_of_its_query() {
    let letters = MemoryLetters::of((1..=1_000).map(|number| delivery(number, "inst", "gone")));
    // Stored one a second, so 995 seconds after the epoch.
    let query = query(json!({"since": "1970-01-01T00:16:35Z"}));
    let page = newest_first(&*letters, &query, None, 100).await.unwrap();
    assert_eq!(sequences(&page.letters), [1_000, 999, 998, 997, 996, 995]);
    assert_eq!(page.before, None);
    assert!(page.scanned <= 256, "older windows are not read");
}

#[test]
fn query_selects_by_every_value_that_is_given() {
    let dead = delivery(5_000, "inst", "rejected_404");
    let other_site = event(5_001);
    for (wanted, selects) in [
        (json!({}), [true, true]),
        (json!({"site": "site-1"}), [true, false]),
        (json!({"site": "site-2"}), [false, true]),
        (json!({"installation": "inst"}), [true, false]),
        (json!({"subscription": "inst/k1"}), [true, false]),
        (json!({"subscription": "inst/k2"}), [false, false]),
        (json!({"reason": "rejected_4xx"}), [true, false]),
        (json!({"reason": "rejected_404"}), [true, false]),
        (json!({"reason": "rejected_403"}), [false, false]),
        (json!({"reason": "poison_json"}), [false, true]),
        (json!({"since": "5000s"}), [true, true]),
        (json!({"since": "4999s"}), [false, true]),
        (json!({"since": "1h"}), [false, false]),
        (json!({"site": "site-1", "reason": "gone"}), [false, false]),
    ] {
        let query = query(wanted.clone());
        let found = [query.selects(&dead), query.selects(&other_site)];
        assert_eq!(found, selects, "{wanted}");
    }
}

#[test]
fn query_with_a_value_that_no_letter_has_is_refused() {
    for (wanted, name) in [
        (json!({"reason": "no such reason"}), "reason"),
        (json!({"since": "yesterday"}), "since"),
        (json!({"since": "-5m"}), "since"),
        (json!({"subscription": "no-slash"}), "subscription"),
    ] {
        let query: LetterQuery = serde_json::from_value(wanted).unwrap();
        assert_eq!(query.fix(now()).unwrap_err().name, name);
    }
    assert!(serde_json::from_value::<LetterQuery>(json!({"sites": "x"})).is_err());
}

/// Parks in memory.
#[derive(Default)]
struct Parking {
    /// Every record that was handed over, in order.
    records: Mutex<Vec<ParkedRecord>>,
    /// Deliveries that wait, with the job that handed them over.
    waiting: Mutex<BTreeMap<String, Option<JobOrigin>>>,
    /// A delivery of which the broker does not say now whether it waits.
    unclear: Mutex<Option<&'static str>>,
    is_full: bool,
}

impl ParkingLot for Parking {
    fn park(&self, _: ParkedRecord) -> BoxFuture<'_, Result<(), ParkError>> {
        panic!("a redrive replaces no record");
    }

    fn hand_over(&self, record: ParkedRecord) -> BoxFuture<'_, Result<HandOver, ParkError>> {
        let mut waiting = self.waiting.lock().unwrap();
        let handed_over = match waiting.get(record.id.as_str()) {
            _ if self.is_full => Err(ParkError::ShareUsed(ShareLevel::Installation)),
            _ if *self.unclear.lock().unwrap() == Some(record.id.as_str()) => {
                Ok(HandOver::NotNow("no answer".into()))
            }
            Some(by) => Ok(HandOver::Occupied(by.clone().map(Box::new))),
            None => {
                let headers: Vec<_> =
                    record.headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
                let by = job_origin(&letter(1, LetterKind::Record, &headers)).unwrap();
                waiting.insert(record.id.to_string(), by);
                self.records.lock().unwrap().push(record);
                Ok(HandOver::Stored)
            }
        };
        Box::pin(async { handed_over })
    }

    fn release(&self, _: &ShareOwner, _: usize) {}
}

/// Every installation but `removed` has its subscription; `waiting` waits for its document.
struct Directory;

impl SubscriptionDirectory for Directory {
    fn is_waiting(&self, installation: &InstallationId) -> bool {
        installation.as_str() == "waiting"
    }

    fn find(&self, id: &SubscriptionId) -> Option<Arc<Subscription>> {
        (id.installation.as_str() != "removed").then(|| {
            Arc::new(Subscription {
                owner: Arc::new(Owner {
                    id: id.installation.clone(),
                    app: "app-1".into(),
                    app_account_id: None,
                    cloud_id: "site-1".into(),
                    licensed: true,
                    permissions: None,
                    settings: DeliverySettings::new(Arc::new(Handler::function("f"))),
                }),
                key: id.key.clone(),
                event_subscriptions: Vec::new().into(),
                revision: 1,
                stats: SubscriptionStats::default(),
            })
        })
    }
}

async fn job_of(letters: &MemoryLetters, selection: Selection) -> Job {
    let bounds = letters.bounds().await.unwrap();
    let (first, last) = (bounds.first, bounds.last);
    let request = RedriveRequest { selection, first, last, plan_complete: None };
    let new = NewJob {
        kind: JobKind::Redrive,
        rate: JobRate::default(),
        request: json!(request),
        plan: None,
    };
    Jobs::new(MemoryJobs::new()).create(new).await.unwrap()
}

/// Steps a job until it is done; returns the number of steps.
async fn run(work: &RedriveWork, job: &mut Job, max: u32) -> usize {
    for steps in 1..10_000 {
        let step = work.step(job, max).await.unwrap();
        assert!(step.handed_over <= max);
        job.cursor = step.cursor;
        job.count(&step.counts);
        if step.is_done {
            return steps;
        }
    }
    panic!("the job does not end");
}

#[tokio::test]
async fn every_selected_letter_is_handed_over_once_and_letters_of_later_are_not() {
    let letters = MemoryLetters::of((1..=2_500).map(|number| {
        let installation = if number % 2 == 0 { "inst" } else { "other" };
        delivery(number, installation, "exhausted")
    }));
    let parking = Arc::new(Parking::default());
    let work = RedriveWork::new(letters.clone(), parking.clone(), Arc::new(Directory), None);
    let query = query(json!({"installation": "inst"}));
    let mut job = job_of(&letters, Selection::Query(query)).await;
    letters.letters.lock().unwrap().insert(2_502, delivery(2_502, "inst", "exhausted"));
    run(&work, &mut job, 40).await;
    let ids: Vec<String> =
        parking.records.lock().unwrap().iter().map(|record| record.id.to_string()).collect();
    let expected: Vec<String> = (1..=1_250).map(|number| format!("dlv_{}", 2 * number)).collect();
    let mut sorted = ids.clone();
    sorted.sort_by_key(|id| id.strip_prefix("dlv_").unwrap().parse::<u64>().unwrap());
    assert_eq!(sorted, expected);
    assert_eq!((job.counts["parked"], job.counts["matched"]), (1_250, 1_250));
    assert_eq!(
        letters.letters.lock().unwrap().len(),
        2_501,
        "letters stay until they are delivered"
    );
}

#[tokio::test]
async fn dry_run_counts_what_the_redrive_then_does() {
    let mut omitted = delivery(4, "inst", "too_large");
    omitted.headers.push(("switchyard-dlq-body-omitted".into(), "9".into()));
    let letters = MemoryLetters::of([
        delivery(1, "inst", "gone"),
        delivery(2, "removed", "gone"),
        event(3),
        omitted,
        letter(5, LetterKind::Record, &[]),
        letter(6, kind("inst"), &[]),
    ]);
    let ids = (1..=7).map(|number| letter(number, LetterKind::Record, &[]).id).collect();
    for selection in [Selection::Ids(ids), Selection::Query(LetterQuery::default())] {
        let is_list = matches!(selection, Selection::Ids(_));
        let mut job = job_of(&letters, selection).await;
        let request: RedriveRequest = serde_json::from_value(job.request.clone()).unwrap();
        let planned = plan(&*letters, &Directory, &request).await.unwrap();
        assert!(planned.is_complete);
        let copy = MemoryLetters::of(letters.letters.lock().unwrap().values().cloned());
        let parking = Arc::new(Parking::default());
        let work = RedriveWork::new(copy.clone(), parking, Arc::new(Directory), None);
        run(&work, &mut job, 2).await;
        assert_eq!(job.counts, planned.counts);
        let mut expected = vec![
            ("matched", 6 + u64::from(is_list)),
            ("parked", 1),
            ("published", 1),
            ("skipped_body_omitted", 1),
            ("skipped_subscription_removed", 1),
            ("skipped_unreadable", 2),
        ];
        if is_list {
            expected.insert(4, ("skipped_not_found", 1));
        }
        let counts: Vec<(&str, u64)> =
            planned.counts.iter().map(|(name, number)| (name.as_str(), *number)).collect();
        expected.sort_unstable();
        assert_eq!(counts, expected);
        assert_eq!(copy.published.lock().unwrap().len(), 1);
        assert_eq!(copy.letters.lock().unwrap().len(), 5, "only the event's letter is deleted");
    }
}

#[tokio::test]
async fn full_event_stream_is_tried_again_and_repeats_nothing() {
    let letters = MemoryLetters::of((1..=5).map(event));
    *letters.room.lock().unwrap() = Some(2);
    let work =
        RedriveWork::new(letters.clone(), Arc::<Parking>::default(), Arc::new(Directory), None);
    let mut job = job_of(&letters, Selection::Query(LetterQuery::default())).await;
    let step = work.step(&job, 5).await.unwrap();
    assert_eq!((step.counts["published"], step.is_done), (2, false));
    job.cursor = step.cursor;
    assert_eq!(work.step(&job, 5).await, Err(JobFailure::Later("full".into())));
    *letters.room.lock().unwrap() = None;
    run(&work, &mut job, 5).await;
    let published =
        letters.published.lock().unwrap().iter().map(|(id, _)| id.0.sequence).collect::<Vec<_>>();
    assert_eq!(published, [1, 2, 3, 4, 5]);
}

#[tokio::test]
async fn letter_whose_owner_has_no_share_left_stays_and_is_reported() {
    let letters = MemoryLetters::of([delivery(1, "inst", "gone")]);
    let parking = Arc::new(Parking { is_full: true, ..Parking::default() });
    let work = RedriveWork::new(letters.clone(), parking, Arc::new(Directory), None);
    let mut job = job_of(&letters, Selection::Query(LetterQuery::default())).await;
    run(&work, &mut job, 5).await;
    assert_eq!(job.counts["skipped_share_used"], 1);
    assert_eq!(letters.letters.lock().unwrap().len(), 1);
}

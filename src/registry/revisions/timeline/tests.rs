use serde_json::{Value, json};

use super::super::history::REVISIONS_OF_MODULE_MAX;
use super::super::owner::RevisionOwner;
use super::*;

/// Time before the first revision.
const START_MS: i64 = 1_000_000;

/// Revision number `number` of the module `k`; the first one is its registration.
fn revision(number: u64, is_static: bool) -> ModuleRevision {
    let mut record = json!({"v": 1, "app": "app", "key": "k", "type": "trigger",
        "document": number * 10, "atMs": at_ms(number), "state": "on", "registered": number == 1,
        "data": {"filter": number.to_string()}});
    if !is_static {
        record["installation"] = json!("inst");
    }
    serde_json::from_value(record).unwrap()
}

fn at_ms(number: u64) -> i64 {
    START_MS + i64::try_from(number).unwrap() * 1_000
}

/// What a stream has of these revisions, stored in this order.
fn stored(revisions: &[ModuleRevision]) -> Vec<StoredRevision> {
    let stored = revisions.iter().zip(1..).map(|(revision, sequence)| StoredRevision {
        owner: RevisionOwner::Installation("inst".into()),
        module: "k".into(),
        sequence,
        revision: Ok(revision.clone()),
    });
    let stored: Vec<_> = stored.collect();
    let deleted = stored.len().saturating_sub(REVISIONS_OF_MODULE_MAX);
    stored.into_iter().skip(deleted).collect()
}

fn timeline(stored: Vec<StoredRevision>) -> OwnerTimeline {
    OwnerTimeline::of(stored, &"k".into())
}

fn history(registered: Vec<StoredRevision>, statics: Vec<StoredRevision>) -> RevisionHistory {
    RevisionHistory::of(timeline(registered), timeline(statics))
}

/// Compares every moment with what happened, `all` in order. Returns from which one on answers are known.
fn known_from(history: &RevisionHistory, all: &[ModuleRevision]) -> Option<u64> {
    let mut known = None;
    for one in all {
        let number = one.document / 10;
        let next_ms = all.iter().map(|later| later.at_ms).find(|at_ms| *at_ms > one.at_ms);
        let next_ms = next_ms.unwrap_or(one.at_ms + 2);
        let moments = [
            RevisionMoment::Time(one.at_ms),
            RevisionMoment::Time(next_ms - 1),
            RevisionMoment::Document(one.document),
            RevisionMoment::Document(one.document + 9),
        ];
        for moment in moments {
            match history.as_of(moment) {
                Ok(found) => {
                    assert_eq!(found, Some(one), "{moment:?}");
                    known.get_or_insert(number);
                }
                Err(RevisionError::NotKept { since_ms }) => {
                    assert!(known.is_none(), "{moment:?}");
                    assert!(since_ms.is_none_or(|since_ms| since_ms > one.at_ms), "{since_ms:?}");
                }
                Err(error) => panic!("{error}"),
            }
        }
    }
    known
}

#[test]
fn what_the_bound_deleted_is_not_kept_and_the_rest_is_known() {
    for (count, first_known) in [(1, 1), (15, 1), (16, 1), (17, 2), (18, 3), (40, 25)] {
        let all: Vec<_> = (1..=count).map(|number| revision(number, false)).collect();
        let history = history(stored(&all), Vec::new());
        assert_eq!(known_from(&history, &all), Some(first_known), "{count}");
        assert_eq!(history.is_complete(), count <= 16, "{count}");
        assert_eq!(history.revisions.len() as u64, count.min(16));
        let since_ms = (count > 16).then(|| at_ms(first_known));
        assert_eq!(history.kept_since_ms(), since_ms);
        // It may have been registered and deleted before.
        let since_ms = since_ms.or(Some(at_ms(1)));
        for before in [RevisionMoment::Time(START_MS), RevisionMoment::Document(9)] {
            assert_eq!(history.as_of(before), Err(RevisionError::NotKept { since_ms }));
        }
        let oldest = history.revisions.last().unwrap();
        assert_eq!(history.before(oldest).is_ok(), count <= 16);
    }
}

#[test]
fn states_that_change_often_do_not_look_complete() {
    // Neither does the number of the module say that a revision is its first one.
    let all: Vec<_> = (1..=20)
        .map(|number| ModuleRevision { revision: Some(1), ..revision(number, false) })
        .collect();
    assert!(!history(stored(&all), Vec::new()).is_complete());
    let of_an_upgrade = ModuleRevision { repaired: true, ..revision(5, false) };
    let history = history(stored(&[of_an_upgrade]), Vec::new());
    assert_eq!((history.is_complete(), history.kept_since_ms()), (false, Some(at_ms(5))));
}

#[test]
fn revisions_that_were_stored_in_reverse_order_are_never_wrong() {
    let all: Vec<_> = (1..=22).map(|number| revision(number, false)).collect();
    for at in 0..21 {
        let mut in_stream = all.clone();
        in_stream.swap(at, at + 1);
        let history = history(stored(&in_stream), Vec::new());
        assert!(known_from(&history, &all).is_some_and(|from| from <= 8), "{at}");
    }
}

#[test]
fn what_cannot_be_read_is_not_answered() {
    let all: Vec<_> = (1..=5).map(|number| revision(number, false)).collect();
    for unreadable in 0..5 {
        let mut in_stream = stored(&all);
        in_stream[unreadable].revision = Err("its format is 2".to_owned());
        let history = history(in_stream, Vec::new());
        let readable: Vec<_> =
            all.iter().filter(|one| one.document != all[unreadable].document).cloned().collect();
        assert_eq!((history.unreadable, history.revisions.len()), (1, 4));
        assert!(!history.is_complete());
        let later = readable.iter().filter(|one| one.document > all[unreadable].document);
        let later: Vec<_> = later.cloned().collect();
        let known = known_from(&history, &later);
        assert_eq!(known, later.first().map(|one| one.document / 10));
        let then = history.as_of(RevisionMoment::Document(all[unreadable].document));
        assert!(matches!(then, Err(RevisionError::NotKept { .. })), "{then:?}");
        for one in &readable {
            let number = usize::try_from(one.document / 10).unwrap();
            match history.before(one) {
                Ok(before) => assert_eq!(before, number.checked_sub(2).map(|at| &all[at])),
                Err(error) => assert!(number <= unreadable + 2, "{number}: {error}"),
            }
        }
    }
}

#[test]
fn a_static_module_hides_a_registered_one_and_so_does_what_is_not_kept_of_it() {
    let registered = [revision(1, false)];
    let of_app =
        |from: u64| -> Vec<_> { (from..from + 30).map(|number| revision(number, true)).collect() };
    let mut late = vec![ModuleRevision { is_registration: true, ..revision(50, true) }];
    let answers = history(stored(&registered), stored(&late));
    let before = answers.as_of(RevisionMoment::Time(at_ms(49)));
    assert_eq!(before, Ok(Some(&registered[0])));
    assert_eq!(answers.as_of(RevisionMoment::Time(at_ms(50))), Ok(Some(&late[0])));
    assert!(answers.is_complete());
    late.extend(of_app(51));
    let answers = history(stored(&registered), stored(&late));
    let since_ms = answers.kept_since_ms();
    assert!(since_ms > Some(at_ms(50)));
    let before = answers.as_of(RevisionMoment::Time(at_ms(49)));
    assert_eq!(before, Err(RevisionError::NotKept { since_ms }), "it may have been hidden");
}

#[test]
fn a_repair_of_the_same_change_replaces_what_was_stored() {
    let first = revision(1, false);
    let repaired =
        ModuleRevision { repaired: true, state: RevisedState::Paused, ..revision(1, false) };
    let in_stream = stored(&[first, repaired.clone(), repaired.clone()]);
    assert_eq!(sorted(in_stream.clone()).last(), Some(&(3, repaired.clone())));
    assert_eq!(history(in_stream, Vec::new()).revisions, [repaired]);
}

#[test]
fn the_answer_before_a_repaired_revision_is_uncertain() {
    let all = [
        revision(1, false),
        revision(2, false),
        ModuleRevision { repaired: true, ..revision(3, false) },
    ];
    let history = history(stored(&all), Vec::new());
    assert_eq!(all.each_ref().map(|one| history.is_end_uncertain(one)), [false, true, false]);
}

#[test]
fn before_a_registration_nothing_is_known_and_a_deletion_is() {
    let deleted = revision(1, false).deleted(20, at_ms(2));
    let again = ModuleRevision { is_registration: true, ..revision(3, false) };
    let all = [revision(1, false), deleted, again];
    let kept = history(stored(&all), Vec::new());
    assert_eq!(kept.as_of(RevisionMoment::Document(25)), Ok(None));
    // What was deleted is not kept, and the key is used again.
    let cut = history(stored(&all[2..]), Vec::new());
    for moment in [RevisionMoment::Document(15), RevisionMoment::Time(at_ms(1))] {
        let since_ms = Some(at_ms(3));
        assert_eq!(cut.as_of(moment), Err(RevisionError::NotKept { since_ms }));
    }
    assert_eq!(cut.before(&all[2]), Ok(None), "a registration says so");
    assert_eq!(history(Vec::new(), Vec::new()).as_of(RevisionMoment::Document(1)), Ok(None));
    // Nor is it known that the module was not registered while a static one was deleted.
    let statics = [revision(1, true), revision(1, true).deleted(20, at_ms(2))];
    let then = |registered: &[ModuleRevision]| {
        let history = history(stored(registered), stored(&statics));
        history.as_of(RevisionMoment::Document(25)).map(Option::<&ModuleRevision>::cloned)
    };
    assert_eq!(then(&[]), Ok(None));
    assert_eq!(then(&all[2..]), Err(RevisionError::NotKept { since_ms: Some(at_ms(3)) }));
    let sentence = RevisionError::NotKept { since_ms: Some(START_MS) }.to_string();
    assert!(sentence.starts_with("no revision of before 1970-"), "{sentence}");
    let none = RevisionError::NotKept { since_ms: None }.to_string();
    assert_eq!(none, "the revision is stored in a format that this release does not read");
}

#[test]
fn the_present_is_added_unless_the_last_revision_is_newer_or_unreadable() {
    let change = |document| Change { document, now_ms: START_MS };
    let key = "k".into();
    let present = |stored: Vec<StoredRevision>, document| {
        let mut timeline = timeline(stored);
        timeline.add_present(&[], &key, change(document));
        timeline.revisions.last().map(|last| last.state)
    };
    let one = || stored(&[revision(1, false)]);
    assert_eq!(present(one(), 11), Some(RevisedState::Deleted));
    assert_eq!(present(one(), 9), Some(RevisedState::On), "the change is not applied here yet");
    let mut unreadable = stored(&[revision(1, false), revision(2, false)]);
    unreadable[1].revision = Err(Value::Null.to_string());
    assert_eq!(present(unreadable, 30), Some(RevisedState::On));
}

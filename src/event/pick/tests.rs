//! What is picked against what the tape holds at the same paths.

use proptest::prelude::*;
use switchyard_expr::view::{NodeId, NodeValue};
use switchyard_expr::{Tape, TapeLimits, View};

use super::*;
use crate::event::scan::Scan;
use crate::event::scan::tests::json;

fn same(pick: Pick<'_>, tape: &Tape, node: Option<NodeId>) -> Result<(), TestCaseError> {
    let Some(node) = node else {
        prop_assert!(matches!(pick, Pick::Missing), "{:?} for nothing", pick);
        return Ok(());
    };
    let expected = tape.read(node);
    let agree = match (pick, expected) {
        (Pick::Null, NodeValue::Null) | (Pick::Map, NodeValue::Map { .. }) => true,
        (Pick::Bool(a), NodeValue::Bool(b)) => a == b,
        (Pick::Number(a), NodeValue::Number(b)) => a.to_bits() == b.to_bits(),
        (Pick::Text(a), NodeValue::String(b)) => a == b.as_bytes(),
        (Pick::List(_), NodeValue::List { .. }) => true,
        (Pick::LongList, NodeValue::List { len }) => len > ITEMS_MAX,
        _ => false,
    };
    prop_assert!(agree, "{:?} for {:?}", pick, expected);
    Ok(())
}

fn children(tape: &Tape, of: NodeId) -> Vec<NodeId> {
    std::iter::successors(tape.first_child(of), |child| tape.next_sibling(*child)).collect()
}

type Members = [(&'static str, usize); 2];

/// The items of a list, with their members `a` and `b`.
fn same_items(
    items: Items<'_>,
    members: Members,
    tape: &Tape,
    list: NodeId,
) -> Result<(), TestCaseError> {
    let nodes = children(tape, list);
    prop_assert_eq!(items.len(), nodes.len());
    prop_assert_eq!(items.is_empty(), nodes.is_empty());
    for (at, node) in nodes.into_iter().enumerate() {
        same(items.get(at, 0), tape, Some(node))?;
        for (name, position) in members {
            same(items.get(at, position), tape, tape.member(node, name))?;
        }
    }
    Ok(())
}

/// Asks for `paths`, and for the items of the lists at every other one.
fn check(text: &str, paths: &[Vec<&str>]) -> Result<(), TestCaseError> {
    let (mut scan, mut tape, limits) = (Scan::default(), Tape::new(), TapeLimits::default());
    let accepted = scan.read(text.as_bytes(), &limits);
    prop_assert_eq!(tape.parse(text.as_bytes(), &limits).is_ok(), accepted);
    prop_assume!(accepted);
    // What was asked before does not matter.
    let mut base = SelectionBuilder::default();
    for path in paths.iter().step_by(2) {
        let place = path.iter().rev().fold(Place::ROOT, |place, name| base.member(place, name));
        base.item_member(place, "b");
    }
    let mut selection = SelectionBuilder::on(&base.finish());
    let mut places = Vec::new();
    for path in paths {
        let place = path.iter().fold(Place::ROOT, |place, name| selection.member(place, name));
        let items = (path.len() % 2 == 1).then(|| {
            selection.items(place);
            ["a", "b"].map(|name| (name, selection.item_member(place, name)))
        });
        places.push((path, place, items));
    }
    let selection = selection.finish();
    let mut picked = Picked::default();
    // Twice, for what the first time leaves behind.
    picked.read(&selection, scan.walk(text.as_bytes()));
    picked.read(&selection, scan.walk(text.as_bytes()));
    let picks = picked.view(&selection, text.as_bytes());
    same(picks.at(Place::ROOT), &tape, Some(tape.root()))?;
    for (path, place, members) in places {
        let node = path.iter().try_fold(tape.root(), |node, name| tape.member(node, name));
        same(picks.at(place), &tape, node)?;
        if let (Some(node), Some(members), Pick::List(items)) = (node, members, picks.at(place)) {
            same_items(items, members, &tape, node)?;
        }
    }
    Ok(())
}

fn path() -> impl Strategy<Value = Vec<&'static str>> {
    let name = prop::sample::select(&["a", "b", "key", "x\n", "", "c"][..]);
    prop::collection::vec(name, 1..5)
}

fn name() -> impl Strategy<Value = &'static str> {
    prop::sample::select(&["a", "b", r"\u0061", "key"][..])
}

fn list(members: &[(&str, String)], comma: &str) -> String {
    let map = |(name, value): &(&str, String)| format!("{{\"b\":1,\"{name}\": {value} }}");
    members.iter().map(map).collect::<Vec<_>>().join(comma)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 4000,
        max_global_rejects: 100_000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn picks_are_what_the_tape_holds(
        members in prop::collection::vec((name(), json()), 0..6),
        paths in prop::collection::vec(path(), 0..8),
    ) {
        let member = |(name, value): &(&str, String)| format!("\"{name}\" : {value}");
        let members: Vec<_> = members.iter().map(member).collect();
        check(&format!("{{{}}}", members.join(",")), &paths)?;
    }

    #[test]
    fn lists_of_maps_are_picked_item_by_item(
        items in prop::collection::vec((name(), json()), 0..5),
    ) {
        let text = format!("{{\"a\":[{}],\"b\":[{}]}}", list(&items, " , "), list(&items, ","));
        check(&text, &[vec!["a"], vec!["b"]])?;
    }
}

#[test]
fn last_of_repeated_members_counts_with_all_that_is_in_it() {
    for text in [
        r#"{"a":{"b":1,"c":2},"a":{"c":3}}"#,
        r#"{"a":{"b":{"key":1}},"a":{"b":2}}"#,
        r#"{"a":{"b":{"key":1}},"a":[1]}"#,
        r#"{"a":[1,2],"a":[{"a":1,"a":2}]}"#,
        r#"{"a":{"b":1},"\u0061":{"c":2}}"#,
        r#"{"a":{"b":{"key":1},"b":null},"a":{"c":{},"c":{}}}"#,
    ] {
        check(text, &[vec!["a"], vec!["a", "b"], vec!["a", "c"], vec!["a", "b", "key"]]).unwrap();
    }
}

#[test]
fn a_selection_that_asks_for_no_more_is_the_one_it_was_made_on() {
    let ask = |builder: &mut SelectionBuilder, names: &[&str]| {
        let place = builder.member(Place::ROOT, "a");
        builder.items(place);
        names.iter().map(|name| builder.item_member(place, name)).collect::<Vec<_>>()
    };
    let mut builder = SelectionBuilder::default();
    assert_eq!(ask(&mut builder, &["a", "b"]), [1, 2]);
    let base = builder.finish();
    let mut same = SelectionBuilder::on(&base);
    assert_eq!(ask(&mut same, &["b", "a"]), [2, 1]);
    assert!(Arc::ptr_eq(&same.finish(), &base));
    let mut more = SelectionBuilder::on(&base);
    assert_eq!(ask(&mut more, &["c"]), [3]);
    assert!(!Arc::ptr_eq(&more.finish(), &base));
    let mut more = SelectionBuilder::on(&base);
    more.member(Place::ROOT, "b");
    assert!(!Arc::ptr_eq(&more.finish(), &base));
    let mut more = SelectionBuilder::on(&base);
    more.items(Place::ROOT);
    assert!(!Arc::ptr_eq(&more.finish(), &base));
}

#[test]
fn lists_are_picked_up_to_the_bound() {
    let max = ITEMS_MAX as usize;
    for len in [0, 1, max - 1, max, max + 1, 10 * max] {
        let list = vec!["{\"a\":[1,[2]]}"; len].join(",");
        let text = format!("{{\"a\":[{list}],\"b\":\"behind\"}}");
        check(&text, &[vec!["a"], vec!["b"]]).unwrap();
    }
}

//! Compares extracted values with the values of the tape at the same paths.

use std::sync::Arc;

use proptest::prelude::*;
use switchyard_expr::view::{NodeId, NodeValue};
use switchyard_expr::{Tape, TapeLimits, View};

use super::*;
use crate::event::scan::Scan;
use crate::event::scan::tests::json;

fn same(pick: JsonValue<'_>, tape: &Tape, node: Option<NodeId>) -> Result<(), TestCaseError> {
    let Some(node) = node else {
        prop_assert!(matches!(pick, JsonValue::Missing), "{:?} for nothing", pick);
        return Ok(());
    };
    let expected = tape.read(node);
    let agree = match (pick, expected) {
        (JsonValue::Null, NodeValue::Null) | (JsonValue::Map, NodeValue::Map { .. }) => true,
        (JsonValue::Bool(a), NodeValue::Bool(b)) => a == b,
        (JsonValue::Number(a), NodeValue::Number(b)) => a.to_bits() == b.to_bits(),
        (JsonValue::Text(a), NodeValue::String(b)) => a == b.as_bytes(),
        (JsonValue::List(_), NodeValue::List { .. }) => true,
        (JsonValue::LongList, NodeValue::List { len }) => len > ITEMS_MAX,
        _ => false,
    };
    prop_assert!(agree, "{:?} for {:?}", pick, expected);
    Ok(())
}

fn children(tape: &Tape, of: NodeId) -> Vec<NodeId> {
    std::iter::successors(tape.first_child(of), |child| tape.next_sibling(*child)).collect()
}

type Members = [(&'static str, usize); 2];

/// Compares the items of a list and their members `a` and `b`.
fn same_items(
    items: ListItems<'_>,
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

/// Projects `paths`, and the items of the lists at every other path.
fn check(text: &str, paths: &[Vec<&str>]) -> Result<(), TestCaseError> {
    let (mut scan, mut tape, limits) = (Scan::default(), Tape::new(), TapeLimits::default());
    let accepted = scan.read(text.as_bytes(), &limits);
    prop_assert_eq!(tape.parse(text.as_bytes(), &limits).is_ok(), accepted);
    prop_assume!(accepted);
    // The fields of the base projection do not change the result.
    let mut base = ProjectionBuilder::default();
    for path in paths.iter().step_by(2) {
        let field = path.iter().rev().fold(FieldId::ROOT, |field, name| base.member(field, name));
        base.item_member(field, "b");
    }
    let mut projection = ProjectionBuilder::on(&base.finish());
    let mut fields = Vec::new();
    for path in paths {
        let field = path.iter().fold(FieldId::ROOT, |field, name| projection.member(field, name));
        let items = (path.len() % 2 == 1).then(|| {
            projection.items(field);
            ["a", "b"].map(|name| (name, projection.item_member(field, name)))
        });
        fields.push((path, field, items));
    }
    let projection = projection.finish();
    let mut buffer = ProjectionBuffer::default();
    // Twice, since the buffer is reused.
    extract(&projection, scan.cursor(text.as_bytes()), &mut buffer);
    extract(&projection, scan.cursor(text.as_bytes()), &mut buffer);
    let values = buffer.view(&projection, text.as_bytes());
    same(values.at(FieldId::ROOT), &tape, Some(tape.root()))?;
    for (path, field, members) in fields {
        let node = path.iter().try_fold(tape.root(), |node, name| tape.member(node, name));
        same(values.at(field), &tape, node)?;
        if let (Some(node), Some(members), JsonValue::List(items)) =
            (node, members, values.at(field))
        {
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
    fn values_equal_those_of_the_tape(
        members in prop::collection::vec((name(), json()), 0..6),
        paths in prop::collection::vec(path(), 0..8),
    ) {
        let member = |(name, value): &(&str, String)| format!("\"{name}\" : {value}");
        let members: Vec<_> = members.iter().map(member).collect();
        check(&format!("{{{}}}", members.join(",")), &paths)?;
    }

    #[test]
    fn lists_of_maps_are_projected_item_by_item(
        items in prop::collection::vec((name(), json()), 0..5),
    ) {
        let text = format!("{{\"a\":[{}],\"b\":[{}]}}", list(&items, " , "), list(&items, ","));
        check(&text, &[vec!["a"], vec!["b"]])?;
    }
}

#[test]
fn last_of_repeated_members_replaces_all_earlier_values() {
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
fn projection_without_new_fields_is_its_base() {
    let add = |builder: &mut ProjectionBuilder, names: &[&str]| {
        let field = builder.member(FieldId::ROOT, "a");
        builder.items(field);
        names.iter().map(|name| builder.item_member(field, name)).collect::<Vec<_>>()
    };
    let mut builder = ProjectionBuilder::default();
    assert_eq!(add(&mut builder, &["a", "b"]), [1, 2]);
    let base = builder.finish();
    let mut same = ProjectionBuilder::on(&base);
    assert_eq!(add(&mut same, &["b", "a"]), [2, 1]);
    assert!(Arc::ptr_eq(&same.finish(), &base));
    let mut more = ProjectionBuilder::on(&base);
    assert_eq!(add(&mut more, &["c"]), [3]);
    assert!(!Arc::ptr_eq(&more.finish(), &base));
    let mut more = ProjectionBuilder::on(&base);
    more.member(FieldId::ROOT, "b");
    assert!(!Arc::ptr_eq(&more.finish(), &base));
    let mut more = ProjectionBuilder::on(&base);
    more.items(FieldId::ROOT);
    assert!(!Arc::ptr_eq(&more.finish(), &base));
}

#[test]
fn lists_are_projected_up_to_the_limit() {
    let max = ITEMS_MAX as usize;
    for len in [0, 1, max - 1, max, max + 1, 10 * max] {
        let list = vec!["{\"a\":[1,[2]]}"; len].join(",");
        let text = format!("{{\"a\":[{list}],\"b\":\"behind\"}}");
        check(&text, &[vec!["a"], vec!["b"]]).unwrap();
    }
}

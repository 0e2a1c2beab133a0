//! The event values that the filters of the mix read, for peers without a JSON parser. They are read
//! with the checked paths of `sonic-rs`, the fastest complete parser among the published crates.

use std::borrow::Cow;
use std::sync::LazyLock;

use sonic_rs::{LazyValue, PointerTree};

/// The values as they are in the event.
pub(crate) struct Facts {
    pub(crate) project: &'static str,
    pub(crate) kind: &'static str,
    pub(crate) priority: &'static str,
    pub(crate) status: &'static str,
    pub(crate) summary: &'static str,
    pub(crate) points: i64,
    items: LazyValue<'static>,
}

static PATHS: LazyLock<PointerTree> = LazyLock::new(|| {
    let mut tree = PointerTree::new();
    let of_fields: [&[&str]; 6] = [
        &["project", "key"],
        &["issuetype", "name"],
        &["priority", "name"],
        &["status", "name"],
        &["summary"],
        &["customfield_10016"],
    ];
    for path in of_fields {
        tree.add_path(["issue", "fields"].iter().chain(path));
    }
    tree.add_path(["changelog", "items"].iter());
    tree
});

impl Facts {
    /// Reads an event of the workload.
    pub(crate) fn read(event: &'static [u8]) -> Self {
        let values = sonic_rs::get_many(event, &PATHS).expect("JSON");
        let mut values = values.into_iter().map(|value| value.expect("a value that is there"));
        let mut next = || values.next().expect("a value for each path");
        Self {
            project: text(&next()),
            kind: text(&next()),
            priority: text(&next()),
            status: text(&next()),
            summary: text(&next()),
            points: next().as_raw_str().parse().expect("a number"),
            items: next(),
        }
    }

    /// Field and new value of each change.
    pub(crate) fn changes(&self) -> impl Iterator<Item = (&str, &str)> {
        let raw = self.items.as_raw_str();
        sonic_rs::to_array_iter(raw).map(|item| {
            let item = item.expect("JSON");
            let Cow::Borrowed(raw) = item.as_raw_cow() else {
                unreachable!("it is a part of text")
            };
            let of = |name| {
                let value: LazyValue<'_> = sonic_rs::get(raw, [name]).expect("a member");
                let Cow::Borrowed(raw) = value.as_raw_cow() else { unreachable!("likewise") };
                unquoted(raw)
            };
            (of("field"), of("toString"))
        })
    }
}

fn text(value: &LazyValue<'static>) -> &'static str {
    let Cow::Borrowed(raw) = value.as_raw_cow() else { unreachable!("it is a part of the event") };
    unquoted(raw)
}

/// The texts that the filters read have no escapes in this workload.
fn unquoted(raw: &str) -> &str {
    let inside = raw.strip_prefix('"').and_then(|raw| raw.strip_suffix('"')).expect("a text");
    debug_assert!(!inside.contains('\\'));
    inside
}

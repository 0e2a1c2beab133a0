//! The shadow of a trigger: a filter that is compared with the one in force and delivers nothing, and
//! what is kept of the filter that a promoted shadow replaced.

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use super::module_fields::ModuleFields;
use crate::domain::UnknownMembers;

/// The members of a trigger that a shadow may have: those that say which events match.
pub(crate) const FILTER_MEMBERS: [&str; 2] = ["filter", "events"];

/// Characters of the name of a shadow.
const NAME_CHARS: usize = 12;

/// A filter that is compared with the filter of its module.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ShadowFilter {
    /// `filter`, `events` or both, in place of those of the module; null for none.
    pub members: ModuleFields,
    /// Events that are stored after this sequence are compared.
    pub after: u64,
    /// When the stream with this sequence was created, milliseconds since the epoch: of another one all
    /// events are compared.
    pub stream_ms: i64,
    /// When it was set, milliseconds since the epoch.
    pub set_ms: i64,
    /// [Digest](filter_digest) of the module when it was set.
    pub against: String,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

/// The last promotion of a shadow.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Promotion {
    /// The members that were replaced; none once they are back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub before: Option<ModuleFields>,
    /// [Digest](filter_digest) of the module that the promotion, or its rollback, made.
    pub made: String,
    /// [Name](ShadowFilter::name) of the shadow that was promoted; none once it is rolled back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
    /// When that was, milliseconds since the epoch.
    pub at_ms: i64,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl ShadowFilter {
    /// Returns its name: one that was set again, or with other members, has another.
    #[must_use]
    pub fn name(&self) -> String {
        let begin = format!("{} {} {} {}", self.set_ms, self.stream_ms, self.after, self.against);
        let digest = Sha256::new().chain_update(begin).chain_update(self.members.text()).finalize();
        HEXLOWER.encode(&digest).chars().take(NAME_CHARS).collect()
    }

    /// Returns the data of the module as it would be with these members.
    pub(crate) fn applied_to(&self, data: &ModuleFields) -> Map<String, Value> {
        with_members(data.read(), self.members.read())
    }
}

/// Returns the data of a trigger with `members` in place of its own; null removes one.
pub(crate) fn with_members(
    mut data: Map<String, Value>,
    members: Map<String, Value>,
) -> Map<String, Value> {
    for (name, value) in members {
        match value {
            Value::Null => data.remove(&name),
            value => data.insert(name, value),
        };
    }
    data
}

/// Returns the members of a trigger that say which events match; null for those that it lacks.
pub(crate) fn filter_members(data: &ModuleFields) -> ModuleFields {
    let mut data = data.read();
    let members = FILTER_MEMBERS.map(|name| (name.to_owned(), data.remove(name)));
    let members = members.into_iter().map(|(name, value)| (name, value.unwrap_or(Value::Null)));
    members.collect::<Map<_, _>>().into()
}

/// Returns the SHA-256, in hex, of what says which events a trigger matches.
pub(crate) fn filter_digest(data: &ModuleFields) -> String {
    HEXLOWER.encode(&Sha256::digest(filter_members(data).text()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn fields(value: &Value) -> ModuleFields {
        value.as_object().unwrap().clone().into()
    }

    #[test]
    fn members_take_the_place_of_those_of_the_module_and_go_back() {
        let data = fields(&json!({"key": "k", "endpoint": "hook", "events": ["a"],
            "filter": {"expression": "true"}}));
        let shadow = ShadowFilter {
            members: fields(&json!({"filter": null, "events": ["a", "b"]})),
            after: 7,
            stream_ms: 3,
            set_ms: 1,
            against: filter_digest(&data),
            unknown: UnknownMembers::default(),
        };
        let others = [
            ShadowFilter { set_ms: 2, ..shadow.clone() },
            ShadowFilter { members: fields(&json!({"filter": null})), ..shadow.clone() },
        ];
        assert_eq!((shadow.name().len(), shadow.name()), (12, shadow.clone().name()));
        assert!(others.iter().all(|other| other.name() != shadow.name()));
        let promoted = shadow.applied_to(&data);
        let expected = json!({"key": "k", "endpoint": "hook", "events": ["a", "b"]});
        assert_eq!(Value::Object(promoted.clone()), expected);
        let back = with_members(promoted, filter_members(&data).read());
        assert_eq!(back, data.read());
    }

    #[test]
    fn digest_is_of_filter_and_events_only() {
        let data = fields(&json!({"events": ["a"], "endpoint": "hook"}));
        let handler = fields(&json!({"events": ["a"], "endpoint": "other"}));
        assert_eq!(filter_digest(&data), filter_digest(&handler));
        for other in [json!({"events": ["b"]}), json!({"events": ["a"], "filter": {}})] {
            assert_ne!(filter_digest(&data), filter_digest(&fields(&other)), "{other}");
        }
    }

    #[test]
    fn stored_members_are_read_and_written_unchanged() {
        let shadow = json!({"members": {"filter": {"expression": "true"}}, "after": 7, "streamMs": 3,
            "setMs": 1_796_000_000_000_i64, "against": "ab", "ofALaterRelease": 1});
        let read: ShadowFilter = serde_json::from_value(shadow.clone()).unwrap();
        assert_eq!(serde_json::to_value(&read).unwrap(), shadow);
        let before = json!({"before": {"filter": null, "events": ["a"]}, "made": "cd",
            "shadow": "0a1b2c3d4e5f", "atMs": 1_796_000_000_000_i64, "ofALaterRelease": 1});
        for promotion in [before, json!({"made": "cd", "atMs": 2})] {
            let read: Promotion = serde_json::from_value(promotion.clone()).unwrap();
            assert_eq!(serde_json::to_value(&read).unwrap(), promotion);
        }
    }
}

//! Conditions of Connect webhooks: which installations receive the events.
//!
//! **Source:** Atlassian Connect, "Conditions", "Single condition" and "Composite condition".

use serde_json::Value;

use crate::registry::model::{Problem, code};

/// The only condition that the state of an installation decides.
const LICENSED: &str = "addon_is_licensed";
/// Deepest nesting of conditions.
const CONDITIONS_DEEP: u8 = 8;
/// Longest part of a name in a message, in characters.
const SHOWN_CHARS_MAX: usize = 60;

/// The installations that conditions select.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Audience {
    /// All.
    Everyone,
    /// Those with an active licence.
    Licensed,
    /// Unknown, because a condition is about a user, a page or an entity, which events do not have; or
    /// none with a licence.
    Undecided(Problem),
}

/// Reads the conditions at `path`.
///
/// # Errors
/// They have another form than the vendor's.
pub(super) fn audience(conditions: &Value, path: &str) -> Result<Audience, Box<Problem>> {
    let all = Condition::All(Condition::list(conditions, path, CONDITIONS_DEEP)?);
    let undecided = |why: String| {
        let help = format!("only `{LICENSED}` is decided here; test the others in the handler");
        Audience::Undecided(Problem::new(code::CONDITION, path, why).with_help(help))
    };
    Ok(match (all.holds(true), all.holds(false)) {
        (Some(true), Some(true)) => Audience::Everyone,
        (Some(true), Some(false)) => Audience::Licensed,
        (Some(false), Some(_)) => undecided("with an active licence this never holds".to_owned()),
        _ => match all.first_unknown() {
            Some(name) => undecided(format!("the condition `{name}` cannot be decided here")),
            None => undecided(format!("conditions are nested deeper than {CONDITIONS_DEEP}")),
        },
    })
}

enum Condition {
    Licensed,
    Unlicensed,
    Unknown(String),
    TooDeep,
    All(Vec<Condition>),
    Any(Vec<Condition>),
}

impl Condition {
    fn list(value: &Value, path: &str, deep: u8) -> Result<Vec<Self>, Box<Problem>> {
        let items = value.as_array().ok_or_else(|| wrong(path, "this is a list of conditions"))?;
        let numbered = items.iter().enumerate();
        numbered.map(|(at, item)| Self::parse(item, &format!("{path}[{at}]"), deep)).collect()
    }

    fn parse(value: &Value, path: &str, deep: u8) -> Result<Self, Box<Problem>> {
        let members = value.as_object().ok_or_else(|| wrong(path, "a condition is an object"))?;
        let Some(deeper) = deep.checked_sub(1) else { return Ok(Self::TooDeep) };
        let nested = |name: &str| {
            let list = members.get(name)?;
            Some(Self::list(list, &format!("{path}.{name}"), deeper))
        };
        if let Some(all) = nested("and") {
            return all.map(Self::All);
        }
        if let Some(any) = nested("or") {
            return any.map(Self::Any);
        }
        if let Some(composed) = nested("conditions") {
            return match members.get("type").map_or(Some("and"), Value::as_str) {
                Some("and" | "AND") => composed.map(Self::All),
                Some("or" | "OR") => composed.map(Self::Any),
                _ => Err(wrong(&format!("{path}.type"), "this is one of and, or")),
            };
        }
        let name = members.get("condition").and_then(Value::as_str);
        let name = name.ok_or_else(|| {
            wrong(&format!("{path}.condition"), "a condition has a name, a string")
        })?;
        let is_inverted = match members.get("invert") {
            None => false,
            Some(invert) => invert
                .as_bool()
                .ok_or_else(|| wrong(&format!("{path}.invert"), "this is true or false"))?,
        };
        Ok(match (name, is_inverted) {
            (LICENSED, false) => Self::Licensed,
            (LICENSED, true) => Self::Unlicensed,
            (other, _) => Self::Unknown(other.chars().take(SHOWN_CHARS_MAX).collect()),
        })
    }

    /// Whether it is true for an installation with or without a licence, if that decides it.
    fn holds(&self, licensed: bool) -> Option<bool> {
        let each = |list: &[Self]| -> Option<Vec<bool>> {
            list.iter().map(|condition| condition.holds(licensed)).collect()
        };
        match self {
            Self::Licensed => Some(licensed),
            Self::Unlicensed => Some(!licensed),
            Self::Unknown(_) | Self::TooDeep => None,
            Self::All(list) => Some(!each(list)?.contains(&false)),
            Self::Any(list) => Some(each(list)?.contains(&true)),
        }
    }

    fn first_unknown(&self) -> Option<&str> {
        match self {
            Self::Unknown(name) => Some(name),
            Self::All(list) | Self::Any(list) => list.iter().find_map(Self::first_unknown),
            Self::Licensed | Self::Unlicensed | Self::TooDeep => None,
        }
    }
}

fn wrong(path: &str, message: &str) -> Box<Problem> {
    Box::new(Problem::new(code::FORM, path, message))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(conditions: Value) -> Result<Audience, String> {
        audience(&conditions, "c").map_err(|problem| problem.path)
    }

    #[test]
    fn licence_is_the_one_condition_alone_or_composed() {
        let licensed = json!({"condition": LICENSED});
        let not = json!({"condition": LICENSED, "invert": true});
        let either = json!({"type": "OR", "conditions": [licensed, not]});
        assert_eq!(read(json!([])), Ok(Audience::Everyone));
        assert_eq!(read(json!([{"or": [licensed, not]}])), Ok(Audience::Everyone));
        assert_eq!(read(json!([either])), Ok(Audience::Everyone));
        for selects in [
            json!([licensed]),
            json!([{"and": [licensed, {"or": [licensed, not]}]}]),
            json!([{"type": "and", "conditions": [either, licensed]}]),
            json!([{"conditions": [licensed], "invert": true}, licensed]),
        ] {
            assert_eq!(read(selects.clone()), Ok(Audience::Licensed), "{selects}");
        }
    }

    #[test]
    fn other_conditions_are_undecided_wherever_they_are() {
        let licensed = json!({"condition": LICENSED});
        let admin = json!({"condition": "user_is_admin", "params": {"a": 1}});
        let mut deep = licensed.clone();
        for _ in 0..CONDITIONS_DEEP {
            deep = json!({"and": [deep]});
        }
        for (conditions, says) in [
            (json!([admin]), "`user_is_admin`"),
            (json!([{"or": [licensed, {"and": [admin]}]}]), "`user_is_admin`"),
            (json!([{"type": "or", "conditions": [admin]}]), "`user_is_admin`"),
            (json!([{"condition": "feature_flag", "invert": true}]), "`feature_flag`"),
            (json!([{"condition": LICENSED, "invert": true}]), "never holds"),
            (json!([{"or": []}]), "never holds"),
            (json!([deep]), "nested deeper than 8"),
        ] {
            let Ok(Audience::Undecided(why)) = read(conditions.clone()) else {
                panic!("{conditions}")
            };
            assert!(why.message.contains(says) && why.path == "c", "{why:?}");
        }
        assert_eq!(read(json!([deep["and"][0]])), Ok(Audience::Licensed));
    }

    #[test]
    fn malformed_conditions_are_refused_with_their_path() {
        for (conditions, path) in [
            (json!({"condition": LICENSED}), "c"),
            (json!([LICENSED]), "c[0]"),
            (json!([{"and": [{"or": [{"condition": "a"}, null]}]}]), "c[0].and[0].or[1]"),
            (json!([{"and": {"condition": "a"}}]), "c[0].and"),
            (json!([{"condition": "a", "invert": "no"}]), "c[0].invert"),
            (json!([{"params": {}}]), "c[0].condition"),
            (json!([{"type": "xor", "conditions": []}]), "c[0].type"),
        ] {
            assert_eq!(read(conditions.clone()), Err(path.to_owned()), "{conditions}");
        }
    }
}

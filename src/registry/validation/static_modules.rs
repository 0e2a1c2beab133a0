//! Static modules of an app as they are submitted: in the form of a Connect descriptor.
//!
//! **Source:** Atlassian Connect, descriptor schema: most module types hold a list, some a single
//! object (`configurePage`, `postInstallPage`); `webhooks` need no key.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::de::value::{MapAccessDeserializer, SeqAccessDeserializer};
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};

use crate::domain::token;
use crate::registry::model::AppKind;

/// Longest part of a module type in a derived key, in characters.
const TYPE_CHARS_MAX: usize = 40;

/// Static modules by type.
#[derive(Clone, PartialEq, Debug, Default, serde::Deserialize)]
pub struct StaticModules(BTreeMap<String, ModulesOfType>);

/// The modules of one type: a list, or a single one.
#[derive(Clone, PartialEq, Debug)]
struct ModulesOfType {
    modules: Vec<Map<String, Value>>,
    is_single: bool,
}

impl StaticModules {
    /// Returns the modules in the stored form: a list for each type, and a key in each module of a
    /// Connect app. A key that is left out is derived from the content of the module, so that it is
    /// the same in every version of the app that has this module.
    #[must_use]
    pub fn stored(&self, kind: AppKind) -> BTreeMap<String, Vec<Map<String, Value>>> {
        let mut all: BTreeMap<String, Vec<Map<String, Value>>> =
            self.0.iter().map(|(name, of_type)| (name.clone(), of_type.modules.clone())).collect();
        if kind == AppKind::Connect {
            add_keys(&mut all);
        }
        all
    }

    /// Returns the path of a module in the request.
    pub(super) fn path(&self, module_type: &str, index: usize) -> String {
        let is_single = self.0.get(module_type).is_some_and(|of_type| of_type.is_single);
        match is_single {
            true => format!("staticModules.{module_type}"),
            false => format!("staticModules.{module_type}[{index}]"),
        }
    }
}

fn add_keys(all: &mut BTreeMap<String, Vec<Map<String, Value>>>) {
    let given = all.values().flatten().filter_map(|data| data.get("key")?.as_str());
    let mut taken: BTreeSet<String> = given.map(str::to_owned).collect();
    let mut numbers: BTreeMap<String, usize> = BTreeMap::new();
    for (module_type, modules) in all {
        for data in modules.iter_mut().filter(|data| !data.contains_key("key")) {
            let base = derived_key(module_type, data);
            let mut key = base.clone();
            // Equal modules differ in their position.
            let number = numbers.entry(base.clone()).or_insert(1);
            while !taken.insert(key.clone()) {
                *number += 1;
                key = format!("{base}-{number}");
            }
            data.insert("key".to_owned(), key.into());
        }
    }
}

/// Returns `<type>-<digest of the content>`. The members of an object are sorted by name.
fn derived_key(module_type: &str, data: &Map<String, Value>) -> String {
    let content = Value::Object(data.clone()).to_string();
    let legal = |letter: &char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-');
    let name: String = module_type.chars().filter(legal).take(TYPE_CHARS_MAX).collect();
    format!("{name}-{}", token(&format!("{{{module_type}}}{content}")))
}

impl<'de> Deserialize<'de> for ModulesOfType {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct ModulesVisitor;
        impl<'de> Visitor<'de> for ModulesVisitor {
            type Value = ModulesOfType;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of modules or a module, which is an object")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Self::Value, A::Error> {
                let modules = Vec::deserialize(SeqAccessDeserializer::new(seq))?;
                Ok(ModulesOfType { modules, is_single: false })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Self::Value, A::Error> {
                let module = Map::deserialize(MapAccessDeserializer::new(map))?;
                Ok(ModulesOfType { modules: vec![module], is_single: true })
            }
        }
        from.deserialize_any(ModulesVisitor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn read(value: Value) -> StaticModules {
        serde_json::from_value(value).unwrap()
    }

    fn keys(value: Value) -> Vec<String> {
        let stored = read(value).stored(AppKind::Connect);
        let modules = stored.values().flatten();
        modules.map(|data| data["key"].as_str().unwrap().to_owned()).collect()
    }

    #[test]
    fn single_object_is_a_list_of_one() {
        let modules = read(json!({"configurePage": {"key": "c", "url": "/c"}, "webhooks": []}));
        let stored = modules.stored(AppKind::Connect);
        assert_eq!(stored["configurePage"].len(), 1);
        assert_eq!(modules.path("configurePage", 0), "staticModules.configurePage");
        assert_eq!(modules.path("webhooks", 3), "staticModules.webhooks[3]");
    }

    #[test]
    fn derived_key_depends_on_the_content_alone() {
        let a = json!({"event": "jira:issue_created", "url": "/a"});
        let b = json!({"event": "jira:issue_updated", "url": "/a"});
        let first = keys(json!({"webhooks": [a, b]}));
        let moved = keys(json!({"webhooks": [b, {"url": "/a", "event": "jira:issue_created"}]}));
        assert_eq!([&first[0], &first[1]], [&moved[1], &moved[0]]);
        assert_ne!(first[0], first[1]);
        assert!(first[0].starts_with("webhooks-") && first[0].len() < 64, "{first:?}");
        let twice = keys(json!({"webhooks": [a, a, {"key": "own", "event": "e", "url": "/"}]}));
        assert_eq!(twice, [first[0].clone(), format!("{}-2", first[0]), "own".into()]);
        assert_ne!(keys(json!({"web/Panels": [a]}))[0], first[0]);
    }

    #[test]
    fn many_equal_modules_get_different_keys() {
        let equal: Vec<Value> = (0..20_000).map(|_| json!({"event": "e", "url": "/"})).collect();
        let found: BTreeSet<String> = keys(json!({"webhooks": equal})).into_iter().collect();
        assert_eq!(found.len(), 20_000);
    }

    #[test]
    fn modules_of_forge_apps_are_as_submitted() {
        let stored = read(json!({"trigger": [{"events": []}]})).stored(AppKind::Forge);
        assert!(!stored["trigger"][0].contains_key("key"));
    }

    #[test]
    fn other_values_are_no_modules() {
        for wrong in [json!({"a": 1}), json!({"a": null}), json!({"a": [1]}), json!([])] {
            assert!(serde_json::from_value::<StaticModules>(wrong.clone()).is_err(), "{wrong}");
        }
    }
}

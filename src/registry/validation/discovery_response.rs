//! Parser and rules of a discovery response.
//!
//! **Source:** Forge RFC-98, dynamic modules: keys of the manifest have priority; two dynamic modules
//! with one key are both ignored; more modules than the limit ignores all; undeclared types are ignored.
//! Extension: every ignored module is kept with its reason.

use std::collections::HashMap;

use serde::Deserialize;
use serde_json::{Map, Value};

use super::module_key::key_problem;
use crate::domain::{ModuleKey, UnknownMembers};
use crate::registry::model::{AppRecord, IgnoreRule, IgnoredModule, Problem, summary};

/// Maximum number of ignored modules kept with their reason.
pub(crate) const IGNORED_MAX: usize = 200;
/// Longest kept reason, in characters.
const REASON_CHARS_MAX: usize = 500;

#[derive(Deserialize)]
struct Answer {
    modules: Vec<Value>,
}

/// A well-formed module of a response.
pub(crate) struct DiscoveredModule {
    pub(crate) key: ModuleKey,
    pub(crate) module_type: String,
    pub(crate) data: Map<String, Value>,
}

/// The modules of a response, classified.
#[derive(Default)]
pub(crate) struct ClassifiedModules {
    pub(crate) discovered: Vec<DiscoveredModule>,
    pub(crate) ignored: Vec<IgnoredModule>,
    /// Why the whole response is unusable.
    pub(crate) rejected: Option<String>,
}

impl ClassifiedModules {
    /// A response of which nothing is used.
    pub(crate) fn rejected(reason: String) -> Self {
        Self { rejected: Some(reason), ..Self::default() }
    }

    fn ignore(&mut self, module: &Value, rule: IgnoreRule, reason: &str) {
        self.ignored.push(ignored_module(module, rule, reason));
    }
}

/// Applies the rules that need only the response and the app.
pub(crate) fn classify(app: &AppRecord, body: &[u8], modules_max: usize) -> ClassifiedModules {
    let answer: Answer = match serde_json::from_slice(body) {
        Ok(answer) => answer,
        Err(error) => {
            let reason = format!("the answer is not {{\"modules\": [..]}}: {error}");
            return ClassifiedModules::rejected(reason);
        }
    };
    let count = answer.modules.len();
    if count > modules_max {
        let reason = format!("the answer has {count} modules, the limit is {modules_max}");
        let ignored = answer.modules.iter().take(IGNORED_MAX);
        let ignored = ignored.map(|module| ignored_module(module, IgnoreRule::TooMany, &reason));
        let ignored = ignored.collect();
        return ClassifiedModules { ignored, ..ClassifiedModules::rejected(reason) };
    }
    let mut uses: HashMap<&str, usize> = HashMap::new();
    for key in answer.modules.iter().filter_map(key_of) {
        *uses.entry(key).or_default() += 1;
    }
    let static_keys = app.static_keys();
    let types = app.discovery.as_ref().map_or(&[] as &[String], |discovery| &discovery.types);
    let mut classified = ClassifiedModules::default();
    for module in &answer.modules {
        let is_repeated = key_of(module).and_then(|key| uses.get(key)).is_some_and(|n| *n > 1);
        match parse_module(module) {
            Err(reason) => classified.ignore(module, IgnoreRule::Invalid, &reason),
            Ok(_) if is_repeated => {
                let reason = "two modules have this key";
                classified.ignore(module, IgnoreRule::DuplicateKey, reason);
            }
            Ok(discovered) if static_keys.contains(discovered.key.as_str()) => {
                let reason = "a module of the app itself has this key";
                classified.ignore(module, IgnoreRule::StaticKey, reason);
            }
            Ok(discovered) if !types.contains(&discovered.module_type) => {
                let reason = format!("the app declares no use of `{}`", discovered.module_type);
                classified.ignore(module, IgnoreRule::Undeclared, &reason);
            }
            Ok(discovered) => classified.discovered.push(discovered),
        }
    }
    classified
}

/// A module that could not be registered.
pub(crate) fn invalid_module(
    key: &ModuleKey,
    module_type: &str,
    problems: &[Problem],
) -> IgnoredModule {
    IgnoredModule {
        key: Some(key.to_string()),
        module_type: Some(module_type.to_owned()),
        rule: IgnoreRule::Invalid,
        reason: shortened(&summary(problems)),
        unknown: UnknownMembers::default(),
    }
}

/// Cuts a reason to the length that is kept.
pub(crate) fn shortened(reason: &str) -> String {
    reason.chars().take(REASON_CHARS_MAX).collect()
}

fn key_of(module: &Value) -> Option<&str> {
    module.get("key")?.as_str()
}

/// Parses one module of a response, or returns why it is malformed.
fn parse_module(module: &Value) -> Result<DiscoveredModule, String> {
    let key = key_of(module).ok_or("a module has a key, which is a string")?;
    if let Some(problem) = key_problem(key, "key") {
        return Err(problem.sentence());
    }
    let module_type = module.get("type").and_then(Value::as_str);
    let data = module.get("data").and_then(Value::as_object);
    let data = data.cloned().ok_or("a module has data, which is an object")?;
    if data.get("key").is_some_and(|inside| inside.as_str() != Some(key)) {
        return Err(format!("data.key differs from the key of the module, `{key}`"));
    }
    Ok(DiscoveredModule {
        key: key.into(),
        module_type: module_type.ok_or("a module has a type, which is a string")?.to_owned(),
        data,
    })
}

fn ignored_module(module: &Value, rule: IgnoreRule, reason: &str) -> IgnoredModule {
    let text = |name: &str| {
        let text = module.get(name)?.as_str()?;
        Some(shortened(text))
    };
    IgnoredModule {
        key: text("key"),
        module_type: text("type"),
        rule,
        reason: reason.to_owned(),
        unknown: UnknownMembers::default(),
    }
}

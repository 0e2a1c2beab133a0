//! Shadows of triggers: what is accepted, what a promotion changes, and what a rollback puts back.

use std::time::Duration;

use serde_json::{Map, Value, json};

use super::{EVENT, Replica, first_code, id_of, trigger};
use crate::domain::ModuleKey;
use crate::matcher::Subscription;
use crate::registry::model::{ModuleRecord, code};
use crate::registry::{RegisterError, RegisteredModule};

fn members(value: Value) -> Map<String, Value> {
    let Value::Object(members) = value else { panic!("an object") };
    members
}

fn filter(expression: &str) -> Value {
    json!({"filter": {"expression": expression}})
}

impl Replica {
    async fn set_shadow(
        &self,
        key: &ModuleKey,
        value: Value,
    ) -> Result<RegisteredModule, RegisterError> {
        self.shadows().set(&"inst-a".into(), key, members(value), (7, 3), None).await
    }

    async fn promote(
        &self,
        key: &ModuleKey,
        expected: Option<u64>,
    ) -> Result<ModuleRecord, RegisterError> {
        let promoted = self.shadows().promote(&"inst-a".into(), key, None, expected).await;
        promoted.map(|promoted| promoted.module)
    }

    async fn promote_named(
        &self,
        key: &ModuleKey,
        name: &str,
    ) -> Result<ModuleRecord, RegisterError> {
        let promoted = self.shadows().promote(&"inst-a".into(), key, Some(name), None).await;
        promoted.map(|promoted| promoted.module)
    }

    async fn roll_back(&self, key: &ModuleKey) -> Result<ModuleRecord, RegisterError> {
        let restored = self.shadows().roll_back(&"inst-a".into(), key, None).await;
        restored.map(|restored| restored.module)
    }

    async fn replace(&self, module: &ModuleRecord, changes: Value) -> ModuleRecord {
        let (spec, id) = (trigger(changes), "inst-a".into());
        let replaced = self.forge_modules().replace(&id, &module.key, spec, None).await;
        replaced.unwrap().module
    }

    fn expression(&self, module: &ModuleRecord) -> Option<String> {
        expression(&self.subscription(&id_of(module)).unwrap())
    }
}

fn expression(subscription: &Subscription) -> Option<String> {
    let program = subscription.event_subscriptions[0].program.as_ref()?;
    Some(program.source().to_string())
}

#[tokio::test]
async fn shadow_is_stored_compared_and_delivers_nothing() {
    let (replica, store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    tokio::time::sleep(Duration::from_millis(5)).await;
    let set = replica.set_shadow(&module.key, filter("2 == 2")).await.unwrap();
    // A shadow changes nothing of what is delivered.
    assert_eq!((set.module.revision, set.module.updated_ms), (2, module.updated_ms));
    assert_eq!(set.complexity.len(), 1);
    assert_eq!(replica.expression(&module).as_deref(), Some("1 == 1"));
    assert_eq!(replica.counts().shadows, 1);
    let later = Replica::over(&store).await;
    for replica in [&replica, &later] {
        assert_eq!(replica.shadows().all(), [id_of(&module)]);
        let found = replica.shadows().comparison(&id_of(&module)).unwrap().unwrap();
        assert_eq!((found.after, found.site.as_str()), (7, "cloud-1"));
        assert_eq!(expression(&found.filter).as_deref(), Some("1 == 1"));
        assert_eq!(expression(&found.shadow).as_deref(), Some("2 == 2"));
    }
    // The same again is the same shadow, with its begin.
    let id = "inst-a".into();
    let again = members(filter("2 == 2"));
    let again = replica.shadows().set(&id, &module.key, again, (99, 3), Some(1)).await;
    let again = again.unwrap().module;
    assert_eq!((again.revision, again.shadow.unwrap().after), (2, 7));
    for _ in 0..2 {
        replica.shadows().remove(&"inst-a".into(), &module.key, None).await.unwrap();
        assert_eq!(replica.counts().shadows, 0);
        assert!(replica.shadows().all().is_empty());
    }
}

#[tokio::test]
async fn what_is_compiled_of_a_shadow_has_the_same_revisions_until_a_document_changes() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    let revisions = || replica.shadows().revisions(&id_of(&module)).unwrap();
    let mut seen = vec![revisions()];
    replica.set_shadow(&module.key, filter("2 == 2")).await.unwrap();
    seen.push(revisions());
    replica.replace(&module, filter("3 == 3")).await;
    seen.push(revisions());
    replica.put_forge(json!({"scopes": ["read:me"]})).await.unwrap();
    seen.push(revisions());
    replica.install("inst-a", json!({"state": "disabled"})).await.unwrap();
    seen.push(revisions());
    assert_eq!(revisions(), seen[4]);
    assert!(seen.windows(2).all(|two| two[0] != two[1]), "{seen:?}");
}

#[tokio::test]
async fn invalid_shadow_is_refused_with_its_problems() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    let cases = [
        (json!({}), code::MISSING, ""),
        (json!({"endpoint": "hook"}), code::UNKNOWN_MEMBER, "endpoint"),
        (json!({"events": ["avi:jira:no:such"]}), code::UNKNOWN_EVENT, "events[0]"),
        (json!({"filter": {"expression": 7}}), code::FORM, "filter.expression"),
        (json!({"events": [{"eventType": EVENT, "filter": {}}]}), code::TWO_FILTERS, "filter"),
    ];
    for (value, code, path) in cases {
        let error = replica.set_shadow(&module.key, value.clone()).await.unwrap_err();
        let RegisterError::Invalid(problems) = error else { panic!("{value}: {error}") };
        assert!(
            problems.iter().any(|one| (one.code.as_str(), one.path.as_str()) == (code, path)),
            "{value}: {problems:?}"
        );
    }
    let error = replica.set_shadow(&module.key, filter("1 ==")).await.unwrap_err();
    let RegisterError::Invalid(problems) = error else { panic!("{error}") };
    assert!(problems[0].code.starts_with("SY-30") && problems[0].range.is_some(), "{problems:?}");
    assert_eq!(problems[0].path, "filter.expression");
    let error = replica.set_shadow(&"none".into(), filter("true")).await.unwrap_err();
    assert!(matches!(error, RegisterError::NotFound));
    assert_eq!(replica.counts().shadows, 0);
}

#[tokio::test]
async fn promotion_and_rollback_are_made_once_each() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    let error = replica.promote(&module.key, None).await.unwrap_err();
    assert_eq!(first_code(&error), code::NO_SHADOW);
    let error = replica.roll_back(&module.key).await.unwrap_err();
    assert_eq!(first_code(&error), code::NO_SHADOW);

    let shadow = json!({"filter": null, "events": [EVENT, "avi:jira:created:issue"]});
    replica.set_shadow(&module.key, shadow).await.unwrap();
    for _ in 0..2 {
        // A repeated request finds it done.
        let promoted = replica.promote(&module.key, Some(2)).await.unwrap();
        assert_eq!((promoted.revision, promoted.shadow), (3, None));
        assert_eq!(replica.expression(&module), None);
        let live = replica.subscription(&id_of(&module)).unwrap();
        assert_eq!(live.event_subscriptions.len(), 2);
        assert_eq!(replica.counts().shadows, 0);
    }
    for _ in 0..2 {
        let restored = replica.roll_back(&module.key).await.unwrap();
        assert_eq!((restored.revision, &restored.data), (4, &module.data));
        assert_eq!(replica.expression(&module).as_deref(), Some("1 == 1"));
    }
    let error = replica.promote(&module.key, None).await.unwrap_err();
    assert_eq!(first_code(&error), code::NO_SHADOW);
}

#[tokio::test]
async fn promotion_of_a_named_shadow_makes_no_other_one_the_filter() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    let name = |set: RegisteredModule| set.module.shadow.unwrap().name();
    let first = name(replica.set_shadow(&module.key, filter("2 == 2")).await.unwrap());
    let second = name(replica.set_shadow(&module.key, filter("3 == 3")).await.unwrap());
    // Someone else replaced it while it was looked at.
    let error = replica.promote_named(&module.key, &first).await.unwrap_err();
    assert_eq!(first_code(&error), code::OTHER_SHADOW);
    assert_eq!(replica.expression(&module).as_deref(), Some("1 == 1"));
    for _ in 0..2 {
        let promoted = replica.promote_named(&module.key, &second).await.unwrap();
        assert_eq!(promoted.shadow, None);
        assert_eq!(replica.expression(&module).as_deref(), Some("3 == 3"));
        // That another one is in force is not what was asked for.
        let error = replica.promote_named(&module.key, &first).await.unwrap_err();
        assert_eq!(first_code(&error), code::OTHER_SHADOW);
    }
    // Someone else set the next one, and the answer to the promotion was lost.
    let third = name(replica.set_shadow(&module.key, filter("4 == 4")).await.unwrap());
    let error = replica.promote_named(&module.key, &second).await.unwrap_err();
    assert_eq!(first_code(&error), code::OTHER_SHADOW);
    assert_eq!(replica.expression(&module).as_deref(), Some("3 == 3"));
    replica.promote_named(&module.key, &third).await.unwrap();
    replica.roll_back(&module.key).await.unwrap();
    let error = replica.promote_named(&module.key, &third).await.unwrap_err();
    assert_eq!(first_code(&error), code::NO_SHADOW);
}

#[tokio::test]
async fn what_the_app_changed_since_is_neither_promoted_over_nor_rolled_back() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    replica.set_shadow(&module.key, filter("2 == 2")).await.unwrap();
    let first = replica.shadows().comparison(&id_of(&module)).unwrap().unwrap();
    // Another handler changes nothing of what is compared.
    let function =
        json!({"endpoint": null, "function": "main", "filter": {"expression": "1 == 1"}});
    let changed = replica.replace(&module, function).await;
    assert!(changed.shadow.is_some() && !changed.is_shadow_outdated());
    let same = replica.shadows().comparison(&id_of(&module)).unwrap().unwrap();
    assert_eq!(same.name, first.name);

    let changed = replica.replace(&module, filter("3 == 3")).await;
    assert!(changed.shadow.is_some() && changed.is_shadow_outdated());
    let other = replica.shadows().comparison(&id_of(&module)).unwrap().unwrap();
    assert_ne!(other.name, first.name);
    assert_eq!((other.after, expression(&other.filter).as_deref()), (7, Some("3 == 3")));
    let error = replica.promote(&module.key, None).await.unwrap_err();
    assert_eq!(first_code(&error), code::SHADOW_OUTDATED);
    let error = replica.promote(&module.key, Some(changed.revision - 1)).await.unwrap_err();
    assert!(matches!(error, RegisterError::StaleRevision));
    replica.promote(&module.key, Some(changed.revision)).await.unwrap();
    assert_eq!(replica.expression(&module).as_deref(), Some("2 == 2"));

    // Another handler does not end the promotion; another filter does, for good.
    let function =
        json!({"endpoint": null, "function": "main", "filter": {"expression": "2 == 2"}});
    assert!(replica.replace(&module, function).await.promotion.is_some());
    for expression in ["4 == 4", "2 == 2"] {
        replica.replace(&module, filter(expression)).await;
        let error = replica.roll_back(&module.key).await.unwrap_err();
        assert_eq!(first_code(&error), code::NO_SHADOW);
        assert_eq!(replica.expression(&module).as_deref(), Some(expression));
        let error = replica.promote(&module.key, None).await.unwrap_err();
        assert_eq!(first_code(&error), code::NO_SHADOW);
    }
}

#[tokio::test]
async fn promotion_is_validated_as_a_registration() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    replica.set_shadow(&module.key, json!({"events": ["avi:jira:created:issue"]})).await.unwrap();
    // The app loses the scope of the new event, and of the old one.
    replica.put_forge(json!({"scopes": ["read:me"]})).await.unwrap();
    let error = replica.promote(&module.key, None).await.unwrap_err();
    assert_eq!(first_code(&error), code::SCOPE);
    assert_eq!(replica.expression(&module).as_deref(), Some("1 == 1"));
}

#[tokio::test]
async fn installation_has_a_bounded_number_of_shadows_and_a_removed_module_none() {
    let (replica, _store) = Replica::provisioned_for(30).await;
    let mut modules = Vec::new();
    for _ in 0..21 {
        modules.push(replica.add(json!({})).await.unwrap());
    }
    for module in &modules[..20] {
        replica.set_shadow(&module.key, filter("true == true")).await.unwrap();
    }
    let error = replica.set_shadow(&modules[20].key, filter("1 == 1")).await.unwrap_err();
    assert_eq!(first_code(&error), code::SHADOWS_MAX);
    // Another filter for one that has a shadow needs no more room.
    replica.set_shadow(&modules[0].key, filter("1 == 1")).await.unwrap();
    replica.forge_modules().remove(&"inst-a".into(), &modules[0].key, None).await.unwrap();
    assert_eq!(replica.counts().shadows, 19);
    replica.set_shadow(&modules[20].key, filter("1 == 1")).await.unwrap();
    let removed = replica.shadows().comparison(&id_of(&modules[0]));
    assert!(removed.unwrap().is_none());
}

#[tokio::test]
async fn comparison_of_a_disabled_installation_says_why_there_is_none() {
    let (replica, _store) = Replica::provisioned().await;
    let module = replica.add(filter("1 == 1")).await.unwrap();
    replica.set_shadow(&module.key, filter("2 == 2")).await.unwrap();
    replica.install("inst-a", json!({"state": "disabled"})).await.unwrap();
    let reason = replica.shadows().comparison(&id_of(&module)).unwrap_err();
    assert_eq!(reason, "the installation is disabled");
    assert_eq!(replica.counts().shadows, 1);
    replica.shadows().remove(&"inst-a".into(), &module.key, None).await.unwrap();
    assert_eq!(replica.counts().shadows, 0);
    replica.shadows().remove(&"inst-a".into(), &module.key, None).await.unwrap();
    let unknown = replica.shadows().remove(&"inst-b".into(), &module.key, None).await;
    assert!(matches!(unknown, Err(RegisterError::NotFound)));
}

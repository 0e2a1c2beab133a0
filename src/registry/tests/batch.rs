//! Behaviour of batches, dry runs and module status.

use super::*;
use crate::domain::ModuleKey;
use crate::registry::{BatchItem, ModuleStatus};

fn item(changes: Value) -> BatchItem {
    Ok((trigger(changes), None))
}

fn bad() -> BatchItem {
    item(json!({"events": ["nothing"]}))
}

#[tokio::test]
async fn atomic_batch_registers_all_or_reports_every_problem_with_its_path() {
    let (replica, _store) = Replica::provisioned().await;
    let id = InstallationId::from("inst-a");
    let items = vec![
        item(json!({})),
        bad(),
        Err(vec![crate::registry::Problem::new("SY-2003", "type", "m")]),
    ];
    let Err(RegisterError::Invalid(problems)) =
        replica.forge_batches().register(&id, items, true).await
    else {
        panic!("accepted")
    };
    let paths: Vec<_> = problems.iter().map(|problem| problem.path.as_str()).collect();
    assert_eq!(paths, ["items[1].data.events[0]", "items[2].type"]);
    assert_eq!(replica.modules(), 0);
    let items = vec![item(json!({})), item(json!({}))];
    let results = replica.forge_batches().register(&id, items, true).await.unwrap();
    assert_eq!((results.len(), replica.modules()), (2, 2));
}

#[tokio::test]
async fn batch_that_is_not_atomic_registers_what_it_can() {
    let (replica, _store) = Replica::provisioned().await;
    let items = (0..12).map(|number| if number == 3 { bad() } else { item(json!({})) }).collect();
    let results = replica.forge_batches().register(&"inst-a".into(), items, false).await.unwrap();
    let refused: Vec<_> =
        results.iter().enumerate().filter_map(|(at, r)| Some((at, r.as_ref().err()?))).collect();
    assert_eq!(refused[0].0, 3);
    assert_eq!((refused[1].0, &*refused[1].1[0].code), (11, code::MODULES_MAX));
    assert_eq!((refused.len(), replica.modules()), (2, 10));
}

#[tokio::test]
async fn validating_returns_the_result_of_registering_and_stores_nothing() {
    let (replica, _store) = Replica::provisioned().await;
    let id = InstallationId::from("inst-a");
    let spec = trigger(json!({"filter": {"ignoreSelf": true, "onError": "IGNORE"}}));
    let warnings = replica.forge_modules().validate(&id, spec, None).unwrap().warnings;
    assert_eq!(warnings[0].code, code::IDLE_ON_ERROR);
    assert!(
        replica
            .forge_modules()
            .validate(&id, trigger(json!({"events": ["nothing"]})), None)
            .is_err()
    );
    assert_eq!(replica.modules(), 0);
    replica.add_as(Some("taken"), json!({})).await.unwrap();
    let error = replica
        .forge_modules()
        .validate(&id, trigger(json!({})), Some("taken".into()))
        .unwrap_err();
    assert_eq!(first_code(&error), code::DUPLICATE);
}

#[tokio::test]
async fn module_keeps_its_status_over_an_update() {
    let (replica, _store) = Replica::provisioned().await;
    let id = InstallationId::from("inst-a");
    let module = replica.add(json!({})).await.unwrap();
    let paused = replica.module_status().set(&id, &module.key, ModuleStatus::Paused).await.unwrap();
    assert_eq!((paused.revision, replica.state_of(&module).0), (2, EffectiveStatus::Paused));
    assert!(replica.subscription(&id_of(&module)).unwrap().owner.settings.is_paused);
    replica
        .forge_modules()
        .replace(&id, &module.key, trigger(json!({"events": ["avi:jira:created:issue"]})), None)
        .await
        .unwrap();
    assert_eq!(replica.state_of(&module).0, EffectiveStatus::Paused);
    replica.module_status().set(&id, &module.key, ModuleStatus::Off).await.unwrap();
    assert_eq!(
        replica.state_of(&module),
        (EffectiveStatus::Inactive, Some("it is switched off".into()))
    );
    assert!(replica.subscription(&id_of(&module)).is_none());
    replica.module_status().set(&id, &module.key, ModuleStatus::On).await.unwrap();
    assert_eq!(
        (replica.state_of(&module).0, replica.counts().active),
        (EffectiveStatus::Active, 1)
    );
    let missing =
        replica.module_status().set(&id, &ModuleKey::from("none"), ModuleStatus::On).await;
    assert!(matches!(missing, Err(RegisterError::NotFound)));
}

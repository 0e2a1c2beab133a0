//! Notices wait in the record of their installation, each kind that repeats once.

use super::*;
use crate::matcher::ExceededShare;
use crate::registry::model::InstallationRecord;
use crate::registry::store::Store;

async fn exceed(replica: &Replica) {
    let exceeded = ExceededShare {
        installation: "inst-a".into(),
        app: "app".into(),
        site: "site".into(),
        since_ms: 0,
        events: 1,
        steps_per_event: 50_000,
        steps_per_second: 1_000,
    };
    replica.notify_share_exceeded(&exceeded).await.unwrap();
}

/// The kinds of the notices that wait, and how many have each.
fn waiting(replica: &Replica) -> Vec<String> {
    let record = replica.installation("inst-a").unwrap().record.clone();
    record.notices.iter().map(|notice| notice.kind.clone()).collect()
}

#[tokio::test]
async fn exceeded_share_waits_once_also_where_many_notices_wait() {
    let (replica, store) = Replica::provisioned().await;
    exceed(&replica).await;
    assert_eq!(waiting(&replica), [""; 0], "the app has no address for notices");
    let notices = json!({"notices": {"url": "https://app.example.com/notices"}});
    replica.put_forge(notices).await.unwrap();
    let key = "inst.inst-a";
    let stored = store.get(key).await.unwrap().unwrap();
    let mut record: InstallationRecord = serde_json::from_slice(&stored.value).unwrap();
    while record.add_notice("other", Value::Null).is_none() {}
    let full = record.notices.len();
    let filled = serde_json::to_vec(&record).unwrap().into();
    store.put(key, filled, Some(stored.revision)).await.unwrap();
    let applied = async {
        while waiting(&replica).len() < full {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(Duration::from_secs(10), applied).await.expect("the waiting notices are applied");
    exceed(&replica).await;
    exceed(&replica).await;
    let kinds = waiting(&replica);
    let exceeded = kinds.iter().filter(|kind| *kind == "switchyard.evaluation.share_exceeded");
    assert_eq!((kinds.len(), exceeded.count()), (full, 1));
}

#[tokio::test]
async fn notices_of_a_near_limit_are_merged_while_they_wait() {
    let (replica, _store) = Replica::provisioned().await;
    let notices = json!({"notices": {"url": "https://app.example.com/notices"}});
    replica.put_forge(notices).await.unwrap();
    let mut last = None;
    for _ in 0..9 {
        last = Some(replica.add(json!({})).await.unwrap().key);
    }
    for _ in 0..4 {
        let key = last.take().unwrap();
        replica.forge_modules().remove(&"inst-a".into(), &key, None).await.unwrap();
        last = Some(replica.add(json!({})).await.unwrap().key);
    }
    assert_eq!(waiting(&replica), ["switchyard.modules.near_limit"]);
    let record = replica.installation("inst-a").unwrap().record.clone();
    assert_eq!(record.notices[0].data, json!({"used": 9, "max": 10}));
}

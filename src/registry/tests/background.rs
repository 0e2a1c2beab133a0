//! Background work of an app that does not respond delays that of no other.

use super::*;

/// Of calls to `silent.example.com` there is no response, those to others are answered.
struct SilentHost;

impl AppCaller for SilentHost {
    fn call(&self, call: AppCall) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            match call.url.host_str() {
                Some("silent.example.com") => std::future::pending().await,
                _ => Ok(Bytes::from_static(br#"{"modules": []}"#)),
            }
        })
    }
}

#[tokio::test]
async fn silent_installations_of_an_app_leave_places_to_others() {
    let (replica, _store) = Replica::provisioned().await;
    replica.set_app_caller(Arc::new(SilentHost));
    let mut background = JoinSet::new();
    background.spawn(Arc::clone(&replica.registry).run_background_tasks());
    let discovery = |host: &str| json!({"kind": "forge", "discovery": {"use": ["trigger"], "url": format!("https://{host}/m")}});
    let put = async |app: &str, host: &str| {
        let spec = serde_json::from_value(discovery(host)).unwrap();
        replica.apps().put(&AppId::from(app), spec, &|_| Ok(())).await.unwrap();
    };
    put("silent", "silent.example.com").await;
    put("other", "other.example.com").await;
    for number in 0..20 {
        replica.install(&format!("silent-{number}"), json!({"app": "silent"})).await.unwrap();
    }
    let claimed = || {
        let ids = (0..20).map(|number| format!("silent-{number}"));
        let known = ids.filter_map(|id| replica.installation(&id)?.record.discovery.clone());
        known.filter(|known| known.claimed_until_ms > 0).count()
    };
    let held = async {
        while claimed() < 2 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), held).await.expect("two places for the silent app");
    replica.install("quick", json!({"app": "other"})).await.unwrap();
    let asked = async {
        let fetched = || Some(replica.installation("quick")?.record.discovery.as_ref()?.fetched_ms);
        while fetched().is_none_or(|fetched_ms| fetched_ms == 0) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(Duration::from_secs(10), asked).await.expect("a place for the other app");
    assert_eq!(claimed(), 2, "the others of the silent app wait for it");
}

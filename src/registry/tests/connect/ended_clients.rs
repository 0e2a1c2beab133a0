//! OAuth clients that are deleted, move or change their user, while other replicas know them as before.

use super::*;

/// Registers a webhook as a replica does that knows the client as it was: it has looked up the caller.
async fn late_hook(replica: &Replica, client: &str, user: &str) -> Result<u64, RegisterError> {
    let owner = WebhookOwner { client: Some(client_user(client, user)), ..owner() };
    let specs = vec![read_webhook(&spec("project = A"))];
    let results = replica.dynamic_webhooks().register(&owner, ADDRESS, specs).await?;
    Ok(results.into_iter().next().unwrap().unwrap())
}

fn listed(replica: &Replica, client: &str, user: &str) -> Vec<u64> {
    let owner = WebhookOwner { client: Some(client_user(client, user)), ..owner() };
    replica.dynamic_webhooks().list(&owner).iter().map(|webhook| webhook.id).collect()
}

#[tokio::test]
async fn a_deleted_client_registers_nothing_until_it_is_provisioned_again() {
    let (replica, store) = Replica::with_connect().await;
    let other = Replica::over(&store).await;
    replica.put_client("a", json!({"clientSecret": "secret-of-a"})).await.unwrap();
    replica.hook_of("a", ADDRESS).await.unwrap();
    replica.clients().delete("a").await.unwrap();
    for replica in [&replica, &other] {
        assert!(matches!(late_hook(replica, "a", "u").await, Err(RegisterError::NotFound)));
    }
    assert!(replica.keys().is_empty());
    replica.put_client("a", json!({})).await.unwrap();
    let number = replica.hook_of("a", ADDRESS).await.unwrap();
    assert_eq!(replica.signer_of(number), "tenant", "its secret went with it");
}

#[tokio::test]
async fn a_client_that_moved_registers_nothing_where_it_was() {
    let (replica, _store) = Replica::with_connect().await;
    let other = json!({"app": CONNECT, "clientKey": "l", "sharedSecret": "secret-2"});
    replica.install("inst-d", other).await.unwrap();
    replica.put_client("a", json!({})).await.unwrap();
    replica.put_client("a", json!({"installation": "inst-d"})).await.unwrap();
    assert!(late_hook(&replica, "a", "u").await.is_err());
    replica.put_client("a", json!({})).await.unwrap();
    replica.hook_of("a", ADDRESS).await.unwrap();
}

#[tokio::test]
async fn a_webhook_of_a_deleted_client_has_no_subscription() {
    let (replica, store) = Replica::with_connect().await;
    replica.put_client("a", json!({})).await.unwrap();
    replica.hook_of("a", ADDRESS).await.unwrap();
    assert!(replica.is_live("webhook-1"));
    // As a release that does not know of ended clients leaves it.
    let stored = crate::registry::Store::get(&*store, "inst.inst-c").await.unwrap().unwrap();
    let mut document: Value = serde_json::from_slice(&stored.value).unwrap();
    document["endedClients"] = json!(["a"]);
    let value = serde_json::to_vec(&document).unwrap().into();
    let expected = Some(stored.revision);
    crate::registry::Store::put(&*store, "inst.inst-c", value, expected).await.unwrap();
    replica.wait_until_current().await;
    assert!(!replica.is_live("webhook-1"));
    let installation = replica.installation("inst-c").unwrap();
    let module = installation.module("webhook-1").unwrap();
    assert_eq!(module.effective_status, EffectiveStatus::Inactive);
    assert!(module.reason.as_deref().unwrap().contains("OAuth client"), "{:?}", module.reason);
    replica.clients().delete("a").await.unwrap();
    assert!(replica.keys().is_empty());
}

#[tokio::test]
async fn webhooks_of_a_client_follow_it_to_its_next_user() {
    let (replica, _store) = Replica::with_connect().await;
    for id in ["a", "b"] {
        replica.put_client(id, json!({"clientSecret": format!("secret-of-{id}")})).await.unwrap();
        replica.hook_of(id, ADDRESS).await.unwrap();
    }
    replica.put_client("a", json!({"user": "next"})).await.unwrap();
    assert_eq!((listed(&replica, "a", "next"), listed(&replica, "a", "u")), (vec![1], vec![]));
    assert_eq!(listed(&replica, "b", "u"), [2], "those of another client stay");
    assert_eq!(replica.signer_of(1), "a: secret-of-a");
    // What a replica accepted for the former user is found by the next change.
    late_hook(&replica, "a", "u").await.unwrap();
    replica.put_client("a", json!({"user": "next"})).await.unwrap();
    assert_eq!(listed(&replica, "a", "next"), [1, 3]);
    let next = WebhookOwner { client: Some(client_user("a", "next")), ..owner() };
    replica.dynamic_webhooks().remove(&next, &[1, 3]).await.unwrap();
    assert_eq!(replica.keys(), ["webhook-2"]);
}

#[tokio::test]
async fn webhooks_without_a_client_follow_the_only_client_of_their_user() {
    let (replica, store) = Replica::with_connect().await;
    replica.put_client("a", json!({})).await.unwrap();
    replica.hook_of("a", ADDRESS).await.unwrap();
    let stored = crate::registry::Store::get(&*store, "inst.inst-c").await.unwrap().unwrap();
    let mut document: Value = serde_json::from_slice(&stored.value).unwrap();
    document["modules"][0]["data"].as_object_mut().unwrap().remove("client").unwrap();
    let value = serde_json::to_vec(&document).unwrap().into();
    let expected = Some(stored.revision);
    crate::registry::Store::put(&*store, "inst.inst-c", value, expected).await.unwrap();
    replica.wait_until_current().await;
    replica.put_client("a", json!({"user": "next"})).await.unwrap();
    assert_eq!(listed(&replica, "a", "next"), [1]);
}

#[tokio::test]
async fn webhooks_of_a_client_that_an_earlier_release_deleted_are_found_and_can_be_removed() {
    let (replica, store) = Replica::with_connect().await;
    for id in ["a", "b"] {
        replica.put_client(id, json!({"user": format!("user-of-{id}")})).await.unwrap();
    }
    late_hook(&replica, "a", "user-of-a").await.unwrap();
    late_hook(&replica, "b", "user-of-b").await.unwrap();
    late_hook(&replica, "b", "user-of-b").await.unwrap();
    replica.add_webhooks(&[spec("project = A")]).await;
    // Stored before webhooks named their client.
    let stored = crate::registry::Store::get(&*store, "inst.inst-c").await.unwrap().unwrap();
    let mut document: Value = serde_json::from_slice(&stored.value).unwrap();
    document["modules"][2]["data"].as_object_mut().unwrap().remove("client").unwrap();
    let value = serde_json::to_vec(&document).unwrap().into();
    let expected = Some(stored.revision);
    crate::registry::Store::put(&*store, "inst.inst-c", value, expected).await.unwrap();
    replica.wait_until_current().await;
    let orphans = || {
        let installation = replica.installation("inst-c").unwrap();
        let found = replica.webhooks_without_client(&installation);
        found.iter().map(|module| module.id.key.to_string()).collect::<Vec<_>>()
    };
    assert!(orphans().is_empty());
    // As a release that does not know of ended clients deletes one.
    let client = crate::registry::Store::get(&*store, "client.b").await.unwrap().unwrap();
    crate::registry::Store::delete(&*store, "client.b", client.revision).await.unwrap();
    replica.wait_until_current().await;
    assert_eq!(orphans(), ["webhook-2", "webhook-3"]);
    assert_eq!(replica.signer_of(2), "tenant");
    for key in orphans() {
        replica.forge_modules().remove(&"inst-c".into(), &key.as_str().into(), None).await.unwrap();
    }
    assert!(orphans().is_empty());
    assert_eq!(replica.keys(), ["webhook-1", "webhook-4"], "those of others stay");
}

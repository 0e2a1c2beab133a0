//! Declarative files of apps and installations: apply, diff, export; and modules from a shell.

use std::path::Path;
use std::process::Output;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::support::{NatsServer, RouterProcess, Setup};

/// Runs the program as an operator of `router`.
async fn run(router: &RouterProcess, args: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(args)
        .env("SWITCHYARD_SERVER", router.api.base())
        .env("SWITCHYARD_TOKEN", crate::support::ADMIN_TOKEN)
        .output()
        .await
        .expect("the program runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn write(folder: &Path, name: &str, value: &Value) {
    std::fs::write(folder.join(name), value.to_string()).expect("a file");
}

fn installation(modules: &Value) -> Value {
    json!({"resource": "installation", "id": "inst/1", "modules": modules,
        "spec": {"app": "app-1", "cloudId": "site-1", "product": "jira"}})
}

fn module(key: &str, filter: &str) -> Value {
    json!({"key": key, "type": "trigger", "data": {"endpoint": "hook",
        "events": ["avi:jira:updated:issue"], "filter": {"expression": filter}}})
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_are_applied_compared_and_exported_alike() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    let files = tempfile::tempdir().expect("a folder");
    let folder = files.path().to_str().expect("a path");
    let app = "resource: app\nid: app-1\nspec:\n  kind: forge\n  endpoints:\n    - key: hook\n      \
        url: http://127.0.0.1:9/hook\n";
    std::fs::write(files.path().join("app.yaml"), app).expect("a file");
    write(files.path(), "inst.json", &installation(&json!([module("a", "true")])));

    let differs = run(&router, &["diff", "-f", folder]).await;
    assert_eq!(differs.status.code(), Some(1));
    let steps = "+ app app-1\n+ installation inst/1\n+ installation inst/1: module a\n";
    assert_eq!(stdout(&differs), steps);
    let applied = run(&router, &["apply", "-f", folder]).await;
    assert!(applied.status.success(), "{applied:?}");
    assert!(stdout(&applied).contains("  token sw_inst_"), "{applied:?}");
    let equal = run(&router, &["diff", "-f", folder]).await;
    assert_eq!((equal.status.code(), stdout(&equal).as_str()), (Some(0), ""));
    let again = run(&router, &["apply", "-f", folder]).await;
    assert_eq!(stdout(&again), "0 changes made, 2 resources\n");

    // The export equals the applied state.
    let exported = tempfile::tempdir().expect("a folder");
    let target = exported.path().to_str().expect("a path");
    assert!(run(&router, &["export", "-d", target]).await.status.success());
    let text = std::fs::read_to_string(exported.path().join("apps/app-1.json")).expect("a file");
    assert!(!text.contains("whsec_"), "no secrets: {text}");
    assert_eq!(run(&router, &["diff", "-f", target]).await.status.code(), Some(0));

    // One module changes, one is added, one is removed.
    let changed = installation(&json!([module("b", "false"), module("c", "true")]));
    write(files.path(), "inst.json", &changed);
    let planned = run(&router, &["apply", "-f", folder, "--prune", "--dry-run"]).await;
    assert_eq!(
        stdout(&planned),
        "+ installation inst/1: module b\n\
        + installation inst/1: module c\n- installation inst/1: module a\n\
        3 changes to be made, 2 resources\n"
    );
    let modules = "/admin/v1/installations/inst%2F1/modules";
    let keys = async || {
        let listed = router.get(modules).await.expect("a list");
        let items = listed["items"].as_array().expect("a list").clone();
        items.into_iter().map(|item| item["key"].clone()).collect::<Value>()
    };
    assert_eq!(keys().await, json!(["a"]), "a dry run changes nothing");
    assert!(run(&router, &["apply", "-f", folder, "--prune"]).await.status.success());
    assert_eq!(keys().await, json!(["b", "c"]));

    // A filter that does not compile is rejected and reported before any change.
    let broken = installation(&json!([module("b", "false"), module("c", "event.issue =")]));
    write(files.path(), "inst.json", &broken);
    let refused = run(&router, &["apply", "-f", folder, "--dry-run"]).await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("expected `==`"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connect_apps_are_exported_from_one_router_and_applied_to_another() {
    let nats = [NatsServer::start().await, NatsServer::start().await];
    let start = async |nats: &NatsServer| {
        Setup::new(&nats.url(), nats.folder().join("router")).start().await
    };
    let (from, to) = tokio::join!(start(&nats[0]), start(&nats[1]));
    let files = tempfile::tempdir().expect("a folder");
    let folder = files.path().to_str().expect("a path");
    let app = json!({"resource": "app", "id": "app-c", "spec": {"kind": "connect",
        "baseUrl": "http://127.0.0.1:9", "scopes": ["READ"],
        "staticModules": {"webhooks": [{"key": "own", "event": "e", "url": "/e"}]}}});
    let hook = |key: &str, event: &str| json!({"key": key, "type": "webhooks", "data": {"event": event, "url": "/h"}});
    let item = json!({"key": "item", "type": "webItems", "data": {"name": {"value": "Open"},
        "location": "system.top.navigation.bar", "url": "/open"}});
    let declared = |modules: Value| {
        json!({"resource": "installation", "id": "inst-c", "modules": modules, "spec":
            {"app": "app-c", "cloudId": "site-1", "product": "jira", "clientKey": "tenant",
            "sharedSecret": "secret-of-the-tests-0123456789abcdef"}})
    };
    write(files.path(), "app.json", &app);
    let modules = json!([hook("a", "jira:issue_created"), item]);
    write(files.path(), "inst.json", &declared(modules));
    let checked = run(&from, &["apply", "-f", folder, "--dry-run"]).await;
    assert!(checked.status.success(), "{checked:?}");
    assert!(run(&from, &["apply", "-f", folder]).await.status.success());
    assert_eq!(run(&from, &["diff", "-f", folder]).await.status.code(), Some(0));

    let exported = tempfile::tempdir().expect("a folder");
    let target = exported.path().to_str().expect("a path");
    assert!(run(&from, &["export", "-d", target]).await.status.success());
    // Secrets are not exported: the operator who moves an installation supplies its secret.
    let file = exported.path().join("installations/inst-c.json");
    let text = std::fs::read_to_string(&file).expect("a file");
    assert!(!text.contains("secret"), "{text}");
    let mut installation: Value = serde_json::from_str(&text).expect("JSON");
    installation["spec"]["sharedSecret"] = json!("secret-of-the-tests-0123456789abcdef");
    write(exported.path(), "installations/inst-c.json", &installation);
    let applied = run(&to, &["apply", "-f", target]).await;
    assert!(applied.status.success(), "{applied:?}");
    let equal = run(&to, &["diff", "-f", target]).await;
    assert_eq!((equal.status.code(), stdout(&equal).as_str()), (Some(0), ""));

    // One changes, one is removed; a key of the descriptor is rejected before any change.
    write(files.path(), "inst.json", &declared(json!([hook("a", "jira:issue_deleted")])));
    let pruned = run(&to, &["apply", "-f", folder, "--prune"]).await;
    let steps = "~ installation inst-c: module a\n- installation inst-c: module item\n";
    assert!(stdout(&pruned).starts_with(steps), "{pruned:?}");
    assert_eq!(run(&to, &["diff", "-f", folder]).await.status.code(), Some(0));
    write(files.path(), "inst.json", &declared(json!([hook("own", "jira:issue_deleted")])));
    let refused = run(&to, &["apply", "-f", folder, "--dry-run"]).await;
    assert_eq!(refused.status.code(), Some(4), "{refused:?}");
    assert!(String::from_utf8_lossy(&refused.stderr).contains("duplicate module keys"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn modules_are_managed_from_a_shell_and_exit_codes_show_what_failed() {
    let nats = NatsServer::start().await;
    let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
    router.provision("app-1", "inst-1", "site-1", "http://127.0.0.1:9/hook").await;
    let files = tempfile::tempdir().expect("a folder");
    write(files.path(), "good.json", &module("x", "true"));
    let mut bad = module("x", "true");
    bad["data"]["endpoint"] = json!("nowhere");
    write(files.path(), "bad.json", &bad);
    let file = |name: &str| files.path().join(name).to_str().expect("a path").to_owned();
    let modules =
        async |rest: &[&str]| run(&router, &[&["modules", "-i", "inst-1"], rest].concat()).await;
    let (good, bad) = (file("good.json"), file("bad.json"));
    assert_eq!(modules(&["add", "x", "-f", &bad]).await.status.code(), Some(4));
    let checked = modules(&["add", "x", "-f", &good, "--dry-run"]).await;
    assert_eq!(stdout(&checked), "x would be registered\n");
    assert!(modules(&["add", "x", "-f", &good]).await.status.success());
    let listed = stdout(&modules(&["ls"]).await);
    let lines: Vec<Vec<&str>> =
        listed.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[1], ["x", "active", "trigger", "avi:jira:updated:issue"]);
    let shown: Value = serde_json::from_str(&stdout(&modules(&["show", "x"]).await)).expect("JSON");
    assert_eq!(shown["id"], "inst-1/x");
    assert!(modules(&["rm", "x"]).await.status.success());
    assert_eq!(modules(&["rm", "x"]).await.status.code(), Some(4));
    assert_eq!(run(&router, &["modules", "ls"]).await.status.code(), Some(2), "no installation");

    let away = ["modules", "--server", "http://127.0.0.1:9", "-i", "inst-1", "ls"];
    assert_eq!(run(&router, &away).await.status.code(), Some(3));
}

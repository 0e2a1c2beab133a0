//! The broker of `deploy/nats/nats-server.conf`: TLS, authentication, and what each role may do.

use std::fs::read_to_string;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use async_nats::jetstream::{self, stream::Stream};
use async_nats::{Client, ConnectOptions};
use bytes::Bytes;
use futures_util::StreamExt;
use hyper::Method;
use serde_json::json;
use switchyard::bus::Connections;
use switchyard::config::Config;
use tempfile::TempDir;

use crate::support::nats::{binary, read_port};
use crate::support::{Setup, Sink, WAIT_MAX, eventually, issue_event, register};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
/// How long something that must not happen is waited for.
const NEVER: Duration = Duration::from_millis(500);

/// A server with the configuration of `deploy/`, and the files that `credentials.sh` makes.
struct SecuredBroker {
    server: Child,
    port: u16,
    folder: TempDir,
}

impl SecuredBroker {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let keys = folder.path().join("keys");
        let made = Command::new(Path::new(ROOT).join("deploy/nats/credentials.sh"))
            .arg(&keys)
            .args(["localhost", "broker.example"])
            .env("SWITCHYARD", env!("CARGO_BIN_EXE_switchyard"))
            .env("NATS_CERT_FILE", keys.join("server.crt"))
            .env("NATS_KEY_FILE", keys.join("server.key"))
            .output()
            .expect("credentials.sh runs");
        let errors = String::from_utf8_lossy(&made.stderr);
        assert!(made.status.success(), "credentials.sh needs openssl: {errors}");
        // The folder of the data and the monitoring port are those of a container.
        let text = read_to_string(Path::new(ROOT).join("deploy/nats/nats-server.conf"))
            .expect("the configuration")
            .replace("store_dir: /data", &format!("store_dir: {:?}", folder.path().join("js")))
            .replace("http: 127.0.0.1:8222", "");
        let config = folder.path().join("nats-server.conf");
        std::fs::write(&config, text).expect("a file");
        let variables = read_to_string(keys.join("broker.env")).expect("broker.env");
        let server = Command::new(binary())
            .arg("-c")
            .arg(&config)
            .args(["-a", "127.0.0.1", "-p", "-1", "--ports_file_dir"])
            .arg(folder.path())
            .envs(variables.lines().filter_map(|line| line.split_once('=')))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts");
        let port = read_port(folder.path(), server.id()).await;
        Self { server, port, folder }
    }

    fn url(&self) -> String {
        format!("tls://localhost:{}", self.port)
    }

    fn key(&self, name: &str) -> PathBuf {
        self.folder.path().join("keys").join(name)
    }

    /// A client of a role.
    async fn client(&self, role: &str) -> Client {
        let seed = read_to_string(self.key(&format!("{role}.nk"))).expect("a seed");
        ConnectOptions::with_nkey(seed)
            .custom_inbox_prefix(format!("_INBOX_{role}"))
            .add_root_certificates(self.key("ca.crt"))
            .request_timeout(Some(Duration::from_secs(5)))
            .connect(self.url())
            .await
            .expect("a connection")
    }

    fn router(&self) -> Setup {
        Setup::new(&self.url(), self.folder.path().join("router"))
            .with("SWITCHYARD_NATS__CREDENTIALS_FILE", self.key("router.nk").display())
            .with("SWITCHYARD_NATS__CA_FILE", self.key("ca.crt").display())
            .with("SWITCHYARD_SECRETS__KEY_FILE", self.key("secrets.key").display())
    }

    /// The error of a router with these credentials.
    async fn refusal(&self, credentials_file: &str, ca_file: &str) -> String {
        let mut config = Config::defaults().expect("the defaults").nats;
        credentials_file.clone_into(&mut config.credentials_file);
        ca_file.clone_into(&mut config.ca_file);
        let url = self.url().replace("://", "://somebody:pass-in-url@");
        Connections::open(&config, &[url]).await.expect_err("refused").to_string()
    }
}

impl Drop for SecuredBroker {
    fn drop(&mut self) {
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

async fn count(stream: &mut Stream) -> u64 {
    stream.info().await.expect("its state").state.messages
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn router_publisher_and_handler_work_with_the_permissions_of_their_roles() {
    let (broker, sink) = (SecuredBroker::start().await, Sink::start().await);
    let router = broker.router().start().await;
    let forge = router.provision("app", "inst-example", "site", &sink.url("/hook")).await;
    for target in [json!({"endpoint": "hook"}), json!({"function": "main"})] {
        let mut trigger = target;
        trigger["events"] = json!(["avi:jira:updated:issue"]);
        register(&forge, trigger).await;
    }
    let handler = broker.client("handler").await;
    let mut calls = handler.subscribe("sw.fn.inst-example.main").await.expect("a subscription");
    handler.flush().await.expect("sent");

    let publisher = broker.client("publisher").await;
    let mut headers = async_nats::HeaderMap::new();
    for (name, value) in [
        ("Nats-Msg-Id", "site/1"),
        ("ce-specversion", "1.0"),
        ("ce-id", "1"),
        ("ce-type", "avi:jira:updated:issue"),
        ("ce-cloudid", "site"),
        ("ce-source", "test"),
    ] {
        headers.insert(name, value);
    }
    let body = issue_event(1, "P").to_string();
    jetstream::new(publisher)
        .publish_with_headers("sw.in.site.avi:jira:updated:issue.-", headers, body.into())
        .await
        .expect("sent")
        .await
        .expect("stored");

    let call = tokio::time::timeout(WAIT_MAX, calls.next()).await.expect("a call").expect("a call");
    handler.publish(call.reply.expect("a reply subject"), Bytes::new()).await.expect("sent");
    eventually(WAIT_MAX, "the endpoint is called", || async {
        (!sink.received_at("/hook").is_empty()).then_some(())
    })
    .await;
    eventually(WAIT_MAX, "both are delivered", || async {
        let series = r#"switchyard_deliveries_total{outcome="delivered",lane="live"}"#;
        (router.metric(series).await > 1.5).then_some(())
    })
    .await;
    assert!(router.terminate().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn roles_may_do_nothing_else() {
    let broker = SecuredBroker::start().await;
    let router = broker.router().start().await;
    let installation = json!({"app": "app", "cloudId": "site", "product": "jira"});
    router.put("/admin/v1/apps/app", json!({"kind": "forge"})).await;
    router.put("/admin/v1/installations/inst-example", installation).await;

    let operator = jetstream::new(broker.client("operator").await);
    let mut registry = operator.get_stream("KV_SW_REG").await.expect("the state of a stream");
    let stored = count(&mut registry).await;
    assert!(stored > 0);
    registry.get_raw_message(1).await.expect_err("the registry has the secrets of apps");
    registry.purge().await.expect_err("an operator who reads");
    assert_eq!(count(&mut registry).await, stored);

    let events = operator.get_stream("SW_EVENTS").await.expect("a stream");
    for role in ["publisher", "handler"] {
        let client = broker.client(role).await;
        for subject in
            ["sw.gone", "sw.dlq.record", "$KV.SW_REG.app.app", "$JS.API.STREAM.PURGE.SW_EVENTS"]
        {
            client.publish(subject, "x".into()).await.expect("sent");
        }
        for subject in ["sw.ev.>", "sw.fn.other.>", "_INBOX.>", "$KV.>", ">"] {
            let mut messages = client.subscribe(subject).await.expect("sent");
            let ended = tokio::time::timeout(NEVER, messages.next()).await;
            assert!(!matches!(ended, Ok(Some(_))), "{role} receives {subject}");
        }
    }
    let body = issue_event(1, "P");
    let path = "/admin/v1/events?cloudId=site&type=avi:jira:updated:issue";
    router.api.send(Method::POST, path, &[], &body).await.expect("accepted");
    let mut events = events;
    assert_eq!(count(&mut events).await, 1);
    assert_eq!(count(&mut registry).await, stored);
    assert!(router.terminate().await);
}

/// The two messages in one test: a start is refused after 20 seconds.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn refused_credentials_and_unknown_authorities_are_named_without_the_password() {
    let broker = SecuredBroker::start().await;
    let authority = broker.key("ca.crt").display().to_string();
    let stranger = broker.folder.path().join("stranger.nk");
    std::fs::write(&stranger, nkeys::KeyPair::new_user().seed().expect("a seed")).expect("a file");
    let stranger = stranger.display().to_string();
    let (credentials, certificate) =
        tokio::join!(broker.refusal(&stranger, &authority), broker.refusal("", ""));
    assert!(credentials.contains("it refuses the credentials"), "{credentials}");
    assert!(certificate.contains("nats.ca_file"), "{certificate}");
    for error in [credentials, certificate] {
        assert!(error.contains("tls://localhost:"), "{error}");
        assert!(!error.contains("pass-in-url"), "{error}");
    }
    let missing = broker.refusal(&stranger, "/nowhere/ca.crt").await;
    assert!(missing.contains("nats.ca_file /nowhere/ca.crt"), "{missing}");
}

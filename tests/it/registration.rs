//! Registration by HTTP against a real broker: the recorded cases of each door, and survival.

use std::path::Path;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use switchyard::api::{ApiState, router};
use switchyard::domain::Secret;
use switchyard::matcher::Matcher;
use switchyard::registry::{Registry, Settings};
use switchyard::store::{KvOptions, KvStore};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::support::nats::NatsServer;

const ADMIN_TOKEN: &str = "admin-token-of-the-tests";
const READY_TIMEOUT: Duration = Duration::from_secs(10);
const CASES_TIMEOUT: Duration = Duration::from_secs(120);

/// Registry and doors of one replica on a port of their own; ended when dropped.
struct Replica {
    registry: Arc<Registry>,
    base: String,
    _tasks: JoinSet<()>,
}

impl Replica {
    async fn start(broker: &NatsServer) -> Self {
        let options = KvOptions { prefix: "sw".into(), replicas: 1 };
        let store = KvStore::open(broker.context().await, &options).await.expect("a bucket");
        let matcher = Arc::new(Matcher::default());
        let registry = Registry::new(Arc::new(store), Arc::clone(&matcher), settings());
        let registry = Arc::new(registry);
        let mut tasks = JoinSet::new();
        tasks.spawn(Arc::clone(&registry).run());
        timeout(READY_TIMEOUT, registry.until_ready()).await.expect("the registry gets ready");
        let doors = router(Arc::new(ApiState {
            registry: Arc::clone(&registry),
            matcher,
            admin_token: Secret::new(ADMIN_TOKEN),
            body_max: 1 << 20,
            check_url: Box::new(|_| Ok(())),
        }));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        tasks.spawn(async move {
            axum::serve(listener, doors).await.expect("the listener works");
        });
        Self { registry, base, _tasks: tasks }
    }
}

fn settings() -> Settings {
    Settings {
        prefix: "sw".into(),
        allow_unknown_events: false,
        accept_inert_types: false,
        modules_max: 100,
        property_paths_max: 5,
        registration_rate: 100,
        registration_burst: 500,
    }
}

async fn run_cases(replica: &Replica, file: &str) {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let child = Command::new("python3")
        .arg(tests.join("tools/registration_cases.py"))
        .args(["--base", &replica.base, "--admin-token", ADMIN_TOKEN])
        .arg(tests.join("cases/registration").join(file))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output();
    let output = timeout(CASES_TIMEOUT, child).await.expect("the cases end").expect("python3");
    let text = String::from_utf8_lossy(&output.stdout);
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{file}:\n{text}{errors}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn forge_door_answers_the_recorded_cases_of_version_2() {
    let broker = NatsServer::start().await;
    let replica = Replica::start(&broker).await;
    run_cases(&replica, "forge-v2.json").await;
}

//! What operators inspect from a shell: subscriptions, endpoints, live decisions, the busiest, and what is
//! wrong; with a real router, broker and handler.

use std::io::Read as _;
use std::os::fd::OwnedFd;
use std::process::{Output, Stdio};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;
use serde_json::{Value, json};
use switchyard::cli::client::ApiClient;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, SECRET, Setup, Sink, WAIT_MAX, eventually, publish,
    register,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
const SITE: &str = "site-1";

/// A router with the installation `first`, whose endpoint is `/first` of the handler.
struct World {
    setup: Setup,
    router: RouterProcess,
    broker: async_nats::Client,
    sink: Sink,
    app: ApiClient,
    key: String,
    // Ends after the router.
    nats: NatsServer,
}

impl World {
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
            .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1,1");
        let router = setup.start().await;
        let app = router.provision("app-first", "first", SITE, &sink.url("/first")).await;
        let key = register(&app, json!({"endpoint": "hook", "events": [EVENT_TYPE]})).await;
        let broker = nats.client().await;
        Self { setup, router, broker, sink, app, key, nats }
    }

    fn id(&self) -> String {
        format!("first/{}", self.key)
    }

    fn program(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        command
            .args(arguments)
            .env("SWITCHYARD_SERVER", self.router.api.base())
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .env_remove("NO_COLOR")
            .kill_on_drop(true);
        command
    }

    /// Runs a command; returns its exit code and its standard output.
    async fn run(&self, arguments: &[&str]) -> (i32, String) {
        let Output { status, stdout, stderr } =
            self.program(arguments).output().await.expect("the command runs");
        let text = String::from_utf8(stdout).expect("a text");
        let code = status.code().expect("an exit code");
        assert!(code < 2 || text.is_empty(), "{arguments:?}: {code} {text}");
        (code, if code < 2 { text } else { String::from_utf8(stderr).expect("a text") })
    }

    /// Runs a command that succeeds and prints JSON.
    async fn json(&self, arguments: &[&str]) -> Value {
        let (code, text) = self.run(arguments).await;
        assert_eq!(code, 0, "{arguments:?}: {text}");
        serde_json::from_str(&text).expect("JSON")
    }

    async fn stats(&self) -> Value {
        let path = format!("/admin/v1/subscriptions/{}", self.id().replace('/', "%2F"));
        self.router.get(&path).await.expect("the subscription")["stats"].clone()
    }

    async fn until_counted(&self, name: &str, count: u64) {
        eventually(WAIT_MAX, name, || async {
            self.stats().await[name].as_u64().filter(|found| *found >= count)
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn failing_subscriptions_are_found_with_their_cause_and_paused_ones_with_their_state() {
    let world = World::start().await;
    let healthy = world.router.provision("app-b", "second", "site-2", &world.sink.url("/b")).await;
    register(&healthy, json!({"endpoint": "hook", "events": [EVENT_TYPE]})).await;
    assert_eq!(world.json(&["subscriptions", "ls", "--failing", "-o", "json"]).await, json!([]));
    world.sink.answer("/first", 500, None);
    publish(&world.broker, SITE, 1, "OPS").await;
    world.until_counted("failedAttempts", 1).await;

    let failing = world.json(&["subscriptions", "ls", "--failing", "-o", "json"]).await;
    assert_eq!(failing.as_array().map(Vec::len), Some(1), "{failing}");
    assert_eq!(failing[0]["failing"], "its handler fails");
    assert!(failing[0]["stats"]["lastFailure"].as_str().unwrap().starts_with("5xx"), "{failing}");
    let (_, table) = world.run(&["sub", "ls"]).await;
    let row = table.lines().find(|line| line.starts_with(&world.id())).expect("its row");
    assert!(row.contains("failing") && row.contains(" ago: 5xx"), "{table}");
    assert!(!table.contains('\u{1b}'), "no colours in a pipe");
    let (_, coloured) = world.run(&["subscriptions", "ls", "--color", "always"]).await;
    assert!(coloured.contains("\u{1b}["), "{coloured}");
    let (_, names) = world.run(&["subscriptions", "ls", "--site", "site-2", "-o", "name"]).await;
    assert!(names.starts_with("second/") && names.lines().count() == 1, "{names}");
    let (_, lines) = world.run(&["subscriptions", "ls", "--app", "app-first", "-o", "jsonl"]).await;
    assert_eq!(lines.lines().count(), 1, "{lines}");
    let (_, shown) = world.run(&["subscriptions", "show", &world.id()]).await;
    assert!(shown.contains("because      its handler fails"), "{shown}");

    let id = world.id();
    assert_eq!(world.run(&["subscriptions", "pause", &id]).await, (0, format!("{id} paused\n")));
    let paused = world.json(&["subscriptions", "ls", "--state", "paused", "-o", "json"]).await;
    assert_eq!(paused[0]["id"], json!(id));
    assert_eq!(world.run(&["subscriptions", "resume", &id]).await, (0, format!("{id} active\n")));
    let (code, diff) = world.run(&["subscriptions", "diff", &id]).await;
    assert_eq!((code, diff.trim()), (0, "state  paused -> on"));
    let (code, error) = world.run(&["subscriptions", "ls", "--state", "broken"]).await;
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("active, inactive"), "{error}");
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_whose_breaker_opens_is_named_tested_and_reset() {
    let world = World::start().await;
    world.sink.answer("/first", 500, None);
    for number in 0..12 {
        publish(&world.broker, SITE, number, "OPS").await;
    }
    let open = eventually(WAIT_MAX, "the breaker opens", || async {
        let open = world.json(&["endpoints", "ls", "--state", "open", "-o", "json"]).await;
        open.as_array().filter(|open| !open.is_empty()).cloned()
    })
    .await;
    let id = open[0]["id"].as_str().expect("an id").to_owned();
    assert!(id.starts_with("first/ep_"), "{id}");
    assert_eq!(open[0]["address"], json!(world.sink.url("/first")));
    assert_eq!(open[0]["lastFailure"]["class"], "5xx");
    assert!(
        open[0]["explanation"].as_str().unwrap().contains("a probe is admitted in"),
        "{open:?}"
    );
    let breaker = &open[0]["breaker"];
    assert_eq!((&breaker["scope"], &breaker["cause"]), (&json!("endpoint"), &json!("5xx")));
    assert!(breaker["since"].is_string(), "{open:?}");
    let (_, table) = world.run(&["endpoints", "ls", "--failing"]).await;
    assert!(table.contains("open") && table.contains("5xx"), "{table}");
    eventually(WAIT_MAX, "its deliveries are parked", || async {
        let shown = world.json(&["endpoints", "show", &id, "-o", "json"]).await;
        shown["parked"].as_u64().filter(|parked| *parked > 0)
    })
    .await;
    let doctor = world.run(&["doctor", "-o", "json"]).await;
    assert_eq!(doctor.0, 1, "an open breaker needs attention");
    assert!(
        doctor.1.contains("the breaker of the endpoint is open, last cause 5xx"),
        "{}",
        doctor.1
    );

    let (code, refused) = world.run(&["endpoints", "test", &id]).await;
    assert_eq!(code, 1, "{refused}");
    assert!(refused.starts_with("not accepted 500"), "{refused}");
    world.sink.answer("/first", 204, None);
    let (code, accepted) = world.run(&["endpoints", "test", &id]).await;
    assert_eq!(code, 0, "{accepted}");
    verify_ping(&world).await;

    let reset = world.json(&["endpoints", "reset-breaker", &id, "-o", "json"]).await;
    assert_eq!((&reset["wasOpen"], &reset["state"]), (&json!(true), &json!("half_open")));
    assert!(reset["replica"]["name"].is_string());
    // Those that are parked are attempted when they are due; a new one is the probe.
    publish(&world.broker, SITE, 100, "OPS").await;
    world.until_counted("delivered", 1).await;
    let (code, error) = world.run(&["endpoints", "show", "first/ep_none"]).await;
    assert_eq!(code, 4, "{error}");
    world.router.kill().await;
}

/// Checks the signature of the last request with the command line.
async fn verify_ping(world: &World) {
    let ping = world.sink.received_at("/first").pop().expect("a request");
    assert_eq!(ping.header("switchyard-event-type"), "switchyard:ping");
    let folder = tempfile::tempdir().expect("a folder");
    let file = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).expect("a file");
        path.to_str().expect("a path").to_owned()
    };
    let headers = ["webhook-id", "webhook-timestamp", "webhook-signature"];
    let headers = headers.map(|name| format!("{name}: {}", ping.header(name))).join("\n");
    let (secret, headers) =
        (file("secret", SECRET.as_bytes()), file("headers", headers.as_bytes()));
    let verify = async |body: String| {
        let files = ["--secret-file", &secret, "--header-file", &headers, "--body-file", &body];
        world.run(&[&["verify"][..], &files].concat()).await
    };
    let body = file("body", &ping.body);
    assert_eq!(verify(body.clone()).await.0, 0);
    // The secret of a variable is no argument, which other users of the machine see.
    let arguments = ["verify", "--header-file", &headers, "--body-file", &body];
    let mut program = world.program(&arguments);
    let with = program.env("SWITCHYARD_VERIFY_SECRET", SECRET).output().await.expect("it runs");
    assert!(with.status.success(), "{}", String::from_utf8_lossy(&with.stderr));
    let (code, said) = world.run(&arguments).await;
    assert!(code == 2 && said.contains("--secret-file"), "{code} {said}");
    let (code, said) = verify(file("other", b"{}")).await;
    assert_eq!(code, 1);
    assert!(said.starts_with("webhook-signature: it does not fit"), "{said}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn endpoint_that_answers_410_is_listed_as_disabled_and_enabled_again() {
    let world = World::start().await;
    world.sink.answer("/first", 410, None);
    for number in 0..3 {
        publish(&world.broker, SITE, number, "OPS").await;
    }
    let disabled = eventually(WAIT_MAX, "the module is disabled", || async {
        let list = world.json(&["endpoints", "ls", "--state", "disabled", "-o", "json"]).await;
        list.as_array().and_then(|list| list.first().cloned())
    })
    .await;
    assert_eq!(disabled["keys"], json!([world.key]));
    let failing = world.json(&["subscriptions", "ls", "--failing", "-o", "json"]).await;
    assert_eq!(failing[0]["failing"], "its endpoint answered HTTP 410");
    let id = disabled["id"].as_str().expect("an id");
    let (code, error) = world.run(&["endpoints", "test", id]).await;
    assert_eq!(code, 4, "{error}");
    assert!(error.contains("enable it first"), "{error}");
    world.sink.answer("/first", 204, None);
    let enabled = world.json(&["endpoints", "enable", id, "-o", "json"]).await;
    assert_eq!(enabled["enabled"], 1);
    publish(&world.broker, SITE, 10, "OPS").await;
    world.until_counted("delivered", 1).await;
    world.router.kill().await;
}

/// Starts a command whose lines are read while it runs.
fn follow(
    world: &World,
    arguments: &[&str],
) -> (Child, tokio::io::Lines<BufReader<tokio::process::ChildStdout>>) {
    let mut command = world.program(arguments);
    let mut child = command.stdout(Stdio::piped()).spawn().expect("the command starts");
    let stdout = child.stdout.take().expect("stdout is piped");
    (child, BufReader::new(stdout).lines())
}

async fn next_line(lines: &mut tokio::io::Lines<BufReader<tokio::process::ChildStdout>>) -> String {
    let line = tokio::time::timeout(WAIT_MAX, lines.next_line()).await;
    line.expect("a line in time").expect("stdout can be read").expect("a line")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tail_names_failed_filters_and_attempts_and_connects_again() {
    let mut world = World::start().await;
    let filter = json!({"expression": "event.issue.fields.missing.name == 'x'"});
    let data = json!({"endpoint": "hook", "events": [EVENT_TYPE], "filter": filter});
    let failing = register(&world.app, data).await;
    let subscription = format!("first/{failing}");
    let (_all, mut all) = follow(&world, &["tail"]);
    let (_failed, mut failed) = follow(
        &world,
        &["tail", "--subscription", &subscription, "--decision", "failed", "-o", "jsonl"],
    );
    // The feeds are open once they show an event.
    let number = std::sync::atomic::AtomicU64::new(0);
    let first = async {
        loop {
            let number = number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            publish(&world.broker, SITE, number, "OPS").await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    let (event, routed) = tokio::select! {
        () = first => unreachable!("it has no end"),
        found = async { (next_line(&mut failed).await, next_line(&mut all).await) } => found,
    };
    let event: Value = serde_json::from_str(&event).expect("JSON");
    assert_eq!(event["errors"], json!([subscription]));
    assert_eq!(event["matches"], json!([]), "only what was asked for");
    let because = event["failures"][0]["because"].as_str().expect("a reason");
    assert!(because.contains("event.issue.fields.missing"), "{because}");
    assert!(routed.contains(EVENT_TYPE), "{routed}");
    let mut seen = String::new();
    while !(seen.contains("filter failed") && seen.contains("attempt 1: delivered")) {
        seen.push_str(&next_line(&mut all).await);
        seen.push('\n');
    }

    world.router.kill().await;
    world.router = world.setup.start().await;
    let event = async {
        for number in 1_000.. {
            publish(&world.broker, SITE, number, "OPS").await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        () = event => unreachable!("it has no end"),
        () = async { while !next_line(&mut failed).await.contains("event-1") {} } => {}
    }
    let (code, error) = world.run(&["tail", "--decision", "maybe"]).await;
    assert_eq!(code, 4, "{error}");
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dead_delivery_is_sent_again_under_its_id() {
    let world = World::start().await;
    world.sink.answer("/first", 422, None);
    publish(&world.broker, SITE, 1, "OPS").await;
    let dead = eventually(WAIT_MAX, "the delivery is dead", || async {
        let list = world.router.get("/admin/v1/deliveries?outcome=dead").await.ok()?;
        list["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;
    let again = ["redeliver", &dead, "--installation", "first", "-o", "jsonl"];
    let (code, refused) = world.run(&again).await;
    assert_eq!(code, 1, "{refused}");
    assert!(refused.contains(r#""result":"dead""#), "{refused}");
    world.sink.answer("/first", 204, None);
    let (code, delivered) = world.run(&again).await;
    assert_eq!(code, 0, "{delivered}");
    let last = world.sink.received_at("/first").pop().expect("a request");
    assert_eq!(last.header("webhook-id"), dead);
    let (code, unknown) = world.run(&["redeliver", "dlv_none", "-i", "first"]).await;
    assert_eq!(code, 1, "{unknown}");
    assert!(unknown.starts_with("dlv_none  refused: "), "{unknown}");
    world.router.kill().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_and_health_say_what_is_wrong_with_their_exit_codes() {
    let mut world = World::start().await;
    let (code, found) = world.run(&["doctor"]).await;
    assert!(found.starts_with("nats-server 2."), "{found}");
    // The tests allow plain http to handlers on this machine.
    assert_eq!(code, 1, "{found}");
    assert!(found.contains("set delivery.allow_http = false"), "{found}");
    assert!(found.contains("streams        ok") && found.contains("nats.replicas = 3"), "{found}");
    assert_eq!(world.run(&["health"]).await, (0, "ok: ready\n".to_owned()));
    world.nats.kill();
    let reason = eventually(WAIT_MAX, "the router is not ready", || async {
        let output = world.program(&["health", "--format", "nagios"]).output().await.ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        (output.status.code() == Some(2)).then_some(text)
    })
    .await;
    assert!(reason.starts_with("SWITCHYARD CRITICAL - broker unreachable"), "{reason}");
    let (code, found) = world.run(&["doctor", "-o", "jsonl"]).await;
    assert_eq!(code, 1);
    let first: Value =
        serde_json::from_str(found.lines().next().expect("a finding")).expect("JSON");
    assert_eq!(first["severity"], "critical", "{found}");
    world.router.signal("KILL").await;
    let output = world.program(&["health", "--format", "json"]).output().await.expect("it runs");
    assert_eq!(output.status.code(), Some(2), "a router that is not there is critical");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_ranks_by_rate_and_has_the_totals() {
    let world = World::start().await;
    world.sink.answer("/first", 500, None);
    publish(&world.broker, SITE, 1, "OPS").await;
    world.until_counted("failedAttempts", 1).await;
    let top = world.json(&["top", "--once", "--by", "failures", "-o", "json"]).await;
    assert_eq!(top["items"][0]["id"], json!(world.id()), "{top}");
    assert!(top["items"][0]["failedPerSecond"].is_number(), "{top}");
    assert_eq!((&top["ready"], &top["subscriptions"]), (&json!(true), &json!(1)));
    assert_eq!(top["totals"]["matched"], 1);
    assert!(top["input"]["lagSeconds"].is_number() || top.get("input").is_none(), "{top}");
    let (_, table) = world.run(&["top", "--once", "--by", "volume"]).await;
    assert!(table.contains("subscriptions") && table.contains("MATCH/S"), "{table}");
    let (code, error) = world.run(&["top"]).await;
    assert_eq!(code, 2, "without a terminal: {error}");
    let refused = world.router.get("/admin/v1/top?by=luck").await.unwrap_err().to_string();
    assert!(refused.contains("cost, failures, volume, backlog"), "{refused}");
    world.router.kill().await;
}

/// A pseudo terminal: what programs draw on it is read from the first, keys are written to it.
fn terminal() -> (OwnedFd, impl Fn() -> Stdio) {
    let ours = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).expect("a terminal");
    rustix::pty::grantpt(&ours).expect("granted");
    rustix::pty::unlockpt(&ours).expect("unlocked");
    let size = Winsize { ws_row: 24, ws_col: 100, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(&ours, size).expect("a size");
    let name = rustix::pty::ptsname(&ours, Vec::new()).expect("its name");
    let name = name.into_string().expect("a path");
    let theirs = move || {
        let open = std::fs::File::options().read(true).write(true).open(&name);
        Stdio::from(open.expect("the other end"))
    };
    (ours, theirs)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn top_draws_on_a_terminal_until_q_is_pressed() {
    let world = World::start().await;
    world.sink.answer("/first", 500, None);
    publish(&world.broker, SITE, 1, "OPS").await;
    world.until_counted("failedAttempts", 1).await;
    let (ours, theirs) = terminal();
    let mut command = world.program(&["top", "--by", "failures"]);
    command.stdin(theirs()).stdout(theirs()).stderr(theirs()).env("TERM", "xterm");
    let mut child = command.spawn().expect("it starts");
    let mut screen = std::fs::File::from(ours.try_clone().expect("a copy"));
    let drawn = tokio::task::spawn_blocking(move || {
        let (mut text, mut bytes) = (String::new(), [0; 4096]);
        while !text.contains("q quit") || !text.contains("first/") {
            let count = screen.read(&mut bytes).expect("the screen can be read");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
        text
    });
    let drawn = tokio::time::timeout(WAIT_MAX, drawn).await.expect("in time").expect("read");
    assert!(drawn.contains("SUBSCRIPTION") && drawn.contains("by failures"), "{drawn:?}");
    rustix::io::write(&ours, b"q").expect("a key");
    let ended = tokio::time::timeout(WAIT_MAX, child.wait()).await.expect("in time");
    assert!(ended.expect("it ends").success());
    world.router.kill().await;
}

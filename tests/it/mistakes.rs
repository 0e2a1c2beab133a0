//! Plausible mistakes of newcomers, app developers and operators, and what each of them reads: what happened, where,
//! and the next step. The texts are files in `snapshots/`, so that a change of one shows in a review.

use std::net::{Ipv4Addr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::support::raw::exchange;
use crate::support::{ADMIN_TOKEN, NatsServer, RouterProcess, Setup, WAIT_MAX, eventually, nats};

const EVENTS: &str = "/admin/v1/events?cloudId=site-1&type=avi:jira:created:issue";
/// The token of a router.
const TOKEN: (&str, &str) = ("SWITCHYARD_ADMIN_TOKEN", ADMIN_TOKEN);
const MODULES: &str = "/forge/installation/v2/dynamic/module";

/// Compares a text with its snapshot.
pub(crate) fn assert_text(name: &str, text: &str) {
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.bind(|| insta::assert_snapshot!(name, text));
}

/// A folder to run the program in, and what is replaced in its output.
struct Shell {
    folder: tempfile::TempDir,
    replaced: Vec<(String, String)>,
}

impl Shell {
    fn new(files: &[(&str, &str)]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            std::fs::write(folder.path().join(name), text).unwrap();
        }
        let path = folder.path().display().to_string();
        Self { folder, replaced: vec![(path, "FOLDER".into())] }
    }

    fn replacing(mut self, text: impl ToString, with: &str) -> Self {
        self.replaced.push((text.to_string(), with.into()));
        self
    }

    /// Runs the program with variables in addition to `PATH`; returns the command, its exit code and its output.
    fn run(&self, variables: &[(&str, &str)], arguments: &[&str]) -> String {
        let mut command = Command::new(env!("CARGO_BIN_EXE_switchyard"));
        let path = std::env::var_os("PATH").unwrap_or_default();
        let output = command
            .args(arguments)
            .current_dir(self.folder.path())
            .env_clear()
            .env("PATH", path)
            .env("NATS_SERVER", nats::binary())
            .env("SWITCHYARD_LOG__FILTER", "off")
            .envs(variables.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap();
        let set = variables.iter().map(|(name, value)| format!("{name}={value} "));
        let text = [output.stdout, output.stderr].concat();
        let shown = format!(
            "$ {}switchyard {}\nexit {}\n{}",
            set.collect::<String>(),
            arguments.join(" "),
            output.status.code().unwrap_or(-1),
            String::from_utf8(text).unwrap()
        );
        let shown = shown.replace(ADMIN_TOKEN, "TOKEN");
        self.replaced.iter().fold(shown, |text, (from, to)| text.replace(from, to))
    }

    /// As [`Shell::run`], compared with a snapshot.
    fn check(&self, name: &str, variables: &[(&str, &str)], arguments: &[&str]) {
        assert_text(name, &self.run(variables, arguments));
    }
}

#[test]
fn configuration() {
    let shell = Shell::new(&[
        ("key.toml", "[delivery]\ntimeout_ms = 1000\nallow_htp = true\n"),
        ("section.toml", "[server]\ntimeout_ms = 1000\n"),
        ("type.toml", "[limits]\nsteps = \"many\"\n"),
        ("range.toml", "[delivery]\napp_share = 5\n"),
        ("value.toml", "[delivery]\nlog_responses = \"some\"\n"),
        ("syntax.toml", "[admin]\ntoken = \"hidden\n"),
    ]);
    for name in ["key", "section", "type", "range", "value", "syntax"] {
        let file = format!("{name}.toml");
        shell.check(&format!("config_{name}"), &[], &["serve", "--config", &file]);
        shell.check(&format!("config_check_{name}"), &[], &["config", "check", &file]);
    }
    shell.check("config_missing", &[], &["serve", "--config", "no-such.toml"]);
    for (name, variable, value) in [
        ("variable_key", "SWITCHYARD_DELIVERY__ALOW_HTTP", "true"),
        ("variable_underscore", "SWITCHYARD_DELIVERY_ALLOW_HTTP", "true"),
        ("variable_short", "SWITCHYARD_ADMIN_TOKN", "x"),
        ("variable_type", "SWITCHYARD_LIMITS__STEPS", "many"),
        ("variable_range", "SWITCHYARD_DELIVERY__APP_SHARE", "5"),
        ("open_listener", "SWITCHYARD_SERVER__LISTEN", "0.0.0.0:0"),
        ("listen_form", "SWITCHYARD_SERVER__LISTEN", "localhost"),
        ("log_filter", "SWITCHYARD_LOG__FORMAT", "jsn"),
    ] {
        shell.check(name, &[TOKEN, (variable, value)], &["serve"]);
    }
}

#[test]
fn start() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let shell = Shell::new(&[("file", "no folder")]).replacing(&address, "ADDRESS");
    shell.check("no_admin_token", &[], &["serve"]);
    shell.check("port_in_use", &[TOKEN], &["serve", "--listen", &address]);
    let listen = ["serve", "--listen", "127.0.0.1:0", "--data-dir"];
    shell.check("data_dir_no_folder", &[TOKEN], &[&listen[..], &["file/data"]].concat());
    let variables = [TOKEN, ("NATS_SERVER", "no-such-program"), ("PATH", "")];
    shell.check("no_nats_server", &variables, &[&listen[..], &["data"]].concat());
}

#[test]
fn broker_absent() {
    // Bound and closed: no program has it.
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let url = format!("nats://{closed}");
    let shell = Shell::new(&[]).replacing(closed, "ADDRESS");
    let arguments = ["serve", "--listen", "127.0.0.1:0", "--nats-url", &url];
    shell.check("broker_absent", &[TOKEN], &arguments);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn broker_too_old() {
    let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    let server = tokio::spawn(async move {
        loop {
            let (mut connection, _) = listener.accept().await.unwrap();
            tokio::spawn(async move {
                let info = json!({"server_id": "S", "version": "2.10.29", "proto": 1, "headers": true,
                    "max_payload": 1_048_576, "jetstream": true});
                let _ = connection.write_all(format!("INFO {info}\r\n").as_bytes()).await;
                let mut part = [0; 4096];
                while let Ok(bytes @ 1..) = connection.read(&mut part).await {
                    if part[..bytes].windows(4).any(|found| found == b"PING") {
                        let _ = connection.write_all(b"PONG\r\n").await;
                    }
                }
            });
        }
    });
    let url = format!("nats://{address}");
    let text = tokio::task::spawn_blocking(move || {
        let shell = Shell::new(&[]).replacing(address, "ADDRESS");
        shell.run(&[TOKEN], &["serve", "--listen", "127.0.0.1:0", "--nats-url", &url])
    });
    assert_text("broker_too_old", &text.await.unwrap());
    server.abort();
}

#[test]
fn offline_commands() {
    let shell = Shell::new(&[("event.json", "{")]);
    let token = [("SWITCHYARD_TOKEN", "t")];
    for (name, variables, arguments) in [
        ("no_token", &[][..], &["deliveries", "ls"][..]),
        ("token_file_missing", &[], &["dlq", "--token-file", "no-such-file", "ls"]),
        ("server_without_scheme", &token, &["deliveries", "-s", "127.0.0.1:8089", "ls"]),
        ("since", &token, &["deliveries", "ls", "--since", "yesterday"]),
        ("no_installation", &token, &["modules", "ls"]),
        ("filter", &[], &["check", "-e", "event.issue.fields.priorty.name = 'High'"]),
        ("event_not_json", &[], &["test", "-e", "true", "--with", "event.json"]),
        ("command", &[], &["deliverys", "ls"]),
        ("flag", &[], &["serve", "--lisen", "x"]),
        ("code", &[], &["explain-code", "SY-9999"]),
    ] {
        shell.check(name, variables, arguments);
    }
}

/// Sends a request and renders it with its response; tokens are not shown.
async fn ask(port: u16, request: &str, token: Option<(&str, &str)>, body: &str) -> String {
    let authorization = token.map(|(_, token)| format!("\r\nAuthorization: {token}"));
    let head = format!(
        "{request} HTTP/1.1{}\r\nContent-Type: application/json",
        authorization.unwrap_or_default()
    );
    let response = exchange(port, &head, body).await;
    let (head, answer) = response.split_once("\r\n\r\n").unwrap();
    let status = head.lines().next().unwrap().trim_start_matches("HTTP/1.1 ");
    let retry = head.lines().find(|line| line.to_lowercase().starts_with("retry-after"));
    let retry = retry.map(|line| format!("{line}\n")).unwrap_or_default();
    let answer: Value = serde_json::from_str(answer).unwrap();
    let whose = token.map_or("no token", |(whose, _)| whose);
    let body = if body.len() > 200 { "(a large body)" } else { body };
    format!("{request}\n{whose}\n{body}\n\n{status}\n{retry}{answer:#}\n")
}

async fn provision(router: &RouterProcess) -> String {
    let app = json!({"kind": "forge", "functions": ["main"], "scopes": ["read:jira-work"]});
    router.put("/admin/v1/apps/auto-assign", app).await;
    let installation = json!({"app": "auto-assign", "cloudId": "site-1", "product": "jira"});
    let answer = router.put("/admin/v1/installations/first", installation).await;
    let module = json!({"type": "trigger",
        "data": {"function": "main", "events": ["avi:jira:created:issue"]}});
    router.put("/admin/v1/installations/first/modules/urgent", module).await;
    answer["token"].as_str().unwrap().to_owned()
}

/// Runs commands against a router and a broker at these addresses.
fn check_commands(address: &str, broker: &str) {
    let closed = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap();
    let shell = Shell::new(&[])
        .replacing(closed, "CLOSED")
        .replacing(address, "ROUTER")
        .replacing(broker, "BROKER");
    let token = [("SWITCHYARD_TOKEN", ADMIN_TOKEN)];
    let at = |server: &str, arguments: &str| {
        let server = format!("http://{server}");
        let mut arguments: Vec<&str> = arguments.split(' ').collect();
        arguments.splice(1..1, ["-s", &server]);
        shell.run(&token, &arguments)
    };
    for (name, server, arguments) in [
        ("cli_no_router", &*closed.to_string(), "deliveries ls"),
        ("cli_port_of_broker", broker, "deliveries ls"),
        ("cli_installation", address, "modules -i frist ls"),
        ("cli_module", address, "modules -i first show urgnet"),
        ("cli_subscription", address, "subscriptions shadow show first/urgnet"),
        ("cli_no_shadow", address, "subscriptions shadow show first/urgent"),
        ("cli_deliveries_of", address, "deliveries ls -i frist"),
        ("cli_dead_letters_of", address, "dlq ls --site site-9"),
        ("cli_replay_of", address, "replay start --installation frist --from 1h --mode failed"),
        ("cli_backtest_of", address, "backtest --subscription first/urgnet"),
        ("cli_explain_of", address, "explain --subscription first/urgnet --since 1h"),
    ] {
        assert_text(name, &at(server, arguments));
    }
    let wrong = [("SWITCHYARD_TOKEN", "something-else")];
    let server = format!("http://{address}");
    assert_text("cli_token_wrong", &shell.run(&wrong, &["dlq", "-s", &server, "ls"]));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn requests() {
    let nats = NatsServer::start().await;
    let log = nats.folder().join("log");
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_LOG__FILTER", "warn,switchyard=info");
    setup.log = Some(log.clone());
    let router = setup.start().await;
    let app = format!("Bearer {}", provision(&router).await);
    let admin = format!("Bearer {ADMIN_TOKEN}");
    let (admin, app) = (Some(("admin token", &*admin)), Some(("token of first", &*app)));
    let wrong = Some(("wrong token", "Bearer something-else"));
    let basic = Some(("Basic", "Basic b3BlcmF0b3I6eA=="));
    let issue = r#"{"issue": {"key": "OPS-1"}}"#;
    let large = format!(r#"{{"text": "{}"}}"#, "x".repeat(1 << 20));
    let bad_filter = json!({"type": "trigger", "data": {"function": "main",
        "events": ["avi:jira:craeted:issue"],
        "filter": {"expression": "event.issue.key = 'A'"}}})
    .to_string();
    for (name, request, token, body) in [
        ("api_token_missing", "GET /admin/v1/apps", None, ""),
        ("api_token_basic", "GET /admin/v1/apps", basic, ""),
        ("api_token_wrong", "GET /admin/v1/apps", wrong, ""),
        ("api_token_of_installation", "GET /admin/v1/apps", app, ""),
        ("api_admin_token_of_app", &format!("GET {MODULES}"), admin, ""),
        (
            "api_site",
            "POST /admin/v1/events?cloudId=site-2&type=avi:jira:created:issue",
            admin,
            issue,
        ),
        (
            "api_type",
            "POST /admin/v1/events?cloudId=site-1&type=avi:jira:craeted:issue",
            admin,
            issue,
        ),
        ("api_event_not_json", &format!("POST {EVENTS}"), admin, "{\"issue\": "),
        ("api_event_large", &format!("POST {EVENTS}"), admin, &large),
        ("api_parameter", "GET /admin/v1/deliveries?instalation=first", admin, ""),
        ("api_flag", "PUT /admin/v1/installations/first/modules/urgent?dryRun=yes", admin, "{}"),
        ("api_installation", "GET /admin/v1/installations/frist", admin, ""),
        ("api_list_of_installation", "GET /admin/v1/deliveries?installation=frist", admin, ""),
        ("api_subscription", "GET /admin/v1/subscriptions/first%2Furgnet", admin, ""),
        ("api_app", "GET /admin/v1/apps/auto-asign", admin, ""),
        ("api_dead_letter", "GET /admin/v1/dlq/1", admin, ""),
        ("api_path", "GET /admin/v1/subscription", admin, ""),
        ("api_filter", &format!("POST {MODULES}"), app, &bad_filter),
    ] {
        assert_text(name, &ask(setup.port, request, token, body).await);
    }
    let address = router.api.base().trim_start_matches("http://").to_owned();
    let broker = nats.url().trim_start_matches("nats://").to_owned();
    tokio::task::spawn_blocking(move || check_commands(&address, &broker)).await.unwrap();
    // The log has a budget: one failure a second.
    eventually(WAIT_MAX, "the log says what was sent", || async {
        exchange(setup.port, &format!("GET {MODULES} HTTP/1.1\r\nAuthorization: {}", admin?.1), "")
            .await;
        let logged = std::fs::read_to_string(&log).unwrap();
        (logged.contains("reason=\"admin_token\"") && logged.contains("an admin token"))
            .then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn full_broker() {
    let nats = NatsServer::start().await;
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"));
    let router = setup.start().await;
    provision(&router).await;
    let context = nats.context().await;
    let stream = context.get_stream("SW_EVENTS").await.unwrap();
    let mut config = stream.cached_info().config.clone();
    config.max_bytes = 1;
    context.update_stream(config).await.unwrap();
    let admin = format!("Bearer {ADMIN_TOKEN}");
    let request = format!("POST {EVENTS}");
    let text = ask(setup.port, &request, Some(("admin token", &admin)), "{}").await;
    assert_text("api_broker_full", &text);
}

#[test]
fn every_text_says_what_to_do() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots");
    let texts: Vec<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_file())
        .map(|path| std::fs::read_to_string(path).unwrap())
        .collect();
    assert!(texts.len() >= 20, "{} texts", texts.len());
    for text in texts {
        for poor in ["invalid input", "Error {", "expected struct", "panicked"] {
            assert!(!text.contains(poor), "`{poor}` in:\n{text}");
        }
    }
}

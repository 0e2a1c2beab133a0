//! The first minutes: contexts, the README's first trigger, completion and manual pages, as a user runs
//! them.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt, BufReader, Lines};
use tokio::process::{Child, ChildStdout, Command};

use crate::support::{NatsServer, Sink, WAIT_MAX};

const README: &str = include_str!("../../README.md");

/// A user with a home of their own, and the program on their path.
struct User {
    home: tempfile::TempDir,
}

impl User {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a folder") }
    }

    fn contexts(&self) -> PathBuf {
        self.home.path().join("config/switchyard/contexts")
    }

    /// A command of the user, without anything of the environment of the test.
    fn command(&self, program: &str) -> Command {
        let folder = Path::new(env!("CARGO_BIN_EXE_switchyard")).parent().expect("a folder");
        let system = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(folder.to_owned()).chain(std::env::split_paths(&system));
        let mut command = Command::new(program);
        for name in ["SERVER", "TOKEN", "TOKEN_FILE", "ADMIN_TOKEN", "CONTEXT"] {
            command.env_remove(format!("SWITCHYARD_{name}"));
        }
        command
            .env("PATH", std::env::join_paths(path).expect("a path"))
            .env("HOME", self.home.path())
            .env("XDG_CONFIG_HOME", self.home.path().join("config"))
            .current_dir(self.home.path())
            .stdin(Stdio::null())
            .kill_on_drop(true);
        command
    }

    /// Runs the program; returns its exit code, stdout and stderr.
    async fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        let output = self.command("switchyard").args(arguments).output().await.expect("it runs");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        (output.status.code().unwrap_or(-1), text(&output.stdout), text(&output.stderr))
    }

    /// Runs a script with bash; returns what it prints.
    async fn bash(&self, script: &str) -> String {
        let output = self.command("bash").args(["-c", script]).output().await.expect("bash runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{script}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Starts `switchyard dev` and waits until it has printed its first commands.
    async fn dev(&self, nats: &NatsServer, name: &str) -> Dev {
        let mut child = self
            .command("switchyard")
            .args(["dev", "--listen", "127.0.0.1:0", "--nats-url", &nats.url()])
            .arg("--data-dir")
            .arg(nats.folder().join(name))
            .env("SWITCHYARD_NATS__PREFIX", name)
            .env("SWITCHYARD_LOG__FILTER", "warn")
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let mut lines = BufReader::new(child.stdout.take().expect("stdout")).lines();
        let mut printed = Vec::new();
        while !printed.last().is_some_and(|line: &String| line.contains("switchyard trigger")) {
            let line = lines.next_line().await.expect("stdout can be read");
            printed.push(line.expect("it prints the first commands"));
        }
        Dev { child, _lines: lines, printed }
    }
}

struct Dev {
    child: Child,
    /// Open, since the program logs when it cannot print.
    _lines: Lines<BufReader<ChildStdout>>,
    printed: Vec<String>,
}

impl Dev {
    async fn terminate(mut self) {
        let id = self.child.id().expect("it runs").to_string();
        let sent = Command::new("kill").args(["-TERM", &id]).status().await.expect("kill runs");
        assert!(sent.success());
        let ended = tokio::time::timeout(WAIT_MAX, self.child.wait()).await.expect("it ends");
        assert!(ended.expect("its status").success());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_need_neither_address_nor_token_while_one_dev_runs() {
    let nats = NatsServer::start().await;
    let user = User::new();
    let list = ["subscriptions", "shadow", "show", "a/b"];
    let (code, _, said) = user.run(&list).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("switchyard dev"), "{said}");

    let first = user.dev(&nats, "one").await;
    let (code, _, said) = user.run(&list).await;
    assert_eq!(code, 4, "the router answers that there is none: {said}");
    let (_, shown, _) = user.run(&["context", "ls", "-o", "json"]).await;
    let shown: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(shown[0]["name"], "dev", "{shown}");
    assert_eq!(shown[0]["state"], "running", "{shown}");

    let second = user.dev(&nats, "two").await;
    let said = second.printed.join("\n");
    assert!(said.contains("--context dev-2"), "it says how it is called: {said}");
    let (code, _, said) = user.run(&list).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("dev, dev-2") && said.contains("--context"), "{said}");
    let trigger = ["trigger", "avi:jira:created:issue", "--context", "dev-2", "-o", "json"];
    let (code, printed, said) = user.run(&trigger).await;
    assert_eq!(code, 0, "{printed}{said}");

    second.terminate().await;
    assert!(!user.contexts().join("dev-2.toml").exists(), "it is removed");
    assert_eq!(user.run(&list).await.0, 4, "the first one again");

    let mut first = first;
    first.child.kill().await.expect("it can be killed");
    let (code, _, said) =
        user.run(&["trigger", "avi:jira:created:issue", "--context", "dev"]).await;
    assert_eq!(code, 3, "{said}");
    assert!(said.contains("`dev` has ended"), "{said}");
    let (code, _, said) = user.run(&["trigger", "avi:jira:created:issue"]).await;
    assert!(code == 2 && said.contains("`dev` has ended"), "{said}");
    assert_eq!(user.run(&["context", "rm", "dev"]).await.0, 0);
    let wrong = ["listen", "--filter", "event.issue.key = 'A'", "--site", "s"];
    let (code, _, said) = user.run(&wrong).await;
    assert!(code == 2 && said.contains("assignment is not part of the language"), "{said}");
}

#[tokio::test]
async fn context_is_added_selected_shown_and_removed() {
    let user = User::new();
    let token = user.home.path().join("token");
    std::fs::write(&token, "a-token-of-an-operator\n").expect("a file");
    let file = token.to_str().expect("a path");
    let add = ["context", "add", "prod", "--server", "http://127.0.0.1:9", "--token-file", file];
    assert_eq!(user.run(&add).await.0, 0);
    assert_eq!(user.run(&["context", "select", "prod"]).await.0, 0);
    let (code, shown, _) = user.run(&["context", "show", "prod"]).await;
    assert!(code == 0 && shown.contains(file) && !shown.contains("a-token"), "{shown}");
    let (code, listed, _) = user.run(&["context", "ls"]).await;
    assert!(code == 0 && listed.contains("*  prod"), "{listed}");
    let (code, _, said) = user.run(&["explain", "--sequence", "1", "--site", "s"]).await;
    assert!(code == 3 && said.contains("http://127.0.0.1:9"), "{said}");
    let (code, _, said) = user.run(&["context", "select", "prdo"]).await;
    assert!(code == 2 && said.contains("did you mean `prod`?"), "{said}");
    let wrong = ["context", "add", "x", "--server", "127.0.0.1"];
    let (code, _, said) = user.run(&wrong).await;
    assert!(code == 2 && said.contains("http://"), "{said}");
    assert_eq!(user.run(&["context", "rm", "prod"]).await.0, 0);
    assert_eq!(user.run(&["context", "show", "prod"]).await.0, 2);
}

/// The commands of the README's first trigger, without those that set the path.
fn first_trigger() -> Vec<String> {
    let section = README.split("## Your first trigger").nth(1).expect("the section");
    let blocks = section.split("```sh\n").skip(1).take(2);
    let blocks = blocks.map(|block| block.split("```").next().expect("a block"));
    let lines = blocks.flat_map(str::lines).filter(|line| !line.starts_with("export PATH"));
    lines.map(str::to_owned).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn first_trigger_of_the_readme_takes_two_commands_and_works_again() {
    let nats = NatsServer::start().await;
    let (user, sink) = (User::new(), Sink::start().await);
    let dev = user.dev(&nats, "sw").await;
    let commands = first_trigger();
    let [listen, trigger] = commands.as_slice() else { panic!("two commands: {commands:?}") };
    for command in &commands {
        let is_printed = dev.printed.iter().any(|line| line.trim() == *command);
        assert!(is_printed, "dev prints `{command}`: {:?}", dev.printed);
    }
    let listen = listen.replace("localhost:9000", sink.url("").trim_start_matches("http://"));
    for round in 1..=2 {
        let mut listening = user
            .command("bash")
            .args(["-c", &format!("exec {listen}")])
            .stdout(Stdio::piped())
            .spawn()
            .expect("bash starts");
        let mut lines = BufReader::new(listening.stdout.take().expect("stdout")).lines();
        let mut line = async || {
            let line = tokio::time::timeout(WAIT_MAX, lines.next_line()).await;
            line.expect("a line in time").expect("stdout can be read").expect("a line")
        };
        while !line().await.starts_with("to publish a sample event") {}
        let said = user.bash(trigger).await;
        assert!(said.starts_with("accepted  avi:jira:created:issue"), "{said}");
        let shown = line().await;
        assert!(shown.contains("avi:jira:created:issue") && shown.contains("-> 204"), "{shown}");
        assert_eq!(sink.count(), round, "the handler received it once");
        // The next command that it prints.
        let next = said.lines().find_map(|line| line.strip_prefix("next: ")).expect("a command");
        let explained = user.command("bash").args(["-c", next]).output().await.expect("it runs");
        let explained_text = String::from_utf8_lossy(&explained.stdout);
        assert!(matches!(explained.status.code(), Some(0 | 1)), "{next}: {explained_text}");
        listening.kill().await.expect("it can be killed");
    }
    let received = sink.received();
    let ids: Vec<&str> = received.iter().map(|one| one.header("webhook-id")).collect();
    assert_ne!(ids[0], ids[1], "each run publishes a new event");
    assert!(received[0].header("webhook-signature").starts_with("v1,"));
    dev.terminate().await;
}

/// What bash completes a command line to: the words are split as bash splits them.
async fn completed(user: &User, words: &[&str]) -> Vec<String> {
    let quoted: Vec<String> = words.iter().map(|word| format!("'{word}'")).collect();
    let last = words.last().expect("a word");
    let script = format!(
        "source <(switchyard completion bash)\nCOMP_WORDS=({}); COMP_CWORD={}; COMP_TYPE=9\n\
         _switchyard switchyard '{last}' ''\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"",
        quoted.join(" "),
        words.len() - 1
    );
    let printed = user.bash(&script).await;
    printed.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn bash_completes_names_that_the_router_and_the_user_know() {
    let nats = NatsServer::start().await;
    let user = User::new();
    assert!(completed(&user, &["switchyard", "conte"]).await.contains(&"context".to_owned()));
    let created =
        completed(&user, &["switchyard", "trigger", "avi", ":", "jira", ":", "cre"]).await;
    assert!(created.contains(&"created:issue".to_owned()), "{created:?}");
    let none = completed(&user, &["switchyard", "explain", "--installation", "de"]).await;
    assert_eq!(none, [""; 0], "no router, no candidates, no error");

    let dev = user.dev(&nats, "sw").await;
    for (kind, body) in [
        ("apps/app-1", r#"{"kind": "forge", "functions": ["main"]}"#),
        ("installations/acme", r#"{"app": "app-1", "cloudId": "site-1", "product": "jira"}"#),
    ] {
        let base = dev.printed[0].strip_prefix("listening on ").expect("the address");
        let token = dev.printed.iter().find_map(|line| line.strip_prefix("admin token  "));
        let client = switchyard::cli::client::ApiClient::at(base, token.expect("a token")).unwrap();
        let body: serde_json::Value = serde_json::from_str(body).unwrap();
        let path = format!("/admin/v1/{kind}");
        client.send(hyper::Method::PUT, &path, &[], &body).await.expect("it is accepted");
    }
    let module = user.home.path().join("module.json");
    let data = r#"{"type": "trigger", "data": {"function": "main",
        "events": ["avi:jira:created:issue"]}}"#;
    std::fs::write(&module, data).expect("a file");
    let file = module.to_str().expect("a path");
    let (code, _, said) = user.run(&["modules", "-i", "acme", "add", "assign", "-f", file]).await;
    assert_eq!(code, 0, "{said}");
    let installations = completed(&user, &["switchyard", "explain", "--installation", "ac"]).await;
    assert_eq!(installations, ["acme"]);
    for flag in [&["explain", "--subscription"][..], &["listen", "--subscription"]] {
        let words = [&["switchyard"], flag, &["acme/a"]].concat();
        assert_eq!(completed(&user, &words).await, ["acme/assign"], "{flag:?}");
    }
    let contexts = completed(&user, &["switchyard", "trigger", "--context", ""]).await;
    assert_eq!(contexts, ["dev"]);
    dev.terminate().await;
}

#[tokio::test]
async fn manual_pages_render() {
    let user = User::new();
    let (code, _, said) = user.run(&["man", "pages"]).await;
    assert_eq!(code, 0, "{said}");
    let folder = user.home.path().join("pages");
    let pages: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    for name in ["switchyard.1", "switchyard-listen.1", "switchyard-context-add.1"] {
        assert!(pages.contains(&folder.join(name)), "{name}: {pages:?}");
    }
    let page = folder.join("switchyard-listen.1");
    let text = std::fs::read_to_string(&page).unwrap();
    for part in [".TH", ".SH NAME", ".SH OPTIONS", "\\-\\-filter", "Examples"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    // As a reader sees them, all of them.
    let mut man = user.command("man");
    man.args(["-l", "--warnings=w"]).args(&pages).env("MANPAGER", "cat").env("LC_ALL", "C");
    let is_ci = std::env::var_os("CI").is_some_and(|value| !value.is_empty());
    let output = match man.output().await {
        Ok(output) if output.status.success() => output,
        missing => {
            let why = "`man` cannot format pages here; install man-db and groff-base";
            assert!(!is_ci, "{why}: {missing:?}");
            eprintln!("SKIPPED: {why}");
            return;
        }
    };
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(said, "", "the formatter has no warning");
    let shown = String::from_utf8_lossy(&output.stdout);
    assert!(shown.contains("--subscription"), "{shown}");
    assert_eq!(shown.matches("\nNAME\n").count(), pages.len(), "a page for each command");
}

#[tokio::test]
async fn sample_events_are_listed_shown_and_changed_without_a_router() {
    let user = User::new();
    let (code, listed, _) = user.run(&["trigger", "--list"]).await;
    assert!(code == 0 && listed.lines().any(|line| line == "avi:jira:created:issue"));
    let show = ["trigger", "avi:jira:created:issue", "--dry-run", "--set", "issue.key=XXX-7"];
    let (code, shown, said) = user.run(&show).await;
    assert_eq!(code, 0, "{said}");
    let event: serde_json::Value = serde_json::from_str(&shown).expect("JSON");
    assert_eq!(event["issue"]["key"], "XXX-7");
    assert_eq!(event["eventType"], "avi:jira:created:issue");
    for (arguments, hint) in [
        (&["trigger", "avi:jira:create:issue"][..], "did you mean `avi:jira:created:issue`?"),
        (&["trigger", "avi:jira:created:issue", "--set", "issue"], "PATH=VALUE"),
        (
            &["trigger", "avi:jira:created:issue", "--set", "issue.key.x=1"],
            "`issue.key` is no object",
        ),
        (&["trigger", "avi:jira:created:issue", "--file", "missing.json"], "missing.json"),
        (&["trigger"], "TYPE"),
    ] {
        let (code, _, said) = user.run(arguments).await;
        assert!(code == 2 && said.contains(hint), "{arguments:?}: {code} {said}");
    }
}

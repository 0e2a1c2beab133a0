//! Runs the offline commands as their users do: output, formats for other tools, exit codes.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};

use serde_json::{Value, json};

/// Runs the program in `folder`, with `input` as its standard input.
fn run_with(folder: &Path, arguments: &[&str], input: &str) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_switchyard"))
        .args(arguments)
        .current_dir(folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

/// Runs the program; returns its exit code and its output, stderr after stdout.
fn run(folder: &Path, arguments: &[&str]) -> (i32, String) {
    let output = run_with(folder, arguments, "");
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

fn folder(files: &[(&str, &str)]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        std::fs::write(folder.path().join(name), text).unwrap();
    }
    folder
}

const CREATED: &str = "avi:jira:created:issue";

#[test]
fn unknown_event_type_is_reported_with_the_nearest_known_one() {
    let module = json!({"type": "trigger", "data": {
        "events": ["avi:jira:created:comment"], "function": "main"}});
    let folder = folder(&[("module.json", &module.to_string())]);
    let expected = "\
error[SY-2006]: no such event `avi:jira:created:comment`
 --> module.json#data.events[0]
help: did you mean `avi:jira:commented:issue`?

";
    assert_eq!(run(folder.path(), &["check", "module.json"]), (1, expected.into()));
}

#[test]
fn two_modules_with_one_key_are_shown_with_both_locations() {
    let manifest = "\
modules:
  trigger:
    - key: same
      function: main
      events: [avi:jira:created:issue]
    - key: same
      function: main
      events: [avi:jira:updated:issue]
";
    let line = |installation: &str| {
        json!({"installationId": installation, "key": "k", "type": "trigger",
            "data": {"events": [CREATED], "function": "main"}})
        .to_string()
    };
    let lines = format!("{}\n{}\n{}\n", line("a"), line("b"), line("a"));
    let folder = folder(&[("manifest.yml", manifest), ("modules.ndjson", &lines)]);
    let (status, text) = run(folder.path(), &["check", "manifest.yml"]);
    let expected = "\
error[SY-2019]: two modules have the key `same`
 --> manifest.yml#modules.trigger[1].key
help: the other is manifest.yml#modules.trigger[0].key; the vendor ignores both, Switchyard rejects the second
";
    assert!(status == 1 && text.contains(expected), "{status} {text}");
    let (status, text) = run(folder.path(), &["check", "modules.ndjson"]);
    assert_eq!((status, text.matches("SY-2019").count()), (1, 1), "{text}");
    assert!(text.contains(" --> modules.ndjson:3#key\nhelp: the other is modules.ndjson:1#key;"));
}

#[test]
fn requests_are_judged_for_an_app_and_an_api() {
    let trigger = |member: &str, name: &str| {
        let mut data = json!({"events": ["avi:jira:created:user"]});
        data[member] = name.into();
        json!({"type": "trigger", "data": data}).to_string()
    };
    let app = json!({"kind": "forge", "functions": ["main"], "scopes": ["read:jira-work"]});
    let folder = folder(&[
        ("app.json", &app.to_string()),
        ("ok.json", &trigger("function", "main")),
        ("bad.json", &trigger("endpoint", "hook")),
        ("keyed.json", r#"{"key": "k", "type": "trigger", "data": {"key": "k"}}"#),
    ]);
    let check = |more: &[&str]| run(folder.path(), &[&["check"], more].concat());
    assert_eq!(check(&["ok.json"]).0, 0);
    let (status, text) = check(&["ok.json", "--app", "app.json"]);
    assert!(status == 1 && text.contains("SY-2007"), "{text}");
    let (status, text) = check(&["bad.json", "--app", "app.json"]);
    assert!(
        status == 1 && text.contains("SY-2005") && text.contains("declares no endpoint"),
        "{text}"
    );
    let (status, text) = check(&["keyed.json", "--api", "forge-v2"]);
    assert!(status == 1 && text.contains("SY-2011"), "{text}");
    assert_eq!(check(&["ok.json", "--var", "NAME"]).0, 2);
    assert_eq!(check(&["ok.json", "--app", "ok.json"]).0, 2);
}

#[test]
fn module_member_that_the_vendor_ignores_yields_a_warning_with_a_sample() {
    let sample = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/events/jira-updated-issue-large.json");
    let mut event: Value = serde_json::from_str(&std::fs::read_to_string(sample).unwrap()).unwrap();
    event["issue"]["fields"]["environment"] = json!("x".repeat(200_000));
    let module = |fields: &[&str]| {
        json!({"events": ["avi:jira:updated:issue"], "function": "main",
            "payload": {"include": {"fields": fields}}})
        .to_string()
    };
    let folder = folder(&[
        ("event.json", &event.to_string()),
        ("all.json", &module(&["summary", "environment"])),
        ("some.json", &module(&["summary"])),
    ]);
    let check = |module: &str| run(folder.path(), &["check", module, "--with", "event.json"]);
    let (status, text) = check("all.json");
    assert!(text.starts_with("warning[SY-2024]: the body of the sample"), "{text}");
    assert!(text.contains(" --> all.json#trigger.payload.include.fields\n"), "{text}");
    assert_eq!(status, 0, "a warning is no rejection");
    assert!(!check("some.json").1.contains("SY-2024"));
}

#[test]
fn findings_are_printed_in_the_formats_of_other_tools() {
    let filter = "'ü😀' == 'x' ||\n  event.issue.fields.priorty.name == 'High'";
    let folder = folder(&[("filter.txt", filter)]);
    let check = |more: &[&str]| {
        let arguments = [&["check", "filter.txt", "--event", CREATED], more].concat();
        let (status, text) = run(folder.path(), &arguments);
        assert_eq!(status, 0, "{text}");
        text
    };
    let found: Value = serde_json::from_str(&check(&["-o", "json"])).unwrap();
    assert_eq!(found, serde_json::from_str::<Value>(&check(&["--format", "json"])).unwrap());
    assert_eq!(found["valid"], true);
    let found = found["diagnostics"].as_array().unwrap();
    let field = found.iter().find(|found| found["code"] == "SY-3103").unwrap();
    let place = ["offset", "offset16", "length", "line", "column"].map(|name| &field[name]);
    assert_eq!(place, [40, 37, 7, 2, 22].map(Value::from).each_ref(), "{field}");
    assert_eq!(field["replacement"], "priority");

    let annotations = check(&["--format", "github"]);
    let expected = "::warning file=filter.txt,line=2,col=22,endColumn=29,title=SY-3103::no field";
    assert!(annotations.lines().any(|line| line.starts_with(expected)), "{annotations}");

    let log: Value = serde_json::from_str(&check(&["--format", "sarif"])).unwrap();
    let run = &log["runs"][0];
    let results = run["results"].as_array().unwrap();
    let field = results.iter().find(|result| result["ruleId"] == "SY-3103").unwrap();
    let region = &field["locations"][0]["physicalLocation"]["region"];
    assert_eq!(*region, json!({"startLine": 2, "startColumn": 22, "endColumn": 29}));
    let rules = run["tool"]["driver"]["rules"].as_array().unwrap();
    let is_ruled = |result: &Value| rules.iter().any(|rule| rule["id"] == result["ruleId"]);
    assert!(results.iter().all(is_ruled));
}

#[test]
fn exit_codes_distinguish_yes_no_and_wrong_use() {
    let folder = folder(&[("event.json", r#"{"eventType":"x","a":1}"#), ("bad.json", "{")]);
    for (arguments, status) in [
        (&["check", "-e", "event.a == 1"][..], 0),
        (&["check", "-e", "event.a === 1"], 1),
        (&["check", "-e", "event.a == 1", "--event", "avi:jira:nothing"], 1),
        (&["check"], 2),
        (&["check", "missing.txt"], 2),
        (&["check", "bad.json"], 2),
        (&["check", "event.json", "--with", "missing.json"], 2),
        (&["test", "-e", "event.a == 1", "--with", "event.json"], 0),
        (&["test", "-e", "event.a == 2", "--with", "event.json"], 1),
        (&["test", "-e", "event.a == 2", "--with", "bad.json"], 2),
        (&["test", "-e", "event.a ==", "--with", "event.json"], 1),
        (&["explain", "-e", "event.a == 2", "--with", "event.json"], 0),
        (&["explain-code", "SY-3103"], 0),
        (&["explain-code", "SY-0000"], 1),
        (&["serve", "--config", "missing.toml"], 2),
        (&["no-such-command"], 2),
    ] {
        let found = run(folder.path(), arguments);
        assert_eq!(found.0, status, "{arguments:?}: {}", found.1);
    }
}

#[test]
fn standard_input_is_read_like_a_file() {
    let folder = folder(&[]);
    let output = run_with(folder.path(), &["check", "-"], "event.issue.kex == 'A'\n");
    assert!(output.status.success());
    let output =
        run_with(folder.path(), &["check", "-"], "modules:\n  trigger:\n    - events: 1\n");
    assert_eq!(output.status.code(), Some(1));
}

#[test]
fn text_of_a_file_controls_no_terminal() {
    // Clears the screen, sets the title, and shows the rest from right to left.
    let name = "avi:jira:\u{1b}[2J\u{1b}]0;x\u{7}\u{9b}31m\u{202e}";
    let module = json!({"type": "trigger", "data": {"events": [name], "function": "main"}});
    let filter = "event.\u{202e}x == '\u{1b}[2J'";
    let folder = folder(&[("module.json", &module.to_string()), ("filter.txt", filter)]);
    for arguments in [
        &["check", "module.json"][..],
        &["check", "filter.txt"],
        &["check", "module.json", "-o", "json"],
        &["check", "no-such-\u{1b}[2J"],
    ] {
        let (_, text) = run(folder.path(), arguments);
        let is_harmful = |char: char| (char.is_control() && char != '\n') || char == '\u{202e}';
        assert!(!text.contains(is_harmful), "{arguments:?}: {text:?}");
        assert!(text.contains("\\u"), "{arguments:?}: {text}");
    }
}

#[test]
fn effective_settings_are_shown_with_their_origins_and_without_secrets() {
    let file = "[limits]\nsteps = 9\n[nats]\nurl = [\"nats://u:hidden@broker\"]\n";
    let folder = folder(&[("switchyard.toml", file), ("bad.toml", "[limits]\nstepz = 1\n")]);
    let show = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(arguments)
            .current_dir(folder.path())
            .env_clear()
            .env("SWITCHYARD_ADMIN_TOKEN", "hidden")
            .env("SWITCHYARD_DELIVERY__TIMEOUT_MS", "2000")
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let text = String::from_utf8(output.stdout).unwrap();
        assert!(!text.contains("hidden"), "{text}");
        text
    };
    let text = show(&["config", "show"]);
    for line in ["limits.steps = 9", "admin.token = \"***\"", "nats.prefix = \"sw\""] {
        assert!(text.lines().any(|found| found == line), "{line}: {text}");
    }
    let text = show(&["config", "show", "--origin"]);
    let row = |start: &str| {
        let row = text.lines().find(|line| line.starts_with(start)).unwrap();
        row.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(
        row("delivery.timeout_ms"),
        "delivery.timeout_ms 2000 SWITCHYARD_DELIVERY__TIMEOUT_MS 15000 (default)"
    );
    assert_eq!(row("limits.steps"), "limits.steps 9 switchyard.toml:2 50000 (default)");
    assert_eq!(row("nats.url"), "nats.url [\"nats://***@broker\"] switchyard.toml:4 [] (default)");
    let all: Value = serde_json::from_str(&show(&["config", "show", "-o", "json"])).unwrap();
    let steps = all.as_array().unwrap().iter().find(|one| one["setting"] == "limits.steps");
    let expected = json!({"setting": "limits.steps", "value": 9,
        "origin": {"kind": "file", "path": "switchyard.toml", "line": 2},
        "replaced": [{"value": 50_000, "origin": {"kind": "default"}}]});
    assert_eq!(*steps.unwrap(), expected);
    let (status, text) = run(folder.path(), &["config", "check", "switchyard.toml"]);
    assert_eq!((status, &*text), (0, "switchyard.toml: valid, 2 settings\n"));
    let (status, text) = run(folder.path(), &["config", "check", "bad.toml", "-o", "json"]);
    let found: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &found["valid"]), (1, &json!(false)));
    assert!(found["error"].as_str().unwrap().contains("did you mean `steps`?"), "{found}");
    assert_eq!(run(folder.path(), &["config", "check", "no-such.toml"]).0, 2);
}

#[test]
fn event_types_are_listed_and_shown_with_their_fields_offline() {
    let folder = folder(&[]);
    let (code, names) = run(folder.path(), &["events", "ls", "worklog", "-o", "name"]);
    let expected = "avi:jira:created:worklog\navi:jira:updated:worklog\navi:jira:deleted:worklog\n";
    assert_eq!((code, names.as_str()), (0, expected));
    let (code, table) = run(folder.path(), &["events", "ls"]);
    assert_eq!(code, 0);
    assert!(table.starts_with("TYPE") && table.contains(CREATED), "{table}");
    let (code, shown) = run(folder.path(), &["events", "show", CREATED, "-o", "json"]);
    assert_eq!(code, 0, "{shown}");
    let shown: Value = serde_json::from_str(&shown).unwrap();
    let fields = shown["fields"].as_array().unwrap();
    let key = fields.iter().find(|field| field["path"] == "event.issue.key").unwrap();
    assert_eq!(key["type"], "String");
    let (code, error) = run(folder.path(), &["events", "show", "avi:jira:create:issue"]);
    assert_eq!(code, 2);
    assert!(error.contains("did you mean `avi:jira:created:issue`?"), "{error}");
}

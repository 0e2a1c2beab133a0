//! The members and types of every answer in JSON, as files in `snapshots/json/`: programs read them, so that a change must
//! show in a review. A router routes one event, which one handler accepts and another rejects.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use clap::{Command as ClapCommand, CommandFactory};
use serde_json::{Value, json};
use switchyard::cli::Cli;
use tokio::process::Command;

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, Sink, WAIT_MAX, eventually, publish,
};

const EVENT_TYPE: &str = "avi:jira:updated:issue";
const SITE: &str = "site-1";

/// Commands with `-o` whose answer is not here, with the reason.
const NOT_HERE: [(&str, &str); 21] = [
    ("listen", "has no end; its lines are those of tests/it/listen.rs"),
    ("context select", "one member, `selected`"),
    ("context rm", "one member, `removed`"),
    ("dlq rm", "prints a line for each letter"),
    ("dlq pause", "the job, as of `dlq status`"),
    ("dlq resume", "the job, as of `dlq status`"),
    ("dlq cancel", "the job, as of `dlq status`"),
    ("replay pause", "the job, as of `replay show`"),
    ("replay resume", "the job, as of `replay show`"),
    ("replay cancel", "the job, as of `replay show`"),
    ("modules add", "prints a line"),
    ("modules rm", "prints a line for each module"),
    ("subscriptions pause", "the subscription, as of `subscriptions show`"),
    ("subscriptions resume", "the subscription, as of `subscriptions show`"),
    ("subscriptions disable", "the subscription, as of `subscriptions show`"),
    ("subscriptions promote", "the subscription, as of `subscriptions show`"),
    ("subscriptions rollback", "the subscription, as of `subscriptions show`"),
    ("subscriptions shadow rm", "prints a line"),
    ("endpoints enable", "the endpoint, as of `endpoints show`, with a count"),
    ("tokens rm", "prints a line"),
    ("match", "a line for each event, compared with an oracle in tests/it/oracle.rs"),
];

/// Members that are maps: their own members depend on what happened.
const MAPS: [&str; 2] = ["headers", "phasesMs"];

/// A type, or an object or a list with the shapes of what is in it.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum Shape {
    Type(&'static str),
    Object(BTreeMap<String, Member>),
    List(Option<Box<Member>>),
}

/// The shapes that a value has in all items of a list, and whether some have none.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Debug, Default)]
struct Member {
    shapes: BTreeSet<Shape>,
    is_optional: bool,
}

impl Shape {
    fn of(value: &Value) -> Self {
        match value {
            Value::Null => Self::Type("null"),
            Value::Bool(_) => Self::Type("bool"),
            Value::Number(_) => Self::Type("number"),
            Value::String(_) => Self::Type("text"),
            Value::Array(items) => {
                let all = items.iter().map(Member::of).reduce(Member::merged);
                Self::List(all.map(Box::new))
            }
            Value::Object(members) => Self::Object(
                members
                    .iter()
                    .map(|(name, value)| (name.clone(), Self::of_member(name, value)))
                    .collect(),
            ),
        }
    }

    fn of_member(name: &str, value: &Value) -> Member {
        let Some(members) = value.as_object().filter(|_| MAPS.contains(&name)) else {
            return Member::of(value);
        };
        let all = members.values().map(Member::of).reduce(Member::merged);
        let any = all.map(|member| ("*".to_owned(), member));
        Member {
            shapes: BTreeSet::from([Self::Object(any.into_iter().collect())]),
            is_optional: false,
        }
    }

    /// Returns the shape of two items of one list, if both are objects or both are lists.
    fn merged(&self, other: &Self) -> Option<Self> {
        match (self, other) {
            (Self::Object(one), Self::Object(other)) => {
                let names: BTreeSet<&String> = one.keys().chain(other.keys()).collect();
                let member = |name: &String| match (one.get(name), other.get(name)) {
                    (Some(one), Some(other)) => one.clone().merged(other.clone()),
                    (Some(only), None) | (None, Some(only)) => {
                        Member { is_optional: true, ..only.clone() }
                    }
                    (None, None) => Member::default(),
                };
                Some(Self::Object(
                    names.into_iter().map(|name| (name.clone(), member(name))).collect(),
                ))
            }
            (Self::List(one), Self::List(other)) => {
                let items =
                    one.iter().chain(other).map(|item| (**item).clone()).reduce(Member::merged);
                Some(Self::List(items.map(Box::new)))
            }
            (one, other) => (one == other).then(|| one.clone()),
        }
    }

    fn print(&self, indent: usize, out: &mut String) {
        let pad = "  ".repeat(indent + 1);
        match self {
            Self::Type(name) => out.push_str(name),
            Self::List(None) => out.push_str("[]"),
            Self::List(Some(item)) => {
                out.push('[');
                item.print(indent, out);
                out.push(']');
            }
            Self::Object(members) => {
                out.push_str("{\n");
                for (name, member) in members {
                    let mark = if member.is_optional { "?" } else { "" };
                    write!(out, "{pad}{name}{mark}: ").unwrap();
                    member.print(indent + 1, out);
                    out.push('\n');
                }
                write!(out, "{}}}", "  ".repeat(indent)).unwrap();
            }
        }
    }
}

impl Member {
    fn of(value: &Value) -> Self {
        Self { shapes: BTreeSet::from([Shape::of(value)]), is_optional: false }
    }

    fn merged(self, other: Self) -> Self {
        let mut shapes: Vec<Shape> = self.shapes.into_iter().collect();
        for shape in other.shapes {
            let same = shapes.iter().position(|one| one.merged(&shape).is_some());
            match same {
                Some(at) => shapes[at] = shapes[at].merged(&shape).unwrap(),
                None => shapes.push(shape),
            }
        }
        let is_optional = self.is_optional || other.is_optional;
        Self { shapes: shapes.into_iter().collect(), is_optional }
    }

    fn print(&self, indent: usize, out: &mut String) {
        for (at, shape) in self.shapes.iter().enumerate() {
            out.push_str(if at > 0 { " | " } else { "" });
            shape.print(indent, out);
        }
    }
}

fn printed(value: &Value) -> String {
    let mut out = String::new();
    Member::of(value).print(0, &mut out);
    out
}

fn assert_shape(name: &str, text: &str) {
    let value: Value =
        serde_json::from_str(text).unwrap_or_else(|error| panic!("{name}: {error}: {text}"));
    let mut settings = insta::Settings::clone_current();
    settings.set_prepend_module_to_snapshot(false);
    settings.set_omit_expression(true);
    settings.set_snapshot_path("snapshots/json");
    settings.bind(|| insta::assert_snapshot!(name.replace(' ', "-"), printed(&value)));
}

/// Returns the commands with a flag for the format that has `json`.
fn commands_with_json() -> BTreeSet<String> {
    fn walk(command: &ClapCommand, path: &str, found: &mut BTreeSet<String>) {
        let subcommands: Vec<_> =
            command.get_subcommands().filter(|sub| sub.get_name() != "help").collect();
        let has_json = command.get_arguments().any(|argument| {
            let values = argument.get_possible_values();
            argument.get_id() == "output" && values.iter().any(|value| value.matches("json", false))
        });
        if subcommands.is_empty() && has_json {
            found.insert(path.to_owned());
        }
        for sub in subcommands {
            walk(sub, format!("{path} {}", sub.get_name()).trim(), found);
        }
    }
    let mut all = Cli::command();
    all.build();
    let mut found = BTreeSet::new();
    walk(&all, "", &mut found);
    found
}

/// A router with what it routed, and a folder to run commands in.
struct World {
    router: RouterProcess,
    folder: tempfile::TempDir,
    seen: std::sync::Mutex<BTreeSet<String>>,
    // Ends after the router.
    nats: NatsServer,
}

impl World {
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let router = Setup::new(&nats.url(), nats.folder().join("router")).start().await;
        let folder = tempfile::tempdir().unwrap();
        Self { router, folder, seen: std::sync::Mutex::default(), nats }
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    async fn run(&self, arguments: &str) -> String {
        let output = Command::new(env!("CARGO_BIN_EXE_switchyard"))
            .args(arguments.split(' '))
            .current_dir(self.folder.path())
            .env("SWITCHYARD_SERVER", self.router.api.base())
            .env("SWITCHYARD_TOKEN", ADMIN_TOKEN)
            .env("XDG_CONFIG_HOME", self.folder.path())
            .kill_on_drop(true)
            .output()
            .await
            .unwrap();
        let text = String::from_utf8(output.stdout).unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.code().is_some_and(|code| code < 2), "{arguments}: {said}");
        text
    }

    /// Runs a command, and compares the shape of its answer with that of its name.
    async fn check(&self, name: &str, arguments: &str) -> Value {
        let text = self.run(&format!("{arguments} -o json")).await;
        assert_shape(name, &text);
        self.seen.lock().unwrap().insert(name.to_owned());
        serde_json::from_str(&text).unwrap()
    }

    /// As [`World::check`], of a command that is named by its first words.
    async fn check_all(&self, commands: &[(&str, &str)]) {
        for (name, arguments) in commands {
            self.check(name, format!("{name} {arguments}").trim()).await;
        }
    }

    async fn provision(&self, sink: &Sink) {
        for (installation, path) in [("first", "/ok"), ("second", "/rejects")] {
            let app = format!("app-{installation}");
            self.router.provision(&app, installation, SITE, &sink.url(path)).await;
            let filter = json!({"expression": "event.issue.fields.priority.name == 'High'"});
            let data = json!({"endpoint": "hook", "events": [EVENT_TYPE], "filter": filter});
            let module = format!("/admin/v1/installations/{installation}/modules/urgent");
            self.router.put(&module, json!({"type": "trigger", "data": data})).await;
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shapes_of_answers_in_json_are_known() {
    let (world, sink) = (World::start().await, Sink::start().await);
    sink.answer("/rejects", 404, None);
    world.provision(&sink).await;
    publish(&world.nats.client().await, SITE, 1, "OPS").await;
    eventually(WAIT_MAX, "both deliveries ended", || async {
        let listed: Value = serde_json::from_str(&world.run("deliveries ls -o json").await).ok()?;
        (listed.as_array()?.len() == 2).then_some(())
    })
    .await;
    world
        .check_all(&[
            ("subscriptions ls", ""),
            ("subscriptions show", "second/urgent"),
            ("modules ls", "-i first"),
            ("modules show", "urgent -i first"),
            ("endpoints ls", ""),
            ("top", "--once --by failures"),
            ("account", "--since 1h"),
            ("deliveries ls", ""),
            ("dlq ls", ""),
            ("dlq redrive", "--all --dry-run"),
            ("dlq jobs", ""),
            ("replay start", "--installation second --from 1h --mode failed --dry-run"),
            ("replay ls", ""),
            ("explain", "--installation first --since 1h"),
            ("backtest", "--subscription first/urgent --since 1h"),
            ("erase", "--site site-1 --dry-run"),
            ("events ls", ""),
            ("events sample", EVENT_TYPE),
            ("events recent", "--site site-1 --limit 1"),
            ("trigger", "avi:jira:created:issue --site site-1"),
            ("doctor", ""),
            ("tokens add", "ci --scope operate --expires 90d --description tests"),
            ("tokens ls", ""),
            ("tokens show", "ci"),
            ("tokens rotate", "ci"),
            ("whoami", ""),
            ("audit ls", "--operation putAccessToken"),
        ])
        .await;
    let text = world.run("health --format json").await;
    assert_shape("health", &text);
    world.check("account --check", "account --check ledger --since 1h").await;
    world.check("events show TYPE", &format!("events show {EVENT_TYPE}")).await;
    world.check("events show", "events show site-1/event-1 --body").await;
    of_single_items(&world).await;
    of_revisions_and_shadows(&world).await;
    of_live_events(&world).await;
    without_a_router(&world).await;

    let all = commands_with_json();
    let reasons: BTreeSet<String> = NOT_HERE.iter().map(|(name, _)| (*name).to_owned()).collect();
    let seen = world.seen.lock().unwrap().clone();
    let missing: Vec<_> =
        all.iter().filter(|one| !seen.contains(*one) && !reasons.contains(*one)).collect();
    assert!(missing.is_empty(), "answers without a snapshot: {missing:?}");
    let unknown: Vec<_> = reasons.iter().filter(|one| !all.contains(*one)).collect();
    assert!(unknown.is_empty(), "no such commands: {unknown:?}");
    world.router.kill().await;
}

/// Commands with the id of something that a list has.
async fn of_single_items(world: &World) {
    let id = async |command: &str| {
        let listed: Value = serde_json::from_str(&world.run(command).await).unwrap();
        listed[0]["id"].as_str().unwrap().to_owned()
    };
    let endpoint = id("endpoints ls -i first -o json").await;
    let letter = id("dlq ls -o json").await;
    let delivery = id("deliveries ls -i second -o json").await;
    let redrive = id("dlq jobs -o json").await;
    let replay = id("replay ls -o json").await;
    let change = id("audit ls --operation putAccessToken -o json").await;
    world
        .check_all(&[
            ("endpoints show", endpoint.as_str()),
            ("endpoints test", endpoint.as_str()),
            ("endpoints reset-breaker", endpoint.as_str()),
            ("dlq show", letter.as_str()),
            ("dlq status", redrive.as_str()),
            ("replay show", replay.as_str()),
            ("audit show", change.as_str()),
            ("deliveries show", format!("{delivery} -i second").as_str()),
            ("redeliver", format!("{delivery} -i second").as_str()),
        ])
        .await;
}

async fn of_revisions_and_shadows(world: &World) {
    let shadow = json!({"filter": {"expression": "event.issue.fields.priority.name == 'Low'"}});
    world.file("shadow.json", &shadow.to_string());
    world
        .check("subscriptions shadow set", "subscriptions shadow set first/urgent -f shadow.json")
        .await;
    world.check("subscriptions shadow show", "subscriptions shadow show first/urgent").await;
    eventually(WAIT_MAX, "the revision is stored", || async {
        let listed = world.run("modules revisions urgent -i first -o json").await;
        (serde_json::from_str::<Value>(&listed).ok()?.as_array()?.len() == 1).then_some(())
    })
    .await;
    world.check("modules revisions", "modules revisions urgent -i first").await;
    world.check("subscriptions diff", "subscriptions diff first/urgent").await;
}

/// An event that is published while `tail` runs, again until it shows one.
async fn of_live_events(world: &World) {
    let broker = world.nats.client().await;
    let publishing = async {
        for number in 100.. {
            publish(&broker, SITE, number, "OPS").await;
            tokio::time::sleep(std::time::Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        _ = world.check("tail", "tail --limit 1 --decision matched") => {}
        () = publishing => {}
    }
}

async fn without_a_router(world: &World) {
    world.file("event.json", &world.run("events sample avi:jira:created:issue").await);
    world.file("switchyard.toml", "[limits]\nsteps = 5000\n");
    world.file("headers", "webhook-id: a\n");
    world.file("secret", "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=");
    let filter = "event.issue.key=='A'";
    let with = format!("-e {filter} --with event.json");
    world
        .check_all(&[
            ("check", format!("-e {filter} --event avi:jira:created:issue").as_str()),
            ("test", with.as_str()),
            ("config show", ""),
            ("config check", "switchyard.toml"),
            ("context add", "prod --server http://127.0.0.1:9 --token-file secret --site a"),
            ("context ls", ""),
            ("context show", "prod"),
            ("verify", "--secret-file secret --header-file headers --body-file event.json"),
        ])
        .await;
    world.check("explain FILTER", &format!("explain {with}")).await;
    world.check("trigger --list", "trigger --list").await;
    world.check("trigger --dry-run", "trigger avi:jira:created:issue --dry-run").await;
}

#[test]
fn no_snapshot_is_of_an_answer_that_is_not_compared() {
    let source = include_str!("json_shapes.rs");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/snapshots/json");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "snap") {
            continue;
        }
        let name = path.file_stem().unwrap().to_str().unwrap();
        let is_known = source.split('"').any(|text| text.replace(' ', "-") == name);
        assert!(is_known, "{} is of no answer: remove it", path.display());
    }
}

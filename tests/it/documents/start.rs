//! The pages of the first minutes, with a router that `switchyard dev` runs.

use super::page::Page;
use super::shell::{Shell, free_ports};
use crate::support::{NatsServer, Sink};

/// The router of a developer, and a shell that calls it.
struct Developer {
    shell: Shell,
    _nats: NatsServer,
}

impl Developer {
    async fn start(mut shell: Shell) -> Self {
        let nats = NatsServer::start().await;
        let dev = format!("switchyard dev --demo --listen 127.0.0.1:0 --nats-url {}", nats.url());
        let printed = shell.keep_running(&dev, "switchyard trigger").await;
        let after = |start: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(start));
            line.unwrap_or_else(|| panic!("no line {start}: {printed}")).trim().to_owned()
        };
        let token = after("admin token  ");
        let shell = shell.replace("http://127.0.0.1:8089", &after("listening on "));
        let mut developer = Self { shell, _nats: nats };
        developer.shell.say(&format!("TOKEN={token}")).await;
        developer
    }
}

pub(super) async fn readme(page: &mut Page) {
    let sink = Sink::start().await;
    let handler = sink.url("").trim_start_matches("http://").to_owned();
    let shell = Shell::start();
    let shell = shell.replace("localhost:9000", &handler).replace("127.0.0.1:9000", &handler);
    let mut developer = Developer::start(shell).await;
    let shell = &mut developer.shell;
    while let Some(step) = page.next() {
        let printed = shell.step(&step).await;
        // The second answer has the token of the installation, which the reader copies.
        if let Some(token) =
            printed.split("\"token\":\"").nth(1).and_then(|rest| rest.split('"').next())
        {
            shell.instead("INSTALLATION_TOKEN=...", &format!("INSTALLATION_TOKEN={token}"));
        }
    }
    shell.finish().await;
    // What `listen` forwarded, and what the app received.
    let paths: Vec<String> = sink.received().into_iter().map(|one| one.path).collect();
    assert!(paths.contains(&"/".to_owned()) && paths.contains(&"/assign".to_owned()), "{paths:?}");
}

pub(super) async fn tutorial(page: &mut Page) {
    let port = format!("{}1", free_ports());
    let mut developer = Developer::start(Shell::start().replace("9000", &port)).await;
    let shell = &mut developer.shell;
    while let Some(step) = page.next() {
        shell.step(&step).await;
        if step.commands.contains("issue.key=XXX-1") {
            shell.until_printed("XXX-1 has the priority High").await;
            let count = "until switchyard subscriptions show first/urgent | grep -x 'not matched *1'; \
                do sleep 0.1; done";
            shell.say(count).await;
            let show = "switchyard subscriptions show first/urgent";
            shell.say(&format!("until {show} | grep -x 'delivered *1'; do sleep 0.1; done")).await;
        }
    }
    shell.until_printed("-> 204").await;
    shell.finish().await;
}

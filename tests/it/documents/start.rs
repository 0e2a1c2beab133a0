//! The pages of the first minutes, with a router that `switchyard dev` runs.

use super::page::Page;
use super::shell::Shell;
use crate::support::{NatsServer, Sink};

/// The router of a developer, a handler, and a shell that calls both.
struct Developer {
    shell: Shell,
    sink: Sink,
    _nats: NatsServer,
}

impl Developer {
    async fn start() -> Self {
        let (nats, sink) = (NatsServer::start().await, Sink::start().await);
        let handler = sink.url("").trim_start_matches("http://").to_owned();
        let mut shell =
            Shell::start().replace("localhost:9000", &handler).replace("127.0.0.1:9000", &handler);
        let dev = format!("switchyard dev --demo --listen 127.0.0.1:0 --nats-url {}", nats.url());
        let printed = shell.keep_running(&dev, "switchyard trigger").await;
        let after = |start: &str| {
            let line = printed.lines().find_map(|line| line.strip_prefix(start));
            line.unwrap_or_else(|| panic!("no line {start}: {printed}")).trim().to_owned()
        };
        let token = after("admin token  ");
        let shell = shell.replace("http://127.0.0.1:8089", &after("listening on "));
        let mut developer = Self { shell, sink, _nats: nats };
        developer.shell.say(&format!("TOKEN={token}")).await;
        developer
    }
}

pub(super) async fn readme(page: &mut Page) {
    let mut developer = Developer::start().await;
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
    let paths: Vec<String> = developer.sink.received().into_iter().map(|one| one.path).collect();
    assert!(paths.contains(&"/".to_owned()) && paths.contains(&"/assign".to_owned()), "{paths:?}");
}

//! The how-to pages, each with the routers that it is about.

use switchyard::clock;

use super::operation::{provision, shell, world};
use super::page::Page;
use super::shell::{Shell, free_ports};
use super::verify::verify;
use crate::support::{
    ADMIN_TOKEN, NatsServer, Received, SECRET, Setup, Sink, WAIT_MAX, eventually,
};

/// Whether a program is there. In continuous integration it must be.
fn has_program(name: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let is_there = std::env::split_paths(&path).any(|folder| folder.join(name).is_file());
    let is_needed = std::env::var_os("CI").is_some();
    assert!(is_there || !is_needed, "`{name}` is missing: this page has code for it");
    is_there
}

/// Whether the Rust code of the page accepts a request, received now, with this body.
fn is_verified(received: &Received, body: &[u8]) -> bool {
    let header = |name: &str| received.headers.get(name).and_then(|value| value.to_str().ok());
    let now_s = u64::try_from(clock::now().as_second()).expect("after 1970");
    verify(SECRET, header, body, now_s)
}

pub(super) async fn verify_signatures(page: &mut Page) {
    let world = world("k").await;
    let mut shell = shell(&world).await;
    let received = eventually(WAIT_MAX, "a delivery", || async {
        world.sink.received_at("/hook").into_iter().next()
    })
    .await;
    let headers = received
        .headers
        .iter()
        .map(|(name, value)| format!("{name}: {}\r\n", value.to_str().expect("a text")));
    let headers: String = headers.collect();
    let body = shell.folder().join("body.json");
    std::fs::write(shell.folder().join("secret.txt"), SECRET).expect("a file");
    std::fs::write(shell.folder().join("headers.txt"), headers).expect("a file");
    std::fs::write(&body, &received.body).expect("a file");
    let mut commands = Vec::new();
    while let Some(step) = page.next() {
        let program = step.commands.split(' ').next().expect("a program").to_owned();
        if program == "switchyard" || has_program(&program) {
            shell.step(&step).await;
            commands.push(step.commands.trim().to_owned());
        }
    }
    assert!(is_verified(&received, &received.body));
    let text = include_str!("../../../docs/how-to/verify-signatures.md");
    let (_, code) = include_str!("verify.rs").split_once("\n\n").expect("a head");
    assert!(text.contains(&format!("```rust\n{code}```")), "the page has the code of verify.rs");
    // Another body is refused by each.
    let other = [&received.body[..], b" "].concat();
    assert!(!is_verified(&received, &other));
    std::fs::write(&body, &other).expect("a file");
    for command in commands {
        let code = shell.say(&format!("{command} > /dev/null && echo 0 || echo $?")).await;
        assert_eq!(code.trim(), "1", "{command} refuses another body");
    }
}

pub(super) async fn private_network(page: &mut Page) {
    let nats = NatsServer::start().await;
    let cidrs = "SWITCHYARD_DELIVERY__ALLOW_CIDRS";
    let mut setup =
        Setup::new(&nats.url(), nats.folder().join("router")).with(cidrs, "127.0.0.0/8");
    let router = setup.start().await;
    let mut shell = Shell::start();
    let base = router.api.base();
    shell.say(&format!("export SWITCHYARD_SERVER={base} SWITCHYARD_TOKEN={ADMIN_TOKEN}")).await;
    let mut router = Some(router);
    while let Some(step) = page.next() {
        shell.step(&step).await;
        if step.commands.contains("config check")
            && let Some(running) = router.take()
        {
            assert!(running.terminate().await);
            setup = setup.with(cidrs, "10.1.0.0/16");
            router = Some(setup.start().await);
        }
    }
    let stored = router.expect("it runs").get("/admin/v1/apps/inner").await.expect("the app");
    assert_eq!(stored["endpoints"][0]["url"], "http://10.1.2.3:8080/hook");
}

pub(super) async fn rotate_secrets(page: &mut Page) {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let mut shell = Shell::start();
    let old = "an-operator-token-of-before-0123456789abcdef";
    shell.say(&format!("echo {old} > tokens; openssl rand -base64 32 > secrets.key")).await;
    let file = |name: &str| shell.folder().join(name).display().to_string();
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_ADMIN__TOKEN_FILE", file("tokens"))
        .with("SWITCHYARD_SECRETS__KEY_FILE", file("secrets.key"));
    let mut router = setup.start().await;
    provision(&router, &sink, "k").await;
    shell.instead("http://127.0.0.1:8089", router.api.base());
    shell.instead("SWITCHYARD_TOKEN=...", &format!("SWITCHYARD_TOKEN={old}"));
    while let Some(step) = page.next() {
        shell.step(&step).await;
        if step.commands.contains("secrets.new") {
            assert!(router.terminate().await);
            router = setup.start().await;
        }
    }
    let keys = shell.say("cat secrets.key | wc -l; cat tokens | wc -l").await;
    assert_eq!(keys, "1\n1\n", "the old ones are removed");
    let encryption = router.get("/admin/v1/encryption").await.expect("the state");
    assert_eq!(encryption["keys"][0], encryption["writesWith"]);
    let refused = router.api.with_token(old);
    eventually(WAIT_MAX, "the old token is refused", || async {
        let asked = refused.send(hyper::Method::GET, "/admin/v1/apps", &[], &().into()).await;
        asked.is_err().then_some(())
    })
    .await;
}

pub(super) async fn access(page: &mut Page) {
    let world = world("k").await;
    let mut shell = shell(&world).await;
    shell.instead("http://127.0.0.1:8089", world.router.api.base());
    shell.instead("SWITCHYARD_TOKEN=...", &format!("SWITCHYARD_TOKEN={ADMIN_TOKEN}"));
    shell.run(page).await;
    let tokens = world.router.get("/admin/v1/tokens").await.expect("a list");
    let ids: Vec<_> =
        tokens["items"].as_array().expect("a list").iter().map(|one| &one["id"]).collect();
    assert_eq!(ids, ["makers"], "the other one is deleted");
}

pub(super) async fn three_replicas(page: &mut Page) {
    let mut shell = Shell::start().replace("nats-server -c", "$NATS_SERVER -c");
    for written in ["422", "622", "808"] {
        let prefix = free_ports();
        for last in ["$n", "1", "2", "3"] {
            shell.instead(&format!(":{written}{last}"), &format!(":{prefix}{last}"));
        }
    }
    shell.run(page).await;
}

pub(super) async fn upgrade(page: &mut Page) {
    let world = world("k").await;
    let mut shell = shell(&world).await;
    std::fs::write(shell.folder().join("switchyard.toml"), "[log]\nformat = \"json\"\n")
        .expect("a file");
    shell.run(page).await;
}

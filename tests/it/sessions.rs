//! Sessions of the console at two replicas: login, logout, and what is refused.

use serde_json::Value;

use crate::support::raw::{exchange, set_cookie, status};
use crate::support::{ADMIN_TOKEN, NatsServer, RouterProcess, Setup, WAIT_MAX, eventually};

const PAGE: &str = "Host: localhost\r\nAccept: text/html";

/// Two replicas, and what a browser keeps.
struct World {
    nats: NatsServer,
    ports: [u16; 2],
    routers: Vec<RouterProcess>,
}

/// A browser that logged in.
struct Browser {
    cookie: String,
    csrf: String,
}

impl World {
    async fn start() -> Self {
        let nats = NatsServer::start().await;
        let (mut routers, mut ports) = (Vec::new(), Vec::new());
        for name in ["one", "other"] {
            let mut setup = Setup::new(&nats.url(), nats.folder().join(name));
            routers.push(setup.start().await);
            ports.push(setup.port);
        }
        Self { nats, ports: ports.try_into().expect("two"), routers }
    }

    async fn get(&self, replica: usize, path: &str, headers: &str) -> String {
        exchange(self.ports[replica], &format!("GET {path} HTTP/1.1\r\n{headers}"), "").await
    }

    async fn post(&self, replica: usize, path: &str, headers: &str, form: &str) -> String {
        let head = format!(
            "POST {path} HTTP/1.1\r\nContent-Type: application/x-www-form-urlencoded\r\n{headers}"
        );
        exchange(self.ports[replica], &head, form).await
    }

    /// Sends the form of the login with the cookies that its page set, and more.
    async fn log_in(&self, token: &str, next: &str, cookies: &str) -> String {
        let page = self.get(0, "/login", PAGE).await;
        assert_eq!(status(&page), 200, "{page}");
        let form_cookie = set_cookie(&page, "switchyard_login").expect("a cookie");
        let csrf = field(&page, "csrf");
        let headers = format!("{PAGE}\r\nCookie: switchyard_login={form_cookie}{cookies}");
        self.post(0, "/login", &headers, &format!("csrf={csrf}&next={next}&token={token}")).await
    }

    async fn browser(&self) -> Browser {
        let answer = self.log_in(ADMIN_TOKEN, "/", "").await;
        assert_eq!(status(&answer), 303, "{answer}");
        let cookie = set_cookie(&answer, "switchyard_session").expect("a cookie");
        let page =
            self.get(1, "/", &format!("{PAGE}\r\nCookie: switchyard_session={cookie}")).await;
        assert_eq!(status(&page), 200, "the other replica knows the session: {page}");
        Browser { cookie, csrf: field(&page, "csrf") }
    }

    /// The status of the page `/` with a cookie, at each replica.
    async fn pages(&self, cookie: &str) -> [u16; 2] {
        let headers = format!("{PAGE}\r\nCookie: switchyard_session={cookie}");
        [status(&self.get(0, "/", &headers).await), status(&self.get(1, "/", &headers).await)]
    }

    async fn operations(&self) -> Vec<(String, String)> {
        let page = self.routers[0].get("/admin/v1/audit-log").await.expect("a page");
        let text = |item: &Value, name: &str| item[name].as_str().expect("a text").to_owned();
        let items = page["items"].as_array().expect("items").iter();
        items.map(|item| (text(item, "operation"), text(item, "outcome"))).collect()
    }
}

impl Browser {
    fn headers(&self) -> String {
        format!("{PAGE}\r\nOrigin: http://localhost\r\nCookie: switchyard_session={}", self.cookie)
    }
}

/// Returns the value of a hidden field of a page.
fn field(page: &str, name: &str) -> String {
    let start = format!("name=\"{name}\" value=\"");
    let (_, rest) = page.split_once(&start).unwrap_or_else(|| panic!("no {name}: {page}"));
    rest.split('"').next().expect("a value").to_owned()
}

fn location(answer: &str) -> Option<&str> {
    answer.lines().find_map(|line| {
        let (header, value) = line.split_once(':')?;
        header.eq_ignore_ascii_case("location").then(|| value.trim())
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn visitor_logs_in_once_and_out_of_every_replica() {
    let world = World::start().await;
    let sent = world.get(1, "/subscriptions?state=paused", PAGE).await;
    assert_eq!(
        (status(&sent), location(&sent)),
        (303, Some("/login?next=%2Fsubscriptions%3Fstate%3Dpaused"))
    );
    assert_eq!(
        status(&world.get(1, "/subscriptions", "Host: localhost").await),
        401,
        "no page is asked for"
    );
    assert_eq!(status(&world.get(0, "/json/apps", "Host: localhost").await), 401);

    let answer = world.log_in(ADMIN_TOKEN, "%2Fsubscriptions%3Fstate%3Dpaused", "").await;
    assert_eq!((status(&answer), location(&answer)), (303, Some("/subscriptions?state=paused")));
    let lines = answer.to_lowercase();
    let set = lines
        .lines()
        .find(|line| line.starts_with("set-cookie: switchyard_session="))
        .expect("a cookie");
    for part in ["path=/", "httponly", "samesite=lax", "max-age=43200"] {
        assert!(set.contains(part), "{part}: {set}");
    }
    assert!(!set.contains("secure"), "there is no TLS: {set}");

    let browser = world.browser().await;
    assert_eq!(world.pages(&browser.cookie).await, [200, 200]);
    let form = format!("csrf={}", browser.csrf);
    let out = world.post(1, "/logout", &browser.headers(), &form).await;
    assert_eq!((status(&out), location(&out)), (303, Some("/login")));
    assert_eq!(set_cookie(&out, "switchyard_session").as_deref(), Some(""));
    // The cookie is stolen: it is worth nothing at any replica.
    assert_eq!(world.pages(&browser.cookie).await, [303, 303]);
    let context = world.nats.context().await;
    let bucket = context.get_stream("KV_SW_SESSIONS").await.expect("the bucket");
    assert_eq!(bucket.cached_info().state.messages, 1, "that of the first login");
    assert_eq!(bucket.cached_info().config.max_age.as_secs(), 12 * 3600);
    let operations = world.operations().await;
    let done = |name: &str| (name.to_owned(), "done".to_owned());
    assert_eq!(operations, [done("logOut"), done("logIn"), done("logIn")]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn login_makes_a_new_session_and_wrong_tokens_are_counted_and_recorded() {
    let world = World::start().await;
    let fixed = format!("{}.{}", "A".repeat(43), "0".repeat(32));
    assert_eq!(world.pages(&fixed).await, [303, 303]);
    let answer = world.log_in(ADMIN_TOKEN, "/", &format!("; switchyard_session={fixed}")).await;
    let cookie = set_cookie(&answer, "switchyard_session").expect("a cookie");
    assert_ne!(cookie, fixed);
    assert_eq!(world.pages(&fixed).await, [303, 303], "the id of somebody else is no session");
    let again = world.log_in(ADMIN_TOKEN, "/", &format!("; switchyard_session={cookie}")).await;
    let new = set_cookie(&again, "switchyard_session").expect("a cookie");
    assert_eq!((world.pages(&new).await, world.pages(&cookie).await), ([200, 200], [303, 303]));
    let two = format!("{PAGE}\r\nCookie: switchyard_session={new}; switchyard_session={new}");
    assert_eq!(status(&world.get(0, "/", &two).await), 303, "another host may have set one");

    let wrong = world.log_in("no-such-token", "/", "").await;
    assert_eq!(status(&wrong), 401, "{wrong}");
    assert!(wrong.contains("role=\"alert\"") && !wrong.contains("no-such-token"), "{wrong}");
    assert_eq!(set_cookie(&wrong, "switchyard_session"), None);
    let series = r#"switchyard_auth_failures_total{api="console",reason="unknown_token"}"#;
    assert!((world.routers[0].metric(series).await - 1.0).abs() < 0.1);
    assert_eq!(world.operations().await[0], ("logInFailed".to_owned(), "refused".to_owned()));

    let other = world.log_in(ADMIN_TOKEN, "%2F%2Fevil.example%2F", "").await;
    assert_eq!(location(&other), Some("/"), "the login leads to no other host");
    // Without the cookie of the form, or with another value, a page of another host sends it.
    let page = world.get(0, "/login", PAGE).await;
    let form = format!("csrf={}&token={ADMIN_TOKEN}", field(&page, "csrf"));
    for headers in [PAGE.to_owned(), format!("{PAGE}\r\nCookie: switchyard_login=x")] {
        let refused = world.post(0, "/login", &headers, &form).await;
        assert_eq!((status(&refused), set_cookie(&refused, "switchyard_session")), (403, None));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn form_of_another_page_or_host_changes_nothing() {
    let world = World::start().await;
    let browser = world.browser().await;
    let right = format!("csrf={}", browser.csrf);
    let session = format!("Cookie: switchyard_session={}", browser.cookie);
    for (headers, form, expected) in [
        (browser.headers(), String::new(), 403),
        (browser.headers(), "csrf=".to_owned(), 403),
        (browser.headers(), format!("csrf={}x", browser.csrf), 403),
        (format!("{PAGE}\r\n{session}\r\nOrigin: http://evil.example"), right.clone(), 403),
        (format!("{PAGE}\r\n{session}\r\nOrigin: null"), right.clone(), 403),
        (format!("{PAGE}\r\n{session}\r\nSec-Fetch-Site: cross-site"), right.clone(), 403),
        (format!("{PAGE}\r\n{session}\r\nSec-Fetch-Site: same-site"), right.clone(), 403),
        (format!("Host: evil.example\r\n{session}"), right.clone(), 421),
        (PAGE.to_owned(), right.clone(), 401),
    ] {
        for path in ["/logout", "/subscriptions/inst%2Fk/pause"] {
            let answer = world.post(0, path, &headers, &form).await;
            assert_eq!(status(&answer), expected, "{path} {headers} {form}: {answer}");
        }
    }
    assert_eq!(world.pages(&browser.cookie).await, [200, 200], "it is logged in");
    assert_eq!(status(&world.get(0, "/", &format!("Host: evil.example\r\n{session}")).await), 421);
    let other = world.browser().await;
    let foreign = format!("csrf={}", other.csrf);
    assert_eq!(status(&world.post(0, "/logout", &browser.headers(), &foreign).await), 403);
    assert_eq!(
        status(&world.get(0, "/logout", &browser.headers()).await),
        405,
        "GET changes nothing"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn session_ends_with_its_token_and_with_its_time() {
    let nats = NatsServer::start().await;
    let file = nats.folder().join("tokens");
    std::fs::write(&file, "token-of-this-week-0123456789abcdef\n").expect("a file");
    let mut setup = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_ADMIN__TOKEN_FILE", file.display());
    let router = setup.start().await;
    let world = World { nats, ports: [setup.port; 2], routers: vec![router] };
    let answer = world.log_in("token-of-this-week-0123456789abcdef", "/", "").await;
    let cookie = set_cookie(&answer, "switchyard_session").expect("a cookie");
    assert_eq!(world.pages(&cookie).await, [200, 200]);
    std::fs::write(&file, "token-of-next-week-0123456789abcdef\n").expect("a file");
    eventually(WAIT_MAX, "the session ended with its token", || async {
        (world.pages(&cookie).await == [303, 303]).then_some(())
    })
    .await;

    // A session of 13 hours ago, which the broker still has.
    let browser = world.browser().await;
    let context = world.nats.context().await;
    let stream = context.get_stream("KV_SW_SESSIONS").await.expect("the bucket");
    let last = stream.cached_info().state.last_sequence;
    let message = stream.get_raw_message(last).await.expect("the session");
    let mut session: Value = serde_json::from_slice(&message.payload).expect("JSON");
    let created_ms = session["createdMs"].as_i64().expect("a time");
    session["createdMs"] = (created_ms - 13 * 3_600_000).into();
    let text = String::from_utf8(message.payload.to_vec()).expect("a text");
    assert!(!text.contains(ADMIN_TOKEN) && !text.contains(&browser.cookie[..43]), "{text}");
    let stored = context.publish(message.subject.clone(), session.to_string().into()).await;
    stored.expect("sent").await.expect("stored");
    assert_eq!(world.pages(&browser.cookie).await, [303, 303]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn known_visitor_sees_the_console_without_a_broker_and_changes_nothing() {
    let mut world = World::start().await;
    let browser = world.browser().await;
    assert_eq!(world.pages(&browser.cookie).await, [200, 200]);
    world.nats.kill();
    let doctor = world.get(0, "/doctor", &browser.headers()).await;
    assert_eq!(status(&doctor), 200, "{doctor}");
    let form = format!("csrf={}", browser.csrf);
    assert_eq!(status(&world.post(0, "/logout", &browser.headers(), &form).await), 503);
    let stranger = format!("{}.{}", "A".repeat(43), "0".repeat(32));
    let headers = format!("{PAGE}\r\nCookie: switchyard_session={stranger}");
    assert_eq!(status(&world.get(0, "/doctor", &headers).await), 503);
}

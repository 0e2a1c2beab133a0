//! Nothing is lost at the bounds: more events than the event stream holds, handlers that are slow,
//! fail or hang, two routers, and kills. Every accepted event becomes, for each subscription that
//! matches it, exactly one delivery that is delivered, dead-lettered or parked; no other event does.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use async_nats::jetstream;
use async_nats::jetstream::consumer::PullConsumer;
use async_nats::jetstream::context::PublishErrorKind;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, Uri};
use futures_util::{StreamExt, stream};
use http_body_util::{BodyExt, Full};
use hyper::Request;
use hyper_util::client::legacy::Client as Pool;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::TokioExecutor;
use serde_json::{Value, json};

use crate::support::{
    ADMIN_TOKEN, NatsServer, RouterProcess, Setup, event_envelope, eventually, issue_event,
    register,
};

const SITE: &str = "site-1";
const TYPE: &str = "avi:jira:updated:issue";
/// Events that are sent at once to the APIs of the routers, and as many to the bus.
const CONCURRENT: usize = 32;
/// How often an event is sent that is refused each time.
const TRIES: usize = 3;
/// Pause of a sender before it sends an event again.
const PAUSE: Duration = Duration::from_millis(250);
/// Longest wait for a condition. Parked deliveries may return late on a busy machine.
const LONG: Duration = Duration::from_secs(300);
/// Delays of retries: the second is longer than the test runs.
const RETRIES_S: &str = "2,36000";

/// How much of everything.
struct Size {
    events: u64,
    stream_bytes: u64,
    kills: usize,
    /// Events in flight of one router. Fewer than its handlers take in time are delivered at the
    /// pace of the handlers, so that events wait in the stream; of more, deliveries are parked.
    in_flight_max: usize,
    /// Time that each attempt at the slow handler takes.
    handler_pause: Duration,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_at_the_bounds() {
    let size = Size {
        events: 3_000,
        stream_bytes: 1 << 20,
        kills: 2,
        in_flight_max: 60,
        handler_pause: Duration::from_millis(40),
    };
    nothing_is_lost(size).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes; `make bounds` runs it"]
async fn nothing_is_lost_at_the_bounds_at_full_size() {
    let size = Size {
        events: 50_000,
        stream_bytes: 8 << 20,
        kills: 5,
        in_flight_max: 4_096,
        handler_pause: Duration::from_millis(20),
    };
    nothing_is_lost(size).await;
}

async fn nothing_is_lost(size: Size) {
    let mut world = World::start(&size).await;
    let progress = Arc::<Progress>::default();
    let feed = Feed::of(&world, &progress).await;
    let feeding = tokio::spawn(async move { feed.send_all(size.events).await });
    // No router runs until the stream is full. Then the routers are killed while events flow.
    eventually(LONG, "the broker refuses events", || async {
        (progress.refused_by_broker.load(Relaxed) > 0).then_some(())
    })
    .await;
    world.start_routers([0, 1]).await;
    for kill in 1..=size.kills {
        let share = size.events * kill as u64 / (size.kills as u64 + 1);
        let random = u64::try_from(uuid::Uuid::new_v4().as_u128() % 100).unwrap();
        let wanted = share - size.events / (size.kills as u64 + 1) * random / 200;
        eventually(LONG, "events are sent", || async {
            (progress.ended.load(Relaxed) >= wanted).then_some(())
        })
        .await;
        // Alternately one router and both.
        if kill % 2 == 1 {
            world.kill_routers([kill / 2 % 2], &progress).await;
            world.start_routers([kill / 2 % 2]).await;
        } else {
            world.kill_routers([0, 1], &progress).await;
            world.start_routers([0, 1]).await;
        }
    }
    let sent = feeding.await.expect("all events are sent");

    let expected = Expected::of(&sent);
    world.handlers.until_done(&expected).await;
    until_acknowledged(&world.context).await;
    world.check_refusals(&sent).await;
    let stream = world.context.get_stream("SW_EVENTS").await.unwrap();
    let stored = stream.cached_info().state.last_sequence;
    assert_eq!(stored, sent.accepted.len() as u64, "what was accepted is stored once");
    world.kill_routers([0, 1], &progress).await;
    let dead = stored_deliveries(&world.context, "SW_DLQ").await;
    // The broker moves a record that becomes due while the stream is read.
    let parked = eventually(LONG, "all parked deliveries are found", || async {
        let parked = stored_deliveries(&world.context, "SW_PARKED").await;
        (parked.len() >= expected.parked.len()).then_some(parked)
    })
    .await;
    let delivered = world.handlers.delivered();
    expected.check(&delivered, &dead, &parked, &world.handlers.ids());
    let again = |times: usize| times - 1;
    let repeats: usize = delivered.values().copied().map(again).sum();
    eprintln!(
        "{} of {} events accepted, {} refused in the end; refusals: {} by the APIs, {} by the \
         broker; {} sends without an answer. {} deliveries = {} delivered + {} dead + {} parked; \
         {repeats} delivered again, {} dead letters again, {} kills",
        sent.accepted.len(),
        size.events,
        sent.refused.len(),
        sent.by_api.len(),
        sent.by_broker,
        sent.unknown,
        expected.count(),
        delivered.len(),
        dead.len(),
        parked.len(),
        dead.values().map(|found| again(found.times)).sum::<usize>(),
        size.kills,
    );
}

/// A broker, two routers, and the handlers.
struct World {
    nats: NatsServer,
    context: jetstream::Context,
    handlers: Handlers,
    setups: [Setup; 2],
    routers: [Option<RouterProcess>; 2],
    bases: [String; 2],
}

impl World {
    /// Starts both routers, provisions an installation for each handler, and ends the routers.
    async fn start(size: &Size) -> Self {
        let (nats, handlers) = (NatsServer::start().await, Handlers::start(size).await);
        let setup = |name: &str| {
            Setup::new(&nats.url(), nats.folder().join(name))
                .with("SWITCHYARD_EVENTS__MAX_BYTES", size.stream_bytes)
                .with("SWITCHYARD_EVENTS__IN_FLIGHT_MAX", size.in_flight_max)
                .with("SWITCHYARD_EVENTS__ACK_WAIT_S", 5)
                .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", RETRIES_S)
                .with("SWITCHYARD_DELIVERY__TIMEOUT_MS", 2_000)
        };
        let (mut one, mut other) = (setup("one"), setup("other"));
        let (first, second) = tokio::join!(one.start(), other.start());
        for kind in HandlerKind::ALL {
            let app = first.provision(kind.name(), kind.name(), SITE, &handlers.url(kind)).await;
            let filter = json!({ "expression": kind.filter() });
            register(&app, json!({ "endpoint": "hook", "events": [TYPE], "filter": filter })).await;
        }
        let bases = [&first, &second].map(|router| router.api.base().to_owned());
        first.kill().await;
        second.kill().await;
        let context = nats.context().await;
        Self { nats, context, handlers, setups: [one, other], routers: [None, None], bases }
    }

    async fn start_routers<const N: usize>(&mut self, numbers: [usize; N]) {
        for number in numbers {
            self.routers[number] = Some(self.setups[number].start().await);
        }
    }

    async fn kill_routers<const N: usize>(&mut self, numbers: [usize; N], progress: &Progress) {
        for number in numbers {
            self.routers[number].take().expect("a running router").kill().await;
            progress.ended_processes[number].fetch_add(1, Relaxed);
        }
    }

    /// Each 503 answer of a running process is in its metrics, and no more.
    async fn check_refusals(&self, sent: &Sent) {
        assert!(sent.by_broker > 0 && !sent.by_api.is_empty(), "the stream is too large");
        for (number, router) in self.routers.iter().enumerate() {
            let router = router.as_ref().expect("a running router");
            let process = sent.ended_processes[number];
            let of_this = sent.by_api.iter().filter(|refusal| refusal.router == number);
            let (mut sure, mut unsure) = (0.0, 0.0);
            for refusal in of_this.filter(|refusal| refusal.after == process) {
                *(if refusal.before == process { &mut sure } else { &mut unsure }) += 1.0;
            }
            let mut counted = 0.0;
            for reason in ["stream_full", "backlog"] {
                let series = format!("switchyard_events_refused_total{{reason=\"{reason}\"}}");
                counted += router.metric(&series).await;
            }
            eprintln!("router {number}: {counted} refusals counted since its last start");
            assert!(
                (sure..=sure + unsure).contains(&counted),
                "router {number} counted {counted} refusals of {sure} and at most {unsure} more"
            );
            let gap = router.metric("switchyard_input_gap_events_total").await;
            assert!(gap == 0.0, "{gap} events disappeared");
        }
    }
}

/// What a handler does, each in an installation of an app of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
enum HandlerKind {
    /// Takes its time, and accepts all events.
    Slow,
    /// Rejects its events for good.
    Rejecting,
    /// Fails the first attempt of every tenth delivery.
    Flaky,
    /// Never answers.
    Hanging,
}

impl HandlerKind {
    const ALL: [Self; 4] = [Self::Slow, Self::Rejecting, Self::Flaky, Self::Hanging];

    fn name(self) -> &'static str {
        match self {
            Self::Slow => "slow",
            Self::Rejecting => "rejecting",
            Self::Flaky => "flaky",
            Self::Hanging => "hanging",
        }
    }

    fn of(path: &str) -> Self {
        let is_at = |kind: &Self| path.strip_prefix('/') == Some(kind.name());
        Self::ALL.into_iter().find(is_at).expect("a handler's path")
    }

    fn filter(self) -> String {
        match self {
            Self::Slow => "true".to_owned(),
            other => format!("event.issue.fields.project.key == '{}'", other.name().to_uppercase()),
        }
    }
}

/// The handler, other than the slow one, whose filter event `number` matches.
fn second_match(number: u64) -> Option<HandlerKind> {
    match number % 20 {
        3 => Some(HandlerKind::Rejecting),
        7 | 17 => Some(HandlerKind::Flaky),
        11 => Some(HandlerKind::Hanging),
        _ => None,
    }
}

/// Whether the flaky handler fails the first attempt of event `number`.
fn fails_first(number: u64) -> bool {
    number % 100 == 7
}

fn body(number: u64) -> Vec<u8> {
    let project = second_match(number).map_or("OPS".to_owned(), |kind| kind.name().to_uppercase());
    let mut event = issue_event(number, &project);
    event["issue"]["fields"]["description"] = "x".repeat(1_000).into();
    event.to_string().into_bytes()
}

fn number_in(body: &[u8]) -> u64 {
    let event: Value = serde_json::from_slice(body).expect("JSON");
    let id: u64 = event["issue"]["id"].as_str().expect("an id").parse().expect("a number");
    id - 10_000
}

/// An event and the handler that it is for.
type Delivery = (HandlerKind, u64);

/// Handlers that only count, so that 50,000 deliveries take little memory.
struct Handlers {
    address: std::net::SocketAddr,
    seen: Arc<Seen>,
}

struct Seen {
    handler_pause: Duration,
    /// Attempts of each delivery, and its ids.
    deliveries: Mutex<BTreeMap<Delivery, (usize, BTreeSet<String>)>>,
}

impl Handlers {
    async fn start(size: &Size) -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("an address");
        let handler_pause = size.handler_pause;
        let seen = Arc::new(Seen { handler_pause, deliveries: Mutex::default() });
        let app = axum::Router::new().fallback(handle).with_state(seen.clone());
        tokio::spawn(async move { axum::serve(listener, app).await.expect("handlers serve") });
        Self { address, seen }
    }

    fn url(&self, handler: HandlerKind) -> String {
        format!("http://{}/{}", self.address, handler.name())
    }

    /// Deliveries that the handler accepted, with how often it did.
    fn delivered(&self) -> BTreeMap<Delivery, usize> {
        let accepted = |(delivery, (attempts, _)): (&Delivery, &(usize, _))| {
            let failed = match delivery.0 {
                HandlerKind::Slow => 0,
                HandlerKind::Flaky => usize::from(fails_first(delivery.1)),
                HandlerKind::Rejecting | HandlerKind::Hanging => return None,
            };
            (*attempts > failed).then_some((*delivery, attempts - failed))
        };
        self.seen.deliveries.lock().unwrap().iter().filter_map(accepted).collect()
    }

    /// Ids under which each delivery came.
    fn ids(&self) -> BTreeMap<Delivery, BTreeSet<String>> {
        let seen = self.seen.deliveries.lock().unwrap();
        seen.iter().map(|(delivery, (_, ids))| (*delivery, ids.clone())).collect()
    }

    /// Waits until the handlers have accepted all that they will.
    async fn until_done(&self, expected: &Expected) {
        eventually(LONG, "every delivery that can be made is made", || async {
            tokio::time::sleep(PAUSE).await;
            let delivered: BTreeSet<_> = self.delivered().into_keys().collect();
            delivered.is_superset(&expected.delivered).then_some(())
        })
        .await;
    }
}

async fn handle(
    State(seen): State<Arc<Seen>>,
    uri: Uri,
    headers: HeaderMap,
    body: Bytes,
) -> StatusCode {
    let kind = HandlerKind::of(uri.path());
    let id = headers["webhook-id"].to_str().expect("a text").to_owned();
    if kind == HandlerKind::Slow {
        tokio::time::sleep(seen.handler_pause).await;
    }
    let number = number_in(&body);
    let attempts = {
        let mut deliveries = seen.deliveries.lock().unwrap();
        let (attempts, ids) = deliveries.entry((kind, number)).or_default();
        *attempts += 1;
        ids.insert(id);
        *attempts
    };
    match kind {
        HandlerKind::Slow => StatusCode::NO_CONTENT,
        HandlerKind::Rejecting => StatusCode::NOT_FOUND,
        HandlerKind::Flaky if attempts == 1 && fails_first(number) => {
            StatusCode::SERVICE_UNAVAILABLE
        }
        HandlerKind::Flaky => StatusCode::NO_CONTENT,
        HandlerKind::Hanging => std::future::pending().await,
    }
}

/// What the sender and the killer of routers know of each other.
#[derive(Default)]
struct Progress {
    /// Events whose sending has ended.
    ended: AtomicU64,
    refused_by_broker: AtomicU64,
    /// Processes of each router that were killed.
    ended_processes: [AtomicUsize; 2],
}

/// What became of the events that were sent.
#[derive(Debug, Default)]
struct Sent {
    accepted: BTreeSet<u64>,
    /// Refused each time.
    refused: BTreeSet<u64>,
    by_api: Vec<ApiRefusal>,
    by_broker: u64,
    /// Sends without an answer; such an event is sent until it is accepted.
    unknown: u64,
    ended_processes: [usize; 2],
}

/// A 503 answer, with how many processes of that router had ended before the request and when the
/// answer was read. If both are equal, the process that ran then gave it.
#[derive(Clone, Copy, Debug)]
struct ApiRefusal {
    router: usize,
    before: usize,
    after: usize,
}

/// The answer to one send.
enum Answer {
    Accepted,
    RefusedByApi(ApiRefusal),
    RefusedByBroker,
    Unknown,
}

/// What became of an event so far.
#[derive(Default)]
struct Tries {
    refused: usize,
    is_unknown: bool,
}

/// A producer.
struct Feed {
    bases: [String; 2],
    pool: Pool<HttpConnector, Full<Bytes>>,
    bus: jetstream::Context,
    progress: Arc<Progress>,
    sent: Mutex<Sent>,
}

impl Feed {
    async fn of(world: &World, progress: &Arc<Progress>) -> Self {
        Self {
            bases: world.bases.clone(),
            pool: Pool::builder(TokioExecutor::new()).build_http(),
            bus: world.nats.context().await,
            progress: Arc::clone(progress),
            sent: Mutex::default(),
        }
    }

    async fn send_all(self, events: u64) -> Sent {
        // Those of the bus do not wait for those of an API without a router.
        let send_each = async |parity: u64| {
            let numbers = stream::iter((0..events).filter(|number| number % 2 == parity));
            let send = async |number| {
                self.send(number).await;
                self.progress.ended.fetch_add(1, Relaxed);
            };
            numbers.for_each_concurrent(CONCURRENT, send).await;
        };
        tokio::join!(send_each(0), send_each(1));
        let mut sent = self.sent.into_inner().unwrap();
        sent.ended_processes =
            self.progress.ended_processes.each_ref().map(|ended| ended.load(Relaxed));
        sent
    }

    /// Sends an event under one id until it is accepted, or was refused each time.
    async fn send(&self, number: u64) {
        let deadline = switchyard::clock::tick() + LONG;
        let mut tries = Tries::default();
        while switchyard::clock::tick() < deadline {
            let answer = match number % 4 {
                0 => self.send_to_api(number, 0).await,
                2 => self.send_to_api(number, 1).await,
                _ => self.send_to_bus(number).await,
            };
            if self.count(number, answer, &mut tries) {
                return;
            }
            tokio::time::sleep(PAUSE).await;
        }
        panic!("event {number} is neither accepted nor refused");
    }

    /// Counts an answer; returns whether the event needs not be sent again.
    fn count(&self, number: u64, answer: Answer, tries: &mut Tries) -> bool {
        let mut sent = self.sent.lock().unwrap();
        match answer {
            Answer::Accepted => {
                sent.accepted.insert(number);
                return true;
            }
            Answer::Unknown => {
                sent.unknown += 1;
                tries.is_unknown = true;
                return false;
            }
            Answer::RefusedByApi(refusal) => sent.by_api.push(refusal),
            Answer::RefusedByBroker => {
                sent.by_broker += 1;
                self.progress.refused_by_broker.fetch_add(1, Relaxed);
            }
        }
        tries.refused += 1;
        let is_refused = tries.refused >= TRIES && !tries.is_unknown;
        if is_refused {
            sent.refused.insert(number);
        }
        is_refused
    }

    async fn send_to_api(&self, number: u64, router: usize) -> Answer {
        let path = format!("/admin/v1/events?cloudId={SITE}&type={TYPE}");
        let request = Request::post(format!("{}{path}", self.bases[router]))
            .header("authorization", format!("Bearer {ADMIN_TOKEN}"))
            .header("ce-id", format!("event-{number}"))
            .body(Full::from(body(number)))
            .unwrap();
        let ended = || self.progress.ended_processes[router].load(Relaxed);
        let before = ended();
        let Ok(answer) = self.pool.request(request).await else { return Answer::Unknown };
        let (status, headers) = (answer.status().as_u16(), answer.headers().clone());
        let _ = answer.into_body().collect().await;
        match status {
            202 => Answer::Accepted,
            503 if headers.contains_key("retry-after") => {
                Answer::RefusedByApi(ApiRefusal { router, before, after: ended() })
            }
            // The broker did not confirm it.
            503 => Answer::Unknown,
            other => panic!("status {other}"),
        }
    }

    async fn send_to_bus(&self, number: u64) -> Answer {
        let (subject, headers) = event_envelope(SITE, TYPE, &format!("event-{number}"));
        let ack = self.bus.publish_with_headers(subject, headers, body(number).into()).await;
        let stored = match ack {
            Ok(ack) => ack.await,
            Err(error) => Err(error),
        };
        match stored {
            Ok(_) => Answer::Accepted,
            Err(error) if error.kind() == PublishErrorKind::Other => {
                assert!(error.to_string().contains("maximum bytes exceeded"), "{error}");
                Answer::RefusedByBroker
            }
            Err(_) => Answer::Unknown,
        }
    }
}

/// The deliveries of all accepted events, by where each must end.
struct Expected {
    delivered: BTreeSet<Delivery>,
    dead: BTreeSet<Delivery>,
    parked: BTreeSet<Delivery>,
}

impl Expected {
    fn of(sent: &Sent) -> Self {
        let (mut delivered, mut dead, mut parked) =
            (BTreeSet::new(), BTreeSet::new(), BTreeSet::new());
        for number in &sent.accepted {
            delivered.insert((HandlerKind::Slow, *number));
            if let Some(kind) = second_match(*number) {
                let ends = match kind {
                    HandlerKind::Rejecting => &mut dead,
                    HandlerKind::Hanging => &mut parked,
                    HandlerKind::Slow | HandlerKind::Flaky => &mut delivered,
                };
                ends.insert((kind, *number));
            }
        }
        Self { delivered, dead, parked }
    }

    fn count(&self) -> usize {
        self.delivered.len() + self.dead.len() + self.parked.len()
    }

    fn check(
        &self,
        delivered: &BTreeMap<Delivery, usize>,
        dead: &BTreeMap<Delivery, Found>,
        parked: &BTreeMap<Delivery, Found>,
        ids_at_handlers: &BTreeMap<Delivery, BTreeSet<String>>,
    ) {
        let same = |name: &str, expected: &BTreeSet<Delivery>, found: BTreeSet<Delivery>| {
            let lost: Vec<_> = expected.difference(&found).take(5).collect();
            let more: Vec<_> = found.difference(expected).take(5).collect();
            let (expected, found) = (expected.len(), found.len());
            assert!(lost.is_empty(), "{name}: {found} of {expected}, without {lost:?}");
            assert!(more.is_empty(), "{name}: {found} instead of {expected}, with {more:?}");
        };
        same("delivered", &self.delivered, delivered.keys().copied().collect());
        same("dead", &self.dead, dead.keys().copied().collect());
        same("parked", &self.parked, parked.keys().copied().collect());
        // One id for each delivery, whatever it went through.
        let mut ids = ids_at_handlers.clone();
        for (delivery, found) in dead.iter().chain(parked) {
            ids.entry(*delivery).or_default().extend(found.ids.iter().cloned());
        }
        let all: BTreeSet<_> = ids.values().flatten().collect();
        assert!(ids.values().all(|ids| ids.len() == 1), "a delivery has several ids");
        assert_eq!(all.len(), self.count(), "an id names several deliveries");
    }
}

/// Messages of a stream about one delivery.
#[derive(Default)]
struct Found {
    times: usize,
    ids: BTreeSet<String>,
}

/// The deliveries of a stream of parked records or dead letters.
async fn stored_deliveries(
    context: &jetstream::Context,
    stream: &str,
) -> BTreeMap<Delivery, Found> {
    let stream = context.get_stream(stream).await.expect("the stream");
    let (mut found, mut next) = (BTreeMap::<Delivery, Found>::new(), 1);
    while let Ok(message) = stream.direct_get_next_for_subject(">", Some(next)).await {
        next = message.sequence + 1;
        let header = |name: &str| message.headers.get(name).map(|value| value.as_str());
        let id = header("switchyard-delivery-id").expect("the id of a delivery");
        let installation = header("switchyard-installation")
            .or_else(|| header("switchyard-dlq-subscription")?.split('/').next())
            .expect("an installation");
        let kind = HandlerKind::of(&format!("/{installation}"));
        let one = found.entry((kind, number_in(&message.payload))).or_default();
        one.times += 1;
        one.ids.insert(id.to_owned());
    }
    found
}

async fn until_acknowledged(context: &jetstream::Context) {
    eventually(LONG, "all events are acknowledged", || async {
        let stream = context.get_stream("SW_EVENTS").await.ok()?;
        let router: PullConsumer = stream.get_consumer("router").await.ok()?;
        let info = router.cached_info();
        (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
    })
    .await;
}

//! Traces: what a collector and handlers get of them, and that a collector harms nothing.

use std::collections::HashSet;

use futures_util::{StreamExt, future, stream};
use hyper::Method;
use serde_json::json;

use crate::support::{
    ADMIN_TOKEN, Answer, Collector, NatsServer, Received, ReceivedSpan, RouterProcess, Setup, Sink,
    WAIT_MAX, event_envelope, eventually, issue_event, jetstream, publish_raw, register,
};

const SITE: &str = "site-1";
const TYPE: &str = "avi:jira:updated:issue";
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const PUBLISHER_SPAN: &str = "b7ad6b7169203331";

/// The context of a publisher.
fn publisher(flags: &str) -> String {
    format!("00-{TRACE}-{PUBLISHER_SPAN}-{flags}")
}

fn setup(nats: &NatsServer, collector: &Collector) -> Setup {
    Setup::new(&nats.url(), nats.folder().join("router"))
        .with("SWITCHYARD_TRACES__ENDPOINT", collector.url())
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "1,1")
}

/// Registers a trigger on updated issues of the project OPS.
async fn subscribe(router: &RouterProcess, sink: &Sink) -> String {
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook/secret-path")).await;
    let filter = json!({"expression": "event.issue.fields.project.key == 'OPS'"});
    let trigger = json!({"endpoint": "hook", "events": [TYPE], "filter": filter});
    register(&app, trigger).await
}

/// Publishes an event through the API, with a trace context.
async fn publish_event(router: &RouterProcess, number: u64, traceparent: &str) {
    let (id, path) =
        (format!("event-{number}"), format!("/admin/v1/events?cloudId={SITE}&type={TYPE}"));
    let headers = [("ce-id", id.as_str()), ("traceparent", traceparent)];
    let sent = router.api.send(Method::POST, &path, &headers, &issue_event(number, "OPS")).await;
    sent.expect("the event is stored");
}

/// Publishes an event as a producer on the broker does, with further headers.
async fn publish_on_broker(broker: &async_nats::Client, number: u64, more: &[(&str, &str)]) {
    let (subject, mut headers) = event_envelope(SITE, TYPE, &format!("event-{number}"));
    for (name, value) in more {
        headers.insert(*name, *value);
    }
    let context = async_nats::jetstream::new(broker.clone());
    let body = issue_event(number, "OPS").to_string();
    let sent = context.publish_with_headers(subject, headers, body.into()).await;
    sent.expect("it is sent").await.expect("it is stored");
}

async fn spans_named(collector: &Collector, name: &str, count: usize) -> Vec<ReceivedSpan> {
    eventually(WAIT_MAX, name, || async move {
        Some(collector.spans_named(name)).filter(|spans| spans.len() >= count)
    })
    .await
}

async fn received(sink: &Sink, count: usize) {
    eventually(WAIT_MAX, "the handler is called", || async move {
        (sink.count() >= count).then_some(())
    })
    .await;
}

/// A collector gets no text of an event, no path of a handler and no secret.
fn assert_nothing_confidential(collector: &Collector) {
    let all = format!("{:?}", collector.spans());
    for hidden in ["Issue number", "secret-path", "whsec_", ADMIN_TOKEN] {
        assert!(!all.contains(hidden), "{hidden}");
    }
}

async fn dropped(router: &RouterProcess, reason: &str) -> f64 {
    let series = format!("switchyard_trace_spans_dropped_total{{reason=\"{reason}\"}}");
    router.metric(&series).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn event_is_one_trace_from_its_publisher_to_the_attempts_after_a_restart() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let collector = Collector::start(Answer::Takes).await;
    let mut setup = setup(&nats, &collector)
        .with("SWITCHYARD_TRACES__SAMPLE", "0")
        .with("SWITCHYARD_DELIVERY__RETRY_SCHEDULE_S", "5,1,1,1")
        .with("SWITCHYARD_TRACES__HEADERS", "x-tenant=t1, authorization=Bearer b1");
    let router = setup.start().await;
    let key = subscribe(&router, &sink).await;
    sink.answer("/hook/secret-path", 503, None);
    publish_event(&router, 1, &publisher("01")).await;

    let failed = spans_named(&collector, "attempt", 1).await.remove(0);
    let event = spans_named(&collector, "process event", 1).await.remove(0);
    assert_eq!((&*event.trace, &*event.parent), (TRACE, PUBLISHER_SPAN));
    assert_eq!(event.span.flags & 0x300, 0x300, "its parent is of another process");
    assert_eq!(event.text("messaging.system"), "nats");
    assert_eq!(event.text("messaging.message.id"), "event-1");
    assert_eq!(event.text("switchyard.event.type"), TYPE);
    assert_eq!(event.text("switchyard.acknowledged"), "true");
    assert_eq!(event.error(), None);
    let [decode, matched] =
        ["decode", "match"].map(|name| collector.spans_named(name).pop().expect("a span"));
    for span in [&decode, &matched, &failed] {
        assert_eq!((&span.trace, &span.parent), (&event.trace, &event.id), "{}", span.name());
        assert!(span.span.start_time_unix_nano >= event.span.start_time_unix_nano);
        assert!(span.span.end_time_unix_nano >= span.span.start_time_unix_nano);
    }
    assert!(event.span.end_time_unix_nano >= failed.span.end_time_unix_nano);
    assert_eq!(matched.text("switchyard.matches"), "1");
    assert_eq!(failed.error(), Some("503"));
    for (name, value) in [
        ("http.request.method", "POST"),
        ("http.response.status_code", "503"),
        ("error.type", "503"),
        ("server.address", "127.0.0.1"),
        ("http.request.resend_count", ""),
        ("switchyard.delivery.attempt", "1"),
        ("switchyard.attempt.class", "5xx"),
        ("switchyard.attempt.blame", "handler"),
        ("switchyard.installation", "inst-1"),
        ("switchyard.app", "app-1"),
        ("switchyard.module.key", key.as_str()),
    ] {
        assert_eq!(failed.text(name), value, "{name}");
    }
    assert_eq!(sink.received()[0].header("traceparent"), failed.traceparent());

    router.kill().await;
    sink.answer("/hook/secret-path", 204, None);
    let router = setup.start().await;
    let done = eventually(WAIT_MAX, "an attempt succeeds", || async {
        collector.spans_named("attempt").into_iter().find(|span| span.error().is_none())
    })
    .await;
    assert_eq!((&done.trace, &done.parent), (&event.trace, &event.id));
    assert_ne!(done.id, failed.id);
    assert_eq!(done.text("http.response.status_code"), "204");
    let [attempt, repeats] = ["switchyard.delivery.attempt", "http.request.resend_count"]
        .map(|name| done.text(name).parse::<u32>().expect("a number"));
    assert_eq!(repeats + 1, attempt);
    let last = sink.received().pop().expect("a request");
    assert_eq!(last.header("traceparent"), done.traceparent());

    assert_nothing_confidential(&collector);
    for request in collector.requests() {
        assert_eq!(request["x-tenant"], "t1");
        assert_eq!(request["authorization"], "Bearer b1");
        assert_eq!(request["content-type"], "application/x-protobuf");
    }
    assert!(collector.services().iter().all(|name| name == "switchyard"));
    assert!(router.metric("switchyard_trace_spans_exported_total").await >= 1.0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn function_gets_the_context_of_its_attempt_and_a_dead_letter_keeps_the_trace() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let collector = Collector::start(Answer::Takes).await;
    let router = setup(&nats, &collector).with("SWITCHYARD_TRACES__SAMPLE", "1").start().await;
    let app = router.provision("app-1", "inst-1", SITE, &sink.url("/hook")).await;
    register(&app, json!({"function": "main", "events": [TYPE]})).await;
    register(&app, json!({"endpoint": "hook", "events": [TYPE]})).await;
    sink.answer("/hook", 400, None);
    let broker = nats.client().await;
    let mut calls = broker.subscribe("sw.fn.inst-1.main").await.expect("a subscription");
    broker.flush().await.expect("it is subscribed");
    publish_on_broker(&broker, 1, &[]).await;
    let call = calls.next().await.expect("a call");
    broker.publish(call.reply.expect("a reply subject"), "{}".into()).await.expect("a reply");

    let attempts = spans_named(&collector, "attempt", 2).await;
    let event = spans_named(&collector, "process event", 1).await.remove(0);
    assert_eq!(event.parent, "", "the trace begins here");
    assert!(attempts.iter().all(|span| (&span.trace, &span.parent) == (&event.trace, &event.id)));
    let of_function = attempts.iter().find(|span| span.text("messaging.system") == "nats");
    let of_function = of_function.expect("an attempt over the broker");
    assert_eq!(of_function.text("messaging.operation.type"), "send");
    assert_eq!(of_function.error(), None);
    let headers = call.headers.expect("headers");
    let context = headers.get("traceparent").expect("a trace context");
    assert_eq!(context.as_str(), of_function.traceparent());

    // A redriven delivery belongs to the trace of its event.
    let letters = eventually(WAIT_MAX, "a dead letter", || async {
        let listed = router.get("/admin/v1/dlq").await.ok()?;
        let letters = listed["items"].as_array()?.clone();
        (!letters.is_empty()).then_some(letters)
    })
    .await;
    sink.answer("/hook", 204, None);
    let ids = [letters[0]["id"].clone()];
    let redrive = json!({"ids": ids, "dryRun": false});
    let path = "/admin/v1/dlq/redrive";
    router.api.send(Method::POST, path, &[], &redrive).await.expect("a job");
    let attempts = spans_named(&collector, "attempt", 3).await;
    let redriven = attempts.last().expect("an attempt");
    assert_eq!((&redriven.trace, &redriven.parent), (&event.trace, &event.id));
    assert_eq!(redriven.text("http.response.status_code"), "204");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_strangers_send_as_context_is_validated_and_cannot_force_traces() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let collector = Collector::start(Answer::Takes).await;
    let mut setup = setup(&nats, &collector)
        .with("SWITCHYARD_TRACES__SAMPLE", "0")
        .with("SWITCHYARD_TRACES__SPANS_PER_SECOND", "4")
        .with("SWITCHYARD_TRACES__SITE_SHARE", "1");
    let router = setup.start().await;
    subscribe(&router, &sink).await;
    let broker = nats.client().await;
    let long = format!("00-{}", "a".repeat(4000));
    for (number, context) in (1..).zip(["%ff%", "garbage", &publisher("0g"), &long]) {
        publish_on_broker(&broker, number, &[("traceparent", context), ("tracestate", "a=b")])
            .await;
    }
    received(&sink, 4).await;
    for request in sink.received() {
        for name in ["traceparent", "tracestate"] {
            assert!(!request.headers.contains_key(name), "{name}: {:?}", request.headers);
        }
    }
    // One that asks for no trace is passed on as it is, as is our own header of another.
    let own = publisher("01");
    let more = [("traceparent", &*publisher("00")), ("switchyard-trace", &*own)];
    publish_on_broker(&broker, 5, &more).await;
    received(&sink, 5).await;
    let last = sink.received().pop().expect("a request");
    assert_eq!(last.header("traceparent"), publisher("00"));

    // Of a flood that asks for traces, only a few are recorded.
    for number in 10..60 {
        publish_event(&router, number, &publisher("01")).await;
    }
    received(&sink, 55).await;
    assert!(dropped(&router, "limit").await >= 3.0);
    assert!(router.terminate().await);
    let spans = collector.spans();
    assert!(!spans.is_empty() && spans.iter().all(|span| span.trace == TRACE));
    let ids: HashSet<String> = collector
        .spans_named("process event")
        .iter()
        .map(|one| one.text("messaging.message.id"))
        .collect();
    assert!(ids.len() < 50, "{} of 50 events", ids.len());
    assert!((1..=5).all(|number| !ids.contains(&format!("event-{number}"))));
    // One that is not recorded passes the context of its publisher on.
    let passed =
        |one: &Received| one.headers.get("traceparent").is_some_and(|it| it == own.as_str());
    assert!(sink.received().iter().any(passed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_an_endpoint_nothing_is_exported_and_the_context_is_passed_on() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let collector = Collector::start(Answer::Takes).await;
    // The variables of other programs do not switch traces on.
    let router = Setup::new(&nats.url(), nats.folder().join("router"))
        .with("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url())
        .with("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("{}/v1/traces", collector.url()))
        .with("SWITCHYARD_TRACES__SAMPLE", "1")
        .start()
        .await;
    subscribe(&router, &sink).await;
    publish_event(&router, 1, &publisher("01")).await;
    received(&sink, 1).await;
    assert_eq!(sink.received()[0].header("traceparent"), publisher("01"));
    assert_eq!(router.metric("switchyard_trace_spans_exported_total").await, 0.0);
    assert!(router.terminate().await, "the last spans would be exported by now");
    assert!(collector.requests().is_empty());
}

/// Stores events that match nothing.
async fn publish_unmatched(broker: &async_nats::Client, events: u64) {
    let context = jetstream(broker.clone());
    let publish = async |number: u64| {
        let (subject, headers) = event_envelope(SITE, TYPE, &format!("other-{number}"));
        let body = issue_event(number, "OTHER").to_string().into();
        let sent = context.publish_with_headers(subject, headers, body).await;
        sent.expect("it is sent").await.expect("it is stored");
    };
    let publishing = stream::iter(0..events).map(publish).buffer_unordered(200);
    publishing.for_each(|()| future::ready(())).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn collector_that_hangs_delays_no_delivery_and_what_it_misses_is_counted() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let collector = Collector::start(Answer::Never).await;
    let router = setup(&nats, &collector)
        .with("SWITCHYARD_TRACES__SAMPLE", "1")
        .with("SWITCHYARD_TRACES__SPANS_PER_SECOND", "1000000")
        .with("SWITCHYARD_TRACES__SITE_SHARE", "1")
        .start()
        .await;
    subscribe(&router, &sink).await;
    // Three spans each: more than the queue and a batch hold.
    let broker = nats.client().await;
    publish_unmatched(&broker, 3_500).await;
    for number in 1..=20 {
        let body = issue_event(number, "OPS").to_string().into_bytes();
        publish_raw(&broker, SITE, TYPE, &format!("event-{number}"), body).await;
    }
    received(&sink, 20).await;
    eventually(WAIT_MAX, "spans are dropped", || async {
        (dropped(&router, "queue").await > 0.0).then_some(())
    })
    .await;
    assert_eq!(router.metric("switchyard_trace_spans_exported_total").await, 0.0);
    assert!(!collector.requests().is_empty(), "it was asked");
    assert!(router.failing().await.is_empty());
    assert!(router.terminate().await);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_collector_refuses_is_counted() {
    let (nats, sink) = (NatsServer::start().await, Sink::start().await);
    let refusals = [(Answer::Fails(400), "export"), (Answer::RejectsOne, "rejected")];
    for (number, (answer, reason)) in (1..).zip(refusals) {
        let collector = Collector::start(answer).await;
        let router = setup(&nats, &collector).with("SWITCHYARD_TRACES__SAMPLE", "1").start().await;
        if number == 1 {
            subscribe(&router, &sink).await;
        }
        publish_event(&router, number, &publisher("01")).await;
        eventually(WAIT_MAX, reason, || async {
            (dropped(&router, reason).await > 0.0).then_some(())
        })
        .await;
        router.kill().await;
    }
    received(&sink, 2).await;
}

//! Publishing events over HTTP, against a stream in memory.

use std::sync::atomic::Ordering::SeqCst;

use axum::response::IntoResponse;
use serde_json::{Value, json};

use super::report::{REJECTED_LISTED_MAX, SEQUENCES_LISTED_MAX};
use super::*;
use crate::api::ingest::sites::KnownSites;
use crate::api::testing::{MemoryStream, intake, post};

const PATH: &str = "/admin/v1/events";
const ONE: &str = "/admin/v1/events?cloudId=c1&type=avi:jira:created:issue";
const NDJSON: (&str, &str) = ("content-type", "application/x-ndjson");

fn events_api(stream: &Arc<MemoryStream>) -> OpenApiRouter {
    event_routes(EventsState {
        publisher: Arc::clone(stream) as Arc<dyn Publisher>,
        body_bytes_max: 64 * 1024,
        event_bytes_max: 16 * 1024,
        bodies: intake(),
        refusals: Arc::default(),
        broker: Arc::default(),
        directory: Arc::new(KnownSites(Some(vec!["c1".into(), "c2".into()]))),
        allows_unknown_types: false,
    })
}

fn line(id: &str) -> String {
    let headers = json!({"CE-Type": "avi:jira:created:issue", "ce-cloudid": "c1", "Ce-Id": id});
    let data = json!({"eventType": "avi:jira:created:issue", "issue": {"key": "A-1"}});
    json!({"subject": "ignored", "headers": headers, "data": data}).to_string()
}

async fn upload(stream: &Arc<MemoryStream>, lines: &[String]) -> Value {
    let (status, _, report) = post(events_api(stream), PATH, &[NDJSON], lines.join("\n")).await;
    assert_eq!(status, 202);
    report
}

#[tokio::test]
async fn single_event_takes_site_and_type_from_the_query_and_its_id_from_a_header() {
    let stream = Arc::new(MemoryStream::default());
    let body = r#"{"eventType":"avi:jira:created:issue","issue":{"key":"A-1"},"n":1.50}"#;
    for header in [("ce-id", "e1"), ("Nats-Msg-Id", "c1/e1")] {
        let (status, _, report) = post(events_api(&stream), ONE, &[header], body).await;
        assert_eq!(status, 202);
        assert_eq!(report["sequences"], json!([1]));
    }
    let events = stream.events();
    let (envelope, stored) = &events[0];
    assert_eq!(events.len(), 1);
    assert_eq!(envelope.identity(), "c1/e1");
    assert_eq!(envelope.entity.as_deref(), Some("A-1"));
    assert_eq!(stored, body.as_bytes(), "byte for byte");
}

#[tokio::test]
async fn line_with_too_many_headers_is_rejected_and_a_large_one_keeps_its_place() {
    let stream = Arc::new(MemoryStream::default());
    let with_headers = |count: usize| {
        let mut entry: Value = serde_json::from_str(&line(&format!("h{count}"))).unwrap();
        for number in 0..count {
            entry["headers"][format!("x-{number}")] = json!("v");
        }
        entry.to_string()
    };
    let mut large: Value = serde_json::from_str(&line("large")).unwrap();
    large["data"]["text"] = json!("x".repeat(15 * 1024));
    large["other"] = json!("x".repeat(40 * 1024));
    let lines = [with_headers(200), with_headers(257), large.to_string(), line("last")];
    let report = upload(&stream, &lines).await;
    assert_eq!(report["accepted"], 3);
    assert_eq!(report["rejected"][0]["line"], 2);
    assert!(report["rejected"][0]["message"].as_str().unwrap().contains("256 headers"));
    assert_eq!(stream.identities(), ["c1/h200", "c1/large", "c1/last"]);
}

#[tokio::test]
async fn single_event_without_an_id_gets_the_same_id_each_time() {
    let stream = Arc::new(MemoryStream::default());
    let body = r#"{"issue":{"key":"A-1"}}"#;
    let (_, _, first) = post(events_api(&stream), ONE, &[], body).await;
    let (_, _, again) = post(events_api(&stream), ONE, &[], body).await;
    assert_eq!((&first["accepted"], &first["duplicates"]), (&json!(1), &json!(0)));
    assert_eq!((&again["accepted"], &again["duplicates"]), (&json!(0), &json!(1)));
}

#[tokio::test]
async fn invalid_single_event_is_rejected_with_its_code() {
    let stream = Arc::new(MemoryStream::default());
    let large = format!(r#"{{"pad":"{}"}}"#, "a".repeat(16 * 1024));
    let larger = format!(r#"{{"pad":"{}"}}"#, "a".repeat(64 * 1024));
    let cases = [
        (ONE, "{", 400, "SY-1002"),
        (ONE, r#"{"eventType":"avi:jira:deleted:issue"}"#, 400, "SY-1005"),
        ("/admin/v1/events?type=t", "{}", 400, "SY-1005"),
        ("/admin/v1/events?cloudId=c1", "{}", 400, "SY-1005"),
        (ONE, &large, 413, "SY-1004"),
        (ONE, &larger, 413, "SY-1004"),
    ];
    for (path, body, expected, code) in cases {
        let (status, _, answer) = post(events_api(&stream), path, &[], body.to_owned()).await;
        let start = &body[..body.len().min(60)];
        assert_eq!(
            (status.as_u16(), &answer["errors"][0]["code"]),
            (expected, &json!(code)),
            "{start}"
        );
    }
    assert_eq!(stream.events().len(), 0);
}

#[tokio::test]
async fn structured_cloud_event_is_unwrapped() {
    let stream = Arc::new(MemoryStream::default());
    let event = json!({"specversion": "1.0", "id": "e1", "type": "avi:jira:created:issue",
        "source": "ari:cloud:jira::site/c1", "cloudid": "c1", "data": {"issue": {"key": "A-1"}}});
    let headers = [("Content-Type", "application/cloudevents+json; charset=utf-8")];
    let (status, _, _) = post(events_api(&stream), PATH, &headers, event.to_string()).await;
    assert_eq!(status, 202);
    assert_eq!(stream.identities(), ["c1/e1"]);
    assert_eq!(stream.events()[0].1, r#"{"issue":{"key":"A-1"}}"#.as_bytes());
}

#[tokio::test]
async fn generated_envelope_lines_are_stored_as_they_are() {
    let stream = Arc::new(MemoryStream::default());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/events/envelope-binary-mode.json");
    let entry: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let report = upload(&stream, &[entry.to_string()]).await;
    assert_eq!(report["accepted"], 1);
    assert_eq!(stream.identities(), [entry["headers"]["Nats-Msg-Id"].as_str().unwrap()]);
    let envelope = &stream.events()[0].0;
    assert_eq!(envelope.origin_app.as_ref().unwrap().as_str(), entry["headers"]["ce-originapp"]);
}

#[tokio::test]
async fn invalid_line_is_reported_by_number_and_later_lines_are_stored() {
    let stream = Arc::new(MemoryStream::default());
    let mut long = line("long");
    long.push_str(&" ".repeat(LINE_BYTES_MAX));
    let lines = [
        line("a"),
        "no json".into(),
        String::new(),
        r#"{"headers":{}}"#.into(),
        r#"{"data":{}}"#.into(),
        long,
        line("a"),
        line("b"),
    ];
    let report = upload(&stream, &lines).await;
    assert_eq!(report["accepted"], 2);
    assert_eq!(report["duplicates"], 1);
    assert_eq!(report["sequences"], json!([1, 1, 2]));
    let rejected = report["rejected"].as_array().unwrap();
    let listed: Vec<_> = rejected
        .iter()
        .map(|entry| (entry["line"].as_u64().unwrap(), entry["code"].as_str().unwrap()))
        .collect();
    assert_eq!(listed, [(2, "SY-1002"), (4, "SY-1005"), (5, "SY-1005"), (6, "SY-1025")]);
    assert_eq!(stream.identities(), ["c1/a", "c1/b"]);
}

#[tokio::test]
async fn file_larger_than_the_body_limit_is_stored_concurrently_and_in_order() {
    let stream = Arc::new(MemoryStream::default());
    let lines: Vec<String> = (0..3000).map(|n| line(&format!("e{n}"))).collect();
    let report = upload(&stream, &lines).await;
    assert_eq!(report["accepted"], 3000);
    let expected: Vec<u64> = (1..=3000).collect();
    assert_eq!(report["sequences"], json!(expected));
    let running_max = stream.running_max.load(SeqCst);
    assert!((2..=IN_FLIGHT_MAX).contains(&running_max), "{running_max}");
}

#[tokio::test]
async fn rejected_lines_are_listed_up_to_a_bound_and_only_counted_beyond() {
    let stream = Arc::new(MemoryStream::default());
    let lines = vec!["{}".to_owned(); REJECTED_LISTED_MAX + 5];
    let report = upload(&stream, &lines).await;
    assert_eq!(report["rejected"].as_array().unwrap().len(), REJECTED_LISTED_MAX);
    assert_eq!(report["rejectedTotal"], REJECTED_LISTED_MAX + 5);
}

#[tokio::test]
async fn event_that_the_broker_does_not_confirm_is_not_reported_as_stored() {
    let stream = Arc::new(MemoryStream::default());
    stream.is_down.store(true, SeqCst);
    let (status, headers, answer) = post(events_api(&stream), ONE, &[], "{}").await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(answer["errors"][0]["code"], "SY-5011");
    let file = [line("a"), "no json".into()].join("\n");
    let (status, headers, answer) = post(events_api(&stream), PATH, &[NDJSON], file).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"5".parse().unwrap()));
    assert_eq!(answer["errors"][0]["code"], "SY-5011");
}

#[tokio::test]
async fn event_too_large_for_the_broker_is_not_worth_another_try() {
    let error = crate::event::PublishError::Refused { reason: "maximum payload exceeded".into() };
    let response = ApiError::Unpublished(error).into_response();
    assert_eq!(response.status(), 413);
    assert!(!response.headers().contains_key("retry-after"));
}

#[tokio::test]
async fn repeated_query_parameter_is_answered_as_any_other_request() {
    let stream = Arc::new(MemoryStream::default());
    let path = format!("{ONE}&cloudId=c2");
    let (status, _, _) = post(events_api(&stream), &path, &[("ce-id", "e1")], "{}").await;
    assert_eq!(status, 202);
    assert_eq!(stream.identities(), ["c2/e1"], "the last one wins");
}

#[tokio::test]
async fn events_are_rejected_while_the_backlog_is_near_its_limit() {
    let stream = Arc::new(MemoryStream::default());
    stream.refuse_for_s.store(7, SeqCst);
    let (status, headers, _) = post(events_api(&stream), PATH, &[NDJSON], line("a")).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"7".parse().unwrap()));
}

#[tokio::test]
async fn full_stream_refuses_an_event_and_a_file_at_once() {
    let stream = Arc::new(MemoryStream::default());
    stream.events_max.store(1, SeqCst);
    assert_eq!(upload(&stream, &[line("a")]).await["accepted"], 1);
    let data = r#"{"eventType":"avi:jira:created:issue","issue":{"key":"A-1"}}"#;
    let (status, headers, answer) = post(events_api(&stream), ONE, &[("ce-id", "b")], data).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"10".parse().unwrap()));
    assert_eq!(answer["errors"][0]["code"], "SY-5014");
    let file = [line("b"), "no json".into(), line("c")].join("\n");
    let (status, headers, answer) = post(events_api(&stream), PATH, &[NDJSON], file).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (503, &"10".parse().unwrap()));
    assert_eq!(answer["errors"][0]["code"], "SY-5014");
}

#[tokio::test]
async fn file_that_is_stored_in_part_reports_when_to_send_it_again() {
    let stream = Arc::new(MemoryStream::default());
    stream.events_max.store(2, SeqCst);
    let file = ["a", "b", "c"].map(line);
    let (status, headers, report) =
        post(events_api(&stream), PATH, &[NDJSON], file.join("\n")).await;
    assert_eq!((status.as_u16(), &headers["retry-after"]), (202, &"10".parse().unwrap()));
    assert_eq!((&report["accepted"], &report["retryAfterS"]), (&json!(2), &json!(10)));
    assert_eq!(report["rejected"][0]["line"], 3);
    stream.events_max.store(0, SeqCst);
    let report = upload(&stream, &file).await;
    assert_eq!((&report["accepted"], &report["duplicates"]), (&json!(1), &json!(2)));
    assert_eq!(report.get("retryAfterS"), None);
}

#[tokio::test]
async fn report_lists_a_bounded_number_of_sequences_and_counts_all() {
    let stream = Arc::new(MemoryStream::default());
    // The same event: each repeat is stored under the sequence of the first.
    let lines = vec![line("e1"); SEQUENCES_LISTED_MAX + 3];
    let report = upload(&stream, &lines).await;
    assert_eq!(report["sequences"].as_array().unwrap().len(), SEQUENCES_LISTED_MAX);
    assert_eq!(report["duplicates"], SEQUENCES_LISTED_MAX + 2);
}

#[tokio::test]
async fn packed_body_is_refused_as_packed() {
    let stream = Arc::new(MemoryStream::default());
    for path in [ONE, PATH] {
        let packed = [NDJSON, ("content-encoding", "gzip")];
        let (status, _, answer) = post(events_api(&stream), path, &packed, line("e1")).await;
        assert_eq!((status.as_u16(), &answer["errors"][0]["code"]), (415, &json!("SY-1031")));
    }
    assert_eq!(stream.events().len(), 0);
}

#[tokio::test]
async fn events_without_an_id_are_one_if_their_bodies_and_times_are_equal() {
    let stream = Arc::new(MemoryStream::default());
    let accepted = async |headers: &[(&str, &str)], body: &str| {
        let (status, _, report) = post(events_api(&stream), ONE, headers, body.to_owned()).await;
        assert_eq!(status, 202, "{report}");
        report["accepted"] == 1
    };
    let timed = [("ce-time", "2026-11-21T07:59:59Z")];
    assert!(accepted(&[], r#"{"changelog":{"id":"1"},"a":"\ud83d"}"#).await);
    assert!(!accepted(&[], r#"{ "changelog": {"id":"1"}, "a":"\ud83d"}"#).await);
    assert!(accepted(&[], r#"{"changelog":{"id":"1"},"a":"\ud83e"}"#).await);
    assert!(accepted(&timed, r#"{"changelog":{"id":"1"},"a":"\ud83e"}"#).await);
    let as_line = json!({"headers": {"ce-cloudid": "c1", "ce-type": "avi:jira:created:issue"},
        "data": {"n": 1}});
    assert!(accepted(&[], r#"{"n":1}"#).await);
    let report = upload(&stream, &[as_line.to_string()]).await;
    assert_eq!(report["duplicates"], 1, "the same through the other form");
}

#[tokio::test]
async fn silent_broker_ends_a_file_of_which_more_is_sent() {
    let stream = Arc::new(MemoryStream::default());
    stream.silent_from.store(2, SeqCst);
    let lines = ["a", "b", "c", "d"].map(line).join("\n") + "\n";
    let sent = futures_util::stream::iter([Ok::<_, std::io::Error>(Bytes::from(lines))]);
    let endless = futures_util::StreamExt::chain(sent, futures_util::stream::pending());
    let started = crate::clock::tick();
    let (status, headers, report) =
        post(events_api(&stream), PATH, &[NDJSON], Body::from_stream(endless)).await;
    assert!(crate::clock::since(started) < Duration::from_secs(5));
    assert_eq!((status.as_u16(), &headers["retry-after"]), (202, &"5".parse().unwrap()));
    assert_eq!((&report["accepted"], &report["retryAfterS"]), (&json!(2), &json!(5)));
    assert_eq!(report["rejectedTotal"], 2, "{report}");
    assert_eq!(report["rejected"][1]["code"], "SY-5011");
    assert_eq!(report["unreadFromLine"], 5);
}

#[tokio::test]
async fn stored_event_that_no_app_can_receive_has_hints() {
    let stream = Arc::new(MemoryStream::default());
    let path = "/admin/v1/events?cloudId=c3&type=avi:jira:craeted:issue";
    let (status, _, report) = post(events_api(&stream), path, &[], "{}").await;
    assert_eq!((status.as_u16(), &report["accepted"]), (202, &json!(1)));
    let listed = report["hints"].as_array().unwrap();
    let hints: Vec<_> = listed.iter().map(|hint| (&hint["code"], &hint["help"])).collect();
    let helps = ["did you mean `avi:jira:created:issue`?", "there are `c1`, `c2`"];
    let [type_help, site_help] = helps.map(Value::from);
    assert_eq!(hints, [(&json!("SY-1033"), &type_help), (&json!("SY-1032"), &site_help)]);
    let report = upload(&stream, &[line("a")]).await;
    assert_eq!(report.get("hints"), None);
}

//! A collector that receives OTLP over HTTP on loopback and keeps the spans.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use data_encoding::HEXLOWER;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{Span, status::StatusCode as SpanStatus};
use prost::Message;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

/// What a collector answers.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Answer {
    Takes,
    /// Takes all but one span of each request.
    RejectsOne,
    Fails(u16),
    Never,
}

/// A span as it was received, with its ids as text.
#[derive(Clone, Debug)]
pub(crate) struct ReceivedSpan {
    pub(crate) trace: String,
    pub(crate) id: String,
    pub(crate) parent: String,
    pub(crate) span: Span,
}

impl ReceivedSpan {
    pub(crate) fn name(&self) -> &str {
        &self.span.name
    }

    /// An attribute as text; empty if there is none.
    pub(crate) fn text(&self, name: &str) -> String {
        text(&self.span.attributes, name)
    }

    /// The error that ended it; none if there was none.
    pub(crate) fn error(&self) -> Option<&str> {
        let status = self.span.status.as_ref().filter(|one| one.code() == SpanStatus::Error);
        status.map(|status| status.message.as_str())
    }

    /// The `traceparent` that a handler gets from it.
    pub(crate) fn traceparent(&self) -> String {
        format!("00-{}-{}-{:02x}", self.trace, self.id, self.span.flags & 0xff)
    }
}

fn text(attributes: &[KeyValue], name: &str) -> String {
    let found = attributes.iter().find(|one| one.key == name);
    match found.and_then(|one| one.value.as_ref()?.value.as_ref()) {
        Some(Value::StringValue(text)) => text.clone(),
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        Some(other) => panic!("an attribute of another type: {other:?}"),
        None => String::new(),
    }
}

#[derive(Default)]
struct Recorded {
    spans: Mutex<Vec<ReceivedSpan>>,
    headers: Mutex<Vec<HeaderMap>>,
    services: Mutex<Vec<String>>,
    answer: Mutex<Option<Answer>>,
}

/// A real HTTP server on loopback.
pub(crate) struct Collector {
    address: SocketAddr,
    recorded: Arc<Recorded>,
    server: JoinHandle<()>,
}

impl Collector {
    pub(crate) async fn start(answer: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port");
        let address = listener.local_addr().expect("a bound address");
        let recorded = Arc::new(Recorded::default());
        *recorded.answer.lock().unwrap() = Some(answer);
        let app = Router::new().route("/v1/traces", post(record)).with_state(recorded.clone());
        let server = tokio::spawn(async move {
            axum::serve(listener, app).await.expect("the collector serves");
        });
        Self { address, recorded, server }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn spans(&self) -> Vec<ReceivedSpan> {
        self.recorded.spans.lock().unwrap().clone()
    }

    pub(crate) fn spans_named(&self, name: &str) -> Vec<ReceivedSpan> {
        self.spans().into_iter().filter(|span| span.name() == name).collect()
    }

    /// Headers of each request.
    pub(crate) fn requests(&self) -> Vec<HeaderMap> {
        self.recorded.headers.lock().unwrap().clone()
    }

    /// `service.name` of each request.
    pub(crate) fn services(&self) -> Vec<String> {
        self.recorded.services.lock().unwrap().clone()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.server.abort();
    }
}

async fn record(
    State(recorded): State<Arc<Recorded>>,
    headers: HeaderMap,
    body: Bytes,
) -> Response {
    recorded.headers.lock().unwrap().push(headers);
    let answer = recorded.answer.lock().unwrap().expect("an answer");
    match answer {
        Answer::Never => return std::future::pending().await,
        Answer::Fails(status) => {
            return StatusCode::from_u16(status).expect("a status").into_response();
        }
        Answer::Takes | Answer::RejectsOne => {}
    }
    let request = ExportTraceServiceRequest::decode(body).expect("OTLP");
    for resource in request.resource_spans {
        let attributes = resource.resource.expect("a resource").attributes;
        recorded.services.lock().unwrap().push(text(&attributes, "service.name"));
        let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
        let received = spans.map(|span| ReceivedSpan {
            trace: HEXLOWER.encode(&span.trace_id),
            id: HEXLOWER.encode(&span.span_id),
            parent: HEXLOWER.encode(&span.parent_span_id),
            span,
        });
        recorded.spans.lock().unwrap().extend(received);
    }
    let rejected_spans = i64::from(answer == Answer::RejectsOne);
    let partial = ExportTracePartialSuccess { rejected_spans, ..Default::default() };
    let partial_success = (rejected_spans > 0).then_some(partial);
    ExportTraceServiceResponse { partial_success }.encode_to_vec().into_response()
}

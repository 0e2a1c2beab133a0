//! Encodes spans as requests of the OpenTelemetry protocol, and reads what collectors answer.
//!
//! **Source:** OTLP 1.9, binary protobuf.

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, InstrumentationScope, KeyValue, any_value::Value as AnyKind,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{
    ResourceSpans, ScopeSpans, Span as OtlpSpan, SpanFlags, Status, span::SpanKind as OtlpKind,
    status::StatusCode,
};
use prost::Message;

use super::span::{Span, SpanKind, Value};

const NAME: &str = env!("CARGO_PKG_NAME");
const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Encodes spans of the router process `instance`.
pub(super) fn request(instance: &str, spans: Vec<Span>) -> Bytes {
    let resource = [
        ("service.name", Value::Label(NAME)),
        ("service.version", Value::Label(VERSION)),
        ("service.instance.id", Value::text(instance)),
    ];
    let scope = InstrumentationScope {
        name: NAME.to_owned(),
        version: VERSION.to_owned(),
        ..InstrumentationScope::default()
    };
    let spans = spans.into_iter().map(encoded).collect();
    let request = ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans {
            resource: Some(Resource {
                attributes: resource.into_iter().map(attribute).collect(),
                ..Resource::default()
            }),
            scope_spans: vec![ScopeSpans { scope: Some(scope), spans, ..ScopeSpans::default() }],
            ..ResourceSpans::default()
        }],
    };
    request.encode_to_vec().into()
}

/// Returns how many spans a collector that answered with success rejected.
pub(super) fn rejected(answer: &[u8]) -> usize {
    // An answer that is not understood rejects nothing: the protocol lets it be empty.
    let answer = ExportTraceServiceResponse::decode(answer).ok();
    let partial = answer.and_then(|answer| answer.partial_success);
    partial.map_or(0, |partial| usize::try_from(partial.rejected_spans).unwrap_or(0))
}

fn encoded(span: Span) -> OtlpSpan {
    let mut flags = u32::from(span.context.flags()) | SpanFlags::ContextHasIsRemoteMask as u32;
    if span.parent.is_some_and(|parent| parent.is_remote) {
        flags |= SpanFlags::ContextIsRemoteMask as u32;
    }
    let parent = span.parent.map(|parent| parent.span_id.get().to_be_bytes().to_vec());
    OtlpSpan {
        trace_id: span.context.trace_id.get().to_be_bytes().to_vec(),
        span_id: span.context.span_id.get().to_be_bytes().to_vec(),
        parent_span_id: parent.unwrap_or_default(),
        flags,
        name: span.name.to_owned(),
        kind: kind(span.kind).into(),
        start_time_unix_nano: span.started_ns,
        end_time_unix_nano: span.ended_ns.max(span.started_ns),
        attributes: span.attributes.into_iter().map(attribute).collect(),
        status: span
            .error
            .map(|error| Status { message: error.into_string(), code: StatusCode::Error.into() }),
        ..OtlpSpan::default()
    }
}

fn kind(kind: SpanKind) -> OtlpKind {
    match kind {
        SpanKind::Internal => OtlpKind::Internal,
        SpanKind::Client => OtlpKind::Client,
        SpanKind::Consumer => OtlpKind::Consumer,
    }
}

fn attribute((name, value): (&'static str, Value)) -> KeyValue {
    let value = match value {
        Value::Text(text) => AnyKind::StringValue(text.into_string()),
        Value::Label(text) => AnyKind::StringValue(text.to_owned()),
        Value::Number(number) => AnyKind::IntValue(number),
        Value::Flag(flag) => AnyKind::BoolValue(flag),
    };
    let value = Some(AnyValue { value: Some(value) });
    KeyValue { key: name.to_owned(), value, ..KeyValue::default() }
}

#[cfg(test)]
mod tests {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTracePartialSuccess;

    use super::*;
    use crate::domain::TraceContext;
    use crate::telemetry::traces::span::Parent;

    #[test]
    fn span_is_encoded_with_ids_in_network_order_and_its_error() {
        let text = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
        let context = TraceContext::parse(text).unwrap();
        let span = Span {
            context,
            parent: Some(Parent { span_id: context.span_id, is_remote: true }),
            name: "attempt",
            kind: SpanKind::Client,
            started_ns: 20,
            ended_ns: 10,
            attributes: vec![("a", Value::Number(-1)), ("b", Value::Flag(true))],
            error: Some("503".into()),
        };
        let read = ExportTraceServiceRequest::decode(request("r1", vec![span])).unwrap();
        let resource = &read.resource_spans[0];
        assert_eq!(resource.resource.as_ref().unwrap().attributes.len(), 3);
        let span = &resource.scope_spans[0].spans[0];
        assert_eq!(span.trace_id[..3], [0x0a, 0xf7, 0x65]);
        assert_eq!((span.span_id[0], &span.parent_span_id), (0xb7, &span.span_id));
        assert_eq!(span.flags, 0x301);
        assert_eq!((span.start_time_unix_nano, span.end_time_unix_nano), (20, 20));
        assert_eq!(span.attributes.len(), 2);
        let status = span.status.as_ref().unwrap();
        assert_eq!((status.code(), &*status.message), (StatusCode::Error, "503"));
    }

    #[test]
    fn rejected_spans_are_read_from_the_answer() {
        let partial = ExportTracePartialSuccess { rejected_spans: 3, error_message: "x".into() };
        let answer = ExportTraceServiceResponse { partial_success: Some(partial) };
        assert_eq!(rejected(&answer.encode_to_vec()), 3);
        for answer in [&b""[..], b"{}", b"\xff\xff"] {
            assert_eq!(rejected(answer), 0);
        }
    }
}

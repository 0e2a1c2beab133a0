//! Error responses, which are the same for every operation that may answer with their status.

use std::collections::BTreeMap;

use utoipa::IntoResponses;
use utoipa::openapi::content::ContentBuilder;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{Ref, RefOr, Response, ResponseBuilder};

/// An error response: its name in the document, its status, and when it is answered.
pub(super) struct ErrorResponse {
    pub(super) name: &'static str,
    pub(super) status: u16,
    text: &'static str,
}

/// Headers of responses with a status.
fn header_of(status: u16) -> Option<(&'static str, &'static str, Type)> {
    match status {
        401 => Some(("WWW-Authenticate", "The scheme of the credentials.", Type::String)),
        429 => Some(("Retry-After", "Seconds until a retry may succeed.", Type::Integer)),
        503 => Some((
            "Retry-After",
            "Seconds until a retry may succeed; absent if the request may have been executed.",
            Type::Integer,
        )),
        _ => None,
    }
}

impl ErrorResponse {
    /// Returns the response, with a body that has the schema `body`.
    pub(super) fn response(&self, body: &str) -> Response {
        let content = ContentBuilder::new().schema(Some(Ref::from_schema_name(body))).build();
        let response = ResponseBuilder::new().description(self.text);
        let response = response.content("application/json", content);
        let Some((name, text, of_type)) = header_of(self.status) else { return response.build() };
        let schema = ObjectBuilder::new().schema_type(of_type).build();
        let header = HeaderBuilder::new().schema(Some(schema)).description(Some(text)).build();
        response.header(name, header).build()
    }

    /// Returns a reference to the response.
    pub(super) fn reference(&self, suffix: &str) -> RefOr<Response> {
        RefOr::Ref(Ref::from_response_name(format!("{}{suffix}", self.name)))
    }
}

macro_rules! error_responses {
    (
        named { $($name:ident = $status:literal, $text:literal;)+ }
        implied { $($other:ident = $other_status:literal, $other_text:literal;)+ }
    ) => {
        $(
            #[doc = $text]
            pub(in crate::api) enum $name {}

            impl IntoResponses for $name {
                fn responses() -> BTreeMap<String, RefOr<Response>> {
                    let reference = Ref::from_response_name(stringify!($name));
                    BTreeMap::from([($status.to_string(), RefOr::Ref(reference))])
                }
            }
        )+

        /// All error responses.
        pub(super) const ALL: &[ErrorResponse] = &[
            $(ErrorResponse { name: stringify!($name), status: $status, text: $text },)+
            $(ErrorResponse { name: stringify!($other), status: $other_status, text: $other_text },)+
        ];
    };
}

// Operations name those of the first part; the others follow from the form of a request.
error_responses! {
    named {
        Forbidden = 403, "The caller may not send this request.";
        NotFound = 404, "There is no such record.";
        Conflict = 409, "The state of the router or of the record does not allow it; the code says which.";
        Gone = 410, "The record is not kept any more.";
        Stale = 412, "The record has another revision than `If-Match` names.";
        Misdirected = 421, "The header `Host` is not a name of the router.";
        Invalid = 422, "The request is well-formed but not valid; `errors` lists the problems.";
        BadGateway = 502, "The app did not answer, or its answer cannot be used.";
        Unavailable = 503, "The broker does not answer or did not confirm the change, the event stream is full, or \
            the memory for bodies is used up.";
    }
    implied {
        BadRequest = 400, "The body cannot be read or is not JSON, or names another key than the path.";
        Unauthorized = 401, "The credentials are missing or wrong.";
        RequestTimeout = 408, "The body did not arrive in time.";
        BodyTooLarge = 413, "The body is larger than the limit.";
        UnsupportedMediaType = 415, "The body is not declared as `application/json`.";
        TooManyRequests = 429, "Too many requests failed to authenticate, the caller sends too much, or the router \
            executes as many such requests as it may.";
    }
}

/// Returns the error response with a status.
pub(super) fn of_status(status: u16) -> Option<&'static ErrorResponse> {
    ALL.iter().find(|response| response.status == status)
}

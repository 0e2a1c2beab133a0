//! Error bodies.

use utoipa::ToSchema;

/// Why a request failed.
#[derive(ToSchema)]
#[schema(example = json!({"message": "there is no such record",
    "errors": [{"code": "SY-1103", "message": "there is no such record"}]}))]
pub(in crate::api) struct Error {
    /// One sentence.
    message: String,
    /// The problems; absent if the message says all.
    errors: Option<Vec<Problem>>,
}

/// An error of a request, or a warning about it.
#[derive(ToSchema)]
pub(super) struct Problem {
    /// Stable code, see the list of codes.
    #[schema(pattern = "^SY-[0-9]{4}$", example = "SY-2002")]
    code: String,
    /// One sentence.
    message: String,
    /// Path of the member or name of the parameter that it is about, such as `data.events[1]`; absent if it is
    /// about the whole request.
    path: Option<String>,
    /// What to do.
    help: Option<String>,
    /// Text that replaces the wrong part of the filter.
    replacement: Option<String>,
    /// Start in the text of the filter, in bytes.
    offset: Option<u64>,
    /// Start in UTF-16 units.
    offset16: Option<u64>,
    /// Length in characters.
    length: Option<u64>,
    /// Line, from 1.
    line: Option<u64>,
    /// Column in characters, from 1.
    column: Option<u64>,
}

/// Why a request of the Connect API failed.
#[derive(ToSchema)]
pub(in crate::api) struct ConnectError {
    /// The problems, as sentences.
    message: String,
}

/// Why a request of the Jira webhook API failed.
#[derive(ToSchema)]
#[schema(rename_all = "camelCase")]
pub(in crate::api) struct WebhookError {
    /// The problems, as sentences.
    error_messages: Vec<String>,
    /// Always empty.
    #[schema(value_type = Object)]
    errors: (),
}

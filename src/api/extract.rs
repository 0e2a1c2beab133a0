//! Request extractors whose rejections have the common error format.

use axum::extract::{FromRequest, FromRequestParts, Path, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::IntoResponse;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};

use super::content_type::is_json;
use super::error::ApiError;
use super::state::Shared;
use crate::domain::without_value;
use crate::registry::{Problem, RegisterError, code};

/// The id in a path, percent-decoded; 404 if it is not UTF-8.
pub(super) struct PathId(pub(super) String);

impl FromRequestParts<Shared> for PathId {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, ApiError> {
        let path = Path::<String>::from_request_parts(parts, state).await;
        path.map(|Path(id)| Self(id)).map_err(|_| ApiError::NotFound)
    }
}

/// Two ids in a path, each as [`PathId`].
pub(super) struct PathIds(pub(super) String, pub(super) String);

impl FromRequestParts<Shared> for PathIds {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, state: &Shared) -> Result<Self, ApiError> {
        let path = Path::<(String, String)>::from_request_parts(parts, state).await;
        path.map(|Path((one, other))| Self(one, other)).map_err(|_| ApiError::NotFound)
    }
}

/// A request body that is one JSON object.
pub(super) struct JsonObject(pub(super) Map<String, Value>);

impl FromRequest<Shared> for JsonObject {
    type Rejection = ApiError;

    async fn from_request(request: Request, state: &Shared) -> Result<Self, ApiError> {
        if !is_json(request.headers()) {
            return Err(ApiError::NotJson);
        }
        let body = Bytes::from_request(request, state).await.map_err(|rejection| {
            let reason = rejection.body_text();
            match rejection.into_response().status() {
                StatusCode::PAYLOAD_TOO_LARGE => ApiError::BodyTooLarge { max: state.body_max },
                _ => ApiError::Malformed(format!("the request body cannot be read: {reason}")),
            }
        })?;
        match serde_json::from_slice(&body) {
            Ok(Value::Object(object)) => Ok(Self(object)),
            Ok(_) => Err(Problem::new(code::FORM, "", "the body is a JSON object").into()),
            Err(error) => Err(ApiError::Malformed(format!("the body is not JSON: {error}"))),
        }
    }
}

impl JsonObject {
    /// Deserializes the object; the error has the path of the member that is wrong, and no value:
    /// it may be a secret.
    pub(super) fn read<T: DeserializeOwned>(self) -> Result<T, ApiError> {
        serde_path_to_error::deserialize(Value::Object(self.0)).map_err(|error| {
            let path = error.path().to_string();
            let text = without_value(&error.into_inner().to_string());
            let code = match text.split_whitespace().next() {
                Some("unknown") if text.starts_with("unknown field") => code::UNKNOWN_MEMBER,
                Some("missing") => code::MISSING,
                _ => code::FORM,
            };
            let path = if path == "." { String::new() } else { path };
            Problem::new(code, path, text).into()
        })
    }
}

/// Parses the revision of `If-Match`; an unknown tag is stale.
pub(super) fn expected_revision(headers: &HeaderMap) -> Result<Option<u64>, RegisterError> {
    let Some(value) = headers.get(header::IF_MATCH) else { return Ok(None) };
    match value.to_str() {
        Ok("*") => Ok(None),
        Ok(tag) => {
            let revision = tag.trim().trim_matches('"').parse();
            revision.map(Some).map_err(|_| RegisterError::StaleRevision)
        }
        Err(_) => Err(RegisterError::StaleRevision),
    }
}

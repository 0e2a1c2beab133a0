//! Routes of the console, and their authentication.

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;

use super::headers::{add_policy, asset};
use super::state::{Console, Visitor};
use super::{live, pages};
use crate::api::{
    ApiError, AuthFailure, OperatorFault, TokenKind, client_of, refused, require_own_host,
};
use crate::domain::Secret;

/// Returns the console's routes: `/`, `/live` and the assets.
pub fn routes(console: Console) -> Router {
    Router::new()
        .route("/", get(pages::overview))
        .route("/live", get(live::stream))
        .layer(middleware::from_fn_with_state(console.clone(), authorize))
        .layer(middleware::from_fn_with_state(console.hosts.clone(), require_own_host))
        .route("/assets/console.css", get(|| asset("text/css", include_str!("assets/console.css"))))
        .route("/assets/icon.svg", get(|| asset("image/svg+xml", include_str!("assets/icon.svg"))))
        .route(
            "/assets/console.js",
            get(|| asset("text/javascript", include_str!("assets/console.js"))),
        )
        .layer(middleware::map_response(add_policy))
        .with_state(console)
}

async fn authorize(
    State(console): State<Console>,
    mut request: axum::extract::Request,
    next: Next,
) -> Response {
    let visitor = password(request.headers()).map(Visitor);
    if console.admits(visitor.as_ref()) {
        if let Some(visitor) = visitor {
            request.extensions_mut().insert(visitor);
        }
        return next.run(request).await;
    }
    if request.headers().contains_key(header::AUTHORIZATION) {
        let failure = AuthFailure {
            reason: "unknown_token",
            detail: None,
            error: ApiError::NotAnOperator(OperatorFault::Wrong(TokenKind::Unknown)),
        };
        let client = client_of(request.extensions());
        let error = refused(&console.api, "console", client, failure);
        if matches!(error, ApiError::Client(_)) {
            return error.into_response();
        }
    }
    let challenge =
        [(header::WWW_AUTHENTICATE, "Basic realm=\"Switchyard: any name, the admin token\"")];
    (StatusCode::UNAUTHORIZED, challenge, "The password is the admin token.").into_response()
}

/// Returns the password of basic authentication.
fn password(headers: &HeaderMap) -> Option<Secret> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let encoded = value.strip_prefix("Basic ")?;
    let decoded = data_encoding::BASE64.decode(encoded.as_bytes()).ok()?;
    let text = String::from_utf8(decoded).ok()?;
    let (_, password) = text.split_once(':')?;
    Some(Secret::new(password))
}

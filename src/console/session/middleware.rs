//! Middleware of all pages: only visitors with a session see them.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Redirect, Response};

use super::super::state::Console;
use super::super::visitor::Visitor;
use super::next::login_for;
use super::sessions::NoSession;
use crate::api::client_of;
use crate::domain::Caller;

/// Adds the [`Visitor`] to the request. Without a session a page leads to the login, and anything else is refused.
pub(in crate::console) async fn require(
    State(console): State<Console>,
    mut request: Request,
    next: Next,
) -> Response {
    let client = client_of(request.extensions());
    let visitor = match &console.sessions {
        None => Visitor {
            caller: Caller::admin("dev"),
            csrf: (*console.csrf).clone(),
            has_session: false,
            client,
            token: None,
        },
        Some(sessions) => match sessions.find(request.headers()).await {
            Ok(open) if open.is_unconfirmed && !is_read(request.method()) => return unavailable(),
            Ok(open) => {
                let (caller, csrf, token) = (open.caller, open.session.csrf, open.token);
                Visitor { caller, csrf, has_session: true, client, token }
            }
            Err(NoSession::None) => return without_session(&request),
            Err(NoSession::Unavailable(error)) => {
                tracing::warn!(%error, "visitor of the console is not known");
                return unavailable();
            }
        },
    };
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

fn is_read(method: &Method) -> bool {
    method == Method::GET || method == Method::HEAD
}

fn without_session(request: &Request) -> Response {
    if is_read(request.method()) && is_page(request.headers()) {
        let wanted = request.uri().path_and_query().map_or("/", |wanted| wanted.as_str());
        return Redirect::to(&login_for(wanted)).into_response();
    }
    let text = "There is no session, or it ended: open /login.";
    (StatusCode::UNAUTHORIZED, text).into_response()
}

/// Whether a browser asks for a page to show.
fn is_page(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|accept| accept.to_str().ok());
    accept.is_some_and(|accept| accept.contains("text/html"))
}

pub(super) fn unavailable() -> Response {
    let text = "The broker does not answer, so that it is not known who you are. /healthz/ready says what fails.";
    (StatusCode::SERVICE_UNAVAILABLE, [(header::RETRY_AFTER, "5")], text).into_response()
}

//! Login with a token, and logout.

use axum::Extension;
use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Query, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::{get, post};
use url::form_urlencoded;

use super::super::asked::Asked;
use super::super::state::Console;
use super::super::visitor::Visitor;
use super::form::{FORM_BYTES_MAX, foreign, has_secret, is_of_own_page};
use super::identity::{digest, random_text};
use super::login_page::{LoginPage, page};
use super::middleware::unavailable;
use super::next::{LOGIN, login_for, own_page};
use super::recorded::{record, record_failure};
use super::sessions::Sessions;
use crate::api::{ApiError, AuthFailure, ClientRefusal, caller_of_token, client_of, refused};
use crate::domain::{Caller, Secret};
use crate::sessions::Credential;

/// Seconds for which the form of the login can be sent.
const FORM_LIFE_S: u64 = 3600;
/// What the page says to a wrong token.
const WRONG_TOKEN: &str = "This router has no such token, or it was revoked or has expired.";

/// Returns the routes that need no session.
pub(in crate::console) fn login_routes() -> Router<Console> {
    Router::new().route(LOGIN, get(show).post(log_in))
}

/// Returns the routes that need one.
pub(in crate::console) fn logout_routes() -> Router<Console> {
    Router::new().route("/logout", post(log_out))
}

async fn show(
    State(console): State<Console>,
    Query(asked): Query<Asked>,
    request: Request,
) -> Response {
    let next = own_page(asked.get("next"));
    let Some(sessions) = &console.sessions else { return Redirect::to(next).into_response() };
    match sessions.find(request.headers()).await {
        Ok(_) => Redirect::to(next).into_response(),
        Err(_) => shown(sessions, StatusCode::OK, next, None),
    }
}

/// Returns the page with a new secret of its form.
pub(super) fn shown(
    sessions: &Sessions,
    status: StatusCode,
    next: &str,
    error: Option<&str>,
) -> Response {
    let Ok(csrf) = random_text() else { return unavailable() };
    let cookie = sessions.login_cookie().set(csrf.reveal(), FORM_LIFE_S);
    let link = login_for(next).replacen(LOGIN, "/login/oidc", 1);
    let sign_on = sessions.parts().oidc.as_ref().map(|provider| (provider.name(), link.as_str()));
    let page = page(&LoginPage { csrf: &csrf, next, error, sign_on });
    with_cookies((status, page).into_response(), [cookie])
}

async fn log_in(State(console): State<Console>, request: Request) -> Response {
    let Some(sessions) = &console.sessions else { return Redirect::to("/").into_response() };
    let (parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, FORM_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "The form is too long.").into_response();
    };
    let form = Asked::of(form_urlencoded::parse(&bytes).into_owned());
    // A page of another host could otherwise log its visitor in as somebody else.
    let expected = sessions.login_cookie().read(&parts.headers).map(Secret::new);
    let is_own = is_of_own_page(&parts.headers)
        && expected.is_some_and(|expected| has_secret(&form, &expected));
    let next = own_page(form.get("next"));
    if !is_own {
        return match form.get("csrf") {
            "" => foreign(),
            _ => shown(
                sessions,
                StatusCode::FORBIDDEN,
                next,
                Some("This form was too old. Please try again."),
            ),
        };
    }
    let token = form.get("token");
    match caller(&console, &parts, token).await {
        Ok(caller) => {
            let credential = Credential::Token { sha256: digest(token) };
            logged_in(sessions, &parts, (credential, &caller), next, "with a token").await
        }
        Err(failure) => failed(&console, sessions, &parts, failure, next).await,
    }
}

/// Returns whose token it is, also if it was created at another replica just now.
async fn caller(console: &Console, parts: &Parts, token: &str) -> Result<Caller, AuthFailure> {
    let (api, client) = (&console.api, client_of(&parts.extensions));
    match caller_of_token(api, token) {
        Err(_) if api.failures.limited_for_s(client).is_none() => {
            api.registry.catch_up().await;
            caller_of_token(api, token)
        }
        found => found,
    }
}

/// Counts a failed login, and says so.
async fn failed(
    console: &Console,
    sessions: &Sessions,
    parts: &Parts,
    failure: AuthFailure,
    next: &str,
) -> Response {
    let reason = failure.reason;
    let error = refused(&console.api, "console", client_of(&parts.extensions), failure);
    if let ApiError::Client(ClientRefusal::TooManyFailures { retry_after_s }) = error {
        let text =
            format!("Too many logins of your address failed. Try again in {retry_after_s} s.");
        let mut response = shown(sessions, StatusCode::TOO_MANY_REQUESTS, next, Some(&text));
        response.headers_mut().insert(header::RETRY_AFTER, retry_after_s.into());
        return response;
    }
    let status = StatusCode::UNAUTHORIZED;
    record_failure(&*sessions.parts().audit, parts, status.as_u16(), reason).await;
    shown(sessions, status, next, Some(WRONG_TOKEN))
}

/// Records a login, begins a session with a new id and leads to the page that the visitor wanted.
pub(super) async fn logged_in(
    sessions: &Sessions,
    parts: &Parts,
    (credential, caller): (Credential, &Caller),
    next: &str,
    how: &str,
) -> Response {
    let status = StatusCode::SEE_OTHER;
    let entry = ("logIn", caller, status.as_u16());
    let recorded = record(&*sessions.parts().audit, parts, entry, Some(how.to_owned())).await;
    if let Err(error) = recorded {
        tracing::error!(%error, "login refused: it cannot be recorded");
        return unavailable();
    }
    // The session of before, if there is one, is not needed any more.
    if let Err(error) = sessions.end(&parts.headers).await {
        tracing::warn!(%error, "earlier session of a visitor not ended");
    }
    match sessions.begin(credential, caller).await {
        Ok(cookie) => {
            let form = sessions.login_cookie().set("", 0);
            with_cookies(Redirect::to(next).into_response(), [Some(cookie), form])
        }
        Err(error) => {
            tracing::error!(%error, "session not begun");
            unavailable()
        }
    }
}

async fn log_out(
    State(console): State<Console>,
    Extension(visitor): Extension<Visitor>,
    request: Request,
) -> Response {
    let Some(sessions) = &console.sessions else { return Redirect::to("/").into_response() };
    let (parts, _) = request.into_parts();
    let ended = match sessions.end(&parts.headers).await {
        Ok(ended) => ended,
        Err(error) => {
            tracing::error!(%error, "session not ended");
            return unavailable();
        }
    };
    let entry = ("logOut", &visitor.caller, StatusCode::SEE_OTHER.as_u16());
    if let Err(error) = record(&*sessions.parts().audit, &parts, entry, None).await {
        // The session has ended, which counts more than its record.
        tracing::error!(%error, "logout not recorded");
    }
    with_cookies(Redirect::to(LOGIN).into_response(), [ended])
}

/// Adds cookies to a response, which no cache keeps.
pub(super) fn with_cookies<const N: usize>(
    mut response: Response,
    cookies: [Option<HeaderValue>; N],
) -> Response {
    for cookie in cookies.into_iter().flatten() {
        response.headers_mut().append(header::SET_COOKIE, cookie);
    }
    response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

//! The two steps of single sign-on: to the provider, and back.

use axum::Router;
use axum::extract::{Query, Request, State};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;

use super::super::super::asked::Asked;
use super::super::super::state::Console;
use super::super::identity::random_text;
use super::super::login::{logged_in, shown, with_cookies};
use super::super::next::own_page;
use super::super::recorded::record_failure;
use super::super::sessions::Sessions;
use super::identity::Identity;
use super::provider::{OidcError, OidcProvider, shown_code};
use super::secrets::{LoginSecrets, page_of};
use super::settings::CALLBACK;
use crate::api::{ApiError, AuthFailure, client_of, is_token, refused};
use crate::domain::{Caller, Secret};
use crate::sessions::Credential;

/// Seconds for which a visitor may take to log in at the provider.
const LOGIN_LIFE_S: u64 = 600;
/// Label of the metric of failed logins.
const REASON: &str = "single_sign_on";
const NO_ANSWER: &str =
    "The provider of single sign-on does not answer. Try again, or log in with a token.";
const OTHER_BROWSER: &str =
    "This login began in another browser, or more than ten minutes ago. Please try again.";

/// Returns the routes of single sign-on.
pub(in crate::console) fn oidc_routes() -> Router<Console> {
    Router::new().route("/login/oidc", get(begin)).route(CALLBACK, get(end))
}

/// Leads to the provider.
async fn begin(State(console): State<Console>, Query(asked): Query<Asked>) -> Response {
    let next = own_page(asked.get("next"));
    let Some((sessions, provider)) = parts_of(&console) else {
        return Redirect::to(next).into_response();
    };
    let Ok(secret) = random_text() else {
        return shown(sessions, StatusCode::SERVICE_UNAVAILABLE, next, None);
    };
    match provider.login_address(&LoginSecrets::of(&secret, next)).await {
        Ok(address) => {
            let cookie = sessions.oidc_cookie().set(secret.reveal(), LOGIN_LIFE_S);
            with_cookies(Redirect::to(address.as_str()).into_response(), [cookie])
        }
        Err(error) => {
            tracing::error!(%error, "single sign-on does not begin");
            shown(sessions, StatusCode::BAD_GATEWAY, next, Some(NO_ANSWER))
        }
    }
}

/// Takes the answer of the provider, which the browser brings.
async fn end(
    State(console): State<Console>,
    Query(asked): Query<Asked>,
    request: Request,
) -> Response {
    let Some((sessions, provider)) = parts_of(&console) else {
        return Redirect::to("/").into_response();
    };
    let (parts, _) = request.into_parts();
    let next = page_of(asked.get("state"));
    let next = own_page(next.as_deref().unwrap_or("/"));
    let secret = sessions.oidc_cookie().read(&parts.headers).map(Secret::new);
    let secrets = secret
        .map(|secret| LoginSecrets::of(&secret, next))
        .filter(|secrets| is_token(&Secret::new(secrets.state.as_str()), asked.get("state")));
    let Some(secrets) = secrets else {
        let page = shown(sessions, StatusCode::FORBIDDEN, next, Some(OTHER_BROWSER));
        return without_cookie(sessions, page);
    };
    let response = match identity(provider, &asked, &secrets).await {
        Ok(Identity { subject, name, scope: Some(scope) }) => {
            let caller = Caller { name: name.as_str().into(), scope, installation: None };
            let credential = Credential::Oidc { subject, name, scope };
            logged_in(sessions, &parts, (credential, &caller), next, "with single sign-on").await
        }
        Ok(Identity { name, scope: None, .. }) => {
            let text = format!(
                "{name} has no group that may use this console. An administrator adds one to `oidc.read`, \
                 `oidc.operate` or `oidc.admin`."
            );
            failed(&console, sessions, &parts, (StatusCode::FORBIDDEN, next), &text).await
        }
        Err(error) => {
            tracing::warn!(%error, "single sign-on failed");
            let status = match error {
                OidcError::Unavailable(_) => StatusCode::BAD_GATEWAY,
                OidcError::Refused(_) | OidcError::Token(_) => StatusCode::FORBIDDEN,
            };
            let text = format!("Single sign-on failed: {error}.");
            failed(&console, sessions, &parts, (status, next), &text).await
        }
    };
    without_cookie(sessions, response)
}

fn parts_of(console: &Console) -> Option<(&Sessions, &OidcProvider)> {
    let sessions = console.sessions.as_ref()?;
    Some((sessions, sessions.parts().oidc.as_ref()?))
}

/// Returns who logged in.
async fn identity(
    provider: &OidcProvider,
    asked: &Asked,
    secrets: &LoginSecrets,
) -> Result<Identity, OidcError> {
    // RFC 9207: the answer of another provider must not be taken for one of this.
    if !["", &provider.settings().issuer].contains(&asked.get("iss")) {
        return Err(OidcError::Refused("another_issuer".into()));
    }
    match (asked.get("error"), asked.get("code")) {
        ("", "") => Err(OidcError::Refused("no_code".into())),
        ("", code) => provider.identity(code, secrets).await,
        (error, _) => Err(OidcError::Refused(shown_code(error))),
    }
}

/// Counts and records a failed login, and says why it failed.
async fn failed(
    console: &Console,
    sessions: &Sessions,
    parts: &Parts,
    (status, next): (StatusCode, &str),
    text: &str,
) -> Response {
    let error = ApiError::Unauthorized(REASON);
    let failure = AuthFailure { reason: REASON, detail: None, error };
    let _counted = refused(&console.api, "console", client_of(&parts.extensions), failure);
    record_failure(&*sessions.parts().audit, parts, status.as_u16(), text).await;
    shown(sessions, status, next, Some(text))
}

/// Removes the cookie of the login, which is over.
fn without_cookie(sessions: &Sessions, response: Response) -> Response {
    with_cookies(response, [sessions.oidc_cookie().set("", 0)])
}

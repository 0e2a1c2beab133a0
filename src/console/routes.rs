//! Routes of the console, and who may use them.

use axum::Router;
use axum::body::to_bytes;
use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, StatusCode, header};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use url::form_urlencoded;

use super::asked::Asked;
use super::headers::{add_policy, asset};
use super::pages;
use super::state::Console;
use super::visitor::Visitor;
use crate::api::{caller_of_token, client_of, is_token, refused, require_own_host};
use crate::domain::{Caller, Secret};

/// Longest form that is read, in bytes.
const FORM_BYTES_MAX: usize = 1 << 20;

/// Returns the console's routes: the pages and the assets.
pub fn routes(console: Console) -> Router {
    pages::routes()
        .layer(middleware::from_fn(read_form))
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

/// Reads the form of a request that changes something, and requires the secret that the page had.
async fn read_form(request: Request, next: Next) -> Response {
    if request.method() == Method::GET || request.method() == Method::HEAD {
        return next.run(request).await;
    }
    let (mut parts, body) = request.into_parts();
    let Ok(bytes) = to_bytes(body, FORM_BYTES_MAX).await else {
        return (StatusCode::PAYLOAD_TOO_LARGE, "The form is too long.").into_response();
    };
    let form = Asked::of(form_urlencoded::parse(&bytes).into_owned());
    let visitor = parts.extensions.get::<Visitor>();
    if !visitor.is_some_and(|visitor| is_token(&visitor.csrf, form.get("csrf"))) {
        let text = "The form is not of this session. Go back, reload the page and try again.";
        return (StatusCode::FORBIDDEN, text).into_response();
    }
    parts.extensions.insert(form);
    next.run(Request::from_parts(parts, bytes.into())).await
}

async fn authorize(State(console): State<Console>, mut request: Request, next: Next) -> Response {
    let caller = match (&console.tokens, password(request.headers())) {
        (None, _) => Caller::admin("dev"),
        (Some(_), Some(token)) => match caller_of_token(&console.api, token.reveal()) {
            Ok(caller) => caller,
            Err(failure) => {
                let client = client_of(request.extensions());
                let _counted = refused(&console.api, "console", client, failure);
                return challenge();
            }
        },
        (Some(_), None) => return challenge(),
    };
    let visitor = Visitor { caller, csrf: (*console.csrf).clone(), has_session: false };
    request.extensions_mut().insert(visitor);
    next.run(request).await
}

fn challenge() -> Response {
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

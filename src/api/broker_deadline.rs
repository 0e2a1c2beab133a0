//! Middleware that answers 503 to requests that wait for a silent broker.

use axum::extract::{MatchedPath, Request, State};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use super::broker_answers::BrokerUse;
use super::error::ApiError;
use super::state::Shared;

/// Ends of paths whose `POST` stores nothing at the broker.
const READING_POSTS: &[&str] = &[":backtest", ":check", ":test", "/explain", "/test"];

/// Renders an error in the format of an API.
type Render = fn(ApiError) -> Response;

/// Middleware that ends a request while the broker is silent. The client's time for its body does not count, since
/// the body is read before.
pub(super) async fn serve(
    State((state, render)): State<(Shared, Render)>,
    request: Request,
    next: Next,
) -> Response {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let needs = use_of(request.method(), path);
    let answered = state.broker.wait(needs, next.run(request)).await;
    answered.unwrap_or_else(|silent| render(ApiError::BrokerSilent(silent)))
}

fn use_of(method: &Method, path: &str) -> BrokerUse {
    let path = path.trim_end_matches('/');
    match *method {
        Method::GET => BrokerUse::Reads,
        Method::POST if READING_POSTS.iter().any(|end| path.ends_with(end)) => BrokerUse::Reads,
        _ => BrokerUse::Writes,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn requests_that_store_nothing_need_no_confirmed_write() {
        for (method, path, needs) in [
            (Method::GET, "/admin/v1/apps", BrokerUse::Reads),
            (Method::PUT, "/admin/v1/apps/{id}", BrokerUse::Writes),
            (Method::POST, "/admin/v1/replays", BrokerUse::Writes),
            (Method::POST, "/admin/v1/filters:backtest/", BrokerUse::Reads),
            (Method::POST, "/admin/v1/subscriptions/{id}/test", BrokerUse::Reads),
        ] {
            assert_eq!(use_of(&method, path), needs, "{method} {path}");
        }
    }
}

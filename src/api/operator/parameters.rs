//! The query parameters of the operator API, and the refusal of all others: a misspelt filter would otherwise be
//! answered as if it selected everything.

use axum::extract::{MatchedPath, Request};
use axum::http::Method;
use axum::middleware::Next;
use axum::response::Response;

use crate::api::admit::discard;
use crate::api::error::ApiError;
use crate::api::query_params::QueryParams;
use crate::api::suggest::help_with;
use crate::registry::Problem;

/// Prefix of all paths.
const PREFIX: &str = "/admin/v1";
/// Those of lists.
const PAGE: &[&str] = &["cursor", "limit"];

/// Method and path below [`PREFIX`] with the names of their parameters, in addition to those of lists. A path that is not
/// here takes none; of one that is, all methods are here.
#[rustfmt::skip]
const PARAMETERS: &[(&str, &str, &[&str], &[&str])] = &[
    ("GET", "/account", &["from", "installation", "limit", "site", "subscription", "to"], &[]),
    ("GET", "/account/ledger", &["from", "installation", "site", "to"], &[]),
    ("GET", "/apps", PAGE, &[]),
    ("GET", "/audit-log", PAGE, &["caller", "details", "operation", "path", "since"]),
    ("GET", "/deliveries", PAGE, &["class", "entity", "event", "installation", "outcome", "since", "site", "subscription", "until"]),
    ("GET", "/deliveries/{id}", &["cursor"], &["class", "entity", "event", "installation", "outcome", "since", "site", "subscription", "until"]),
    ("POST", "/deliveries/{id}/redeliver", &["cursor"], &["class", "entity", "event", "installation", "outcome", "since", "site", "subscription", "until"]),
    ("GET", "/dlq", PAGE, &["installation", "reason", "since", "site", "subscription"]),
    ("GET", "/endpoints", PAGE, &["app", "failing", "installation", "state"]),
    ("GET", "/events", PAGE, &["entity", "since", "site", "type", "until"]),
    ("POST", "/events", &["cloudId", "type"], &[]),
    ("GET", "/events/{ref}", &["body"], &[]),
    ("GET", "/history", &["since"], &[]),
    ("GET", "/installations", PAGE, &["app", "expiring", "q", "site", "state"]),
    ("PUT", "/installations/{id}/modules/{key}", &["dryRun"], &[]),
    ("DELETE", "/installations/{id}/modules/{key}", &[], &[]),
    ("GET", "/live", &["app", "decision", "site", "subscription", "type"], &[]),
    ("GET", "/oauth-clients", PAGE, &[]),
    ("GET", "/problems", PAGE, &["installation"]),
    ("GET", "/sites", PAGE, &["q"]),
    ("GET", "/subscriptions", PAGE, &["app", "event", "failing", "installation", "q", "site", "sort", "state"]),
    ("GET", "/subscriptions/{id}/activity", &["since"], &[]),
    ("POST", "/subscriptions/{id}/promote", &["shadow"], &[]),
    ("GET", "/subscriptions/{id}/revisions", &["at"], &[]),
    ("GET", "/tokens", PAGE, &[]),
    ("GET", "/top", &["by", "limit", "within"], &[]),
];

/// Middleware that refuses a request with a parameter that its path does not take.
pub(in crate::api) async fn check(request: Request, next: Next) -> Result<Response, ApiError> {
    let path = request.extensions().get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let method = match *request.method() {
        // It has the parameters of the answer that it asks about.
        Method::GET | Method::HEAD => "GET",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::DELETE => "DELETE",
        // No path takes another one, and the answer says so.
        _ => return Ok(next.run(request).await),
    };
    let Some(known) = known(method, path) else { return Ok(next.run(request).await) };
    let params = QueryParams::parse(request.uri().query());
    let unknown = params.names().find(|name| !known.contains(name)).map(str::to_owned);
    let Some(name) = unknown else { return Ok(next.run(request).await) };
    let (parts, body) = request.into_parts();
    discard(&parts.headers, body).await;
    let problem = Problem::new("SY-1118", &name, "there is no such query parameter");
    let help = help_with(&name, known);
    Err(problem.with_help(help.unwrap_or_else(|| "this path takes none".into())).into())
}

/// Returns the names of the parameters of a request; none if its path takes other methods only.
fn known(method: &str, path: &str) -> Option<Vec<&'static str>> {
    let path = path.strip_prefix(PREFIX).unwrap_or(path).trim_end_matches('/');
    let mut rows = PARAMETERS.iter().filter(|(_, at, ..)| *at == path).peekable();
    if rows.peek().is_none() {
        return Some(Vec::new());
    }
    let row = rows.find(|(of, ..)| *of == method);
    row.map(|(_, _, names, more)| [*names, *more].concat())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use axum::http::StatusCode;
    use serde_json::{Value, json};

    use super::*;
    use crate::api::testing::TestApi;

    /// Every path that takes no parameter, with its methods.
    #[rustfmt::skip]
    const WITHOUT: &[(&str, &[&str])] = &[
        ("/apps/{id}", &["PUT", "GET", "DELETE"]),
        ("/apps/{id}/endpoints/{key}/previous-secret", &["DELETE"]),
        ("/apps/{id}/endpoints/{key}/secret", &["POST"]),
        ("/audit-log/{id}", &["GET"]),
        ("/dlq/{id}", &["GET", "DELETE"]),
        ("/dlq/{id}/body", &["GET"]),
        ("/dlq/redrive", &["POST"]),
        ("/dlq/redrives", &["GET"]),
        ("/dlq/redrives/{id}", &["GET"]),
        ("/dlq/redrives/{id}/cancel", &["POST"]),
        ("/dlq/redrives/{id}/pause", &["POST"]),
        ("/dlq/redrives/{id}/resume", &["POST"]),
        ("/encryption", &["GET", "POST"]),
        ("/doctor", &["GET"]),
        ("/endpoints/{id}", &["GET"]),
        ("/endpoints/{id}/enable", &["POST"]),
        ("/endpoints/{id}/reset-breaker", &["POST"]),
        ("/endpoints/{id}/test", &["POST"]),
        ("/erasures", &["GET", "POST"]),
        ("/erasures/{id}", &["GET"]),
        ("/erasures/{id}/cancel", &["POST"]),
        ("/events/{ref}/deliveries", &["GET"]),
        ("/explain", &["POST"]),
        ("/filters:backtest", &["POST"]),
        ("/filters:check", &["POST"]),
        ("/filters:test", &["POST"]),
        ("/installations/{id}", &["PUT", "GET", "DELETE"]),
        ("/installations/{id}/discovery", &["GET"]),
        ("/installations/{id}/discovery/refresh", &["POST"]),
        ("/installations/{id}/modules", &["GET"]),
        ("/installations/{id}/modules/{key}", &["DELETE"]),
        ("/installations/{id}/previous-secret", &["DELETE"]),
        ("/installations/{id}/token", &["POST"]),
        ("/listeners", &["GET", "POST"]),
        ("/oauth-clients/{id}", &["PUT", "GET", "DELETE"]),
        ("/oauth-clients/{id}/previous-secret", &["DELETE"]),
        ("/replays", &["GET", "POST"]),
        ("/replays/{id}", &["GET"]),
        ("/replays/{id}/pause", &["POST"]),
        ("/signing-keys", &["GET", "POST"]),
        ("/sites/{id}", &["GET"]),
        ("/sites/{id}/unmapped", &["GET"]),
        ("/subscriptions/{id}", &["GET"]),
        ("/subscriptions/{id}/pause", &["POST"]),
        ("/subscriptions/{id}/resume", &["POST"]),
        ("/subscriptions/{id}/revisions/{n}", &["GET"]),
        ("/subscriptions/{id}/revisions/{n}/diff", &["GET"]),
        ("/subscriptions/{id}/rollback", &["POST"]),
        ("/subscriptions/{id}/shadow", &["GET", "PUT", "DELETE"]),
        ("/subscriptions/{id}/test", &["POST"]),
        ("/tokens/{id}", &["PUT", "GET", "DELETE"]),
        ("/tokens/{id}/rotate", &["POST"]),
        ("/whoami", &["GET"]),
    ];

    #[tokio::test]
    async fn parameters_are_those_of_the_document() {
        let api = TestApi::start().await;
        let paths = api.document["paths"].as_object().unwrap();
        for (path, item) in paths.iter().filter(|(path, _)| path.starts_with(PREFIX)) {
            for (method, operation) in item.as_object().unwrap() {
                let described = operation["parameters"].as_array().into_iter().flatten();
                let described = described.filter(|one| one["in"] == "query");
                let described: BTreeSet<&str> =
                    described.filter_map(|one| one["name"].as_str()).collect();
                let taken: BTreeSet<&str> =
                    known(&method.to_uppercase(), path).unwrap().into_iter().collect();
                assert_eq!(described, taken, "{method} {path}: in the document, and taken");
            }
        }
    }

    async fn answer(api: &TestApi, method: &str, path: &str, query: &str) -> (StatusCode, Value) {
        let path = ["{id}", "{key}", "{ref}", "{n}"]
            .iter()
            .fold(path.to_owned(), |path, name| path.replace(name, "x"));
        let found = api.admin(method, &format!("{PREFIX}{path}{query}"), json!({})).await;
        (found.status, found.body)
    }

    #[tokio::test]
    async fn every_route_refuses_a_parameter_that_it_does_not_take() {
        let api = TestApi::start().await;
        let with = PARAMETERS.iter().map(|(method, path, ..)| (*method, *path));
        // Events are served by other routes, tested below.
        let with = with.filter(|route| *route != ("POST", "/events"));
        let without = WITHOUT
            .iter()
            .flat_map(|(path, methods)| methods.iter().map(|method| (*method, *path)));
        for (method, path) in with.chain(without) {
            for end in ["", "/"] {
                let path = format!("{path}{end}");
                let (status, body) = answer(&api, method, &path, "?no-such=1").await;
                assert_eq!(status, 422, "{method} {path}: {body}");
                assert_eq!(body["errors"][0]["code"], "SY-1118", "{method} {path}");
            }
        }
    }

    #[tokio::test]
    async fn listed_parameters_are_taken_and_a_misspelt_one_has_the_nearest_name() {
        let api = TestApi::start().await;
        // The live feed has no end.
        for (method, path, names, more) in PARAMETERS.iter().filter(|row| row.1 != "/live") {
            for name in [*names, *more].concat() {
                let (_, body) = answer(&api, method, path, &format!("?{name}=1")).await;
                assert_ne!(body["errors"][0]["code"], "SY-1118", "{method} {path} {name}");
            }
        }
        let (_, body) = answer(&api, "GET", "/subscriptions", "?instalation=first").await;
        assert_eq!(
            body["message"],
            "instalation: there is no such query parameter; did you mean `installation`?"
        );
        for (method, path) in [("TRACE", "/replays"), ("PUT", "/subscriptions")] {
            let (status, _) = answer(&api, method, path, "?limit=1").await;
            assert_eq!(status, StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
        let (_, body) = answer(&api, "GET", "/replays", "?limit=1").await;
        assert_eq!(body["errors"][0]["help"], "this path takes none");
    }
}

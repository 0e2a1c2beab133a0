//! Routes of the console, and who may use them.

use axum::Router;
use axum::middleware;
use axum::routing::get;

use super::headers::{add_policy, asset};
use super::pages;
use super::session::{login_routes, logout_routes, oidc_routes, read_form, require};
use super::state::Console;
use crate::api::require_own_host;

/// Returns the console's routes: the pages, the login and the assets.
pub fn routes(console: Console) -> Router {
    pages::routes()
        .merge(logout_routes())
        .layer(middleware::from_fn(read_form))
        .layer(middleware::from_fn_with_state(console.clone(), require))
        .merge(login_routes())
        .merge(oidc_routes())
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

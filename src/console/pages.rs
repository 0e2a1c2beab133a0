//! The pages, one file for each subject. A page asks the operator API and shows the answer.

mod access;
mod audit;
mod codes;
mod dead_letters;
mod decision_view;
mod deliveries;
mod doctor;
mod endpoints;
mod events;
mod explain;
mod installations;
mod jobs;
mod json;
mod live;
mod overview;
mod posted;
mod problems;
mod sites;
mod subscription;
mod subscription_actions;
mod subscriptions;
mod try_filter;

use axum::Router;

use super::state::Console;

/// Returns the routes of all pages.
pub(super) fn routes() -> Router<Console> {
    [
        overview::routes(),
        live::routes(),
        doctor::routes(),
        explain::routes(),
        subscriptions::routes(),
        subscription::routes(),
        subscription_actions::routes(),
        events::routes(),
        deliveries::routes(),
        dead_letters::routes(),
        jobs::routes(),
        endpoints::routes(),
        installations::routes(),
        sites::routes(),
        try_filter::routes(),
        access::routes(),
        audit::routes(),
        codes::routes(),
        json::routes(),
    ]
    .into_iter()
    .fold(Router::new(), Router::merge)
}

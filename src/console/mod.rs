//! The web console: subscriptions and the live feed, server-rendered, with embedded assets.
//!
//! The pages show data of the operator API. They require its token (as the password of HTTP basic
//! auth) unless the router runs in `dev` mode, where it listens on loopback only.

mod headers;
mod live;
mod pages;
mod reference;
mod routes;
mod rows;
mod state;

pub use reference::reference_routes;
pub use routes::routes;
pub use state::Console;

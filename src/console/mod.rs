//! The web console: pages over the operator API, server-rendered, with embedded assets.
//!
//! A page asks the API in the same process in the name of its visitor and shows the answer, so what a visitor may see and
//! do is decided by the API alone. `pages` has one file for each subject, `components` what they are made of, `layout` the
//! frame around them.
//!
//! Design: `docs/design/console.md`.

mod answer;
mod asked;
mod components;
mod headers;
mod layout;
mod operator_api;
mod pages;
mod reference;
mod routes;
mod session;
mod state;
mod visitor;

pub use operator_api::OperatorApi;
pub use reference::reference_routes;
pub use routes::routes;
pub use session::{OidcProvider, OidcSettings, SessionParts, Sessions};
pub use state::Console;

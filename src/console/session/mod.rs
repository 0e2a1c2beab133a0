//! Who looks at the console: login, sessions, and the check of every form.
//!
//! A visitor logs in with a token of the operator API or by single sign-on, and gets a session, which is stored at the
//! broker. Each request reads it there, so that a logout holds on every replica. A form carries a secret of its session,
//! without which no request but `GET` reaches a page.
//!
//! Design: `docs/design/sessions.md`.

mod cookie;
mod form;
mod identity;
mod known;
mod login;
mod login_page;
mod middleware;
mod next;
mod oidc;
mod recorded;
mod sessions;

pub(super) use form::read_form;
pub(super) use login::{login_routes, logout_routes};
pub(super) use middleware::require;
pub(super) use oidc::oidc_routes;
pub use oidc::{OidcProvider, OidcSettings};
pub use sessions::{SessionParts, Sessions};

//! Single sign-on with an OpenID Connect provider: the code flow with PKCE, state and nonce.
//!
//! The crate `openidconnect` depends on the crate `rsa`, which `deny.toml` bans; what the flow needs of it is here and in
//! `jwt`, over the cryptography that the router has.
//!
//! Design: `docs/design/sessions.md`.

mod flow;
mod identity;
mod provider;
mod secrets;
mod settings;

pub(in crate::console) use flow::oidc_routes;
pub use provider::OidcProvider;
pub use settings::OidcSettings;

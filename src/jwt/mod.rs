//! JSON web tokens: Connect tokens that cover one request by its query string hash, and tokens
//! signed with our own keys for Forge remotes and install callbacks. ID tokens of a provider of single sign-on are verified
//! with the keys that it publishes.
//!
//! The HTTP APIs verify what apps send; delivery signs what apps receive. The module depends on
//! neither HTTP types nor the registry. Each kind of token has exactly one algorithm, HS256 with a
//! shared secret or RS256 with one of our keys, and a token is parsed as one kind only, so
//! algorithms cannot be confused.
//!
//! **Source:** RFC 7515, RFC 7519; Atlassian, "Understanding JWT for Connect apps". Where the two
//! reference libraries differ, npm `atlassian-jwt` 2.0.3 and PyPI `atlassian-jwt` 3.0.0.

mod id_token;
pub mod keys;
pub mod qsh;
pub mod system;
mod token;

pub use id_token::{ExpectedToken, IdTokenError, ProviderKeys};
pub use keys::{KeyRecord, KeyRing, Rotation};
pub use token::{ConnectToken, TokenError, sign, sign_bearer};

//! Tokens: JSON web tokens of Connect that cover one request by its query string hash, and those
//! that we sign with keys of our own for Forge remotes and installs.
//!
//! Two stages need them: the doors verify what apps send, delivery signs what apps get. A leaf: it
//! knows neither HTTP types nor the registry. Each of the two kinds has exactly one algorithm, HS256
//! with a shared secret and RS256 with a key of ours, and a token is read as one kind only: there is
//! nothing a caller could confuse.
//!
//! **Source:** RFC 7515, RFC 7519; Atlassian, "Understanding JWT for Connect apps". Where the two
//! reference libraries differ, npm `atlassian-jwt` 2.0.3 and PyPI `atlassian-jwt` 3.0.0.

pub mod keys;
pub mod qsh;
pub mod system;
mod token;

pub use keys::{KeyRecord, KeyRing, Rotation};
pub use token::{Token, TokenError, sign};

//! Tokens of the Connect world: JSON web tokens signed with HS256 that cover one request by its
//! query string hash.
//!
//! Two stages need them: the doors verify what apps send, delivery signs what apps get. A leaf: it
//! knows neither HTTP types nor the registry. Exactly one algorithm exists here, so that there is
//! nothing a caller could confuse it with.
//!
//! **Source:** RFC 7515, RFC 7519; Atlassian, "Understanding JWT for Connect apps". Where the two
//! reference libraries differ, npm `atlassian-jwt` 2.0.3 and PyPI `atlassian-jwt` 3.0.0.

pub mod qsh;
mod token;

pub use token::{Refused, Token, sign};

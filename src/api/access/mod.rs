//! Who may call which operation of the operator API, and what of the data a caller sees.
//!
//! An operation declares in its `#[utoipa::path]` what it needs: `security(("operatorToken" = ["read"]))`, and with a
//! second entry `"installation"` that callers of one installation may send it. [`needs`] makes a table of the document,
//! [`guard`] refuses by it: what declares nothing is refused. [`confine`] keeps the requests of a caller of one
//! installation to that installation, and its handlers ask [`Viewer`] what they may show.
//!
//! | file | what is in it |
//! |---|---|
//! | `callers` | access tokens to callers, and whether a caller still may |
//! | `usage` | requests per second, and when a token was used last |
//! | `needs` | what operations need, from the document |
//! | `confine` | paths and queries of callers of one installation |
//! | `guard` | the middleware |
//! | `viewer` | what a handler shows to a caller |
//!
//! Design: `docs/design/access.md`.

mod callers;
mod confine;
mod guard;
mod needs;
#[cfg(test)]
mod tests;
mod usage;
mod viewer;

pub(super) use callers::{Admitted, TokenFault, caller_of_record};
pub use callers::{TokenDigest, caller_of_digest};
pub(super) use guard::{guarded, still_admitted};
pub(super) use needs::{OPERATOR_TOKEN, is_of_installation};
pub use usage::AccessUse;
pub(super) use viewer::Viewer;

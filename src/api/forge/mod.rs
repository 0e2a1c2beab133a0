//! The Forge API: dynamic modules of Forge apps, version 2, and version 1 with its container paths.
//!
//! The versions differ in who assigns a module's key: the server in version 2, the app in version 1,
//! where an update may also omit the key from the path. Both list the same modules. `extensions`,
//! `dry_run` and `explain` add endpoints to the vendor's API.
//!
//! **Source:** Forge dynamic modules API. Its pages disagree on the cursor of a list, so a list
//! carries it under both documented names.

mod auth;
mod dry_run;
mod explain;
mod extensions;
mod modules;
mod paths;
mod response;
mod routes;
#[cfg(test)]
mod tests;

pub(super) use routes::routes;

//! Paths and page size of the webhook API.

/// Version 3.
pub(super) const V3: &str = "/rest/api/3/webhook";
/// All versions, which are the same.
pub(super) const PATHS: [&str; 2] = [V3, "/rest/api/2/webhook"];
/// Maximum number of webhooks on one page.
pub(super) const RESULTS_MAX: usize = 100;

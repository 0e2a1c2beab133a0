//! Paths and page size of the webhook API.

/// Version 3.
pub(super) const V3: &str = "/rest/api/3/webhook";
/// All versions, which are the same.
pub(super) const PATHS: [&str; 3] = [V3, "/rest/api/2/webhook", "/rest/api/latest/webhook"];
/// Prefix of the paths that OAuth 2.0 apps call, followed by the site.
const GATEWAY: &str = "/ex/jira/";

/// Returns all paths, as route patterns: each version directly, and below the site of a caller.
pub(super) fn patterns() -> impl Iterator<Item = String> {
    let gateway = PATHS.iter().map(|path| format!("{GATEWAY}{{site}}{path}"));
    PATHS.iter().map(|path| (*path).to_owned()).chain(gateway)
}

/// Returns the site in a path, percent-encoded; none of a direct path.
pub(super) fn site_of(path: &str) -> Option<&str> {
    path.strip_prefix(GATEWAY)?.split('/').next()
}
/// Maximum number of webhooks on one page.
pub(super) const RESULTS_MAX: usize = 100;

//! Paths and page size of the webhook API.

/// Version 3.
pub(super) const V3: &str = "/rest/api/3/webhook";
/// All versions, which are the same, each with what follows the ids of its operations.
const PATHS: [(&str, &str); 3] =
    [(V3, ""), ("/rest/api/2/webhook", "V2"), ("/rest/api/latest/webhook", "Latest")];
/// Prefix of the paths that OAuth 2.0 apps call, followed by the site.
const GATEWAY: &str = "/ex/jira/";

/// Returns all paths, as route patterns, each with what follows the ids of its operations: each version directly,
/// and below the site of a caller.
pub(super) fn patterns() -> impl Iterator<Item = (String, String)> {
    let direct = PATHS.iter().map(|(path, suffix)| ((*path).to_owned(), (*suffix).to_owned()));
    let gateway = PATHS
        .iter()
        .map(|(path, suffix)| (format!("{GATEWAY}{{site}}{path}"), format!("{suffix}OfSite")));
    direct.chain(gateway)
}

/// Returns the site in a path, percent-encoded; none of a direct path.
pub(super) fn site_of(path: &str) -> Option<&str> {
    path.strip_prefix(GATEWAY)?.split('/').next()
}
/// Maximum number of webhooks on one page.
pub(super) const RESULTS_MAX: usize = 100;

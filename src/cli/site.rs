//! The site that a command is about when none is named.

use std::collections::BTreeSet;

use anyhow::bail;
use hyper::Method;
use serde_json::Value;

use super::client::ApiClient;
use super::exit::UsageError;
use super::server_args::Target;

/// Most sites that an error lists.
const SITES_SHOWN_MAX: usize = 10;
/// Installations that are read to find the sites.
const INSTALLATIONS_MAX: usize = 500;

/// Returns the site that is named, else that of the context, else the only one that has installations.
///
/// # Errors
/// There are several, or none.
pub(super) async fn site(
    named: Option<&str>,
    target: &Target,
    client: &ApiClient,
) -> anyhow::Result<String> {
    if let Some(site) = named.or(target.site.as_deref()) {
        return Ok(site.to_owned());
    }
    let path = format!("/admin/v1/installations?limit={INSTALLATIONS_MAX}");
    let listed = client.send(Method::GET, &path, &[], &Value::Null).await?;
    let items = listed.get("items").and_then(Value::as_array);
    let sites = items.into_iter().flatten().filter_map(|item| item.get("cloudId")?.as_str());
    let mut sites: BTreeSet<&str> = sites.collect();
    let is_whole = listed.get("nextCursor").is_none_or(Value::is_null);
    match (sites.pop_first(), sites.is_empty() && is_whole) {
        (Some(only), true) => Ok(only.to_owned()),
        (None, _) => bail!(UsageError(
            "no site is known: name one with --site CLOUDID, or install an app there".into()
        )),
        (Some(first), false) => {
            let shown = std::iter::once(first).chain(sites).take(SITES_SHOWN_MAX);
            let shown: Vec<&str> = shown.collect();
            bail!(UsageError(format!(
                "there are several sites, such as {}: name one with --site CLOUDID",
                shown.join(", ")
            )))
        }
    }
}

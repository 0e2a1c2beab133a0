//! Keeps a request of a caller of one installation to that installation: it names no other one in its path and its
//! query, and a list without a name is that of its own. Whether another installation exists is not looked at, so that
//! the answer does not depend on it.

use axum::http::Uri;
use axum::http::uri::PathAndQuery;
use url::form_urlencoded;

use super::needs::Need;
use crate::api::error::ApiError;
use crate::domain::{CloudId, InstallationId, SubscriptionId};

/// An installation with its site.
pub(super) struct Own<'o> {
    pub(super) installation: &'o InstallationId,
    /// None if the installation is not known any more: then no site is its own.
    pub(super) site: Option<CloudId>,
}

impl Own<'_> {
    /// Checks the first name in a path, decoded.
    ///
    /// # Errors
    /// It is another installation, or belongs to another one.
    pub(super) fn check_path(&self, path: &str, first: Option<&str>) -> Result<(), ApiError> {
        let kind = path.split('/').nth(3);
        let is_own = match (kind, first) {
            (Some("subscriptions"), Some(id)) => self.is_own_subscription(id),
            (Some("installations"), Some(id)) => id == self.installation.as_str(),
            _ => true,
        };
        if is_own { Ok(()) } else { Err(ApiError::NotFound) }
    }

    /// Returns the address of a request that selects what belongs to the installation; none if it does already.
    ///
    /// # Errors
    /// It selects what belongs to another one.
    pub(super) fn confined(&self, uri: &Uri, need: Need) -> Result<Option<Uri>, ApiError> {
        let pairs = form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes());
        let (mut names_installation, mut names_subscription) = (false, false);
        for (name, value) in pairs {
            // Of a repeated name each value counts: which of them a handler takes does not matter.
            let is_own = match &*name {
                "installation" => {
                    names_installation = true;
                    value == self.installation.as_str()
                }
                "subscription" => {
                    names_subscription = true;
                    self.is_own_subscription(&value)
                        || (!need.query.has_installation && value == self.installation.as_str())
                }
                "site" => self.site.as_ref().is_some_and(|site| value == site.as_str()),
                _ => true,
            };
            if !is_own {
                return Err(ApiError::NotFound);
            }
        }
        let added = match need.query {
            query if query.has_installation && !names_installation => "installation",
            query if !query.has_installation && query.has_subscription && !names_subscription => {
                "subscription"
            }
            _ => return Ok(None),
        };
        self.with(uri, added).map(Some)
    }

    fn is_own_subscription(&self, text: &str) -> bool {
        SubscriptionId::parse(text).is_some_and(|id| id.installation == *self.installation)
    }

    /// Returns an address with another parameter, which names the installation.
    fn with(&self, uri: &Uri, name: &str) -> Result<Uri, ApiError> {
        let before = uri.query().map(|query| format!("{query}&")).unwrap_or_default();
        let id: String =
            form_urlencoded::byte_serialize(self.installation.as_str().as_bytes()).collect();
        let text = format!("{}?{before}{name}={id}", uri.path());
        let mut parts = uri.clone().into_parts();
        // It fails only if the address is longer than one can be.
        parts.path_and_query = Some(PathAndQuery::try_from(text).map_err(|_| ApiError::NotFound)?);
        Uri::from_parts(parts).map_err(|_| ApiError::NotFound)
    }
}

#[cfg(test)]
mod tests {
    use super::super::needs::OwnerParameters;
    use super::*;
    use crate::domain::Scope;

    fn need(has_installation: bool, has_subscription: bool) -> Need {
        let query = OwnerParameters { has_installation, has_subscription };
        Need { scope: Scope::Read, is_of_installation: true, query }
    }

    /// Returns the query after the request is confined to the installation `a/b c`; none if it is refused.
    fn confined(query: &str, need: Need) -> Option<String> {
        let own = Own { installation: &"a/b c".into(), site: Some("s".into()) };
        let uri: Uri = format!("/admin/v1/deliveries{query}").parse().unwrap();
        let found = own.confined(&uri, need).ok()?;
        Some(found.unwrap_or(uri).query().unwrap_or_default().to_owned())
    }

    #[test]
    fn list_without_a_name_is_that_of_the_own_installation() {
        let list = need(true, true);
        assert_eq!(confined("", list).unwrap(), "installation=a%2Fb+c");
        assert_eq!(confined("?limit=2", list).unwrap(), "limit=2&installation=a%2Fb+c");
        let own = "installation=a%2Fb%20c&site=s&subscription=a%2Fb%20c%2Fk";
        assert_eq!(confined(&format!("?{own}"), list).unwrap(), own);
        assert_eq!(confined("", need(false, true)).unwrap(), "subscription=a%2Fb+c");
        assert_eq!(
            confined("?subscription=a/b+c", need(false, true)).unwrap(),
            "subscription=a/b+c"
        );
        assert_eq!(confined("?body=true", need(false, false)).unwrap(), "body=true");
    }

    #[test]
    fn name_of_another_installation_is_refused_at_every_place() {
        for query in [
            "?installation=other",
            "?installation=",
            "?installation=a/b+c&installation=other",
            "?installation=other&installation=a/b+c",
            "?%69nstallation=other",
            "?installation=a%252Fb+c",
            "?installation=A/B+C",
            "?site=other",
            "?site=s&site=",
            "?subscription=other/k",
            "?subscription=a/k",
            "?subscription=a/b+c/d/k",
            "?subscription=a/b+c",
            "?subscription=k",
        ] {
            assert_eq!(confined(query, need(true, true)), None, "{query}");
        }
        assert_eq!(confined("?subscription=a", need(false, true)), None);
        assert_eq!(
            confined("?installation=other", need(false, false)),
            None,
            "not even if it is not taken"
        );
    }

    #[test]
    fn path_of_another_installation_is_refused() {
        let own = Own { installation: &"a/b".into(), site: None };
        let check = |path, first| own.check_path(path, Some(first)).is_ok();
        let subscription = "/admin/v1/subscriptions/{id}/pause";
        assert!(check(subscription, "a/b/k"));
        for id in ["a/k", "a/b/c/k", "k", "", "a%2Fb/k", "A/b/k"] {
            assert!(!check(subscription, id), "{id}");
        }
        let installation = "/admin/v1/installations/{id}";
        assert!(check(installation, "a/b") && !check(installation, "a"));
        assert!(check("/admin/v1/dlq/{id}", "1-2"), "its handler knows whose it is");
        assert!(own.confined(&Uri::from_static("/x?site="), need(true, true)).is_err());
    }
}

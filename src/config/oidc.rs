//! Settings of single sign-on: checked together. Messages show no secret.

use url::{Host, Url};

use super::sections::OidcConfig;

/// Refuses a provider that cannot be used, and one without anybody who may log in.
pub(super) fn check(oidc: &OidcConfig, public_url: &str) -> Result<(), String> {
    if oidc.issuer.is_empty() {
        return Ok(());
    }
    if !is_provider(&oidc.issuer) {
        return Err(format!(
            "`oidc.issuer` is \"{}\"; it must be the URL of a provider with https, without user, query and fragment, such as \"https://login.example.com\"",
            super::effective::without_password(&oidc.issuer)
        ));
    }
    if public_url.is_empty() {
        return Err(
            "`oidc.issuer` needs `server.public_url`, to which the provider leads its visitors back"
                .into(),
        );
    }
    if oidc.client_id.is_empty() {
        return Err("`oidc.client_id` is empty; it is the id of this router at the provider".into());
    }
    if !oidc.client_secret.is_empty() && !oidc.client_secret_file.is_empty() {
        return Err(
            "`oidc.client_secret` and `oidc.client_secret_file` are both set; set one".into()
        );
    }
    let lists = [&oidc.read, &oidc.operate, &oidc.admin];
    if lists.iter().all(|list| list.is_empty()) {
        return Err(
            "`oidc.read`, `oidc.operate` and `oidc.admin` are empty, so that no login is possible: name a value of the claim `oidc.scope_claim`"
                .into(),
        );
    }
    match lists.iter().any(|list| list.iter().any(|value| value.trim().is_empty())) {
        true => Err("`oidc.read`, `oidc.operate` or `oidc.admin` has an empty value".into()),
        false => Ok(()),
    }
}

fn is_provider(issuer: &str) -> bool {
    Url::parse(issuer).is_ok_and(|url| {
        let is_local = match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        (url.scheme() == "https" || (url.scheme() == "http" && is_local))
            && url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Secret;

    fn oidc() -> OidcConfig {
        OidcConfig {
            issuer: "https://login.example.com/realm".into(),
            client_id: "switchyard".into(),
            client_secret: Secret::new(""),
            client_secret_file: String::new(),
            name: "Corp".into(),
            request_scopes: Vec::new(),
            scope_claim: "groups".into(),
            read: vec!["all".into()],
            operate: Vec::new(),
            admin: Vec::new(),
        }
    }

    #[test]
    fn provider_is_complete_and_protected() {
        let check = |change: fn(&mut OidcConfig), public_url: &str| {
            let mut oidc = oidc();
            change(&mut oidc);
            check(&oidc, public_url)
        };
        const URL: &str = "https://switchyard.example.com";
        assert_eq!(check(|_| {}, URL), Ok(()));
        assert_eq!(check(|oidc| oidc.issuer.clear(), ""), Ok(()));
        assert_eq!(check(|oidc| oidc.issuer = "http://127.0.0.1:9".into(), URL), Ok(()));
        for (change, public_url, named) in [
            (
                (|oidc: &mut OidcConfig| oidc.issuer = "http://op.example".into())
                    as fn(&mut OidcConfig),
                URL,
                "oidc.issuer",
            ),
            (|oidc| oidc.issuer = "https://u:hidden@op.example".into(), URL, "***@op.example"),
            (|oidc| oidc.issuer = "login".into(), URL, "oidc.issuer"),
            (|_| {}, "", "server.public_url"),
            (|oidc| oidc.client_id.clear(), URL, "oidc.client_id"),
            (|oidc| oidc.read.clear(), URL, "oidc.read"),
            (|oidc| oidc.admin = vec![" ".into()], URL, "empty value"),
            (
                |oidc| {
                    oidc.client_secret = Secret::new("hidden");
                    oidc.client_secret_file = "f".into();
                },
                URL,
                "both set",
            ),
        ] {
            let error = check(change, public_url).unwrap_err();
            assert!(error.contains(named) && !error.contains("hidden"), "{error}");
        }
    }
}

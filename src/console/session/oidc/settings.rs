//! Settings of single sign-on.

use crate::config::OidcConfig;
use crate::domain::{Scope, Secret};

/// Path to which the provider leads its visitors back.
pub(super) const CALLBACK: &str = "/login/oidc/callback";

/// Which provider is asked, and what its people may do.
#[derive(Clone, Debug)]
pub struct OidcSettings {
    /// URL of the provider.
    pub(super) issuer: String,
    pub(super) client_id: String,
    pub(super) client_secret: Option<Secret>,
    /// What the button on the login page says.
    pub(super) name: String,
    /// Scopes to ask for, separated by spaces.
    pub(super) request_scopes: String,
    pub(super) scope_claim: String,
    /// Values of the claim by what their people may do.
    values: Vec<(Scope, Vec<String>)>,
    pub(super) redirect_uri: String,
}

impl OidcSettings {
    /// Returns the settings of a configuration with its secret; none without a provider.
    #[must_use]
    pub fn of(config: &OidcConfig, public_url: &str, secret: Secret) -> Option<Self> {
        if config.issuer.is_empty() {
            return None;
        }
        let scopes = ["openid"].into_iter().chain(config.request_scopes.iter().map(String::as_str));
        Some(Self {
            issuer: config.issuer.clone(),
            client_id: config.client_id.clone(),
            client_secret: Some(secret).filter(|secret| !secret.is_empty()),
            name: config.name.clone(),
            request_scopes: scopes.collect::<Vec<_>>().join(" "),
            scope_claim: config.scope_claim.clone(),
            values: vec![
                (Scope::Read, config.read.clone()),
                (Scope::Operate, config.operate.clone()),
                (Scope::Admin, config.admin.clone()),
            ],
            redirect_uri: format!("{}{CALLBACK}", public_url.trim_end_matches('/')),
        })
    }

    /// Returns the highest scope that one of the values has.
    pub(super) fn scope_of(&self, values: &[&str]) -> Option<Scope> {
        let is_named = |named: &[String]| named.iter().any(|one| values.contains(&one.as_str()));
        let scopes = self.values.iter().filter(|(_, named)| is_named(named));
        scopes.map(|(scope, _)| *scope).max()
    }
}

#[cfg(test)]
pub(super) mod testing {
    use super::*;

    /// Settings of a provider with a group for each scope.
    pub(in super::super) fn settings() -> OidcSettings {
        let group = |name: &str| vec![name.to_owned(), format!("{name}-too")];
        let config = OidcConfig {
            issuer: "https://op.example".into(),
            client_id: "us".into(),
            client_secret: Secret::new(""),
            client_secret_file: String::new(),
            name: "Corp".into(),
            request_scopes: vec!["groups".into()],
            scope_claim: "groups".into(),
            read: group("readers"),
            operate: group("operators"),
            admin: group("admins"),
        };
        OidcSettings::of(&config, "https://us.example/", Secret::new("s")).expect("a provider")
    }
}

#[cfg(test)]
mod tests {
    use super::testing::settings;
    use super::*;

    #[test]
    fn highest_scope_of_all_groups_counts_and_others_have_none() {
        let settings = settings();
        assert_eq!(settings.redirect_uri, "https://us.example/login/oidc/callback");
        assert_eq!(settings.request_scopes, "openid groups");
        for (values, scope) in [
            (&["readers"][..], Some(Scope::Read)),
            (&["x", "operators-too", "readers"], Some(Scope::Operate)),
            (&["admins", "readers"], Some(Scope::Admin)),
            (&["Admins", "admin", ""], None),
            (&[], None),
        ] {
            assert_eq!(settings.scope_of(values), scope, "{values:?}");
        }
    }
}

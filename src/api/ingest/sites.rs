//! What authenticates the webhooks of a site, checked as far as possible before the body is read.

use std::collections::HashMap;
#[cfg(test)]
use std::sync::Arc;

use axum::http::{HeaderMap, header};
use data_encoding::HEXLOWER_PERMISSIVE;
use futures_util::FutureExt;
use futures_util::future::BoxFuture;
use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::refusals::Reason;
use crate::api::auth::is_token;
use crate::domain::{CloudId, Product, Secret};
use crate::registry::Registry;

/// Signature of the raw body, `sha256=<hex>`.
///
/// **Source:** WebSub, section 7; Atlassian, "Securing webhooks".
const SIGNATURE: &str = "x-hub-signature";
/// Length of a SHA-256, in bytes.
const SHA256_BYTES: usize = 32;

/// What authenticates the webhooks of one site.
#[derive(Clone, Debug, Default)]
pub struct SiteAccess {
    /// Any of them signs the body: two while one replaces the other.
    pub secrets: Vec<Secret>,
    /// Any of them is the last part of the path of webhooks without a signature.
    pub tokens: Vec<Secret>,
    /// Everybody may send.
    pub unsigned: bool,
}

/// What authenticates webhooks, by site.
#[derive(Debug, Default)]
pub struct SiteRules {
    /// Settings by product and site; a site from the environment is stored in lower case.
    pub sites: HashMap<(Product, CloudId), SiteAccess>,
    /// Accepts unsigned webhooks of every site without settings (`dev`).
    pub is_open: bool,
}

/// Knows which sites are provisioned.
pub trait SiteDirectory: Send + Sync {
    /// Whether the site has an installation.
    fn is_provisioned(&self, product: Product, site: &CloudId) -> bool;

    /// Returns the sites with an installation.
    fn sites(&self) -> Vec<CloudId>;

    /// Waits until what other replicas confirmed is known here.
    fn catch_up(&self) -> BoxFuture<'_, ()>;
}

impl SiteDirectory for Registry {
    fn is_provisioned(&self, product: Product, site: &CloudId) -> bool {
        Registry::is_provisioned(self, product, site)
    }

    fn sites(&self) -> Vec<CloudId> {
        Registry::sites(self)
    }

    fn catch_up(&self) -> BoxFuture<'_, ()> {
        Registry::catch_up(self).boxed()
    }
}

/// What is left to verify when the body has been read.
#[derive(Debug)]
pub(super) enum Verification {
    /// Nothing: a token authenticated the webhook, or none is needed.
    Done,
    /// The signature of the body, by any of the secrets.
    Signature { secrets: Vec<Secret>, claimed: [u8; SHA256_BYTES] },
}

impl SiteRules {
    /// Authenticates a webhook by its path and headers.
    pub(super) fn admit(
        &self,
        product: Product,
        site: &CloudId,
        token: Option<&str>,
        headers: &HeaderMap,
    ) -> Result<Verification, Reason> {
        let access = self.access(product, site);
        if let Some(token) = token {
            let mut expected = access.iter().flat_map(|access| &access.tokens);
            let is_right = expected.any(|expected| is_token(expected, token));
            return if is_right { Ok(Verification::Done) } else { Err(Reason::WrongToken) };
        }
        let secrets = access.map(|access| access.secrets.clone()).unwrap_or_default();
        if !secrets.is_empty() {
            let claimed = claimed_signature(headers)?;
            return Ok(Verification::Signature { secrets, claimed });
        }
        match access {
            Some(access) if !access.unsigned => Err(Reason::WrongToken),
            None if !self.is_open => Err(Reason::Closed),
            // Browsers let every page send requests to this machine.
            _ if headers.contains_key(header::ORIGIN) => Err(Reason::WebPage),
            _ => Ok(Verification::Done),
        }
    }

    fn access(&self, product: Product, site: &CloudId) -> Option<&SiteAccess> {
        let lower = || (product, CloudId::from(site.as_str().to_lowercase()));
        self.sites.get(&(product, site.clone())).or_else(|| self.sites.get(&lower()))
    }
}

impl Verification {
    /// Verifies the body, in constant time.
    pub(super) fn verify(&self, body: &[u8]) -> Result<(), Reason> {
        match self {
            Self::Done => Ok(()),
            Self::Signature { secrets, claimed } => {
                let is_right = secrets.iter().any(|secret| is_signed_by(secret, claimed, body));
                if is_right { Ok(()) } else { Err(Reason::WrongSignature) }
            }
        }
    }
}

fn is_signed_by(secret: &Secret, claimed: &[u8; SHA256_BYTES], body: &[u8]) -> bool {
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        return false;
    };
    mac.update(body);
    mac.verify_slice(claimed).is_ok()
}

/// Returns the signature that a webhook claims to have.
fn claimed_signature(headers: &HeaderMap) -> Result<[u8; SHA256_BYTES], Reason> {
    let value = headers.get(SIGNATURE).ok_or(Reason::NoSignature)?;
    let hex = value.to_str().ok().and_then(|text| text.strip_prefix("sha256="));
    let decoded = hex.and_then(|hex| HEXLOWER_PERMISSIVE.decode(hex.as_bytes()).ok());
    let claimed = decoded.and_then(|bytes| <[u8; SHA256_BYTES]>::try_from(bytes).ok());
    claimed.ok_or(Reason::MalformedSignature)
}

/// A directory in which every site is provisioned, or the given ones only.
#[cfg(test)]
pub(super) struct KnownSites(pub(super) Option<Vec<CloudId>>);

#[cfg(test)]
impl SiteDirectory for KnownSites {
    fn is_provisioned(&self, _: Product, site: &CloudId) -> bool {
        self.0.as_ref().is_none_or(|sites| sites.contains(site))
    }

    fn sites(&self) -> Vec<CloudId> {
        self.0.clone().unwrap_or_default()
    }

    fn catch_up(&self) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}

/// The rules of one site.
#[cfg(test)]
pub(super) fn rules_of(product: Product, site: &str, access: SiteAccess) -> Arc<SiteRules> {
    let sites = HashMap::from([((product, site.into()), access)]);
    Arc::new(SiteRules { sites, is_open: false })
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;
    use serde_json::Value;

    use super::*;

    fn signed_by(secret: &str, signature: &str, body: &[u8]) -> Result<(), Reason> {
        let access = SiteAccess { secrets: vec![Secret::new(secret)], ..SiteAccess::default() };
        let rules = rules_of(Product::Jira, "c1", access);
        let mut headers = HeaderMap::new();
        headers.insert(SIGNATURE, HeaderValue::from_str(signature).unwrap());
        rules.admit(Product::Jira, &"c1".into(), None, &headers)?.verify(body)
    }

    #[test]
    fn published_signature_vectors_verify_and_altered_ones_do_not() {
        let path =
            concat!(env!("CARGO_MANIFEST_DIR"), "/tests/cases/registration/hub-signature.json");
        let cases: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        for case in cases["vectors"].as_array().unwrap() {
            let text = |name: &str| case[name].as_str().unwrap();
            let (secret, body, signature) = (text("secret"), text("body"), text("signature"));
            assert_eq!(signed_by(secret, signature, body.as_bytes()), Ok(()), "{case}");
            let longer = format!("{body} ");
            let wrong = Err(Reason::WrongSignature);
            assert_eq!(signed_by(secret, signature, longer.as_bytes()), wrong, "{case}");
            let hex = signature.trim_start_matches("sha256=");
            let shorter = &signature[..signature.len() - 2];
            for bad in ["", "sha256=", hex, shorter, &format!("sha1={hex}")] {
                let found = signed_by(secret, bad, body.as_bytes());
                assert_eq!(found, Err(Reason::MalformedSignature), "{bad}");
            }
        }
    }

    #[test]
    fn signatures_by_the_secret_and_the_previous_one_are_accepted() {
        let secrets = ["new", "previous"].map(Secret::new).to_vec();
        let access = SiteAccess { secrets, ..SiteAccess::default() };
        let rules = rules_of(Product::Jira, "c1", access);
        let verified = |secret: &str| {
            let mut mac = Hmac::<Sha256>::new_from_slice(secret.as_bytes()).unwrap();
            mac.update(b"body");
            let hex = HEXLOWER_PERMISSIVE.encode(&mac.finalize().into_bytes());
            let value = HeaderValue::from_str(&format!("sha256={hex}")).unwrap();
            let mut headers = HeaderMap::new();
            headers.insert(SIGNATURE, value);
            let admitted = rules.admit(Product::Jira, &"c1".into(), None, &headers).unwrap();
            admitted.verify(b"body")
        };
        assert_eq!(verified("new"), Ok(()));
        assert_eq!(verified("previous"), Ok(()));
        assert_eq!(verified("another"), Err(Reason::WrongSignature));
    }

    #[test]
    fn each_site_is_authenticated_as_its_settings_say() {
        let secret = || Some(Secret::new("0123456789abcdef0123456789abcdef"));
        let headers = HeaderMap::new();
        let admit = |access: SiteAccess, token: Option<&str>| {
            let rules = rules_of(Product::Jira, "c1", access);
            rules.admit(Product::Jira, &"c1".into(), token, &headers).err()
        };
        let (right, wrong) = (Some("0123456789abcdef0123456789abcdef"), Some("x"));
        let of = |secret: Option<Secret>, token: Option<Secret>, unsigned| SiteAccess {
            secrets: secret.into_iter().collect(),
            tokens: token.into_iter().collect(),
            unsigned,
        };
        let two = SiteAccess {
            tokens: ["a", "b"].map(Secret::new).into(),
            secrets: ["c", "d"].map(Secret::new).into(),
            unsigned: false,
        };
        assert_eq!(admit(two.clone(), Some("a")), None);
        assert_eq!(admit(two.clone(), Some("b")), None);
        assert_eq!(admit(two, Some("c")), Some(Reason::WrongToken));
        assert_eq!(admit(of(None, None, true), None), None);
        assert_eq!(admit(of(None, None, true), right), Some(Reason::WrongToken));
        let page = HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_static("null"))]);
        let rules = rules_of(Product::Jira, "c1", of(None, None, true));
        let refused = rules.admit(Product::Jira, &"c1".into(), None, &page);
        assert_eq!(refused.err(), Some(Reason::WebPage));
        assert_eq!(admit(of(secret(), None, false), None), Some(Reason::NoSignature));
        assert_eq!(admit(of(secret(), None, false), right), Some(Reason::WrongToken));
        assert_eq!(admit(of(None, secret(), false), right), None);
        assert_eq!(admit(of(None, secret(), false), wrong), Some(Reason::WrongToken));
        assert_eq!(admit(of(None, secret(), false), None), Some(Reason::WrongToken));
        assert_eq!(admit(of(secret(), secret(), false), right), None);
        assert_eq!(admit(of(secret(), secret(), false), None), Some(Reason::NoSignature));

        let rules = rules_of(Product::Jira, "c1", of(None, None, true));
        let other_product = rules.admit(Product::Confluence, &"c1".into(), None, &headers);
        assert_eq!(other_product.err(), Some(Reason::Closed));
        let spelt_up = rules.admit(Product::Jira, &"C1".into(), None, &headers);
        assert_eq!(spelt_up.err(), None, "settings from the environment are in lower case");
        let open = SiteRules { sites: HashMap::new(), is_open: true };
        assert!(open.admit(Product::Jira, &"any".into(), None, &headers).is_ok());
        assert!(open.admit(Product::Jira, &"any".into(), right, &headers).is_err());
    }
}

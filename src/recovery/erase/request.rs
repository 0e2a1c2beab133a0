//! What an erasure is asked to do (a stored format).

use data_encoding::HEXLOWER;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::recovery::jobs::{BadRate, JobKind, JobRate, NewJob};

/// Removals per second if the request names no rate.
const RATE_DEFAULT: u64 = 500;
/// Fewest characters of an account id: shorter texts are words of the texts of others.
const ACCOUNT_CHARS_MIN: usize = 8;
/// Most characters of an account id.
const ACCOUNT_CHARS_MAX: usize = 128;
/// Longest id of a site, in bytes.
const SITE_BYTES_MAX: usize = 256;

/// Whose data is removed: what an account is named in, what belongs to a site, or what is both.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EraseSubject {
    site: Option<String>,
    account: Option<String>,
}

/// A subject that cannot be searched for.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{message}")]
pub struct BadSubject {
    /// Name of the value.
    pub name: &'static str,
    /// What is wrong.
    pub message: String,
}

impl EraseSubject {
    /// Checks a subject.
    ///
    /// # Errors
    /// Nothing is named, or an id is too short, too long or no id.
    pub fn new(site: Option<String>, account: Option<String>) -> Result<Self, BadSubject> {
        let bad = |name, message: String| Err(BadSubject { name, message });
        if site.is_none() && account.is_none() {
            return bad("", "either `accountId` or `site`, or both".to_owned());
        }
        if site.as_ref().is_some_and(|site| !(1..=SITE_BYTES_MAX).contains(&site.len())) {
            return bad("site", format!("the id of a site has 1 to {SITE_BYTES_MAX} bytes"));
        }
        let is_id = |id: &String| {
            (ACCOUNT_CHARS_MIN..=ACCOUNT_CHARS_MAX).contains(&id.chars().count())
                && !id.chars().any(|c| c.is_whitespace() || c.is_control())
        };
        if account.as_ref().is_some_and(|id| !is_id(id)) {
            return bad(
                "accountId",
                format!(
                    "an account id has {ACCOUNT_CHARS_MIN} to {ACCOUNT_CHARS_MAX} characters, and no spaces"
                ),
            );
        }
        Ok(Self { site, account })
    }

    /// The site.
    #[must_use]
    pub fn site(&self) -> Option<&str> {
        self.site.as_deref()
    }

    /// The account.
    #[must_use]
    pub fn account(&self) -> Option<&str> {
        self.account.as_deref()
    }
}

/// The request of an erasure, which its document keeps. It has no account id, only the hash of it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct EraseRequest {
    /// The site.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) site: Option<String>,
    /// SHA-256 of the account id, in hex.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) account_id_sha256: Option<String>,
    /// Whether it only counts.
    #[serde(default)]
    pub(super) dry_run: bool,
}

/// What a document keeps until its job ends.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct ErasePrivate {
    pub(super) account_id: String,
}

/// Returns the job that erases `subject`, with what its document keeps until it ends.
///
/// # Errors
/// The rate is out of range.
pub fn new_job(
    subject: &EraseSubject,
    dry_run: bool,
    rate: Option<u64>,
) -> Result<(NewJob, serde_json::Value), BadRate> {
    let digest = |id: &String| HEXLOWER.encode(&Sha256::digest(id));
    let request = EraseRequest {
        site: subject.site.clone(),
        account_id_sha256: subject.account.as_ref().map(digest),
        dry_run,
    };
    let private = subject.account.as_ref().map(|id| json!(ErasePrivate { account_id: id.clone() }));
    let job = NewJob {
        kind: JobKind::Erase,
        rate: JobRate::new(rate.unwrap_or(RATE_DEFAULT))?,
        request: json!(request),
        plan: None,
    };
    Ok((job, private.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_that_cannot_be_searched_for_are_refused() {
        let check = |site: Option<&str>, account: Option<&str>| {
            let subject = EraseSubject::new(site.map(Into::into), account.map(Into::into));
            subject.map_err(|error| error.name)
        };
        assert_eq!(check(None, None), Err(""));
        assert_eq!(check(Some(""), None), Err("site"));
        assert_eq!(check(Some(&"s".repeat(257)), None), Err("site"));
        for account in ["", "1234567", "12345678 ", "1234\u{0}5678", &"x".repeat(129)] {
            assert_eq!(check(Some("site-1"), Some(account)), Err("accountId"), "{account:?}");
        }
        for account in ["12345678", "557058:f58131cb", "äöüäöüäö", &"x".repeat(128)] {
            assert!(check(None, Some(account)).is_ok(), "{account:?}");
        }
    }

    #[test]
    fn document_has_the_account_only_in_its_private_part() {
        let subject = EraseSubject::new(None, Some("557058:f58131cb".into())).unwrap();
        let (job, private) = new_job(&subject, true, None).unwrap();
        assert!(!job.request.to_string().contains("557058"));
        assert_eq!(private["accountId"], "557058:f58131cb");
        assert_eq!(job.request["accountIdSha256"].as_str().unwrap().len(), 64);
        assert_eq!(new_job(&subject, false, Some(1_001)), Err(BadRate));
    }
}

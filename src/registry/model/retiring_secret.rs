//! A secret that another one replaced, as stored.

use serde::{Deserialize, Serialize};

use super::secret::plaintext;
use crate::domain::{Secret, UnknownMembers};

/// Time for which a replaced secret stays valid, in milliseconds: a day.
const OVERLAP_MS: i64 = 24 * 3600 * 1000;

/// A secret that another one replaced. It stays valid for a day, unless an operator retires it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RetiringSecret {
    /// The secret.
    #[serde(with = "plaintext")]
    pub secret: Secret,
    /// End of its validity, milliseconds since the epoch.
    pub until_ms: i64,
    /// Members that this release does not know.
    #[serde(flatten)]
    pub unknown: UnknownMembers,
}

impl RetiringSecret {
    /// Returns what retires when `new` replaces `old` at `now_ms`: the old secret, or the one that
    /// retires already if the secret stays the same.
    #[must_use]
    pub fn after(old: &Secret, retiring: Option<&Self>, new: &Secret, now_ms: i64) -> Option<Self> {
        if old == new {
            return retiring.filter(|retiring| retiring.is_valid(now_ms)).cloned();
        }
        let until_ms = now_ms.saturating_add(OVERLAP_MS);
        Some(Self { secret: old.clone(), until_ms, unknown: UnknownMembers::default() })
    }

    /// Whether it is valid at a time.
    #[must_use]
    pub fn is_valid(&self, now_ms: i64) -> bool {
        now_ms < self.until_ms
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn replaced_secret_is_valid_for_a_day() {
        let [one, two, three] = ["one", "two", "three"].map(Secret::new);
        let first = RetiringSecret::after(&one, None, &two, 1000).unwrap();
        assert_eq!((&first.secret, first.until_ms), (&one, 1000 + OVERLAP_MS));
        assert!(first.is_valid(first.until_ms - 1) && !first.is_valid(first.until_ms));
        // The same document again does not make it longer, a further secret replaces it.
        let same = RetiringSecret::after(&two, Some(&first), &two, 2000);
        assert_eq!(same.as_ref(), Some(&first));
        assert_eq!(RetiringSecret::after(&two, same.as_ref(), &two, first.until_ms), None);
        let next = RetiringSecret::after(&two, Some(&first), &three, 2000).unwrap();
        assert_eq!(next.secret, two);
    }
}

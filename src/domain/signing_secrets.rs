//! The secrets that sign for one receiver, while one replaces the other.

use super::secret::Secret;

/// The secrets that sign for one receiver: the current one and, for some time, the one before, so
/// that the receiver can change over at any moment in between.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct SigningSecrets {
    /// Signs always.
    pub current: Secret,
    /// Signs in addition until a time, in milliseconds since the epoch.
    pub previous: Option<(Secret, i64)>,
}

impl SigningSecrets {
    /// Returns the secrets that sign at a time, the newest first.
    pub fn at(&self, now_ms: i64) -> impl Iterator<Item = &Secret> {
        let previous = self.previous.iter().filter(move |(_, until_ms)| now_ms < *until_ms);
        std::iter::once(&self.current).chain(previous.map(|(secret, _)| secret))
    }
}

impl From<Secret> for SigningSecrets {
    fn from(current: Secret) -> Self {
        Self { current, previous: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn previous_secret_signs_until_its_time() {
        let previous = Some((Secret::new("old"), 1000));
        let secrets = SigningSecrets { current: Secret::new("new"), previous };
        let at = |now_ms| secrets.at(now_ms).map(Secret::reveal).collect::<Vec<_>>();
        assert_eq!(at(999), ["new", "old"]);
        assert_eq!(at(1000), ["new"]);
    }
}

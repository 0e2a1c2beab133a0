//! Serde adapters of stored secrets; the single place that decides how a secret is stored.

/// Serde adapter that stores a secret in clear: it signs deliveries and verifies tokens, so a hash
/// is not enough.
pub(crate) mod plaintext {
    use serde::{Deserialize, Deserializer, Serializer};

    use crate::domain::Secret;

    pub(crate) fn serialize<S: Serializer>(secret: &Secret, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(secret.reveal())
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Secret, D::Error> {
        String::deserialize(from).map(Secret::new)
    }
}

/// As [`plaintext`], for an optional secret.
pub(crate) mod plaintext_option {
    use serde::{Deserialize, Deserializer, Serialize, Serializer};

    use crate::domain::Secret;

    pub(crate) fn serialize<S: Serializer>(
        secret: &Option<Secret>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        secret.as_ref().map(Secret::reveal).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<Option<Secret>, D::Error> {
        Ok(Option::<String>::deserialize(from)?.map(Secret::new))
    }
}

//! Stored documents: their format version, their keys and their encoding.
//!
//! Documents store submitted data, never derived data: whether a module is active depends on the
//! current version of its app and is computed when a document is applied. So a new app version is one
//! write, however many installations it has.

use bytes::Bytes;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;

use super::encryption::{DecryptError, EncryptionKeys, KeyId, NotEncrypted, StoredWith};
use super::identity::DocumentIdentity;
use crate::domain::{Secret, token};

/// Version of the formats of documents with secrets in clear, or without secrets.
pub(crate) const FORMAT: u32 = 1;
/// Version of the formats of documents with encrypted secrets; a replica rejects documents of a later
/// version. In memory every document has [`FORMAT`].
const ENCRYPTED_FORMAT: u32 = 2;

/// The secrets of a document, by the paths of their fields.
pub(crate) struct Secrets<'d> {
    /// How they are stored.
    pub(crate) stored_with: &'d mut StoredWith,
    /// Paths and secrets.
    pub(crate) fields: Vec<(String, &'d mut Secret)>,
}

/// A stored document and the family of its keys.
pub(crate) trait Document: Serialize + DeserializeOwned + Clone + Send + Sync {
    /// First token of its keys.
    const FAMILY: &'static str;

    /// Returns the key of the document with this id: `<family>.<token of the id>`.
    #[must_use]
    fn key(id: &str) -> String {
        format!("{}.{}", Self::FAMILY, token(id))
    }

    /// Format version it was written in.
    fn format(&self) -> u32;

    /// Sets the format version.
    fn set_format(&mut self, format: u32);

    /// Returns the secrets that are stored encrypted; none of documents that have none.
    fn secrets(&mut self) -> Option<Secrets<'_>> {
        None
    }
}

/// Why a document cannot be read or written. What cannot be read may be needed for a delivery, so
/// the events of its installations wait: see `docs/design/unreadable-documents.md`.
#[derive(Debug, Error)]
pub(crate) enum DocumentError {
    /// It is not JSON of this form.
    #[error(transparent)]
    Invalid(#[from] serde_json::Error),
    /// A later version of this program wrote it.
    #[error("its format is {format}, known is {ENCRYPTED_FORMAT}")]
    NewerFormat {
        /// Its format version.
        format: u32,
    },
    /// A part of it is of a kind that this program does not know, or is invalid.
    #[error("{0}")]
    Unsupported(String),
    /// A secret in it cannot be decrypted.
    #[error(transparent)]
    Encrypted(#[from] DecryptError),
    /// A secret in it cannot be encrypted.
    #[error(transparent)]
    NotEncrypted(#[from] NotEncrypted),
    /// No document has keys of this family.
    #[error("no family of documents has such keys")]
    UnknownFamily,
}

impl DocumentError {
    /// Returns the key that is missing here to decrypt a secret.
    pub(crate) fn missing_key(&self) -> Option<&KeyId> {
        match self {
            Self::Encrypted(DecryptError::MissingKey(id)) => Some(id),
            _ => None,
        }
    }
}

/// Returns the family of a document key.
#[must_use]
pub(crate) fn family(key: &str) -> &str {
    key.split_once('.').map_or(key, |(family, _)| family)
}

/// Parses a document that is stored under `key`, and decrypts its secrets.
///
/// # Errors
/// It is not a document of this form, its format is newer than this program, or a secret cannot be
/// decrypted.
pub(crate) fn decode<D: Document>(
    key: &str,
    value: &[u8],
    keys: &EncryptionKeys,
) -> Result<D, DocumentError> {
    let mut document: D = parse(value)?;
    document.set_format(FORMAT);
    if let Some(Secrets { stored_with, fields }) = document.secrets() {
        for (path, secret) in fields {
            let (clear, id) = keys.decrypt(secret, key, &path)?;
            *secret = clear;
            stored_with.add(id);
        }
    }
    Ok(document)
}

fn parse<D: Document>(value: &[u8]) -> Result<D, DocumentError> {
    let newer = |format| Err(DocumentError::NewerFormat { format });
    match serde_json::from_slice::<D>(value) {
        Ok(document) if document.format() > ENCRYPTED_FORMAT => newer(document.format()),
        Ok(document) => Ok(document),
        // A newer format is the reason, if it is one, whatever the parser met first.
        Err(error) => match DocumentIdentity::of(value).format.map(u32::try_from) {
            Some(Ok(format)) if format > ENCRYPTED_FORMAT => newer(format),
            _ => Err(error.into()),
        },
    }
}

/// Serializes a document to be stored under `key`, with encrypted secrets if this replica encrypts;
/// notes in the document how they are stored.
///
/// # Errors
/// It cannot be serialized, or a secret cannot be encrypted.
pub(crate) fn encode<D: Document>(
    key: &str,
    document: &mut D,
    keys: &EncryptionKeys,
) -> Result<Bytes, DocumentError> {
    match encrypted(key, document, keys)? {
        Some(encrypted) => Ok(serde_json::to_vec(&encrypted)?.into()),
        None => Ok(serde_json::to_vec(document)?.into()),
    }
}

/// Returns the document with encrypted secrets; none if it has none, or if they are stored in clear.
fn encrypted<D: Document>(
    key: &str,
    document: &mut D,
    keys: &EncryptionKeys,
) -> Result<Option<D>, NotEncrypted> {
    let Some(Secrets { stored_with, fields }) = document.secrets() else { return Ok(None) };
    if fields.is_empty() {
        *stored_with = StoredWith::NoSecret;
        return Ok(None);
    }
    let Some(writer) = keys.writer()? else {
        *stored_with = StoredWith::InClear;
        return Ok(None);
    };
    *stored_with = StoredWith::Key(writer.id().clone());
    let mut copy = document.clone();
    for (path, secret) in copy.secrets().into_iter().flat_map(|secrets| secrets.fields) {
        *secret = writer.encrypt(secret, key, &path)?;
    }
    copy.set_format(ENCRYPTED_FORMAT);
    Ok(Some(copy))
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::registry::model::encryption::ENCRYPTED;
    use crate::registry::model::{
        AccessTokenRecord, AppRecord, ClientRecord, InstallationRecord, SigningKeysRecord,
        SiteRecord,
    };

    #[test]
    fn key_of_an_ari_is_one_legal_token_behind_the_family() {
        let key = AppRecord::key("ari:cloud:ecosystem::app/1");
        assert!(key.starts_with("app.") && key.len() == 30, "{key}");
        assert_eq!(InstallationRecord::key("inst-a"), "inst.inst-a");
    }

    #[test]
    fn document_of_a_later_format_is_an_error_of_its_own() {
        let mut app = crate::registry::testing::forge_app();
        let keys = EncryptionKeys::default();
        let read = |value: &[u8]| decode::<AppRecord>("app.1", value, &keys);
        assert!(read(&encode("app.1", &mut app, &keys).unwrap()).is_ok());
        app.format = ENCRYPTED_FORMAT + 1;
        let later = read(&encode("app.1", &mut app, &keys).unwrap());
        assert!(matches!(later, Err(DocumentError::NewerFormat { format: 3 })));
        let later = read(br#"{"format": 4, "kind": "later"}"#);
        assert!(matches!(later, Err(DocumentError::NewerFormat { format: 4 })));
        assert!(matches!(read(b"{"), Err(DocumentError::Invalid(_))));
        assert_eq!((family("inst.a"), family("odd")), ("inst", "odd"));
    }

    /// Members whose members are names that apps or operators choose, with values of one type.
    const NAMED_BY_APPS: [&str; 4] = ["translations", "staticModules", "en", "oauthClients"];

    /// Adds a member that no release knows to every object of a document.
    fn add_unknown(value: &mut Value, name: &str) {
        match value {
            Value::Array(elements) => elements.iter_mut().for_each(|one| add_unknown(one, name)),
            Value::Object(members) => {
                members.iter_mut().for_each(|(name, member)| add_unknown(member, name));
                if !NAMED_BY_APPS.contains(&name) {
                    let unknown = json!({"later": [1, null, {"a": "b"}]});
                    members.insert("xUnknown".to_owned(), unknown);
                }
            }
            _ => {}
        }
    }

    /// Asserts that a stored document is written back as it was read, with unknown members at every
    /// level, too.
    fn assert_kept<D: Document>(stored: Value) {
        let mut with_unknown = stored.clone();
        add_unknown(&mut with_unknown, "");
        for document in [stored, with_unknown] {
            assert_rewritten::<D>(document);
        }
    }

    fn assert_rewritten<D: Document>(stored: Value) {
        let keys = EncryptionKeys::default();
        let mut document: D = decode("x.1", stored.to_string().as_bytes(), &keys).unwrap();
        let text = encode("x.1", &mut document, &keys).unwrap();
        let written: Value = serde_json::from_slice(&text).unwrap();
        assert_eq!(written, stored);
        assert_encrypted(document, &stored);
    }

    /// Asserts that every secret of a document is encrypted, and that nothing else changes.
    fn assert_encrypted<D: Document>(mut document: D, stored: &Value) {
        let keys = EncryptionKeys::parse(&data_encoding::BASE64.encode(&[1; 32])).unwrap();
        keys.choose(|_| true);
        let text = encode("x.1", &mut document, &keys).unwrap();
        let written: Value = serde_json::from_slice(&text).unwrap();
        let mut read: D = decode("x.1", &text, &keys).unwrap();
        let count = read.secrets().map_or(0, |secrets| secrets.fields.len());
        let found = written.to_string().matches(ENCRYPTED).count();
        assert_eq!(found, count, "{written}");
        assert_eq!(written["format"], if count == 0 { FORMAT } else { ENCRYPTED_FORMAT });
        if let Some(Secrets { stored_with, fields }) = read.secrets() {
            let id = keys.ids().next().unwrap().clone();
            let expected =
                if fields.is_empty() { StoredWith::NoSecret } else { StoredWith::Key(id) };
            assert_eq!(*stored_with, expected);
            assert_eq!(document.secrets().unwrap().stored_with, stored_with, "the cached one, too");
        }
        let clear = encode("x.1", &mut read, &EncryptionKeys::default()).unwrap();
        assert_eq!(serde_json::from_slice::<Value>(&clear).unwrap(), *stored);
        if count > 0 {
            let moved = decode::<D>("x.2", &text, &keys).err();
            assert!(matches!(moved, Some(DocumentError::Encrypted(DecryptError::Damaged(_)))));
            let without = decode::<D>("x.1", &text, &EncryptionKeys::default()).err();
            assert!(without.as_ref().is_some_and(|error| error.missing_key().is_some()));
        }
    }

    #[test]
    fn stored_documents_keep_the_names_of_their_members() {
        assert_kept::<InstallationRecord>(json!({
            "format": 1, "id": "inst-c", "app": "com.example", "cloudId": "site", "product": "jira",
            "clientKey": "k", "sharedSecret": "s",
            "previousSharedSecret": {"secret": "p", "untilMs": 1}, "licensed": true, "environment": "PRODUCTION",
            "state": "uninstalled", "appAccountId": "a", "tokenHash": "h",
            "oauthClients": {"c": {"secret": "s", "previousSecret": {"secret": "p", "untilMs": 1}}},
            "discovery": {
                "appUpdatedMs": 1, "fetchedMs": 2, "dueMs": 3, "askingUntilMs": 4, "failures": 5,
                "error": "e",
                "ignored": [{"key": "k", "type": "t", "rule": "too_many", "reason": "r"}],
            },
            "warnedUntilMs": 1, "dropped": {"atMs": 1, "version": "2", "keys": ["k"]},
            "spent": {
                "floorS": 1, "requests": [{"digest": "d", "issuedS": 2, "goodUntilS": 3}],
            },
            "notices": [
                {"id": "n", "type": "t", "data": {"a": 1}, "atMs": 1, "dueMs": 2, "attempts": 3},
            ],
            "modules": [
                {
                    "key": "a", "type": "trigger", "data": {"key": "a"}, "door": "forge_v2",
                    "switch": "gone", "createdMs": 1, "updatedMs": 2, "revision": 3, "order": 4,
                },
                {
                    "key": "webhook-1", "type": "dynamicWebhook", "data": {"id": 1},
                    "door": "webhook", "createdMs": 1, "updatedMs": 2, "revision": 3, "order": 5,
                },
            ],
            "nextOrder": 6, "createdMs": 0, "updatedMs": 0,
        }));
        assert_kept::<AppRecord>(json!({
            "format": 1, "id": "ari:app/1", "kind": "forge", "name": "n", "version": "v",
            "scopes": ["s"], "permissions": {"external": {"fetch": {"backend": ["*.x"]}}},
            "functions": ["f"], "baseUrl": "https://x",
            "endpoints": [{"key": "k", "url": "u", "secret": "s", "auth": {"appSystemToken": true},
                "previousSecret": {"secret": "p", "untilMs": 1}}],
            "staticModules": {"trigger": [{"key": "k"}]}, "translations": {"en": {"k": "t"}},
            "lifecycle": {"installed": "/i", "enabled": "/e", "disabled": "/d", "uninstalled": "/u"},
            "discovery": {"use": ["trigger"], "url": "u", "secret": "s"},
            "notices": {"url": "u", "secret": "s"}, "delivery": {"style": "forge_remote"},
            "createdMs": 0, "updatedMs": 0,
        }));
        assert_kept::<ClientRecord>(json!({
            "format": 1, "id": "c", "tokenHash": "h", "user": "u", "installation": "inst-c",
        }));
        assert_kept::<AccessTokenRecord>(json!({
            "format": 1, "id": "t", "tokenHash": "h", "scope": "read",
            "installation": {"id": "inst-c", "createdMs": 1}, "expiresMs": 2, "requestsPerSecond": 50,
            "description": "d", "createdMs": 3, "updatedMs": 4,
        }));
        assert_kept::<SiteRecord>(json!({"format": 1, "id": "site", "nextWebhook": 7}));
        assert_kept::<SigningKeysRecord>(json!({
            "format": 1, "id": "signing", "keys": [{"kid": "k", "signsFromMs": 1, "pkcs8": "p"}],
        }));
    }
    /// Every registry document that an earlier version stored, from `tests/data/stored`.
    #[test]
    fn documents_of_an_earlier_version_are_rewritten_with_every_member() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/stored/KV_SW_REG.ndjson");
        let text = std::fs::read_to_string(path).unwrap();
        let mut families = std::collections::BTreeSet::new();
        for line in text.lines() {
            let message: Value = serde_json::from_str(line).unwrap();
            let subject = message["subject"].as_str().unwrap();
            let Ok(document) = serde_json::from_str(message["body"].as_str().unwrap()) else {
                continue;
            };
            let key = subject.strip_prefix("$KV.SW_REG.").unwrap();
            families.insert(family(key).to_owned());
            match family(key) {
                AppRecord::FAMILY => assert_kept::<AppRecord>(document),
                InstallationRecord::FAMILY => assert_kept::<InstallationRecord>(document),
                ClientRecord::FAMILY => assert_kept::<ClientRecord>(document),
                SiteRecord::FAMILY => assert_kept::<SiteRecord>(document),
                SigningKeysRecord::FAMILY => assert_kept::<SigningKeysRecord>(document),
                other => panic!("a stored family without a test: {other}"),
            }
        }
        assert_eq!(families.len(), 5, "{families:?}");
    }
}

//! Encryption of the secrets in stored documents: AES-256-GCM with keys that operators provide.
//!
//! Design: `docs/design/secrets-at-rest.md`.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use aws_lc_rs::aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey};
use data_encoding::{BASE64, HEXLOWER};
use sha2::{Digest, Sha256};
use thiserror::Error;

use crate::domain::Secret;

/// First characters of an encrypted secret; no secret in clear may begin with them.
pub(crate) const ENCRYPTED: &str = "enc:v1:";
/// Length of a key.
const KEY_BYTES: usize = 32;
/// Maximum number of keys.
const KEYS_MAX: usize = 16;
/// Bytes of the digest of a key that are its id.
const KEY_ID_BYTES: usize = 8;
/// In place of an index: secrets are written in clear.
const IN_CLEAR: usize = usize::MAX;
/// In place of an index: no secret is written, because stored ones are encrypted with a key that this
/// replica does not have.
const REFUSED: usize = usize::MAX - 1;

/// The id of a key: the first 16 hexadecimal digits of its SHA-256.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct KeyId(Arc<str>);

impl KeyId {
    /// Returns its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for KeyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// How the secrets of a stored document are written.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(crate) enum StoredWith {
    /// It has no secret.
    #[default]
    NoSecret,
    /// At least one is in clear.
    InClear,
    /// All with this key.
    Key(KeyId),
    /// With more than one key.
    SeveralKeys,
}

impl StoredWith {
    /// Adds a secret that was encrypted with the key `id`, or was in clear.
    pub(super) fn add(&mut self, id: Option<KeyId>) {
        let both = match (std::mem::take(self), id) {
            (Self::InClear, _) | (_, None) => Self::InClear,
            (Self::NoSecret, Some(id)) => Self::Key(id),
            (Self::Key(known), Some(id)) if known == id => Self::Key(known),
            (Self::Key(_) | Self::SeveralKeys, Some(_)) => Self::SeveralKeys,
        };
        *self = both;
    }
}

/// The keys of this replica, the newest first. Clones share the choice of the one to write with.
#[derive(Clone, Debug)]
pub struct EncryptionKeys {
    keys: Arc<[Key]>,
    /// Index of the key to write with, [`IN_CLEAR`] or [`REFUSED`].
    writes_with: Arc<AtomicUsize>,
}

struct Key {
    id: KeyId,
    cipher: RandomizedNonceKey,
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.id.fmt(f)
    }
}

/// A text has no usable keys. The message has no part of the text.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
#[error("{0}")]
pub struct InvalidKeys(String);

/// Why a secret cannot be decrypted.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub(crate) enum DecryptError {
    /// This replica does not have the key.
    #[error(
        "it is encrypted with the key {0}, which this replica does not have; add that key to secrets.key_file"
    )]
    MissingKey(KeyId),
    /// The ciphertext is damaged, or was copied from another document or field.
    #[error("its secret `{0}` is not what was encrypted for this document")]
    Damaged(String),
}

/// Why a secret is not encrypted, so that its document is not written.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub(crate) enum NotEncrypted {
    /// The system has no random bytes for the nonce.
    #[error("a secret cannot be encrypted: the system provides no random bytes")]
    NoRandomBytes,
    /// Encryption has begun, and this replica has no key that all replicas can read.
    #[error(
        "a secret is not stored in clear, since others are stored encrypted and this replica has no key that every replica can read; add their key to secrets.key_file"
    )]
    NoKey,
}

impl Default for EncryptionKeys {
    fn default() -> Self {
        Self { keys: Arc::new([]), writes_with: Arc::new(AtomicUsize::new(IN_CLEAR)) }
    }
}

impl EncryptionKeys {
    /// Parses keys: 32 bytes in base64 each, separated by line ends, spaces or commas, the newest
    /// first. Lines that start with `#` are comments.
    ///
    /// # Errors
    /// There is no key, there are too many, or one has another length.
    pub fn parse(text: &str) -> Result<Self, InvalidKeys> {
        let lines = text.lines().map(str::trim).filter(|line| !line.starts_with('#'));
        let words = lines.flat_map(|line| line.split([' ', '\t', ',']));
        let words: Vec<&str> = words.filter(|word| !word.is_empty()).collect();
        if !(1..=KEYS_MAX).contains(&words.len()) {
            let message = format!("it has {} keys; 1 to {KEYS_MAX} are expected", words.len());
            return Err(InvalidKeys(message));
        }
        let keys: Vec<Key> = words
            .iter()
            .enumerate()
            .map(|(index, word)| Key::parse(word, index + 1))
            .collect::<Result<_, _>>()?;
        Ok(Self { keys: keys.into(), ..Self::default() })
    }

    /// Returns the ids of all keys, the newest first.
    pub fn ids(&self) -> impl Iterator<Item = &KeyId> {
        self.keys.iter().map(|key| &key.id)
    }

    /// Returns the id of the key that secrets are to be written with once every replica has it.
    #[must_use]
    pub fn newest(&self) -> Option<&KeyId> {
        self.keys.first().map(|key| &key.id)
    }

    /// Returns the id of the key that secrets are written with; none = in clear, or not at all.
    #[must_use]
    pub fn writes_with(&self) -> Option<&KeyId> {
        self.writing_key().map(|key| &key.id)
    }

    fn writing_key(&self) -> Option<&Key> {
        self.keys.get(self.writes_with.load(Relaxed))
    }

    /// Chooses the newest key that all others can read as the one to write with; returns whether it
    /// changed. If there is none, the choice stays: what was begun is not undone.
    pub fn choose(&self, can_all_read: impl Fn(&KeyId) -> bool) -> bool {
        let found = self.keys.iter().position(|key| can_all_read(&key.id));
        found.is_some_and(|index| self.writes_with.swap(index, Relaxed) != index)
    }

    /// Returns the key to encrypt a document with; none if secrets are written in clear.
    ///
    /// # Errors
    /// Encryption has begun with a key that this replica does not have.
    pub(super) fn writer(&self) -> Result<Option<KeyWriter<'_>>, NotEncrypted> {
        match self.writes_with.load(Relaxed) {
            IN_CLEAR => Ok(None),
            index => self.keys.get(index).map(KeyWriter).map(Some).ok_or(NotEncrypted::NoKey),
        }
    }

    /// Notes that a secret was encrypted with a key: with the one at `index`, or with one that this
    /// replica does not have. From then on no secret is written in clear.
    fn note_encrypted(&self, index: Option<usize>) {
        let next = |current: usize| match (current, index) {
            (IN_CLEAR | REFUSED, Some(index)) => Some(index),
            (IN_CLEAR, None) => Some(REFUSED),
            _ => None,
        };
        // An error says that nothing changed.
        let _ = self.writes_with.fetch_update(Relaxed, Relaxed, next);
    }

    /// Returns a stored secret in clear, with the id of the key that it was encrypted with. A replica
    /// that finds one and did not encrypt yet does so with this key from then on.
    pub(crate) fn decrypt(
        &self,
        stored: &Secret,
        document: &str,
        field: &str,
    ) -> Result<(Secret, Option<KeyId>), DecryptError> {
        let Some(rest) = stored.reveal().strip_prefix(ENCRYPTED) else {
            return Ok((stored.clone(), None));
        };
        let damaged = || DecryptError::Damaged(field.to_owned());
        let (id, text) = rest.split_once(':').ok_or_else(damaged)?;
        let key = self.keys.iter().enumerate().find(|(_, key)| key.id.as_str() == id);
        self.note_encrypted(key.map(|(index, _)| index));
        let (_, key) = key.ok_or_else(|| DecryptError::MissingKey(KeyId(id.into())))?;
        let mut bytes = BASE64.decode(text.as_bytes()).map_err(|_| damaged())?;
        let (nonce, sealed) = bytes.split_at_mut_checked(NONCE_LEN).ok_or_else(damaged)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| damaged())?;
        let opened = key.cipher.open_in_place(nonce, place(document, field), sealed);
        let text = str::from_utf8(opened.map_err(|_| damaged())?).map_err(|_| damaged())?;
        Ok((Secret::new(text), Some(key.id.clone())))
    }
}

/// A key to encrypt all secrets of one document with.
#[derive(Clone, Copy)]
pub(super) struct KeyWriter<'k>(&'k Key);

impl KeyWriter<'_> {
    /// Returns the id of the key.
    pub(super) fn id(&self) -> &KeyId {
        &self.0.id
    }

    /// Encrypts a secret for a field of a document.
    ///
    /// # Errors
    /// The system provides no random bytes.
    pub(super) fn encrypt(
        &self,
        secret: &Secret,
        document: &str,
        field: &str,
    ) -> Result<Secret, NotEncrypted> {
        let mut text = secret.reveal().as_bytes().to_vec();
        let nonce = self.0.cipher.seal_in_place_append_tag(place(document, field), &mut text);
        let nonce = nonce.map_err(|_| NotEncrypted::NoRandomBytes)?;
        let bytes = [nonce.as_ref().as_slice(), &text].concat();
        Ok(Secret::new(format!("{ENCRYPTED}{}:{}", self.id(), BASE64.encode(&bytes))))
    }
}

impl Key {
    fn parse(text: &str, number: usize) -> Result<Self, InvalidKeys> {
        let invalid = || {
            InvalidKeys(format!(
                "key {number} is not {KEY_BYTES} bytes in base64; `openssl rand -base64 32` makes one"
            ))
        };
        let bytes = BASE64.decode(text.as_bytes()).map_err(|_| invalid())?;
        if bytes.len() != KEY_BYTES {
            return Err(invalid());
        }
        let digest = Sha256::digest(&bytes);
        let id = HEXLOWER.encode(digest.get(..KEY_ID_BYTES).unwrap_or(&digest));
        let cipher = RandomizedNonceKey::new(&AES_256_GCM, &bytes).map_err(|_| invalid())?;
        Ok(Self { id: KeyId(id.into()), cipher })
    }
}

/// What a ciphertext belongs to. Neither part may contain the separator: keys of documents are
/// subjects, and fields are names.
fn place(document: &str, field: &str) -> Aad<Vec<u8>> {
    Aad::from(format!("switchyard\0{ENCRYPTED}\0{document}\0{field}").into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(byte: u8) -> String {
        BASE64.encode(&[byte; KEY_BYTES])
    }

    fn keys(bytes: &[u8]) -> EncryptionKeys {
        let text: Vec<String> = bytes.iter().map(|byte| key(*byte)).collect();
        EncryptionKeys::parse(&text.join("\n")).unwrap()
    }

    fn encrypted(keys: &EncryptionKeys) -> Secret {
        keys.choose(|_| true);
        let writer = keys.writer().unwrap().unwrap();
        writer.encrypt(&Secret::new("hidden text"), "inst.a", "sharedSecret").unwrap()
    }

    #[test]
    fn secret_is_decrypted_in_its_place_only() {
        let keys = keys(&[1]);
        let stored = encrypted(&keys);
        assert!(stored.reveal().starts_with(ENCRYPTED) && !stored.reveal().contains("hidden"));
        let (secret, id) = keys.decrypt(&stored, "inst.a", "sharedSecret").unwrap();
        assert_eq!((secret.reveal(), id.as_ref()), ("hidden text", keys.ids().next()));
        for (document, field) in [("inst.b", "sharedSecret"), ("inst.a", "previousSharedSecret")] {
            let moved = keys.decrypt(&stored, document, field);
            assert_eq!(moved, Err(DecryptError::Damaged(field.into())));
        }
        let (head, text) = stored.reveal().rsplit_once(':').unwrap();
        let mut bytes = BASE64.decode(text.as_bytes()).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        let changed = Secret::new(format!("{head}:{}", BASE64.encode(&bytes)));
        assert!(keys.decrypt(&changed, "inst.a", "sharedSecret").is_err());
        for bad in ["enc:v1:", "enc:v1:x", &format!("enc:v1:{}:AA==", id.unwrap())] {
            assert!(keys.decrypt(&Secret::new(bad), "inst.a", "sharedSecret").is_err(), "{bad}");
        }
        assert_ne!(encrypted(&keys), stored, "each time another nonce");
    }

    #[test]
    fn nothing_is_written_in_clear_once_a_secret_was_encrypted() {
        let stored = encrypted(&keys(&[1]));
        for lacking in [EncryptionKeys::default(), keys(&[2])] {
            assert!(lacking.writer().unwrap().is_none(), "encryption has not begun");
            assert!(lacking.decrypt(&stored, "inst.a", "sharedSecret").is_err());
            assert_eq!(lacking.writer().err(), Some(NotEncrypted::NoKey));
            assert!(!lacking.choose(|_| false));
            assert_eq!(lacking.writer().err(), Some(NotEncrypted::NoKey));
        }
        let another = keys(&[2]);
        assert!(another.decrypt(&stored, "inst.a", "sharedSecret").is_err());
        assert!(another.choose(|_| true) && another.writer().unwrap().is_some());
    }

    #[test]
    fn every_key_is_read_and_a_missing_one_is_named() {
        let old = keys(&[1]);
        let stored = encrypted(&old);
        let both = keys(&[2, 1]);
        assert_eq!(both.writes_with(), None);
        assert!(both.decrypt(&stored, "inst.a", "sharedSecret").is_ok());
        assert_eq!(both.writes_with(), old.ids().next(), "encryption was begun");
        assert!(both.choose(|_| true) && both.decrypt(&stored, "inst.a", "sharedSecret").is_ok());
        assert_eq!(both.writes_with(), both.ids().next());
        for other in [keys(&[2]), EncryptionKeys::default()] {
            let error = other.decrypt(&stored, "inst.a", "sharedSecret").unwrap_err();
            assert!(error.to_string().contains(old.ids().next().unwrap().as_str()), "{error}");
        }
        let clear = Secret::new("in clear");
        assert_eq!(both.decrypt(&clear, "inst.a", "x"), Ok((clear.clone(), None)));
    }

    #[test]
    fn newest_key_that_all_can_read_is_written_with_and_never_none_again() {
        let keys = keys(&[2, 1]);
        let ids: Vec<KeyId> = keys.ids().cloned().collect();
        assert_eq!(keys.writes_with(), None);
        assert!(!keys.choose(|_| false));
        assert!(keys.writer().unwrap().is_none());
        assert!(keys.choose(|id| *id == ids[1]) && !keys.choose(|id| *id == ids[1]));
        assert_eq!(keys.writes_with(), Some(&ids[1]));
        assert!(keys.clone().choose(|_| true));
        assert_eq!(keys.writes_with(), Some(&ids[0]));
        assert!(!keys.choose(|_| false));
        assert_eq!(keys.writes_with(), Some(&ids[0]));
    }

    #[test]
    fn keys_are_32_bytes_and_errors_show_none_of_them() {
        let two = format!("# of May\n{}\n\n{}, ", key(1), key(2));
        assert_eq!(EncryptionKeys::parse(&two).unwrap().ids().count(), 2);
        let short = BASE64.encode(&[7; 16]);
        for bad in ["", "# only a comment", &short, "not base64!"] {
            let error = EncryptionKeys::parse(bad).unwrap_err().to_string();
            assert!(bad.is_empty() || !error.contains(bad), "{error}");
        }
        assert!(EncryptionKeys::parse(&vec![key(1); 17].join(" ")).is_err());
    }
}

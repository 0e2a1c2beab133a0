//! Whose document has the module of a revision.

use crate::registry::model::{AppRecord, Document, InstallationRecord};

/// Whose document has the modules of some revisions, by the token of its id.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum RevisionOwner {
    /// An installation: registered modules.
    Installation(Box<str>),
    /// An app: static modules.
    App(Box<str>),
}

impl RevisionOwner {
    /// Returns the owner of the modules in the document under a key; none if it has no modules.
    pub(crate) fn of_document(key: &str) -> Option<Self> {
        let (family, token) = key.split_once('.')?;
        match family {
            InstallationRecord::FAMILY => Some(Self::Installation(token.into())),
            AppRecord::FAMILY => Some(Self::App(token.into())),
            _ => None,
        }
    }

    /// Returns the key of the document.
    pub(crate) fn document_key(&self) -> String {
        let family = match self {
            Self::Installation(_) => InstallationRecord::FAMILY,
            Self::App(_) => AppRecord::FAMILY,
        };
        format!("{family}.{}", self.token())
    }

    /// Returns the token of its id.
    #[must_use]
    pub fn token(&self) -> &str {
        match self {
            Self::Installation(token) | Self::App(token) => token,
        }
    }
}

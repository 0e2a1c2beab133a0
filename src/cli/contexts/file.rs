//! The file of a context: address, token and site.

use std::path::{Path, PathBuf};

use anyhow::Context as _;
use serde::{Deserialize, Serialize, Serializer};

use crate::cli::exit::UsageError;
use crate::domain::Secret;

/// What the file of a context has.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(in crate::cli) struct ContextFile {
    /// Address of the router.
    pub(in crate::cli) server: String,
    /// Operator token.
    #[serde(default, skip_serializing_if = "Option::is_none", serialize_with = "reveal")]
    token: Option<Secret>,
    /// File with the operator token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) token_file: Option<PathBuf>,
    /// Site that commands use unless one is named.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) site: Option<String>,
    /// Process id of the `switchyard dev` that has the context; none for one that was added.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(in crate::cli) dev: Option<u32>,
}

impl ContextFile {
    /// Returns the context of a router.
    pub(in crate::cli) fn new(server: &str, site: Option<&str>) -> Self {
        Self { server: server.to_owned(), site: site.map(str::to_owned), ..Self::default() }
    }

    /// Sets the token that the file itself has.
    #[must_use]
    pub(in crate::cli) fn with_token(self, token: &Secret) -> Self {
        Self { token: Some(token.clone()), ..self }
    }

    /// Sets the process of the `switchyard dev` that has it.
    #[must_use]
    pub(in crate::cli) fn with_dev(self, process: u32) -> Self {
        Self { dev: Some(process), ..self }
    }

    /// Returns the token; none if it has none.
    ///
    /// # Errors
    /// The file with the token cannot be read.
    pub(in crate::cli) fn token(&self) -> anyhow::Result<Option<Secret>> {
        match (&self.token, &self.token_file) {
            (Some(token), _) => Ok(Some(token.clone())),
            (None, Some(file)) => read_token(file).map(Some),
            (None, None) => Ok(None),
        }
    }

    /// Whether the file itself has the token.
    pub(in crate::cli) fn has_own_token(&self) -> bool {
        self.token.is_some()
    }
}

/// Writes a token in clear text: the file is the user's alone.
fn reveal<S: Serializer>(token: &Option<Secret>, serializer: S) -> Result<S::Ok, S::Error> {
    token.as_ref().map(Secret::reveal).serialize(serializer)
}

/// Reads a file with a token.
pub(in crate::cli) fn read_token(file: &Path) -> anyhow::Result<Secret> {
    let text = std::fs::read_to_string(file)
        .with_context(|| UsageError(format!("cannot read the token in {}", file.display())))?;
    Ok(Secret::new(text.trim()))
}

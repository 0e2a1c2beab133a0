//! Who calls the operator API, and what the caller may do.

use serde::{Deserialize, Serialize};
use smol_str::SmolStr;

use super::ids::InstallationId;

/// What a caller may do. A higher scope includes the lower ones.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at everything, change nothing.
    Read,
    /// Change what happens to deliveries: pause, redeliver, redrive, replay.
    Operate,
    /// Change what is registered and who has access.
    Admin,
}

impl Scope {
    /// All scopes, the lowest first.
    pub const ALL: [Self; 3] = [Self::Read, Self::Operate, Self::Admin];

    /// Returns the name in requests and answers.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Operate => "operate",
            Self::Admin => "admin",
        }
    }
}

/// A caller of the operator API whose credentials were accepted. It is an extension of the request.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Caller {
    /// Name of the token or the person, as the audit log has it.
    pub name: SmolStr,
    /// What the caller may do.
    pub scope: Scope,
    /// The only installation whose data the caller sees; none for operators, who see everything.
    pub installation: Option<InstallationId>,
}

impl Caller {
    /// Returns an operator who may do everything.
    #[must_use]
    pub fn admin(name: impl Into<SmolStr>) -> Self {
        Self { name: name.into(), scope: Scope::Admin, installation: None }
    }
}

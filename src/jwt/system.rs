//! System tokens: a Forge remote calls back with one; it identifies the installation for two hours.
//!
//! **Source:** Forge, "Remote" reference, `x-forge-oauth-system`.

use serde::Deserialize;
use serde_json::{Value, json};

use super::KeyRing;
use crate::domain::{AppId, InstallationId};

/// Issuer and audience; no other token of ours carries it, so no other token passes as a system
/// token.
const ISSUER: &str = "switchyard/system-token";
/// Lifetime, in seconds.
const LIFE_S: i64 = 2 * 3600;

/// Claims of the system token of an installation of `app`.
#[must_use]
pub fn claims(app: &AppId, installation: &InstallationId, now_s: i64) -> Value {
    json!({
        "iss": ISSUER,
        "aud": ISSUER,
        "iat": now_s,
        "exp": now_s.saturating_add(LIFE_S),
        "app": {"id": app, "installationId": installation},
    })
}

#[derive(Deserialize)]
struct Claims {
    iss: String,
    aud: String,
    exp: i64,
    app: Bearer,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Bearer {
    id: AppId,
    installation_id: InstallationId,
}

/// Why a system token is rejected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum SystemTokenError {
    /// It is not signed by us, or is another kind of token.
    Foreign,
    /// It has expired.
    Expired {
        /// Time since its expiry, in seconds.
        ago_s: i64,
    },
}

/// Returns the app and the installation that a system token identifies.
///
/// # Errors
/// The token is of another kind or has expired.
pub fn verify(
    keys: &KeyRing,
    token: &str,
    now_s: i64,
) -> Result<(AppId, InstallationId), SystemTokenError> {
    let Claims { iss, aud, exp, app } = keys.verify(token).ok_or(SystemTokenError::Foreign)?;
    match (iss == ISSUER && aud == ISSUER, now_s < exp) {
        (false, _) => Err(SystemTokenError::Foreign),
        (true, false) => Err(SystemTokenError::Expired { ago_s: now_s.saturating_sub(exp) }),
        (true, true) => Ok((app.id, app.installation_id)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::jwt::KeyRecord;

    #[test]
    fn only_an_unexpired_system_token_identifies_its_bearer() {
        let keys = KeyRing::default();
        keys.apply(&[KeyRecord::generate().unwrap()]).unwrap();
        let made = keys.sign(&claims(&"app".into(), &"inst".into(), 0), 0).unwrap();
        let named = Ok(("app".into(), "inst".into()));
        assert_eq!(verify(&keys, &made, LIFE_S - 1), named);
        assert_eq!(verify(&keys, &made, LIFE_S + 9), Err(SystemTokenError::Expired { ago_s: 9 }));
        let mut other = claims(&"app".into(), &"inst".into(), 0);
        other["iss"] = json!("forge/invocation-token");
        assert_eq!(
            verify(&keys, &keys.sign(&other, 0).unwrap(), 1),
            Err(SystemTokenError::Foreign)
        );
    }
}
